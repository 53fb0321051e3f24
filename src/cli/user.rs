//! `idpsyncd user`: people.

use chrono::Utc;
use serde_json::{Value, json};

use super::args::{Output, UserCommand};
use super::print::{self, Style, Table};
use super::{Failure, exit, token};
use crate::config::Config;
use crate::model::{Status, rfc3339};
use crate::pipeline;
use crate::plan::reason;
use crate::store::{GrantDetail, Reader, UserDetail};

pub(super) fn run(config: &Config, command: &UserCommand, output: Output) -> Result<u8, Failure> {
    let reader = pipeline::existing_reader(&config.store)?;
    match command {
        UserCommand::List => list(&reader, output),
        UserCommand::Show { user } => {
            let user = find(&reader, user)?;
            match output {
                Output::Json => {
                    let mut value = detail(&user);
                    let tokens = token::of_user(&reader, user.id, Utc::now())?;
                    if let Some(map) = value.as_object_mut() {
                        map.insert("tokens".to_owned(), json!(tokens));
                    }
                    print::json(&value)?;
                }
                Output::Text => {
                    let style = Style::detect();
                    let mut out = header(&user, style);
                    out.push(String::new());
                    out.push(style.bold("Grants"));
                    if user.grants.is_empty() {
                        out.push("  none".to_owned());
                    }
                    for grant in &user.grants {
                        out.push(format!(
                            "  {} ({}, mode {})",
                            grant.role,
                            origin(grant),
                            grant.mode
                        ));
                        out.extend(why(grant).iter().map(|w| format!("    {}", style.dim(w))));
                    }
                    let tokens = token::lines_of_user(&reader, user.id, Utc::now())?;
                    if !tokens.is_empty() {
                        out.push(String::new());
                        out.push(style.bold("Access tokens"));
                        out.extend(tokens);
                    }
                    print::lines(&out)?;
                }
            }
            Ok(exit::DONE)
        }
    }
}

fn list(reader: &Reader, output: Output) -> Result<u8, Failure> {
    let mut rows = Vec::new();
    reader.users(&mut |row| rows.push(row))?;
    if output == Output::Json {
        let list: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({
                    "username": row.username, "email": row.email, "user_id": row.id,
                    "status": status_word(&row.status), "roles": &row.roles[..],
                })
            })
            .collect();
        print::json(&list)?;
        return Ok(exit::DONE);
    }
    let mut table = Table::default();
    for row in &rows {
        table.row([&row.username, &row.email, status_word(&row.status), &row.roles.join(", ")]);
    }
    print::lines(&table.plain(""))?;
    Ok(exit::DONE)
}

/// The user whom the store knows under `name`.
pub(super) fn find(reader: &Reader, name: &str) -> Result<UserDetail, Failure> {
    let canonical = crate::model::username::canonical(name).unwrap_or(name.into());
    reader.user(&canonical)?.ok_or_else(|| {
        Failure::Error(format!(
            "the store knows no user `{}`: `idpsyncd user list` shows all",
            name.escape_debug()
        ))
    })
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
    table.row(["Status", &standing(&user.status)]);
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
                local.by,
                rfc3339(local.at),
                until.unwrap_or_default(),
                local.reason
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
        "role_set": user.role_set.to_string(),
        "roles": user.roles,
        "links": user.links.iter().map(|(source, id)| json!({ "source": source, "id": id }))
            .collect::<Vec<_>>(),
        "grants": user.grants.iter().map(|grant| json!({
            "role": grant.role,
            "mode": grant.mode,
            "origin": origin(grant),
            "reasons": grant.reasons,
            "local": grant.local,
        })).collect::<Vec<_>>(),
    })
}
