//! A small source and its rules, for the tests of each step.

use std::collections::{BTreeMap, BTreeSet};

use super::SourceMatches;
use super::candidates::{Candidate, Candidates};
use super::refusals::{Refusal, refusal};
use crate::directory::{Directory, Kind, NewRef, SnapshotBuilder};
use crate::model::Mode;
use crate::model::username::UsernameFrom;
use crate::policy::{Effect, Policy};
use crate::resolve::doubt::Doubts;
use crate::resolve::roles::{Roles, universe};
use crate::resolve::rules::{Rules, Thing};
use crate::resolve::settings::{
    LinkBy, Mapping, MappingRule, Names, Provision, RoleDefinition, Settings, SourceTerms,
};
use crate::resolve::template::{anchored, ignoring_case};

/// Roles `ml`, `admin` (protected), `no` (denies), `team-…` (declared: `team-blue`), `beyond` (no grant of
/// the source's), `all` (everybody's); and what gives them.
pub(super) struct Kit {
    roles: BTreeMap<String, RoleDefinition>,
    mappings: Vec<Mapping>,
    protected: BTreeMap<String, u64>,
    grants: Vec<globset::GlobMatcher>,
    directory: Directory,
}

fn role(external: &[&str]) -> RoleDefinition {
    RoleDefinition {
        description: String::new(),
        everyone: false,
        mode: Mode::Merge,
        external_roles: external.iter().map(|name| (*name).to_owned()).collect(),
        policies: Vec::new(),
    }
}

fn mapping(number: usize, rule: MappingRule, roles: &[&str]) -> Mapping {
    let roles = roles.iter().map(|name| (*name).to_owned()).collect();
    Mapping { number, source: None, rule, roles }
}

fn groups_like(text: &str) -> MappingRule {
    let regex = anchored(text).unwrap();
    let folded = ignoring_case(&regex).unwrap();
    MappingRule::GroupRegex { text: text.to_owned(), regex, folded }
}

impl Kit {
    /// A source with these things: kind, bare name, identity.
    pub fn new(things: &[(Kind, &str, &str)]) -> Self {
        let mut builder = SnapshotBuilder::new(false);
        for (number, (kind, name, identity)) in things.iter().enumerate() {
            let key = format!("{number}");
            builder
                .reference(&NewRef { kind: *kind, key: &key, name, identity, norm: identity })
                .unwrap();
        }
        let deny =
            Policy { effect: Effect::Deny, actions: vec!["*:*".parse().unwrap()], resources: None };
        let roles = [
            ("ml", role(&["ml"])),
            ("admin", role(&["ops"])),
            ("no", RoleDefinition { policies: vec![deny], ..role(&["ml"]) }),
            ("team-blue", role(&[])),
            ("beyond", role(&["beyond"])),
            ("all", RoleDefinition { everyone: true, ..role(&["all"]) }),
        ];
        let attribute =
            MappingRule::Attribute { name: "title".to_owned(), value: "boss".to_owned() };
        Kit {
            roles: roles.into_iter().map(|(name, role)| (name.to_owned(), role)).collect(),
            mappings: vec![
                mapping(1, groups_like("/team (?<team>.+)"), &["team-${team}"]),
                mapping(2, MappingRule::Group("/top/ops".to_owned()), &["admin"]),
                mapping(3, groups_like("/any.*"), &["admin"]),
                mapping(4, attribute, &["admin", "all"]),
            ],
            protected: BTreeMap::from([("admin".to_owned(), 1)]),
            grants: ["ml", "admin", "no", "team-*"]
                .map(|glob| globset::Glob::new(glob).unwrap().compile_matcher())
                .to_vec(),
            directory: builder.finish().directory,
        }
    }

    fn settings(&self) -> Settings<'_> {
        let terms = SourceTerms {
            name: "kc",
            grants: Some(&self.grants),
            link_by: LinkBy::Username,
            lifecycle: true,
            names: Names::Exact,
            without_ids: false,
            by_hand: false,
        };
        Settings {
            missing_after: None,
            provision: Provision::All,
            username: UsernameFrom::Username,
            sources: vec![terms],
            roles: &self.roles,
            templates: &[],
            mappings: &self.mappings,
            protected: &self.protected,
            catalog: &[],
            workload: &[],
        }
    }

    /// Calls `each` with what the rules might give through the thing called `identity`.
    pub fn each(
        &self,
        identity: &str,
        mut each: impl FnMut(&Candidate, Option<Refusal<'_>>, &Thing<'_>, &Roles),
    ) {
        let settings = self.settings();
        let rules = Rules::new(&settings, settings.sources[0]);
        let pairs = [(rules, &self.directory)];
        let roles = universe(&settings, &pairs, &[], false, &mut BTreeSet::new()).unwrap();
        let [(rules, directory)] = &pairs;
        let doubts = Doubts::of(directory).unwrap();
        let candidates = Candidates { rules, directory, roles: &roles, doubts: &doubts };
        for (index, row) in directory.refs.numbered() {
            if directory.text(row.identity) != identity {
                continue;
            }
            let path = directory.path(index);
            let thing = Thing::of(directory, row, &path);
            for candidate in candidates.of(index, &thing, &mut SourceMatches::default()) {
                each(&candidate, refusal(&candidate, rules, &roles), &thing, &roles);
            }
        }
    }
}
