//! The cursor of an LDAP feed: the server's cookie, and what it was a cookie of.
//!
//! OpenLDAP takes a cookie of another base or filter and says that nothing changed. So what the
//! cookie belongs to is written beside it, and compared before it is sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::witness::{Witness, Witnesses};
use crate::directory::{Cursor, Step};
use crate::source::feed::WhyFull;

/// How long a cookie that goes with nothing may wait to be kept.
pub(super) const KEEP_COOKIE: Duration = Duration::from_secs(60);

/// What a cookie belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Key {
    /// The server, as it is named in the configuration.
    pub server: String,
    /// The base that is watched.
    pub base: String,
    /// Whose entries count.
    pub filter: Vec<String>,
    /// What is read of them.
    pub attributes: Vec<String>,
    /// As whom.
    pub identity: String,
}

#[derive(Serialize, Deserialize)]
struct Written {
    key: Key,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<Witness>,
    cookie: String,
}

/// The cookie of `cursor`, whatever it is one of; nothing where there is none.
pub(super) fn cookie_of(cursor: &Cursor) -> Option<Vec<u8>> {
    let written: Written = serde_json::from_str(cursor.as_str()).ok()?;
    Some(written.cookie.into_bytes())
}

impl Key {
    /// The cursor that `cookie` is; nothing where it is no text, as those of OpenLDAP and 389-DS are.
    pub fn cursor(&self, cookie: &[u8]) -> Option<Cursor> {
        self.cursor_after(cookie, &Witnesses::default())
    }

    /// The same, where this was told last.
    fn cursor_after(&self, cookie: &[u8], seen: &Witnesses) -> Option<Cursor> {
        let cookie = std::str::from_utf8(cookie).ok()?.to_owned();
        let written = Written { key: self.clone(), seen: seen.all().cloned().collect(), cookie };
        serde_json::to_string(&written).ok().map(Cursor::new)
    }

    /// The cookie of `cursor`.
    ///
    /// # Errors
    /// It is one of something else.
    pub fn cookie(&self, cursor: &Cursor) -> Result<Vec<u8>, WhyFull> {
        let written: Written =
            serde_json::from_str(cursor.as_str()).map_err(|_| WhyFull::Unreadable)?;
        let Key { server, base, filter, attributes, identity } = &written.key;
        for (same, what) in [
            (*server == self.server, "server"),
            (*base == self.base, "base"),
            (*filter == self.filter, "filter"),
            (*attributes == self.attributes, "set of attributes"),
            (*identity == self.identity, "identity"),
        ] {
            if !same {
                return Err(WhyFull::Foreign(what));
            }
        }
        Ok(written.cookie.into_bytes())
    }
}

/// The server that `cursor` is of, as messages show it.
pub(super) fn server_of(cursor: &Cursor) -> Option<String> {
    serde_json::from_str(cursor.as_str()).ok().map(|it: Written| it.key.server)
}

/// What was told last when `cursor` was made.
pub(super) fn witnesses_of(cursor: &Cursor) -> Witnesses {
    let written = serde_json::from_str(cursor.as_str()).ok();
    Witnesses(written.map(|it: Written| it.seen.into()).unwrap_or_default())
}

/// A cookie that is no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the server's cookie is no text")]
pub(super) struct NoText;

/// How far a mirror has come, and how far its server has told.
pub(super) struct Bookmark {
    key: Key,
    /// The mirror's.
    cursor: Cursor,
    cookie: Vec<u8>,
    /// What the mirror has not moved to.
    newer: Option<(Vec<u8>, Cursor)>,
    /// When the mirror moved last.
    moved: Instant,
}

impl Bookmark {
    /// At `cursor`, whose cookie is `cookie`.
    pub fn new(key: Key, cursor: Cursor, cookie: Vec<u8>) -> Self {
        Bookmark { key, cursor, cookie, newer: None, moved: Instant::now() }
    }

    /// What cookies belong to.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The mirror's cookie.
    pub fn cookie(&self) -> &[u8] {
        &self.cookie
    }

    /// Everything that the server told so far comes before `cookie`. Where that is the mirror's own,
    /// as after a refresh in which nothing had changed, there is nothing to move to.
    ///
    /// # Errors
    /// It is no text.
    pub fn told(&mut self, cookie: Vec<u8>, seen: &Witnesses) -> Result<(), NoText> {
        let cursor = self.key.cursor_after(&cookie, seen).ok_or(NoText)?;
        self.newer = (cookie != self.cookie).then_some((cookie, cursor));
        Ok(())
    }

