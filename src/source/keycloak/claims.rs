//! What a realm's tokens say: where its roles are in them, and who is no person.

use crate::config::ClaimedNames;

/// What the names in the claim `claim` are, where a realm wrote it (`realm_access.roles`,
/// `resource_access.CLIENT.roles`); a mapper may put anything under any other name.
pub(in crate::source) fn claimed(claim: &str) -> ClaimedNames<'_> {
    let client =
        || claim.strip_prefix("resource_access.").and_then(|rest| rest.strip_suffix(".roles"));
    if claim == "realm_access.roles" {
        return ClaimedNames::RealmRoles;
    }
    client().map_or(ClaimedNames::Anything, ClaimedNames::ClientRoles)
}

/// Whether `username` is that of a client's service account: the server keeps the prefix for them.
pub(super) fn is_service_account(username: &str) -> bool {
    username.starts_with("service-account-")
}
