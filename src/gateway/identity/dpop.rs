//! Proof of possession (DPoP, RFC 9449): a token that is bound to a key counts only beside a proof,
//! signed by that key for this request and no other.
//!
//! A proof brings its own key; what makes it worth anything is that the token names the key's thumbprint
//! (`cnf.jkt`), in words of the issuer. So a token is judged first, and its proof afterwards.
//! What the gateway tells of the request decides what the proof must name: the method, the host as routes
//! see it, the path. Each proof counts once: that it was there is remembered for as long as it could
//! come again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::verify;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::host::{self, HostError};
use super::claims::{self, LEEWAY, Object};
use super::fault::{ClaimError, TokenError};
use super::keys::{CANNOT, Key, KeyError, algorithm};
use super::proofs::{NotTaken, ProofMemory, Taken};
use super::shown;
use crate::config::DpopConfig;
use crate::gateway::question::{Header, Headers, RequestLine};
use crate::model::Time;
use crate::routes::{Host, HostPattern, Path};

/// The header with the proof.
const HEADER: &str = "dpop";
/// The type of a proof (section 4.2).
const TYPE: &str = "dpop+jwt";
/// The longest proof, in bytes. An RSA key of 4096 bits and its signature take 1.5 KiB.
const LONGEST: usize = 8 * 1024;
/// The longest `jti`, in bytes.
const LONGEST_ID: usize = 256;
/// Members of a JWK that are private (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "r"];

