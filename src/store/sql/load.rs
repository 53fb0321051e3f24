//! The state, from its rows.

use std::collections::HashMap;

use crate::store::sql::db::{Conn, DbError, DbResult, Row};

use super::codec::{decode, user_at};
use super::error::Fault;
use super::reader::{json, time, time_at};
use crate::model::{
    Actor, Cloud, Grant, GrantKind, IndexVec, Link, LocalGrant, LocalIdx, Mode, Reason, ReasonBook,
    Role, RoleIdx, RoleSetId, SetIdx, SourceIdx, State, Status, Texts, TooMany, User, UserId,
    WorkloadIdentity,
};
use crate::policy::{Action, Resource};

/// Roles' numbers in the store to their places in a state.
pub(super) type RolePlaces = HashMap<i64, RoleIdx>;

pub(super) fn state(conn: Conn<'_>) -> Result<State, Fault> {
    let (roles, places) = roles(conn)?;
    let (sources, source_places) = link_sources(conn)?;
    let count = count(conn, "SELECT count(*) FROM user")?;
    let mut texts = Texts::with_capacity(count.saturating_mul(3), 20);
    let sets = set_ids(conn)?;
    let users = users(conn, &mut texts, &sets, count)?;
    let links = links(conn, &mut texts, &source_places, count)?;
    let (grants, reasons, locals) = grants(conn, &places)?;
    let tokens = super::tokens::load(conn, &sets)?.into();
    let next_user = conn.query_row("SELECT next_user FROM meta", [], |row| user_at(row, 0))?;
    let (catalog, workload) = (catalog(conn)?, workload(conn)?);
    Ok(State {
        texts,
        roles,
        sources,
        users,
        links,
        grants,
        reasons,
        locals,
        tokens,
        catalog,
        workload,
        next_user,
    })
}

pub(super) fn count(conn: Conn<'_>, sql: &str) -> Result<usize, Fault> {
    let count = conn.query_row(sql, [], |row| whole(row, 0))?;
    usize::try_from(count).map_err(|_| TooMany("rows").into())
}

/// A number that is never below nought, such as a generation or a count.
pub(super) fn whole(row: Row<'_>, index: usize) -> DbResult<u64> {
    let number: i64 = row.get(index)?;
    u64::try_from(number).map_err(|_| DbError::OutOfRange(index, number))
}

/// The live roles by name.
pub(super) fn roles(conn: Conn<'_>) -> Result<(IndexVec<RoleIdx, Role>, RolePlaces), Fault> {
    let mut statement = conn.prepare(
        "SELECT num, name, description, everyone, mode, template, policies \
         FROM role WHERE live = 1 ORDER BY name",
    )?;
    let mut rows = statement.query([])?;
    let mut roles = IndexVec::default();
    let mut places = HashMap::new();
    while let Some(row) = rows.next()? {
        let mode: String = row.get(4)?;
        let mode = Mode::ALL
            .into_iter()
            .find(|known| known.as_str() == mode)
            .ok_or_else(|| Fault::Damaged(format!("a role has the unknown mode `{mode}`")))?;
        let role = roles.push(Role {
            name: row.get(1)?,
            description: row.get(2)?,
            everyone: row.get(3)?,
            mode,
            template: row.get(5)?,
            policies: json(row.get_ref(6)?.as_str()?, "policy")?,
        });
        let role = role.map_err(|full| Fault::Damaged(full.to_string()))?;
        places.insert(row.get(0)?, role);
    }
    Ok((roles, places))
}

type Sources = IndexVec<SourceIdx, String>;
type Locals = IndexVec<LocalIdx, LocalGrant>;

/// The names of links' sources in the order in which they were first seen.
pub(super) fn link_sources(conn: Conn<'_>) -> Result<(Sources, HashMap<i64, SourceIdx>), Fault> {
    let mut statement = conn.prepare("SELECT num, name FROM link_source ORDER BY num")?;
    let mut rows = statement.query([])?;
    let mut names = IndexVec::default();
    let mut places = HashMap::new();
    while let Some(row) = rows.next()? {
        places.insert(row.get(0)?, names.push(row.get(1)?)?);
    }
    Ok((names, places))
}

