//! Snapshot a live directory: users and groups at the same time on two connections to one server,
//! then what moved meanwhile, then the canary.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap3::Scope;
use tokio::time::Instant;

use super::assemble::Assembler;
use super::config::MembersFrom;
use super::connect::{Connection, shown};
use super::dialect::Dialect;
use super::domain::{self, Principals};
use super::dynamic::Dynamic;
use super::entry::Entry;
use super::explain::Fault;
use super::finish::Verdict;
use super::search::{self, End, Limits, Search};
use super::shape::Shape;
use super::{LdapSource, known, lists, ranges, server};
use crate::directory::{Interest, Snapshot};
use crate::model::{Diagnostic, DiagnosticCode, Subject, Time};
use crate::source::{OnProgress, Progress, SourceError, SourceErrorKind};

/// How often everything is read again when an entry was replaced in mid-read.
const READS: usize = 3;
/// How often members that lead nowhere are looked into.
const ROUNDS: usize = 4;
/// How often a member must have led nowhere before that is believed, and how long to wait between.
/// A rename reaches the groups a moment after the user: OpenLDAP's `refint` mends them in a task of
/// its own, and until then a group names someone who is not there.
const DOUBTS: u32 = 2;
const MENDING: std::time::Duration = std::time::Duration::from_millis(250);
/// Up to so many groups are read again one by one; beyond, all of them in one search.
const SINGLE_GROUPS: usize = 200;
/// Up to so many members are looked for one by one; beyond, in one search for all users.
const SINGLE_MEMBERS: usize = 500;

/// Which sides of a membership are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sides {
    /// The one that counts.
    One,
    /// The group's and the person's, to tell where they differ.
    Both,
}

/// Reads everything. `interest` is what rules can name, `now` is the moment at which accounts are
/// judged.
pub(super) async fn read(
    source: &LdapSource,
    interest: &dyn Interest,
    sides: Sides,
    now: Time,
    progress: OnProgress,
) -> Result<Snapshot, SourceError> {
    let config = &source.config;
    let named = |error: SourceError| error.within(&format!("source `{}`", source.name));
    let (groups, wanted) = (config.groups.as_ref(), interest.attributes());
    let limits =
        Limits { operation: config.timeout, deadline: Instant::now() + config.read_timeout };
    let connection = source.for_reading().await.map_err(named)?;
    let at = |error: SourceError| named(error.within(&shown(&connection.url)));
    let dialect = server::recognise(&connection, limits, config.flavor).await.map_err(at)?;
    let mut shape = Shape::new(&config.users, groups, wanted, dialect, now)
        .map_err(|why| named(SourceError::fatal(why.to_string())))?;
    shape.compare = sides == Sides::Both;
    let known = known::attribute_types(&connection, limits).await;
    let search = |what, base: &str, filter: &str, attributes| Search {
        what,
        base: base.to_owned(),
        scope: Scope::Subtree,
        filter: filter.to_owned(),
        attributes,
        page_size: config.page_size,
        as_stored: false,
        dialect,
    };
    let mut groups =
        groups.map(|it| search("groups", &it.base, &it.filter, shape.group_attributes()));
    let dynamic = match &groups {
        Some(groups) if shape.from == MembersFrom::Member => {
            Dynamic::of_groups(&connection, limits, groups, known.as_ref()).await
        }
        _ => Dynamic::default(),
    };
    if let Some(groups) = &mut groups {
        groups.attributes = dynamic.with_attributes(std::mem::take(&mut groups.attributes));
    }
    let user_attributes = known::asked(shape.user_attributes(), known.as_ref());
    let user_attributes = dynamic.with_attributes(user_attributes);
    let mut assembler = Assembler::new(shape);
    assembler.dynamic(dynamic);
    assembler.domain(domain::own(&connection, limits, dialect).await);
    let mut reader = Reader {
        name: source.name.clone(),
        users: search("users", &config.users.base, &config.users.filter, user_attributes),
        groups,
        assembler: Arc::new(Mutex::new(assembler)),
        // Two paged searches on one connection spoil each other. Where the server allows us only
        // one, they run one after the other.
        second: second(source, &connection, dialect, limits).await,
        first: connection.clone(),
        limits,
        progress,
        diagnostics: Vec::new(),
        fault: None,
    };
    let mut verdict = reader.everything().await.map_err(at)?;
    if let Some(canary) = &config.canary {
        let found = server::canary(&connection, limits, dialect, canary).await;
        verdict.canary = found.err().map(|why| why.to_string());
    }
    reader.understand_groups().await;
    reader.read_principals().await;
    verdict.diagnostics = std::mem::take(&mut reader.diagnostics);
    let Reader { assembler, fault, .. } = reader;
    let assembler = Arc::into_inner(assembler)
        .map(|mutex| mutex.into_inner().unwrap_or_else(PoisonError::into_inner))
        .ok_or_else(|| at(SourceError::transient("a read did not end")))?;
    if assembler.is_empty() {
        // Nothing at all is not a snapshot, whatever the result codes say.
        let mut reasons = vec![
            verdict.users.or_else(|| assembler.users_doubt()).unwrap_or_default(),
            verdict.groups.or_else(|| assembler.groups_doubt()).unwrap_or_default(),
        ];
        reasons.dedup();
        let why = fault.unwrap_or_else(|| Fault::local("", false));
        return Err(at(SourceError { message: reasons.join("; "), ..why.into() }));
    }
    Ok(assembler.finish(verdict, interest))
}

