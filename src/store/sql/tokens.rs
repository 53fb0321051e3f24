//! Access tokens' rows, and questions about them.

use std::collections::HashMap;
use std::rc::Rc;

use crate::store::sql::db::{Conn, OptionalExtension, Row, params};
use hashbrown::HashMap as Map;

use super::apply::{Names, one, user_of};
use super::codec::user_at;
use super::error::{Fault, Mismatch, StoreError};
use super::load::{count, status, text};
use super::reader::{Reads, time_at};
use super::sets::Sets;
use crate::model::token::Digest;
use crate::model::{Change, NewToken, RoleSetId, Time, Token, Tokens, UserId};
use crate::plan::Plan;
use crate::store::TokenRow;

/// How many tokens of a plan get which set.
pub(super) fn coming(plan: &Plan, coming: &mut Map<RoleSetId, i64>) {
    for token in &plan.token_sets {
        let tokens = coming.entry(token.new).or_default();
        *tokens = tokens.saturating_add(1);
    }
}

/// Writes what a plan changes of tokens. Returns whether one got another role set of whose owner no
/// change of the plan speaks: who follows the store by its history cannot see that.
pub(super) fn write_tokens<'a>(
    conn: Conn<'_>,
    plan: &'a Plan,
    sets: &mut Sets<'a>,
    names: &mut Names<'_>,
) -> Result<bool, Fault> {
    let mut find = conn.prepare("SELECT num, role_set FROM token WHERE user = ?1 AND name = ?2")?;
    let mut found = |user: UserId, name: &str| -> Result<(i64, i64), Fault> {
        let row = find.query_row(params![user.get(), name], |row| Ok((row.get(0)?, row.get(1)?)));
        row.optional()?.ok_or_else(|| Mismatch::NoSuchToken { user, name: name.to_owned() }.into())
    };
    for change in &plan.changes {
        let Change::TokenRemoved { user, name, .. } = change else { continue };
        let (num, set) = found(*user, plan.tables.texts.get(*name))?;
        conn.prepare("DELETE FROM token_role WHERE token = ?1")?.execute([num])?;
        conn.prepare("DELETE FROM token WHERE num = ?1")?.execute([num])?;
        sets.left(set);
    }
    let new = add(conn, plan, sets, names)?;
    for change in &plan.changes {
        let Change::TokenRoleLost { user, name, role, .. } = change else { continue };
        let name = plan.tables.texts.get(*name);
        let (num, _) = found(*user, name)?;
        let gone = conn
            .prepare("DELETE FROM token_role WHERE token = ?1 AND role = ?2")?
            .execute([num, names.role(*role)?])?;
        one(gone, || Mismatch::NoSuchTokenRole { user: *user, name: name.to_owned() })?;
    }
    let mut change =
        conn.prepare("UPDATE token SET role_set = ?3 WHERE num = ?1 AND role_set = ?2")?;
    for token in &plan.token_sets {
        let name = plan.tables.texts.get(token.name);
        if new.contains_key(&(token.user, name)) {
            continue;
        }
        let (num, _) = found(token.user, name)?;
        let (old, new) = (sets.leave(token.old)?, sets.enter(token.new)?);
        let changed = change.execute([num, old, new])?;
        one(changed, || Mismatch::OtherTokenSet(name.to_owned()))?;
    }
    Ok(unseen(plan))
}

type New<'a> = Map<(UserId, &'a str), &'a NewToken>;

/// Writes new tokens with their first roles.
fn add<'a>(
    conn: Conn<'_>,
    plan: &'a Plan,
    sets: &mut Sets<'a>,
    names: &mut Names<'_>,
) -> Result<New<'a>, Fault> {
    let mut new = New::default();
    for change in &plan.changes {
        if let Change::TokenAdded { user, token } = change {
            new.insert((*user, &token.name), token);
        }
    }
    if new.is_empty() {
        return Ok(new);
    }
    let mut insert = conn.prepare(
        "INSERT INTO token (user, name, digest, expires_at, description, by, at, role_set) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING num",
    )?;
    let mut of_token = conn.prepare("INSERT INTO token_role (token, role) VALUES (?1, ?2)")?;
    let mut made = 0;
    for token in &plan.token_sets {
        let name = plan.tables.texts.get(token.name);
        let Some(it) = new.get(&(token.user, name)) else { continue };
        let NewToken { name, digest, expires_at, roles, description, by, at } = *it;
        user_of(&plan.tables, token.user)?;
        let (expires_at, at) = (expires_at.timestamp(), at.timestamp());
        let digest = digest.as_slice();
        let set = sets.enter(token.new)?;
        let user = token.user.get();
        let row = params![user, name, digest, expires_at, description, by, at, set];
        let num: i64 = insert.query_row(row, |row| row.get(0))?;
        for role in roles {
            of_token.execute([num, names.role_called(role)?])?;
        }
        made += 1;
    }
    if made != new.len() {
        return Err(Mismatch::TokenWithoutSet.into());
    }
    Ok(new)
}

