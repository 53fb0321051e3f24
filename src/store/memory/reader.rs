//! Questions about the store, each answered from one committed state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::reader::digest_of_names;
use super::content::{Content, Source};
use super::{SHOWN, Shared};
use crate::directory::{
    DigestKey, DirUser, Directory, Kind, MirrorRows, Named, OwnDomain, RefId, Sighting, Touched,
    Within,
};
use crate::model::token::Digest;
use crate::model::{
    Followed, LocalAccount, Role, RoleSetId, State, Time, UserId, WorkloadIdentity,
};
use crate::plan::{Held, HeldHead, Taken};
use crate::policy::{Action, Resource};
use crate::store::{
    Access, AccessChange, AccessFilter, Account, AccountNames, Acquaintance, AsOf, Bears,
    Contradiction, EachSeen, EachToken, EffectiveRoles, EndedSince, Generation, HistoryFilter,
    HistoryRow, Marks, Meta, MirrorOutline, ProvisionContext, ProvisionQuery, ReachedBy, Reader,
    Review, SeenLink, SeenSet, SeenUser, SetKey, Since, Slice, SliceQuery, SourceAge, SourceStatus,
    StoreError, StoreErrorKind, StoredDecision, StoredMirror, TokenRow, Untold, UserDetail,
    UserRow,
};

/// Reads the newest state, or always the same one.
#[derive(Debug)]
pub(super) enum MemoryReader {
    Newest(Arc<Shared>),
    Of(Arc<Content>),
    /// The same for whoever follows the store, and may have to wait.
    Followed(Arc<Content>, Arc<Shared>),
    /// Not at all.
    Panics,
}

/// This store's key: nobody outside can make a directory of its digests.
fn key() -> DigestKey {
    DigestKey::new([7; 32])
}

impl MemoryReader {
    pub(super) fn newest(shared: Arc<Shared>) -> Self {
        MemoryReader::Newest(shared)
    }

    pub(super) fn of(content: Arc<Content>) -> Self {
        MemoryReader::Of(content)
    }

    fn content(&self) -> Result<Arc<Content>, StoreError> {
        match self {
            MemoryReader::Newest(shared) => shared.there(),
            MemoryReader::Of(content) | MemoryReader::Followed(content, _) => {
                Ok(Arc::clone(content))
            }
            MemoryReader::Panics => panic!("no text 7"),
        }
    }

    /// What `of` makes of the source, if it has a mirror.
    fn of_mirror<T>(
        &self,
        source: &str,
        of: impl FnOnce(&Source, &crate::directory::Mirror) -> T,
    ) -> Result<Option<T>, StoreError> {
        let content = self.content()?;
        let source = content.sources.get(source);
        let mirror = source.and_then(|source| Some((source, source.mirror.as_ref()?)));
        Ok(mirror.map(|(source, mirror)| of(source, mirror)))
    }
}

/// What an account is called.
fn names(directory: &Directory, row: &DirUser) -> AccountNames {
    let text = |text| directory.text(text).to_owned();
    let (username, email) = (text(row.username), text(row.email));
    AccountNames { username, email, email_verified: row.email_verified }
}

/// A directory without its people.
fn structure(directory: &Directory) -> Directory {
    let mut directory = directory.clone();
    directory.users = Default::default();
    directory.members.iter_mut().for_each(Vec::clear);
    directory.proven = Default::default();
    directory
}

/// Those of a mirror of whom `wanted` says so.
fn sightings(directory: &Directory, wanted: impl Fn(&DirUser) -> bool) -> Vec<Sighting> {
    let text = |text| directory.text(text).to_owned();
    let people =
        directory.users.numbered().filter(|(_, user)| wanted(user)).map(|(place, user)| {
            let lists = directory.refs.iter().zip(&directory.members);
            let within = lists.filter(|(_, members)| members.contains(&place)).map(|(it, _)| {
                let RefId { kind, key } = RefId { kind: it.kind, key: text(it.key) };
                Within { kind, key, name: None }
            });
            let mut person = Sighting {
                ext: text(user.ext),
                username: text(user.username),
                email: text(user.email),
                email_verified: user.email_verified,
                enabled: user.enabled,
                federation: text(user.federation),
                sid: directory.sid_of(user.rid),
                within: within.collect(),
            };
            person.sort();
            person
        });
    people.collect()
}

