//! What a token's claims say (RFC 7519, section 4), read strictly: a claim of a wrong type, or one
//! that is there twice, refuses the token, since two readers could take it for different things.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::super::exchange::{SEALED, Seal};
use super::fault::{ClaimError, NameError, PartError, TokenError, UnnamedError};
use super::shown;
use crate::config::{IdentifyBy, JwtConfig, OSMO};
use crate::gateway::question::Identity;
use crate::model::caller::{Caller, KnownBy, NamedRoles};
use crate::model::{Time, username::canonical};

/// By how many seconds our clock and an issuer's may differ.
pub(super) const LEEWAY: i64 = 30;

/// What the `typ` of a token's header may be, in lower case (RFC 7519, section 5.1, and RFC 9068,
/// section 2.1).
pub(super) const HEADER_TYPES: [&str; 4] =
    ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

/// What `typ` may be in the payload, where Keycloak says what a token is
/// (`org.keycloak.util.TokenUtil`); the second of one that is bound to a key.
const PAYLOAD_TYPES: [&str; 2] = ["bearer", "dpop"];

/// What a token can be bound by, beside a thumbprint (`jkt`): IANA's registry of JWT confirmation methods.
const CONFIRMATIONS: [&str; 6] = ["jwk", "jwe", "kid", "jku", "x5t#S256", "osc"];

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// For how long claims hold, in seconds since 1970, the leeway included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    from: i64,
    until: i64,
}

impl Span {
    /// Whether the claims hold now.
    pub(super) fn holds(self, now: Time) -> bool {
        (self.from..self.until).contains(&now.timestamp())
    }

    /// The same, which ends at `until` at the latest.
    pub(super) fn at_most(self, until: i64) -> Span {
        Span { until: self.until.min(until.saturating_add(LEEWAY)), ..self }
    }

    /// When the claims hold no more.
    pub(super) fn until(self) -> i64 {
        self.until
    }

    /// The same, which ends when the claims say.
    fn to_the_second(self) -> Span {
        Span { until: self.until.saturating_sub(LEEWAY), ..self }
    }
}

/// Decodes a part of a token: base64url without padding of a JSON object, in which no name is
/// there twice at any depth. `part` is its name.
pub(super) fn part(encoded: &str, part: &'static str) -> Result<Object, TokenError> {
    // The decoder wants a whole token, and looks at the middle only.
    let token = format!(".{encoded}.");
    let decoded = jsonwebtoken::dangerous::insecure_decode_claims::<Strict>(token);
    let why = match decoded {
        Ok(Strict(Value::Object(object))) => return Ok(object),
        Ok(_) => PartError::NotAnObject,
        Err(error) => match error.kind() {
            ErrorKind::Base64(_) => PartError::NotBase64,
            // `Strict` takes every value; what it refuses, it words itself.
            ErrorKind::Json(error) if error.is_data() => PartError::Refused(error.to_string()),
            _ => PartError::NotJson,
        },
    };
    Err(TokenError::Part { part, why })
}

/// Any JSON value in which no name is there twice.
pub(in crate::gateway) struct Strict(pub(in crate::gateway) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some(name) = map.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format!("`{}` is there twice", shown(&name))));
            }
            let Strict(value) = map.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// The claim `name`, which is text where it is there.
pub(super) fn text<'o>(object: &'o Object, name: &str) -> Result<Option<&'o str>, ClaimError> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ClaimError::NotAString(name.to_owned())),
    }
}

/// The claim `name`, a NumericDate (seconds since 1970, perhaps a fraction) where it is there.
pub(super) fn date(object: &Object, name: &str) -> Result<Option<i64>, ClaimError> {
    // Up to here a double has every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(value) = object.get(name) else { return Ok(None) };
    if let Some(seconds) = value.as_i64() {
        return Ok(Some(seconds));
    }
    match value.as_f64() {
        Some(seconds) if seconds.abs() <= EXACT => Ok(Some(seconds.floor() as i64)),
        _ => Err(ClaimError::NotATime(name.to_owned())),
    }
}

