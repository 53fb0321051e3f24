//! LDIF's records (RFC 2849): entries, one after the other, out of the bytes of a file.
//!
//! Content, and records that add an entry (`changetype: add`), as Microsoft's `ldifde` writes each:
//! both say what is there. Any other change says what was done to something that is not in the
//! file, so it is an error.

use crate::directory::value;
use crate::source::ldap::entry::Entry;

/// What is wrong, and in which line (0: in the file as a whole).
pub(super) struct Fault {
    /// The line.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) why: String,
}

/// A fault of the file as a whole.
pub(super) fn whole(why: impl Into<String>) -> Fault {
    Fault { line: 0, why: why.into() }
}

/// An entry as it stands in the file.
pub(super) struct Record {
    /// The line it starts in.
    pub(super) line: usize,
    /// The entry.
    pub(super) entry: Entry,
    /// Attributes whose value is not here but at a URL: one name, and line.
    pub(super) elsewhere: Vec<(String, usize)>,
}

/// The records of a file, one after the other.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Records<'a> {
    /// The records of a file whose bytes are `bytes`.
    ///
    /// # Errors
    /// It is empty or cut off.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(whole("it is empty"));
        }
        if !bytes.ends_with(b"\n") {
            let line = bytes.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
            let why = "it ends in the middle of a line (the line end is missing): the file looks \
                       cut off";
            return Err(Fault { line, why: why.to_owned() });
        }
        Ok(Records { rest: bytes, line: 0 })
    }

    /// The next physical line, without its end.
    fn physical(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        let line = self.rest.get(..end).unwrap_or(&[]);
        self.rest = self.rest.get(end.saturating_add(1)..).unwrap_or(&[]);
        self.line = self.line.saturating_add(1);
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The next line with what is folded into it, and its number. An empty one ends a record.
    fn logical(&mut self) -> Option<(usize, Vec<u8>)> {
        let mut whole = self.physical()?.to_vec();
        let number = self.line;
        while self.rest.first() == Some(&b' ') {
            let more = self.physical().and_then(|line| line.get(1..)).unwrap_or(&[]);
            whole.extend_from_slice(more);
        }
        Some((number, whole))
    }

    /// The next entry.
    ///
    /// # Errors
    /// It is no LDIF, or says something else than that an entry is there.
    pub(super) fn next_record(&mut self) -> Result<Option<Record>, Fault> {
        let mut current: Option<Record> = None;
        let mut any = false;
        let mut controls: Option<usize> = None;
        while let Some((line, text)) = self.logical() {
            if text.is_empty() {
                if current.is_some() {
                    break;
                }
                continue;
            }
            if text.starts_with(b"#") {
                continue;
            }
            let fault = |why: String| Fault { line, why };
            let (name, value) = attribute(&text).map_err(|why| fault(why.to_string()))?;
            let Some(record) = &mut current else {
                match start(name, value) {
                    Start::Version => {}
                    Start::Entry(dn) => {
                        let entry = Entry::new(dn);
                        current = Some(Record { line, entry, elsewhere: Vec::new() });
                    }
                    Start::Wrong(why) => return Err(fault(why)),
                }
                continue;
            };
            match (name.to_ascii_lowercase().as_str(), value) {
                ("changetype", Value::Here(change))
                    if change.trim_ascii().eq_ignore_ascii_case(b"add") =>
                {
                    controls = None;
                }
                // An entry of 389-DS's change log has an attribute of that name.
                ("changetype", _) if record.entry.is_a("changelogentry") => {}
                ("changetype", _) => {
                    let why = "`changetype` makes this a change record, and only those that add an \
                               entry are read: export what is there, as `slapcat` and `ldapsearch \
                               -LLL` do";
                    return Err(fault(why.to_owned()));
                }
                // A note to the server on how to go about the change, which may be no addition.
                ("control", _) => {
                    controls.get_or_insert(line);
                }
                ("dn", _) => {
                    let why = "a second `dn` in one entry: an empty line is missing before it";
                    return Err(fault(why.to_owned()));
                }
                (_, Value::Here(value)) => {
                    any = true;
                    record.entry.add(name, [value]);
                }
                (_, Value::Elsewhere) => {
                    any = true;
                    record.elsewhere.push((value::attribute(name).into_owned(), line));
                }
            }
        }
        let Some(mut record) = current else { return Ok(None) };
        if let Some(line) = controls {
            let why = "`control` belongs to a change record, and no `changetype: add` follows";
            return Err(Fault { line, why: why.to_owned() });
        }
        if !any {
            let dn = record.entry.dn.escape_debug();
            let why = format!("the entry `{dn}` has no attributes");
            return Err(Fault { line: record.line, why });
        }
        record.entry.join_ranges();
        Ok(Some(record))
    }
}