/// Whether a token gets another set of whose owner no change speaks.
fn unseen(plan: &Plan) -> bool {
    let mut owners: hashbrown::HashSet<UserId> =
        plan.token_sets.iter().map(|token| token.user).collect();
    if !owners.is_empty() {
        plan.changes.iter().filter_map(Change::user).for_each(|user| {
            owners.remove(&user);
        });
    }
    !owners.is_empty()
}

/// All tokens. `sets` has the ids of role sets by number.
pub(super) fn load(conn: Conn<'_>, sets: &HashMap<i64, RoleSetId>) -> Result<Tokens, Fault> {
    let there = count(conn, "SELECT count(*) FROM token")?;
    if there == 0 {
        return Ok(Tokens::default());
    }
    let mut tokens = Tokens::with_capacity(there);
    // Two passes side by side in the order of the tokens' numbers.
    let mut of_roles = conn.prepare(
        "SELECT m.token, r.name, r.live FROM token_role m LEFT JOIN role r ON r.num = m.role \
         ORDER BY m.token, r.name",
    )?;
    let mut of_roles = of_roles.query([])?;
    let mut next: Option<(i64, String)> = None;
    let mut advance = |next: &mut Option<(i64, String)>| -> Result<(), Fault> {
        *next = match of_roles.next()? {
            None => None,
            Some(row) => {
                let live: Option<bool> = row.get(2)?;
                if live != Some(true) {
                    return Err(damaged("has a role that does not exist"));
                }
                Some((row.get(0)?, row.get(1)?))
            }
        };
        Ok(())
    };
    advance(&mut next)?;
    let mut statement = conn
        .prepare("SELECT num, user, name, digest, expires_at, role_set FROM token ORDER BY num")?;
    let mut rows = statement.query([])?;
    let mut roles: Vec<String> = Vec::new();
    while let Some(row) = rows.next()? {
        let num: i64 = row.get(0)?;
        roles.clear();
        while let Some((token, role)) = next.take_if(|(token, _)| *token <= num) {
            if token < num {
                return Err(damaged("has roles, but no row"));
            }
            roles.push(role);
            advance(&mut next)?;
        }
        let set: i64 = row.get(5)?;
        let set = *sets.get(&set).ok_or_else(|| damaged("has an unknown role set"))?;
        let token = token(row, &mut tokens, &roles, set)?;
        tokens.push(token)?;
    }
    if next.is_some() {
        return Err(damaged("has roles, but no row"));
    }
    tokens.sort();
    Ok(tokens)
}

/// The statements of [`of_user`].
pub(super) const OF_USER: &str =
    "SELECT num, user, name, digest, expires_at, role_set FROM token WHERE user = ?1";
pub(super) const ROLES: &str = "SELECT r.name, r.live FROM token_role m \
     LEFT JOIN role r ON r.num = m.role WHERE m.token = ?1 ORDER BY r.name";

/// Puts the tokens of one user into `tokens`. `set_of` gives the ids of role sets by number.
pub(super) fn of_user(
    conn: Conn<'_>,
    user: UserId,
    tokens: &mut Tokens,
    set_of: &mut dyn FnMut(i64) -> Result<RoleSetId, Fault>,
) -> Result<(), Fault> {
    let mut statement = conn.prepare(OF_USER)?;
    let mut of_roles = conn.prepare(ROLES)?;
    let mut rows = statement.query([user.get()])?;
    while let Some(row) = rows.next()? {
        let num: i64 = row.get(0)?;
        let mut roles: Vec<String> = Vec::new();
        let mut names = of_roles.query([num])?;
        while let Some(role) = names.next()? {
            if role.get::<_, Option<bool>>(1)? != Some(true) {
                return Err(damaged("has a role that does not exist"));
            }
            roles.push(role.get(0)?);
        }
        let token = token(row, tokens, &roles, set_of(row.get(5)?)?)?;
        tokens.push(token)?;
    }
    Ok(())
}

