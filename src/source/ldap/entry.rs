//! One directory entry, from the wire or from an LDIF.
//!
//! Taken apart by hand rather than by `ldap3::SearchEntry::construct`, which panics on a
//! reference and on a DN that is not UTF-8, and copies every value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ldap3::asn1::{PL, StructureTag};

use super::options::{self, Description, Options, Range};
use crate::directory::{dn, value};

/// An entry. Attribute types have their one name ([`value::attribute`]), values are bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The DN as it is spelled.
    pub dn: String,
    /// Attributes that came as a range of their values (`member;range=0-1499`), Active Directory's
    /// way to say that there is more. Their values stand here alone until all are there.
    pub(super) ranged: Vec<Ranged>,
    /// Each type once.
    attributes: Vec<Attribute>,
}

/// Some of an attribute's values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ranged {
    /// The attribute's one name.
    pub name: String,
    /// Which of them.
    pub range: Range,
    /// The values.
    pub values: Vec<Vec<u8>>,
}

/// The values of one attribute type and of its subtypes by options.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Attribute {
    /// The type's one name.
    name: String,
    /// The plain values, then those with options.
    values: Vec<Vec<u8>>,
    /// The options of each value that has some.
    options: Vec<String>,
}

impl Attribute {
    fn plain(&self) -> &[Vec<u8>] {
        let plain = self.values.len().saturating_sub(self.options.len());
        self.values.get(..plain).unwrap_or(&[])
    }
}

impl Entry {
    /// An entry without attributes.
    #[must_use]
    pub fn new(dn: String) -> Self {
        Entry { dn, ..Entry::default() }
    }

    /// Adds values of the attribute `name`, which may carry options and have any of its names.
    /// What has been deleted and is only kept for replication is not added.
    pub fn add(&mut self, name: &str, values: impl IntoIterator<Item = Vec<u8>>) {
        let (name, options) = options::split(name);
        let options = match options {
            Options::None => None,
            Options::Some(options) => Some(options),
            Options::Deleted => return,
            Options::Range(range) => {
                let (name, values) =
                    (value::attribute(name).into_owned(), values.into_iter().collect());
                return self.ranged.push(Ranged { name, range, values });
            }
        };
        let name = value::attribute(name);
        let known = self.attributes.iter_mut().position(|known| known.name == name);
        let known = known.unwrap_or_else(|| {
            let name = name.into_owned();
            self.attributes.push(Attribute { name, ..Attribute::default() });
            self.attributes.len().saturating_sub(1)
        });
        let Some(known) = self.attributes.get_mut(known) else { return };
        match options {
            None if known.options.is_empty() => known.values.extend(values),
            None => {
                let plain = known.plain().len();
                known.values.splice(plain..plain, values);
            }
            Some(options) => {
                let before = known.values.len();
                known.values.extend(values);
                let came = known.values.len().saturating_sub(before);
                known.options.extend(std::iter::repeat_n(options, came));
            }
        }
    }

    /// Puts values that came as ranges in their places where no range is missing: the first begins
    /// at 0, each where the one before ends, and the last says that it is the last.
    pub fn join_ranges(&mut self) {
        if self.ranged.is_empty() {
            return;
        }
        let mut lists: BTreeMap<String, BTreeMap<u32, Ranged>> = BTreeMap::new();
        for part in &self.ranged {
            let list = lists.entry(part.name.clone()).or_default();
            match list.get_mut(&part.range.first) {
                Some(known) => known.values.extend_from_slice(&part.values),
                None => drop(list.insert(part.range.first, part.clone())),
            }
        }
        for (name, list) in lists {
            if let Some(all) = joined(&list) {
                self.ranged.retain(|part| part.name != name);
                self.add(&name, all);
            }
        }
    }

    fn attribute(&self, name: &str) -> Option<&Attribute> {
        let name = name.split(';').next().unwrap_or(name);
        self.attributes.iter().find(|known| known.name == name)
    }

