//! `[[gateway.jwt]]`: whose tokens prove who somebody is, and whose ids are in them.

use std::path::PathBuf;

use super::dpop::goes_with_jwt;
use super::exposure::remote;
use super::fault::{Code, listed, near_miss};
use super::gateway::{IdentityWay, JustInTime};
use super::reader::{Node, Read, Table, all};
use super::role::RoleNames;
use super::types::SourceConfig;
use super::value::{BadValue, http_url};
use crate::model::SessionRealm;
use crate::model::username::UsernameFrom;

/// `[[gateway.jwt]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JwtConfig {
    /// Compared exactly with `iss`.
    pub issuer: String,
    /// What of its tokens says who somebody is.
    pub identify: IdentifyBy,
    /// One of them must be in `aud` or `azp`. At least one.
    pub audiences: Vec<String>,
    /// `azp` must be there and one of them; absent: any `azp` that the audiences admit.
    pub authorized_parties: Option<Vec<String>>,
    /// The claim with the username. Default `preferred_username`.
    pub username_claim: String,
    /// That claim holds email addresses, which count where the token says that they are verified.
    pub names_are_addresses: bool,
    /// The claim with the roles, a path with dots.
    pub roles_claim: Option<String>,
    /// Where its keys are, in place of discovery: `http(s)://…`.
    pub jwks_url: Option<String>,
    /// A CA certificate file (PEM) to trust besides the system's, for reading the keys.
    pub ca_file: Option<PathBuf>,
    /// The issuer is OSMO's service, or this program's exchange in its place: its tokens name roles
    /// of the platform. These it may name for pods and backends, whoever holds them; for everybody
    /// else what is named counts where the user holds it.
    pub service_roles: Option<Vec<String>>,
    /// Only tokens that are bound to a key count, each with a proof (RFC 9449). Default: those as well that
    /// are not.
    pub dpop_required: bool,
}

/// The issuer of OSMO's own tokens.
pub const OSMO: &str = "osmo";

/// The claims of OSMO's tokens with the username and the roles.
const OSMO_NAME: &str = "unique_name";
const OSMO_ROLES: &str = "roles";

/// What of a token says who somebody is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdentifyBy {
    /// `sub`, which is an external id of this source.
    Source(String),
    /// The name in `username_claim`: the issuer is no source.
    Username,
}

impl JwtConfig {
    /// The issuer of what access tokens are exchanged for here, where the file does not name it: its
    /// keys are this program's own, and it speaks for no service.
    #[must_use]
    pub fn exchanged() -> JwtConfig {
        JwtConfig {
            issuer: OSMO.to_owned(),
            identify: IdentifyBy::Username,
            audiences: vec![OSMO.to_owned()],
            authorized_parties: None,
            username_claim: OSMO_NAME.to_owned(),
            names_are_addresses: false,
            roles_claim: Some(OSMO_ROLES.to_owned()),
            jwks_url: None,
            ca_file: None,
            service_roles: Some(Vec::new()),
            dpop_required: false,
        }
    }

    /// Whose the sessions are that its tokens are issued in.
    #[must_use]
    pub fn session_realm(&self) -> SessionRealm {
        match &self.identify {
            IdentifyBy::Source(name) => SessionRealm::Source(name.clone()),
            IdentifyBy::Username => SessionRealm::Issuer(self.issuer.clone()),
        }
    }

    /// Whether its tokens are issued in sessions that can end: OSMO's are not.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.issuer != OSMO
    }

    /// The source whose ids `sub` is.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match &self.identify {
            IdentifyBy::Source(name) => Some(name),
            IdentifyBy::Username => None,
        }
    }
}

/// `subject_header`: the gateway says who somebody is by a source's id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubjectHeader {
    /// The header, lower case.
    pub header: String,
    /// The source whose ids it holds.
    pub source: String,
}

