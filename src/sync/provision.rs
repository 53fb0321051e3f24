//! One person, just in time: asked for alone, resolved by the same rules, committed as a
//! generation of its own.
//!
//! ```text
//! ask: every source at once ─┐
//! claimed: the token's roles ┴─► plan_and_commit: provision_context ─► resolve ─► plan ─► commit, or why not
//! ```
//!
//! Only a stranger is ever provisioned, and only enabled: [`plan_and_commit`] makes one user with links and
//! idp grants, or nothing. It resolves with the same [`resolve`] as a run, over what the mirrors say
//! groups and roles are, in a store without anybody else, where there is nothing to take away. What
//! would need more than that (a role that is new, somebody known under another name, a name that
//! two bear) is left to the next sync.
//!
//! What a mirror does not have (a group made since the last sync) gives nothing yet. So nobody is
//! given here what that sync would not give.

use futures_util::future::join_all;

use super::claims::{self, ClaimsError};
use super::who::{Asked, acquainted, called, named, who};
use super::{RunError, configured};
use crate::config::{Config, SourceConfig};
use crate::directory::{
    AccountSid, Delta, Directory, Enabled, Kind, Named, OwnDomain, RefRow, Rid, Sighting, Within,
    find_ref, with_people,
};
use crate::model::caller::{Caller, KnownBy};
use crate::model::diagnostic::{Diagnostic, texts};
use crate::model::{Change, Standing, Time};
use crate::plan::{self, NotApproved};
use crate::resolve::{LinkBy, NewGroup, Resolved, Rules, View, new_group, resolve};
use crate::source::{Looked, Source, SourceError, Who};
use crate::store::{
    Bears, Commit, MirrorOutline, MirrorPatch, ProvisionContext, ProvisionQuery, Reader, Store,
    StoreError, StoreErrorKind,
};

/// What one source says of the person, or a token in its name.
#[derive(Clone, Debug)]
pub enum Heard {
    /// They are there.
    Found(Box<Sighting>),
    /// A token that the source issued names these roles.
    Claimed(Box<Claimed>),
    /// There is certainly nobody of that name.
    Nobody,
    /// More than one person comes to that name.
    Several,
    /// It could not be asked, or not believed: its mirror speaks. Why.
    Failed(String),
    /// Nobody asked: its mirror speaks.
    NotAsked,
}

/// What a verified token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimed {
    /// The token's `sub`: the external id.
    pub subject: String,
    /// The claim's path, such as `realm_access.roles`.
    pub claim: String,
    /// What the claim holds.
    pub roles: Vec<String>,
}

/// What came of provisioning one person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProvisionOutcome {
    /// They are provisioned, in this generation.
    Provisioned {
        /// The generation.
        generation: u64,
    },
    /// The store knows them already and they may get in; nothing was done.
    Known {
        /// The generation that was looked at.
        generation: u64,
    },
    /// No source knows them.
    Nobody,
    /// It must not be done, or not here: why. For the log.
    Refused(String),
    /// It cannot be told now: why. For the log.
    Unavailable(String),
}

/// A source that can be asked, or why it cannot.
pub type Opened = Result<Box<dyn Source>, SourceError>;

/// Asks all sources about the caller at the same time and provisions them.
/// `sources` are those of the configuration, in its order.
///
/// # Errors
/// The store cannot be read or written. A source that fails is not an error.
pub async fn lookup_person(
    config: &Config,
    store: &dyn Store,
    sources: &[Opened],
    caller: &Caller,
    now: Time,
) -> Result<ProvisionOutcome, RunError> {
    let answers = ask(config, sources, caller).await;
    plan_and_commit(config, store, caller, answers, now)
}

/// Provisions the caller by the roles that their verified token names.
///
/// # Errors
/// The store cannot be read or written.
pub fn claims_person(
    config: &Config,
    store: &dyn Store,
    caller: &Caller,
    now: Time,
) -> Result<ProvisionOutcome, RunError> {
    match claimed(config, caller) {
        Ok(answers) => plan_and_commit(config, store, caller, answers, now),
        Err(why) => Ok(ProvisionOutcome::Refused(why.to_string())),
    }
}

