//! How a refusal reads. Nothing is decided here.

use super::candidates::{By, NoRole};
use super::refusals::Refusal;
use crate::directory::Kind;
use crate::model::{Diagnostic, DiagnosticCode as Code, Subject};
use crate::resolve::rules::Thing;

/// Why `rule` of `source` gives nothing to those in `thing`.
pub(super) fn explain(
    refusal: &Refusal<'_>,
    source: &str,
    rule: &str,
    thing: &Thing<'_>,
) -> Diagnostic {
    let kind = thing.kind.as_str();
    let identity = thing.identity;
    let gift = |role: &str| Subject::gift(rule, role, thing.external());
    let (code, subject, message) = match refusal {
        Refusal::NoRole(NoRole::Captured(why)) => (
            Code::CaptureRefused,
            Subject::Reference(thing.external()),
            format!(
                "{source}: {rule}: group {why}: what a pattern captures may not hold `*`, `/`, `$`, white \
             space, control or format characters"
            ),
        ),
        Refusal::NoRole(NoRole::Unknown(role)) => (
            Code::RoleUndeclared,
            gift(role),
            format!(
                "{source}: {rule} comes to role `{}` for `{identity}`, which is neither declared nor made \
             by a template: nothing granted",
                role.escape_debug()
            ),
        ),
        Refusal::Protected { role, by } => (
            Code::ProtectedUnreachable,
            gift(role),
            format!(
                "{source}: {rule} would give the protected role `{role}` through {kind} `{}`, which {}",
                identity.escape_debug(),
                remedy(thing.kind, *by)
            ),
        ),
        Refusal::OutsideGrants { role } => (
            Code::OutsideGrants,
            gift(role),
            format!(
                "{source}: {rule} would give role `{role}` through {kind} `{identity}`, but the source's \
             `grants` do not name it: nothing granted"
            ),
        ),
    };
    Diagnostic::warning(code, subject, message).of(source)
}

fn remedy(kind: Kind, by: By) -> &'static str {
    match by {
        By::Name => "no bare name reaches: map the group by its whole identity",
        By::SlashedPath if kind == Kind::OrganizationGroup => {
            "no path reaches in which a group's name holds a slash: name the group with \
             `organization_group = [\"alias\", \"…\", \"…\"]`, or by its id"
        }
        By::SlashedPath => {
            "no path reaches in which a group's name holds a slash: name the group with \
             `group = [\"…\", \"…\"]`, or by its `group_id`"
        }
        By::Pattern | By::Itself => {
            "no pattern and no attribute reaches: map a group by its whole identity"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kit::Kit;
    use super::*;

    fn of(kind: Kind, name: &str, identity: &str) -> Vec<String> {
        let mut told = Vec::new();
        Kit::new(&[(kind, name, identity)]).each(identity, |candidate, refusal, thing, _| {
            let words = refusal.map(|it| explain(&it, "kc", &candidate.rule, thing).message);
            told.extend(words);
        });
        told
    }

    #[test]
    fn who_is_kept_from_a_protected_role_is_told_what_would_reach_it() {
        let start = "would give the protected role `admin` through";
        for (kind, name, identity, expected) in [
            (
                Kind::Group,
                "ops",
                "/o\u{200b}ps",
                format!(
                    "kc: roles.admin {start} group `/o\\u{{200b}}ps`, which no bare name reaches: map \
                     the group by its whole identity"
                ),
            ),
            (
                Kind::Group,
                "top/ops",
                "/top/ops",
                format!(
                    "kc: mapping[2] {start} group `/top/ops`, which no path reaches in which a \
                     group's name holds a slash: name the group with `group = [\"…\", \"…\"]`, or by \
                     its `group_id`"
                ),
            ),
            (
                Kind::Group,
                "any",
                "/any",
                format!(
                    "kc: mapping[3] {start} group `/any`, which no pattern and no attribute reaches: \
                     map a group by its whole identity"
                ),
            ),
        ] {
            assert_eq!(of(kind, name, identity), [expected]);
        }
    }

    #[test]
    fn a_role_beyond_the_grants_is_told_with_the_key_that_would_name_it() {
        assert_eq!(
            of(Kind::RealmRole, "beyond", "beyond"),
            [
                "kc: roles.beyond would give role `beyond` through realm role `beyond`, but the source's \
              `grants` do not name it: nothing granted"
            ]
        );
    }

    #[test]
    fn a_name_in_doubt_is_no_refusal() {
        assert_eq!(of(Kind::Group, "ml", "/ml"), Vec::<String>::new());
    }

    #[test]
    fn what_comes_to_no_role_is_told_with_what_it_comes_to() {
        assert_eq!(
            of(Kind::Group, "team", "/team red"),
            [
                "kc: mapping[1] comes to role `team-red` for `/team red`, which is neither declared nor \
              made by a template: nothing granted"
            ]
        );
        let [told] = of(Kind::Group, "team", "/team *").try_into().unwrap();
        assert!(told.starts_with("kc: mapping[1]: group `/team *` is refused: "), "{told}");
        assert!(told.contains("what a pattern captures may not hold `*`"), "{told}");
    }
}
