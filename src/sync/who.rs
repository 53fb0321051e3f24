//! Who a stranger is: what they are to be called, and whether the store knows them already.

use super::provision::{Heard, ProvisionOutcome};
use crate::config::Config;
use crate::directory::{Named, Sighting};
use crate::model::caller::{Caller, KnownBy};
use crate::model::username::{UsernameFrom, canonical};
use crate::model::{Standing, Status, UsernameError};
use crate::store::Acquaintance;

/// Who is to be provisioned.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub caller: &'a Caller,
    /// What they are to be called.
    pub who: &'a Named,
}

/// Whoever bears `name`, which is canonical.
pub(super) fn named(config: &Config, name: &str) -> Named {
    Named { username: name.to_owned(), by: config.sync.username }
}

/// What a source calls a person.
///
/// # Errors
/// It is no username: why.
pub(super) fn called(config: &Config, person: &Sighting) -> Result<Named, UsernameError> {
    let name = match config.sync.username {
        UsernameFrom::Username => &person.username,
        UsernameFrom::Email => &person.email,
    };
    canonical(name).map(|name| named(config, &name))
}

/// What the person is to be called. `Err` is not an error but the answer, where nobody is: a
/// source that knows no such id settles it.
pub(super) fn who(
    config: &Config,
    caller: &Caller,
    answers: &[Heard],
) -> Result<Named, ProvisionOutcome> {
    let source = match &caller.known_by {
        KnownBy::Name(name) => return Ok(named(config, name)),
        KnownBy::Id { source, .. } => source,
    };
    let mut all = config.sources.iter().zip(answers);
    match all.find(|(config, _)| config.name == *source) {
        Some((_, Heard::Found(person))) => called(config, person)
            .map_err(|why| ProvisionOutcome::Refused(format!("{source}: not provisioned: {why}"))),
        Some((_, Heard::Claimed(_))) => match &caller.name {
            Some(name) => Ok(named(config, name)),
            None => {
                Err(ProvisionOutcome::Refused("the token names no username for them".to_owned()))
            }
        },
        Some((_, Heard::Nobody)) => Err(ProvisionOutcome::Nobody),
        Some((_, Heard::Several)) => {
            Err(ProvisionOutcome::Refused(format!("{source}: more than one user has the id")))
        }
        Some((_, Heard::Failed(why))) => Err(ProvisionOutcome::Unavailable(why.clone())),
        Some((_, Heard::NotAsked)) | None => Err(ProvisionOutcome::Refused(format!(
            "nobody asked source `{source}`, whose id it is"
        ))),
    }
}

/// Whether the store knows the person already. Who is known by an id is whoever has it: somebody
/// else of the same name is nobody whom they could be taken for.
pub(super) fn acquainted(
    asked: &Asked<'_>,
    known: &[Acquaintance],
    generation: u64,
) -> Result<(), ProvisionOutcome> {
    let who = asked.who;
    let same: Box<dyn Fn(&&Acquaintance) -> bool> = match &asked.caller.known_by {
        KnownBy::Name(_) => Box::new(|one| one.username == who.username),
        KnownBy::Id { source, ext } => {
            Box::new(move |one| one.ids.iter().any(|(of, id, _)| (of, id) == (source, ext)))
        }
    };
    let alive = known.iter().filter(&same).find(|one| !one.status.is_deprovisioned());
    let Some(one) = alive.or_else(|| known.iter().find(&same)) else {
        return match known.first() {
            None => Ok(()),
            Some(one) if one.username != who.username => Err(ProvisionOutcome::Refused(format!(
                "the store knows the person as `{}`: left to the next sync",
                one.username.escape_debug()
            ))),
            Some(one) => Err(ProvisionOutcome::Refused(format!(
                "the store knows somebody else as `{}`, or the person by another id: left to the \
                 next sync",
                one.username.escape_debug()
            ))),
        };
    };
    let refused = match &asked.caller.known_by {
        KnownBy::Name(_) => false,
        KnownBy::Id { source, ext } => {
            one.ids.iter().any(|(of, id, refused)| *refused && (of, id) == (source, ext))
        }
    };
    let why = match one.status.standing() {
        _ if refused => {
            "the source calls the account otherwise than the person is called".to_owned()
        }
        Standing::Enabled => return Err(ProvisionOutcome::Known { generation }),
        Standing::Disabled(by) if matches!(one.status, Status::Missing { .. }) => {
            format!("disabled in `{by}`, and gone from there")
        }
        Standing::Disabled(by) => format!("disabled in `{by}`"),
        Standing::Deprovisioned => "deprovisioned: left to the next sync".to_owned(),
    };
    Err(ProvisionOutcome::Refused(why))
}
