//! What one change needs, found by index. The statements that are about people are in `SQL`, and a test
//! sees to it that none passes over them. What is read in whole is no longer for more people: roles, the
//! catalog, and the references of a mirror where a change is about what references are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::store::sql::db::{Conn, OptionalExtension, Param, params};

use super::codec::user_at;
use super::error::{Fault, StoreError};
use super::load::{
    self, StoredReasons, link, link_sources, local_grant, order_of_grants, role_place, set_id,
    text, unknown_set,
};
use super::mirror::{
    Lists, Numbers, damaged, domain_is, domain_of, federations, load_near, load_refs, proven_of,
    range, read_user,
};
use super::names::{self, BY_ADDRESS, BY_CALLED, BY_CALLED_EMAIL, BY_EMAIL, BY_EXT, BY_USERNAME};
use super::patch::{self, find_ref};
use super::reader::{self, Reads};
use super::tokens;
use crate::directory::{
    AccountSid, Cursor, DirUserIdx, Directory, Mirror, MirrorDigest, OwnDomain, PartRefs, RefId,
};
use crate::model::{Grant, GrantKind, RoleSetId, State, Status, Texts, Tokens, UserId};
use crate::plan::{Guard, Others};
use crate::store::slice::enough;
use crate::store::{Account, AccountNames, Bears, Slice, SliceQuery};

const USER_OF: &str = "SELECT l.user FROM link l JOIN link_source s ON s.num = l.source \
                       WHERE l.ext = ?2 AND s.name = ?1";
const USERNAME: &str = "SELECT username FROM user WHERE id = ?1";
const ACCOUNTS: &str = "SELECT s.name, l.ext FROM link l JOIN link_source s ON s.num = l.source \
                        WHERE l.user = ?1";
const CALLED: &str = "SELECT id FROM user WHERE username = ?1";
const MIRROR: &str = "SELECT num FROM source WHERE name = ?1 AND digest IS NOT NULL";
const DOMAIN: &str = "SELECT domain FROM source WHERE num = ?1";
/// By the index on foreign security principals, which are of this kind.
const ABROAD: &str = "SELECT 1 FROM mirror_container WHERE kind = 4 AND key > '' LIMIT 1";
/// By the index on their numbers, where those who have none come first.
const UNREAD_PERSON: &str =
    "SELECT 1 FROM mirror_user WHERE rid IS NULL AND id BETWEEN ?1 AND ?2 LIMIT 1";
/// Over the groups of one mirror.
const UNREAD_GROUP: &str = "SELECT 1 FROM mirror_container \
                            WHERE rid IS NULL AND kind = 0 AND id BETWEEN ?1 AND ?2 LIMIT 1";
const NAMES: &str = "SELECT ext, username, email, flags FROM mirror_user \
                     WHERE id BETWEEN ?1 AND ?2 AND ";
const BY_RID: &str = "rid = ?3";

const USER: &str = "SELECT id, username, email, role_set, status, since, disabled_by FROM user \
                    WHERE id = ?1";
const LINKS: &str =
    "SELECT user, source, ext, claim FROM link WHERE user = ?1 ORDER BY user, source";
const IDP: &str = "SELECT role, reasons FROM idp_grant WHERE user = ?1";
const LOCAL: &str = "SELECT role, by, at, reason, until FROM local_grant WHERE user = ?1";
const SET: &str = "SELECT id FROM role_set WHERE num = ?1";
const SET_OF: &str = "SELECT role_set FROM user WHERE id = ?1";
const SET_ROLES: &str = "SELECT role FROM role_set_role WHERE role_set = ?1";

const HEAD: &str = "SELECT num, digest, ignore_case, proven, cursor, domain FROM source \
                    WHERE name = ?1 AND digest IS NOT NULL";
const HOLDERS: &str =
    "SELECT r.num, h.users FROM role r JOIN role_holders h ON h.role = r.num WHERE r.name = ?1";
/// Accounts of a federation whose user is enabled, so many at most.
const FEDERATED: &str = "SELECT count(*) FROM (SELECT 1 FROM mirror_user m \
     JOIN link l ON l.ext = m.ext AND l.source = ?4 JOIN user u ON u.id = l.user AND u.status = 0 \
     WHERE m.federation = ?3 AND m.id BETWEEN ?1 AND ?2 LIMIT ?5) counted";