/// Why a proof proves nothing, said of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProofError {
    /// The token comes alone.
    #[error("there is none (header `DPoP`)")]
    Missing,
    /// Which of them counts?
    #[error("there is more than one, or it is no text")]
    Twice,
    /// It is longer than any.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// It is no JWT that was signed with an asymmetric key.
    #[error(transparent)]
    Form(#[from] TokenError),
    /// It is something else.
    #[error("its type `typ` is `{}`, not `{TYPE}`", shown(.0))]
    Type(String),
    /// It brings no key.
    #[error("its header has no key (`jwk`)")]
    NoKey,
    /// It tells everybody how to sign.
    #[error("its key is a private one (`{0}`)")]
    PrivateKey(&'static str),
    /// The key verifies nothing.
    #[error("its key: {0}")]
    Key(#[from] KeyError),
    /// The key is for something else.
    #[error("its key is not for its `alg`")]
    UnfitKey,
    /// A claim that must be there.
    #[error("it has no `{0}`")]
    Lacks(&'static str),
    /// It could not be remembered.
    #[error("its `jti` is longer than {LONGEST_ID} bytes")]
    LongId,
    /// It is for another request.
    #[error("its `htm` is another method than the request's")]
    OtherMethod,
    /// It names no request.
    #[error("its `htu` is not a URL of a request")]
    Target,
    /// It is for another request.
    #[error("its `htu` names another {0} than the request")]
    OtherTarget(&'static str),
    /// Nobody can tell.
    #[error("the gateway does not tell the host of the request, which `htu` must name")]
    HostNotTold,
    /// Nobody can tell.
    #[error("the host of the request: {0}")]
    Host(#[from] HostError),
    /// Only the headers are known.
    #[error("nothing is known of the request that it is for")]
    NoRequest,
    /// It is for another site, whichever host the request was sent to.
    #[error("its `htu` names a host that `gateway.dpop.hosts` does not")]
    ForeignHost,
    /// It was made long ago.
    #[error("it was made {seconds} s ago (`iat`)")]
    TooOld {
        /// How long ago.
        seconds: u64,
    },
    /// It was made for later.
    #[error("it was made {seconds} s from now (`iat`)")]
    TooNew {
        /// In how long.
        seconds: u64,
    },
    /// It is for another token.
    #[error("its `ath` is not the digest of the token")]
    OtherToken,
    /// The token is somebody else's.
    #[error("the token is bound to another key (`cnf.jkt`) than the one that signed it")]
    OtherKey,
    /// It may have been here before.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
}

impl From<ClaimError> for ProofError {
    fn from(why: ClaimError) -> Self {
        ProofError::Form(why.into())
    }
}

/// What proofs are held against.
#[derive(Clone, Copy)]
pub(super) struct Proofs<'a> {
    pub memory: &'a ProofMemory,
    pub config: &'a DpopConfig,
}

/// The proof that comes with a token, and the request that it is to be for.
pub(super) struct Possession<'a> {
    pub proofs: Proofs<'a>,
    pub headers: &'a dyn Headers,
    pub request: Option<RequestLine<'a>>,
}

impl Possession<'_> {
    /// Whether whoever sends `token` has the key with the thumbprint `jkt` (section 4.3). Takes the proof:
    /// it counts once.
    ///
    /// # Errors
    /// It proves nothing.
    pub(super) fn check(&self, jkt: &str, token: &str, now: Time) -> Result<(), ProofError> {
        let request = self.request.as_ref().ok_or(ProofError::NoRequest)?;
        let proof = match self.headers.header(HEADER) {
            Header::Absent => return Err(ProofError::Missing),
            Header::One(text) if text.len() > LONGEST => return Err(ProofError::TooLong),
            Header::One(text) => Proof::parse(text)?,
            Header::Bad => return Err(ProofError::Twice),
        };
        let id = claim(&proof.claims, "jti")?;
        if id.len() > LONGEST_ID {
            return Err(ProofError::LongId);
        }
        if claim(&proof.claims, "htm")? != request.method {
            return Err(ProofError::OtherMethod);
        }
        is_of(claim(&proof.claims, "htu")?, request, self.headers, &self.proofs.config.hosts)?;
        let (iat, span) = self.timely(&proof.claims, now)?;
        if claim(&proof.claims, "ath")? != URL_SAFE_NO_PAD.encode(Sha256::digest(token)) {
            return Err(ProofError::OtherToken);
        }
        if proof.key.thumbprint().as_deref() != Some(jkt) {
            return Err(ProofError::OtherKey);
        }
        proof.is_signed()?;
        let now = now.timestamp();
        self.proofs.memory.take(&Taken { jkt, jti: id, iat, now, span })?;
        Ok(())
    }

    /// Whether a proof is of now: when it was made, and for how many seconds it could come again, at most.
    fn timely(&self, claims: &Object, now: Time) -> Result<(i64, i64), ProofError> {
        let iat = claims::date(claims, "iat")?.ok_or(ProofError::Lacks("iat"))?;
        let now = now.timestamp();
        let age = i64::try_from(self.proofs.config.max_age.as_secs()).unwrap_or(i64::MAX);
        let age = age.saturating_add(LEEWAY);
        if now > iat.saturating_add(age) {
            return Err(ProofError::TooOld { seconds: now.abs_diff(iat) });
        }
        if iat > now.saturating_add(LEEWAY) {
            return Err(ProofError::TooNew { seconds: iat.abs_diff(now) });
        }
        Ok((iat, age.saturating_add(LEEWAY).saturating_add(1)))
    }
}

/// A claim that must be there, as text.
fn claim<'o>(claims: &'o Object, name: &'static str) -> Result<&'o str, ProofError> {
    let text = claims::text(claims, name)?;
    text.filter(|text| !text.is_empty()).ok_or(ProofError::Lacks(name))
}

/// Whether `htu` names the request: without query and fragment, of which both are free (section 4.3, 9).
/// Both are read as routes read them, so that each has one reading. `hosts`: those that it may name, whatever
/// the request does; empty: any.
fn is_of(
    htu: &str,
    request: &RequestLine<'_>,
    headers: &dyn Headers,
    hosts: &[HostPattern],
) -> Result<(), ProofError> {
    let (scheme, rest) = htu.split_once("://").ok_or(ProofError::Target)?;
    let tls = scheme.eq_ignore_ascii_case("https");
    if !tls && !scheme.eq_ignore_ascii_case("http") {
        return Err(ProofError::Target);
    }
    // What ends TLS before the gateway may ask it in the clear; never the other way round.
    if request.tls && !tls {
        return Err(ProofError::OtherTarget("scheme"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(ProofError::Target)?;
    let named = Host::parse(authority).map_err(|_| ProofError::Target)?;
    // A client says which host it asks, so whoever was given a proof for a site of their own may name that.
    if !hosts.is_empty() && !hosts.iter().any(|host| host.names(&named)) {
        return Err(ProofError::ForeignHost);
    }
    let told = host::told(request.host, headers)?.ok_or(ProofError::HostNotTold)?;
    if named.name() != told.name() {
        return Err(ProofError::OtherTarget("host"));
    }
    let port = if tls { 443 } else { 80 };
    if named.port().unwrap_or(port) != told.port().unwrap_or(port) {
        return Err(ProofError::OtherTarget("port"));
    }
    let path = path.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = Path::parse(path).map_err(|_| ProofError::Target)?;
    match Path::parse(request.target) {
        Ok(asked) if asked.text() == path.text() => Ok(()),
        _ => Err(ProofError::OtherTarget("path")),
    }
}

/// A proof, taken apart.
struct Proof<'a> {
    claims: Object,
    key: Key,
    algorithm: jsonwebtoken::Algorithm,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Proof<'a> {
    fn parse(text: &'a str) -> Result<Proof<'a>, ProofError> {
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Parts)?;
        let header = claims::part(header, "header")?;
        match claims::text(&header, "typ")? {
            Some(TYPE) => {}
            other => return Err(ProofError::Type(other.unwrap_or_default().to_owned())),
        }
        if header.contains_key("crit") {
            return Err(TokenError::Critical.into());
        }
        let named = claims::text(&header, "alg")?.ok_or(TokenError::NoAlgorithm)?;
        // `Ed25519` is what of `EdDSA` is known here, by its own name (RFC 9864, section 2.2).
        let known = algorithm(if named == "Ed25519" { "EdDSA" } else { named });
        let algorithm = known.ok_or_else(|| match CANNOT.contains(&named) {
            true => TokenError::Unverifiable(named.to_owned()),
            false => TokenError::NotAsymmetric(named.to_owned()),
        })?;
        let key = public_key(header.get("jwk").ok_or(ProofError::NoKey)?)?;
        if !key.fits(algorithm) {
            return Err(ProofError::UnfitKey);
        }
        let claims = claims::part(payload, "payload")?;
        Ok(Proof { claims, key, algorithm, signed, signature })
    }

    fn is_signed(&self) -> Result<(), ProofError> {
        let Proof { key, algorithm, signed, signature, .. } = self;
        match verify(signature, signed.as_bytes(), &key.decoding, *algorithm) {
            Ok(true) => Ok(()),
            // What cannot be read as a signature is none.
            Ok(false) | Err(_) => Err(TokenError::Signature.into()),
        }
    }
}

fn public_key(jwk: &Value) -> Result<Key, ProofError> {
    let members = jwk.as_object().ok_or(ProofError::NoKey)?;
    if let Some(private) = PRIVATE.into_iter().find(|it| members.contains_key(*it)) {
        return Err(ProofError::PrivateKey(private));
    }
    Ok(Key::new(jwk)?)
}
