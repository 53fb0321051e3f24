//! What is not TOML, and what can be read of the file all the same.
//!
//! The parser gives up at the first line that it cannot follow. So that one slip does not hide
//! every other fault, that line is blanked (each byte a space: places stay what they are) and the
//! rest is parsed again.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Code, Lines, RawFault};
use super::reader::child;

/// More slips than that in one file are not worth a parse each.
const MOST: usize = 50;

/// A text that is TOML, and what had to go.
pub(super) struct Repaired {
    /// As long as the original, with blanks in place of what is not TOML.
    pub text: String,
    /// What was found: where, which bytes, in the parser's words.
    errors: Vec<(std::ops::Range<usize>, String)>,
    /// Lines in which a key may be no key at all, but what is left of a broken string.
    doubtful: Vec<RangeInclusive<usize>>,
}

/// Blanks whatever is not TOML.
pub(super) fn repair(original: &str, lines: &Lines<'_>) -> Repaired {
    let mut text = original.to_owned();
    let mut errors: Vec<(std::ops::Range<usize>, String)> = Vec::new();
    let mut doubtful = Vec::new();
    let mut last: Option<RangeInclusive<usize>> = None;
    while let Some((span, message)) = first_error(&text) {
        let line = lines.line(span.start.min(text.len()));
        let content = lines.content(&text, line).trim();
        // The line after a blanked one is broken too: something was left open there, and every
        // line from there on would be an error in its turn. One is enough.
        let run = last.as_ref().is_some_and(|last| {
            (last.end() + 1..line).all(|line| lines.content(&text, line).trim().is_empty())
        });
        if run || content.is_empty() || errors.len() >= MOST {
            if errors.is_empty() {
                errors.push((span, message));
            }
            let from = last.as_ref().map_or(line, |last| *last.start());
            text = cut(text, lines, from);
            break;
        }
        let rest = lines.rest_of_table(span.start);
        // Without its header, a table's keys would fall to the table before.
        let blanked = if content.starts_with('[') { rest.clone() } else { line..=line };
        // Of a string of several lines anything may be left, headers too.
        let open = content.contains("\"\"\"") || content.contains("'''");
        doubtful.push(if open { line..=usize::MAX } else { rest });
        text = blank(&text, lines, blanked.clone());
        errors.push((span, message));
        last = Some(blanked);
    }
    Repaired { text, errors, doubtful }
}

fn first_error(text: &str) -> Option<(std::ops::Range<usize>, String)> {
    let (_, errors) = DeTable::parse_recoverable(text);
    errors
        .iter()
        .map(|error| {
            (error.span().unwrap_or(text.len()..text.len()), in_words(error.message()).to_owned())
        })
        .min_by_key(|(span, _)| span.start)
}

/// The parser's message, which is a fixed text that quotes nothing of the file; clearer where it
/// guesses.
fn in_words(message: &str) -> &str {
    match message {
        "string values must be quoted, expected literal string" => {
            "the value is missing or a string without quotes"
        }
        message => message,
    }
}

/// Blanks everything from line `from`, and as much before it as it takes to have TOML again: what
/// was left open there begins further up.
fn cut(mut text: String, lines: &Lines<'_>, mut from: usize) -> String {
    text = blank(&text, lines, from..=usize::MAX);
    while from > 1 && first_error(&text).is_some() {
        from -= 1;
        text = blank(&text, lines, from..=from);
    }
    text
}

/// `text` with spaces in place of all but the line ends of some lines.
fn blank(text: &str, lines: &Lines<'_>, which: RangeInclusive<usize>) -> String {
    let range = lines.bytes(which);
    let mut blanked = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if range.contains(&at) && !matches!(c, '\n' | '\r') {
            blanked.extend(std::iter::repeat_n(' ', c.len_utf8()));
        } else if c == '\r' && !text.get(at + 1..).is_some_and(|rest| rest.starts_with('\n')) {
            // A carriage return alone is no line end, and no TOML either.
            blanked.push(if range.contains(&at) { ' ' } else { c });
        } else {
            blanked.push(c);
        }
    }
    blanked
}

impl Repaired {
    /// Puts what was found among the faults of `tree` (of the repaired text), and takes out those
    /// that may only be its echo: what is missing or unknown may stand in what was blanked.
    pub(super) fn report(
        &self,
        original: &str,
        lines: &Lines<'_>,
        tree: &DeTable<'_>,
        faults: &mut Vec<RawFault>,
    ) {
        if self.errors.is_empty() {
            return;
        }
        faults.retain(|fault| match fault.code {
            Code::MissingKey | Code::UnknownName => false,
            // These name the key, and here it may be the end of a secret.
            Code::UnknownKey => {
                let line = lines.line(fault.span.start);
                !self.doubtful.iter().any(|lines| lines.contains(&line))
            }
            Code::Syntax | Code::WrongType | Code::BadValue | Code::Conflict | Code::Unreadable => {
                true
            }
        });
        for (span, message) in &self.errors {
            let content = lines.content(original, lines.line(span.start)).trim();
            let mut key = String::new();
            if message == "duplicate key" && content.starts_with('[') {
                let header = content.trim_start_matches('[').split(']').next().unwrap_or_default();
                header.trim().clone_into(&mut key);
            } else {
                enclosing(tree, "", span.start, &mut (0, &mut key));
                if message == "duplicate key" {
                    let name = original.get(span.clone()).unwrap_or_default();
                    key = child(&key, name.trim_matches(['"', '\'']));
                }
            }
            let (span, message) = (span.clone(), message.clone());
            let code = Code::Syntax;
            faults.push(RawFault { span, key, code, message, did_you_mean: None });
        }
    }
}

/// The path of the table whose header stands last before `offset`.
fn enclosing(table: &DeTable<'_>, path: &str, offset: usize, best: &mut (usize, &mut String)) {
    let mut visit = |value: &Spanned<DeValue<'_>>, path: String| {
        if let DeValue::Table(table) = value.get_ref() {
            let start = value.span().start;
            if start <= offset && start >= best.0 {
                best.0 = start;
                best.1.clone_from(&path);
            }
            enclosing(table, &path, offset, best);
        }
    };
    for (name, value) in table {
        let path = child(path, name.get_ref());
        if let DeValue::Array(array) = value.get_ref() {
            for (place, item) in (1usize..).zip(array.iter()) {
                visit(item, format!("{path}[{place}]"));
            }
        } else {
            visit(value, path);
        }
    }
}
