//! A bearer token (RFC 6750), verified as a JWS (RFC 7515) that is a JWT (RFC 7519), by the rules of
//! RFC 8725.
//!
//! The token says which issuer it is from and which key signed it; neither is believed, both only
//! choose what it is verified with: an issuer's own keys, and of those the ones that are made for
//! the algorithm. Nothing in a token's header can bring a key of its own.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto::verify;

use super::super::exchange::Seal;
use super::cache::{Cache, Verified};
use super::claims::{self, Object, Span};
use super::dpop::Possession;
use super::fault::{NoKeys, NoProof, TokenError};
use super::issuer::Issuer;
use super::keys::{CANNOT, Key, KeySet, TRIES, algorithm};
use super::session::Sessions;
use crate::gateway::ended::TokenSession;
use crate::gateway::question::{Identity, Unidentified};
use crate::model::Time;

/// Verifies tokens.
pub(super) struct Verifier {
    issuers: Vec<Arc<Issuer>>,
    seal: Option<Arc<Seal>>,
    /// Sessions end before their tokens do.
    sessions: Option<Sessions>,
    cache: Cache,
}

/// How a token comes.
pub(super) enum Presented<'a> {
    /// Whoever has it may use it.
    Bearer,
    /// With a proof that whoever sends it has the key that it is bound to.
    Proven(Possession<'a>),
}

/// What a first look at a request tells.
pub(super) enum Look<'a> {
    /// Who asks, or that nobody knows.
    Done(Result<Identity, Unidentified>),
    /// The issuer's keys must be read first.
    Wait(Box<Pending<'a>>),
}

/// A token whose key is not known yet.
pub(super) struct Pending<'a> {
    verifier: &'a Verifier,
    token: &'a str,
    by: Presented<'a>,
    claimed: Claimed<'a>,
    now: Time,
}

/// What a token claims, judged but not proven.
struct Claimed<'a> {
    parsed: Parsed,
    issuer: &'a Arc<Issuer>,
    identity: Identity,
    span: Span,
    session: Option<TokenSession>,
    bound: Option<Arc<str>>,
}

/// How a token says that it is signed.
pub(super) struct Parsed {
    algorithm: Algorithm,
    kid: Option<String>,
    /// Where the signature begins, and how long that is which it signs.
    signature: usize,
    signed: usize,
}

/// Why a token was not verified.
pub(super) enum Unproven {
    /// It is bad, whatever keys there are.
    Bad(TokenError),
    /// Its key may be one that is not known yet.
    Unknown(TokenError),
}

impl Verifier {
    /// `seal` opens what was exchanged here; `sessions` is what tokens are held against, where anything
    /// is.
    pub(super) fn new(
        issuers: Vec<Arc<Issuer>>,
        seal: Option<Arc<Seal>>,
        sessions: Option<Sessions>,
    ) -> Self {
        Verifier { issuers, seal, sessions, cache: Cache::new() }
    }

