//! `[gateway.authzen]`: a decision point for whoever speaks AuthZEN Authorization API 1.0.
//!
//! `pattern` and `rule` say which of the platform's requests a question is, `caller` who may ask.

mod caller;
mod pattern;
mod rule;

pub use caller::{CallerConfig, CallerJwt, CallerProof, Capability};
pub use pattern::{AuthzenPattern, Ending};
pub use rule::{AuthzenRule, Condition, QuestionPart};

use std::net::SocketAddr;

use url::Url;

use super::fault::Code;
use super::gateway::{Listen, TlsConfig};
use super::jwt::Around;
use super::reader::{Node, Read, Table, all};
use super::value::http_url;

/// `[gateway.authzen]` with `enabled = true`
#[derive(Clone, PartialEq, Debug)]
pub struct AuthzenConfig {
    /// What callers know this decision point as; absent: no metadata.
    pub base_url: Option<BaseUrl>,
    /// The action of a question that no rule fits. It ends in the action's name.
    pub action: AuthzenPattern,
    /// The resource of such a question. It ends in the resource's id.
    pub resource: AuthzenPattern,
    /// Questions in one request. Default 1,000.
    pub max_evaluations: usize,
    /// Results on a page, at most. Default 1,000.
    pub page_size: usize,
    /// Whether a denial says why. Default true.
    pub reasons: bool,
    /// The types of subjects; distinct, at least one.
    pub subjects: Vec<SubjectType>,
    /// Who may ask; names are distinct. Empty: whoever reaches the listener.
    pub callers: Vec<CallerConfig>,
    /// Before the patterns; the first that fits counts.
    pub rules: Vec<AuthzenRule>,
}

/// `base_url`: compared as a text by callers, so it is kept as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseUrl {
    /// As it is written, without a slash at its end.
    pub text: String,
    /// What stands before every endpoint's path: nothing, or `/…`.
    pub path: String,
}

/// `[[gateway.authzen.subject]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubjectType {
    /// `type` of such a subject, compared exactly.
    pub name: String,
    /// What its `id` is.
    pub id: SubjectId,
}

/// What the `id` of a subject is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SubjectId {
    /// The username, compared as usernames are.
    Username,
    /// The email address, whatever its case.
    Email,
    /// The id of this source, compared exactly.
    External(String),
}

impl AuthzenConfig {
    /// By what subjects are known, each once.
    #[must_use]
    pub fn subject_ids(&self) -> Vec<SubjectId> {
        let mut ids: Vec<SubjectId> = Vec::new();
        for subject in &self.subjects {
            if !ids.contains(&subject.id) {
                ids.push(subject.id.clone());
            }
        }
        ids
    }

    /// The sources whose ids subjects are known by.
    pub(super) fn id_sources(&self) -> impl Iterator<Item = &str> {
        self.subjects.iter().filter_map(|subject| match &subject.id {
            SubjectId::External(source) => Some(source.as_str()),
            SubjectId::Username | SubjectId::Email => None,
        })
    }
}

/// What the rest of `[gateway]` says that matters here; absent where it is at fault.
pub(super) struct Beside<'a> {
    pub(super) http: Option<&'a Listen>,
    pub(super) tls: Option<&'a TlsConfig>,
    /// What `tls` says is at fault.
    pub(super) tls_fails: bool,
    pub(super) around: &'a Around<'a>,
}

impl Beside<'_> {
    /// Whether every client shows a certificate of ours; also where that cannot be told yet.
    fn certified(&self) -> bool {
        self.tls_fails || self.tls.is_some_and(|tls| tls.client_ca_file.is_some())
    }
}

/// Reads `[gateway.authzen]` of the table `gateway`. `None`: nobody asks so here.
pub(super) fn authzen(gateway: &Table<'_>, beside: &Beside<'_>) -> Read<Option<AuthzenConfig>> {
    let Some(node) = gateway.get("authzen") else { return Ok(None) };
    let table = node.table()?;
    let enabled = table.required("enabled", Node::boolean);
    let base_url = table.optional("base_url", base_url);
    let action = table.or("action", AuthzenPattern::action(), pattern::whole_action);
    let resource = table.or("resource", AuthzenPattern::resource(), pattern::whole_resource);
    let max_evaluations = table.or("max_evaluations", 1_000, |node| node.integer(1..=100_000));
    let page_size = table.or("page_size", 1_000, |node| node.integer(1..=100_000));
    let reasons = table.or("reasons", true, Node::boolean);
    let subjects = subjects(&table, beside.around);
    let callers = caller::callers(&table, beside.certified(), beside.around);
    let rules = table.or("rule", Vec::new(), |node| all(node.tables()?.iter().map(rule::rule)));
    if matches!(enabled, Ok(true)) {
        reachable(gateway, &table, beside, callers.as_deref().ok());
    }
    table.finish();
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let config = AuthzenConfig {
        base_url: base_url?,
        action: action?,
        resource: resource?,
        max_evaluations: size(max_evaluations?),
        page_size: size(page_size?),
        reasons: reasons?,
        subjects: subjects?,
        callers: callers?,
        rules: rules?,
    };
    Ok(enabled?.then_some(config))
}

