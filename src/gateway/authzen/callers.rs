//! Who may ask: those whom the configuration names, or, where it names nobody, whoever reaches the
//! listener.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use super::AuthzenError;
use crate::config::{AuthzenConfig, CallerProof, Capability};
use crate::gateway::identity::{Clients, Unidentified};
use crate::gateway::question::{Header, Headers};
use crate::gateway::tls::PeerNames;
use crate::model::Time;

/// The callers of one configuration.
pub(super) struct Callers {
    list: Vec<KnownCaller>,
    clients: Arc<Clients>,
}

/// One of them.
struct KnownCaller {
    name: String,
    may: Vec<Capability>,
    proof: Proof,
}

enum Proof {
    /// The SHA-256 of the token.
    Token([u8; 32]),
    /// [`Clients`] knows.
    Jwt,
    /// What a client's certificate calls it.
    Certificate(String),
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'c> {
    /// What the caller is called; absent: callers are not told apart.
    pub name: Option<&'c str>,
    /// What it may ask; absent: anything.
    may: Option<&'c [Capability]>,
}

impl Asking<'_> {
    /// Whether the caller may ask such a thing.
    pub(super) fn may(&self, what: Capability) -> bool {
        self.may.is_none_or(|may| may.contains(&what))
    }
}

/// Why nobody knows who asks. For the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NotProven {
    #[error("it bears neither a token nor a client's certificate of a caller")]
    Nothing,
    #[error("there is more than one `authorization` header, or it is not text")]
    Twice,
    #[error("the `authorization` header has something else than a bearer token")]
    NoBearer,
    #[error("its bearer token is no caller's")]
    UnknownToken,
    #[error("its bearer token is no caller's: {0}")]
    BadToken(String),
    #[error("its client certificate is for {0}, which is no caller's")]
    UnknownCertificate(String),
    /// The keys of an issuer are not known yet: 503.
    #[error("{0}")]
    NotNow(String),
}

impl Callers {
    /// Those of `config`. Reads their tokens.
    ///
    /// # Errors
    /// A token cannot be read or used, or is two callers'.
    pub(super) fn new(
        config: &AuthzenConfig,
        clients: Arc<Clients>,
    ) -> Result<Callers, AuthzenError> {
        let mut list: Vec<KnownCaller> = Vec::new();
        for caller in &config.callers {
            let proof = match &caller.proof {
                CallerProof::Token(secret) => {
                    let failed = |why| AuthzenError::Token { caller: caller.name.clone(), why };
                    let secret = secret.read().map_err(failed)?;
                    let secret = secret.expose_secret();
                    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                        return Err(AuthzenError::NoToken(caller.name.clone()));
                    }
                    let digest = digest(secret);
                    let same = |known: &&KnownCaller| matches!(&known.proof, Proof::Token(it) if *it == digest);
                    if let Some(known) = list.iter().find(same) {
                        let (one, other) = (known.name.clone(), caller.name.clone());
                        return Err(AuthzenError::SameToken { one, other });
                    }
                    Proof::Token(digest)
                }
                CallerProof::Jwt(_) => Proof::Jwt,
                CallerProof::ClientCertificate(name) => Proof::Certificate(name.clone()),
            };
            list.push(KnownCaller { name: caller.name.clone(), may: caller.may.clone(), proof });
        }
        Ok(Callers { list, clients })
    }

    pub(super) fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.clients)
    }

    /// Who asks. A bearer token that is there decides alone: one that is no caller's is refused,
    /// whatever certificate comes with it.
    pub(super) async fn asking(
        &self,
        headers: &(dyn Headers + '_),
        peer: Option<&PeerNames>,
        now: Time,
    ) -> Result<Asking<'_>, NotProven> {
        if self.list.is_empty() {
            return Ok(Asking { name: None, may: None });
        }
        let token = match headers.header("authorization") {
            Header::Absent => None,
            Header::Bad => return Err(NotProven::Twice),
            Header::One(value) => Some(bearer(value).ok_or(NotProven::NoBearer)?),
        };
        let found = match token {
            Some(token) => self.by_token(token, now).await?,
            None => self.by_certificate(peer)?,
        };
        Ok(Asking { name: Some(&found.name), may: Some(&found.may) })
    }

    async fn by_token(&self, token: &str, now: Time) -> Result<&KnownCaller, NotProven> {
        let digest = digest(token);
        // All are looked at: how long it takes does not tell which it is.
        let mut found = None;
        for caller in &self.list {
            if let Proof::Token(known) = &caller.proof
                && verify_slices_are_equal(known, &digest).is_ok()
            {
                found = Some(caller);
            }
        }
        if let Some(found) = found {
            return Ok(found);
        }
        let named = self.clients.identify(token, now).await.map_err(|why| match why {
            None => NotProven::UnknownToken,
            Some(Unidentified::Refused(why)) => NotProven::BadToken(why.to_string()),
            Some(Unidentified::Unavailable(why)) => NotProven::NotNow(why.to_string()),
        })?;
        let is_named = |caller: &&KnownCaller| caller.name == named;
        self.list.iter().find(is_named).ok_or(NotProven::UnknownToken)
    }

    fn by_certificate(&self, peer: Option<&PeerNames>) -> Result<&KnownCaller, NotProven> {
        let Some(peer) = peer else { return Err(NotProven::Nothing) };
        let is_shown = |caller: &&KnownCaller| match &caller.proof {
            Proof::Certificate(name) => peer.names().contains(name),
            Proof::Token(_) | Proof::Jwt => false,
        };
        self.list.iter().find(is_shown).ok_or_else(|| {
            let names: Vec<String> = peer.names().iter().map(|name| super::shown(name)).collect();
            NotProven::UnknownCertificate(format!("`{}`", names.join("`, `")))
        })
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The token of an `authorization` header (RFC 6750, section 2.1).
fn bearer(value: &str) -> Option<&str> {
    const LONGEST: usize = 16 * 1024;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let is_token = !token.is_empty()
        && token.len() <= LONGEST
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}
