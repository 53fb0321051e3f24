//! Following a secret's reference to the secret.

use secrecy::SecretString;

use super::SecretRef;

/// Why a secret could not be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl SecretRef {
    /// The secret; one trailing line end is dropped.
    ///
    /// # Errors
    /// There is nothing to read at the place; the message names it.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let file = |path: &std::path::Path| {
            std::fs::read_to_string(path)
                .map(|text| {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    SecretString::from(text.strip_suffix('\r').unwrap_or(text).to_owned())
                })
                .map_err(|error| SecretError(format!("`{}`: {error}", path.display())))
        };
        match self {
            SecretRef::File(path) => file(path),
            SecretRef::Env(name) => std::env::var(name)
                .map(SecretString::from)
                .map_err(|_| SecretError(format!("`${name}` is not set"))),
            SecretRef::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(folder) => file(&std::path::Path::new(&folder).join(name)),
                None => Err(SecretError("`$CREDENTIALS_DIRECTORY` is not set".to_owned())),
            },
        }
    }
}
