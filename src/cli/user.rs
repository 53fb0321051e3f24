//! `idpsyncd user`: people.

use chrono::Utc;
use serde_json::{Value, json};

use super::account::actor;
use super::args::{Output, UserCommand};
use super::print::{self, Style, Table};
use super::{AlreadyDone, Context, Failure, exit, reach, runtime, token};
use crate::directory::local;
use crate::model::{Deed, LocalAccount, Status, Time, rfc3339};
use crate::plan::{reason, reason_views};
use crate::source::OnProgress;
use crate::store::{GrantDetail, Reader, Store, UserDetail};
use crate::sync::{self, ManualError, Options, UserWish};

pub(super) fn run(at: Context<'_>, command: UserCommand, output: Output) -> Result<u8, Failure> {
    match command {
        UserCommand::List => list(&*sync::existing_reader(at.store)?, output),
        UserCommand::Show { user } => {
            let reader = sync::existing_reader(at.store)?;
            show(&*reader, &find(&*reader, &user)?, output)
        }
        UserCommand::Add { name, email, service, reason } => {
            local::check_id(&name).map_err(|error| Failure::Usage(error.to_string()))?;
            let email = email.unwrap_or_default();
            if email.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(Failure::Usage(format!(
                    "`{}` is not an email address",
                    email.escape_debug()
                )));
            }
            change(at, (&name, &UserWish::Add { email, service }), reason, output)
        }
        UserCommand::Disable { name, reason } => {
            change(at, (&name, &UserWish::Disable), reason, output)
        }
        UserCommand::Enable { name, reason } => {
            change(at, (&name, &UserWish::Enable), reason, output)
        }
        UserCommand::Remove { name, reason } => {
            change(at, (&name, &UserWish::Remove), reason, output)
        }
    }
}

/// Does `wish` to the user `name`.
fn change(
    at: Context<'_>,
    (name, wish): (&str, &UserWish),
    reason: String,
    output: Output,
) -> Result<u8, Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::Usage("`--reason` is empty".to_owned()));
    }
    let first = match wish {
        UserWish::Add { .. } => first_store(at)?,
        UserWish::Disable | UserWish::Enable | UserWish::Remove => AlreadyDone::nothing(),
    };
    let deed = Deed { by: actor(), reason };
    let done = first.then(sync::change_user(at.config, at.store, name, wish, &deed, Utc::now()))?;
    let what = match wish {
        UserWish::Add { .. } => "added",
        UserWish::Disable => "disabled",
        UserWish::Enable => "enabled",
        UserWish::Remove => "removed",
    };
    let generation = done.as_ref().map(|(_, generation)| *generation);
    let committed = generation.map_or_else(AlreadyDone::nothing, AlreadyDone::generation);
    let standing = match &done {
        Some(_) => committed.then(still(at.store, name))?,
        None => None,
    };
    committed.then(match output {
        Output::Json => {
            let mut value = json!({ "user": name, "done": what, "generation": generation });
            if let (Some((plan, _)), Some(map)) = (&done, value.as_object_mut())
                && !plan.widened.is_empty()
            {
                let rows = reach::Rows(Some(plan));
                map.insert("reach".to_owned(), json!(rows));
            }
            print::json(&value)
        }
        Output::Text => {
            let mut out = vec![match generation {
                Some(generation) => {
                    format!("`{name}` is {what}: generation {generation} is committed.")
                }
                None => format!("`{name}` is {what} already: nothing to do."),
            }];
            out.extend(standing);
            if let Some((plan, _)) = &done {
                out.extend(reach::lines(plan, true, Style::detect()));
            }
            print::lines(&out)
        }
    })?;
    Ok(exit::DONE)
}

