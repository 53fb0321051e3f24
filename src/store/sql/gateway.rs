//! What a gateway keeps in memory, read in bulk, and what changed of it since.
//!
//! [`Reader::since`] tells from the history whom a reader that knows one generation has to look at
//! again. That is safe because every way in which the row that gateways see under a username can
//! change leaves a trace:
//!
//! | what changes | where it is seen |
//! |---|---|
//! | the row's status, or whom it is about | a row of history that names the user |
//! | the username | `user-renamed`, which holds the old name too |
//! | whose an id is, and whether it counts | `link-added`, `link-removed`, `link-refused`, `link-accepted` |
//! | the role set, by a grant | the grant's row of history |
//! | the role set, by a role that everyone holds, or a way nobody thought of | `generation.silent` |
//! | policies, the set of roles, the catalog | rows of history that name no user |
//!
//! Where a trace is missing (a store that was restored from a backup, say), [`Since::Unknown`]
//! tells to read everything anew.

use std::collections::{BTreeSet, HashMap};

use crate::store::sql::db::{Conn, OptionalExtension, Row, Rows};

use super::codec::user_at;
use super::error::{Fault, StoreError};
use super::load::{set_id, status, text, whole};
use super::reader::Reads;
use crate::model::{RoleSetId, Time, TooMany, UserId};
use crate::policy::{Action, Resource};
use crate::store::{EachSeen, SeenChanges, SeenLink, SeenSet, SeenUser, SetKey, Since};

/// What [`seen`] reads of `user`, and its number.
const COLUMNS: &str = "username, status, since, disabled_by, role_set, id, email";

/// The links of people in order, those of some sources.
struct Links<'a> {
    rows: Rows<'a>,
    /// The sources' numbers in the store, in the order in which they were asked for.
    sources: Vec<Option<i64>>,
    /// The next link: whose it is, and what the source calls it.
    next: Option<(UserId, SeenLink, Option<String>)>,
}

impl<'a> Links<'a> {
    /// `rows` hold user, source, ext and claim, in order of users.
    fn new(rows: Rows<'a>, sources: Vec<Option<i64>>) -> Result<Self, Fault> {
        let mut links = Links { rows, sources, next: None };
        links.advance()?;
        Ok(links)
    }

    fn advance(&mut self) -> Result<(), Fault> {
        while let Some(row) = self.rows.next()? {
            let source: i64 = row.get(1)?;
            let place = self.sources.iter().position(|wanted| *wanted == Some(source));
            let Some(place) = place.and_then(|place| u16::try_from(place).ok()) else { continue };
            let link = SeenLink { source: place, ext: row.get(2)?, refused: false };
            self.next = Some((user_at(row, 0)?, link, row.get(3)?));
            return Ok(());
        }
        self.next = None;
        Ok(())
    }

    /// Puts the links of `user`, whose name is `name`, into `links`. People must come in order.
    fn of(&mut self, user: UserId, name: &str, links: &mut Vec<SeenLink>) -> Result<(), Fault> {
        links.clear();
        while let Some((whose, link, claim)) = self.next.take_if(|(whose, ..)| *whose <= user) {
            if whose == user {
                let refused = claim.is_some_and(|claim| claim != name);
                links.push(SeenLink { refused, ..link });
            }
            self.advance()?;
        }
        Ok(())
    }
}

/// The numbers of sources in the store; `None`: nobody is linked to it.
fn numbers(conn: Conn<'_>, sources: &[String]) -> Result<Vec<Option<i64>>, Fault> {
    let mut statement = conn.prepare("SELECT num FROM link_source WHERE name = ?1")?;
    let number = |name: &String| statement.query_row([name], |row| row.get(0)).optional();
    Ok(sources.iter().map(number).collect::<Result<_, _>>()?)
}

fn seen<'a>(row: Row<'a>) -> Result<SeenUser<'a>, Fault> {
    let (username, email) = (text(row, 0)?, text(row, 6)?);
    Ok(SeenUser { username, email, status: status(row, 1)?, set: SetKey(row.get(4)?) })
}

/// Puts roles (a set's number, a live role's name) into their sets.
fn fill(rows: &mut Rows<'_>, sets: &mut HashMap<SetKey, SeenSet>) -> Result<(), Fault> {
    let damaged = |what: &str| Fault::Damaged(what.to_owned());
    while let Some(row) = rows.next()? {
        let role: Option<String> = row.get(1)?;
        let role = role.ok_or_else(|| damaged("a role set has a role that does not exist"))?;
        let set = sets.get_mut(&SetKey(row.get(0)?));
        set.ok_or_else(|| damaged("a role belongs to no role set"))?.roles.push(role);
    }
    Ok(())
}

