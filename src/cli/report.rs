//! `idpsyncd report`: who holds what, since when, why and by whom; and who has looked at it.

use std::borrow::Cow;

use chrono::{NaiveDate, NaiveTime, Utc};
use serde_json::json;

use super::account::account;
use super::args::{AccessArgs, Format, Global, Output, ReportCommand, SignArgs};
use super::grant::no_such_role;
use super::print::{self, Style, Table};
use super::sheet::{Line, Sheet};
use super::{Failure, exit, over_store};
use crate::model::{parse_rfc3339, rfc3339, username};
use crate::store::{
    Access, AccessChange, AccessFilter, AsOf, Began, Generation, Reader, Review, Store, Untold,
};
use crate::sync;

impl From<Untold> for Failure {
    fn from(untold: Untold) -> Self {
        Failure::Error(untold.to_string())
    }
}

pub(super) fn run(global: &Global, command: &ReportCommand) -> Result<u8, Failure> {
    match command {
        ReportCommand::Access(args) => {
            let as_of = args.as_of.as_deref().map(as_of).transpose()?;
            over_store(global, |at| access(at.store, args, as_of, global.format))
        }
        ReportCommand::Sign(args) => sign(global, args),
        ReportCommand::List => over_store(global, |at| list(at.store, global.output)),
    }
}

/// Reads a generation's number, a time, or a day, which begins at 00:00 UTC.
fn as_of(text: &str) -> Result<AsOf, Failure> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large for any generation is one that is not there.
        return Ok(AsOf::Generation(text.parse().unwrap_or(u64::MAX)));
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let day = day.filter(|_| text.len() == "2026-11-23".len());
    let time = match day {
        Some(day) => Ok(day.and_time(NaiveTime::MIN).and_utc()),
        None => parse_rfc3339(text),
    };
    time.map(AsOf::Time).map_err(|_| {
        Failure::Usage(format!(
            "`{}` is neither a generation's number nor a time such as `2026-11-23T20:15:00Z` or \
             `2026-11-23`",
            text.escape_debug()
        ))
    })
}

fn access(
    store: &dyn Store,
    args: &AccessArgs,
    as_of: Option<AsOf>,
    format: Format,
) -> Result<u8, Failure> {
    let user = args.user.as_ref().map(|user| {
        username::canonical(user).map_or_else(|_| user.clone(), |user| user.into_owned())
    });
    let filter = AccessFilter { user, role: args.role.clone() };
    let reader = sync::existing_reader(store)?;
    // Everything is read of one committed state; what fails in between is told outside.
    reader.snapshot(|reader| {
        Ok(known(reader, &filter).and_then(|()| {
            let at = match as_of {
                Some(as_of) => Some(reader.generation(as_of, Utc::now())?),
                None => reader.newest()?,
            };
            match &args.since_last_review {
                Some(name) => changes(reader, name, at, &filter, format),
                None => everything(reader, at, &filter, format),
            }
        }))
    })?
}

/// Whether the store ever knew whom and what the filter names.
fn known(reader: &dyn Reader, filter: &AccessFilter) -> Result<(), Failure> {
    if let Some(user) = &filter.user
        && !reader.ever_called(user)?
    {
        return Err(Failure::Error(format!(
            "the store knows no user `{}`, and nobody was ever called so",
            user.escape_debug()
        )));
    }
    if let Some(role) = &filter.role
        && !reader.ever_a_role(role)?
    {
        let roles = reader.roles()?;
        let known = roles.iter().map(|role| role.name.as_str());
        return Err(no_such_role(role, known).into());
    }
    Ok(())
}

/// A row of the report.
#[derive(serde::Serialize)]
struct Held {
    user: String,
    role: String,
    /// Absent: before the store kept it.
    since: Option<String>,
    /// In that case a moment at which it was held already.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_before: Option<String>,
    origin: String,
    why: String,
    by: Option<String>,
    service: bool,
}

const COLUMNS: [&str; 7] = ["user", "role", "since", "origin", "why", "by", "service"];

/// People see fewer columns than programs.
fn columns(
    format: Format,
    all: &'static [&'static str],
    shown: &'static [&'static str],
) -> &'static [&'static str] {
    if format == Format::Text { shown } else { all }
}

