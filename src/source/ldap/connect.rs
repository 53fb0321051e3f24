//! Opening a connection: URL, TLS, signing in. The servers are tried in order.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, StdStream};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::address::Server;
use super::config::LdapConfig;
use super::dns::{Dns, DnsError};
use super::explain::{self, Fault};
use super::kerberos;
use super::refused::Attempt;
use super::tls::Trust;
use crate::source::{SourceError, SourceErrorKind};

/// How to sign in.
#[derive(Clone)]
pub enum Identity {
    /// Not at all.
    Anonymous,
    /// By what the connection says of this client (SASL EXTERNAL).
    External(Proof),
    /// By a key or a ticket of Kerberos (SASL GSSAPI).
    Kerberos,
    /// By DN and password.
    Simple(String, Arc<SecretString>),
}

/// What a connection says of this client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The operating-system account of this process, over `ldapi://`.
    Account,
    /// Its certificate, over TLS.
    Certificate,
}

impl Identity {
    /// For messages.
    pub fn who(&self) -> String {
        match self {
            Identity::Anonymous => "nobody (anonymous)".to_owned(),
            Identity::External(Proof::Account) => {
                "this process's account (SASL EXTERNAL)".to_owned()
            }
            Identity::External(Proof::Certificate) => {
                "the client certificate in `cert_file` (SASL EXTERNAL)".to_owned()
            }
            Identity::Kerberos => "the principal of the Kerberos key (SASL GSSAPI)".to_owned(),
            Identity::Simple(dn, _) => format!("`{dn}`"),
        }
    }
}

/// Opens connections as one source's configuration wants them.
#[derive(Clone)]
pub struct Connector {
    servers: Vec<Server>,
    dns: Dns,
    /// Only servers within a domain itself are taken of those that DNS names for it.
    within_domain: bool,
    start_tls: bool,
    tls: Option<Trust>,
    bind: Option<(String, Arc<SecretString>)>,
    kerberos: bool,
    /// A certificate is shown where TLS is spoken.
    client_cert: bool,
    timeout: Duration,
}

/// A connection that is signed in. Its driving task ends when the last handle is dropped.
#[derive(Clone)]
pub struct Connection {
    /// The handle.
    pub ldap: Ldap,
    /// The server, for messages and for a second connection to the same one: replicas differ.
    pub url: Url,
}

impl Connector {
    /// Reads the secret and the CA certificates that `config` names.
    ///
    /// # Errors
    /// One of them cannot be read, the password is empty (servers may take that for an anonymous
    /// bind that succeeded), or one of DN and password is missing.
    pub fn new(name: &str, config: &LdapConfig) -> Result<Self, SourceError> {
        let fatal = |what: String| SourceError::fatal(format!("source `{name}`: {what}"));
        let bind = match (&config.bind_dn, &config.bind_password) {
            (None, None) => None,
            (Some(_), None) => {
                return Err(fatal("`bind_dn` is set but not `bind_password`: set both".to_owned()));
            }
            (None, Some(_)) => {
                return Err(fatal("`bind_password` is set but not `bind_dn`: set both".to_owned()));
            }
            (Some(dn), Some(reference)) => {
                let secret = reference
                    .read()
                    .map_err(|error| fatal(format!("cannot read `bind_password`: {error}")))?;
                if secret.expose_secret().is_empty() || dn.is_empty() {
                    return Err(fatal(
                        "`bind_dn` or `bind_password` is empty: a server may take that for an \
                         anonymous bind, so it is not sent"
                            .to_owned(),
                    ));
                }
                Some((dn.clone(), Arc::new(secret)))
            }
        };
        let trust = || Trust::new(config.ca_file.as_deref(), config.client_cert.as_ref());
        let with_tls = config.urls.iter().any(|server| server.with_tls(config.start_tls));
        let by_dns = config.urls.iter().any(|server| matches!(server, Server::Of(_)));
        let tls = match with_tls || (by_dns && config.ca_file.is_some()) {
            true => Some(trust().map_err(|why| fatal(why.to_string()))?),
            // A record of DNS may name a port where TLS alone is spoken.
            false if by_dns => trust().ok(),
            false => None,
        };
        Ok(Connector {
            servers: config.urls.clone(),
            dns: Dns::new(&config.dns_servers, config.site.as_deref()),
            // What DNS says anybody can have said. A certificate proves that a server is the one of the
            // name that was called; by the system's authorities everybody has one of some name.
            within_domain: config.ca_file.is_none(),
            start_tls: config.start_tls,
            tls,
            bind,
            kerberos: config.kerberos,
            client_cert: config.client_cert.is_some(),
            timeout: config.timeout,
        })
    }

