//! A request's target as the segments that routes are compared with, or a refusal.
//!
//! Between this and the server behind the gateway stand programs that decode, merge slashes and
//! resolve dots each in its own way. A path that two of them could read differently is refused
//! here, so that no path is decided as one thing and served as another. What is left has one
//! reading: the segments between the slashes, percent-decoded once (RFC 3986, sections 2.1 and 3.3).

use std::borrow::Cow;

/// The longest path, in bytes as sent, without the query. Servers stop at about this.
pub const MAX_PATH: usize = 8 * 1024;

/// Why a request's target is not taken as a path. In words for the log; it never quotes the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPath {
    /// Absolute form, authority form, `*`, or nothing at all (RFC 9112, section 3.2).
    #[error("the request's target does not begin with `/`: only a path of this server is taken")]
    NotAPath,
    /// Longer than [`MAX_PATH`].
    #[error("the path is longer than {MAX_PATH} bytes")]
    TooLong,
    /// `#`, behind the query too: no client sends one, and servers differ in what they make of it.
    #[error("the request's target holds a fragment (`#`)")]
    Fragment,
    /// White space as it is.
    #[error("the path holds white space that is not percent-encoded")]
    Space,
    /// A control character, raw or encoded, NUL among them.
    #[error("the path holds a control character")]
    Control,
    /// `\` or `%5c`: a slash to some servers.
    #[error("the path holds a backslash")]
    Backslash,
    /// `%2f`: a slash to some servers.
    #[error("the path holds an encoded slash (`%2f`)")]
    EncodedSlash,
    /// `%3f` or `%23`: the path's end to a server that decodes before it splits.
    #[error("the path holds an encoded `?` or `#`")]
    EncodedDelimiter,
    /// `//`, which some servers merge and some do not.
    #[error("the path holds repeated slashes")]
    RepeatedSlash,
    /// `.` or `..`, raw or encoded, also before a `;`.
    #[error("the path holds a dot segment (`.` or `..`)")]
    DotSegment,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a `%` that is not followed by two hexadecimal digits")]
    BadEscape,
    /// Decoded once, it could be decoded again: a server that does so would see another path.
    #[error("the path is percent-encoded twice")]
    EncodedTwice,
    /// The escapes are no UTF-8 (overlong forms among them).
    #[error("the path is not UTF-8 once it is decoded")]
    NotUtf8,
    /// A byte beyond ASCII as it is: no URI, and servers differ in its encoding.
    #[error("the path holds a character beyond ASCII that is not percent-encoded")]
    NotAscii,
}

/// A path with one reading. Its segments hold no slash, backslash or control character and are no
/// dot segments; only the last can be empty (a slash at the end).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path<'a> {
    /// Decoded, without the first slash.
    text: Cow<'a, str>,
    /// Some segment holds a `;`.
    parameters: bool,
}

/// Why a byte is refused as it is; the others are taken.
const fn refused(byte: u8) -> Option<BadPath> {
    match byte {
        b' ' => Some(BadPath::Space),
        0..=0x1f | 0x7f => Some(BadPath::Control),
        0x80.. => Some(BadPath::NotAscii),
        b'\\' => Some(BadPath::Backslash),
        b'#' => Some(BadPath::Fragment),
        _ => None,
    }
}

impl<'a> Path<'a> {
    /// Reads a request's target as the gateway passes it: a path from its `/` on, with the query if
    /// it has one. The query is cut; all that is asked of it is that no fragment follows. Allocates
    /// only where something is percent-encoded.
    ///
    /// Absolute form (`http://host/a`) is refused: Envoy, nginx, Traefik and Caddy pass the path
    /// alone, so a target with a scheme was made by something else.
    ///
    /// # Errors
    /// The target is not such a path, or is one that servers read in different ways.
    pub fn parse(target: &'a str) -> Result<Self, BadPath> {
        let (raw, query) = target.split_once('?').unwrap_or((target, ""));
        if query.contains('#') {
            return Err(BadPath::Fragment);
        }
        let Some(raw) = raw.strip_prefix('/') else { return Err(BadPath::NotAPath) };
        if raw.len() >= MAX_PATH {
            return Err(BadPath::TooLong);
        }
        // Most paths hold nothing to look at: sums over the bytes, without a branch, tell.
        let (mut bad, mut escapes, mut odd) = (false, false, false);
        for byte in raw.bytes() {
            bad |= refused(byte).is_some();
            escapes |= byte == b'%';
            odd |= matches!(byte, b'.' | b';');
        }
        if bad && let Some(why) = raw.bytes().find_map(refused) {
            return Err(why);
        }
        let text = if escapes { Cow::Owned(decode(raw)?) } else { Cow::Borrowed(raw) };
        let bytes = text.bytes();
        let repeated = bytes
            .clone()
            .zip(bytes.skip(1))
            .fold(false, |repeated, (one, next)| repeated | (one == b'/' && next == b'/'));
        if repeated || text.starts_with('/') {
            return Err(BadPath::RepeatedSlash);
        }
        let parameters = (odd || escapes) && check_segments(&text)?;
        Ok(Path { text, parameters })
    }

    /// The decoded segments, first to last; none for `/`. After a slash at the end the last is
    /// empty.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        let segments = self.text.split('/');
        segments.take(if self.text.is_empty() { 0 } else { usize::MAX })
    }

    /// The decoded segments with the slashes between them, without the first slash.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether some segment holds a `;`, raw or encoded: to some servers what follows it is no part
    /// of the segment.
    #[must_use]
    pub fn has_parameters(&self) -> bool {
        self.parameters
    }

    /// Whether it ends in a slash and is not `/` itself.
    #[must_use]
    pub fn ends_in_slash(&self) -> bool {
        self.text.ends_with('/')
    }
}

/// Percent-decodes once.
fn decode(raw: &str) -> Result<String, BadPath> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = (rest.next().and_then(hexadecimal), rest.next().and_then(hexadecimal));
        let (Some(high), Some(low)) = digits else { return Err(BadPath::BadEscape) };
        match high << 4 | low {
            b'/' => return Err(BadPath::EncodedSlash),
            b'\\' => return Err(BadPath::Backslash),
            b'?' | b'#' => return Err(BadPath::EncodedDelimiter),
            byte => bytes.push(byte),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| BadPath::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(BadPath::Control);
    }
    if encoded_again(text.as_bytes()) {
        return Err(BadPath::EncodedTwice);
    }
    Ok(text)
}

/// Refuses dot segments; says whether some segment holds a `;`.
fn check_segments(text: &str) -> Result<bool, BadPath> {
    let mut parameters = false;
    for segment in text.split('/') {
        let name = match segment.split_once(';') {
            Some((name, _)) => {
                parameters = true;
                name
            }
            None => segment,
        };
        if matches!(name, "." | "..") {
            return Err(BadPath::DotSegment);
        }
    }
    Ok(parameters)
}

fn hexadecimal(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Whether an escape is left in what was decoded once.
fn encoded_again(text: &[u8]) -> bool {
    text.windows(3).any(|three| {
        matches!(three, [b'%', high, low]
            if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    })
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
