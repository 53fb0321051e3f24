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
