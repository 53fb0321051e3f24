//! `kind = "ldap"`: its keys, and what follows from them.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use super::address::{self, Server};
use super::{LdapSource, kerberos};
use crate::config::{
    BadValue, ClaimedNames, Code, KindSettings, Names, Node, Read, SecretRef, SourceKind,
    SourceTable, Table, TableForm, all, dn,
};
use crate::model::encoding::Encoder;
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::source::{Kind, Source, SourceError, keycloak, settings};

/// `kind = "ldap"`
#[derive(Clone, Debug)]
pub struct LdapConfig {
    /// Tried in order. At least one.
    pub urls: Vec<Server>,
    /// Of the servers that DNS names for a domain, those of this site come first.
    pub site: Option<String>,
    /// DNS servers to ask for the servers of a domain and for every name in `url`; none: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// A CA certificate file (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// StartTLS on `ldap://`.
    pub start_tls: bool,
    /// What this client shows of itself in TLS. Without a `bind_dn` it signs in by that (SASL
    /// EXTERNAL).
    pub client_cert: Option<ClientCert>,
    /// Signing in by Kerberos (SASL GSSAPI), as the principal that the environment's key is of.
    pub kerberos: bool,
    /// The identity to bind as; absent: Kerberos where that is wanted, else SASL EXTERNAL by the client
    /// certificate or, over `ldapi://`, by the account of this process; else anonymous.
    pub bind_dn: Option<String>,
    /// Its password.
    pub bind_password: Option<SecretRef>,
    /// What kind of server.
    pub flavor: Flavor,
    /// Where the people are.
    pub users: LdapUsers,
    /// Where the groups are; absent: it has none, as `groups = false` says.
    pub groups: Option<LdapGroups>,
    /// An entry that must be readable, else the read is partial.
    pub canary: Option<String>,
    /// Entries a page. Default 1000.
    pub page_size: u32,
    /// The longest one operation may take. Default 60 s.
    pub timeout: Duration,
    /// The longest a whole read may take. Default 10 m.
    pub read_timeout: Duration,
}

/// `cert_file` and `key_file`
#[derive(Clone, Debug)]
pub struct ClientCert {
    /// PEM: the certificate, then those that lead to its authority.
    pub cert_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
}

/// `flavor`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    /// Told by the server's root DSE.
    Auto,
    /// OpenLDAP.
    OpenLdap,
    /// 389 Directory Server, and FreeIPA.
    Ds389,
    /// Active Directory.
    ActiveDirectory,
}

/// `users = { … }`
#[derive(Clone, Debug)]
pub struct LdapUsers {
    /// Search base, a DN.
    pub base: String,
    /// Default `(objectClass=inetOrgPerson)`.
    pub filter: String,
    /// The attribute that holds the username. Default `uid`.
    pub username: String,
    /// The attribute that holds the email address. Default `mail`.
    pub email: String,
    /// The source's `email_verified`: nobody can write their own address there. Default false.
    pub email_verified: bool,
}

/// `groups = { … }`
#[derive(Clone, Debug)]
pub struct LdapGroups {
    /// Search base, a DN.
    pub base: String,
    /// Default `(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))`.
    pub filter: String,
    /// The attribute that holds the bare name. Default `cn`.
    pub name: String,
    /// Close over nested groups. Default true.
    pub nested: bool,
    /// A `posixGroup` has its primary members too, by `gidNumber`. Default false. In Active Directory
    /// primary groups count always.
    pub primary: bool,
    /// Which side says who is in a group. Default the group's.
    pub from: MembersFrom,
    /// Active Directory's distribution groups count. Default false.
    pub distribution: bool,
}

/// `groups.from`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MembersFrom {
    /// The group's: `member`, `uniqueMember`, `memberUid`.
    Member,
    /// The member's: `memberOf`.
    MemberOf,
}

const USERS_FILTER: &str = "(objectClass=inetOrgPerson)";
const GROUPS_FILTER: &str =
    "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))";

/// The kind `ldap`.
pub(crate) struct Ldap;

const FORM: TableForm = TableForm {
    of: "`kind = \"ldap\"`",
    keys: &[
        "url",
        "site",
        "dns_servers",
        "ca_file",
        "start_tls",
        "cert_file",
        "key_file",
        "sasl",
        "bind_dn",
        "bind_password",
        "flavor",
        "email_verified",
        "users",
        "groups",
        "canary",
        "page_size",
        "timeout",
        "read_timeout",
    ],
};

impl SourceKind for Ldap {
    fn word(&self) -> &'static str {
        "ldap"
    }

    fn forms(&self) -> &'static [TableForm] {
        &[FORM]
    }

    fn read(&self, table: &mut SourceTable<'_, '_>) -> Read<Arc<dyn KindSettings>> {
        table.facts.names = Some(Names::Folded);
        let config = read(table);
        table.finish("for `kind = \"ldap\"`", &[&FORM]);
        Ok(Arc::new(config?))
    }
}