/// Another connection to the same server, if there is one: behind one name may be several, of which one
/// knows less than the other.
async fn second(
    source: &LdapSource,
    first: &Connection,
    dialect: Dialect,
    limits: Limits,
) -> Option<Connection> {
    let second = source.connector.connect_to(&first.url).await.ok()?;
    let is_one = !dialect.domain_scope || server::is_one(first, &second, limits).await;
    is_one.then_some(second)
}

/// One read in progress.
struct Reader {
    name: String,
    users: Search,
    /// Absent: there are none.
    groups: Option<Search>,
    assembler: Arc<Mutex<Assembler>>,
    first: Connection,
    second: Option<Connection>,
    limits: Limits,
    progress: OnProgress,
    diagnostics: Vec<Diagnostic>,
    /// What kept a search from its end so far: one that may pass by itself where there is one.
    fault: Option<Fault>,
}

/// A panic leaves the half-assembled facts in an unknown state: nothing is known.
fn misunderstood(what: &str) -> SourceError {
    let why = format!("the answers about {what} could not be understood");
    SourceError::transient(why).of_kind(SourceErrorKind::Panicked)
}

fn lock(assembler: &Mutex<Assembler>) -> MutexGuard<'_, Assembler> {
    assembler.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    /// Both searches, again while entries were replaced under them, then the open members.
    async fn everything(&mut self) -> Result<Verdict, SourceError> {
        for left in (0..READS).rev() {
            let (users, groups) = self.both().await?;
            let whole = users.fault.is_none() && groups.fault.is_none();
            if whole && left > 0 && lock(&self.assembler).saw_one_dn_twice() {
                tracing::info!(source = %self.name, "an entry was replaced in mid-read: again");
                lock(&self.assembler).forget_users();
                continue;
            }
            let mut verdict = Verdict {
                users: users.fault.map(|fault| fault.message),
                groups: groups.fault.map(|fault| fault.message),
                ..Verdict::default()
            };
            let users_are_whole =
                verdict.users.is_none() && lock(&self.assembler).users_doubt().is_none();
            if users_are_whole {
                self.settle(&mut verdict).await?;
                self.look_for_uids(&mut verdict).await?;
            }
            return Ok(verdict);
        }
        Err(SourceError::transient("the directory changed in mid-read, again and again"))
    }

    async fn both(&mut self) -> Result<(End, End), SourceError> {
        let users = self.spawn(self.first.clone(), true);
        let second = self.second.clone().filter(|_| self.groups.is_some());
        let (users, groups) = match second {
            Some(second) => {
                let groups = self.spawn(second, false);
                (users.await, groups.await)
            }
            None => {
                let users = users.await;
                (users, self.spawn(self.first.clone(), false).await)
            }
        };
        let mut ended = Vec::with_capacity(2);
        for (end, what) in [(users, "users"), (groups, "groups")] {
            let end = end.map_err(|_| misunderstood(what))?;
            if let (Some(size), None) = (end.smaller_pages, &end.fault) {
                let how = match size {
                    0 => "was read without pages".to_owned(),
                    size => format!("was read in pages of {size}"),
                };
                self.diagnostics.push(Diagnostic::warning(DiagnosticCode::PageSizeRefused, Subject::scope(what), format!(
                    "the server refuses pages of the size configured for {what}, which {how}: set \
                     `page_size`, or raise {}",
                    self.users.dialect.limits.pages
                )));
            }
            if self.fault.as_ref().is_none_or(|fault| !fault.transient) && end.fault.is_some() {
                self.fault.clone_from(&end.fault);
            }
            ended.push(end);
        }
        match (ended.pop(), ended.pop()) {
            (Some(groups), Some(users)) => Ok((users, groups)),
            _ => Err(SourceError::transient("a read did not end")),
        }
    }

    /// One search in a task of its own, so that a panic is an error and not the end.
    fn spawn(&self, mut connection: Connection, users: bool) -> tokio::task::JoinHandle<End> {
        let search = if users { Some(self.users.clone()) } else { self.groups.clone() };
        let assembler = self.assembler.clone();
        let (limits, progress) = (self.limits, self.progress.clone());
        let name = self.name.clone();
        tokio::spawn(async move {
            let Some(search) = search else { return End::nothing() };
            let what = search.what;
            let on_entry = |entry: Entry| {
                let mut assembler = lock(&assembler);
                if users { assembler.user(&entry) } else { assembler.group(&entry) }
            };
            let on_page =
                |done| progress(Progress { source: name.clone(), what, done, total: None });
            ranges::run(&mut connection.ldap, &search, limits, on_entry, on_page).await
        })
    }

    /// Looks into members that lead nowhere although their DN could be one of ours. A rename or a
    /// deletion between the two searches looks like that, and must not become a removal: the
    /// groups are read again, then each member that is still there is looked for.
    async fn settle(&mut self, verdict: &mut Verdict) -> Result<(), SourceError> {
        let mut missed: HashMap<u32, u32> = HashMap::new();
        for round in 0..ROUNDS {
            let groups = lock(&self.assembler).open_groups();
            if groups.is_empty() {
                return Ok(());
            }
            if round > 0 {
                tokio::time::sleep(MENDING).await;
            }
            lock(&self.assembler).note_open();
            if let Err(fault) = self.groups_again(groups).await? {
                verdict.groups = Some(fault.message);
                return Ok(());
            }
            let open = lock(&self.assembler).take_open();
            if open.len() > SINGLE_MEMBERS {
                let (users, groups) = self.both().await?;
                verdict.users = users.fault.map(|fault| fault.message);
                verdict.groups = groups.fault.map(|fault| fault.message);
                if verdict.users.is_some() || verdict.groups.is_some() {
                    return Ok(());
                }
            } else {
                for (_, dn) in &open {
                    if let Err(fault) = self.look_for(dn).await {
                        verdict.users = Some(fault.message);
                        return Ok(());
                    }
                }
            }
            for (id, _) in open {
                let missed = missed.entry(id).or_default();
                *missed += 1;
                if *missed >= DOUBTS {
                    lock(&self.assembler).leads_nowhere(id);
                }
            }
        }
        Ok(())
    }

    /// Looks for usernames that posixGroups list and nobody has: someone may have got that name
    /// after the users were read.
    async fn look_for_uids(&mut self, verdict: &mut Verdict) -> Result<(), SourceError> {
        let unknown = lock(&self.assembler).unknown_uids();
        if unknown.len() > SINGLE_MEMBERS {
            let end = self.spawn(self.first.clone(), true).await;
            let end = end.map_err(|_| misunderstood("users"))?;
            verdict.users = end.fault.map(|fault| fault.message);
            return Ok(());
        }
        for uid in unknown {
            let test = format!("(uid={})", ldap3::ldap_escape(uid));
            let search = Search {
                filter: search::both(&self.users.filter, &test),
                page_size: 0,
                ..self.users.clone()
            };
            let assembler = self.assembler.clone();
            let on_entry = |entry: Entry| lock(&assembler).user(&entry);
            let limits = self.limits;
            let end = search::run(&mut self.first.ldap, &search, limits, on_entry, |_| {}).await;
            if let Some(fault) = end.fault {
                verdict.users = Some(fault.message);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads these groups again, or all of them where there are many or one is gone. The inner
    /// error is why that did not bring all.
    async fn groups_again(
        &mut self,
        groups: Vec<String>,
    ) -> Result<Result<(), Fault>, SourceError> {
        if groups.len() <= SINGLE_GROUPS {
            let mut all_there = true;
            for dn in groups {
                match self.one(&dn, false).await {
                    Ok(true) => {}
                    Ok(false) => {
                        all_there = false;
                        break;
                    }
                    Err(fault) => return Ok(Err(fault)),
                }
            }
            if all_there {
                return Ok(Ok(()));
            }
        }
        lock(&self.assembler).forget_groups();
        let end = self.spawn(self.first.clone(), false).await;
        let end = end.map_err(|_| misunderstood("groups"))?;
        Ok(end.fault.map_or(Ok(()), Err))
    }

    /// Looks for a member: as a user, then as a group.
    async fn look_for(&mut self, dn: &str) -> Result<(), Fault> {
        let (user, group) = {
            let assembler = lock(&self.assembler);
            let norm = crate::directory::dn::normalize(dn).unwrap_or_default();
            (assembler.shape.may_be_user(&norm), assembler.shape.may_be_group(&norm))
        };
        if user && self.one(dn, true).await? {
            return Ok(());
        }
        if group {
            self.one(dn, false).await?;
        }
        Ok(())
    }

    /// Asks what it takes to understand groups that show no members, or name them by a URL.
    async fn understand_groups(&mut self) {
        if lock(&self.assembler).wants_schema() {
            let schema = known::object_classes(&self.first, self.limits).await;
            lock(&self.assembler).schema_is(schema);
        }
        let Some(groups) = self.groups.clone() else { return };
        if !lock(&self.assembler).may_be_expanded() {
            return;
        }
        let filter = search::both(&groups.filter, &format!("({}=*)", lists::EXPANDED));
        let search = Search { filter, page_size: 0, as_stored: true, ..groups };
        let assembler = self.assembler.clone();
        let on_entry = |entry: Entry| lock(&assembler).stored(&entry);
        // What does not come tells nothing: then a URL stays what is not read.
        let limits = self.limits;
        let end = search::run(&mut self.first.ldap, &search, limits, on_entry, |_| {}).await;
        if let Some(fault) = end.fault {
            tracing::debug!(source = %self.name, why = %fault.message, "groups as they are stored");
        }
    }

    /// Reads which SIDs members of other domains bear, where there are any.
    async fn read_principals(&mut self) {
        let dns = lock(&self.assembler).foreign_dns();
        let how = (self.users.dialect, self.users.page_size);
        let principals = Principals::read(&self.first, self.limits, how, &dns).await;
        lock(&self.assembler).principals(principals);
    }

    /// Reads the entry `dn` by the filter for users or groups and takes it in. Whether it is there.
    async fn one(&mut self, dn: &str, users: bool) -> Result<bool, Fault> {
        let kind = if users { Some(&self.users) } else { self.groups.as_ref() };
        let Some(kind) = kind.cloned() else { return Ok(false) };
        let search = Search { base: dn.to_owned(), scope: Scope::Base, page_size: 0, ..kind };
        let mut entries = Vec::new();
        let on_entry = |entry| entries.push(entry);
        let end = ranges::run(&mut self.first.ldap, &search, self.limits, on_entry, |_| {}).await;
        match end.fault {
            // 32: no such entry. 34: a name that the server cannot make sense of names nobody.
            Some(fault) if matches!(fault.code, Some(32 | 34)) => return Ok(false),
            Some(fault) => return Err(fault),
            None => {}
        }
        let mut assembler = lock(&self.assembler);
        for entry in &entries {
            if users { assembler.user(entry) } else { assembler.group(entry) }
        }
        Ok(!entries.is_empty())
    }
}
