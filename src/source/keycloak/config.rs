//! `kind = "keycloak"`: its keys, and what follows from them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::KeycloakSource;
use super::claims;
use crate::config::{
    ClaimedNames, Code, KindSettings, Names, Node, Read, SecretRef, SourceKind, SourceTable,
    TableForm, all, http_url, remote,
};
use crate::model::encoding::Encoder;
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::source::{Kind, Source, SourceError, settings};

/// `kind = "keycloak"`
#[derive(Clone, Debug)]
pub struct KeycloakConfig {
    /// `http(s)://host[:port][/prefix]`, without user info, query or fragment.
    pub url: url::Url,
    /// The realm's name. Case counts.
    pub realm: String,
    /// The client whose service account reads.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretRef,
    /// The clients whose client roles count.
    pub clients: Vec<String>,
    /// Service accounts are people too. Default false.
    pub service_accounts: bool,
    /// A CA certificate file (PEM) to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest one request may take. Default 60 s.
    pub timeout: Duration,
    /// The longest a whole read may take. Default 10 m.
    pub read_timeout: Duration,
    /// Requests at once. Default 2.
    pub concurrency: usize,
}

/// The kind `keycloak`.
pub(crate) struct Keycloak;

const FORM: TableForm = TableForm {
    of: "`kind = \"keycloak\"`",
    keys: &[
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
    ],
};

impl SourceKind for Keycloak {
    fn word(&self) -> &'static str {
        "keycloak"
    }

    fn forms(&self) -> &'static [TableForm] {
        &[FORM]
    }

    fn read(&self, table: &mut SourceTable<'_, '_>) -> Read<Arc<dyn KindSettings>> {
        table.facts.names = Some(Names::Exact);
        let config = read(table);
        table.finish("for `kind = \"keycloak\"`", &[&FORM]);
        Ok(Arc::new(config?))
    }
}

impl Kind for Keycloak {
    fn open(&self, name: &str, own: &dyn KindSettings) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(KeycloakSource::new(name, settings(name, own)?)?))
    }
}

impl KindSettings for KeycloakConfig {
    fn word(&self) -> &'static str {
        "keycloak"
    }

    fn names(&self) -> Names {
        Names::Exact
    }

    fn without_ids(&self) -> bool {
        false
    }

    fn encode(&self, to: &mut Encoder) {
        let KeycloakConfig {
            url,
            realm,
            client_id,
            // Where the secret lies, how the connection is made and how fast: the same facts.
            client_secret: _,
            clients,
            service_accounts,
            ca_file: _,
            timeout: _,
            read_timeout: _,
            concurrency: _,
        } = self;
        to.text("keycloak");
        to.list([url.as_str(), realm, client_id]);
        to.list(clients);
        to.flag(*service_accounts);
    }

    fn secret(&self) -> Option<&SecretRef> {
        Some(&self.client_secret)
    }

    fn exposure(&self, name: &str) -> Option<Diagnostic> {
        (self.url.scheme() == "http" && remote(&self.url)).then(|| {
            Diagnostic::warning(
                DiagnosticCode::SecretInClear,
                Subject::None,
                format!("source `{name}`: the client's secret goes over `http://` unencrypted"),
            )
        })
    }

    fn issues_tokens(&self) -> bool {
        true
    }

    /// As `{url}/realms/{realm}`.
    fn issues(&self, issuer: &str) -> bool {
        let base = self.url.as_str().trim_end_matches('/');
        let realm = issuer.strip_prefix(base).and_then(|rest| rest.strip_prefix("/realms/"));
        realm.is_some_and(|realm| {
            realm == self.realm
                || percent_encoding::percent_decode_str(realm)
                    .decode_utf8()
                    .is_ok_and(|realm| realm == self.realm)
        })
    }

    fn clients(&self) -> &[String] {
        &self.clients
    }

    fn claimed<'c>(&self, claim: &'c str) -> ClaimedNames<'c> {
        claims::claimed(claim)
    }

    fn not_a_person(&self, username: &str) -> Option<&'static str> {
        (!self.service_accounts && claims::is_service_account(username))
            .then_some("the account of a client is nobody (`service_accounts`)")
    }

    fn for_lookups(&self, at_once: usize, within: Duration) -> Arc<dyn KindSettings> {
        Arc::new(KeycloakConfig {
            // Each look-up makes up to four calls at the same time.
            concurrency: self.concurrency.max(at_once.saturating_mul(4)),
            timeout: self.timeout.min(within),
            ..self.clone()
        })
    }
}

fn read(table: &mut SourceTable<'_, '_>) -> Read<KeycloakConfig> {
    let url = table.required("url", |node| node.parsed(http_url));
    let realm = table.required("realm", realm_name);
    let client_id = table.required("client_id", Node::text);
    let client_secret = table.required("client_secret", Node::secret);
    let clients = clients(table);
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

/// `clients`, of a realm or of its export.
pub(in crate::source) fn clients(table: &mut SourceTable<'_, '_>) -> Read<Vec<String>> {
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
    table.facts.clients = clients.as_ref().ok().cloned();
    clients
}

/// A realm's name.
pub(in crate::source) fn realm_name(node: &Node<'_>) -> Read<String> {
    let realm = node.text()?;
    // The server refuses these characters in a realm's name, and the name goes into URLs.
    if realm.contains(['/', '?', '#', '%', '\\']) || realm == "." || realm == ".." {
        return Err(node.bad(format!("`{realm}` is not the name of a realm")));
    }
    Ok(realm)
}
