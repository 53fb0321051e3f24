//! Rows that are printed as they come, however many: aligned text for people, a JSON list or CSV for
//! programs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;

use unicode_width::UnicodeWidthStr;

use super::args::Format;
use super::print::{self, Style};

/// A row.
pub(super) trait Line: serde::Serialize {
    /// Its cells, for CSV.
    fn cells(&self) -> Vec<Cow<'_, str>>;

    /// Its cells as people read them.
    fn shown(&self) -> Vec<Cow<'_, str>> {
        self.cells()
    }

    /// The first cell, coloured.
    fn paint(&self, cell: &str, _style: Style) -> String {
        cell.to_owned()
    }
}

/// So much output waits in memory, so that no reader of a pipe who takes his time keeps the store's
/// transaction open, unless there is more than that.
const WAITING: usize = 8 << 20;

/// The columns of text are as wide as the first so many rows need; a later, wider cell moves the
/// rest of its line.
const MEASURED: usize = 1_000;

/// No column is padded beyond this.
const WIDEST: usize = 48;

/// Where the rows go. [`Sheet::finish`] comes last.
pub(super) struct Sheet {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
    style: Style,
    columns: &'static [&'static str],
    rows: u64,
    /// Rows of text that wait until the columns' widths are known: cells, and the first one painted.
    waiting: Vec<(Vec<String>, String)>,
    widths: Vec<usize>,
    failed: Option<std::io::Error>,
}

impl Sheet {
    /// A sheet with these columns; `columns` are the header of CSV and of text.
    pub(super) fn new(format: Format, columns: &'static [&'static str]) -> Self {
        Sheet {
            out: BufWriter::with_capacity(WAITING, std::io::stdout().lock()),
            format,
            style: Style::detect(),
            columns,
            rows: 0,
            waiting: Vec::new(),
            widths: Vec::new(),
            failed: None,
        }
    }

    /// A line of text for people, above the rows or below them; no other format has it.
    pub(super) fn note(&mut self, line: &str) {
        if self.format == Format::Text {
            self.settle();
            self.fitted(line);
        }
    }

    /// Puts `row` out; breaks off where nobody reads any more.
    pub(super) fn row(&mut self, row: &impl Line) -> ControlFlow<()> {
        match self.format {
            Format::Json => self.json(row),
            Format::Csv => {
                if self.rows == 0 {
                    self.csv_header();
                }
                let line = csv(&row.cells());
                self.put(&line);
            }
            Format::Text => {
                let cells: Vec<String> =
                    row.shown().iter().map(|cell| print::shown(cell)).collect();
                let first = cells.first().map(|cell| row.paint(cell, self.style));
                let line = (cells, first.unwrap_or_default());
                if self.widths.is_empty() {
                    self.waiting.push(line);
                    if self.waiting.len() >= MEASURED {
                        self.settle();
                    }
                } else {
                    self.aligned(&line.0, &line.1);
                }
            }
        }
        self.rows += 1;
        if self.failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// How many rows there were so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the output. A reader that has gone away (`| head`) is no error.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn finish(mut self) -> Result<(), print::OutputError> {
        self.settle();
        match self.format {
            Format::Json if self.rows == 0 => self.put("[]\n"),
            Format::Json => self.put("\n]\n"),
            Format::Csv if self.rows == 0 => self.csv_header(),
            Format::Csv | Format::Text => {}
        }
        print::written(match self.failed {
            Some(error) => Err(error),
            None => self.out.flush(),
        })
    }

    fn put(&mut self, text: &str) {
        if self.failed.is_none()
            && let Err(error) = self.out.write_all(text.as_bytes())
        {
            self.failed = Some(error);
        }
    }

    fn json(&mut self, row: &impl Line) {
        self.put(if self.rows == 0 { "[\n  " } else { ",\n  " });
        match serde_json::to_string_pretty(row) {
            // No text of JSON holds a line end: those are the layout's.
            Ok(text) => self.put(&text.replace('\n', "\n  ")),
            Err(error) => self.failed = Some(error.into()),
        }
    }

    fn csv_header(&mut self) {
        let cells: Vec<Cow<'_, str>> = self.columns.iter().map(|name| (*name).into()).collect();
        self.put(&csv(&cells));
    }

    /// Writes the rows of text that wait, and the header above them.
    fn settle(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return;
        }
        let header: Vec<String> = self.columns.iter().map(|name| name.to_uppercase()).collect();
        let width = |column: usize| {
            let of = |cells: &Vec<String>| cells.get(column).map_or(0, |cell| cell.width());
            let rows = waiting.iter().map(|(cells, _)| of(cells));
            rows.chain([of(&header)]).max().unwrap_or(0).min(WIDEST)
        };
        self.widths = (0..self.columns.len()).map(width).collect();
        let header: Vec<String> = header.iter().map(|name| self.style.bold(name)).collect();
        let plain: Vec<usize> = self.columns.iter().map(|name| name.len()).collect();
        let mut line = String::new();
        for (column, name) in header.iter().enumerate() {
            line.push_str(name);
            let padding = self.padding(column, plain.get(column).copied().unwrap_or(0));
            if column + 1 < header.len() {
                line.extend(std::iter::repeat_n(' ', padding));
            }
        }
        self.fitted(&line);
        for (cells, first) in waiting {
            self.aligned(&cells, &first);
        }
    }

    fn padding(&self, column: usize, width: usize) -> usize {
        self.widths.get(column).copied().unwrap_or(0).saturating_sub(width) + 2
    }

    fn aligned(&mut self, cells: &[String], first: &str) {
        let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate().take(last + 1) {
            line.push_str(if column == 0 { first } else { cell });
            if column < last {
                let padding = self.padding(column, cell.width());
                line.extend(std::iter::repeat_n(' ', padding));
            }
        }
        self.fitted(&line);
    }

    fn fitted(&mut self, line: &str) {
        for part in print::wrap(line, self.style.width(), "    ") {
            self.put(&part);
            self.put("\n");
        }
    }
}

