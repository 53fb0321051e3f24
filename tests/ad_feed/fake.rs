//! What Samba does not do: several domain controllers behind one name, and one that hides what it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use idpsyncd::directory::Cursor;
use idpsyncd::source::feed::{Feed as _, Mark, NotFollowed};
use idpsyncd::source::ldap::LdapSource;

use crate::has;
use crate::kit::{World, wants};
use crate::support::fake_ldap::{Ask, Fake, Say, Script};
use crate::support::ldap;

pub const DOMAIN: &str = "dc=example,dc=org";

/// Domain controllers that answer in turn, each with the number that its name ends in.
pub fn controllers(names: &'static [&'static str], shows_database: bool) -> Script {
    Arc::new(move |ask: &Ask| {
        let text = |name: &str, value: &str| (name.to_owned(), vec![value.as_bytes().to_vec()]);
        let entry = match ask.base.as_str() {
            "" => vec![
                text("defaultNamingContext", DOMAIN),
                text("dsServiceName", names[ask.before % names.len()]),
                text("highestCommittedUSN", "17"),
            ],
            settings if shows_database && settings.starts_with("CN=") => {
                let number = settings.bytes().last().unwrap_or_default();
                vec![("invocationId".to_owned(), vec![vec![number; 16]])]
            }
            _ => Vec::new(),
        };
        vec![Say::Ranged(ask.base.clone().into_bytes(), entry), Say::Done(0, None)]
    })
}

