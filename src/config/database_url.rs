//! A database's URL, and the password that goes with it.
//!
//! `postgresql://USER@HOST[,HOST]/DATABASE?sslmode=…&sslrootcert=…`, as libpq has it. TLS is read
//! more strictly: where there is any, the certificate and its name are verified.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

/// Where a database is.
#[derive(Clone, Debug)]
pub struct Url {
    /// For messages: without a password or a query.
    pub shown: String,
    /// All of it but the password.
    pub bare: String,
    /// What the client reads: without a password, `sslmode` and `sslrootcert`.
    pub client: String,
    /// The password that stood in it.
    pub password: Option<SecretString>,
    /// How TLS is used.
    pub tls: Tls,
    /// The CA certificates that count, in place of the system's.
    pub root_cert: Option<PathBuf>,
}

/// How TLS is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tls {
    /// Not at all.
    Never,
    /// Where the server has it.
    Offered,
    /// Always.
    Always,
}

/// Why a text is no URL of a database, said of it: nothing is quoted that may be a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("is no URL of a database: expected `postgresql://USER@HOST/DATABASE`")]
    Scheme,
    /// A password that is not encoded ends the host too early.
    #[error(
        "has an `@` after its host: in a password write `/` as `%2F`, `?` as `%3F` and `@` as `%40`, \
         or give it by `PGPASSWORD`"
    )]
    Authority,
    /// A key that libpq knows and that is not understood here.
    #[error("has `{0}`, which is not understood")]
    Key(String),
    /// No mode of TLS.
    #[error("has `sslmode={}`, which is no such mode", .0.escape_debug())]
    TlsMode(String),
    /// Percent-encoded bytes that are no text.
    #[error("is not UTF-8 once decoded")]
    NotUtf8,
}

impl Url {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// It is none, or has something that is not understood.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let scheme = ["postgresql://", "postgres://"]
            .into_iter()
            .find_map(|scheme| text.strip_prefix(scheme).map(|rest| (scheme, rest)));
        let Some((scheme, rest)) = scheme else {
            return Err(UrlError::Scheme);
        };
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match before.find('/') {
            Some(slash) => before.split_at(slash),
            None => (before, ""),
        };
        // The end of a password that holds a `/` or a `?`, the beginning of which reads as a host.
        if path.contains('@') || query.contains('@') {
            return Err(UrlError::Authority);
        }
        // A password may hold an `@` that nobody has encoded: the last one ends it.
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (name, mut password) = match user.split_once(':') {
            Some((name, password)) => (name, Some(decoded(password)?)),
            None => (user, None),
        };
        let mut mode = None;
        let mut root_cert = None;
        let (mut kept, mut bare) = (Vec::new(), Vec::new());
        let mut sockets = false;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key != "password" {
                bare.push(pair);
            }
            match key {
                "password" => password = Some(decoded(value)?),
                "sslmode" => mode = Some(tls(value)?),
                "sslrootcert" if value == "system" => {}
                "sslrootcert" => root_cert = Some(PathBuf::from(decoded(value)?)),
                "sslcert" | "sslkey" | "sslcrl" | "sslpassword" | "passfile" | "service" => {
                    return Err(UrlError::Key(key.to_owned()));
                }
                _ => {
                    sockets |= key == "host" && decoded(value)?.starts_with('/');
                    kept.push(pair);
                }
            }
        }
        let names = || hosts.split(',').map(host_of);
        let near = (hosts.is_empty() && sockets)
            || (!hosts.is_empty() && names().all(|host| is_near(&host)));
        let at = if name.is_empty() { String::new() } else { format!("{name}@") };
        let shown = format!("{scheme}{at}{hosts}{path}");
        let with = |pairs: &[&str]| match pairs {
            [] => shown.clone(),
            pairs => format!("{shown}?{}", pairs.join("&")),
        };
        Ok(Url {
            bare: with(&bare),
            client: with(&kept),
            shown,
            password: password.map(SecretString::from),
            // What never leaves this machine needs none; what does is verified.
            tls: mode.unwrap_or(if near { Tls::Never } else { Tls::Always }),
            root_cert,
        })
    }
}

fn tls(word: &str) -> Result<Tls, UrlError> {
    match word {
        "disable" => Ok(Tls::Never),
        "allow" | "prefer" => Ok(Tls::Offered),
        "require" | "verify-ca" | "verify-full" => Ok(Tls::Always),
        _ => Err(UrlError::TlsMode(word.to_owned())),
    }
}

fn decoded(text: &str) -> Result<String, UrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| UrlError::NotUtf8)
}

/// A host without its port and brackets.
fn host_of(host: &str) -> String {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host.to_owned(),
        None => host.split(':').next().unwrap_or_default().to_owned(),
    }
}

/// Whether a host is this machine.
fn is_near(host: &str) -> bool {
    let socket = host.to_ascii_lowercase().starts_with("%2f");
    let ip = host.parse::<std::net::IpAddr>();
    host == "localhost" || socket || ip.is_ok_and(|ip| ip.is_loopback())
}

/// The password of a file as libpq's `~/.pgpass`: the first line that fits. Lines are
/// `HOST:PORT:DATABASE:USER:PASSWORD`, each of the first four perhaps `*`; `\` takes a `:` or a `\`
/// for itself.
#[must_use]
pub fn from_passfile(text: &str, wanted: [&str; 4]) -> Option<SecretString> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = vec![String::new()];
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => fields.last_mut()?.extend(chars.next()),
                ':' if fields.len() < 5 => fields.push(String::new()),
                c => fields.last_mut()?.push(c),
            }
        }
        let password = if fields.len() == 5 { fields.pop() } else { None }?;
        let fits = |(field, wanted): (&String, &str)| field == "*" || field == wanted;
        fields.iter().zip(wanted).all(fits).then(|| SecretString::from(password))
    })
}

