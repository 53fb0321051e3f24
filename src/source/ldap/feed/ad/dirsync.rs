//! What has changed, as Active Directory tells a replica of its own (DirSync; MS-ADTS, section
//! 3.1.1.3.4.1.3), to whoever has the right `Replicating Directory Changes`: deletions as well. Samba tells
//! those only to whom it shows what was deleted, so that is tried before it is believed ([`begin`]).
//!
//! The answer holds what has changed of each entry and nothing else of it. Ids, names and tombstones are
//! taken from it; all else is read again with this identity's own rights.

use ldap3::asn1::parse_tag;
use ldap3::controls::{Control, RawControl};
use ldap3::{LdapResult, Scope};

use super::super::inbox::MOST;
use super::super::wire::Id;
use super::super::{Origin, Stop};
use super::changes::{Touch, Touched, is_deleted};
use super::dc::Dc;
use crate::source::feed::WhyFull;
use crate::source::ldap::connect::Connection;
use crate::source::ldap::entry::{Entry, constructed, primitive};
use crate::source::ldap::explain::{self, Fault};
use crate::source::ldap::filter::Filter;
use crate::source::ldap::types::Types;

const OID: &str = "1.2.840.113556.1.4.841";
/// Of long lists only who came and who went.
const INCREMENTAL_VALUES: [u8; 4] = [0x80, 0, 0, 0];
/// So many bytes at once: a mebibyte.
const AT_ONCE: [u8; 3] = [0x10, 0, 0];
/// The container of what was deleted counts as deleted itself. Whatever else passes, the cookie is of all.
const DELETED: &str = "(&(isDeleted=TRUE)(objectClass=container))";

fn control(cookie: &[u8]) -> RawControl {
    let flags = tlv(2, &INCREMENTAL_VALUES);
    let value = tlv(0x30, &[flags, tlv(2, &AT_ONCE), tlv(4, cookie)].concat());
    RawControl { ctype: OID.to_owned(), crit: true, val: Some(value) }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            out.push(0x84);
            out.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend(content);
    out
}

/// Whether there is more, and the cookie for that or for the next time.
fn answer(result: &LdapResult) -> Option<(bool, Vec<u8>)> {
    let raw = result.ctrls.iter().map(|Control(_, raw)| raw).find(|raw| raw.ctype == OID)?;
    let (_, tag) = parse_tag(raw.val.as_deref()?).ok()?;
    let mut parts = constructed(tag)?.into_iter();
    let more = primitive(parts.next()?)?.iter().any(|byte| *byte != 0);
    let cookie = primitive(parts.nth(1)?)?;
    Some((more, cookie))
}

/// Where it stands now; nothing where this identity may not ask, or would not be told of deletions.
pub(super) async fn begin(
    origin: &Origin,
    connection: &Connection,
    dc: &Dc,
) -> Result<Option<Vec<u8>>, Stop> {
    let attributes = ["objectGUID", "isDeleted"].map(str::to_owned);
    let mut shows_deleted = false;
    let mut on_entry = |entry: Entry| shows_deleted |= is_deleted(&entry);
    let asked = (DELETED, &attributes[..]);
    match ask(origin, connection, dc, asked, Vec::new(), &mut on_entry).await {
        Ok(cookie) => Ok(shows_deleted.then_some(cookie)),
        // 12: the server does not know it. 50: no right to it. 53: not in its own domain.
        Err(Stop::Fault(fault)) if matches!(fault.code, Some(12 | 50 | 53)) => Ok(None),
        Err(stop) => Err(stop),
    }
}

/// The entries that have changed since `cookie`, and the cookie for the next time.
pub(super) async fn since(
    origin: &Origin,
    connection: &Connection,
    dc: &Dc,
    attributes: &[String],
    cookie: &[u8],
) -> Result<(Touched, Vec<u8>), Stop> {
    let mut touched = Touched::new();
    let mut on_entry = |entry: Entry| {
        if let Some(id) = Id::of(&entry)
            && touched.len() <= MOST
        {
            touched.insert(id, touch(entry));
        }
    };
    let asked = ("(objectClass=*)", attributes);
    let next = ask(origin, connection, dc, asked, cookie.to_vec(), &mut on_entry).await;
    let next = next.map_err(|stop| match stop {
        Stop::Fault(fault) if matches!(fault.code, Some(12 | 50 | 53)) => Stop::Read(
            WhyFull::Other(format!("what has changed is not told any more: {}", fault.message)),
        ),
        stop => stop,
    })?;
    match touched.len() > MOST {
        true => Err(Stop::Read(WhyFull::TooMuch(MOST))),
        false => Ok((touched, next)),
    }
}

