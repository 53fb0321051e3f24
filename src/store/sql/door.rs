//! What the door of a store asks for reading, each in the room that knows its rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use super::reader::Reads;

use crate::directory::{DigestKey, Directory, MirrorRows, OwnDomain, RefId, Sighting, Touched};
use crate::model::token::Digest;
use crate::model::{
    Followed, LocalAccount, Role, RoleSetId, State, Time, UserId, WorkloadIdentity,
};
use crate::plan::{Held, HeldHead, Taken};
use crate::policy::{Action, Resource};
use crate::store::{
    Access, AccessChange, AccessFilter, Account, AccountNames, AsOf, Bears, Contradiction,
    EachSeen, EachToken, EffectiveRoles, EndedSince, Generation, HistoryFilter, HistoryRow, Marks,
    Meta, ProvisionContext, ProvisionQuery, ReachedBy, Reader, Review, SeenLink, SeenSet, SeenUser,
    SetKey, Since, Slice, SliceQuery, SourceAge, SourceStatus, StoreError, StoredDecision,
    StoredMirror, TokenRow, Untold, UserDetail, UserRow,
};

fn sql<R: Reads>(reader: &R) -> &dyn Reads {
    reader
}

impl<R: Reads> Reader for R {
    fn at_once(
        &self,
        work: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Inside, methods find the transaction open and join it.
        sql(self).read_as(|_| Ok(work(self)))?
    }

    fn damaged(&self, what: Contradiction) -> StoreError {
        self.fault(what.into())
    }

    fn meta(&self) -> Result<Meta, StoreError> {
        sql(self).meta()
    }

    fn state(&self) -> Result<State, StoreError> {
        sql(self).state()
    }

    fn sources(&self) -> Result<Vec<SourceStatus>, StoreError> {
        sql(self).sources()
    }

    fn source_ages(&self) -> Result<Vec<SourceAge>, StoreError> {
        sql(self).source_ages()
    }

    fn followed(&self) -> Result<BTreeMap<String, Followed>, StoreError> {
        sql(self).read_as(super::followed::load)
    }

    fn mirror(&self, source: &str) -> Result<Option<StoredMirror>, StoreError> {
        sql(self).mirror(source)
    }

    fn mirror_rows(
        &self,
        source: &str,
        touched: &Touched<'_>,
    ) -> Result<Option<(MirrorRows, DigestKey)>, StoreError> {
        sql(self).mirror_rows(source, touched)
    }

    fn digest_key(&self) -> Result<DigestKey, StoreError> {
        sql(self).digest_key()
    }

    fn structure(&self, source: &str) -> Result<Option<Directory>, StoreError> {
        sql(self).structure(source)
    }

    fn lists_abroad(&self) -> Result<bool, StoreError> {
        sql(self).lists_abroad()
    }

    fn own_domain(&self, source: &str) -> Result<Option<OwnDomain<String>>, StoreError> {
        sql(self).own_domain(source)
    }

    fn tells_sids(&self, source: &str) -> Result<bool, StoreError> {
        sql(self).tells_sids(source)
    }

    fn held_head(&self) -> Result<Option<HeldHead>, StoreError> {
        sql(self).held_head()
    }

    fn held(&self) -> Result<Option<Held>, StoreError> {
        sql(self).held()
    }

    fn provision_context(
        &self,
        query: &ProvisionQuery<'_>,
    ) -> Result<ProvisionContext, StoreError> {
        sql(self).provision_context(query)
    }

    fn marks(&self) -> Result<Marks, StoreError> {
        sql(self).marks()
    }

    fn added_since(&self, source: &str, marks: &Marks) -> Result<Vec<Sighting>, StoreError> {
        sql(self).added_since(source, marks)
    }

    fn user_of(&self, source: &str, ext: &str) -> Result<Option<UserId>, StoreError> {
        sql(self).user_of(source, ext)
    }

    fn linked(&self, user: UserId) -> Result<Option<(String, Vec<Account>)>, StoreError> {
        sql(self).linked(user)
    }

    fn called(&self, username: &str) -> Result<Vec<UserId>, StoreError> {
        sql(self).called(username)
    }

    fn account(&self, source: &str, ext: &str) -> Result<Option<AccountNames>, StoreError> {
        sql(self).account(source, ext)
    }

