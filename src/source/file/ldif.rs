//! LDIF files. A placeholder until the reader is merged: it reads nothing and says so.

use crate::config::LdifConfig;
use crate::source::{Interest, Reading, SourceError};

/// Reads an LDIF file.
///
/// # Errors
/// Always, for now.
pub fn read_ldif(config: &LdifConfig, interest: &dyn Interest) -> Result<Reading, SourceError> {
    let _ = (config, interest);
    Err(SourceError::fatal("not merged yet"))
}
