//! The walls: which room may know which, and what the pure ones may depend on. docs/architecture.md has
//! the picture. Between the two crates the compiler keeps the wall; this keeps those inside each.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The rooms, bottom to top, each with those that it may know besides itself. What is not listed
/// here is forbidden; docs/architecture.md shows the same table.
const ROOMS: &[(&str, &[&str])] = &[
    ("policy", &[]),
    ("model", &["policy"]),
    ("directory", &["model"]),
    ("resolve", &["model", "policy", "directory"]),
    ("plan", &["model", "policy", "directory", "resolve"]),
    ("routes", &["model", "policy", "resolve"]),
    ("platform", &["model", "policy", "resolve"]),
    ("config", &["model", "policy", "directory", "resolve", "plan", "routes", "platform"]),
    ("store", &["model", "policy", "directory", "plan"]),
    ("source", &["model", "directory", "config"]),
    (
        "sync",
        &[
            "model",
            "policy",
            "directory",
            "resolve",
            "plan",
            "platform",
            "config",
            "store",
            "source",
        ],
    ),
    (
        "gateway",
        &["model", "policy", "directory", "plan", "routes", "config", "store", "source", "sync"],
    ),
    ("daemon", &["model", "directory", "plan", "config", "store", "source", "sync", "gateway"]),
    (
        "cli",
        &[
            "model",
            "policy",
            "directory",
            "resolve",
            "plan",
            "routes",
            "platform",
            "config",
            "store",
            "source",
            "sync",
            "gateway",
            "daemon",
        ],
    ),
];

/// The rooms of `crates/core`: what is pure.
const CORE: &[&str] = &["policy", "model", "directory", "resolve", "plan", "routes"];

/// Crates that open a socket, a file, a clock or a source of random numbers: none may be below
/// `crates/core`, however far.
const IMPURE_CRATES: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "rusqlite",
    "libsqlite3-sys",
    "ldap3",
    "reqwest",
    "hyper",
    "tonic",
    "axum",
    "rustls",
    "tracing",
    "rustix",
    "nix",
    "getrandom",
    "fastrand",
    "rand",
    "iana-time-zone",
];

/// What of the standard library no pure room may name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "Local::now",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Every Rust file below `folder`, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file's lines without comments and without what stands in texts; number and content.
fn code(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    let mut in_text = false;
    (1usize..).zip(text.lines()).map(move |(number, line)| {
        let mut kept = String::new();
        let mut before = ' ';
        for c in line.chars() {
            match c {
                '"' if before != '\\' && before != '\'' => in_text = !in_text,
                '/' if before == '/' && !in_text => {
                    kept.pop();
                    break;
                }
                c if !in_text => kept.push(c),
                _ => {}
            }
            before = c;
        }
        // Only a backslash carries a text over the end of the line.
        in_text &= line.ends_with('\\');
        (number, kept)
    })
}

/// The two crates' sources.
fn sources_of_both() -> [PathBuf; 2] {
    [root().join("src"), root().join("crates/core/src")]
}

/// The room that a file of either crate is in.
fn room(file: &Path) -> String {
    let [program, core] = sources_of_both();
    let inside = file.strip_prefix(core).or_else(|_| file.strip_prefix(program)).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a line names: what follows `crate::`.
fn named(line: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let after = line.match_indices("crate::").filter_map(|(at, it)| line.get(at + it.len()..));
    after
        .flat_map(|rest| match rest.strip_prefix('{') {
            // `use crate::{a::x, b}`: every name before a `::` or a comma.
            Some(list) => list.split(',').map(|item| item.trim().to_owned()).collect(),
            None => vec![rest.to_owned()],
        })
        .filter_map(|item| item.split(ends).next().map(str::to_owned))
        .filter(|name| !name.is_empty())
        .collect()
}

/// Every arrow that `ROOMS` does not have, with the line that draws it.
fn forbidden(sources: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut told = Vec::new();
    for (file, text) in sources {
        let room = room(file);
        let shown = file.strip_prefix(root()).unwrap().display();
        if matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let Some(may) = allowed.get(room.as_str()) else {
            told.push(format!("{shown}: `{room}` is no room of tests/architecture.rs"));
            continue;
        };
        for (number, line) in code(text) {
            for other in named(&line) {
                let known = allowed.contains_key(other.as_str());
                if known && other != room && !may.contains(&other.as_str()) {
                    told.push(format!("{shown}:{number}: `{room}` may not know `{other}`"));
                }
            }
        }
    }
    told
}

fn sources() -> BTreeMap<PathBuf, String> {
    sources_of_both()
        .iter()
        .flat_map(|folder| files(folder))
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            (file, text)
        })
        .collect()
}