/// The role sets' ids by their numbers.
pub(super) fn set_ids(conn: Conn<'_>) -> Result<HashMap<i64, RoleSetId>, Fault> {
    let mut statement = conn.prepare("SELECT num, id FROM role_set")?;
    let mut rows = statement.query([])?;
    let mut ids = HashMap::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(1)?;
        ids.insert(row.get(0)?, set_id(&id)?);
    }
    Ok(ids)
}

pub(super) fn set_id(id: &str) -> Result<RoleSetId, Fault> {
    u128::from_str_radix(id, 16)
        .map(RoleSetId)
        .map_err(|_| Fault::Damaged(format!("`{id}` is not a role set's id")))
}

/// How a person stands, from the columns `status`, `since` and `disabled_by` at `first` and after.
pub(super) fn status(row: Row<'_>, first: usize) -> Result<Status, Fault> {
    let by = first.saturating_add(2);
    let since = first.saturating_add(1);
    match row.get::<_, i64>(first)? {
        0 => Ok(Status::Enabled),
        1 => {
            let by: Option<String> = row.get(by)?;
            let by = by.ok_or_else(|| Fault::Damaged("a user is disabled by nobody".to_owned()))?;
            Ok(Status::Disabled { by })
        }
        2 => Ok(Status::Missing { since: time_at(row, since)?, disabled_by: row.get(by)? }),
        3 => Ok(Status::Deprovisioned { since: time_at(row, since)? }),
        other => Err(Fault::Damaged(format!("a user has the unknown status {other}"))),
    }
}

fn users(
    conn: Conn<'_>,
    texts: &mut Texts,
    sets: &HashMap<i64, RoleSetId>,
    count: usize,
) -> Result<Vec<User>, Fault> {
    let mut statement = conn.prepare(
        "SELECT id, username, email, role_set, status, since, disabled_by FROM user ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut users = Vec::with_capacity(count);
    while let Some(row) = rows.next()? {
        let set: i64 = row.get(3)?;
        let role_set = *sets.get(&set).ok_or_else(|| unknown_set(set))?;
        users.push(user(row, texts, role_set)?);
    }
    Ok(users)
}

pub(super) fn unknown_set(set: i64) -> Fault {
    Fault::Damaged(format!("a user has the unknown role set {set}"))
}

/// A user, from the columns `id, username, email, role_set, status, since, disabled_by`.
pub(super) fn user(row: Row<'_>, texts: &mut Texts, role_set: RoleSetId) -> Result<User, Fault> {
    Ok(User {
        id: user_at(row, 0)?,
        username: texts.add(text(row, 1)?)?,
        email: texts.add(text(row, 2)?)?,
        status: status(row, 4)?,
        role_set,
    })
}

/// A text without a copy of its own.
pub(super) fn text<'a>(row: Row<'a>, index: usize) -> Result<&'a str, Fault> {
    row.get_ref(index)?.as_str().map_err(|error| Fault::Damaged(error.to_string()))
}

fn links(
    conn: Conn<'_>,
    texts: &mut Texts,
    places: &HashMap<i64, SourceIdx>,
    count: usize,
) -> Result<Vec<Link>, Fault> {
    let mut statement =
        conn.prepare("SELECT user, source, ext, claim FROM link ORDER BY user, source")?;
    let mut rows = statement.query([])?;
    let mut links = Vec::with_capacity(count);
    while let Some(row) = rows.next()? {
        links.push(link(row, texts, places)?);
    }
    Ok(links)
}

/// A link, from the columns `user, source, ext, claim`.
pub(super) fn link(
    row: Row<'_>,
    texts: &mut Texts,
    places: &HashMap<i64, SourceIdx>,
) -> Result<Link, Fault> {
    let source = row.get(1)?;
    let source = *places
        .get(&source)
        .ok_or_else(|| Fault::Damaged(format!("a link has the unknown source {source}")))?;
    let claim = row.get_ref(3)?.as_str_or_null()?;
    let claim = claim.map(|claim| texts.add(claim)).transpose()?;
    Ok(Link { user: user_at(row, 0)?, source, ext: texts.add(text(row, 2)?)?, claim })
}

