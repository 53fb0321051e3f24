//! The keycloak source.

use crate::source::*;
/// temporary
pub struct KeycloakSource;
impl KeycloakSource {
    /// x
    pub fn new(_: &str, _: &crate::config::KeycloakConfig) -> Result<Self, SourceError> {
        Err(SourceError::fatal("not merged yet"))
    }
}
impl Source for KeycloakSource {
    fn name(&self) -> &str {
        ""
    }
    fn read<'a>(
        &'a self,
        _: &'a dyn Interest,
        _: OnProgress,
    ) -> futures_util::future::BoxFuture<'a, Result<Reading, SourceError>> {
        Box::pin(async { Err(SourceError::fatal("x")) })
    }
    fn check<'a>(
        &'a self,
        _: &'a dyn Interest,
    ) -> futures_util::future::BoxFuture<'a, Vec<Finding>> {
        Box::pin(async { vec![] })
    }
}
