//! TLS: whom to trust, and for which name.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Whom a source trusts.
#[derive(Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    /// For servers that are called by a name or an IPv4 address.
    by_name: Arc<ClientConfig>,
}

impl Trust {
    /// Trusts the certificates in `ca_file`, else the system's.
    ///
    /// # Errors
    /// They cannot be read, or there are none.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let roots = Arc::new(roots(ca_file)?);
        let by_name = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        Ok(Trust { roots, by_name: Arc::new(by_name) })
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
    pub fn by_address(&self, address: Ipv6Addr) -> Result<Arc<ClientConfig>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot set up TLS: {error}");
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider())
            .build()
            .map_err(|error| failed(&error))?;
        let name = ServerName::IpAddress(IpAddr::V6(address).into());
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ForAddress { verifier, name }))
            .with_no_client_auth();
        // An address is never sent as a server name (RFC 6066, section 3).
        config.enable_sni = false;
        Ok(Arc::new(config))
    }
}

/// Named outright: with more than one provider compiled in, the default is undecided and rustls
/// panics.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err("the system has no trusted certificates: set `ca_file`".to_owned());
        }
        return Ok(roots);
    };
    let shown = path.display();
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| format!("cannot read `ca_file` `{shown}`: {error}"))?;
    for certificate in certificates {
        let certificate =
            certificate.map_err(|error| format!("`ca_file` `{shown}` is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| {
            format!("`ca_file` `{shown}` holds a certificate that cannot be used: {error}")
        })?;
    }
    if roots.is_empty() {
        return Err(format!("`ca_file` `{shown}` holds no certificate in PEM form"));
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
