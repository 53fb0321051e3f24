//! The controls and messages of RFC 4533, taken apart by hand: the crate's own parsers panic on what is
//! malformed.

use ldap3::asn1::{PL, StructureTag, parse_tag};
use ldap3::controls::{Control, RawControl, RefreshMode, SyncRequest};

use super::super::entry::{Entry, constructed, primitive};

const STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
const DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
const INFO: &str = "1.3.6.1.4.1.4203.1.9.1.4";
/// The request, as servers list it.
pub(super) const REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";

/// An entry's id as the protocol has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id([u8; 16]);

impl Id {
    /// Reads an id in text, wherever its hyphens are: entryUUID and nsUniqueId have the same digits.
    pub fn parse(text: &str) -> Option<Id> {
        let mut bytes = [0u8; 16];
        let mut digits = text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16));
        for byte in &mut bytes {
            let (high, low) = (digits.next()??, digits.next()??);
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        digits.next().is_none().then_some(Id(bytes))
    }

    /// That of an entry, by which the server tells it.
    pub fn of(entry: &Entry) -> Option<Id> {
        Id::parse(&entry.stable_id()?)
    }

    fn new(bytes: &[u8]) -> Option<Id> {
        bytes.try_into().ok().map(Id)
    }

    /// As entryUUID has it, or as nsUniqueId has it.
    pub fn text(self, unique: bool) -> String {
        let mut text = String::with_capacity(36);
        for (place, byte) in self.0.iter().enumerate() {
            let hyphen = match unique {
                true => matches!(place, 4 | 8 | 12),
                false => matches!(place, 4 | 6 | 8 | 10),
            };
            if hyphen {
                text.push('-');
            }
            // Of each member of each group that is told.
            text.extend(
                [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16).unwrap_or('0')),
            );
        }
        text
    }
}

impl std::fmt::Debug for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text(false))
    }
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Became {
    /// It is there, as it was.
    Present,
    /// It is new or has changed.
    Changed,
    /// It is gone: deleted, out of the base, or out of sight.
    Gone,
}

/// The control that comes with an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// What became of it.
    pub became: Became,
    /// Which it is.
    pub id: Id,
    /// From where to go on after it.
    pub cookie: Option<Vec<u8>>,
}

/// The control that comes with the end of a search.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Done {
    /// From where to go on.
    pub cookie: Option<Vec<u8>>,
    /// Who is gone was said; else whoever was not mentioned is.
    pub deletes: bool,
}

/// A message in between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Info {
    /// From where to go on.
    Cookie(Vec<u8>),
    /// A phase of the refresh ended.
    Phase {
        /// Who is gone was said; else whoever was not mentioned is.
        deletes: bool,
        /// From where to go on.
        cookie: Option<Vec<u8>>,
        /// The refresh ended as well.
        done: bool,
    },
    /// These are gone, or these are there.
    Ids {
        /// Gone.
        gone: bool,
        /// Which.
        ids: Vec<Id>,
    },
}

/// The request: everything since `cookie`, and if `persist` whatever comes after. Critical: a server
/// that does not know it would answer an ordinary search.
pub(super) fn request(cookie: Option<&[u8]>, persist: bool) -> RawControl {
    let mode = if persist { RefreshMode::RefreshAndPersist } else { RefreshMode::RefreshOnly };
    let request = SyncRequest { mode, cookie: cookie.map(<[u8]>::to_vec), reload_hint: false };
    RawControl { crit: true, ..RawControl::from(request) }
}

/// The control of an entry among `controls`. `Err`: there is one, and it cannot be understood.
pub(super) fn state(controls: &[Control]) -> Result<Option<State>, ()> {
    find(controls, STATE).map(|raw| state_of(raw).ok_or(())).transpose()
}

fn state_of(raw: &RawControl) -> Option<State> {
    let mut parts = sequence(raw.val.as_deref()?)?.into_iter();
    let became = match primitive(parts.next()?)?.as_slice() {
        [0] => Became::Present,
        [1 | 2] => Became::Changed,
        [3] => Became::Gone,
        _ => return None,
    };
    let id = Id::new(&primitive(parts.next()?)?)?;
    let cookie = parts.next().map(primitive);
    Some(State { became, id, cookie: cookie.flatten() })
}

/// The control of the end among `controls`.
pub(super) fn done(controls: &[Control]) -> Option<Done> {
    let raw = find(controls, DONE)?;
    let Some(value) = raw.val.as_deref() else { return Some(Done::default()) };
    let (cookie, flag, _) = parts(sequence(value)?)?;
    Some(Done { cookie, deletes: flag.unwrap_or(false) })
}

