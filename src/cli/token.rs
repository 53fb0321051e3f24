//! `idpsyncd token`: access tokens.

use std::collections::BTreeSet;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{NaiveDate, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};

use super::account::{account, actor, deed};
use super::args::{Output, TokenArgs, TokenCommand};
use super::grant::user_called;
use super::print::{self, Style, Table};
use super::time::{From, moment};
use super::user::{find, status_word};
use super::{AlreadyDone, Context, Failure, exit};
use crate::model::{Change, NewToken, State, Time, UserId, rfc3339, token};
use crate::plan::{ByHand, TablesRef};
use crate::store::{Reader, Store, TokenRow};
use crate::sync::{self, ManualError};

pub(super) fn run(at: Context<'_>, command: TokenCommand, output: Output) -> Result<u8, Failure> {
    match command {
        TokenCommand::Create(args) => create(at, args, output),
        TokenCommand::List { user } => list(at.store, user.as_deref(), output),
        TokenCommand::Show { user, name } => show(at.store, &user, &name, output),
        TokenCommand::Revoke { user, name, reason } => {
            revoke(at, &user, &name, reason.as_deref(), output)
        }
    }
}

fn create(at: Context<'_>, args: TokenArgs, output: Output) -> Result<u8, Failure> {
    let Context { config, store } = at;
    let TokenArgs { user, name, roles, expires, description } = args;
    let now = Utc::now();
    token::check_name(&name).map_err(|error| Failure::Usage(error.to_string()))?;
    let expires_at = expiry(&expires, now)?;
    let distinct: BTreeSet<&String> = roles.iter().collect();
    if distinct.len() < roles.len() {
        return Err(Failure::Usage("a `--role` is named twice".to_owned()));
    }
    within(expires_at, now, config.tokens.max_lifetime)?;
    let secret = secret()?;
    let new = NewToken {
        name: name.clone(),
        digest: token::digest(secret.expose_secret()),
        expires_at,
        roles,
        description: description.unwrap_or_default().trim().to_owned(),
        by: account(),
        at: now,
    };
    let (plan, generation) = sync::by_hand(config, store, now, None, |state| {
        let user = find_user(state, &user)?;
        Ok(ByHand::AddToken { user, token: Box::new(new.clone()), replace: false })
    })?;
    let made = plan.changes.iter().find_map(|change| match change {
        Change::TokenAdded { user, token } => Some((*user, token)),
        _ => None,
    });
    let roles = made.map(|(_, made)| made.roles.as_slice()).unwrap_or_default();
    let owner = made.and_then(|(id, _)| TablesRef::from(&plan).username(id));
    let user = owner.unwrap_or(user.as_str());
    let told = match output {
        Output::Text => told(&secret, "\n"),
        Output::Json => {
            let value = json!({
                "user": user, "name": name, "expires_at": rfc3339(expires_at), "roles": roles,
                "description": new.description, "generation": generation,
                "secret": secret.expose_secret(),
            });
            told(&SecretString::from(format!("{value:#}")), "\n")
        }
    };
    let made = AlreadyDone::that(format!("token `{name}` is made"));
    made.then(told.map_err(|error| {
        Failure::Error(format!(
            "its secret cannot be written to standard output: {error}; nobody knows it, so revoke it: \
             idpsyncd token revoke {user} {name}"
        ))
    }))?;
    print::aside(&format!(
        "Token `{name}` of `{user}` is good until {}, with {}; its secret is not shown again.",
        rfc3339(expires_at),
        roles.join(", ")
    ));
    Ok(exit::DONE)
}

/// Writes the secret. Unlike for other results it matters whether anybody read it.
fn told(secret: &SecretString, end: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(secret.expose_secret().as_bytes())?;
    out.write_all(end.as_bytes())?;
    out.flush()
}

/// A new secret: 32 bytes of the system's randomness as base64url, 43 characters.
fn secret() -> Result<SecretString, Failure> {
    let mut bytes = [0u8; 32];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(Failure::Error(format!(
                    "cannot make a secret: the system gives no random bytes: {error}"
                )));
            }
        }
    }
    let secret = URL_SAFE_NO_PAD.encode(bytes);
    bytes.fill(0);
    Ok(SecretString::from(secret))
}

/// A moment until which no token can be good.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum ExpiryError {
    /// It is none.
    #[error("`{0}` is neither a date such as `2027-01-31` nor a duration such as `30d`")]
    NotATime(String),
    /// It has passed.
    #[error("`--expires` is in the past: {}", rfc3339(*.0))]
    Past(Time),
    /// The configuration sets a limit.
    #[error(
        "a token may be good until {} at most (tokens.max_lifetime), not until {}",
        rfc3339(*.last),
        rfc3339(*.expires_at)
    )]
    TooLate {
        /// The limit.
        last: Time,
        /// What was asked for.
        expires_at: Time,
    },
}

