//! From a plan's changes to rows, inside the commit's transaction.
//!
//! Every statement that changes or removes a row must hit exactly one: anything else means that
//! the plan was made from another state, and rolls the whole commit back.

use std::collections::BTreeSet;
use std::num::NonZeroI64;

use crate::store::sql::db::{Conn, OptionalExtension, params};
use hashbrown::{HashMap, HashSet};

use super::batch::{Batch, filling, loading};
use super::codec::encode;
use super::distinct::distinct_names;
use super::error::{Fault, Mismatch};
use super::grants::write_grants;
use super::history::Log;
use super::past::{Past, redefined};
use super::sets::Sets;
use super::tokens::{self, write_tokens};
use super::totals::Totals;
use crate::model::{
    Change, Cloud, Inconsistent, IndexVec, Reason, ReasonIdx, Role, RoleIdx, RoleSetId, SetIdx,
    Status, User, UserId, WorkloadIdentity,
};
use crate::plan::{Plan, Tables};

/// Applies the plan's changes as `generation`. Returns whether there was anything to apply; where
/// not, nothing was written but ids of things that reasons lead through.
pub(super) fn apply(conn: Conn<'_>, plan: &Plan, generation: i64) -> Result<bool, Fault> {
    let tables = &plan.tables;
    if tables.users.len() != plan.user_sets.len() {
        return Err(Mismatch::UnevenSets.into());
    }
    for (before, now) in &plan.renewed {
        super::reasons::renew(conn, before, now)?;
    }
    if plan.changes.is_empty() && plan.moved().next().is_none() && plan.token_sets.is_empty() {
        return Ok(false);
    }
    let mut names = Names::new(conn, tables);
    write_roles(conn, plan, &mut names, generation)?;
    write_link_sources(conn, tables)?;
    let mut sets = Sets::new(conn, plan)?;
    let coming = |is: fn(&Change) -> bool| plan.changes.iter().filter(|change| is(change)).count();
    let users = coming(|change| matches!(change, Change::UserCreated { .. }));
    let first = generation == 1;
    let mut silent = loading(conn, first, "user", users, || {
        write_users(conn, plan, &mut sets, &mut names, generation)
    })?;
    write_links(conn, plan)?;
    let grants = coming(|change| matches!(change, Change::GrantAdded { .. }));
    loading(conn, first, "idp_grant", grants, || write_grants(conn, plan, &mut names, generation))?;
    silent |= write_tokens(conn, plan, &mut sets, &mut names)?;
    remove_roles(conn, plan, &mut names)?;
    sets.settle(&mut |role| names.role(role))?;

    let log = Log::open(conn, generation, plan, silent)?;
    loading(conn, first, "history", plan.changes.len(), || log.write(conn, &mut names))?;
    conn.execute("UPDATE meta SET next_user = ?1", [tables.next_user.get()])?;
    Ok(true)
}

/// Whether one row was changed, no more and no less.
pub(super) fn one(changed: usize, what: impl FnOnce() -> Mismatch) -> Result<(), Fault> {
    if changed == 1 { Ok(()) } else { Err(what().into()) }
}

/// The user `id` of a plan, and its place.
pub(super) fn user_of(tables: &Tables, id: UserId) -> Result<(usize, &User), Fault> {
    tables
        .users
        .binary_search_by_key(&id, |user| user.id)
        .ok()
        .and_then(|place| tables.users.get(place).map(|user| (place, user)))
        .ok_or_else(|| Mismatch::Plan(Inconsistent::NoSuchUser(id)).into())
}

/// The role `index` of a plan.
pub(super) fn role_of(tables: &Tables, index: RoleIdx) -> Result<&Role, Fault> {
    tables.roles.get(index).ok_or_else(|| Mismatch::Plan(Inconsistent::NoSuchRole(index)).into())
}