/// A cursor of the domain controller whose name ends in `number`.
fn cursor(number: u8) -> Cursor {
    let database = format!("{number:02x}").repeat(16);
    let cookie =
        format!(r#"{{\"database\":\"{database}\",\"usn\":17,\"sees_container\":true,\"at\":0}}"#);
    let lists = r#""filter":[],"attributes":[]"#;
    let key = format!(r#"{{"server":"x","base":"x",{lists},"identity":""}}"#);
    Cursor::new(format!(r#"{{"key":{key},"cookie":"{cookie}"}}"#))
}

#[test]
fn a_read_beside_the_feed_goes_to_the_controller_that_is_followed_or_fails() {
    ldap::runtime().block_on(async {
        let fake = Fake::start(100, controllers(&["CN=dc1", "CN=dc2", "CN=dc3"], true)).await;
        let source = LdapSource::new("ad", &ldap::at(&fake.url)).unwrap();
        source.stays(&cursor(b'2')).await.unwrap();
        let error = source.stays(&cursor(b'9')).await.unwrap_err();
        assert!(error.transient && error.message.contains("may lag behind"), "{error:?}");
        // One of another kind of server is of no concern.
        source.stays(&Cursor::new("rid=000")).await.unwrap();
    });
}

#[test]
fn a_controller_that_hides_whose_numbers_it_gives_is_not_followed() {
    ldap::runtime().block_on(async {
        let fake = Fake::start(100, controllers(&["CN=dc1"], false)).await;
        let source = LdapSource::new("ad", &ldap::at(&fake.url)).unwrap();
        let mark = source.mark(&wants()).await.unwrap();
        let Mark::Not(NotFollowed::Refused(why)) = mark else { panic!("{mark:?}") };
        assert!(why.contains("invocationId"), "{why}");
        // And a read beside the feed would be of nobody knows which.
        let error = source.stays(&cursor(b'1')).await.unwrap_err();
        assert!(error.transient && error.message.contains("which domain controller"), "{error:?}");
    });
}

/// Text or bytes.
pub fn value(name: &str, value: &[u8]) -> (String, Vec<Vec<u8>>) {
    (name.to_owned(), vec![value.to_vec()])
}

/// What comes of a search by an id.
type Found = &'static (dyn Fn() -> Vec<Say> + Send + Sync);

/// A domain of one person, who has changed and whom no filter finds any more; by the id comes `found`, and how often
/// is counted.
fn domain(found: Found, asked: Arc<AtomicUsize>) -> Script {
    const SID: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0];
    let root = controllers(&["CN=dc1"], true);
    Arc::new(move |ask: &Ask| {
        let entry = |dn: &str, more: Vec<(String, Vec<Vec<u8>>)>| {
            vec![Say::Ranged(dn.as_bytes().to_vec(), more), Say::Done(0, None)]
        };
        let person = format!("cn=bob,ou=people,{DOMAIN}");
        let first = ask.before == 0;
        match (ask.base.as_str(), ask.attributes.len()) {
            // Something changes all the time.
            ("", 1) => {
                let usn = (17 + ask.before).to_string();
                entry("", vec![value("highestCommittedUSN", usn.as_bytes())])
            }
            ("<WKGUID=18e2ea80684f11d2b9aa00c04f79f805,dc=example,dc=org>", _) => {
                entry("cn=deleted objects", vec![value("isDeleted", b"TRUE")])
            }
            // DirSync: not for this identity.
            (DOMAIN, 2) => vec![Say::Done(50, None)],
            // Who has changed.
            (DOMAIN, 3) => {
                let class = value("objectClass", b"user");
                entry(&person, vec![value("objectGUID", &[7; 16]), class])
            }
            (base, _) if base.starts_with("<GUID=") => {
                asked.fetch_add(1, Ordering::SeqCst);
                found()
            }
            (base, _) if base.starts_with("ou=people") && first => entry(
                &person,
                vec![
                    value("objectGUID", &[7; 16]),
                    value("objectClass", b"user"),
                    value("uid", b"bob"),
                    value("userAccountControl", b"512"),
                    value("departmentNumber", b"research"),
                    value("objectSid", &SID),
                    value("primaryGroupID", b"513"),
                ],
            ),
            (base, _) if base.starts_with("ou=groups") && first => entry(
                &format!("cn=ml,ou=groups,{DOMAIN}"),
                vec![
                    value("objectGUID", &[8; 16]),
                    value("objectClass", b"group"),
                    value("groupType", b"-2147483646"),
                    value("cn", b"ml"),
                    value("objectSid", &SID),
                    value("member", person.as_bytes()),
                ],
            ),
            ("" | "CN=dc1", _) => root(ask),
            _ => vec![Say::Done(0, None)],
        }
    })
}

/// By the id: the entry `dn` with the id of that byte, deleted or not.
fn by_id(dn: &str, id: Option<u8>, deleted: bool) -> Vec<Say> {
    let mut attributes: Vec<_> =
        id.into_iter().map(|byte| value("objectGUID", &[byte; 16])).collect();
    if deleted {
        attributes.push(value("isDeleted", b"TRUE"));
    }
    vec![Say::Ranged(dn.as_bytes().to_vec(), attributes), Say::Done(0, None)]
}

/// Whoever was told and is not found is gone only where that is seen.
#[test]
fn who_is_not_found_is_gone_only_as_a_tombstone_or_elsewhere() {
    const ELSEWHERE: &str = "cn=bob,ou=other,dc=example,dc=org";
    let cases: [(&str, Found, bool); 6] = [
        ("no such entry, as for whom it is hidden", &|| vec![Say::Done(32, None)], false),
        ("nothing", &|| vec![Say::Done(0, None)], false),
        ("somebody who shows no id", &|| by_id(ELSEWHERE, None, false), false),
        ("somebody else", &|| by_id(ELSEWHERE, Some(9), true), false),
        ("a tombstone", &|| by_id(ELSEWHERE, Some(7), true), true),
        ("out of the base", &|| by_id(ELSEWHERE, Some(7), false), true),
    ];
    for (what, found, is_gone) in cases {
        let runtime = ldap::runtime();
        let asked = Arc::new(AtomicUsize::new(0));
        let fake = runtime.block_on(Fake::start(100, domain(found, asked.clone())));
        let mut world = World::new(ldap::at(&fake.url));
        assert!(has(&world.facts(), "bob"));
        // Where it is asked again, what the first answer led to has been told.
        let told = || !is_gone && asked.load(Ordering::SeqCst) > 1;
        world.until(what, |facts| !has(facts, "bob") || told());
        assert_eq!(has(&world.facts(), "bob"), !is_gone, "{what}");
        assert_eq!(world.reads, [], "{what}");
    }
}
