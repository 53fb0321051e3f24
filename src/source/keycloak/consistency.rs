//! Where an answer with status 200 is not believed. Pure: every rule takes what was said and
//! returns what may be concluded, nothing here asks a server.
//!
//! | the lie | what gives it away |
//! |---|---|
//! | a failing statement gives `200 []` for users | counts before and after: [`users`] |
//! | the same for members and role holders | the question is put again; before and after that, a list of the same table that is known not to be empty: [`Empty`] |
//! | a lost connection: a body cut off, an error glued on | the strict parsers of `api` |
//! | LDAP down, import on: its people look disabled | the list of the disabled goes by the database: [`belied`] |
//! | LDAP down, live group mapper: its groups look empty | the directory is asked for somebody: [`Health`]; all of its groups empty at once: [`emptied`] |
//! | LDAP down, import off: its people vanish | no proof of completeness exists at all: [`users`] |
//! | offsets slip | no list is paged but the top-level groups, which are counted |
//! | a member comes twice | ids are counted, never rows |
//! | too few rights | the token's claim, at each renewal; counts |
//!
//! A doubt makes a scope partial, and a partial scope takes nothing away.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{UserList, provider_of};
use crate::directory::Completeness;

/// Whether `list` holds all users: as many were counted before as after, and as many are in it.
/// `import_off`: the names of federations whose people are no rows of the database. Those are in
/// no count, so for them there is no proof, and when they vanish together the list looks *better*
/// than in health.
pub(super) fn users(
    before: u64,
    list: &UserList,
    after: u64,
    import_off: &[String],
) -> Completeness {
    let counted = list.rows.iter().filter(|row| provider_of(list.text(row.id)).is_none()).count();
    if before != after || counted as u64 != before {
        return Completeness::Partial(format!(
            "{before} users were counted, {counted} listed, then {after} counted"
        ));
    }
    if let Some(name) = import_off.first() {
        return Completeness::Partial(format!(
            "federation `{name}` has `Import users` off: nothing tells whether all of its people were listed"
        ));
    }
    Completeness::Complete
}

/// The federations that are down, told by people who are shown disabled and yet not among
/// `disabled`, the ids of those whom the database holds to be disabled, or whom a disabled organization
/// manages: federation id to the places in `list` of the people concerned. Someone without a federation
/// is managed by a disabled organization, or was enabled between the two answers; neither is an outage.
pub(super) fn belied(list: &UserList, disabled: &BTreeSet<String>) -> BTreeMap<String, Vec<usize>> {
    let mut belied: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, row) in list.rows.iter().enumerate() {
        let id = list.text(row.id);
        // People who are not imported are in no list that goes by the database.
        let imported = !row.federation.is_empty() && provider_of(id).is_none();
        if imported && !row.enabled && !disabled.contains(id) {
            belied.entry(list.text(row.federation).to_owned()).or_default().push(place);
        }
    }
    belied
}

/// What is known of the directory behind a federation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Health {
    /// It answered when asked for somebody.
    Answers,
    /// Nobody could ask: a federation of a kind whose answers we do not know.
    Untold,
    /// It is not to be believed, for this reason.
    Down(String),
}

impl Health {
    /// The worse of two findings. The first reason stays.
    pub(super) fn and(self, other: Health) -> Health {
        match (self, other) {
            (Health::Down(reason), _) | (_, Health::Down(reason)) => Health::Down(reason),
            (Health::Untold, _) | (_, Health::Untold) => Health::Untold,
            (Health::Answers, Health::Answers) => Health::Answers,
        }
    }
}

/// Groups that one federation feeds and that were read: how many, and how many of them list
/// somebody of that federation.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Fed {
    /// Groups that were asked for their members.
    pub asked: usize,
    /// Those that list at least one person of the federation.
    pub peopled: usize,
}

/// Whether all groups fed by one federation look empty of its people at once, though it has some
/// (`people`). The directory may answer for people and still not for groups (a wrong group base, an
/// ACL), and Keycloak then gives `200 []` for each. One group may really lose everyone; all of
/// them in the same moment is taken for an outage.
pub(super) fn emptied(fed: Fed, people: usize) -> bool {
    fed.asked > 0 && fed.peopled == 0 && people > 0
}

