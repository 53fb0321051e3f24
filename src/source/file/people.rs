//! The users of a realm export, and what they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::document::{self, Fault};
use super::graph::{Fit, Graph};
use super::odd::{At, Oddities, kind, text};
use crate::directory::{
    Completeness, DirUserIdx, Enabled, Kind, NewRef, NewUser, RefIdx, SnapshotBuilder,
};
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::source::{OnProgress, Progress};

/// How many names a warning shows.
const SHOWN: usize = 3;

/// Users between two reports of progress.
const STEP: u64 = 4096;

/// Collects users from one file or several.
pub(super) struct People<'a> {
    /// What is read so far.
    pub(super) builder: SnapshotBuilder,
    /// What was odd so far.
    pub(super) odd: Oddities,
    graph: Graph<'a>,
    /// Wanted attributes: name, value, reference.
    attributes: Vec<(&'a str, &'a str, RefIdx)>,
    take_service_accounts: bool,
    has_groups: bool,
    source: &'a str,
    progress: &'a OnProgress,
    persons: u64,
    service_accounts: u64,
    /// Service accounts that are not taken, by name.
    left_out: BTreeSet<String>,
    in_anything: bool,
    doubtful: BTreeMap<(String, Vec<RefIdx>), Tally>,
    in_groups: Option<Tally>,
}

/// How many users something concerns, and the first few of their names.
#[derive(Default)]
struct Tally {
    count: u64,
    names: BTreeSet<String>,
}

/// What there is to tell of a path that fits no group, or several.
fn unclear(path: &str, message: String) -> Diagnostic {
    let subject = Subject::reference(Kind::Group, path);
    Diagnostic::warning(DiagnosticCode::GroupPathUnclear, subject, message)
}

impl<'a> People<'a> {
    /// Goes on with `builder`, which `graph` has filled. `has_groups`: the export says what groups
    /// there are.
    #[expect(clippy::too_many_arguments, reason = "each is of another kind, and they are set once")]
    pub(super) fn new(
        mut builder: SnapshotBuilder,
        odd: Oddities,
        graph: Graph<'a>,
        attributes: &'a [(String, String)],
        take_service_accounts: bool,
        has_groups: bool,
        source: &'a str,
        progress: &'a OnProgress,
    ) -> Self {
        let attributes = attributes
            .iter()
            .filter_map(|(name, value)| {
                let identity = format!("{name}={value}");
                let reference = builder.reference(&NewRef {
                    kind: Kind::Attribute,
                    key: &identity,
                    name: value,
                    identity: &identity,
                    norm: &identity,
                });
                Some((name.as_str(), value.as_str(), reference?))
            })
            .collect();
        People {
            builder,
            odd,
            graph,
            attributes,
            take_service_accounts,
            has_groups,
            source,
            progress,
            persons: 0,
            service_accounts: 0,
            left_out: BTreeSet::new(),
            in_anything: false,
            doubtful: BTreeMap::new(),
            in_groups: None,
        }
    }

    /// Reads the `users` of one file.
    ///
    /// # Errors
    /// The text is no realm.
    pub(super) fn read(&mut self, text: &str) -> Result<(), Fault> {
        document::each_user(text, &mut |index, user| self.take(index, user))
    }

    /// How many people there are, service accounts aside.
    pub(super) fn persons(&self) -> u64 {
        self.persons
    }

    /// How many service accounts there are, taken or not.
    pub(super) fn service_accounts(&self) -> u64 {
        self.service_accounts
    }

    /// Whether somebody of this name is there and left out, since service accounts do not count.
    pub(super) fn leaves_out(&self, username: &str) -> bool {
        self.left_out.contains(username)
    }

    /// Whether some user lists a group or a role.
    pub(super) fn in_anything(&self) -> bool {
        self.in_anything
    }