/// The store's numbers for the roles and reasons of a plan's tables, each looked up once.
pub(super) struct Names<'a> {
    conn: Conn<'a>,
    tables: &'a Tables,
    roles: HashMap<RoleIdx, i64>,
    reasons: HashMap<ReasonIdx, u32>,
    /// By set; none where it was not needed yet.
    sets: IndexVec<SetIdx, Option<NonZeroI64>>,
}

impl<'a> Names<'a> {
    fn new(conn: Conn<'a>, tables: &'a Tables) -> Self {
        let sets = tables.reasons.sets().map(|_| None);
        Names { conn, tables, roles: HashMap::new(), reasons: HashMap::new(), sets }
    }

    /// The number of role `index`, which must be in the store.
    pub(super) fn role(&mut self, index: RoleIdx) -> Result<i64, Fault> {
        if let Some(num) = self.roles.get(&index) {
            return Ok(*num);
        }
        let name = &role_of(self.tables, index)?.name;
        let num = self
            .conn
            .query_row("SELECT num FROM role WHERE name = ?1", [name], |row| row.get::<_, i64>(0))
            .optional()?
            .ok_or_else(|| Mismatch::NoSuchRole(name.clone()))?;
        self.roles.insert(index, num);
        Ok(num)
    }

    /// The number of the role called `name`, one of the plan's tables.
    pub(super) fn role_called(&mut self, name: &str) -> Result<i64, Fault> {
        let index = self.tables.roles.find_by(|role| role.name.as_str().cmp(name));
        self.role(index.ok_or_else(|| Mismatch::UnplannedRole(name.to_owned()))?)
    }

    /// The number of a set of reasons, which is added where it is new.
    pub(super) fn reasons(&mut self, set: SetIdx) -> Result<i64, Fault> {
        if let Some(Some(num)) = self.sets.get(set) {
            return Ok(num.get());
        }
        let book = &self.tables.reasons;
        let members =
            book.sets().get(set).ok_or(Mismatch::Plan(Inconsistent::NoSuchReasons(set)))?;
        let mut nums =
            members.iter().map(|reason| self.reason(*reason)).collect::<Result<Vec<_>, _>>()?;
        nums.sort_unstable();
        nums.dedup();
        let content = encode(&nums);
        let added = self
            .conn
            .prepare(
                "INSERT INTO reason_set (reasons) VALUES (?1) ON CONFLICT DO NOTHING RETURNING num",
            )?
            .query_row([&content], |row| row.get::<_, i64>(0))
            .optional()?;
        let num = match added {
            Some(num) => num,
            None => self
                .conn
                .prepare("SELECT num FROM reason_set WHERE reasons = ?1")?
                .query_row([&content], |row| row.get::<_, i64>(0))?,
        };
        if let Some(slot) = self.sets.get_mut(set) {
            *slot = NonZeroI64::new(num);
        }
        Ok(num)
    }

    fn reason_at(&self, index: ReasonIdx) -> Result<&'a Reason, Fault> {
        let found = self.tables.reasons.reasons().get(index);
        found.ok_or_else(|| Mismatch::Plan(Inconsistent::NoSuchReason(index)).into())
    }

    fn reason(&mut self, index: ReasonIdx) -> Result<u32, Fault> {
        if let Some(num) = self.reasons.get(&index) {
            return Ok(*num);
        }
        let num = super::reasons::number(self.conn, self.reason_at(index)?)?;
        self.reasons.insert(index, num);
        Ok(num)
    }
}

/// As JSON text.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Mismatch::Json(error).into())
}

