//! What bears on one stranger, without loading a million others: what roles there are, whether
//! anybody bears the name or the id already, how each source is built, and who of its mirror may
//! be the same person.

use std::collections::BTreeMap;

use crate::store::sql::db::{Conn, OptionalExtension, Row, params, params_from_iter};

use super::codec::user_at;
use super::error::Fault;
use super::load;
use super::mirror::{
    Lists, Numbers, domain_is, federations, id, list, load_refs, range, read_user,
};
use super::names::{self, BY_ADDRESS, BY_CALLED, BY_CALLED_EMAIL, BY_EMAIL, BY_EXT, BY_USERNAME};
use super::patch::called;
use super::reader;
use crate::directory::{AccountSid, DirUser, Directory, MirrorDigest, RefId, Sighting, Within};
use crate::model::username::UsernameFrom;
use crate::model::{IndexVec, ReasonBook, State, Texts, UserId};
use crate::store::{Acquaintance, Marks, MirrorOutline, ProvisionContext, ProvisionQuery};

/// Reads a stranger's surroundings.
pub(super) fn provision_context(
    conn: Conn<'_>,
    query: &ProvisionQuery<'_>,
) -> Result<ProvisionContext, Fault> {
    let meta = reader::meta(conn)?;
    let held = super::held::load(conn)?;
    let mut mirrors = BTreeMap::new();
    for source in &query.sources {
        if let Some(outline) = outline(conn, source, query)? {
            mirrors.insert((*source).to_owned(), outline);
        }
    }
    let (roles, _) = load::roles(conn)?;
    let (sources, _) = load::link_sources(conn)?;
    let state = State {
        texts: Texts::default(),
        roles,
        sources,
        users: Vec::new(),
        links: Vec::new(),
        grants: Vec::new(),
        reasons: ReasonBook::default(),
        locals: IndexVec::default(),
        tokens: Default::default(),
        catalog: load::catalog(conn)?,
        workload: load::workload(conn)?,
        next_user: conn.query_row("SELECT next_user FROM meta", [], |row| user_at(row, 0))?,
    };
    let mut ids: Vec<(&str, &str)> = query.exts.clone();
    for (source, outline) in &mirrors {
        ids.extend(outline.rows.iter().map(|row| (source.as_str(), row.ext.as_str())));
    }
    let known = known(conn, &query.who.username, &ids)?;
    Ok(ProvisionContext { meta, held, known, state, mirrors })
}

/// Those who bear `name`, and those who are known by one of `ids`, by number.
fn known(conn: Conn<'_>, name: &str, ids: &[(&str, &str)]) -> Result<Vec<Acquaintance>, Fault> {
    const COLUMNS: &str = "u.id, u.username, u.status, u.since, u.disabled_by";
    let mut found: BTreeMap<UserId, Acquaintance> = BTreeMap::new();
    let mut take = |row: Row<'_>, id: Option<(String, String, bool)>| {
        let (user, username) = (user_at(row, 0)?, row.get(1)?);
        let status = load::status(row, 2)?;
        let new = Acquaintance { user, username, status, ids: Vec::new() };
        found.entry(user).or_insert(new).ids.extend(id);
        Ok::<(), Fault>(())
    };
    let mut statement =
        conn.prepare(&format!("SELECT {COLUMNS} FROM user u WHERE u.username = ?1"))?;
    let mut rows = statement.query([name])?;
    while let Some(row) = rows.next()? {
        take(row, None)?;
    }
    if !ids.is_empty() {
        // One pass over the links, whatever the number of ids.
        let marks: Vec<String> = (1..=ids.len()).map(|place| format!("?{place}")).collect();
        let marks = marks.join(", ");
        let sql = format!(
            "SELECT {COLUMNS}, s.name, l.ext, l.claim IS NOT NULL AND l.claim <> u.username FROM link l \
             JOIN link_source s ON s.num = l.source \
             JOIN user u ON u.id = l.user WHERE l.ext IN ({marks})"
        );
        let mut statement = conn.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(ids.iter().map(|(_, ext)| *ext)))?;
        while let Some(row) = rows.next()? {
            let (source, ext): (String, String) = (row.get(5)?, row.get(6)?);
            if ids.contains(&(source.as_str(), ext.as_str())) {
                take(row, Some((source, ext, row.get(7)?)))?;
            }
        }
    }
    Ok(found.into_values().collect())
}

fn outline(
    conn: Conn<'_>,
    source: &str,
    query: &ProvisionQuery<'_>,
) -> Result<Option<MirrorOutline>, Fault> {
    let row = conn
        .query_row(
            "SELECT num, digest, ignore_case, domain FROM source \
             WHERE name = ?1 AND digest IS NOT NULL",
            [source],
            |row| {
                let domain: Option<String> = row.get(3)?;
                Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, domain))
            },
        )
        .optional()?;
    let Some((num, digest, ignore_case, domain)) = row else { return Ok(None) };
    // An older program's mirror does not say yet who is in what.
    if digest.parse::<MirrorDigest>().is_err() {
        return Ok(None);
    }
    let rows = candidates(conn, (num, source), domain.as_deref(), query)?;
    let mut directory = Directory { ignore_case, ..Directory::default() };
    domain_is(&mut directory, domain)?;
    load_refs(conn, num, &mut directory, &mut Numbers::default(), Lists::Implies)?;
    Ok(Some(MirrorOutline { directory, rows }))
}

