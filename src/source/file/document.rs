//! The JSON document of a realm export: whether it is one, which realms it holds, and how to read of
//! them what is looked at and nothing else.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What is wrong with a file's text, and where.
#[derive(Debug)]
pub(super) struct Fault {
    /// In words, with the place in the document where there is one.
    pub(super) text: String,
    /// Line and column, from 1, where the fault has a place.
    pub(super) at: Option<(usize, usize)>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.text)
    }
}

impl Fault {
    /// One that concerns the whole file.
    pub(super) fn whole(text: impl Into<String>) -> Self {
        Fault { text: text.into(), at: None }
    }
}

/// The keys of a user that are looked at.
const USER: &[&str] = &[
    "id",
    "username",
    "email",
    "emailVerified",
    "enabled",
    "federationLink",
    "serviceAccountClientId",
    "groups",
    "realmRoles",
    "clientRoles",
    "applicationRoles",
    "attributes",
];

/// The keys of a realm that are looked at, but `users`, `federatedUsers` and `organizations`.
const REALM: &[&str] = &[
    "realm",
    "enabled",
    "organizationsEnabled",
    "groups",
    "roles",
    "clients",
    "applications",
    "oauthClients",
    "defaultRole",
    "defaultRoles",
];

/// The keys of an organization that are looked at, but its `members`.
const ORGANIZATION: &[&str] = &["id", "name", "alias", "enabled", "groups"];

/// The keys of a member of an organization that are looked at.
const MEMBER: &[&str] = &["username", "membershipType", "groups"];

/// `text` without `//` and `/* */` comments, which people write into exports that they keep by hand.
/// What is JSON already stays as it is.
pub(super) fn without_comments(text: String) -> String {
    if !text.contains("//") && !text.contains("/*") || whole_json(&text).is_ok() {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(_)) if quoted => {
                plain.push(c);
                plain.extend(chars.next());
                continue;
            }
            ('"', _) => quoted = !quoted,
            ('/', Some('/')) if !quoted => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            ('/', Some('*')) if !quoted => {
                let mut last = ' ';
                chars.next();
                for c in chars.by_ref() {
                    // Line numbers stay what they are in the file.
                    if c == '\n' {
                        plain.push(c);
                    }
                    if (last, c) == ('*', '/') {
                        break;
                    }
                    last = c;
                }
                continue;
            }
            _ => {}
        }
        plain.push(c);
    }
    plain
}

/// The text of the realm `wanted`, or of the only one, of a file that holds one realm, or a list of
/// them (`kc.sh export` without `--realm`).
///
/// # Errors
/// The file holds no realm, not that one, or several where none is named.
pub(super) fn pick<'t>(text: &'t str, wanted: Option<&str>) -> Result<&'t str, Fault> {
    let texts = match text.trim_start_matches([' ', '\t', '\r', '\n']).chars().next() {
        None => return Err(Fault::whole("the file is empty")),
        Some('{') => vec![text],
        Some('[') => {
            whole_json(text)?;
            items(text)
        }
        Some(_) => {
            whole_json(text)?;
            return Err(Fault::whole("it is not a realm export: an object `{…}` was expected"));
        }
    };
    let mut named = Vec::new();
    for text in texts {
        if text.starts_with(['{', ' ', '\t', '\r', '\n'])
            && let Some(name) = name(text)?
        {
            named.push((name, text));
        }
    }
    let names = || {
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        names.join("`, `")
    };
    match (named.as_slice(), wanted) {
        ([], _) => Err(Fault::whole("it is not a realm export: it has no `realm`")),
        (named, Some(wanted)) => {
            let mut found = named.iter().filter(|(name, _)| name == wanted);
            match (found.next(), found.next()) {
                (Some((_, text)), None) => Ok(*text),
                (Some(_), Some(_)) => {
                    Err(Fault::whole(format!("it holds two realms called `{wanted}`")))
                }
                (None, _) => Err(Fault::whole(format!(
                    "it does not hold the realm `{wanted}`, but `{}`; upper and lower case count",
                    names()
                ))),
            }
        }
        ([(_, text)], None) => Ok(*text),
        (_, None) => Err(Fault::whole(format!(
            "it holds {} realms (`{}`): pick one with `realm = \"…\"`",
            named.len(),
            names()
        ))),
    }
}