impl Kind for Ldap {
    fn open(&self, name: &str, own: &dyn KindSettings) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(LdapSource::new(name, settings(name, own)?)?))
    }
}

impl KindSettings for LdapConfig {
    fn word(&self) -> &'static str {
        "ldap"
    }

    fn names(&self) -> Names {
        Names::Folded
    }

    fn without_ids(&self) -> bool {
        true
    }

    fn encode(&self, to: &mut Encoder) {
        let LdapConfig {
            urls,
            // How the connection is made and how fast: the same facts.
            site: _,
            dns_servers: _,
            ca_file: _,
            start_tls: _,
            client_cert,
            kerberos,
            bind_dn,
            bind_password: _,
            flavor,
            users,
            groups,
            canary,
            page_size: _,
            timeout: _,
            read_timeout: _,
        } = self;
        to.text("ldap");
        to.list(urls.iter().map(Server::to_string));
        match (bind_dn, client_cert) {
            // Who it is says the key, wherever that lies.
            _ if *kerberos => to.maybe(Some(["", "GSSAPI"])),
            // Who it is says the certificate, wherever that lies.
            (None, Some(_)) => to.maybe(Some(["", "EXTERNAL"])),
            (dn, _) => to.maybe(dn.as_ref().map(|dn| [dn])),
        }
        to.text(match flavor {
            Flavor::Auto => "auto",
            Flavor::OpenLdap => "openldap",
            Flavor::Ds389 => "389ds",
            Flavor::ActiveDirectory => "active-directory",
        });
        users.encode(to);
        encode_groups(groups.as_ref(), to);
        to.maybe(canary.as_ref().map(|dn| [dn]));
    }

    fn secret(&self) -> Option<&SecretRef> {
        self.bind_password.as_ref()
    }

    fn key_file(&self) -> Option<&Path> {
        self.client_cert.as_ref().map(|it| it.key_file.as_path())
    }

    fn exposure(&self, name: &str) -> Option<Diagnostic> {
        if !self.urls.iter().any(|server| server.in_the_clear(self.start_tls)) {
            return None;
        }
        let (code, message) = match self.bind_password {
            Some(_) => (
                DiagnosticCode::SecretInClear,
                format!(
                    "source `{name}`: the password goes over `ldap://` unencrypted; use `ldaps://` \
                     or `start_tls = true`"
                ),
            ),
            None => (
                DiagnosticCode::SourceInClear,
                format!(
                    "source `{name}`: what the directory says comes over `ldap://` unencrypted, so \
                     whoever is on the way can change it and give roles; use `ldaps://` or \
                     `start_tls = true`"
                ),
            ),
        };
        Some(Diagnostic::warning(code, Subject::None, message))
    }

    /// A directory issues no tokens: who does for its people is a realm in front of it.
    fn claimed<'c>(&self, claim: &'c str) -> ClaimedNames<'c> {
        keycloak::claimed(claim)
    }

    fn for_lookups(&self, _at_once: usize, within: Duration) -> Arc<dyn KindSettings> {
        Arc::new(LdapConfig {
            timeout: self.timeout.min(within),
            read_timeout: self.read_timeout.min(within),
            ..self.clone()
        })
    }
}

impl LdapUsers {
    /// Writes down what a plan depends on.
    pub(in crate::source) fn encode(&self, to: &mut Encoder) {
        let LdapUsers { base, filter, username, email, email_verified } = self;
        to.list([base, filter, username, email]);
        to.flag(*email_verified);
    }
}

/// Writes down what a plan depends on.
pub(in crate::source) fn encode_groups(groups: Option<&LdapGroups>, to: &mut Encoder) {
    let Some(this) = groups else { return to.text("no groups") };
    let LdapGroups { base, filter, name, nested, primary, from, distribution } = this;
    to.list([base, filter, name]);
    to.flag(*nested);
    to.flag(*primary);
    to.text(match from {
        MembersFrom::Member => "member",
        MembersFrom::MemberOf => "memberOf",
    });
    to.flag(*distribution);
}