/// Where the file of passwords is: `$PGPASSFILE`, else `~/.pgpass`.
#[must_use]
pub fn passfile(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let given = variable("PGPASSFILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    given.or_else(|| Some(Path::new(&variable("HOME")?).join(".pgpass")))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_password_that_reads_as_a_host_is_refused_and_not_shown() {
        for text in [
            "postgresql://ro:se/cret@db/osmo",
            "postgresql://ro:se?cret@db/osmo",
            "postgresql://ro:a@se/cret@db/osmo",
            "postgresql://ro:a@se?cret@db/osmo",
        ] {
            let why = Url::parse(text).unwrap_err().to_string();
            assert!(why.contains("%2F") && !why.contains("cret") && !why.contains("se?"), "{why}");
        }
        let encoded = Url::parse("postgresql://ro:se%2Fcret%3F@db/osmo").unwrap();
        assert_eq!(encoded.password.unwrap().expose_secret(), "se/cret?");
    }

    #[test]
    fn a_url_is_taken_apart_and_its_password_shows_nowhere() {
        for (text, shown, client, password) in [
            ("postgresql://ro@db/osmo", "postgresql://ro@db/osmo", "postgresql://ro@db/osmo", None),
            (
                "postgres://ro:s%40c@ret@db:5433,db2/osmo?application_name=x&sslmode=disable",
                "postgres://ro@db:5433,db2/osmo",
                "postgres://ro@db:5433,db2/osmo?application_name=x",
                Some("s@c@ret"),
            ),
            (
                "postgresql://ro@/osmo?host=/run/postgresql&password=secret",
                "postgresql://ro@/osmo",
                "postgresql://ro@/osmo?host=/run/postgresql",
                Some("secret"),
            ),
            ("postgresql://db", "postgresql://db", "postgresql://db", None),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((&*url.shown, &*url.client), (shown, client), "{text}");
            assert_eq!(url.password.as_ref().map(|it| it.expose_secret()), password, "{text}");
            assert!(password.is_none_or(|it| !format!("{url:?}").contains(it)), "{text}");
            let again = Url::parse(&url.bare).unwrap();
            assert!(again.password.is_none() && again.tls == url.tls, "{text}");
            assert_eq!((again.shown, again.client), (url.shown, url.client), "{text}");
        }
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_and_verified_unless_the_url_says_otherwise() {
        for (url, tls) in [
            ("postgresql://ro@db.example.com/osmo", Tls::Always),
            ("postgresql://ro@127.0.0.1:5433/osmo", Tls::Never),
            ("postgresql://ro@[::1]:5433/osmo", Tls::Never),
            ("postgresql://localhost/osmo", Tls::Never),
            ("postgresql://127.0.0.1,db/osmo", Tls::Always),
            ("postgresql://ro@%2Frun%2Fpostgresql/osmo", Tls::Never),
            ("postgresql:///osmo?host=/run/postgresql", Tls::Never),
            ("postgresql:///osmo?host=db", Tls::Always),
            ("postgresql://ro@127.0.0.1/osmo?sslmode=verify-full", Tls::Always),
            ("postgresql://ro@db/osmo?sslmode=require", Tls::Always),
            ("postgresql://ro@db/osmo?sslmode=prefer", Tls::Offered),
            ("postgresql://ro@db/osmo?sslmode=disable", Tls::Never),
        ] {
            assert_eq!(Url::parse(url).unwrap().tls, tls, "{url}");
        }
        let url = Url::parse("postgresql://db/osmo?sslrootcert=/etc/ca.pem").unwrap();
        assert_eq!(url.root_cert.as_deref(), Some(Path::new("/etc/ca.pem")));
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_quoted() {
        for text in [
            "host=db password=secret",
            "mysql://a:secret@db/x",
            "postgresql://a:secret@db/x?sslmode=always",
            "postgresql://a:secret@db/x?sslcert=y",
            "postgresql://a:%ffsecret@db/x",
            "",
        ] {
            let error = Url::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_of_passwords_is_read_as_libpq_reads_it() {
        let file = "# db:5432:osmo:ro:no\n\nshort:line\ndb:5432:osmo:other:no\n\
                    d\\:b:5432:osmo:r\\\\o:a\\:b:c\n*:*:osmo:ro:second\ndb:*:*:ro:third\n";
        for (wanted, password) in [
            (["db", "5432", "osmo", "ro"], Some("second")),
            (["db", "5432", "other", "ro"], Some("third")),
            (["d:b", "5432", "osmo", "r\\o"], Some("a:b:c")),
            (["db", "5432", "osmo", "nobody"], None),
        ] {
            let found = from_passfile(file, wanted);
            assert_eq!(found.as_ref().map(|it| it.expose_secret()), password, "{wanted:?}");
        }
        let variable = |name: &str| match name {
            "HOME" => Some("/home/ann".to_owned()),
            _ => None,
        };
        assert_eq!(passfile(variable), Some(PathBuf::from("/home/ann/.pgpass")));
        assert_eq!(
            passfile(|name| (name == "PGPASSFILE").then(|| "/p".to_owned())),
            Some("/p".into())
        );
    }
}