/// What an empty list comes to, once it has been asked for again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Empty {
    /// It is empty: a list of the same table answered with rows afterwards.
    Believed,
    /// Nothing shows that the table can be read.
    Doubted,
}

impl Empty {
    /// `witness`: how many rows a list of the same table had that is known to have some; absent
    /// where it could not be read.
    pub(super) fn after(witness: Option<usize>) -> Empty {
        match witness {
            Some(rows) if rows > 0 => Empty::Believed,
            _ => Empty::Doubted,
        }
    }

    /// For the scope of the list of the members of `identity`.
    pub(super) fn completeness(self, identity: &str) -> Completeness {
        match self {
            Empty::Believed => Completeness::Complete,
            Empty::Doubted => Completeness::Partial(format!(
                "members of `{identity}`: the list came empty, and nothing shows that the server's \
                 database could be read; see the server's log"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: &[(&str, bool, &str)]) -> UserList {
        let rows: Vec<_> = rows
            .iter()
            .map(|(id, enabled, link)| {
                serde_json::json!({"id": id, "username": id, "enabled": enabled, "federationLink": link})
            })
            .map(|mut row| {
                if row["federationLink"] == "" {
                    row.as_object_mut().unwrap().remove("federationLink");
                }
                row
            })
            .collect();
        UserList::parse(&serde_json::to_vec(&rows).unwrap()).unwrap()
    }

    #[test]
    fn users_are_complete_only_where_all_three_counts_agree() {
        let three = list(&[("1", true, ""), ("2", true, ""), ("3", false, "")]);
        assert!(users(3, &three, 3, &[]).is_complete());
        for (before, after) in [(2, 3), (3, 2), (4, 4), (2, 2), (0, 0)] {
            assert!(!users(before, &three, after, &[]).is_complete(), "{before} {after}");
        }
        assert!(users(0, &list(&[]), 0, &[]).is_complete());
        assert!(!users(5, &list(&[]), 5, &[]).is_complete(), "200 [] beside a true count");
    }

    #[test]
    fn with_import_off_users_are_never_complete_even_when_the_counts_agree() {
        let off = ["ldap".to_owned()];
        let healthy = list(&[("1", true, ""), ("f:L:a", true, ""), ("f:L:b", true, "")]);
        let Completeness::Partial(reason) = users(1, &healthy, 1, &off) else { panic!() };
        assert!(reason.contains("`ldap`"), "{reason}");
        assert!(!users(1, &list(&[("1", true, "")]), 1, &off).is_complete(), "all vanished");
    }

    #[test]
    fn disabled_here_and_not_there_is_an_outage_of_that_federation_alone() {
        let list = list(&[
            ("1", false, "L"),
            ("2", true, "L"),
            ("3", false, "M"),
            ("4", false, ""),
            ("5", false, "L"),
        ]);
        let disabled = ["3".to_owned(), "5".to_owned()].into();
        assert_eq!(belied(&list, &disabled), [("L".to_owned(), vec![0])].into());
        assert!(belied(&list, &["1", "3", "5"].map(str::to_owned).into()).is_empty());
    }

    #[test]
    fn all_groups_of_a_federation_empty_at_once_is_an_outage() {
        assert!(emptied(Fed { asked: 3, peopled: 0 }, 5));
        assert!(!emptied(Fed { asked: 3, peopled: 1 }, 5), "one group lost everyone: believed");
        assert!(!emptied(Fed { asked: 3, peopled: 0 }, 0), "a federation without people");
        assert!(!emptied(Fed { asked: 0, peopled: 0 }, 5), "nobody asked");
    }

    #[test]
    fn an_empty_list_is_believed_only_beside_one_that_is_not() {
        assert_eq!(Empty::after(Some(1)), Empty::Believed);
        assert_eq!(Empty::after(Some(0)), Empty::Doubted);
        assert_eq!(Empty::after(None), Empty::Doubted);
        assert!(!Empty::Doubted.completeness("/x").is_complete());
    }

    #[test]
    fn one_bad_sign_is_enough_to_hold_a_directory_for_down() {
        let down = Health::Down("x".to_owned());
        assert_eq!(Health::Answers.and(down.clone()), down);
        assert_eq!(down.clone().and(Health::Answers), down);
        assert_eq!(Health::Answers.and(Health::Untold), Health::Untold);
        assert_eq!(Health::Answers.and(Health::Answers), Health::Answers);
    }
}