    /// The one names of the attributes that are there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|known| known.name.as_str())
    }

    /// The values of `name` (its one name), plain ones first; none where it is absent.
    #[must_use]
    pub fn values(&self, name: &str) -> &[Vec<u8>] {
        self.attribute(name).map_or(&[], |known| known.values.as_slice())
    }

    /// The plain values of `name` (its one name), or those with options where there is no other.
    #[must_use]
    pub fn plainest(&self, name: &str) -> &[Vec<u8>] {
        match self.attribute(name) {
            None => &[],
            Some(known) if known.plain().is_empty() => &known.values,
            Some(known) => known.plain(),
        }
    }

    /// The values that `description` means: of its type and, where it names options, with those
    /// (RFC 4512, section 2.5).
    pub fn described(&self, description: &Description) -> impl Iterator<Item = &[u8]> {
        let known = self.attribute(&description.name);
        let plain = known
            .map_or(&[][..], |known| if description.is_narrow() { &[] } else { known.plain() });
        let (others, options) = known.map_or((&[][..], &[][..]), |known| {
            let others = known.values.get(known.plain().len()..).unwrap_or(&[]);
            (others, known.options.as_slice())
        });
        let others = others.iter().zip(options).filter(|(_, options)| description.means(options));
        plain.iter().chain(others.map(|(value, _)| value)).map(Vec::as_slice)
    }

    /// Whether `name` (its one name) is there at all.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// The values of `name` (its one name) that are text.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).iter().filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The values of [`Entry::plainest`] that are text.
    pub fn plainest_texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.plainest(name).iter().filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The one value of `name` (its one name) that stands for the entry where one is wanted: a
    /// plain one before one with options, of those the one in the entry's RDN (there as a value of
    /// this type, else of another: `cn=two` and `uid: two`), else the smallest.
    /// Only texts that are more than spaces. Where `name` has options ([`Description::text`]), only
    /// values with those.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        if name.contains(';') {
            let wanted = Description::new(name);
            let texts = self.described(&wanted).filter_map(text_of);
            return smallest(&wanted.name, texts).map(Cow::Borrowed);
        }
        let known = self.attribute(name);
        let plain = known.map_or(&[][..], Attribute::plain);
        if let [only] = plain
            && let Some(text) = text_of(only)
        {
            return Some(Cow::Borrowed(text));
        }
        let mut rdn = dn::rdn(&self.dn);
        let texts = || plain.iter().filter_map(|value| text_of(value));
        let same = |a: &str, b: &str| value::prepared(name, a) == value::prepared(name, b);
        let of_this = |text: &&str| rdn.iter().any(|(of, value)| of == name && same(value, text));
        let of_another = |text: &&str| rdn.iter().any(|(_, value)| same(value, text));
        if let Some(text) = smallest(name, texts().filter(of_this))
            .or_else(|| smallest(name, texts().filter(of_another)))
            .or_else(|| smallest(name, texts()))
        {
            return Some(Cow::Borrowed(text));
        }
        rdn.retain(|(of, _)| of == name);
        // What stands in the RDN is a plain value of the entry, even where the attribute is hidden.
        let rdn = rdn.iter().filter_map(|(_, text)| text_of(text.as_bytes()));
        if let Some(text) = smallest(name, rdn) {
            return Some(Cow::Owned(text.to_owned()));
        }
        smallest(name, self.values(name).iter().filter_map(|value| text_of(value)))
            .map(Cow::Borrowed)
    }

    /// Whether the entry is of the object class `class` (lower case).
    #[must_use]
    pub fn is_a(&self, class: &str) -> bool {
        self.texts("objectclass").any(|known| known.eq_ignore_ascii_case(class))
    }

    /// The ids of every kind of server: 389-DS's, RFC 4530's, Active Directory's. An entry of 389-DS
    /// always has the first and may get the second later, by a plug-in: it stays who it is.
    pub(super) const ANY_ID: &[&str] = &["nsUniqueId", "entryUUID", "objectGUID"];

    /// The id that stays through rename and move, whichever server wrote the entry.
    #[must_use]
    pub fn stable_id(&self) -> Option<String> {
        self.id_by(Self::ANY_ID)
    }

    /// The id in the first of these attributes that is there: a text in lower case, or Active
    /// Directory's objectGUID (mixed-endian) as one.
    #[must_use]
    pub(super) fn id_by(&self, attributes: &[&str]) -> Option<String> {
        attributes.iter().find_map(|name| match *name {
            "objectGUID" => self.guid(),
            name => Some(self.text(&name.to_ascii_lowercase())?.trim().to_ascii_lowercase()),
        })
    }

    fn guid(&self) -> Option<String> {
        let guid: &[u8; 16] = self.values("objectguid").first()?.as_slice().try_into().ok()?;
        let [a, b, c, d, e, f, g, h, rest @ ..] = *guid;
        let mut text = String::with_capacity(36);
        for (index, byte) in [d, c, b, a, f, e, h, g].into_iter().chain(rest).enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        Some(text)
    }

    /// Takes a search result entry apart.
    ///
    /// # Errors
    /// It is not one (RFC 4511, section 4.5.2), or one of its names is not UTF-8.
    pub fn from_wire(tag: StructureTag) -> Result<Self, NoEntry> {
        const SHAPE: NoEntry = NoEntry::Shape;
        if tag.id != 4 {
            return Err(SHAPE);
        }
        let mut parts = constructed(tag).ok_or(SHAPE)?.into_iter();
        let dn = parts.next().and_then(primitive).ok_or(SHAPE)?;
        let dn = String::from_utf8(dn).map_err(|error| NoEntry::Dn(error.into_bytes()))?;
        let list = parts.next().and_then(constructed).ok_or(SHAPE)?;
        let mut entry =
            Entry { dn, ranged: Vec::new(), attributes: Vec::with_capacity(list.len()) };
        for attribute in list {
            let mut parts = constructed(attribute).ok_or(SHAPE)?.into_iter();
            let name = parts.next().and_then(primitive).ok_or(SHAPE)?;
            let name =
                String::from_utf8(name).map_err(|error| NoEntry::Name(error.into_bytes()))?;
            let values = parts.next().and_then(constructed).ok_or(SHAPE)?;
            let count = values.len();
            let values: Vec<Vec<u8>> = values.into_iter().filter_map(primitive).collect();
            if values.len() != count {
                return Err(SHAPE);
            }
            entry.add(&name, values);
        }
        Ok(entry)
    }
}