/// Writes added and changed roles and the catalog.
fn write_roles(
    conn: Conn<'_>,
    plan: &Plan,
    names: &mut Names<'_>,
    generation: i64,
) -> Result<(), Fault> {
    let tables = &plan.tables;
    for change in &plan.changes {
        match change {
            Change::RoleAdded { role } => {
                let definition = role_of(tables, *role)?;
                let changed = conn.execute(
                    "INSERT INTO role \
                     (name, live, description, everyone, mode, template, policies) \
                     VALUES (?1, 1, '', 0, '', NULL, '') \
                     ON CONFLICT (name) DO UPDATE SET live = 1 WHERE role.live = 0",
                    [&definition.name],
                )?;
                one(changed, || Mismatch::RoleThere(definition.name.clone()))?;
                define(conn, names.role(*role)?, definition, generation)?;
            }
            Change::RoleChanged { role, old: _ } => {
                let definition = role_of(tables, *role)?;
                define(conn, names.role(*role)?, definition, generation)?;
            }
            _ => {}
        }
    }
    if plan.asks_anew() {
        conn.execute("DELETE FROM decision", [])?;
        // Requests get other numbers: no list is what it was, whatever its digest says.
        conn.execute("UPDATE decision_list SET digest = CAST('gone ' || num AS BLOB)", [])?;
        conn.execute("DELETE FROM request", [])?;
        let mut insert = conn.prepare(
            "INSERT INTO request (num, action, resource, listed) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for ((num, place), (action, resource)) in (0i64..).zip(0usize..).zip(plan.requests().iter())
        {
            let resource = resource.as_ref().map(|resource| resource.as_str());
            insert.execute(params![
                num,
                action.to_string(),
                resource,
                place < tables.catalog.len()
            ])?;
        }
        write_workload(conn, &tables.workload)?;
    }
    Ok(())
}

/// Writes who pools' pods are in the clouds.
fn write_workload(conn: Conn<'_>, workload: &[WorkloadIdentity]) -> Result<(), Fault> {
    conn.execute("DELETE FROM workload", [])?;
    let mut insert = conn.prepare(
        "INSERT INTO workload \
         (num, pool, platform, namespace, service_account, cloud, identity, why) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (num, row) in (0i64..).zip(workload) {
        let WorkloadIdentity { pool, platform, namespace, service_account, cloud, identity, why } =
            row;
        let cloud = cloud.map(Cloud::as_str);
        insert.execute(params![
            num,
            pool,
            platform,
            namespace,
            service_account,
            cloud,
            identity,
            why
        ])?;
    }
    Ok(())
}

/// Writes the definition of role `num`, which must be there.
fn define(conn: Conn<'_>, num: i64, role: &Role, generation: i64) -> Result<(), Fault> {
    redefined(conn, num, role.everyone, generation)?;
    let changed = conn.execute(
        "UPDATE role SET description = ?2, everyone = ?3, mode = ?4, template = ?5, policies = ?6 \
         WHERE num = ?1 AND live = 1",
        params![
            num,
            role.description,
            role.everyone,
            role.mode.as_str(),
            role.template,
            json(&role.policies)?
        ],
    )?;
    one(changed, || Mismatch::NoSuchRole(role.name.clone()))?;
    conn.execute("DELETE FROM role_policy WHERE role = ?1", [num])?;
    let mut insert = conn.prepare(
        "INSERT INTO role_policy (role, n, position, effect, action, resource) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut n = 0i64;
    for (position, policy) in (0i64..).zip(&role.policies) {
        let effect = policy.effect.as_str();
        // Texts written twice in the configuration are one row.
        let actions: BTreeSet<String> = policy.actions.iter().map(ToString::to_string).collect();
        let resources: BTreeSet<Option<String>> = match &policy.resources {
            None => BTreeSet::from([None]),
            Some(list) => list.iter().map(|resource| Some(resource.to_string())).collect(),
        };
        for action in &actions {
            for resource in &resources {
                insert.execute(params![num, n, position, effect, action, resource])?;
                n = n.saturating_add(1);
            }
        }
    }
    Ok(())
}

/// Takes removed roles out of the live ones; history goes on naming them.
fn remove_roles(conn: Conn<'_>, plan: &Plan, names: &mut Names<'_>) -> Result<(), Fault> {
    let mut any = false;
    for change in &plan.changes {
        let Change::RoleRemoved { role } = change else { continue };
        let num = names.role(*role)?;
        let changed = conn.execute(
            "UPDATE role SET live = 0, policies = '[]' WHERE num = ?1 AND live = 1",
            [num],
        )?;
        one(changed, || Mismatch::NoSuchRemovedRole(num))?;
        conn.execute("DELETE FROM role_policy WHERE role = ?1", [num])?;
        any = true;
    }
    if !any {
        return Ok(());
    }
    let dangling: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM idp_grant WHERE role IN (SELECT num FROM role WHERE live = 0)) \
             OR EXISTS (SELECT 1 FROM local_grant WHERE role IN (SELECT num FROM role WHERE live = 0)) \
             OR EXISTS (SELECT 1 FROM token_role WHERE role IN (SELECT num FROM role WHERE live = 0))",
        [],
        |row| row.get(0),
    )?;
    if dangling {
        return Err(Mismatch::RoleStillHeld.into());
    }
    Ok(())
}

