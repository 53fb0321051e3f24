//! The cursor of a realm's feed: how far its logs of events were followed, and of which realm they are.

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::stream::Place;
use crate::config::KindSettings;
use crate::directory::Cursor;
use crate::model::encoding::Encoder;
use crate::source::feed::WhyFull;
use crate::source::keycloak::config::KeycloakConfig;

/// What a cursor belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Key {
    /// The realm's id: one made anew under the same name has another.
    realm: String,
    /// The source's settings that its facts depend on, as a digest.
    settings: String,
}

impl Key {
    pub(super) fn new(config: &KeycloakConfig, settings: &Settings) -> Self {
        let mut encoder = Encoder::new("keycloak feed 1");
        config.encode(&mut encoder);
        Key { realm: settings.id.clone(), settings: encoder.hex() }
    }
}

/// How far the logs were followed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Written {
    key: Key,
    /// In the log of admin events.
    pub admin: Place,
    /// In that of user events; none where that was off.
    pub user: Option<Place>,
}

impl Written {
    pub(super) fn new(key: Key, admin: Place, user: Option<Place>) -> Self {
        Written { key, admin, user }
    }

    /// As the mirror keeps it.
    pub(super) fn cursor(&self) -> Cursor {
        // Texts, numbers and lists of them: nothing that JSON could not hold.
        Cursor::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// What `cursor` says, where it is one of `key`.
    pub(super) fn read(cursor: &Cursor, key: &Key) -> Result<Self, WhyFull> {
        let written: Written =
            serde_json::from_str(cursor.as_str()).map_err(|_| WhyFull::Unreadable)?;
        if written.key.realm != key.realm {
            return Err(WhyFull::Foreign("realm"));
        }
        if written.key.settings != key.settings {
            return Err(WhyFull::Foreign("set of the source's settings"));
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_followed_only_in_its_realm_and_under_its_settings() {
        let key = |realm: &str, settings: &str| Key {
            realm: realm.to_owned(),
            settings: settings.to_owned(),
        };
        let place = Place {
            at: 1_795_468_148_333,
            last: Some(("0a1b2c3d-0a1b-4c3d".to_owned(), 1_795_468_148_333)),
            seen: [("0a1b2c3d-0a1b-4c3d".to_owned(), 1_795_468_148_333)].into(),
        };
        let written = Written::new(key("a", "1"), place, None);
        let cursor = written.cursor();
        assert_eq!(Written::read(&cursor, &key("a", "1")), Ok(written));
        assert_eq!(Written::read(&cursor, &key("b", "1")), Err(WhyFull::Foreign("realm")));
        let other = Written::read(&cursor, &key("a", "2"));
        assert_eq!(other, Err(WhyFull::Foreign("set of the source's settings")));
        assert_eq!(Written::read(&Cursor::new("17"), &key("a", "1")), Err(WhyFull::Unreadable));
    }
}
