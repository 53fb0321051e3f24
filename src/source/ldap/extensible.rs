//! Extensible matches (RFC 4511, section 4.5.1.7.7): an attribute compared by another rule, or in
//! an entry's DN too. Those of one entry alone; what walks the directory (such as membership in
//! chain, 1.2.840.113556.1.4.1941) only a server evaluates.

use super::entry::Entry;
use super::filter;
use super::options::Description;
use crate::directory::{dn, value};

/// `(cn:dn:caseExactMatch:=x)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extensible {
    /// Which attribute.
    pub of: Description,
    in_dn: bool,
    rule: Rule,
    value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// The attribute's own.
    Own,
    IgnoringCase,
    Exactly,
    Names,
    Integers,
    /// Every bit is set.
    AllBits,
    /// Some bit is set.
    AnyBit,
}

/// What stands there asks for a matching rule that only a server knows.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the matching rule in `{0}` is not one that can be followed here: only a server evaluates it"
)]
pub struct RuleUnknown(String);

/// By name in lower case and by OID (RFC 4517, section 4.2; MS-ADTS, section 3.1.1.3.4.4).
const RULES: &[(&str, Rule)] = &[
    ("caseignorematch", Rule::IgnoringCase),
    ("2.5.13.2", Rule::IgnoringCase),
    ("caseignoreia5match", Rule::IgnoringCase),
    ("1.3.6.1.4.1.1466.109.114.2", Rule::IgnoringCase),
    ("caseexactmatch", Rule::Exactly),
    ("2.5.13.5", Rule::Exactly),
    ("caseexactia5match", Rule::Exactly),
    ("1.3.6.1.4.1.1466.109.114.1", Rule::Exactly),
    ("distinguishednamematch", Rule::Names),
    ("2.5.13.1", Rule::Names),
    ("integermatch", Rule::Integers),
    ("2.5.13.14", Rule::Integers),
    ("objectidentifiermatch", Rule::Own),
    ("2.5.13.0", Rule::Own),
    ("integerbitandmatch", Rule::AllBits),
    ("1.2.840.113556.1.4.803", Rule::AllBits),
    ("integerbitormatch", Rule::AnyBit),
    ("1.2.840.113556.1.4.804", Rule::AnyBit),
];

impl Extensible {
    /// Of the attribute `of`, with `how` (`:dn:rule`, either part or both may be missing), for
    /// `value`.
    ///
    /// # Errors
    /// The rule is not one that can be followed here.
    pub fn new(of: Description, how: &str, value: Vec<u8>) -> Result<Self, RuleUnknown> {
        let mut parts: Vec<String> = how.split(':').skip(1).map(str::to_ascii_lowercase).collect();
        let in_dn = parts.first().is_some_and(|part| part == "dn");
        if in_dn {
            parts.remove(0);
        }
        let rule = match parts.as_slice() {
            [] => Some(Rule::Own),
            [rule] => RULES.iter().find(|(name, _)| name == rule).map(|(_, rule)| *rule),
            _ => None,
        };
        let rule = rule.ok_or_else(|| RuleUnknown(format!("{}{how}:=", of.name)))?;
        Ok(Extensible { of, in_dn, rule, value })
    }

    /// Whether `entry` matches.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        filter::some(entry, &self.of, |value| self.holds(value))
            || (self.in_dn
                && dn::parts(&entry.dn).iter().any(|(name, value)| {
                    value::is_kind_of(name, &self.of.name) && self.holds(value)
                }))
    }

    fn holds(&self, candidate: &[u8]) -> bool {
        if self.rule == Rule::Own {
            return filter::equal(&self.of.name, candidate, &self.value);
        }
        let (Ok(candidate), Ok(wanted)) =
            (std::str::from_utf8(candidate), std::str::from_utf8(&self.value))
        else {
            return false;
        };
        let numbers = || Some((number(candidate)?, number(wanted)?));
        match self.rule {
            Rule::Own | Rule::IgnoringCase => value::folded(candidate) == value::folded(wanted),
            Rule::Exactly => value::exact(candidate) == value::exact(wanted),
            Rule::Names => match (dn::normalized(candidate), dn::normalized(wanted)) {
                (Ok(candidate), Ok(wanted)) => candidate == wanted,
                _ => false,
            },
            Rule::Integers => numbers().is_some_and(|(candidate, wanted)| candidate == wanted),
            Rule::AllBits => numbers().is_some_and(|(candidate, mask)| candidate & mask == mask),
            Rule::AnyBit => numbers().is_some_and(|(candidate, mask)| candidate & mask != 0),
        }
    }
}

fn number(text: &str) -> Option<i128> {
    text.trim().parse().ok()
}
