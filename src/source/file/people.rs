//! The users of a realm export, and what they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::export::{self, Fault, User};
use super::graph::{Fit, Graph};
use crate::source::{Enabled, Kind, NewContainer, NewUser, OnProgress, Progress, ReadingBuilder};

/// How many names a warning shows.
const SHOWN: usize = 3;

/// Users between two reports of progress.
const STEP: u64 = 4096;

/// Collects users from one file or several.
pub(super) struct People<'a> {
    /// What is read so far.
    pub(super) builder: ReadingBuilder,
    graph: Graph<'a>,
    /// Wanted attributes: name, value, container.
    attributes: Vec<(&'a str, &'a str, u32)>,
    take_service_accounts: bool,
    has_groups: bool,
    source: &'a str,
    progress: &'a OnProgress,
    persons: u64,
    service_accounts: u64,
    in_anything: bool,
    doubtful: BTreeMap<(String, usize), Tally>,
}

/// How many users something concerns, and the first few of their names.
#[derive(Default)]
struct Tally {
    count: u64,
    names: BTreeSet<String>,
}

impl<'a> People<'a> {
    /// Goes on with `builder`, which `graph` has filled. `has_groups`: the export says what groups
    /// there are.
    pub(super) fn new(
        mut builder: ReadingBuilder,
        graph: Graph<'a>,
        attributes: &'a [(String, String)],
        take_service_accounts: bool,
        has_groups: bool,
        source: &'a str,
        progress: &'a OnProgress,
    ) -> Self {
        let attributes = attributes
            .iter()
            .map(|(name, value)| {
                let identity = format!("{name}={value}");
                let container = builder.container(&NewContainer {
                    kind: Kind::Attribute,
                    key: &identity,
                    name: value,
                    identity: &identity,
                    norm: &identity,
                });
                (name.as_str(), value.as_str(), container)
            })
            .collect();
        People {
            builder,
            graph,
            attributes,
            take_service_accounts,
            has_groups,
            source,
            progress,
            persons: 0,
            service_accounts: 0,
            in_anything: false,
            doubtful: BTreeMap::new(),
        }
    }

    /// Reads the `users` of one file.
    ///
    /// # Errors
    /// A user without a name, one whose id is another's, a value of the wrong shape: with its
    /// place.
    pub(super) fn read(&mut self, text: &str) -> Result<(), Fault> {
        export::each_user(text, &mut |user| self.take(&user)).map(|_| ())
    }

    /// How many people there are, service accounts aside.
    pub(super) fn persons(&self) -> u64 {
        self.persons
    }

    /// How many service accounts there are, taken or not.
    pub(super) fn service_accounts(&self) -> u64 {
        self.service_accounts
    }

    /// Whether some user lists a group or a role.
    pub(super) fn in_anything(&self) -> bool {
        self.in_anything
    }

    /// The builder, with the warnings that the users gave rise to.
    pub(super) fn finish(mut self) -> ReadingBuilder {
        self.graph.unlisted(&mut self.builder);
        for ((path, fits), tally) in &self.doubtful {
            self.builder.warn(match fits {
                0 => format!("group path `{path}` fits no group: {tally} not counted in it"),
                fits => format!(
                    "group path `{path}` fits {fits} groups, as `/` in a group's name is not \
                     escaped: {tally} not counted in any of them"
                ),
            });
        }
        self.builder
    }

    fn take(&mut self, user: &User) -> Result<(), String> {
        if user.username.is_empty() {
            return Err(" has an empty `username`".to_owned());
        }
        let lists = |names: &Option<Vec<String>>| names.as_ref().is_some_and(|n| !n.is_empty());
        let client_roles = user.client_roles.as_ref();
        if lists(&user.groups) && !self.has_groups {
            return Err(" is in groups, but the export has no `groups`: export the whole realm \
                        with `kc.sh export`"
                .to_owned());
        }
        self.in_anything |= lists(&user.groups)
            || lists(&user.realm_roles)
            || client_roles.is_some_and(|clients| !clients.is_empty());
        if user.service_account_client_id.is_some() {
            self.service_accounts += 1;
            if !self.take_service_accounts {
                return Ok(());
            }
        } else {
            self.persons += 1;
        }
        let number = self.add(user)?;
        for path in user.groups.iter().flatten() {
            match self.graph.group(path) {
                Fit::One(group) => self.builder.member(group, number),
                // Which group is meant is unknown, and a guess could let someone in.
                Fit::Several(groups) => self.doubt(path, groups, &user.username),
                Fit::None => self.doubt(path, 0, &user.username),
            }
        }
        let realm_roles = user.realm_roles.as_deref();
        for role in self.graph.held(realm_roles, client_roles, &mut self.builder) {
            self.builder.member(role, number);
        }
        for (name, values) in user.attributes.iter().flatten() {
            for (wanted, value, container) in &self.attributes {
                if wanted == name && values.0.iter().any(|one| one == value) {
                    self.builder.member(*container, number);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, user: &User) -> Result<u32, String> {
        let ext = match user.id.as_deref() {
            Some("") => return Err(" has an empty `id`".to_owned()),
            Some(id) => id,
            None => &user.username,
        };
        if self.builder.find_user(ext).is_some() {
            return Err(match user.id {
                Some(_) => format!(" has the `id` of a user before it: `{ext}`"),
                None => format!(
                    " has no `id`, and its username `{ext}` identifies a user before it already"
                ),
            });
        }
        let number = self.builder.user(&NewUser {
            ext,
            username: &user.username,
            email: user.email.as_deref().unwrap_or_default(),
            email_verified: user.email_verified == Some(true),
            enabled: if user.enabled { Enabled::Yes } else { Enabled::No },
            federation: user.federation_link.as_deref().unwrap_or_default(),
        });
        let done = self.builder.counts().0 as u64;
        if done.is_multiple_of(STEP) {
            let source = self.source.to_owned();
            (self.progress)(Progress { source, what: "users", done, total: None });
        }
        Ok(number)
    }

    fn doubt(&mut self, path: &str, groups: usize, username: &str) {
        let tally = self.doubtful.entry((path.to_owned(), groups)).or_default();
        tally.count += 1;
        // The smallest names, not the first ones: the order of the file must not matter.
        tally.names.insert(username.to_owned());
        if tally.names.len() > SHOWN {
            tally.names.pop_last();
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
