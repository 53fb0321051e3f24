//! What the rules give to a source's groups, roles and attribute values, in three steps: what the
//! rules name, whatever comes of it ([`candidates`]); what is refused of that ([`refusals`]); and how a
//! refusal reads ([`explanation`]).

mod candidates;
mod explanation;
#[cfg(test)]
mod kit;
mod refusals;

use std::collections::BTreeSet;

use crate::directory::{Directory, Kind, RefIdx};
use crate::model::{Diagnostic, DiagnosticCode as Code, IndexVec, Mode, RoleIdx, Subject, TooMany};

use super::doubt::{DoubtIdx, Doubts};
use super::roles::Roles;
use super::rules::{Ready, Rules, Thing, folded};
use super::settings::{MappingRule, Settings};

use candidates::Candidates;
use explanation::explain;
use refusals::{Refusal, given, refusal};

/// A role that a reference gives to those in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Given {
    /// The role.
    pub role: RoleIdx,
    /// The rule's key in the configuration.
    pub rule: String,
    /// The rule reaches the reference by a name in doubt (its number): nobody gains the role so,
    /// and who holds it through that name keeps it.
    pub doubt: Option<DoubtIdx>,
}

/// What rules make of one source's refs.
#[derive(Debug, Default)]
pub struct SourceMatches {
    /// What each reference of the directory gives.
    pub gives: IndexVec<RefIdx, Vec<Given>>,
    /// What is in doubt in the source, whether or not a rule names it.
    pub doubts: Doubts,
    /// The doubts that stand before a role, with the roles.
    pub doubted: BTreeSet<(DoubtIdx, RoleIdx)>,
    /// Numbers of the mappings that matched something.
    pub mappings_used: BTreeSet<usize>,
    /// External names of declared roles that matched something.
    pub names_used: BTreeSet<String>,
    /// Roles that mappings give by a value of an attribute for which nobody has asked the source yet.
    pub unasked: BTreeSet<RoleIdx>,
}

/// Lays the rules over a source's refs.
///
/// # Errors
/// There is more in doubt than can be numbered.
pub fn matches(
    rules: &Rules<'_>,
    directory: &Directory,
    roles: &Roles,
    warnings: &mut BTreeSet<Diagnostic>,
) -> Result<SourceMatches, TooMany> {
    let doubts = Doubts::of(directory)?;
    let mut matched = SourceMatches::default();
    let candidates = Candidates { rules, directory, roles, doubts: &doubts };
    let gives = directory.refs.map_numbered(|index, row| {
        let path = directory.path(index);
        let thing = Thing::of(directory, row, &path);
        let mut gives = Vec::new();
        for candidate in candidates.of(index, &thing, &mut matched) {
            let refusal = refusal(&candidate, rules, roles);
            if let (Ok(role), Some(doubt)) = (&candidate.role, candidate.doubt)
                && !matches!(refusal, Some(Refusal::Protected { .. }))
            {
                matched.doubted.insert((doubt, *role));
            }
            match refusal {
                None => gives.extend(given(candidate, roles)),
                Some(refusal) => {
                    let told = explain(&refusal, rules.source(), &candidate.rule, &thing);
                    warnings.insert(told);
                }
            }
        }
        gives.sort();
        gives.dedup();
        gives
    });
    let told: BTreeSet<DoubtIdx> = matched.doubted.iter().map(|(doubt, _)| *doubt).collect();
    for doubt in told.iter().map(|doubt| doubts.list.at(*doubt)) {
        warnings.insert(doubt.diagnostic(rules.source()));
    }
    unasked(rules, directory, roles, &mut matched);
    Ok(SourceMatches { gives, doubts, ..matched })
}

/// Notes the mappings by a value of an attribute of which `directory` knows nothing. Whoever reads a
/// source has something to say of each value that a rule names, be it that nobody has it; so the
/// source was read before there was such a rule, and who has the value is unknown.
fn unasked(rules: &Rules<'_>, directory: &Directory, roles: &Roles, matched: &mut SourceMatches) {
    if rules.is_by_hand() {
        return;
    }
    let attributes = directory.refs.iter().filter(|row| row.kind == Kind::Attribute);
    let known: BTreeSet<&str> = attributes.map(|row| directory.text(row.identity)).collect();
    for Ready { mapping, .. } in &rules.mappings {
        let MappingRule::Attribute { name, value } = &mapping.rule else { continue };
        if known.contains(format!("{name}={value}").as_str()) {
            continue;
        }
        matched.mappings_used.insert(mapping.number);
        let targets = mapping.roles.iter().filter_map(|name| roles.find(name, rules.fold));
        let may_give = |role: &RoleIdx| {
            !roles.is_protected(*role)
                && !roles.is_everyone(*role)
                && rules.may_give(roles.name(*role))
        };
        matched.unasked.extend(targets.filter(may_give));
    }
}

/// Rules that matched nothing in any source that was looked at, as warnings.
pub fn unmatched(
    settings: &Settings<'_>,
    matched: &[SourceMatches],
    warnings: &mut BTreeSet<Diagnostic>,
) {
    for mapping in settings.mappings {
        if !matched.iter().any(|m| m.mappings_used.contains(&mapping.number)) {
            let key = mapping.key();
            let message = format!("{key}, {}, matches nothing in any source", mapping.rule);
            let subject = Subject::Setting(key);
            warnings.insert(Diagnostic::warning(Code::MappingUnmatched, subject, message));
        }
    }
    // Where there is no identity provider every role is given by hand.
    let given = settings.roles.iter().filter(|_| settings.has_idp());
    for (name, role) in given {
        if role.everyone || role.external_roles.is_empty() || role.mode == Mode::Ignore {
            continue;
        }
        let used = |external: &String| {
            matched.iter().any(|m| {
                m.names_used.contains(external) || m.names_used.contains(&folded(external))
            })
        };
        let missing: Vec<&String> =
            role.external_roles.iter().filter(|external| !used(external)).collect();
        if missing.len() == role.external_roles.len() {
            let names = missing.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            let mapped = settings.mappings.iter().any(|m| m.roles.contains(name));
            if !mapped {
                let message = format!(
                    "roles.{name}: no role or group of any source is called {names}, and no \
                     mapping gives it: nobody can reach it"
                );
                let subject = Subject::Role(name.clone());
                warnings.insert(Diagnostic::warning(Code::RoleUnmatched, subject, message));
            }
        }
    }
}
