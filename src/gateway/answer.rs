//! What a gateway is told, whatever protocol it speaks.

use std::sync::Arc;

use serde_json::json;

/// The answer to one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Let it pass, with these headers for the upstream.
    Allow(Vec<Set>),
    /// Nobody is known to ask: 401. A stranger is told nothing else.
    Unauthenticated,
    /// The session that whoever asks was signed in by has ended: 401, which says so.
    SessionEnded,
    /// Whoever asks has not shown that a token is theirs that is bound to a key: 401, which says what is
    /// wrong.
    NotPossessed(PossessionFault),
    /// Refused: 403.
    Denied(Box<Denial>),
    /// Nobody can be decided about now: 503, with a reason that gives nothing away: no source, no
    /// address, no age.
    Unavailable(&'static str),
}

/// A header of the upstream's request: set (overwritten), or removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Set {
    /// Lower case.
    pub name: Arc<str>,
    /// Absent: a client may have sent it, so it is removed.
    pub value: Option<String>,
}

/// Why a caller is refused, as the caller is told. Somebody whom the store does not know, or who is
/// not enabled, is told no source, no address and no age.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Denial {
    /// What the request does, where a route says so.
    pub action: Option<String>,
    /// On what: `pool/x`, or `pool/*` for some resource of a scope; absent: nothing.
    pub resource: Option<String>,
    /// In words.
    pub why: String,
}

/// What is wrong where a token and the proof of a key are wanted (RFC 9449, section 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PossessionFault {
    /// The token, or how it comes.
    Token,
    /// The proof.
    Proof,
}

/// The challenge that goes with a 401 (RFC 6750, section 3).
pub const CHALLENGE: &str = "Bearer";

/// The same where a proof is wanted. The algorithms are those that tokens may be signed with here.
const CHALLENGE_TOKEN: &str = "DPoP error=\"invalid_token\", \
     algs=\"ES256 ES384 EdDSA Ed25519 PS256 PS384 PS512 RS256 RS384 RS512\"";
const CHALLENGE_PROOF: &str = "DPoP error=\"invalid_dpop_proof\", \
     algs=\"ES256 ES384 EdDSA Ed25519 PS256 PS384 PS512 RS256 RS384 RS512\"";

/// The same where a token's session has ended (section 3.1).
pub const CHALLENGE_ENDED: &str =
    "Bearer error=\"invalid_token\", error_description=\"the session has ended\"";

impl Answer {
    /// The HTTP status for a gateway that takes any: 200, 401, 403 or 503.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Answer::Allow(_) => 200,
            Answer::Unauthenticated | Answer::SessionEnded | Answer::NotPossessed(_) => 401,
            Answer::Denied(_) => 403,
            Answer::Unavailable(_) => 503,
        }
    }

    /// The challenge that goes with it, where one does.
    #[must_use]
    pub fn challenge(&self) -> Option<&'static str> {
        match self {
            Answer::Unauthenticated => Some(CHALLENGE),
            Answer::SessionEnded => Some(CHALLENGE_ENDED),
            Answer::NotPossessed(PossessionFault::Token) => Some(CHALLENGE_TOKEN),
            Answer::NotPossessed(PossessionFault::Proof) => Some(CHALLENGE_PROOF),
            Answer::Allow(_) | Answer::Denied(_) | Answer::Unavailable(_) => None,
        }
    }

    /// The word for metrics: `allow`, `unauthenticated`, `session_ended`, `deny` or `unavailable`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Answer::Allow(_) => "allow",
            Answer::Unauthenticated | Answer::NotPossessed(_) => "unauthenticated",
            Answer::SessionEnded => "session_ended",
            Answer::Denied(_) => "deny",
            Answer::Unavailable(_) => "unavailable",
        }
    }

    /// The body, as JSON; empty where it is let pass.
    #[must_use]
    pub fn body(&self) -> String {
        match self {
            Answer::Allow(_) => String::new(),
            Answer::Unauthenticated | Answer::NotPossessed(_) => {
                json!({ "error": "unauthenticated" }).to_string()
            }
            Answer::SessionEnded => {
                json!({ "error": "unauthenticated", "why": "the session has ended" }).to_string()
            }
            Answer::Denied(denial) => json!({
                "error": "denied",
                "action": denial.action,
                "resource": denial.resource,
                "why": denial.why,
            })
            .to_string(),
            Answer::Unavailable(why) => json!({ "error": "unavailable", "why": why }).to_string(),
        }
    }
}
