//! `idpsyncd store copy`: the whole store into another one.

use std::path::Path;

use chrono::Utc;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::args::{Output, StoreCommand, StoreCopyArgs};
use super::import::{hide_password_of, parse};
use super::print::{self, count};
use super::progress::on_terminal;
use super::{AlreadyDone, Context, Failure, exit};
use crate::config::store_at;
use crate::daemon::store_password;
use crate::model::StoreConfig;
use crate::source::Progress;
use crate::store::{self, Copied, CopiedRelation, CopyEnd, CopyProgress, Password};
use crate::sync::osmo_db::libpq_password;

/// Where the copy goes unless `--schema` says otherwise.
const SCHEMA: &str = "idpsyncd";

/// Before anything else: takes a password that stands on the command line out of sight.
pub(super) fn hide_password(command: &StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Copy(StoreCopyArgs { to, .. }) if is_url(to) => hide_password_of(to),
        StoreCommand::Copy(_) | StoreCommand::Init | StoreCommand::Grant { .. } => Ok(()),
    }
}

fn is_url(to: &str) -> bool {
    to.contains("://")
}

pub(super) fn run(at: Context<'_>, args: &StoreCopyArgs, output: Output) -> Result<u8, Failure> {
    let config = at.config;
    let from = CopyEnd { config: config.store.clone(), password: store_password(config) };
    let to = other_end(args)?;
    let copied = if args.dry_run {
        store::copy_dry(from, to)?
    } else {
        let (progress, end) = on_terminal();
        let done = store::copy(from, to, Utc::now(), &|CopyProgress { what, name, rows }| {
            progress(Progress { source: name.to_owned(), what, done: rows, total: None });
        });
        end();
        done?
    };
    let done = match args.dry_run {
        true => AlreadyDone::nothing(),
        false => AlreadyDone::that("the copy is committed".to_owned()),
    };
    done.then(match output {
        Output::Json => print::json(&as_json(&copied, args.dry_run)),
        Output::Text => print::lines(&as_text(&copied, args.dry_run)),
    })?;
    Ok(exit::DONE)
}

/// The store that `--to` names.
fn other_end(args: &StoreCopyArgs) -> Result<CopyEnd, Failure> {
    let usage = |why: String| Failure::Usage(why);
    if !is_url(&args.to) {
        if args.schema.is_some() {
            return Err(usage("`--schema` goes with the URL of a database".to_owned()));
        }
        if args.to.is_empty() {
            return Err(usage("`--to` is empty: it names a file, or a database's URL".to_owned()));
        }
        return Ok(CopyEnd { config: StoreConfig::sqlite(Path::new(&args.to)), password: None });
    }
    let url = parse(&args.to)?;
    let schema = args.schema.as_deref().unwrap_or(SCHEMA);
    let config = store_at(&url, schema).map_err(|why| {
        let what = if why.is_of_schema() { "the schema" } else { "the URL" };
        usage(format!("{what} {why}"))
    })?;
    let variable = |name: &str| std::env::var(name).ok();
    let password = libpq_password(&url, variable)
        .map_err(|error| Failure::Error(format!("cannot sign in at `{}`: {error}", url.shown)))?;
    Ok(CopyEnd { config, password: password.map(kept) })
}

fn kept(password: SecretString) -> Password {
    Password::new(move || Ok(password.clone()))
}

fn as_json(copied: &Copied, dry_run: bool) -> Value {
    let Copied { from, to, generation, tables, views } = copied;
    let each = |all: &[CopiedRelation]| -> Vec<Value> {
        let one = |CopiedRelation { name, rows, digest }: &CopiedRelation| match dry_run {
            true => json!({ "name": name, "rows": rows }),
            false => json!({ "name": name, "rows": rows, "digest": digest }),
        };
        all.iter().map(one).collect()
    };
    json!({
        "format": 1, "from": from, "to": to, "dry_run": dry_run, "copied": !dry_run,
        "generation": generation, "tables": each(tables), "views": each(views),
    })
}

fn as_text(copied: &Copied, dry_run: bool) -> Vec<String> {
    let Copied { from, to, generation, tables, views } = copied;
    let rows = |name: &str| tables.iter().find(|it| it.name == name).map_or(0, |it| it.rows);
    let what = format!(
        "generation {generation}, with {}, {} and {} of history",
        count(rows("user"), "user", "users"),
        count(rows("token"), "access token", "access tokens"),
        count(rows("history"), "row", "rows"),
    );
    if dry_run {
        return vec![
            format!("The store `{from}` would be copied to `{to}`: {what}."),
            "Nothing was written: this was a dry run.".to_owned(),
        ];
    }
    vec![
        format!("The store `{from}` is copied to `{to}`: {what}."),
        format!(
            "Compared before it was committed: {} tables and {} views hold the same on both sides.",
            tables.len(),
            views.len()
        ),
        "Name the copy in the configuration's `[store]` now, before anything runs again."
            .to_owned(),
    ]
}
