//! What a result code or a broken connection means to the person who must mend it.
//!
//! The server's own words are quoted, shortened: they hold no secret, since none is sent but in a
//! bind, whose diagnostics never repeat it.

use ldap3::{LdapError, LdapResult};

use super::connect::Identity;
use super::dialect::Limits;
use crate::source::{SourceError, SourceErrorKind};

/// What went wrong, and whether it may pass by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// For people: what happened and what to do.
    pub message: String,
    /// Trying again soon may help.
    pub transient: bool,
    /// The server's result code, where it answered.
    pub code: Option<u32>,
    /// What kind of fault it is, for programs.
    pub kind: SourceErrorKind,
}

impl Fault {
    /// One that did not come from the server as a result code.
    #[must_use]
    pub fn local(message: impl Into<String>, transient: bool) -> Self {
        let kind = if transient { SourceErrorKind::Passing } else { SourceErrorKind::Lasting };
        Fault { message: message.into(), transient, code: None, kind }
    }

    /// No whole answer came in time.
    #[must_use]
    pub fn late(message: impl Into<String>) -> Self {
        Fault::local(message, true).of_kind(SourceErrorKind::TimedOut)
    }

    /// The server answered with the result `code`.
    fn answered(code: u32, message: String, transient: bool) -> Self {
        Fault { message, transient, code: Some(code), kind: SourceErrorKind::Answered(code) }
    }

    /// The same, of a kind that is known better.
    #[must_use]
    pub fn of_kind(self, kind: SourceErrorKind) -> Self {
        Fault { kind, ..self }
    }
}

impl From<Fault> for SourceError {
    fn from(Fault { message, transient, code: _, kind }: Fault) -> Self {
        SourceError { kind, message, transient }
    }
}

impl From<SourceError> for Fault {
    fn from(SourceError { kind, message, transient }: SourceError) -> Self {
        Fault { message, transient, code: None, kind }
    }
}

/// The server's words in backticks, with a colon before them; nothing where it said nothing.
fn said(text: &str) -> String {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(160).collect();
    if text.is_empty() { String::new() } else { format!(" (the server says `{text}`)") }
}

/// Why a bind was refused.
#[must_use]
pub fn bind(result: &LdapResult, identity: &Identity) -> Fault {
    let (words, who) = (said(&result.text), identity.who());
    let external = matches!(identity, Identity::External(_));
    let (why, transient) = match result.rc {
        8 if matches!(identity, Identity::Kerberos) => (
            "the server wants Kerberos to sign what TLS protects already: allow SASL over TLS (Samba: \
             `ldap server require strong auth = allow_sasl_over_tls`), or use `bind_dn`",
            false,
        ),
        7 | 48 | 49 if matches!(identity, Identity::Kerberos) => (
            "the server does not take this ticket: it must speak Kerberos and know the principal",
            false,
        ),
        8 | 13 => (
            "the server wants an encrypted connection first: use `ldaps://` or `start_tls = true`",
            false,
        ),
        7 | 48 | 49 if external => (
            "the server takes nobody by what the connection says: it must ask for the client's \
             certificate and trust who issued it (OpenLDAP: `TLSVerifyClient`), or know accounts of \
             the machine (389-DS: `nsslapd-ldapiautobind`), and lead that to an entry (OpenLDAP: \
             `authz-regexp`; 389-DS: `certmap.conf`)",
            false,
        ),
        32 | 34 => ("the bind DN is not one that the server knows: check `bind_dn`", false),
        48 => {
            ("the server does not allow this way to sign in: set `bind_dn` and a password", false)
        }
        49 => (sub_code(&result.text), false),
        50 => ("the identity may not sign in: ask the directory's administrator", false),
        53 if result.text.to_ascii_lowercase().contains("inactivated") => {
            ("the account is inactivated: ask the directory's administrator to unlock it", false)
        }
        51 => ("the server is busy", true),
        52 => ("the server is unavailable", true),
        53 => ("the server is unwilling to let it sign in", false),
        80 => ("the server failed", true),
        _ => ("the server refused it", false),
    };
    let message = format!("signing in as {who} failed with result {}: {why}{words}", result.rc);
    let fault = Fault::answered(result.rc, message, transient);
    match result.rc {
        7 | 32 | 34 | 48 | 49 | 50 | 53 => fault.of_kind(SourceErrorKind::SignIn),
        _ => fault,
    }
}

