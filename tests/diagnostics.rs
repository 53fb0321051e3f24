//! Codes of diagnostics: documented, and each of those that runs produce is produced by some input.

use std::collections::BTreeSet;

use idpsyncd::model::DiagnosticCode;

#[test]
fn every_code_is_documented_and_nothing_else_is() {
    let page = include_str!("../docs/output.md");
    let start = page.find("\n| code | what is so | what to do |\n").expect("the table is there");
    let rows = page[start + 1..].lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut documented = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        assert!(documented.insert(cells[0].trim_matches('`')), "twice: {row}");
    }
    let codes: BTreeSet<&str> = DiagnosticCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(documented, codes);
}

/// Rooms whose errors all have types.
const TYPED: [&str; 11] = [
    "policy",
    "model",
    "directory",
    "resolve",
    "plan",
    "routes",
    "store",
    "sync",
    "gateway",
    "daemon",
    "cli",
];

/// A `Result` whose error is a text says nothing of what can go wrong: whoever gets it can only show it.
#[test]
fn in_these_rooms_no_error_is_a_text() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let of = |room: &str| {
        let places = ["src", "crates/core/src"].map(|crate_| root.join(crate_).join(room));
        places.into_iter().find(|it| it.is_dir()).unwrap_or_else(|| panic!("no room `{room}`"))
    };
    let mut folders: Vec<_> = TYPED.iter().map(|room| of(room)).collect();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Tests may say as they like what went wrong.
                if path.file_name().is_some_and(|name| name != "tests") {
                    folders.push(path);
                }
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for (line, text) in (1..).zip(text.lines()) {
                let is_text = text.contains("Result<") && text.contains(", String>");
                let is_map = text.contains("Map<");
                assert!(!is_text || is_map, "{}:{line}: {text}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "the rooms are there: {seen} files");
}