impl dyn Reads + '_ {
    /// How many people there are, deprovisioned ones too.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn count_users(&self) -> Result<usize, StoreError> {
        self.read_as(|conn| super::load::count(conn, "SELECT count(*) FROM user"))
    }

    /// How many ids each of `sources` has given to people, as a measure for memory.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn count_links(&self, sources: &[String]) -> Result<Vec<usize>, StoreError> {
        self.read_as(|conn| {
            let mut count = conn.prepare("SELECT count(*) FROM link WHERE source = ?1")?;
            let mut counts = Vec::with_capacity(sources.len());
            for number in numbers(conn, sources)? {
                let links = match number {
                    Some(number) => count.query_row([number], |row| whole(row, 0))?,
                    None => 0,
                };
                counts.push(usize::try_from(links).map_err(|_| TooMany("links"))?);
            }
            Ok(counts)
        })
    }

    /// Calls `each` for everyone, in the order of the store's numbers, deprovisioned people too:
    /// of several who have one username the gateway sees the one who is not deprovisioned, else
    /// the last. With each come the ids that `sources` know the person by. What `each` finds wrong
    /// with a row ends the read.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn seen_users(&self, sources: &[String], each: EachSeen<'_>) -> Result<(), StoreError> {
        self.read_as(|conn| {
            let mut statement = conn.prepare(&format!("SELECT {COLUMNS} FROM user ORDER BY id"))?;
            let mut rows = statement.query([])?;
            let mut of_links =
                conn.prepare("SELECT user, source, ext, claim FROM link ORDER BY user, source")?;
            let numbers = numbers(conn, sources)?;
            // Nobody's ids are wanted: they are not read.
            let mut all = match numbers.iter().any(Option::is_some) {
                true => Some(Links::new(of_links.query([])?, numbers)?),
                false => None,
            };
            let mut links = Vec::new();
            while let Some(row) = rows.next()? {
                let user = seen(row)?;
                if let Some(all) = &mut all {
                    all.of(user_at(row, 5)?, user.username, &mut links)?;
                }
                each(user, &links)?;
            }
            Ok(())
        })
    }

    /// Calls `each` for everyone of `users`, the store's numbers, with the ids that `sources` know
    /// the person by.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn seen_numbers(
        &self,
        users: &BTreeSet<UserId>,
        sources: &[String],
        each: &mut dyn FnMut(SeenUser<'_>, &[SeenLink]),
    ) -> Result<(), StoreError> {
        if sources.is_empty() {
            return Ok(());
        }
        self.read_as(|conn| {
            let mut person = conn.prepare(&format!("SELECT {COLUMNS} FROM user WHERE id = ?1"))?;
            let mut of_links =
                conn.prepare("SELECT user, source, ext, claim FROM link WHERE user = ?1")?;
            let numbers = numbers(conn, sources)?;
            let mut links = Vec::new();
            for number in users {
                let mut rows = person.query([number.get()])?;
                let Some(row) = rows.next()? else { continue };
                let user = seen(row)?;
                let rows = of_links.query([number.get()])?;
                Links::new(rows, numbers.clone())?.of(*number, user.username, &mut links)?;
                each(user, &links);
            }
            Ok(())
        })
    }

    /// Calls `each` for every one of `names` with what gateways see under it; `None`: nobody has
    /// it.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn seen_under(
        &self,
        names: &BTreeSet<String>,
        each: &mut dyn FnMut(&str, Option<SeenUser<'_>>),
    ) -> Result<(), StoreError> {
        self.read_as(|conn| {
            // The rule of the view `gateway_user`.
            let mut statement = conn.prepare(&format!(
                "SELECT {COLUMNS} FROM user WHERE username = ?1 \
                 ORDER BY status = 3, id DESC LIMIT 1"
            ))?;
            for name in names {
                let mut rows = statement.query([name])?;
                match rows.next()? {
                    Some(row) => each(name, Some(seen(row)?)),
                    None => each(name, None),
                }
            }
            Ok(())
        })
    }

    /// The ids of the role sets of these numbers, those that [`SeenUser::set`] holds.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn seen_set_ids(
        &self,
        keys: &BTreeSet<SetKey>,
    ) -> Result<HashMap<SetKey, RoleSetId>, StoreError> {
        self.read_as(|conn| {
            let mut id = conn.prepare("SELECT id FROM role_set WHERE num = ?1")?;
            let mut ids = HashMap::with_capacity(keys.len());
            for key in keys {
                let id: Option<String> = id.query_row([key.0], |row| row.get(0)).optional()?;
                let unknown = || Fault::Damaged(format!("a user has the unknown role set {key}"));
                ids.insert(*key, set_id(&id.ok_or_else(unknown)?)?);
            }
            Ok(ids)
        })
    }

    /// The role sets of these numbers, with their roles.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn seen_sets_of(
        &self,
        keys: &BTreeSet<SetKey>,
    ) -> Result<HashMap<SetKey, SeenSet>, StoreError> {
        let ids = self.seen_set_ids(keys)?;
        self.read_as(|conn| {
            let mut roles = conn.prepare(
                "SELECT m.role_set, r.name FROM role_set_role m \
                 LEFT JOIN role r ON r.num = m.role AND r.live = 1 \
                 WHERE m.role_set = ?1 ORDER BY r.name",
            )?;
            let mut sets = HashMap::with_capacity(keys.len());
            for (key, id) in ids {
                sets.insert(key, SeenSet { id, roles: Vec::new() });
                fill(&mut roles.query([key.0])?, &mut sets)?;
            }
            Ok(sets)
        })
    }

    /// All role sets by their numbers.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn seen_sets(&self) -> Result<HashMap<SetKey, SeenSet>, StoreError> {
        self.read_as(|conn| {
            let mut sets = HashMap::new();
            let mut statement = conn.prepare("SELECT num, id FROM role_set")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let id = set_id(text(row, 1)?)?;
                sets.insert(SetKey(row.get(0)?), SeenSet { id, roles: Vec::new() });
            }
            let mut statement = conn.prepare(
                "SELECT m.role_set, r.name FROM role_set_role m \
                 LEFT JOIN role r ON r.num = m.role AND r.live = 1 ORDER BY r.name",
            )?;
            fill(&mut statement.query([])?, &mut sets)?;
            Ok(sets)
        })
    }

    /// The requests that decisions are stored for.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn catalog(&self) -> Result<Vec<(Action, Option<Resource>)>, StoreError> {
        self.read_as(super::load::catalog)
    }

    /// What was committed since `generation`, which was committed at `applied_at`. More than `most`
    /// people are not worth telling.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn since(
        &self,
        generation: u64,
        applied_at: Option<Time>,
        most: usize,
    ) -> Result<Since, StoreError> {
        self.read_as(|conn| since(conn, generation, applied_at, most))
    }
}

