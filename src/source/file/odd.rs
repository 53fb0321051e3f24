//! What is odd about an export: a value that is not what Keycloak writes there.
//!
//! People write exports by hand, and old servers wrote them otherwise. One odd value costs that
//! value and no more, and is told with its place. Keycloak's own import takes a number or a boolean
//! for a text, and `"false"` or `0` for a boolean; so does this.
//!
//! What cannot be left out without making the company smaller (a list of memberships that is no
//! list, a user without a name) leaves its scope in doubt: see [`Doubts`].

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// A place in the document, such as ``users[3].attributes[`site`][0]``.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    above: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
    /// A key that is data.
    Name(&'a str),
}

impl<'a> At<'a> {
    /// A key of the realm itself.
    pub(super) fn top(key: &'a str) -> Self {
        At { above: None, step: Step::Key(key) }
    }

    /// `key` of the object that is here.
    pub(super) fn key(&'a self, key: &'a str) -> Self {
        At { above: Some(self), step: Step::Key(key) }
    }

    /// An item of the list that is here.
    pub(super) fn item(&'a self, index: usize) -> Self {
        At { above: Some(self), step: Step::Index(index) }
    }

    /// The value under a key that is data.
    pub(super) fn name(&'a self, name: &'a str) -> Self {
        At { above: Some(self), step: Step::Name(name) }
    }

    /// The place without its indices: what is odd in the same way at many places is told once.
    fn kind(&self) -> String {
        let above = self.above.map(At::kind).unwrap_or_default();
        match self.step {
            Step::Index(_) => format!("{above}[]"),
            step => format!("{above}{}", Shown(step, self.above.is_some())),
        }
    }
}

struct Shown<'a>(Step<'a>, bool);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Step::Key(key), true) => write!(f, ".{key}"),
            (Step::Key(key), false) => f.write_str(key),
            (Step::Index(index), _) => write!(f, "[{index}]"),
            (Step::Name(name), _) => write!(f, "[`{name}`]"),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        Shown(self.step, self.above.is_some()).fmt(f)
    }
}

/// Why a part of the export is not the whole truth; each absent where it is.
#[derive(Default, Debug)]
pub(super) struct Doubts {
    /// The users.
    pub(super) users: Option<String>,
    /// The groups.
    pub(super) groups: Option<String>,
    /// The roles.
    pub(super) roles: Option<String>,
    /// Who is in which group.
    pub(super) in_groups: Option<String>,
    /// Who holds which role, and which roles groups have.
    pub(super) in_roles: Option<String>,
    /// Who has which value of an attribute; `None` for all attributes.
    pub(super) attributes: BTreeMap<Option<String>, String>,
}

impl Doubts {
    /// Somebody is left out: neither the users are all there, nor who is in what.
    pub(super) fn somebody(&mut self, why: &str) {
        for doubt in [&mut self.users, &mut self.in_groups, &mut self.in_roles] {
            doubt.get_or_insert_with(|| why.to_owned());
        }
        self.attributes.entry(None).or_insert_with(|| why.to_owned());
    }
}

/// Collects what is odd.
#[derive(Default, Debug)]
pub(super) struct Oddities {
    told: BTreeMap<(String, String), (String, u64)>,
    /// What it leaves in doubt.
    pub(super) doubts: Doubts,
}

/// Names of a list, as far as they could be read.
#[derive(Default, Debug, Clone)]
pub(super) struct Names {
    /// The names.
    pub(super) list: Vec<String>,
    /// Why these may not be all.
    pub(super) doubt: Option<String>,
}

/// Names by client.
#[derive(Default, Debug, Clone)]
pub(super) struct ByClient {
    /// The clients with their names.
    pub(super) list: Vec<(String, Vec<String>)>,
    /// Why these may not be all.
    pub(super) doubt: Option<String>,
}

/// A value that is not what belongs there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place} is {is}, not {wanted}: left out")]
pub(super) struct Misfit {
    place: String,
    /// What kind of JSON it is.
    is: &'static str,
    wanted: &'static str,
}

