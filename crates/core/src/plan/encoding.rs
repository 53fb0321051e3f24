//! What tells one held change from another, and makes a held plan's id: version 1.
//!
//! A person may read an id today and approve it next week under a later version of this program, so
//! what is written here is fixed to the byte, whatever changes are called or how they read
//! elsewhere. Where it has to say something more, it may do so only for changes that could not be
//! held before (as with tokens), or as a version 2 beside which version 1 is still compared.

use sha2::{Digest, Sha256};

use super::change::ChangeView;
use crate::model::{CauseKind, ExternalRef, Origin, Reason, Role};
use crate::policy::Policy;

/// How many hex digits of a digest an id or a definition shows.
const DIGITS: usize = 12;

/// The id of a plan that holds these changes, sorted by [`key`].
pub(super) fn held_id(changes: &[ChangeView]) -> String {
    let mut hash = Sha256::new();
    for change in changes {
        hash.update(key(change).as_bytes());
        hash.update(b"\n");
    }
    short(hash)
}

/// What identifies a change from run to run: everything but why.
pub(super) fn key(change: &ChangeView) -> String {
    // Taken apart, so that a new field has to be thought of here.
    let ChangeView {
        change,
        user,
        user_id,
        role,
        token,
        origin,
        old,
        new,
        cause,
        why: _,
        reasons: _,
    } = change;
    let id = user_id.map(|id| id.to_string());
    let fields = [
        user.as_deref(),
        id.as_deref(),
        role.as_deref(),
        origin.map(Origin::as_str),
        old.as_deref(),
        new.as_deref(),
        cause.map(CauseKind::as_str),
    ];
    let mut key = change.as_str().to_owned();
    for field in fields {
        key.push('\t');
        key.push_str(field.unwrap_or_default());
    }
    // Only those of tokens name one: the keys of all others are what they were before there were any.
    if let Some(token) = token {
        key.push('\t');
        key.push_str(token);
    }
    key
}

/// What a held change says of the reasons before or after it: the shortest way, and how many more.
/// It stands in the stored change, as `old` and `new`.
pub(super) fn ways<'a>(reasons: impl IntoIterator<Item = &'a Reason>) -> String {
    let labels = |path: &[ExternalRef]| path.iter().map(ExternalRef::label).collect::<Vec<_>>();
    let mut reasons: Vec<_> = reasons
        .into_iter()
        .map(|Reason { source, rule, path }| {
            (
                path.len(),
                source.as_str(),
                rule.as_str(),
                path.last().map(ExternalRef::label),
                labels(path),
            )
        })
        .collect();
    reasons.sort();
    let Some(((_, source, rule, _, path), more)) = reasons.split_first() else {
        return String::new();
    };
    let first = format!("through {} ({source}, {rule})", path.join(" → "));
    match more.len() {
        0 => first,
        1 => format!("{first}, and 1 more way"),
        more => format!("{first}, and {more} more ways"),
    }
}

/// A digest of a role's definition: 12 hex digits. Who approves a held change approves this one.
pub(super) fn definition(role: &Role) -> String {
    let Role { name, description, everyone, mode, template, policies } = role;
    let mut hash = Sha256::new();
    let mut put = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    put(name);
    put(description);
    put(if *everyone { "everyone" } else { "" });
    put(mode.as_str());
    put(template.as_deref().unwrap_or_default());
    for Policy { effect, actions, resources } in policies {
        put(effect.as_str());
        put(&actions.len().to_string());
        // A pattern's text is its syntax, which the store keeps too and reads again.
        actions.iter().for_each(|action| put(&action.to_string()));
        put(&resources.as_ref().map_or_else(|| "any".to_owned(), |list| list.len().to_string()));
        resources.iter().flatten().for_each(|resource| put(&resource.to_string()));
    }
    short(hash)
}