fn read(table: &Table<'_>) -> Read<LdapConfig> {
    let urls = table.required("url", |node| {
        if !node.is_list() {
            return match node.as_str() {
                Some(_) => Ok(vec![node.parsed(Server::from_str)?]),
                None => Err(node.wrong_type("a URL or a list of URLs")),
            };
        }
        all(node.some_list()?.iter().map(|node| node.parsed(Server::from_str)))
    });
    let site = table.optional("site", |node| {
        let site = node.parsed(address::site)?;
        if let Ok(urls) = &urls
            && !urls.iter().any(|server| matches!(server, Server::Of(_)))
        {
            let why = "goes with a URL such as `srv:example.com`, and there is none";
            return Err(node.fault(Code::Conflict, why));
        }
        Ok(site)
    });
    let dns_servers = table.or("dns_servers", Vec::new(), |node| {
        all(node.some_list()?.iter().map(|node| node.parsed(dns_server)))
    });
    let ca_file = table.optional("ca_file", Node::path);
    let start_tls = table.or("start_tls", false, |node| {
        let start_tls = node.boolean()?;
        if let (true, Ok(urls)) = (start_tls, &urls)
            && let Some(url) = urls.iter().find_map(Server::of_another_scheme)
        {
            return Err(node.fault(
                Code::Conflict,
                format!("`start_tls` works with `ldap://` only, and a URL has `{url}://`"),
            ));
        }
        Ok(start_tls)
    });
    let client_cert = client_cert(table, &urls, &start_tls);
    let kerberos = kerberos(table, &urls, &start_tls);
    let bind_dn = table.optional("bind_dn", |node| node.parsed(dn));
    let bind_password = table.optional("bind_password", Node::secret);
    match (table.has("bind_dn"), table.has("bind_password")) {
        (true, false) => {
            // Without a password the bind would be an unauthenticated one (RFC 4513, 5.1.2):
            // servers answer it with success and then show nothing.
            table.missing("bind_password", "required with `bind_dn`");
        }
        (false, true) => {
            table.missing("bind_dn", "required with `bind_password`");
        }
        (true, true) | (false, false) => {}
    }
    let flavor = table.or("flavor", Flavor::Auto, |node| {
        node.one_of(&[
            ("auto", Flavor::Auto),
            ("openldap", Flavor::OpenLdap),
            ("389ds", Flavor::Ds389),
            ("active-directory", Flavor::ActiveDirectory),
        ])
    });
    let users = users(table, true);
    let groups = groups(table, true);
    let canary = table.optional("canary", |node| node.parsed(dn));
    let page_size = table.or("page_size", 1000, |node| node.integer(1..=100_000));
    let timeout = table.or("timeout", Duration::from_secs(60), Node::some_duration);
    let read_timeout = table.or("read_timeout", Duration::from_secs(600), Node::some_duration);
    Ok(LdapConfig {
        urls: urls?,
        site: site?,
        dns_servers: dns_servers?,
        ca_file: ca_file?,
        start_tls: start_tls?,
        client_cert: client_cert?,
        kerberos: kerberos?,
        bind_dn: bind_dn?,
        bind_password: bind_password?,
        flavor: flavor?,
        users: users?,
        groups: groups?,
        canary: canary?,
        page_size: page_size.map(|n| u32::try_from(n).unwrap_or(1000))?,
        timeout: timeout?,
        read_timeout: read_timeout?,
    })
}

/// The address of a DNS server, whose port is 53 unless it says another.
fn dns_server(text: &str) -> Result<SocketAddr, BadValue> {
    let alone = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    text.parse().or_else(|_| alone()).map_err(|_| {
        BadValue::new(format!(
            "`{}` is not an address such as `192.0.2.53` or `192.0.2.53:5353`",
            text.escape_debug()
        ))
    })
}

/// `sasl = "GSSAPI"`, which the key's principal signs in by.
fn kerberos(table: &Table<'_>, urls: &Read<Vec<Server>>, start_tls: &Read<bool>) -> Read<bool> {
    table.or("sasl", false, |node| {
        let kerberos = node.one_of(&[("GSSAPI", true)])?;
        if let Some(server) = nameless(urls) {
            let why = format!(
                "Kerberos knows a server by its name (`ldap/dc1.example.com`), and `{server}` has none"
            );
            return Err(node.fault(Code::Conflict, why));
        }
        if let (Ok(urls), Ok(start_tls)) = (urls, start_tls)
            && urls.iter().any(|server| server.in_the_clear(*start_tls))
        {
            return Err(node.fault(Code::Conflict, kerberos::KerberosError::InClear.to_string()));
        }
        if table.has("bind_dn") || table.has("bind_password") {
            let why = "who signs in by Kerberos has neither `bind_dn` nor `bind_password`: the key says \
                       who it is";
            return Err(node.fault(Code::Conflict, why));
        }
        Ok(kerberos)
    })
}

/// A server without a name, by which alone Kerberos knows servers.
fn nameless(urls: &Read<Vec<Server>>) -> Option<&Server> {
    let nameless = |server: &&Server| match server {
        Server::At(url) => kerberos::host(url).is_none(),
        Server::Of(_) => false,
    };
    urls.iter().flatten().find(nameless)
}

