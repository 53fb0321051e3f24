//! Distinguished names: RFC 4514 in, one comparable form out.
//!
//! Two DNs have the same normal form when the directory takes them for one entry: attribute types
//! by any of their names, values by matching rule, the parts of an RDN in any order, and every way
//! to escape a character. What the old RFCs allowed is understood as well: quotes, `;` between
//! RDNs, `OID.` prefixes, spaces around separators.
//!
//! In the normal form a comma, a plus or an equals sign within a value is always `\2c`, `\2b`,
//! `\3d`: so a raw comma is always a separator, which is what makes [`is_under`] safe.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::value;

/// Why a text is not a DN.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{}` is not a distinguished name: {why}", dn.escape_debug())]
pub struct DnError {
    dn: String,
    why: DnFault,
}

/// What is wrong with a DN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum DnFault {
    #[error("a part has no `=`")]
    NoEquals,
    #[error("an attribute type holds a character it may not")]
    TypeCharacter,
    #[error("an attribute type is empty or holds a space")]
    TypeEmpty,
    #[error("a quote stands in the middle of a value")]
    QuoteInside,
    #[error("a quote is not closed")]
    QuoteOpen,
    #[error("something follows a closing quote")]
    AfterQuote,
    #[error("it ends in a backslash")]
    EndsInEscape,
    #[error("a backslash is followed by one hex digit")]
    HalfEscape,
    #[error("a backslash stands before a character that needs none")]
    NeedlessEscape,
    #[error("a `#` value holds a space")]
    HexSpace,
    #[error("a `#` value is not hex")]
    NoHex,
    #[error("a `#` value is empty")]
    HexEmpty,
}

/// The normal form of `dn`. The empty DN is its own.
///
/// # Errors
/// `dn` is not a distinguished name by RFC 4514 (or its forerunners).
pub fn normalize(dn: &str) -> Result<String, DnError> {
    normalized(dn).map(Cow::into_owned)
}

/// [`normalize`], borrowed where `dn` is normal already.
///
/// # Errors
/// As [`normalize`].
pub fn normalized(dn: &str) -> Result<Cow<'_, str>, DnError> {
    if is_normal(dn) {
        return Ok(Cow::Borrowed(dn));
    }
    // Most other DNs only have capitals: cheaper to fold and look again than to parse.
    if dn.is_ascii() {
        let lower = dn.to_ascii_lowercase();
        if is_normal(&lower) {
            return Ok(Cow::Owned(lower));
        }
    }
    let rdns = parse(dn).map_err(|why| DnError { dn: dn.to_owned(), why })?;
    let mut out = String::with_capacity(dn.len());
    for rdn in &rdns {
        let mut parts: Vec<String> = rdn.iter().map(Ava::normal).collect();
        parts.sort();
        parts.dedup();
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&parts.join("+"));
    }
    Ok(Cow::Owned(out))
}

/// Whether the entry named by `norm` is `base` or below it; both in normal form. Everything is
/// below the empty DN.
#[must_use]
pub fn is_under(norm: &str, base: &str) -> bool {
    match norm.strip_suffix(base) {
        None => false,
        Some(rest) => base.is_empty() || rest.is_empty() || rest.ends_with(','),
    }
}

/// Every `type=value` of the first RDN whose value is a text: the type's one name, and the value.
#[must_use]
pub fn rdn(dn: &str) -> Vec<(String, String)> {
    let rdns = parse(dn).unwrap_or_default();
    let avas = rdns.into_iter().next().unwrap_or_default().into_iter().filter(|ava| !ava.opaque);
    avas.filter_map(|ava| Some((ava.name, String::from_utf8(ava.value).ok()?))).collect()
}

/// Every `type=value` of `dn`: the type's one name, and the value's bytes. None where it is no DN.
#[must_use]
pub fn parts(dn: &str) -> Vec<(String, Vec<u8>)> {
    let rdns = parse(dn).unwrap_or_default();
    rdns.into_iter().flatten().map(|ava| (ava.name, ava.value)).collect()
}