    /// Opens a connection to the first server that answers and lets us in.
    ///
    /// # Errors
    /// None does; the message lists what each said.
    pub async fn connect(&self) -> Result<Connection, SourceError> {
        let mut faults: Vec<String> = Vec::new();
        let (mut transient, mut kind) = (false, SourceErrorKind::Unreachable);
        'servers: for server in &self.servers {
            let urls = match self.urls_of(server).await {
                Ok(urls) => urls,
                Err(fault) => {
                    (transient, kind) = (transient | fault.transient, fault.kind);
                    faults.push(format!("{server}: {}", fault.message));
                    continue;
                }
            };
            for url in &urls {
                match self.connect_to(url).await {
                    Ok(connection) => return Ok(connection),
                    Err(fault) => {
                        (transient, kind) = (transient | fault.transient, fault.kind);
                        faults.push(format!("{}: {}", shown(url), fault.message));
                        if self.is_refused(&fault) {
                            // The other servers know the same account: a wrong password sent to each
                            // of them, at every run, is what locks it.
                            transient = false;
                            break 'servers;
                        }
                    }
                }
            }
        }
        Err(SourceError { kind, message: faults.join("; "), transient })
    }

    /// Opens a connection to `server` (as [`shown`] has it) where that is one of this source's and answers,
    /// else to the first that does.
    ///
    /// # Errors
    /// None does, or the password was refused: others know the same account.
    pub async fn connect_rather_to(&self, server: &str) -> Result<Connection, SourceError> {
        let Ok(Some(url)) = self.url_of(server).await else { return self.connect().await };
        match self.connect_to(&url).await {
            Ok(connection) => Ok(connection),
            Err(fault) if self.is_refused(&fault) => {
                let message = format!("{server}: {}", fault.message);
                Err(SourceError { message, transient: false, ..fault.into() })
            }
            Err(_) => self.connect().await,
        }
    }

    /// Opens a connection to `server` (as [`shown`] has it), or to another only where that is none of this
    /// source's any more.
    ///
    /// # Errors
    /// It does not answer or does not let us in, or whether it is one of this source's cannot be told.
    pub async fn connect_only_to(&self, server: &str) -> Result<Connection, SourceError> {
        let at = |fault: Fault| SourceError {
            message: format!("{server}: {}", fault.message),
            ..SourceError::from(fault)
        };
        match self.url_of(server).await.map_err(at)? {
            Some(url) => self.connect_to(&url).await.map_err(at),
            None => self.connect().await,
        }
    }

    /// The URL of `server`, where it is one of this source's.
    ///
    /// # Errors
    /// It may be one, and DNS does not say.
    async fn url_of(&self, server: &str) -> Result<Option<Url>, Fault> {
        let mut untold = None;
        for one in &self.servers {
            match self.urls_of(one).await {
                Ok(urls) => {
                    if let Some(url) = urls.into_iter().find(|url| shown(url) == server) {
                        return Ok(Some(url));
                    }
                }
                Err(fault) => untold = Some(fault),
            }
        }
        untold.map_or(Ok(None), Err)
    }

    /// Whether this fault says that the password or the key is wrong, for all servers.
    fn is_refused(&self, fault: &Fault) -> bool {
        fault.code == Some(49) && self.bind.is_some() || self.waits().is_some()
    }

    /// How long the password or the key is not sent, which was refused a moment ago; nothing where it may be.
    fn waits(&self) -> Option<Duration> {
        self.attempt()?.waits(Instant::now())
    }

    /// The URLs that `server` stands for, in the order in which to try them.
    async fn urls_of(&self, server: &Server) -> Result<Vec<Url>, Fault> {
        let domain = match server {
            Server::At(url) => return Ok(vec![url.clone()]),
            Server::Of(domain) => domain,
        };
        let asked = tokio::time::timeout(self.timeout, self.dns.servers_of(domain)).await;
        let urls = asked.map_err(|_| self.too_late("asking DNS"))?;
        let mut urls = urls.map_err(of_dns)?;
        if self.within_domain {
            let all: Vec<String> = urls.iter().map(shown).collect();
            let clear = |url: &Url| url.scheme() == "ldap" && !self.start_tls;
            let within = |url: &Url| url.host_str().is_some_and(|host| domain.has(host));
            urls.retain(|url| clear(url) || within(url));
            if urls.is_empty() {
                let why = format!(
                    "DNS names servers of other domains alone ({}), whose certificates prove nothing \
                     by the system's authorities: set `ca_file`, or give their own URLs",
                    all.join(", ")
                );
                return Err(Fault::local(why, false));
            }
        }
        Ok(urls)
    }

    fn too_late(&self, doing: &str) -> Fault {
        let limit = self.timeout.as_secs_f64();
        Fault::late(format!("{doing} took more than {limit} s"))
    }

    /// Opens a connection to the server `url`.
    ///
    /// # Errors
    /// It does not answer in time, TLS fails, it does not let us in, or it refused to a moment ago.
    pub async fn connect_to(&self, url: &Url) -> Result<Connection, Fault> {
        // Before there is a connection, which would be for nothing.
        if let Some(left) = self.waits() {
            let fault = Fault::local(explain::waits(left, self.kerberos), false);
            return Err(fault.of_kind(SourceErrorKind::SignIn));
        }
        // The crate's own time limit does not cover a local socket.
        let opened = tokio::time::timeout(self.timeout, self.open(url)).await;
        let (connection, mut ldap) = match opened {
            Err(_) => return Err(self.too_late("connecting")),
            Ok(opened) => opened?,
        };
        // A panic in the driver (it has some, on malformed answers) ends its task: the handle then
        // reports a broken connection.
        tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "LDAP connection ended");
            }
        });
        self.sign_in(&mut ldap, url).await?;
        Ok(Connection { ldap, url: url.clone() })
    }

    async fn open(&self, url: &Url) -> Result<(LdapConnAsync, Ldap), Fault> {
        let failed = |error: LdapError| explain::broken(&error, "connecting failed");
        let mut settings = LdapConnSettings::new().set_conn_timeout(self.timeout);
        let start_tls = self.start_tls && url.scheme() == "ldap";
        if start_tls {
            settings = settings.set_starttls(true);
        }
        let io = |source: std::io::Error| failed(LdapError::Io { source });
        let port = || url.port().unwrap_or(if url.scheme() == "ldaps" { 636 } else { 389 });
        let named = url.host_str().filter(|_| self.dns.resolves_names() && url.scheme() != "ldapi");
        if let Some(host) = named.filter(|_| !is_address(url)) {
            let addresses = self.dns.addresses(host).await.map_err(of_dns)?;
            let places: Vec<SocketAddr> =
                addresses.into_iter().map(|it| (it, port()).into()).collect();
            let stream = TcpStream::connect(places.as_slice()).await;
            let stream = stream.and_then(TcpStream::into_std).map_err(io)?;
            settings = settings.set_std_stream(StdStream::Tcp(stream));
        }
        let mut url = Cow::Borrowed(url);
        if let Some(tls) = self.tls.as_ref().filter(|_| start_tls || url.scheme() == "ldaps") {
            settings = match ipv6(&url) {
                None => settings.set_config(tls.by_name()),
                Some(address) => {
                    // The crate takes the brackets of the literal for part of a name and refuses
                    // it. So it is given the connection, and a name that nothing is done with.
                    let stream = TcpStream::connect((address, port())).await.map_err(io)?;
                    let stream = stream.into_std().map_err(io)?;
                    let _ = url.to_mut().set_host(Some("address.invalid"));
                    let config = tls.by_address(address);
                    let config = config.map_err(|why| {
                        Fault::local(why.to_string(), false).of_kind(SourceErrorKind::Tls)
                    })?;
                    settings.set_std_stream(StdStream::Tcp(stream)).set_config(config)
                }
            };
        }
        LdapConnAsync::from_url_with_settings(settings, &url).await.map_err(failed)
    }

    /// How this source signs in, at a socket of this machine or over the network.
    #[must_use]
    pub fn identity(&self, socket: bool) -> Identity {
        match &self.bind {
            Some((dn, secret)) => Identity::Simple(dn.clone(), secret.clone()),
            None if self.kerberos => Identity::Kerberos,
            None if socket => Identity::External(Proof::Account),
            None if self.client_cert => Identity::External(Proof::Certificate),
            None => Identity::Anonymous,
        }
    }

    /// Signing in with a password or a key, as it is remembered where it is refused. A key is refused by the
    /// Kerberos server, whichever servers it would have been for.
    fn attempt(&self) -> Option<Attempt> {
        match &self.bind {
            Some((dn, secret)) => {
                let servers: Vec<String> = self.servers.iter().map(Server::to_string).collect();
                let servers = servers.iter().map(String::as_str);
                Some(Attempt::new(servers, dn, secret.expose_secret()))
            }
            None => self.kerberos.then(|| Attempt::new(std::iter::empty(), "", "GSSAPI")),
        }
    }

    async fn sign_in(&self, ldap: &mut Ldap, url: &Url) -> Result<(), Fault> {
        let identity = self.identity(url.scheme() == "ldapi");
        let with_tls = url.scheme() == "ldaps" || self.start_tls;
        ldap.with_timeout(self.timeout);
        let answer = match &identity {
            Identity::Anonymous => return Ok(()),
            Identity::External(_) => ldap.sasl_external_bind().await,
            Identity::Kerberos => {
                let attempt = self.attempt();
                let refused = move || {
                    attempt.into_iter().for_each(|attempt| attempt.was_refused(Instant::now()));
                };
                let asked = kerberos::bind(ldap, url, with_tls, self.timeout, refused).await;
                asked.map_err(|error| {
                    let fault = Fault::local(error.to_string(), error.is_transient());
                    fault.of_kind(error.kind())
                })?
            }
            Identity::Simple(dn, secret) => ldap.simple_bind(dn, secret.expose_secret()).await,
        };
        match answer {
            Ok(result) if result.rc == 0 => {
                self.attempt().into_iter().for_each(Attempt::was_let_in);
                Ok(())
            }
            Ok(result) => {
                if explain::may_lock(&result, &identity) {
                    let now = Instant::now();
                    self.attempt().into_iter().for_each(|attempt| attempt.was_refused(now));
                }
                Err(explain::bind(&result, &identity))
            }
            Err(error) => {
                let doing = format!("signing in as {} failed", identity.who());
                let mut fault = explain::broken(&error, &doing);
                if let Identity::External(Proof::Certificate) = identity {
                    // With TLS 1.3 a server refuses a certificate after the handshake, by hanging up.
                    fault.message += "; a server that does not trust the certificate hangs up so: \
                                      check who issued it, and when it ends";
                }
                Err(fault)
            }
        }
    }
}