#[test]
fn no_room_knows_one_above_it() {
    let told = forbidden(&sources());
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn the_table_itself_runs_down_only() {
    for (place, (room, knows)) in ROOMS.iter().enumerate() {
        for other in *knows {
            let below = ROOMS[..place].iter().any(|(name, _)| name == other);
            assert!(below, "`{room}` is above `{other}` in the table and below it in the list");
        }
    }
}

#[test]
fn an_arrow_that_runs_up_is_seen() {
    for (file, line, expected) in [
        ("src/store/x.rs", "use crate::config::Config;", Some("`store` may not know `config`")),
        (
            "crates/core/src/model/x.rs",
            "    let x = crate::plan::Plan;",
            Some("`model` may not know `plan`"),
        ),
        (
            "src/sync/x.rs",
            "use crate::{model::Time, gateway};",
            Some("`sync` may not know `gateway`"),
        ),
        ("src/sync/x.rs", "// as crate::gateway does", None),
        ("src/sync/x.rs", "let it = \"crate::gateway\";", None),
        ("src/gateway/x.rs", "use crate::sync::Outcome;", None),
    ] {
        let told = forbidden(&BTreeMap::from([(root().join(file), line.to_owned())]));
        let told = told.first().map(|told| told.split_once(": ").unwrap().1.to_owned());
        assert_eq!(told.as_deref(), expected, "{line}");
    }
}

/// Words of a kind of source, in code or in texts.
const WORDS_OF_KINDS: &[&str] =
    &["\"keycloak\"", "\"ldap\"", "service-account-", "realm_access", "resource_access"];

/// How types and modules of a kind begin.
const NAMES_OF_KINDS: &[&str] = &[
    "Keycloak",
    "Ldap",
    "Ldif",
    "RealmExport",
    "keycloak::",
    "ldap::",
    "source::file",
    "source::keycloak",
    "source::ldap",
];

/// Where a word of a kind may stand nevertheless: H2O's server has this one for its default.
const WORDS_ALLOWED: &[(&str, &str)] =
    &[("src/config/h2o.rs", "const ROLE_CLAIM: &str = \"realm_access.roles\";")];

/// Whether a file is tests alone.
fn is_test(file: &Path) -> bool {
    let named = |name: &str| file.components().any(|it| it.as_os_str() == name);
    named("tests") || named("tests.rs")
}

/// The lines outside a kind's folder that name a kind of source, but for its registration.
fn kinds_named(sources: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let folders = root().join("src/source");
    let mut told = Vec::new();
    for (file, text) in sources {
        let in_a_kind = file.strip_prefix(&folders).is_ok_and(|it| it.components().count() > 1);
        let registration = [folders.join("mod.rs"), folders.join("kind.rs")].contains(file);
        if in_a_kind || registration || is_test(file) {
            continue;
        }
        let shown = file.strip_prefix(root()).unwrap().display().to_string();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for ((number, bare), line) in code(text).zip(text.lines()) {
            let begins = |name: &&&str| {
                bare.match_indices(**name)
                    .any(|(at, _)| !bare[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            let comment = line.trim_start().starts_with("//");
            let holds = |word: &&&str| !comment && line.contains(**word);
            let allowed = WORDS_ALLOWED.contains(&(shown.as_str(), line.trim()));
            let names = NAMES_OF_KINDS.iter().filter(begins);
            for word in names.chain(WORDS_OF_KINDS.iter().filter(holds)).filter(|_| !allowed) {
                told.push(format!(
                    "{shown}:{number}: names `{word}`, which is for the kind to know"
                ));
            }
        }
    }
    told
}

#[test]
fn nobody_outside_a_kinds_folder_knows_which_kinds_of_source_there_are() {
    let told = kinds_named(&sources());
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn a_kind_that_is_named_outside_its_folder_is_seen() {
    for (file, line, is_seen) in [
        ("src/sync/x.rs", "use crate::source::keycloak::KeycloakSource;", true),
        ("src/sync/x.rs", "    if name.starts_with(\"service-account-\") {", true),
        ("src/sync/x.rs", "    let of_realm = claim == \"realm_access.roles\";", true),
        ("src/gateway/x.rs", "        SourceKind::Ldap(ldap) => {", true),
        ("src/cli/x.rs", "    if source.kind.word() == \"keycloak\" {", true),
        ("src/config/x.rs", "    Ldif(LdifConfig),", true),
        ("crates/core/src/resolve/x.rs", "    Keycloak,", true),
        ("src/cli/x.rs", "//! Keycloak's `realm_access`", false),
        ("src/cli/x.rs", "    /// such as `realm_access.roles`", false),
        ("src/cli/x.rs", "    println!(\"Keycloak and LDAP\");", false),
        ("src/cli/x.rs", "    println!(\"see \\\n        Keycloak\");", false),
        ("src/source/keycloak/x.rs", "use super::KeycloakSource;", false),
        ("src/source/kind.rs", "&[&keycloak::Keycloak, &ldap::Ldap, &file::File]", false),
        ("src/sync/tests.rs", "use crate::source::file::FileSource;", false),
        ("src/sync/x.rs", "#[cfg(test)]\nmod tests {\n    use crate::source::file::X;", false),
    ] {
        let told = kinds_named(&BTreeMap::from([(root().join(file), line.to_owned())]));
        assert_eq!(!told.is_empty(), is_seen, "{file}: {line}: {told:?}");
    }
}

#[test]
fn every_pure_room_is_in_the_core_and_nothing_else_is() {
    let [program, core] = sources_of_both();
    let rooms = |folder: &Path| -> BTreeSet<String> {
        files(folder)
            .iter()
            .map(|file| room(file))
            .filter(|it| it != "lib" && it != "main")
            .collect()
    };
    let pure: BTreeSet<String> = CORE.iter().map(|it| (*it).to_owned()).collect();
    assert_eq!(rooms(&core), pure);
    assert!(rooms(&program).is_disjoint(&pure));
}

/// What `cargo metadata` says of the workspace, as this machine would build it.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The crates that a crate of the workspace is built from, itself included. `chrono` is a leaf: its
/// own dependencies follow from the features that somebody else asks of it; see below.
fn built_from(metadata: &Value, name: &str) -> BTreeSet<String> {
    let packages: BTreeMap<&str, &str> =
        list(metadata, "packages").iter().map(|it| (text(it, "id"), text(it, "name"))).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"], "nodes").iter().map(|it| (text(it, "id"), it)).collect();
    let first = packages.iter().find(|(_, it)| **it == name).unwrap();
    let mut waiting = vec![*first.0];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) || packages[id] == "chrono" {
            continue;
        }
        for dep in list(nodes[id], "deps") {
            // No kind: neither for tests nor for build scripts.
            if list(dep, "dep_kinds").iter().any(|it| it["kind"].is_null()) {
                waiting.push(text(dep, "pkg"));
            }
        }
    }
    seen.into_iter().map(|id| packages[id].to_owned()).collect()
}

#[test]
fn the_core_depends_on_nothing_that_touches_the_world() {
    let metadata = metadata();
    let core = built_from(&metadata, "idpsyncd-core");
    let bad: Vec<_> = IMPURE_CRATES.iter().filter(|it| core.contains(**it)).collect();
    assert!(bad.is_empty(), "`crates/core` depends on {bad:?}");
    // The same look at the program finds them, so it would see them here.
    let program = built_from(&metadata, "idpsyncd");
    for name in ["tokio", "mio", "rusqlite", "ldap3", "reqwest", "hyper", "tonic", "rustix"] {
        assert!(program.contains(name), "`{name}`");
    }

    // The clock is a feature of chrono: the program has it, and cargo builds one chrono for both.
    // So it is what the core's tree asks for that counts, and `.ci/run` builds the core alone.
    let mut asked = 0;
    for package in list(&metadata, "packages") {
        if !core.contains(text(package, "name")) {
            continue;
        }
        for dep in list(package, "dependencies") {
            if text(dep, "name") == "chrono" && dep["kind"].is_null() && dep["optional"] == false {
                asked += 1;
                assert_eq!(dep["uses_default_features"], false, "{}", text(package, "name"));
                let features: Vec<_> = list(dep, "features").iter().collect();
                let clock = features.iter().any(|it| ["clock", "now"].iter().any(|no| *it == no));
                assert!(!clock, "`{}` asks for chrono's {features:?}", text(package, "name"));
            }
        }
    }
    assert!(asked > 0, "nobody asks for chrono");
}

#[test]
fn what_is_pure_names_nothing_that_touches_the_world() {
    let mut told = Vec::new();
    for (file, text) in sources() {
        if !CORE.contains(&room(&file).as_str()) {
            continue;
        }
        for (number, line) in code(&text) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                told.push(format!("{}:{number}: names `{word}`", file.display()));
            }
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// A number that cannot be is an error that says which, or a type that cannot hold it, never a
/// stand-in that something else may have: `model::index` is where that is seen to.
#[test]
fn no_number_in_the_core_falls_back_to_the_largest() {
    let mut told = Vec::new();
    for (file, text) in sources() {
        let index = file.ends_with("model/index.rs");
        if index || file.ends_with("tests.rs") || !CORE.contains(&room(&file).as_str()) {
            continue;
        }
        let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        for (number, line) in code(&text[..tests]) {
            let stands_in = ["u16", "u32", "u64", "usize"].iter().any(|kind| {
                let largest = format!("{kind}::MAX");
                line.contains(&format!("unwrap_or({largest})"))
                    || line.contains(&format!("= {largest};"))
                    || line.contains(&format!("vec![{largest}"))
            });
            if stands_in {
                told.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// What only a backend may know. In `config` a path of the store is made into a `StoreConfig`.
const BACKEND: &[&str] =
    &["rusqlite", "store::sqlite", "store::postgres", "store::memory", "-wal", "-shm", "PRAGMA"];

#[test]
fn how_the_store_is_kept_is_known_in_its_room_alone() {
    let mut told = Vec::new();
    for (file, text) in sources() {
        let tests = file.iter().any(|part| part == "tests" || part == "tests.rs");
        if room(&file) == "store" || tests {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for word in BACKEND.iter().filter(|word| line.contains(**word)) {
                told.push(format!("{}:{number}: names `{word}`", file.display()));
            }
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// Where the store is opened: at the top, once for whatever the process does. Everybody else is handed
/// it, so that a test can hand them another, and a backend may keep connections.
const OPENS_THE_STORE: &[&str] = &["src/daemon/open_store.rs"];

/// The files, but for those where it may be and for tests, that open the store.
fn opens_the_store(sources: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let mut told = Vec::new();
    for (file, text) in sources {
        let shown = file.strip_prefix(root()).unwrap().display().to_string();
        if room(file) == "store" || is_test(file) || OPENS_THE_STORE.contains(&shown.as_str()) {
            continue;
        }
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let bare: String = code(text).map(|(_, line)| line + "\n").collect();
        let opening = |name| name == "open" || name == "open_with";
        let opens = bare.match_indices("store::").any(|(at, it)| {
            let rest = &bare[at + it.len()..];
            match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap().split(ends).any(opening),
                None => rest.split(ends).next().is_some_and(opening),
            }
        });
        if opens {
            told.push(shown);
        }
    }
    told
}

#[test]
fn the_store_is_opened_at_the_top_alone() {
    let told = opens_the_store(&sources());
    assert!(told.is_empty(), "open the store, which they are to be handed: {}", told.join(", "));
    for file in OPENS_THE_STORE {
        let text = fs::read_to_string(root().join(file)).unwrap();
        assert_eq!(text.matches("store::open_with(").count(), 1, "{file}");
    }
}

#[test]
fn a_store_that_is_opened_elsewhere_is_seen() {
    for (file, line, is_seen) in [
        ("src/sync/x.rs", "    let store = store::open(&config.store);", true),
        ("src/cli/mod.rs", "    let store = store::open_with(&config.store, None);", true),
        ("src/gateway/x.rs", "use crate::store::{Reader, open};", true),
        ("src/gateway/x.rs", "use crate::store::{\n    self, Reader,\n    open as of,\n};", true),
        ("src/cli/status.rs", "    let store = crate::store::open(&config.store);", true),
        ("src/cli/x.rs", "// as store::open does", false),
        ("src/daemon/x.rs", "use super::open_store::OpenStore;", false),
        ("src/daemon/x.rs", "use crate::store::{Store, StoreError};\nlet open = 1;", false),
        ("src/sync/tests.rs", "    let store = store::open(&config.store);", false),
    ] {
        let told = opens_the_store(&BTreeMap::from([(root().join(file), line.to_owned())]));
        assert_eq!(!told.is_empty(), is_seen, "{file}: {line}: {told:?}");
    }
}

/// docs/architecture.md shows the table; it is the same one.
#[test]
fn the_page_shows_the_table() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for (room, knows) in ROOMS {
        let knows = match knows {
            [] => "nothing".to_owned(),
            some => some.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", "),
        };
        let row = format!("| `{room}` | {knows} |");
        assert!(page.contains(&row), "docs/architecture.md lacks the row\n{row}");
    }
}

/// Type names that two things have nevertheless, and why that misleads nobody.
const SHARED_NAMES: &[(&str, &str)] = &[
    ("Kind", "`source::Kind` is what a kind of source implements, where no reference is spoken of"),
    (
        "Limits",
        "those of the gateway's provisioning; a directory server's are in its kind's folder",
    ),
];

/// Type names in `text`, each with whether it is `pub`.
fn types(text: &str) -> Vec<(bool, &str)> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let public = line.starts_with("pub ");
            let line = match line.strip_prefix("pub") {
                Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
                Some(rest) => rest.strip_prefix(' ')?,
                None => line,
            };
            let name =
                ["struct ", "enum ", "trait "].iter().find_map(|it| line.strip_prefix(it))?;
            let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            Some((public, name.split(ends).next().unwrap_or_default()))
        })
        .collect()
}

/// Every type name that means two things: two `pub` types of one name, or a private one with the name
/// of one of `model`'s, which are everybody's words. Inside a kind of source words are the kind's own:
/// nobody outside can name them.
fn double_names(sources: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let kinds = root().join("src/source");
    let mut places: BTreeMap<&str, Vec<(bool, &Path)>> = BTreeMap::new();
    for (file, text) in sources {
        let in_a_kind = file.strip_prefix(&kinds).is_ok_and(|it| it.components().count() > 1);
        if in_a_kind || is_test(file) {
            continue;
        }
        for (public, name) in types(text) {
            places.entry(name).or_default().push((public, file));
        }
    }
    places.retain(|name, places| {
        let public = places.iter().filter(|(public, _)| *public).count();
        let word = |(public, file): &(bool, &Path)| *public && room(file) == "model";
        let shared = SHARED_NAMES.iter().any(|(it, _)| it == name);
        places.len() > 1 && (public > 1 || places.iter().any(word)) && !shared
    });
    let shown =
        |(_, file): &(bool, &Path)| file.strip_prefix(root()).unwrap().display().to_string();
    let told = |(name, places): (&str, Vec<(bool, &Path)>)| {
        format!("`{name}`: {}", places.iter().map(shown).collect::<Vec<_>>().join(", "))
    };
    places.into_iter().map(told).collect()
}

#[test]
fn no_type_name_means_two_things() {
    let told = double_names(&sources());
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn a_type_name_that_means_two_things_is_seen() {
    let at = |file: &str, text: &str| (root().join(file), text.to_owned());
    for (one, other, is_seen) in [
        (at("src/store/x.rs", "pub struct A {"), at("src/cli/y.rs", "pub enum A<'a> {"), true),
        (
            at("src/store/x.rs", "pub struct A {"),
            at("src/cli/y.rs", "pub(super) struct A(u8);"),
            false,
        ),
        (at("crates/core/src/model/x.rs", "pub enum A {"), at("src/cli/y.rs", "struct A;"), true),
        (at("crates/core/src/plan/x.rs", "pub enum A {"), at("src/cli/y.rs", "struct Ab;"), false),
        (
            at("src/store/x.rs", "pub struct A {"),
            at("src/source/ldap/y.rs", "pub struct A;"),
            false,
        ),
    ] {
        let told = double_names(&BTreeMap::from([one.clone(), other.clone()]));
        assert_eq!(!told.is_empty(), is_seen, "{one:?} {other:?}: {told:?}");
    }
}
