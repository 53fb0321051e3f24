//! A mirror as it stands in the store.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::store::sql::db::{Conn, OptionalExtension, Row};

use super::{KINDS, Numbers, damaged, domain_is, number, proven_of, range};
use crate::directory::{
    Cursor, DirUser, DirUserIdx, Directory, Enabled, Kind, Mirror, RefRow, Rid,
};
use crate::model::index::Place;
use crate::model::{Text, Texts};
use crate::store::StoredMirror;
use crate::store::sql::codec::decode;
use crate::store::sql::error::Fault;
use crate::store::sql::load::text;
use crate::store::sql::reader::time;

/// A user, from the columns `id, ext, username, email, flags, federation, rid`.
pub(in crate::store::sql) fn read_user(
    row: Row<'_>,
    texts: &mut Texts,
    federations: &HashMap<i64, Text>,
) -> Result<(u32, DirUser), Fault> {
    let flags: i64 = row.get(4)?;
    let federation = match row.get::<_, Option<i64>>(5)? {
        None => Text::EMPTY,
        Some(num) => *federations.get(&num).ok_or_else(|| damaged("lacks a federation"))?,
    };
    let user = DirUser {
        ext: texts.add(text(row, 1)?)?,
        username: texts.add(text(row, 2)?)?,
        email: texts.add(text(row, 3)?)?,
        email_verified: flags & 4 != 0,
        enabled: match flags & 3 {
            0 => Enabled::Yes,
            1 => Enabled::No,
            _ => Enabled::Unknown,
        },
        federation,
        linkable: flags & 8 == 0,
        rid: Rid::of_code(row.get(6)?),
    };
    Ok((number(row.get(0)?), user))
}

/// The mirror of `source`.
pub(in crate::store::sql) fn load(
    conn: Conn<'_>,
    source: &str,
) -> Result<Option<StoredMirror>, Fault> {
    let row = conn
        .query_row(
            "SELECT num, digest, ignore_case, read_at, proven, cursor, domain FROM source \
             WHERE name = ?1 AND digest IS NOT NULL",
            [source],
            |row| {
                let directory = Directory {
                    ignore_case: row.get(2)?,
                    proven: proven_of(row.get(4)?),
                    ..Directory::default()
                };
                let cursor = row.get::<_, Option<String>>(5)?.map(Cursor::new);
                let mirror = Mirror { directory, cursor };
                Ok((row.get(0)?, row.get(1)?, time(row, 3)?, mirror, row.get(6)?))
            },
        )
        .optional()?;
    let Some((num, digest, read_at, mut mirror, domain)) = row else { return Ok(None) };
    domain_is(&mut mirror.directory, domain)?;
    let mut numbers = Numbers::default();
    load_users(conn, num, &mut mirror.directory, &mut numbers)?;
    load_refs(conn, num, &mut mirror.directory, &mut numbers, Lists::All)?;
    Ok(Some(StoredMirror { mirror, digest, read_at, numbers }))
}

