//! What the door of a store asks for reading, each in the room that knows its rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use super::reader::SqliteReader;
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
    SetKey, Since, Slice, SliceQuery, SourceStatus, StoreError, StoredDecision, StoredMirror,
    TokenRow, Untold, UserDetail, UserRow,
};

impl Reader for SqliteReader {
    fn at_once(
        &self,
        work: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.snapshot(|reader| work(reader))
    }

    fn damaged(&self, what: Contradiction) -> StoreError {
        self.fault(what.into())
    }

    fn meta(&self) -> Result<Meta, StoreError> {
        SqliteReader::meta(self)
    }

    fn state(&self) -> Result<State, StoreError> {
        SqliteReader::state(self)
    }

    fn sources(&self) -> Result<Vec<SourceStatus>, StoreError> {
        SqliteReader::sources(self)
    }

    fn followed(&self) -> Result<BTreeMap<String, Followed>, StoreError> {
        self.read_as(super::followed::load)
    }

    fn mirror(&self, source: &str) -> Result<Option<StoredMirror>, StoreError> {
        SqliteReader::mirror(self, source)
    }

    fn mirror_rows(
        &self,
        source: &str,
        touched: &Touched<'_>,
    ) -> Result<Option<(MirrorRows, DigestKey)>, StoreError> {
        SqliteReader::mirror_rows(self, source, touched)
    }

    fn digest_key(&self) -> Result<DigestKey, StoreError> {
        SqliteReader::digest_key(self)
    }

    fn structure(&self, source: &str) -> Result<Option<Directory>, StoreError> {
        SqliteReader::structure(self, source)
    }

    fn lists_abroad(&self) -> Result<bool, StoreError> {
        SqliteReader::lists_abroad(self)
    }

    fn own_domain(&self, source: &str) -> Result<Option<OwnDomain<String>>, StoreError> {
        SqliteReader::own_domain(self, source)
    }

    fn tells_sids(&self, source: &str) -> Result<bool, StoreError> {
        SqliteReader::tells_sids(self, source)
    }

    fn held_head(&self) -> Result<Option<HeldHead>, StoreError> {
        SqliteReader::held_head(self)
    }

    fn held(&self) -> Result<Option<Held>, StoreError> {
        SqliteReader::held(self)
    }

    fn provision_context(
        &self,
        query: &ProvisionQuery<'_>,
    ) -> Result<ProvisionContext, StoreError> {
        SqliteReader::provision_context(self, query)
    }

    fn marks(&self) -> Result<Marks, StoreError> {
        SqliteReader::marks(self)
    }

    fn added_since(&self, source: &str, marks: &Marks) -> Result<Vec<Sighting>, StoreError> {
        SqliteReader::added_since(self, source, marks)
    }

    fn user_of(&self, source: &str, ext: &str) -> Result<Option<UserId>, StoreError> {
        SqliteReader::user_of(self, source, ext)
    }

    fn linked(&self, user: UserId) -> Result<Option<(String, Vec<Account>)>, StoreError> {
        SqliteReader::linked(self, user)
    }

    fn called(&self, username: &str) -> Result<Vec<UserId>, StoreError> {
        SqliteReader::called(self, username)
    }

    fn account(&self, source: &str, ext: &str) -> Result<Option<AccountNames>, StoreError> {
        SqliteReader::account(self, source, ext)
    }