fn outline(name: &str, directory: &Directory, query: &ProvisionQuery<'_>) -> MirrorOutline {
    let who: &Named = query.who;
    let rows = sightings(directory, |user| {
        let (ext, email) = (directory.text(user.ext), directory.text(user.email));
        who.is(directory.text(user.username), email)
            || query.exts.contains(&(name, ext))
            || !email.is_empty() && query.emails.contains(&email.to_lowercase())
    });
    MirrorOutline { directory: structure(directory), rows }
}

/// Those who bear the name, and those who are known by one of `ids`.
fn known(state: &State, name: &str, ids: &[(&str, &str)]) -> Vec<Acquaintance> {
    let acquaintance = |user: &crate::model::User| Acquaintance {
        user: user.id,
        username: state.texts.get(user.username).to_owned(),
        status: user.status.clone(),
        ids: Vec::new(),
    };
    let mut found = BTreeMap::new();
    for user in &state.users {
        let mut it = acquaintance(user);
        for link in state.links.iter().filter(|link| link.user == user.id) {
            let source = state.sources.get(link.source).map_or("", String::as_str);
            let ext = state.texts.get(link.ext);
            if ids.contains(&(source, ext)) {
                let claim = link.claim.map(|claim| state.texts.get(claim));
                let refused = claim.is_some_and(|claim| claim != it.username);
                it.ids.push((source.to_owned(), ext.to_owned(), refused));
            }
        }
        if it.username == name || !it.ids.is_empty() {
            found.insert(user.id, it);
        }
    }
    found.into_values().collect()
}

/// The store says something against itself.
fn contradicts(what: &dyn std::fmt::Display) -> StoreError {
    let message = format!("the store `{SHOWN}` contradicts itself: {what}");
    StoreError::new(StoreErrorKind::Damaged, message)
}

impl Reader for MemoryReader {
    fn at_once(
        &self,
        work: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self {
            MemoryReader::Followed(..) => work(self),
            _ => work(&MemoryReader::of(self.content()?)),
        }
    }

    fn damaged(&self, what: Contradiction) -> StoreError {
        contradicts(&what)
    }

    fn meta(&self) -> Result<Meta, StoreError> {
        Ok(self.content()?.meta.clone())
    }

    fn state(&self) -> Result<State, StoreError> {
        Ok(State::clone(&self.content()?.state))
    }

    fn sources(&self) -> Result<Vec<SourceStatus>, StoreError> {
        Ok(self.content()?.sources.values().map(|source| source.status.clone()).collect())
    }

    fn source_ages(&self) -> Result<Vec<SourceAge>, StoreError> {
        Ok(self.content()?.sources.values().filter_map(|source| source.status.age()).collect())
    }

    fn followed(&self) -> Result<BTreeMap<String, Followed>, StoreError> {
        Ok(self.content()?.followed.clone())
    }

    fn mirror(&self, source: &str) -> Result<Option<StoredMirror>, StoreError> {
        self.of_mirror(source, |source, mirror| {
            let mut mirror = mirror.clone();
            mirror.cursor.clone_from(&source.cursor);
            let digest = source.status.digest.clone().unwrap_or_default();
            StoredMirror {
                mirror,
                digest,
                read_at: source.status.read_at,
                numbers: Default::default(),
            }
        })
    }

    fn mirror_rows(
        &self,
        source: &str,
        touched: &Touched<'_>,
    ) -> Result<Option<(MirrorRows, DigestKey)>, StoreError> {
        self.of_mirror(source, |source, mirror| {
            let mut rows = mirror.rows(touched, Some(&key()));
            rows.head.cursor.clone_from(&source.cursor);
            let digest = source.status.digest.as_deref();
            rows.head.digest = digest.and_then(|it| it.parse().ok()).unwrap_or_default();
            (rows, key())
        })
    }