/// A token, from the columns `num, user, name, digest, expires_at`.
fn token(
    row: Row<'_>,
    tokens: &mut Tokens,
    roles: &[String],
    role_set: RoleSetId,
) -> Result<Token, Fault> {
    let digest = row.get_ref(3)?.as_blob()?;
    Ok(Token {
        user: user_at(row, 1)?,
        name: tokens.add_name(text(row, 2)?)?,
        roles: tokens.roles_place(roles)?,
        digest: digest.try_into().map_err(|_| damaged("has a digest that is none"))?,
        expires_at: time_at(row, 4)?,
        role_set,
    })
}

fn damaged(what: &str) -> Fault {
    Fault::Damaged(format!("an access token {what}"))
}

impl dyn Reads + '_ {
    /// Calls `each` for the tokens of `user` (a number), or of everyone, by username and name.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn tokens(
        &self,
        user: Option<UserId>,
        each: &mut dyn FnMut(TokenRow),
    ) -> Result<(), StoreError> {
        self.read_as(|conn| {
            let sets = super::load::set_ids(conn)?;
            let services = super::accounts::services(conn)?;
            let mut names: HashMap<i64, String> = HashMap::new();
            let mut lists: HashMap<Vec<i64>, Rc<[String]>> = HashMap::new();
            let mut makers: HashMap<String, Rc<str>> = HashMap::new();
            let mut of_roles = conn.prepare("SELECT role FROM token_role WHERE token = ?1")?;
            let mut name_of = conn.prepare("SELECT name FROM role WHERE num = ?1")?;
            let mut statement = conn.prepare(
                "SELECT t.num, t.user, u.username, u.status, u.since, u.disabled_by, t.name, \
                        t.expires_at, t.description, t.by, t.at, t.role_set \
                 FROM token t JOIN user u ON u.id = t.user \
                 WHERE CAST(?1 AS BIGINT) IS NULL OR t.user = ?1 ORDER BY u.username, u.id, t.name",
            )?;
            let mut rows = statement.query([user.map(UserId::get)])?;
            while let Some(row) = rows.next()? {
                let num: i64 = row.get(0)?;
                let nums: Vec<i64> =
                    of_roles.query_map([num], |row| row.get(0))?.collect::<Result<_, _>>()?;
                let roles = match lists.get(&nums) {
                    Some(roles) => Rc::clone(roles),
                    None => {
                        let mut roles = Vec::with_capacity(nums.len());
                        for num in &nums {
                            if !names.contains_key(num) {
                                names.insert(*num, name_of.query_row([num], |row| row.get(0))?);
                            }
                            roles.extend(names.get(num).cloned());
                        }
                        roles.sort();
                        let roles: Rc<[String]> = roles.into();
                        lists.insert(nums, Rc::clone(&roles));
                        roles
                    }
                };
                let by: String = row.get(9)?;
                let by = match makers.get(&by) {
                    Some(known) => Rc::clone(known),
                    None => {
                        let new: Rc<str> = by.as_str().into();
                        makers.insert(by, Rc::clone(&new));
                        new
                    }
                };
                let set: i64 = row.get(11)?;
                let user_id = user_at(row, 1)?;
                each(TokenRow {
                    user_id,
                    service: services.contains(&user_id),
                    user: row.get(2)?,
                    owner: status(row, 3)?,
                    name: row.get(6)?,
                    expires_at: time_at(row, 7)?,
                    roles,
                    description: row.get(8)?,
                    by,
                    at: time_at(row, 10)?,
                    role_set: *sets.get(&set).ok_or_else(|| damaged("has an unknown role set"))?,
                });
            }
            Ok(())
        })
    }

    /// Whose token has this digest, and what it is called.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn token_of(&self, digest: &Digest) -> Result<Option<(String, String)>, StoreError> {
        self.read_as(|conn| {
            let sql = "SELECT u.username, t.name FROM token t JOIN user u ON u.id = t.user \
                       WHERE t.digest = ?1";
            let found = conn.query_row(sql, [&digest[..]], |row| Ok((row.get(0)?, row.get(1)?)));
            Ok(found.optional()?)
        })
    }

    /// How many tokens there are, and how many of them have expired at `now`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn count_tokens(&self, now: Time) -> Result<(u64, u64), StoreError> {
        self.read_as(|conn| {
            Ok(conn.query_row(
                "SELECT count(*), coalesce(sum(CASE WHEN expires_at <= ?1 THEN 1 ELSE 0 END), 0) FROM token",
                [now.timestamp()],
                |row| {
                    Ok((row.get::<_, i64>(0)?.max(0) as u64, row.get::<_, i64>(1)?.max(0) as u64))
                },
            )?)
        })
    }
}
