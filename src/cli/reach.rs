//! What people reach in the clouds: who reaches an identity, and what a plan widens.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;

use super::args::Output;
use super::print::{self, Style, count, shown};
use super::{Failure, exit};
use crate::model::WorkloadIdentity;
use crate::plan::{Plan, Reached, TablesRef, Widened};
use crate::store::{ReachedBy, Store};
use crate::sync;

/// So many people are told by name.
const NAMED: usize = 20;

/// `idpsyncd explain --workload IDENTITY`
pub(super) fn explain(store: &dyn Store, identity: &str, output: Output) -> Result<u8, Failure> {
    let reader = sync::existing_reader(store)?;
    let (known, all) =
        reader.snapshot(|reader| Ok((reader.workload()?, reader.reached_by(identity)?)))?;
    let (by, may): (Vec<ReachedBy>, Vec<ReachedBy>) =
        all.into_iter().partition(|reached| reached.row.identity.is_some());
    let mut unknown: Vec<&WorkloadIdentity> =
        known.iter().filter(|row| row.identity.is_none()).collect();
    unknown.dedup();
    if output == Output::Json {
        let by: Vec<_> = by.iter().map(|reached| as_json(&reached.row, reached)).collect();
        let unknown: Vec<_> = unknown
            .iter()
            .map(|row| {
                let who = may.iter().filter(|reached| reached.row == **row);
                let who: BTreeSet<&str> = who.map(|reached| reached.user.as_str()).collect();
                json!({
                    "pool": row.pool, "platform": row.platform, "namespace": row.namespace,
                    "service_account": row.service_account, "cloud": row.cloud, "why": row.why,
                    "users": who,
                })
            })
            .collect();
        let is_known = known.iter().any(|row| row.identity.as_deref() == Some(identity));
        print::json(&json!({
            "identity": identity, "known": is_known, "reached_by": by, "unknown": unknown,
        }))?;
        return Ok(exit::DONE);
    }
    print::lines(&text(identity, &known, &by, &unknown, &may, Style::detect()))?;
    Ok(exit::DONE)
}

fn as_json(row: &WorkloadIdentity, reached: &ReachedBy) -> serde_json::Value {
    json!({
        "user": reached.user, "pool": row.pool, "platform": row.platform,
        "namespace": row.namespace, "service_account": row.service_account, "cloud": row.cloud,
        "via_action": reached.via_action, "role": reached.role,
    })
}

fn text(
    identity: &str,
    known: &[WorkloadIdentity],
    by: &[ReachedBy],
    unknown: &[&WorkloadIdentity],
    may: &[ReachedBy],
    style: Style,
) -> Vec<String> {
    let mut out = vec![style.bold(&shown(identity))];
    let bearers: Vec<&WorkloadIdentity> =
        known.iter().filter(|row| row.identity.as_deref() == Some(identity)).collect();
    if bearers.is_empty() {
        out.push("  no pool's service account bears it, as far as is known".to_owned());
        let others: BTreeSet<&str> =
            known.iter().filter_map(|row| row.identity.as_deref()).collect();
        if !others.is_empty() {
            let others: Vec<String> = others.iter().map(|it| format!("`{it}`")).collect();
            out.push(format!("  known: {}", shown(&others.join(", "))));
        }
    }
    for row in bearers {
        let cloud = row.cloud.map_or("", |cloud| cloud.as_str());
        out.push(format!("  through {} ({cloud})", place(row)));
        out.extend(people(by, row));
    }
    if !unknown.is_empty() {
        out.push(String::new());
        out.push(style.bold("Unknown, so it may be this one"));
        for row in unknown {
            out.push(format!("  {}: {}", place(row), style.yellow(&shown(&row.why))));
            out.extend(people(may, row));
        }
    }
    out
}

/// `pool vision, platform a100, service account osmo/vision-runner`
fn place(row: &WorkloadIdentity) -> String {
    let account = match (&row.namespace, &row.service_account) {
        (Some(namespace), Some(account)) => format!(", service account {namespace}/{account}"),
        (None, Some(account)) => format!(", service account {account}"),
        (Some(namespace), None) => format!(", namespace {namespace}"),
        (None, None) => String::new(),
    };
    shown(&format!("pool {}, platform {}{account}", row.pool, row.platform))
}

