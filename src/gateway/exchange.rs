//! Access tokens for JWTs: what OSMO's service answers at `/api/auth/jwt/access_token`
//! (`src/service/core/auth/auth_service.py`, `src/utils/auth.py`), signed with a key of one's own.
//!
//! A JWT says whose the token is and which roles it has at that moment, and lives for five minutes,
//! or as long as the token if that is shorter. That is for others to believe. Here it stands for the
//! token itself: its `jti` is the token's digest, sealed, so that it ends with the token and no name
//! in it decides anything.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::identity::digest;
use super::question::TokenDigest;
use super::replica::Bearer;
use crate::config::OSMO;
use crate::model::Time;
use crate::model::token::SECRET_LENGTH;

/// How long a JWT lives, in seconds (`ACCESS_TOKEN_TIMEOUT`).
const LIFETIME: i64 = 300;

/// How long a secret may be: as they are made, and as OSMO made them once, in hex.
const LENGTHS: [usize; 2] = [SECRET_LENGTH, 64];

/// The least size of an RSA key: 2048 bits (RFC 7518, section 3.3).
const LEAST_BYTES: usize = 256;

/// So many are signed at once: it is the dearest that a client can ask for.
const AT_ONCE: usize = 2;

/// Exchanges access tokens.
pub struct Exchange {
    key: RsaKeyPair,
    /// The first part of every JWT.
    header: String,
    jwks: String,
    seal: Arc<Seal>,
    signing: Semaphore,
}

/// How the `jti` of a JWT begins that is made here.
pub const SEALED: &str = "idpsyncd:";

/// Hides which token a JWT was made from: from its digest the secret of a default admin, which a person
/// may have chosen, could be guessed. Whoever has the signing key can open it, and nobody else.
pub struct Seal(LessSafeKey);

impl Seal {
    /// The seal that goes with a private key in DER.
    fn of(der: &[u8]) -> Option<Seal> {
        let mut key = Sha256::new_with_prefix(b"idpsyncd: which token a JWT was made from\0");
        key.update(der);
        UnboundKey::new(&AES_256_GCM, &key.finalize()).ok().map(|key| Seal(LessSafeKey::new(key)))
    }

    fn close(&self, digest: &TokenDigest) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = digest.0.to_vec();
        let once = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(once, Aad::from(OSMO.as_bytes()), &mut sealed).ok()?;
        Some(format!("{SEALED}{}", URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// The digest of the token that a JWT with this `jti` was made from.
    #[must_use]
    pub fn open(&self, jti: &str) -> Option<TokenDigest> {
        let mut bytes = URL_SAFE_NO_PAD.decode(jti.strip_prefix(SEALED)?).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.0.open_in_place(nonce, Aad::from(OSMO.as_bytes()), sealed).ok()?;
        Some(TokenDigest((&*opened).try_into().ok()?))
    }
}

/// What came of an exchange.
#[derive(Clone, PartialEq, Eq)]
pub enum Exchanged {
    /// A JWT, and when it ends, in seconds since 1970.
    Made {
        /// The JWT: whoever has it is its user.
        token: String,
        /// Its `exp`.
        expires_at: i64,
    },
    /// It is no token: in OSMO's words.
    Refused(String),
    /// Nothing can be decided now: with a reason that gives nothing away.
    Unavailable(&'static str),
    /// Nothing is exchanged here.
    Off,
}

/// What a JWT says, as OSMO's do.
#[derive(Serialize)]
pub struct Claims {
    iss: &'static str,
    aud: &'static str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    unique_name: String,
    roles: Vec<String>,
    osmo_token_name: String,
}

/// Why nothing can be signed with a key. Nothing of it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Another format.
    #[error(
        "it holds no private key in PEM (PKCS#8, `-----BEGIN PRIVATE KEY-----`): `openssl genpkey \
         -algorithm RSA -pkeyopt rsa_keygen_bits:4096` makes one"
    )]
    NotPem,
    /// Another kind of key.
    #[error(
        "it is no RSA key that can be used: OSMO's clients and gateways expect RS256, with 2048 bits \
         or more"
    )]
    NotRsa,
    /// It can be broken.
    #[error("it is an RSA key of less than 2048 bits")]
    TooShort,
    /// The seal cannot be made.
    #[error("no key can be derived from it")]
    NoSeal,
}

