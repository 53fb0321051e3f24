//! Roles that are mapped to groups of organizations: Keycloak gives them to nobody, whoever reads them.

use crate::directory::{Interest, Kind, client_role_key};
use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// Whether one of a group's roles is one that a rule can name: of the realm, or of a client that counts.
pub(in crate::source) fn names_a_role<'a>(
    mut of_realm: impl Iterator<Item = &'a String>,
    mut of_clients: impl Iterator<Item = (&'a String, &'a Vec<String>)>,
    interest: &dyn Interest,
    counted: &[String],
) -> bool {
    let client = |(client, roles): (&String, &Vec<String>)| {
        counted.contains(client)
            && roles.iter().any(|role| {
                let (key, identity) = (client_role_key(client, role), format!("{client}/{role}"));
                interest.reaches(Kind::ClientRole, &key, role, &identity, &key, &[role.as_str()])
            })
    };
    of_realm.any(|role| interest.reaches(Kind::RealmRole, role, role, role, role, &[role.as_str()]))
        || of_clients.any(client)
}

/// What to tell of the organization groups that have such roles, named as rules name them; nothing where none has.
pub(in crate::source) fn roles_unused(mut groups: Vec<String>) -> Option<Diagnostic> {
    groups.sort();
    let first = groups.first()?;
    let more = match groups.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let message = format!(
        "roles are mapped to the organization group `{first}`{more}: Keycloak gives them to nobody, so \
         they do not count; map the group itself with `organization_group`"
    );
    let subject = Subject::reference(Kind::OrganizationGroup, first);
    Some(Diagnostic::warning(DiagnosticCode::OrganizationRolesUnused, subject, message))
}