/// What each source says of the caller, in the order of the configuration.
///
/// Where the caller is known by a source's id, that source is asked first, by it: what the person
/// is called is for the source to say, and the others are asked about whoever is called so.
pub async fn ask(config: &Config, sources: &[Opened], caller: &Caller) -> Vec<Heard> {
    let all = || config.sources.iter().zip(sources);
    let (owner, ext) = match &caller.known_by {
        KnownBy::Name(name) => {
            let who = Who::Named(named(config, name));
            return join_all(all().map(|(source, opened)| ask_one(config, source, opened, &who)))
                .await;
        }
        KnownBy::Id { source, ext } => (source, ext),
    };
    let mut answer = Heard::NotAsked;
    if let Some((source, opened)) = all().find(|(source, _)| source.name == *owner) {
        answer = ask_one(config, source, opened, &Who::Id(ext.clone())).await;
    }
    let called = match &answer {
        Heard::Found(person) => called(config, person).ok(),
        _ => None,
    };
    let who = called.map(Who::Named);
    let others = all().map(|(source, opened)| async {
        match &who {
            Some(who) if source.name != *owner => ask_one(config, source, opened, who).await,
            _ => Heard::NotAsked,
        }
    });
    let mut answers = join_all(others).await;
    let place = config.sources.iter().position(|source| source.name == *owner);
    if let Some(slot) = place.and_then(|place| answers.get_mut(place)) {
        *slot = answer;
    }
    answers
}

async fn ask_one(config: &Config, source: &SourceConfig, opened: &Opened, who: &Who) -> Heard {
    // What the store itself says is there without asking.
    if source.kind.is_local() {
        return Heard::NotAsked;
    }
    let failed = |error: &SourceError| Heard::Failed(format!("{}: {error}", source.name));
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return failed(error),
    };
    let settings = config.settings();
    let rules = Rules::new(&settings, source.terms());
    // A source that knows no single person: what its mirror says of them counts.
    let Some(source_of_one) = opened.as_lookup() else { return Heard::NotAsked };
    match source_of_one.lookup(&rules, who).await {
        // Whether the account is enabled is not for a source to say that gives roles only.
        Ok(Looked::Found(sighting)) if sighting.enabled == Enabled::Unknown && source.lifecycle => {
            Heard::Failed(format!(
                "{}: cannot be believed now about whether the account is enabled",
                source.name
            ))
        }
        Ok(Looked::Found(sighting)) => Heard::Found(sighting),
        Ok(Looked::Nobody) => Heard::Nobody,
        Ok(Looked::Gone(gone)) => {
            tracing::info!(source = %source.name, "whoever asks is not a user there any more: {gone}");
            Heard::Nobody
        }
        Ok(Looked::Several) => Heard::Several,
        Err(error) => failed(&error),
    }
}

/// The token's word as the answer of the source that issued it.
///
/// # Errors
/// No source issued it, or it does not say enough.
fn claimed(config: &Config, caller: &Caller) -> Result<Vec<Heard>, ClaimsError> {
    let issuer = caller.issuer.as_deref().ok_or(ClaimsError::NoToken)?;
    let KnownBy::Id { source, ext: subject } = &caller.known_by else {
        return Err(ClaimsError::NoSource { issuer: issuer.to_owned() });
    };
    let place = config.sources.iter().position(|known| known.name == *source);
    let place = place.ok_or_else(|| ClaimsError::UnknownSource { name: source.clone() })?;
    let subject = subject.clone();
    let roles = caller.roles.clone().ok_or(ClaimsError::NoRoles)?;
    let jwt = config.gateway.iter().flat_map(|gateway| &gateway.jwt);
    let claim = jwt
        .filter(|jwt| jwt.issuer == issuer)
        .find_map(|jwt| jwt.roles_claim.clone())
        .ok_or(ClaimsError::NoRolesClaim)?;
    let mut answers = vec![Heard::NotAsked; config.sources.len()];
    if let Some(slot) = answers.get_mut(place) {
        *slot = Heard::Claimed(Box::new(Claimed { subject, claim, roles }));
    }
    Ok(answers)
}

