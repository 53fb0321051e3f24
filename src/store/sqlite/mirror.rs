//! Mirrors: what each source last said, as rows that are written only where they change.
//!
//! Every user and reference of a mirror has a small number of its own that it keeps for as long as
//! the source has it. Members are lists of those numbers, so someone new with an external id in
//! the middle of the alphabet moves nobody else.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::num::NonZeroU32;

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::batch::{Batch, Cell, filling};
use super::codec::{decode, encode};
use super::error::Fault;
use super::load::text;
use super::names::Forms;
use super::reader::time;
use crate::directory::{
    Cursor, Digest, DigestKey, DirUser, DirUserIdx, Directory, DirectoryDigest, Enabled, Kind,
    Mirror, Proven, RefRow,
};
use crate::model::index::Place;
use crate::model::{Text, Texts};
use crate::store::StoredMirror;
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

pub(super) fn kind_code(kind: Kind) -> i64 {
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

pub(super) fn proven_of(code: i64) -> Proven {
    Proven { users: code & 1 != 0, groups: code & 2 != 0, roles: code & 4 != 0 }
}

/// A row's `flags`.
fn flags(user: &DirUser) -> i64 {
    user_flags(user.enabled, user.email_verified, user.linkable)
}

/// The `flags` of such a user.
pub(super) fn user_flags(enabled: Enabled, email_verified: bool, linkable: bool) -> i64 {
    let enabled = match enabled {
        Enabled::Yes => 0,
        Enabled::No => 1,
        Enabled::Unknown => 2,
    };
    enabled | i64::from(email_verified) << 2 | i64::from(!linkable) << 3
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
pub(super) fn load(conn: &Connection, source: &str) -> Result<Option<StoredMirror>, Fault> {
    let row = conn
        .query_row(
            "SELECT num, digest, ignore_case, read_at, proven, cursor FROM source \
             WHERE name = ?1 AND digest IS NOT NULL",
            [source],
            |row| {
                let directory = Directory {
                    ignore_case: row.get(2)?,
                    proven: proven_of(row.get(4)?),
                    ..Directory::default()
                };
                let cursor = row.get::<_, Option<String>>(5)?.map(Cursor::new);
                Ok((row.get(0)?, row.get(1)?, time(row, 3)?, Mirror { directory, cursor }))
            },
        )
        .optional()?;
    let Some((num, digest, read_at, mut mirror)) = row else { return Ok(None) };
    let mut numbers = Numbers::default();
    load_users(conn, num, &mut mirror.directory, &mut numbers)?;
    load_refs(conn, num, &mut mirror.directory, &mut numbers, Lists::All)?;
    Ok(Some(StoredMirror { mirror, digest, read_at, numbers }))
}

/// What the store's digests hang on.
pub(super) fn digest_key(conn: &Connection) -> Result<DigestKey, Fault> {
    let key = conn.query_row("SELECT digest_key FROM meta", [], |row| row.get(0))?;
    Ok(DigestKey::new(key))
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
    load_refs(conn, num, &mut directory, &mut Numbers::default(), Lists::Implies)?;
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
    let users;
    (numbers.users, users) = found.into_iter().unzip();
    directory.users = Vec::try_into(users)?;
    Ok(())
}

/// Which lists of references are to be loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lists {
    /// Their members, and what they lead to.
    All,
    /// What they lead to; nobody is in them.
    Implies,
}

/// The columns that [`read_ref`] reads.
const REF_COLUMNS: &str = "id, kind, key, name, identity, norm, parent, known, up_known, up";

/// A reference's row, with numbers of what is in other rows.
pub(super) struct FoundRef {
    pub(super) number: u32,
    /// Without its parent.
    pub(super) reference: RefRow,
    pub(super) parent: Option<u32>,
    pub(super) implies: Vec<u32>,
}

/// A list of numbers, from `column`.
pub(super) fn list(row: &rusqlite::Row<'_>, column: usize) -> Result<Vec<u32>, Fault> {
    let blob = row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?;
    decode(blob).ok_or_else(|| damaged("has a list that cannot be read"))
}

pub(super) fn kind(code: u32) -> Result<Kind, Fault> {
    KINDS.get(code as usize).copied().ok_or_else(|| damaged("has a thing of unknown kind"))
}

/// A reference, from [`REF_COLUMNS`].
pub(super) fn read_ref(row: &rusqlite::Row<'_>, texts: &mut Texts) -> Result<FoundRef, Fault> {
    let reference = RefRow {
        kind: kind(row.get(1)?)?,
        key: texts.add(text(row, 2)?),
        name: texts.add(text(row, 3)?),
        identity: texts.add(text(row, 4)?),
        norm: texts.add(text(row, 5)?),
        parent: None,
        known: row.get(7)?,
        implies_known: row.get(8)?,
    };
    let (parent, implies) = (row.get(6)?, list(row, 9)?);
    Ok(FoundRef { number: number(row.get(0)?), reference, parent, implies })
}

/// Loads the refs with the `lists` that are wanted.
pub(super) fn load_refs(
    conn: &Connection,
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
        let members = to_places(&list(row, 10)?, &user_places)?;
        found.push((read_ref(row, texts)?, members));
    }
    let texts = &directory.texts;
    found.sort_by(|(a, _), (b, _)| {
        let key = |found: &FoundRef| (found.reference.kind, texts.get(found.reference.key));
        key(a).cmp(&key(b))
    });
    numbers.refs = found.iter().map(|(found, _)| found.number).collect();
    let ref_places = places(&numbers.refs);
    for (mut found, members) in found {
        found.reference.parent =
            found.parent.map(|parent| to_place(parent, &ref_places)).transpose()?;
        directory.refs.push(found.reference)?;
        directory.members.push(members)?;
        directory.implies.push(to_places(&found.implies, &ref_places)?)?;
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

/// Turns a number into a place.
fn to_place<I: Place>(number: u32, places: &[Option<NonZeroU32>]) -> Result<I, Fault> {
    let place = places.get(number as usize).copied().flatten().map(|next| next.get() - 1);
    let place = place.and_then(|place| I::from_place(place as usize));
    place.ok_or_else(|| damaged("lists something that it does not have"))
}

/// Turns numbers into places, sorted.
fn to_places<I: Place + Ord>(list: &[u32], places: &[Option<NonZeroU32>]) -> Result<Vec<I>, Fault> {
    let list = list.iter().map(|number| to_place(*number, places));
    let mut list = list.collect::<Result<Vec<I>, Fault>>()?;
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
    old: Option<&StoredMirror>,
    new: &Directory,
    digest: &DirectoryDigest,
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
    let whole = digest.whole.to_string();
    if row.digest.as_deref() == Some(&whole) {
        return Ok(());
    }
    let nothing = (Directory::default(), Numbers::default());
    let (old, old_numbers) =
        old.map_or((&nothing.0, &nothing.1), |old| (&old.mirror.directory, &old.numbers));
    let ends = Ends { old, old_numbers, new };
    let users = ends.users(&mut row)?;
    let refs = ends.refs(&mut row)?;
    let lists = ends.lists(&users, &refs, row.next_user)?;
    let coming = new.users.len().saturating_sub(old.users.len());
    filling(conn, "mirror_user", coming, || {
        write_users(conn, row.num, &ends, &users, &refs, &lists)
    })?;
    write_refs(conn, row.num, &ends, (&users, &refs), &lists, digest)?;
    conn.execute(
        "UPDATE source SET digest = ?2, ignore_case = ?3, next_user = ?4, next_container = ?5, \
         proven = ?6 WHERE num = ?1",
        params![
            row.num,
            whole,
            new.ignore_case,
            row.next_user,
            row.next_ref,
            proven_code(new.proven)
        ],
    )?;
    Ok(())
}

/// A source whose mirror an older program wrote.
pub(super) fn older(conn: &Connection) -> Result<Option<String>, Fault> {
    let mut statement = conn.prepare("SELECT name, digest FROM source WHERE digest IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if text(row, 1)?.parse::<Digest>().is_err() {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

/// Gives the mirrors that an older program wrote what this one keeps beside their rows: what each
/// user is in, the sums of references' members, and a digest of this version. Their facts stay as
/// they are, and the next run, which finds another digest than it knew, plans anew.
pub(super) fn index_older(conn: &Connection) -> Result<(), Fault> {
    while let Some(source) = older(conn)? {
        let Some(stored) = load(conn, &source)? else { continue };
        let num: i64 =
            conn.query_row("SELECT num FROM source WHERE name = ?1", [source], |row| row.get(0))?;
        let StoredMirror { mirror: Mirror { directory, .. }, numbers, .. } = stored;
        let digest = directory.digests(&digest_key(conn)?);
        let mut within = Within::new(&directory.members, &numbers.refs);
        let mut user = conn.prepare("UPDATE mirror_user SET within = ?2 WHERE id = ?1")?;
        for (at, number) in numbers.users.iter().enumerate() {
            let within = within.of(at)?;
            one(user.execute(params![id(num, *number), encode(&within)])?)?;
        }
        let mut reference = conn.prepare("UPDATE mirror_container SET sum = ?2 WHERE id = ?1")?;
        for (number, sum) in numbers.refs.iter().zip(&digest.members) {
            one(reference.execute(params![id(num, *number), sum.to_bytes()])?)?;
        }
        let whole = digest.whole.to_string();
        conn.execute("UPDATE source SET digest = ?2 WHERE num = ?1", params![num, whole])?;
    }
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

/// A mirror as it is and as it is to be.
struct Ends<'a> {
    old: &'a Directory,
    old_numbers: &'a Numbers,
    new: &'a Directory,
}

/// What of a new directory's users or refs was there.
struct Matched {
    /// For each its place in the old directory.
    before: Vec<Option<u32>>,
    /// For each its number: the one it had, or a new one.
    numbers: Vec<u32>,
    /// The numbers of those of the old directory that are gone.
    gone: Vec<u32>,
}

/// How lists differ.
struct Changed {
    /// For each reference whether its members are others.
    members: Vec<bool>,
    /// For each number of a user whether they are in other things.
    within: Vec<bool>,
}

/// Matches two sorted lists: of each of the new one its place in the old one, where `compare`
/// (places in the old and the new) says that they are the same.
fn matched(
    (old, new): (usize, usize),
    numbers: &[u32],
    next: &mut u32,
    compare: impl Fn(usize, usize) -> Ordering,
) -> Result<Matched, Fault> {
    let mut matched = Matched {
        before: Vec::with_capacity(new),
        numbers: Vec::with_capacity(new),
        gone: Vec::new(),
    };
    let mut at = 0usize;
    for one in 0..new {
        let mut found = None;
        while at < old && found.is_none() {
            match compare(at, one) {
                Ordering::Greater => break,
                Ordering::Less => matched.gone.push(place(numbers, at)?),
                Ordering::Equal => found = Some(at),
            }
            at = at.saturating_add(1);
        }
        matched.numbers.push(match found {
            Some(before) => place(numbers, before)?,
            None => taken(next)?,
        });
        matched.before.push(found.and_then(|before| u32::try_from(before).ok()));
    }
    matched.gone.extend(numbers.iter().skip(at));
    Ok(matched)
}

/// The numbers of what is at the places of a list.
fn numbered<I: Place>(
    lists: &[Vec<I>],
    at: usize,
    numbers: &[u32],
) -> impl Iterator<Item = Result<u32, Fault>> {
    let places = lists.get(at).map_or(&[][..], Vec::as_slice);
    places.iter().map(|item| place(numbers, item.place()))
}

/// The numbers of what is at the places of a list, sorted.
fn sorted_numbers<I: Place>(
    lists: &[Vec<I>],
    at: usize,
    numbers: &[u32],
) -> Result<Vec<u32>, Fault> {
    let mut list = numbered(lists, at, numbers).collect::<Result<Vec<_>, _>>()?;
    list.sort_unstable();
    Ok(list)
}

fn row_at<T>(list: &[T], at: usize) -> Option<&T> {
    list.get(at)
}

impl Ends<'_> {
    fn users(&self, row: &mut SourceRow) -> Result<Matched, Fault> {
        let Ends { old, old_numbers, new } = self;
        let ext = |directory: &'_ Directory, at| row_at(&directory.users, at).map(|it| it.ext);
        let sizes = (old.users.len(), new.users.len());
        matched(sizes, &old_numbers.users, &mut row.next_user, |before, at| {
            let before = ext(old, before).map(|text| old.text(text));
            before.cmp(&ext(new, at).map(|text| new.text(text)))
        })
    }

    fn refs(&self, row: &mut SourceRow) -> Result<Matched, Fault> {
        let Ends { old, old_numbers, new } = self;
        let sizes = (old.refs.len(), new.refs.len());
        matched(sizes, &old_numbers.refs, &mut row.next_ref, |before, at| {
            let before = row_at(&old.refs, before).map(|reference| key(old, reference));
            before.cmp(&row_at(&new.refs, at).map(|reference| key(new, reference)))
        })
    }

    /// Which lists of members differ, and for whom. Places follow external ids in both directories,
    /// so lists of numbers in order of places are equal exactly where the lists mean the same.
    fn lists(&self, users: &Matched, refs: &Matched, next_user: u32) -> Result<Changed, Fault> {
        let Ends { old, old_numbers, new } = self;
        let mut within = vec![false; next_user as usize];
        let mut mark = |number: u32| {
            if let Some(slot) = within.get_mut(number as usize) {
                *slot = true;
            }
        };
        let mut members = Vec::with_capacity(new.refs.len());
        let mut stays = vec![false; old.refs.len()];
        for (at, before) in refs.before.iter().enumerate() {
            let now = numbered(&new.members, at, &users.numbers);
            let Some(before) = before.map(|before| before as usize) else {
                // Who is in something new is in other things.
                for number in now {
                    mark(number?);
                }
                members.push(true);
                continue;
            };
            if let Some(slot) = stays.get_mut(before) {
                *slot = true;
            }
            let was = numbered(&old.members, before, &old_numbers.users);
            let (now, was): (Vec<u32>, Vec<u32>) =
                (now.collect::<Result<_, _>>()?, was.collect::<Result<_, _>>()?);
            let same = now == was;
            if !same {
                differences(now, was).into_iter().for_each(&mut mark);
            }
            members.push(!same);
        }
        for (at, _) in stays.iter().enumerate().filter(|(_, stays)| !**stays) {
            for number in numbered(&old.members, at, &old_numbers.users) {
                mark(number?);
            }
        }
        Ok(Changed { members, within })
    }
}

/// What users are directly in, by the users' places: the members of all references turned round, for
/// so many users at a time. All at once would be a second copy of all memberships.
struct Within<'a> {
    members: &'a [Vec<DirUserIdx>],
    /// The references' numbers.
    refs: &'a [u32],
    /// The users that are looked at, from this one on.
    from: usize,
    /// Their lists, one after the other, and where each begins.
    all: Vec<u32>,
    starts: Vec<usize>,
}

impl<'a> Within<'a> {
    const AT_ONCE: usize = 65_536;

    fn new(members: &'a [Vec<DirUserIdx>], refs: &'a [u32]) -> Self {
        Within { members, refs, from: 0, all: Vec::new(), starts: Vec::new() }
    }

    /// The numbers of what the user at `place` is in, sorted.
    fn of(&mut self, user: usize) -> Result<Vec<u32>, Fault> {
        let from = user.saturating_sub(user % Self::AT_ONCE);
        if self.starts.is_empty() || self.from != from {
            self.turn(from)?;
        }
        let at = user.saturating_sub(from);
        let start = place(&self.starts, at)?;
        let end = place(&self.starts, at.saturating_add(1))?;
        let mut within = self.all.get(start..end).unwrap_or_default().to_vec();
        within.sort_unstable();
        Ok(within)
    }

    /// Turns the lists round for the users at `from` and after.
    fn turn(&mut self, from: usize) -> Result<(), Fault> {
        let members = self.members;
        let until = from.saturating_add(Self::AT_ONCE);
        let of_these = |list: &'a [DirUserIdx]| {
            let start = list.partition_point(|user| user.place() < from);
            let end = list.partition_point(|user| user.place() < until);
            let users = list.get(start..end).unwrap_or_default();
            users.iter().map(move |user| user.place().saturating_sub(from))
        };
        // Where each list ends, then from the back where each begins.
        let mut ends = vec![0usize; Self::AT_ONCE.saturating_add(1)];
        for user in members.iter().flat_map(|list| of_these(list)) {
            if let Some(count) = ends.get_mut(user) {
                *count = count.saturating_add(1);
            }
        }
        let mut total = 0usize;
        for end in &mut ends {
            total = total.saturating_add(*end);
            *end = total;
        }
        self.all.clear();
        self.all.resize(total, 0);
        for (at, list) in members.iter().enumerate() {
            let number = place(self.refs, at)?;
            for user in of_these(list) {
                if let Some(end) = ends.get_mut(user) {
                    *end = end.saturating_sub(1);
                    if let Some(slot) = self.all.get_mut(*end) {
                        *slot = number;
                    }
                }
            }
        }
        (self.from, self.starts) = (from, ends);
        Ok(())
    }
}

/// What is in one list and not in the other.
fn differences(mut one: Vec<u32>, mut other: Vec<u32>) -> Vec<u32> {
    one.sort_unstable();
    other.sort_unstable();
    let only = |list: &[u32], without: &[u32]| -> Vec<u32> {
        list.iter().filter(|it| without.binary_search(it).is_err()).copied().collect()
    };
    let mut found = only(&one, &other);
    found.extend(only(&other, &one));
    found
}

/// Writes the users that differ, by their facts or by what they are in.
fn write_users(
    conn: &Connection,
    source: i64,
    ends: &Ends<'_>,
    users: &Matched,
    refs: &Matched,
    changed: &Changed,
) -> Result<(), Fault> {
    let Ends { old, new, .. } = ends;
    let mut insert = Batch::new(
        conn,
        "mirror_user (id, ext, username, email, flags, federation, within, called, called_email, \
         address)",
    );
    let mut update = conn.prepare(
        "UPDATE mirror_user SET ext = ?2, username = ?3, email = ?4, flags = ?5, federation = ?6, \
         within = ?7, called = ?8, called_email = ?9, address = ?10 WHERE id = ?1",
    )?;
    let mut delete = conn.prepare("DELETE FROM mirror_user WHERE id = ?1")?;
    for number in &users.gone {
        one(delete.execute([id(source, *number)])?)?;
    }
    let mut within = Within::new(&new.members, &refs.numbers);
    let mut federations = Federations::default();
    let mut cells = |at: usize, number: u32, user: &DirUser| -> Result<[Cell<'_>; 10], Fault> {
        let federation = federations.num(conn, new.text(user.federation))?;
        let within = within.of(at)?;
        let (username, email) = (new.text(user.username), new.text(user.email));
        let Forms { called, called_email, address } = Forms::of(username, email);
        Ok([
            id(source, number).into(),
            new.text(user.ext).into(),
            username.into(),
            email.into(),
            flags(user).into(),
            federation.into(),
            encode(&within).into(),
            called.into(),
            called_email.into(),
            address.into(),
        ])
    };
    let same = |a: &DirUser, b: &DirUser| {
        flags(a) == flags(b)
            && old.text(a.username) == new.text(b.username)
            && old.text(a.email) == new.text(b.email)
            && old.text(a.federation) == new.text(b.federation)
    };
    let matched = users.before.iter().zip(&users.numbers);
    for (at, (user, (before, number))) in new.users.iter().zip(matched).enumerate() {
        let Some(before) = before else {
            insert.add(cells(at, *number, user)?)?;
            continue;
        };
        let moved = changed.within.get(*number as usize).copied().unwrap_or(true);
        if moved || !same(&place(&old.users, *before as usize)?, user) {
            one(update.execute(params_from_iter(cells(at, *number, user)?))?)?;
        }
    }
    insert.finish()
}

fn key<'a>(directory: &'a Directory, reference: &RefRow) -> (Kind, &'a str) {
    (reference.kind, directory.text(reference.key))
}

