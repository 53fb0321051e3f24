//! Signing in by Kerberos (SASL GSSAPI, RFC 4752), where the program is built with the feature `gssapi`.
//!
//! MIT's library finds the key or the ticket by its own rules: `KRB5_CLIENT_KTNAME` names the keytab,
//! `KRB5CCNAME` where tickets are kept, `KRB5_CONFIG` what realms there are. The server gets the channel
//! binding of its certificate (RFC 5929, `tls-server-end-point`).
//!
//! Over TLS alone: without it everything would have to be encrypted by Kerberos, and the crate that
//! speaks LDAP loses answers then (`ldap3` 0.12.1: of several in one encrypted buffer it keeps the first
//! where another buffer has come already), so that somebody would be missing from a read that ended well.

use std::time::Duration;

use ldap3::{Ldap, LdapError, LdapResult};
use url::Url;

use super::connect::is_address;
use crate::source::SourceErrorKind;

/// Why no ticket could be had for a server.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KerberosError {
    /// The program was built without it.
    #[error(
        "`sasl = \"GSSAPI\"`: this program was built without Kerberos; build it with `--features gssapi`, or \
         use `bind_dn` or a client certificate"
    )]
    NotBuilt,
    /// The connection is not encrypted.
    #[error("Kerberos signs in over TLS only: use `ldaps://`, or `start_tls = true`")]
    InClear,
    /// The server has no name: a ticket is for one.
    #[error("Kerberos knows a server by its name, and this one has only an address")]
    NoName,
    /// The key or the account was refused by the Kerberos server, which may count that.
    #[error(
        "the Kerberos server refused the key: {0}. Check the keytab (`KRB5_CLIENT_KTNAME`): a new password \
         needs a new one. It is not tried again at once, since that can lock the account"
    )]
    Key(String),
    /// No Kerberos server answered.
    #[error("no Kerberos server answers: {0}")]
    Away(String),
    /// Anything else: no key, a server that Kerberos does not know, clocks that differ.
    #[error(
        "no Kerberos ticket for the server: {0}. A keytab is named by `KRB5_CLIENT_KTNAME`, realms by \
         `KRB5_CONFIG`"
    )]
    Ticket(String),
    /// It took too long.
    #[error("signing in by Kerberos took more than {} s", .0.as_secs_f64())]
    Late(Duration),
    /// The task that asked ended without an answer.
    #[error("signing in by Kerberos ended without an answer")]
    Broken,
}

impl KerberosError {
    /// Whether the refusal may have been counted as a wrong password.
    #[must_use]
    pub fn may_lock(&self) -> bool {
        matches!(self, KerberosError::Key(_))
    }

    /// What kind of fault it is.
    #[must_use]
    pub fn kind(&self) -> SourceErrorKind {
        match self {
            KerberosError::NotBuilt | KerberosError::InClear | KerberosError::NoName => {
                SourceErrorKind::Lasting
            }
            KerberosError::Key(_) | KerberosError::Ticket(_) => SourceErrorKind::SignIn,
            KerberosError::Away(_) => SourceErrorKind::Unreachable,
            KerberosError::Late(_) => SourceErrorKind::TimedOut,
            KerberosError::Broken => SourceErrorKind::Panicked,
        }
    }

    /// Trying again soon may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, KerberosError::Away(_) | KerberosError::Late(_) | KerberosError::Broken)
    }
}

/// The name by which Kerberos knows the server of `url`, as `ldap/NAME`.
#[must_use]
pub fn host(url: &Url) -> Option<&str> {
    let named = url.scheme() != "ldapi" && !is_address(url);
    url.host_str().filter(|host| named && !host.is_empty())
}

/// Signs in at the server of `url`, on whose connection, `with_tls`, `ldap` is. The inner result is the server's
/// answer, or a broken connection. `refused` is called where the key is refused, however late, since that may be
/// counted as a wrong password.
///
/// # Errors
/// There is no ticket for the server, it takes longer than `within`, or the connection is in clear.
pub async fn bind(
    ldap: &Ldap,
    url: &Url,
    with_tls: bool,
    within: Duration,
    refused: impl FnOnce() + Send + 'static,
) -> Result<Result<LdapResult, LdapError>, KerberosError> {
    if !with_tls {
        return Err(KerberosError::InClear);
    }
    let host = host(url).ok_or(KerberosError::NoName)?.to_owned();
    // The library blocks while it looks for tickets and asks for them.
    let (ldap, runtime) = (ldap.clone(), tokio::runtime::Handle::current());
    let ask = move || {
        ticket(&host)?;
        Ok(exchange(&runtime, ldap, &host))
    };
    blocking(within, refused, ask).await
}

