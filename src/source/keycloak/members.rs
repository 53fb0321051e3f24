//! Who is in which group or organization, and who holds which role: one call a list (or a page of a long one), for
//! the lists that matter.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::api::{GroupCount, RawMember, each, json, members};
use super::asker::Asker;
use super::client::Client;
use super::consistency::{Empty, Fed, Health};
use super::fault::{CallError, management_client};
use super::federation::Federation;
use super::graph::Graph;
use super::groups::Groups;
use super::pages::{self, Page, Span, TRIES};
use super::read::{Attempt, FailureBudget, ProgressReporter, fan_out};
use super::roles::Roles;
use super::users::People;
use crate::directory::{Completeness, DirUserIdx, RefIdx, SnapshotBuilder};
use crate::model::index::Place as _;
use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// What a list is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ListOf {
    Group,
    Role,
    Organization,
    OrganizationGroup,
}

/// A table of the server's database that no count goes with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    /// Who is in which group.
    Members,
    /// Who holds which role.
    Holders,
}

impl ListOf {
    /// Where it comes from; none for a list that is proved by counting.
    pub(super) fn table(self) -> Option<Table> {
        match self {
            ListOf::Group | ListOf::OrganizationGroup => Some(Table::Members),
            ListOf::Role => Some(Table::Holders),
            ListOf::Organization => None,
        }
    }

    fn is_of_organizations(self) -> bool {
        matches!(self, ListOf::Organization | ListOf::OrganizationGroup)
    }
}

/// What one list said.
#[derive(Debug)]
enum Said {
    /// Not asked: nobody counts as being in it.
    Nobody,
    /// Not asked: it leads to nothing that a rule can name.
    Nothing,
    /// These, by builder number, and so many who are not among the users.
    Members { users: Vec<DirUserIdx>, service_accounts: usize, not_listed: usize },
    /// Nothing that can be believed.
    Unknown(String),
}

impl Said {
    fn is_empty(&self) -> bool {
        self.rows() == Some(0)
    }

    fn rows(&self) -> Option<usize> {
        match self {
            Said::Members { users, service_accounts, not_listed } => {
                Some(users.len() + service_accounts + not_listed)
            }
            _ => None,
        }
    }
}

/// One list.
#[derive(Debug)]
struct List {
    reference: RefIdx,
    path: Vec<String>,
    of: ListOf,
    identity: String,
    said: Said,
    /// Came empty, and nothing showed that the database could be read at that time.
    doubted: bool,
}

impl List {
    /// Whether it came empty and nothing counted that.
    fn is_bare(&self) -> bool {
        self.of.table().is_some() && self.said.is_empty()
    }
}

/// All lists of a read.
pub(super) struct Lists(Vec<List>);

/// A list that may be asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub reference: RefIdx,
    /// Where its people are listed.
    pub path: Vec<String>,
    pub of: ListOf,
    /// For people.
    pub identity: String,
    /// It leads to something that a rule can name.
    pub matters: bool,
    /// Nobody counts as being in it, whoever is listed.
    pub nobody: bool,
}

/// The lists of all refs; those that do not matter are not going to be asked.
pub(super) fn wanted(
    graph: &Graph,
    roles: &Roles,
    groups: &Groups,
    of_organizations: &[Wanted],
) -> Lists {
    let mut lists = Vec::new();
    let mut add = |reference, matters: bool, of, identity, path: Vec<&str>| {
        let path = path.into_iter().map(str::to_owned).collect();
        lists.push(Wanted { reference, path, of, identity, matters, nobody: false });
    };
    for (group, reference) in groups.rows.iter().zip(&graph.groups) {
        if let Some((reference, matters)) = reference {
            let path = vec!["groups", &group.id, "members"];
            add(*reference, *matters, ListOf::Group, group.identity(), path);
        }
    }
    for (role, reference) in roles.rows.iter().zip(&graph.roles) {
        if let Some((reference, matters)) = reference {
            let path = roles.path(role, "users");
            add(*reference, *matters, ListOf::Role, roles.identity(role), path);
        }
    }
    let lists = lists.into_iter().chain(of_organizations.iter().cloned());
    Lists(lists.map(List::new).collect())
}

