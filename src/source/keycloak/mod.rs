//! The keycloak source.