/// `url` as messages show it: never with user info, and without what follows the host.
#[must_use]
pub fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

fn of_dns(error: DnsError) -> Fault {
    Fault::local(error.to_string(), error.is_transient()).of_kind(SourceErrorKind::Unreachable)
}

/// Whether `url` names its server by an address, of either kind.
pub(super) fn is_address(url: &Url) -> bool {
    let ipv4 = || url.host_str().is_some_and(|host| host.parse::<Ipv4Addr>().is_ok());
    ipv6(url).is_some() || ipv4()
}

/// The address that `url` names its server by, where it is an IPv6 literal. Schemes that a browser
/// does not know leave it as text.
fn ipv6(url: &Url) -> Option<Ipv6Addr> {
    match url.host()? {
        Host::Ipv6(address) => Some(address),
        Host::Ipv4(_) => None,
        Host::Domain(text) => text.strip_prefix('[')?.strip_suffix(']')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector(url: &str, bind: Option<(&str, &str)>) -> Connector {
        Connector {
            servers: vec![url.parse().unwrap()],
            dns: Dns::new(&[], None),
            within_domain: true,
            start_tls: false,
            tls: None,
            bind: bind.map(|(dn, secret)| (dn.to_owned(), Arc::new(SecretString::from(secret)))),
            kerberos: bind.is_none(),
            client_cert: false,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn a_key_is_refused_for_all_servers_and_a_password_for_its_own() {
        let urls = ["ldaps://a", "ldaps://b"];
        let attempts = |bind| urls.map(|url| connector(url, bind).attempt().unwrap());
        let [one, other] = attempts(None);
        assert_eq!(one, other);
        let [one, other] = attempts(Some(("cn=x", "y")));
        assert_ne!(one, other);
    }

    #[tokio::test]
    async fn what_was_refused_is_not_sent_on_whichever_way_a_connection_is_asked_for() {
        // Nobody listens there.
        let url = "ldap://127.0.0.1:9";
        let connector = connector(url, Some(("cn=refused-on-every-way", "y")));
        let attempt = connector.attempt().unwrap();
        attempt.was_refused(Instant::now());
        let fault = connector.connect_to(&url.parse().unwrap()).await.err().unwrap();
        assert!(fault.message.contains("is not tried") && !fault.transient, "{fault:?}");
        for told in [
            connector.connect().await,
            connector.connect_rather_to(url).await,
            connector.connect_only_to(url).await,
        ] {
            let error = told.err().unwrap();
            assert!(error.message.contains("is not tried") && !error.transient, "{error}");
        }
        attempt.was_let_in();
        assert!(connector.connect().await.err().unwrap().transient);
    }
}