impl Oddities {
    /// Notes what is odd at a place, in words that go on after it.
    pub(super) fn note(&mut self, at: At<'_>, what: impl Into<String>) -> String {
        self.note_as(at, at.to_string(), what.into())
    }

    /// As [`Oddities::note`], of a user's value.
    pub(super) fn note_of(&mut self, user: &str, at: At<'_>, what: &str) -> String {
        self.note_as(at, format!("{at} of `{user}`"), what.to_owned())
    }

    fn note_as(&mut self, at: At<'_>, place: String, what: String) -> String {
        let text = format!("{place} {what}");
        let told = self.told.entry((at.kind(), what));
        told.or_insert_with(|| (text.clone(), 0)).1 += 1;
        text
    }

    fn misfit(&mut self, at: At<'_>, value: &Value, wanted: &'static str) -> Misfit {
        let is = kind(value);
        self.note(at, format!("is {is}, not {wanted}: left out"));
        Misfit { place: at.to_string(), is, wanted }
    }

    /// What to tell people.
    pub(super) fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        self.told.iter().map(|((kind, _), (first, count))| {
            let message = match count {
                1 => first.clone(),
                count => format!("{first} (and {} more like it)", count - 1),
            };
            let subject = Subject::File(kind.clone());
            Diagnostic::warning(DiagnosticCode::OddValue, subject, message)
        })
    }

    /// The text under `key` of the object at `at`. Absent and null are none.
    ///
    /// # Errors
    /// Something is there that is no text; it has been noted.
    pub(super) fn text(
        &mut self,
        from: &Map<String, Value>,
        key: &str,
        at: At<'_>,
    ) -> Result<Option<String>, Misfit> {
        self.text_at(from.get(key), at.key(key))
    }

    /// As [`Oddities::text`], of the value at `at` itself.
    pub(super) fn text_at(
        &mut self,
        value: Option<&Value>,
        at: At<'_>,
    ) -> Result<Option<String>, Misfit> {
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(value) => text(value).map(Some).ok_or_else(|| self.misfit(at, value, "a text")),
        }
    }

    /// A boolean, as [`Oddities::text`]. An empty text is none either.
    ///
    /// # Errors
    /// Something is there that is no boolean; it has been noted.
    pub(super) fn flag(
        &mut self,
        from: &Map<String, Value>,
        key: &str,
        at: At<'_>,
    ) -> Result<Option<bool>, Misfit> {
        self.flag_at(from.get(key), at.key(key))
    }

    /// As [`Oddities::flag`], of the value at `at` itself.
    pub(super) fn flag_at(
        &mut self,
        value: Option<&Value>,
        at: At<'_>,
    ) -> Result<Option<bool>, Misfit> {
        // As Jackson reads them, which reads Keycloak's imports.
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.as_u64() != Some(0))),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) if matches!(text.trim(), "true" | "True" | "TRUE") => {
                Ok(Some(true))
            }
            Some(Value::String(text)) if matches!(text.trim(), "false" | "False" | "FALSE") => {
                Ok(Some(false))
            }
            Some(value) => Err(self.misfit(at, value, "true or false")),
        }
    }

    /// A list of names. Absent and null are none.
    pub(super) fn names(&mut self, value: Option<&Value>, at: At<'_>) -> Names {
        let mut names = Names::default();
        let list = match value {
            None | Some(Value::Null) => return names,
            Some(Value::Array(list)) => list,
            Some(other) => {
                names.doubt = Some(self.note(at, format!("is {}, not a list", kind(other))));
                return names;
            }
        };
        for (index, value) in list.iter().enumerate() {
            match text(value) {
                Some(name) if name.is_empty() => {
                    self.note(at.item(index), "is empty: left out");
                }
                Some(name) => names.list.push(name),
                None if value.is_null() => {
                    self.note(at.item(index), "is null: left out");
                }
                None => {
                    let odd = format!("is {}, not a name", kind(value));
                    names.doubt = Some(self.note(at.item(index), odd));
                }
            }
        }
        names
    }

    /// Lists of names by client. Absent and null are none.
    pub(super) fn by_client(&mut self, value: Option<&Value>, at: At<'_>) -> ByClient {
        let mut all = ByClient::default();
        match value {
            None | Some(Value::Null) => {}
            Some(Value::Object(clients)) => {
                for (client, value) in clients {
                    let Names { list, doubt } = self.names(Some(value), at.name(client));
                    all.list.push((client.clone(), list));
                    all.doubt = all.doubt.or(doubt);
                }
            }
            Some(other) => {
                all.doubt = Some(self.note(at, format!("is {}, not an object", kind(other))));
            }
        }
        all
    }

    /// `key`, or where that says nothing its name in old servers' exports, as Keycloak's import
    /// has it.
    pub(super) fn renamed<'v, 'k>(
        &mut self,
        from: &'v Map<String, Value>,
        key: &'k str,
        old: &'k str,
        at: At<'_>,
    ) -> (Option<&'v Value>, &'k str) {
        let said = |key: &str| from.get(key).filter(|value| !value.is_null());
        match (said(key), said(old)) {
            (None, Some(value)) => (Some(value), old),
            (value, other) => {
                if other.is_some() {
                    let what = format!("is not read beside `{key}`, as Keycloak has it");
                    self.note(at.key(old), what);
                }
                (value, key)
            }
        }
    }
}

