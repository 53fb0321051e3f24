//! What of proofs of possession is not wrong, and worth telling.

use crate::config::types::Config;
use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// Issuers whose tokens count with a proof alone, where a client that asks says which site that is for.
pub(super) fn warnings(config: &Config, warnings: &mut Vec<Diagnostic>) {
    let Some(gateway) = &config.gateway else { return };
    // Where each route names its hosts, requests for another are denied.
    let for_any = gateway.route_specs().iter().any(|(_, route)| route.hosts.is_empty());
    if !for_any || !gateway.dpop.hosts.is_empty() {
        return;
    }
    for jwt in gateway.jwt.iter().filter(|jwt| jwt.dpop_required) {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::ProofsForAnyHost,
            Subject::Issuer(jwt.issuer.clone()),
            format!(
                "gateway.jwt: tokens of issuer `{}` count with a proof of possession, and that may be for \
                 any host that a client asks: name the platform's in `[gateway.dpop] hosts`, or \
                 whoever was given a proof for their own site could pass it on",
                jwt.issuer
            ),
        ));
    }
}
