//! The JSON of a Keycloak realm export, as far as it says who may do what.
//!
//! The shape is Keycloak 26's `RealmRepresentation`. Keys that do not matter here are skipped
//! without being looked at, so that no message can quote a credential or a client's secret. Users
//! are handed over one by one: a million of them never lie in memory as JSON shapes.
//!
//! Every error carries its place: the path of lists (`users[17]`), the line and the column.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::Error as _};

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

/// A realm without its users.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Export {
    /// The realm's name.
    pub(super) realm: Option<String>,
    /// Its groups; absent where the export leaves them out.
    #[serde(default, deserialize_with = "groups")]
    pub(super) groups: Option<Vec<Group>>,
    /// Its roles; absent where the export leaves them out.
    roles: Option<Object<Roles>>,
    /// Its clients.
    #[serde(default, deserialize_with = "clients")]
    pub(super) clients: Option<Vec<Client>>,
    /// Its users are here (any value but null: [`each_user`] looks at it).
    users: Option<IgnoredAny>,
    /// People of a federation without import: the export knows their ids alone.
    federated_users: Option<Vec<IgnoredAny>>,
}

impl Export {
    /// Whether the file has `users` of its own.
    pub(super) fn has_users(&self) -> bool {
        self.users.is_some()
    }

    /// The roles; absent where the export leaves them out.
    pub(super) fn roles(&self) -> Option<&Roles> {
        self.roles.as_ref().map(|Object(roles)| roles)
    }

    /// How many people of federations without import there are.
    pub(super) fn federated(&self) -> usize {
        self.federated_users.as_ref().map_or(0, Vec::len)
    }
}

/// A client, by its `clientId`.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Client {
    pub(super) client_id: Option<String>,
}

/// Role names by client.
pub(super) type ByClient = Vec<(String, Vec<String>)>;

/// A group with all below it.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) path: Option<String>,
    #[serde(default, deserialize_with = "realm_roles")]
    pub(super) realm_roles: Option<Vec<String>>,
    #[serde(default, deserialize_with = "client_roles")]
    pub(super) client_roles: Option<ByClient>,
    #[serde(default, deserialize_with = "sub_groups")]
    pub(super) sub_groups: Option<Vec<Group>>,
}

/// The realm's roles and its clients'.
#[derive(Deserialize, Debug)]
pub(super) struct Roles {
    #[serde(default, deserialize_with = "roles_realm")]
    pub(super) realm: Option<Vec<Role>>,
    #[serde(default, deserialize_with = "roles_client")]
    pub(super) client: Option<Vec<(String, Vec<Role>)>>,
}

/// A role.
#[derive(Deserialize, Debug)]
pub(super) struct Role {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) composite: Option<bool>,
    composites: Option<Object<Composites>>,
}

impl Role {
    /// What it contains; absent where the file does not say.
    pub(super) fn composites(&self) -> Option<&Composites> {
        self.composites.as_ref().map(|Object(composites)| composites)
    }
}

/// What a composite role contains.
#[derive(Deserialize, Debug)]
pub(super) struct Composites {
    #[serde(default, deserialize_with = "composites_realm")]
    pub(super) realm: Option<Vec<String>>,
    #[serde(default, deserialize_with = "composites_client")]
    pub(super) client: Option<ByClient>,
}

/// A user.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    pub(super) id: Option<String>,
    pub(super) username: String,
    pub(super) email: Option<String>,
    pub(super) email_verified: Option<bool>,
    /// Keycloak always writes it. Absent it could be read either way (Keycloak imports such a user
    /// as disabled, people mean enabled), so it is not guessed.
    pub(super) enabled: bool,
    pub(super) federation_link: Option<String>,
    pub(super) service_account_client_id: Option<String>,
    /// Paths of groups.
    #[serde(default, deserialize_with = "user_groups")]
    pub(super) groups: Option<Vec<String>>,
    #[serde(default, deserialize_with = "realm_roles")]
    pub(super) realm_roles: Option<Vec<String>>,
    #[serde(default, deserialize_with = "client_roles")]
    pub(super) client_roles: Option<ByClient>,
    #[serde(default, deserialize_with = "attributes")]
    pub(super) attributes: Option<Vec<(String, Values)>>,
}

/// An attribute's values. Keycloak writes a list; a lone text counts as a list of one, as it does
/// for Keycloak's own import.
#[derive(Debug)]
pub(super) struct Values(pub(super) Vec<String>);

/// Reads everything but the users.
pub(super) fn parse(text: &str) -> Result<Export, Fault> {
    match text.trim_start_matches([' ', '\t', '\r', '\n']).chars().next() {
        None => return Err(Fault::whole("the file is empty")),
        Some('{') => {}
        Some(first) => {
            whole_json(text)?;
            return Err(Fault::whole(if first == '[' {
                "it holds a list, not one realm: export one with `kc.sh export --realm REALM`"
            } else {
                "it is not a realm export: an object `{…}` was expected"
            }));
        }
    }
    let Object(export) = serde_json::from_str(text).map_err(|error| fault(text, &error))?;
    Ok(export)
}

