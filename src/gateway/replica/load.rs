//! From the store's rows to a [`Replica`], all of them or those that changed.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;

use super::decide::Rules;
use super::emails::Emails;
use super::ids::{Ids, Owner};
use super::people::{PackedStands, People, Stands, place_in_stands};
use super::roll::Roll;
use super::tokens::{Draft, ReplicaTokens};
use super::{Compiled, Listed, Replica, RoleSet, SetRef, SpokenFor, Wanted};
use crate::gateway::question::TokenDigest;
use crate::model::{Role, RoleSetId, Standing, Status, Text, TooMany, UserId};
use crate::policy::{Effect, Policy};
use crate::routes::ActionIdx;
use crate::store::{
    Contradiction, Reader, SeenChanges, SeenLink, SeenSet, SetKey, Since, StoreError,
};

/// At least so many changed names are kept beside the others before all are read anew.
const RECENT: usize = 4_096;

/// And else this part of all users.
const RECENT_PART: usize = 16;

/// The place among reasons of people who are deprovisioned.
const DEPROVISIONED: Stands = Stands::Disabled(0);

const DEPROVISIONED_WORDS: &str =
    "the account is gone from every source, or another person has taken its place";

/// The place among reasons of accounts that their source calls otherwise than the person is called.
const REFUSED: Stands = Stands::Disabled(1);

const REFUSED_WORDS: &str = "the account is called by a name that is not, or not yet, the person's";

/// Role sets, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    list: Vec<Arc<RoleSet>>,
    by_id: HashMap<RoleSetId, u32>,
}

