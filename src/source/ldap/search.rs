//! One search, read to its end, and the truth about whether that was all.
//!
//! The paging is done here rather than by the crate's adapter: after an error that adapter's
//! `finish()` returns an earlier page's success. Here each error is an end, and success means
//! result 0, no references, and an empty last paging cookie.

use std::time::Duration;

use ldap3::asn1::{PL, StructureTag, parse_tag};
use ldap3::controls::{Control, PagedResults, RawControl};
use ldap3::{Ldap, LdapResult, Scope};
use tokio::time::Instant;

use super::dialect::{Deleted, Dialect};
use super::entry::{Entry, constructed, primitive};
use super::explain::{self, Fault};
use crate::source::SourceErrorKind;

/// What to search for.
#[derive(Clone, Debug)]
pub struct Search {
    /// For messages: `users` or `groups`.
    pub what: &'static str,
    /// Where.
    pub base: String,
    /// How far down.
    pub scope: Scope,
    /// Which.
    pub filter: String,
    /// What of them.
    pub attributes: Vec<String>,
    /// Entries a page; 0 asks for all at once.
    pub page_size: u32,
    /// Entries as they are stored (RFC 3296): nothing put in for what they hold, so that it can be
    /// told what a server puts in.
    pub as_stored: bool,
    /// The server's ways.
    pub dialect: Dialect,
}

impl Search {
    /// The controls that go with every request, beside that for pages.
    fn controls(&self) -> Vec<RawControl> {
        const MANAGE_DSA_IT: &str = "2.16.840.1.113730.3.4.2";
        const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
        const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
        const EXTENDED_DN: &str = "1.2.840.113556.1.4.529";
        /// A sequence of the integer 1.
        const AS_TEXT: [u8; 5] = [0x30, 3, 2, 1, 1];
        let control = |oid: &str, crit| RawControl { ctype: oid.to_owned(), crit, val: None };
        let stored = self.as_stored.then(|| control(MANAGE_DSA_IT, true));
        let deleted = (self.dialect.deleted == Deleted::Shown).then(|| control(SHOW_DELETED, true));
        let here = self.dialect.domain_scope.then(|| control(DOMAIN_SCOPE, false));
        let ids = self
            .dialect
            .names_with_ids
            .then(|| RawControl { val: Some(AS_TEXT.to_vec()), ..control(EXTENDED_DN, true) });
        stored.into_iter().chain(deleted).chain(here).chain(ids).collect()
    }
}

/// How long an operation, and everything together, may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One operation: the time to the next entry.
    pub operation: Duration,
    /// The moment by which everything must be done.
    pub deadline: Instant,
}

impl Limits {
    /// How long the next wait may be; `None` once the deadline has passed.
    fn next(&self) -> Option<Duration> {
        let left = self.deadline.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then(|| left.min(self.operation))
    }
}

/// How a search ended.
#[derive(Clone, Debug)]
pub struct End {
    /// How many entries came.
    pub count: u64,
    /// Why that was not all; absent: it was.
    pub fault: Option<Fault>,
    /// The page size in the end, where the server refused the configured one.
    pub smaller_pages: Option<u32>,
}

impl End {
    /// Of a search for nothing.
    #[must_use]
    pub fn nothing() -> Self {
        End { count: 0, fault: None, smaller_pages: None }
    }
}

/// Both filters at once. A filter may be configured without its brackets.
#[must_use]
pub fn both(filter: &str, test: &str) -> String {
    if filter.starts_with('(') {
        format!("(&{filter}{test})")
    } else {
        format!("(&({filter}){test})")
    }
}

const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";

/// Runs `search` to its end, page by page, giving each entry to `on_entry` and the count so far to
/// `on_page`.
pub async fn run(
    ldap: &mut Ldap,
    search: &Search,
    limits: Limits,
    mut on_entry: impl FnMut(Entry),
    mut on_page: impl FnMut(u64),
) -> End {
    let mut end = End::nothing();
    let mut size = search.page_size;
    let mut cookie = Vec::new();
    loop {
        let before = end.count;
        let first = cookie.is_empty();
        let controls = (size > 0).then(|| PagedResults {
            size: i32::try_from(size).unwrap_or(i32::MAX),
            cookie: std::mem::take(&mut cookie),
        });
        match page(ldap, search, limits, controls, &mut end, &mut on_entry).await {
            Err(fault) if fault.code == Some(11) && first && end.count == before && size > 0 => {
                // The page is larger than the server's `size.pr`, or it allows no paging at all:
                // nothing came, so asking again in another way loses nothing.
                size = if size > 100 { 100 } else { 0 };
                end.smaller_pages = Some(size);
                continue;
            }
            Err(fault) => {
                end.fault = Some(fault);
                break;
            }
            Ok(next) => cookie = next,
        }
        on_page(end.count);
        if cookie.is_empty() {
            break;
        }
    }
    on_page(end.count);
    end
}

