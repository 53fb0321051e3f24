//! How things print: text for people, aligned, coloured on a terminal only; JSON for programs.

use std::io::{IsTerminal, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Colours, or none; how much fits on a line.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colour: bool,
    width: Option<usize>,
}

impl Style {
    /// Colours where standard output is a terminal and `NO_COLOR` is not set (to something).
    #[must_use]
    pub fn detect() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = terminal_width();
        Style { colour: width.is_some() && !plain, width }
    }

    /// Without colours, at a width.
    #[cfg(test)]
    pub(super) fn plain(width: Option<usize>) -> Self {
        Style { colour: false, width }
    }

    /// The terminal's width; `None`: it is no terminal, and lines are as long as they are.
    #[must_use]
    pub fn width(self) -> Option<usize> {
        self.width
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
                let width = |row: &Vec<String>| row.get(column).map_or(0, |c| c.width());
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
                    let padding =
                        if column == last { 0 } else { width.saturating_sub(cell.width()) + 2 };
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

/// Standard output's width, where that is a terminal.
fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let said = rustix::termios::tcgetwinsize(&out).map_or(0, |size| usize::from(size.ws_col));
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    // Some terminals do not know their width. On a very narrow one nothing reads well anyway.
    let width = if said > 0 { Some(said) } else { columns() };
    Some(width.unwrap_or(80).max(NARROWEST))
}

const NARROWEST: usize = 40;

/// `line` in as many lines as it takes at `width`, the further ones beginning with `indent`. It is
/// broken at spaces, and within a word that is wider than a line; nothing is left out. Colours take
/// no room.
#[must_use]
pub fn wrap(line: &str, width: Option<usize>, indent: &str) -> Vec<String> {
    let Some(width) = width else { return vec![line.to_owned()] };
    let indent_width = indent.width();
    let mut out = Vec::new();
    let mut current = String::new();
    let mut used = 0;
    // The last space after some text: where it is, and how wide what comes before and with it is.
    let mut space: Option<(usize, usize)> = None;
    let mut has_text = false;
    let mut escape = false;
    for c in line.chars() {
        if escape || c == '\u{1b}' {
            escape = c != 'm';
            current.push(c);
            continue;
        }
        let wide = c.width().unwrap_or(0);
        if used + wide > width && has_text {
            if c == ' ' {
                // It would be the first of the next line.
                out.push(std::mem::replace(&mut current, indent.to_owned()));
                (used, space, has_text) = (indent_width, None, false);
                continue;
            }
            let (rest, rest_width) = match space {
                // What comes after the space must fit where it goes.
                Some((place, before)) if indent_width + used - before + wide <= width => {
                    let rest = current.split_off(place).split_off(1);
                    current.truncate(current.trim_end().len());
                    (rest, used - before)
                }
                _ => (String::new(), 0),
            };
            out.push(std::mem::replace(&mut current, format!("{indent}{rest}")));
            (used, space, has_text) = (indent_width + rest_width, None, rest_width > 0);
        }
        match c {
            ' ' if !has_text && !out.is_empty() => continue,
            ' ' if has_text => space = Some((current.len(), used + 1)),
            ' ' => {}
            _ => has_text = true,
        }
        current.push(c);
        used += wide;
    }
    if has_text || out.is_empty() {
        out.push(current);
    } else if let Some(last) = out.last_mut() {
        // What is left is the end of a colour.
        last.push_str(current.trim_start());
    }
    out
}

/// Writes lines to standard output, on a terminal so that they fit it. A reader that has gone away
/// (`| head`) is no error.
///
/// # Errors
/// Standard output cannot be written.
pub fn lines(lines: &[String]) -> Result<(), OutputError> {
    let width = terminal_width();
    let fitted: Vec<String> = lines
        .iter()
        .flat_map(|text| text.split('\n'))
        .flat_map(|line| {
            let depth = line.len() - line.trim_start_matches(' ').len();
            let indent = if depth == 0 { 2 } else { depth + 5 };
            wrap(line, width, &" ".repeat(indent))
        })
        .collect();
    plain(&fitted)
}

/// Writes lines to standard output as they are.
///
/// # Errors
/// Standard output cannot be written.
pub fn plain(lines: &[String]) -> Result<(), OutputError> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let done = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    written(done)
}

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(#[source] std::io::Error);

/// What came of writing to standard output. A reader that has gone away (`| head`) is no error.
pub(super) fn written(done: std::io::Result<()>) -> Result<(), OutputError> {
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(OutputError(error)),
        _ => Ok(()),
    }
}

/// Says a line on standard error. Where nobody can hear it the command goes on all the same.
pub fn aside(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes `value` as JSON to standard output, on several lines.
///
/// # Errors
/// Standard output cannot be written.
pub fn json(value: &impl serde::Serialize) -> Result<(), OutputError> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let done = serde_json::to_writer_pretty(&mut out, value)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    written(done)
}

/// Writes `items` as a list in JSON to standard output, one after the other.
///
/// # Errors
/// Standard output cannot be written.
pub fn json_list<T: serde::Serialize>(items: impl Iterator<Item = T>) -> Result<(), OutputError> {
    struct List<I>(std::cell::RefCell<I>);
    impl<T: serde::Serialize, I: Iterator<Item = T>> serde::Serialize for List<I> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(&mut *self.0.borrow_mut())
        }
    }
    json(&List(std::cell::RefCell::new(items)))
}

/// `1 user`, `2 users`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_at_spaces_and_nothing_of_it_is_lost() {
        let cases: [(&str, usize, &[&str]); 8] = [
            ("short", 10, &["short"]),
            ("", 10, &[""]),
            ("  one two three", 9, &["  one two", "    three"]),
            ("one two three", 9, &["one two", "    three"]),
            // Wider than a line.
            ("abcdefghijklmnop", 10, &["abcdefghij", "    klmnop"]),
            ("a bcdefghijklmnop", 10, &["a bcdefghi", "    jklmno", "    p"]),
            // A Chinese character takes two columns.
            ("王小明 王小明", 8, &["王小明", "    王小", "    明"]),
            // Colours take none.
            ("\u{1b}[31mred\u{1b}[0m words here", 9, &["\u{1b}[31mred\u{1b}[0m words", "    here"]),
        ];
        for (line, width, expected) in cases {
            assert_eq!(wrap(line, Some(width), "    "), expected, "{line}");
            assert_eq!(wrap(line, None, "    "), [line]);
        }
    }
}