fn names<'a>(directory: &'a Directory, reference: &RefRow) -> [&'a str; 3] {
    [reference.name, reference.identity, reference.norm].map(|text| directory.text(text))
}

/// Makes a reference's row, or makes it anew.
pub(super) const REPLACE_REF: &str = "INSERT OR REPLACE INTO mirror_container \
     (id, kind, key, name, identity, norm, parent, known, up_known, sum, up, members) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// Writes the refs that differ, by name or by members.
fn write_refs(
    conn: &Connection,
    source: i64,
    ends: &Ends<'_>,
    (users, refs): (&Matched, &Matched),
    changed: &Changed,
    digest: &DirectoryDigest,
) -> Result<(), Fault> {
    let Ends { old, old_numbers, new } = ends;
    let mut delete = conn.prepare("DELETE FROM mirror_container WHERE id = ?1")?;
    for number in &refs.gone {
        one(delete.execute([id(source, *number)])?)?;
    }
    let mut replace = conn.prepare(REPLACE_REF)?;
    let parent = |reference: &RefRow, numbers: &[u32]| {
        reference.parent.map(|parent| place(numbers, parent.place())).transpose()
    };
    for (at, (reference, before)) in new.refs.iter().zip(&refs.before).enumerate() {
        let implies = sorted_numbers(&new.implies, at, &refs.numbers)?;
        let ref_parent = parent(reference, &refs.numbers)?;
        if let Some(before_at) = before.map(|before| before as usize) {
            let before = place(&old.refs, before_at)?;
            if names(old, &before) == names(new, reference)
                && (before.known, before.implies_known)
                    == (reference.known, reference.implies_known)
                && parent(&before, &old_numbers.refs)? == ref_parent
                && !changed.members.get(at).copied().unwrap_or(true)
                && sorted_numbers(&old.implies, before_at, &old_numbers.refs)? == implies
            {
                continue;
            }
        }
        replace.execute(params![
            id(source, place(&refs.numbers, at)?),
            kind_code(reference.kind),
            new.text(reference.key),
            new.text(reference.name),
            new.text(reference.identity),
            new.text(reference.norm),
            ref_parent,
            reference.known,
            reference.implies_known,
            place(&digest.members, at)?.to_bytes(),
            encode(&implies),
            encode(&sorted_numbers(&new.members, at, &users.numbers)?),
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