    fn has_accounts(
        &self,
        source: &str,
        exts: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StoreError> {
        sql(self).has_accounts(source, exts)
    }

    fn bearing(&self, source: &str, bears: Bears<'_>) -> Result<Vec<String>, StoreError> {
        sql(self).bearing(source, bears)
    }

    fn members(
        &self,
        source: &str,
        refs: &BTreeSet<RefId>,
    ) -> Result<BTreeSet<String>, StoreError> {
        sql(self).members(source, refs)
    }

    fn slice(&self, query: &SliceQuery<'_>) -> Result<Slice, StoreError> {
        sql(self).slice(query)
    }

    fn roles(&self) -> Result<Vec<Role>, StoreError> {
        sql(self).roles()
    }

    fn roles_of_set(&self, id: RoleSetId) -> Result<Vec<String>, StoreError> {
        sql(self).roles_of_set(id)
    }

    fn users(&self, each: &mut dyn FnMut(UserRow)) -> Result<(), StoreError> {
        sql(self).users(each)
    }

    fn user(&self, username: &str) -> Result<Option<UserDetail>, StoreError> {
        sql(self).user(username)
    }

    fn roles_of(&self, username: &str) -> Result<Option<EffectiveRoles>, StoreError> {
        sql(self).roles_of(username)
    }

    fn decision(
        &self,
        username: &str,
        action: &Action,
        resource: Option<&Resource>,
    ) -> Result<Option<StoredDecision>, StoreError> {
        sql(self).decision(username, action, resource)
    }

    fn holders(
        &self,
        each: &mut dyn FnMut(&str, SetKey) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        sql(self).holders(each)
    }

    fn local_account(&self, ext: &str) -> Result<Option<LocalAccount>, StoreError> {
        sql(self).local_account(ext)
    }

    fn local_accounts(&self) -> Result<u64, StoreError> {
        sql(self).local_accounts()
    }

    fn default_admins(&self) -> Result<Vec<LocalAccount>, StoreError> {
        sql(self).default_admins()
    }

    fn spoken_for_digest(&self) -> Result<[u8; 32], StoreError> {
        sql(self).spoken_for_digest()
    }

    fn spoken_for(&self) -> Result<Vec<String>, StoreError> {
        sql(self).spoken_for()
    }

    fn tokens(
        &self,
        user: Option<UserId>,
        each: &mut dyn FnMut(TokenRow),
    ) -> Result<(), StoreError> {
        sql(self).tokens(user, each)
    }

    fn token_of(&self, digest: &Digest) -> Result<Option<(String, String)>, StoreError> {
        sql(self).token_of(digest)
    }

    fn count_tokens(&self, now: Time) -> Result<(u64, u64), StoreError> {
        sql(self).count_tokens(now)
    }

    fn reached_by(&self, identity: &str) -> Result<Vec<ReachedBy>, StoreError> {
        sql(self).reached_by(identity)
    }

    fn workload(&self) -> Result<Vec<WorkloadIdentity>, StoreError> {
        sql(self).workload()
    }

    fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryRow>, StoreError> {
        sql(self).history(filter)
    }

    fn generation(&self, as_of: AsOf, now: Time) -> Result<Generation, Untold> {
        sql(self).generation(as_of, now)
    }

    fn taken_since(&self, since: Time) -> Result<Taken, StoreError> {
        sql(self).taken_since(since)
    }

    fn newest(&self) -> Result<Option<Generation>, StoreError> {
        sql(self).newest()
    }

    fn ever_called(&self, username: &str) -> Result<bool, StoreError> {
        sql(self).ever_called(username)
    }

    fn ever_a_role(&self, name: &str) -> Result<bool, StoreError> {
        sql(self).ever_a_role(name)
    }

    fn access(
        &self,
        generation: u64,
        filter: &AccessFilter,
        each: &mut dyn FnMut(Access) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        sql(self).access(generation, filter, each)
    }

    fn access_changes(
        &self,
        between: (u64, u64),
        filter: &AccessFilter,
        each: &mut dyn FnMut(AccessChange) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        sql(self).access_changes(between, filter, each)
    }

    fn reviews(&self) -> Result<Vec<Review>, StoreError> {
        sql(self).reviews()
    }

    fn last_review(&self, name: &str) -> Result<Option<Review>, StoreError> {
        sql(self).last_review(name)
    }

    fn keys(&self, issuer: &str) -> Result<Option<String>, StoreError> {
        sql(self).keys(issuer)
    }

    fn ended_since(&self, place: u64) -> Result<EndedSince, StoreError> {
        sql(self).read_as(|conn| super::ended::since(conn, place))
    }

    fn count_ended(&self) -> Result<u64, StoreError> {
        sql(self).read_as(super::ended::count)
    }

    fn since(
        &self,
        generation: u64,
        applied_at: Option<Time>,
        most: usize,
    ) -> Result<Since, StoreError> {
        sql(self).since(generation, applied_at, most)
    }

    fn catalog(&self) -> Result<Vec<(Action, Option<Resource>)>, StoreError> {
        sql(self).catalog()
    }

    fn count_users(&self) -> Result<usize, StoreError> {
        sql(self).count_users()
    }

    fn count_links(&self, sources: &[String]) -> Result<Vec<usize>, StoreError> {
        sql(self).count_links(sources)
    }

    fn seen_users(&self, sources: &[String], each: EachSeen<'_>) -> Result<(), StoreError> {
        sql(self).seen_users(sources, each)
    }

    fn seen_numbers(
        &self,
        users: &BTreeSet<UserId>,
        sources: &[String],
        each: &mut dyn FnMut(SeenUser<'_>, &[SeenLink]),
    ) -> Result<(), StoreError> {
        sql(self).seen_numbers(users, sources, each)
    }

    fn seen_under(
        &self,
        names: &BTreeSet<String>,
        each: &mut dyn FnMut(&str, Option<SeenUser<'_>>),
    ) -> Result<(), StoreError> {
        sql(self).seen_under(names, each)
    }

    fn seen_sets(&self) -> Result<HashMap<SetKey, SeenSet>, StoreError> {
        sql(self).seen_sets()
    }

    fn seen_set_ids(
        &self,
        keys: &BTreeSet<SetKey>,
    ) -> Result<HashMap<SetKey, RoleSetId>, StoreError> {
        sql(self).seen_set_ids(keys)
    }

    fn seen_sets_of(
        &self,
        keys: &BTreeSet<SetKey>,
    ) -> Result<HashMap<SetKey, SeenSet>, StoreError> {
        sql(self).seen_sets_of(keys)
    }

    fn count_seen_tokens(&self) -> Result<usize, StoreError> {
        sql(self).count_seen_tokens()
    }

    fn seen_tokens(&self, each: EachToken<'_>) -> Result<(), StoreError> {
        sql(self).seen_tokens(each)
    }

    fn seen_tokens_of(
        &self,
        names: &BTreeSet<String>,
        each: EachToken<'_>,
    ) -> Result<(), StoreError> {
        sql(self).seen_tokens_of(names, each)
    }
}