/// Provisions the caller by what the sources said, or says why not. Blocks on the disk.
///
/// # Errors
/// The store cannot be read or written.
pub fn plan_and_commit(
    config: &Config,
    store: &dyn Store,
    caller: &Caller,
    answers: Vec<Heard>,
    now: Time,
) -> Result<ProvisionOutcome, RunError> {
    let who = match who(config, caller, &answers) {
        Ok(who) => who,
        Err(person) => return Ok(person),
    };
    let done = store.update(|tx| {
        let around = tx.reader().provision_context(&provision_query(config, &who, &answers))?;
        if let Some(why) = same_sid(config, tx.reader(), &answers)? {
            return Ok(ProvisionOutcome::Refused(why));
        }
        let asked = Asked { caller, who: &who };
        let ready = match decide(config, &asked, &answers, &around, now) {
            Ok(ready) => ready,
            Err(person) => return Ok(person),
        };
        let mut patches = Vec::new();
        for &(source, outline, ref person) in &ready.people {
            let delta = Delta::of_person(&outline.directory, person);
            let rows = tx.reader().mirror_rows(source, &delta.touched())?;
            let patched = rows.map(|(rows, key)| rows.apply(&delta, &key)).transpose();
            match patched {
                Ok(patch) => patches.extend(patch.map(|patch| (source, patch))),
                // What the mirror was a moment ago it is not any more.
                Err(why) => return Ok(ProvisionOutcome::Unavailable(format!("{source}: {why}"))),
            }
        }
        let patches: Vec<MirrorPatch<'_>> =
            patches.iter().map(|(source, patch)| MirrorPatch { source, patch }).collect();
        let committed = tx.commit_patches(
            &Commit {
                plan: &ready.plan,
                base_version: around.meta.version,
                sources: &[],
                configured: &configured(config),
                settled: None,
            },
            &patches,
        )?;
        let generation = committed.generation.unwrap_or(around.meta.generation);
        Ok(ProvisionOutcome::Provisioned { generation })
    });
    match done {
        Err(RunError::Store(error)) if error.kind == StoreErrorKind::Absent => {
            Ok(ProvisionOutcome::Unavailable("no sync has run yet".to_owned()))
        }
        done => done,
    }
}

/// Why somebody cannot be told from another by their SID, which no domain gives twice.
fn same_sid(
    config: &Config,
    reader: &dyn Reader,
    answers: &[Heard],
) -> Result<Option<String>, StoreError> {
    for (source, answer) in config.sources.iter().zip(answers) {
        let Heard::Found(person) = answer else { continue };
        let Some(sid) = &person.sid else { continue };
        let bearing = reader.bearing(&source.name, Bears::Sid(sid))?;
        if bearing.iter().any(|ext| *ext != person.ext) {
            let name = &source.name;
            return Ok(Some(format!(
                "{name}: another user of the same SID was there at the last read"
            )));
        }
    }
    Ok(None)
}

fn provision_query<'a>(
    config: &'a Config,
    who: &'a Named,
    answers: &'a [Heard],
) -> ProvisionQuery<'a> {
    let mut exts = Vec::new();
    let mut emails = Vec::new();
    let by_email = config.sources.iter().any(|source| source.link_by == LinkBy::Email);
    for (source, answer) in config.sources.iter().zip(answers) {
        match answer {
            Heard::Found(person) => {
                exts.push((source.name.as_str(), person.ext.as_str()));
                if by_email && person.email_verified && !person.email.is_empty() {
                    emails.push(person.email.to_lowercase());
                }
            }
            Heard::Claimed(claimed) => exts.push((source.name.as_str(), claimed.subject.as_str())),
            Heard::Nobody | Heard::Several | Heard::Failed(_) | Heard::NotAsked => {}
        }
    }
    let sources = config.sources.iter().map(|source| source.name.as_str()).collect();
    ProvisionQuery { who, sources, exts, emails }
}

/// What is to be committed.
struct Ready<'a> {
    plan: plan::Plan,
    /// Whom the mirrors get: source, mirror, person.
    people: Vec<(&'a str, &'a MirrorOutline, Sighting)>,
}

/// One source's part in the decision.
struct Part<'a> {
    source: &'a SourceConfig,
    outline: &'a MirrorOutline,
    /// Who the source says the person is, now.
    found: Option<Sighting>,
    /// Who of the mirror may be the person.
    rows: Vec<Sighting>,
}

