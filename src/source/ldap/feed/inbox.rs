//! What a server has said and nobody has worked on yet: ids and names, never content.
//!
//! An entry that changes a hundred times is here once. So what waits is bounded by how many entries
//! there are, whatever the server sends, and never more than [`MOST`].

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::super::explain::Fault;
use super::server::Provider;
use super::wire::{Became, Done, Id, Info, State};

/// So many entries may wait: each is read again, so beyond that a full read costs less.
pub(super) const MOST: usize = 10_000;

/// What became of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Touch {
    /// It is new or has changed, and had this name then.
    Changed(String),
    /// It is gone.
    Gone,
}

/// How a search ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// The result code; absent: the connection broke.
    pub code: Option<u32>,
    /// What that means.
    pub fault: Option<Fault>,
}

/// What is to be worked on.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By id.
    pub touched: HashMap<Id, Touch>,
    /// Names of entries that came without saying what became of them.
    pub unnamed: BTreeSet<String>,
    /// The server said who is there, and not who is gone (the present phase).
    pub present: bool,
    /// From where to go on after this.
    pub cookie: Option<Vec<u8>>,
    /// It was told in a refresh.
    pub refresh: bool,
}

impl Batch {
    /// Whether there is nothing to be worked on.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.unnamed.is_empty() && !self.present
    }
}

/// What waits.
#[derive(Debug)]
pub(super) struct Inbox {
    dialect: Provider,
    batch: Batch,
    /// What has changed since the cookie is still being told.
    refreshing: bool,
    /// More came than may wait.
    pub overflow: bool,
    /// Something could not be understood.
    pub garbled: bool,
    /// How the search ended.
    pub ended: Option<Ended>,
}

impl Inbox {
    /// At the beginning of a search with a cookie.
    pub fn new(dialect: Provider) -> Self {
        Inbox {
            dialect,
            batch: Batch { refresh: true, ..Batch::default() },
            refreshing: true,
            overflow: false,
            garbled: false,
            ended: None,
        }
    }

    /// Whether the server is still telling what changed since the cookie.
    pub fn is_refreshing(&self) -> bool {
        self.refreshing
    }

    /// An entry came.
    pub fn entry(&mut self, dn: String, state: Option<State>) {
        let Some(State { became, id, cookie }) = state else {
            self.batch.unnamed.insert(dn);
            self.bound();
            return;
        };
        match became {
            Became::Present => {}
            Became::Changed => self.touch(id, Touch::Changed(dn)),
            Became::Gone => self.touch(id, Touch::Gone),
        }
        // In a refresh a cookie stands for a part of what is to come.
        if !self.refreshing {
            self.stands(cookie);
        }
    }

    /// What stands for the state now. OpenLDAP gives what its overlays change (refint, when somebody is deleted who is
    /// in a group) a cookie that names no state: `rid=000`, without a `csn`. What was told before stands then,
    /// from which this would be told once more.
    fn stands(&mut self, cookie: Option<Vec<u8>>) {
        let names_one = |cookie: &Vec<u8>| self.dialect.state_of(cookie).is_some();
        if let Some(cookie) = cookie.filter(names_one) {
            self.batch.cookie = Some(cookie);
        }
    }

    fn touch(&mut self, id: Id, touch: Touch) {
        self.batch.touched.insert(id, touch);
        self.bound();
    }

    fn bound(&mut self) {
        if self.batch.touched.len().saturating_add(self.batch.unnamed.len()) > MOST {
            self.overflow = true;
            (self.batch.touched, self.batch.unnamed) = (HashMap::new(), BTreeSet::new());
        }
    }

    /// A message came in between.
    pub fn info(&mut self, info: Info) {
        match info {
            Info::Cookie(cookie) if !self.refreshing => self.stands(Some(cookie)),
            Info::Cookie(_) => {}
            Info::Ids { gone: true, ids } => {
                ids.into_iter().for_each(|id| self.touch(id, Touch::Gone));
            }
            Info::Ids { gone: false, .. } => {}
            Info::Phase { deletes, cookie, done } => self.phase(deletes, cookie, done),
        }
    }

    /// The search ended well.
    pub fn done(&mut self, done: Done) {
        if self.refreshing {
            self.phase(done.deletes, done.cookie, true);
        } else {
            self.stands(done.cookie);
        }
    }

    /// A phase ended. One that says who is there is OpenLDAP's alone: 389-DS, sent a cookie, says changes
    /// only, with the same flag.
    fn phase(&mut self, deletes: bool, cookie: Option<Vec<u8>>, done: bool) {
        if !self.refreshing {
            return;
        }
        if !deletes && self.dialect == Provider::OpenLdap {
            self.batch.present = true;
        }
        if done {
            self.refreshing = false;
            self.stands(cookie);
        }
    }