/// Whether a refused bind as `identity` may have been counted as a wrong password: a ticket or a certificate that
/// a server does not take is none. With some sub-codes Active Directory says that the password was right.
#[must_use]
pub fn may_lock(result: &LdapResult, identity: &Identity) -> bool {
    const RIGHT: [&str; 6] = ["530", "531", "532", "533", "701", "773"];
    let by_password = matches!(identity, Identity::Simple(..));
    by_password
        && result.rc == 49
        && !code_in(&result.text).is_some_and(|code| RIGHT.contains(&code))
}

/// Why a bind is not tried: the same password, or the key of Kerberos, was refused, `left` before it may
/// be sent again.
#[must_use]
pub fn waits(left: std::time::Duration, kerberos: bool) -> String {
    let minutes = left.as_secs().div_ceil(60);
    if kerberos {
        return format!(
            "signing in is not tried: the Kerberos server refused this key, and more tries can lock the \
             account. It is sent again in {minutes} min, and at once after a restart: check the keytab \
             (`KRB5_CLIENT_KTNAME`)"
        );
    }
    format!(
        "signing in is not tried: the server refused this very password (result 49), and more tries \
         can lock the account. It is sent again in {minutes} min, another one at once: check \
         `bind_dn` and `bind_password`"
    )
}

/// Active Directory's sub-code in the text of a result (`…, data 52e, …`).
fn code_in(text: &str) -> Option<&str> {
    text.split("data ").nth(1).and_then(|rest| rest.split([',', ' ']).next())
}

/// What a result 49 means. Active Directory puts a sub-code into the text (`…, data 52e, …`);
/// 533, 701 and 773 show only with the right password, so they may be told.
fn sub_code(text: &str) -> &'static str {
    match code_in(text) {
        Some("525") => "no such user: check `bind_dn`",
        Some("52e") => "wrong password, or no such user: check `bind_dn` and `bind_password`",
        Some("530") => "the account may not sign in at this time",
        Some("531") => "the account may not sign in from this machine",
        Some("532") => "the password has expired: set a new one",
        Some("533") => "the account is disabled",
        Some("701") => "the account has expired",
        Some("773") => "the password must be changed before the first use",
        Some("775") => "the account is locked: wait, or have it unlocked",
        _ => {
            "wrong password, no such entry, or a locked account: check `bind_dn` and \
             `bind_password`; it is not tried again at once, since that can lock the account"
        }
    }
}

/// Why a search over `base` for `what` did not bring everything; `limits` is what lifts the server's.
#[must_use]
pub fn search(result: &LdapResult, what: &str, base: &str, limits: &Limits) -> Fault {
    let words = said(&result.text);
    let limit = |which: &str, what_lifts_it: &str| format!("{which} was reached: {what_lifts_it}");
    let (why, transient) = match result.rc {
        3 => (limit("its time limit", limits.time), true),
        4 => (limit("its size limit", limits.size), false),
        11 => (limit("an administrative limit", limits.administrative), false),
        code => {
            let (why, transient) = refused(code);
            (why.to_owned(), transient)
        }
    };
    let message = format!(
        "the search for {what} below `{base}` ended early with result {}: {why}{words}",
        result.rc
    );
    Fault::answered(result.rc, message, transient)
}

/// What the result code of a search means, and whether it may pass by itself.
fn refused(code: u32) -> (&'static str, bool) {
    match code {
        1 => ("the server refused it, as some do for anonymous readers: set `bind_dn`", false),
        2 => (
            "the server did not understand the request, as happens behind a proxy that mixes \
               connections",
            true,
        ),
        8 | 13 => ("it wants an encrypted connection: use `ldaps://` or `start_tls = true`", false),
        10 => (
            "it refers to another server, and references are not followed: give the server \
                that holds the base as `url`",
            false,
        ),
        12 => ("it does not know paged results", false),
        18 | 21 | 87 => ("it does not understand the filter: check `filter`", false),
        32 => (
            "there is no such base, or this identity may not see it: check `base`, `bind_dn` and \
             the server's access rules",
            false,
        ),
        34 => ("the base is not a name that it understands: check `base`", false),
        50 => ("this identity may not search there: grant it read access", false),
        51 => ("it is busy", true),
        52 => ("it is unavailable or shutting down", true),
        53 => ("it is unwilling to go on", true),
        80 => ("it failed inside; its log will say why", true),
        _ => ("it ended with an error", true),
    }
}

