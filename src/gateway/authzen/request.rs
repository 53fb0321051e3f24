//! What a request asks (AuthZEN 1.0, sections 5 to 8), read strictly: I-JSON (RFC 7493), in which no
//! member is there twice and every text can be written down, so that two readers never see two
//! questions. Members that are not known are ignored, at any depth.

use serde_json::{Map, Value};

use super::body::holds_more;
use crate::gateway::identity::Strict;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// Why a request is no question.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadRequest {
    /// It cannot be read.
    #[error("the body is no JSON that can be taken: {0}")]
    Json(String),
    /// A text that I-JSON refuses.
    #[error("the body holds a text with a noncharacter (RFC 7493, section 2.1)")]
    Noncharacter,
    /// There is more in it than any question says.
    #[error("the body holds more than {most} values and names")]
    TooMuch {
        /// So many may be.
        most: usize,
    },
    /// A list, a text or the like.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// What must be there is not.
    #[error("`{0}` is missing")]
    Missing(String),
    /// It is something else.
    #[error("`{path}` is not {expected}")]
    WrongType {
        /// What.
        path: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A value that means nothing.
    #[error(
        "`options.evaluations_semantic` is none of `execute_all`, `deny_on_first_deny`, \
             `permit_on_first_permit`"
    )]
    UnknownSemantic,
    /// There are too many.
    #[error("there are {count} evaluations, and {most} at most are taken")]
    TooMany {
        /// So many.
        count: usize,
        /// So many may be.
        most: usize,
    },
    /// A token that was not made for this.
    #[error("`page.token` does not belong to this search with this `limit`")]
    OtherToken,
}

/// A subject or a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entity<'v> {
    pub kind: &'v str,
    pub id: &'v str,
    pub properties: Option<&'v Object>,
}

/// An action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'v> {
    pub name: &'v str,
    pub properties: Option<&'v Object>,
}

/// May the subject do this?
#[derive(Clone, Copy, Debug)]
pub(super) struct Evaluation<'v> {
    pub subject: Entity<'v>,
    pub action: Named<'v>,
    pub resource: Entity<'v>,
    pub context: Option<&'v Object>,
}

/// Several of them, in one request.
#[derive(Debug)]
pub(super) struct Batch<'v> {
    /// Each, or what is wrong with it.
    pub items: Vec<Result<Evaluation<'v>, BadRequest>>,
    pub semantic: Semantic,
}

/// `options.evaluations_semantic`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Semantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

/// What the evaluations endpoint is asked.
#[derive(Debug)]
pub(super) enum Evaluations<'v> {
    /// As by the evaluation endpoint.
    One(Evaluation<'v>),
    Several(Batch<'v>),
}

/// What is searched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Searched {
    Subjects,
    Resources,
    Actions,
}

/// A search. What is searched has neither id nor name: these are empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'v> {
    pub searched: Searched,
    pub about: Evaluation<'v>,
    pub page: PageRequest<'v>,
}

/// `page` of a request
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct PageRequest<'v> {
    pub token: Option<&'v str>,
    pub limit: Option<u64>,
}

/// So many values and names of members a body may hold: they take some 100 bytes each, whatever the text.
const MOST: usize = 250_000;
/// And so many for each question that may be asked at once.
const MOST_EACH: usize = 16;

/// The object in a body of `questions` at most.
pub(super) fn object(body: &[u8], questions: usize) -> Result<Object, BadRequest> {
    let most = MOST.max(questions.saturating_mul(MOST_EACH));
    if holds_more(body, most) {
        return Err(BadRequest::TooMuch { most });
    }
    let Strict(value) = serde_json::from_slice(body).map_err(|error| {
        // What is there twice is quoted short by whoever found it.
        BadRequest::Json(error.to_string())
    })?;
    if !is_plain(&value) {
        return Err(BadRequest::Noncharacter);
    }
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(BadRequest::NotAnObject),
    }
}

/// Whether every text of `value` can be exchanged.
fn is_plain(value: &Value) -> bool {
    let plain = |text: &str| text.is_ascii() || !text.chars().any(is_noncharacter);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => plain(text),
        Value::Array(list) => list.iter().all(is_plain),
        Value::Object(object) => object.iter().all(|(name, it)| plain(name) && is_plain(it)),
    }
}

