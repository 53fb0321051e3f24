//! Questions about people.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::store::sql::db::{Conn, OptionalExtension, params};

use super::codec::{COUNTS, user_at};
use super::error::{Fault, StoreError};
use super::load::{StoredReasons, local_grant, roles, set_id, status};
use super::reader::Reads;
use crate::model::{Role, RoleSetId, Status, UserId};
use crate::policy::{Action, Effect, Resource};
use crate::store::{EffectiveRoles, GrantDetail, SetKey, StoredDecision, UserDetail, UserRow};

/// The row that gateways see under a username: whoever is not deprovisioned, else the latest.
const BY_NAME: &str = "SELECT u.id, u.email, u.status, u.since, u.disabled_by, s.id, s.num \
     FROM user u JOIN role_set s ON s.num = u.role_set WHERE u.username = ?1 \
     ORDER BY u.status = 3, u.id DESC LIMIT 1";

/// Someone, by username.
struct Found {
    id: UserId,
    email: String,
    status: Status,
    role_set: RoleSetId,
    set: i64,
}

fn find(conn: Conn<'_>, username: &str) -> Result<Option<Found>, Fault> {
    let mut statement = conn.prepare(BY_NAME)?;
    let mut rows = statement.query([username])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Found {
        id: user_at(row, 0)?,
        email: row.get(1)?,
        status: status(row, 2)?,
        role_set: set_id(super::load::text(row, 5)?)?,
        set: row.get(6)?,
    }))
}

fn set_roles(conn: Conn<'_>, set: i64) -> Result<Vec<String>, Fault> {
    let mut statement = conn.prepare(
        "SELECT r.name FROM role_set_role m JOIN role r ON r.num = m.role \
         WHERE m.role_set = ?1 ORDER BY r.name",
    )?;
    let names = statement.query_map([set], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(names)
}

impl dyn Reads + '_ {
    /// Every role that the store knows, with its policies, sorted by name.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn roles(&self) -> Result<Vec<Role>, StoreError> {
        self.read_as(|conn| super::load::roles(conn).map(|(roles, _)| roles.into_iter().collect()))
    }

    /// The roles of role set `id` by name, sorted; none where the store has no such set.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn roles_of_set(&self, id: RoleSetId) -> Result<Vec<String>, StoreError> {
        self.read_as(|conn| {
            let num = conn
                .query_row("SELECT num FROM role_set WHERE id = ?1", [id.to_string()], |row| {
                    row.get(0)
                })
                .optional()?;
            num.map_or_else(|| Ok(Vec::new()), |num| set_roles(conn, num))
        })
    }

    /// Calls `each` for everyone, by username: first those who are not deprovisioned.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn users(&self, each: &mut dyn FnMut(UserRow)) -> Result<(), StoreError> {
        self.read_as(|conn| {
            let mut sets: HashMap<i64, Rc<[String]>> = HashMap::new();
            let services = super::accounts::services(conn)?;
            let mut statement = conn.prepare(
                "SELECT id, username, email, status, since, disabled_by, role_set FROM user \
                 ORDER BY username, status = 3, id DESC",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let set = row.get(6)?;
                let roles = match sets.get(&set) {
                    Some(roles) => Rc::clone(roles),
                    None => {
                        let roles: Rc<[String]> = set_roles(conn, set)?.into();
                        sets.insert(set, Rc::clone(&roles));
                        roles
                    }
                };
                let id = user_at(row, 0)?;
                each(UserRow {
                    id,
                    username: row.get(1)?,
                    email: row.get(2)?,
                    status: status(row, 3)?,
                    roles,
                    service: services.contains(&id),
                });
            }
            Ok(())
        })
    }

    /// Calls `each` for everyone whose roles count now, by username, with the number of the role set
    /// (as [`Reader::seen_sets`] has it), until it breaks off.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn holders(
        &self,
        each: &mut dyn FnMut(&str, SetKey) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read_as(|conn| {
            let mut statement = conn.prepare(&format!(
                "SELECT u.username, u.role_set FROM user u WHERE {COUNTS} ORDER BY u.username"
            ))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if each(super::load::text(row, 0)?, SetKey(row.get(1)?)).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Everything about the person whom gateways call `username` (as the store keeps names:
    /// [`crate::model::username::canonical`]); of several who had the name, the one who has it now.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn user(&self, username: &str) -> Result<Option<UserDetail>, StoreError> {
        self.read_as(|conn| {
            let Some(found) = find(conn, username)? else { return Ok(None) };
            let mut statement = conn.prepare(
                "SELECT s.name, l.ext FROM link l JOIN link_source s ON s.num = l.source \
                 WHERE l.user = ?1 ORDER BY s.name, l.ext",
            )?;
            let links = statement
                .query_map([found.id.get()], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            Ok(Some(UserDetail {
                id: found.id,
                username: username.to_owned(),
                email: found.email,
                status: found.status,
                role_set: found.role_set,
                roles: set_roles(conn, found.set)?,
                links,
                grants: grants(conn, found.id)?,
                local: super::accounts::of_user(conn, found.id)?,
            }))
        })
    }

    /// The effective roles of the person whom gateways call `username`, with their policies.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn roles_of(&self, username: &str) -> Result<Option<EffectiveRoles>, StoreError> {
        self.read_as(|conn| {
            let Some(found) = find(conn, username)? else { return Ok(None) };
            let names = set_roles(conn, found.set)?;
            let (roles, _) = roles(conn)?;
            let mine = |role: &Role| names.binary_search(&role.name).is_ok();
            let roles = roles.into_iter().filter(mine).collect();
            Ok(Some(EffectiveRoles { status: found.status, roles }))
        })
    }

    /// The decision that gateways find for a request. `None`: there is no row, which means deny.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn decision(
        &self,
        username: &str,
        action: &Action,
        resource: Option<&Resource>,
    ) -> Result<Option<StoredDecision>, StoreError> {
        self.read_as(|conn| {
            let resource = resource.map_or("", Resource::as_str);
            let row = conn
                .query_row(
                    "SELECT effect, role FROM gateway_decision \
                     WHERE username = ?1 AND action = ?2 AND resource = ?3",
                    params![username, action.to_string(), resource],
                    |row| Ok((row.get::<_, String>(0)?, row.get(1)?)),
                )
                .optional()?;
            Ok(row.map(|(effect, role)| StoredDecision {
                effect: if effect == "Allow" { Effect::Allow } else { Effect::Deny },
                role,
            }))
        })
    }
}