impl Held {
    /// People read the shortest of several ways, programs get all.
    fn of(access: Access, format: Format) -> Held {
        let Access { user_id: _, user, role, since, everyone, idp, local, service } = access;
        let mut origins = Vec::new();
        let mut why = Vec::new();
        if everyone {
            origins.push("everyone");
            why.push("everyone who is enabled holds it".to_owned());
        }
        if let Some(ways) = idp {
            origins.push("idp");
            why.push(if format == Format::Text { ways.shortest() } else { ways.all() });
        }
        let mut by = None;
        if let Some(local) = local {
            origins.push("local");
            let until = local.until.map(|until| format!(" (until {})", rfc3339(until)));
            why.push(format!("{}{}", local.reason, until.unwrap_or_default()));
            by = Some(local.by.to_string());
        }
        let (since, since_before) = match since {
            Began::In(generation) => (Some(rfc3339(generation.at)), None),
            Began::Before(generation) => (None, Some(rfc3339(generation.at))),
        };
        Held {
            user: user.to_string(),
            role: role.to_string(),
            since,
            since_before,
            origin: origins.join("+"),
            why: why.join("; "),
            by,
            service,
        }
    }

    fn since(&self) -> Cow<'_, str> {
        match (&self.since, &self.since_before) {
            (Some(since), _) => since.into(),
            (None, Some(before)) => format!("before {before}").into(),
            (None, None) => "".into(),
        }
    }
}

impl Line for Held {
    fn cells(&self) -> Vec<Cow<'_, str>> {
        let by = self.by.as_deref().unwrap_or_default();
        let service = if self.service { "true" } else { "false" };
        vec![
            (&self.user).into(),
            (&self.role).into(),
            self.since(),
            (&self.origin).into(),
            (&self.why).into(),
            by.into(),
            service.into(),
        ]
    }

    fn shown(&self) -> Vec<Cow<'_, str>> {
        let mut cells = self.cells();
        // Last comes what is longest, and empty mostly what is short.
        cells.truncate(4);
        if self.service
            && let Some(user) = cells.first_mut()
        {
            *user = format!("{} (service)", self.user).into();
        }
        cells.push(told(&self.why, self.by.as_deref()).into());
        cells
    }
}

/// Why, and by whom.
fn told(why: &str, by: Option<&str>) -> String {
    by.map_or_else(|| why.to_owned(), |by| format!("{why}; by {by}"))
}

/// `generation 12, committed at 2026-…`.
fn named(generation: Generation) -> String {
    format!("generation {}, committed at {}", generation.num, rfc3339(generation.at))
}

/// Prints all of what was held.
fn everything(
    reader: &dyn Reader,
    at: Option<Generation>,
    filter: &AccessFilter,
    format: Format,
) -> Result<u8, Failure> {
    let mut sheet =
        Sheet::new(format, columns(format, &COLUMNS, &["user", "role", "since", "origin", "why"]));
    if let Some(at) = at {
        sheet.note(&format!("Who holds what at {}", named(at)));
        reader.access(at.num, filter, &mut |access| sheet.row(&Held::of(access, format)))?;
    }
    if sheet.rows() == 0 {
        sheet.note("Nobody holds anything that fits.");
    }
    sheet.finish()?;
    Ok(exit::DONE)
}

/// A row of what changed.
#[derive(serde::Serialize)]
struct Changed {
    /// `added`, `removed` or `changed`.
    change: &'static str,
    /// As it is; for what is removed as it was.
    #[serde(flatten)]
    held: Held,
    /// What differs, as it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<Held>,
}

const CHANGED: [&str; 9] =
    ["change", "user", "role", "since", "origin", "why", "by", "service", "was"];

impl Changed {
    fn of(change: AccessChange, format: Format) -> Changed {
        let held = |access| Held::of(access, format);
        match change {
            AccessChange::Added(is) => Changed { change: "added", held: held(is), was: None },
            AccessChange::Removed(was) => Changed { change: "removed", held: held(was), was: None },
            AccessChange::Changed { was, is } => {
                Changed { change: "changed", held: held(is), was: Some(held(was)) }
            }
        }
    }

    /// What differs, as it was, in words.
    fn was(&self) -> String {
        let Some(was) = &self.was else { return String::new() };
        let mut parts = Vec::new();
        if was.user != self.held.user {
            parts.push(format!("called {}", was.user));
        }
        if was.since() != self.held.since() {
            parts.push(format!("since {}", was.since()));
        }
        if (&was.origin, &was.why, &was.by) != (&self.held.origin, &self.held.why, &self.held.by) {
            parts.push(format!("{} {}", was.origin, told(&was.why, was.by.as_deref())));
        }
        if was.service != self.held.service {
            parts.push(if was.service { "a service account" } else { "no service account" }.into());
        }
        parts.join("; ")
    }
}