/// The groups, roles and attribute values of the mirror of `source`, and what they lead to, without
/// anybody in them.
pub(in crate::store::sql) fn structure(
    conn: Conn<'_>,
    source: &str,
) -> Result<Option<Directory>, Fault> {
    let row = conn
        .query_row(
            "SELECT num, ignore_case, domain FROM source WHERE name = ?1 AND digest IS NOT NULL",
            [source],
            |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let Some((num, ignore_case, domain)) = row else { return Ok(None) };
    let mut directory = Directory { ignore_case, ..Directory::default() };
    domain_is(&mut directory, domain)?;
    load_refs(conn, num, &mut directory, &mut Numbers::default(), Lists::Implies)?;
    Ok(Some(directory))
}

fn load_users(
    conn: Conn<'_>,
    source: i64,
    directory: &mut Directory,
    numbers: &mut Numbers,
) -> Result<(), Fault> {
    let federations = federations(conn, &mut directory.texts)?;
    let (first, last) = range(source);
    let mut statement = conn.prepare(
        "SELECT id, ext, username, email, flags, federation, rid FROM mirror_user \
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
    let users;
    (numbers.users, users) = found.into_iter().unzip();
    directory.users = Vec::try_into(users)?;
    Ok(())
}

/// Which lists of references are to be loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store::sql) enum Lists {
    /// Their members, and what they lead to.
    All,
    /// What they lead to; nobody is in them.
    Implies,
}

/// The columns that [`read_ref`] reads.
pub(super) const REF_COLUMNS: &str =
    "id, kind, key, name, identity, norm, parent, known, up_known, up, rid";

/// A reference's row, with numbers of what is in other rows.
pub(super) struct FoundRef {
    pub(super) number: u32,
    /// Without its parent.
    pub(super) reference: RefRow,
    pub(super) parent: Option<u32>,
    pub(super) implies: Vec<u32>,
}

/// A list of numbers, from `column`.
pub(in crate::store::sql) fn list(row: Row<'_>, column: usize) -> Result<Vec<u32>, Fault> {
    let blob = row.get_ref(column)?.as_blob()?;
    decode(blob).ok_or_else(|| damaged("has a list that cannot be read"))
}

pub(in crate::store::sql) fn kind(code: u32) -> Result<Kind, Fault> {
    KINDS.get(code as usize).copied().ok_or_else(|| damaged("has a thing of unknown kind"))
}

/// A reference, from [`REF_COLUMNS`].
pub(super) fn read_ref(row: Row<'_>, texts: &mut Texts) -> Result<FoundRef, Fault> {
    let reference = RefRow {
        kind: kind(row.get(1)?)?,
        key: texts.add(text(row, 2)?)?,
        name: texts.add(text(row, 3)?)?,
        identity: texts.add(text(row, 4)?)?,
        norm: texts.add(text(row, 5)?)?,
        parent: None,
        known: row.get(7)?,
        implies_known: row.get(8)?,
        rid: Rid::of_code(row.get(10)?),
    };
    let (parent, implies) = (row.get(6)?, list(row, 9)?);
    Ok(FoundRef { number: number(row.get(0)?), reference, parent, implies })
}

/// Loads the refs with the `lists` that are wanted.
pub(in crate::store::sql) fn load_refs(
    conn: Conn<'_>,
    source: i64,
    directory: &mut Directory,
    numbers: &mut Numbers,
    lists: Lists,
) -> Result<(), Fault> {
    let user_places = places(&numbers.users);
    let (first, last) = range(source);
    // A list of members may be long: where nobody asks for it, it is not looked at.
    let members = if lists == Lists::All { "members" } else { "x''" };
    let mut statement = conn.prepare(&format!(
        "SELECT {REF_COLUMNS}, {members} FROM mirror_container \
         WHERE id BETWEEN ?1 AND ?2 ORDER BY id"
    ))?;
    let mut rows = statement.query([first, last])?;
    let mut found = Vec::new();
    let texts = &mut directory.texts;
    while let Some(row) = rows.next()? {
        let members = to_places(&list(row, 11)?, |number| slot(&user_places, number))?;
        found.push((read_ref(row, texts)?, members));
    }
    put_refs(found, directory, numbers)
}

/// Puts refs, each with its members, into a directory that has none. What they speak of must be among
/// them.
pub(super) fn put_refs(
    mut found: Vec<(FoundRef, Vec<DirUserIdx>)>,
    directory: &mut Directory,
    numbers: &mut Numbers,
) -> Result<(), Fault> {
    let texts = &directory.texts;
    found.sort_by(|(a, _), (b, _)| {
        let key = |found: &FoundRef| (found.reference.kind, texts.get(found.reference.key));
        key(a).cmp(&key(b))
    });
    numbers.refs = found.iter().map(|(found, _)| found.number).collect();
    let ref_places: HashMap<u32, usize> = numbers.refs.iter().copied().zip(0..).collect();
    let place = |number| ref_places.get(&number).copied();
    for (mut found, members) in found {
        found.reference.parent = found.parent.map(|parent| to_place(parent, place)).transpose()?;
        directory.refs.push(found.reference)?;
        directory.members.push(members)?;
        directory.implies.push(to_places(&found.implies, place)?)?;
    }
    Ok(())
}

/// For each number its place and one more; none for numbers that nothing has.
fn places(numbers: &[u32]) -> Vec<Option<NonZeroU32>> {
    let size = numbers.iter().max().map_or(0, |max| *max as usize + 1);
    let mut places = vec![None; size];
    for (next, number) in (1u32..).zip(numbers) {
        if let Some(slot) = places.get_mut(*number as usize) {
            *slot = NonZeroU32::new(next);
        }
    }
    places
}

/// The place of a number.
fn slot(places: &[Option<NonZeroU32>], number: u32) -> Option<usize> {
    let next = places.get(number as usize).copied().flatten()?;
    usize::try_from(next.get()).ok()?.checked_sub(1)
}

/// Turns a number into a place.
fn to_place<I: Place>(number: u32, place: impl Fn(u32) -> Option<usize>) -> Result<I, Fault> {
    let place = place(number).and_then(I::from_place);
    place.ok_or_else(|| damaged("lists something that it does not have"))
}

/// Turns numbers into places, sorted.
fn to_places<I: Place + Ord>(
    list: &[u32],
    place: impl Fn(u32) -> Option<usize> + Copy,
) -> Result<Vec<I>, Fault> {
    let list = list.iter().map(|number| to_place(*number, place));
    let mut list = list.collect::<Result<Vec<I>, Fault>>()?;
    list.sort_unstable();
    Ok(list)
}

pub(in crate::store::sql) fn federations(
    conn: Conn<'_>,
    texts: &mut Texts,
) -> Result<HashMap<i64, Text>, Fault> {
    let mut statement = conn.prepare("SELECT num, id FROM federation")?;
    let mut rows = statement.query([])?;
    let mut federations = HashMap::new();
    while let Some(row) = rows.next()? {
        federations.insert(row.get(0)?, texts.add(text(row, 1)?)?);
    }
    Ok(federations)
}
