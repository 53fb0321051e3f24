//! The configuration, parsed into types that cannot be wrong.
//!
//! [`load`] reads a TOML file and returns either a [`Config`] or *every* fault in it, each with
//! line, column and the key's path. Nothing here opens a connection; secrets are references that
//! [`SecretRef::read`] follows when a source is made.

mod secret;
mod types;

pub use secret::SecretError;
pub use types::*;
