//! What of `[gateway.authzen]` is not wrong, and worth telling.

use super::super::authzen::SubjectId;
use super::super::types::Config;
use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// What others could read or pretend.
pub(super) fn warnings(config: &Config, warnings: &mut Vec<Diagnostic>) {
    let Some(authzen) = config.gateway.as_ref().and_then(|gateway| gateway.authzen.as_ref()) else {
        return;
    };
    if let Some(base) = authzen.base_url.as_ref().filter(|base| base.text.starts_with("http:")) {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::AuthzenInClear,
            Subject::Setting("gateway.authzen.base_url".to_owned()),
            format!(
                "gateway.authzen.base_url `{}` is no `https://`: AuthZEN wants it, callers refuse such \
                 metadata, and whoever is on the way can change answers",
                base.text
            ),
        ));
    }
    for subject in authzen.subjects.iter().filter(|subject| subject.id == SubjectId::Email) {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::AddressesDecide,
            Subject::Setting("gateway.authzen.subject".to_owned()),
            format!(
                "gateway.authzen.subject `{}` is known by its email address, as its source has it, \
                 verified or not: whoever may write an address there is whom callers call so; \
                 `external_id` cannot be written",
                subject.name
            ),
        ));
    }
}