/// Why an operation brought no answer. `doing` is such as `the search for users below `…``.
#[must_use]
pub fn broken(error: &LdapError, doing: &str) -> Fault {
    let lasting = |why: &str| (why.to_owned(), SourceErrorKind::Lasting, false);
    let (why, kind, transient) = match error {
        LdapError::LdapResult { result } => {
            let message = format!("{doing} failed with result {}{}", result.rc, said(&result.text));
            return Fault::answered(result.rc, message, matches!(result.rc, 51 | 52 | 80));
        }
        LdapError::Io { source } => io(source),
        LdapError::Timeout { .. } => {
            ("no answer in time".to_owned(), SourceErrorKind::TimedOut, true)
        }
        LdapError::EndOfStream
        | LdapError::OpSend { .. }
        | LdapError::ResultRecv { .. }
        | LdapError::IdScrubSend { .. }
        | LdapError::MiscSend { .. } => {
            let why = "the connection broke, or the answer could not be understood";
            (why.to_owned(), SourceErrorKind::Broken, true)
        }
        LdapError::FilterParsing => lasting("the filter is not one"),
        LdapError::EmptyUnixPath => {
            lasting("the URL names no socket: write its path as `ldapi://%2Frun%2Fslapd%2Fldapi`")
        }
        LdapError::DNSName { .. } => {
            lasting("the host in the URL is not a name that a certificate can be for")
        }
        other => lasting(&other.to_string()),
    };
    Fault::local(format!("{doing}: {why}"), transient).of_kind(kind)
}

/// A connection's input or output error. Those of TLS come wrapped in one.
fn io(error: &std::io::Error) -> (String, SourceErrorKind, bool) {
    use std::io::ErrorKind as Io;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        let text = error.to_string();
        return if text.contains("tls handshake eof") {
            (
                "the server hung up during the TLS handshake: is this port for `ldap://` rather \
                 than `ldaps://`?"
                    .to_owned(),
                SourceErrorKind::Tls,
                true,
            )
        } else {
            let kind = match error.kind() {
                Io::TimedOut => SourceErrorKind::TimedOut,
                Io::ConnectionReset
                | Io::ConnectionAborted
                | Io::BrokenPipe
                | Io::UnexpectedEof => SourceErrorKind::Broken,
                _ => SourceErrorKind::Unreachable,
            };
            (text, kind, true)
        };
    };
    use rustls::CertificateError as Bad;
    let why = match tls {
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "its certificate is signed by an authority that is not trusted: set `ca_file` to that \
             authority's certificate"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(
            Bad::NotValidForName | Bad::NotValidForNameContext { .. },
        ) => "its certificate is for another name: use a host name that stands among the \
              certificate's subject alternative names"
            .to_owned(),
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "its certificate has expired: have it renewed".to_owned()
        }
        rustls::Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "its certificate is not valid yet: check both clocks".to_owned()
        }
        rustls::Error::InvalidCertificate(Bad::Other(other)) if is_a_ca(other) => {
            "the server's own certificate is that of an authority (`CA:TRUE`), as `openssl req \
             -x509` makes them, and such a one is no server's: issue one for the server with \
             `basicConstraints = CA:FALSE`, signed by that authority, which stays in `ca_file`"
                .to_owned()
        }
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS there: is this port for `ldap://` rather than `ldaps://`?"
                .to_owned()
        }
        other => format!("TLS failed: {other}"),
    };
    (why, SourceErrorKind::Tls, false)
}

/// Whether a certificate was refused for being an authority's. The verifier's own type of error is
/// not among what rustls gives out, so its word is all there is; only this sentence hangs on it.
fn is_a_ca(error: &rustls::OtherError) -> bool {
    error.0.to_string() == "CaUsedAsEndEntity"
}

#[cfg(test)]
mod tests {
    use super::super::connect::Proof;
    use super::super::dialect::Dialect;
    use super::*;

    fn result(rc: u32, text: &str) -> LdapResult {
        LdapResult {
            rc,
            matched: String::new(),
            text: text.to_owned(),
            refs: vec![],
            ctrls: vec![],
        }
    }

    fn reader() -> Identity {
        Identity::Simple("cn=reader".to_owned(), std::sync::Arc::new("secret".to_owned().into()))
    }

    #[test]
    fn who_signs_in_by_certificate_is_told_what_the_server_must_do() {
        for rc in [7, 48, 49] {
            let fault = bind(&result(rc, ""), &Identity::External(Proof::Certificate));
            assert!(fault.message.contains("`cert_file`"), "{}", fault.message);
            assert!(fault.message.contains("authz-regexp"), "{}", fault.message);
        }
    }

