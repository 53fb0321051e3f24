//! Mirrors: what each source last said, as rows that are written only where they change.
//!
//! Every user and reference of a mirror has a small number of its own that it keeps for as long as
//! the source has it. Members are lists of those numbers, so someone new with an external id in
//! the middle of the alphabet moves nobody else.

mod load;
mod matched;
pub(super) mod part;

use std::collections::HashMap;

use crate::store::sql::db::{Conn, params, params_from_iter};

use super::batch::{Batch, Cell, filling};
use super::codec::encode;
use super::error::Fault;
use super::load::text;
use super::names::{Forms, bare};
use crate::directory::{
    DigestKey, DirUser, Directory, DirectoryDigest, Enabled, Kind, Mirror, MirrorDigest, OwnDomain,
    Proven, RefRow,
};
use crate::model::index::Place;
use crate::store::StoredMirror;
pub(super) use crate::store::mirror::Numbers;
pub(super) use load::{Lists, federations, kind, list, load, load_refs, read_user, structure};
use matched::{Changed, Ends, Matched, Within, sorted_numbers};
pub(super) use part::load_near;

/// The row of a source that matters to its mirror.
struct SourceRow {
    num: i64,
    digest: Option<String>,
    next_user: u32,
    next_ref: u32,
}

/// By [`kind_code`].
const KINDS: [Kind; 7] = [
    Kind::Group,
    Kind::RealmRole,
    Kind::ClientRole,
    Kind::Attribute,
    Kind::ForeignPrincipal,
    Kind::Organization,
    Kind::OrganizationGroup,
];

pub(super) fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::Group => 0,
        Kind::RealmRole => 1,
        Kind::ClientRole => 2,
        Kind::Attribute => 3,
        Kind::ForeignPrincipal => 4,
        Kind::Organization => 5,
        Kind::OrganizationGroup => 6,
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
    let Proven { users, groups, roles, organizations } = proven;
    let lists = [users, groups, roles, organizations];
    (0..).zip(lists).fold(0, |code, (bit, proven)| code | i64::from(proven) << bit)
}

pub(super) fn proven_of(code: i64) -> Proven {
    Proven {
        users: code & 1 != 0,
        groups: code & 2 != 0,
        roles: code & 4 != 0,
        // In what was written before organizations were read it is not set.
        organizations: code & 8 != 0,
    }
}

/// A source's `domain`: empty where that was never read.
fn domain_code(directory: &Directory) -> Option<&str> {
    match directory.own_domain() {
        OwnDomain::None => None,
        OwnDomain::Unread => Some(""),
        OwnDomain::Of(domain) => Some(domain),
    }
}

/// Says of which domain a mirror is, as its source's row has it.
pub(super) fn domain_is(directory: &mut Directory, domain: Option<String>) -> Result<(), Fault> {
    directory.domain = match domain_of(domain) {
        OwnDomain::None => OwnDomain::None,
        OwnDomain::Unread => OwnDomain::Unread,
        OwnDomain::Of(domain) => OwnDomain::Of(directory.texts.add(&domain)?),
    };
    Ok(())
}

/// What [`domain_code`] made.
pub(super) fn domain_of(code: Option<String>) -> OwnDomain<String> {
    match code {
        None => OwnDomain::None,
        Some(code) if code.is_empty() => OwnDomain::Unread,
        Some(domain) => OwnDomain::Of(domain),
    }
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

/// What the store's digests hang on.
pub(super) fn digest_key(conn: Conn<'_>) -> Result<DigestKey, Fault> {
    let mut statement = conn.prepare("SELECT digest_key FROM meta")?;
    Ok(DigestKey::new(statement.query_row([], |row| row.get(0))?))
}

/// Makes the stored mirror of `source` say what `new` says. The source must have its row already.
/// `old` is the mirror as it was loaded; another one in the store means that somebody else wrote.
pub(super) fn write(
    conn: Conn<'_>,
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
         proven = ?6, domain = ?7 WHERE num = ?1",
        params![
            row.num,
            whole,
            new.ignore_case,
            row.next_user,
            row.next_ref,
            proven_code(new.proven),
            domain_code(new)
        ],
    )?;
    Ok(())
}

