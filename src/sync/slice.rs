//! A plan for those whom a change concerns, as if nobody else were there.
//!
//! ```text
//! patched rows ─► whom they concern (by name, link, group) ─► the store's slice of them ─► resolve ─► plan
//! ```
//!
//! Such a plan says of them what the plan for everybody would say of them, and of nobody else
//! anything, which is the same: where it would not be, there is none, and everybody is planned for.

use std::collections::{BTreeMap, BTreeSet};

use super::{RunError, window_start};
use crate::config::Config;
use crate::directory::local::{NAME, nobody};
use crate::directory::{
    AccountSid, Directory, Kind, Mirror, OwnDomain, Patch, PersonRow, Proven, RefEntry, RefId, Rid,
    Sum, Touched,
};
use crate::model::username::{UsernameFrom, canonical};
use crate::model::{Diagnostic, Time, TooMany, UserId};
use crate::plan::{self, Background, Plan};
use crate::resolve::{
    Account, By, Everybody, NamesAtSource, Seeds, Settings, SourceTerms, View, bare_names,
    concerned, given_otherwise, renamed_groups, resolve_part,
};
use crate::store::{Bears, Meta, Reader, RefsWanted, SliceQuery, StoreError};

/// What was planned for some.
pub(super) struct Sliced {
    pub plan: Plan,
    /// The store as it was before anything else was asked of it: what the plan is based on.
    pub meta: Meta,
    /// Groups that rules name in whole and that are called otherwise now.
    pub renamed: Vec<Diagnostic>,
}

/// What is about to become of the mirrors, by source.
pub(super) type Patches = BTreeMap<String, Patch>;

/// Why everybody is planned for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum WhyAll {
    /// [`super::ingest::Way::ForAll`] was asked for.
    #[error("it was asked for")]
    Asked,
    /// A run has something to see to first: configuration, what fell due, who was provisioned, what was
    /// done by hand.
    #[error("a run is still to be made of what else has changed")]
    Unsettled,
    /// Something fell due.
    #[error("something falls due for others as well")]
    Due,
    /// What was never read in full may give a role to anybody.
    #[error("what may give a role was never read in full")]
    Unread,
    /// What waits for approval is about more than people.
    #[error("what is held is about more than people")]
    Held,
    /// Roles come or go with groups and roles of sources, or something comes to be read in full.
    #[error("roles may come or go with it")]
    Roles,
    /// It concerns whom the configuration sees to.
    #[error("it concerns the default admin")]
    Admin,
}