/// What the rest of the file says that matters here.
pub(super) struct Around<'a> {
    /// Every source; absent where one is at fault.
    pub sources: Option<&'a [SourceConfig]>,
    /// Which of the names people are known by at the gateway.
    pub username: UsernameFrom,
    /// The claim with the roles, where a `[[gateway.jwt]]` names none.
    pub roles_claim: Option<&'a str>,
}

impl Around<'_> {
    /// The source that `node` names.
    pub(super) fn named(&self, node: &Node<'_>) -> Read<String> {
        let name = node.text()?;
        let Some(sources) = self.sources else { return Ok(name) };
        let names = || sources.iter().map(|source| source.name.as_str());
        if names().any(|known| known == name) {
            return Ok(name);
        }
        Err(node.fault_near(
            Code::UnknownName,
            format!("no source is called `{}`; there are {}", name.escape_debug(), listed(names())),
            near_miss(&name, names()),
        ))
    }

    /// The source that issues tokens as `issuer`.
    pub(super) fn issuing(&self, issuer: &str) -> Option<&str> {
        let issues = |source: &&SourceConfig| source.kind.issues(issuer);
        self.sources?.iter().find(issues).map(|source| source.name.as_str())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Sub,
    Username,
}

/// What the rest of `[gateway]` says that matters here.
pub(super) struct Setting<'a> {
    /// `identity`; absent where it is at fault.
    pub identity: Option<IdentityWay>,
    /// Access tokens are exchanged here: the keys of OSMO's issuer may be this program's own.
    pub exchanges: bool,
    /// The roles that there are.
    pub known: &'a RoleNames,
    /// What the rest of the file says.
    pub around: &'a Around<'a>,
}

/// Reads one `[[gateway.jwt]]`.
pub(super) fn jwt(
    table: &Table<'_>,
    issuers: &mut Vec<String>,
    setting: &Setting<'_>,
) -> Read<JwtConfig> {
    let Setting { known, around, .. } = *setting;
    let jwks_url = table.optional("jwks_url", |node| {
        node.parsed(jwks_url)?;
        Ok(node.string()?.to_owned())
    });
    let nature = Nature::of(table, setting);
    let osmo = nature.osmo;
    let issuer = table.required("issuer", |node| issuer(table, node, nature, issuers));
    let source = table.optional("source", |node| around.named(node));
    let by = identify_by(table, osmo);
    let audiences = match osmo {
        true => table.or("audiences", vec![OSMO.to_owned()], names),
        false => table.required("audiences", names),
    };
    let authorized_parties = table.optional("authorized_parties", names);
    let name = if osmo { OSMO_NAME } else { "preferred_username" };
    let username_claim = table.or("username_claim", name.to_owned(), Node::text);
    let roles = osmo.then(|| OSMO_ROLES.to_owned());
    let roles_claim = table.optional("roles_claim", Node::text).map(|claim| claim.or(roles));
    let service_roles = table.optional("service_roles", |node| {
        all(node.list()?.iter().map(|node| {
            let name = node.text()?;
            known.check(node, &name).map(|()| name)
        }))
    });
    let ca_file = table.optional("ca_file", Node::path);
    let dpop_required = table.or("dpop_required", false, |node| {
        let required = node.boolean()?;
        goes_with_jwt(node, setting.identity.filter(|_| required))?;
        Ok(required)
    });
    let identify = (|| {
        let (issuer, source, by) = (issuer.as_ref(), source.as_ref(), by.as_ref());
        let (Ok(issuer), Ok(source), Ok(by)) = (issuer, source, by) else { return Ok(None) };
        identify(table, issuer, source.as_deref(), *by, around).map(Some)
    })();
    table.finish();
    let (issuer, source, _) = (issuer?, source?, by?);
    let username_claim = username_claim?;
    Ok(JwtConfig {
        issuer,
        // Absent only where a fault was reported above.
        identify: identify?.unwrap_or(IdentifyBy::Source(source.unwrap_or_default())),
        audiences: audiences?,
        authorized_parties: authorized_parties?,
        // OSMO says what it was told by a gateway, and verifies no address.
        names_are_addresses: !osmo
            && (around.username == UsernameFrom::Email || username_claim == "email"),
        username_claim,
        roles_claim: roles_claim?.or_else(|| around.roles_claim.map(str::to_owned)),
        jwks_url: jwks_url?,
        ca_file: ca_file?,
        service_roles: service_roles?.or_else(|| osmo.then(Vec::new)),
        dpop_required: dpop_required?,
    })
}

