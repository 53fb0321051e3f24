//! `[gateway]`: read and checked in full, so that a file that is right today is right when
//! serving comes.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::authzen::{self, AuthzenConfig};
use super::credentials::{self, TOKEN_NAME, TokenCredentials};
use super::dpop::{self, DpopConfig};
use super::fault::Code;
use super::jwt::{self, Around, JwtConfig, SubjectHeader};
use super::logout::{self, LogoutConfig};
use super::reader::{Node, Read, Table, all};
use super::role::RoleNames;
use crate::policy::Action;
use crate::routes::{
    HostPattern, Origin, Preset, RouteSpec, Shapes, Target, check_resource, configured, parse_path,
    parse_scope,
};

/// `[gateway]`
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where Envoy's ext_authz is answered.
    pub grpc: Option<Listen>,
    /// Where `/authz`, `/healthz`, `/readyz` and `/metrics` are answered. One of both is there.
    pub http: Option<Listen>,
    /// TLS on the TCP listeners; absent: plain.
    pub tls: Option<TlsConfig>,
    /// `grpc.health.v1.Health` is answered beside ext_authz. Default false.
    pub grpc_health: bool,
    /// How a request says whose it is.
    pub identity: IdentityWay,
    /// The header for the user's name, lower case. Default `x-osmo-user`.
    pub user_header: String,
    /// The header for the roles, lower case. Default `x-osmo-roles`.
    pub roles_header: String,
    /// Evidence older than this is not acted on. Default 24 h.
    pub max_staleness: Duration,
    /// What happens to someone whom the store has not seen. Default off.
    pub provision: JustInTime,
    /// The role of a request without identity; absent: 401.
    pub anonymous_role: Option<String>,
    /// Routes that are built in.
    pub preset: Option<Preset>,
    /// Connections that each listener has open at once. Default 10,000.
    pub max_connections: usize,
    /// With `identity = "header"`: the gateway says who somebody is by id.
    pub subject: Option<SubjectHeader>,
    /// `[gateway.tokens]`; absent: access tokens are no credentials.
    pub tokens: Option<TokenCredentials>,
    /// `[gateway.logout]`; absent: a token counts until its `exp`.
    pub logout: Option<LogoutConfig>,
    /// `[gateway.dpop]`: what a proof of possession must be beside a token that is bound to a key.
    pub dpop: DpopConfig,
    /// `[[gateway.jwt]]`; issuers are distinct. With an exchange whose issuer is not among them, that
    /// too ([`JwtConfig::exchanged`]).
    pub jwt: Vec<JwtConfig>,
    /// `[[gateway.route]]`, in the order of the file.
    pub routes: Vec<RouteSpec>,
    /// `[[gateway.allowed]]`, in the order of the file; headers are distinct.
    pub allowed: Vec<AllowedConfig>,
    /// `[gateway.authzen]`; absent: nobody asks so.
    pub authzen: Option<AuthzenConfig>,
}

impl GatewayConfig {
    /// The sources whose ids callers are known by, sorted, distinct.
    #[must_use]
    pub fn id_sources(&self) -> Vec<String> {
        let tokens = self.jwt.iter().filter_map(JwtConfig::source);
        let header = self.subject.iter().map(|subject| subject.source.as_str());
        let subjects = self.authzen.iter().flat_map(AuthzenConfig::id_sources);
        let sources = tokens.chain(header).chain(subjects);
        let mut sources: Vec<String> = sources.map(str::to_owned).collect();
        sources.sort();
        sources.dedup();
        sources
    }

    /// Every route, the preset's first.
    #[must_use]
    pub fn route_specs(&self) -> Vec<(Origin, RouteSpec)> {
        configured(self.preset, &self.routes)
    }
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// `address:port`
    Tcp(SocketAddr),
    /// `unix:/path`
    Unix(PathBuf),
}

/// `[gateway.tls]`: files in PEM, read at start and again on SIGHUP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfig {
    /// The certificate, followed by those that lead to its CA.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// CA certificates: only clients with a certificate of theirs are served. Absent: any client.
    pub client_ca_file: Option<PathBuf>,
}

/// `identity`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdentityWay {
    /// The bearer token is verified here.
    Jwt,
    /// Envoy verified it and passes the payload on.
    Metadata,
    /// The gateway verified it and sets a header.
    Header,
}

