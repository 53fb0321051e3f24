//! Codes of diagnostics: documented, and each of those that runs produce is produced by some input.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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

/// Both crates' files but those that are tests alone, each without its tests: path and text.
fn program() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("crates/core/src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let without = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                found.push((path, without.to_owned()));
            }
        }
    }
    assert!(found.len() > 300, "both crates are there: {} files", found.len());
    found
}

/// The variants of `DiagnosticCode` that `text` makes, as far as its own lines tell.
fn made(text: &str) -> BTreeSet<String> {
    let renamed = text.contains("DiagnosticCode as Code");
    let names = ["DiagnosticCode::", "Code::"];
    let names = names.into_iter().filter(|name| renamed || *name != "Code::");
    let variant = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
    let after = |name: &'static str| text.match_indices(name).map(move |(at, _)| at + name.len());
    names.flat_map(after).map(|at| variant(&text[at..])).collect()
}

/// A code that nothing has is a row of the page that never comes.
#[test]
fn every_code_is_produced() {
    let all: Vec<(PathBuf, String)> = program();
    let of = |(path, text): &(PathBuf, String)| {
        if path.ends_with("model/diagnostic_code.rs") { BTreeSet::new() } else { made(text) }
    };
    let produced: BTreeSet<String> = all.iter().flat_map(of).collect();
    let never: Vec<String> = DiagnosticCode::ALL
        .iter()
        .map(|code| format!("{code:?}"))
        .filter(|name| !produced.contains(name))
        .collect();
    assert!(never.is_empty(), "nothing makes these: {never:?}");
}

/// A `Result` whose error is a text says nothing of what can go wrong: whoever gets it can only show it.
#[test]
fn no_error_is_a_text() {
    let mut told = Vec::new();
    for (path, text) in program() {
        // Over the ends of lines, as far as the type's end.
        let text = text.replace('\n', " ");
        for (at, _) in text.match_indices("Result<") {
            let error = error_of(&text[at + "Result<".len()..]);
            if matches!(error, "String" | "&'static str" | "&str") {
                let around: String = text[..at].chars().rev().take(80).collect();
                let around: String = around.chars().rev().collect();
                told.push(format!("{}: {around}Result<…, {error}>", path.display()));
            }
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// The last of a type's arguments, of which `rest` are the first character and what follows.
fn error_of(rest: &str) -> &str {
    let (mut depth, mut from) = (0_i32, None);
    for (at, c) in rest.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' if rest[..at].ends_with('-') => {}
            '>' | ')' | ']' if depth == 0 => {
                return from.map_or("", |from: usize| rest[from..at].trim().trim_end_matches(','));
            }
            '>' | ')' | ']' => depth -= 1,
            ',' if depth == 0 && !rest[at + 1..].trim_start().starts_with('>') => {
                from = Some(at + 1);
            }
            _ => {}
        }
    }
    ""
}

#[test]
fn an_error_that_is_a_text_is_seen() {
    for (rest, error) in [
        ("(), String> {", "String"),
        ("Vec<(u8, String)>, Fault>", "Fault"),
        ("HashMap<String, String>, E>", "E"),
        ("Result<(), String>, SourceError>", "SourceError"),
        ("u8>", ""),
        ("      Option<u8>,     String,  > {", "String"),
        ("impl Fn(&str) -> Result<T, String>, u8>", "u8"),
    ] {
        assert_eq!(error_of(rest), error, "{rest}");
    }
}