impl List {
    fn new(wanted: Wanted) -> Self {
        let Wanted { reference, path, of, identity, matters, nobody } = wanted;
        let said = match (matters, nobody) {
            (false, _) => Said::Nothing,
            (true, true) => Said::Nobody,
            (true, false) => Said::Unknown(String::new()),
        };
        List { reference, path, of, identity, said, doubted: false }
    }
}

/// Whether the table can be read now, so that an empty list of that kind may be believed. `anybody` is
/// somebody's id.
pub(super) async fn readable(
    asker: Asker<'_>,
    table: Table,
    roles: &Roles,
    anybody: &str,
) -> Result<bool, CallError> {
    let rows = match table {
        Table::Members => somebodys_groups(asker.client, asker.budget, anybody).await?,
        Table::Holders => some_holder(asker.client, asker.budget, roles).await?,
    };
    Ok(Empty::after(rows) == Empty::Believed)
}

/// The rows of one page.
#[derive(Default)]
struct Rows {
    users: Vec<DirUserIdx>,
    service_accounts: usize,
    not_listed: usize,
}

async fn ask(asker: Asker<'_>, builder: &SnapshotBuilder, list: &List) -> Result<Said, CallError> {
    // Where there is an organization no list is cheapest in one answer, and these are the dearest.
    let paging = match list.of.is_of_organizations() {
        true => asker.paging.in_pages(),
        false => asker.paging,
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let before = counted(asker, list).await?;
        let pass =
            pages::read(paging, pages::USUAL, |span| Box::pin(page(asker, builder, list, span)));
        let pass = match pass.await? {
            Attempt::Unknown(reason) => return Ok(Said::Unknown(reason)),
            Attempt::Got(pass) => pass,
        };
        let after = counted(asker, list).await?;
        let (before, after) = match (before, after) {
            (Attempt::Got(before), Attempt::Got(after)) => (before, after),
            (Attempt::Unknown(why), _) | (_, Attempt::Unknown(why)) => {
                return Ok(Said::Unknown(why));
            }
        };
        let slipped = pass.slipped;
        let said = joined(pass.pages);
        let proved = before == after && before.is_none_or(|count| Some(count) == said.rows());
        if !slipped && proved {
            return Ok(said);
        }
        if tries == TRIES {
            return Ok(Said::Unknown(match (before, said.rows(), after) {
                (Some(before), Some(rows), Some(after)) if !proved => {
                    format!("{before} were counted, {rows} listed, then {after} counted")
                }
                _ => "people came or went whenever its pages were read".to_owned(),
            }));
        }
    }
}

/// How many people are in it, where the server counts them.
async fn counted(asker: Asker<'_>, list: &List) -> Result<Attempt<Option<usize>>, CallError> {
    if list.of != ListOf::Organization {
        return Ok(Attempt::Got(None));
    }
    let path = list.path.iter().map(String::as_str).chain(["count"]);
    let path: Vec<&str> = path.collect();
    let count = |body: &[u8]| json::<usize>(body).map(Some);
    asker.budget.get(asker.client, &path, &[], count).await
}

async fn page(
    asker: Asker<'_>,
    builder: &SnapshotBuilder,
    list: &List,
    span: Span,
) -> Result<Attempt<Page<Rows>>, CallError> {
    let path: Vec<&str> = list.path.iter().map(String::as_str).collect();
    let mut query = vec![("briefRepresentation", "true")];
    query.extend(span.query.iter().map(|(key, value)| (*key, value.as_str())));
    let parse = |body: &[u8]| {
        let mut rows = Rows::default();
        let Page { rows: count, first, last, .. } =
            members(body, span.repeats, |row| match builder.find_user(&row.id) {
                Some(user) => rows.users.push(user),
                None if row.username.starts_with("service-account-") => rows.service_accounts += 1,
                None => rows.not_listed += 1,
            })?;
        Ok(Page { what: rows, rows: count, first, last })
    };
    asker.budget.get(asker.client, &path, &query, parse).await
}

fn joined(pages: Vec<Rows>) -> Said {
    let mut all = Rows::default();
    for page in pages {
        all.users.extend(page.users);
        all.service_accounts += page.service_accounts;
        all.not_listed += page.not_listed;
    }
    let Rows { mut users, service_accounts, not_listed } = all;
    // A person may come twice, where a membership is both imported and live.
    users.sort_unstable();
    users.dedup();
    users.shrink_to_fit();
    Said::Members { users, service_accounts, not_listed }
}