/// A row of the mirror of a domain, from the columns
/// `id, ext, username, email, flags, federation, rid, within`.
fn sighting(
    conn: Conn<'_>,
    (source, domain): (i64, Option<&str>),
    row: Row<'_>,
    user: &DirUser,
    texts: &Texts,
) -> Result<Sighting, Fault> {
    let text = |text| texts.get(text).to_owned();
    let within = list(row, 7)?.into_iter().map(|reference| {
        let RefId { kind, key } = called(conn, source, reference)?;
        Ok(Within { kind, key, name: None })
    });
    let mut person = Sighting {
        ext: text(user.ext),
        username: text(user.username),
        email: text(user.email),
        email_verified: user.email_verified,
        enabled: user.enabled,
        federation: text(user.federation),
        sid: domain.and_then(|domain| AccountSid::of_domain(domain, user.rid)),
        within: within.collect::<Result<_, Fault>>()?,
    };
    person.sort();
    Ok(person)
}

/// The rows of a mirror that may be the query.
fn candidates(
    conn: Conn<'_>,
    (num, source): (i64, &str),
    domain: Option<&str>,
    query: &ProvisionQuery<'_>,
) -> Result<Vec<Sighting>, Fault> {
    names::must_be_current(conn)?;
    let (first, last) = range(num);
    let who = query.who;
    let exts: Vec<&str> =
        query.exts.iter().filter(|(name, _)| *name == source).map(|(_, ext)| *ext).collect();
    let mut texts = Texts::default();
    let federations = federations(conn, &mut texts)?;
    let mut found: BTreeMap<u32, Sighting> = BTreeMap::new();
    let mut take = |test: &str, value: &str| -> Result<(), Fault> {
        let mut statement = conn.prepare(&format!(
            "SELECT id, ext, username, email, flags, federation, rid, within FROM mirror_user \
             WHERE {test} AND id BETWEEN ?1 AND ?2"
        ))?;
        let mut rows = statement.query(params![first, last, value])?;
        while let Some(row) = rows.next()? {
            let (number, user) = read_user(row, &mut texts, &federations)?;
            let (ext, email) = (texts.get(user.ext), texts.get(user.email));
            if who.is(texts.get(user.username), email)
                || exts.contains(&ext)
                || query.emails.contains(&email.to_lowercase())
            {
                found.insert(number, sighting(conn, (num, domain), row, &user, &texts)?);
            }
        }
        Ok(())
    };
    for ext in exts.iter().filter(|ext| !ext.is_empty()) {
        take(BY_EXT, ext)?;
    }
    // SQLite folds ASCII only: whoever is compared otherwise has that form in a column.
    let (plain, form) = match who.by {
        UsernameFrom::Username => (BY_USERNAME, BY_CALLED),
        UsernameFrom::Email => (BY_EMAIL, BY_CALLED_EMAIL),
    };
    take(plain, &who.username)?;
    take(form, &who.username)?;
    for email in query.emails.iter().filter(|email| !email.is_empty()) {
        take(BY_EMAIL, email)?;
        take(BY_ADDRESS, email)?;
    }
    Ok(found.into_values().collect())
}

/// The next free number of each source's mirror.
pub(super) fn marks(conn: Conn<'_>) -> Result<Marks, Fault> {
    let mut statement = conn.prepare("SELECT name, next_user FROM source")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Marks(rows.collect::<Result<_, _>>()?))
}

/// Those who came into the mirror of `source` under numbers from its mark on. Whatever has none was
/// made since the marks were taken: nobody is told from who was there then.
pub(super) fn added_since(
    conn: Conn<'_>,
    source: &str,
    Marks(marks): &Marks,
) -> Result<Vec<Sighting>, Fault> {
    let Some(mark) = marks.get(source).copied() else { return Ok(Vec::new()) };
    let row: Option<(i64, Option<String>)> = conn
        .query_row("SELECT num, domain FROM source WHERE name = ?1", [source], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((num, domain)) = row else { return Ok(Vec::new()) };
    let mut texts = Texts::default();
    let federations = federations(conn, &mut texts)?;
    let mut statement = conn.prepare(
        "SELECT id, ext, username, email, flags, federation, rid, within FROM mirror_user \
         WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows = statement.query([id(num, mark), range(num).1])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (_, user) = read_user(row, &mut texts, &federations)?;
        found.push(sighting(conn, (num, domain.as_deref()), row, &user, &texts)?);
    }
    Ok(found)
}
