//! The cursor of an LDAP feed: the server's cookie, and what it was a cookie of.
//!
//! OpenLDAP takes a cookie of another base or filter and says that nothing changed. So what the
//! cookie belongs to is written beside it, and compared before it is sent.

use serde::{Deserialize, Serialize};

use crate::directory::Cursor;
use crate::source::feed::WhyFull;

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
        let cookie = std::str::from_utf8(cookie).ok()?.to_owned();
        let written = Written { key: self.clone(), cookie };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_sent_only_to_what_it_is_of() {
        let key = Key {
            server: "ldap://a".to_owned(),
            base: "dc=example".to_owned(),
            filter: vec!["(objectClass=person)".to_owned()],
            attributes: vec!["uid".to_owned()],
            identity: "cn=reader".to_owned(),
        };
        let cursor = key.cursor(b"rid=000,csn=1").unwrap();
        assert_eq!(key.cookie(&cursor).unwrap(), b"rid=000,csn=1");
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
    }
}
