//! TLS for the TCP listeners, with client certificates where the configuration wants them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;

/// Why TLS cannot be had as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No version or cipher is left.
    #[error("cannot set up TLS: {0}")]
    Setup(#[source] rustls::Error),
    /// A certificate that nobody's can be checked by.
    #[error("`{}` holds a certificate that is no CA's: {why}", .file.display())]
    NotACa {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        why: rustls::Error,
    },
    /// Clients' certificates cannot be checked.
    #[error("cannot use `{}`: {why}", .file.display())]
    ClientCa {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        why: VerifierBuilderError,
    },
    /// The key cannot be read.
    #[error("cannot read a private key from `{}`: {why}", .file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        why: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not belong together.
    #[error(
        "the certificate `{}` and the key `{}` cannot be used: {why}",
        .certificate.display(),
        .key.display()
    )]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        why: rustls::Error,
    },
    /// A file without a certificate.
    #[error("`{}` holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// The certificates cannot be read.
    #[error("cannot read certificates from `{}`: {why}", .file.display())]
    Certificates {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        why: rustls_pki_types::pem::Error,
    },
}

/// Reads the files of `config`.
///
/// # Errors
/// A file cannot be read, holds nothing of its kind, or certificate and key do not belong
/// together.
pub fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                let named = |why| TlsError::NotACa { file: file.clone(), why };
                roots.add(certificate).map_err(named)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .map_err(|why| TlsError::ClientCa { file: file.clone(), why })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&config.key_file)
        .map_err(|why| TlsError::Key { file: config.key_file.clone(), why })?;
    let pair = |why| TlsError::Pair {
        certificate: config.cert_file.clone(),
        key: config.key_file.clone(),
        why,
    };
    let mut server =
        builder.with_single_cert(certificates(&config.cert_file)?, key).map_err(pair)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(TlsError::NoCertificate(file.to_owned()))
        }
        Ok(certificates) => Ok(certificates),
        Err(why) => Err(TlsError::Certificates { file: file.to_owned(), why }),
    }
}