fn write_link_sources(conn: Conn<'_>, tables: &Tables) -> Result<(), Fault> {
    let mut insert =
        conn.prepare("INSERT INTO link_source (num, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    let mut check = conn.prepare("SELECT name FROM link_source WHERE num = ?1")?;
    for (num, name) in (0i64..).zip(&tables.sources) {
        insert.execute(params![num, name])?;
        let stored: Option<String> = check.query_row([num], |row| row.get(0)).optional()?;
        if stored.as_ref() != Some(name) {
            return Err(Mismatch::MisplacedSource(name.clone()).into());
        }
    }
    Ok(())
}

/// What happens to a user's row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Stays,
    Changes,
    IsNew,
}

/// `status`, `since` and `disabled_by` as stored.
pub(in crate::store) fn status(status: &Status) -> (i64, Option<i64>, Option<&str>) {
    match status {
        Status::Enabled => (0, None, None),
        Status::Disabled { by } => (1, None, Some(by)),
        Status::Missing { since, disabled_by } => {
            (2, Some(since.timestamp()), disabled_by.as_deref())
        }
        Status::Deprovisioned { since } => (3, Some(since.timestamp()), None),
    }
}

/// Writes users' rows. Returns whether somebody's role set changed of whom no change of the plan
/// speaks: who follows the store by its history cannot see that.
fn write_users<'a>(
    conn: Conn<'_>,
    plan: &'a Plan,
    sets: &mut Sets<'a>,
    names: &mut Names<'_>,
    generation: i64,
) -> Result<bool, Fault> {
    let tables = &plan.tables;
    let rows = rows_of(plan)?;
    sets.make(&coming(plan, &rows), &mut |role| names.role(role))?;
    let mut insert =
        Batch::new(conn, "user (id, username, email, status, since, disabled_by, role_set, made)");
    let mut past = Past::new(conn, generation);
    let mut update = conn.prepare(
        "UPDATE user SET username = ?2, email = ?3, status = ?4, since = ?5, disabled_by = ?6 \
         WHERE id = ?1",
    )?;
    let mut move_to =
        conn.prepare("UPDATE user SET role_set = ?3 WHERE id = ?1 AND role_set = ?2")?;
    let mut totals = Totals::new(conn);
    let mut written: Vec<&User> = Vec::new();
    // Who gets another role set, and nothing else so far.
    let mut moved: HashSet<UserId> = HashSet::new();
    for ((user, set), row) in tables.users.iter().zip(&plan.user_sets).zip(&rows) {
        let (username, email) = (tables.texts.get(user.username), tables.texts.get(user.email));
        let (code, since, by) = status(&user.status);
        let id = user.id;
        if *row == Row::IsNew {
            let num = sets.enter(*set)?;
            totals.came(user, *set);
            insert.add([
                id.into(),
                username.into(),
                email.into(),
                code.into(),
                since.into(),
                by.into(),
                num.into(),
                generation.into(),
            ])?;
            written.push(user);
            continue;
        }
        if *row == Row::Changes {
            totals.changes(user)?;
            let changed = update.execute(params![id.get(), username, email, code, since, by])?;
            one(changed, || Mismatch::NoSuchUser(id))?;
            written.push(user);
        }
        if user.role_set != *set {
            let old = sets.leave(user.role_set)?;
            past.held(id, old)?;
            let new = sets.enter(*set)?;
            totals.moved(user.role_set, *set);
            let changed = move_to.execute(params![id.get(), old, new])?;
            one(changed, || Mismatch::OtherSet(id))?;
            if *row == Row::Stays {
                moved.insert(id);
            }
        }
    }
    insert.finish()?;
    past.finish()?;
    totals.finish(plan, names)?;
    distinct_names(conn, tables, &written)?;
    Ok(is_silent(plan, moved))
}

