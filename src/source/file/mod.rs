//! The file source.

pub mod ldif;