/// A code point that is none for exchange (Unicode, section 23.7).
fn is_noncharacter(c: char) -> bool {
    let point = u32::from(c);
    (0xfdd0..=0xfdef).contains(&point) || point & 0xfffe == 0xfffe
}

const OBJECT: &str = "an object";
const STRING: &str = "a string";

/// Where something stands, for a message.
#[derive(Clone, Copy)]
struct At<'p> {
    /// `evaluations[3].`, or nothing.
    before: &'p str,
    name: &'static str,
}

impl At<'_> {
    fn path(self, member: &str) -> String {
        let At { before, name } = self;
        if member.is_empty() {
            format!("{before}{name}")
        } else {
            format!("{before}{name}.{member}")
        }
    }

    fn wrong(self, member: &str, expected: &'static str) -> BadRequest {
        BadRequest::WrongType { path: self.path(member), expected }
    }
}

fn member<'v>(of: &'v Object, at: At<'_>) -> Result<Option<&'v Object>, BadRequest> {
    match of.get(at.name) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(at.wrong("", OBJECT)),
    }
}

/// A text; the inner error: it is missing.
fn text<'v>(
    of: &'v Object,
    name: &str,
    at: At<'_>,
) -> Result<Result<&'v str, BadRequest>, BadRequest> {
    match of.get(name) {
        None => Ok(Err(BadRequest::Missing(at.path(name)))),
        Some(Value::String(text)) => Ok(Ok(text)),
        Some(_) => Err(at.wrong(name, STRING)),
    }
}

fn properties<'v>(of: &'v Object, at: At<'_>) -> Result<Option<&'v Object>, BadRequest> {
    match of.get("properties") {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(at.wrong("properties", OBJECT)),
    }
}

/// What stands at a member: nothing, something that lacks a part, or all of it.
type Given<T> = Option<Result<T, BadRequest>>;

/// A subject or a resource. With `searched` its id is not looked at.
fn entity<'v>(of: &'v Object, at: At<'_>, searched: bool) -> Result<Given<Entity<'v>>, BadRequest> {
    let Some(object) = member(of, at)? else { return Ok(None) };
    let kind = text(object, "type", at)?;
    let id = if searched { Ok("") } else { text(object, "id", at)? };
    let properties = properties(object, at)?;
    Ok(Some((|| Ok(Entity { kind: kind?, id: id?, properties }))()))
}

fn action<'v>(of: &'v Object, before: &str) -> Result<Given<Named<'v>>, BadRequest> {
    let at = At { before, name: "action" };
    let Some(object) = member(of, at)? else { return Ok(None) };
    let name = text(object, "name", at)?;
    let properties = properties(object, at)?;
    Ok(Some(name.map(|name| Named { name, properties })))
}

/// The four members of a question, each as far as it is there.
#[derive(Clone, Debug)]
struct Parts<'v> {
    subject: Given<Entity<'v>>,
    action: Given<Named<'v>>,
    resource: Given<Entity<'v>>,
    context: Option<&'v Object>,
}