/// Decides about the stranger. `Err` is not an error but the answer, where nothing is to be done.
fn decide<'a>(
    config: &'a Config,
    asked: &Asked<'_>,
    answers: &[Heard],
    around: &'a ProvisionContext,
    now: Time,
) -> Result<Ready<'a>, ProvisionOutcome> {
    let who = asked.who;
    acquainted(asked, &around.known, around.meta.generation)?;
    let parts = parts(config, who, answers, around)?;
    let directories: Vec<Directory> = parts
        .iter()
        .map(|part| {
            let people: Vec<Sighting> = part.found.iter().chain(&part.rows).cloned().collect();
            with_people(part.outline.directory.clone(), &people).map_err(|why| {
                ProvisionOutcome::Unavailable(format!("{}: {why}", part.source.name))
            })
        })
        .collect::<Result<_, _>>()?;
    // Whatever these small views do not show is unknown, not absent: they prove nothing.
    let views: Vec<View<'_>> = parts
        .iter()
        .zip(&directories)
        .map(|(part, directory)| View { source: &part.source.name, directory })
        .collect();
    let mut resolved = resolve(&config.settings(), &views, &around.state, now)
        .map_err(|what| ProvisionOutcome::Unavailable(what.to_string()))?;
    for (source, answer) in config.sources.iter().zip(answers) {
        if let Heard::Claimed(claimed) = answer {
            claims::mark(config, &source.name, &claimed.claim, &mut resolved)
                .map_err(|what| ProvisionOutcome::Unavailable(what.to_string()))?;
        }
    }
    let plan = additions(who, around, resolved, now)?;
    let people = parts
        .into_iter()
        .filter_map(|part| Some((part.source.name.as_str(), part.outline, part.found?)))
        .collect();
    Ok(Ready { plan, people })
}

/// Puts each source's word and what its mirror has together.
fn parts<'a>(
    config: &'a Config,
    who: &Named,
    answers: &[Heard],
    around: &'a ProvisionContext,
) -> Result<Vec<Part<'a>>, ProvisionOutcome> {
    let mut parts = Vec::new();
    let mut failed: Vec<String> = Vec::new();
    for (source, answer) in config.sources.iter().zip(answers) {
        let outline = around.mirrors.get(&source.name);
        if matches!(answer, Heard::Several) {
            return Err(ProvisionOutcome::Refused(format!(
                "{}: more than one user comes to the username `{}`",
                source.name,
                who.username.escape_debug()
            )));
        }
        if let Heard::Failed(why) = answer {
            failed.push(why.clone());
        }
        let Some(outline) = outline else {
            if matches!(answer, Heard::Found(_) | Heard::Claimed(_)) {
                failed.push(format!("{}: has not been read by a sync yet", source.name));
            }
            continue;
        };
        let mut found = match answer {
            Heard::Found(person) => Some(person.as_ref().clone()),
            Heard::Claimed(claimed) => {
                let roles = &around.state.roles;
                let shown = claims::sighting(config, source, who, claimed, outline, roles);
                Some(shown.map_err(|why| ProvisionOutcome::Refused(why.to_string()))?)
            }
            _ => None,
        };
        let asked = matches!(answer, Heard::Found(_) | Heard::Claimed(_) | Heard::Nobody);
        let mut rows = Vec::new();
        for row in &outline.rows {
            if found.as_ref().is_some_and(|found| found.ext == row.ext) {
                continue;
            }
            if !(asked && who.is(&row.username, &row.email)) {
                rows.push(row.clone());
            } else if found.is_some() {
                return Err(ProvisionOutcome::Refused(format!(
                    "{}: another user of the username `{}` was there at the last read",
                    source.name,
                    who.username.escape_debug()
                )));
            }
        }
        if let Some(found) = &mut found {
            // What was known of it stands where nothing was to be seen.
            let row = outline.rows.iter().find(|row| row.ext == found.ext);
            found.sid = found.sid.take().or_else(|| row?.sid.clone());
            sid_is_known(around, (&source.name, outline), found)?;
            for within in &found.within {
                if find_ref(&outline.directory, within).is_none() {
                    new_group_gives_nothing(config, source, outline, within)?;
                    tracing::info!(
                        source = %source.name,
                        what = within.kind.as_str(),
                        key = %within.key.escape_debug(),
                        "came after the last read: gives nothing until the next sync"
                    );
                }
            }
        }
        parts.push(Part { source, outline, found, rows });
    }
    // Whom only sources know that give roles only is nobody here.
    if parts.iter().any(|part| part.found.is_some() && part.source.lifecycle) {
        return Ok(parts);
    }
    // Whoever was not heard may know the person.
    Err(if failed.is_empty() {
        ProvisionOutcome::Nobody
    } else {
        ProvisionOutcome::Unavailable(failed.join("; "))
    })
}

