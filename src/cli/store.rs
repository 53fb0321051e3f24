//! `idpsyncd store`: the store itself.

use chrono::Utc;
use serde_json::json;

use super::args::{Output, StoreCommand};
use super::{AlreadyDone, Context, Failure, exit};
use super::{print, store_copy};
use crate::sync::RunError;

pub(super) fn run(at: Context<'_>, command: &StoreCommand, output: Output) -> Result<u8, Failure> {
    match command {
        StoreCommand::Init => init(at, output),
        StoreCommand::Grant { role } => grant(at, role, output),
        StoreCommand::Copy(args) => store_copy::run(at, args, output),
    }
}

fn init(at: Context<'_>, output: Output) -> Result<u8, Failure> {
    let Context { store, .. } = at;
    let _lock = store.lock("idpsyncd store init", Utc::now()).map_err(RunError::from)?;
    store.prepare()?;
    let done = AlreadyDone::that(format!("the store `{}` is there", store.shown()));
    let reader = done.then(store.reader())?;
    let version = done.then(reader.map(|reader| reader.meta()).transpose())?;
    let version = version.map_or(0, |meta| meta.schema_version);
    done.then(match output {
        Output::Json => print::json(&json!({ "store": store.shown(), "schema_version": version })),
        Output::Text => print::lines(&[format!(
            "The store `{}` is there, of schema version {version}.",
            store.shown()
        )]),
    })?;
    Ok(exit::DONE)
}

fn grant(at: Context<'_>, role: &str, output: Output) -> Result<u8, Failure> {
    let Context { config, store } = at;
    let tokens = config.gateway.as_ref().is_some_and(|gateway| gateway.tokens.is_some());
    store.let_read(role, tokens)?;
    let done = AlreadyDone::that(format!("the role `{role}` may read"));
    done.then(match output {
        Output::Json => print::json(&json!({ "role": role, "token_digests": tokens })),
        Output::Text => print::lines(&[format!(
            "The role `{role}` may read the views, and what `idpsyncd serve` needs{}.",
            if tokens { ", digests of access tokens included" } else { "" }
        )]),
    })?;
    Ok(exit::DONE)
}