/// Hands the users over in their order. `take` says what is wrong with one as the rest of a
/// sentence that begins with its place, such as ` has no name`. Returns how many there are.
pub(super) fn each_user(
    text: &str,
    take: &mut dyn FnMut(User) -> Result<(), String>,
) -> Result<usize, Fault> {
    let mut count = 0;
    let mut json = serde_json::Deserializer::from_str(text);
    TopLevel { take, count: &mut count }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| fault(text, &error))?;
    Ok(count)
}

struct TopLevel<'a> {
    take: &'a mut dyn FnMut(User) -> Result<(), String>,
    count: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for TopLevel<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "users" {
                map.next_value_seed(EachUser { take: &mut *self.take, count: &mut *self.count })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct EachUser<'a> {
    take: &'a mut dyn FnMut(User) -> Result<(), String>,
    count: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for EachUser<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self).map_err(|error| placed("users", error))
    }
}

impl<'de> Visitor<'de> for EachUser<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            let place = format!("[{}]", self.count);
            let user = match list.next_element::<Object<User>>() {
                Ok(Some(Object(user))) => user,
                Ok(None) => return Ok(()),
                Err(error) => return Err(placed(place, error)),
            };
            (self.take)(user).map_err(|wrong| A::Error::custom(format!("{place}{wrong}")))?;
            *self.count += 1;
        }
    }
}

/// A JSON object and nothing else: serde's derived readers would take a list for one.
#[derive(Debug)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// What a list or a map holds: a text, or an object of some shape.
trait Item: Sized {
    fn item<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

impl Item for String {
    fn item<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)
    }
}

macro_rules! objects {
    ($($shape:ty),*) => {$(
        impl Item for $shape {
            fn item<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Object::deserialize(deserializer).map(|Object(shape)| shape)
            }
        }
    )*};
}
objects!(Group, Role, Client);

impl<T: Item> Item for Vec<T> {
    fn item<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListOf(PhantomData)).map(Option::unwrap_or_default)
    }
}

impl Item for Values {
    fn item<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Values;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings")
            }
            fn visit_unit<E>(self) -> Result<Values, E> {
                Ok(Values(Vec::new()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Values, E> {
                Ok(Values(vec![value.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Values, A::Error> {
                ListOf::<String>(PhantomData).visit_seq(list).map(|v| Values(v.unwrap_or_default()))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// Lets an [`Item`] be read where serde wants a `Deserialize`.
struct As<T>(T);

impl<'de, T: Item> Deserialize<'de> for As<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::item(deserializer).map(As)
    }
}

/// A list, or null for none.
struct ListOf<T>(PhantomData<T>);

impl<'de, T: Item> Visitor<'de> for ListOf<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        loop {
            match list.next_element::<As<T>>() {
                Ok(Some(As(item))) => items.push(item),
                Ok(None) => return Ok(Some(items)),
                Err(error) => return Err(placed(format!("[{}]", items.len()), error)),
            }
        }
    }
}

/// An object whose keys are data, or null for none.
struct MapOf<T>(PhantomData<T>);

impl<'de, T: Item> Visitor<'de> for MapOf<T> {
    type Value = Option<Vec<(String, T)>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut items: Vec<(String, T)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match map.next_value::<As<T>>() {
                // Which of the two would count is a matter of taste among JSON readers.
                Ok(_) if items.iter().any(|(other, _)| *other == key) => {
                    return Err(A::Error::custom(format!("[`{key}`] comes twice")));
                }
                Ok(As(item)) => items.push((key, item)),
                Err(error) => return Err(placed(format!("[`{key}`]"), error)),
            }
        }
        Ok(Some(items))
    }
}

macro_rules! places {
    ($($function:ident: $visitor:ident<$item:ty> -> $value:ty = $place:literal;)*) => {$(
        fn $function<'de, D: Deserializer<'de>>(from: D) -> Result<Option<$value>, D::Error> {
            from.deserialize_any($visitor::<$item>(PhantomData)).map_err(|e| placed($place, e))
        }
    )*};
}
places! {
    groups: ListOf<Group> -> Vec<Group> = "groups";
    sub_groups: ListOf<Group> -> Vec<Group> = ".subGroups";
    clients: ListOf<Client> -> Vec<Client> = "clients";
    realm_roles: ListOf<String> -> Vec<String> = ".realmRoles";
    client_roles: MapOf<Vec<String>> -> ByClient = ".clientRoles";
    roles_realm: ListOf<Role> -> Vec<Role> = "roles.realm";
    roles_client: MapOf<Vec<Role>> -> Vec<(String, Vec<Role>)> = "roles.client";
    composites_realm: ListOf<String> -> Vec<String> = ".composites.realm";
    composites_client: MapOf<Vec<String>> -> ByClient = ".composites.client";
    user_groups: ListOf<String> -> Vec<String> = ".groups";
    attributes: MapOf<Values> -> Vec<(String, Values)> = ".attributes";
}

/// Puts a place before an error. A text that begins with `[`, `.` or a space goes on with the
/// place, any other is a sentence of its own. serde_json finds the line and column again where it
/// wrote them, at the end of the text.
fn placed<E: de::Error>(place: impl fmt::Display, error: E) -> E {
    let text = error.to_string();
    E::custom(match text.strip_prefix("missing field ") {
        Some(field) => format!("{place} has no {field}"),
        None if text.starts_with(['[', '.', ' ']) => format!("{place}{text}"),
        None => format!("{place}: {text}"),
    })
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