    /// The builder, with the warnings that the users gave rise to and what they leave in doubt.
    pub(super) fn finish(mut self) -> SnapshotBuilder {
        self.graph.unlisted(&mut self.builder);
        for ((path, groups), tally) in &self.doubtful {
            if groups.is_empty() {
                // They are in a group that is not listed: so the list is not whole.
                let text = format!("group path `{path}` fits no group: {tally} not counted in it");
                self.odd.doubts.groups.get_or_insert_with(|| text.clone());
                self.builder.tell(unclear(path, text));
                continue;
            }
            let count = groups.len();
            let text = format!(
                "group path `{path}` fits {count} groups, as `/` in a group's name is not \
                 escaped: {tally} not counted in any of them"
            );
            // Somebody is in one of them: whoever was known to be stays.
            for group in groups {
                self.builder.members_are(*group, Completeness::Partial(text.clone()));
            }
            self.builder.tell(unclear(path, text));
        }
        if let Some(tally) = self.in_groups {
            let text = format!("{tally} in groups, but the export has no `groups`");
            self.odd.doubts.groups.get_or_insert(text);
        }
        let doubts = &self.odd.doubts;
        let partial = |doubt: &str| Completeness::Partial(doubt.to_owned());
        if let Some(doubt) = &doubts.in_groups {
            self.builder.all_members_are(Kind::Group, &partial(doubt));
        }
        if let Some(doubt) = &doubts.in_roles {
            self.builder.all_members_are(Kind::RealmRole, &partial(doubt));
            self.builder.all_members_are(Kind::ClientRole, &partial(doubt));
        }
        for (name, _, reference) in &self.attributes {
            let doubt = doubts.attributes.get(&None);
            if let Some(doubt) = doubts.attributes.get(&Some((*name).to_owned())).or(doubt) {
                self.builder.members_are(*reference, partial(doubt));
            }
        }
        if let Some(doubt) = &doubts.users {
            self.builder.users_are(partial(doubt));
        }
        if let Some(doubt) = &doubts.groups {
            self.builder.groups_are(partial(doubt));
        }
        // A role that somebody holds and nothing lists is known from them alone.
        if let Some(doubt) = doubts.roles.as_ref().or(doubts.in_roles.as_ref()) {
            self.builder.roles_are(partial(doubt));
        }
        for told in self.odd.diagnostics() {
            self.builder.tell(told);
        }
        self.builder
    }

    fn take(&mut self, index: usize, value: &Value) {
        let users = At::top("users");
        let at = users.item(index);
        let Value::Object(user) = value else {
            let doubt = self.odd.note(at, format!("is {}, not a user: left out", kind(value)));
            if !value.is_null() {
                self.odd.doubts.somebody(&doubt);
            }
            return;
        };
        let username = match self.odd.text(user, "username", at) {
            Ok(Some(name)) if !name.is_empty() => name,
            _ => {
                let doubt = self.odd.note(at, "has no `username`: left out");
                self.odd.doubts.somebody(&doubt);
                return;
            }
        };
        let account = self.odd.text(user, "serviceAccountClientId", at);
        // Whatever stands there, it is no person's.
        let service_account = account.map_or(true, |id| id.is_some_and(|id| !id.is_empty()));
        let groups = self.odd.names(user.get("groups"), at.key("groups"));
        let realm_roles = self.odd.names(user.get("realmRoles"), at.key("realmRoles"));
        let (client_roles, key) = self.odd.renamed(user, "clientRoles", "applicationRoles", at);
        let client_roles = self.odd.by_client(client_roles, at.key(key));
        self.in_anything |= !groups.list.is_empty()
            || !realm_roles.list.is_empty()
            || !client_roles.list.is_empty();
        if service_account {
            self.service_accounts += 1;
            if !self.take_service_accounts {
                self.left_out.insert(username);
                return;
            }
        } else {
            self.persons += 1;
        }
        if let Some(doubt) = &groups.doubt {
            self.odd.doubts.in_groups.get_or_insert_with(|| doubt.clone());
        }
        if let Some(doubt) = realm_roles.doubt.as_ref().or(client_roles.doubt.as_ref()) {
            self.odd.doubts.in_roles.get_or_insert_with(|| doubt.clone());
        }
        let Some(number) = self.add(user, &username, at) else { return };
        for path in &groups.list {
            match self.graph.group(path) {
                Fit::One(group) => self.builder.member(group, number),
                // Which group is meant is unknown, and a guess could let someone in.
                Fit::Several(groups) => self.doubt(path, groups, &username),
                Fit::None if self.has_groups => self.doubt(path, Vec::new(), &username),
                Fit::None => {}
            }
        }
        if !groups.list.is_empty() && !self.has_groups {
            self.in_groups.get_or_insert_default().add(&username);
        }
        for role in self.graph.held(&realm_roles, &client_roles, &mut self.builder) {
            self.builder.member(role, number);
        }
        self.attributes_of(user, number, at.key("attributes"));
    }