fn grants(conn: Conn<'_>, places: &RolePlaces) -> Result<(Vec<Grant>, ReasonBook, Locals), Fault> {
    let place = |role| role_place(places, role);
    let idp = count(conn, "SELECT count(*) FROM idp_grant")?;
    let local = count(conn, "SELECT count(*) FROM local_grant")?;
    let mut grants: Vec<Grant> = Vec::with_capacity(idp.saturating_add(local));
    let mut book = ReasonBook::default();
    {
        let mut sets = StoredReasons::load(conn)?;
        let mut statement =
            conn.prepare("SELECT user, role, reasons FROM idp_grant ORDER BY user, role")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let set = sets.in_book(row.get(2)?, &mut book)?;
            grants.push(Grant {
                user: user_at(row, 0)?,
                role: place(row.get(1)?)?,
                kind: GrantKind::Idp(set),
            });
        }
    }
    let mut locals = IndexVec::with_capacity(local);
    let mut statement = conn
        .prepare("SELECT user, role, by, at, reason, until FROM local_grant ORDER BY user, role")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let user = user_at(row, 0)?;
        let kind = GrantKind::Local(locals.push(local_grant(row, 2)?)?);
        grants.push(Grant { user, role: place(row.get(1)?)?, kind });
    }
    // The rows come by the store's numbers of roles, the state wants them by name. That is two
    // long runs at most in the usual case, which this sort is made for.
    grants.sort_by_key(order_of_grants);
    Ok((grants, book, locals))
}

/// Who did something by hand.
pub(super) fn actor(row: Row<'_>, column: usize) -> Result<Actor, Fault> {
    Ok(row.get::<_, String>(column)?.into())
}

/// By what a state's grants are sorted.
pub(super) fn order_of_grants(grant: &Grant) -> (UserId, RoleIdx, bool) {
    (grant.user, grant.role, !grant.kind.is_idp())
}

/// The role of a grant.
pub(super) fn role_place(places: &RolePlaces, role: i64) -> Result<RoleIdx, Fault> {
    let place = places.get(&role).copied();
    place.ok_or_else(|| Fault::Damaged(format!("a grant names role {role}, which does not exist")))
}

/// The story of a local grant, from the columns `by`, `at`, `reason`, `until` from `first` on.
pub(super) fn local_grant(row: Row<'_>, first: usize) -> Result<LocalGrant, Fault> {
    let column = |offset: usize| first.saturating_add(offset);
    Ok(LocalGrant {
        by: actor(row, column(0))?,
        at: time_at(row, column(1))?,
        reason: row.get(column(2))?,
        until: time(row, column(3))?,
    })
}

/// The statements of [`StoredReasons::fetch`].
pub(super) const REASONS_OF_SET: &str = "SELECT reasons FROM reason_set WHERE num = ?1";
pub(super) const REASON: &str = "SELECT source, rule, path FROM reason WHERE num = ?1";

fn reasons_of_set(row: Row<'_>, column: usize) -> Result<Vec<u32>, Fault> {
    let blob = row.get_ref(column)?.as_blob()?;
    decode(blob).ok_or_else(|| Fault::Damaged("a set of reasons cannot be read".to_owned()))
}

/// Reasons and sets of them as stored, by number.
#[derive(Default)]
pub(super) struct StoredReasons {
    reasons: HashMap<i64, Reason>,
    sets: HashMap<i64, Vec<u32>>,
    placed: HashMap<i64, SetIdx>,
}

