//! The ldap source.
