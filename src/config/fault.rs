//! What is wrong with a configuration, all of it at once, each fault with its place.
//!
//! A fault never quotes a line of the file: the line may hold a secret. It names the key's path
//! and, where the value cannot be a secret, the value.

use std::fmt;
use std::path::{Path, PathBuf};

pub use crate::model::fault::{Code, FileFault, near_miss};

/// Every fault of a configuration, its own ones first, sorted by place. Never empty.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Faults {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Sorted by file, line, column, key.
    pub faults: Vec<FileFault>,
}

impl fmt::Display for Faults {
    /// One line a fault, `FILE:LINE:COLUMN: KEY: message`, and a last line with their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{}:{fault}", self.file_of(fault).display())?;
        }
        match self.faults.len() {
            1 => write!(f, "1 fault in {}", self.file.display()),
            n => write!(f, "{n} faults in {}", self.file.display()),
        }
    }
}

impl std::error::Error for Faults {}

impl Faults {
    /// The file that `fault` is in.
    #[must_use]
    pub fn file_of<'f>(&'f self, fault: &'f FileFault) -> &'f Path {
        fault.file.as_deref().unwrap_or(&self.file)
    }
}

/// A fault at a span of bytes: before its line and column are known.
#[derive(Clone, Debug)]
pub(super) struct RawFault {
    /// Bytes of the file.
    pub span: std::ops::Range<usize>,
    /// As in [`FileFault`].
    pub key: String,
    /// As in [`FileFault`].
    pub code: Code,
    /// As in [`FileFault`].
    pub message: String,
    /// As in [`FileFault`].
    pub did_you_mean: Option<String>,
}

/// Lines and columns of a text.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Of `text`.
    pub(super) fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1))
            .collect();
        Lines { text, starts }
    }

    /// The line (from 1) that holds the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// Line and column (characters) of `offset`, both from 1.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.line(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        // A byte order mark takes no column in any editor.
        let column = before.chars().filter(|c| *c != '\u{feff}').count() + 1;
        (line, column)
    }

    /// The bytes of some lines, line ends included.
    pub(super) fn bytes(&self, lines: std::ops::RangeInclusive<usize>) -> std::ops::Range<usize> {
        let start = |line: usize| self.starts.get(line).copied().unwrap_or(self.text.len());
        start(lines.start().saturating_sub(1))..start(*lines.end())
    }

    /// A line of `text`, which has the same lines as this.
    pub(super) fn content<'t>(&self, text: &'t str, line: usize) -> &'t str {
        text.get(self.bytes(line..=line)).unwrap_or("")
    }

    /// The lines from that of `offset` up to the one before the next table header.
    pub(super) fn rest_of_table(&self, offset: usize) -> std::ops::RangeInclusive<usize> {
        let first = self.line(offset);
        let header = |line: &usize| self.content(self.text, *line).trim_start().starts_with('[');
        let last =
            (first + 1..=self.starts.len()).find(header).map_or(self.starts.len(), |l| l - 1);
        first..=last
    }
}

impl Faults {
    /// Gives faults their places, adds those of other files, and sorts them.
    pub(super) fn place(
        file: &Path,
        lines: &Lines<'_>,
        raw: Vec<RawFault>,
        elsewhere: Vec<FileFault>,
    ) -> Self {
        let mut faults: Vec<FileFault> = raw
            .into_iter()
            .map(|RawFault { span, key, code, message, did_you_mean }| {
                let (line, column) = lines.position(span.start);
                FileFault { file: None, line, column, key, code, message, did_you_mean }
            })
            .chain(elsewhere)
            .collect();
        faults.sort();
        faults.dedup();
        Faults { file: file.to_owned(), faults }
    }
}

/// Names for a message: `` `a`, `b`, `c` ``.
pub(super) fn listed<'k>(names: impl IntoIterator<Item = &'k str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
