//! `idpsyncd history`: who gained or lost what, when, why, in which generation.

use chrono::Utc;

use super::args::{HistoryArgs, Output};
use super::changes::Sign;
use super::print::{self, Style, Table};
use super::time::{From, moment};
use super::{Context, Failure, exit};
use crate::model::{CauseKind, ChangeKind, Deed, rfc3339};
use crate::store::HistoryFilter;
use crate::sync;

/// Why something changed, with who asked for it.
fn told(why: String, cause: Option<CauseKind>, deed: Option<&Deed>) -> String {
    match (deed, cause) {
        (None, _) => why,
        (Some(Deed { by, reason }), _) if why.is_empty() => format!("by {by}: {reason}"),
        // What is removed by hand is told with who did it.
        (Some(Deed { by: _, reason }), Some(CauseKind::ByHand)) => format!("{why}: {reason}"),
        (Some(Deed { by, reason }), _) => format!("{why}; by {by}: {reason}"),
    }
}

pub(super) fn run(at: Context<'_>, args: &HistoryArgs, output: Output) -> Result<u8, Failure> {
    let since = match &args.since {
        Some(text) => Some(moment(text, Utc::now(), From::Past)?),
        None => None,
    };
    let reader = sync::existing_reader(at.store)?;
    let user = args.user.as_ref().map(|user| {
        crate::model::username::canonical(user).map_or_else(|_| user.clone(), |u| u.into_owned())
    });
    let filter = HistoryFilter { user, role: args.role.clone(), since, limit: args.limit };
    let rows = reader.history(&filter)?;
    if output == Output::Json {
        print::json(&rows)?;
        return Ok(exit::DONE);
    }
    if rows.is_empty() {
        print::lines(&["Nothing happened that fits.".to_owned()])?;
        return Ok(exit::DONE);
    }
    let style = Style::detect();
    let mut table = Table::default();
    for row in &rows {
        let change = &row.change;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let origin = change.origin.as_ref().map(|origin| format!(" ({origin})"));
        let token = change.token.as_ref().map(|token| format!("token {token}"));
        let role = format!("{}{}", text(&change.role), origin.unwrap_or_default());
        let role = match token {
            Some(token) if role.is_empty() => token,
            Some(token) => format!("{token}: {role}"),
            None => role,
        };
        let why = match (&change.old, &change.new) {
            (Some(old), Some(new)) => format!("{old} → {new}"),
            _ => text(&change.why),
        };
        let why = told(why, change.cause, row.deed.as_ref());
        table.row([
            &row.generation.to_string(),
            &rfc3339(row.at),
            change.change.as_str(),
            &text(&change.user),
            &role,
            &why,
        ]);
    }
    print::lines(&table.lines("", |row, column, cell| {
        let change = rows.get(row).map(|row| row.change.change);
        match (column, change) {
            // Of roles that come and go nobody has to be warned here.
            (2, Some(ChangeKind::RoleAdded | ChangeKind::RoleRemoved)) => cell.to_owned(),
            (2, Some(kind)) => match Sign::of(kind) {
                Sign::Plus => style.green(cell),
                Sign::Minus => style.red(cell),
                Sign::Other => cell.to_owned(),
            },
            (5, _) => style.dim(cell),
            _ => cell.to_owned(),
        }
    }))?;
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_told_once() {
        let deed = Deed { by: "ops".into(), reason: "ticket 1".to_owned() };
        for (why, cause, deed, expected) in [
            ("", None, Some(&deed), "by ops: ticket 1"),
            ("removed by ops", Some(CauseKind::ByHand), Some(&deed), "removed by ops: ticket 1"),
            // A name in a sentence is not who asked.
            (
                "gone from `ops`",
                Some(CauseKind::NotAtIdp),
                Some(&deed),
                "gone from `ops`; by ops: ticket 1",
            ),
            ("removed by ops", Some(CauseKind::ByHand), None, "removed by ops"),
        ] {
            assert_eq!(told(why.to_owned(), cause, deed), expected);
        }
    }
}
