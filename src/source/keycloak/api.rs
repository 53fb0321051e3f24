//! The shapes of the admin API's answers, as far as they are read, and how to read them.
//!
//! Long lists are read row by row into something small: no list of 20,000 users is ever held
//! twice. Every parser here takes a whole body and refuses one with anything behind it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::pages::Page;
use crate::model::{Text, Texts, TooMany};

/// A role, brief.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleRow {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub composite: bool,
}

/// A client. Everything else is skipped unread: the answer holds every client's secret.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientRow {
    pub id: String,
    pub client_id: String,
}

/// A group, brief or full.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupRow {
    pub id: String,
    pub name: String,
    pub parent_id: Option<String>,
    /// Only in the full form.
    pub realm_roles: Option<Vec<String>>,
    /// Only in the full form.
    pub client_roles: Option<BTreeMap<String, Vec<String>>>,
}

/// `/groups/count`
#[derive(Deserialize)]
pub(super) struct GroupCount {
    pub count: u64,
}

/// A federation or one of its mappers.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Component {
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub provider_id: String,
    #[serde(default)]
    pub config: BTreeMap<String, Vec<Option<String>>>,
}

impl Component {
    /// The first value of a setting.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.config.get(name)?.first()?.as_deref()
    }
}

/// Parses a whole body.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}

/// A brief user.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawUser<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow, default)]
    email: Option<Cow<'a, str>>,
    #[serde(default)]
    email_verified: Option<bool>,
    enabled: bool,
    #[serde(borrow, default)]
    federation_link: Option<Cow<'a, str>>,
}

/// A user of a [`UserList`].
#[derive(Clone, Copy, Debug)]
pub(super) struct UserRow {
    pub id: Text,
    pub username: Text,
    pub email: Text,
    pub email_verified: bool,
    pub enabled: bool,
    /// The federation's id, or empty.
    pub federation: Text,
}

/// Users, small. Distinct by id: the first row of an id counts.
#[derive(Default, Debug)]
pub(super) struct UserList {
    pub texts: Texts,
    pub rows: Vec<UserRow>,
    seen: hashbrown::HashSet<Box<str>>,
    /// A federation's id is short and comes with each of its people: kept once.
    links: HashMap<String, Text>,
}

impl UserList {
    /// Parses a list of brief users.
    #[cfg(test)]
    pub(super) fn parse(body: &[u8]) -> serde_json::Result<Self> {
        UserList::page(body).map(|page| page.what)
    }

    /// Parses a page of a list of brief users.
    pub(super) fn page(body: &[u8]) -> serde_json::Result<Page<Self>> {
        let mut list = UserList { texts: Texts::with_capacity(0, 0), ..UserList::default() };
        let (mut rows, mut first, mut last) = (0, String::new(), String::new());
        let mut full = None;
        each(body, |user: RawUser<'_>| {
            if rows == 0 {
                first = user.id.clone().into_owned();
            }
            rows += 1;
            last.clear();
            last.push_str(&user.id);
            let added = list.add(
                &user.id,
                &user.username,
                user.email.as_deref().unwrap_or_default(),
                (user.email_verified.unwrap_or(false), user.enabled),
                user.federation_link.as_deref().or_else(|| provider_of(&user.id)),
            );
            full = full.or(added.err());
        })?;
        if let Some(full) = full {
            return Err(serde::de::Error::custom(full));
        }
        Ok(Page { what: list, rows, first, last })
    }

    /// Takes over the users of `page`, but those who are here.
    ///
    /// # Errors
    /// There is no room left for one of them: they are not all here.
    pub(super) fn extend(&mut self, page: &UserList) -> Result<(), TooMany> {
        for row in &page.rows {
            let federation = Some(page.text(row.federation)).filter(|it| !it.is_empty());
            self.add(
                page.text(row.id),
                page.text(row.username),
                page.text(row.email),
                (row.email_verified, row.enabled),
                federation,
            )?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        id: &str,
        username: &str,
        email: &str,
        (email_verified, enabled): (bool, bool),
        link: Option<&str>,
    ) -> Result<(), TooMany> {
        if !self.seen.insert(id.into()) {
            return Ok(());
        }
        let texts = &mut self.texts;
        let federation = match link {
            None => Text::EMPTY,
            Some(link) => match self.links.get(link) {
                Some(text) => *text,
                None => {
                    let text = texts.add(link)?;
                    self.links.insert(link.to_owned(), text);
                    text
                }
            },
        };
        self.rows.push(UserRow {
            id: texts.add(id)?,
            username: texts.add(username)?,
            email: texts.add(email)?,
            email_verified,
            enabled,
            federation,
        });
        Ok(())
    }

    /// The text of `text`.
    pub(super) fn text(&self, text: Text) -> &str {
        self.texts.get(text)
    }
}

