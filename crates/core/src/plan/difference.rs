//! What differs between two definitions of a role, and how that is said.

use crate::model::{Mode, Role};

/// What differs between two definitions of a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleDifference {
    policies: bool,
    /// Before and after.
    mode: Option<(Mode, Mode)>,
    /// Whether everyone holds it now.
    everyone: Option<bool>,
    description: bool,
    template: bool,
}

impl RoleDifference {
    /// Between `old` and `new`.
    #[must_use]
    pub fn of(old: &Role, new: &Role) -> Self {
        // Taken apart, so that a new field has to be thought of here.
        let Role { name: _, description, everyone, mode, template, policies } = old;
        Self {
            policies: *policies != new.policies,
            mode: (*mode != new.mode).then_some((*mode, new.mode)),
            everyone: (*everyone != new.everyone).then_some(new.everyone),
            description: *description != new.description,
            template: *template != new.template,
        }
    }

    /// As a plan says it: `mode merge → force`.
    #[must_use]
    pub fn planned(self) -> String {
        let mode = self.mode.map(|(old, new)| format!("mode {old} → {new}"));
        let everyone = self.everyone.map(|now| format!("everyone {} → {now}", !now));
        let parts = [
            self.policies.then(|| "policies".to_owned()),
            mode,
            everyone,
            self.description.then(|| "description".to_owned()),
            self.template.then(|| "template".to_owned()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// As history tells it: `sync mode merge to force`.
    #[must_use]
    pub fn done(self) -> String {
        let mode = self.mode.map(|(old, new)| format!("sync mode {old} to {new}"));
        let everyone = self.everyone.map(|now| {
            if now { "held by everyone".to_owned() } else { "not held by everyone".to_owned() }
        });
        let parts = [
            mode,
            self.policies.then(|| "policies".to_owned()),
            everyone,
            self.template.then(|| "template".to_owned()),
            self.description.then(|| "description".to_owned()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both are documented output: rows of history are kept in these words.
    #[test]
    fn plan_and_history_each_have_their_words_for_the_same_difference() {
        let old = Role {
            name: "ml".to_owned(),
            description: String::new(),
            everyone: false,
            mode: Mode::Merge,
            template: None,
            policies: Vec::new(),
        };
        let new = Role {
            description: "x".to_owned(),
            everyone: true,
            mode: Mode::Force,
            template: Some("t".to_owned()),
            ..old.clone()
        };
        let changed = RoleDifference::of(&old, &new);
        assert_eq!(
            changed.planned(),
            "mode merge → force, everyone false → true, description, template"
        );
        assert_eq!(
            changed.done(),
            "sync mode merge to force, held by everyone, template, description"
        );
        assert_eq!(
            RoleDifference::of(&new, &old).done().split(", ").nth(1),
            Some("not held by everyone")
        );
        assert_eq!(RoleDifference::of(&old, &old).planned(), "");
    }
}
