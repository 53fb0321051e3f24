//! The LDAP source against faults that a real server won't commit on demand.
#![cfg(test)]

mod support;

#[path = "ldap_fake/dialects.rs"]
mod dialects;

use std::sync::Arc;
use std::time::Duration;

use idpsyncd::directory::Snapshot;
use idpsyncd::source::ldap::{LdapConfig, LdapSource};
use idpsyncd::source::{FullRead, SourceError};
use support::fake_ldap::*;
use support::ldap::*;
use support::openldap::{SUFFIX, group_dn, person_dn};

fn uuid(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

fn person_as(uid: &str, number: u32) -> Say {
    let attributes = vec![("uid", vec![uid.to_owned()]), ("entryUUID", vec![uuid(number)])];
    Say::Entry(person_dn(uid).into_bytes(), attributes)
}

fn group_of(cn: &str, members: &[&str]) -> Say {
    let attributes = vec![
        ("cn", vec![cn.to_owned()]),
        ("objectClass", vec!["groupOfNames".to_owned()]),
        ("entryUUID", vec![format!("group-{cn}")]),
        ("member", members.iter().map(|uid| person_dn(uid)).collect()),
    ];
    Say::Entry(group_dn(cn).into_bytes(), attributes)
}

fn people() -> String {
    format!("ou=people,{SUFFIX}")
}

fn end() -> Say {
    Say::Done(0, Some(""))
}

/// A directory of alice and bob, who are both in the group `team`.
fn healthy(ask: &Ask) -> Vec<Say> {
    if ask.base.is_empty() {
        let class = vec![("objectClass", vec!["OpenLDAProotDSE".to_owned()])];
        vec![Say::Entry(vec![], class), Say::Done(0, None)]
    } else if ask.base == people() {
        vec![person_as("alice", 1), person_as("bob", 2), end()]
    } else if ask.base.starts_with("ou=groups") || ask.base == group_dn("team") {
        vec![group_of("team", &["alice", "bob"]), end()]
    } else {
        vec![Say::Done(32, None)]
    }
}

fn impatient(url: &str) -> LdapConfig {
    let mut config = at(url);
    config.timeout = Duration::from_millis(300);
    config.read_timeout = Duration::from_secs(20);
    config
}

async fn read_config(config: &LdapConfig) -> Result<Snapshot, SourceError> {
    let source = LdapSource::new("corp", config)?;
    source.read(&Wants(vec![]), Arc::new(|_| {})).await
}

/// Reads a directory that answers searches for users by `users`, and is healthy otherwise.
async fn with_users(users: impl Fn(&Ask) -> Vec<Say> + Send + Sync + 'static) -> Snapshot {
    let fake = Fake::start(
        9,
        Arc::new(move |ask| if ask.base == people() { users(ask) } else { healthy(ask) }),
    )
    .await;
    read_config(&impatient(&fake.url)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_directory_is_complete() {
    let snapshot = with_users(healthy).await;
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &group_dn("team")), ["alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_or_cannot_be_understood_is_partial() {
    let alice = || person_as("alice", 1);
    let faults: Vec<(&str, Vec<Say>)> = vec![
        ("no answer within", vec![alice(), Say::Stall]),
        ("broke", vec![alice(), Say::Close]),
        ("broke", vec![alice(), Say::Raw(b"\x30\x80\x00\x00".to_vec())]),
        ("", vec![alice(), Say::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Say::Stall]),
        ("", vec![alice(), Say::Raw(vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]), Say::Stall]),
        ("broke", vec![alice(), Say::Raw(vec![0x30, 0x00])]),
        ("broke", vec![alice(), Say::Op(0x7e, vec![])]),
        ("broke", vec![alice(), Say::Op(0x65, vec![])]),
        ("paging control", vec![alice(), Say::BadControl(b"nonsense".to_vec())]),
        ("paging control", vec![alice(), Say::BadControl(vec![])]),
        ("paging control", vec![alice(), Say::BadControl(vec![0x30, 0x03, 0x02, 0x01, 0x00])]),
        ("not UTF-8", vec![alice(), Say::Entry(b"uid=\xff,dc=x".to_vec(), vec![]), end()]),
        ("not a search result entry", vec![alice(), Say::Op(0x64, vec![0x04, 0x00]), end()]),
        (
            "ldap://other.example.org",
            vec![alice(), Say::Reference("ldap://other.example.org/dc=x"), end()],
        ),
        (
            "readable `entryUUID`",
            vec![
                alice(),
                Say::Entry(person_dn("bob").into_bytes(), vec![("uid", vec!["bob".to_owned()])]),
                end(),
            ],
        ),
        ("result 4", vec![alice(), Say::Done(4, None)]),
        ("result 3", vec![alice(), Say::Done(3, None)]),
        ("result 11", vec![alice(), Say::Done(11, None)]),
        ("result 10", vec![alice(), Say::Done(10, None)]),
    ];
    for (told, says) in faults {
        let shown = format!("{says:?}");
        let snapshot = with_users(move |_| says.clone()).await;
        let why = partial(&snapshot.users);
        assert!(why.contains(told), "{shown}: {why}");
        assert!(snapshot.groups.is_complete(), "{shown}: {:?}", snapshot.groups);
        let scope = completeness(&snapshot, &group_dn("team"));
        assert!(partial(scope).contains("not among the users"), "{shown}: {scope:?}");
        assert_eq!(members(&snapshot, &group_dn("team")), ["alice"], "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_between_two_pages_is_partial_although_the_first_ended_well() {
    for fault in
        [Say::Close, Say::Stall, Say::Done(2, None), Say::Done(53, None), Say::Done(0, None)]
    {
        let says = fault.clone();
        let snapshot = with_users(move |ask| match ask.cookie.as_deref() {
            Some(b"next") => vec![says.clone()],
            _ => vec![person_as("alice", 1), Say::Done(0, Some("next"))],
        })
        .await;
        assert!(!snapshot.users.is_complete(), "{fault:?}");
        assert!(!completeness(&snapshot, &group_dn("team")).is_complete(), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_followed_to_an_empty_last_one() {
    let snapshot = with_users(|ask| match ask.cookie.as_deref() {
        Some(b"2") => vec![person_as("bob", 2), Say::Done(0, Some("3"))],
        Some(b"3") => vec![end()],
        _ => vec![person_as("alice", 1), Say::Done(0, Some("2"))],
    })
    .await;
    assert_complete(&snapshot);
    assert_eq!(usernames(&snapshot), ["alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_knows_no_paging_is_believed_unless_exactly_a_page_came() {
    let says = || vec![person_as("alice", 1), person_as("bob", 2), Say::Done(0, None)];
    assert_complete(&with_users(move |_| says()).await);

    let fake = Fake::start(
        9,
        Arc::new(move |ask: &Ask| if ask.base == people() { says() } else { healthy(ask) }),
    )
    .await;
    let mut config = impatient(&fake.url);
    config.page_size = 2;
    let snapshot = read_config(&config).await.unwrap();
    assert!(partial(&snapshot.users).contains("stopped paging"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_made_again_in_mid_read_is_read_again() {
    let twice = || vec![person_as("alice", 1), person_as("bob", 2), person_as("alice", 3), end()];
    let snapshot =
        with_users(move |ask| if ask.before == 0 { twice() } else { healthy(ask) }).await;
    assert_complete(&snapshot);
    assert_eq!(id_of(&snapshot, "alice"), uuid(1));

    let snapshot = with_users(move |_| twice()).await;
    assert!(partial(&snapshot.users).contains("changed in mid-read"), "{:?}", snapshot.users);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_of_one_username_are_both_read() {
    let snapshot = with_users(|_| {
        let dn = format!("uid=alice,ou=x,{}", people());
        let twin = vec![("uid", vec!["alice".to_owned()]), ("entryUUID", vec![uuid(9)])];
        vec![person_as("alice", 1), person_as("bob", 2), Say::Entry(dn.into_bytes(), twin), end()]
    })
    .await;
    assert_complete(&snapshot);
    assert_eq!(usernames(&snapshot), ["alice", "alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_between_the_two_searches_loses_nobody() {
    // The group already lists the new name; the users were read before.
    let fake = Fake::start(
        9,
        Arc::new(|ask: &Ask| {
            if ask.base == person_dn("alicia") {
                vec![person_as("alicia", 1), Say::Done(0, None)]
            } else if ask.base.contains("groups") {
                vec![group_of("team", &["alicia", "bob"]), end()]
            } else {
                healthy(ask)
            }
        }),
    )
    .await;
    let snapshot = read_config(&impatient(&fake.url)).await.unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &group_dn("team")), ["alice", "bob"]);

    // The group still lists the old name, and for a moment longer than one look.
    let fake = Fake::start(
        9,
        Arc::new(|ask: &Ask| {
            if ask.base.starts_with("ou=groups") || (ask.base.contains("groups") && ask.before < 1)
            {
                vec![group_of("team", &["alicia", "bob"]), end()]
            } else {
                healthy(ask)
            }
        }),
    )
    .await;
    let snapshot = read_config(&impatient(&fake.url)).await.unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &group_dn("team")), ["alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_that_a_posix_group_already_knows_loses_nobody() {
    let fake = Fake::start(
        9,
        Arc::new(|ask: &Ask| {
            if ask.base == people() && ask.before > 0 {
                vec![person_as("alicia", 1), Say::Done(0, None)]
            } else if ask.base.contains("groups") {
                let attributes = vec![
                    ("cn", vec!["posix".to_owned()]),
                    ("objectClass", vec!["posixGroup".to_owned()]),
                    ("entryUUID", vec!["group-posix".to_owned()]),
                    ("memberUid", vec!["alicia".to_owned(), "bob".to_owned()]),
                ];
                vec![Say::Entry(group_dn("posix").into_bytes(), attributes), end()]
            } else {
                healthy(ask)
            }
        }),
    )
    .await;
    let snapshot = read_config(&impatient(&fake.url)).await.unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &group_dn("posix")), ["alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn someone_who_joins_between_the_two_searches_is_read_too() {
    let fake = Fake::start(
        9,
        Arc::new(|ask: &Ask| {
            if ask.base == person_dn("carol") {
                vec![person_as("carol", 3), Say::Done(0, None)]
            } else if ask.base.contains("groups") {
                vec![group_of("team", &["alice", "carol"]), end()]
            } else {
                healthy(ask)
            }
        }),
    )
    .await;
    let snapshot = read_config(&impatient(&fake.url)).await.unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &group_dn("team")), ["alice", "carol"]);
    assert_eq!(usernames(&snapshot), ["alice", "bob", "carol"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_be_looked_for_leaves_its_group_partial() {
    for fault in [Say::Done(51, None), Say::Close, Say::Stall] {
        let says = fault.clone();
        let fake = Fake::start(
            9,
            Arc::new(move |ask: &Ask| {
                if ask.base == person_dn("carol") {
                    vec![says.clone()]
                } else if ask.base.contains("groups") {
                    vec![group_of("team", &["alice", "carol"]), end()]
                } else {
                    healthy(ask)
                }
            }),
        )
        .await;
        let snapshot = read_config(&impatient(&fake.url)).await.unwrap();
        assert!(!snapshot.users.is_complete(), "{fault:?}");
        assert!(!completeness(&snapshot, &group_dn("team")).is_complete(), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_moves_while_it_is_looked_into_is_read_under_its_new_name() {
    // `team` lists someone unknown; when it is read again by name it is gone, renamed to `crew`.
    let fake = Fake::start(
        9,
        Arc::new(|ask: &Ask| {
            if ask.base == group_dn("team") {
                vec![Say::Done(32, None)]
            } else if ask.base.starts_with("ou=groups") && ask.before > 0 {
                let Say::Entry(_, attributes) = group_of("team", &["alice", "bob"]) else {
                    panic!()
                };
                vec![Say::Entry(group_dn("crew").into_bytes(), attributes), end()]
            } else if ask.base.starts_with("ou=groups") {
                vec![group_of("team", &["alice", "bobby"]), end()]
            } else {
                healthy(ask)
            }
        }),
    )
    .await;
    let snapshot = read_config(&impatient(&fake.url)).await.unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &group_dn("crew")), ["alice", "bob"]);
    assert_eq!(snapshot.directory.refs.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_of_members_is_not_taken_for_all_of_them() {
    let fake = Fake::start(
        9,
        Arc::new(|ask: &Ask| {
            if !ask.base.contains("groups") {
                return healthy(ask);
            }
            let attributes = vec![
                ("cn", vec!["team".to_owned()]),
                ("objectClass", vec!["group".to_owned()]),
                ("entryUUID", vec!["group-team".to_owned()]),
                ("member;range=0-0", vec![person_dn("alice")]),
            ];
            vec![Say::Entry(group_dn("team").into_bytes(), attributes), end()]
        }),
    )
    .await;
    let snapshot = read_config(&impatient(&fake.url)).await.unwrap();
    assert!(!completeness(&snapshot, &group_dn("team")).is_complete());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_allows_one_connection_is_read_one_search_after_the_other() {
    let fake = Fake::start(1, Arc::new(healthy)).await;
    let mut config = impatient(&fake.url);
    // So that the refused connection shows when it is opened.
    config.bind_dn = Some("cn=reader".to_owned());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    config.bind_password = Some(idpsyncd::config::SecretRef::File(folder.path().join("secret")));
    assert_complete(&read_config(&config).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_kinds_of_server_are_recognised_and_their_people_known_by_no_id_but_theirs() {
    for (name, value, told) in [
        ("vendorVersion", "389-Directory/2.3.1", "without a readable `nsUniqueId`"),
        ("forestFunctionality", "7", "without a readable `objectGUID`"),
    ] {
        let fake = Fake::start(
            9,
            Arc::new(move |ask: &Ask| {
                if ask.base.is_empty() {
                    let attributes = vec![(name, vec![value.to_owned()])];
                    vec![Say::Entry(vec![], attributes), Say::Done(0, None)]
                } else {
                    healthy(ask)
                }
            }),
        )
        .await;
        let error = read_config(&impatient(&fake.url)).await.unwrap_err();
        assert!(error.message.contains(told) && !error.transient, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_answers_is_a_transient_error_and_the_next_one_is_asked() {
    let silent = Fake::start(9, Arc::new(|_: &Ask| vec![Say::Stall])).await;
    let error = read_config(&impatient(&silent.url)).await.unwrap_err();
    assert!(error.transient && error.message.contains("no answer"), "{error}");

    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let healthy = Fake::start(9, Arc::new(healthy)).await;
    let mut config = impatient(&healthy.url);
    let deaf_url = format!("ldaps://{}", deaf.local_addr().unwrap());
    config.urls.insert(0, deaf_url.parse().unwrap());
    assert_complete(&read_config(&config).await.unwrap());
}
