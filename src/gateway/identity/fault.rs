//! Why nobody knows who asks. What a stranger sent is quoted short, and without characters that
//! could forge a line of the log; neither a token nor a signature is quoted at all.

use jsonwebtoken::Algorithm;

use super::dpop::ProofError;
use super::fetch::KeysError;
use super::shown;
use crate::gateway::answer::PossessionFault;

/// Why nobody knows who asks. For the log only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unidentified {
    /// What the request bears is no proof: 401.
    Refused(NoProof),
    /// It cannot be judged now: 503.
    Unavailable(NoKeys),
}

/// Why what a request bears is no proof of who asks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoProof {
    /// There is no one credential.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The bearer token is bad.
    #[error("the bearer token is refused: {0}")]
    Token(#[source] TokenError),
    /// The token that comes with a proof is bad.
    #[error("the DPoP token is refused: {0}")]
    BoundToken(#[source] TokenError),
    /// The proof that comes with a token is bad.
    #[error("the DPoP proof is refused: {0}")]
    Possession(#[source] ProofError),
    /// What Envoy verified will not do.
    #[error("the verified payload that Envoy passed on: {0}")]
    Payload(#[source] TokenError),
    /// The header's name is nobody's.
    #[error("header `{header}`: {why}")]
    Name {
        /// The header.
        header: String,
        /// Why.
        #[source]
        why: NameError,
    },
    /// The name comes without the id.
    #[error("the header `{name}` is there without `{id}`, which says who it is")]
    NoId {
        /// The header with the name.
        name: String,
        /// The header with the id.
        id: String,
    },
    /// Which of them counts?
    #[error("the header `{0}` is there more than once, or is not text")]
    HeaderTwice(String),
    /// It would be two people's.
    #[error("it bears an access token, and the gateway names somebody as well")]
    TwoIdentities,
    /// The gateway has not verified what is there.
    #[error("it bears something of which the gateway has verified nothing")]
    Unverified,
}

impl NoProof {
    /// Whether the session that a token was issued in has ended: whoever bears it may be told.
    #[must_use]
    pub fn session_ended(&self) -> bool {
        matches!(
            self,
            NoProof::Token(TokenError::SessionEnded)
                | NoProof::BoundToken(TokenError::SessionEnded)
                | NoProof::Payload(TokenError::SessionEnded)
        )
    }

    /// What is wrong where a proof of possession is wanted: as it is told (RFC 9449, section 7.1). `None`:
    /// nothing is said of such a thing.
    #[must_use]
    pub fn possession(&self) -> Option<PossessionFault> {
        match self {
            NoProof::Possession(_) => Some(PossessionFault::Proof),
            NoProof::BoundToken(_)
            | NoProof::Token(TokenError::Bound | TokenError::MustBeBound) => {
                Some(PossessionFault::Token)
            }
            _ => None,
        }
    }
}

/// An issuer's keys could not be had yet.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the keys of issuer `{issuer}` have not been had yet: {}", not_yet(.why.as_ref()))]
pub struct NoKeys {
    /// The issuer.
    pub issuer: String,
    /// Why the last read failed, if it has ended.
    pub why: Option<KeysError>,
}

fn not_yet(why: Option<&KeysError>) -> String {
    why.map_or_else(|| "it has not answered so far".to_owned(), ToString::to_string)
}

/// Why a request has no one credential (RFC 6750, section 2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CredentialError {
    /// The header of OSMO's clients holds something else.
    #[error("the `x-osmo-auth` header has something else than a token")]
    OsmoAuth,
    /// The header of OSMO's clients is there twice, or is no text.
    #[error("there is more than one `x-osmo-auth` header, or it is not text")]
    OsmoAuthTwice,
    /// The header is there twice, or is no text.
    #[error("there is more than one `authorization` header, or it is not text")]
    Twice,
    /// The header is empty.
    #[error("the `authorization` header is empty")]
    Empty,
    /// Such as `Basic`.
    #[error("the `authorization` header has another scheme than `Bearer` or `DPoP`")]
    Scheme,
    /// The scheme comes alone.
    #[error("the `authorization` header has no token")]
    NoToken,
    /// It is longer than any.
    #[error("the bearer token is longer than 16 KiB")]
    TooLong,
    /// It has characters that no token has.
    #[error("the `authorization` header has something else than one JWT")]
    NotAToken,
}

/// Why a name is nobody's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// There is none.
    #[error("the username is empty")]
    Empty,
    /// PRECIS refuses it.
    #[error("`{}` is not a username by RFC 8265", shown(.0))]
    Refused(String),
    /// It merely looks like somebody's.
    #[error("`{}` is another name's spelling by RFC 8265", shown(.0))]
    Spelling(String),
}

/// What a claim, or a member of a token's header, is not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClaimError {
    /// Text is wanted.
    #[error("`{0}` is not a string")]
    NotAString(String),
    /// A NumericDate is wanted.
    #[error("`{0}` is not a time in seconds")]
    NotATime(String),
    /// A list of texts is wanted.
    #[error("`{0}` holds something that is not a string")]
    NotStrings(String),
    /// Text or a list is wanted.
    #[error("`{0}` is neither a string nor a list")]
    NotAList(String),
}

