//! What bears on one stranger, without loading a million others: what roles there are, whether
//! anybody bears the name or the id already, how each source is built, and who of its mirror may
//! be the same person.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::codec::{decode, encode, user_at};
use super::error::Fault;
use super::load;
use super::mirror::{
    Federations, Numbers, damaged, federations, flags, id, load_refs, one, range, read_user, taken,
};
use super::reader;
use crate::directory::{DirUser, Directory, Sighting, Within};
use crate::model::username::UsernameFrom;
use crate::model::{ReasonBook, State, Texts, UserId};
use crate::store::{Acquaintance, MirrorOutline, MirrorPerson, ProvisionContext, ProvisionQuery};

/// Reads a stranger's surroundings.
pub(super) fn provision_context(
    conn: &Connection,
    stranger: &ProvisionQuery<'_>,
) -> Result<ProvisionContext, Fault> {
    let meta = reader::meta(conn)?;
    let held = super::held::load(conn)?;
    let mut mirrors = BTreeMap::new();
    for source in &stranger.sources {
        if let Some(outline) = outline(conn, source, stranger)? {
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
        locals: Vec::new(),
        tokens: Default::default(),
        catalog: load::catalog(conn)?,
        workload: load::workload(conn)?,
        next_user: conn.query_row("SELECT next_user FROM meta", [], |row| user_at(row, 0))?,
    };
    let mut ids: Vec<(&str, &str)> = stranger.exts.clone();
    for (source, outline) in &mirrors {
        ids.extend(outline.rows.iter().map(|row| (source.as_str(), row.ext.as_str())));
    }
    let known = known(conn, &stranger.who.username, &ids)?;
    Ok(ProvisionContext { meta, held, known, state, mirrors })
}

/// Those who bear `name`, and those who are known by one of `ids`, by number.
fn known(conn: &Connection, name: &str, ids: &[(&str, &str)]) -> Result<Vec<Acquaintance>, Fault> {
    const COLUMNS: &str = "u.id, u.username, u.status, u.since, u.disabled_by";
    let mut found: BTreeMap<UserId, Acquaintance> = BTreeMap::new();
    let mut take = |row: &rusqlite::Row<'_>, id: Option<(String, String, bool)>| {
        let (user, username) = (user_at(row, 0)?, row.get(1)?);
        let status = load::status(row, 2)?;
        let new = Acquaintance { user, username, status, ids: Vec::new() };
        found.entry(user).or_insert(new).ids.extend(id);
        Ok::<(), Fault>(())
    };
    let mut statement =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM user u WHERE u.username = ?1"))?;
    let mut rows = statement.query([name])?;
    while let Some(row) = rows.next()? {
        take(row, None)?;
    }
    if !ids.is_empty() {
        // One pass over the links, whatever the number of ids.
        let marks = vec!["?"; ids.len()].join(", ");
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
    conn: &Connection,
    source: &str,
    stranger: &ProvisionQuery<'_>,
) -> Result<Option<MirrorOutline>, Fault> {
    let row = conn
        .query_row(
            "SELECT num, digest, ignore_case FROM source WHERE name = ?1 AND digest IS NOT NULL",
            [source],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get(2)?)),
        )
        .optional()?;
    let Some((num, digest, ignore_case)) = row else { return Ok(None) };
    let (first, last) = range(num);
    let found = candidates(conn, (first, last), source, stranger)?;
    let people: Vec<u32> = found.iter().map(|(number, _)| *number).collect();
    let mut directory = Directory { ignore_case, ..Directory::default() };
    let mut numbers = Numbers::default();
    let members = load_refs(conn, num, &mut directory, &mut numbers, Some(&people))?;
    let rows = place(&directory, found, &members);
    let row_numbers = rows.iter().map(|(number, row)| (row.ext.clone(), *number)).collect();
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Ok(Some(MirrorOutline { directory, rows, digest, numbers: numbers.refs, row_numbers }))
}

/// Says of each person what they are within: `members` holds people's numbers, reference by
/// reference.
fn place(
    directory: &Directory,
    mut people: Vec<(u32, Sighting)>,
    members: &[Vec<u32>],
) -> Vec<(u32, Sighting)> {
    for (reference, members) in directory.refs.iter().zip(members) {
        for (number, person) in &mut people {
            if members.contains(number) {
                person.within.push(Within {
                    kind: reference.kind,
                    key: directory.text(reference.key).to_owned(),
                    name: None,
                });
            }
        }
    }
    people.iter_mut().for_each(|(_, person)| person.sort());
    people
}

/// A mirror's row, not yet within anything.
fn sighting(texts: &Texts, user: &DirUser) -> Sighting {
    let text = |text| texts.get(text).to_owned();
    Sighting {
        ext: text(user.ext),
        username: text(user.username),
        email: text(user.email),
        email_verified: user.email_verified,
        enabled: user.enabled,
        federation: text(user.federation),
        within: Vec::new(),
    }
}

