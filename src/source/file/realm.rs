//! Keycloak realm exports: one file, or a realm's file with its users in files beside it.
//!
//! `kc.sh export --file F` writes one file; `--dir D` writes `R-realm.json`, and by default the
//! users in `R-users-0.json`, `R-users-1.json`, …. The admin console's partial export has the same
//! shape but leaves people out (it may list service accounts), and so does `--users skip`: such a
//! file says nothing about people, so it is an error and never an empty company.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::builtin;
use super::config::RealmExportConfig;
use super::document::{self, Fault};
use super::export::{self, Export};
use super::graph::Graph;
use super::odd::Oddities;
use super::organizations;
use super::people::People;
use crate::directory::{Interest, Snapshot, SnapshotBuilder};
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::source::{OnProgress, SourceError, SourceErrorKind};

/// Reads the realm export of the source called `source`. `interest` is what rules can name.
///
/// # Errors
/// The file, or one of those beside it, cannot be read, is cut off, is not an export, or has no
/// people; the message names the file and the place in it.
pub(super) fn read(
    source: &str,
    config: &RealmExportConfig,
    interest: &dyn Interest,
    progress: &OnProgress,
) -> Result<Snapshot, SourceError> {
    let path = realm_file(&config.path, config.realm.as_deref())?;
    read_file(&path, source, config, interest, progress)
}

fn read_file(
    path: &Path,
    source: &str,
    config: &RealmExportConfig,
    interest: &dyn Interest,
    progress: &OnProgress,
) -> Result<Snapshot, SourceError> {
    let failed = |fault: Fault| failed(path, &fault);
    let file = load(path)?;
    let text = document::pick(&file, config.realm.as_deref()).map_err(failed)?;
    let mut odd = Oddities::default();
    let export = export::parse(text, &mut odd).map_err(failed)?;
    let realm = export.realm.as_str();

    let mut builder = SnapshotBuilder::new(false);
    builder.from_file();
    let graph = Graph::build(&export, &config.clients, interest, &mut builder, &mut odd);
    let has_groups = export.groups.is_some();
    let mut people = People::new(
        builder,
        odd,
        graph,
        interest.attributes(),
        config.service_accounts,
        has_groups,
        source,
        progress,
    );
    if export.has_users {
        people.read(text).map_err(failed)?;
    }

    let beside = users_files(path, realm)?;
    if people.persons() > 0 {
        if let Some(first) = beside.first() {
            let (first, path) = (first.display(), path.display());
            people.builder.tell(Diagnostic::warning(
                DiagnosticCode::UsersFileUnread,
                Subject::File(first.to_string()),
                format!(
                    "`{first}` is not read, nor what follows it: `{path}` has users of its own"
                ),
            ));
        }
    } else {
        for path in &beside {
            read_beside(path, realm, &mut people)?;
        }
    }
    if people.persons() == 0 {
        return Err(failed(nobody(&export, people.service_accounts())));
    }
    if !has_groups && !export.roles.there && !people.in_anything() {
        let why = "it has neither `groups` nor `roles`, and no user is in any: it lists people but \
                   not what they are in; export the whole realm with `kc.sh export`";
        let doubts = &mut people.odd.doubts;
        doubts.groups.get_or_insert_with(|| why.to_owned());
        doubts.roles.get_or_insert_with(|| why.to_owned());
    }
    organizations::read(text, &export.organizations, &config.clients, interest, &mut people)
        .map_err(failed)?;
    let mut builder = people.finish();
    for told in diagnostics(&export, config) {
        builder.tell(told);
    }
    Ok(builder.finish())
}

/// What is wrong with an export that lists no person.
fn nobody(export: &Export, service_accounts: u64) -> Fault {
    let realm = &export.realm;
    let what = match service_accounts {
        0 if export.has_users => "its `users` are an empty list".to_owned(),
        0 => format!("it has no `users`, and no `{realm}-users-0.json` lies beside it"),
        1 => "its only user is a service account".to_owned(),
        n => format!("its {n} users are all service accounts"),
    };
    Fault::whole(format!(
        "{what}, so it says nothing about people, as with the admin console's partial export; \
         write it with `kc.sh export --realm {realm} --users same_file --file FILE`"
    ))
}