/// The texts of the items of a list that is whole.
fn items(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut rest = text.split_once('[').map_or("", |(_, rest)| rest);
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        let mut json = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        let Some(Ok(_)) = json.next() else { return items };
        let (item, after) = rest.split_at(json.byte_offset());
        items.push(item);
        rest = after;
    }
}

/// The name of the realm in `text`; none where it names none.
fn name(text: &str) -> Result<Option<String>, Fault> {
    let realm = read(text, &["realm"], Handed::default())?;
    let name = realm.object.get("realm").and_then(super::odd::text);
    Ok(name.filter(|name| !name.is_empty()))
}

/// A realm's own keys, without what is long.
pub(super) struct Realm {
    /// Those that are looked at.
    pub(super) object: Map<String, Value>,
    /// For each time that `users` comes what it is: an empty value of its kind.
    pub(super) users: Vec<Value>,
    /// For each time that `organizations` comes what it is: in a list each as its keys that are looked at,
    /// its `members` as an empty value of their kind.
    pub(super) organizations: Vec<Value>,
    /// How many `federatedUsers` there are.
    pub(super) federated: usize,
}

/// Reads a realm but for its users and the members of its organizations.
///
/// # Errors
/// The text is no JSON object.
pub(super) fn realm(text: &str) -> Result<Realm, Fault> {
    read(text, REALM, Handed::default())
}

/// Hands the users over in their order, each with its number: an object of the keys that are looked
/// at, or an empty value of what stands in its place.
///
/// # Errors
/// The text is no JSON object.
pub(super) fn each_user(text: &str, take: &mut dyn FnMut(usize, &Value)) -> Result<(), Fault> {
    let mut count = 0;
    let mut next = |user: &Value| {
        take(count, user);
        count += 1;
    };
    read(text, &[], Handed { users: Some(&mut next), ..Handed::default() }).map(|_| ())
}

/// Hands the members of organizations over in their order, each with the number of the organization and
/// its own: an object of the keys that are looked at, or an empty value of what stands in its place.
///
/// # Errors
/// The text is no JSON object.
pub(super) fn each_member(text: &str, take: &mut EachMember<'_>) -> Result<(), Fault> {
    read(text, &[], Handed { members: Some(take), ..Handed::default() }).map(|_| ())
}

/// Takes a member of an organization.
pub(super) type EachMember<'a> = dyn FnMut(usize, usize, &Value) + 'a;

/// To whom what is long is handed over, one by one.
#[derive(Default)]
struct Handed<'a> {
    users: Option<&'a mut dyn FnMut(&Value)>,
    members: Option<&'a mut EachMember<'a>>,
}

fn read(text: &str, keys: &'static [&'static str], handed: Handed<'_>) -> Result<Realm, Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_map(Top { keys, handed });
    read.and_then(|realm| json.end().map(|()| realm)).map_err(|error| fault(text, &error))
}

struct Top<'a> {
    keys: &'static [&'static str],
    handed: Handed<'a>,
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Realm;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Realm, A::Error> {
        let mut realm = Realm {
            object: Map::new(),
            users: Vec::new(),
            organizations: Vec::new(),
            federated: 0,
        };
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "users" => {
                    let items = match &mut self.handed.users {
                        Some(each) => Items::Each(USER, &mut **each),
                        None => Items::Skipped,
                    };
                    realm.users.push(map.next_value_seed(Sketch::list(items))?);
                }
                "federatedUsers" => {
                    let mut count = |_: &Value| realm.federated += 1;
                    map.next_value_seed(Sketch::list(Items::Each(&[], &mut count)))?;
                }
                "organizations" => {
                    let mut nobody = |_: usize, _: usize, _: &Value| {};
                    let items = match &mut self.handed.members {
                        Some(each) => Items::Organizations(&mut **each),
                        None => Items::Organizations(&mut nobody),
                    };
                    realm.organizations.push(map.next_value_seed(Sketch::list(items))?);
                }
                known if self.keys.contains(&known) => {
                    let value = map.next_value()?;
                    realm.object.insert(key, value);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(realm)
    }
}