    /// Takes what is to be worked on; nothing while the refresh goes on, since until its end it is
    /// not known what it means.
    pub fn take(&mut self) -> Option<Batch> {
        if self.refreshing {
            return None;
        }
        let next = Batch::default();
        Some(std::mem::replace(&mut self.batch, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Id {
        Id::parse(&format!("{n:02x}").repeat(16)).unwrap()
    }

    fn cookie(dialect: Provider, n: usize) -> Vec<u8> {
        match dialect {
            Provider::OpenLdap => format!("rid=000,csn=20261127040000.{n:06}Z#000000#000#000000"),
            Provider::Ds389 => format!("h:389#cn=r:dc=x:(a=b)#{n}"),
        }
        .into_bytes()
    }

    fn state(dialect: Provider, became: Became, n: u8) -> Option<State> {
        Some(State { became, id: id(n), cookie: Some(cookie(dialect, 1)) })
    }

    fn refresh(dialect: Provider, deletes: bool) -> Batch {
        let mut inbox = Inbox::new(dialect);
        inbox.entry("cn=a".to_owned(), state(dialect, Became::Changed, 1));
        inbox.entry("cn=b".to_owned(), state(dialect, Became::Present, 2));
        inbox.info(Info::Ids { gone: false, ids: vec![id(3), id(2)] });
        inbox.info(Info::Ids { gone: true, ids: vec![id(9)] });
        inbox.info(Info::Cookie(cookie(dialect, 2)));
        assert!(inbox.take().is_none(), "a refresh is worked on as a whole");
        inbox.info(Info::Phase { deletes, cookie: Some(cookie(dialect, 3)), done: true });
        inbox.take().unwrap()
    }

    #[test]
    fn only_openldap_says_who_is_there() {
        for (dialect, deletes, present) in [
            (Provider::OpenLdap, false, true),
            (Provider::OpenLdap, true, false),
            (Provider::Ds389, false, false),
            (Provider::Ds389, true, false),
        ] {
            let batch = refresh(dialect, deletes);
            assert_eq!(batch.present, present, "{dialect:?} {deletes}");
            assert_eq!(batch.touched.get(&id(9)), Some(&Touch::Gone));
            assert_eq!(batch.touched.get(&id(1)), Some(&Touch::Changed("cn=a".to_owned())));
            assert_eq!(batch.touched.len(), 2);
            assert_eq!(batch.cookie, Some(cookie(dialect, 3)), "no cookie of a part");
            assert!(batch.refresh);
        }
    }

    #[test]
    fn after_the_refresh_each_entry_is_there_once_with_the_last_cookie() {
        let mut inbox = Inbox::new(Provider::OpenLdap);
        inbox.done(Done { cookie: None, deletes: true });
        assert!(inbox.take().unwrap().is_empty());
        for n in 0..50u8 {
            let cookie = Some(cookie(Provider::OpenLdap, n.into()));
            let state = State { became: Became::Changed, id: id(1), cookie };
            inbox.entry(format!("cn={n}"), Some(state));
        }
        inbox.entry("cn=dynamic".to_owned(), None);
        let batch = inbox.take().unwrap();
        assert_eq!(batch.touched.len(), 1);
        assert_eq!(batch.touched.get(&id(1)), Some(&Touch::Changed("cn=49".to_owned())));
        assert_eq!(batch.cookie, Some(cookie(Provider::OpenLdap, 49)));
        assert_eq!(batch.unnamed.len(), 1);
        assert!(!batch.refresh);
    }

    #[test]
    fn a_cookie_that_names_no_state_leaves_what_was_told_before() {
        for (dialect, second) in [
            (Provider::OpenLdap, "rid=000"),
            (Provider::OpenLdap, "rid=001,sid=002"),
            (Provider::OpenLdap, "rid=000,csn=20261127"),
            (Provider::Ds389, "h:389#cn=r:dc=x:(a=b)#"),
        ] {
            let with = cookie(dialect, 1);
            let mut inbox = Inbox::new(dialect);
            inbox.done(Done { cookie: None, deletes: true });
            for cookie in [with.clone(), second.into()] {
                let state = State { became: Became::Changed, id: id(1), cookie: Some(cookie) };
                inbox.entry("cn=a".to_owned(), Some(state));
            }
            let batch = inbox.take().unwrap();
            assert_eq!(batch.touched.len(), 1);
            assert_eq!(batch.cookie, Some(with), "{dialect:?} {second}");
        }
    }

    #[test]
    fn more_than_may_wait_are_not_held_whatever_is_said_of_them() {
        type Say = fn(&mut Inbox, usize);
        let ways: [Say; 2] = [
            |inbox, n| inbox.entry(format!("cn={n}"), None),
            |inbox, n| {
                let id = Id::parse(&format!("{n:032x}")).unwrap();
                inbox.info(Info::Ids { gone: true, ids: vec![id] });
            },
        ];
        for say in ways {
            let mut inbox = Inbox::new(Provider::OpenLdap);
            (0..MOST).for_each(|n| say(&mut inbox, n));
            assert!(!inbox.overflow);
            (MOST..3 * MOST).for_each(|n| say(&mut inbox, n));
            assert!(inbox.overflow);
            assert!(inbox.batch.touched.len() <= MOST && inbox.batch.unnamed.len() <= MOST);
        }
    }
}
