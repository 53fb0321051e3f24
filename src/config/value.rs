//! What single values mean: durations, URLs, names, patterns. Each takes a text and returns the
//! value, or a message in the form "`text` is not …". URLs and secrets are never quoted raw.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::fault::{Code, near_miss};
use super::reader::{Node, Read};
use super::types::{Schedule, SecretRef};

/// Why a text is not such a value: what is shown after the key. Holds nothing that may be a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadValue(String);

impl BadValue {
    /// It "`text` is not …", or "holds …".
    pub(crate) fn new(why: impl Into<String>) -> Self {
        BadValue(why.into())
    }
}

/// The longest duration that may be written: 100 years. Past it, adding one to a date could
/// leave the calendar.
const LONGEST: u64 = 36_500 * 86_400;

/// A duration: whole numbers with a unit of `d`, `h`, `m` or `s`, largest first: `90s`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, BadValue> {
    let bad = || {
        BadValue::new(format!(
            "`{}` is not a duration: write `90s`, `5m`, `24h`, `1d` or `1h30m`",
            text.escape_debug()
        ))
    };
    let mut rest = text;
    let mut seconds = 0u64;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(bad)?;
        let mut chars = tail.chars();
        let unit = match chars.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(bad()),
        };
        if unit >= last || number.is_empty() {
            return Err(bad());
        }
        // A number too long for 64 bits is too long in any unit.
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        seconds = seconds.saturating_add(number.saturating_mul(unit));
        last = unit;
        rest = chars.as_str();
    }
    if text.is_empty() {
        return Err(bad());
    }
    if seconds > LONGEST {
        return Err(BadValue::new(format!("`{text}` is longer than 100 years")));
    }
    Ok(Duration::from_secs(seconds))
}

/// A duration of at least a second.
pub(super) fn some_duration(text: &str) -> Result<Duration, BadValue> {
    match duration(text)? {
        Duration::ZERO => Err(BadValue::new(format!("`{text}` is no time at all: at least `1s`"))),
        duration => Ok(duration),
    }
}

/// A cron expression of 6 or 7 fields, seconds first, that comes up at least once.
pub(super) fn cron(text: &str) -> Result<(cron::Schedule, String), BadValue> {
    let shown = text.escape_debug();
    if text.split_whitespace().count() == 5 {
        return Err(BadValue::new(format!(
            "`{shown}` has 5 fields: seconds come first here, so write `0 {shown}`"
        )));
    }
    let schedule = cron::Schedule::from_str(text).map_err(|_| {
        BadValue::new(format!(
            "`{shown}` is not a cron expression: expected 6 fields, seconds first, such as \
             `0 */5 * * * *`"
        ))
    })?;
    // From a fixed moment, so that the same file means the same every day.
    if schedule.after(&chrono::DateTime::UNIX_EPOCH).next().is_none() {
        return Err(BadValue::new(format!("`{shown}` never comes")));
    }
    Ok((schedule, text.to_owned()))
}

/// The schedule where the file has none.
pub(super) fn default_schedule() -> Option<Schedule> {
    let (cron, cron_text) = cron("0 */5 * * * *").ok()?;
    Some(Schedule { cron, cron_text, jitter: Duration::from_secs(30) })
}

/// `url` for people: without user name and password.
#[must_use]
pub fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        // These fail only for URLs without a host, which have no user info to begin with.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url.to_string()
}

