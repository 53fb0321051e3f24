//! What is kept out: a role that a rule cannot come to, a protected role that somebody could reach by
//! naming or writing something, a role that the source may not give. And what a name in doubt gives.

use crate::model::RoleIdx;

use super::Given;
use super::candidates::{By, Candidate, NoRole};
use crate::resolve::roles::Roles;
use crate::resolve::rules::Rules;

/// Why a candidate gives nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal<'a> {
    /// The rule comes to no role.
    NoRole(&'a NoRole),
    /// The role is protected, and the rule reaches the thing by what somebody could name or write.
    Protected { role: &'a str, by: By },
    /// The source's `grants` do not name the role.
    OutsideGrants { role: &'a str },
}

/// Why the candidate gives nothing, if it is refused. The first of the rules that refuses it counts.
pub(super) fn refusal<'a>(
    candidate: &'a Candidate,
    rules: &Rules<'_>,
    roles: &'a Roles,
) -> Option<Refusal<'a>> {
    let role = match &candidate.role {
        Ok(role) => *role,
        Err(none) => return Some(Refusal::NoRole(none)),
    };
    protected(role, candidate.by, roles).or_else(|| outside_grants(role, rules, roles))
}

/// A protected role is given by an IdP role or by a group that is named in whole, and by nothing that
/// somebody could name or write.
fn protected(role: RoleIdx, by: By, roles: &Roles) -> Option<Refusal<'_>> {
    let refused = match by {
        By::Itself => false,
        By::Name | By::Pattern | By::SlashedPath => roles.is_protected(role),
    };
    refused.then(|| Refusal::Protected { role: roles.name(role), by })
}

/// A source gives no more than its `grants` name.
fn outside_grants<'a>(role: RoleIdx, rules: &Rules<'_>, roles: &'a Roles) -> Option<Refusal<'a>> {
    let name = roles.name(role);
    (!rules.may_give(name)).then_some(Refusal::OutsideGrants { role: name })
}

/// What a candidate gives that is not refused. Nobody needs a grant of an `everyone` role; and of a
/// role that only denies no doubt matters, since it is held by the members of all bearers.
pub(super) fn given(candidate: Candidate, roles: &Roles) -> Option<Given> {
    let Candidate { rule, by: _, role, doubt } = candidate;
    let role = role.ok().filter(|role| !roles.is_everyone(*role))?;
    Some(Given { role, rule, doubt: doubt.filter(|_| !roles.only_denies(role)) })
}

#[cfg(test)]
mod tests {
    use super::super::kit::Kit;
    use super::*;
    use crate::directory::Kind;

    /// By role what becomes of it: why it is refused, or what is given.
    fn of(things: &[(Kind, &str, &str)], identity: &str) -> Vec<String> {
        let mut found = Vec::new();
        Kit::new(things).each(identity, |candidate, refusal, _, roles| {
            found.push(match (refusal, given(candidate.clone(), roles)) {
                (Some(Refusal::NoRole(_)), _) => "no role".to_owned(),
                (Some(Refusal::Protected { role, by }), _) => {
                    format!("{role}: protected from {by:?}")
                }
                (Some(Refusal::OutsideGrants { role }), _) => format!("{role}: outside grants"),
                (None, None) => "nothing to give".to_owned(),
                (None, Some(Given { role, doubt: None, .. })) => {
                    format!("{}: given", roles.name(role))
                }
                (None, Some(Given { role, doubt: Some(_), .. })) => {
                    format!("{}: kept by who holds it", roles.name(role))
                }
            });
        });
        found.sort();
        found
    }

    #[test]
    fn a_protected_role_is_given_by_a_thing_itself_and_by_nothing_else() {
        let of = |kind, name, identity| of(&[(kind, name, identity)], identity);
        assert_eq!(of(Kind::RealmRole, "ops", "ops"), ["admin: given"]);
        assert_eq!(of(Kind::Group, "ops", "/ops"), ["admin: protected from Name"]);
        assert_eq!(of(Kind::Group, "top/ops", "/top/ops"), ["admin: protected from SlashedPath"]);
        assert_eq!(of(Kind::Group, "any", "/any"), ["admin: protected from Pattern"]);
        // In whole: no name in it holds a slash.
        let in_whole = [(Kind::Group, "", "/top/ops")];
        assert_eq!(super::tests::of(&in_whole, "/top/ops"), ["admin: given"]);
    }

    #[test]
    fn a_source_gives_only_what_its_grants_name() {
        let beyond = [(Kind::RealmRole, "beyond", "beyond")];
        assert_eq!(of(&beyond, "beyond"), ["beyond: outside grants"]);
        // Of the two rules that refuse a role the one that protects it counts first; `all` is held by
        // everybody, and still no source may name it that has no grant of it.
        let boss = [(Kind::Attribute, "boss", "title=boss")];
        assert_eq!(
            of(&boss, "title=boss"),
            ["admin: protected from Pattern", "all: outside grants"]
        );
    }

    #[test]
    fn a_name_in_doubt_gives_nobody_anything_new_but_a_role_that_only_denies() {
        let two = [(Kind::Group, "ml", "/a/ml"), (Kind::Group, "ml", "/b/ml")];
        for group in ["/a/ml", "/b/ml"] {
            assert_eq!(of(&two, group), ["ml: kept by who holds it", "no: given"]);
        }
        assert_eq!(of(&two[..1], "/a/ml"), ["ml: given", "no: given"]);
    }

    #[test]
    fn what_comes_to_no_role_gives_none() {
        for (group, expected) in
            [("/team *", "no role"), ("/team red", "no role"), ("/team blue", "team-blue: given")]
        {
            assert_eq!(of(&[(Kind::Group, "team", group)], group), [expected]);
        }
    }
}