/// The provider in the id `f:<provider>:<name>` of a user who is not imported.
pub(super) fn provider_of(id: &str) -> Option<&str> {
    id.strip_prefix("f:")?.split_once(':').map(|(provider, _)| provider)
}

/// Id and username of a list's users.
#[derive(Deserialize)]
pub(super) struct RawMember<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub username: Cow<'a, str>,
}

/// Id and attributes of a user in full.
#[derive(Deserialize)]
pub(super) struct RawFull<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(default)]
    pub attributes: Option<BTreeMap<String, Vec<String>>>,
}

/// The people of a page by id and username, handed to `take` one by one; a repeated first row is
/// passed over. The page itself holds nothing.
pub(super) fn members(
    body: &[u8],
    repeats: bool,
    mut take: impl FnMut(RawMember<'_>),
) -> serde_json::Result<Page<()>> {
    let mut page = Page { what: (), rows: 0, first: String::new(), last: String::new() };
    each(body, |row: RawMember<'_>| {
        if page.rows == 0 {
            page.first = row.id.clone().into_owned();
        }
        page.rows += 1;
        page.last.clear();
        page.last.push_str(&row.id);
        if page.rows > 1 || !repeats {
            take(row);
        }
    })?;
    Ok(page)
}

/// Parses an array row by row: `row` is called for each. Nothing may follow the array.
pub(super) fn each<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    row: impl FnMut(T),
) -> serde_json::Result<()> {
    struct Rows<T, F>(F, std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Rows<T, F> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
            while let Some(row) = rows.next_element()? {
                (self.0)(row);
            }
            Ok(())
        }
    }
    impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Rows<T, F> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    Rows(row, std::marker::PhantomData).deserialize(&mut deserializer)?;
    deserializer.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_cut_off_or_glued_is_refused() {
        let whole = br#"[{"id":"1","username":"a","enabled":true}]"#;
        assert_eq!(UserList::parse(whole).unwrap().rows.len(), 1);
        for end in 0..whole.len() {
            assert!(UserList::parse(&whole[..end]).is_err(), "cut at {end}");
        }
        for glued in [
            &br#"[{"id":"1","username":"a","enabled":true}{"error":"unknown_error"}"#[..],
            &br#"[{"id":"1","username":"a","enabled":true}]{"error":"unknown_error"}"#[..],
            &br#"[]{"error":"unknown_error"}"#[..],
            &br#"{"error":"unknown_error"}"#[..],
            &b"null"[..],
            &b""[..],
        ] {
            assert!(UserList::parse(glued).is_err());
            assert!(each(glued, |_: RawMember<'_>| {}).is_err());
        }
    }

    #[test]
    fn a_user_without_a_state_is_not_taken_for_enabled_or_disabled() {
        assert!(UserList::parse(br#"[{"id":"1","username":"a"}]"#).is_err());
    }

    #[test]
    fn a_user_who_comes_twice_counts_once_and_a_federation_is_kept_once() {
        let body = br#"[{"id":"1","username":"a","enabled":true,"federationLink":"F"},
            {"id":"2","username":"b","enabled":false,"federationLink":"F"},
            {"id":"1","username":"a","enabled":false},
            {"id":"f:G:c","username":"c\n","enabled":true}]"#;
        let list = UserList::parse(body).unwrap();
        assert_eq!(list.rows.len(), 3);
        assert!(list.rows[0].enabled);
        assert_eq!(list.rows[0].federation, list.rows[1].federation);
        assert_eq!(list.text(list.rows[2].federation), "G");
        assert_eq!(list.text(list.rows[2].username), "c\n");
    }
}