/// The client certificate, which is shown over TLS alone.
fn client_cert(
    table: &Table<'_>,
    urls: &Read<Vec<Server>>,
    start_tls: &Read<bool>,
) -> Read<Option<ClientCert>> {
    let cert_file = table.optional("cert_file", |node| {
        let file = node.path()?;
        if let (Ok(urls), Ok(start_tls)) = (urls, start_tls) {
            let with_tls = |server: &Server| server.with_tls(*start_tls);
            // Where there is no TLS nothing would be shown, and the server would see nobody.
            let all = urls.iter().all(|server| server.is_socket() || with_tls(server));
            if !all || !urls.iter().any(with_tls) {
                return Err(node.fault(
                    Code::Conflict,
                    "a certificate is shown over TLS only: use `ldaps://`, or `start_tls = true`",
                ));
            }
        }
        Ok(file)
    });
    let key_file = table.optional("key_file", Node::path);
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if table.has(one) && !table.has(other) {
            table.missing(other, format!("required with `{one}`"));
        }
    }
    let pair = cert_file?.zip(key_file?);
    Ok(pair.map(|(cert_file, key_file)| ClientCert { cert_file, key_file }))
}

/// The base of a search: live it must be there, in a file it may be everywhere.
fn base(table: &Table<'_>, live: bool) -> Read<String> {
    let read = |node: &Node<'_>| match node.string()? {
        "" if !live => Ok(String::new()),
        _ => node.parsed(dn),
    };
    if live { table.required("base", read) } else { table.or("base", String::new(), read) }
}

/// `users`, live or of a file.
pub(in crate::source) fn users(table: &Table<'_>, live: bool) -> Read<LdapUsers> {
    let email_verified = table.or("email_verified", false, Node::boolean);
    let Some(node) = table.get("users") else {
        if live {
            return Err(table.missing("users.base", "required key is missing"));
        }
        return Ok(LdapUsers {
            base: String::new(),
            filter: USERS_FILTER.to_owned(),
            username: "uid".to_owned(),
            email: "mail".to_owned(),
            email_verified: email_verified?,
        });
    };
    let table = node.table()?;
    let base = base(&table, live);
    let filter = table.or("filter", USERS_FILTER.to_owned(), |node| node.parsed(ldap_filter));
    let username = table.or("username", "uid".to_owned(), |node| node.parsed(ldap_attribute));
    let email = table.or("email", "mail".to_owned(), |node| node.parsed(ldap_attribute));
    table.finish();
    Ok(LdapUsers {
        base: base?,
        filter: filter?,
        username: username?,
        email: email?,
        email_verified: email_verified?,
    })
}

/// `groups`, live or of a file.
pub(in crate::source) fn groups(table: &Table<'_>, live: bool) -> Read<Option<LdapGroups>> {
    let Some(node) = table.get("groups") else {
        if live {
            return Err(table.missing("groups.base", "required key is missing"));
        }
        return Ok(Some(LdapGroups {
            base: String::new(),
            filter: GROUPS_FILTER.to_owned(),
            name: "cn".to_owned(),
            nested: true,
            primary: false,
            from: MembersFrom::Member,
            distribution: false,
        }));
    };
    match node.as_bool() {
        Some(false) => return Ok(None),
        Some(true) => return Err(node.wrong_type("a table, or `false` where there are no groups")),
        None => {}
    }
    let table = node.table()?;
    let base = base(&table, live);
    let filter = table.or("filter", GROUPS_FILTER.to_owned(), |node| node.parsed(ldap_filter));
    let name = table.or("name", "cn".to_owned(), |node| node.parsed(ldap_attribute));
    let nested = table.or("nested", true, Node::boolean);
    let primary = table.or("primary", false, Node::boolean);
    let from = table.or("from", MembersFrom::Member, |node| {
        node.one_of(&[("member", MembersFrom::Member), ("memberOf", MembersFrom::MemberOf)])
    });
    let distribution = table.or("distribution", false, Node::boolean);
    table.finish();
    Ok(Some(LdapGroups {
        base: base?,
        filter: filter?,
        name: name?,
        nested: nested?,
        primary: primary?,
        from: from?,
        distribution: distribution?,
    }))
}

/// An LDAP filter (RFC 4515).
fn ldap_filter(text: &str) -> Result<String, BadValue> {
    match ldap3::parse_filter(text) {
        Ok(_) if text.starts_with('(') => Ok(text.to_owned()),
        _ => Err(BadValue::new(format!(
            "`{}` is not an LDAP filter: expected the like of `(objectClass=person)`",
            text.escape_debug()
        ))),
    }
}

/// An LDAP attribute's name or OID (RFC 4512, section 1.4).
fn ldap_attribute(text: &str) -> Result<String, BadValue> {
    let name = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let oid = text.split('.').count() > 1
        && text.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()));
    if name || oid {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!("`{}` is not the name of an LDAP attribute", text.escape_debug())))
}