/// When the claims hold. `exp` must be there. `iat` is no condition (RFC 7519, section
/// 4.1.6), but must be a time where it is there.
///
/// # Errors
/// A time is missing or is none, or the claims do not hold now.
pub(super) fn span(object: &Object, now: Time) -> Result<Span, TokenError> {
    date(object, "iat")?;
    let from = date(object, "nbf")?.map_or(i64::MIN, |nbf| nbf.saturating_sub(LEEWAY));
    let until = match date(object, "exp")? {
        Some(exp) => exp.saturating_add(LEEWAY),
        None => return Err(TokenError::Eternal),
    };
    let span = Span { from, until };
    match now.timestamp() {
        now if now >= until => Err(TokenError::Expired { seconds: now.abs_diff(until - LEEWAY) }),
        now if now < from => Err(TokenError::NotYet { seconds: now.abs_diff(from) }),
        _ => Ok(span),
    }
}

/// Judges what a token claims, whoever verified its signature: who it is from is settled, the rest
/// is not. What was exchanged here (`seal`) stands for its access token, whatever else it says.
///
/// # Errors
/// It is no bearer's access token for these clients, does not hold now, or names nobody.
pub(super) fn judge(
    claims: &Object,
    config: &JwtConfig,
    seal: Option<&Seal>,
    now: Time,
) -> Result<(Identity, Span), TokenError> {
    if claims.contains_key("cnf") {
        return Err(TokenError::Bound);
    }
    judge_bound(claims, config, seal, now)
}

/// The same, whatever key it is bound to: who shows that they have the key of its [`binding`] is yet to be
/// seen.
///
/// # Errors
/// Those of [`judge`].
pub(super) fn judge_bound(
    claims: &Object,
    config: &JwtConfig,
    seal: Option<&Seal>,
    now: Time,
) -> Result<(Identity, Span), TokenError> {
    kind(claims)?;
    audience(claims, config)?;
    let span = span(claims, now)?;
    match claims.get("jti").and_then(Value::as_str) {
        Some(jti) if config.issuer == OSMO && jti.starts_with(SEALED) => {
            let digest = seal.and_then(|seal| seal.open(jti)).ok_or(TokenError::OtherSeal)?;
            let span = span.to_the_second();
            if !span.holds(now) {
                return Err(TokenError::ExpiredNow);
            }
            Ok((Identity::Token(digest), span))
        }
        _ => Ok((Identity::Caller(Arc::new(caller(claims, config)?)), span)),
    }
}

/// Refuses a token whose header says that it is something else than a JWT for a bearer, or that
/// it brings along what it is to be verified with.
pub(super) fn header(header: &Object) -> Result<(), TokenError> {
    if let Some(kind) = text(header, "typ")?
        && !is_one_of(kind, &HEADER_TYPES)
    {
        return Err(TokenError::HeaderType(kind.to_owned()));
    }
    plain(header)
}

/// Whether a token's type is one of these, which are in lower case.
pub(super) fn is_one_of(kind: &str, types: &[&str]) -> bool {
    types.iter().any(|known| known.eq_ignore_ascii_case(kind))
}

/// Refuses a token whose header brings along what it is to be verified with, whatever its type.
pub(super) fn plain(header: &Object) -> Result<(), TokenError> {
    // RFC 7515, section 4.1.11: an extension that is not understood must be refused, and none
    // is understood here.
    if header.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    // Keys, or the way to them, that the token itself brings. Certificates (`x5c`, `x5t`) are
    // common there and harmless, since they are not looked at.
    if let Some(name) = ["jwk", "jku", "x5u"].into_iter().find(|it| header.contains_key(*it)) {
        return Err(TokenError::BringsKey(name));
    }
    Ok(())
}

/// Refuses claims that are meant for somebody else: none of `audiences` is in `aud` (a string or a
/// list) or is `azp`, or `azp` is none of `authorized_parties`.
fn audience(object: &Object, config: &JwtConfig) -> Result<(), TokenError> {
    let mut named = audiences(object)?;
    let party = text(object, "azp")?;
    named.extend(party);
    if !named.iter().any(|name| config.audiences.iter().any(|ours| ours == name)) {
        return Err(match named.as_slice() {
            [] => TokenError::NoAudience,
            names => TokenError::OtherAudience(names.join("`, `")),
        });
    }
    let Some(parties) = &config.authorized_parties else { return Ok(()) };
    match party {
        Some(party) if parties.iter().any(|ours| ours == party) => Ok(()),
        Some(party) => Err(TokenError::OtherParty(party.to_owned())),
        None => Err(TokenError::NoParty),
    }
}

