//! HTTP over TLS, as whoever asks an identity provider needs it: which certificates are trusted, and
//! why no answer came, in words that hold no URL.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use super::SourceError;

/// What sends requests over TLS and never follows a redirect. A connection must stand within
/// `timeout`, or 10 s; `ca_file` is trusted besides the system's certificates.
///
/// # Errors
/// The file cannot be read or holds no certificate, or TLS cannot be set up.
pub(crate) fn http_client(
    timeout: Duration,
    ca_file: Option<&Path>,
) -> Result<reqwest::Client, SourceError> {
    let certificates = match ca_file {
        None => Vec::new(),
        Some(file) => read_certificates(file)?,
    };
    let builder = || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("idpsyncd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(timeout.min(Duration::from_secs(10)))
    };
    let client = builder().tls_certs_merge(certificates.clone()).build().or_else(|error| {
        // A machine without any certificates of its own (a small container): what `ca_file`
        // holds is then all there is to trust.
        if certificates.is_empty() {
            Err(error)
        } else {
            builder().tls_certs_only(certificates).build()
        }
    });
    client.map_err(|error| {
        SourceError::fatal(format!(
            "TLS cannot be set up: {}; install the system's CA certificates or set `ca_file`",
            deepest(&error)
        ))
    })
}

/// Why no whole answer came, in words, without the URL: TLS where that is the trouble, otherwise
/// the error at the bottom.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    tls_trouble(error).unwrap_or_else(|| deepest(error))
}

fn read_certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, SourceError> {
    let shown = file.display();
    let pem = std::fs::read(file).map_err(|error| {
        SourceError::fatal(format!("`ca_file` `{shown}` cannot be read: {error}"))
    })?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| {
        SourceError::fatal(format!("`ca_file` `{shown}` is not PEM: {}", deepest(&error)))
    })?;
    if certificates.is_empty() {
        return Err(SourceError::fatal(format!(
            "`ca_file` `{shown}` holds no certificate: a PEM file with `BEGIN CERTIFICATE` is needed"
        )));
    }
    Ok(certificates)
}

/// Each error below `error`, itself first. `io::Error` hides the one that it wraps.
fn chain(error: &reqwest::Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = next {
        texts.push(error.to_string());
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    texts
}

/// The text of the error at the bottom: `Connection refused (os error 111)`. reqwest's own text is
/// not used where there is another, since it holds the URL.
pub(super) fn deepest(error: &reqwest::Error) -> String {
    chain(error).pop().unwrap_or_else(|| {
        if error.is_timeout() { "timed out" } else { "the connection failed" }.to_owned()
    })
}

/// What to say where TLS is the trouble.
pub(super) fn tls_trouble(error: &reqwest::Error) -> Option<String> {
    let texts = chain(error);
    let has = |part: &str| texts.iter().any(|text| text.contains(part));
    let cause = texts.last().cloned().unwrap_or_default();
    if has("CaUsedAsEndEntity") {
        return Some(format!(
            "it shows a CA's own certificate ({cause}); give it one signed by that CA, or a self-signed one made with `CA:FALSE`"
        ));
    }
    if has("UnknownIssuer") {
        return Some(format!(
            "its certificate is not signed by a CA that is trusted here ({cause}); set `ca_file` to that CA's certificate"
        ));
    }
    if has("NotValidForName") || has("not valid for name") {
        return Some(format!(
            "its certificate is for another name ({cause}); use a name that is in it in `url`"
        ));
    }
    if has("invalid peer certificate") {
        return Some(format!("its certificate is not valid: {cause}"));
    }
    if has("InvalidContentType") || has("corrupt message") {
        return Some(format!("it does not speak TLS on this port ({cause}); is it `http://`?"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none.pem");
        let error = http_client(Duration::from_secs(1), Some(&missing)).err().unwrap();
        assert!(error.message.contains("none.pem` cannot be read"), "{error}");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing here\n").unwrap();
        let error = http_client(Duration::from_secs(1), Some(&empty)).err().unwrap();
        assert!(error.message.contains("empty.pem` holds no certificate"), "{error}");
    }
}
