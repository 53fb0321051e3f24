//! `idpsyncd grant`: local grants.

use chrono::Utc;
use serde_json::json;

use super::account::{actor, deed};
use super::args::{GrantCommand, Output};
use super::print::{self, Style, Table};
use super::time::{From, moment};
use super::{AlreadyDone, Context, Failure, exit, reach};
use crate::model::{
    GrantKind, LocalGrant, RoleIdx, State, UserId, UsernameError, rfc3339, username,
};
use crate::plan::{ByHand, Plan};
use crate::store::Store;
use crate::sync::{self, ManualError};

pub(super) fn run(at: Context<'_>, command: GrantCommand, output: Output) -> Result<u8, Failure> {
    let Context { config, store } = at;
    match command {
        GrantCommand::List => list(store, output),
        GrantCommand::Add { user, role, reason, until } => {
            let now = Utc::now();
            let until = match until {
                Some(text) => Some(moment(&text, now, From::Future)?),
                None => None,
            };
            if until.is_some_and(|until| until <= now) {
                return Err(Failure::Usage("`--until` is in the past".to_owned()));
            }
            if reason.trim().is_empty() {
                return Err(Failure::Usage("`--reason` is empty".to_owned()));
            }
            let grant = LocalGrant { by: actor(), at: now, reason, until };
            let (plan, generation) = sync::by_hand(config, store, now, None, |state| {
                let (user, role) = (find_user(state, &user)?, find_role(state, &role)?);
                Ok(ByHand::Add { user, role, grant: grant.clone() })
            })?;
            done(output, "added", &user, &role, (&plan, generation))
        }
        GrantCommand::Remove { user, role, imported, reason } => {
            let (by, deed) = (actor(), deed(reason.as_deref()));
            let (plan, generation) =
                sync::by_hand(config, store, Utc::now(), deed.as_ref(), |state| {
                    let (user, role) = (find_user(state, &user)?, find_role(state, &role)?);
                    let imported = imported.then_some(true);
                    Ok(ByHand::Remove { user, role, imported, by: by.clone() })
                })?;
            done(output, "removed", &user, &role, (&plan, generation))
        }
    }
}

fn done(
    output: Output,
    what: &str,
    user: &str,
    role: &str,
    (plan, generation): (&Plan, u64),
) -> Result<u8, Failure> {
    AlreadyDone::generation(generation).then(match output {
        Output::Json => {
            let mut value = json!({
                "grant": what, "user": user, "role": role, "generation": generation,
            });
            if let (false, Some(map)) = (plan.widened.is_empty(), value.as_object_mut()) {
                let rows = reach::Rows(Some(plan));
                map.insert("reach".to_owned(), json!(rows));
            }
            print::json(&value)
        }
        Output::Text => {
            let mut out = vec![format!(
                "The grant of `{role}` to `{user}` is {what}: generation {generation} is committed."
            )];
            out.extend(reach::lines(plan, true, Style::detect()));
            print::lines(&out)
        }
    })?;
    Ok(exit::DONE)
}

fn list(store: &dyn Store, output: Output) -> Result<u8, Failure> {
    let state = sync::existing_reader(store)?.state()?;
    let mut rows = Vec::new();
    for grant in &state.grants {
        let GrantKind::Local(local) = grant.kind else { continue };
        let user = state.users.iter().find(|user| user.id == grant.user);
        let name = user.map_or("", |user| state.texts.get(user.username));
        let role = state.roles.get(grant.role).map_or("", |role| role.name.as_str());
        if let Some(local) = state.locals.get(local) {
            rows.push((name, role, local));
        }
    }
    rows.sort_by_key(|(user, role, _)| (*user, *role));
    if output == Output::Json {
        let list: Vec<_> = rows
            .iter()
            .map(|(user, role, local)| {
                json!({
                    "user": user, "role": role, "by": local.by, "at": rfc3339(local.at),
                    "reason": local.reason, "until": local.until.map(rfc3339),
                })
            })
            .collect();
        print::json(&list)?;
        return Ok(exit::DONE);
    }
    if rows.is_empty() {
        print::lines(&["There are no local grants.".to_owned()])?;
        return Ok(exit::DONE);
    }
    let mut table = Table::default();
    for (user, role, local) in rows {
        let until = local
            .until
            .map_or_else(|| "until removed".to_owned(), |u| format!("until {}", rfc3339(u)));
        table.row([user, role, &until, &format!("by {}: {}", local.by, local.reason)]);
    }
    print::lines(&table.plain(""))?;
    Ok(exit::DONE)
}

fn find_user(state: &State, name: &str) -> Result<UserId, ManualError> {
    let name = username::canonical(name)?;
    user_called(state, &name)?.ok_or_else(|| ManualError::NobodyToGrant { name: name.into_owned() })
}

/// Whoever is called `name` and is not deprovisioned.
pub(super) fn user_called(state: &State, name: &str) -> Result<Option<UserId>, UsernameError> {
    let canonical = username::canonical(name)?;
    let user = state.users.iter().rfind(|user| {
        !user.status.is_deprovisioned() && state.texts.get(user.username) == canonical
    });
    Ok(user.map(|user| user.id))
}

fn find_role(state: &State, name: &str) -> Result<RoleIdx, ManualError> {
    state
        .roles
        .find_by(|role| role.name.as_str().cmp(name))
        .ok_or_else(|| no_such_role(name, state.roles.iter().map(|role| role.name.as_str())))
}

/// That none of the roles `known` is called `name`, and which one may be meant.
pub(super) fn no_such_role<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> ManualError {
    let near = known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let near = near.map(|(_, near)| near.to_owned());
    ManualError::UnknownRole { role: name.to_owned(), near }
}