impl Line for Changed {
    fn cells(&self) -> Vec<Cow<'_, str>> {
        let mut cells = vec![Cow::Borrowed(self.change)];
        cells.extend(self.held.cells());
        cells.push(self.was().into());
        cells
    }

    fn shown(&self) -> Vec<Cow<'_, str>> {
        let mark = match self.change {
            "added" => "+",
            "removed" => "-",
            _ => "~",
        };
        let mut cells = vec![Cow::Borrowed(mark)];
        cells.extend(self.held.shown());
        let was = self.was();
        if !was.is_empty()
            && let Some(last) = cells.last_mut()
        {
            *last = format!("{last}; before: {was}").into();
        }
        cells
    }

    fn paint(&self, cell: &str, style: Style) -> String {
        match self.change {
            "added" => style.green(cell),
            "removed" => style.red(cell),
            _ => style.yellow(cell),
        }
    }
}

/// Prints what is not as it was when somebody last signed `name`.
fn changes(
    reader: &dyn Reader,
    name: &str,
    at: Option<Generation>,
    filter: &AccessFilter,
    format: Format,
) -> Result<u8, Failure> {
    let last = reader.last_review(name)?;
    let title = match &last {
        Some(Review { generation, by, at: signed, .. }) => {
            format!(
                "What is not as it was at generation {generation}, where `{}` was signed by {} at {}",
                print::shown(name),
                print::shown(by),
                rfc3339(*signed)
            )
        }
        None => format!("`{}` was never signed: everything is new", print::shown(name)),
    };
    // Programs find the rows alone on standard output.
    if last.is_none() && format != Format::Text {
        print::aside(&title);
    }
    let mut sheet = Sheet::new(
        format,
        columns(format, &CHANGED, &["", "user", "role", "since", "origin", "why"]),
    );
    sheet.note(&title);
    if let Some(at) = at {
        sheet.note(&format!("Now: {}", named(at)));
        match last {
            Some(last) => {
                let from = reader.generation(AsOf::Generation(last.generation), Utc::now())?;
                reader.access_changes((from.num, at.num), filter, &mut |change| {
                    sheet.row(&Changed::of(change, format))
                })?;
            }
            None => reader.access(at.num, filter, &mut |access| {
                sheet.row(&Changed::of(AccessChange::Added(access), format))
            })?,
        }
    }
    if sheet.rows() == 0 {
        sheet.note("Nothing that fits.");
    }
    sheet.finish()?;
    Ok(exit::DONE)
}

fn sign(global: &Global, args: &SignArgs) -> Result<u8, Failure> {
    let SignArgs { name, by, .. } = args;
    for (what, text) in [("the review's name", name), ("`--by`", by)] {
        if text.trim().is_empty() {
            return Err(Failure::Usage(format!("{what} is empty")));
        }
        if text.chars().any(char::is_control) {
            return Err(Failure::Usage(format!("{what} holds a control character")));
        }
    }
    over_store(global, |at| signed(at.store, args, global.output))
}

fn signed(store: &dyn Store, args: &SignArgs, output: Output) -> Result<u8, Failure> {
    let SignArgs { name, by, generation } = args;
    let reader = sync::existing_reader(store)?;
    let now = Utc::now();
    let seen = match generation {
        Some(generation) => reader.generation(AsOf::Generation(*generation), now)?,
        None => reader.newest()?.ok_or(Untold::None)?,
    };
    let review = Review {
        name: name.clone(),
        generation: seen.num,
        by: by.clone(),
        account: account(),
        at: now,
    };
    store.sign(&review)?;
    match output {
        Output::Json => print::json(&detail(&review))?,
        Output::Text => print::lines(&[format!(
            "`{name}` is signed by {by} ({}) for {}.",
            review.account,
            named(seen)
        )])?,
    }
    Ok(exit::DONE)
}

fn detail(review: &Review) -> serde_json::Value {
    let Review { name, generation, by, account, at } = review;
    json!({
        "name": name, "generation": generation, "by": by, "account": account, "at": rfc3339(*at),
    })
}

fn list(store: &dyn Store, output: Output) -> Result<u8, Failure> {
    let reviews = sync::existing_reader(store)?.reviews()?;
    if output == Output::Json {
        print::json(&reviews.iter().map(detail).collect::<Vec<_>>())?;
        return Ok(exit::DONE);
    }
    if reviews.is_empty() {
        print::lines(&["Nothing was signed yet.".to_owned()])?;
        return Ok(exit::DONE);
    }
    let mut table = Table::default();
    for Review { name, generation, by, account, at } in &reviews {
        let generation = format!("generation {generation}");
        table.row([name, &rfc3339(*at), &generation, &format!("by {by} ({account})")]);
    }
    print::lines(&table.plain(""))?;
    Ok(exit::DONE)
}