impl Exchange {
    /// One that signs with `pem`.
    ///
    /// # Errors
    /// It is no RSA key of at least 2048 bits in PEM, PKCS#8.
    pub fn new(pem: &SecretString) -> Result<Exchange, SigningKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose_secret().as_bytes());
        let der = der.map_err(|_| SigningKeyError::NotPem)?;
        let key =
            RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| SigningKeyError::NotRsa)?;
        if key.public_modulus_len() < LEAST_BYTES {
            return Err(SigningKeyError::TooShort);
        }
        let seal = Seal::of(der.secret_pkcs8_der());
        let seal = seal.ok_or(SigningKeyError::NoSeal)?;
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let n = part(key.public_key().modulus().big_endian_without_leading_zero());
        let e = part(key.public_key().exponent().big_endian_without_leading_zero());
        // RFC 7638, section 3: the members that must be there, in the order of their names.
        let canonical = json!({ "e": e, "kty": "RSA", "n": n }).to_string();
        let kid = part(&Sha256::digest(canonical.as_bytes()));
        let header = json!({ "alg": "RS256", "kid": kid, "typ": "JWT" }).to_string();
        let jwks = json!({
            "keys": [{ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e }],
        });
        Ok(Exchange {
            key,
            header: part(header.as_bytes()),
            jwks: jwks.to_string(),
            seal: Arc::new(seal),
            signing: Semaphore::new(AT_ONCE),
        })
    }

    /// The public key, as a JWK set (RFC 7517, section 5).
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// What the JWTs made here are opened by.
    #[must_use]
    pub fn seal(&self) -> Arc<Seal> {
        Arc::clone(&self.seal)
    }

    /// What the store keeps of `token`; `None`: no token is so long.
    #[must_use]
    pub fn digest(&self, token: &str) -> Option<TokenDigest> {
        LENGTHS.contains(&token.len()).then(|| digest(token))
    }

    /// What is said of the token `digest`, which has `roles` (separated by commas); `None`: it cannot
    /// be sealed.
    #[must_use]
    pub fn claims(
        &self,
        digest: &TokenDigest,
        bearer: &Bearer<'_>,
        roles: &str,
        now: Time,
    ) -> Option<Claims> {
        let now = now.timestamp();
        Some(Claims {
            iss: OSMO,
            aud: OSMO,
            iat: now,
            nbf: now,
            exp: now.saturating_add(LIFETIME).min(bearer.until),
            jti: self.seal.close(digest)?,
            unique_name: bearer.owner.to_owned(),
            roles: roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect(),
            osmo_token_name: bearer.name.to_owned(),
        })
    }

    /// Signs `claims`: RS256 (RFC 7518, section 3.3).
    pub async fn sign(self: &Arc<Self>, claims: Option<Claims>) -> Exchanged {
        const NOT_NOW: Exchanged = Exchanged::Unavailable("nothing can be signed at the moment");
        let Some(claims) = claims else { return NOT_NOW };
        let Ok(_one) = self.signing.acquire().await else { return NOT_NOW };
        let this = Arc::clone(self);
        let expires_at = claims.exp;
        // Some milliseconds: not among the requests that are decided.
        let signed = tokio::task::spawn_blocking(move || this.signed(&claims)).await;
        match signed {
            Ok(Some(token)) => Exchanged::Made { token, expires_at },
            Ok(None) | Err(_) => {
                tracing::error!("a JWT cannot be signed with `gateway.tokens.signing_key`");
                NOT_NOW
            }
        }
    }

    fn signed(&self, claims: &Claims) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).ok()?);
        let message = format!("{}.{payload}", self.header);
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).ok()?;
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