/// The rows of a mirror that may be the stranger, by number.
fn candidates(
    conn: &Connection,
    (first, last): (i64, i64),
    source: &str,
    stranger: &ProvisionQuery<'_>,
) -> Result<Vec<(u32, Sighting)>, Fault> {
    let who = stranger.who;
    let exts: Vec<&str> =
        stranger.exts.iter().filter(|(name, _)| *name == source).map(|(_, ext)| *ext).collect();
    let mut texts = Texts::default();
    let federations = federations(conn, &mut texts)?;
    let mut found: BTreeMap<u32, Sighting> = BTreeMap::new();
    let mut take = |test: &str, value: &str| -> Result<(), Fault> {
        let mut statement = conn.prepare_cached(&format!(
            "SELECT id, ext, username, email, flags, federation FROM mirror_user \
             WHERE {test} AND id BETWEEN ?1 AND ?2"
        ))?;
        let mut rows = if value.is_empty() {
            statement.query(params![first, last])?
        } else {
            statement.query(params![first, last, value])?
        };
        while let Some(row) = rows.next()? {
            let (number, user) = read_user(row, &mut texts, &federations)?;
            let person = sighting(&texts, &user);
            if who.is(&person.username, &person.email)
                || exts.contains(&person.ext.as_str())
                || stranger.emails.contains(&person.email.to_lowercase())
            {
                found.insert(number, person);
            }
        }
        Ok(())
    };
    for ext in exts.iter().filter(|ext| !ext.is_empty()) {
        take("ext = ?3", ext)?;
    }
    // SQLite folds ASCII only; whoever bears anything else is compared above.
    if who.by == UsernameFrom::Username {
        take("username = ?3 COLLATE NOCASE", &who.username)?;
        take("username GLOB '*[^ -~]*'", "")?;
    }
    // There is no index of addresses: these pass over all of the mirror.
    if who.by == UsernameFrom::Email {
        take("email = ?3 COLLATE NOCASE", &who.username)?;
    }
    for email in stranger.emails.iter().filter(|email| !email.is_empty()) {
        take("email = ?3 COLLATE NOCASE", email)?;
    }
    if who.by == UsernameFrom::Email || !stranger.emails.is_empty() {
        take("email GLOB '*[^ -~]*'", "")?;
    }
    Ok(found.into_iter().collect())
}

/// The next free number of each source's mirror.
pub(super) fn marks(conn: &Connection) -> Result<BTreeMap<String, u32>, Fault> {
    let mut statement = conn.prepare("SELECT name, next_user FROM source")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those who came into the mirror of `source` under numbers from `mark` on.
pub(super) fn added_since(
    conn: &Connection,
    source: &str,
    mark: u32,
) -> Result<Vec<Sighting>, Fault> {
    let num: Option<i64> = conn
        .query_row("SELECT num FROM source WHERE name = ?1", [source], |row| row.get(0))
        .optional()?;
    let Some(num) = num else { return Ok(Vec::new()) };
    let mut texts = Texts::default();
    let federations = federations(conn, &mut texts)?;
    let mut statement = conn.prepare(
        "SELECT id, ext, username, email, flags, federation FROM mirror_user \
         WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows = statement.query([id(num, mark), range(num).1])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, user) = read_user(row, &mut texts, &federations)?;
        found.push((number, sighting(&texts, &user)));
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let people: Vec<u32> = found.iter().map(|(number, _)| *number).collect();
    let mut directory = Directory::default();
    let mut numbers = Numbers::default();
    let members = load_refs(conn, num, &mut directory, &mut numbers, Some(&people))?;
    Ok(place(&directory, found, &members).into_iter().map(|(_, person)| person).collect())
}

/// Puts a person into a mirror under a new number, so that a run that is reading meanwhile can
/// tell who came while it read. Nobody knows the mirror's digest then: the next run compares all
/// of it.
pub(super) fn add(conn: &Connection, version: i64, person: &MirrorPerson<'_>) -> Result<(), Fault> {
    let MirrorPerson { source, outline, person } = person;
    let (num, digest, mut next): (i64, Option<String>, u32) = conn.query_row(
        "SELECT num, digest, next_user FROM source WHERE name = ?1",
        [source],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    if digest.as_deref() != Some(outline.digest.as_str()) {
        return Err(Fault::Raced);
    }
    let old = outline.row_numbers.get(&person.ext).copied();
    if let Some(old) = old {
        one(conn.execute("DELETE FROM mirror_user WHERE id = ?1", [id(num, old)])?)?;
    }
    let number = taken(&mut next)?;
    let federation = Federations::default().num(conn, &person.federation)?;
    conn.execute(
        "INSERT INTO mirror_user (id, ext, username, email, flags, federation) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            id(num, number),
            person.ext,
            person.username,
            person.email,
            flags(person.enabled, person.email_verified),
            federation
        ],
    )?;
    let wanted: Vec<usize> = person
        .within
        .iter()
        .filter_map(|within| crate::directory::find_ref(&outline.directory, within))
        .collect();
    let mut read = conn.prepare("SELECT members FROM mirror_container WHERE id = ?1")?;
    let mut write = conn.prepare("UPDATE mirror_container SET members = ?2 WHERE id = ?1")?;
    for (place, reference) in outline.numbers.iter().enumerate() {
        let in_it = wanted.contains(&place);
        // Only someone whom the mirror had already can be in anything else.
        if !in_it && old.is_none() {
            continue;
        }
        let row = id(num, *reference);
        let blob: Vec<u8> = read.query_row([row], |row| row.get(0))?;
        let mut members = decode(&blob).ok_or_else(|| damaged("has a list that cannot be read"))?;
        let before = members.len();
        members.retain(|member| Some(*member) != old);
        if !in_it && members.len() == before {
            continue;
        }
        if in_it {
            // The highest number of all.
            members.push(number);
        }
        one(write.execute(params![row, encode(&members)])?)?;
    }
    let digest = format!("unknown since {version}");
    conn.execute(
        "UPDATE source SET digest = ?2, next_user = ?3 WHERE num = ?1",
        params![num, digest, next],
    )?;
    Ok(())
}
