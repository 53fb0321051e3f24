//! Reading a store. Nothing here can write.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use super::{
    Access, AccessChange, AccessFilter, Account, AccountNames, AsOf, Bears, Contradiction,
    EffectiveRoles, EndedSince, Generation, HistoryFilter, HistoryRow, Marks, Meta,
    ProvisionContext, ProvisionQuery, ReachedBy, Review, SeenLink, SeenSet, SeenToken, SeenUser,
    SetKey, Since, Slice, SliceQuery, SourceAge, SourceStatus, StoreError, StoredDecision,
    StoredMirror, TokenRow, Untold, UserDetail, UserRow,
};
use crate::directory::{DigestKey, Directory, MirrorRows, OwnDomain, RefId, Sighting, Touched};
use crate::model::token::Digest;
use crate::model::{
    Followed, LocalAccount, Role, RoleSetId, State, Time, UserId, WorkloadIdentity,
};
use crate::plan::{Held, HeldHead, Taken};
use crate::policy::{Action, Resource};

/// What is done with a person whom gateways see, and with their ids; what it finds wrong with a
/// row ends the read.
pub type EachSeen<'a> = &'a mut dyn FnMut(SeenUser<'_>, &[SeenLink]) -> Result<(), Contradiction>;

/// What is done with a token that gateways see; what it finds wrong with a row ends the read.
pub type EachToken<'a> = &'a mut dyn FnMut(SeenToken<'_>) -> Result<(), Contradiction>;

/// A store opened for reading. Each method reads one committed state, the newest;
/// [`snapshot`](#method.snapshot) lets several read the same one.
///
/// Every method fails with a [`StoreError`] where the store cannot be read or contradicts itself.
#[expect(clippy::missing_errors_doc, reason = "said once, above: it is the same for all of them")]
pub trait Reader: Send {
    /// Runs `work` on a reader whose methods all read one and the same committed state. Inside of
    /// another one it joins that one. Keep it short: a backend may have to keep old states
    /// meanwhile. [`snapshot`](#method.snapshot) returns values.
    fn at_once(
        &self,
        work: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// The fault of a store whose content contradicts itself: `what`.
    fn damaged(&self, what: Contradiction) -> StoreError;

    // What a plan starts from.

    /// The store in a few numbers.
    fn meta(&self) -> Result<Meta, StoreError>;

    /// Everything that a plan starts from. Only reasons that some grant has are in its book.
    fn state(&self) -> Result<State, StoreError>;

    /// How each source's reads went, by name.
    fn sources(&self) -> Result<Vec<SourceStatus>, StoreError>;

    /// How old what each configured source said is, by name: of [`Reader::sources`] what gateways go by.
    fn source_ages(&self) -> Result<Vec<SourceAge>, StoreError>;

    /// How the sources are followed, by name: those of which a daemon has said it.
    fn followed(&self) -> Result<BTreeMap<String, Followed>, StoreError>;

    /// The mirror of `source`: what it last said.
    fn mirror(&self, source: &str) -> Result<Option<StoredMirror>, StoreError>;

    /// The rows of the mirror of `source` that are `touched`, and what its digest hangs on.
    /// `None`: it has no mirror.
    fn mirror_rows(
        &self,
        source: &str,
        touched: &Touched<'_>,
    ) -> Result<Option<(MirrorRows, DigestKey)>, StoreError>;

    /// What the digests of this store's mirrors hang on.
    fn digest_key(&self) -> Result<DigestKey, StoreError>;

    /// What groups, roles and attribute values the mirror of `source` has, and what they lead to:
    /// nobody is in them.
    fn structure(&self, source: &str) -> Result<Option<Directory>, StoreError>;

    /// Whether some group of some mirror lists members of another domain of Active Directory.
    fn lists_abroad(&self) -> Result<bool, StoreError>;

    /// The domain of Active Directory that the mirror of `source` is of, by its SID. `None`: it has no
    /// mirror.
    fn own_domain(&self, source: &str) -> Result<Option<OwnDomain<String>>, StoreError>;

    /// Whether the SID of everybody in the mirror of `source` was read, and of every group
    /// ([`Directory::tells_sids`]).
    fn tells_sids(&self, source: &str) -> Result<bool, StoreError>;

    /// What is said of the changes that wait for a person, without reading them, however many they
    /// are.
    fn held_head(&self) -> Result<Option<HeldHead>, StoreError>;

    /// The changes that wait for a person, all of them in memory.
    fn held(&self) -> Result<Option<Held>, StoreError>;

    // One query.

    /// What bears on one stranger: one committed state.
    fn provision_context(&self, query: &ProvisionQuery<'_>)
    -> Result<ProvisionContext, StoreError>;

    /// How far the mirrors have grown: to tell later who came meanwhile.
    fn marks(&self) -> Result<Marks, StoreError>;

    /// Those who came into the mirror of `source` by provisioning since `marks` were taken.
    fn added_since(&self, source: &str, marks: &Marks) -> Result<Vec<Sighting>, StoreError>;

    // What one change needs. None of these passes over people.

    /// The user whom account `ext` of `source` is linked to.
    fn user_of(&self, source: &str, ext: &str) -> Result<Option<UserId>, StoreError>;

    /// What `user` is called, and the accounts that are linked to them. `None`: nobody has that
    /// number.
    fn linked(&self, user: UserId) -> Result<Option<(String, Vec<Account>)>, StoreError>;

    /// The users who are called `username` (as the store keeps names), those who are gone too.
    fn called(&self, username: &str) -> Result<Vec<UserId>, StoreError>;

    /// What account `ext` is called in the mirror of `source`, if it is there.
    fn account(&self, source: &str, ext: &str) -> Result<Option<AccountNames>, StoreError>;

    /// Those of the accounts `exts` that are in the mirror of `source`, whatever they are called.
    fn has_accounts(
        &self,
        source: &str,
        exts: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StoreError>;

    /// The external ids of the accounts in the mirror of `source` that are found by `bears`. Sorted.
    fn bearing(&self, source: &str, bears: Bears<'_>) -> Result<Vec<String>, StoreError>;

    /// The external ids of those who are directly in one of `refs` of the mirror of `source`. Those
    /// whom it has not are passed over.
    fn members(&self, source: &str, refs: &BTreeSet<RefId>)
    -> Result<BTreeSet<String>, StoreError>;

    /// The store as if only those of `query` were in it, and everybody else in numbers.
    fn slice(&self, query: &SliceQuery<'_>) -> Result<Slice, StoreError>;

    // People, for those who ask.

    /// Every role that the store knows, with its policies, sorted by name.
    fn roles(&self) -> Result<Vec<Role>, StoreError>;

    /// The roles of role set `id` by name, sorted; none where the store has no such set.
    fn roles_of_set(&self, id: RoleSetId) -> Result<Vec<String>, StoreError>;

    /// Calls `each` for everyone, by username: first those who are not deprovisioned.
    fn users(&self, each: &mut dyn FnMut(UserRow)) -> Result<(), StoreError>;

    /// Everything about the person whom gateways call `username` (as the store keeps names:
    /// [`crate::model::username::canonical`]); of several who had the name, the one who has it now.
    fn user(&self, username: &str) -> Result<Option<UserDetail>, StoreError>;

    /// The effective roles of the person whom gateways call `username`, with their policies.
    fn roles_of(&self, username: &str) -> Result<Option<EffectiveRoles>, StoreError>;

    /// The decision that gateways find for a request. `None`: there is no row, which means deny.
    fn decision(
        &self,
        username: &str,
        action: &Action,
        resource: Option<&Resource>,
    ) -> Result<Option<StoredDecision>, StoreError>;

    /// Calls `each` for everyone whose roles count now, by username, with the role set (as
    /// [`Reader::seen_sets`] has it), until it breaks off.
    fn holders(
        &self,
        each: &mut dyn FnMut(&str, SetKey) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// The story of the local account `ext`, of one that was removed too.
    fn local_account(&self, ext: &str) -> Result<Option<LocalAccount>, StoreError>;

    /// How many accounts the mirror of `local` has.
    fn local_accounts(&self) -> Result<u64, StoreError>;

    /// The accounts that `[default_admin]` sees to: one, as a rule, or none.
    fn default_admins(&self) -> Result<Vec<LocalAccount>, StoreError>;

    /// What those are called for whom only tokens speak: service accounts, and those that
    /// `[default_admin]` sees to. Not those who are gone, whose names are free.
    fn spoken_for(&self) -> Result<Vec<String>, StoreError>;

    /// A digest of [`Reader::spoken_for`]: another one means that others are on it. It tells without reading
    /// them, however many they are; two backends need not have the same for the same.
    fn spoken_for_digest(&self) -> Result<[u8; 32], StoreError>;

    /// Calls `each` for the tokens of `user`, or of everyone, by username and name.
    fn tokens(
        &self,
        user: Option<UserId>,
        each: &mut dyn FnMut(TokenRow),
    ) -> Result<(), StoreError>;

    /// Whose token has this digest, and what it is called.
    fn token_of(&self, digest: &Digest) -> Result<Option<(String, String)>, StoreError>;

    /// How many tokens there are, and how many of them have expired at `now`.
    fn count_tokens(&self, now: Time) -> Result<(u64, u64), StoreError>;

    /// Who reaches `identity` (compared exactly), and who reaches what is unknown and so may be it.
    /// Sorted.
    fn reached_by(&self, identity: &str) -> Result<Vec<ReachedBy>, StoreError>;

    /// Who pools' pods are in the clouds. Sorted.
    fn workload(&self) -> Result<Vec<WorkloadIdentity>, StoreError>;

    // The past.

    /// The changes that were applied, newest first.
    fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryRow>, StoreError>;

    /// The generation that is meant, if the store can tell who held what then. A moment between two
    /// generations means the earlier one.
    fn generation(&self, as_of: AsOf, now: Time) -> Result<Generation, Untold>;

    /// What the generations after `since` took away because of absence, and whom sources disabled in
    /// them: [`Plan::taken`](crate::plan::Plan::taken) of each.
    fn taken_since(&self, since: Time) -> Result<Taken, StoreError>;

    /// The newest generation; `None`: there is none yet.
    fn newest(&self) -> Result<Option<Generation>, StoreError>;

    /// Whether somebody is, or was once, called `username`.
    fn ever_called(&self, username: &str) -> Result<bool, StoreError>;

    /// Whether there is, or was once, a role of this name.
    fn ever_a_role(&self, name: &str) -> Result<bool, StoreError>;

    /// Calls `each` for every pair of user and role that the views showed at `generation` (one that
    /// [`Reader::generation`] gave), by username, then by role, until it breaks off. It must not
    /// take memory for each pair.
    fn access(
        &self,
        generation: u64,
        filter: &AccessFilter,
        each: &mut dyn FnMut(Access) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Calls `each` for what became of every pair between two generations, as [`Reader::access`]
    /// does for pairs.
    fn access_changes(
        &self,
        between: (u64, u64),
        filter: &AccessFilter,
        each: &mut dyn FnMut(AccessChange) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// All reviews, newest first.
    fn reviews(&self) -> Result<Vec<Review>, StoreError>;

    /// The last review of this name.
    fn last_review(&self, name: &str) -> Result<Option<Review>, StoreError>;

    // What a gateway keeps in memory.

    /// The keys kept for `issuer` (compared exactly): a JWK set. `None`: there are none.
    fn keys(&self, issuer: &str) -> Result<Option<String>, StoreError>;

    /// What came onto the list of ended sessions behind `place`; 0: all that is on it.
    fn ended_since(&self, place: u64) -> Result<EndedSince, StoreError>;

    /// How long the list of ended sessions is.
    fn count_ended(&self) -> Result<u64, StoreError>;

    /// What was committed since `generation`, which was committed at `applied_at`. More than `most`
    /// people are not worth telling. Where that cannot be told for certain, [`Since::Unknown`].
    fn since(
        &self,
        generation: u64,
        applied_at: Option<Time>,
        most: usize,
    ) -> Result<Since, StoreError>;

    /// The requests that decisions are stored for.
    fn catalog(&self) -> Result<Vec<(Action, Option<Resource>)>, StoreError>;

    /// How many people there are, deprovisioned ones too.
    fn count_users(&self) -> Result<usize, StoreError>;

    /// How many ids each of `sources` has given to people, as a measure for memory.
    fn count_links(&self, sources: &[String]) -> Result<Vec<usize>, StoreError>;

    /// Calls `each` for everyone, in the order of their ids, deprovisioned people too: of several
    /// who have one username the gateway sees the one who is not deprovisioned, else the last. With
    /// each come the ids that `sources` know the person by.
    fn seen_users(&self, sources: &[String], each: EachSeen<'_>) -> Result<(), StoreError>;

    /// Calls `each` for everyone of `users` with the ids that `sources` know the person by.
    fn seen_numbers(
        &self,
        users: &BTreeSet<UserId>,
        sources: &[String],
        each: &mut dyn FnMut(SeenUser<'_>, &[SeenLink]),
    ) -> Result<(), StoreError>;

    /// Calls `each` for every one of `names` with what gateways see under it; `None`: nobody has
    /// it.
    fn seen_under(
        &self,
        names: &BTreeSet<String>,
        each: &mut dyn FnMut(&str, Option<SeenUser<'_>>),
    ) -> Result<(), StoreError>;

    /// All role sets, by what [`SeenUser::set`] calls them.
    fn seen_sets(&self) -> Result<HashMap<SetKey, SeenSet>, StoreError>;

    /// The ids of the role sets that [`SeenUser::set`] calls so: whoever knows one knows its roles.
    fn seen_set_ids(
        &self,
        keys: &BTreeSet<SetKey>,
    ) -> Result<HashMap<SetKey, RoleSetId>, StoreError>;

    /// The role sets that [`SeenUser::set`] calls so.
    fn seen_sets_of(&self, keys: &BTreeSet<SetKey>)
    -> Result<HashMap<SetKey, SeenSet>, StoreError>;

    /// How many access tokens there are, as a measure for memory.
    fn count_seen_tokens(&self) -> Result<usize, StoreError>;

    /// Calls `each` for every access token whose owner is not gone.
    fn seen_tokens(&self, each: EachToken<'_>) -> Result<(), StoreError>;

    /// The same for those whose owners are called one of `names`.
    fn seen_tokens_of(
        &self,
        names: &BTreeSet<String>,
        each: EachToken<'_>,
    ) -> Result<(), StoreError>;
}

/// The digest of names, which come in order.
pub(super) fn digest_of_names(names: impl IntoIterator<Item = String>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for name in names {
        digest.update(format!("{}:{name}", name.len()));
    }
    digest.finalize().into()
}

impl dyn Reader + '_ {
    /// Lets several methods read one and the same committed state: what `work` makes of it. Keep it
    /// short: a backend may have to keep old states meanwhile.
    ///
    /// # Errors
    /// Those of `work`, and those of reading.
    pub fn snapshot<T>(
        &self,
        work: impl FnOnce(&dyn Reader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (mut work, mut made) = (Some(work), None);
        self.at_once(&mut |reader| {
            if let Some(work) = work.take() {
                made = Some(work(reader)?);
            }
            Ok(())
        })?;
        made.ok_or_else(|| self.damaged(Contradiction::NotRead))
    }
}
