//! How things print: text for people, aligned, coloured on a terminal only; JSON for programs.

use std::io::{IsTerminal, Write};

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Colours where standard output is a terminal and `NO_COLOR` is not set (to something).
    #[must_use]
    pub fn detect() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style { colour: std::io::stdout().is_terminal() && !plain }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A heading.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What is gained.
    #[must_use]
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What is lost, what failed.
    #[must_use]
    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What changes, what is worth a look.
    #[must_use]
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What explains.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// Rows of cells, printed in aligned columns. The last cell of a row is not padded.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Adds a row. Cells are plain; `paint` is applied to the finished line's cell by its column.
    pub fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.iter().map(|cell| shown(cell)).collect());
    }

    /// The lines, each cell painted by `paint(row, column, padded text)`.
    pub fn lines(&self, indent: &str, paint: impl Fn(usize, usize, &str) -> String) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let width = |row: &Vec<String>| row.get(column).map_or(0, |c| c.chars().count());
                self.rows.iter().map(width).max().unwrap_or(0).min(48)
            })
            .collect();
        self.rows
            .iter()
            .enumerate()
            .map(|(row, cells)| {
                let mut line = indent.to_owned();
                let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
                for (column, cell) in cells.iter().enumerate().take(last + 1) {
                    let width = widths.get(column).copied().unwrap_or(0);
                    let padding = if column == last {
                        0
                    } else {
                        width.saturating_sub(cell.chars().count()) + 2
                    };
                    line.push_str(&paint(row, column, cell));
                    line.extend(std::iter::repeat_n(' ', padding));
                }
                line
            })
            .collect()
    }

    /// The lines without colours.
    #[must_use]
    pub fn plain(&self, indent: &str) -> Vec<String> {
        self.lines(indent, |_, _, cell| cell.to_owned())
    }
}

/// A text from outside, made safe for a terminal: control characters come escaped.
#[must_use]
pub fn shown(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars()
            .flat_map(|c| {
                let escaped: Vec<char> =
                    if c.is_control() { c.escape_default().collect() } else { vec![c] };
                escaped
            })
            .collect()
    } else {
        text.to_owned()
    }
}

/// Writes lines to standard output. A reader that has gone away (`| head`) is no error.
///
/// # Errors
/// Standard output cannot be written.
pub fn lines(lines: &[String]) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        match writeln!(out, "{line}") {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(format!("cannot write to standard output: {error}")),
        }
    }
    Ok(())
}

/// Says a line on standard error. Where nobody can hear it the command goes on all the same.
pub fn aside(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes `value` as JSON to standard output, on several lines.
///
/// # Errors
/// Standard output cannot be written.
pub fn json(value: &impl serde::Serialize) -> Result<(), String> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let done = serde_json::to_writer_pretty(&mut out, value)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// `1 user`, `2 users`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