/// Every statement here that is about people, for a test that none of them passes over them.
#[cfg(test)]
pub(super) const SQL: &[&str] = &[
    USER_OF,
    USERNAME,
    ACCOUNTS,
    CALLED,
    patch::EXT,
    patch::SUM,
    USER,
    LINKS,
    IDP,
    LOCAL,
    SET,
    SET_OF,
    SET_ROLES,
    MIRROR,
    HEAD,
    HOLDERS,
    FEDERATED,
    load::REASONS_OF_SET,
    load::REASON,
    tokens::OF_USER,
    tokens::ROLES,
    super::mirror::part::IDENTICAL,
    super::mirror::part::CALLED,
    ABROAD,
    DOMAIN,
    UNREAD_PERSON,
    patch::FIND_REF,
    patch::MEMBERS,
];

/// What accounts are found by, likewise.
#[cfg(test)]
pub(super) const TESTS: &[&str] =
    &[BY_EXT, BY_USERNAME, BY_EMAIL, BY_CALLED, BY_CALLED_EMAIL, BY_ADDRESS, BY_RID];

/// Every statement that one change asks of a store of many people.
#[cfg(test)]
pub(in crate::store) fn of_one_change() -> Vec<String> {
    let of_accounts = TESTS.iter().map(|test| format!("{NAMES}{test}"));
    let rows =
        TESTS.iter().map(|test| format!("{} WHERE {test} AND id BETWEEN ?1 AND ?2", patch::USER));
    SQL.iter().map(|sql| (*sql).to_owned()).chain(of_accounts).chain(rows).collect()
}