/// What happened, with what those whom it names are called now. Each is looked for by its number, however
/// many there are: what a server thinks of so young a part of its tables is not to be relied on.
const TOLD: &str = "SELECT h.user, h.kind, h.old, h.note, \
                           (SELECT u.username FROM user u WHERE u.id = h.user) \
                    FROM history h WHERE h.num >= ?1 ORDER BY h.num";

fn since(
    conn: Conn<'_>,
    generation: u64,
    applied_at: Option<Time>,
    most: usize,
) -> Result<Since, Fault> {
    let known = i64::try_from(generation).unwrap_or(i64::MAX);
    let at = applied_at.map(|at| at.timestamp());
    // All in one question, as each takes the way to a server and back. The moment of the generation as this
    // store knows it: another one means that its history is another.
    type Row = (i64, Option<i64>, Option<i64>, i64, Option<bool>, Option<i64>);
    let (now, applied_at, here, count, silent, first): Row = conn.query_row(
        "SELECT m.generation, m.applied_at, k.at, count(g.num), max(g.silent), min(g.first) \
         FROM meta m LEFT JOIN generation k ON k.num = ?1 LEFT JOIN generation g ON g.num > ?1 \
         GROUP BY m.generation, m.applied_at, k.at",
        [known],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)),
    )?;
    if (now, applied_at) == (known, at) {
        return Ok(Since::Nothing);
    }
    if now <= known || here.is_none() || here != at {
        return Ok(Since::Unknown);
    }
    let (Some(false), Some(first)) = (silent, first) else { return Ok(Since::Unknown) };
    if count != now.saturating_sub(known) {
        return Ok(Since::Unknown);
    }
    let mut names = BTreeSet::new();
    let mut users: BTreeSet<UserId> = BTreeSet::new();
    let mut unlinked = BTreeSet::new();
    let mut rules = false;
    let mut statement = conn.prepare(TOLD)?;
    let mut rows = statement.query([first])?;
    while let Some(row) = rows.next()? {
        let Some(user) = row.get::<_, Option<u32>>(0)?.map(UserId::new) else {
            rules = true;
            continue;
        };
        let name: Option<String> = row.get(4)?;
        let gone = || Fault::Damaged(format!("history speaks of user {user}, who does not exist"));
        names.insert(name.ok_or_else(gone)?);
        users.insert(user);
        match row.get(1)? {
            super::history::RENAMED => {
                names.insert(row.get(2)?);
            }
            super::history::UNLINKED => {
                unlinked.insert((row.get(3)?, row.get(2)?));
            }
            _ => {}
        }
        if users.len().max(names.len()) > most {
            return Ok(Since::Unknown);
        }
    }
    let generation =
        u64::try_from(now).map_err(|_| Fault::Damaged(format!("it is at generation {now}")))?;
    let applied_at = applied_at.and_then(|at| Time::from_timestamp(at, 0));
    Ok(Since::Changed(SeenChanges { generation, applied_at, names, users, unlinked, rules }))
}