    /// Who bears `token`, as far as it can be told from memory.
    pub(super) fn look<'a>(&'a self, token: &'a str, by: Presented<'a>, now: Time) -> Look<'a> {
        if let Some(verified) = self.cache.get(token, now) {
            let lasts = self.lasts(verified.session.as_ref()).map_err(|why| by.refused(why));
            let shown = lasts.and_then(|()| by.shows(verified.bound.as_deref(), token, now));
            return Look::Done(shown.map(|()| verified.identity.clone()));
        }
        let claimed = match self.claimed(token, &by, now) {
            Ok(claimed) => claimed,
            Err(why) => return Look::Done(Err(by.refused(why))),
        };
        match self.verify(token, &claimed) {
            Ok(identity) => {
                let shown = by.shows(claimed.bound.as_deref(), token, now);
                Look::Done(shown.map(|()| identity))
            }
            Err(Unproven::Bad(why)) => Look::Done(Err(by.refused(why))),
            Err(Unproven::Unknown(_)) => {
                Look::Wait(Box::new(Pending { verifier: self, token, by, claimed, now }))
            }
        }
    }

    /// Whether the session that a token was issued in lasts. Asked with each request, however well known
    /// the token is.
    fn lasts(&self, session: Option<&TokenSession>) -> Result<(), TokenError> {
        match (&self.sessions, session) {
            (Some(sessions), Some(session)) => sessions.lasts(session),
            _ => Ok(()),
        }
    }

    /// Takes a token apart and judges what it claims. This comes before its signature, so that
    /// nobody waits, and no issuer is asked, for a token that no key could save.
    fn claimed(
        &self,
        token: &str,
        by: &Presented<'_>,
        now: Time,
    ) -> Result<Claimed<'_>, TokenError> {
        let (parsed, claims) = Parsed::new(token)?;
        let named = claims::text(&claims, "iss")?.ok_or(TokenError::NoIssuer)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.config.issuer == named);
        let issuer = issuer.ok_or_else(|| TokenError::UnknownIssuer(named.to_owned()))?;
        let bound = claims::binding(&claims)?;
        by.fits(bound.as_deref(), issuer.config.dpop_required)?;
        let seal = self.seal.as_deref();
        let (identity, mut span) = claims::judge_bound(&claims, &issuer.config, seal, now)?;
        let session = match &self.sessions {
            Some(sessions) => sessions.of(&claims, &issuer.config, &mut span, now)?,
            None => None,
        };
        Ok(Claimed { parsed, issuer, identity, span, session, bound })
    }

    /// Makes of what a token claims what is proven, by a key of the issuer that it claims.
    fn verify(&self, token: &str, claimed: &Claimed<'_>) -> Result<Identity, Unproven> {
        let Claimed { parsed, issuer, identity, span, session, bound } = claimed;
        let own = issuer.own.as_ref().filter(|own| issuer.is_own() || parsed.names_one_of(own));
        // What is made here stands for a token: a name alone is nobody's.
        if own.is_some() && !matches!(identity, Identity::Token(_)) {
            return Err(Unproven::Bad(TokenError::OfNoToken));
        }
        let keys = own.cloned().or_else(|| issuer.keys());
        let keys = keys.ok_or(Unproven::Unknown(TokenError::NoKey))?;
        let key = Arc::clone(parsed.signed_by(token, &keys)?);
        let (identity, session, bound) = (identity.clone(), session.clone(), bound.clone());
        let verified = Verified { identity: identity.clone(), span: *span, session, bound, key };
        self.cache.put(token, verified);
        // Only to whom the token is shown to be the issuer's it is told what became of the session.
        self.lasts(claimed.session.as_ref()).map_err(Unproven::Bad)?;
        Ok(identity)
    }

    /// How many tokens are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.cache.len()
    }
}

impl Pending<'_> {
    /// Who asks, once the issuer's keys have been read, or could not be.
    pub(super) async fn identify(self) -> Result<Identity, Unidentified> {
        let Pending { verifier, token, by, claimed, now } = self;
        let issuer = claimed.issuer;
        issuer.reread().await;
        match verifier.verify(token, &claimed) {
            Ok(identity) => by.shows(claimed.bound.as_deref(), token, now).map(|()| identity),
            Err(Unproven::Unknown(_)) if issuer.keys().is_none() => {
                let (issuer, why) = (issuer.config.issuer.clone(), issuer.fault());
                Err(Unidentified::Unavailable(NoKeys { issuer, why }))
            }
            Err(Unproven::Unknown(why) | Unproven::Bad(why)) => Err(by.refused(why)),
        }
    }
}

impl Presented<'_> {
    /// Whether a token that is bound to the key with this thumbprint, or to none, may come so at all.
    fn fits(&self, bound: Option<&str>, required: bool) -> Result<(), TokenError> {
        match (self, bound) {
            (Presented::Bearer, None) if required => Err(TokenError::MustBeBound),
            (Presented::Bearer, Some(_)) => Err(TokenError::Bound),
            (Presented::Proven(_), None) => Err(TokenError::Unbound),
            (Presented::Bearer, None) | (Presented::Proven(_), Some(_)) => Ok(()),
        }
    }

    /// Whether whoever sends a verified token may use it. Takes the proof: it counts once.
    fn shows(&self, bound: Option<&str>, token: &str, now: Time) -> Result<(), Unidentified> {
        self.fits(bound, false).map_err(|why| self.refused(why))?;
        match (self, bound) {
            (Presented::Proven(possession), Some(thumbprint)) => possession
                .check(thumbprint, token, now)
                .map_err(|why| Unidentified::Refused(NoProof::Possession(why))),
            _ => Ok(()),
        }
    }

    fn refused(&self, why: TokenError) -> Unidentified {
        Unidentified::Refused(match self {
            Presented::Bearer => NoProof::Token(why),
            Presented::Proven(_) => NoProof::BoundToken(why),
        })
    }
}

