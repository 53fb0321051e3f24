//! The ldap source.

pub mod account;
pub mod dn;
pub mod entry;
pub mod filter;
pub mod value;
