//! The realm's organizations, and whom a disabled one keeps from signing in.
//!
//! They are seen with one of the rights [`SEE`]. With less the server says `200 []`, counts none, or answers 403:
//! nothing is concluded then.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::api::json;
use super::fault::{CallError, Fault};
use super::members::{self, Asker};
use super::pages::TRIES;
use super::read::Attempt;

/// The rights that show organizations: each is enough.
pub(super) const SEE: [&str; 3] = ["view-organizations", "manage-organizations", "manage-realm"];

/// Whether an account with these rights sees them.
pub(super) fn seen_with<S: AsRef<str>>(rights: impl IntoIterator<Item = S>) -> bool {
    rights.into_iter().any(|right| SEE.contains(&right.as_ref()))
}

/// An organization.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct Organization {
    pub id: String,
    /// What it is called for good: its name may change, this cannot.
    pub alias: String,
    /// Of a disabled one nobody is a member, as far as tokens go.
    pub enabled: bool,
}

/// Whether the realm says that it has none, since they are switched off.
pub(super) fn are_off(fault: &Fault) -> bool {
    let off = |body: &str| body.contains("Organizations not enabled for this realm");
    matches!(fault, Fault::Status { status: 404, body, .. } if off(body))
}

/// Asks for all, counted before and after. Those who ask must be allowed to see them.
///
/// # Errors
/// One that ends the read.
pub(super) async fn list(asker: Asker<'_>) -> Result<Attempt<Vec<Organization>>, CallError> {
    let Asker { client, budget, .. } = asker;
    let count = |body: &[u8]| json::<usize>(body);
    let rows = |body: &[u8]| json::<Vec<Organization>>(body);
    let mut tries = 0;
    loop {
        tries += 1;
        let before = match client.get(&["organizations", "count"], &[], count).await {
            Err(error) if are_off(&error.fault) => return Ok(Attempt::Got(Vec::new())),
            before => match budget.judge(before)? {
                Attempt::Got(before) => before,
                Attempt::Unknown(reason) => return Ok(Attempt::Unknown(reason)),
            },
        };
        let query = [("briefRepresentation", "true"), ("max", "-1")];
        let list = match budget.get(client, &["organizations"], &query, rows).await? {
            Attempt::Got(list) => list,
            Attempt::Unknown(reason) => return Ok(Attempt::Unknown(reason)),
        };
        let after = match budget.get(client, &["organizations", "count"], &[], count).await? {
            Attempt::Got(after) => after,
            Attempt::Unknown(reason) => return Ok(Attempt::Unknown(reason)),
        };
        let distinct: BTreeSet<&str> = list.iter().map(|row| row.id.as_str()).collect();
        if distinct.len() == list.len() && list.len() == before && before == after {
            return Ok(Attempt::Got(list));
        }
        if tries == TRIES {
            return Ok(Attempt::Unknown(format!(
                "{before} organizations were counted, {} listed, then {after} counted",
                distinct.len()
            )));
        }
    }
}

/// The ids of the people whom a disabled organization manages: they cannot sign in, and are shown disabled in every
/// list, but not in that of the disabled. Nobody where that cannot be told.
///
/// # Errors
/// One that ends the read.
pub(super) async fn locked_out(asker: Asker<'_>) -> Result<BTreeSet<String>, CallError> {
    let mut people = BTreeSet::new();
    let Attempt::Got(all) = list(asker).await? else { return Ok(people) };
    // Never in one answer: this list is dearer than any other.
    let asker = Asker { paging: asker.paging.in_pages(), ..asker };
    for organization in all.iter().filter(|it| !it.enabled) {
        let path = ["organizations", organization.id.as_str(), "members"];
        let managed = Some(("membershipType", "MANAGED"));
        if let Attempt::Got(ids) = members::ids(asker, &path, managed).await? {
            people.extend(ids);
        }
    }
    Ok(people)
}