    fn digest_key(&self) -> Result<DigestKey, StoreError> {
        Ok(key())
    }

    fn structure(&self, source: &str) -> Result<Option<Directory>, StoreError> {
        self.of_mirror(source, |_, mirror| structure(&mirror.directory))
    }

    fn lists_abroad(&self) -> Result<bool, StoreError> {
        let content = self.content()?;
        let mut mirrors = content.sources.values().filter_map(|source| source.mirror.as_ref());
        Ok(mirrors.any(|mirror| {
            let mut refs = mirror.directory.refs.iter();
            refs.any(|row| row.kind == Kind::ForeignPrincipal)
        }))
    }

    fn own_domain(&self, source: &str) -> Result<Option<OwnDomain<String>>, StoreError> {
        self.of_mirror(source, |_, mirror| mirror.directory.own_domain().map(str::to_owned))
    }

    fn tells_sids(&self, source: &str) -> Result<bool, StoreError> {
        let tells = self.of_mirror(source, |_, mirror| mirror.directory.tells_sids())?;
        Ok(tells.unwrap_or(true))
    }

    fn held_head(&self) -> Result<Option<HeldHead>, StoreError> {
        Ok(self.content()?.held.as_ref().map(Held::head))
    }

    fn held(&self) -> Result<Option<Held>, StoreError> {
        Ok(self.content()?.held.clone())
    }

    fn provision_context(
        &self,
        query: &ProvisionQuery<'_>,
    ) -> Result<ProvisionContext, StoreError> {
        let content = self.content()?;
        let mut mirrors = BTreeMap::new();
        for name in &query.sources {
            let mirror = content.sources.get(*name).and_then(|source| source.mirror.as_ref());
            if let Some(mirror) = mirror {
                mirrors.insert((*name).to_owned(), outline(name, &mirror.directory, query));
            }
        }
        let mut ids = query.exts.clone();
        for (source, outline) in &mirrors {
            ids.extend(outline.rows.iter().map(|row| (source.as_str(), row.ext.as_str())));
        }
        let all = &content.state;
        let known = known(all, &query.who.username, &ids);
        let state = State {
            roles: all.roles.clone(),
            sources: all.sources.clone(),
            catalog: all.catalog.clone(),
            workload: all.workload.clone(),
            next_user: all.next_user,
            ..State::default()
        };
        let (meta, held) = (content.meta.clone(), content.held.clone());
        Ok(ProvisionContext { meta, held, known, state, mirrors })
    }

    fn marks(&self) -> Result<Marks, StoreError> {
        let content = self.content()?;
        Ok(Marks(content.sources.iter().map(|(name, it)| (name.clone(), it.next)).collect()))
    }

    fn added_since(&self, source: &str, Marks(marks): &Marks) -> Result<Vec<Sighting>, StoreError> {
        let Some(mark) = marks.get(source) else { return Ok(Vec::new()) };
        let added = self.of_mirror(source, |source, mirror| {
            let directory = &mirror.directory;
            sightings(directory, |user| {
                source.came.get(directory.text(user.ext)).is_some_and(|number| number > mark)
            })
        })?;
        Ok(added.unwrap_or_default())
    }

    fn user_of(&self, source: &str, ext: &str) -> Result<Option<UserId>, StoreError> {
        Ok(self.content()?.user_of(source, ext))
    }

    fn linked(&self, user: UserId) -> Result<Option<(String, Vec<Account>)>, StoreError> {
        Ok(self.content()?.linked(user))
    }

    fn called(&self, username: &str) -> Result<Vec<UserId>, StoreError> {
        let content = self.content()?;
        let called = content.state.users.iter().filter(|user| content.name(user) == username);
        Ok(called.map(|user| user.id).collect())
    }