fn short(hash: Sha256) -> String {
    format!("{:x}", hash.finalize()).chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::make::portable;
    use super::*;
    use crate::model::{
        Cause, Change, GrantKind, LocalGrant, LocalIdx, Mode, NewToken, RoleIdx, RoleSetId,
        SourceIdx, State, Status, Text, User, UserId, parse_rfc3339,
    };

    fn reason(source: &str, rule: &str, path: &[&str]) -> Reason {
        Reason {
            source: source.to_owned(),
            rule: rule.to_owned(),
            path: path.iter().map(|label| ExternalRef::from_label(label).unwrap()).collect(),
        }
    }

    /// The ids were made by another implementation (Python's `hashlib`) of what the program wrote
    /// before this module was there: who changes one takes held plans away from whoever is about to
    /// approve them.
    #[test]
    fn the_id_of_a_held_change_of_each_kind_is_fixed() {
        let at = parse_rfc3339("2026-01-02T03:04:05Z").unwrap();
        let mut old = State { next_user: UserId::new(7), ..State::default() };
        let policy = |effect: &str, rest: &str| -> Policy {
            serde_json::from_str(&format!("{{\"effect\":\"{effect}\",{rest}}}")).unwrap()
        };
        let role = Role {
            name: "ops".to_owned(),
            description: "who runs it".to_owned(),
            everyone: false,
            mode: Mode::Merge,
            template: Some("by-name".to_owned()),
            policies: vec![
                policy("Allow", r#""actions":["workflow:*"],"resources":["pool/x","team/*"]"#),
                policy("Deny", r#""actions":["*:*"],"resources":null"#),
            ],
        };
        let other = Role { everyone: true, ..role.clone() };
        old.roles.push(role).unwrap();
        old.sources.push("kc".to_owned()).unwrap();
        for (id, name) in [(UserId::new(3), "bob"), (UserId::new(7), "ann")] {
            let username = old.texts.add(name).unwrap();
            let email = old.texts.add(&format!("{name}@x")).unwrap();
            let (status, role_set) = (Status::Enabled, RoleSetId::EMPTY);
            old.users.push(User { id, username, email, status, role_set });
        }
        let text = old.texts.add("was").unwrap();
        let (by, why) = ("root".to_owned(), "asked".to_owned());
        let story = LocalGrant { by: by.as_str().into(), at, reason: why.clone(), until: None };
        old.locals.push(story).unwrap();
        let long =
            old.reasons.reason(reason("kc", "mapping[2]", &["group `/A`", "group `/B`"])).unwrap();
        let short = reason("ad", "roles.ops.external_roles", &["group `/C`"]);
        let short = old.reasons.reason(short).unwrap();
        let last = old.reasons.reason(reason("kc", "mapping[1]", &["group `/C`"])).unwrap();
        let (none, one) = (old.reasons.set(&[]).unwrap(), old.reasons.set(&[long]).unwrap());
        let (both, three) = (
            old.reasons.set(&[long, short]).unwrap(),
            old.reasons.set(&[long, last, short]).unwrap(),
        );
        let name = std::sync::Arc::make_mut(&mut old.tokens).add_name("ci").unwrap();
        let token = NewToken {
            name: "ci".to_owned(),
            digest: [1; 32],
            expires_at: at,
            roles: vec!["ops".to_owned()],
            description: why,
            by,
            at,
        };
        let cases = [
            (Change::RoleAdded { role: RoleIdx::new(0) }, "ff68d5886292"),
            (Change::RoleChanged { role: RoleIdx::new(0), old: Box::new(other) }, "116a5528072a"),
            (Change::RoleRemoved { role: RoleIdx::new(0) }, "b525664a2144"),
            (Change::UserCreated { user: UserId::new(7) }, "45bdf4e54806"),
            (Change::UserRenamed { user: UserId::new(3), old: text }, "5e7ac1a67ed8"),
            (Change::EmailChanged { user: UserId::new(3), old: text }, "bdf33e4f420a"),
            (
                Change::UserDisabled {
                    user: UserId::new(3),
                    by: "kc".to_owned(),
                    federation: Text::EMPTY,
                },
                "6788ca84cad1",
            ),
            (Change::UserEnabled { user: UserId::new(3) }, "6a394b039c84"),
            (Change::UserMissing { user: UserId::new(3) }, "ba61dfc95447"),
            (Change::UserReturned { user: UserId::new(3) }, "808232c604ba"),
            (
                Change::UserDeprovisioned { user: UserId::new(3), cause: Cause::Replaced },
                "2a8371f20733",
            ),
            (
                Change::UserDeprovisioned {
                    user: UserId::new(3),
                    cause: Cause::UserGone { since: at },
                },
                "acbf64c89fa8",
            ),
            (
                Change::LinkAdded { user: UserId::new(3), source: SourceIdx::new(0), ext: text },
                "ba25b521daab",
            ),
            (
                Change::LinkRemoved { user: UserId::new(3), source: SourceIdx::new(0), ext: text },
                "ca6ada4fcc5e",
            ),
            (
                Change::LinkClaims {
                    user: UserId::new(3),
                    source: SourceIdx::new(0),
                    ext: text,
                    claim: Some(text),
                },
                "8fb457a66267",
            ),
            (
                Change::LinkClaims {
                    user: UserId::new(3),
                    source: SourceIdx::new(0),
                    ext: text,
                    claim: None,
                },
                "4f516532d9e1",
            ),
            (
                Change::GrantAdded {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Idp(both),
                },
                "7b6bdcbfdbc4",
            ),
            (
                Change::GrantAdded {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Local(LocalIdx::new(0)),
                },
                "89f81e8eaef4",
            ),
            (
                Change::GrantReasons {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    old: one,
                    new: both,
                },
                "9c6ad2f3b501",
            ),
            (
                Change::GrantReasons {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    old: none,
                    new: three,
                },
                "b37dde8dfa49",
            ),
            (Change::CatalogChanged, "a8e1b4def012"),
            (Change::WorkloadChanged, "a7933c23769a"),
            (Change::TokenAdded { user: UserId::new(3), token: Box::new(token) }, "f834d8dc745a"),
            (
                Change::TokenRemoved { user: UserId::new(3), name, cause: Cause::NewSecret },
                "ed8d7278f0f8",
            ),
            (
                Change::TokenRoleLost {
                    user: UserId::new(3),
                    name,
                    role: RoleIdx::new(0),
                    cause: Box::new(Cause::NotEveryone),
                },
                "e2934ceb0486",
            ),
            (
                Change::GrantRemoved {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Idp(one),
                    cause: Cause::NotAtIdp,
                },
                "45f06d21b970",
            ),
            (
                Change::GrantRemoved {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Idp(one),
                    cause: Cause::RoleGone,
                },
                "614434b82c52",
            ),
            (
                Change::GrantRemoved {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Idp(one),
                    cause: Cause::UserGone { since: at },
                },
                "bf990568ffda",
            ),
            (
                Change::GrantRemoved {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Idp(one),
                    cause: Cause::Replaced,
                },
                "bb56cbed98e6",
            ),
            (
                Change::GrantRemoved {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Idp(one),
                    cause: Cause::Expired,
                },
                "e433442902ab",
            ),
            (
                Change::GrantRemoved {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Idp(one),
                    cause: Cause::IdpDecides,
                },
                "b28cbd80d0cd",
            ),
            (
                Change::GrantRemoved {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Idp(one),
                    cause: Cause::NotEveryone,
                },
                "a6a9dbbaa81b",
            ),
            (
                Change::GrantRemoved {
                    user: UserId::new(3),
                    role: RoleIdx::new(0),
                    kind: GrantKind::Idp(one),
                    cause: Cause::ByHand { by: "root".into() },
                },
                "211c51ffaea3",
            ),
        ];
        let mut all = Vec::new();
        for (change, id) in cases {
            let view = portable(&change, &old, &old).unwrap();
            assert_eq!(held_id(std::slice::from_ref(&view)), id, "{change:?}: {:?}", key(&view));
            // As it is stored and read again.
            let stored = serde_json::to_string(&view).unwrap();
            let read: ChangeView = serde_json::from_str(&stored).unwrap();
            assert_eq!(key(&read), key(&view));
            all.push(view);
        }
        all.sort_by_cached_key(key);
        assert_eq!(held_id(&all), "d540d8bd379b");
    }
}
