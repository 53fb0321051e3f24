//! `[[source]]`: one table, four kinds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::Code;
use super::reader::{Node, Read, Table, all};
use super::sections::LINKS;
use super::types::{
    Flavor, KeycloakConfig, LdapConfig, LdapGroups, LdapUsers, LdifConfig, RealmExportConfig,
    SourceConfig, SourceKind,
};
use super::value::{dn, glob, http_url, ldap_attribute, ldap_filter, ldap_url, source_name};
use crate::resolve::LinkBy;

const KEYCLOAK: &[&str] = &[
    "url",
    "realm",
    "client_id",
    "client_secret",
    "clients",
    "service_accounts",
    "ca_file",
    "timeout",
    "read_timeout",
    "concurrency",
];
const LDAP: &[&str] = &[
    "url",
    "ca_file",
    "start_tls",
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
];
const REALM_EXPORT: &[&str] = &["realm_export", "realm", "clients", "service_accounts"];
const LDIF: &[&str] = &["ldif", "email_verified", "users", "groups"];

const USERS_FILTER: &str = "(objectClass=inetOrgPerson)";
const GROUPS_FILTER: &str =
    "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))";

/// What other sections may name of a source, as far as it could be read.
#[derive(Default)]
pub(super) struct Facts {
    /// Its name.
    pub name: Option<String>,
    /// Whether it is an LDAP directory (live or LDIF); unknown where `kind` is at fault.
    pub ldap: Option<bool>,
    /// The clients whose roles count; unknown where the list is at fault.
    pub clients: Option<Vec<String>>,
}

/// Every `[[source]]`.
pub(super) struct ReadSources {
    /// The sources.
    pub sources: Read<Vec<SourceConfig>>,
    /// What is known of each, in the order of the file.
    pub facts: Vec<Facts>,
}

/// Reads `[[source]]`.
pub(super) fn sources(root: &Table<'_>, link_by: LinkBy) -> ReadSources {
    let tables = match root.get("source").map(|node| node.tables()) {
        Some(Ok(tables)) => tables,
        Some(Err(reported)) => return ReadSources { sources: Err(reported), facts: Vec::new() },
        // Nobody but those whom `local` has.
        None => return ReadSources { sources: Ok(Vec::new()), facts: Vec::new() },
    };
    let mut facts = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let sources = all((1usize..).zip(tables).map(|(place, table)| {
        let mut fact = Facts::default();
        let name = table.required("name", |node| {
            let name = node.parsed(source_name)?;
            if name == crate::directory::local::NAME {
                return Err(node.fault(
                    Code::Conflict,
                    "`local` is the name of the built-in source, which has the people that are \
                     added by hand: give this one another name",
                ));
            }
            fact.name = Some(name.clone());
            match places.get(&name) {
                Some(first) => Err(node.fault(
                    Code::Conflict,
                    format!("`{name}` is the name of `source[{first}]` already"),
                )),
                None => {
                    places.insert(name.clone(), place);
                    Ok(name)
                }
            }
        });
        let grants =
            table.optional("grants", |node| all(node.list()?.iter().map(|n| n.parsed(glob))));
        let link_by = table.or("link_by", link_by, |node| node.one_of(&LINKS));
        let lifecycle = table.or("lifecycle", true, Node::boolean);
        let kind = kind(&table, &mut fact);
        facts.push(fact);
        Ok(SourceConfig {
            name: name?,
            grants: grants?,
            link_by: link_by?,
            lifecycle: lifecycle?,
            kind: kind?,
        })
    }));
    ReadSources { sources, facts }
}

/// `kind` and the keys of that kind; finishes the table.
fn kind(table: &Table<'_>, fact: &mut Facts) -> Read<SourceKind> {
    #[derive(Clone, Copy)]
    enum Word {
        Keycloak,
        Ldap,
        File,
    }
    let word = table.required("kind", |node| {
        node.one_of(&[("keycloak", Word::Keycloak), ("ldap", Word::Ldap), ("file", Word::File)])
    });
    match word {
        Ok(Word::Keycloak) => {
            fact.ldap = Some(false);
            let read = keycloak(table, fact);
            finish(table, "for `kind = \"keycloak\"`", KEYCLOAK);
            read.map(SourceKind::Keycloak)
        }
        Ok(Word::Ldap) => {
            fact.ldap = Some(true);
            let read = ldap(table);
            finish(table, "for `kind = \"ldap\"`", LDAP);
            read.map(SourceKind::Ldap)
        }
        Ok(Word::File) => file(table, fact),
        Err(reported) => {
            // Which keys belong here is unknown; those of no kind at all are still wrong.
            for key in [KEYCLOAK, LDAP, REALM_EXPORT, LDIF].into_iter().flatten() {
                table.get(key);
            }
            table.finish();
            Err(reported)
        }
    }
}

/// Finishes a table of the kind `this`; keys of other kinds get a fault that says whose they are.
fn finish(table: &Table<'_>, this: &str, own: &[&str]) {
    let kinds = [
        (KEYCLOAK, "`kind = \"keycloak\"`"),
        (LDAP, "`kind = \"ldap\"`"),
        (REALM_EXPORT, "a file source with `realm_export`"),
        (LDIF, "a file source with `ldif`"),
    ];
    let mut refused: Vec<&'static str> = Vec::new();
    for key in kinds.iter().flat_map(|(keys, _)| keys.iter().copied()) {
        if own.contains(&key) || refused.contains(&key) {
            continue;
        }
        let whose: Vec<&str> =
            kinds.iter().filter(|(keys, _)| keys.contains(&key)).map(|(_, kind)| *kind).collect();
        table.refuse(key, &format!("means nothing {this}: it belongs to {}", whose.join(" and ")));
        refused.push(key);
    }
    table.finish_but(&refused);
}