/// An intermediate response; nothing where it is another's.
pub(super) fn info(tag: StructureTag) -> Result<Option<Info>, ()> {
    let (mut name, mut value) = (None, None);
    for part in constructed(tag).ok_or(())? {
        match part.id {
            0 => name = primitive(part),
            1 => value = primitive(part),
            _ => {}
        }
    }
    if name.as_deref() != Some(INFO.as_bytes()) {
        return Ok(None);
    }
    let (_, tag) = parse_tag(value.as_deref().ok_or(())?).map_err(|_| ())?;
    info_of(tag).map(Some).ok_or(())
}

fn info_of(tag: StructureTag) -> Option<Info> {
    let id = tag.id;
    if id == 0 {
        return Some(Info::Cookie(primitive(tag)?));
    }
    let (cookie, flag, ids) = parts(constructed(tag)?)?;
    match id {
        1 | 2 => Some(Info::Phase { deletes: id == 1, cookie, done: flag.unwrap_or(true) }),
        3 => Some(Info::Ids { gone: flag.unwrap_or(false), ids: ids? }),
        _ => None,
    }
}

type Parts = (Option<Vec<u8>>, Option<bool>, Option<Vec<Id>>);

/// Cookie, flag and ids, each of which may be missing.
fn parts(tags: Vec<StructureTag>) -> Option<Parts> {
    const BOOLEAN: u64 = 1;
    const OCTETS: u64 = 4;
    const SET: u64 = 17;
    let (mut cookie, mut flag, mut ids) = (None, None, None);
    for tag in tags {
        match tag.id {
            OCTETS => cookie = Some(primitive(tag)?),
            BOOLEAN => flag = Some(primitive(tag)?.first().is_some_and(|byte| *byte != 0)),
            SET => {
                let of = |tag| Id::new(&primitive(tag)?);
                ids = Some(constructed(tag)?.into_iter().map(of).collect::<Option<Vec<Id>>>()?);
            }
            _ => return None,
        }
    }
    Some((cookie, flag, ids))
}

fn sequence(bytes: &[u8]) -> Option<Vec<StructureTag>> {
    let (_, tag) = parse_tag(bytes).ok()?;
    match tag.payload {
        PL::C(parts) => Some(parts),
        PL::P(_) => None,
    }
}

fn find<'c>(controls: &'c [Control], oid: &str) -> Option<&'c RawControl> {
    controls.iter().map(|Control(_, raw)| raw).find(|raw| raw.ctype == oid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(oid: &str, value: &[u8]) -> Vec<Control> {
        let raw = RawControl { ctype: oid.to_owned(), crit: false, val: Some(value.to_vec()) };
        vec![Control(None, raw)]
    }

    #[test]
    fn ids_read_the_same_from_both_spellings() {
        let uuid = "9d3a6c7e-0102-1040-8000-0000000000ff";
        let unique = "9d3a6c7e-01021040-80000000-000000ff";
        let id = Id::parse(uuid).unwrap();
        assert_eq!(Some(id), Id::parse(unique));
        assert_eq!((id.text(false).as_str(), id.text(true).as_str()), (uuid, unique));
        for bad in ["", "9d3a", &format!("{uuid}0"), "zd3a6c7e-0102-1040-8000-0000000000ff"] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn controls_are_taken_apart_and_what_is_malformed_is_no_panic() {
        let id = [7u8; 16];
        let mut value = vec![0x30, 25, 0x0a, 1, 3, 4, 16];
        value.extend(id);
        value.extend([4, 2, b'c', b'k']);
        let found = state(&control(STATE, &value)).unwrap().unwrap();
        assert_eq!(found, State { became: Became::Gone, id: Id(id), cookie: Some(b"ck".to_vec()) });
        assert_eq!(state(&[]), Ok(None));
        for bad in [&[][..], &[0x30, 0], &[0x30, 3, 0x0a, 1, 9], &[4, 1, 1], &[0x30, 200]] {
            assert_eq!(state(&control(STATE, bad)), Err(()), "{bad:?}");
        }
        let found = done(&control(DONE, &[0x30, 7, 4, 2, b'c', b'k', 1, 1, 255])).unwrap();
        assert_eq!(found, Done { cookie: Some(b"ck".to_vec()), deletes: true });
        assert_eq!(done(&control(DONE, &[0x30, 0])), Some(Done::default()));
        assert_eq!(done(&control(DONE, &[0x30, 2, 2, 0])), None);
    }
}
