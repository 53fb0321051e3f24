//! TLS for the TCP listeners, with client certificates where the configuration wants them.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;

/// Reads the files of `config`.
///
/// # Errors
/// A file cannot be read, holds nothing of its kind, or certificate and key do not belong
/// together; the message names the file.
pub fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| {
                    format!("`{}` holds a certificate that is no CA's: {error}", file.display())
                })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .map_err(|error| format!("cannot use `{}`: {error}", file.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&config.key_file).map_err(|error| {
        format!("cannot read a private key from `{}`: {error}", config.key_file.display())
    })?;
    let mut server =
        builder.with_single_cert(certificates(&config.cert_file)?, key).map_err(|error| {
            format!(
                "the certificate `{}` and the key `{}` cannot be used: {error}",
                config.cert_file.display(),
                config.key_file.display()
            )
        })?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("`{}` holds no certificate in PEM", file.display()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("cannot read certificates from `{}`: {error}", file.display())),
    }
}