/// What an identity provider says of the user all the same.
fn still(store: &dyn Store, name: &str) -> Result<Option<String>, Failure> {
    let reader = sync::existing_reader(store)?;
    let Ok(name) = crate::model::username::canonical(name) else { return Ok(None) };
    let gone = |user: &UserDetail| user.status.is_deprovisioned();
    let Some(user) = reader.user(&name)?.filter(|user| !gone(user)) else { return Ok(None) };
    let mut sources: Vec<&str> = user.links.iter().map(|(source, _)| source.as_str()).collect();
    sources.retain(|source| *source != local::NAME);
    sources.sort_unstable();
    sources.dedup();
    let sources: Vec<String> = sources.iter().map(|source| format!("`{source}`")).collect();
    Ok((!sources.is_empty()).then(|| {
        format!("The user is known in {} as well, which has its own say.", sources.join(", "))
    }))
}

/// Where there is no identity provider that could be down, the first user need not wait for a sync:
/// it is made here.
fn first_store(Context { config, store }: Context<'_>) -> Result<AlreadyDone, Failure> {
    let none = match store.reader()? {
        Some(reader) => reader.meta()?.generation == 0,
        None => true,
    };
    if none && !config.has_idp() {
        let options = Options {
            dry_run: false,
            sources: None,
            what: "idpsyncd user".to_owned(),
            ..Options::default()
        };
        let silent: OnProgress = std::sync::Arc::new(|_| {});
        let run = sync::run(config, store, &options, &silent, Utc::now());
        return Ok(AlreadyDone::by_run(&runtime()?.block_on(run)?));
    }
    Ok(AlreadyDone::nothing())
}

fn show(reader: &dyn Reader, user: &UserDetail, output: Output) -> Result<u8, Failure> {
    if output == Output::Json {
        let mut value = detail(user);
        let tokens = token::of_user(reader, user.id, Utc::now())?;
        if let Some(map) = value.as_object_mut() {
            map.insert("tokens".to_owned(), json!(tokens));
        }
        print::json(&value)?;
        return Ok(exit::DONE);
    }
    let style = Style::detect();
    let mut out = header(user, style);
    out.push(String::new());
    out.push(style.bold("Grants"));
    if user.grants.is_empty() {
        out.push("  none".to_owned());
    }
    for grant in &user.grants {
        out.push(format!("  {} ({}, mode {})", grant.role, origin(grant), grant.mode));
        out.extend(why(grant).iter().map(|w| format!("    {}", style.dim(w))));
    }
    let tokens = token::lines_of_user(reader, user.id, Utc::now())?;
    if !tokens.is_empty() {
        out.push(String::new());
        out.push(style.bold("Access tokens"));
        out.extend(tokens);
    }
    print::lines(&out)?;
    Ok(exit::DONE)
}

/// What was done to a local account, a line each.
fn story(local: &LocalAccount) -> Vec<String> {
    let line = |what: &str, deed: &Deed, at: Time| {
        format!("{what} by {} at {}: {}", deed.by, rfc3339(at), deed.reason)
    };
    let mut out = vec![line("added", &local.added, local.added_at)];
    out.extend(local.last.as_ref().map(|last| line(last.what.as_str(), &last.deed, last.at)));
    out
}

fn list(reader: &dyn Reader, output: Output) -> Result<u8, Failure> {
    let mut rows = Vec::new();
    reader.users(&mut |row| rows.push(row))?;
    if output == Output::Json {
        let list: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({
                    "username": row.username, "email": row.email, "user_id": row.id,
                    "status": status_word(&row.status), "service": row.service,
                    "roles": &row.roles[..],
                })
            })
            .collect();
        print::json(&list)?;
        return Ok(exit::DONE);
    }
    let mut table = Table::default();
    for row in &rows {
        let service = if row.service { ", service" } else { "" };
        let status = format!("{}{service}", status_word(&row.status));
        table.row([&row.username, &row.email, &status, &row.roles.join(", ")]);
    }
    print::lines(&table.plain(""))?;
    Ok(exit::DONE)
}

/// The user whom the store knows under `name`.
pub(super) fn find(reader: &dyn Reader, name: &str) -> Result<UserDetail, Failure> {
    let canonical = crate::model::username::canonical(name).unwrap_or(name.into());
    reader
        .user(&canonical)?
        .ok_or_else(|| ManualError::UnknownUser { name: name.to_owned() }.into())
}