/// The text that `value` is, where it is one and more than spaces.
fn text_of(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.trim().is_empty())
}

/// The smallest of `texts` as `attribute` compares them; of those that compare equal, by bytes.
fn smallest<'t>(attribute: &str, texts: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    texts.min_by(|a, b| {
        let prepared = value::prepared(attribute, a).cmp(&value::prepared(attribute, b));
        prepared.then_with(|| a.cmp(b))
    })
}

/// The parts of a constructed value.
pub(crate) fn constructed(tag: StructureTag) -> Option<Vec<StructureTag>> {
    match tag.payload {
        PL::C(parts) => Some(parts),
        PL::P(_) => None,
    }
}

/// The bytes of a primitive value.
pub(crate) fn primitive(tag: StructureTag) -> Option<Vec<u8>> {
    match tag.payload {
        PL::P(bytes) => Some(bytes),
        PL::C(_) => None,
    }
}

/// Why an answer cannot be taken for an entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoEntry {
    /// It is built otherwise.
    #[error("an answer is not a search result entry")]
    Shape,
    /// Its DN.
    #[error("the DN of an entry is not UTF-8: `{}`", String::from_utf8_lossy(.0).escape_debug())]
    Dn(Vec<u8>),
    /// What one of its attributes is called.
    #[error("an attribute's name is not UTF-8: `{}`", String::from_utf8_lossy(.0).escape_debug())]
    Name(Vec<u8>),
}

/// The values of ranges by their first place, where they are all of them.
fn joined(list: &BTreeMap<u32, Ranged>) -> Option<Vec<Vec<u8>>> {
    let (mut next, mut all) = (Some(0), Vec::new());
    for (first, part) in list {
        let wanted = match part.range.last {
            None => part.values.len() as u64,
            Some(last) => u64::from(last.checked_sub(*first)?).checked_add(1)?,
        };
        if next != Some(*first) || wanted != part.values.len() as u64 {
            return None;
        }
        all.extend_from_slice(&part.values);
        next = part.range.last.and_then(|last| last.checked_add(1));
    }
    next.is_none().then_some(all)
}

#[cfg(test)]
mod tests {
    use ldap3::asn1::TagClass;

    use super::*;

    fn tag(id: u64, payload: PL) -> StructureTag {
        StructureTag { class: TagClass::Application, id, payload }
    }

