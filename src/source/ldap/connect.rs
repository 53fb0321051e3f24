//! Opening a connection: URL, TLS, signing in. The servers are tried in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::explain::{self, Fault};
use crate::config::LdapConfig;
use crate::source::SourceError;

/// How to sign in.
#[derive(Clone)]
pub enum Identity {
    /// Not at all.
    Anonymous,
    /// As the operating-system account of this process (SASL EXTERNAL over `ldapi://`).
    External,
    /// By DN and password.
    Simple(String, Arc<SecretString>),
}

impl Identity {
    /// For messages.
    fn who(&self) -> String {
        match self {
            Identity::Anonymous => "nobody (anonymous)".to_owned(),
            Identity::External => "this process's account (SASL EXTERNAL)".to_owned(),
            Identity::Simple(dn, _) => format!("`{dn}`"),
        }
    }
}

/// Opens connections as one source's configuration wants them.
#[derive(Clone)]
pub struct Connector {
    urls: Vec<Url>,
    start_tls: bool,
    tls: Option<Arc<ClientConfig>>,
    bind: Option<(String, Arc<SecretString>)>,
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
        let encrypted = config.start_tls || config.urls.iter().any(|url| url.scheme() == "ldaps");
        let tls = match encrypted {
            false => None,
            true => Some(Arc::new(tls(config.ca_file.as_deref()).map_err(fatal)?)),
        };
        Ok(Connector {
            urls: config.urls.clone(),
            start_tls: config.start_tls,
            tls,
            bind,
            timeout: config.timeout,
        })
    }

    /// Opens a connection to the first server that answers and lets us in.
    ///
    /// # Errors
    /// None does; the message lists what each said.
    pub async fn connect(&self) -> Result<Connection, SourceError> {
        let mut faults: Vec<String> = Vec::new();
        let mut transient = false;
        for url in &self.urls {
            match self.connect_to(url).await {
                Ok(connection) => return Ok(connection),
                Err(fault) => {
                    transient |= fault.transient;
                    faults.push(format!("{}: {}", shown(url), fault.message));
                    if fault.code == Some(49) {
                        // The other servers know the same account: a wrong password sent to each
                        // of them, at every run, is what locks it.
                        transient = false;
                        break;
                    }
                }
            }
        }
        Err(SourceError { message: faults.join("; "), transient })
    }

    /// Opens a connection to the server `url`.
    ///
    /// # Errors
    /// It does not answer in time, TLS fails, or it does not let us in.
    pub async fn connect_to(&self, url: &Url) -> Result<Connection, Fault> {
        let mut settings = LdapConnSettings::new().set_conn_timeout(self.timeout);
        if self.start_tls && url.scheme() == "ldap" {
            settings = settings.set_starttls(true);
        }
        if let Some(tls) = &self.tls {
            settings = settings.set_config(tls.clone());
        }
        let opening = LdapConnAsync::from_url_with_settings(settings, url);
        // The crate's own time limit does not cover a local socket.
        let (connection, mut ldap) = match tokio::time::timeout(self.timeout, opening).await {
            Err(_) => {
                let limit = self.timeout.as_secs_f64();
                return Err(Fault::local(format!("connecting took more than {limit} s"), true));
            }
            Ok(Err(error)) => return Err(explain::broken(&error, "connecting failed")),
            Ok(Ok(pair)) => pair,
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

    /// How this source signs in at `url`.
    #[must_use]
    pub fn identity(&self, url: &Url) -> Identity {
        match &self.bind {
            Some((dn, secret)) => Identity::Simple(dn.clone(), secret.clone()),
            None if url.scheme() == "ldapi" => Identity::External,
            None => Identity::Anonymous,
        }
    }

    async fn sign_in(&self, ldap: &mut Ldap, url: &Url) -> Result<(), Fault> {
        let identity = self.identity(url);
        ldap.with_timeout(self.timeout);
        let answer = match &identity {
            Identity::Anonymous => return Ok(()),
            Identity::External => ldap.sasl_external_bind().await,
            Identity::Simple(dn, secret) => ldap.simple_bind(dn, secret.expose_secret()).await,
        };
        match answer {
            Ok(result) if result.rc == 0 => Ok(()),
            Ok(result) => Err(explain::bind(&result, &identity.who())),
            Err(error) => {
                let doing = format!("signing in as {} failed", identity.who());
                Err(explain::broken(&error, &doing))
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

/// The TLS configuration: trusts the certificates in `ca_file`, else the system's.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let shown = path.display();
            let certificates = CertificateDer::pem_file_iter(path)
                .map_err(|error| format!("cannot read `ca_file` `{shown}`: {error}"))?;
            for certificate in certificates {
                let certificate = certificate
                    .map_err(|error| format!("`ca_file` `{shown}` is not PEM: {error}"))?;
                roots.add(certificate).map_err(|error| {
                    format!("`ca_file` `{shown}` holds a certificate that cannot be used: {error}")
                })?;
            }
            if roots.is_empty() {
                return Err(format!("`ca_file` `{shown}` holds no certificate in PEM form"));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err("the system has no trusted certificates: set `ca_file`".to_owned());
            }
        }
    }
    // Named outright: with more than one provider compiled in, the default is undecided and
    // rustls panics.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
