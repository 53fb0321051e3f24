//! Everyone with one value of one attribute: the values that rules name.
//!
//! Keycloak compares ignoring case (`q=team:Ops` finds `ops`, seen on 26.7.3) and takes a query
//! that it cannot parse for none at all, which finds *everyone*. So the answer is a list of
//! candidates, and their attributes are read in batches and compared exactly.

use super::api::{RawFull, each, json};
use super::asker::{self, Asker};
use super::consistency::Health;
use super::fault::CallError;
use super::federation::Federation;
use super::read::Attempt;
use crate::directory::{Completeness, DirUserIdx, Kind, NewRef, SnapshotBuilder};
use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// People in one call of the full form: more cost more than in proportion, and their ids must fit
/// into a URL (about 850 do).
const BATCH: usize = 200;

/// Who has one value.
pub(super) struct Holders {
    name: String,
    value: String,
    users: Vec<DirUserIdx>,
    completeness: Completeness,
    /// Some had the value as far as the search tells, and do not show the attribute.
    hidden: usize,
}

/// Asks for each value.
pub(super) async fn read(
    asker: Asker<'_>,
    builder: &SnapshotBuilder,
    wanted: &[(String, String)],
) -> Result<Vec<Holders>, CallError> {
    let mut all = Vec::new();
    for (name, value) in wanted {
        let mut holders = Holders {
            name: name.clone(),
            value: value.clone(),
            users: Vec::new(),
            completeness: Completeness::Complete,
            hidden: 0,
        };
        if let Attempt::Unknown(reason) = one(asker, builder, &mut holders).await? {
            holders.completeness =
                Completeness::Partial(format!("attribute `{name}={value}`: {reason}"));
        }
        all.push(holders);
    }
    Ok(all)
}

async fn one(
    asker: Asker<'_>,
    builder: &SnapshotBuilder,
    holders: &mut Holders,
) -> Result<Attempt<()>, CallError> {
    let Asker { client, budget, .. } = asker;
    let Some(q) = query(&holders.name, &holders.value) else {
        let reason = "Keycloak's search cannot express a name with quotes or backslashes, or a value that ends in a backslash";
        return Ok(Attempt::Unknown(reason.to_owned()));
    };
    let mut ids = match asker::ids(asker, &["users"], Some(("q", &q))).await? {
        Attempt::Got(ids) => ids,
        Attempt::Unknown(reason) => return Ok(Attempt::Unknown(reason)),
    };
    let count = |body: &[u8]| json::<usize>(body);
    let count = match budget.get(client, &["users", "count"], &[("q", &q)], count).await? {
        Attempt::Got(count) => count,
        Attempt::Unknown(reason) => return Ok(Attempt::Unknown(reason)),
    };
    let listed = ids.len();
    // The search finds service accounts too.
    ids.retain(|id| builder.find_user(id).is_some());
    for batch in ids.chunks(BATCH) {
        let search = format!("id:{}", batch.join(" "));
        let query = [("search", search.as_str()), ("briefRepresentation", "false"), ("max", "-1")];
        let parse = |body: &[u8]| {
            let (mut users, mut hidden, mut rows) = (Vec::new(), 0, 0);
            each(body, |row: RawFull<'_>| {
                rows += 1;
                let values = row.attributes.as_ref().and_then(|all| all.get(&holders.name));
                hidden += usize::from(values.is_none());
                if values.is_none_or(|values| values.contains(&holders.value)) {
                    users.extend(builder.find_user(&row.id));
                }
            })?;
            Ok((users, hidden, rows))
        };
        let (users, hidden, rows) = match budget.get(client, &["users"], &query, parse).await? {
            Attempt::Got(answer) => answer,
            Attempt::Unknown(reason) => return Ok(Attempt::Unknown(reason)),
        };
        holders.users.extend(users);
        holders.hidden += hidden;
        if rows != batch.len() {
            let asked = batch.len();
            return Ok(Attempt::Unknown(format!("{rows} of {asked} people came when asked for")));
        }
    }
    if listed != count {
        return Ok(Attempt::Unknown(format!("{listed} were listed, {count} counted")));
    }
    Ok(Attempt::Got(()))
}

/// The search for an exact value: both sides quoted, since they may hold spaces and colons. A
/// quote is escaped by a backslash; a backslash stands for itself, but not before a quote.
pub(super) fn query(name: &str, value: &str) -> Option<String> {
    let plain_name = !name.is_empty() && !name.contains(['"', '\\', ':']);
    if !plain_name || value.is_empty() || value.ends_with('\\') || value.contains("\\\"") {
        return None;
    }
    Some(format!("\"{name}\":\"{}\"", value.replace('"', "\\\"")))
}

/// Puts the values into the snapshot.
pub(super) fn fill(builder: &mut SnapshotBuilder, all: Vec<Holders>, federations: &[Federation]) {
    for holders in all {
        let identity = format!("{}={}", holders.name, holders.value);
        let Some(reference) = builder.reference(&NewRef {
            kind: Kind::Attribute,
            key: &identity,
            name: &holders.value,
            identity: &identity,
            norm: &identity,
        }) else {
            continue;
        };
        holders.users.iter().for_each(|user| builder.member(reference, *user));
        let mut completeness = holders.completeness;
        // A directory that is down takes the attributes that it supplies along.
        for federation in federations {
            if let Health::Down(reason) = &federation.health {
                completeness = Completeness::Partial(reason.clone());
            }
        }
        if holders.hidden > 0 {
            builder.tell(Diagnostic::warning(DiagnosticCode::AttributeHidden, Subject::Attribute(holders.name.clone()), format!(
                "the realm's user profile hides attribute `{}` of {} people, so `{}` was compared ignoring case: declare it there, or allow unmanaged attributes",
                holders.name, holders.hidden, holders.value
            )));
        }
        builder.members_are(reference, completeness);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_quoted_on_both_sides_and_one_that_cannot_be_is_not_made() {
        for (name, value, q) in [
            ("team", "ops", Some(r#""team":"ops""#)),
            ("my team", "a b:c", Some(r#""my team":"a b:c""#)),
            ("team", r#"say "hi""#, Some(r#""team":"say \"hi\"""#)),
            ("team", r"back\slash", Some(r#""team":"back\slash""#)),
            ("team", r"ends\", None),
            ("team", r#"a\"b"#, None),
            ("te\"am", "x", None),
            ("te:am", "x", None),
            ("", "x", None),
            ("team", "", None),
        ] {
            assert_eq!(query(name, value).as_deref(), q, "{name} {value}");
        }
    }
}
