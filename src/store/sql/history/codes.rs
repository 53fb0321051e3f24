//! The numbers of kinds of change, of causes and of origins in a row.

use crate::model::{CauseKind, ChangeKind, Origin};

/// The number that stands for a kind of change in a row. None is ever another's.
pub(super) const fn kind_number(kind: ChangeKind) -> i64 {
    match kind {
        ChangeKind::RoleAdded => 0,
        ChangeKind::RoleChanged => 1,
        ChangeKind::RoleRemoved => 2,
        ChangeKind::UserCreated => 3,
        ChangeKind::UserRenamed => 4,
        ChangeKind::EmailChanged => 5,
        ChangeKind::UserDisabled => 6,
        ChangeKind::UserEnabled => 7,
        ChangeKind::UserMissing => 8,
        ChangeKind::UserReturned => 9,
        ChangeKind::UserDeprovisioned => 10,
        ChangeKind::LinkAdded => 11,
        ChangeKind::GrantAdded => 12,
        ChangeKind::GrantReasons => 13,
        ChangeKind::GrantRemoved => 14,
        ChangeKind::CatalogChanged => 15,
        ChangeKind::LinkRemoved => 16,
        ChangeKind::LinkRefused => 17,
        ChangeKind::LinkAccepted => 18,
        ChangeKind::TokenAdded => 19,
        ChangeKind::TokenRemoved => 20,
        ChangeKind::TokenRoleLost => 21,
        ChangeKind::WorkloadChanged => 22,
    }
}

/// `user-renamed`: the schema has an index of these.
pub(in crate::store::sql) const RENAMED: i64 = kind_number(ChangeKind::UserRenamed);

/// `link-removed`
pub(in crate::store::sql) const UNLINKED: i64 = kind_number(ChangeKind::LinkRemoved);

/// The number that stands for a cause in a row. None is ever another's.
pub(super) const fn cause_number(cause: CauseKind) -> i64 {
    match cause {
        CauseKind::NotAtIdp => 0,
        CauseKind::RoleGone => 1,
        CauseKind::UserGone => 2,
        CauseKind::Replaced => 3,
        CauseKind::Expired => 4,
        CauseKind::IdpDecides => 5,
        CauseKind::ByHand => 6,
        CauseKind::NotEveryone => 7,
        CauseKind::NewSecret => 8,
    }
}

/// The number that stands for who made a grant.
pub(super) const fn origin_number(origin: Origin) -> i64 {
    match origin {
        Origin::Idp => 0,
        Origin::Local => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Rows of older stores hold these numbers.
    #[test]
    fn numbers_of_kinds_and_causes_are_those_of_the_first_store() {
        let words = |all: Vec<(i64, &'static str)>| {
            let all: BTreeMap<i64, &str> = all.into_iter().collect();
            all.into_iter().map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>()
        };
        let kinds = ChangeKind::ALL.iter().map(|it| (kind_number(*it), it.as_str())).collect();
        assert_eq!(
            words(kinds),
            [
                "0 role-added",
                "1 role-changed",
                "2 role-removed",
                "3 user-created",
                "4 user-renamed",
                "5 email-changed",
                "6 user-disabled",
                "7 user-enabled",
                "8 user-missing",
                "9 user-returned",
                "10 user-deprovisioned",
                "11 link-added",
                "12 grant-added",
                "13 grant-reasons",
                "14 grant-removed",
                "15 catalog-changed",
                "16 link-removed",
                "17 link-refused",
                "18 link-accepted",
                "19 token-added",
                "20 token-removed",
                "21 token-role-lost",
                "22 workload-changed",
            ]
        );
        let causes = CauseKind::ALL.iter().map(|it| (cause_number(*it), it.as_str())).collect();
        assert_eq!(
            words(causes),
            [
                "0 not-at-idp",
                "1 role-gone",
                "2 user-gone",
                "3 replaced",
                "4 expired",
                "5 idp-decides",
                "6 by-hand",
                "7 not-everyone",
                "8 new-secret",
            ]
        );
    }
}