impl<'v> Parts<'v> {
    fn of(object: &'v Object, before: &str) -> Result<Parts<'v>, BadRequest> {
        Ok(Parts {
            subject: entity(object, At { before, name: "subject" }, false)?,
            action: action(object, before)?,
            resource: entity(object, At { before, name: "resource" }, false)?,
            context: member(object, At { before, name: "context" })?,
        })
    }

    /// The question that they are, where each that is missing is that of `default`, whole.
    fn with(self, default: Option<&Parts<'v>>, before: &str) -> Result<Evaluation<'v>, BadRequest> {
        fn whole<T: Copy>(
            own: Given<T>,
            default: Option<&Given<T>>,
            at: At<'_>,
        ) -> Result<T, BadRequest> {
            let given = own.or_else(|| default.cloned().flatten());
            given.unwrap_or_else(|| Err(BadRequest::Missing(at.path(""))))
        }
        let at = |name| At { before, name };
        Ok(Evaluation {
            subject: whole(self.subject, default.map(|it| &it.subject), at("subject"))?,
            action: whole(self.action, default.map(|it| &it.action), at("action"))?,
            resource: whole(self.resource, default.map(|it| &it.resource), at("resource"))?,
            context: self.context.or_else(|| default.and_then(|it| it.context)),
        })
    }
}

/// What the evaluation endpoint is asked.
pub(super) fn evaluation(object: &Object) -> Result<Evaluation<'_>, BadRequest> {
    Parts::of(object, "")?.with(None, "")
}

/// What the evaluations endpoint is asked: at most `most` at once.
pub(super) fn evaluations(object: &Object, most: usize) -> Result<Evaluations<'_>, BadRequest> {
    let items = match object.get("evaluations") {
        None => return evaluation(object).map(Evaluations::One),
        Some(Value::Array(items)) if items.is_empty() => {
            return evaluation(object).map(Evaluations::One);
        }
        Some(Value::Array(items)) => items,
        Some(_) => return Err(At { before: "", name: "evaluations" }.wrong("", "a list")),
    };
    let default = Parts::of(object, "")?;
    let semantic = semantic(object)?;
    if items.len() > most {
        return Err(BadRequest::TooMany { count: items.len(), most });
    }
    let items = items.iter().enumerate().map(|(place, item)| {
        let path = format!("evaluations[{place}]");
        let Value::Object(item) = item else {
            return Err(BadRequest::WrongType { path, expected: OBJECT });
        };
        let before = format!("{path}.");
        Parts::of(item, &before)?.with(Some(&default), &before)
    });
    Ok(Evaluations::Several(Batch { items: items.collect(), semantic }))
}

fn semantic(object: &Object) -> Result<Semantic, BadRequest> {
    let at = At { before: "", name: "options" };
    match member(object, at)?.and_then(|options| options.get("evaluations_semantic")) {
        None => Ok(Semantic::ExecuteAll),
        Some(Value::String(word)) => match word.as_str() {
            "execute_all" => Ok(Semantic::ExecuteAll),
            "deny_on_first_deny" => Ok(Semantic::DenyOnFirstDeny),
            "permit_on_first_permit" => Ok(Semantic::PermitOnFirstPermit),
            _ => Err(BadRequest::UnknownSemantic),
        },
        Some(_) => Err(at.wrong("evaluations_semantic", STRING)),
    }
}

/// What a search endpoint is asked.
pub(super) fn search(object: &Object, searched: Searched) -> Result<Search<'_>, BadRequest> {
    let at = |name| At { before: "", name };
    let there = |name| BadRequest::Missing(at(name).path(""));
    let subject = entity(object, at("subject"), searched == Searched::Subjects)?;
    let resource = entity(object, at("resource"), searched == Searched::Resources)?;
    // An action search has none, and one that is sent says nothing (section 8.6).
    let action = match searched {
        Searched::Actions => Some(Ok(Named { name: "", properties: None })),
        Searched::Subjects | Searched::Resources => action(object, "")?,
    };
    let about = Evaluation {
        subject: subject.unwrap_or_else(|| Err(there("subject")))?,
        action: action.unwrap_or_else(|| Err(there("action")))?,
        resource: resource.unwrap_or_else(|| Err(there("resource")))?,
        context: member(object, at("context"))?,
    };
    Ok(Search { searched, about, page: page(object)? })
}

fn page(object: &Object) -> Result<PageRequest<'_>, BadRequest> {
    let at = At { before: "", name: "page" };
    let Some(page) = member(object, at)? else { return Ok(PageRequest::default()) };
    let token = match page.get("token") {
        None => None,
        Some(Value::String(token)) => Some(token.as_str()),
        Some(_) => return Err(at.wrong("token", STRING)),
    };
    let limit = page
        .get("limit")
        .map(|limit| whole(limit).ok_or_else(|| at.wrong("limit", "a whole number from 0")));
    properties(page, at)?;
    Ok(PageRequest { token, limit: limit.transpose()? })
}

/// A whole number from 0, however it is written; one that is too large for 64 bits is the largest.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
    })
}
