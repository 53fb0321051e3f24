//! A mirror's rows one by one: those that a delta touches are loaded, those that a patch changes
//! are written. Neither looks at any other row, but where a reference was deleted: what led to it
//! is found by looking at what each reference leads to (at no list of members).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::store::sql::db::{Conn, DbResult, OptionalExtension, Params, Row, Statement, params};

use super::codec::encode;
use super::error::Fault;
use super::lists::{KnownLists, ListPlace};
use super::mirror::{
    Federations, REPLACE_REF, damaged, digest_key, federations, id, kind, kind_code, list, number,
    one, proven_of, range, read_user, taken, user_flags,
};
use super::names::{Forms, bare};
use crate::directory::{
    Cursor, DigestKey, Head, Listed, MirrorDigest, MirrorRows, Patch, PersonEntry, PersonRow,
    RefEntry, RefId, Rid, Staying, Sum, Touched, without_row,
};
use crate::model::{Text, Texts};
use crate::store::MirrorPatch;

const MIRROR: &str =
    "SELECT num, digest, cursor, proven FROM source WHERE name = ?1 AND digest IS NOT NULL";
/// The plus: SQLite would plan anew for each kind, since one of them has an index of its own.
pub(super) const FIND_REF: &str = "SELECT id FROM mirror_container \
                                   WHERE key = ?1 AND +kind = ?2 AND id BETWEEN ?3 AND ?4";
/// Two people of one external id are in two sources: the index finds few rows.
pub(super) const FIND_USER: &str =
    "SELECT id FROM mirror_user WHERE ext = ?1 COLLATE BINARY AND id BETWEEN ?2 AND ?3";
pub(super) const EXT: &str = "SELECT ext FROM mirror_user WHERE id = ?1";
pub(super) const SUM: &str = "SELECT sum FROM mirror_container WHERE id = ?1";
pub(super) const MEMBERS: &str = "SELECT members FROM mirror_container WHERE id = ?1";
pub(super) const USER: &str =
    "SELECT id, ext, username, email, flags, federation, rid, within FROM mirror_user";
const REF: &str =
    "SELECT id, kind, key, name, identity, norm, parent, known, up_known, sum, up, rid";

/// The rows of the mirror of `source` that are `touched`, and the key of the store's digests.
/// `None`: there is no mirror.
pub(super) fn load(
    conn: Conn<'_>,
    source: &str,
    touched: &Touched<'_>,
    known: Option<&KnownLists>,
) -> Result<Option<(MirrorRows, DigestKey)>, Fault> {
    let head = first(conn.prepare(MIRROR)?, [source], |row| {
        let cursor = row.get::<_, Option<String>>(2)?.map(Cursor::new);
        Ok((row.get(0)?, row.get::<_, String>(1)?, cursor, proven_of(row.get(3)?)))
    })?;
    let Some((num, digest, cursor, proven)) = head else { return Ok(None) };
    let digest: MirrorDigest =
        digest.parse().map_err(|_| damaged("has no digest of this version"))?;
    let head = Head { digest, cursor, proven };
    let key = digest_key(conn)?;
    let rows = Loading::new(conn, num)?.load(touched, head, (known, &key))?;
    Ok(Some((rows, key)))
}

/// A person's row with the numbers of what they are in.
struct PatchedPerson {
    ext: String,
    row: PersonRow,
    within: Vec<u32>,
}

struct Loading<'c> {
    conn: Conn<'c>,
    source: i64,
    texts: Texts,
    federations: HashMap<i64, Text>,
    /// By number.
    users: BTreeMap<u32, PatchedPerson>,
    refs: BTreeMap<u32, (RefId, RefEntry)>,
    /// What references are called that were only spoken of.
    ids: HashMap<u32, RefId>,
}

impl<'c> Loading<'c> {
    fn new(conn: Conn<'c>, source: i64) -> Result<Self, Fault> {
        let mut texts = Texts::default();
        let federations = federations(conn, &mut texts)?;
        let (users, refs, ids) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
        Ok(Loading { conn, source, texts, federations, users, refs, ids })
    }