/// What becomes of each user's row.
fn rows_of(plan: &Plan) -> Result<Vec<Row>, Fault> {
    let mut rows = vec![Row::Stays; plan.tables.users.len()];
    for change in &plan.changes {
        let (user, row) = match change {
            Change::UserCreated { user } => (*user, Row::IsNew),
            Change::UserRenamed { user, .. }
            | Change::EmailChanged { user, .. }
            | Change::UserDisabled { user, .. }
            | Change::UserEnabled { user }
            | Change::UserMissing { user }
            | Change::UserReturned { user }
            | Change::UserDeprovisioned { user, .. } => (*user, Row::Changes),
            _ => continue,
        };
        let (place, _) = user_of(&plan.tables, user)?;
        if let Some(slot) = rows.get_mut(place)
            && *slot != Row::IsNew
        {
            *slot = row;
        }
    }
    Ok(rows)
}

/// How many users and tokens come to each role set.
fn coming(plan: &Plan, rows: &[Row]) -> HashMap<RoleSetId, i64> {
    let mut coming: HashMap<RoleSetId, i64> = HashMap::new();
    for ((user, set), row) in plan.tables.users.iter().zip(&plan.user_sets).zip(rows) {
        if *row == Row::IsNew || user.role_set != *set {
            let users = coming.entry(*set).or_default();
            *users = users.saturating_add(1);
        }
    }
    tokens::coming(plan, &mut coming);
    coming
}

/// Whether there is somebody in `moved`, who got another role set, of whom no change speaks.
fn is_silent(plan: &Plan, mut moved: HashSet<UserId>) -> bool {
    if !moved.is_empty() {
        for change in &plan.changes {
            if let Change::GrantAdded { user, .. } | Change::GrantRemoved { user, .. } = change {
                moved.remove(user);
            }
        }
    }
    !moved.is_empty()
}

fn write_links(conn: Conn<'_>, plan: &Plan) -> Result<(), Fault> {
    let mut remove =
        conn.prepare("DELETE FROM link WHERE user = ?1 AND source = ?2 AND ext = ?3")?;
    for change in &plan.changes {
        if let Change::LinkRemoved { user, source, ext } = change {
            let changed =
                remove.execute(params![user.get(), source.get(), plan.tables.texts.get(*ext)])?;
            one(changed, || Mismatch::NoSuchLink(*user))?;
        }
    }
    let added = |change: &&Change| matches!(change, Change::LinkAdded { .. });
    let coming = plan.changes.iter().filter(added).count();
    filling(conn, "link", coming, || {
        let mut rows = Batch::new(conn, "link (user, source, ext)");
        for change in &plan.changes {
            if let Change::LinkAdded { user, source, ext } = change {
                if plan.tables.sources.get(*source).is_none() {
                    return Err(Mismatch::Plan(Inconsistent::NoSuchSource(*source)).into());
                }
                let ext = plan.tables.texts.get(*ext);
                rows.add([(*user).into(), i64::from(source.get()).into(), ext.into()])?;
            }
        }
        rows.finish()
    })?;
    let mut claims =
        conn.prepare("UPDATE link SET claim = ?4 WHERE user = ?1 AND source = ?2 AND ext = ?3")?;
    let text = |text| plan.tables.texts.get(text);
    for change in &plan.changes {
        if let Change::LinkClaims { user, source, ext, claim } = change {
            let changed =
                claims.execute(params![user.get(), source.get(), text(*ext), claim.map(text)])?;
            one(changed, || Mismatch::NoSuchLink(*user))?;
        }
    }
    Ok(())
}
