//! One directory entry, from the wire or from an LDIF.
//!
//! Taken apart by hand rather than by `ldap3::SearchEntry::construct`, which panics on a
//! reference and on a DN that is not UTF-8, and copies every value.

use ldap3::asn1::{PL, StructureTag};

use super::value;

/// An entry. Attribute types have their one name ([`value::attribute`]), values are bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The DN as it is spelled.
    pub dn: String,
    /// Some attribute came as a range of its values (`member;range=0-1499`), Active Directory's way
    /// to say that there is more. Such values are left out.
    pub ranged: bool,
    /// Each type once with its values.
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// An entry without attributes.
    #[must_use]
    pub fn new(dn: String) -> Self {
        Entry { dn, ..Entry::default() }
    }

    /// Adds values of the attribute `name`, which may carry options and have any of its names.
    pub fn add(&mut self, name: &str, values: impl IntoIterator<Item = Vec<u8>>) {
        if has_range(name) {
            self.ranged = true;
            return;
        }
        let name = value::attribute(name);
        match self.attributes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.extend(values),
            None => self.attributes.push((name.into_owned(), values.into_iter().collect())),
        }
    }

    /// The values of `name` (its one name), none where it is absent.
    #[must_use]
    pub fn values(&self, name: &str) -> &[Vec<u8>] {
        self.attributes
            .iter()
            .find(|(known, _)| known == name)
            .map_or(&[], |(_, values)| values.as_slice())
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

    /// The first value of `name` (its one name) that is text and not empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).find(|text| !text.is_empty())
    }

    /// Whether the entry is of the object class `class` (lower case).
    #[must_use]
    pub fn is_a(&self, class: &str) -> bool {
        self.texts("objectclass").any(|known| known.eq_ignore_ascii_case(class))
    }

    /// The id that stays through rename and move: entryUUID (RFC 4530) in lower case, else
    /// 389-DS's nsUniqueId, else Active Directory's objectGUID (mixed-endian).
    #[must_use]
    pub fn stable_id(&self) -> Option<String> {
        let text = self.text("entryuuid").or_else(|| self.text("nsuniqueid"));
        if let Some(text) = text {
            return Some(text.trim().to_ascii_lowercase());
        }
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
    /// It is not one (RFC 4511, section 4.5.2), or its DN is not UTF-8; the message says which.
    pub fn from_wire(tag: StructureTag) -> Result<Self, String> {
        const SHAPE: &str = "an answer is not a search result entry";
        if tag.id != 4 {
            return Err(SHAPE.to_owned());
        }
        let mut parts = constructed(tag).ok_or(SHAPE)?.into_iter();
        let dn = parts.next().and_then(primitive).ok_or(SHAPE)?;
        let dn = String::from_utf8(dn)
            .map_err(|error| format!("the DN of an entry is not UTF-8: `{}`", lossy(&error)))?;
        let list = parts.next().and_then(constructed).ok_or(SHAPE)?;
        let mut entry = Entry { dn, ranged: false, attributes: Vec::with_capacity(list.len()) };
        for attribute in list {
            let mut parts = constructed(attribute).ok_or(SHAPE)?.into_iter();
            let name = parts.next().and_then(primitive).ok_or(SHAPE)?;
            let name = String::from_utf8(name).map_err(|error| {
                format!("an attribute's name is not UTF-8: `{}`", lossy(&error))
            })?;
            let values = parts.next().and_then(constructed).ok_or(SHAPE)?;
            let count = values.len();
            let values: Vec<Vec<u8>> = values.into_iter().filter_map(primitive).collect();
            if values.len() != count {
                return Err(SHAPE.to_owned());
            }
            entry.add(&name, values);
        }
        Ok(entry)
    }
}

fn has_range(name: &str) -> bool {
    name.split(';')
        .skip(1)
        .any(|option| option.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("range=")))
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

fn lossy(error: &std::string::FromUtf8Error) -> String {
    String::from_utf8_lossy(error.as_bytes()).escape_debug().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
            assert!(Entry::from_wire(bad).unwrap_err().contains(why), "{why}");
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

    #[test]
    fn options_are_dropped_and_ranges_left_out() {
        let mut entry = Entry::new("cn=a".to_owned());
        entry.add("CN;lang-de", [b"b".to_vec()]);
        entry.add("2.5.4.3", [b"a".to_vec()]);
        entry.add("member;range=0-1499", [b"cn=x".to_vec()]);
        assert_eq!(entry.texts("cn").collect::<Vec<_>>(), ["b", "a"]);
        assert!(!entry.has("member") && entry.ranged);
    }
}
