//! LDIF (RFC 2849): a directory in a file, content records only.
//!
//! A file that is cut off, malformed or empty is an error that names the place. Entries become a
//! reading by the same logic as those of a live directory ([`Assembler`]); the filters that a
//! server would evaluate are evaluated here.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::config::LdifConfig;
use crate::model::Time;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::filter::Filter;
use crate::source::ldap::{Assembler, Shape, Verdict, dn, value};
use crate::source::{Interest, Reading, SourceError};

/// Reads the LDIF that `config` names. Accounts are judged at the present moment.
///
/// # Errors
/// The file cannot be read, is not whole or not LDIF (with the line), a base or filter of the
/// configuration is malformed, or there is no user in it.
pub fn read_ldif(config: &LdifConfig, interest: &dyn Interest) -> Result<Reading, SourceError> {
    read_ldif_at(config, interest, chrono::Utc::now())
}

/// [`read_ldif`] with the moment at which accounts are judged.
///
/// # Errors
/// As [`read_ldif`].
pub fn read_ldif_at(
    config: &LdifConfig,
    interest: &dyn Interest,
    now: Time,
) -> Result<Reading, SourceError> {
    let path = config.path.as_path();
    let bytes = std::fs::read(path).map_err(|error| {
        SourceError::fatal(format!("cannot read `{}`: {error}", path.display()))
    })?;
    let assembler = read_bytes(&bytes, config, interest, now)
        .map_err(|why| SourceError::fatal(located(path, &why)))?;
    // The bytes are half of what this needs, and what follows needs as much again.
    drop(bytes);
    Ok(assembler.finish(Verdict::default()))
}

/// What is wrong, and in which line (0: in the file as a whole).
struct Fault {
    line: usize,
    why: String,
}

fn located(path: &Path, fault: &Fault) -> String {
    match fault.line {
        0 => format!("`{}`: {}", path.display(), fault.why),
        line => format!("`{}:{line}`: {}", path.display(), fault.why),
    }
}

fn whole(why: impl Into<String>) -> Fault {
    Fault { line: 0, why: why.into() }
}

fn read_bytes(
    bytes: &[u8],
    config: &LdifConfig,
    interest: &dyn Interest,
    now: Time,
) -> Result<Assembler, Fault> {
    let shape = Shape::new(&config.users, &config.groups, interest.attributes(), true, now)
        .map_err(whole)?;
    let filter = |key: &str, text: &str| {
        Filter::parse(text).map_err(|error| whole(format!("`{key}.filter`: {error}")))
    };
    let (user, group) =
        (filter("users", &config.users.filter)?, filter("groups", &config.groups.filter)?);
    let chosen = |entry: &Entry, norm: &str| {
        if dn::is_under(norm, &shape.users_base) && user.matches(entry) {
            Chosen::User
        } else if dn::is_under(norm, &shape.groups_base) && group.matches(entry) {
            Chosen::Group
        } else {
            Chosen::Other
        }
    };
    let mut assembler = Assembler::new(shape.clone());
    let mut shared = SharedNames::default();
    let mut people = 0_u64;
    let mut lines_of: HashMap<String, usize> = HashMap::new();
    let mut with_id = 0_u64;
    let mut last_with_id = true;
    let mut last_line = 0;
    let mut ids: HashMap<String, usize> = HashMap::new();
    let mut records = Records::new(bytes)?;
    let mut count = 0_u64;
    // Entries are read twice and never kept: a million of them with their members would take
    // several times the file's size. The first time shows whether the file is whole, and which
    // names are borne twice.
    while let Some((line, entry)) = records.next_entry()? {
        count += 1;
        let norm = dn::normalize(&entry.dn).map_err(|e| Fault { line, why: e.to_string() })?;
        let id = entry.stable_id();
        last_with_id = id.is_some();
        last_line = line;
        if chosen(&entry, &norm) == Chosen::User {
            people += 1;
            if id.is_none() {
                shared.see(assembler.username_of(&entry));
            }
        }
        if let Some(first) = lines_of.insert(norm, line) {
            let why = format!("the entry `{}` stands in line {first} already", entry.dn);
            return Err(Fault { line, why });
        }
        if let Some(id) = id {
            with_id += 1;
            if let Some(first) = ids.insert(id, line) {
                let why = format!(
                    "the entry `{}` has the id of the one in line {first}: two exports in one file?",
                    entry.dn
                );
                return Err(Fault { line, why });
            }
        }
    }
    let SharedNames { once, twice } = shared;
    drop((lines_of, ids, once));
    if count == 0 {
        return Err(whole("there is no entry in it: a directory is never empty"));
    }
    if count > 2 && with_id == count.saturating_sub(1) && !last_with_id {
        // An export ends each entry with its operational attributes.
        let why = "the last entry has no id, unlike all others: the file looks cut off";
        return Err(Fault { line: last_line, why: why.to_owned() });
    }
    if people == 0 {
        return Err(whole(format!(
            "no user: none of its {count} entries is below `{}` and matches `{}` (`users.base`, \
             `users.filter`)",
            config.users.base, config.users.filter
        )));
    }
    assembler.shared_names(twice);
    let mut records = Records::new(bytes)?;
    while let Some((line, entry)) = records.next_entry()? {
        let norm = dn::normalize(&entry.dn).map_err(|e| Fault { line, why: e.to_string() })?;
        match chosen(&entry, &norm) {
            Chosen::User => assembler.user(&entry),
            Chosen::Group => assembler.group(&entry),
            Chosen::Other => {}
        }
    }
    if assembler.has_no_user() {
        return Err(whole(format!(
            "no user: none of its {people} users has a `{}` (`users.username`)",
            config.users.username
        )));
    }
    Ok(assembler)
}

