//! The ldap source.
pub mod dn;