/// `provision`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JustInTime {
    /// The sources are asked about that one person.
    Lookup,
    /// The token's roles are taken.
    Claims,
    /// Nothing.
    Off,
}

/// `[[gateway.allowed]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllowedConfig {
    /// The header, lower case.
    pub header: String,
    /// The action that the listed resources are allowed for.
    pub action: Action,
    /// The scope whose resources are listed.
    pub scope: String,
    /// The actions of the requests that get the header. At least one.
    pub routes: Vec<Action>,
}

/// Reads `[gateway]`.
pub(super) fn gateway(
    root: &Table<'_>,
    known: &RoleNames,
    around: &Around<'_>,
) -> Read<Option<GatewayConfig>> {
    let Some(node) = root.get("gateway") else { return Ok(None) };
    let table = node.table()?;
    let listeners = listeners(&table);
    let grpc_health = table.or("grpc_health", false, |node| node.boolean());
    let tokens = credentials::tokens(&table);
    let authzen = authzen::authzen(&table, &listeners.beside(around));
    // Whoever is asked by AuthZEN alone need not say how others would tell who asks.
    let without = matches!(&authzen, Ok(Some(_)) | Err(_)) && !table.has("identity");
    let spared = without || matches!(&tokens, Ok(Some(_)) | Err(_));
    let identity = identity(&table, spared);
    let (user_header, roles_header) = told_headers(&table);
    let max_staleness = table.or("max_staleness", Duration::from_secs(86_400), Node::some_duration);
    let provision = provision(&table);
    let anonymous_role = table.optional("anonymous_role", |node| {
        let name = node.text()?;
        known.check(node, &name).map(|()| name)
    });
    let preset = table.optional("preset", |node| node.one_of(&[("osmo", Preset::Osmo)]));
    let max_connections =
        table.or("max_connections", 10_000, |node| node.integer(1..=u64::from(u32::MAX)));
    let way = identity.as_ref().ok().copied();
    let subject = jwt::subject(&table, way, header_of_its_own, around);
    let jwt = tables(&table, "jwt", |table, issuers: &mut Vec<String>| {
        let exchanges = matches!(&tokens, Ok(Some(TokenCredentials { signing_key: Some(_) })));
        jwt::jwt(table, issuers, &jwt::Setting { identity: way, exchanges, known, around })
    });
    if let (Ok(jwt), Ok(tokens)) = (&jwt, &tokens) {
        let spared = without || tokens.is_some();
        jwt::check(&table, way, provision.as_ref().ok().copied(), jwt, spared);
    }
    let logout = logout::logout(&table, way, jwt.as_deref().ok());
    let dpop = dpop::dpop(&table, way);
    let routes = routes(&table, preset.as_ref().ok().copied().flatten());
    let mut taken: Vec<String> =
        [&user_header, &roles_header].into_iter().flatten().cloned().collect();
    taken.push(TOKEN_NAME.to_owned());
    let allowed =
        tables(&table, "allowed", |table, seen: &mut Vec<String>| allowed(table, &taken, seen));
    table.finish();
    let (Listeners { grpc, http, tls }, tokens) = (listeners.whole()?, tokens?);
    Ok(Some(GatewayConfig {
        grpc,
        http,
        tls,
        grpc_health: grpc_health?,
        identity: identity?,
        user_header: user_header?,
        roles_header: roles_header?,
        max_staleness: max_staleness?,
        provision: provision?,
        anonymous_role: anonymous_role?,
        preset: preset?,
        max_connections: usize::try_from(max_connections?).unwrap_or(usize::MAX),
        subject: subject?,
        dpop: dpop?,
        jwt: with_the_exchange(jwt?, tokens.as_ref()),
        tokens,
        logout: logout?,
        routes: routes?,
        allowed: allowed?,
        authzen: authzen?,
    }))
}

struct Listeners {
    grpc: Option<Listen>,
    http: Option<Listen>,
    tls: Option<TlsConfig>,
}

/// Each for itself, so that what hangs on one is compared with the one that is right.
struct ReadListeners {
    grpc: Read<Option<Listen>>,
    http: Read<Option<Listen>>,
    tls: Read<Option<TlsConfig>>,
}

impl ReadListeners {
    fn whole(self) -> Read<Listeners> {
        Ok(Listeners { grpc: self.grpc?, http: self.http?, tls: self.tls? })
    }