fn grants(conn: Conn<'_>, user: UserId) -> Result<Vec<GrantDetail>, Fault> {
    let (known, places) = roles(conn)?;
    let role = |num: i64| {
        let place = places.get(&num).copied();
        place.and_then(|place| known.get(place)).ok_or_else(|| {
            Fault::Damaged(format!("a grant names role {num}, which does not exist"))
        })
    };
    let stored = StoredReasons::load(conn)?;
    let mut grants = Vec::new();
    let mut statement = conn.prepare("SELECT role, reasons FROM idp_grant WHERE user = ?1")?;
    let mut rows = statement.query([user.get()])?;
    while let Some(row) = rows.next()? {
        let role = role(row.get(0)?)?;
        let reasons = stored.of_set(row.get(1)?)?.into_iter().cloned().collect();
        grants.push(GrantDetail { role: role.name.clone(), mode: role.mode, reasons, local: None });
    }
    let mut statement =
        conn.prepare("SELECT role, by, at, reason, until FROM local_grant WHERE user = ?1")?;
    let mut rows = statement.query([user.get()])?;
    while let Some(row) = rows.next()? {
        let role = role(row.get(0)?)?;
        grants.push(GrantDetail {
            role: role.name.clone(),
            mode: role.mode,
            reasons: Vec::new(),
            local: Some(local_grant(row, 1)?),
        });
    }
    // Stable: idp before local.
    grants.sort_by(|a, b| a.role.cmp(&b.role));
    Ok(grants)
}