/// One page. Returns the cookie for the next, empty after the last.
async fn page(
    ldap: &mut Ldap,
    search: &Search,
    limits: Limits,
    control: Option<PagedResults>,
    end: &mut End,
    on_entry: &mut impl FnMut(Entry),
) -> Result<Vec<u8>, Fault> {
    let Search { what, base, .. } = search;
    let doing = || format!("the search for {what} below `{base}` broke off");
    let late = || {
        let why = "`read_timeout` has passed; raise it, or ask why it is slow";
        Fault::late(format!("{}: {why}", doing()))
    };
    let asked = control.as_ref().map(|control| (control.size, control.cookie.is_empty()));
    limits.next().ok_or_else(late)?;
    // The crate's own limit, a little longer: the one below comes first and says which it was.
    ldap.with_timeout(limits.operation.saturating_add(Duration::from_secs(1)));
    let mut controls = search.controls();
    controls.extend(control.map(RawControl::from));
    if !controls.is_empty() {
        ldap.with_controls(controls);
    }
    let attributes: Vec<&str> = search.attributes.iter().map(String::as_str).collect();
    let mut stream = ldap
        .streaming_search(base, search.scope, &search.filter, attributes)
        .await
        .map_err(|error| explain::broken(&error, &doing()))?;
    let before = end.count;
    let mut references = Vec::new();
    let mut bad = None;
    loop {
        let Some(wait) = limits.next() else { return Err(late()) };
        let item = match tokio::time::timeout(wait, stream.next()).await {
            Err(_) if limits.next().is_none() => return Err(late()),
            Err(_) => {
                let limit = limits.operation.as_secs_f64();
                let why = format!("{}: no answer within {limit} s", doing());
                return Err(Fault::late(why));
            }
            Ok(item) => item.map_err(|error| explain::broken(&error, &doing()))?,
        };
        match item {
            None => break,
            Some(item) if item.is_intermediate() => {}
            Some(item) if item.is_ref() => references.extend(reference(item.0)),
            Some(item) => match Entry::from_wire(item.0) {
                Ok(mut entry) => {
                    if search.dialect.names_with_ids {
                        let plain = named_with_id(&entry.dn).1.to_owned();
                        entry.dn = plain;
                    }
                    end.count += 1;
                    on_entry(entry);
                }
                Err(why) => bad = Some(why),
            },
        }
    }
    let result = stream.finish().await;
    if result.rc != 0 {
        return Err(explain::search(&result, what, base, &search.dialect.limits));
    }
    references.extend(result.refs.iter().cloned());
    if let Some(first) = references.first() {
        return Err(Fault::local(
            format!(
                "the search for {what} below `{base}` brought {} reference(s) to other servers \
                 that are not followed, such as `{}`: narrow the base, or give the server that \
                 holds it all",
                references.len(),
                first.escape_debug()
            ),
            false,
        ));
    }
    if let Some(why) = bad {
        let fault = Fault::local(format!("the search for {what} below `{base}`: {why}"), false);
        return Err(fault.of_kind(SourceErrorKind::Broken));
    }
    let Some((size, first)) = asked else { return Ok(Vec::new()) };
    let came = end.count.saturating_sub(before);
    next_cookie(&result, first && came != u64::from(size.unsigned_abs())).map_err(|why| {
        Fault::local(format!("{}: {why}", doing()), true).of_kind(SourceErrorKind::Broken)
    })
}

/// The id and the name in `<GUID=…>;<SID=…>;CN=…`: the id where it is there, and the name without what
/// stands before it.
#[must_use]
pub fn named_with_id(text: &str) -> (Option<&str>, &str) {
    let (parts, name) = named_with(text);
    (of_part(&parts, "GUID"), name)
}

/// The SID in `<GUID=…>;<SID=…>;CN=…`.
#[must_use]
pub fn named_with_sid(text: &str) -> Option<&str> {
    of_part(&named_with(text).0, "SID")
}

fn of_part<'t>(parts: &[(&str, &'t str)], wanted: &str) -> Option<&'t str> {
    let mut parts = parts.iter().rev();
    parts.find(|(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value)
}

/// What stands before a name, and the name.
fn named_with(text: &str) -> (Vec<(&str, &str)>, &str) {
    let (mut parts, mut name) = (Vec::new(), text);
    while let Some(rest) = name.strip_prefix('<')
        && let Some((part, rest)) = rest.split_once('>')
    {
        parts.extend(part.split_once('='));
        name = rest.strip_prefix(';').unwrap_or(rest);
    }
    (parts, name)
}

/// Why it is not known whether a page was the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum PagingFault {
    #[error("the server's paging control could not be understood")]
    Garbled,
    #[error("the server stopped paging without saying that this was all")]
    Stopped,
}

/// The cookie that the server gave along. A server that knows no paging answers without the
/// control and with everything at once: believable only on the first page (`may_be_absent`), and
/// not where exactly one page came.
fn next_cookie(result: &LdapResult, may_be_absent: bool) -> Result<Vec<u8>, PagingFault> {
    let control = result.ctrls.iter().find(|Control(_, raw)| raw.ctype == PAGED_RESULTS);
    match control {
        Some(Control(_, raw)) => paging_cookie(raw).ok_or(PagingFault::Garbled),
        None if may_be_absent => Ok(Vec::new()),
        None => Err(PagingFault::Stopped),
    }
}

/// The cookie in a paged-results control (RFC 2696). Parsed here, since the crate's parser panics.
fn paging_cookie(raw: &RawControl) -> Option<Vec<u8>> {
    let (rest, tag) = parse_tag(raw.val.as_deref()?).ok()?;
    let mut parts = constructed(tag)?.into_iter();
    let size = parts.next()?;
    let cookie = parts.next()?;
    let whole = rest.is_empty() && parts.next().is_none() && size.id == 2 && cookie.id == 4;
    if whole { primitive(cookie) } else { None }
}

/// The URLs in a search result reference.
fn reference(tag: StructureTag) -> Vec<String> {
    let urls = constructed(tag).unwrap_or_default();
    let texts: Vec<String> = urls
        .into_iter()
        .filter_map(|url| match url.payload {
            PL::P(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            PL::C(_) => None,
        })
        .collect();
    if texts.is_empty() { vec!["?".to_owned()] } else { texts }
}