    fn beside<'a>(&'a self, around: &'a Around<'a>) -> authzen::Beside<'a> {
        let http = self.http.as_ref().ok().and_then(Option::as_ref);
        let tls = self.tls.as_ref().ok().and_then(Option::as_ref);
        authzen::Beside { http, tls, tls_fails: self.tls.is_err(), around }
    }
}

/// Where to listen, at one place at least; TLS only where there is TCP.
fn listeners(table: &Table<'_>) -> ReadListeners {
    let grpc = table.optional("grpc", listen);
    let http = table.optional("http", listen);
    if !table.has("grpc") && !table.has("http") {
        table.missing("grpc", "a gateway needs `grpc` or `http` to listen on");
    }
    let tls = table.optional("tls", |node| tls(&node.table()?));
    if let (Ok(Some(_)), Ok(grpc), Ok(http)) = (&tls, &grpc, &http)
        && ![grpc, http].into_iter().flatten().any(|listen| matches!(listen, Listen::Tcp(_)))
        && let Some(node) = table.get("tls")
    {
        node.fault(Code::Conflict, "there is no TCP listener: unix sockets have no TLS");
    }
    ReadListeners { grpc, http, tls }
}

/// How a request says whose it is. `spared`: it need not be said, since requests come with access tokens,
/// or not at all.
fn identity(table: &Table<'_>, spared: bool) -> Read<IdentityWay> {
    let read = |node: &Node<'_>| {
        node.one_of(&[
            ("jwt", IdentityWay::Jwt),
            ("metadata", IdentityWay::Metadata),
            ("header", IdentityWay::Header),
        ])
    };
    match spared {
        // Where access tokens alone say who asks, they come as bearer tokens do.
        true => table.or("identity", IdentityWay::Jwt, read),
        false => table.required("identity", read),
    }
}

fn provision(table: &Table<'_>) -> Read<JustInTime> {
    table.or("provision", JustInTime::Off, |node| {
        node.one_of(&[
            ("lookup", JustInTime::Lookup),
            ("claims", JustInTime::Claims),
            ("off", JustInTime::Off),
        ])
    })
}

/// The headers that tell the service behind the gateway the user's name and roles: two different ones.
/// Each for itself, so that `[[gateway.allowed]]` is compared with the one that is right.
fn told_headers(table: &Table<'_>) -> (Read<String>, Read<String>) {
    let user = table.or("user_header", "x-osmo-user".to_owned(), header_of_its_own);
    let roles = table.or("roles_header", "x-osmo-roles".to_owned(), |node| {
        let name = header_of_its_own(node)?;
        match &user {
            Ok(user) if *user == name => {
                Err(node.fault(Code::Conflict, "is the same header as `user_header`"))
            }
            _ => Ok(name),
        }
    });
    (user, roles)
}

/// The tables of issuers, and OSMO's where this program exchanges tokens and the file does not name it.
fn with_the_exchange(mut jwt: Vec<JwtConfig>, tokens: Option<&TokenCredentials>) -> Vec<JwtConfig> {
    if let Some(TokenCredentials { signing_key: Some(_) }) = tokens
        && !jwt.iter().any(|jwt| jwt.issuer == jwt::OSMO)
    {
        jwt.push(JwtConfig::exchanged());
    }
    jwt
}

/// The routes of the file. They compete with the preset's by one rule, so they can tie too.
fn routes(table: &Table<'_>, preset: Option<Preset>) -> Read<Vec<RouteSpec>> {
    let shapes = RefCell::new(Shapes::of(preset));
    tables(table, "route", |table, ()| {
        let route = route(table)?;
        match (shapes.borrow_mut().add(&route, table.key.clone()), table.get("path")) {
            (Some(tie), Some(path)) => Err(path.fault(Code::Conflict, tie)),
            _ => Ok(route),
        }
    })
}

/// The tables under `key`, read one after the other with something that they share.
fn tables<T, S: Default>(
    table: &Table<'_>,
    key: &'static str,
    read: impl Fn(&Table<'_>, &mut S) -> Read<T>,
) -> Read<Vec<T>> {
    let mut shared = S::default();
    table.or(key, Vec::new(), |node| {
        all(node.tables()?.iter().map(|table| read(table, &mut shared)))
    })
}

fn listen(node: &Node<'_>) -> Read<Listen> {
    let text = node.string()?;
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') || path.contains('\0') {
            return Err(node.bad("a socket's path is absolute: `unix:/run/idpsyncd/authz.sock`"));
        }
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    text.parse().map(Listen::Tcp).map_err(|_| {
        node.bad(format!(
            "`{}` is neither `address:port` such as `127.0.0.1:9181` nor `unix:/path`",
            text.escape_debug()
        ))
    })
}

