//! What single values mean: durations, URLs, names, patterns. Each takes a text and returns the
//! value, or a message in the form "`text` is not …". URLs and secrets are never quoted raw.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::fault::{Code, near_miss};
use super::reader::{Node, Read};
use super::types::{Schedule, SecretRef};

/// The longest duration that may be written: 100 years. Past it, adding one to a date could
/// leave the calendar.
const LONGEST: u64 = 36_500 * 86_400;

/// A duration: whole numbers with a unit of `d`, `h`, `m` or `s`, largest first: `90s`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!(
            "`{}` is not a duration: write `90s`, `5m`, `24h`, `1d` or `1h30m`",
            text.escape_debug()
        )
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
        return Err(format!("`{text}` is longer than 100 years"));
    }
    Ok(Duration::from_secs(seconds))
}

/// A duration of at least a second.
pub(super) fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("`{text}` is no time at all: at least `1s`")),
        duration => Ok(duration),
    }
}

/// A cron expression of 6 or 7 fields, seconds first, that comes up at least once.
pub(super) fn cron(text: &str) -> Result<(cron::Schedule, String), String> {
    let shown = text.escape_debug();
    if text.split_whitespace().count() == 5 {
        return Err(format!(
            "`{shown}` has 5 fields: seconds come first here, so write `0 {shown}`"
        ));
    }
    let schedule = cron::Schedule::from_str(text).map_err(|_| {
        format!(
            "`{shown}` is not a cron expression: expected 6 fields, seconds first, such as \
             `0 */5 * * * *`"
        )
    })?;
    // From a fixed moment, so that the same file means the same every day.
    if schedule.after(&chrono::DateTime::UNIX_EPOCH).next().is_none() {
        return Err(format!("`{shown}` never comes"));
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
pub(super) fn url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            "is not a URL: nothing like `https://` stands before the host".to_owned()
        }
        error => format!("is not a URL: {}", error.to_string().to_lowercase()),
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password: give those with their own keys".to_owned());
    }
    if text.contains('@') && url.cannot_be_a_base() {
        return Err("is not a URL: `//` is missing after the scheme".to_owned());
    }
    if !schemes.contains(&url.scheme()) {
        let schemes: Vec<String> = schemes.iter().map(|s| format!("`{s}://`")).collect();
        return Err(format!(
            "has the scheme `{}`: expected {}",
            url.scheme(),
            schemes.join(" or ")
        ));
    }
    if url.scheme() != "ldapi" && url.host_str().is_none_or(str::is_empty) {
        return Err("names no host".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or fragment, which means nothing here".to_owned());
    }
    Ok(url)
}

/// `http(s)://host[:port][/prefix]`.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    url(text, &["https", "http"])
}

/// `ldap://`, `ldaps://` or `ldapi://`, without a path (but for `ldapi`, whose host is the path).
pub(super) fn ldap_url(text: &str) -> Result<Url, String> {
    let url = url(text, &["ldaps", "ldap", "ldapi"])?;
    match url.scheme() {
        "ldapi" if url.host_str().is_none_or(str::is_empty) && url.path().len() > 1 => {
            Err("names no socket: its path is written with `%2f` for `/`, such as \
             `ldapi://%2frun%2fslapd%2fldapi`"
                .to_owned())
        }
        "ldap" | "ldaps" if url.path().len() > 1 => {
            Err("has a path: the search base is given with `users.base` and `groups.base`"
                .to_owned())
        }
        _ => Ok(url),
    }
}

/// A source's name.
pub(super) fn source_name(text: &str) -> Result<String, String> {
    let shown = text.escape_debug();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text == "." || text == ".." {
        return Err(format!("`{shown}` is not a name"));
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Err(format!(
            "`{shown}` is not a source name: only ASCII letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(text.to_owned())
}

/// A glob for role names.
pub(super) fn glob(text: &str) -> Result<globset::GlobMatcher, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    globset::Glob::new(text)
        .map(|glob| glob.compile_matcher())
        .map_err(|error| format!("`{}` is not a glob: {}", text.escape_debug(), error.kind()))
}

/// An LDAP filter (RFC 4515).
pub(super) fn ldap_filter(text: &str) -> Result<String, String> {
    match ldap3::parse_filter(text) {
        Ok(_) if text.starts_with('(') => Ok(text.to_owned()),
        _ => Err(format!(
            "`{}` is not an LDAP filter: expected the like of `(objectClass=person)`",
            text.escape_debug()
        )),
    }
}

/// An LDAP attribute's name or OID (RFC 4512, section 1.4).
pub(super) fn ldap_attribute(text: &str) -> Result<String, String> {
    let name = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let oid = text.split('.').count() > 1
        && text.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()));
    if name || oid {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is not the name of an LDAP attribute", text.escape_debug()))
}

/// A DN (RFC 4514), as far as can be seen without a schema.
pub(super) fn dn(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if !text.contains('=') || text.chars().any(char::is_control) {
        return Err(format!(
            "`{}` is not a DN: expected the like of `ou=people,dc=example,dc=org`",
            text.escape_debug()
        ));
    }
    Ok(text.to_owned())
}

impl<'a> Node<'a> {
    /// A file's path; a relative one starts from the configuration's folder.
    pub(super) fn path(&self) -> Read<PathBuf> {
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
    pub(super) fn duration(&self) -> Read<Duration> {
        self.parsed(duration)
    }

    /// A duration of at least a second.
    pub(super) fn some_duration(&self) -> Read<Duration> {
        self.parsed(some_duration)
    }

    /// `{ file = … }`, `{ env = … }` or `{ credential = … }`. No message here holds a value, nor
    /// an unknown key: someone may have put the secret itself there.
    pub(super) fn secret(&self) -> Read<SecretRef> {
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