impl dyn Reads + '_ {
    pub(super) fn user_of(&self, source: &str, ext: &str) -> Result<Option<UserId>, StoreError> {
        self.read_as(|conn| {
            let mut statement = conn.prepare(USER_OF)?;
            Ok(statement.query_row([source, ext], |row| user_at(row, 0)).optional()?)
        })
    }

    pub(super) fn lists_abroad(&self) -> Result<bool, StoreError> {
        self.read_as(|conn| Ok(conn.prepare(ABROAD)?.exists([])?))
    }

    pub(super) fn own_domain(&self, source: &str) -> Result<Option<OwnDomain<String>>, StoreError> {
        self.read_as(|conn| {
            let Some(source) = mirror_of(conn, source)? else { return Ok(None) };
            Ok(Some(own_domain(conn, source)?))
        })
    }

    pub(super) fn tells_sids(&self, source: &str) -> Result<bool, StoreError> {
        self.read_as(|conn| {
            let Some(source) = mirror_of(conn, source)? else { return Ok(true) };
            let (first, last) = range(source);
            let somebody = conn.prepare(UNREAD_PERSON)?.exists([first, last])?;
            Ok(!somebody && !conn.prepare(UNREAD_GROUP)?.exists([first, last])?)
        })
    }

    pub(super) fn linked(
        &self,
        user: UserId,
    ) -> Result<Option<(String, Vec<Account>)>, StoreError> {
        self.read_as(|conn| {
            let mut statement = conn.prepare(USERNAME)?;
            let name = statement.query_row([user.get()], |row| row.get(0)).optional()?;
            let Some(name) = name else { return Ok(None) };
            let mut statement = conn.prepare(ACCOUNTS)?;
            let rows = statement.query_map([user.get()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut accounts: Vec<Account> = rows.collect::<Result<_, _>>()?;
            accounts.sort();
            Ok(Some((name, accounts)))
        })
    }

    pub(super) fn called(&self, username: &str) -> Result<Vec<UserId>, StoreError> {
        self.read_as(|conn| {
            let mut statement = conn.prepare(CALLED)?;
            let rows = statement.query_map([username], |row| user_at(row, 0))?;
            let mut users: Vec<UserId> = rows.collect::<Result<_, _>>()?;
            users.sort_unstable();
            Ok(users)
        })
    }

    pub(super) fn account(
        &self,
        source: &str,
        ext: &str,
    ) -> Result<Option<AccountNames>, StoreError> {
        self.read_as(|conn| {
            let Some(source) = mirror_of(conn, source)? else { return Ok(None) };
            Ok(found(conn, source, BY_EXT, ext)?.pop().map(|(_, names)| names))
        })
    }

    pub(super) fn has_accounts(
        &self,
        source: &str,
        exts: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StoreError> {
        self.read_as(|conn| {
            let Some(source) = mirror_of(conn, source)? else { return Ok(BTreeSet::new()) };
            let mut there = BTreeSet::new();
            for ext in exts {
                if patch::find_user(conn, source, ext)?.is_some() {
                    there.insert(ext.clone());
                }
            }
            Ok(there)
        })
    }

    pub(super) fn bearing(
        &self,
        source: &str,
        bears: Bears<'_>,
    ) -> Result<Vec<String>, StoreError> {
        self.read_as(|conn| {
            names::must_be_current(conn)?;
            let Some(source) = mirror_of(conn, source)? else { return Ok(Vec::new()) };
            let (plain, form, value) = match bears {
                Bears::Sid(sid) => return with_sid(conn, source, sid),
                Bears::Username(name) => (BY_USERNAME, BY_CALLED, name),
                Bears::Email(name) => (BY_EMAIL, BY_CALLED_EMAIL, name),
                Bears::Address(address) => (BY_EMAIL, BY_ADDRESS, address),
            };
            let mut bearing = BTreeSet::new();
            for test in [plain, form] {
                for (ext, names) in found(conn, source, test, value)? {
                    if bears.fits(&names) {
                        bearing.insert(ext);
                    }
                }
            }
            Ok(bearing.into_iter().collect())
        })
    }

    pub(super) fn members(
        &self,
        source: &str,
        refs: &BTreeSet<RefId>,
    ) -> Result<BTreeSet<String>, StoreError> {
        self.read_as(|conn| {
            let Some(source) = mirror_of(conn, source)? else { return Ok(BTreeSet::new()) };
            let known = self.known_lists();
            let mut members = BTreeSet::new();
            for wanted in refs {
                let Some(number) = find_ref(conn, source, wanted)? else { continue };
                let (place, sum) = ((source, number), patch::sum(conn, source, number)?);
                let people = patch::people_in(conn, known, place, sum)?;
                members.extend(people.iter().cloned());
                if let Some(known) = known {
                    known.keep(place, sum, people, None);
                }
            }
            Ok(members)
        })
    }

    pub(super) fn slice(&self, query: &SliceQuery<'_>) -> Result<Slice, StoreError> {
        self.read_as(|conn| slice(conn, query))
    }
}

/// The accounts of a mirror that bear this SID, which are none unless it is of the mirror's domain.
fn with_sid(conn: Conn<'_>, source: i64, sid: &AccountSid) -> Result<Vec<String>, Fault> {
    if own_domain(conn, source)?.sid().as_deref() != Some(sid.domain().as_str()) {
        return Ok(Vec::new());
    }
    let found = found(conn, source, BY_RID, sid.rid().code())?;
    let mut bearing: Vec<String> = found.into_iter().map(|(ext, _)| ext).collect();
    bearing.sort();
    Ok(bearing)
}

fn own_domain(conn: Conn<'_>, source: i64) -> Result<OwnDomain<String>, Fault> {
    let mut statement = conn.prepare(DOMAIN)?;
    Ok(domain_of(statement.query_row([source], |row| row.get(0))?))
}

/// The number of a source that has a mirror.
fn mirror_of(conn: Conn<'_>, source: &str) -> Result<Option<i64>, Fault> {
    let mut statement = conn.prepare(MIRROR)?;
    Ok(statement.query_row([source], |row| row.get(0)).optional()?)
}

/// The accounts of a mirror of which `test` says so: external id, and what they are called.
fn found(
    conn: Conn<'_>,
    source: i64,
    test: &str,
    value: impl Param,
) -> Result<Vec<(String, AccountNames)>, Fault> {
    let (first, last) = range(source);
    let mut statement = conn.prepare(&format!("{NAMES}{test}"))?;
    let rows = statement.query_map(params![first, last, value], |row| {
        let (username, email) = (row.get(1)?, row.get(2)?);
        let names =
            AccountNames { username, email, email_verified: row.get::<_, i64>(3)? & 4 != 0 };
        Ok((row.get(0)?, names))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn slice(conn: Conn<'_>, query: &SliceQuery<'_>) -> Result<Slice, Fault> {
    let meta = reader::meta(conn)?;
    let state = state(conn, query.users)?;
    let mut mirrors = BTreeMap::new();
    for source in query.sources {
        let mine = query.accounts.iter().filter(|(name, _)| name == source);
        let exts: BTreeSet<&str> = mine.map(|(_, ext)| ext.as_str()).collect();
        if let Some(mirror) = mirror(conn, source, &exts, query.refs_of(source))? {
            mirrors.insert((*source).to_owned(), mirror);
        }
    }
    let others = others(conn, query, &state, &mirrors)?;
    Ok(Slice { meta, state, mirrors, others })
}

/// The state with those of `users` alone.
fn state(conn: Conn<'_>, users: &BTreeSet<UserId>) -> Result<State, Fault> {
    let (roles, places) = load::roles(conn)?;
    let (sources, source_places) = link_sources(conn)?;
    let mut state = State {
        roles,
        sources,
        catalog: load::catalog(conn)?,
        workload: load::workload(conn)?,
        next_user: conn.query_row("SELECT next_user FROM meta", [], |row| user_at(row, 0))?,
        ..State::default()
    };
    let mut sets: HashMap<i64, RoleSetId> = HashMap::new();
    let (mut reasons, mut tokens) = (StoredReasons::default(), Tokens::default());
    let mut one = conn.prepare(USER)?;
    let mut links = conn.prepare(LINKS)?;
    let mut idp = conn.prepare(IDP)?;
    let mut local = conn.prepare(LOCAL)?;
    for id in users {
        let mut rows = one.query([id.get()])?;
        let Some(row) = rows.next()? else { continue };
        let set = set_of(conn, row.get(3)?, &mut sets)?;
        state.users.push(load::user(row, &mut state.texts, set)?);
        let mut rows = links.query([id.get()])?;
        while let Some(row) = rows.next()? {
            state.links.push(link(row, &mut state.texts, &source_places)?);
        }
        let mut rows = idp.query([id.get()])?;
        while let Some(row) = rows.next()? {
            let (role, set) = (role_place(&places, row.get(0)?)?, row.get(1)?);
            reasons.fetch(conn, set)?;
            let kind = GrantKind::Idp(reasons.in_book(set, &mut state.reasons)?);
            state.grants.push(Grant { user: *id, role, kind });
        }
        let mut rows = local.query([id.get()])?;
        while let Some(row) = rows.next()? {
            let role = role_place(&places, row.get(0)?)?;
            let kind = GrantKind::Local(state.locals.push(local_grant(row, 1)?)?);
            state.grants.push(Grant { user: *id, role, kind });
        }
        tokens::of_user(conn, *id, &mut tokens, &mut |num| set_of(conn, num, &mut sets))?;
    }
    state.grants.sort_by_key(order_of_grants);
    tokens.sort();
    state.tokens = tokens.into();
    Ok(state)
}

/// The id of the role set of this number.
fn set_of(
    conn: Conn<'_>,
    num: i64,
    sets: &mut HashMap<i64, RoleSetId>,
) -> Result<RoleSetId, Fault> {
    if let Some(set) = sets.get(&num) {
        return Ok(*set);
    }
    let mut statement = conn.prepare(SET)?;
    let mut rows = statement.query([num])?;
    let row = rows.next()?.ok_or_else(|| unknown_set(num))?;
    let set = set_id(text(row, 0)?)?;
    sets.insert(num, set);
    Ok(set)
}

/// The mirror of `source` with those of `people` alone, and `refs`.
fn mirror(
    conn: Conn<'_>,
    source: &str,
    people: &BTreeSet<&str>,
    refs: PartRefs<'_>,
) -> Result<Option<Mirror>, Fault> {
    let head = conn
        .prepare(HEAD)?
        .query_row([source], |row| {
            let directory = Directory {
                ignore_case: row.get(2)?,
                proven: proven_of(row.get(3)?),
                ..Directory::default()
            };
            let cursor = row.get::<_, Option<String>>(4)?.map(Cursor::new);
            let mirror = Mirror { directory, cursor };
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, mirror, row.get(5)?))
        })
        .optional()?;
    let Some((num, digest, mut mirror, domain)) = head else { return Ok(None) };
    domain_is(&mut mirror.directory, domain)?;
    if digest.parse::<MirrorDigest>().is_err() {
        return Err(damaged("has no digest of this version"));
    }
    let Mirror { directory, .. } = &mut mirror;
    let federations = federations(conn, &mut directory.texts)?;
    let (first, last) = range(num);
    let mut statement =
        conn.prepare(&format!("{} WHERE id BETWEEN ?1 AND ?2 AND {BY_EXT}", patch::USER))?;
    let mut within: Vec<(DirUserIdx, Vec<u32>)> = Vec::new();
    // In the order of their external ids, as a directory's people are.
    for ext in people {
        let mut rows = statement.query(params![first, last, ext])?;
        let Some(row) = rows.next()? else { continue };
        let (_, user) = read_user(row, &mut directory.texts, &federations)?;
        within.push((directory.users.push(user)?, super::mirror::list(row, 7)?));
    }
    let mut numbers = Numbers::default();
    match refs {
        PartRefs::All => load_refs(conn, num, directory, &mut numbers, Lists::Implies)?,
        PartRefs::Near { refs, names } => {
            let mut open: BTreeSet<u32> =
                within.iter().flat_map(|(_, list)| list).copied().collect();
            for wanted in refs {
                open.extend(find_ref(conn, num, wanted)?);
            }
            load_near(conn, num, open, names, directory, &mut numbers)?;
        }
    }
    let Directory { refs, members, .. } = directory;
    let places: HashMap<u32, _> =
        numbers.refs.iter().copied().zip(refs.numbered().map(|(place, _)| place)).collect();
    for (person, list) in within {
        for number in list {
            let list = places.get(&number).and_then(|at| members.get_mut(*at));
            list.ok_or_else(|| damaged("lists something that it does not have"))?.push(person);
        }
    }
    Ok(Some(mirror))
}

/// Everybody but those of a slice, in numbers.
fn others(
    conn: Conn<'_>,
    query: &SliceQuery<'_>,
    state: &State,
    mirrors: &BTreeMap<String, Mirror>,
) -> Result<Others, Fault> {
    // What those of the slice hold, by the number of the role.
    let mut held: HashMap<i64, u64> = HashMap::new();
    let mut roles = conn.prepare(SET_ROLES)?;
    let mut set_of = conn.prepare(SET_OF)?;
    for user in &state.users {
        let set: i64 = set_of.query_row([user.id.get()], |row| row.get(0))?;
        let mut rows = roles.query([set])?;
        while let Some(row) = rows.next()? {
            let holders = held.entry(row.get(0)?).or_default();
            *holders = holders.saturating_add(1);
        }
    }
    let pairs: i64 = conn.query_row(
        "SELECT CAST(coalesce(sum(users), 0) AS BIGINT) FROM role_holders",
        [],
        |row| row.get(0),
    )?;
    let enabled: i64 = conn.query_row("SELECT enabled FROM meta", [], |row| row.get(0))?;
    let counting = state.users.iter().filter(|user| user.status.counts()).count() as u64;
    let mut holders = BTreeMap::new();
    let mut of_role = conn.prepare(HOLDERS)?;
    for name in query.guard.protected_roles.keys() {
        let all = of_role.query_row([name], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
        if let Some((num, users)) = all.optional()? {
            let mine = held.get(&num).copied().unwrap_or_default();
            holders.insert(name.clone(), but(users, mine)?);
        }
    }
    Ok(Others {
        pairs: but(pairs, held.values().sum())?,
        enabled: but(enabled, counting)?,
        holders,
        federated: federated(conn, query.guard, state, mirrors)?,
    })
}

/// A total without those of the slice.
fn but(total: i64, mine: u64) -> Result<u64, Fault> {
    let others = u64::try_from(total).ok().and_then(|total| total.checked_sub(mine));
    others.ok_or_else(|| Fault::Damaged("the numbers of everybody are too small".to_owned()))
}

/// For each federation of the slice's sources how many accounts of others have a user who is enabled,
/// counted as far as it matters.
fn federated(
    conn: Conn<'_>,
    guard: &Guard,
    state: &State,
    mirrors: &BTreeMap<String, Mirror>,
) -> Result<BTreeMap<(String, String), u64>, Fault> {
    let mut counted = BTreeMap::new();
    let mut texts = Texts::default();
    let all = federations(conn, &mut texts)?;
    let mut statement = conn.prepare(FEDERATED)?;
    let enabled: BTreeSet<UserId> = state
        .users
        .iter()
        .filter(|user| user.status == Status::Enabled)
        .map(|user| user.id)
        .collect();
    for (name, Mirror { directory, .. }) in mirrors {
        let Some(source) = mirror_of(conn, name)? else { continue };
        let linked = conn
            .query_row("SELECT num FROM link_source WHERE name = ?1", [name], |row| row.get(0))
            .optional()?;
        let Some(linked): Option<i64> = linked else { continue };
        let place = state.sources.position(|known| known == name);
        let mine: HashMap<&str, UserId> = state
            .links
            .iter()
            .filter(|link| Some(link.source) == place && enabled.contains(&link.user))
            .map(|link| (state.texts.get(link.ext), link.user))
            .collect();
        for (num, federation) in &all {
            let federation = texts.get(*federation);
            let own = directory.users.iter().filter(|row| {
                directory.text(row.federation) == federation
                    && mine.contains_key(directory.text(row.ext))
            });
            let own = own.count() as u64;
            let most = enough(guard, directory.users.len() as u64);
            let most = most.map_or(i64::MAX, |most| {
                i64::try_from(most.saturating_add(own)).unwrap_or(i64::MAX)
            });
            let (first, last) = range(source);
            let there: i64 =
                statement.query_row(params![first, last, num, linked, most], |row| row.get(0))?;
            let others = but(there.max(i64::try_from(own).unwrap_or(i64::MAX)), own)?;
            if others > 0 {
                counted.insert((name.clone(), federation.to_owned()), others);
            }
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::sqlite::SqliteWriter;

    /// How SQLite would run a statement, step by step.
    fn steps(conn: &Connection, sql: &str) -> Vec<String> {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = statement.parameter_count();
        let nothing = vec![rusqlite::types::Null; count];
        let rows = statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3));
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// The steps that pass over a table, or over all that a source's mirror has of it.
    fn passes(conn: &Connection, sql: &str) -> Vec<String> {
        let passes = |step: &String| {
            let scan = step.starts_with("SCAN ") && step != "SCAN counted";
            scan || step.contains("INTEGER PRIMARY KEY (rowid>")
        };
        steps(conn, sql).into_iter().filter(passes).collect()
    }

    #[test]
    fn nothing_that_one_change_asks_passes_over_people() {
        let folder = tempfile::tempdir().unwrap();
        let writer = SqliteWriter::open(&folder.path().join("store.db")).unwrap();
        let conn = writer.connection();
        let all = of_one_change();
        for sql in &all {
            assert_eq!(passes(conn, sql), [""; 0], "{sql}: {:#?}", steps(conn, sql));
        }
        // The same look sees one that does, which is what is left where an index is not there.
        for index in
            ["ext", "name", "called", "called_email", "address", "email", "federation", "rid"]
        {
            let sql = format!("SAVEPOINT s; DROP INDEX mirror_user_{index}");
            conn.execute_batch(&sql).unwrap();
            assert!(all.iter().any(|sql| !passes(conn, sql).is_empty()), "{index}");
            conn.execute_batch("ROLLBACK TO s; RELEASE s").unwrap();
        }
        let others = [
            "link_ext",
            "user_username",
            "mirror_container_key",
            "mirror_container_bare",
            "mirror_container_identity",
        ];
        for index in others {
            conn.execute_batch(&format!("SAVEPOINT s; DROP INDEX {index}")).unwrap();
            assert!(all.iter().any(|sql| !passes(conn, sql).is_empty()), "{index}");
            conn.execute_batch("ROLLBACK TO s; RELEASE s").unwrap();
        }
    }
}