/// A source whose mirror an older program wrote.
pub(in crate::store) fn older(conn: Conn<'_>) -> Result<Option<String>, Fault> {
    let mut statement = conn.prepare("SELECT name, digest FROM source WHERE digest IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if text(row, 1)?.parse::<MirrorDigest>().is_err() {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

/// Gives the mirrors that an older program wrote what this one keeps beside their rows: what each
/// user is in, the sums of references' members, and a digest of this version. Their facts stay as
/// they are, and the next run, which finds another digest than it knew, plans anew.
pub(in crate::store) fn index_older(conn: Conn<'_>) -> Result<(), Fault> {
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
pub(super) fn drop_source(conn: Conn<'_>, num: i64) -> Result<(), Fault> {
    let (first, last) = range(num);
    conn.execute("DELETE FROM mirror_user WHERE id BETWEEN ?1 AND ?2", [first, last])?;
    conn.execute("DELETE FROM mirror_container WHERE id BETWEEN ?1 AND ?2", [first, last])?;
    let name = "(SELECT name FROM source WHERE num = ?1)";
    conn.execute(&format!("DELETE FROM followed WHERE source = {name}"), [num])?;
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

/// Writes the users that differ, by their facts or by what they are in.
fn write_users(
    conn: Conn<'_>,
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
         address, rid)",
    );
    let mut update = conn.prepare(
        "UPDATE mirror_user SET ext = ?2, username = ?3, email = ?4, flags = ?5, federation = ?6, \
         within = ?7, called = ?8, called_email = ?9, address = ?10, rid = ?11 WHERE id = ?1",
    )?;
    let mut delete = conn.prepare("DELETE FROM mirror_user WHERE id = ?1")?;
    for number in &users.gone {
        one(delete.execute([id(source, *number)])?)?;
    }
    let mut within = Within::new(&new.members, &refs.numbers);
    let mut federations = Federations::default();
    let mut cells = |at: usize, number: u32, user: &DirUser| -> Result<[Cell<'_>; 11], Fault> {
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
            user.rid.code().map(i64::from).into(),
        ])
    };
    let same = |a: &DirUser, b: &DirUser| {
        flags(a) == flags(b)
            && old.text(a.username) == new.text(b.username)
            && old.text(a.email) == new.text(b.email)
            && old.text(a.federation) == new.text(b.federation)
            && a.rid == b.rid
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
     (id, kind, key, name, identity, norm, parent, known, up_known, sum, up, members, bare, rid) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

/// Writes the refs that differ, by name or by members.
fn write_refs(
    conn: Conn<'_>,
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
    let mut insert = Batch::new(
        conn,
        "mirror_container (id, kind, key, name, identity, norm, parent, known, up_known, sum, up, \
         members, bare, rid)",
    );
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
                && before.rid == reference.rid
                && parent(&before, &old_numbers.refs)? == ref_parent
                && !changed.members.get(at).copied().unwrap_or(true)
                && sorted_numbers(&old.implies, before_at, &old_numbers.refs)? == implies
            {
                continue;
            }
        }
        let row: [Cell<'_>; 14] = [
            id(source, place(&refs.numbers, at)?).into(),
            kind_code(reference.kind).into(),
            new.text(reference.key).into(),
            new.text(reference.name).into(),
            new.text(reference.identity).into(),
            new.text(reference.norm).into(),
            ref_parent.into(),
            reference.known.into(),
            reference.implies_known.into(),
            place(&digest.members, at)?.to_bytes().to_vec().into(),
            encode(&implies).into(),
            encode(&sorted_numbers(&new.members, at, &users.numbers)?).into(),
            bare(reference.kind, new.text(reference.name)).into(),
            reference.rid.code().map(i64::from).into(),
        ];
        if before.is_some() {
            replace.execute(params_from_iter(row))?;
        } else {
            insert.add(row)?;
        }
    }
    insert.finish()
}

/// Federation ids are few and long: each is held once.
#[derive(Default)]
pub(super) struct Federations {
    nums: HashMap<String, i64>,
}

impl Federations {
    /// The number of the federation `id`, added where it is new; none for the empty id.
    pub(super) fn num(&mut self, conn: Conn<'_>, id: &str) -> Result<Option<i64>, Fault> {
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
