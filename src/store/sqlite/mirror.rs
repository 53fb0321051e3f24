//! Mirrors: what each source last said, as rows that are written only where they change.
//!
//! Every user and reference of a mirror has a small number of its own that it keeps for as long as
//! the source has it. Members are lists of those numbers, so someone new with an external id in
//! the middle of the alphabet moves nobody else.

use std::cmp::Ordering;
use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::batch::{Batch, Cell, filling};
use super::codec::{decode, encode};
use super::error::Fault;
use super::load::text;
use super::reader::time;
use crate::directory::{DirUser, Directory, Enabled, Kind, Proven, RefRow};
use crate::model::{Text, Texts};
use crate::store::Mirror;
pub(super) use crate::store::mirror::Numbers;

/// The row of a source that matters to its mirror.
struct SourceRow {
    num: i64,
    digest: Option<String>,
    next_user: u32,
    next_ref: u32,
}

/// By [`kind_code`].
const KINDS: [Kind; 4] = [Kind::Group, Kind::RealmRole, Kind::ClientRole, Kind::Attribute];

fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::Group => 0,
        Kind::RealmRole => 1,
        Kind::ClientRole => 2,
        Kind::Attribute => 3,
    }
}

pub(super) fn damaged(what: &str) -> Fault {
    Fault::Damaged(format!("a mirror {what}"))
}

/// The first and the last possible id of a source's rows.
pub(super) fn range(source: i64) -> (i64, i64) {
    (id(source, 0), id(source, u32::MAX))
}

pub(super) fn id(source: i64, number: u32) -> i64 {
    (source << 32) | i64::from(number)
}

/// The thing's own number in a row's id.
pub(super) fn number(id: i64) -> u32 {
    (id & i64::from(u32::MAX)) as u32
}

/// A source's `proven`.
fn proven_code(proven: Proven) -> i64 {
    let Proven { users, groups, roles } = proven;
    i64::from(users) | i64::from(groups) << 1 | i64::from(roles) << 2
}

fn proven_of(code: i64) -> Proven {
    Proven { users: code & 1 != 0, groups: code & 2 != 0, roles: code & 4 != 0 }
}

/// A row's `flags`.
fn user_flags(user: &DirUser) -> i64 {
    let flags = flags(user.enabled, user.email_verified);
    if user.linkable { flags } else { flags | 8 }
}

/// The `flags` of a user that can be linked.
pub(super) fn flags(enabled: Enabled, email_verified: bool) -> i64 {
    let enabled = match enabled {
        Enabled::Yes => 0,
        Enabled::No => 1,
        Enabled::Unknown => 2,
    };
    if email_verified { enabled | 4 } else { enabled }
}

/// A user, from the columns `id, ext, username, email, flags, federation`.
pub(super) fn read_user(
    row: &rusqlite::Row<'_>,
    texts: &mut Texts,
    federations: &HashMap<i64, Text>,
) -> Result<(u32, DirUser), Fault> {
    let flags: i64 = row.get(4)?;
    let federation = match row.get::<_, Option<i64>>(5)? {
        None => Text::EMPTY,
        Some(num) => *federations.get(&num).ok_or_else(|| damaged("lacks a federation"))?,
    };
    let user = DirUser {
        ext: texts.add(text(row, 1)?),
        username: texts.add(text(row, 2)?),
        email: texts.add(text(row, 3)?),
        email_verified: flags & 4 != 0,
        enabled: match flags & 3 {
            0 => Enabled::Yes,
            1 => Enabled::No,
            _ => Enabled::Unknown,
        },
        federation,
        linkable: flags & 8 == 0,
    };
    Ok((number(row.get(0)?), user))
}