/// The values of the first RDN in normal form, for telling placeholders.
#[must_use]
pub fn first_rdn(norm: &str) -> &str {
    norm.split(',').next().unwrap_or(norm)
}

/// Attribute types whose values the fast path may take as they are: no aliases, and compared
/// ignoring case.
const FAST_TYPES: &[&[u8]] = &[b"cn", b"ou", b"dc", b"uid", b"o", b"c", b"l", b"st", b"mail"];

/// Whether `dn` is in normal form for sure, told in one pass without allocating. `false` means
/// only that it takes the long way.
fn is_normal(dn: &str) -> bool {
    let bytes = dn.as_bytes();
    let mut rest = bytes;
    if rest.is_empty() {
        return true;
    }
    loop {
        let Some(equals) = rest.iter().take(5).position(|b| *b == b'=') else { return false };
        let (name, value) = rest.split_at(equals);
        if !FAST_TYPES.contains(&name) {
            return false;
        }
        let value = value.get(1..).unwrap_or(&[]);
        let mut before = b' ';
        let mut end = None;
        for (index, byte) in value.iter().enumerate() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' | b'/' | b':' | b'\'' => {}
                b' ' if before != b' ' => {}
                b',' if before != b' ' => {
                    end = Some(index);
                    break;
                }
                _ => return false,
            }
            before = *byte;
        }
        match end {
            // Something follows the comma, or the DN ends in one and is wrong.
            Some(comma) => rest = value.get(comma.saturating_add(1)..).unwrap_or(&[]),
            None => return before != b' ',
        }
    }
}

/// One `type=value` of an RDN.
struct Ava {
    /// The attribute type's one name.
    name: String,
    /// The value's bytes, unescaped.
    value: Vec<u8>,
    /// A `#…` value whose BER is not a string: kept as hex.
    opaque: bool,
}

impl Ava {
    fn normal(&self) -> String {
        let mut out = String::with_capacity(self.name.len() + self.value.len() + 1);
        out.push_str(&self.name);
        out.push('=');
        match std::str::from_utf8(&self.value) {
            _ if self.opaque => {
                out.push('#');
                hex(&mut out, &self.value);
            }
            Ok(text) => {
                for c in value::prepared(&self.name, text).chars() {
                    match c {
                        ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' | '#' | '\0' => {
                            let _ = write!(out, "\\{:02x}", c as u32);
                        }
                        c => out.push(c),
                    }
                }
            }
            Err(_) => {
                for byte in &self.value {
                    let _ = write!(out, "\\{byte:02x}");
                }
            }
        }
        out
    }
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