    fn attributes_of(&mut self, user: &Map<String, Value>, number: DirUserIdx, at: At<'_>) {
        let all = match user.get("attributes") {
            None | Some(Value::Null) => return,
            Some(Value::Object(all)) => all,
            Some(other) => {
                let doubt = self.odd.note(at, format!("is {}, not an object", kind(other)));
                self.odd.doubts.attributes.entry(None).or_insert(doubt);
                return;
            }
        };
        for (name, value) in all {
            let at = at.name(name);
            // Keycloak writes a list; its import takes a lone value as well.
            let (values, lone) = match value {
                Value::Array(values) => (values.as_slice(), false),
                Value::Null => continue,
                one => (std::slice::from_ref(one), true),
            };
            for (index, value) in values.iter().enumerate() {
                let Some(has) = text(value) else {
                    let at = if lone { at } else { at.item(index) };
                    let doubt = self.odd.note(at, format!("is {}: left out", kind(value)));
                    if !value.is_null() {
                        self.odd.doubts.attributes.entry(Some(name.clone())).or_insert(doubt);
                    }
                    continue;
                };
                for (wanted, value, reference) in &self.attributes {
                    if wanted == name && has == *value {
                        self.builder.member(*reference, number);
                    }
                }
            }
        }
    }

    /// Adds the user; none where who it is cannot be told.
    fn add(&mut self, user: &Map<String, Value>, username: &str, at: At<'_>) -> Option<DirUserIdx> {
        let id = match self.odd.text(user, "id", at) {
            Ok(Some(id)) if id.is_empty() => Err("has an empty `id`: left out"),
            Ok(id) => Ok(id),
            Err(_) => Err("has no readable `id`: left out"),
        };
        let unique = |id: Option<String>| {
            let ext = id.as_deref().unwrap_or(username);
            match (self.builder.find_user(ext), &id) {
                (None, _) => Ok(ext.to_owned()),
                (Some(_), Some(_)) => Err("has the `id` of a user before it: left out"),
                (Some(_), None) => Err("has no `id`, and the name of a user before it: left out"),
            }
        };
        let ext = match id.and_then(unique) {
            Ok(ext) => ext,
            Err(what) => {
                // Who it is in truth may be known from before: nobody is taken for gone.
                let doubt = self.odd.note_of(username, at, what);
                self.odd.doubts.somebody(&doubt);
                return None;
            }
        };
        let enabled = match self.odd.flag(user, "enabled", at) {
            Ok(Some(true)) => Enabled::Yes,
            Ok(Some(false)) => Enabled::No,
            Ok(None) => {
                let what = "is missing: disabled, as for Keycloak's import";
                self.odd.note_of(username, at.key("enabled"), what);
                Enabled::No
            }
            Err(_) => Enabled::Unknown,
        };
        let odd = &mut self.odd;
        let mut text = |key: &str| odd.text(user, key, at).ok().flatten().unwrap_or_default();
        let (email, federation) = (text("email"), text("federationLink"));
        let verified = self.odd.flag(user, "emailVerified", at).ok().flatten();
        let number = self.builder.user(&NewUser {
            ext: &ext,
            username,
            email: &email,
            email_verified: verified == Some(true),
            enabled,
            federation: &federation,
        });
        let done = self.builder.counts().0 as u64;
        if done.is_multiple_of(STEP) {
            let source = self.source.to_owned();
            (self.progress)(Progress { source, what: "users", done, total: None });
        }
        number
    }

    fn doubt(&mut self, path: &str, groups: Vec<RefIdx>, username: &str) {
        self.doubtful.entry((path.to_owned(), groups)).or_default().add(username);
    }
}

impl Tally {
    fn add(&mut self, username: &str) {
        self.count += 1;
        // The smallest names, not the first ones: the order of the file must not matter.
        self.names.insert(username.to_owned());
        if self.names.len() > SHOWN {
            self.names.pop_last();
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.names.iter().enumerate().fold(String::new(), |mut list, (n, name)| {
            let _ = write!(list, "{}`{name}`", if n == 0 { "" } else { ", " });
            list
        });
        let more = if self.count > self.names.len() as u64 { ", …" } else { "" };
        match self.count {
            1 => write!(f, "1 user ({names}) is"),
            count => write!(f, "{count} users ({names}{more}) are"),
        }
    }
}