/// Plans for those whom `patches` concern, or says why everybody is to be planned for. `before` is what a
/// plan for everybody depends on before them ([`super::token`]).
pub(super) fn plan_for_some(
    config: &Config,
    reader: &dyn Reader,
    patches: &Patches,
    before: &str,
    now: Time,
) -> Result<Result<Sliced, WhyAll>, RunError> {
    let meta = reader.meta()?;
    // A run has seen to everything else: the configuration, what fell due, who was provisioned.
    if meta.generation == 0 || meta.settled.as_deref() != Some(before) {
        return Ok(Err(WhyAll::Unsettled));
    }
    if meta.next_due.is_some_and(|due| due <= now) {
        return Ok(Err(WhyAll::Due));
    }
    // What is unread may list anybody, or lead anywhere, and most of those are not in a slice.
    if !meta.all_read {
        return Ok(Err(WhyAll::Unread));
    }
    let settings = config.settings();
    let Some(mut start) = waiting(reader)? else { return Ok(Err(WhyAll::Held)) };
    let moved = moved_refs(&settings, reader, patches)?;
    let Some(Moved { refs: given, sources: moved, renamed }) = moved else {
        return Ok(Err(WhyAll::Roles));
    };
    for (source, patch) in patches {
        let account = |ext: &String| (source.clone(), ext.clone());
        start.accounts.extend(patch.people.keys().map(account));
        start.accounts.extend(patch.joined.iter().map(|(_, ext)| account(ext)));
        start.accounts.extend(patch.left.iter().map(|(_, ext)| account(ext)));
    }
    for (source, refs) in &given {
        let members = reader.members(source, refs)?;
        start.accounts.extend(members.into_iter().map(|ext| (source.clone(), ext)));
        for sid in refs.iter().filter_map(principal) {
            start.accounts.extend(bearers(&settings, reader, &sid)?);
        }
    }
    let abroad = lists_abroad(reader, patches)?;
    if abroad && !seed_bearers(&settings, reader, patches, &mut start)? {
        return Ok(Err(WhyAll::Unread));
    }
    let mut everybody = Stored { reader, settings: &settings, patches };
    let found = concerned(&settings, start, &mut everybody)?;
    // Whom the configuration sees to, a run sees to.
    let admins: BTreeSet<UserId> = match &config.default_admin {
        Some(admin) => reader.called(&admin.username)?.into_iter().collect(),
        None => BTreeSet::new(),
    };
    if !admins.is_disjoint(&found.users) {
        return Ok(Err(WhyAll::Admin));
    }
    let sources: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
    // What roles there are matters to names where templates make some of them.
    let made = if settings.templates.is_empty() { Vec::new() } else { reader.roles()? };
    let query = SliceQuery {
        users: &found.users,
        accounts: &found.accounts,
        sources: &sources,
        refs: &refs_wanted(patches, &sources, &moved, abroad),
        names: &bare_names(&settings, &made),
        guard: &config.guard,
    };
    let mut slice = reader.slice(&query)?;
    let mut directories: Vec<(&str, Directory)> = Vec::new();
    for source in sources {
        let mirror = match (slice.mirrors.remove(source), patches.get(source)) {
            (Some(mirror), Some(patch)) => mirror.patched(patch).map_err(too_many)?,
            (Some(mirror), None) => mirror,
            (None, _) if source == NAME => Mirror { directory: nobody(), cursor: None },
            // It was never read: what it would say of anybody is unknown.
            (None, _) => return Ok(Err(WhyAll::Unread)),
        };
        // Organizations count where a rule names one: `resolve_part` sees to that.
        let Proven { users, groups, roles, organizations: _ } = mirror.directory.proven;
        if !(users && groups && roles) {
            return Ok(Err(WhyAll::Unread));
        }
        directories.push((source, mirror.directory));
    }
    let views: Vec<View<'_>> =
        directories.iter().map(|(source, directory)| View { source, directory }).collect();
    let resolved = resolve_part(&settings, &views, &slice.state, now)?;
    // Whoever may hold a role through what nobody has read keeps it, and is not among these.
    if resolved.unread {
        return Ok(Err(WhyAll::Unread));
    }
    let pending = reader.held_head()?;
    let recent = reader.taken_since(window_start(config, pending.as_ref(), now))?;
    let background = Background { pending, recent, others: slice.others };
    let mut plan = plan::plan(&config.guard, resolved, &slice.state, &background, now)?;
    // What falls due for others falls due.
    plan.next_due = plan.next_due.into_iter().chain(meta.next_due).min();
    Ok(Ok(Sliced { plan, meta, renamed }))
}

/// Which references of the sources' mirrors must be there for `patches` to be laid over the slice and
/// resolved.
fn refs_wanted(
    patches: &Patches,
    sources: &[&str],
    moved: &BTreeSet<String>,
    abroad: bool,
) -> BTreeMap<String, RefsWanted> {
    // A way that leads through another domain begins in one source and ends in another.
    let wanted = |source: &&str| {
        let refs = match abroad || moved.contains(*source) {
            true => RefsWanted::All,
            false => {
                let refs = patches.get(*source).into_iter().flat_map(|patch| patch.refs.keys());
                RefsWanted::Near(refs.cloned().collect())
            }
        };
        ((*source).to_owned(), refs)
    };
    sources.iter().map(wanted).collect()
}

/// Whether some group lists members of another domain, before or after.
fn lists_abroad(reader: &dyn Reader, patches: &Patches) -> Result<bool, StoreError> {
    let mut refs = patches.values().flat_map(|patch| patch.refs.keys());
    Ok(refs.any(|id| principal(id).is_some()) || reader.lists_abroad()?)
}