/// The RDNs of `dn`, each a list of parts.
fn parse(dn: &str) -> Result<Vec<Vec<Ava>>, DnFault> {
    let mut cursor = Cursor { rest: dn.as_bytes() };
    cursor.spaces();
    let mut rdns = Vec::new();
    if cursor.rest.is_empty() {
        return Ok(rdns);
    }
    let mut rdn = Vec::new();
    loop {
        rdn.push(cursor.ava()?);
        match cursor.take() {
            None => {
                rdns.push(rdn);
                return Ok(rdns);
            }
            Some(b'+') => {}
            Some(_) => rdns.push(std::mem::take(&mut rdn)),
        }
        cursor.spaces();
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r')) {
            self.take();
        }
    }

    /// `type = value`, up to but not including the separator.
    fn ava(&mut self) -> Result<Ava, DnFault> {
        let mut name = String::new();
        loop {
            match self.take() {
                Some(b'=') => break,
                Some(byte) if byte.is_ascii_alphanumeric() || b"-._ ".contains(&byte) => {
                    name.push(char::from(byte));
                }
                None => return Err(DnFault::NoEquals),
                Some(_) => return Err(DnFault::TypeCharacter),
            }
        }
        let name = name.trim_end();
        if name.is_empty() || name.contains(' ') {
            return Err(DnFault::TypeEmpty);
        }
        let name = value::attribute(name).into_owned();
        self.spaces();
        match self.peek() {
            Some(b'#') => self.ber(name),
            Some(b'"') => self.quoted(name),
            _ => self.plain(name),
        }
    }

    fn at_separator(&self) -> bool {
        matches!(self.peek(), None | Some(b',' | b'+' | b';'))
    }

    fn plain(&mut self, name: String) -> Result<Ava, DnFault> {
        let mut value = Vec::new();
        // Unescaped spaces at the end do not belong to the value.
        let mut keep = 0;
        while !self.at_separator() {
            match self.take() {
                Some(b'\\') => {
                    value.push(self.escaped()?);
                    keep = value.len();
                }
                Some(b'"') => return Err(DnFault::QuoteInside),
                Some(byte) => {
                    value.push(byte);
                    if byte != b' ' {
                        keep = value.len();
                    }
                }
                None => break,
            }
        }
        value.truncate(keep);
        Ok(Ava { name, value, opaque: false })
    }

    /// RFC 2253: a value in quotes, where only the backslash is special.
    fn quoted(&mut self, name: String) -> Result<Ava, DnFault> {
        self.take();
        let mut value = Vec::new();
        loop {
            match self.take() {
                None => return Err(DnFault::QuoteOpen),
                Some(b'"') => break,
                Some(b'\\') => value.push(self.escaped()?),
                Some(byte) => value.push(byte),
            }
        }
        self.spaces();
        if !self.at_separator() {
            return Err(DnFault::AfterQuote);
        }
        Ok(Ava { name, value, opaque: false })
    }

    /// `\,` or `\2C`: what follows a backslash.
    fn escaped(&mut self) -> Result<u8, DnFault> {
        let first = self.take().ok_or(DnFault::EndsInEscape)?;
        match (digit(first), self.peek().and_then(digit)) {
            (Some(high), Some(low)) => {
                self.take();
                Ok(high << 4 | low)
            }
            (Some(_), None) => Err(DnFault::HalfEscape),
            (None, _) if b" \"#+,;<=>\\/".contains(&first) => Ok(first),
            (None, _) => Err(DnFault::NeedlessEscape),
        }
    }

    /// `#` and the BER of a value in hex.
    fn ber(&mut self, name: String) -> Result<Ava, DnFault> {
        self.take();
        let mut bytes = Vec::new();
        while !self.at_separator() {
            match self.take() {
                Some(b' ') => {
                    self.spaces();
                    if !self.at_separator() {
                        return Err(DnFault::HexSpace);
                    }
                }
                high => {
                    let high = high.and_then(digit).ok_or(DnFault::NoHex)?;
                    let low = self.take().and_then(digit).ok_or(DnFault::NoHex)?;
                    bytes.push(high << 4 | low);
                }
            }
        }
        if bytes.is_empty() {
            return Err(DnFault::HexEmpty);
        }
        Ok(match string_of_ber(&bytes) {
            Some(value) => Ava { name, value, opaque: false },
            None => Ava { name, value: bytes, opaque: true },
        })
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The text of a BER string (octet, UTF-8, printable, IA5, numeric), as bytes.
fn string_of_ber(bytes: &[u8]) -> Option<Vec<u8>> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, content) = match length {
        length if *length < 0x80 => (usize::from(*length), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (high, rest) = rest.split_first()?;
            let (low, rest) = rest.split_first()?;
            (usize::from(*high) << 8 | usize::from(*low), rest)
        }
        _ => return None,
    };
    let text = matches!(tag, 0x04 | 0x0c | 0x12 | 0x13 | 0x16 | 0x1a);
    (text && content.len() == length && std::str::from_utf8(content).is_ok())
        .then(|| content.to_vec())
}

#[cfg(test)]
#[path = "dn_tests.rs"]
mod tests;