    fn load(
        mut self,
        touched: &Touched<'_>,
        head: Head,
        known: (Option<&KnownLists>, &DigestKey),
    ) -> Result<MirrorRows, Fault> {
        let mut numbers: HashMap<&RefId, u32> = HashMap::new();
        for id in &touched.refs {
            if let Some(number) = find_ref(self.conn, self.source, id)? {
                self.reference(number)?;
                numbers.insert(id, number);
            }
        }
        for ext in &touched.people {
            let Some(number) = find_user(self.conn, self.source, ext)? else { continue };
            self.user(number)?;
            if touched.everything_of.contains(ext) {
                let within = self.users.get(&number).map(|user| user.within.clone());
                within.unwrap_or_default().into_iter().try_for_each(|it| self.reference(it))?;
            }
        }
        for id in &touched.everybody_in {
            let Some(number) = numbers.get(id) else { continue };
            for member in members(self.conn, self.source, *number)? {
                self.user(member)?;
            }
        }
        let staying = self.lists(touched, &numbers, known)?;
        let gone: Vec<u32> =
            touched.everything_to.iter().filter_map(|id| numbers.get(id).copied()).collect();
        self.leading_to(&gone)?;
        Ok(self.rows(head, staying))
    }

    /// Loads those who are in some of the lists that are told whole and of the mirror's own, and tells who
    /// is in all: a list may be very long, and its people on as many pages.
    fn lists(
        &mut self,
        touched: &Touched<'_>,
        numbers: &HashMap<&RefId, u32>,
        (known, key): (Option<&KnownLists>, &DigestKey),
    ) -> Result<Staying, Fault> {
        let mut staying = Vec::new();
        for (id, told) in &touched.lists {
            let before = match numbers.get(id).and_then(|it| Some((it, self.refs.get(it)?))) {
                Some((number, (_, entry))) => {
                    let (place, sum) = ((self.source, *number), entry.members);
                    Some((place, sum, people_in(self.conn, known, place, sum)?))
                }
                None => None,
            };
            let people = before.iter().flat_map(|(.., people)| people);
            let Listed { staying: those, moving } =
                Listed::of(people.map(String::as_str).collect(), told);
            for ext in moving {
                if let Some(number) = find_user(self.conn, self.source, ext)? {
                    self.user(number)?;
                }
            }
            staying.push((*id, those));
            if let (Some(known), Some((place, sum, people))) = (known, before) {
                known.keep(place, sum, people, told.last().map(|told| (*told, key)));
            }
        }
        let here: HashSet<&str> = self.users.values().map(|user| user.ext.as_str()).collect();
        Ok(without_row(staying, |ext| here.contains(ext)))
    }

    fn user(&mut self, number: u32) -> Result<(), Fault> {
        if self.users.contains_key(&number) {
            return Ok(());
        }
        let mut statement = self.conn.prepare(&format!("{USER} WHERE id = ?1"))?;
        let mut rows = statement.query([id(self.source, number)])?;
        let row = rows.next()?.ok_or_else(|| damaged("lists somebody whom it does not have"))?;
        let (_, user) = read_user(row, &mut self.texts, &self.federations)?;
        let text = |text: Text| self.texts.get(text).to_owned();
        let person = PersonRow {
            username: text(user.username),
            email: text(user.email),
            email_verified: user.email_verified,
            enabled: user.enabled,
            federation: text(user.federation),
            linkable: user.linkable,
            rid: user.rid,
        };
        let user = PatchedPerson { ext: text(user.ext), row: person, within: list(row, 7)? };
        self.users.insert(number, user);
        Ok(())
    }

    fn reference(&mut self, number: u32) -> Result<(), Fault> {
        if self.refs.contains_key(&number) {
            return Ok(());
        }
        let sql = format!("{REF} FROM mirror_container WHERE id = ?1");
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query([id(self.source, number)])?;
        let row = rows.next()?.ok_or_else(|| damaged("lists something that it does not have"))?;
        let parent: Option<u32> = row.get(6)?;
        let implies = list(row, 10)?;
        let mut entry = RefEntry {
            name: row.get(3)?,
            identity: row.get(4)?,
            norm: row.get(5)?,
            parent: None,
            known: row.get(7)?,
            implies_known: row.get(8)?,
            implies: BTreeSet::new(),
            members: Sum::from_bytes(row.get(9)?),
            rid: Rid::of_code(row.get(11)?),
        };
        let own = RefId { kind: kind(row.get(1)?)?, key: row.get(2)? };
        entry.parent = parent.map(|parent| self.called(parent)).transpose()?;
        entry.implies = implies.into_iter().map(|to| self.called(to)).collect::<Result<_, _>>()?;
        self.refs.insert(number, (own, entry));
        Ok(())
    }