/// Asks for the lists that matter, then once more for those that came empty: a failing statement
/// gives `200 []` (keycloak issue 51268), and an empty list is the one that takes most away.
///
/// Between the two rounds and at the end ([`doubt_empties`]) a list that is known not to be empty
/// has to show that its table can be read. So a trouble that spans both rounds is seen even where
/// it is over in the end, and one that is over between them has to come back in time to be
/// believed.
pub(super) async fn read(
    asker: Asker<'_>,
    builder: &SnapshotBuilder,
    roles: &Roles,
    people: &People,
    lists: &mut Lists,
    progress: &ProgressReporter<'_>,
) -> Result<(), CallError> {
    round(asker, builder, lists, progress, false).await?;
    doubt_empties(asker, builder, roles, people, lists).await?;
    round(asker, builder, lists, progress, true).await
}

async fn round(
    asker: Asker<'_>,
    builder: &SnapshotBuilder,
    lists: &mut Lists,
    progress: &ProgressReporter<'_>,
    empties_only: bool,
) -> Result<(), CallError> {
    let open: Vec<usize> = (0..lists.0.len())
        .filter(|place| match lists.0.get(*place).map(|list| &list.said) {
            Some(Said::Unknown(_)) => !empties_only,
            Some(_) => empties_only && lists.0.get(*place).is_some_and(List::is_bare),
            None => false,
        })
        .collect();
    let total = open.len();
    let what = if empties_only { "empty lists, once more" } else { "members of groups and roles" };
    let (rows, open, done) = (&lists.0, &open, &AtomicUsize::new(0));
    let answers = fan_out(total, |n| {
        Box::pin(async move {
            let Some((place, list)) =
                open.get(n).and_then(|place| Some((*place, rows.get(*place)?)))
            else {
                return Ok(None);
            };
            let said = ask(asker, builder, list).await?;
            progress.tell(what, done.fetch_add(1, Ordering::Relaxed) + 1, Some(total));
            Ok(Some((place, said)))
        })
    })
    .await?;
    for (place, said) in answers {
        if let Some(list) = lists.0.get_mut(place) {
            list.said = said;
            list.doubted &= list.is_bare();
        }
    }
    Ok(())
}

/// Doubts the lists that came empty, unless a list of the same table that is known not to be empty
/// can be read now. A doubt stays until the list comes with rows.
pub(super) async fn doubt_empties(
    asker: Asker<'_>,
    builder: &SnapshotBuilder,
    roles: &Roles,
    people: &People,
    lists: &mut Lists,
) -> Result<(), CallError> {
    // Without users there is nobody to be in a list. Their own absence was proved by counting.
    let Some(anybody) = &people.anybody else { return Ok(()) };
    let Asker { client, budget, .. } = asker;
    for table in [Table::Members, Table::Holders] {
        let of_kind = || lists.0.iter().filter(|list| list.of.table() == Some(table));
        if !of_kind().any(|list| list.said.is_empty() && !list.doubted) {
            continue;
        }
        let shortest = of_kind()
            .filter(|list| list.said.rows().is_some_and(|rows| rows > 0))
            .min_by_key(|list| (list.said.rows(), list.reference));
        let witness = match shortest {
            Some(list) => ask(asker, builder, list).await?.rows(),
            None => match table {
                Table::Members => somebodys_groups(client, budget, anybody).await?,
                Table::Holders => some_holder(client, budget, roles).await?,
            },
        };
        let empty = Empty::after(witness);
        let bare = |it: &&mut List| it.of.table() == Some(table) && it.is_bare();
        for list in lists.0.iter_mut().filter(bare) {
            list.doubted |= empty == Empty::Doubted;
        }
    }
    Ok(())
}

/// How many of someone's groups bear a name: a count that no cache answers. A failing statement
/// makes it 500, where a list would be `200 []`. Any number shows that the table can be read.
async fn somebodys_groups(
    client: &Client,
    budget: &FailureBudget,
    anybody: &str,
) -> Result<Option<usize>, CallError> {
    let path = ["users", anybody, "groups", "count"];
    let count = |body: &[u8]| json::<GroupCount>(body);
    Ok(match budget.get(client, &path, &[("search", "a")], count).await? {
        Attempt::Got(_) => Some(1),
        Attempt::Unknown(_) => None,
    })
}