impl std::convert::From<ExpiryError> for Failure {
    fn from(error: ExpiryError) -> Self {
        match error {
            ExpiryError::NotATime(_) => Failure::Usage(error.to_string()),
            ExpiryError::Past(_) | ExpiryError::TooLate { .. } => Failure::Error(error.to_string()),
        }
    }
}

/// When it ends: a date ends at its 00:00 UTC.
fn expiry(text: &str, now: Time) -> Result<Time, ExpiryError> {
    if text.len() == 10
        && let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d")
    {
        return Ok(date.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    moment(text, now, From::Future).map_err(|_| ExpiryError::NotATime(text.to_owned()))
}

/// Whether a token may be good until `expires_at`.
fn within(expires_at: Time, now: Time, most: std::time::Duration) -> Result<(), ExpiryError> {
    if expires_at <= now {
        return Err(ExpiryError::Past(expires_at));
    }
    let last = chrono::Duration::from_std(most).ok().and_then(|most| now.checked_add_signed(most));
    match last {
        Some(last) if expires_at > last => Err(ExpiryError::TooLate { last, expires_at }),
        _ => Ok(()),
    }
}

fn find_user(state: &State, name: &str) -> Result<UserId, ManualError> {
    user_called(state, name)?.ok_or_else(|| ManualError::UnknownUser { name: name.to_owned() })
}

/// A token as it is shown to programs.
#[derive(Serialize)]
struct Shown {
    user: String,
    name: String,
    expires_at: String,
    expired: bool,
    roles: Vec<String>,
    description: String,
    by: String,
    at: String,
    owner: &'static str,
    service: bool,
}

impl Shown {
    fn of(row: &TokenRow, now: Time) -> Shown {
        Shown {
            user: row.user.clone(),
            name: row.name.clone(),
            expires_at: rfc3339(row.expires_at),
            expired: row.expires_at <= now,
            roles: row.roles.to_vec(),
            description: row.description.clone(),
            by: row.by.to_string(),
            at: rfc3339(row.at),
            owner: status_word(&row.owner),
            service: row.service,
        }
    }
}

/// The tokens of a user in JSON, as `token list` has them.
pub(super) fn of_user(reader: &dyn Reader, user: UserId, now: Time) -> Result<Vec<Value>, Failure> {
    let rows = rows(reader, Some(user))?;
    Ok(rows.iter().map(|row| json!(Shown::of(row, now))).collect())
}

/// The tokens of a user, a line each.
pub(super) fn lines_of_user(
    reader: &dyn Reader,
    user: UserId,
    now: Time,
) -> Result<Vec<String>, Failure> {
    let mut table = Table::default();
    for row in rows(reader, Some(user))? {
        table.row([&row.name, &ends(&row, now), &roles(&row), &row.description]);
    }
    Ok(table.plain("  "))
}

fn rows(reader: &dyn Reader, user: Option<UserId>) -> Result<Vec<TokenRow>, Failure> {
    let mut rows = Vec::new();
    reader.tokens(user, &mut |row| rows.push(row))?;
    Ok(rows)
}

fn roles(row: &TokenRow) -> String {
    if row.roles.is_empty() { "no role any more".to_owned() } else { row.roles.join(", ") }
}

/// Until when it counts, or that it does not.
fn ends(row: &TokenRow, now: Time) -> String {
    if row.expires_at <= now {
        return format!("expired {}", rfc3339(row.expires_at));
    }
    let until = format!("until {}", rfc3339(row.expires_at));
    if row.owner.counts() { until } else { format!("{until}, refused: its owner is disabled") }
}

fn list(store: &dyn Store, user: Option<&str>, output: Output) -> Result<u8, Failure> {
    let reader = sync::existing_reader(store)?;
    let now = Utc::now();
    let user = user.map(|user| find(&*reader, user)).transpose()?;
    let rows = rows(&*reader, user.map(|user| user.id))?;
    if output == Output::Json {
        print::json_list(rows.iter().map(|row| Shown::of(row, now)))?;
        return Ok(exit::DONE);
    }
    if rows.is_empty() {
        print::lines(&["There are no tokens.".to_owned()])?;
        return Ok(exit::DONE);
    }
    let mut table = Table::default();
    for row in &rows {
        let user = format!("{}{}", row.user, if row.service { " (service)" } else { "" });
        table.row([&user, &row.name, &ends(row, now), &roles(row), &row.description]);
    }
    print::lines(&table.plain(""))?;
    Ok(exit::DONE)
}

fn show(store: &dyn Store, user: &str, name: &str, output: Output) -> Result<u8, Failure> {
    let reader = sync::existing_reader(store)?;
    let now = Utc::now();
    let (row, effective) = reader.snapshot(|reader| {
        let canonical = crate::model::username::canonical(user).unwrap_or(user.into());
        let Some(user) = reader.user(&canonical)? else { return Ok((None, Vec::new())) };
        let mut found = None;
        reader.tokens(Some(user.id), &mut |row| {
            if row.name == name {
                found = Some(row);
            }
        })?;
        let set = found.as_ref().map(|row| row.role_set);
        let effective = set.map(|set| reader.roles_of_set(set)).transpose()?.unwrap_or_default();
        Ok((found, effective))
    })?;
    let Some(row) = row else {
        return Err(Failure::Error(format!(
            "there is no token `{}` of a user `{}`: `idpsyncd token list` shows all",
            name.escape_debug(),
            user.escape_debug()
        )));
    };
    if output == Output::Json {
        let mut value = json!(Shown::of(&row, now));
        if let Some(map) = value.as_object_mut() {
            map.insert("role_set".to_owned(), json!(row.role_set.to_string()));
            map.insert("effective".to_owned(), json!(effective));
        }
        print::json(&value)?;
        return Ok(exit::DONE);
    }
    let style = Style::detect();
    let effective = if effective.is_empty() { "none".to_owned() } else { effective.join(", ") };
    let mut table = Table::default();
    table.row(["Token", &row.name]);
    let kind = if row.service { " (service account)" } else { "" };
    table.row(["User", &format!("{}{kind}", row.user)]);
    table.row(["Good", &ends(&row, now)]);
    table.row(["Roles", &roles(&row)]);
    table.row(["Effective", &effective]);
    if !row.description.is_empty() {
        table.row(["For", &row.description]);
    }
    table.row(["Made", &format!("by {} at {}", row.by, rfc3339(row.at))]);
    print::lines(&table.lines(
        "",
        |_, column, cell| {
            if column == 0 { style.bold(cell) } else { cell.to_owned() }
        },
    ))?;
    Ok(exit::DONE)
}

fn revoke(
    at: Context<'_>,
    user: &str,
    name: &str,
    reason: Option<&str>,
    output: Output,
) -> Result<u8, Failure> {
    let (by, deed) = (actor(), deed(reason));
    let (_, generation) = sync::by_hand(at.config, at.store, Utc::now(), deed.as_ref(), |state| {
        let user = find_user(state, user)?;
        Ok(ByHand::RemoveToken { user, name: name.to_owned(), by: by.clone() })
    })?;
    AlreadyDone::generation(generation).then(match output {
        Output::Json => print::json(&json!({
            "token": "revoked", "user": user, "name": name, "generation": generation,
        })),
        Output::Text => print::lines(&[format!(
            "Token `{name}` of `{user}` is revoked: generation {generation} is committed."
        )]),
    })?;
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_rfc3339;

    #[test]
    fn a_secret_is_43_characters_of_base64url_and_another_one_each_time() {
        let secrets: BTreeSet<String> =
            (0..50).map(|_| secret().ok().unwrap().expose_secret().to_owned()).collect();
        assert_eq!(secrets.len(), 50);
        for secret in secrets {
            assert_eq!(secret.len(), token::SECRET_LENGTH);
            assert!(secret.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        }
    }

    #[test]
    fn a_date_ends_at_its_midnight_and_a_duration_counts_from_now() {
        let now = parse_rfc3339("2026-11-26T15:30:00Z").unwrap();
        for (text, expected) in [
            ("2026-11-27", "2026-11-27T00:00:00Z"),
            ("2028-02-29", "2028-02-29T00:00:00Z"),
            ("30d", "2026-12-26T15:30:00Z"),
            ("90s", "2026-11-26T15:31:30Z"),
            ("2027-01-01T12:00:00+02:00", "2027-01-01T10:00:00Z"),
        ] {
            assert_eq!(expiry(text, now).map(rfc3339).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "never", "2027-02-29", "2027-13-01", "27-01-01", "2027-1-1", "-5d", "30"] {
            assert!(expiry(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn no_token_is_eternal_and_none_is_over_before_it_begins() {
        let now = parse_rfc3339("2026-11-26T15:30:00Z").unwrap();
        let most = std::time::Duration::from_secs(365 * 86_400);
        for (text, good) in [
            ("2026-11-26", false), // over since midnight
            ("0s", false),
            ("1s", true),
            ("2027-11-26", true),
            ("365d", true),
            ("2027-11-27", false),
            ("366d", false),
            ("100000d", false),
        ] {
            let expires_at = expiry(text, now).unwrap();
            assert_eq!(within(expires_at, now, most).is_ok(), good, "{text}");
        }
    }
}