fn tls(table: &Table<'_>) -> Read<TlsConfig> {
    let cert_file = table.required("cert_file", Node::path);
    let key_file = table.required("key_file", Node::path);
    let client_ca_file = table.optional("client_ca_file", Node::path);
    table.finish();
    Ok(TlsConfig { cert_file: cert_file?, key_file: key_file?, client_ca_file: client_ca_file? })
}

/// A header's name (RFC 9110, section 5.1), in lower case.
fn header(node: &Node<'_>) -> Read<String> {
    let name = node.text()?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !name.chars().all(token) {
        return Err(node.bad(format!("`{}` is not a header's name", name.escape_debug())));
    }
    Ok(name.to_ascii_lowercase())
}

/// A header's name that tells something else than which access token asks.
fn header_of_its_own(node: &Node<'_>) -> Read<String> {
    match header(node)? {
        name if name == TOKEN_NAME => Err(node.fault(
            Code::Conflict,
            format!("`{TOKEN_NAME}` tells which access token asks, and nothing else"),
        )),
        name => Ok(name),
    }
}

fn route(table: &Table<'_>) -> Read<RouteSpec> {
    let methods = table.or("methods", Vec::new(), |node| {
        all(node.some_list()?.iter().map(|node| {
            let method = node.text()?;
            if !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
                return Err(node.bad(format!(
                    "`{}` is not a method: expected upper case, such as `GET`",
                    method.escape_debug()
                )));
            }
            Ok(method)
        }))
    });
    let hosts = hosts(table);
    let path = table.required("path", |node| {
        let segments = node.parsed(parse_path)?;
        Ok((node.string()?.to_owned(), segments))
    });
    let action = table.required("action", |node| node.parsed(str::parse::<Action>));
    let resource = table.optional("resource", |node| {
        let text = node.text()?;
        let known = path.as_ref().ok().map(|(_, segments)| segments.as_slice());
        check_resource(&text, known).map_err(|error| node.bad(error.to_string()))?;
        Ok(text)
    });
    let scope = table.optional("scope", |node| node.parsed(parse_scope));
    let target = match (table.has("resource"), table.has("scope")) {
        (true, true) => Err(table.fault(
            Code::Conflict,
            "has `resource` and `scope`: a path that tells the resource needs no scope",
        )),
        _ => (|| {
            Ok(match (resource?, scope?) {
                (Some(resource), _) => Target::Resource(resource),
                (None, Some(scope)) => Target::Scope(scope),
                (None, None) => Target::Nothing,
            })
        })(),
    };
    table.finish();
    let (path, segments) = path?;
    Ok(RouteSpec {
        methods: methods?,
        hosts: hosts?,
        path,
        segments,
        action: action?,
        target: target?,
    })
}

/// The hosts of a route or of proofs, each once.
pub(super) fn hosts(table: &Table<'_>) -> Read<Vec<HostPattern>> {
    table.or("hosts", Vec::new(), |node| {
        let seen = RefCell::new(Vec::new());
        all(node.some_list()?.iter().map(|node| {
            let host = node.parsed(str::parse::<HostPattern>)?;
            if seen.borrow().contains(&host) {
                return Err(node.fault(Code::Conflict, format!("`{host}` is there already")));
            }
            seen.borrow_mut().push(host.clone());
            Ok(host)
        }))
    })
}

fn allowed(table: &Table<'_>, taken: &[String], seen: &mut Vec<String>) -> Read<AllowedConfig> {
    let header = table.required("header", |node| {
        let name = header(node)?;
        if taken.contains(&name) || seen.contains(&name) {
            return Err(node.fault(Code::Conflict, format!("`{name}` is set already")));
        }
        seen.push(name.clone());
        Ok(name)
    });
    let action = table.required("action", |node| node.parsed(str::parse::<Action>));
    let scope = table.required("scope", |node| node.parsed(parse_scope));
    let routes = table.required("routes", |node| {
        all(node.some_list()?.iter().map(|node| node.parsed(str::parse::<Action>)))
    });
    table.finish();
    Ok(AllowedConfig { header: header?, action: action?, scope: scope?, routes: routes? })
}
