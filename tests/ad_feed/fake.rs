//! What Samba does not do: several domain controllers behind one name, and one that hides what it is.

use std::sync::Arc;

use idpsyncd::directory::Cursor;
use idpsyncd::source::feed::{Feed as _, Mark, NotFollowed};
use idpsyncd::source::ldap::LdapSource;

use crate::kit::wants;
use crate::support::fake_ldap::{Ask, Fake, Say, Script};
use crate::support::ldap;

const DOMAIN: &str = "dc=example,dc=org";

/// Domain controllers that answer in turn, each with the number that its name ends in.
fn controllers(names: &'static [&'static str], shows_database: bool) -> Script {
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
    let cookie = format!(r#"{{\"database\":\"{database}\",\"usn\":17,\"at\":0}}"#);
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
    });
}