/// Lets somebody pass whose SID the source's domain has, or by whose SID nobody is listed anywhere: what a list
/// would keep from them would pass them by. They wait for the next sync, which reads which domain it is.
fn sid_is_known(
    around: &ProvisionContext,
    (source, outline): (&str, &MirrorOutline),
    found: &Sighting,
) -> Result<(), ProvisionOutcome> {
    let mirror = &outline.directory;
    if mirror.rid_of(found.sid.as_ref()) != Rid::Unread {
        return Ok(());
    }
    // They may be listed, or a group of theirs.
    let may_be_theirs = |listed: &AccountSid| match (&found.sid, mirror.own_domain()) {
        (Some(sid), _) if sid.domain() == listed.domain() => true,
        (_, OwnDomain::Of(domain)) => domain == listed.domain().as_str(),
        (None, OwnDomain::Unread) => true,
        (Some(_), OwnDomain::Unread) | (_, OwnDomain::None) => false,
    };
    let listing = around.mirrors.iter().find(|(_, outline)| {
        let Directory { refs, .. } = &outline.directory;
        let foreign = refs.iter().filter(|row| row.kind == Kind::ForeignPrincipal);
        let listed = |row: &RefRow| AccountSid::of_text(outline.directory.text(row.key));
        foreign.filter_map(listed).any(|sid| may_be_theirs(&sid))
    });
    let Some((listing, _)) = listing else { return Ok(()) };
    Err(ProvisionOutcome::Refused(format!(
        "{source}: which SID of its domain the person bears is not known, and groups of {listing} list \
         members of that domain: left to the next sync"
    )))
}

/// Lets a group pass that came after the last read: it gives nothing yet, which the next sync makes
/// good. Not so where it would keep something from the person, or make the name doubtful that a
/// group of the mirror bears: then the person waits for that sync.
fn new_group_gives_nothing(
    config: &Config,
    source: &SourceConfig,
    outline: &MirrorOutline,
    within: &Within,
) -> Result<(), ProvisionOutcome> {
    let settings = config.settings();
    let why = match new_group(&settings, source.terms(), &outline.directory, within) {
        NewGroup::Nothing => return Ok(()),
        NewGroup::Denies => "a role that denies hangs on its name",
        NewGroup::InDoubt => "another group bears its name, which is in doubt now",
    };
    Err(ProvisionOutcome::Refused(format!(
        "{}: the person is in {} `{}`, which came after the last read, and {why}: left to the next sync",
        source.name,
        within.kind.as_str(),
        within.name.as_deref().unwrap_or_default().escape_debug()
    )))
}

/// The plan that makes the person, if that is all that resolving comes to.
fn additions(
    who: &Named,
    around: &ProvisionContext,
    resolved: Resolved,
    now: Time,
) -> Result<plan::Plan, ProvisionOutcome> {
    let Resolved { state: full, changes, diagnostics, .. } = resolved;
    let config_first = |change: &Change| match change {
        Change::RoleAdded { .. }
        | Change::RoleChanged { .. }
        | Change::RoleRemoved { .. }
        | Change::CatalogChanged
        | Change::WorkloadChanged => Some(ProvisionOutcome::Refused(format!(
            "roles or the catalog have changed since the last sync ({}): left to the next one",
            plan::view(change, &full)
        ))),
        _ => None,
    };
    if let Some(first) = changes.iter().find_map(config_first) {
        return Err(first);
    }
    let Some(user) = full.users.first() else {
        let about = |it: &&Diagnostic| it.subject.is_person(&who.username);
        let told = texts(diagnostics.iter().filter(about));
        return Err(ProvisionOutcome::Refused(if told.is_empty() {
            "no rule gives the person a role, or no name that they could be called".to_owned()
        } else {
            told.join("; ")
        }));
    };
    let name = full.texts.get(user.username);
    if full.users.len() > 1 || name != who.username {
        return Err(ProvisionOutcome::Refused(
            "others would come along: left to the next sync".to_owned(),
        ));
    }
    match user.status.standing() {
        Standing::Enabled => {}
        Standing::Disabled(by) => {
            return Err(ProvisionOutcome::Refused(format!("disabled in `{by}`")));
        }
        Standing::Deprovisioned => {
            return Err(ProvisionOutcome::Refused(
                "deprovisioned: left to the next sync".to_owned(),
            ));
        }
    }
    let mut plan = plan::newcomer(&around.state, &full, changes, now).map_err(|why| match why {
        NotApproved::Gone(what) => ProvisionOutcome::Refused(format!(
            "would need `{}`: left to the next sync",
            what.join("; ")
        )),
        NotApproved::Inconsistent(what) => ProvisionOutcome::Unavailable(what.to_string()),
    })?;
    plan.held.clone_from(&around.held);
    plan.next_due = around.meta.next_due;
    Ok(plan)
}