/// What an entry is to us.
#[derive(PartialEq, Eq)]
enum Chosen {
    User,
    Group,
    Other,
}

/// Usernames (folded) of entries without an id.
#[derive(Default)]
struct SharedNames {
    once: HashSet<String>,
    /// Those that several bear: such people are told apart by DN, so that resolving sees two and
    /// provisions neither.
    twice: HashSet<String>,
}

impl SharedNames {
    fn see(&mut self, name: Option<String>) {
        let Some(name) = name else { return };
        let folded = value::folded(&name).into_owned();
        if self.once.contains(&folded) {
            self.twice.insert(folded);
        } else {
            self.once.insert(folded);
        }
    }
}

/// The records of a file, one after the other.
struct Records<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
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

    /// The next entry and the line it starts in.
    fn next_entry(&mut self) -> Result<Option<(usize, Entry)>, Fault> {
        let mut current: Option<(usize, Entry, bool)> = None;
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
            let (name, value) = attribute(&text).map_err(|why| Fault { line, why })?;
            match &mut current {
                None => match start(name, &value) {
                    Start::Version => {}
                    Start::Entry(dn) => current = Some((line, Entry::new(dn), false)),
                    Start::Wrong(why) => return Err(Fault { line, why }),
                },
                Some((_, entry, any)) => {
                    if name.eq_ignore_ascii_case("changetype")
                        || name.eq_ignore_ascii_case("control")
                    {
                        let why = format!(
                            "`{name}` makes this a change record: only content is read, as \
                             `slapcat` and `ldapsearch -LLL` write it"
                        );
                        return Err(Fault { line, why });
                    }
                    if name.eq_ignore_ascii_case("dn") {
                        let why = "a second `dn` in one entry: an empty line is missing before it";
                        return Err(Fault { line, why: why.to_owned() });
                    }
                    *any = true;
                    entry.add(name, [value]);
                }
            }
        }
        match current {
            None => Ok(None),
            Some((line, entry, false)) => {
                let why = format!("the entry `{}` has no attributes", entry.dn.escape_debug());
                Err(Fault { line, why })
            }
            Some((line, entry, true)) => Ok(Some((line, entry))),
        }
    }
}

/// How a record starts.
enum Start {
    Version,
    Entry(String),
    Wrong(String),
}

fn start(name: &str, value: &[u8]) -> Start {
    let text = String::from_utf8(value.to_vec());
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

/// `name: text`, `name:: base64` or `name:< URL`.
fn attribute(line: &[u8]) -> Result<(&str, Vec<u8>), String> {
    let shown = || {
        // Never the value: it may be a password.
        let start = line.split(|byte| *byte == b':').next().unwrap_or(&[]);
        String::from_utf8_lossy(start).chars().take(30).collect::<String>()
    };
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Err(format!("`{}` is not `name: value`", shown().escape_debug()));
    };
    let (name, rest) = line.split_at(colon);
    let name = std::str::from_utf8(name).ok().filter(|name| {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-;_=".contains(&b))
    });
    let Some(name) = name else {
        return Err(format!("`{}` is not the name of an attribute", shown().escape_debug()));
    };
    let rest = rest.get(1..).unwrap_or(&[]);
    match rest.first() {
        Some(b'<') => Err(format!(
            "`{name}` takes its value from a URL (`:<`), which is not followed: export the value \
             itself"
        )),
        Some(b':') => {
            let text = rest.get(1..).unwrap_or(&[]).trim_ascii();
            let bytes = base64(text)
                .ok_or_else(|| format!("the value of `{name}` is not base64, or is cut off"))?;
            Ok((name, bytes))
        }
        _ => Ok((name, rest.trim_ascii_start().to_vec())),
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

#[cfg(test)]
#[path = "ldif_tests.rs"]
mod tests;
