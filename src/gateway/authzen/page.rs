//! Parts of a search's results (AuthZEN 1.0, section 8.2).
//!
//! A token says behind which result a page begins, and belongs to one search with one limit: it
//! carries a digest of both. It needs nobody to remember it, so it is good at every gateway and
//! after a restart; whoever makes one up only leaves out results of a search that they may make anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::request::{BadRequest, Entity, Object, Search, Searched};

/// So many bytes of the digest are in a token.
const DIGEST: usize = 16;
/// Before the last result: the digest, and the limit.
const BEFORE: usize = DIGEST + 4;

/// `page` of an answer
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct PageAnswer {
    next_token: String,
    count: usize,
}

/// The part of the results that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Part {
    /// It begins behind this one, in the form in which results are sorted.
    pub after: Option<String>,
    /// So many at most.
    pub limit: usize,
}

impl Part {
    /// What `search` asks for, of at most `most` results at once.
    ///
    /// # Errors
    /// The token is of another search or another limit, or none.
    pub(super) fn of(search: &Search<'_>, most: usize) -> Result<Part, BadRequest> {
        let cut = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX).min(most);
        let asked = search.page.limit.map(cut);
        let Some(token) = search.page.token.filter(|token| !token.is_empty()) else {
            return Ok(Part { after: None, limit: asked.unwrap_or(most) });
        };
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
            let (digest, rest) = bytes.split_at_checked(DIGEST)?;
            let (limit, last) = rest.split_first_chunk::<4>()?;
            let limit = u32::from_be_bytes(*limit);
            let last = std::str::from_utf8(last).ok()?;
            (digest == digest_of(search, limit, last)).then(|| (limit, last.to_owned()))
        };
        let (limit, last) = read().ok_or(BadRequest::OtherToken)?;
        // The limit of before, which a second request may repeat or leave out.
        let limit = cut(u64::from(limit));
        match asked.is_none_or(|asked| asked == limit) {
            true => Ok(Part { after: Some(last), limit }),
            false => Err(BadRequest::OtherToken),
        }
    }

    /// The page with `count` results of `search`, the last of them `last`; `left`: there are more.
    pub(super) fn page(
        &self,
        search: &Search<'_>,
        count: usize,
        last: Option<&str>,
        left: bool,
    ) -> PageAnswer {
        let next = last.filter(|_| left).map(|last| {
            let limit = u32::try_from(self.limit).unwrap_or(u32::MAX);
            let mut bytes = Vec::with_capacity(BEFORE.saturating_add(last.len()));
            bytes.extend_from_slice(&digest_of(search, limit, last));
            bytes.extend_from_slice(&limit.to_be_bytes());
            bytes.extend_from_slice(last.as_bytes());
            URL_SAFE_NO_PAD.encode(bytes)
        });
        PageAnswer { next_token: next.unwrap_or_default(), count }
    }
}

/// A digest of a search, its limit and a result.
fn digest_of(search: &Search<'_>, limit: u32, last: &str) -> [u8; DIGEST] {
    let mut hash = Sha256::new_with_prefix(b"idpsyncd: a page of an AuthZEN search, 1\0");
    hash.update([match search.searched {
        Searched::Subjects => 0,
        Searched::Resources => 1,
        Searched::Actions => 2,
    }]);
    hash.update(limit.to_be_bytes());
    put(&mut hash, last.as_bytes());
    let about = &search.about;
    entity(&mut hash, &about.subject);
    put(&mut hash, about.action.name.as_bytes());
    object(&mut hash, about.action.properties);
    entity(&mut hash, &about.resource);
    object(&mut hash, about.context);
    let mut digest = [0; DIGEST];
    for (to, from) in digest.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    digest
}

/// Each with its length, so that no two of them read as others.
fn put(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn entity(hash: &mut Sha256, entity: &Entity<'_>) {
    put(hash, entity.kind.as_bytes());
    put(hash, entity.id.as_bytes());
    object(hash, entity.properties);
}

fn object(hash: &mut Sha256, object: Option<&Object>) {
    match object {
        None => hash.update([0]),
        Some(object) => {
            hash.update([1]);
            members(hash, object);
        }
    }
}

/// Whatever the order in which the members stand.
fn members(hash: &mut Sha256, object: &Object) {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    put(hash, &(members.len() as u64).to_be_bytes());
    for (name, it) in members {
        put(hash, name.as_bytes());
        value(hash, it);
    }
}

fn value(hash: &mut Sha256, it: &Value) {
    match it {
        Value::Null => hash.update([0]),
        Value::Bool(value) => hash.update([1, u8::from(*value)]),
        Value::Number(number) => {
            hash.update([2]);
            put(hash, number.to_string().as_bytes());
        }
        Value::String(text) => {
            hash.update([3]);
            put(hash, text.as_bytes());
        }
        Value::Array(list) => {
            hash.update([4]);
            put(hash, &(list.len() as u64).to_be_bytes());
            list.iter().for_each(|it| value(hash, it));
        }
        Value::Object(object) => {
            hash.update([5]);
            members(hash, object);
        }
    }
}