/// Why the claims give no name that could be believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnnamedError {
    /// The claim is not there.
    #[error("it has no claim `{claim}` with the username")]
    NoClaim {
        /// `username_claim`.
        claim: String,
    },
    /// Anybody can say that an address is theirs.
    #[error("`{claim}` is an address, and nobody has verified it (`email_verified`)")]
    Unverified {
        /// `username_claim`.
        claim: String,
    },
    /// It is nobody's name.
    #[error("`{claim}`: {why}")]
    Name {
        /// `username_claim`.
        claim: String,
        /// Why.
        #[source]
        why: NameError,
    },
}

/// Why a token proves nothing, said of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a JWS in its compact form.
    #[error("it is not a JWT of three parts")]
    Parts,
    /// A JWE.
    #[error("it is encrypted (JWE)")]
    Encrypted,
    /// A part that is no JSON object in base64url, or has a name twice.
    #[error("its {part} cannot be read: {why}")]
    Part {
        /// `header` or `payload`.
        part: &'static str,
        /// Why.
        why: PartError,
    },
    /// The header lacks `alg`.
    #[error("its header names no algorithm (`alg`)")]
    NoAlgorithm,
    /// A good algorithm that nothing here knows.
    #[error("its algorithm is `{0}`, which idpsyncd cannot verify")]
    Unverifiable(String),
    /// Whoever can verify it could sign it too.
    #[error("its algorithm `{}` is not one of the asymmetric ones", shown(.0))]
    NotAsymmetric(String),
    /// The third part is empty.
    #[error("it has no signature")]
    NoSignature,
    /// An extension that must be understood (RFC 7515, section 4.1.11).
    #[error("its header has `crit`, critical extensions")]
    Critical,
    /// A key of its own.
    #[error("its header brings a key of its own (`{0}`)")]
    BringsKey(&'static str),
    /// The header says that it is something else.
    #[error("it is no access token: its type `typ` is `{}`", shown(.0))]
    HeaderType(String),
    /// The header does not say that it is a logout token.
    #[error("it is no logout token: its type `typ` is `{}`", shown(.0))]
    OtherThanLogout(String),
    /// The payload says that it is something else.
    #[error("it is no access token: its claim `typ` is `{}`", shown(.0))]
    PayloadType(String),
    /// A claim that access tokens do not have.
    #[error("it is no access token: it has the claim `{0}`")]
    OtherKind(&'static str),
    /// It wants a proof of possession.
    #[error("it is bound to a key (`cnf`), and a bearer token proves none")]
    Bound,
    /// It is bound in a way that nothing here can check.
    #[error("it is bound (`cnf`) by something else than a key's thumbprint alone (`jkt`)")]
    BoundOtherwise,
    /// It comes as a token that is bound, and is none.
    #[error("it is bound to no key (`cnf.jkt`), and comes as one that is")]
    Unbound,
    /// It is not, and must be.
    #[error("it is bound to no key, and its issuer's must be (`dpop_required`)")]
    MustBeBound,
    /// A claim of a wrong type.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// No `iss`.
    #[error("it names no issuer (`iss`)")]
    NoIssuer,
    /// An `iss` that is not configured.
    #[error("no `[[gateway.jwt]]` is for its issuer `{}`", shown(.0))]
    UnknownIssuer(String),
    /// No `exp`.
    #[error("it has no `exp`: it would hold for ever")]
    Eternal,
    /// `exp` has passed.
    #[error("it expired {seconds} s ago")]
    Expired {
        /// Since when.
        seconds: u64,
    },
    /// `exp` has passed, within the leeway that what is made here has not.
    #[error("it expired a moment ago")]
    ExpiredNow,
    /// Older than what is remembered of sessions that have ended.
    #[error(
        "it was issued {seconds} s ago, and whether its session has ended since is remembered for \
         `gateway.logout.max_token_lifetime`"
    )]
    TooOld {
        /// Since when.
        seconds: u64,
    },
    /// Nobody can tell whether its session has ended since.
    #[error("it has no `iat`, so nobody can tell whether its session has ended since")]
    NoIssuedAt,
    /// Its session has ended.
    #[error("its session has ended")]
    SessionEnded,
    /// `nbf` is still to come.
    #[error("it is not valid for another {seconds} s (`nbf`)")]
    NotYet {
        /// For how long.
        seconds: u64,
    },
    /// Nobody can open what it stands for.
    #[error("it was exchanged for an access token by another `signing_key` than this gateway's")]
    OtherSeal,
    /// What is signed here stands for an access token.
    #[error("it does not say which access token it is of")]
    OfNoToken,
    /// Neither `aud` nor `azp`.
    #[error("it names no audience: neither `aud` nor `azp`")]
    NoAudience,
    /// Meant for others.
    #[error("it is meant for `{}`, none of `audiences`", shown(.0))]
    OtherAudience(String),
    /// No `azp`.
    #[error("it does not say whom it was issued to (`azp`)")]
    NoParty,
    /// Issued to others.
    #[error("it was issued to `{}`, none of `authorized_parties` (`azp`)", shown(.0))]
    OtherParty(String),
    /// No `sub`.
    #[error("it has no `sub`, which says who it is")]
    NoSubject,
    /// No name that could be believed.
    #[error(transparent)]
    Unnamed(#[from] UnnamedError),
    /// A claim that would read as something else in a header.
    #[error("`{claim}` is not a name that can be passed on: `{}`", shown(.value))]
    Unsafe {
        /// The claim.
        claim: &'static str,
        /// What it holds.
        value: String,
    },
    /// No key of its issuer has been read yet.
    #[error("no key is known")]
    NoKey,
    /// It names no key, and none that is known fits.
    #[error("no known key of its issuer has signed it")]
    NoKeySigned,
    /// It names a key that is not known.
    #[error("its issuer has no key called `{}`", shown(.kid))]
    UnknownKey {
        /// The key's name.
        kid: String,
    },
    /// It names a key that is for something else.
    #[error("the key called `{}` is not for {algorithm:?}", shown(.kid))]
    UnfitKey {
        /// The key's name.
        kid: String,
        /// What it says that it is signed by.
        algorithm: Algorithm,
    },
    /// Its key has not signed it.
    #[error("its signature is wrong")]
    Signature,
    /// Metadata of another shape.
    #[error("it is not an object")]
    NotAnObject,
    /// Which of them counts?
    #[error("there are {0} of configured issuers, and one at most counts")]
    Several(usize),
}

/// Why a part of a token cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PartError {
    /// JSON of another kind.
    #[error("not a JSON object")]
    NotAnObject,
    /// It is not encoded so.
    #[error("not base64url")]
    NotBase64,
    /// It is JSON that is not taken, such as for a name that is there twice.
    #[error("{0}")]
    Refused(String),
    /// It is something else.
    #[error("not JSON")]
    NotJson,
}