/// What an issuer is, as far as its other keys depend on it.
#[derive(Clone, Copy)]
struct Nature {
    /// OSMO's service, or this program's exchange in its place.
    osmo: bool,
    /// It is asked where its keys are.
    is_asked: bool,
    /// Its tokens are verified here, by its keys.
    is_verified: bool,
}

impl Nature {
    fn of(table: &Table<'_>, setting: &Setting<'_>) -> Nature {
        let node = table.get("issuer");
        let is_osmos = node.is_some_and(|node| node.as_str() == Some(OSMO));
        // Where tokens are exchanged here, its keys may be this program's own.
        let own = setting.exchanges && is_osmos;
        Nature {
            // It is told by its issuer's name too: without the list it names nothing by itself. Its
            // tokens have no `sub`, so one with the ids of a source is another that has the name.
            osmo: table.has("service_roles") || (is_osmos && !table.has("source")),
            is_asked: setting.identity != Some(IdentityWay::Metadata)
                && !table.has("jwks_url")
                && !own,
            is_verified: setting.identity == Some(IdentityWay::Jwt),
        }
    }
}

/// The issuer as written: `iss` is compared byte for byte, and a URL type would add a slash. Where it
/// is asked for its keys, it is more than a text to compare.
fn issuer(
    table: &Table<'_>,
    node: &Node<'_>,
    nature: Nature,
    issuers: &mut Vec<String>,
) -> Read<String> {
    let Nature { osmo, is_asked, is_verified } = nature;
    let issuer = node.text()?;
    if is_asked && osmo && !issuer.contains("://") {
        table.missing(
            "jwks_url",
            "an issuer that is no URL tells nobody where its keys are: OSMO has them at \
             `/api/auth/keys`",
        );
    } else if is_asked || issuer.contains("://") {
        let url = node.parsed(http_url)?;
        if is_asked && is_verified && url.scheme() == "http" && remote(&url) {
            return Err(node.bad(
                "its keys would come over `http://` from another machine, where anybody on the way \
                 could put their own and be anyone: use `https://`, or `jwks_url`",
            ));
        }
    }
    if issuers.contains(&issuer) {
        return Err(node.fault(Code::Conflict, format!("`{issuer}` is there already")));
    }
    issuers.push(issuer.clone());
    Ok(issuer)
}

/// By what its tokens say who somebody is; OSMO's have no `sub`.
fn identify_by(table: &Table<'_>, osmo: bool) -> Read<By> {
    let read =
        |node: &Node<'_>| match node.one_of(&[("sub", By::Sub), ("username", By::Username)])? {
            By::Sub if osmo => Err(node.fault(
                Code::Conflict,
                "OSMO's tokens have no `sub`: `identify_by = \"username\"`",
            )),
            by => Ok(by),
        };
    table.or("identify_by", if osmo { By::Username } else { By::Sub }, read)
}

/// What tells who somebody is: the source's ids wherever there is a source to have them.
fn identify(
    table: &Table<'_>,
    issuer: &str,
    source: Option<&str>,
    by: By,
    around: &Around<'_>,
) -> Read<IdentifyBy> {
    let refuse = |key: &'static str, why: String| match table.get(key) {
        Some(node) => node.fault(Code::Conflict, why),
        None => table.missing(key, why),
    };
    let issuing = around.issuing(issuer);
    match (by, source.or(issuing)) {
        (By::Sub, Some(name)) => Ok(IdentifyBy::Source(name.to_owned())),
        (By::Sub, None) if around.sources.is_none() => Ok(IdentifyBy::Source(String::new())),
        (By::Sub, None) => Err(table.missing(
            "source",
            format!(
                "no `[[source]]` is the Keycloak realm of issuer `{}`: say whose ids its tokens \
                 have in `sub` (`source = \"…\"`), or let names decide \
                 (`identify_by = \"username\"`)",
                issuer.escape_debug()
            ),
        )),
        (By::Username, None) => Ok(IdentifyBy::Username),
        (By::Username, Some(name)) => Err(refuse(
            "identify_by",
            format!(
                "the tokens have the ids of source `{name}` in `sub`, and those decide: names are \
                 for issuers that are no source"
            ),
        )),
    }
}

