//! Security identifiers (MS-DTYP, section 2.4.2): what Active Directory knows people and groups by beyond
//! their own domain.
//!
//! The SID of a person or group is the SID of its domain and a number that is its own there (the *relative
//! identifier*). A directory keeps its domain's once and of each row the number alone, so that none can
//! bear the SID of another domain. What an account's SID was in another domain before it moved
//! (`sIDHistory`) is none of it: it says who somebody was.

use std::fmt;
use std::num::NonZeroU32;

/// What is known of the SID of a person or a group of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, PartialOrd, Ord)]
pub enum Rid {
    /// It was never read.
    #[default]
    Unread,
    /// None of the source's domain.
    Elsewhere,
    /// The domain's, with this number.
    Of(NonZeroU32),
}

impl Rid {
    /// As one number: 0 is [`Rid::Elsewhere`]. Nothing for what was never read.
    #[must_use]
    pub fn code(self) -> Option<u32> {
        match self {
            Rid::Unread => None,
            Rid::Elsewhere => Some(0),
            Rid::Of(number) => Some(number.get()),
        }
    }

    /// What [`Rid::code`] made.
    #[must_use]
    pub fn of_code(code: Option<u32>) -> Self {
        code.map_or(Rid::Unread, |code| NonZeroU32::new(code).map_or(Rid::Elsewhere, Rid::Of))
    }

    /// This, or `known` where it was not read.
    #[must_use]
    pub fn or(self, known: Rid) -> Rid {
        if self == Rid::Unread { known } else { self }
    }
}

/// Which domain of Active Directory a source is, by its SID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OwnDomain<S> {
    /// It is none.
    #[default]
    None,
    /// It may be any: it is one and which was not read, or nobody ever asked.
    Unread,
    /// The one with this SID.
    Of(S),
}

impl<S> OwnDomain<S> {
    /// The SID, where it is known.
    pub fn sid(self) -> Option<S> {
        match self {
            OwnDomain::Of(sid) => Some(sid),
            OwnDomain::None | OwnDomain::Unread => None,
        }
    }

    /// The same, by reference.
    pub fn as_ref(&self) -> OwnDomain<&S> {
        match self {
            OwnDomain::None => OwnDomain::None,
            OwnDomain::Unread => OwnDomain::Unread,
            OwnDomain::Of(sid) => OwnDomain::Of(sid),
        }
    }

    /// The same by another form of the SID.
    pub fn map<T>(self, to: impl FnOnce(S) -> T) -> OwnDomain<T> {
        match self {
            OwnDomain::None => OwnDomain::None,
            OwnDomain::Unread => OwnDomain::Unread,
            OwnDomain::Of(sid) => OwnDomain::Of(to(sid)),
        }
    }
}

/// The SID of a domain: `S-1-5-21-A-B-C`.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct DomainSid(String);

impl DomainSid {
    /// The domain whose `objectSid` these bytes are.
    #[must_use]
    pub fn of_bytes(sid: &[u8]) -> Option<Self> {
        match parts(sid)?.as_slice() {
            [21, a, b, c] => Some(DomainSid(format!("S-1-5-21-{a}-{b}-{c}"))),
            _ => None,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The SID of a person or group of a domain: `S-1-5-21-A-B-C-RID`.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct AccountSid {
    domain: DomainSid,
    number: NonZeroU32,
}

impl AccountSid {
    /// The person or group whose `objectSid` these bytes are. Nothing for what is of no domain, such as
    /// `S-1-5-11`, which is everybody who has signed in.
    #[must_use]
    pub fn of_bytes(sid: &[u8]) -> Option<Self> {
        match parts(sid)?.as_slice() {
            [21, a, b, c, number] => AccountSid::of_parts([*a, *b, *c], *number),
            _ => None,
        }
    }

    /// The same of what [`AccountSid`] prints; `s-` will do for `S-`.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("S-1-5-21-").or_else(|| text.strip_prefix("s-1-5-21-"))?;
        let part = |text: &str| -> Option<u32> {
            let number: u32 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        };
        let parts: Vec<u32> = rest.split('-').map(part).collect::<Option<_>>()?;
        match parts.as_slice() {
            [a, b, c, number] => AccountSid::of_parts([*a, *b, *c], *number),
            _ => None,
        }
    }

    /// That of a row of the directory of `domain`, where it has one.
    #[must_use]
    pub fn of_domain(domain: &str, rid: Rid) -> Option<Self> {
        match rid {
            Rid::Of(number) => AccountSid::of_text(&format!("{domain}-{number}")),
            Rid::Unread | Rid::Elsewhere => None,
        }
    }

    fn of_parts([a, b, c]: [u32; 3], number: u32) -> Option<Self> {
        let domain = DomainSid(format!("S-1-5-21-{a}-{b}-{c}"));
        Some(AccountSid { domain, number: NonZeroU32::new(number)? })
    }

    /// Whose it is.
    #[must_use]
    pub fn domain(&self) -> &DomainSid {
        &self.domain
    }

    /// What a row of that domain's directory has.
    #[must_use]
    pub fn rid(&self) -> Rid {
        Rid::Of(self.number)
    }
}

/// As it is written.
impl fmt::Display for AccountSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.domain.0, self.number)
    }
}