impl Parsed {
    /// Takes a bearer's token apart; also gives its claims.
    fn new(token: &str) -> Result<(Parsed, Object), TokenError> {
        Parsed::with(token, claims::header)
    }

    /// Takes a token apart whose header must do for `judge`; also gives its claims.
    pub(super) fn with(
        token: &str,
        judge: impl Fn(&Object) -> Result<(), TokenError>,
    ) -> Result<(Parsed, Object), TokenError> {
        let mut parts = token.split('.');
        let (header, payload, signature) =
            match (parts.next(), parts.next(), parts.next(), parts.count()) {
                (Some(header), Some(payload), Some(signature), 0) => (header, payload, signature),
                (_, _, Some(_), 2) => return Err(TokenError::Encrypted),
                _ => return Err(TokenError::Parts),
            };
        let header = claims::part(header, "header")?;
        let named = claims::text(&header, "alg")?.ok_or(TokenError::NoAlgorithm)?;
        let algorithm = algorithm(named).ok_or_else(|| {
            if CANNOT.contains(&named) {
                TokenError::Unverifiable(named.to_owned())
            } else {
                TokenError::NotAsymmetric(named.to_owned())
            }
        })?;
        judge(&header)?;
        let kid = claims::text(&header, "kid")?.map(str::to_owned);
        let claims = claims::part(payload, "payload")?;
        if signature.is_empty() {
            return Err(TokenError::NoSignature);
        }
        let begin = token.len() - signature.len();
        Ok((Parsed { algorithm, kid, signature: begin, signed: begin - 1 }, claims))
    }

    /// Whether it names one of `keys`.
    fn names_one_of(&self, keys: &KeySet) -> bool {
        self.kid.as_ref().is_some_and(|kid| keys.named(kid).next().is_some())
    }

    /// The key that signed it.
    pub(super) fn signed_by<'k>(
        &self,
        token: &str,
        keys: &'k KeySet,
    ) -> Result<&'k Arc<Key>, Unproven> {
        let (Some(message), Some(signature)) =
            (token.get(..self.signed), token.get(self.signature..))
        else {
            return Err(Unproven::Bad(TokenError::Parts));
        };
        // What cannot be read as a signature, or with this key, is not signed by it.
        let signed_with = |key: &&Arc<Key>| {
            key.fits(self.algorithm)
                && verify(signature, message.as_bytes(), &key.decoding, self.algorithm)
                    .unwrap_or(false)
        };
        let Some(kid) = &self.kid else {
            // An issuer without names for its keys may have a new one.
            return keys
                .all()
                .filter(|key| key.fits(self.algorithm))
                .take(TRIES)
                .find(signed_with)
                .ok_or(Unproven::Unknown(TokenError::NoKeySigned));
        };
        let mut named = keys.named(kid).peekable();
        if named.peek().is_none() {
            let nameless = keys.nameless().filter(|key| key.fits(self.algorithm));
            let unknown = || Unproven::Unknown(TokenError::UnknownKey { kid: kid.clone() });
            return nameless.take(TRIES).find(signed_with).ok_or_else(unknown);
        }
        let mut fitting = named.filter(|key| key.fits(self.algorithm)).take(TRIES).peekable();
        if fitting.peek().is_none() {
            let (kid, algorithm) = (kid.clone(), self.algorithm);
            return Err(Unproven::Bad(TokenError::UnfitKey { kid, algorithm }));
        }
        fitting.find(signed_with).ok_or(Unproven::Bad(TokenError::Signature))
    }
}
