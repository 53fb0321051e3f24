//! What the App Store's own roles may, as policies. docs/h2o.md has the same as a table.
//!
//! Actions are called as the vendor's: `instance:view_log` in its IAM policies, else by the word of
//! its command line (`h2o app run` is `app:run`). Resources: `tag/NAME` is whatever bears the tag,
//! `visibility/ALL_USERS` whatever is visible to all. What somebody may with their own apps and
//! instances is not here: the App Store alone knows whose they are.

use crate::policy::{ActionPattern, Effect, Policy, ResourcePattern};

/// Whatever is visible to all users.
const FOR_ALL: &str = "visibility/ALL_USERS";

fn allow(
    actions: &[(&'static str, Option<&'static str>)],
    resource: Option<ResourcePattern>,
) -> Policy {
    Policy {
        effect: Effect::Allow,
        actions: actions.iter().map(|(kind, name)| ActionPattern::spelt(kind, *name)).collect(),
        resources: resource.map(|resource| vec![resource]),
    }
}

/// An administrator: all apps and instances, and all that `h2o admin` does.
#[must_use]
pub fn administrator() -> Vec<Policy> {
    let actions = [
        ("app", Some("list")),
        ("app", Some("update")),
        ("app", Some("delete")),
        ("instance", Some("list")),
        ("instance", Some("terminate")),
        ("admin", None),
    ];
    vec![allow(&actions, Some(ResourcePattern::Any))]
}

/// Full access: imports apps, and sees and runs what all users may see.
#[must_use]
pub fn full_access() -> Vec<Policy> {
    let visible = [("app", Some("list")), ("app", Some("run")), ("instance", Some("list"))];
    vec![
        allow(&[("app", Some("import"))], None),
        allow(&visible, Some(ResourcePattern::Exact(FOR_ALL.to_owned()))),
    ]
}

/// Who puts a tag on apps and takes it off.
#[must_use]
pub fn tag_administrator(tag: ResourcePattern) -> Vec<Policy> {
    vec![allow(&[("tag", Some("assign")), ("tag", Some("remove"))], Some(tag))]
}

/// A visitor who sees and runs what bears a tag.
#[must_use]
pub fn tag_visitor(tag: ResourcePattern) -> Vec<Policy> {
    vec![allow(&[("app", Some("list")), ("app", Some("run"))], Some(tag))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelt_here_reads_back_as_it_is_written() {
        let tag = ResourcePattern::Exact("tag/finance".to_owned());
        let all =
            [administrator(), full_access(), tag_administrator(tag.clone()), tag_visitor(tag)];
        let mut seen = 0;
        for policy in all.iter().flatten() {
            assert_eq!(policy.effect, Effect::Allow);
            for action in &policy.actions {
                assert_eq!(action.to_string().parse().as_ref(), Ok(action));
                seen += 1;
            }
            for resource in policy.resources.iter().flatten() {
                assert_eq!(resource.to_string().parse().as_ref(), Ok(resource));
            }
        }
        assert_eq!(seen, 14);
    }
}