/// One line of CSV (RFC 4180), its CRLF included.
fn csv(cells: &[Cow<'_, str>]) -> String {
    let mut line = String::new();
    for (column, cell) in cells.iter().enumerate() {
        if column > 0 {
            line.push(',');
        }
        // What a spreadsheet would take for a formula becomes a text.
        let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        if cell.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
            // Writing to a string cannot fail.
            let _ = write!(line, "\"{guard}{}\"", cell.replace('"', "\"\""));
        } else {
            line.push_str(guard);
            line.push_str(cell);
        }
    }
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::csv;

    fn line(cells: &[&str]) -> String {
        csv(&cells.iter().map(|cell| Cow::Borrowed(*cell)).collect::<Vec<_>>())
    }

    #[test]
    fn a_line_is_quoted_as_rfc_4180_has_it_and_no_cell_is_a_formula() {
        let cases: [(&[&str], &str); 19] = [
            (&["user", "role"], "user,role"),
            (&["", ""], ","),
            (&["a b", " c "], "a b, c "),
            (&["a,b"], "\"a,b\""),
            (&["say \"hi\""], "\"say \"\"hi\"\"\""),
            (&["two\nlines"], "\"two\nlines\""),
            (&["two\r\nlines", "x"], "\"two\r\nlines\",x"),
            (&["王小明", "ß"], "王小明,ß"),
            (&["it's"], "it's"),
            (&["=1+1"], "'=1+1"),
            (&["+1"], "'+1"),
            (&["-1"], "'-1"),
            (&["@SUM(A1)"], "'@SUM(A1)"),
            (&["\tx"], "'\tx"),
            (&["\rx"], "\"'\rx\""),
            (&["=HYPERLINK(\"http://x\",\"y\")"], "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            // Only at the beginning.
            (&["a=b", "1-2", "a@b.example", "x\ty"], "a=b,1-2,a@b.example,x\ty"),
            (&["'=1"], "'=1"),
            (&["=", "-", "+", "@"], "'=,'-,'+,'@"),
        ];
        for (cells, expected) in cases {
            assert_eq!(line(cells), format!("{expected}\r\n"), "{cells:?}");
        }
    }

    /// One record, read strictly by the grammar of RFC 4180, section 2.
    fn read(text: &str) -> Vec<String> {
        let mut rest = text.strip_suffix("\r\n").unwrap();
        let mut cells = Vec::new();
        loop {
            let mut cell = String::new();
            if let Some(quoted) = rest.strip_prefix('"') {
                rest = quoted;
                loop {
                    let (part, after) = rest.split_once('"').unwrap();
                    cell.push_str(part);
                    rest = after;
                    match rest.strip_prefix('"') {
                        Some(after) => rest = after,
                        None => break,
                    }
                    cell.push('"');
                }
            } else {
                let end = rest.find(',').unwrap_or(rest.len());
                cell.push_str(&rest[..end]);
                assert!(!cell.contains(['"', '\r', '\n']), "{cell:?}");
                rest = &rest[end..];
            }
            cells.push(cell);
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => break,
            }
        }
        assert_eq!(rest, "", "{text:?}");
        cells
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            cells in prop::collection::vec("[a=+@\\-'\", \t\r\n王]{0,8}", 1..5)
        ) {
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            for (read, written) in read(&line(&cells)).iter().zip(&cells) {
                match written.chars().next() {
                    Some('=' | '+' | '-' | '@' | '\t' | '\r') => {
                        prop_assert_eq!(read, &format!("'{written}"));
                    }
                    _ => prop_assert_eq!(read, written),
                }
            }
        }
    }
}