    fn account(&self, source: &str, ext: &str) -> Result<Option<AccountNames>, StoreError> {
        let account = self.of_mirror(source, |_, mirror| {
            let place = mirror.directory.find_user(ext)?;
            mirror.directory.users.get(place).map(|row| names(&mirror.directory, row))
        })?;
        Ok(account.flatten())
    }

    fn bearing(&self, source: &str, bears: Bears<'_>) -> Result<Vec<String>, StoreError> {
        let bearing = self.of_mirror(source, |_, mirror| {
            let directory = &mirror.directory;
            let fits = |row: &&DirUser| match bears {
                Bears::Sid(sid) => row.rid == sid.rid() && directory.rid_of(Some(sid)) == sid.rid(),
                Bears::Username(_) | Bears::Email(_) | Bears::Address(_) => {
                    bears.fits(&names(directory, row))
                }
            };
            let bearing = directory.users.iter().filter(fits);
            bearing.map(|row| directory.text(row.ext).to_owned()).collect()
        })?;
        Ok(bearing.unwrap_or_default())
    }

    fn has_accounts(
        &self,
        source: &str,
        exts: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let there = self.of_mirror(source, |_, mirror| {
            let directory = &mirror.directory;
            exts.iter().filter(|ext| directory.find_user(ext).is_some()).cloned().collect()
        })?;
        Ok(there.unwrap_or_default())
    }

    fn members(
        &self,
        source: &str,
        refs: &BTreeSet<RefId>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let members = self.of_mirror(source, |_, mirror| {
            let directory = &mirror.directory;
            let places = refs.iter().filter_map(|id| directory.find_ref(id.kind, &id.key));
            let members = places.filter_map(|place| directory.members.get(place)).flatten();
            let rows = members.filter_map(|place| directory.users.get(*place));
            rows.map(|row| directory.text(row.ext).to_owned()).collect()
        })?;
        Ok(members.unwrap_or_default())
    }

    fn slice(&self, query: &SliceQuery<'_>) -> Result<Slice, StoreError> {
        self.content()?.slice(query).map_err(|what| contradicts(&what))
    }

    fn roles(&self) -> Result<Vec<Role>, StoreError> {
        if let MemoryReader::Followed(_, shared) = self {
            shared.roles.pass();
        }
        Ok(self.content()?.state.roles.to_vec())
    }

    fn roles_of_set(&self, id: RoleSetId) -> Result<Vec<String>, StoreError> {
        Ok(self.content()?.roles_of_set(id).to_vec())
    }

    fn users(&self, each: &mut dyn FnMut(UserRow)) -> Result<(), StoreError> {
        self.content()?.users(each);
        Ok(())
    }

    fn user(&self, username: &str) -> Result<Option<UserDetail>, StoreError> {
        self.content()?.user(username).map_err(|what| contradicts(&what))
    }

    fn roles_of(&self, username: &str) -> Result<Option<EffectiveRoles>, StoreError> {
        Ok(self.content()?.effective(username))
    }

    fn decision(
        &self,
        username: &str,
        action: &Action,
        resource: Option<&Resource>,
    ) -> Result<Option<StoredDecision>, StoreError> {
        Ok(self.content()?.decision(username, action, resource))
    }

    fn holders(
        &self,
        each: &mut dyn FnMut(&str, SetKey) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.content()?.holders(each);
        Ok(())
    }

    fn local_account(&self, ext: &str) -> Result<Option<LocalAccount>, StoreError> {
        Ok(self.content()?.accounts.get(ext).cloned())
    }

    fn local_accounts(&self) -> Result<u64, StoreError> {
        let local = crate::directory::local::NAME;
        Ok(self.of_mirror(local, |_, mirror| mirror.directory.users.len() as u64)?.unwrap_or(0))
    }

    fn default_admins(&self) -> Result<Vec<LocalAccount>, StoreError> {
        Ok(self.content()?.accounts.values().filter(|it| it.admin).cloned().collect())
    }