impl StoredReasons {
    pub(super) fn load(conn: Conn<'_>) -> Result<Self, Fault> {
        let mut stored = StoredReasons::default();
        let mut statement = conn.prepare("SELECT num, source, rule, path FROM reason")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            stored.reasons.insert(row.get(0)?, super::reasons::reason(row, 1)?);
        }
        let mut statement = conn.prepare("SELECT num, reasons FROM reason_set")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            stored.sets.insert(row.get(0)?, reasons_of_set(row, 1)?);
        }
        Ok(stored)
    }

    /// Reads set `num` with its reasons, unless it is here already.
    pub(super) fn fetch(&mut self, conn: Conn<'_>, num: i64) -> Result<(), Fault> {
        if self.sets.contains_key(&num) {
            return Ok(());
        }
        let mut statement = conn.prepare(REASONS_OF_SET)?;
        let mut rows = statement.query([num])?;
        // Whoever asks for a set that is not there is told so by `of_set`.
        let Some(row) = rows.next()? else { return Ok(()) };
        let set = reasons_of_set(row, 0)?;
        let mut reason = conn.prepare(REASON)?;
        for number in set.iter().map(|number| i64::from(*number)) {
            if self.reasons.contains_key(&number) {
                continue;
            }
            let mut rows = reason.query([number])?;
            if let Some(row) = rows.next()? {
                self.reasons.insert(number, super::reasons::reason(row, 0)?);
            }
        }
        self.sets.insert(num, set);
        Ok(())
    }

    /// The reasons of set `num`.
    pub(super) fn of_set(&self, num: i64) -> Result<Vec<&Reason>, Fault> {
        let set = self
            .sets
            .get(&num)
            .ok_or_else(|| Fault::Damaged(format!("set of reasons {num} does not exist")))?;
        set.iter()
            .map(|reason| {
                self.reasons
                    .get(&i64::from(*reason))
                    .ok_or_else(|| Fault::Damaged(format!("reason {reason} does not exist")))
            })
            .collect()
    }

    /// The place in `book` of set `num`, which is added where it is new there.
    pub(super) fn in_book(&mut self, num: i64, book: &mut ReasonBook) -> Result<SetIdx, Fault> {
        if let Some(set) = self.placed.get(&num) {
            return Ok(*set);
        }
        let mut reasons = Vec::new();
        for reason in self.of_set(num)? {
            reasons.push(book.reason(reason.clone())?);
        }
        let set = book.set(&reasons)?;
        self.placed.insert(num, set);
        Ok(set)
    }
}

/// The catalog's requests.
pub(super) fn catalog(conn: Conn<'_>) -> Result<Vec<(Action, Option<Resource>)>, Fault> {
    let mut statement =
        conn.prepare("SELECT action, resource FROM request WHERE listed = 1 ORDER BY num")?;
    let mut rows = statement.query([])?;
    let mut catalog = Vec::new();
    let damaged = |error: crate::policy::PatternError| Fault::Damaged(error.to_string());
    while let Some(row) = rows.next()? {
        let action = text(row, 0)?.parse().map_err(damaged)?;
        let resource: Option<String> = row.get(1)?;
        let resource = resource.map(|text| text.parse()).transpose().map_err(damaged)?;
        catalog.push((action, resource));
    }
    Ok(catalog)
}

/// Who pools' pods are in the clouds.
pub(super) fn workload(conn: Conn<'_>) -> Result<Vec<WorkloadIdentity>, Fault> {
    let mut statement = conn.prepare(
        "SELECT pool, platform, namespace, service_account, cloud, identity, why \
         FROM workload ORDER BY num",
    )?;
    let mut rows = statement.query([])?;
    let mut workload = Vec::new();
    while let Some(row) = rows.next()? {
        workload.push(workload_identity(row, 0)?);
    }
    Ok(workload)
}

/// A row of `workload`, from the columns `pool` to `why` from `first` on.
pub(super) fn workload_identity(row: Row<'_>, first: usize) -> Result<WorkloadIdentity, Fault> {
    let column = |offset: usize| first.saturating_add(offset);
    let cloud: Option<String> = row.get(column(4))?;
    let cloud = cloud
        .map(|text| {
            let known = Cloud::ALL.into_iter().find(|cloud| cloud.as_str() == text);
            known.ok_or_else(|| Fault::Damaged(format!("there is no cloud `{text}`")))
        })
        .transpose()?;
    Ok(WorkloadIdentity {
        pool: row.get(column(0))?,
        platform: row.get(column(1))?,
        namespace: row.get(column(2))?,
        service_account: row.get(column(3))?,
        cloud,
        identity: row.get(column(5))?,
        why: row.get(column(6))?,
    })
}
