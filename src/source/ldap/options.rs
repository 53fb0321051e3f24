//! Options of an attribute description (RFC 4512, section 2.5.2): what stands after its `;`.
//!
//! A value with options is of a subtype: `cn;lang-de` is a `cn` too. Not every such text is one,
//! though: an export of 389-DS with replication state (`db2ldif -r`) writes there when a value
//! came, and whether it has gone again.

use crate::directory::value;

/// What the options of a value say.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Options {
    /// Nothing: the value is a plain one.
    None,
    /// The value is of this subtype: options in lower case, sorted, joined by `;`.
    Some(String),
    /// The value has been deleted and is kept for replication alone.
    Deleted,
    /// The values are some of many (`range=0-1499`), Active Directory's way to say there is more.
    Range(Range),
}

/// Which of an attribute's values came (MS-ADTS, section 3.1.1.3.1.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    /// The place of the first.
    pub first: u32,
    /// The place of the last; `None`: there are no more.
    pub last: Option<u32>,
}

impl Range {
    /// One that does not say which values they are; to be taken for some of many.
    const UNKNOWN: Range = Range { first: u32::MAX, last: Some(u32::MAX) };

    fn read(text: &str) -> Option<Range> {
        let (first, last) = text.split_once('-')?;
        let last = if last == "*" { None } else { Some(last.parse().ok()?) };
        Some(Range { first: first.parse().ok()?, last })
    }
}

/// An attribute description as a filter names it: the type's one name, and options that a value
/// must have to be meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The type's one name ([`value::attribute`]).
    pub name: String,
    options: Vec<String>,
}

impl Description {
    /// Reads `text`, whose type may have any of its names.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let options = text.split(';').skip(1).map(str::to_ascii_lowercase).collect();
        Description { name: value::attribute(text).into_owned(), options }
    }

    /// The description as a server is asked for it.
    #[must_use]
    pub fn text(&self) -> String {
        [&[self.name.clone()][..], &self.options].concat().join(";")
    }

    /// The same of each type whose values are values of this one too.
    pub(super) fn subtypes(&self) -> impl Iterator<Item = Description> {
        let options = self.options.clone();
        let subtypes = value::subtypes(&self.name).iter();
        subtypes.map(move |name| Description { name: (*name).to_owned(), options: options.clone() })
    }

    /// Whether a value with these options (as in [`Options::Some`]; empty: a plain one) is meant.
    pub(super) fn means(&self, options: &str) -> bool {
        self.options.iter().all(|wanted| options.split(';').any(|option| option == wanted))
    }

    /// Whether only values with some option are meant.
    pub(super) fn is_narrow(&self) -> bool {
        !self.options.is_empty()
    }
}

/// Splits `name` into type and options.
pub(super) fn split(name: &str) -> (&str, Options) {
    match name.split_once(';') {
        None => (name, Options::None),
        Some((name, options)) => (name, read(options)),
    }
}

fn read(text: &str) -> Options {
    let mut kept = Vec::new();
    for option in text.split(';').filter(|option| !option.is_empty()) {
        let option = option.to_ascii_lowercase();
        match option.strip_prefix("range=") {
            // Everything from the first to the last is no part of anything.
            Some("0-*") => {}
            Some(range) => return Options::Range(Range::read(range).unwrap_or(Range::UNKNOWN)),
            // How a value travels (RFC 4522) makes no other value of it.
            None if option == "binary" || is_state(&option) => {}
            None if option == "deleted" || option == "deletedattribute" => return Options::Deleted,
            None => kept.push(option),
        }
    }
    if kept.is_empty() {
        return Options::None;
    }
    kept.sort();
    kept.dedup();
    Options::Some(kept.join(";"))
}

/// Whether an option (lower case) is 389-DS's note of a change: `vucsn-`, `vdcsn-`, `adcsn-` or
/// `mdcsn-` and the change's number in hex.
fn is_state(option: &str) -> bool {
    let Some((kind, number)) = option.split_once("csn-") else { return false };
    let kind = kind.len() == 2 && kind.bytes().all(|byte| byte.is_ascii_lowercase());
    kind && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_subtype_state_or_range() {
        let subtype = |text: &str| Options::Some(text.to_owned());
        for (name, options) in [
            ("cn", Options::None),
            ("cn;lang-de", subtype("lang-de")),
            ("cn;LANG-de;Phonetic", subtype("lang-de;phonetic")),
            ("cn;phonetic;lang-de", subtype("lang-de;phonetic")),
            ("cn;binary", Options::None),
            ("cn;vucsn-6b084167000900070000", Options::None),
            ("cn;vucsn-6b084167000900070000;mdcsn-6b084167000900070000", Options::None),
            ("cn;adcsn-6b084186000200070000;lang-de", subtype("lang-de")),
            ("cn;VUCSN-6B084167000900070000;VDCSN-6b08;Deleted", Options::Deleted),
            ("cn;adcsn-6b084186000200070000;deletedattribute", Options::Deleted),
            ("cn;deletedattribute;deleted", Options::Deleted),
            ("cn;deleted", Options::Deleted),
            ("cn;vucsn-", subtype("vucsn-")),
            ("cn;vucsn-deleted", subtype("vucsn-deleted")),
            ("cn;x-deleted", subtype("x-deleted")),
            ("cn;range=0-1499", Options::Range(Range { first: 0, last: Some(1499) })),
            ("cn;Range=1500-*", Options::Range(Range { first: 1500, last: None })),
            ("cn;range=some", Options::Range(Range::UNKNOWN)),
            ("cn;range=0-*", Options::None),
        ] {
            assert_eq!(split(name), ("cn", options), "{name}");
        }
    }

    #[test]
    fn a_description_means_its_type_and_every_subtype() {
        assert_eq!(Description::new("commonName;Lang-DE;x").text(), "cn;lang-de;x");
        assert_eq!(Description::new("2.5.4.3").text(), "cn");
        for (description, options, means) in [
            ("cn", "", true),
            ("cn", "lang-de", true),
            ("cn;lang-de", "", false),
            ("cn;LANG-DE", "lang-de", true),
            ("cn;lang-de", "lang-de;phonetic", true),
            ("cn;phonetic;lang-de", "lang-de;phonetic", true),
            ("cn;lang-de", "lang-en", false),
            ("cn;lang-de", "lang-de-ch", false),
        ] {
            assert_eq!(Description::new(description).means(options), means, "{description}");
        }
    }
}