/// Reads `subject_header` and `subject_source`, which name the ids that a gateway vouches for.
pub(super) fn subject(
    table: &Table<'_>,
    identity: Option<IdentityWay>,
    header: impl Fn(&Node<'_>) -> Read<String>,
    around: &Around<'_>,
) -> Read<Option<SubjectHeader>> {
    let name = table.optional("subject_header", header);
    let source = table.optional("subject_source", |node| around.named(node));
    if identity.is_some_and(|identity| identity != IdentityWay::Header) {
        if table.has("subject_header") {
            table.refuse("subject_header", "goes with `identity = \"header\"`");
        }
        return Ok(None);
    }
    if !table.has("subject_header") && table.has("subject_source") {
        table.refuse("subject_source", "goes with `subject_header`");
    }
    let (name, source) = (name?, source?);
    let Some(header) = name else { return Ok(None) };
    let source = match (source, around.sources) {
        (Some(source), _) => source,
        (None, None) => String::new(),
        (None, Some([only])) => only.name.clone(),
        (None, Some(several)) => {
            let mut issuers = several.iter().filter(|source| source.kind.issues_tokens());
            match (issuers.next(), issuers.next()) {
                (Some(only), None) => only.name.clone(),
                _ => {
                    return Err(table.missing(
                        "subject_source",
                        "there are several sources: say whose ids `subject_header` holds",
                    ));
                }
            }
        }
    };
    Ok(Some(SubjectHeader { header, source }))
}

/// What `identity` and `provision` want of `[[gateway.jwt]]`.
pub(super) fn check(
    table: &Table<'_>,
    identity: Option<IdentityWay>,
    provision: Option<JustInTime>,
    jwt: &[JwtConfig],
    tokens: bool,
) {
    let Some(identity) = identity else { return };
    match identity {
        IdentityWay::Jwt | IdentityWay::Metadata if jwt.is_empty() && !tokens => {
            let word = if identity == IdentityWay::Jwt { "jwt" } else { "metadata" };
            table.missing(
                "jwt",
                format!(
                    "`identity = \"{word}\"` needs a `[[gateway.jwt]]`, or access tokens \
                     (`[gateway.tokens]`)"
                ),
            );
        }
        IdentityWay::Header if !jwt.is_empty() => {
            if let Some(node) = table.get("jwt") {
                node.fault(Code::Conflict, "no token is seen with `identity = \"header\"`");
            }
        }
        IdentityWay::Jwt | IdentityWay::Metadata | IdentityWay::Header => {}
    }
    if provision != Some(JustInTime::Claims) {
        return;
    }
    let Some(node) = table.get("provision") else { return };
    if identity == IdentityWay::Header {
        node.fault(Code::Conflict, "`claims` needs a token: not with `identity = \"header\"`");
    } else if !jwt.iter().any(|jwt| jwt.service_roles.is_none())
        || jwt.iter().any(|jwt| jwt.roles_claim.is_none())
    {
        node.fault(Code::Conflict, "`claims` needs `roles_claim` in every `[[gateway.jwt]]`");
    }
}

/// `http(s)://…`, perhaps with a query, which some issuers tell their tenants by.
pub(super) fn jwks_url(text: &str) -> Result<url::Url, BadValue> {
    http_url(text.split_once('?').map_or(text, |(before, _)| before))?;
    url::Url::parse(text).map_err(|_| BadValue::new("is not a URL"))
}

fn names(node: &Node<'_>) -> Read<Vec<String>> {
    all(node.some_list()?.iter().map(Node::text))
}