/// Brings into `start` who bears a SID that some row of `patches` bears: whom it stands for is said by how
/// many do. Whether it can be said: the SID of everybody is known who may bear one that is listed.
fn seed_bearers(
    settings: &Settings<'_>,
    reader: &dyn Reader,
    patches: &Patches,
    start: &mut Seeds,
) -> Result<bool, StoreError> {
    for source in &settings.sources {
        let Some(OwnDomain::Of(domain)) = reader.own_domain(source.name)? else { continue };
        if !reader.tells_sids(source.name)? {
            return Ok(false);
        }
        let Some(patch) = patches.get(source.name) else { continue };
        let people = patch.people.values().flatten().map(|row| row.rid);
        let groups = patch.refs.iter().filter(|(id, _)| id.kind == Kind::Group);
        let groups = groups.filter_map(|(_, entry)| Some(entry.as_ref()?.rid));
        for rid in people.chain(groups).collect::<BTreeSet<_>>() {
            if rid == Rid::Unread {
                return Ok(false);
            }
            if let Some(sid) = AccountSid::of_domain(&domain, rid) {
                start.accounts.extend(bearers(settings, reader, &sid)?);
            }
        }
    }
    Ok(true)
}

/// The SID of whom a reference stands for.
fn principal(id: &RefId) -> Option<AccountSid> {
    AccountSid::of_text(&id.key).filter(|_| id.kind == Kind::ForeignPrincipal)
}

/// The accounts that bear a SID, in whatever source is its domain. Who comes or goes with a patch, or
/// gets a SID by it, is concerned for that.
fn bearers(
    settings: &Settings<'_>,
    reader: &dyn Reader,
    sid: &AccountSid,
) -> Result<Vec<Account>, StoreError> {
    let mut found = Vec::new();
    for source in &settings.sources {
        let exts = reader.bearing(source.name, Bears::Sid(sid))?;
        found.extend(exts.into_iter().map(|ext| (source.name.to_owned(), ext)));
    }
    Ok(found)
}

fn too_many(why: TooMany) -> RunError {
    RunError::Inconsistent(why.into())
}

/// Those of whom a held plan speaks. `None`: it speaks of more than people.
fn waiting(reader: &dyn Reader) -> Result<Option<Seeds>, RunError> {
    let mut start = Seeds::default();
    if reader.held_head()?.is_none() {
        return Ok(Some(start));
    }
    for change in reader.held()?.into_iter().flat_map(|held| held.changes) {
        if change.user_id.is_none() && change.user.is_none() {
            return Ok(None);
        }
        start.users.extend(change.user_id);
        start.names.extend(change.user);
    }
    Ok(Some(start))
}

/// What patches make of references.
#[derive(Default)]
struct Moved {
    /// Those that give something else, by source.
    refs: BTreeMap<String, BTreeSet<RefId>>,
    /// The sources of which some reference is something else, or leads to something else.
    sources: BTreeSet<String>,
    /// Those that rules name in whole and that are called otherwise.
    renamed: Vec<Diagnostic>,
}

/// Whether `patch` changes of references no more than who is in them.
fn moves_people_alone(
    reader: &dyn Reader,
    source: &str,
    patch: &Patch,
) -> Result<bool, StoreError> {
    let touched = Touched { refs: patch.refs.keys().collect(), ..Touched::default() };
    let Some((before, _)) = reader.mirror_rows(source, &touched)? else { return Ok(false) };
    let apart = |entry: &RefEntry| RefEntry { members: Sum::default(), ..entry.clone() };
    let same = |(id, entry): (&RefId, &Option<RefEntry>)| {
        entry.as_ref().map(apart) == before.refs.get(id).map(apart)
    };
    Ok(patch.refs.iter().all(same))
}