/// A URL of one of `schemes`, without user info, query and fragment. Messages never hold the raw
/// text: it may carry a password.
pub(crate) fn url(text: &str, schemes: &[&str]) -> Result<Url, BadValue> {
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            BadValue::new("is not a URL: nothing like `https://` stands before the host")
        }
        error => BadValue::new(format!("is not a URL: {}", error.to_string().to_lowercase())),
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadValue::new("holds a user name or password: give those with their own keys"));
    }
    if text.contains('@') && url.cannot_be_a_base() {
        return Err(BadValue::new("is not a URL: `//` is missing after the scheme"));
    }
    if !schemes.contains(&url.scheme()) {
        let schemes: Vec<String> = schemes.iter().map(|s| format!("`{s}://`")).collect();
        return Err(BadValue::new(format!(
            "has the scheme `{}`: expected {}",
            url.scheme(),
            schemes.join(" or ")
        )));
    }
    if url.scheme() != "ldapi" && url.host_str().is_none_or(str::is_empty) {
        return Err(BadValue::new("names no host"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(BadValue::new("has a query or fragment, which means nothing here"));
    }
    Ok(url)
}

/// `http(s)://host[:port][/prefix]`.
pub(crate) fn http_url(text: &str) -> Result<Url, BadValue> {
    url(text, &["https", "http"])
}

/// A source's name.
pub(super) fn source_name(text: &str) -> Result<String, BadValue> {
    let shown = text.escape_debug();
    if text.is_empty() {
        return Err(BadValue::new("is empty"));
    }
    if text == "." || text == ".." {
        return Err(BadValue::new(format!("`{shown}` is not a name")));
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Err(BadValue::new(format!(
            "`{shown}` is not a source name: only ASCII letters, digits, `-`, `_` and `.`"
        )));
    }
    Ok(text.to_owned())
}

/// A glob for role names.
pub(super) fn glob(text: &str) -> Result<globset::GlobMatcher, BadValue> {
    if text.is_empty() {
        return Err(BadValue::new("is empty"));
    }
    globset::Glob::new(text).map(|glob| glob.compile_matcher()).map_err(|error| {
        BadValue::new(format!("`{}` is not a glob: {}", text.escape_debug(), error.kind()))
    })
}

/// A DN (RFC 4514), as far as can be seen without a schema.
pub(crate) fn dn(text: &str) -> Result<String, BadValue> {
    if text.is_empty() {
        return Err(BadValue::new("is empty"));
    }
    if !text.contains('=') || text.chars().any(char::is_control) {
        return Err(BadValue::new(format!(
            "`{}` is not a DN: expected the like of `ou=people,dc=example,dc=org`",
            text.escape_debug()
        )));
    }
    Ok(text.to_owned())
}

impl<'a> Node<'a> {
    /// A file's path; a relative one starts from the configuration's folder.
    pub(crate) fn path(&self) -> Read<PathBuf> {
        let text = self.string()?;
        if text.is_empty() {
            return Err(self.bad("is empty"));
        }
        if text.contains('\0') {
            return Err(self.bad("holds a NUL character"));
        }
        Ok(self.ctx.base.join(text))
    }

    /// A duration.
    pub(crate) fn duration(&self) -> Read<Duration> {
        self.parsed(duration)
    }

    /// A duration of at least a second.
    pub(crate) fn some_duration(&self) -> Read<Duration> {
        self.parsed(some_duration)
    }

    /// `{ file = … }`, `{ env = … }` or `{ credential = … }`. No message here holds a value, nor
    /// an unknown key: someone may have put the secret itself there.
    pub(crate) fn secret(&self) -> Read<SecretRef> {
        const FORMS: &str = "`{ file = \"…\" }`, `{ env = \"…\" }` or `{ credential = \"…\" }`";
        if self.as_str().is_some() {
            return Err(self.fault(
                Code::WrongType,
                format!("a secret does not stand in the file itself: use {FORMS}"),
            ));
        }
        let Some(table) = self.as_table() else {
            return Err(self.fault(Code::WrongType, format!("expected {FORMS}")));
        };
        let mut wrong = None;
        for (name, span, _) in table.entries() {
            if !["file", "env", "credential"].contains(&name) {
                let mut here = self.clone();
                here.span = span;
                wrong = Some(here.fault_near(
                    Code::UnknownKey,
                    format!("unknown key in a secret: use {FORMS}"),
                    near_miss(name, ["file", "env", "credential"]),
                ));
            }
        }
        let file = table.optional("file", |node| node.path().map(SecretRef::File));
        let env = table.optional("env", |node| {
            let name = node.string()?;
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(node.bad("is not the name of an environment variable"));
            }
            Ok(SecretRef::Env(name.to_owned()))
        });
        let credential = table.optional("credential", |node| {
            let name = node.string()?;
            if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
                return Err(node.bad("is not the name of a credential"));
            }
            Ok(SecretRef::Credential(name.to_owned()))
        });
        let forms = [file?, env?, credential?];
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let mut given = forms.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(secret), None) => Ok(secret),
            (None, _) => Err(self.fault(Code::MissingKey, format!("expected {FORMS}"))),
            (Some(_), Some(_)) => {
                Err(self.fault(Code::Conflict, format!("expected one only of {FORMS}")))
            }
        }
    }
}