/// The text of a scalar, as Keycloak's import has it.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        // A whole number too large for 64 bits has been rounded: what it was is not known.
        Value::Number(number) => {
            let rounded = number.as_f64().is_some_and(|it| number.is_f64() && it.abs() >= 9e15);
            (!rounded).then(|| number.to_string())
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What kind of JSON a value is. The value itself is never shown: it may be a secret.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn booleans_are_read_as_keycloak_reads_them() {
        for (value, read) in [
            (json!(true), Ok(Some(true))),
            (json!("false"), Ok(Some(false))),
            (json!(" TRUE "), Ok(Some(true))),
            (json!("True"), Ok(Some(true))),
            (json!(0), Ok(Some(false))),
            (json!(1), Ok(Some(true))),
            (json!(-1), Ok(Some(true))),
            (json!(null), Ok(None)),
            (json!(""), Ok(None)),
            (json!("yes"), Err("users[2].enabled is a text, not true or false: left out")),
            (json!([true]), Err("users[2].enabled is a list, not true or false: left out")),
            (json!(0.5), Err("users[2].enabled is a number, not true or false: left out")),
        ] {
            let from = json!({"enabled": value});
            let flag = Oddities::default().flag(
                from.as_object().unwrap(),
                "enabled",
                At::top("users").item(2),
            );
            assert_eq!(flag.map_err(|it| it.to_string()), read.map_err(str::to_owned), "{value}");
        }
    }

    #[test]
    fn scalars_are_texts_and_a_number_that_was_rounded_is_not() {
        for (value, read) in [
            (json!("x"), Some("x")),
            (json!(5), Some("5")),
            (json!(-1.5), Some("-1.5")),
            (json!(true), Some("true")),
            (json!(null), None),
            (json!(["x"]), None),
            (json!({}), None),
            (serde_json::from_str("123456789012345678901234").unwrap(), None),
        ] {
            assert_eq!(text(&value).as_deref(), read, "{value}");
        }
    }

    #[test]
    fn what_is_odd_in_the_same_way_is_told_once_with_its_first_place() {
        let mut odd = Oddities::default();
        for user in 3..6 {
            let (at, key) = (At::top("users"), "k");
            let at = at.item(user);
            let at = at.key("attributes");
            odd.names(Some(&json!(["a", null])), at.name(key));
        }
        let told: Vec<String> = odd.diagnostics().map(|it| it.message).collect();
        assert_eq!(told, ["users[3].attributes[`k`][1] is null: left out (and 2 more like it)"]);
    }
}