/// `enabled`, `disabled`, `missing`, `deprovisioned`.
pub(super) fn status_word(status: &Status) -> &'static str {
    match status {
        Status::Enabled => "enabled",
        Status::Disabled { .. } => "disabled",
        Status::Missing { .. } => "missing",
        Status::Deprovisioned { .. } => "deprovisioned",
    }
}

/// How someone stands, as a phrase.
pub(super) fn standing(status: &Status) -> String {
    match status {
        Status::Enabled => "enabled".to_owned(),
        Status::Disabled { by } => format!("disabled in `{by}`: no role counts"),
        Status::Missing { since, disabled_by: None } => {
            format!(
                "in no source since {}: keeps what it has until on_missing.after",
                rfc3339(*since)
            )
        }
        Status::Missing { since, disabled_by: Some(by) } => {
            format!(
                "in no source since {}, disabled in `{by}` before: no role counts",
                rfc3339(*since)
            )
        }
        Status::Deprovisioned { since } => {
            format!("deprovisioned since {}: no role counts", rfc3339(*since))
        }
    }
}

pub(super) fn header(user: &UserDetail, style: Style) -> Vec<String> {
    let mut table = Table::default();
    table.row(["User", &user.username]);
    if !user.email.is_empty() {
        table.row(["Email", &user.email]);
    }
    if user.local.as_ref().is_some_and(|local| local.service) {
        table.row(["Kind", "service account: only tokens speak for it"]);
    }
    table.row(["Status", &standing(&user.status)]);
    for line in user.local.iter().flat_map(story) {
        table.row(["By hand", &line]);
    }
    let links: Vec<String> =
        user.links.iter().map(|(source, ext)| format!("{source} ({ext})")).collect();
    table.row(["Known in", &links.join(", ")]);
    let roles = if user.roles.is_empty() { "none".to_owned() } else { user.roles.join(", ") };
    table.row(["Effective", &roles]);
    table.lines("", |_, column, cell| if column == 0 { style.bold(cell) } else { cell.to_owned() })
}

pub(super) fn origin(grant: &GrantDetail) -> &'static str {
    if grant.local.is_some() { "local" } else { "idp" }
}

/// Why a grant exists, a line each.
pub(super) fn why(grant: &GrantDetail) -> Vec<String> {
    match &grant.local {
        Some(local) => {
            let until = local.until.map(|until| format!(", until {}", rfc3339(until)));
            vec![format!(
                "by {} at {}{}: {}",
                local.by.as_str().escape_debug(),
                rfc3339(local.at),
                until.unwrap_or_default(),
                local.reason.escape_debug()
            )]
        }
        None => grant.reasons.iter().map(reason).collect(),
    }
}

/// The JSON form of a user.
pub(super) fn detail(user: &UserDetail) -> Value {
    let (since, by) = match &user.status {
        Status::Enabled => (None, None),
        Status::Disabled { by } => (None, Some(by.clone())),
        Status::Missing { since, disabled_by } => (Some(rfc3339(*since)), disabled_by.clone()),
        Status::Deprovisioned { since } => (Some(rfc3339(*since)), None),
    };
    json!({
        "username": user.username,
        "user_id": user.id,
        "email": user.email,
        "status": status_word(&user.status),
        "since": since,
        "disabled_by": by,
        "service": user.local.as_ref().is_some_and(|local| local.service),
        "local": user.local.as_ref().map(|local| json!({
            "by": local.added.by,
            "at": rfc3339(local.added_at),
            "reason": local.added.reason,
            "last": local.last.as_ref().map(|last| json!({
                "done": last.what.as_str(),
                "by": last.deed.by,
                "at": rfc3339(last.at),
                "reason": last.deed.reason,
            })),
        })),
        "role_set": user.role_set.to_string(),
        "roles": user.roles,
        "links": user.links.iter().map(|(source, id)| json!({ "source": source, "id": id }))
            .collect::<Vec<_>>(),
        "grants": user.grants.iter().map(|grant| json!({
            "role": grant.role,
            "mode": grant.mode,
            "origin": origin(grant),
            "reasons": reason_views(&grant.reasons),
            "local": grant.local,
        })).collect::<Vec<_>>(),
    })
}