    /// What was told since the mirror's cursor will be told again.
    pub fn go_back(&mut self) {
        self.newer = None;
    }

    /// When the mirror must move although nothing else changes in it.
    pub fn due(&self) -> Option<Instant> {
        self.newer.as_ref()?;
        Some(self.moved.checked_add(KEEP_COOKIE).unwrap_or(self.moved))
    }

    /// To where the mirror can be brought: nowhere else unless `all_is_settled`.
    pub fn step(&self, all_is_settled: bool) -> Step {
        let newer = self.newer.as_ref().filter(|_| all_is_settled);
        let to = newer.map_or(&self.cursor, |(_, cursor)| cursor).clone();
        Step { from: self.cursor.clone(), to }
    }

    /// Notes that the mirror will be where `step` leads.
    pub fn take(&mut self, step: &Step) {
        if let Some((cookie, cursor)) = self.newer.take_if(|(_, cursor)| *cursor == step.to) {
            (self.cookie, self.cursor) = (cookie, cursor);
            self.moved = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Id;
    use super::*;

    fn key() -> Key {
        Key {
            server: "ldap://a".to_owned(),
            base: "dc=example".to_owned(),
            filter: vec!["(objectClass=person)".to_owned()],
            attributes: vec!["uid".to_owned()],
            identity: "cn=reader".to_owned(),
        }
    }

    #[test]
    fn a_mirror_moves_once_all_is_settled_and_nowhere_where_nothing_is_newer() {
        let none = Witnesses::default();
        let at = key().cursor(b"1").unwrap();
        assert_eq!(server_of(&at).as_deref(), Some("ldap://a"));
        let mut mark = Bookmark::new(key(), at.clone(), b"1".to_vec());
        let here = Step { from: at.clone(), to: at.clone() };
        // What 389-DS says after a refresh in which nothing had changed: it is never due, or whoever
        // waits for that would wait no more.
        mark.told(b"1".to_vec(), &none).unwrap();
        assert_eq!((mark.due(), mark.step(true)), (None, here.clone()));
        mark.told(b"2".to_vec(), &none).unwrap();
        assert_eq!(mark.step(false), here);
        mark.take(&here);
        assert_eq!(mark.cookie(), b"1");
        assert!(mark.due().is_some());
        let on = mark.step(true);
        assert_ne!(on, here);
        mark.take(&on);
        assert_eq!((mark.cookie(), mark.due()), (&b"2"[..], None));
        mark.told(b"3".to_vec(), &none).unwrap();
        mark.go_back();
        assert_eq!((mark.due(), mark.step(true).to), (None, on.to));
        assert_eq!(mark.told(vec![0xff], &none), Err(NoText));
    }

    #[test]
    fn a_cookie_is_sent_only_to_what_it_is_of() {
        let key = key();
        let cursor = key.cursor(b"rid=000,csn=1").unwrap();
        assert_eq!(key.cookie(&cursor).unwrap(), b"rid=000,csn=1");
        assert_eq!(witnesses_of(&cursor), Witnesses::default());
        for (other, what) in [
            (Key { server: "ldap://b".to_owned(), ..key.clone() }, "server"),
            (Key { base: "dc=other".to_owned(), ..key.clone() }, "base"),
            (Key { filter: vec![], ..key.clone() }, "filter"),
            (Key { attributes: vec![], ..key.clone() }, "set of attributes"),
            (Key { identity: String::new(), ..key.clone() }, "identity"),
        ] {
            assert_eq!(other.cookie(&cursor), Err(WhyFull::Foreign(what)));
        }
        assert_eq!(key.cookie(&Cursor::new("17")), Err(WhyFull::Unreadable));
        assert_eq!(key.cursor(&[0xff]), None);
        let mut seen = Witnesses::default();
        seen.gone(Id::parse(&"07".repeat(16)).unwrap());
        let cursor = key.cursor_after(b"1", &seen).unwrap();
        assert_eq!((key.cookie(&cursor).unwrap(), witnesses_of(&cursor)), (b"1".to_vec(), seen));
    }
}