/// One holder of a role that somebody is known to hold: the default role, which normally everyone holds, or
/// a right of this reader's own, where a realm was made from a file that gives the default role to nobody.
async fn some_holder(
    client: &Client,
    budget: &FailureBudget,
    roles: &Roles,
) -> Result<Option<usize>, CallError> {
    let default = roles.of_realm(&format!("default-roles-{}", client.realm().to_lowercase()));
    let rights = ["view-users", "realm-admin"];
    let right = |name| roles.of_client(management_client(client.realm()), name);
    let held = default.into_iter().chain(rights.into_iter().filter_map(right));
    let query = [("briefRepresentation", "true"), ("first", "0"), ("max", "1")];
    let count = |body: &[u8]| {
        let mut count = 0;
        each(body, |_: RawMember<'_>| count += 1)?;
        Ok(count)
    };
    for role in held.filter_map(|place| roles.rows.get(place)) {
        match budget.get(client, &roles.path(role, "users"), &query, count).await? {
            Attempt::Got(0) => {}
            Attempt::Got(count) => return Ok(Some(count)),
            Attempt::Unknown(_) => return Ok(None),
        }
    }
    Ok(None)
}

impl Lists {
    /// The groups that a federation feeds, as far as they were read.
    pub(super) fn fed_by(&self, federation: &Federation, people: &People) -> Fed {
        let mut fed = Fed::default();
        let fed_by = |it: &&List| it.of == ListOf::Group && federation.feeds_group(&it.identity);
        for list in self.0.iter().filter(fed_by) {
            let Said::Members { users, .. } = &list.said else { continue };
            fed.asked += 1;
            let link = |user: &DirUserIdx| people.links.get(user.place()).map(|link| &**link);
            fed.peopled += usize::from(users.iter().any(|it| link(it) == Some(&federation.id)));
        }
        fed
    }

    /// Nothing is known of who is in organizations and their groups, for this reason.
    pub(super) fn lost(&mut self, why: &str) {
        for list in self.0.iter_mut().filter(|list| list.of.is_of_organizations()) {
            if !matches!(list.said, Said::Nothing) {
                list.said = Said::Unknown(why.to_owned());
            }
        }
    }

    /// Puts the lists into the snapshot.
    pub(super) fn fill(
        self,
        builder: &mut SnapshotBuilder,
        federations: &[Federation],
        users_complete: bool,
    ) {
        let mut strange = 0;
        for list in self.0 {
            let mut completeness = match &list.said {
                Said::Nobody => Completeness::Complete,
                Said::Nothing => Completeness::NotAsked,
                Said::Unknown(reason) => {
                    Completeness::Partial(format!("members of `{}`: {reason}", list.identity))
                }
                Said::Members { .. } => Completeness::Complete,
            };
            if let Said::Members { users, service_accounts, not_listed } = &list.said {
                users.iter().for_each(|user| builder.member(list.reference, *user));
                // Someone who is in the list and not among the users: made or made anew while
                // this read ran, or missed by it. Either way this list and the users do not
                // belong fan_out, so it takes nothing away. Service accounts are left out on
                // purpose, as far as the users are known to be all.
                let unknown =
                    if users_complete { *not_listed } else { not_listed + service_accounts };
                if unknown > 0 {
                    strange += unknown;
                    completeness = Completeness::Partial(format!(
                        "`{}` lists {unknown} who are not among the users that were read",
                        list.identity
                    ));
                }
                if list.doubted {
                    completeness = Empty::Doubted.completeness(&list.identity);
                }
                for federation in federations {
                    let fed = match list.of {
                        ListOf::Group => federation.feeds_group(&list.identity),
                        ListOf::Role => federation.feeds_roles(),
                        // Those are in Keycloak's database alone.
                        ListOf::Organization | ListOf::OrganizationGroup => false,
                    };
                    if list.of.is_of_organizations() && !federation.imports {
                        completeness = Completeness::Partial(format!(
                            "federation `{}` has `Import users` off: its people are in no list of an organization",
                            federation.name
                        ));
                    }
                    if let (true, Health::Down(reason)) = (fed, &federation.health) {
                        completeness = Completeness::Partial(reason.clone());
                    }
                }
            }
            builder.members_are(list.reference, completeness);
        }
        if strange > 0 {
            builder.tell(Diagnostic::warning(DiagnosticCode::MembershipsOfStrangers, Subject::None, format!(
                "{strange} memberships are of people who are not among the users that were read; the next read tells"
            )));
        }
    }
}