/// It needs the HTTP listener, and one that not everybody reaches where nobody is asked who they are.
fn reachable(
    gateway: &Table<'_>,
    table: &Table<'_>,
    beside: &Beside<'_>,
    callers: Option<&[CallerConfig]>,
) {
    if !gateway.has("http") {
        if let Some(node) = table.get("enabled") {
            let why = "is answered over HTTP, and there is no `gateway.http` to listen on";
            node.fault(Code::Conflict, why);
        }
        return;
    }
    let open = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
    if let (Some(Listen::Tcp(address)), Some([])) = (beside.http, callers)
        && open(address)
        && !beside.certified()
    {
        table.missing(
            "caller",
            format!(
                "`gateway.http` listens at `{address}`, beyond this machine, where anybody could ask \
                 who may do what: name those who may (`[[gateway.authzen.caller]]`), or use the \
                 loopback, a unix socket, or `[gateway.tls]` with `client_ca_file`"
            ),
        );
    }
}

/// What else `gateway.http` answers, by the first segment of its path.
const OTHERS: [&str; 5] = ["authz", "healthz", "readyz", "metrics", "backchannel-logout"];

/// `https://host[:port][/path]` in the form in which it is compared.
fn base_url(node: &Node<'_>) -> Read<BaseUrl> {
    let url: Url = node.parsed(http_url)?;
    let text = node.string()?;
    if text.ends_with('/') {
        return Err(node.bad(
            "ends in a slash: callers compare it as a text with what they were given, where it is \
             written without",
        ));
    }
    let canonical = url.as_str().trim_end_matches('/');
    if canonical != text {
        return Err(node.bad(format!(
            "`{}` is another spelling of `{canonical}`, and callers compare it as a text",
            text.escape_debug()
        )));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let first = path.split('/').nth(1).unwrap_or_default();
    if OTHERS.contains(&first) {
        return Err(node.bad(format!(
            "`/{first}` is answered by the gateway itself, so nobody would reach what is below it: take \
             another path"
        )));
    }
    Ok(BaseUrl { text: text.to_owned(), path })
}

/// The types of subjects; where the file names none, `user` by username.
fn subjects(table: &Table<'_>, around: &Around<'_>) -> Read<Vec<SubjectType>> {
    let user = SubjectType { name: "user".to_owned(), id: SubjectId::Username };
    let mut seen: Vec<String> = Vec::new();
    let read = table.or("subject", vec![user.clone()], |node| {
        all(node.tables()?.iter().map(|table| subject(table, &mut seen, around)))
    })?;
    Ok(if read.is_empty() { vec![user] } else { read })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Username,
    Email,
    External,
}

fn subject(table: &Table<'_>, seen: &mut Vec<String>, around: &Around<'_>) -> Read<SubjectType> {
    let name = table.required("type", |node| {
        let name = pattern::type_name(node)?;
        if seen.contains(&name) {
            return Err(node.fault(Code::Conflict, format!("`{name}` is there already")));
        }
        seen.push(name.clone());
        Ok(name)
    });
    let by = table.required("id", |node| {
        node.one_of(&[
            ("username", By::Username),
            ("email", By::Email),
            ("external_id", By::External),
        ])
    });
    let source = table.optional("source", |node| around.named(node));
    let lacks = match by {
        Ok(By::External) if !table.has("source") => Some(table.missing(
            "source",
            "`id = \"external_id\"` needs the name of the source whose ids they are",
        )),
        Ok(By::Username | By::Email) => {
            table.refuse("source", "goes with `id = \"external_id\"`");
            None
        }
        _ => None,
    };
    table.finish_but(&["source"]);
    if let Some(lacks) = lacks {
        return Err(lacks);
    }
    let id = match (by?, source?) {
        (By::Username, _) => SubjectId::Username,
        (By::Email, _) => SubjectId::Email,
        (By::External, source) => SubjectId::External(source.unwrap_or_default()),
    };
    Ok(SubjectType { name: name?, id })
}