/// Whom `aud` names.
pub(super) fn audiences(object: &Object) -> Result<Vec<&str>, ClaimError> {
    match object.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(name)) => Ok(vec![name.as_str()]),
        Some(Value::Array(names)) => {
            let strings = || ClaimError::NotStrings("aud".to_owned());
            names.iter().map(|name| name.as_str().ok_or_else(strings)).collect()
        }
        Some(_) => Err(ClaimError::NotAList("aud".to_owned())),
    }
}

/// The thumbprint of the key that a token is bound to (RFC 9449, section 6.1); `None`: to none.
///
/// # Errors
/// It is bound to something else, or as well (RFC 7800): nobody here can tell who has that.
pub(super) fn binding(object: &Object) -> Result<Option<Arc<str>>, TokenError> {
    let Some(confirmation) = object.get("cnf") else { return Ok(None) };
    let thumbprint = confirmation.get("jkt").and_then(Value::as_str).unwrap_or_default();
    // What is not known says nothing (RFC 7800, section 3.1), such as Keycloak's `kc-jkt-type`.
    let otherwise = CONFIRMATIONS.into_iter().any(|name| confirmation.get(name).is_some());
    match thumbprint {
        "" => Err(TokenError::BoundOtherwise),
        _ if otherwise => Err(TokenError::BoundOtherwise),
        thumbprint => Ok(Some(thumbprint.into())),
    }
}

/// Refuses tokens that say of themselves that they are no access token: ID, refresh and log-out tokens.
fn kind(object: &Object) -> Result<(), TokenError> {
    let [_, bound] = PAYLOAD_TYPES;
    if let Some(kind) = text(object, "typ")?
        && (!PAYLOAD_TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind))
            || (bound.eq_ignore_ascii_case(kind) && !object.contains_key("cnf")))
    {
        return Err(TokenError::PayloadType(kind.to_owned()));
    }
    // Only ID tokens have these (OpenID Connect Core 1.0, section 3.3.2.11), and only security
    // events, such as log-out tokens, that (RFC 8417, section 2.2).
    let others = ["at_hash", "c_hash", "events"];
    if let Some(name) = others.into_iter().find(|it| object.contains_key(*it)) {
        return Err(TokenError::OtherKind(name));
    }
    Ok(())
}

/// Whom the claims name.
///
/// # Errors
/// What decides who it is is missing or cannot be believed, or a claim has a wrong type.
fn caller(object: &Object, config: &JwtConfig) -> Result<Caller, TokenError> {
    let subject = text(object, "sub")?;
    let name = name(object, config)?;
    let (known_by, name) = match &config.identify {
        IdentifyBy::Source(source) => {
            let ext = subject.filter(|subject| !subject.is_empty());
            let ext = ext.ok_or(TokenError::NoSubject)?;
            (KnownBy::Id { source: source.clone(), ext: ext.to_owned() }, name.ok())
        }
        IdentifyBy::Username => {
            let name = name?;
            (KnownBy::Name(Arc::clone(&name)), Some(name))
        }
    };
    let roles_claim = config.roles_claim.as_deref();
    let roles = match roles_claim.and_then(|claim| Some((claim, find(object, claim)?))) {
        None => None,
        Some((_, Value::String(role))) => Some(vec![role.clone()]),
        Some((claim, Value::Array(roles))) => {
            let role = |role: &Value| role.as_str().map(str::to_owned);
            let roles: Option<Vec<String>> = roles.iter().map(role).collect();
            Some(roles.ok_or_else(|| ClaimError::NotStrings(claim.to_owned()))?)
        }
        // Taking it for "no roles" would make something unknown empty.
        Some((claim, _)) => return Err(ClaimError::NotAList(claim.to_owned()).into()),
    };
    let issuer = Some(config.issuer.clone());
    let Some(service_roles) = &config.service_roles else {
        return Ok(Caller { known_by, name, issuer, roles, named: None });
    };
    let named = named(object, name.as_deref(), roles.unwrap_or_default(), service_roles)?;
    // They are roles of the platform, not names at an identity provider: nothing maps them.
    Ok(Caller { known_by, name, issuer, roles: None, named: Some(named) })
}

/// How the names of OSMO's backends begin (`src/service/core/auth/backend_secret_auth.py`).
const BACKEND: &str = "backend-operator-";

