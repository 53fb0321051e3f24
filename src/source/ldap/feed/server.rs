//! What a server says of itself that a feed depends on.

use ldap3::Scope;

use super::super::config::Flavor;
use super::super::connect::Connection;
use super::super::dialect::Dialect;
use super::super::entry::Entry;
use super::super::explain::Fault;
use super::super::search::{self, Limits, Search};
use super::super::server::told_by;
use super::wire;
use crate::directory::dn;
use crate::source::feed::{NotFollowed, WhyFull};

/// Whose ways the server has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Provider {
    /// `syncprov`: delete and present phases.
    OpenLdap,
    /// Content Synchronization over the retro change log: changes only.
    Ds389,
}

/// The state that a cookie names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CookieState {
    /// OpenLDAP's change sequence numbers, which it compares itself.
    Csn,
    /// The number of the last change, of 389-DS's log.
    Change(u64),
}

impl Provider {
    /// The state that a cookie names; none: the server cannot go on from it. OpenLDAP's have
    /// `rid=000[,sid=001],csn=CSN[;CSN …]` (slapd's `ldapsync.c`); one without a whole `csn` it would take for none,
    /// and say everything as added and nobody as gone. 389-DS's end with `#` and the number of a change.
    pub fn state_of(self, cookie: &[u8]) -> Option<CookieState> {
        let cookie = std::str::from_utf8(cookie).ok()?;
        match self {
            Provider::OpenLdap => {
                let csns = cookie.split(',').find_map(|part| part.strip_prefix("csn="))?;
                csns.split(';').all(is_csn).then_some(CookieState::Csn)
            }
            Provider::Ds389 => {
                let (_, number) = cookie.rsplit_once('#')?;
                number.parse().ok().map(CookieState::Change)
            }
        }
    }
}

/// Whether it is a whole CSN: `20261127040000.000000Z#000000#000#000000`.
fn is_csn(text: &str) -> bool {
    let hex =
        |part: &str, size| part.len() == size && part.bytes().all(|it| it.is_ascii_hexdigit());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    let parts: Vec<&str> = text.split('#').collect();
    let [time, count, sid, change] = parts.as_slice() else { return false };
    let Some(time) = time.strip_suffix('Z') else { return false };
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let is_time = seconds.len() == 14 && digits(seconds) && digits(fraction);
    is_time && hex(count, 6) && hex(sid, 3) && hex(change, 6)
}

/// How a server is followed.
#[derive(Debug)]
pub(super) enum Kind {
    /// By content synchronization.
    Sync(Server),
    /// In the ways of Active Directory.
    ActiveDirectory,
    /// Not at all.
    Not(NotFollowed),
}

/// What its root DSE says.
#[derive(Debug)]
pub(super) struct Server {
    /// Whose ways its feed has.
    pub provider: Provider,
    /// Its ways otherwise.
    pub dialect: Dialect,
    /// The trees that it holds, in normal form; none where it does not say.
    contexts: Vec<String>,
    /// The first and the last change of 389-DS's log.
    log: Option<(u64, u64)>,
}