/// The last parts of a SID of the authority 5: one byte for the revision, one for their number, six
/// for the authority, and four for each.
fn parts(sid: &[u8]) -> Option<Vec<u32>> {
    let parts = sid.strip_prefix(&[1])?;
    let (count, rest) = parts.split_first()?;
    let parts = rest.strip_prefix(&[0, 0, 0, 0, 0, 5])?;
    let (parts, odd) = parts.as_chunks::<4>();
    let whole = odd.is_empty() && parts.len() == usize::from(*count);
    whole.then(|| parts.iter().map(|part| u32::from_le_bytes(*part)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(parts: &[u32]) -> Vec<u8> {
        let mut sid = vec![1, parts.len() as u8, 0, 0, 0, 0, 0, 5];
        sid.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        sid
    }

    #[test]
    fn an_accounts_sid_is_its_domains_and_a_number() {
        let sid = AccountSid::of_bytes(&bytes(&[21, 1, 2, u32::MAX, 1105])).unwrap();
        assert_eq!(sid.to_string(), "S-1-5-21-1-2-4294967295-1105");
        assert_eq!(AccountSid::of_text(&sid.to_string()), Some(sid.clone()));
        assert_eq!(AccountSid::of_text("s-1-5-21-1-2-4294967295-1105"), Some(sid.clone()));
        assert_eq!(DomainSid::of_bytes(&bytes(&[21, 1, 2, u32::MAX])).as_ref(), Some(sid.domain()));
        assert_eq!(sid.rid().code(), Some(1105));
    }

    #[test]
    fn what_is_of_no_domain_is_no_account() {
        for parts in
            [&[11][..], &[32, 544], &[21, 1, 2, 3], &[21, 1, 2, 3, 4, 5], &[21, 1, 2, 3, 0]]
        {
            assert_eq!(AccountSid::of_bytes(&bytes(parts)), None, "{parts:?}");
        }
        let good = bytes(&[21, 1, 2, 3, 4]);
        for odd in [&good[..27], &[&good[..], &[0]].concat(), &[&[2][..], &good[1..]].concat(), &[]]
        {
            assert_eq!(AccountSid::of_bytes(odd), None, "{odd:?}");
        }
        for text in [
            "S-1-5-21-1-2-3",
            "S-1-5-21-1-2-3-0",
            "S-1-5-21-1-2-3-04",
            "S-1-5-21-1-2-3-+4",
            "S-1-5-21-1-2-3-4-5",
            "S-1-5-21-1-2-3-4294967296",
            "S-1-5-32-544",
            "S-1-5-21-1-2-3-4 ",
            "bob",
        ] {
            assert_eq!(AccountSid::of_text(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_not_read_leaves_what_is_known() {
        let number = Rid::of_code(Some(7));
        for rid in [Rid::Unread, Rid::Elsewhere, number] {
            assert_eq!(Rid::of_code(rid.code()), rid);
            assert_eq!(Rid::Unread.or(rid), rid);
            assert_eq!(number.or(rid), number);
        }
    }
}