/// What a token of OSMO's says beside who it is: `name` it is, who is named `roles`.
fn named(
    object: &Object,
    name: Option<&str>,
    mut roles: Vec<String>,
    service_roles: &[String],
) -> Result<NamedRoles, TokenError> {
    let workflow = header_value(object, "osmo_workflow_id")?;
    let token = header_value(object, "osmo_token_name")?;
    let service = workflow.is_some() || name.is_some_and(|name| name.starts_with(BACKEND));
    if service {
        roles.retain(|role| service_roles.contains(role));
    }
    Ok(NamedRoles { roles, service, token, workflow })
}

/// A claim that the upstream is told in a header, in which it must not read as anything else.
fn header_value(object: &Object, claim: &'static str) -> Result<Option<String>, TokenError> {
    const LONGEST: usize = 256;
    // OSMO fills in what it has not.
    if object.get(claim).is_some_and(|value| value.is_null() || value == "") {
        return Ok(None);
    }
    let Some(value) = text(object, claim)? else { return Ok(None) };
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    if value.len() > LONGEST || !value.bytes().all(plain) {
        return Err(TokenError::Unsafe { claim, value: value.to_owned() });
    }
    Ok(Some(value.to_owned()))
}

/// The name that the claims give; the inner error: none that could be believed.
fn name(object: &Object, config: &JwtConfig) -> Result<Result<Arc<str>, UnnamedError>, ClaimError> {
    let claim = config.username_claim.as_str();
    let named = || claim.to_owned();
    let name = match find(object, claim) {
        None => return Ok(Err(UnnamedError::NoClaim { claim: named() })),
        Some(Value::String(name)) => name,
        Some(_) => return Err(ClaimError::NotAString(named())),
    };
    if config.names_are_addresses && object.get("email_verified") != Some(&Value::Bool(true)) {
        return Ok(Err(UnnamedError::Unverified { claim: named() }));
    }
    Ok(username(name).map_err(|why| UnnamedError::Name { claim: named(), why }))
}

/// A name in the store's form. Only case may differ: a name that merely looks like another's, in
/// wide letters or with a combining accent, is somebody else's word for it.
pub(in crate::gateway) fn username(name: &str) -> Result<Arc<str>, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    match canonical(name).map_err(|_| NameError::Refused(name.to_owned()))? {
        Cow::Borrowed(same) if same == name => Ok(same.into()),
        other if other == name.to_lowercase() || other.chars().eq(lower(name)) => {
            Ok(Arc::from(&*other))
        }
        _ => Err(NameError::Spelling(name.to_owned())),
    }
}

fn lower(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_lowercase)
}

/// What is at `path`: a name, or names with dots between them. Names may hold dots themselves
/// (`resource_access.my.client.roles`), so the longest name that leads somewhere wins; above all
/// one that is the whole rest.
fn find<'o>(object: &'o Object, path: &str) -> Option<&'o Value> {
    if let Some(value) = object.get(path) {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let (name, rest) = (path.get(..dot)?, path.get(dot + 1..)?);
        find(object.get(name)?.as_object()?, rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_finds_the_longest_name_first() {
        let claims = json!({
            "groups": 1,
            "a.b": 2,
            "a": {"b": 3, "c": 4},
            "realm_access": {"roles": 5},
            "resource_access": {
                "osmo-device": {"roles": 6},
                "my.client": {"roles": 7},
                "my": {"client": {"roles": 8}, "other": {"roles": 9}},
            },
            "text": "x",
        });
        let object = claims.as_object().unwrap();
        for (path, expected) in [
            ("groups", Some(1)),
            ("a.b", Some(2)),
            ("a.c", Some(4)),
            ("realm_access.roles", Some(5)),
            ("resource_access.osmo-device.roles", Some(6)),
            ("resource_access.my.client.roles", Some(7)),
            ("resource_access.my.other.roles", Some(9)),
            ("resource_access.none.roles", None),
            ("text.x", None),
            ("", None),
            (".", None),
            ("a.", None),
        ] {
            assert_eq!(find(object, path).and_then(Value::as_i64), expected, "{path}");
        }
    }

    #[test]
    fn a_date_is_a_number_of_seconds() {
        for (value, expected) in [
            (json!(17), Some(17)),
            (json!(-17), Some(-17)),
            (json!(17.9), Some(17)),
            (json!(1.7e9), Some(1_700_000_000)),
            (json!(u64::MAX), None),
            (json!(1e300), None),
            (json!("17"), None),
            (json!(null), None),
            (json!([17]), None),
        ] {
            let claims = json!({"exp": value});
            assert_eq!(date(claims.as_object().unwrap(), "exp").ok().flatten(), expected);
        }
    }
}