impl Server {
    /// Asks it.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ask(
        connection: &Connection,
        limits: Limits,
        configured: Flavor,
    ) -> Result<Kind, Fault> {
        let attributes = [
            "objectClass",
            "vendorName",
            "vendorVersion",
            "forestFunctionality",
            "dsServiceName",
            "supportedControl",
            "namingContexts",
            "firstChangeNumber",
            "lastChangeNumber",
        ];
        let search = Search {
            what: "the root DSE",
            base: String::new(),
            scope: Scope::Base,
            filter: "(objectClass=*)".to_owned(),
            attributes: attributes.map(str::to_owned).to_vec(),
            page_size: 0,
            as_stored: false,
            dialect: Dialect::OPENLDAP,
        };
        let mut root = Entry::default();
        let mut ldap = connection.ldap.clone();
        let end = search::run(&mut ldap, &search, limits, |entry| root = entry, |_| {}).await;
        match end.fault {
            Some(fault) => Err(fault),
            None => Ok(Self::of(&root, configured)),
        }
    }

    fn of(root: &Entry, configured: Flavor) -> Kind {
        let flavor = match (told_by(root), configured) {
            (Some(told), Flavor::Auto) => told,
            (_, configured) => configured,
        };
        let provider = match flavor {
            Flavor::OpenLdap => Provider::OpenLdap,
            Flavor::Ds389 => Provider::Ds389,
            Flavor::ActiveDirectory => return Kind::ActiveDirectory,
            Flavor::Auto => return Kind::Not(NotFollowed::Unknown),
        };
        // OpenLDAP lists the control once the module is loaded, whether the overlay is on or not;
        // 389-DS when its plug-in is on.
        if !root.texts("supportedcontrol").any(|oid| oid == wire::REQUEST) {
            return Kind::Not(NotFollowed::NotOffered(match provider {
                Provider::OpenLdap => {
                    "the server does not offer content synchronization: add `overlay syncprov`, \
                     with `syncprov-sessionlog` and `syncprov-checkpoint`"
                }
                Provider::Ds389 => {
                    "the server does not offer content synchronization: switch on its plug-ins \
                     `Retro Changelog Plugin` and `Content Synchronization`"
                }
            }));
        }
        let number = |name: &str| root.text(name)?.trim().parse::<u64>().ok();
        Kind::Sync(Server {
            provider,
            dialect: Dialect::of(flavor),
            contexts: root
                .texts("namingcontexts")
                .filter_map(|dn| dn::normalize(dn).ok())
                .collect(),
            log: number("firstchangenumber").zip(number("lastchangenumber")),
        })
    }

    /// The lowest entry above both bases (in normal form).
    ///
    /// # Errors
    /// There is none in one tree of this server.
    pub fn above(&self, users: &str, groups: Option<&str>) -> Result<String, NotFollowed> {
        let Some(groups) = groups else { return Ok(users.to_owned()) };
        let mut base = users;
        while !dn::is_under(groups, base) {
            let rdn = dn::first_rdn(base).len();
            base = base.get(rdn.saturating_add(1)..).unwrap_or("");
            if base.is_empty() {
                return Err(NotFollowed::Apart);
            }
        }
        let held = |context: &String| dn::is_under(base, context);
        if self.contexts.is_empty() || self.contexts.iter().any(held) {
            Ok(base.to_owned())
        } else {
            Err(NotFollowed::Apart)
        }
    }

    /// Whether the server can be sent `cookie` without losing what was deleted since.
    ///
    /// # Errors
    /// It cannot.
    pub fn accepts(&self, cookie: &[u8]) -> Result<(), WhyFull> {
        match self.provider.state_of(cookie).ok_or(WhyFull::Unreadable)? {
            CookieState::Csn => Ok(()),
            // Where the log was trimmed it answers success and what is left: a deletion in the gap
            // would be lost for ever.
            CookieState::Change(at) => {
                let (first, last) = self.log.ok_or(WhyFull::UnknownLog)?;
                if first > at.saturating_add(1) {
                    return Err(WhyFull::Trimmed { first, at });
                }
                if last < at { Err(WhyFull::Newer) } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(attributes: &[(&str, &str)]) -> Entry {
        let mut entry = Entry::default();
        for (name, value) in attributes {
            entry.add(name, [value.as_bytes().to_vec()]);
        }
        entry
    }

    const OPENLDAP: [(&str, &str); 3] = [
        ("objectClass", "OpenLDAProotDSE"),
        ("supportedControl", wire::REQUEST),
        ("namingContexts", "dc=Example,dc=org"),
    ];

    fn synchronizes(attributes: &[(&str, &str)]) -> Server {
        match Server::of(&root(attributes), Flavor::Auto) {
            Kind::Sync(server) => server,
            other => panic!("{other:?}"),
        }
    }

    fn ds389(first: &str, last: &str) -> Server {
        let numbers = [("firstChangeNumber", first), ("lastChangeNumber", last)];
        let all = [("vendorName", "389 Project"), ("supportedControl", wire::REQUEST)];
        synchronizes(&[all, numbers].concat())
    }

    #[test]
    fn what_is_not_offered_is_told() {
        let without = root(&[("objectClass", "OpenLDAProotDSE")]);
        let Kind::Not(why) = Server::of(&without, Flavor::Auto) else { panic!("followed") };
        assert!(why.to_string().contains("overlay syncprov"), "{why}");
        let of = |attributes| Server::of(&root(attributes), Flavor::Auto);
        assert!(matches!(of(&[("forestFunctionality", "7")]), Kind::ActiveDirectory));
        assert!(matches!(of(&[("vendorName", "x")]), Kind::Not(NotFollowed::Unknown)));
    }

    #[test]
    fn what_is_watched_is_above_both_bases_and_in_one_tree() {
        let server = synchronizes(&OPENLDAP);
        let above = |users: &str, groups: Option<&str>| server.above(users, groups);
        let (people, groups) = ("ou=people,dc=example,dc=org", "ou=groups,dc=example,dc=org");
        assert_eq!(above(people, None).unwrap(), people);
        assert_eq!(above(people, Some(people)).unwrap(), people);
        assert_eq!(above(people, Some(groups)).unwrap(), "dc=example,dc=org");
        assert_eq!(above(people, Some("dc=example,dc=org")).unwrap(), "dc=example,dc=org");
        assert_eq!(above(people, Some("dc=other,dc=org")), Err(NotFollowed::Apart));
        assert_eq!(above(people, Some("dc=other,dc=net")), Err(NotFollowed::Apart));
    }

    #[test]
    fn a_cookie_that_would_lose_deletions_is_not_sent() {
        let openldap = synchronizes(&OPENLDAP);
        let csn = "rid=000,csn=20261127040000.000000Z#000000#000#000000";
        assert_eq!(openldap.accepts(csn.as_bytes()), Ok(()));
        assert_eq!(openldap.accepts(b"rid=000"), Err(WhyFull::Unreadable));
        let cookie = |n: u64| format!("h:389#cn=r:dc=x:(a=b)#{n}").into_bytes();
        let server = ds389("10", "20");
        for (at, expected) in [
            (8, Err(WhyFull::Trimmed { first: 10, at: 8 })),
            (9, Ok(())),
            (20, Ok(())),
            (21, Err(WhyFull::Newer)),
        ] {
            assert_eq!(server.accepts(&cookie(at)), expected, "{at}");
        }
        assert_eq!(server.accepts(b"h:389"), Err(WhyFull::Unreadable));
        assert_eq!(ds389("x", "1").accepts(&cookie(9)), Err(WhyFull::UnknownLog));
    }

    #[test]
    fn a_cookie_names_a_state_or_none() {
        let csn = "20261127040000.000000Z#000000#000#000000";
        let other = "20261128120000.123456Z#00000a#0fF#000000";
        for (cookie, names) in [
            (format!("rid=000,csn={csn}"), true),
            // Several servers that write, each with its own.
            (format!("rid=001,csn={csn};{other}"), true),
            (format!("rid=001,sid=00a,csn={csn};{other}"), true),
            (format!("rid=000,csn={csn},delcsn={other}"), true),
            (format!("csn={other}"), true),
            ("rid=000,csn=20261127040000Z#000000#000#000000".to_owned(), true),
            // What refint changes.
            ("rid=000".to_owned(), false),
            ("rid=001,sid=002".to_owned(), false),
            (format!("rid=000,delcsn={csn}"), false),
            ("rid=000,csn=".to_owned(), false),
            ("rid=000,csn=2".to_owned(), false),
            ("rid=000,csn=#".to_owned(), false),
            (format!("rid=000,csn={csn};"), false),
            (format!("rid=000,csn={csn};{}", &csn[..30]), false),
            (format!("rid=000,CSN={csn}"), false),
            (csn.to_owned(), false),
            (String::new(), false),
            ("garbage".to_owned(), false),
        ] {
            let state = Provider::OpenLdap.state_of(cookie.as_bytes());
            assert_eq!(state, names.then_some(CookieState::Csn), "{cookie}");
        }
        for end in 0..csn.len() {
            let cut = format!("rid=000,csn={}", &csn[..end]);
            assert_eq!(Provider::OpenLdap.state_of(cut.as_bytes()), None, "{cut}");
        }
        for (cookie, number) in [
            ("h:389#cn=r:dc=x:(a=b)#17", Some(17)),
            ("h:389#cn=r:dc=x:(a=#)#0", Some(0)),
            ("h:389#cn=r:dc=x:(a=b)#", None),
            ("h:389#cn=r:dc=x:(a=b)#-1", None),
            ("h:389", None),
            ("17", None),
            ("", None),
        ] {
            let state = Provider::Ds389.state_of(cookie.as_bytes());
            assert_eq!(state, number.map(CookieState::Change), "{cookie}");
        }
        assert_eq!(Provider::OpenLdap.state_of(b"csn=\xff"), None);
        assert_eq!(Provider::Ds389.state_of(b"\xff#1"), None);
    }
}
