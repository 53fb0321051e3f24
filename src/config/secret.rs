//! Following a reference to a secret. The only place that reads secret files and the environment.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::types::SecretRef;

/// No secret is longer; a reference to an endless device must not fill the memory.
const LONGEST: u64 = 64 * 1024;

/// Why a secret cannot be had. Names where it was looked for, never what was there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl SecretRef {
    /// The secret itself. One trailing line end of a file or credential is dropped.
    ///
    /// # Errors
    /// The file, variable or credential is not there, cannot be read, is empty, too long or not
    /// UTF-8. The message names the file, variable or credential.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        self.read_with(|name| std::env::var_os(name))
    }

    fn read_with(
        &self,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<SecretString, SecretError> {
        match self {
            SecretRef::File(path) => from_file(path, self),
            SecretRef::Env(name) => {
                let value = env(name).ok_or_else(|| {
                    SecretError(format!("cannot read the secret from {self}: it is not set"))
                })?;
                let value = value.into_string().map_err(|_| {
                    SecretError(format!("cannot use the secret from {self}: it is not UTF-8"))
                })?;
                not_empty(value, self)
            }
            SecretRef::Credential(name) => {
                let folder = env("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
                let folder = folder.ok_or_else(|| {
                    SecretError(format!(
                        "cannot read the secret from {self}: `$CREDENTIALS_DIRECTORY` is not set; \
                         systemd sets it for a service with `LoadCredential={name}:…`"
                    ))
                })?;
                from_file(&PathBuf::from(folder).join(name), self)
            }
        }
    }
}

fn from_file(path: &Path, secret: &SecretRef) -> Result<SecretString, SecretError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| SecretError(format!("cannot read the secret from {secret}: {error}")))?;
    if bytes.len() as u64 > LONGEST {
        return Err(SecretError(format!(
            "cannot use the secret from {secret}: it is longer than {LONGEST} bytes"
        )));
    }
    // `from_utf8`'s error holds the bytes: it is dropped here and never shown.
    let text = String::from_utf8(bytes).map_err(|_| {
        SecretError(format!("cannot use the secret from {secret}: it is not UTF-8"))
    })?;
    let line = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
    not_empty(line.map_or_else(|| text.clone(), str::to_owned), secret)
}

fn not_empty(text: String, secret: &SecretRef) -> Result<SecretString, SecretError> {
    if text.is_empty() {
        return Err(SecretError(format!("cannot use the secret from {secret}: it is empty")));
    }
    Ok(SecretString::from(text))
}

impl std::fmt::Display for SecretRef {
    /// Where the secret is, such as ``file `/etc/idpsyncd/password` ``.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "file `{}`", path.display()),
            SecretRef::Env(name) => write!(f, "environment variable `{name}`"),
            SecretRef::Credential(name) => write!(f, "credential `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn folder_with(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn one_trailing_line_end_is_dropped_and_nothing_else() {
        for (bytes, secret) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            (" a\n\n", " a\n"),
        ] {
            let (_folder, path) = folder_with("password", bytes.as_bytes());
            assert_eq!(SecretRef::File(path).read().unwrap().expose_secret(), secret);
        }
    }

    #[test]
    fn a_credential_is_a_file_in_systemds_folder() {
        let (folder, _) = folder_with("ldap", b"s3cret\n");
        let env = |name: &str| {
            (name == "CREDENTIALS_DIRECTORY").then(|| folder.path().as_os_str().to_owned())
        };
        let secret = SecretRef::Credential("ldap".to_owned());
        assert_eq!(secret.read_with(env).unwrap().expose_secret(), "s3cret");
        let error = secret.read_with(|_| None).unwrap_err().to_string();
        assert!(error.contains("`$CREDENTIALS_DIRECTORY` is not set"), "{error}");
        let error = SecretRef::Credential("other".to_owned()).read_with(env).unwrap_err();
        assert!(error.to_string().starts_with("cannot read the secret from credential `other`: "));
    }

    #[test]
    fn a_variable_must_be_set_and_not_empty() {
        let secret = SecretRef::Env("IDPSYNCD_TEST".to_owned());
        assert_eq!(secret.read_with(|_| Some("s3cret".into())).unwrap().expose_secret(), "s3cret");
        let error = secret.read_with(|_| None).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot read the secret from environment variable `IDPSYNCD_TEST`: it is not set"
        );
        let error = secret.read_with(|_| Some(OsString::new())).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot use the secret from environment variable `IDPSYNCD_TEST`: it is empty"
        );
    }

    #[test]
    fn no_error_holds_what_was_read() {
        let endless = SecretRef::File("/dev/zero".into()).read().unwrap_err().to_string();
        assert_eq!(
            endless,
            "cannot use the secret from file `/dev/zero`: it is longer than 65536 bytes"
        );
        for bytes in [&b"s3cret\xff"[..], b"\n", b""] {
            let (_folder, path) = folder_with("password", bytes);
            let error = SecretRef::File(path).read().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }
}