    fn has_accounts(
        &self,
        source: &str,
        exts: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StoreError> {
        SqliteReader::has_accounts(self, source, exts)
    }

    fn bearing(&self, source: &str, bears: Bears<'_>) -> Result<Vec<String>, StoreError> {
        SqliteReader::bearing(self, source, bears)
    }

    fn members(
        &self,
        source: &str,
        refs: &BTreeSet<RefId>,
    ) -> Result<BTreeSet<String>, StoreError> {
        SqliteReader::members(self, source, refs)
    }

    fn slice(&self, query: &SliceQuery<'_>) -> Result<Slice, StoreError> {
        SqliteReader::slice(self, query)
    }

    fn roles(&self) -> Result<Vec<Role>, StoreError> {
        SqliteReader::roles(self)
    }

    fn roles_of_set(&self, id: RoleSetId) -> Result<Vec<String>, StoreError> {
        SqliteReader::roles_of_set(self, id)
    }

    fn users(&self, each: &mut dyn FnMut(UserRow)) -> Result<(), StoreError> {
        SqliteReader::users(self, each)
    }

    fn user(&self, username: &str) -> Result<Option<UserDetail>, StoreError> {
        SqliteReader::user(self, username)
    }

    fn roles_of(&self, username: &str) -> Result<Option<EffectiveRoles>, StoreError> {
        SqliteReader::roles_of(self, username)
    }

    fn decision(
        &self,
        username: &str,
        action: &Action,
        resource: Option<&Resource>,
    ) -> Result<Option<StoredDecision>, StoreError> {
        SqliteReader::decision(self, username, action, resource)
    }

    fn holders(
        &self,
        each: &mut dyn FnMut(&str, SetKey) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        SqliteReader::holders(self, each)
    }

    fn local_account(&self, ext: &str) -> Result<Option<LocalAccount>, StoreError> {
        SqliteReader::local_account(self, ext)
    }

    fn local_accounts(&self) -> Result<u64, StoreError> {
        SqliteReader::local_accounts(self)
    }

    fn default_admins(&self) -> Result<Vec<LocalAccount>, StoreError> {
        SqliteReader::default_admins(self)
    }

    fn spoken_for(&self) -> Result<Vec<String>, StoreError> {
        SqliteReader::spoken_for(self)
    }

    fn tokens(
        &self,
        user: Option<UserId>,
        each: &mut dyn FnMut(TokenRow),
    ) -> Result<(), StoreError> {
        SqliteReader::tokens(self, user, each)
    }

    fn token_of(&self, digest: &Digest) -> Result<Option<(String, String)>, StoreError> {
        SqliteReader::token_of(self, digest)
    }

    fn count_tokens(&self, now: Time) -> Result<(u64, u64), StoreError> {
        SqliteReader::count_tokens(self, now)
    }

    fn reached_by(&self, identity: &str) -> Result<Vec<ReachedBy>, StoreError> {
        SqliteReader::reached_by(self, identity)
    }

    fn workload(&self) -> Result<Vec<WorkloadIdentity>, StoreError> {
        SqliteReader::workload(self)
    }

    fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryRow>, StoreError> {
        SqliteReader::history(self, filter)
    }

    fn generation(&self, as_of: AsOf, now: Time) -> Result<Generation, Untold> {
        SqliteReader::generation(self, as_of, now)
    }

    fn taken_since(&self, since: Time) -> Result<Taken, StoreError> {
        SqliteReader::taken_since(self, since)
    }

    fn newest(&self) -> Result<Option<Generation>, StoreError> {
        SqliteReader::newest(self)
    }

    fn ever_called(&self, username: &str) -> Result<bool, StoreError> {
        SqliteReader::ever_called(self, username)
    }

    fn ever_a_role(&self, name: &str) -> Result<bool, StoreError> {
        SqliteReader::ever_a_role(self, name)
    }

    fn access(
        &self,
        generation: u64,
        filter: &AccessFilter,
        each: &mut dyn FnMut(Access) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        SqliteReader::access(self, generation, filter, each)
    }

    fn access_changes(
        &self,
        between: (u64, u64),
        filter: &AccessFilter,
        each: &mut dyn FnMut(AccessChange) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        SqliteReader::access_changes(self, between, filter, each)
    }

    fn reviews(&self) -> Result<Vec<Review>, StoreError> {
        SqliteReader::reviews(self)
    }

    fn last_review(&self, name: &str) -> Result<Option<Review>, StoreError> {
        SqliteReader::last_review(self, name)
    }

    fn keys(&self, issuer: &str) -> Result<Option<String>, StoreError> {
        SqliteReader::keys(self, issuer)
    }

    fn ended_since(&self, place: u64) -> Result<EndedSince, StoreError> {
        self.read_as(|conn| super::ended::since(conn, place))
    }

    fn count_ended(&self) -> Result<u64, StoreError> {
        self.read_as(super::ended::count)
    }

    fn since(
        &self,
        generation: u64,
        applied_at: Option<Time>,
        most: usize,
    ) -> Result<Since, StoreError> {
        SqliteReader::since(self, generation, applied_at, most)
    }

    fn catalog(&self) -> Result<Vec<(Action, Option<Resource>)>, StoreError> {
        SqliteReader::catalog(self)
    }

    fn count_users(&self) -> Result<usize, StoreError> {
        SqliteReader::count_users(self)
    }

    fn count_links(&self, sources: &[String]) -> Result<Vec<usize>, StoreError> {
        SqliteReader::count_links(self, sources)
    }

    fn seen_users(&self, sources: &[String], each: EachSeen<'_>) -> Result<(), StoreError> {
        SqliteReader::seen_users(self, sources, each)
    }

    fn seen_numbers(
        &self,
        users: &BTreeSet<UserId>,
        sources: &[String],
        each: &mut dyn FnMut(SeenUser<'_>, &[SeenLink]),
    ) -> Result<(), StoreError> {
        SqliteReader::seen_numbers(self, users, sources, each)
    }

    fn seen_under(
        &self,
        names: &BTreeSet<String>,
        each: &mut dyn FnMut(&str, Option<SeenUser<'_>>),
    ) -> Result<(), StoreError> {
        SqliteReader::seen_under(self, names, each)
    }

    fn seen_sets(&self) -> Result<HashMap<SetKey, SeenSet>, StoreError> {
        SqliteReader::seen_sets(self)
    }

    fn seen_sets_of(
        &self,
        keys: &BTreeSet<SetKey>,
    ) -> Result<HashMap<SetKey, SeenSet>, StoreError> {
        SqliteReader::seen_sets_of(self, keys)
    }

    fn count_seen_tokens(&self) -> Result<usize, StoreError> {
        SqliteReader::count_seen_tokens(self)
    }

    fn seen_tokens(&self, each: EachToken<'_>) -> Result<(), StoreError> {
        SqliteReader::seen_tokens(self, each)
    }

    fn seen_tokens_of(
        &self,
        names: &BTreeSet<String>,
        each: EachToken<'_>,
    ) -> Result<(), StoreError> {
        SqliteReader::seen_tokens_of(self, names, each)
    }
}
