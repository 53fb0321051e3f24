//! A small source and its rules, for the tests of each step.

use std::collections::BTreeSet;
use std::path::Path;

use super::Matched;
use super::candidates::{Candidate, Candidates};
use super::refusals::{Refusal, refusal};
use crate::config::{self, Config};
use crate::directory::{Directory, Kind, NewRef, SnapshotBuilder};
use crate::resolve::doubt::Doubts;
use crate::resolve::roles::{Roles, universe};
use crate::resolve::rules::{Rules, Thing};

/// Roles `ml`, `admin` (protected), `no` (denies), `team-…` (declared: `team-blue`), `all` (everybody's).
const RULES: &str = r#"
[store]
path = "s.db"
[guard]
protected_roles = { admin = 1 }
[[source]]
name = "kc"
kind = "keycloak"
url = "https://kc.example.com"
realm = "r"
client_id = "c"
client_secret = { env = "X" }
grants = ["ml", "admin", "no", "team-*"]
[roles.ml]
external_roles = ["ml"]
[roles.admin]
external_roles = ["ops"]
[roles.no]
external_roles = ["ml"]
policies = [{ effect = "Deny", actions = ["*:*"] }]
[roles.team-blue]
external_roles = []
[roles.beyond]
external_roles = ["beyond"]
[roles.all]
everyone = true
[[mapping]]
group_regex = '/team (?<team>.+)'
roles = ["team-${team}"]
[[mapping]]
group = "/top/ops"
roles = ["admin"]
[[mapping]]
group_regex = '/any.*'
roles = ["admin"]
[[mapping]]
attribute = { name = "title", value = "boss" }
roles = ["admin", "all"]
"#;

pub(super) struct Kit {
    config: Config,
    directory: Directory,
}

impl Kit {
    /// A source with these things: kind, bare name, identity.
    pub fn new(things: &[(Kind, &str, &str)]) -> Self {
        let config = config::parse(RULES, Path::new("t.toml"));
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let mut builder = SnapshotBuilder::new(false);
        for (number, (kind, name, identity)) in things.iter().enumerate() {
            let key = format!("{number}");
            builder.reference(&NewRef { kind: *kind, key: &key, name, identity, norm: identity });
        }
        Kit { config, directory: builder.finish().directory }
    }

    /// Calls `each` with what the rules might give through the thing called `identity`.
    pub fn each(
        &self,
        identity: &str,
        mut each: impl FnMut(&Candidate, Option<Refusal<'_>>, &Thing<'_>, &Roles),
    ) {
        let settings = self.config.settings();
        let rules = Rules::new(&settings, settings.sources[0]);
        let pairs = [(rules, &self.directory)];
        let roles = universe(&settings, &pairs, &[], false, &mut BTreeSet::new());
        let [(rules, directory)] = &pairs;
        let doubts = Doubts::of(directory);
        let candidates = Candidates { rules, directory, roles: &roles, doubts: &doubts };
        for (index, row) in (0u32..).zip(&directory.refs) {
            if directory.text(row.identity) != identity {
                continue;
            }
            let path = directory.path(index);
            let thing = Thing::of(directory, row, &path);
            for candidate in candidates.of(index, &thing, &mut Matched::default()) {
                each(&candidate, refusal(&candidate, rules, &roles), &thing, &roles);
            }
        }
    }
}