fn diagnostics(export: &Export, config: &RealmExportConfig) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    if export.enabled == Some(false) {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::RealmDisabled,
            Subject::None,
            format!(
                "the realm `{}` is disabled: nobody can sign in there, yet its people count here; \
             enable it and export it again, or leave this source out",
                export.realm
            ),
        ));
    }
    if export.groups.is_none() {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::ExportIncomplete,
            Subject::scope("groups"),
            "the export has no `groups`: nobody is in any",
        ));
    }
    match export.federated {
        0 => {}
        1 => warnings.push(Diagnostic::warning(
            DiagnosticCode::ExportIncomplete,
            Subject::scope("users"),
            "1 user of a federation without import is left out: an export does not name such",
        )),
        n => warnings.push(Diagnostic::warning(
            DiagnosticCode::ExportIncomplete,
            Subject::scope("users"),
            format!(
                "{n} users of federations without import are left out: an export does not name such"
            ),
        )),
    }
    let roles = export.roles.client.iter().flatten().map(|(id, _)| id);
    let known: Vec<&String> = export.clients.iter().map(|it| &it.id).chain(roles).collect();
    let absent = |client: &&String| !known.contains(client) && !builtin::is_client(client);
    for client in config.clients.iter().filter(absent) {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::ClientAbsent,
            Subject::Client(client.clone()),
            format!("client `{client}` of `clients` is not in the export"),
        ));
    }
    warnings
}

fn read_beside(path: &Path, realm: &str, people: &mut People<'_>) -> Result<(), SourceError> {
    let failed = |fault: Fault| failed(path, &fault);
    let file = load(path)?;
    let text = document::pick(&file, None).map_err(failed)?;
    let part = export::parse(text, &mut people.odd).map_err(failed)?;
    if part.realm != realm {
        let name = &part.realm;
        return Err(failed(Fault::whole(format!(
            "it is of realm `{name}`, but lies beside realm `{realm}`"
        ))));
    }
    if !part.has_users {
        return Err(failed(Fault::whole("it has no `users`")));
    }
    people.read(text).map_err(failed)
}

/// The realm's file: `path` itself, or of the folder that it names the `*-realm.json` of that realm,
/// or the only one.
fn realm_file(path: &Path, realm: Option<&str>) -> Result<PathBuf, SourceError> {
    let about = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !about.is_dir() {
        return Ok(path.to_owned());
    }
    let mut found = names_in(path)?;
    found.retain(|name| match realm {
        Some(realm) => *name == format!("{realm}-realm.json"),
        None => name.ends_with("-realm.json"),
    });
    match found.as_slice() {
        [one] => Ok(path.join(one)),
        [] => {
            let realm = realm.unwrap_or("REALM");
            Err(failed(path, &Fault::whole(format!("the folder holds no `{realm}-realm.json`"))))
        }
        several => Err(failed(
            path,
            &Fault::whole(format!(
                "the folder holds {} realms (`{}`): pick one with `realm = \"…\"`",
                several.len(),
                several.join("`, `")
            )),
        )),
    }
}

/// The files beside `path` that hold users of `realm`, in their order.
fn users_files(path: &Path, realm: &str) -> Result<Vec<PathBuf>, SourceError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut files = BTreeMap::new();
    for name in names_in(folder)? {
        if let Some((of, number)) = users_in(&name)
            && of == realm
        {
            files.insert(number, folder.join(name));
        }
    }
    // A copy that lost a file in the middle would otherwise read as people who are gone. (That the
    // last ones are there cannot be told from what Keycloak writes.)
    for (expected, number) in (0..).zip(files.keys()) {
        if expected != *number {
            return Err(failed(
                path,
                &Fault::whole(format!(
                    "`{realm}-users-{expected}.json` is missing beside it, though \
                     `{realm}-users-{number}.json` is there: the export was not copied whole"
                )),
            ));
        }
    }
    Ok(files.into_values().collect())
}

/// The realm whose users a file of this name holds, and its place among those that do.
pub(super) fn users_in(name: &str) -> Option<(&str, u64)> {
    let (realm, number) = name.strip_suffix(".json")?.rsplit_once("-users-")?;
    Some((realm, number.parse().ok()?))
}

fn names_in(folder: &Path) -> Result<Vec<String>, SourceError> {
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        // Names that are not UTF-8 are none of Keycloak's.
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The text of a file, read once and whole: what is checked is what is used.
fn load(path: &Path) -> Result<String, SourceError> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    let bytes =
        super::encoding::utf8(bytes).map_err(|why| failed(path, &Fault::whole(why.to_string())))?;
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
        failed(path, &Fault { text: "not UTF-8".to_owned(), at: Some((line, column + 1)) })
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(document::without_comments(text))
}

fn unreadable(path: &Path, error: &std::io::Error) -> SourceError {
    let why = match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => {
            "permission denied: let the account that runs this read it".to_owned()
        }
        _ => error.to_string(),
    };
    failed(path, &Fault::whole(why))
}

fn failed(path: &Path, fault: &Fault) -> SourceError {
    SourceError::fatal(format!("cannot read the realm export `{}`: {fault}", path.display()))
        .of_kind(SourceErrorKind::File)
}