impl Sets {
    pub(super) fn get(&self, set: SetRef) -> Option<&RoleSet> {
        self.list.get(set.0 as usize).map(|set| &**set)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RoleSet> {
        self.list.iter().map(|set| &**set)
    }

    /// The place of the set `id` of the roles `names` (sorted), which is added where it is new.
    /// A name that no role has is a contradiction of the store.
    fn place(
        &mut self,
        id: RoleSetId,
        names: &[String],
        compiled: &Compiled,
    ) -> Result<SetRef, Contradiction> {
        if let Some(place) = self.by_id.get(&id) {
            return Ok(SetRef(*place));
        }
        let roles = names
            .iter()
            .map(|name| {
                let unknown = || Contradiction::SetOfUnknownRole(name.clone());
                compiled.rules.place(name).ok_or_else(unknown)
            })
            .collect::<Result<_, _>>()?;
        let place = place_in_stands(self.list.len(), "role sets")?;
        let header = names.join(",");
        self.list.push(Arc::new(RoleSet::new(roles, header, compiled)));
        self.by_id.insert(id, place);
        Ok(SetRef(place))
    }

    /// The same sets at the same places under other rules. A set with a role that is no more
    /// belongs to nobody now: it stays as an empty one, which is allowed nothing.
    fn under(&self, old: &Rules, new: &Compiled) -> Sets {
        let mut by_id = self.by_id.clone();
        let mut gone = BTreeSet::new();
        let list = (0u32..)
            .zip(&self.list)
            .map(|(place, set)| {
                let names = set.roles.iter().map(|role| Some(&**old.names().get(*role as usize)?));
                let names: Option<Vec<&str>> = names.collect();
                let found = names.and_then(|names| {
                    let roles = names.iter().map(|name| new.rules.place(name));
                    Some((roles.collect::<Option<Box<[u32]>>>()?, names.join(",")))
                });
                let (roles, header) = found.unwrap_or_else(|| {
                    gone.insert(place);
                    (Box::default(), String::new())
                });
                Arc::new(RoleSet::new(roles, header, new))
            })
            .collect();
        by_id.retain(|_, place| !gone.contains(place));
        Sets { list, by_id }
    }
}

impl RoleSet {
    /// A set of `roles`, whose names `header` tells.
    fn new(roles: Box<[u32]>, header: String, compiled: &Compiled) -> RoleSet {
        RoleSet {
            header: header.into(),
            allowed: compiled.listed.iter().map(|_| OnceLock::new()).collect(),
            roles,
        }
    }
}

impl Compiled {
    fn load(reader: &dyn Reader, wanted: &Wanted) -> Result<Compiled, StoreError> {
        let roles = reader.roles()?;
        let denies = |policy: &Policy| policy.effect == Effect::Deny;
        let those = |of: &dyn Fn(&Role) -> bool| {
            let found = (0u32..).zip(&roles).filter(|(_, role)| of(role));
            found.map(|(place, _)| place).collect()
        };
        let denying = those(&|role| role.policies.iter().any(denies));
        let everyone = those(&|role| role.everyone);
        let roles: Vec<(&str, &[Policy])> =
            roles.iter().map(|role| (&*role.name, &*role.policies)).collect();
        let asked = wanted.actions.iter().chain(wanted.allowed.iter().map(|list| &list.action));
        // They come after those of the routes.
        let allowed = (wanted.actions.len()..).take(wanted.allowed.len()).map(ActionIdx::at);
        let allowed: Result<Vec<_>, TooMany> = allowed.collect();
        let catalog = reader.catalog()?;
        let resources: BTreeSet<Box<str>> = catalog
            .iter()
            .filter_map(|(_, resource)| resource.as_ref())
            .map(|resource| resource.as_str().into())
            .collect();
        let of_scope = |scope: &str| {
            let inside =
                |resource: &str| resource.split_once('/').is_some_and(|(of, _)| of == scope);
            resources.iter().filter(|resource| inside(resource)).cloned().collect()
        };
        let mut rules = Rules::new(&roles, asked);
        let mut listed = Listed::default();
        if !wanted.subjects.is_empty() {
            rules = rules.and_then(|rules| rules.opened(&roles));
            let actions: BTreeSet<String> =
                catalog.iter().map(|(action, _)| action.to_string()).collect();
            listed.actions = actions.into_iter().map(String::into_boxed_str).collect();
            listed.resources = resources.iter().cloned().collect();
        }
        Ok(Compiled {
            rules: rules.map_err(|full| reader.damaged(full.into()))?,
            catalog: listed,
            allowed: allowed.map_err(|full| reader.damaged(full.into()))?,
            listed: wanted.allowed.iter().map(|list| of_scope(&list.scope)).collect(),
            denying,
            everyone,
        })
    }
}

impl SpokenFor {
    /// Those of now. `known` are those of before.
    fn load(reader: &dyn Reader, known: Option<&Arc<SpokenFor>>) -> Result<Arc<Self>, StoreError> {
        let digest = reader.spoken_for_digest()?;
        if let Some(known) = known.filter(|known| known.digest == digest) {
            return Ok(Arc::clone(known));
        }
        let names = reader.spoken_for()?.into_iter().map(String::into_boxed_str).collect();
        Ok(Arc::new(SpokenFor { names, digest }))
    }
}

/// The place of `text` in `why`, where it is added if it is new: there are as many as sources.
fn reason(why: &mut Vec<Arc<str>>, text: &str) -> Result<u32, TooMany> {
    let place = why.iter().position(|known| **known == *text).unwrap_or_else(|| {
        why.push(text.into());
        why.len().saturating_sub(1)
    });
    place_in_stands(place, "reasons why people are disabled")
}

fn unknown_set(owner: &str, set: SetKey) -> Contradiction {
    Contradiction::TokenOfUnknownSet { owner: owner.to_owned(), set }
}

fn unknown_owner(owner: &str) -> Contradiction {
    Contradiction::TokenOfNobody { owner: owner.to_owned() }
}

/// An access token of somebody who changed.
struct Made {
    digest: TokenDigest,
    owner: String,
    name: String,
    until: i64,
    set: SetKey,
}

/// A person with the ids that sources have for them, and what they stand for.
type Owned = (String, Vec<SeenLink>, Result<Stands, SetKey>);

/// What the store has of those who changed.
struct Changed<'n> {
    /// What each name stands for.
    seen: Vec<(&'n str, Result<Stands, SetKey>)>,
    owned: Vec<Owned>,
    made: Vec<Made>,
    /// What address is under each name now, of people who are not gone.
    addresses: Vec<(&'n str, String)>,
}

impl<'n> Changed<'n> {
    fn read(
        reader: &dyn Reader,
        wanted: &Wanted,
        names: &'n BTreeSet<String>,
        users: &BTreeSet<UserId>,
        why: &mut Vec<Arc<str>>,
    ) -> Result<Self, StoreError> {
        let full = |full: TooMany| reader.damaged(full.into());
        let mut rows = Vec::with_capacity(names.len());
        let mut emails = Vec::with_capacity(names.len());
        reader.seen_under(names, &mut |_, user| {
            let there = user.as_ref().filter(|user| !user.status.is_deprovisioned());
            emails.push(there.map_or_else(String::new, |user| user.email.to_owned()));
            let stands = user.map(|user| stands(&user.status, user.set, why));
            rows.push(stands.unwrap_or(Ok(Ok(Stands::Nobody))));
        })?;
        let rows = rows.into_iter().collect::<Result<Vec<_>, _>>().map_err(full)?;
        let seen = names.iter().map(String::as_str).zip(rows).collect();
        let mut all = Vec::new();
        reader.seen_numbers(users, &wanted.sources, &mut |user, links| {
            if !links.is_empty() {
                let stands = stands(&user.status, user.set, why);
                all.push(stands.map(|stands| (user.username.to_owned(), links.to_vec(), stands)));
            }
        })?;
        let owned = all.into_iter().collect::<Result<Vec<Owned>, _>>().map_err(full)?;
        let mut made: Vec<Made> = Vec::new();
        if wanted.tokens {
            reader.seen_tokens_of(names, &mut |token| {
                made.push(Made {
                    digest: TokenDigest(token.digest),
                    owner: token.owner.to_owned(),
                    name: token.name.to_owned(),
                    until: token.until,
                    set: token.set,
                });
                Ok(())
            })?;
        }
        let has_emails = wanted.has_emails();
        let addresses = names.iter().map(String::as_str).zip(emails);
        let addresses = addresses.filter(|_| has_emails).collect();
        Ok(Changed { seen, owned, made, addresses })
    }

    /// The role sets that they have.
    fn sets(&self) -> BTreeSet<SetKey> {
        let seen = self.seen.iter().map(|(_, stands)| stands);
        let stands = seen.chain(self.owned.iter().map(|(_, _, stands)| stands));
        let sets = stands.filter_map(|stands| stands.err());
        sets.chain(self.made.iter().map(|made| made.set)).collect()
    }
}

/// Says that the ids of `links` are `owner`'s.
fn own(ids: &mut [Ids], links: &[SeenLink], owner: Owner) {
    for link in links {
        let Some(ids) = ids.get_mut(usize::from(link.source)) else { continue };
        let gone = owner.packed == PackedStands::of(DEPROVISIONED);
        let packed = if link.refused && !gone { PackedStands::of(REFUSED) } else { owner.packed };
        ids.put(&link.ext, |_| Owner { packed, ..owner });
    }
}

/// Says that those ids of `gone` are their owners' that are nobody's.
fn own_what_is_left(ids: &mut [Ids], gone: Vec<(SeenLink, Owner)>) {
    for (link, owner) in gone {
        if ids.get(usize::from(link.source)).is_some_and(|ids| ids.get(&link.ext).is_none()) {
            own(ids, &[link], owner);
        }
    }
}

/// What someone stands for, or the number of the set that counts.
fn stands(
    status: &Status,
    set: SetKey,
    why: &mut Vec<Arc<str>>,
) -> Result<Result<Stands, SetKey>, TooMany> {
    Ok(match status.standing() {
        Standing::Enabled => Err(set),
        Standing::Disabled(by) => Ok(Stands::Disabled(reason(why, &crate::plan::disabled_by(by))?)),
        Standing::Deprovisioned => Ok(DEPROVISIONED),
    })
}

impl Replica {
    /// The store's committed state, all of it: one transaction.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn load(reader: &dyn Reader, wanted: Arc<Wanted>) -> Result<Replica, StoreError> {
        reader.snapshot(|reader| {
            let meta = reader.meta()?;
            let compiled = Arc::new(Compiled::load(reader, &wanted)?);
            let mut sets = Sets::default();
            let mut places: HashMap<SetKey, u32> = HashMap::new();
            for (num, SeenSet { id, roles }) in reader.seen_sets()? {
                let set = sets.place(id, &roles, &compiled).map_err(|e| reader.damaged(e))?;
                places.insert(num, set.0);
            }
            let mut why = vec![DEPROVISIONED_WORDS.into(), REFUSED_WORDS.into()];
            let count = reader.count_users()?;
            let mut people = People::with_capacity(count);
            let mut ids = Vec::new();
            for links in reader.count_links(&wanted.sources)? {
                ids.push(Ids::with_capacity(links));
            }
            let (mut emails, has_emails) = (Emails::default(), wanted.has_emails());
            // Those of people who are gone: whoever has such an id now comes first.
            let mut gone: Vec<(SeenLink, Owner)> = Vec::new();
            reader.seen_users(&wanted.sources, &mut |user, links| {
                let stands = match stands(&user.status, user.set, &mut why)? {
                    Ok(stands) => stands,
                    Err(set) => Stands::Enabled(
                        *places.get(&set).ok_or(Contradiction::UserOfUnknownSet(set))?,
                    ),
                };
                let packed = PackedStands::of(stands);
                let name = people.put(user.username, |old| match old {
                    // Somebody else has the name: the deprovisioned one is not shown.
                    Some(old) if stands == DEPROVISIONED && old != packed => old,
                    _ => packed,
                })?;
                // An address of somebody who is gone would be that of whoever has the name now.
                if has_emails && stands != DEPROVISIONED {
                    emails.add(user.email, name)?;
                }
                let owner = Owner { name, packed };
                if stands == DEPROVISIONED {
                    gone.extend(links.iter().map(|link| (link.clone(), owner)));
                } else {
                    own(&mut ids, links, owner);
                }
                Ok(())
            })?;
            own_what_is_left(&mut ids, gone);
            let mut tokens = Draft::default();
            if wanted.tokens {
                tokens = Draft::with_capacity(reader.count_seen_tokens()?);
                reader.seen_tokens(&mut |token| {
                    let set = places.get(&token.set);
                    let set = set.ok_or_else(|| unknown_set(token.owner, token.set))?;
                    let owner = people.place(token.owner);
                    let owner = owner.ok_or_else(|| unknown_owner(token.owner))?;
                    tokens.add(TokenDigest(token.digest), owner, *set, token.until, token.name)
                })?;
            }
            emails.sort();
            let rolls = Roll::all(&wanted, &people, &ids, &emails);
            let mut replica = Replica {
                rolls: rolls.into(),
                emails: Arc::new(emails),
                recent_emails: Emails::default(),
                generation: meta.generation,
                applied_at: meta.applied_at,
                tokens: Arc::new(tokens.finish()),
                recent_tokens: ReplicaTokens::default(),
                spoken_for: SpokenFor::load(reader, None)?,
                wanted,
                compiled,
                sets,
                anonymous: None,
                why,
                users: people.len(),
                people: Arc::new(people),
                recent_ids: ids.iter().map(|_| Ids::default()).collect(),
                ids: ids.into(),
                recent: People::default(),
            };
            replica.name_anonymous();
            Ok(replica)
        })
    }

    /// The same with all that was committed since; `None`: nothing was. Where few people changed
    /// it costs what they cost; where many did, or the history cannot tell, it is
    /// [`Replica::load`].
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn caught_up(&self, reader: &dyn Reader) -> Result<Option<Replica>, StoreError> {
        let room = RECENT.max(self.users / RECENT_PART).saturating_sub(self.recent.len());
        reader.snapshot(|reader| match reader.since(self.generation, self.applied_at, room)? {
            Since::Nothing => Ok(None),
            Since::Unknown => Replica::load(reader, Arc::clone(&self.wanted)).map(Some),
            Since::Changed(changes) => self.with(reader, &changes).map(Some),
        })
    }

    /// The same with what the names, the ids of the users and those that they had stand for now that `changes`
    /// tells of, and where it says so with the roles, policies and catalog of now.
    fn with(&self, reader: &dyn Reader, changes: &SeenChanges) -> Result<Replica, StoreError> {
        let SeenChanges { generation, applied_at, names, users, unlinked, rules } = changes;
        let (compiled, mut sets) = if *rules {
            let compiled = Compiled::load(reader, &self.wanted)?;
            let sets = self.sets.under(&self.compiled.rules, &compiled);
            (Arc::new(compiled), sets)
        } else {
            (Arc::clone(&self.compiled), self.sets.clone())
        };
        let mut why = self.why.clone();
        let changed = Changed::read(reader, &self.wanted, names, users, &mut why)?;
        let room = RECENT.max(self.tokens.len() / RECENT_PART);
        if changed.made.len().saturating_add(self.recent_tokens.len()) > room {
            return Replica::load(reader, Arc::clone(&self.wanted));
        }
        let mut places: HashMap<SetKey, SetRef> = HashMap::new();
        let mut unknown = BTreeSet::new();
        for (num, id) in reader.seen_set_ids(&changed.sets())? {
            match sets.by_id.get(&id) {
                Some(set) => drop(places.insert(num, SetRef(*set))),
                None => drop(unknown.insert(num)),
            }
        }
        if !unknown.is_empty() {
            for (num, SeenSet { id, roles }) in reader.seen_sets_of(&unknown)? {
                let set = sets.place(id, &roles, &compiled).map_err(|e| reader.damaged(e))?;
                places.insert(num, set);
            }
        }
        let placed = |stands: Result<Stands, SetKey>| {
            stands.or_else(|set| {
                let unknown = || reader.damaged(Contradiction::UserOfUnknownSet(set));
                places.get(&set).map(|set| Stands::Enabled(set.0)).ok_or_else(unknown)
            })
        };
        let Changed { seen, owned, made, addresses } = changed;
        let (mut recent, users) = self.people_with(reader, seen, placed)?;
        let recent_ids = self.ids_with(reader, (unlinked, owned), &mut recent, placed)?;
        let recent_tokens = self
            .tokens_with(names, made, &recent, |set| places.get(&set).map(|set| set.0))
            .map_err(|error| reader.damaged(error))?;
        let recent_emails = self.emails_with(names, &addresses, &recent);
        let recent_emails = recent_emails.map_err(|full| reader.damaged(full.into()))?;
        let mut replica = Replica {
            rolls: Arc::clone(&self.rolls),
            emails: Arc::clone(&self.emails),
            recent_emails,
            generation: *generation,
            applied_at: *applied_at,
            tokens: Arc::clone(&self.tokens),
            recent_tokens,
            spoken_for: SpokenFor::load(reader, Some(&self.spoken_for))?,
            wanted: Arc::clone(&self.wanted),
            compiled,
            sets,
            anonymous: None,
            why,
            people: Arc::clone(&self.people),
            ids: Arc::clone(&self.ids),
            recent,
            recent_ids,
            users,
        };
        replica.name_anonymous();
        Ok(replica)
    }

    /// The recent people with what the names of `seen` stand for now, and how many users there are.
    fn people_with(
        &self,
        reader: &dyn Reader,
        seen: Vec<(&str, Result<Stands, SetKey>)>,
        placed: impl Fn(Result<Stands, SetKey>) -> Result<Stands, StoreError>,
    ) -> Result<(People, usize), StoreError> {
        let mut recent = self.recent.clone();
        let mut users = self.users;
        for (name, stands) in seen {
            let stands = placed(stands)?;
            let known = |packed: PackedStands| packed.stands() != Stands::Nobody;
            let (was, is) = (self.packed(name).is_some_and(known), stands != Stands::Nobody);
            users = users.saturating_add(usize::from(is)).saturating_sub(usize::from(was));
            let full = |full: TooMany| reader.damaged(full.into());
            recent.put(name, |_| PackedStands::of(stands)).map_err(full)?;
        }
        Ok((recent, users))
    }

    /// The recent ids without those that are `unlinked`, and with those of the people in `owned`, whose
    /// names come into `recent`.
    fn ids_with(
        &self,
        reader: &dyn Reader,
        (unlinked, mut owned): (&BTreeSet<(String, String)>, Vec<Owned>),
        recent: &mut People,
        placed: impl Fn(Result<Stands, SetKey>) -> Result<Stands, StoreError>,
    ) -> Result<Vec<Ids>, StoreError> {
        let mut recent_ids = self.recent_ids.clone();
        for (source, ext) in unlinked {
            let place = self.wanted.sources.iter().position(|wanted| wanted == source);
            if let Some(ids) = place.and_then(|place| recent_ids.get_mut(place)) {
                let nobody = Owner { name: Text::EMPTY, packed: PackedStands::of(Stands::Nobody) };
                ids.put(ext, |_| nobody);
            }
        }
        // Whoever is gone goes before whoever has the same id now.
        owned.sort_by_key(|(_, _, stands)| *stands != Ok(DEPROVISIONED));
        for (name, links, stands) in owned {
            let packed = PackedStands::of(placed(stands)?);
            // Whoever has the name stands for it, which need not be this one.
            let shown = self.packed(&name).unwrap_or(PackedStands::of(Stands::Nobody));
            let full = |full: TooMany| reader.damaged(full.into());
            let name = recent.put(&name, |old| old.unwrap_or(shown)).map_err(full)?;
            own(&mut recent_ids, &links, Owner { name, packed });
        }
        Ok(recent_ids)
    }

    /// The recent addresses with what `addresses` says of the people called `names`. `recent` holds
    /// all of their names.
    fn emails_with(
        &self,
        names: &BTreeSet<String>,
        addresses: &[(&str, String)],
        recent: &People,
    ) -> Result<Emails, TooMany> {
        let again = |owner: Text| names.contains(self.recent.name(owner));
        let mut emails = self.recent_emails.without(again)?;
        for (name, email) in addresses {
            if let Some(owner) = recent.place(name) {
                emails.add(email, owner)?;
            }
        }
        emails.sort();
        Ok(emails)
    }

    /// The recent tokens with those that the owners called `names` have now, `made`, in place of
    /// those that they had. `recent` holds all of their names.
    fn tokens_with(
        &self,
        names: &BTreeSet<String>,
        made: Vec<Made>,
        recent: &People,
        place: impl Fn(SetKey) -> Option<u32>,
    ) -> Result<ReplicaTokens, Contradiction> {
        let mut draft = Draft::with_capacity(self.recent_tokens.len().saturating_add(made.len()));
        for (digest, token) in self.recent_tokens.iter() {
            // The same places of names as in `recent`, which only grows.
            if !names.contains(self.recent.name(token.owner)) {
                let name = self.recent_tokens.name(token);
                draft.add(digest, token.owner, token.set, i64::from(token.until), name)?;
            }
        }
        for Made { digest, owner, name, until, set } in made {
            let set = place(set).ok_or_else(|| unknown_set(&owner, set))?;
            let owner = recent.place(&owner).ok_or_else(|| unknown_owner(&owner))?;
            draft.add(digest, owner, set, until, &name)?;
        }
        Ok(draft.finish())
    }

    /// Finds or makes the set of the anonymous role.
    fn name_anonymous(&mut self) {
        let Some(role) = &self.wanted.anonymous_role else { return };
        let id = RoleSetId::of([role.as_str()]);
        // A role that the store does not know: nobody is let in without an identity.
        self.anonymous = self.sets.place(id, std::slice::from_ref(role), &self.compiled).ok();
    }
}