/// The mirror of `source`.
pub(super) fn load(conn: &Connection, source: &str) -> Result<Option<Mirror>, Fault> {
    let row = conn
        .query_row(
            "SELECT num, digest, ignore_case, read_at, proven FROM source \
             WHERE name = ?1 AND digest IS NOT NULL",
            [source],
            |row| {
                let read_at = time(row, 3)?;
                Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, read_at, row.get(4)?))
            },
        )
        .optional()?;
    let Some((num, digest, ignore_case, read_at, proven)) = row else { return Ok(None) };
    let proven = proven_of(proven);
    let mut directory = Directory { ignore_case, proven, ..Directory::default() };
    let mut numbers = Numbers::default();
    load_users(conn, num, &mut directory, &mut numbers)?;
    load_refs(conn, num, &mut directory, &mut numbers, None)?;
    Ok(Some(Mirror { directory, digest, read_at, numbers }))
}

/// The groups, roles and attribute values of the mirror of `source`, and what they lead to, without
/// anybody in them.
pub(super) fn structure(conn: &Connection, source: &str) -> Result<Option<Directory>, Fault> {
    let row = conn
        .query_row(
            "SELECT num, ignore_case FROM source WHERE name = ?1 AND digest IS NOT NULL",
            [source],
            |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((num, ignore_case)) = row else { return Ok(None) };
    let mut directory = Directory { ignore_case, ..Directory::default() };
    load_refs(conn, num, &mut directory, &mut Numbers::default(), Some(&[]))?;
    Ok(Some(directory))
}

fn load_users(
    conn: &Connection,
    source: i64,
    directory: &mut Directory,
    numbers: &mut Numbers,
) -> Result<(), Fault> {
    let federations = federations(conn, &mut directory.texts)?;
    let (first, last) = range(source);
    let mut statement = conn.prepare(
        "SELECT id, ext, username, email, flags, federation FROM mirror_user \
         WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows = statement.query([first, last])?;
    let mut found: Vec<(u32, DirUser)> = Vec::new();
    let texts = &mut directory.texts;
    while let Some(row) = rows.next()? {
        found.push(read_user(row, texts, &federations)?);
    }
    // Numbers follow the order of external ids but for those who came later: one long sorted run
    // and a tail, which this sort is made for.
    let texts = &directory.texts;
    found.sort_by(|(_, a), (_, b)| texts.get(a.ext).cmp(texts.get(b.ext)));
    (numbers.users, directory.users) = found.into_iter().unzip();
    Ok(())
}

/// Loads the refs with their members; with `only` without, and returns instead, for each,
/// who of these users (by number) is in it.
pub(super) fn load_refs(
    conn: &Connection,
    source: i64,
    directory: &mut Directory,
    numbers: &mut Numbers,
    only: Option<&[u32]>,
) -> Result<Vec<Vec<u32>>, Fault> {
    struct Found {
        number: u32,
        reference: RefRow,
        members: Vec<u32>,
        implies: Vec<u32>,
        those: Vec<u32>,
    }
    let user_places = places(&numbers.users);
    let (first, last) = range(source);
    let mut statement = conn.prepare(
        "SELECT id, kind, key, name, identity, norm, parent, members, up, known, up_known \
         FROM mirror_container \
         WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows = statement.query([first, last])?;
    let mut found = Vec::new();
    let texts = &mut directory.texts;
    while let Some(row) = rows.next()? {
        let kind: usize = row.get::<_, u32>(1)? as usize;
        let list = |column: usize| {
            let blob = row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?;
            decode(blob).ok_or_else(|| damaged("has a list that cannot be read"))
        };
        let reference = RefRow {
            kind: *KINDS.get(kind).ok_or_else(|| damaged("has a thing of unknown kind"))?,
            key: texts.add(text(row, 2)?),
            name: texts.add(text(row, 3)?),
            identity: texts.add(text(row, 4)?),
            norm: texts.add(text(row, 5)?),
            parent: row.get(6)?,
            known: row.get(9)?,
            implies_known: row.get(10)?,
        };
        let (members, those) = match only {
            None => (to_places(list(7)?, &user_places)?, Vec::new()),
            // Most strangers are in no mirror: then no list need be looked at.
            Some([]) => (Vec::new(), Vec::new()),
            Some(only) => {
                let mut those = list(7)?;
                those.retain(|user| only.contains(user));
                (Vec::new(), those)
            }
        };
        found.push(Found {
            number: number(row.get(0)?),
            reference,
            members,
            implies: list(8)?,
            those,
        });
    }
    let texts = &directory.texts;
    found.sort_by(|a, b| {
        let key = |found: &Found| (found.reference.kind, texts.get(found.reference.key));
        key(a).cmp(&key(b))
    });
    numbers.refs = found.iter().map(|found| found.number).collect();
    let ref_places = places(&numbers.refs);
    let mut those = Vec::with_capacity(found.len());
    for mut found in found {
        those.push(found.those);
        if let Some(parent) = found.reference.parent {
            let parent = to_places(vec![parent], &ref_places)?;
            found.reference.parent = parent.first().copied();
        }
        directory.refs.push(found.reference);
        directory.members.push(found.members);
        directory.implies.push(to_places(found.implies, &ref_places)?);
    }
    Ok(those)
}

/// For each number its place, `u32::MAX` for numbers that nothing has.
fn places(numbers: &[u32]) -> Vec<u32> {
    let size = numbers.iter().max().map_or(0, |max| *max as usize + 1);
    let mut places = vec![u32::MAX; size];
    for (place, number) in (0u32..).zip(numbers) {
        if let Some(slot) = places.get_mut(*number as usize) {
            *slot = place;
        }
    }
    places
}

/// Turns numbers into places, sorted.
fn to_places(mut list: Vec<u32>, places: &[u32]) -> Result<Vec<u32>, Fault> {
    for item in &mut list {
        *item = match places.get(*item as usize) {
            Some(place) if *place != u32::MAX => *place,
            _ => return Err(damaged("lists something that it does not have")),
        };
    }
    list.sort_unstable();
    Ok(list)
}

pub(super) fn federations(
    conn: &Connection,
    texts: &mut Texts,
) -> Result<HashMap<i64, Text>, Fault> {
    let mut statement = conn.prepare("SELECT num, id FROM federation")?;
    let mut rows = statement.query([])?;
    let mut federations = HashMap::new();
    while let Some(row) = rows.next()? {
        federations.insert(row.get(0)?, texts.add(text(row, 1)?));
    }
    Ok(federations)
}

/// Makes the stored mirror of `source` say what `new` says. The source must have its row already.
/// `old` is the mirror as it was loaded; another one in the store means that somebody else wrote.
pub(super) fn write(
    conn: &Connection,
    source: &str,
    old: Option<&Mirror>,
    new: &Directory,
    digest: &str,
) -> Result<(), Fault> {
    let mut row = conn.query_row(
        "SELECT num, digest, next_user, next_container FROM source WHERE name = ?1",
        [source],
        |row| {
            Ok(SourceRow {
                num: row.get(0)?,
                digest: row.get(1)?,
                next_user: row.get(2)?,
                next_ref: row.get(3)?,
            })
        },
    )?;
    if row.digest.as_deref() != old.map(|old| old.digest.as_str()) {
        return Err(Fault::Raced);
    }
    if row.digest.as_deref() == Some(digest) {
        return Ok(());
    }
    let nothing = (Directory::default(), Numbers::default());
    let (old, old_numbers) =
        old.map_or((&nothing.0, &nothing.1), |old| (&old.directory, &old.numbers));
    let coming = new.users.len().saturating_sub(old.users.len());
    let users = filling(conn, "mirror_user", coming, || {
        write_users(conn, &mut row, (old, old_numbers), new)
    })?;
    write_refs(conn, &mut row, (old, old_numbers), new, &users)?;
    conn.execute(
        "UPDATE source SET digest = ?2, ignore_case = ?3, next_user = ?4, next_container = ?5, \
         proven = ?6 WHERE num = ?1",
        params![
            row.num,
            digest,
            new.ignore_case,
            row.next_user,
            row.next_ref,
            proven_code(new.proven)
        ],
    )?;
    Ok(())
}

/// Drops the mirror and the row of a source.
pub(super) fn drop_source(conn: &Connection, num: i64) -> Result<(), Fault> {
    let (first, last) = range(num);
    conn.execute("DELETE FROM mirror_user WHERE id BETWEEN ?1 AND ?2", [first, last])?;
    conn.execute("DELETE FROM mirror_container WHERE id BETWEEN ?1 AND ?2", [first, last])?;
    conn.execute("DELETE FROM source WHERE num = ?1", [num])?;
    Ok(())
}

pub(super) fn one(changed: usize) -> Result<(), Fault> {
    if changed == 1 { Ok(()) } else { Err(damaged("lacks a row that it should have")) }
}

fn place<T: Copy>(list: &[T], place: usize) -> Result<T, Fault> {
    list.get(place).copied().ok_or_else(|| damaged("is shorter than it says"))
}

pub(super) fn taken(next: &mut u32) -> Result<u32, Fault> {
    let number = *next;
    *next = number.checked_add(1).ok_or_else(|| damaged("has run out of numbers"))?;
    Ok(number)
}

/// Writes the users that differ; both lists are sorted by external id. Returns the new numbers.
fn write_users(
    conn: &Connection,
    row: &mut SourceRow,
    (old, old_numbers): (&Directory, &Numbers),
    new: &Directory,
) -> Result<Vec<u32>, Fault> {
    let mut insert = Batch::new(conn, "mirror_user (id, ext, username, email, flags, federation)");
    let mut update = conn.prepare(
        "UPDATE mirror_user SET ext = ?2, username = ?3, email = ?4, flags = ?5, federation = ?6 \
         WHERE id = ?1",
    )?;
    let mut delete = conn.prepare("DELETE FROM mirror_user WHERE id = ?1")?;
    let mut federations = Federations::default();
    let source = row.num;
    let mut cells = |number: u32, user: &DirUser| -> Result<[Cell<'_>; 6], Fault> {
        let federation = federations.num(conn, new.text(user.federation))?;
        Ok([
            id(source, number).into(),
            new.text(user.ext).into(),
            new.text(user.username).into(),
            new.text(user.email).into(),
            user_flags(user).into(),
            federation.into(),
        ])
    };
    let same = |a: &DirUser, b: &DirUser| {
        user_flags(a) == user_flags(b)
            && old.text(a.username) == new.text(b.username)
            && old.text(a.email) == new.text(b.email)
            && old.text(a.federation) == new.text(b.federation)
    };
    let mut numbers = Vec::with_capacity(new.users.len());
    let mut at = 0;
    for user in &new.users {
        let mut number = None;
        while let Some(before) = old.users.get(at) {
            let kept = place(&old_numbers.users, at)?;
            match old.text(before.ext).cmp(new.text(user.ext)) {
                Ordering::Greater => break,
                Ordering::Less => one(delete.execute([id(row.num, kept)])?)?,
                Ordering::Equal => {
                    if !same(before, user) {
                        one(update.execute(params_from_iter(cells(kept, user)?))?)?;
                    }
                    number = Some(kept);
                }
            }
            at = at.saturating_add(1);
            if number.is_some() {
                break;
            }
        }
        numbers.push(match number {
            Some(number) => number,
            None => {
                let number = taken(&mut row.next_user)?;
                insert.add(cells(number, user)?)?;
                number
            }
        });
    }
    insert.finish()?;
    for kept in old_numbers.users.iter().skip(at) {
        one(delete.execute([id(row.num, *kept)])?)?;
    }
    Ok(numbers)
}

fn key<'a>(directory: &'a Directory, reference: &RefRow) -> (Kind, &'a str) {
    (reference.kind, directory.text(reference.key))
}

fn names<'a>(directory: &'a Directory, reference: &RefRow) -> [&'a str; 3] {
    [reference.name, reference.identity, reference.norm].map(|text| directory.text(text))
}

/// Where each new reference was in the old directory; both are sorted by kind and key.
fn matched(old: &Directory, new: &Directory) -> Vec<Option<usize>> {
    let mut at = 0;
    let mut matched = Vec::with_capacity(new.refs.len());
    for reference in &new.refs {
        let wanted = key(new, reference);
        while old.refs.get(at).is_some_and(|before| key(old, before) < wanted) {
            at = at.saturating_add(1);
        }
        let same = old.refs.get(at).is_some_and(|before| key(old, before) == wanted);
        matched.push(same.then_some(at));
    }
    matched
}

/// Writes the refs that differ, by name or by members.
fn write_refs(
    conn: &Connection,
    row: &mut SourceRow,
    (old, old_numbers): (&Directory, &Numbers),
    new: &Directory,
    users: &[u32],
) -> Result<(), Fault> {
    let matched = matched(old, new);
    let mut gone = vec![true; old.refs.len()];
    let mut numbers = Vec::with_capacity(matched.len());
    for before in &matched {
        numbers.push(match before {
            Some(before) => {
                if let Some(gone) = gone.get_mut(*before) {
                    *gone = false;
                }
                place(&old_numbers.refs, *before)?
            }
            None => taken(&mut row.next_ref)?,
        });
    }
    let mut delete = conn.prepare("DELETE FROM mirror_container WHERE id = ?1")?;
    for (gone, number) in gone.iter().zip(&old_numbers.refs) {
        if *gone {
            one(delete.execute([id(row.num, *number)])?)?;
        }
    }
    let mut replace = conn.prepare(
        "INSERT OR REPLACE INTO mirror_container \
         (id, kind, key, name, identity, norm, parent, members, up, known, up_known) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let list = |lists: &[Vec<u32>], at: usize, numbers: &[u32]| -> Result<Vec<u32>, Fault> {
        let places = lists.get(at).map_or(&[][..], Vec::as_slice);
        places.iter().map(|item| place(numbers, *item as usize)).collect()
    };
    let parent = |reference: &RefRow, numbers: &[u32]| {
        reference.parent.map(|parent| place(numbers, parent as usize)).transpose()
    };
    for (at, (reference, before)) in new.refs.iter().zip(&matched).enumerate() {
        // Places follow external ids and keys in both directories, so lists of numbers in order
        // of places are equal exactly where the lists mean the same.
        let mut members = list(&new.members, at, users)?;
        let mut implies = list(&new.implies, at, &numbers)?;
        let ref_parent = parent(reference, &numbers)?;
        if let Some(before_at) = *before {
            let before = place(&old.refs, before_at)?;
            if names(old, &before) == names(new, reference)
                && (before.known, before.implies_known)
                    == (reference.known, reference.implies_known)
                && parent(&before, &old_numbers.refs)? == ref_parent
                && list(&old.members, before_at, &old_numbers.users)? == members
                && list(&old.implies, before_at, &old_numbers.refs)? == implies
            {
                continue;
            }
        }
        members.sort_unstable();
        implies.sort_unstable();
        replace.execute(params![
            id(row.num, place(&numbers, at)?),
            kind_code(reference.kind),
            new.text(reference.key),
            new.text(reference.name),
            new.text(reference.identity),
            new.text(reference.norm),
            ref_parent,
            encode(&members),
            encode(&implies),
            reference.known,
            reference.implies_known,
        ])?;
    }
    Ok(())
}

/// Federation ids are few and long: each is held once.
#[derive(Default)]
pub(super) struct Federations {
    nums: HashMap<String, i64>,
}

impl Federations {
    /// The number of the federation `id`, added where it is new; none for the empty id.
    pub(super) fn num(&mut self, conn: &Connection, id: &str) -> Result<Option<i64>, Fault> {
        if id.is_empty() {
            return Ok(None);
        }
        if let Some(num) = self.nums.get(id) {
            return Ok(Some(*num));
        }
        conn.execute("INSERT INTO federation (id) VALUES (?1) ON CONFLICT DO NOTHING", [id])?;
        let num = conn.query_row("SELECT num FROM federation WHERE id = ?1", [id], |row| {
            row.get::<_, i64>(0)
        })?;
        self.nums.insert(id.to_owned(), num);
        Ok(Some(num))
    }
}