    /// What the reference of this number is known by.
    fn called(&mut self, number: u32) -> Result<RefId, Fault> {
        if let Some(id) = self.ids.get(&number) {
            return Ok(id.clone());
        }
        let called = called(self.conn, self.source, number)?;
        self.ids.insert(number, called.clone());
        Ok(called)
    }

    /// Loads whatever leads to one of `gone`, or is right below one.
    fn leading_to(&mut self, gone: &[u32]) -> Result<(), Fault> {
        if gone.is_empty() {
            return Ok(());
        }
        let mut statement = self
            .conn
            .prepare("SELECT id, parent, up FROM mirror_container WHERE id BETWEEN ?1 AND ?2")?;
        let (first, last) = range(self.source);
        let mut rows = statement.query([first, last])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let parent: Option<u32> = row.get(1)?;
            let mut leads = list(row, 2)?.into_iter().chain(parent);
            if leads.any(|to| gone.contains(&to)) {
                found.push(number(row.get(0)?));
            }
        }
        found.into_iter().try_for_each(|number| self.reference(number))
    }

    fn rows(self, head: Head, staying: Staying) -> MirrorRows {
        let Loading { users, refs, .. } = self;
        let people = users.into_values().map(|PatchedPerson { ext, row, within }| {
            let within = within.iter().filter_map(|it| Some(refs.get(it)?.0.clone())).collect();
            (ext, PersonEntry { row, within })
        });
        let people = people.collect();
        let refs = refs.into_values().collect();
        MirrorRows { head, people, refs, staying: Arc::new(staying) }
    }
}

