//! How far a domain controller's changes have been followed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::dc::Dc;
use crate::source::feed::WhyFull;

/// So old, in seconds, may a cookie be: a tombstone is thrown away after two days at the earliest, and
/// nobody is told of it any more.
const OLDEST: i64 = 24 * 60 * 60;

/// How far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Cookie {
    /// The database whose numbers these are (`invocationId`).
    pub database: String,
    /// All changes up to this number have been told.
    pub usn: u64,
    /// The cookie of DirSync, in base 64, where this identity may ask so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dirsync: Option<String>,
    /// The container of what was deleted was shown to this identity.
    pub sees_container: bool,
    /// When that was so, in seconds since 1970.
    at: i64,
}

impl Cookie {
    /// All changes up to `usn`, a number of `dc`'s, have been told by now, and those up to `dirsync`;
    /// deletions among them as whom `sees_container` says.
    pub fn of(dc: &Dc, usn: u64, dirsync: Option<&[u8]>, sees_container: bool) -> Self {
        Cookie {
            database: dc.database.clone(),
            usn,
            dirsync: dirsync.map(|cookie| STANDARD.encode(cookie)),
            sees_container,
            at: chrono::Utc::now().timestamp(),
        }
    }

    /// The cookie of DirSync; nothing where changes are told by number.
    ///
    /// # Errors
    /// It is none.
    pub fn dirsync(&self) -> Result<Option<Vec<u8>>, WhyFull> {
        let decoded = self.dirsync.as_deref().map(|text| STANDARD.decode(text));
        decoded.transpose().map_err(|_| WhyFull::Unreadable)
    }

    /// It as text.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, WhyFull> {
        serde_json::from_slice(bytes).map_err(|_| WhyFull::Unreadable)
    }

    /// Whether `dc` can tell, at `now` (in seconds since 1970), all that came after it, and who was deleted.
    ///
    /// # Errors
    /// It cannot: it is another, or older, or may have forgotten.
    pub fn goes_on_at(&self, dc: &Dc, now: i64) -> Result<(), WhyFull> {
        if self.database != dc.database {
            return Err(WhyFull::Foreign("domain controller, or its database was restored"));
        }
        if self.usn > dc.usn {
            return Err(WhyFull::Newer);
        }
        if now.saturating_sub(self.at) <= OLDEST {
            return Ok(());
        }
        let why =
            "the cursor is more than a day old: who was deleted since may not be told any more";
        Err(WhyFull::Other(why.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dc(database: &str, usn: u64) -> Dc {
        Dc { domain: String::new(), norm: String::new(), database: database.to_owned(), usn }
    }

    #[test]
    fn a_number_counts_in_its_own_database_alone_and_not_for_ever() {
        let cookie = Cookie::of(&dc("a", 20), 17, Some(b"more"), true);
        assert_eq!(cookie.dirsync(), Ok(Some(b"more".to_vec())));
        let other = Cookie { dirsync: Some("?".to_owned()), ..cookie.clone() };
        assert_eq!(other.dirsync(), Err(WhyFull::Unreadable));
        assert_eq!(Cookie::of(&dc("a", 20), 17, None, true).dirsync(), Ok(None));
        assert_eq!(Cookie::parse(&cookie.bytes()), Ok(cookie.clone()));
        assert_eq!(Cookie::parse(b"17"), Err(WhyFull::Unreadable));
        let now = cookie.at + OLDEST;
        assert_eq!(cookie.goes_on_at(&dc("a", 17), now), Ok(()));
        assert_eq!(cookie.goes_on_at(&dc("a", 16), now), Err(WhyFull::Newer));
        assert!(matches!(cookie.goes_on_at(&dc("b", 99), now), Err(WhyFull::Foreign(_))));
        assert!(matches!(cookie.goes_on_at(&dc("a", 17), now + 1), Err(WhyFull::Other(_))));
    }
}