    #[test]
    fn a_refused_bind_says_which_it_was_and_is_never_retried_quickly() {
        let ad = |code: &str| {
            format!(
                "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data {code}, v4563"
            )
        };
        for (rc, text, why) in [
            (49, String::new(), "wrong password, no such entry, or a locked account"),
            (49, ad("525"), "no such user"),
            (49, ad("52e"), "wrong password"),
            (49, ad("532"), "password has expired"),
            (49, ad("533"), "account is disabled"),
            (49, ad("701"), "account has expired"),
            (49, ad("773"), "must be changed"),
            (49, ad("775"), "locked"),
            (8, String::new(), "encrypted connection first"),
            (34, "Invalid DN".to_owned(), "check `bind_dn`"),
            (53, "Account inactivated. Contact system administrator.".to_owned(), "inactivated"),
            (53, "unauthenticated bind (DN with no password) disallowed".to_owned(), "unwilling"),
        ] {
            let fault = bind(&result(rc, &text), &reader());
            assert!(fault.message.contains(why), "{rc} {text}: {}", fault.message);
            assert!(fault.message.contains("`cn=reader`"));
            assert!(!fault.transient, "{rc} {text}");
        }
        for (code, counts) in [("52e", true), ("775", true), ("533", false), ("701", false)] {
            assert_eq!(may_lock(&result(49, &ad(code)), &reader()), counts, "{code}");
        }
        assert!(may_lock(&result(49, ""), &reader()) && !may_lock(&result(53, ""), &reader()));
        assert!(!may_lock(&result(49, &ad("52e")), &Identity::Kerberos));
        assert!(bind(&result(51, ""), &reader()).transient);
        assert!(bind(&result(52, ""), &reader()).transient);
    }

    #[test]
    fn a_search_that_ended_early_says_what_to_do() {
        for (rc, why) in [
            (3, "time limit"),
            (4, "size=unlimited"),
            (10, "references are not followed"),
            (11, "size.pr"),
            (32, "no such base"),
            (50, "grant it read access"),
            (51, "busy"),
            (52, "unavailable"),
            (53, "unwilling"),
            (80, "failed inside"),
            (123, "result 123"),
        ] {
            let fault = search(&result(rc, ""), "users", "dc=x", &Dialect::OPENLDAP.limits);
            assert!(fault.message.contains(why), "{rc}: {}", fault.message);
            assert_eq!(fault.code, Some(rc));
        }
    }

    #[test]
    fn the_advice_on_a_limit_is_that_servers() {
        for (dialect, rc, advice) in [
            (Dialect::OPENLDAP, 3, "`limits` rule"),
            (Dialect::DS389, 3, "nsTimeLimit"),
            (Dialect::DS389, 4, "nsSizeLimit"),
            (Dialect::DS389, 11, "nsLookThroughLimit"),
            (Dialect::ACTIVE_DIRECTORY, 3, "MaxQueryDuration"),
            (Dialect::ACTIVE_DIRECTORY, 4, "MaxPageSize"),
            (Dialect::ACTIVE_DIRECTORY, 11, "LDAP policies"),
        ] {
            let fault = search(&result(rc, ""), "users", "dc=x", &dialect.limits);
            assert!(fault.message.contains(advice), "{}", fault.message);
        }
    }

    #[test]
    fn each_kind_of_fault_is_told_from_the_others_by_programs() {
        use rustls::{CertificateError, Error};
        let io = |source| broken(&LdapError::Io { source }, "it failed").kind;
        let kind = |kind: std::io::ErrorKind| io(kind.into());
        let untrusted = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(io(std::io::Error::other(untrusted)), SourceErrorKind::Tls);
        assert_eq!(kind(std::io::ErrorKind::ConnectionRefused), SourceErrorKind::Unreachable);
        assert_eq!(kind(std::io::ErrorKind::ConnectionReset), SourceErrorKind::Broken);
        assert_eq!(broken(&LdapError::EndOfStream, "it failed").kind, SourceErrorKind::Broken);
        assert_eq!(bind(&result(49, ""), &reader()).kind, SourceErrorKind::SignIn);
        assert_eq!(bind(&result(52, ""), &reader()).kind, SourceErrorKind::Answered(52));
        let limits = &Dialect::OPENLDAP.limits;
        let search = search(&result(50, ""), "users", "dc=x", limits);
        assert_eq!(SourceError::from(search).kind, SourceErrorKind::Answered(50));
        assert_eq!(SourceError::from(Fault::late("late")).kind, SourceErrorKind::TimedOut);
    }

    #[test]
    fn the_servers_words_are_short_and_on_one_line() {
        let fault =
            search(&result(80, &"x\n".repeat(1000)), "users", "dc=x", &Dialect::OPENLDAP.limits);
        assert!(fault.message.len() < 500 && !fault.message.contains('\n'));
    }
}