fn touch(entry: Entry) -> Touch {
    let has = |name: &str| {
        entry.names().any(|known| known == name) || entry.ranged.iter().any(|it| it.name == name)
    };
    // What is new comes with all that it has.
    let is_new = has("objectclass");
    let is_deleted = is_deleted(&entry);
    Touch {
        is_deleted,
        is_container: true,
        has_moved: Some(has("name") && !is_new),
        may_be_group: is_deleted || is_new || has("member") || has("name"),
        dn: entry.dn,
    }
}

/// The attributes whose change matters; all, where a filter cannot be understood here.
pub(super) fn attributes(origin: &Origin, types: Option<&Types>) -> Vec<String> {
    let Origin { config, user_attributes, group_attributes, .. } = origin;
    let mut names: Vec<String> = ["name", "isDeleted", "objectClass"].map(str::to_owned).to_vec();
    names.extend(user_attributes.iter().chain(group_attributes).cloned());
    let groups = config.groups.as_ref().map(|groups| &groups.filter);
    for filter in [&config.users.filter].into_iter().chain(groups) {
        let Ok(filter) = Filter::parse(filter) else { return vec!["*".to_owned()] };
        filter.each_attribute(&mut |name| names.push(name.to_owned()));
    }
    let mut lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    lower.sort_unstable();
    lower.dedup();
    // What is not in the schema can be in no entry, and need not be understood.
    lower.retain(|name| types.is_none_or(|types| types.has(name)));
    lower
}

/// Asks until there is no more, and returns the cookie for the next time.
async fn ask(
    origin: &Origin,
    connection: &Connection,
    dc: &Dc,
    (filter, attributes): (&str, &[String]),
    mut cookie: Vec<u8>,
    on_entry: &mut (dyn FnMut(Entry) + Send),
) -> Result<Vec<u8>, Stop> {
    const BROKEN: &str = "asking what has changed broke off";
    let broken = |error| Stop::Fault(explain::broken(&error, BROKEN));
    let odd = || {
        Stop::Fault(Fault::local("what has changed was not told in a form that is known", false))
    };
    let limits = origin.limits();
    let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
    loop {
        let mut ldap = connection.ldap.clone();
        let chunk = async {
            ldap.with_timeout(limits.operation);
            ldap.with_controls(control(&cookie));
            let mut stream = ldap
                .streaming_search(&dc.domain, Scope::Subtree, filter, names.clone())
                .await
                .map_err(broken)?;
            while let Some(item) = stream.next().await.map_err(broken)? {
                if !item.is_ref() && !item.is_intermediate() {
                    on_entry(Entry::from_wire(item.0).map_err(|_| odd())?);
                }
            }
            Ok::<LdapResult, Stop>(stream.finish().await)
        };
        let result = tokio::time::timeout_at(limits.deadline, chunk).await;
        let late = |_| Stop::Fault(Fault::late(format!("{BROKEN}: it took too long")));
        let result = result.map_err(late)??;
        if result.rc != 0 {
            let limits = &origin.shape.dialect.limits;
            return Err(Stop::Fault(explain::search(&result, "changes", &dc.domain, limits)));
        }
        let (more, next) = answer(&result).filter(|(_, next)| !next.is_empty()).ok_or_else(odd)?;
        if !more {
            return Ok(next);
        }
        cookie = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(value: Option<Vec<u8>>) -> LdapResult {
        let raw = RawControl { ctype: OID.to_owned(), crit: false, val: value };
        LdapResult {
            rc: 0,
            matched: String::new(),
            text: String::new(),
            refs: Vec::new(),
            ctrls: vec![Control(None, raw)],
        }
    }

    #[test]
    fn the_control_is_taken_apart_and_what_is_malformed_is_no_cookie() {
        let long = vec![7u8; 300];
        let value = |more: u8| tlv(0x30, &[tlv(2, &[more]), tlv(2, &[0]), tlv(4, &long)].concat());
        assert_eq!(answer(&result(Some(value(0)))), Some((false, long.clone())));
        assert_eq!(answer(&result(Some(value(1)))), Some((true, long.clone())));
        for bad in [None, Some(vec![]), Some(vec![0x30, 0]), Some(tlv(0x30, &tlv(2, &[0])))] {
            assert_eq!(answer(&result(bad)), None);
        }
        let sent = control(b"cookie").val.unwrap();
        assert_eq!(sent[..8], [0x30, 19, 2, 4, 0x80, 0, 0, 0]);
    }

    #[test]
    fn a_name_that_changed_is_told_from_one_that_is_new() {
        let of = |names: &[&str]| {
            let mut entry = Entry::new("OU=a,DC=x".to_owned());
            names.iter().for_each(|name| entry.add(name, [b"x".to_vec()]));
            let touch = touch(entry);
            (touch.has_moved, touch.may_be_group)
        };
        assert_eq!(of(&["name"]), (Some(true), true));
        assert_eq!(of(&["name", "objectClass"]), (Some(false), true));
        assert_eq!(of(&["mail"]), (Some(false), false));
        assert_eq!(of(&["member;range=1-1"]), (Some(false), true));
    }
}