fn clients(table: &Table<'_>, fact: &mut Facts) -> Read<Vec<String>> {
    let clients = table.or("clients", Vec::new(), |node| {
        let nodes = node.list()?;
        let mut seen: Vec<String> = Vec::new();
        all(nodes.iter().map(|node| {
            let client = node.text()?;
            if seen.contains(&client) {
                return Err(node.fault(Code::Conflict, format!("`{client}` is listed twice")));
            }
            seen.push(client.clone());
            Ok(client)
        }))
    });
    fact.clients = clients.as_ref().ok().cloned();
    clients
}

fn realm_name(node: &Node<'_>) -> Read<String> {
    let realm = node.text()?;
    // Keycloak refuses these characters in a realm's name, and the name goes into URLs.
    if realm.contains(['/', '?', '#', '%', '\\']) || realm == "." || realm == ".." {
        return Err(node.bad(format!("`{realm}` is not the name of a realm")));
    }
    Ok(realm)
}

fn keycloak(table: &Table<'_>, fact: &mut Facts) -> Read<KeycloakConfig> {
    let url = table.required("url", |node| node.parsed(http_url));
    let realm = table.required("realm", realm_name);
    let client_id = table.required("client_id", Node::text);
    let client_secret = table.required("client_secret", Node::secret);
    let clients = clients(table, fact);
    let service_accounts = table.or("service_accounts", false, Node::boolean);
    let ca_file = table.optional("ca_file", Node::path);
    let timeout = table.or("timeout", Duration::from_secs(60), Node::some_duration);
    let read_timeout = table.or("read_timeout", Duration::from_secs(600), Node::some_duration);
    let concurrency = table.or("concurrency", 2, |node| node.integer(1..=64));
    Ok(KeycloakConfig {
        url: url?,
        realm: realm?,
        client_id: client_id?,
        client_secret: client_secret?,
        clients: clients?,
        service_accounts: service_accounts?,
        ca_file: ca_file?,
        timeout: timeout?,
        read_timeout: read_timeout?,
        concurrency: concurrency.map(|n| usize::try_from(n).unwrap_or(1))?,
    })
}

fn ldap(table: &Table<'_>) -> Read<LdapConfig> {
    let urls = table.required("url", |node| {
        if !node.is_list() {
            return match node.as_str() {
                Some(_) => Ok(vec![node.parsed(ldap_url)?]),
                None => Err(node.wrong_type("a URL or a list of URLs")),
            };
        }
        all(node.some_list()?.iter().map(|node| node.parsed(ldap_url)))
    });
    let ca_file = table.optional("ca_file", Node::path);
    let start_tls = table.or("start_tls", false, |node| {
        let start_tls = node.boolean()?;
        if let (true, Ok(urls)) = (start_tls, &urls)
            && let Some(url) = urls.iter().find(|url| url.scheme() != "ldap")
        {
            return Err(node.fault(
                Code::Conflict,
                format!(
                    "`start_tls` works with `ldap://` only, and a URL has `{}://`",
                    url.scheme()
                ),
            ));
        }
        Ok(start_tls)
    });
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
        ca_file: ca_file?,
        start_tls: start_tls?,
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

/// The base of a search: live it must be there, in a file it may be everywhere.
fn base(table: &Table<'_>, live: bool) -> Read<String> {
    let read = |node: &Node<'_>| match node.string()? {
        "" if !live => Ok(String::new()),
        _ => node.parsed(dn),
    };
    if live { table.required("base", read) } else { table.or("base", String::new(), read) }
}

fn users(table: &Table<'_>, live: bool) -> Read<LdapUsers> {
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

fn groups(table: &Table<'_>, live: bool) -> Read<Option<LdapGroups>> {
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
    table.finish();
    Ok(Some(LdapGroups {
        base: base?,
        filter: filter?,
        name: name?,
        nested: nested?,
        primary: primary?,
    }))
}

fn file(table: &Table<'_>, fact: &mut Facts) -> Read<SourceKind> {
    match (table.has("realm_export"), table.has("ldif")) {
        (true, false) => {
            fact.ldap = Some(false);
            let path = table.required("realm_export", Node::path);
            let realm = table.optional("realm", realm_name);
            let clients = clients(table, fact);
            let service_accounts = table.or("service_accounts", false, Node::boolean);
            finish(table, "beside `realm_export`", REALM_EXPORT);
            Ok(SourceKind::RealmExport(RealmExportConfig {
                path: path?,
                realm: realm?,
                clients: clients?,
                service_accounts: service_accounts?,
            }))
        }
        (false, true) => {
            fact.ldap = Some(true);
            let path = table.required("ldif", Node::path);
            let users = users(table, false);
            let groups = groups(table, false);
            finish(table, "beside `ldif`", LDIF);
            Ok(SourceKind::Ldif(LdifConfig { path: path?, users: users?, groups: groups? }))
        }
        (both, _) => {
            for key in REALM_EXPORT.iter().chain(LDIF) {
                table.get(key);
            }
            let own = [REALM_EXPORT, LDIF].concat();
            finish(table, "for `kind = \"file\"`", &own);
            if let (false, Some(reported)) = (both, table.meant(&["realm_export", "ldif"])) {
                return Err(reported);
            }
            Err(if both {
                table.fault(
                    Code::Conflict,
                    "has `realm_export` and `ldif`: make two sources of them",
                )
            } else {
                table.missing("realm_export", "a file source needs `realm_export` or `ldif`")
            })
        }
    }
}