    #[test]
    fn what_is_no_entry_is_an_error_and_never_a_panic() {
        let text = |bytes: &[u8]| tag(4, PL::P(bytes.to_vec()));
        for (bad, why) in [
            (tag(19, PL::C(vec![text(b"ldap://x")])), "not a search result entry"),
            (tag(4, PL::P(vec![])), "not a search result entry"),
            (tag(4, PL::C(vec![])), "not a search result entry"),
            (tag(4, PL::C(vec![text(b"cn=\xff"), tag(16, PL::C(vec![]))])), "not UTF-8"),
            (tag(4, PL::C(vec![text(b"cn=a"), tag(16, PL::C(vec![text(b"x")]))])), "not a search"),
        ] {
            assert!(Entry::from_wire(bad).unwrap_err().to_string().contains(why), "{why}");
        }
        let good = tag(4, PL::C(vec![text(b"cn=a"), tag(16, PL::C(vec![]))]));
        assert_eq!(Entry::from_wire(good).unwrap().dn, "cn=a");
    }

    #[test]
    fn the_stable_id_is_the_uuid_of_whatever_server_wrote_it() {
        let with = |name: &str, value: &[u8]| {
            let mut entry = Entry::new("cn=a".to_owned());
            entry.add(name, [value.to_vec()]);
            entry.stable_id()
        };
        assert_eq!(
            with("entryUUID", b"9D3A6C7E-0000-1040-8000-000000000001").as_deref(),
            Some("9d3a6c7e-0000-1040-8000-000000000001")
        );
        assert_eq!(with("nsUniqueId", b"A-B-C-D").as_deref(), Some("a-b-c-d"));
        assert_eq!(
            with("objectGUID", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]).as_deref(),
            Some("04030201-0605-0807-090a-0b0c0d0e0f10")
        );
        assert_eq!(with("objectGUID", b"short"), None);
        assert_eq!(with("cn", b"a"), None);
    }

    fn entry(dn: &str, attributes: &[(&str, &str)]) -> Entry {
        let mut entry = Entry::new(dn.to_owned());
        for (name, value) in attributes {
            entry.add(name, [value.as_bytes().to_vec()]);
        }
        entry
    }

    #[test]
    fn ranges_are_joined_where_none_is_missing() {
        for (ranges, joined) in [
            (&[("0-*", "abc")][..], Some("abc")),
            (&[("0-1", "ab"), ("2-*", "c")], Some("abc")),
            (&[("2-*", "c"), ("0-1", "ab")], Some("abc")),
            (&[("0-1", "ab"), ("2-3", "cd"), ("4-*", "")], Some("abcd")),
            (&[("0-1", "ab")], None),
            (&[("1-*", "ab")], None),
            (&[("0-1", "ab"), ("3-*", "c")], None),
            (&[("0-1", "a"), ("2-*", "c")], None),
            (&[("0-1", "ab"), ("x-*", "c")], None),
        ] {
            let mut entry = entry("cn=a", &[]);
            for (range, values) in ranges {
                // An LDIF has one value a line.
                let values: Vec<Vec<u8>> = values.bytes().map(|byte| vec![byte]).collect();
                if values.is_empty() {
                    entry.add(&format!("member;range={range}"), []);
                }
                for value in values {
                    entry.add(&format!("member;range={range}"), [value]);
                }
            }
            entry.join_ranges();
            let texts = entry.texts("member").collect::<String>();
            assert_eq!(texts, joined.unwrap_or_default(), "{ranges:?}");
            assert_eq!(entry.ranged.is_empty(), joined.is_some(), "{ranges:?}");
        }
    }

    #[test]
    fn plain_values_come_before_those_with_options_and_ranges_are_left_out() {
        let mut entry = entry("cn=a", &[("CN;lang-de", "b"), ("2.5.4.3", "a"), ("cn;x", "c")]);
        entry.add("commonName", [b"d".to_vec()]);
        entry.add("member;range=0-1499", [b"cn=x".to_vec()]);
        assert_eq!(entry.texts("cn").collect::<Vec<_>>(), ["a", "d", "b", "c"]);
        assert_eq!(entry.plainest("cn"), [b"a".to_vec(), b"d".to_vec()]);
        assert!(!entry.has("member") && entry.ranged.len() == 1);
        for (description, values) in [
            ("cn", ["a", "d", "b", "c"].as_slice()),
            ("cn;lang-de", &["b"]),
            ("cn;LANG-DE", &["b"]),
            ("cn;X", &["c"]),
            ("cn;lang-en", &[]),
            ("sn", &[]),
        ] {
            let description = Description::new(description);
            let described = entry.described(&description);
            let texts: Vec<&str> = described.map(|v| std::str::from_utf8(v).unwrap()).collect();
            assert_eq!(texts, values, "{description:?}");
        }
    }

    #[test]
    fn what_was_deleted_and_is_kept_for_replication_is_not_there() {
        const UPDATED: &str = "vucsn-6b084186000100070000";
        const DELETED: &str = "vdcsn-6b084186000300070000;deleted";
        for name in ["member", "uid", "mail", "cn", "objectClass", "nsUniqueId", "nsAccountLock"] {
            let mut entry = Entry::new("cn=a".to_owned());
            entry.add(&format!("{name};{UPDATED};{DELETED}"), [b"cn=gone".to_vec()]);
            entry.add(&format!("{name};adcsn-6b08;deletedattribute"), [b"cn=gone".to_vec()]);
            let one = value::attribute(name).into_owned();
            assert!(!entry.has(&one), "{name}");
            entry.add(&format!("{name};{UPDATED};mdcsn-6b08"), [b"cn=here".to_vec()]);
            entry.add(&format!("{name};x-a"), [b"cn=other".to_vec()]);
            assert_eq!(entry.plainest(&one), [b"cn=here".to_vec()], "{name}");
        }
    }

    #[test]
    fn of_several_values_the_plain_one_then_the_one_in_the_rdn_then_the_smallest_stands() {
        for (dn, attributes, text) in [
            ("uid=a", [("cn;lang-de", "A"), ("cn", "b")].as_slice(), Some("b")),
            ("cn=b", &[("cn", "a"), ("cn", "b")], Some("b")),
            ("CN=B", &[("cn", "a"), ("cn", "b")], Some("b")),
            ("cn=x  y", &[("cn", "a"), ("cn", "X Y")], Some("X Y")),
            ("uid=a", &[("cn", "c"), ("cn", "b"), ("cn;x", "a")], Some("b")),
            ("uid=a", &[("cn", "b"), ("cn", "B"), ("cn", "c")], Some("B")),
            ("uid=a", &[("cn", "Z"), ("cn", "y")], Some("y")),
            ("uid=z", &[("cn", "Z"), ("cn", "y")], Some("Z")),
            ("uid=z", &[("cn", "Y"), ("cn;x", "z")], Some("Y")),
            ("uid=z", &[], None),
            ("cn=gone", &[("cn", "c"), ("cn", "b")], Some("b")),
            ("cn=gone", &[("cn", "only")], Some("only")),
            ("uid=a+cn=b", &[("cn", "a"), ("cn", "b")], Some("b")),
            ("cn=c+cn=b", &[("cn", "a"), ("cn", "b"), ("cn", "c")], Some("b")),
            ("cn=b,cn=a", &[("cn", "a"), ("cn", "b")], Some("b")),
            ("cn=b", &[("cn;lang-de", "a")], Some("b")),
            ("cn=b", &[], Some("b")),
            ("uid=a", &[("cn;lang-de", "b"), ("cn;lang-en", "a")], Some("a")),
            ("uid=a", &[("cn", ""), ("cn", "  "), ("cn;x", "a")], Some("a")),
            ("uid=a", &[("cn", "  ")], None),
            ("uid=a", &[], None),
        ] {
            assert_eq!(entry(dn, attributes).text("cn").as_deref(), text, "{dn} {attributes:?}");
        }
        let several = entry("cn=b", &[("cn", "b"), ("cn;x", "d"), ("cn;x;y", "c"), ("cn;z", "a")]);
        assert_eq!(several.text("cn;x").as_deref(), Some("c"), "the options that were asked for");
        assert_eq!(several.text("cn;w"), None);
        let mut odd = entry("uid=a", &[("cn;x", "a")]);
        odd.add("cn", [vec![0xff]]);
        assert_eq!(odd.text("cn").as_deref(), Some("a"), "only texts");
    }
}