/// Reads a value for what kind it is: of an object these keys alone, and of a list what its items are
/// taken for.
struct Sketch<'a> {
    keys: &'static [&'static str],
    /// Who is in the list under `members` of an object is handed over.
    members: Option<&'a mut dyn FnMut(&Value)>,
    items: Items<'a>,
}

/// What the items of a list are taken for.
enum Items<'a> {
    /// Nothing: the list is empty.
    Skipped,
    /// They are handed over one by one, each as these keys, and the list is empty.
    Each(&'static [&'static str], &'a mut dyn FnMut(&Value)),
    /// They are organizations, whose members are handed over one by one.
    Organizations(&'a mut EachMember<'a>),
}

impl<'a> Sketch<'a> {
    fn list(items: Items<'a>) -> Self {
        Sketch { keys: &[], members: None, items }
    }

    fn object(keys: &'static [&'static str]) -> Self {
        Sketch { keys, members: None, items: Items::Skipped }
    }
}

impl<'de> DeserializeSeed<'de> for Sketch<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Sketch<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Value, E> {
        Ok(Value::String(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        match self.items {
            Items::Skipped => while list.next_element::<IgnoredAny>()?.is_some() {},
            Items::Each(keys, each) => {
                while let Some(item) = list.next_element_seed(Sketch::object(keys))? {
                    each(&item);
                }
            }
            Items::Organizations(each) => loop {
                let (at, mut count) = (items.len(), 0);
                let mut member = |member: &Value| {
                    each(at, count, member);
                    count += 1;
                };
                let members: Option<&mut dyn FnMut(&Value)> = Some(&mut member);
                let organization = Sketch { members, ..Sketch::object(ORGANIZATION) };
                let Some(item) = list.next_element_seed(organization)? else { break };
                items.push(item);
            },
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "members"
                && let Some(each) = &mut self.members
            {
                let members = Sketch::list(Items::Each(MEMBER, &mut **each));
                object.insert(key, map.next_value_seed(members)?);
            } else if self.keys.contains(&key.as_str()) {
                object.insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(object))
    }
}

/// What serde_json found wrong with `text`, in words.
fn fault(text: &str, error: &serde_json::Error) -> Fault {
    // A text that is not JSON at all is told apart first: cut off in mid-list is no matter of
    // that list's item.
    if let Err(fault) = whole_json(text) {
        return fault;
    }
    located(error, |message| message.to_owned())
}

/// That `text` is one JSON document, whatever it holds.
fn whole_json(text: &str) -> Result<(), Fault> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ()).map_err(|error| {
        located(&error, |message| match message.strip_prefix("EOF while parsing ") {
            Some(what) => format!("the file is cut off: it ends in the middle of {what}"),
            None => format!("not JSON: {message}"),
        })
    })
}

fn located(error: &serde_json::Error, words: impl Fn(&str) -> String) -> Fault {
    let message = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&suffix).unwrap_or(&message);
    let at = (error.line() > 0).then(|| (error.line(), error.column()));
    Fault { text: words(message), at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_left_out_and_texts_are_not() {
        let commented = "{ // who\n \"realm\": \"a//b\", /* two\n lines ** */ \"x\": \"q\\\"/*\" }";
        let plain = without_comments(commented.to_owned());
        assert_eq!(plain.lines().count(), commented.lines().count());
        let value: Value = serde_json::from_str(&plain).unwrap();
        assert_eq!(value, serde_json::json!({"realm": "a//b", "x": "q\"/*"}));
        let json = r#"{"url": "https://x/*"}"#;
        assert_eq!(without_comments(json.to_owned()), json);
        assert!(whole_json(&without_comments("{/* never ends".to_owned())).is_err());
    }

    #[test]
    fn the_items_of_a_list_are_taken_apart_whatever_they_hold() {
        let list = r#" [ {"realm":"a","x":"]},{"} ,[1,2] , "t" , {} ]"#;
        assert_eq!(items(list), [r#"{"realm":"a","x":"]},{"}"#, "[1,2]", r#""t""#, "{}"]);
        assert_eq!(items("[]"), Vec::<&str>::new());
    }
}
