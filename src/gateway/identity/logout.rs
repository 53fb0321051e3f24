//! A logout token (OpenID Connect Back-Channel Logout 1.0, sections 2.4 to 2.6), verified with the same
//! keys as the issuer's other tokens, and read as strictly.

use std::sync::Arc;

use serde_json::Value;

use super::claims::{self, LEEWAY, Object};
use super::fault::{ClaimError, NoKeys, TokenError};
use super::issuer::Issuer;
use super::jwt::{Parsed, Unproven};
use crate::config::JwtConfig;
use crate::model::{SessionEnd, SessionScope, Time};

/// What the `typ` of its header is, in lower case.
const HEADER_TYPES: [&str; 2] = ["logout+jwt", "application/logout+jwt"];
/// What `typ` is in its payload, where Keycloak says what a token is.
const PAYLOAD_TYPE: &str = "Logout";
/// The event that says that somebody is logged out.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// It is sent before the server commits, and as long as that waits for others who are told (Keycloak: 5 s
/// each) a refresh still gives tokens of the session. So long after it was told they are refused too.
/// Nobody else's tokens have that `sid`.
const SESSION_SETTLES: i64 = 300;
/// The same where everything of a person ends: in that time a new session of theirs is refused too.
const SUBJECT_SETTLES: i64 = 5;

/// What an issuer says of a log-out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedOut {
    /// What has ended.
    pub end: SessionEnd,
    /// The issuer.
    pub issuer: String,
    /// What tells this log-out from others of the issuer.
    pub jti: String,
    /// Until when its token can come again, in seconds since 1970.
    pub until: i64,
}

/// Why a logout token proves no log-out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogoutError {
    /// It is a bad token, as others can be.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Its keys could not be had yet.
    #[error(transparent)]
    Keys(#[from] NoKeys),
    /// It does not say when it was issued.
    #[error("it has no `iat`")]
    NoIssuedAt,
    /// It was issued in the future.
    #[error("it was issued in {seconds} s from now (`iat`)")]
    NotYetIssued {
        /// In how long.
        seconds: u64,
    },
    /// It cannot be told from others.
    #[error("it has no `jti`")]
    NoId,
    /// Only ID tokens have that.
    #[error("it has a `nonce`, which no logout token has")]
    Nonce,
    /// It says nothing of a log-out.
    #[error("its `events` have no object `{EVENT}`")]
    NoEvent,
    /// It says of nobody.
    #[error("it has neither `sid` nor `sub`")]
    Nobody,
}

impl From<ClaimError> for LogoutError {
    fn from(why: ClaimError) -> Self {
        LogoutError::Token(why.into())
    }
}

/// What a logout token is signed for, judged but not proven.
struct Claimed<'a> {
    parsed: Parsed,
    issuer: &'a Arc<Issuer>,
    out: LoggedOut,
}

/// What the logout token `token` of one of `issuers` says.
///
/// # Errors
/// It proves nothing, or its issuer's keys could not be had yet.
pub(super) async fn logged_out(
    issuers: &[Arc<Issuer>],
    token: &str,
    now: Time,
) -> Result<LoggedOut, LogoutError> {
    let Claimed { parsed, issuer, out } = claimed(issuers, token, now)?;
    let signed = || match issuer.keys() {
        Some(keys) => parsed.signed_by(token, &keys).map(drop),
        None => Err(Unproven::Unknown(TokenError::NoKey)),
    };
    match signed() {
        Ok(()) => return Ok(out),
        Err(Unproven::Bad(why)) => return Err(why.into()),
        Err(Unproven::Unknown(_)) => issuer.reread().await,
    }
    match signed() {
        Ok(()) => Ok(out),
        Err(Unproven::Unknown(_)) if issuer.keys().is_none() => {
            let (issuer, why) = (issuer.config.issuer.clone(), issuer.fault());
            Err(NoKeys { issuer, why }.into())
        }
        Err(Unproven::Unknown(why) | Unproven::Bad(why)) => Err(why.into()),
    }
}

fn claimed<'a>(
    issuers: &'a [Arc<Issuer>],
    token: &str,
    now: Time,
) -> Result<Claimed<'a>, LogoutError> {
    let (parsed, claims) = Parsed::with(token, header)?;
    let named = claims::text(&claims, "iss")?.ok_or(TokenError::NoIssuer)?;
    let issuer = issuers
        .iter()
        .find(|issuer| issuer.config.issuer == named && issuer.config.has_sessions())
        .ok_or_else(|| TokenError::UnknownIssuer(named.to_owned()))?;
    let out = judge(&claims, &issuer.config, now)?;
    Ok(Claimed { parsed, issuer, out })
}

/// Refuses whatever does not say that it is a logout token: then no other token of the issuer can be one.
fn header(header: &Object) -> Result<(), TokenError> {
    let kind = claims::text(header, "typ")?.unwrap_or_default();
    match claims::is_one_of(kind, &HEADER_TYPES) {
        true => claims::plain(header),
        false => Err(TokenError::OtherThanLogout(kind.to_owned())),
    }
}

/// What the claims say, whoever signed them.
fn judge(claims: &Object, config: &JwtConfig, now: Time) -> Result<LoggedOut, LogoutError> {
    if let Some(kind) = claims::text(claims, "typ")?
        && !PAYLOAD_TYPE.eq_ignore_ascii_case(kind)
    {
        return Err(TokenError::PayloadType(kind.to_owned()).into());
    }
    audience(claims, config)?;
    let until = claims::span(claims, now)?.until();
    let iat = claims::date(claims, "iat")?.ok_or(LogoutError::NoIssuedAt)?;
    let now = now.timestamp();
    if iat > now.saturating_add(LEEWAY) {
        return Err(LogoutError::NotYetIssued { seconds: iat.abs_diff(now) });
    }
    if claims.contains_key("nonce") {
        return Err(LogoutError::Nonce);
    }
    // Keycloak puts a boolean beside it; what else is there says nothing.
    if !claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object) {
        return Err(LogoutError::NoEvent);
    }
    let text = |name| -> Result<Option<String>, LogoutError> {
        Ok(claims::text(claims, name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    };
    let jti = text("jti")?.ok_or(LogoutError::NoId)?;
    // With a `sid` that session alone has ended, though a `sub` is there.
    let (scope, last_iat) = match (text("sid")?, text("sub")?) {
        (Some(sid), _) => {
            (SessionScope::Session(sid), iat.max(now).saturating_add(SESSION_SETTLES))
        }
        (None, Some(sub)) => (SessionScope::Subject(sub), iat.saturating_add(SUBJECT_SETTLES)),
        (None, None) => return Err(LogoutError::Nobody),
    };
    let end = SessionEnd { realm: config.session_realm(), scope, last_iat };
    Ok(LoggedOut { end, issuer: config.issuer.clone(), jti, until })
}

/// Refuses what is meant for others: `aud` is the client that is told, which is one of those whose tokens
/// count here.
fn audience(claims: &Object, config: &JwtConfig) -> Result<(), TokenError> {
    let named = claims::audiences(claims)?;
    let parties = config.authorized_parties.iter().flatten();
    let mut ours = config.audiences.iter().chain(parties);
    if ours.any(|ours| named.contains(&ours.as_str())) {
        return Ok(());
    }
    Err(match named.as_slice() {
        [] => TokenError::NoAudience,
        names => TokenError::OtherAudience(names.join("`, `")),
    })
}
