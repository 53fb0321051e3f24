//! TLS: whom to trust, and for which name.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ResolvesClientCert, VerifierBuilderError, WantsClientCert, WebPkiServerVerifier,
};
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, InconsistentKeys, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::config::ClientCert;

/// Whom a source trusts, and what it shows of itself.
#[derive(Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    shown: Option<Shown>,
    /// For servers that are called by a name or an IPv4 address.
    by_name: Arc<ClientConfig>,
}

/// Whom to trust cannot be told, or what to show.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// No version of TLS that the cryptography at hand can do.
    #[error("cannot set up TLS: {0}")]
    Versions(rustls::Error),
    /// Nothing can be verified with these roots.
    #[error("cannot set up TLS: {0}")]
    Verifier(VerifierBuilderError),
    /// The system has none.
    #[error("the system has no trusted certificates: set `ca_file`")]
    NoneInSystem,
    /// The file cannot be read.
    #[error("cannot read `ca_file` `{}`: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: pem::Error,
    },
    /// The file is in another form.
    #[error("`ca_file` `{}` is not PEM: {error}", file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// One of its certificates is no anchor of trust.
    #[error("`ca_file` `{}` holds a certificate that cannot be used: {error}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// The file has none.
    #[error("`ca_file` `{}` holds no certificate in PEM form", .0.display())]
    Empty(PathBuf),
    /// What is to be shown of oneself.
    #[error(transparent)]
    ClientCert(#[from] ClientCertError),
}

impl Trust {
    /// Trusts the certificates in `ca_file`, else the system's, and shows `client_cert` to a server
    /// that asks for one.
    ///
    /// # Errors
    /// They cannot be read, or there are none; certificate and key do not belong together.
    pub fn new(
        ca_file: Option<&Path>,
        client_cert: Option<&ClientCert>,
    ) -> Result<Self, TrustError> {
        let roots = Arc::new(roots(ca_file)?);
        let shown = client_cert.map(shown).transpose()?;
        let by_name = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Versions)?
            .with_root_certificates(roots.clone());
        let by_name = showing(by_name, shown.as_ref());
        Ok(Trust { roots, shown, by_name: Arc::new(by_name) })
    }

    /// For a server that is called by what the crate can make a name of.
    #[must_use]
    pub fn by_name(&self) -> Arc<ClientConfig> {
        self.by_name.clone()
    }

    /// For the server at `address`, whatever name the crate hands on: it cannot make one of an IPv6
    /// literal in brackets.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn by_address(&self, address: Ipv6Addr) -> Result<Arc<ClientConfig>, TrustError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider())
            .build()
            .map_err(TrustError::Verifier)?;
        let name = ServerName::IpAddress(IpAddr::V6(address).into());
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ForAddress { verifier, name }));
        let mut config = showing(config, self.shown.as_ref());
        // An address is never sent as a server name (RFC 6066, section 3).
        config.enable_sni = false;
        Ok(Arc::new(config))
    }
}

/// Why a client certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ClientCertError {
    /// The certificate cannot be read.
    #[error("cannot read `cert_file` `{}`: {why}", .file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        why: pem::Error,
    },
    /// The file has none.
    #[error("`cert_file` `{}` holds no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// The key cannot be read.
    #[error("cannot read a private key from `key_file` `{}`: {why}", .file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        why: pem::Error,
    },
    /// Certificate and key do not belong together.
    #[error(
        "`cert_file` `{}` and `key_file` `{}` cannot be used: {why}",
        .files.cert_file.display(), .files.key_file.display()
    )]
    Pair {
        /// The two.
        files: ClientCert,
        /// What is wrong with them.
        #[source]
        why: rustls::Error,
    },
}

/// What a client shows of itself.
type Shown = Arc<dyn ResolvesClientCert>;

/// Reads what is to be shown.
fn shown(files: &ClientCert) -> Result<Shown, ClientCertError> {
    let (cert_file, key_file) = (&files.cert_file, &files.key_file);
    let chain = CertificateDer::pem_file_iter(cert_file).and_then(Iterator::collect);
    let chain: Vec<_> =
        chain.map_err(|why| ClientCertError::Certificate { file: cert_file.clone(), why })?;
    if chain.is_empty() {
        return Err(ClientCertError::NoCertificate(cert_file.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|why| ClientCertError::Key { file: key_file.clone(), why })?;
    let pair = |why| ClientCertError::Pair { files: files.clone(), why };
    let key = provider().key_provider.load_private_key(key).map_err(pair)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Whether they belong together cannot be told (a certificate of version 1, such as `openssl
        // x509 -req` makes without extensions): the server judges it.
        Ok(())
        | Err(
            rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)
            | rustls::Error::InvalidCertificate(_),
        ) => Ok(Arc::new(SingleCertAndKey::from(certified))),
        Err(why) => Err(pair(why)),
    }
}

/// `config` with what is shown to a server that asks for a certificate.
fn showing(
    config: ConfigBuilder<ClientConfig, WantsClientCert>,
    shown: Option<&Shown>,
) -> ClientConfig {
    match shown {
        Some(shown) => config.with_client_cert_resolver(shown.clone()),
        None => config.with_no_client_auth(),
    }
}

/// Named outright: with more than one provider compiled in, the default is undecided and rustls
/// panics.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(TrustError::NoneInSystem);
        }
        return Ok(roots);
    };
    let file = || path.to_owned();
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| TrustError::Unreadable { file: file(), error })?;
    for certificate in certificates {
        let certificate =
            certificate.map_err(|error| TrustError::NotPem { file: file(), error })?;
        let added = roots.add(certificate);
        added.map_err(|error| TrustError::Unusable { file: file(), error })?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty(file()));
    }
    Ok(roots)
}

/// Verifies as always, but for this address rather than the name that is handed on.
#[derive(Debug)]
struct ForAddress {
    verifier: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for ForAddress {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier.verify_server_cert(end_entity, intermediates, &self.name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
