//! TLS for the TCP listeners, with client certificates where the configuration wants them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use webpki::EndEntityCert;

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

/// What the certificate calls a client that showed one. Goes with each of its requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerNames(Arc<[String]>);

impl PeerNames {
    /// Those of `certificate`, which was verified: the DNS names and URIs among its alternative names;
    /// where it has none of them, its common name.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> PeerNames {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else {
            return PeerNames(Arc::new([]));
        };
        let alternative = certificate.valid_dns_names().chain(certificate.valid_uri_names());
        let mut names: Vec<String> = alternative.map(str::to_owned).collect();
        if names.is_empty() {
            names.extend(common_name(certificate.subject()));
        }
        PeerNames(names.into())
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

/// The last common name (2.5.4.3) of a subject in DER, without its outer tag (RFC 5280, section 4.1.2.4).
fn common_name(mut subject: &[u8]) -> Option<String> {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    const UTF8_STRING: u8 = 12;
    const PRINTABLE_STRING: u8 = 19;
    const IA5_STRING: u8 = 22;
    let mut found = None;
    while !subject.is_empty() {
        // SET OF { SEQUENCE { OBJECT IDENTIFIER, text } }
        let (_, mut set, rest) = element(subject)?;
        subject = rest;
        while !set.is_empty() {
            let (_, pair, others) = element(set)?;
            set = others;
            let (_, kind, text) = element(pair)?;
            let (tag, text, _) = element(text)?;
            if kind == COMMON_NAME && matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING) {
                found = std::str::from_utf8(text).ok().map(str::to_owned);
            }
        }
    }
    found
}

/// An element of DER: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
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