    fn spoken_for_digest(&self) -> Result<[u8; 32], StoreError> {
        let mut names = self.content()?.spoken_for();
        names.sort_unstable();
        Ok(digest_of_names(names))
    }

    fn spoken_for(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.content()?.spoken_for())
    }

    fn tokens(
        &self,
        user: Option<UserId>,
        each: &mut dyn FnMut(TokenRow),
    ) -> Result<(), StoreError> {
        self.content()?.tokens(user, each).map_err(|what| contradicts(&what))
    }

    fn token_of(&self, digest: &Digest) -> Result<Option<(String, String)>, StoreError> {
        let content = self.content()?;
        let tokens = &content.state.tokens;
        let found = tokens.list().iter().find(|token| token.digest == *digest);
        Ok(found.map(|it| (content.called(it.user).to_owned(), tokens.name(it).to_owned())))
    }

    fn count_tokens(&self, now: Time) -> Result<(u64, u64), StoreError> {
        let content = self.content()?;
        let tokens = content.state.tokens.list();
        let expired = tokens.iter().filter(|token| token.expires_at <= now).count();
        Ok((tokens.len() as u64, expired as u64))
    }

    fn reached_by(&self, identity: &str) -> Result<Vec<ReachedBy>, StoreError> {
        Ok(self.content()?.reached_by(identity))
    }

    fn workload(&self) -> Result<Vec<WorkloadIdentity>, StoreError> {
        Ok(self.content()?.state.workload.clone())
    }

    fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryRow>, StoreError> {
        let content = self.content()?;
        let users = filter.user.as_deref().map(|name| content.ever_called(name));
        let rows = content.history.iter().rev().filter(|(row, user)| {
            users.as_ref().is_none_or(|users| user.is_some_and(|user| users.contains(&user)))
                && filter.role.as_ref().is_none_or(|role| row.change.role.as_ref() == Some(role))
                && filter.since.is_none_or(|since| row.at >= since)
        });
        let most = filter.limit.and_then(|limit| usize::try_from(limit).ok());
        Ok(rows.take(most.unwrap_or(usize::MAX)).map(|(row, _)| row.clone()).collect())
    }

    fn generation(&self, as_of: AsOf, now: Time) -> Result<Generation, Untold> {
        self.content()?.generation(as_of, now)
    }

    fn newest(&self) -> Result<Option<Generation>, StoreError> {
        Ok(self.content()?.past.last().map(|past| past.generation))
    }

    fn taken_since(&self, since: Time) -> Result<Taken, StoreError> {
        let mut sum = Taken::default();
        let content = self.content()?;
        for past in
            content.past.iter().filter(|past| past.generation.at > super::content::seconds(since))
        {
            sum.lost_pairs += past.taken.lost_pairs;
            sum.disabled += past.taken.disabled;
        }
        Ok(sum)
    }

    fn ever_called(&self, username: &str) -> Result<bool, StoreError> {
        Ok(!self.content()?.ever_called(username).is_empty())
    }

    fn ever_a_role(&self, name: &str) -> Result<bool, StoreError> {
        let content = self.content()?;
        let has = |state: &State| state.roles.iter().any(|role| role.name == name);
        Ok(content.past.iter().any(|past| has(&past.state)))
    }

    fn access(
        &self,
        generation: u64,
        filter: &AccessFilter,
        each: &mut dyn FnMut(Access) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let held = self.content()?.access(generation, filter);
        let held = held.map_err(|what| contradicts(&what))?;
        let _ = held.into_iter().try_for_each(each);
        Ok(())
    }

    fn access_changes(
        &self,
        between: (u64, u64),
        filter: &AccessFilter,
        each: &mut dyn FnMut(AccessChange) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let changes = self.content()?.access_changes(between, filter);
        let changes = changes.map_err(|what| contradicts(&what))?;
        let _ = changes.into_iter().try_for_each(each);
        Ok(())
    }

    fn reviews(&self) -> Result<Vec<Review>, StoreError> {
        Ok(self.content()?.reviews.iter().rev().cloned().collect())
    }

    fn last_review(&self, name: &str) -> Result<Option<Review>, StoreError> {
        Ok(self.content()?.reviews.iter().rev().find(|review| review.name == name).cloned())
    }

    fn keys(&self, issuer: &str) -> Result<Option<String>, StoreError> {
        Ok(self.content()?.keys.get(issuer).cloned())
    }

    /// It is small: whoever follows it reads all of it.
    fn ended_since(&self, place: u64) -> Result<EndedSince, StoreError> {
        if let MemoryReader::Followed(_, shared) = self {
            shared.ended.pass();
        }
        Ok(self.content()?.ended.since(place))
    }

    fn count_ended(&self) -> Result<u64, StoreError> {
        Ok(self.content()?.ended.len())
    }

    fn since(
        &self,
        generation: u64,
        applied_at: Option<Time>,
        _: usize,
    ) -> Result<Since, StoreError> {
        let Meta { generation: now, applied_at: at, .. } = self.content()?.meta;
        Ok(if (now, at) == (generation, applied_at) { Since::Nothing } else { Since::Unknown })
    }

    fn catalog(&self) -> Result<Vec<(Action, Option<Resource>)>, StoreError> {
        Ok(self.content()?.state.catalog.clone())
    }

    fn count_users(&self) -> Result<usize, StoreError> {
        Ok(self.content()?.state.users.len())
    }

    fn count_links(&self, sources: &[String]) -> Result<Vec<usize>, StoreError> {
        Ok(self.content()?.count_links(sources))
    }

    fn seen_users(&self, sources: &[String], each: EachSeen<'_>) -> Result<(), StoreError> {
        self.content()?.seen_users(sources, each).map_err(|what| self.damaged(what))
    }

    fn seen_numbers(
        &self,
        users: &BTreeSet<UserId>,
        sources: &[String],
        each: &mut dyn FnMut(SeenUser<'_>, &[SeenLink]),
    ) -> Result<(), StoreError> {
        self.content()?.seen_numbers(users, sources, each);
        Ok(())
    }

    fn seen_under(
        &self,
        names: &BTreeSet<String>,
        each: &mut dyn FnMut(&str, Option<SeenUser<'_>>),
    ) -> Result<(), StoreError> {
        let content = self.content()?;
        names.iter().for_each(|name| each(name, content.seen_under(name)));
        Ok(())
    }

    fn seen_sets(&self) -> Result<HashMap<SetKey, SeenSet>, StoreError> {
        Ok(self.content()?.seen_sets())
    }

    fn seen_set_ids(
        &self,
        keys: &BTreeSet<SetKey>,
    ) -> Result<HashMap<SetKey, RoleSetId>, StoreError> {
        Ok(self.seen_sets_of(keys)?.into_iter().map(|(key, set)| (key, set.id)).collect())
    }

    fn seen_sets_of(
        &self,
        keys: &BTreeSet<SetKey>,
    ) -> Result<HashMap<SetKey, SeenSet>, StoreError> {
        let mut sets = self.content()?.seen_sets();
        sets.retain(|key, _| keys.contains(key));
        match keys.iter().find(|key| !sets.contains_key(key)) {
            Some(key) => Err(self.damaged(Contradiction::UserOfUnknownSet(*key))),
            None => Ok(sets),
        }
    }

    fn count_seen_tokens(&self) -> Result<usize, StoreError> {
        Ok(self.content()?.state.tokens.list().len())
    }

    fn seen_tokens(&self, each: EachToken<'_>) -> Result<(), StoreError> {
        self.content()?.seen_tokens(None, each).map_err(|what| self.damaged(what))
    }

    fn seen_tokens_of(
        &self,
        names: &BTreeSet<String>,
        each: EachToken<'_>,
    ) -> Result<(), StoreError> {
        self.content()?.seen_tokens(Some(names), each).map_err(|what| self.damaged(what))
    }
}