fn first<T>(
    mut statement: Statement<'_>,
    params: impl Params,
    read: impl FnOnce(Row<'_>) -> DbResult<T>,
) -> Result<Option<T>, Fault> {
    Ok(statement.query_row(params, read).optional()?)
}

/// The number of the user with this external id, by the index alone: no row is read.
pub(super) fn find_user(conn: Conn<'_>, source: i64, ext: &str) -> Result<Option<u32>, Fault> {
    let (from, to) = range(source);
    first(conn.prepare(FIND_USER)?, params![ext, from, to], |row| Ok(number(row.get(0)?)))
}

/// The number of the reference of this kind and key.
pub(super) fn find_ref(conn: Conn<'_>, source: i64, id: &RefId) -> Result<Option<u32>, Fault> {
    let (from, to) = range(source);
    let kind = kind_code(id.kind);
    let params = params![id.key, kind, from, to];
    first(conn.prepare(FIND_REF)?, params, |row| Ok(number(row.get(0)?)))
}

/// What the reference of this number is known by.
pub(super) fn called(conn: Conn<'_>, source: i64, number: u32) -> Result<RefId, Fault> {
    let sql = "SELECT kind, key FROM mirror_container WHERE id = ?1";
    let found =
        first(conn.prepare(sql)?, [id(source, number)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (code, key) = found.ok_or_else(|| damaged("lists something that it does not have"))?;
    Ok(RefId { kind: kind(code)?, key })
}

pub(super) fn members(conn: Conn<'_>, source: i64, number: u32) -> Result<Vec<u32>, Fault> {
    let mut statement = conn.prepare(MEMBERS)?;
    let mut rows = statement.query([id(source, number)])?;
    list(rows.next()?.ok_or_else(|| damaged("lacks a row that it should have"))?, 0)
}

/// The sum of the ids of those who are directly in a reference.
pub(super) fn sum(conn: Conn<'_>, source: i64, number: u32) -> Result<Sum, Fault> {
    let mut statement = conn.prepare(SUM)?;
    let sum = statement.query_row([id(source, number)], |row| row.get(0)).optional()?;
    Ok(Sum::from_bytes(sum.ok_or_else(|| damaged("lacks a row that it should have"))?))
}

/// Who is directly in the list at `place`, whose people have this sum.
pub(super) fn people_in(
    conn: Conn<'_>,
    known: Option<&KnownLists>,
    place: ListPlace,
    sum: Sum,
) -> Result<BTreeSet<String>, Fault> {
    if let Some(people) = known.and_then(|known| known.take(place, sum)) {
        return Ok(people);
    }
    let (source, number) = place;
    let numbers = members(conn, source, number)?;
    let mut statement = conn.prepare(EXT)?;
    let mut people = BTreeSet::new();
    for number in numbers {
        let ext = statement.query_row([id(source, number)], |row| row.get(0)).optional()?;
        people.insert(ext.ok_or_else(|| damaged("lists somebody whom it does not have"))?);
    }
    Ok(people)
}

fn within(conn: Conn<'_>, source: i64, number: u32) -> Result<Vec<u32>, Fault> {
    let mut statement = conn.prepare("SELECT within FROM mirror_user WHERE id = ?1")?;
    let mut rows = statement.query([id(source, number)])?;
    list(rows.next()?.ok_or_else(|| damaged("lacks a row that it should have"))?, 0)
}

/// Writes what `patch` changes. The mirror must be the one that it was made for.
pub(in crate::store) fn write(conn: Conn<'_>, it: &MirrorPatch<'_>) -> Result<(), Fault> {
    let MirrorPatch { source, patch } = it;
    let (source, digest, next_user, next_ref): (i64, Option<String>, u32, u32) = conn.query_row(
        "SELECT num, digest, next_user, next_container FROM source WHERE name = ?1",
        [source],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    if digest != Some(patch.before.to_string()) {
        return Err(Fault::Raced);
    }
    let mut writing = Writing {
        conn,
        source,
        patch,
        next_user,
        next_ref,
        users: HashMap::new(),
        refs: HashMap::new(),
        moves: BTreeMap::new(),
    };
    writing.write()?;
    conn.execute(
        "UPDATE source SET digest = ?2, cursor = ?3, next_user = ?4, next_container = ?5 \
         WHERE num = ?1",
        params![
            source,
            patch.after.to_string(),
            patch.cursor.as_ref().map(Cursor::as_str),
            writing.next_user,
            writing.next_ref
        ],
    )?;
    Ok(())
}

/// Numbers that leave a list, and numbers that come into it.
#[derive(Default)]
struct Moves {
    left: BTreeSet<u32>,
    joined: BTreeSet<u32>,
}

impl Moves {
    /// `numbers` after it, sorted.
    fn of(&self, mut numbers: Vec<u32>) -> Vec<u32> {
        numbers.retain(|number| !self.left.contains(number));
        numbers.extend(&self.joined);
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

struct Writing<'c, 'p> {
    conn: Conn<'c>,
    source: i64,
    patch: &'p Patch,
    next_user: u32,
    next_ref: u32,
    /// Numbers of people and references as they are from now on.
    users: HashMap<&'p str, u32>,
    refs: HashMap<&'p RefId, u32>,
    /// Of each reference who leaves it and who comes, by its number.
    moves: BTreeMap<u32, Moves>,
}

impl<'p> Writing<'_, 'p> {
    fn write(&mut self) -> Result<(), Fault> {
        let patch = self.patch;
        // Numbers first: lists are made of them.
        for (id, entry) in &patch.refs {
            let number = match find_ref(self.conn, self.source, id)? {
                Some(number) => number,
                None if entry.is_some() => taken(&mut self.next_ref)?,
                None => return Err(damaged("lacks a row that it should have")),
            };
            self.refs.insert(id, number);
        }
        let mut of_person: BTreeMap<&str, Moves> = BTreeMap::new();
        for (id, ext) in &patch.left {
            let number = self.number_of(id)?;
            of_person.entry(ext).or_default().left.insert(number);
        }
        for (id, ext) in &patch.joined {
            let number = self.number_of(id)?;
            of_person.entry(ext).or_default().joined.insert(number);
        }
        for ext in patch.people.keys() {
            of_person.entry(ext).or_default();
        }
        for (ext, moves) in of_person {
            self.person(ext, &moves)?;
        }
        self.references()
    }

    fn number_of(&mut self, id: &'p RefId) -> Result<u32, Fault> {
        if let Some(number) = self.refs.get(id) {
            return Ok(*number);
        }
        let number = find_ref(self.conn, self.source, id)?;
        let number = number.ok_or_else(|| damaged("lacks a row that it should have"))?;
        self.refs.insert(id, number);
        Ok(number)
    }

    /// Writes a person's row, and notes in which lists the person comes and goes.
    fn person(&mut self, ext: &'p str, moves: &Moves) -> Result<(), Fault> {
        let (conn, source, patch) = (self.conn, self.source, self.patch);
        let before = find_user(conn, source, ext)?;
        let was_in = match before {
            Some(number) => within(conn, source, number)?,
            None => Vec::new(),
        };
        let is_in = moves.of(was_in.clone());
        let row = patch.people.get(ext);
        let gone = matches!(row, Some(None));
        // Whoever was looked up counts as having come now, under a new number, so that a run that
        // is reading meanwhile can tell.
        let renewed = patch.looked_up && matches!(row, Some(Some(_)));
        let number = match before {
            Some(number) if !renewed => number,
            None if gone => return Err(damaged("lacks a row that it should have")),
            _ => taken(&mut self.next_user)?,
        };
        self.users.insert(ext, number);
        if let Some(before) = before.filter(|before| gone || *before != number) {
            one(conn.execute("DELETE FROM mirror_user WHERE id = ?1", [id(source, before)])?)?;
        }
        if before != Some(number) || gone {
            for reference in &was_in {
                self.moves.entry(*reference).or_default().left.extend(before);
            }
            for reference in is_in.iter().filter(|_| !gone) {
                self.moves.entry(*reference).or_default().joined.insert(number);
            }
        } else {
            for reference in &moves.left {
                self.moves.entry(*reference).or_default().left.insert(number);
            }
            for reference in &moves.joined {
                self.moves.entry(*reference).or_default().joined.insert(number);
            }
        }
        let is_in = encode(&is_in);
        match row {
            Some(None) => Ok(()),
            None => {
                let sql = "UPDATE mirror_user SET within = ?2 WHERE id = ?1";
                one(conn.prepare(sql)?.execute(params![id(source, number), is_in])?)
            }
            Some(Some(row)) => {
                let federation = Federations::default().num(conn, &row.federation)?;
                let sql = "INSERT OR REPLACE INTO mirror_user \
                           (id, ext, username, email, flags, federation, within, called, \
                            called_email, address, rid) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
                let Forms { called, called_email, address } = Forms::of(&row.username, &row.email);
                one(conn.prepare(sql)?.execute(params![
                    id(source, number),
                    ext,
                    row.username,
                    row.email,
                    user_flags(row.enabled, row.email_verified, row.linkable),
                    federation,
                    is_in,
                    called,
                    called_email,
                    address,
                    row.rid.code()
                ])?)
            }
        }
    }

    /// Writes the rows of references, and the lists of those that somebody came into or left.
    fn references(&mut self) -> Result<(), Fault> {
        let (conn, source, patch) = (self.conn, self.source, self.patch);
        let mut moves = std::mem::take(&mut self.moves);
        for (own, entry) in &patch.refs {
            let number = self.number_of(own)?;
            let moved = moves.remove(&number).unwrap_or_default();
            let Some(entry) = entry else {
                let sql = "DELETE FROM mirror_container WHERE id = ?1";
                one(conn.execute(sql, [id(source, number)])?)?;
                continue;
            };
            let sql = "SELECT members FROM mirror_container WHERE id = ?1";
            let before = conn
                .prepare(sql)?
                .query_row([id(source, number)], |row| Ok(list(row, 0)))
                .optional()?
                .transpose()?;
            let members = moved.of(before.unwrap_or_default());
            let implies = entry.implies.iter().map(|to| self.id_of(to));
            let mut implies: Vec<u32> = implies.collect::<Result<_, _>>()?;
            implies.sort_unstable();
            let parent = entry.parent.as_ref().map(|parent| self.id_of(parent)).transpose()?;
            conn.prepare(REPLACE_REF)?.execute(params![
                id(source, number),
                kind_code(own.kind),
                own.key,
                entry.name,
                entry.identity,
                entry.norm,
                parent,
                entry.known,
                entry.implies_known,
                entry.members.to_bytes(),
                encode(&implies),
                encode(&members),
                bare(own.kind, &entry.name),
                entry.rid.code(),
            ])?;
        }
        // Who got a new number is called otherwise in lists that say what they said.
        for (number, moved) in moves {
            let members = encode(&moved.of(members(conn, source, number)?));
            let sql = "UPDATE mirror_container SET members = ?2 WHERE id = ?1";
            one(conn.prepare(sql)?.execute(params![id(source, number), members])?)?;
        }
        Ok(())
    }

    /// The number of a reference that another one speaks of.
    fn id_of(&self, id: &RefId) -> Result<u32, Fault> {
        if let Some(number) = self.refs.get(id) {
            return Ok(*number);
        }
        let number = find_ref(self.conn, self.source, id)?;
        number.ok_or_else(|| damaged("lacks a row that it should have"))
    }
}
