//! Faults and oddities of 389-DS and Active Directory that the real servers won't show on demand.

use std::sync::Mutex;

use idpsyncd::directory::{Completeness, Kind};

use super::*;

const ROOT_OF_AD: &[(&str, &str)] = &[("forestFunctionality", "7")];
const ROOT_OF_389: &[(&str, &str)] = &[("vendorName", "389 Project")];

/// The group of many members.
const TEAM: &str = "CN=team";
/// How many values the fake gives at once.
const AT_ONCE: usize = 4;

fn root(of: &[(&'static str, &str)]) -> Vec<Say> {
    let attributes = of.iter().map(|(name, value)| (*name, vec![(*value).to_owned()])).collect();
    vec![Say::Entry(vec![], attributes), Say::Done(0, None)]
}

fn bytes(text: &str) -> Vec<Vec<u8>> {
    vec![text.as_bytes().to_vec()]
}

/// `S-1-5-21-1-2-3-RID`
fn sid(rid: u32) -> Vec<u8> {
    sid_of([21, 1, 2, 3, rid])
}

fn sid_of(parts: [u32; 5]) -> Vec<u8> {
    [&[1, 5, 0, 0, 0, 0, 0, 5][..], &parts.map(u32::to_le_bytes).concat()].concat()
}

fn guid(number: u8) -> Vec<Vec<u8>> {
    vec![[&[0; 15][..], &[number]].concat()]
}

fn ad_user(number: u8) -> Say {
    let name = format!("u{number}");
    let attributes = vec![
        ("objectClass".to_owned(), bytes("user")),
        ("uid".to_owned(), bytes(&name)),
        ("objectGUID".to_owned(), guid(number)),
        ("nsUniqueId".to_owned(), bytes(&name)),
        ("objectSid".to_owned(), vec![sid(1000 + u32::from(number))]),
        ("primaryGroupID".to_owned(), bytes("513")),
        ("userAccountControl".to_owned(), bytes("512")),
    ];
    Say::Ranged(person_dn(&name).into_bytes(), attributes)
}

/// The group's entry as Active Directory gives it: a range where there are more members than
/// [`AT_ONCE`], from the place that is asked for.
fn team(ask: &Ask, members: &[u8], changed: u32) -> Say {
    let wanted = ask.attributes.iter().find_map(|name| name.strip_prefix("member;range="));
    let first: usize = wanted.map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
    let values = |from: usize, to: usize| -> Vec<Vec<u8>> {
        members[from..to].iter().map(|n| person_dn(&format!("u{n}")).into_bytes()).collect()
    };
    let mut attributes = vec![
        ("objectClass".to_owned(), bytes("group")),
        ("cn".to_owned(), bytes("team")),
        ("objectGUID".to_owned(), guid(200)),
        ("nsUniqueId".to_owned(), bytes("team")),
        ("objectSid".to_owned(), vec![sid(2000)]),
        ("groupType".to_owned(), bytes("-2147483646")),
        ("uSNChanged".to_owned(), bytes(&changed.to_string())),
    ];
    let end = first + AT_ONCE;
    if wanted.is_none() && members.len() <= AT_ONCE {
        attributes.push(("member".to_owned(), values(0, members.len())));
    } else if first < members.len() {
        let (last, end) = match end < members.len() {
            true => ((end - 1).to_string(), end),
            false => ("*".to_owned(), members.len()),
        };
        if wanted.is_none() {
            // As it does: the plain name stands there without a value.
            attributes.push(("member".to_owned(), vec![]));
        }
        attributes.push((format!("member;range={first}-{last}"), values(first, end)));
    }
    Say::Ranged(format!("{TEAM},ou=groups,{SUFFIX}").into_bytes(), attributes)
}

/// A domain of ten people whose group answers by `team_of`.
async fn domain(team_of: impl Fn(&Ask) -> Vec<Say> + Send + Sync + 'static) -> Snapshot {
    let fake = Fake::start(
        9,
        Arc::new(move |ask| {
            if ask.base.is_empty() {
                root(ROOT_OF_AD)
            } else if ask.base == people() {
                (0..10).map(ad_user).chain([end()]).collect()
            } else if ask.base.starts_with("ou=groups") || ask.base.starts_with(TEAM) {
                team_of(ask)
            } else {
                vec![Say::Done(32, None)]
            }
        }),
    )
    .await;
    read_config(&impatient(&fake.url)).await.unwrap()
}

fn team_dn() -> String {
    format!("{TEAM},ou=groups,{SUFFIX}")
}

fn everyone() -> Vec<String> {
    (0..10).map(|n| format!("u{n}")).collect()
}

const TEN: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_comes_in_ranges_is_read_to_its_end() {
    for count in [3, 4, 5, 7, 8, 10] {
        let snapshot = domain(move |ask| vec![team(ask, &TEN[..count], 7), end()]).await;
        assert_complete(&snapshot);
        assert_eq!(members(&snapshot, &team_dn()), everyone()[..count], "{count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_changes_between_two_ranges_is_read_again() {
    // At its third question somebody has left from the front, so that everybody's place is another:
    // who stood first in the next range would be in neither. The number of the change is not seen.
    let asked = Mutex::new(0);
    let snapshot = domain(move |ask| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        let left = if *asked < 4 { TEN } else { &TEN[1..] };
        vec![team(ask, left, 7), end()]
    })
    .await;
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &team_dn()), everyone()[1..]);

    // A change that moves nobody.
    let asked = Mutex::new(0);
    let snapshot = domain(move |ask| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        let changed = if *asked < 4 { 7 } else { 8 };
        vec![team(ask, TEN, changed), end()]
    })
    .await;
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &team_dn()), everyone());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_which_the_end_does_not_come_is_partial() {
    // It changes at every question.
    let asked = Mutex::new(0);
    let restless = domain(move |ask| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        vec![team(ask, TEN, *asked), end()]
    })
    .await;
    let why = partial(completeness(&restless, &team_dn()));
    assert!(why.contains("only a range of its members"), "{why}");
    assert!(restless.users.is_complete() && restless.groups.is_complete());

    // The next range is refused, or never comes.
    for fault in [Say::Done(53, None), Say::Done(3, None), Say::Close, Say::Done(0, None)] {
        let shown = format!("{fault:?}");
        let cut = domain(move |ask| {
            let more = ask.attributes.iter().any(|name| name.starts_with("member;range="));
            if more { vec![fault.clone()] } else { vec![team(ask, TEN, 7), end()] }
        })
        .await;
        assert!(!completeness(&cut, &team_dn()).is_complete(), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_end_is_partial_whatever_the_server_and_never_an_empty_list() {
    for of in [ROOT_OF_389, ROOT_OF_AD] {
        for code in [1, 3, 4, 10, 11, 50, 51, 52, 53, 80] {
            let fake = Fake::start(
                9,
                Arc::new(move |ask| {
                    if ask.base.is_empty() {
                        root(of)
                    } else if ask.base == people() {
                        vec![ad_user(1), Say::Done(code, None)]
                    } else {
                        vec![team(ask, &[1, 2], 7), end()]
                    }
                }),
            )
            .await;
            let snapshot = read_config(&impatient(&fake.url)).await.unwrap();
            let why = partial(&snapshot.users);
            assert!(why.contains(&format!("result {code}")), "{code}: {why}");
            assert!(!completeness(&snapshot, &team_dn()).is_complete(), "{code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_the_people_are_does_not_hang_on_a_root_dse_that_could_not_be_read() {
    for code in [51, 52, 53, 80] {
        let fake =
            Fake::start(
                9,
                Arc::new(move |ask| {
                    if ask.base.is_empty() { vec![Say::Done(code, None)] } else { healthy(ask) }
                }),
            )
            .await;
        let error = read_config(&impatient(&fake.url)).await.unwrap_err();
        assert!(error.transient, "{code}: {}", error.message);
    }
}

/// The group of a domain lists somebody of another beside whom two are named alike, and the search for
/// those ends with this code.
async fn with_foreigners(code: u8) -> Snapshot {
    let container = format!("cn=ForeignSecurityPrincipals,{SUFFIX}");
    let twice = format!("CN=S-1-5-21-9-9-9-1105\\0ACNF:1d9f,{container}");
    let (place, name) = (container.to_ascii_lowercase(), twice.clone());
    let fake = Fake::start(
        9,
        Arc::new(move |ask| {
            let base = ask.base.to_ascii_lowercase();
            if ask.base.is_empty() {
                root(ROOT_OF_AD)
            } else if ask.base == people() {
                (0..10).map(ad_user).chain([end()]).collect()
            } else if base == place {
                let sid = vec![sid_of([21, 9, 9, 9, 1105])];
                let found =
                    Say::Ranged(name.clone().into_bytes(), vec![("objectSid".to_owned(), sid)]);
                if code == 0 { vec![found, end()] } else { vec![Say::Done(code, None)] }
            } else if ask.base.starts_with("ou=groups") || ask.base.starts_with(TEAM) {
                let Say::Ranged(dn, mut attributes) = team(ask, &[1], 7) else { unreachable!() };
                for (attribute, values) in &mut attributes {
                    if attribute.starts_with("member") {
                        values.push(name.clone().into_bytes());
                    }
                }
                vec![Say::Ranged(dn, attributes), end()]
            } else {
                vec![Say::Done(32, None)]
            }
        }),
    )
    .await;
    read_config(&impatient(&fake.url)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_of_another_domain_is_listed_is_not_all_known_where_their_sids_could_not_be_read() {
    let all = with_foreigners(0).await;
    assert_eq!(*completeness(&all, &team_dn()), Completeness::Complete);
    let listed = all.directory.refs.iter().filter(|row| row.kind == Kind::ForeignPrincipal);
    let keys: Vec<&str> = listed.map(|row| all.directory.text(row.key)).collect();
    assert_eq!(keys, ["S-1-5-21-9-9-9-1105"]);
    let cut = with_foreigners(51).await;
    let why = partial(completeness(&cut, &team_dn()));
    assert!(why.contains("whose SID could not be read"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_active_directory_that_hides_its_type_makes_the_groups_partial() {
    let snapshot = domain(|ask| {
        let Say::Ranged(dn, attributes) = team(ask, &[1], 7) else { unreachable!() };
        let shown = attributes.into_iter().filter(|(name, _)| name != "groupType");
        vec![Say::Ranged(dn, shown.collect()), end()]
    })
    .await;
    let why = partial(&snapshot.groups);
    assert!(why.contains("without a readable `groupType`"), "{why}");
}