/// How a record starts.
enum Start {
    Version,
    Entry(String),
    Wrong(String),
}

fn start(name: &str, value: Value) -> Start {
    let Value::Here(value) = value else { return Start::Wrong(from_url(name)) };
    let text = String::from_utf8(value);
    match (name.to_ascii_lowercase().as_str(), text) {
        ("version", Ok(version)) if version.trim() == "1" => Start::Version,
        ("version", _) => Start::Wrong("only version 1 of LDIF is known".to_owned()),
        ("dn", Ok(dn)) => Start::Entry(dn),
        ("dn", Err(_)) => Start::Wrong("the `dn` is not UTF-8".to_owned()),
        ("search" | "result" | "ref", _) => Start::Wrong(format!(
            "`{name}` belongs to the report that `ldapsearch` prints around its answer: export \
             with `-LLL`, and check that its result was 0"
        )),
        _ => Start::Wrong(format!("an entry starts with `dn:`, not with `{name}`")),
    }
}

/// What to say of a value that is needed and stands elsewhere.
pub(super) fn from_url(name: &str) -> String {
    format!(
        "`{name}` takes its value from a URL (`:<`), which is not followed: export the value itself"
    )
}

/// The value of a line.
enum Value {
    Here(Vec<u8>),
    /// At a URL.
    Elsewhere,
}

/// Why a line is not one of an entry. Never says the value: it may be a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum LineFault {
    #[error("`{}` is not `name: value`", .0.escape_debug())]
    NoColon(String),
    #[error("`{}` is not the name of an attribute", .0.escape_debug())]
    NoName(String),
    #[error("the value of `{0}` is not base64, or is cut off")]
    NoBase64(String),
}

/// `name: text`, `name:: base64` or `name:< URL`.
fn attribute(line: &[u8]) -> Result<(&str, Value), LineFault> {
    let shown = || {
        let start = line.split(|byte| *byte == b':').next().unwrap_or(&[]);
        String::from_utf8_lossy(start).chars().take(30).collect::<String>()
    };
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Err(LineFault::NoColon(shown()));
    };
    let (name, rest) = line.split_at(colon);
    let name = std::str::from_utf8(name).ok().filter(|name| {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        // `*` as in Active Directory's `member;range=1500-*`.
        first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-;_=*".contains(&b))
    });
    let Some(name) = name else {
        return Err(LineFault::NoName(shown()));
    };
    let rest = rest.get(1..).unwrap_or(&[]);
    match rest.first() {
        Some(b'<') => Ok((name, Value::Elsewhere)),
        Some(b':') => {
            let text = rest.get(1..).unwrap_or(&[]).trim_ascii();
            let bytes = base64(text).ok_or_else(|| LineFault::NoBase64(name.to_owned()))?;
            Ok((name, Value::Here(bytes)))
        }
        _ => Ok((name, Value::Here(rest.trim_ascii_start().to_vec()))),
    }
}

/// Decodes base64 (RFC 4648) with its padding; `None` where it is malformed or cut off.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let last = (text.len() / 4).checked_sub(1);
    for (index, group) in text.chunks_exact(4).enumerate() {
        let padding = group.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && Some(index) != last) {
            return None;
        }
        let mut bits = 0_u32;
        for byte in group.iter().take(4 - padding) {
            bits = bits << 6 | u32::from(sextet(*byte)?);
        }
        bits <<= 6 * padding;
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend_from_slice(bytes.get(..3 - padding)?);
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}