/// Who reaches `row`: a line a role.
fn people(all: &[ReachedBy], row: &WorkloadIdentity) -> Vec<String> {
    let mut by_role: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for reached in all.iter().filter(|reached| reached.row == *row) {
        let key = (reached.role.as_str(), reached.via_action.as_str());
        by_role.entry(key).or_default().insert(&reached.user);
    }
    if by_role.is_empty() {
        return vec!["    nobody".to_owned()];
    }
    let mut by_people: BTreeMap<(&str, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for ((role, via), users) in by_role {
        by_people.entry((role, users.into_iter().collect())).or_default().push(via);
    }
    let line = |((role, users), via): ((&str, Vec<&str>), Vec<&str>)| {
        let line = format!("    by role {role} ({}): {}", via.join(", "), users.join(", "));
        shown(&line)
    };
    by_people.into_iter().map(line).collect()
}

/// What a plan widens, as rows of `gateway_workload_identity` that were not there before; put into
/// words one by one as they are written.
pub(super) struct Rows<'a>(pub Option<&'a Plan>);

#[derive(Serialize)]
struct Row<'a> {
    user: &'a str,
    identity: Option<&'a str>,
    cloud: Option<crate::model::Cloud>,
    pool: &'a str,
    platform: &'a str,
    namespace: Option<&'a str>,
    service_account: Option<&'a str>,
    via_action: String,
}

impl Serialize for Rows<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Rows(plan) = self;
        let groups = plan.iter().flat_map(|plan| plan.widened.iter().map(move |it| (it, *plan)));
        let each = groups.flat_map(|(group, plan)| {
            let names = names(group, plan).into_iter();
            names.flat_map(move |user| group.reached.iter().map(move |it| (user, it)))
        });
        serializer.collect_seq(each.map(|(user, reached @ Reached { row, via: _ })| Row {
            user,
            identity: row.identity.as_deref(),
            cloud: row.cloud,
            pool: &row.pool,
            platform: &row.platform,
            namespace: row.namespace.as_deref(),
            service_account: row.service_account.as_deref(),
            via_action: reached.via_action(),
        }))
    }
}

fn names<'a>(group: &Widened, plan: &'a Plan) -> Vec<&'a str> {
    let known = TablesRef::from(plan);
    let mut names: Vec<&str> = group.users.iter().filter_map(|id| known.username(*id)).collect();
    names.sort_unstable();
    names
}

/// What a plan widens, for a person; nothing where it widens nothing.
pub(super) fn lines(plan: &Plan, all: bool, style: Style) -> Vec<String> {
    // One line for an identity through one pool: who and by what.
    #[derive(Default)]
    struct Line<'a> {
        by: BTreeSet<String>,
        who: BTreeSet<&'a str>,
        unknown: BTreeSet<&'a str>,
    }
    let mut by_identity: BTreeMap<(Option<&str>, &str), Line<'_>> = BTreeMap::new();
    for group in &plan.widened {
        let names = names(group, plan);
        for reached in &group.reached {
            let row = &reached.row;
            let key = (row.identity.as_deref(), row.pool.as_str());
            let line = by_identity.entry(key).or_default();
            line.by.insert(format!("platform {}, {}", row.platform, reached.via_action()));
            line.who.extend(&names);
            line.unknown.insert(&row.why);
        }
    }
    if by_identity.is_empty() {
        return Vec::new();
    }
    let mut out = vec![style.bold("Reaches more in the clouds")];
    for ((identity, pool), Line { by, who, unknown }) in by_identity {
        let identity = match identity {
            Some(identity) => identity.to_owned(),
            None => {
                let why: Vec<&str> = unknown.into_iter().collect();
                format!("an unknown identity ({})", why.join("; "))
            }
        };
        let by: Vec<String> = by.into_iter().collect();
        let head = format!(
            "{identity}: {} through pool {pool} ({})",
            count(who.len() as u64, "person", "people"),
            by.join("; ")
        );
        out.push(format!("    {}  {}", style.yellow("+"), shown(&head)));
        let most = if all { usize::MAX } else { NAMED };
        let named: Vec<&str> = who.iter().take(most).copied().collect();
        let more = who.len() - named.len();
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        out.push(format!("         {}", shown(&format!("{}{more}", named.join(", ")))));
    }
    out
}