/// What `patches` make of references. `None`: that can concern anybody.
fn moved_refs(
    settings: &Settings<'_>,
    reader: &dyn Reader,
    patches: &Patches,
) -> Result<Option<Moved>, RunError> {
    let mut moved: BTreeMap<&str, (Directory, Directory)> = BTreeMap::new();
    for (source, patch) in patches {
        if moves_people_alone(reader, source, patch)? {
            continue;
        }
        let Some(before) = reader.structure(source)? else { return Ok(None) };
        // Only what references are, and what they lead to.
        let refs = Patch { refs: patch.refs.clone(), ..Patch::default() };
        let mirror = Mirror { directory: before.clone(), cursor: None };
        let after = mirror.patched(&refs).map_err(too_many)?.directory;
        // Whoever holds something by what was never read in full keeps it: once that is known, or
        // gone, it is for everybody to be looked at.
        if unknown(&before) != unknown(&after) {
            return Ok(None);
        }
        if !before.differences(&after).is_empty() {
            moved.insert(source, (before, after));
        }
    }
    if moved.is_empty() {
        return Ok(Some(Moved::default()));
    }
    let mut others: Vec<(SourceTerms<'_>, Directory)> = Vec::new();
    for terms in settings.sources.iter().filter(|terms| !moved.contains_key(terms.name)) {
        match reader.structure(terms.name)? {
            Some(outline) => others.push((*terms, outline)),
            None if terms.name == NAME => {}
            None => return Ok(None),
        }
    }
    let with = |after: bool| -> Vec<(SourceTerms<'_>, &Directory)> {
        let outline = |terms: &SourceTerms<'_>| {
            let mine = moved.get(terms.name).map(|(was, is)| if after { is } else { was });
            let other = || others.iter().find(|(other, _)| other.name == terms.name);
            mine.or_else(|| other().map(|(_, outline)| outline))
        };
        let sources = settings.sources.iter();
        sources.filter_map(|terms| Some((*terms, outline(terms)?))).collect()
    };
    let (before, after) = (with(false), with(true));
    let mut renamed = Vec::new();
    for terms in &settings.sources {
        if let Some((was, is)) = moved.get(terms.name) {
            renamed.extend(renamed_groups(settings, *terms, was, is));
        }
    }
    let refs = given_otherwise(settings, &before, &after, &reader.roles()?)?;
    let sources = moved.keys().map(|source| (*source).to_owned()).collect();
    Ok(refs.map(|refs| Moved { refs, sources, renamed }))
}

/// The references of which something was never read in full.
fn unknown(directory: &Directory) -> BTreeSet<RefId> {
    let refs = directory.refs.iter().filter(|row| !row.known || !row.implies_known);
    refs.map(|row| RefId { kind: row.kind, key: directory.text(row.key).to_owned() }).collect()
}

/// What the store knows, before and after the patches.
struct Stored<'a> {
    reader: &'a dyn Reader,
    settings: &'a Settings<'a>,
    patches: &'a Patches,
}

impl Stored<'_> {
    /// Those whom the patches make what they are.
    fn patched(&self, source: &str) -> impl Iterator<Item = (&String, &PersonRow)> {
        let patch = self.patches.get(source).into_iter();
        patch.flat_map(|patch| &patch.people).filter_map(|(ext, row)| Some((ext, row.as_ref()?)))
    }
}

impl Everybody for Stored<'_> {
    type Error = StoreError;

    fn user_of(&mut self, (source, ext): &Account) -> Result<Option<UserId>, StoreError> {
        self.reader.user_of(source, ext)
    }

    fn user(&mut self, user: UserId) -> Result<(String, Vec<Account>), StoreError> {
        // Of whom a held plan speaks, but who is not there, there is nothing to find.
        Ok(self.reader.linked(user)?.unwrap_or_default())
    }

    fn called(&mut self, name: &str) -> Result<Vec<UserId>, StoreError> {
        self.reader.called(name)
    }

    fn names(&mut self, (source, ext): &Account) -> Result<Vec<NamesAtSource>, StoreError> {
        let was = self.reader.account(source, ext)?.map(|names| NamesAtSource {
            username: names.username,
            email: names.email,
            email_verified: names.email_verified,
        });
        let patch = self.patches.get(source).and_then(|patch| patch.people.get(ext));
        let is = patch.and_then(Option::as_ref).map(|row| NamesAtSource {
            username: row.username.clone(),
            email: row.email.clone(),
            email_verified: row.email_verified,
        });
        Ok(was.into_iter().chain(is).collect())
    }

    fn bearing(&mut self, source: &str, by: &By) -> Result<Vec<String>, StoreError> {
        let email = self.settings.called_by(source) == UsernameFrom::Email;
        let bears = match by {
            By::Name(name) if email => Bears::Email(name),
            By::Name(name) => Bears::Username(name),
            By::Address(address) => Bears::Address(address),
        };
        let mut bearing = self.reader.bearing(source, bears)?;
        let fits = |row: &PersonRow| match by {
            By::Name(name) => {
                let called = if email { &row.email } else { &row.username };
                canonical(called).is_ok_and(|called| called == *name)
            }
            By::Address(address) => row.email_verified && row.email.to_lowercase() == *address,
        };
        let now = self.patched(source).filter(|(_, row)| fits(row));
        bearing.extend(now.map(|(ext, _)| ext.clone()));
        Ok(bearing)
    }
}
