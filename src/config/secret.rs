//! Following a [`SecretRef`].

use std::path::Path;

use secrecy::SecretString;

use super::SecretRef;

/// Why a secret could not be read. Never holds the secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl SecretRef {
    /// The secret.
    ///
    /// # Errors
    /// The file cannot be read or is not text, or the variable is not set.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            SecretRef::File(path) => read_file(path),
            SecretRef::Env(name) => std::env::var(name)
                .map(SecretString::from)
                .map_err(|error| SecretError(format!("environment variable `{name}`: {error}"))),
            SecretRef::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    SecretError(format!("credential `{name}`: `$CREDENTIALS_DIRECTORY` is not set"))
                })?;
                read_file(&Path::new(&folder).join(name))
            }
        }
    }
}

fn read_file(path: &Path) -> Result<SecretString, SecretError> {
    let mut text = std::fs::read_to_string(path)
        .map_err(|error| SecretError(format!("`{}`: {error}", path.display())))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(SecretString::from(text))
}