/// What `ask` says, which blocks, `within` so long; `refused` is called however late it says that.
async fn blocking<T: Send + 'static>(
    within: Duration,
    refused: impl FnOnce() + Send + 'static,
    ask: impl FnOnce() -> Result<T, KerberosError> + Send + 'static,
) -> Result<T, KerberosError> {
    let asked = tokio::task::spawn_blocking(move || {
        let answer = ask();
        if answer.as_ref().is_err_and(KerberosError::may_lock) {
            refused();
        }
        answer
    });
    match tokio::time::timeout(within, asked).await {
        Err(_) => Err(KerberosError::Late(within)),
        Ok(Err(_)) => Err(KerberosError::Broken),
        Ok(Ok(answer)) => answer,
    }
}

#[cfg(feature = "gssapi")]
fn exchange(
    runtime: &tokio::runtime::Handle,
    mut ldap: Ldap,
    host: &str,
) -> Result<LdapResult, LdapError> {
    runtime.block_on(ldap.sasl_gssapi_bind(host))
}

#[cfg(not(feature = "gssapi"))]
fn exchange(_: &tokio::runtime::Handle, _: Ldap, _: &str) -> Result<LdapResult, LdapError> {
    Err(LdapError::EndOfStream)
}

#[cfg(not(feature = "gssapi"))]
fn ticket(_: &str) -> Result<(), KerberosError> {
    Err(KerberosError::NotBuilt)
}

/// Gets the ticket before the connection is used, since the crate that speaks LDAP says only in words
/// why it got none, and a refused key must not be sent again.
#[cfg(feature = "gssapi")]
fn ticket(host: &str) -> Result<(), KerberosError> {
    use libgssapi::context::{ClientCtx, CtxFlags};
    use libgssapi::credential::{Cred, CredUsage};
    use libgssapi::error::Error;
    use libgssapi::name::Name;
    use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_KRB5_PRINCIPAL, OidSet};

    let asked = || -> Result<(), Error> {
        let mut mechanisms = OidSet::new()?;
        mechanisms.add(&GSS_MECH_KRB5)?;
        let key = Cred::acquire(None, None, CredUsage::Initiate, Some(&mechanisms))?;
        let server = format!("ldap/{host}");
        let server = Name::new(server.as_bytes(), Some(&GSS_NT_KRB5_PRINCIPAL))?;
        let flags = CtxFlags::GSS_C_MUTUAL_FLAG;
        let mut context = ClientCtx::new(Some(key), server, flags, Some(&GSS_MECH_KRB5));
        context.step(None, None).map(|_| ())
    };
    asked().map_err(|error| why(error.minor, error.to_string()))
}

/// What the library's error number (RFC 4120, 7.5.9, above MIT's base) says.
#[cfg(any(test, feature = "gssapi"))]
fn why(minor: u32, words: String) -> KerberosError {
    /// `ERROR_TABLE_BASE_krb5`
    const BASE: u32 = (-1_765_328_384_i32).cast_unsigned();
    /// `KDC_ERR_CLIENT_REVOKED`, `KDC_ERR_PREAUTH_FAILED`
    const REFUSED: [u32; 2] = [18, 24];
    /// `KRB5_KDC_UNREACH`, `KRB5_REALM_CANT_RESOLVE`, `KDC_ERR_SVC_UNAVAILABLE`
    const AWAY: [u32; 3] = [156, 220, 29];
    match minor.wrapping_sub(BASE) {
        code if REFUSED.contains(&code) => KerberosError::Key(words),
        code if AWAY.contains(&code) => KerberosError::Away(words),
        _ => KerberosError::Ticket(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_for_a_name() {
        let host = |url: &str| host(&url.parse().unwrap()).map(str::to_owned);
        assert_eq!(host("ldaps://dc1.example.com").as_deref(), Some("dc1.example.com"));
        assert_eq!(host("ldap://dc1.example.com:3268").as_deref(), Some("dc1.example.com"));
        for nameless in ["ldap://192.0.2.1", "ldaps://[2001:db8::1]", "ldapi://%2Frun%2Fldapi"] {
            assert_eq!(host(nameless), None, "{nameless}");
        }
    }

    #[test]
    fn a_refused_key_waits_and_a_server_that_is_away_is_asked_again() {
        let why = |code: i32| why((-1_765_328_384 + code).cast_unsigned(), "words".to_owned());
        for (code, may_lock, transient) in
            [(24, true, false), (18, true, false), (156, false, true), (7, false, false)]
        {
            let error = why(code);
            assert_eq!(
                (error.may_lock(), error.is_transient()),
                (may_lock, transient),
                "{error:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_key_that_is_refused_after_the_time_was_up_is_noted() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (note, noted) = tokio::sync::oneshot::channel();
        let ask = move || -> Result<(), _> {
            wait.recv().unwrap();
            Err(KerberosError::Key("words".to_owned()))
        };
        let refused = move || note.send(()).unwrap();
        let told = blocking(Duration::ZERO, refused, ask).await;
        assert_eq!(told, Err(KerberosError::Late(Duration::ZERO)));
        go.send(()).unwrap();
        noted.await.unwrap();
    }
}
