//! `idpsyncd who`: everyone who may, or who holds a role.

use std::borrow::Cow;
use std::collections::HashMap;

use super::args::{Format, WhoArgs};
use super::grant::no_such_role;
use super::request::{self, On};
use super::sheet::{Line, Sheet};
use super::{Context, Failure, exit, print};
use crate::policy::{Action, Effect, Said, Verdict, decide, decide_some};
use crate::routes::Routes;
use crate::store::{Contradiction, Reader, SetKey, StoreError};
use crate::sync;

/// Somebody, and the role through which they may.
#[derive(serde::Serialize)]
struct Holder<'a> {
    user: &'a str,
    role: &'a str,
}

impl Line for Holder<'_> {
    fn cells(&self) -> Vec<Cow<'_, str>> {
        vec![self.user.into(), self.role.into()]
    }
}

pub(super) fn run(at: Context<'_>, args: &WhoArgs, format: Format) -> Result<u8, Failure> {
    let Context { config, store } = at;
    if let Some(role) = &args.role {
        let reader = sync::existing_reader(store)?;
        return by_role(&*reader, role, format);
    }
    let Some(request) = &args.request else {
        // The command line has refused that all three are absent.
        let action = args.action.as_deref().unwrap_or_default();
        let (action, on) = request::named(action, args.resource.as_deref())?;
        let reader = sync::existing_reader(store)?;
        return by_action(&*reader, &action, &on, format);
    };
    let routes = Routes::new(request::gateway(config)?.route_specs())?;
    match request::told(&routes, request, args.host.as_deref())?.asks {
        Ok((action, on)) => {
            let reader = sync::existing_reader(store)?;
            by_action(&*reader, &action, &on, format)
        }
        Err(why) => {
            let nobody = format!("Nobody may: {why}.");
            list(format, &nobody, |_| Ok(()))
        }
    }
}

fn by_role(reader: &dyn Reader, role: &str, format: Format) -> Result<u8, Failure> {
    let nobody = format!("Nobody holds `{}`.", print::shown(role));
    let roles = reader.roles()?;
    if !roles.iter().any(|known| known.name == role) {
        let known = roles.iter().map(|role| role.name.as_str());
        return Err(no_such_role(role, known).into());
    }
    list(format, &nobody, |sheet| {
        reader.snapshot(|reader| {
            let sets = reader.seen_sets()?;
            let through: Through<'_> = sets
                .iter()
                .filter(|(_, set)| set.roles.iter().any(|held| held == role))
                .map(|(num, _)| (*num, Said { others: Some(role), own: Some(role) }))
                .collect();
            everyone_of(reader, &through, None, sheet)
        })
    })
}

fn by_action(reader: &dyn Reader, action: &Action, on: &On, format: Format) -> Result<u8, Failure> {
    let nobody = format!("Nobody may do `{action}`{}.", print::shown(&on.phrase()));
    list(format, &nobody, |sheet| {
        reader.snapshot(|reader| {
            let roles = reader.roles()?;
            let policies: HashMap<&str, &[_]> =
                roles.iter().map(|role| (role.name.as_str(), role.policies.as_slice())).collect();
            // Each set is decided once, however many have it.
            let mut through = Through::new();
            // But for the one whom the resource is named after: `${self}` may say otherwise there.
            let named = match on {
                On::Resource(resource) => Some(resource.id()),
                On::Nothing | On::SomeOf(_) => None,
            };
            for (num, set) in reader.seen_sets()? {
                let mut held = Vec::with_capacity(set.roles.len());
                for role in &set.roles {
                    // A role left out could be the one that denies.
                    let known = policies.get_key_value(role.as_str()).ok_or_else(|| {
                        reader.damaged(Contradiction::SetOfUnknownRole(role.clone()))
                    })?;
                    held.push((*known.0, *known.1));
                }
                let allows = |me: Option<&str>| {
                    let held = held.iter().copied();
                    let verdict = match on {
                        On::Nothing => decide(held, action, None, me),
                        On::Resource(resource) => decide(held, action, Some(resource), me),
                        // Everybody here has a name.
                        On::SomeOf(scope) => decide_some(held, action, scope, Some("")),
                    };
                    match verdict {
                        Verdict::Decided(Effect::Allow, role, _) => Some(role),
                        Verdict::Decided(Effect::Deny, ..) | Verdict::NoPolicy => None,
                    }
                };
                let others = allows(None);
                let own = named.map_or(others, |_| allows(named));
                if others.is_some() || own.is_some() {
                    through.insert(num, Said { others, own });
                }
            }
            everyone_of(reader, &through, named, sheet)
        })
    })
}

/// By a set's number the role through which those who have it may.
type Through<'a> = HashMap<SetKey, Said<Option<&'a str>>>;

/// Puts out everyone who has one of the sets, with the role that goes with it; `named`: whom the
/// resource is named after.
fn everyone_of(
    reader: &dyn Reader,
    through: &Through<'_>,
    named: Option<&str>,
    sheet: &mut Sheet,
) -> Result<(), StoreError> {
    let role = |user: &str, set: SetKey| {
        let said = through.get(&set)?;
        if named == Some(user) { said.own } else { said.others }
    };
    reader.holders(&mut |user, set| match role(user, set) {
        Some(role) => sheet.row(&Holder { user, role }),
        None => std::ops::ControlFlow::Continue(()),
    })
}

/// Prints what `fill` puts out; in text `nobody` says so where that is nothing.
fn list(
    format: Format,
    nobody: &str,
    fill: impl FnOnce(&mut Sheet) -> Result<(), StoreError>,
) -> Result<u8, Failure> {
    let mut sheet = Sheet::new(format, &["user", "role"]);
    fill(&mut sheet)?;
    if sheet.rows() == 0 {
        sheet.note(nobody);
    }
    sheet.finish()?;
    Ok(exit::DONE)
}
