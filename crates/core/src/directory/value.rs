//! How attribute names and values compare.
//!
//! A light form of RFC 4518's string preparation: map, NFKC, lower case, squeeze spaces. Enough
//! to find the same thing under two spellings; not a schema.

use std::borrow::Cow;

use precis_profiles::Nickname;
use precis_profiles::precis_core::profile::Rules;

/// Other names of common attribute types: OIDs and long names (RFC 4519, RFC 2798, RFC 2307).
const ALIASES: &[(&str, &str)] = &[
    ("0.9.2342.19200300.100.1.1", "uid"),
    ("0.9.2342.19200300.100.1.25", "dc"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("1.2.840.113549.1.9.1", "email"),
    ("1.3.6.1.1.1.1.0", "uidnumber"),
    ("1.3.6.1.1.1.1.1", "gidnumber"),
    ("1.3.6.1.1.1.1.12", "memberuid"),
    ("1.3.6.1.1.16.4", "entryuuid"),
    ("2.16.840.1.113730.3.1.198", "memberurl"),
    ("2.16.840.1.113730.3.1.241", "displayname"),
    ("2.16.840.1.113730.3.1.3", "employeenumber"),
    ("2.5.4.0", "objectclass"),
    ("2.5.4.1", "aliasedobjectname"),
    ("2.5.4.10", "o"),
    ("2.5.4.11", "ou"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businesscategory"),
    ("2.5.4.3", "cn"),
    ("2.5.4.31", "member"),
    ("2.5.4.32", "owner"),
    ("2.5.4.33", "roleoccupant"),
    ("2.5.4.34", "seealso"),
    ("2.5.4.4", "sn"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "givenname"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationqualifier"),
    ("2.5.4.45", "x500uniqueidentifier"),
    ("2.5.4.46", "dnqualifier"),
    ("2.5.4.49", "distinguishedname"),
    ("2.5.4.5", "serialnumber"),
    ("2.5.4.50", "uniquemember"),
    ("2.5.4.6", "c"),
    ("2.5.4.7", "l"),
    ("2.5.4.8", "st"),
    ("2.5.4.9", "street"),
    ("aliasedentryname", "aliasedobjectname"),
    ("commonname", "cn"),
    ("countryname", "c"),
    ("domaincomponent", "dc"),
    ("emailaddress", "email"),
    ("gn", "givenname"),
    ("localityname", "l"),
    ("organizationalunitname", "ou"),
    ("organizationname", "o"),
    ("pkcs9email", "email"),
    ("rfc822mailbox", "mail"),
    ("stateorprovincename", "st"),
    ("streetaddress", "street"),
    ("surname", "sn"),
    ("userid", "uid"),
];

/// Attribute types whose values keep their case when compared (caseExactMatch and kin).
const EXACT: &[&str] =
    &["automountkey", "homedirectory", "krbprincipalname", "labeleduri", "loginshell", "memberuid"];

/// Attribute types whose values are DNs.
const DNS: &[&str] = &[
    "aliasedobjectname",
    "associatedname",
    "creatorsname",
    "directreports",
    "distinguishedname",
    "documentauthor",
    "entrydn",
    "groupmembership",
    "ismemberof",
    "managedby",
    "managedobjects",
    "manager",
    "member",
    "memberof",
    "modifiersname",
    "nsrole",
    "nsroledn",
    "objectcategory",
    "owner",
    "pwdpolicysubentry",
    "roleoccupant",
    "secretary",
    "securityequals",
    "seealso",
    "uniquemember",
];

/// The one name of an attribute type: lower case, without an `OID.` prefix, aliases and OIDs
/// resolved. Options (`;lang-de`) are not part of it.
#[must_use]
pub fn attribute(name: &str) -> Cow<'_, str> {
    let name = name.split(';').next().unwrap_or(name);
    let lower: Cow<'_, str> = if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    };
    let bare = lower.strip_prefix("oid.").unwrap_or(&lower);
    match ALIASES.binary_search_by(|(alias, _)| (*alias).cmp(bare)) {
        Ok(index) => Cow::Borrowed(ALIASES.get(index).map_or("", |(_, name)| name)),
        Err(_) if bare.len() == lower.len() => lower,
        Err(_) => Cow::Owned(bare.to_owned()),
    }
}

/// Whether the values of `attribute` (its one name) are DNs.
#[must_use]
pub fn holds_dns(attribute: &str) -> bool {
    DNS.binary_search(&attribute).is_ok()
}

/// Whether the values of `attribute` (its one name) keep their case when compared.
#[must_use]
pub fn is_exact(attribute: &str) -> bool {
    EXACT.binary_search(&attribute).is_ok()
}

/// The form in which two values of `attribute` (its one name) compare equal by its matching rule.
#[must_use]
pub fn prepared<'a>(attribute: &str, text: &'a str) -> Cow<'a, str> {
    if is_exact(attribute) {
        return exact(text);
    }
    if attribute == "telephonenumber" {
        // telephoneNumberMatch: spaces and hyphens do not count (RFC 4518, section 2.6.3).
        let kept: String = text.chars().filter(|c| *c != ' ' && *c != '-').collect();
        return Cow::Owned(prepare(&kept, true).into_owned());
    }
    folded(text)
}

/// Attribute types whose values others hold as well (RFC 4512, section 2.5.1), with those.
const SUBTYPES: &[(&str, &[&str])] = &[
    ("distinguishedname", &["member", "owner", "roleoccupant", "seealso"]),
    (
        "name",
        &[
            "c",
            "cn",
            "dmdname",
            "generationqualifier",
            "givenname",
            "initials",
            "l",
            "o",
            "ou",
            "sn",
            "st",
            "title",
        ],
    ),
];

/// The types (by their one names) whose values are values of `attribute` (its one name) too.
#[must_use]
pub fn subtypes(attribute: &str) -> &'static [&'static str] {
    SUBTYPES.iter().find(|(name, _)| *name == attribute).map_or(&[], |(_, subtypes)| subtypes)
}

/// Whether values of `attribute` are values of `wanted` (both by their one names).
#[must_use]
pub fn is_kind_of(attribute: &str, wanted: &str) -> bool {
    attribute == wanted || subtypes(wanted).contains(&attribute)
}

/// The form in which texts compare equal where case counts (caseExactMatch).
#[must_use]
pub fn exact(text: &str) -> Cow<'_, str> {
    prepare(text, false)
}

/// The form in which texts compare equal ignoring case and repeated spaces (caseIgnoreMatch).
#[must_use]
pub fn folded(text: &str) -> Cow<'_, str> {
    prepare(text, true)
}

fn prepare(text: &str, fold: bool) -> Cow<'_, str> {
    if is_plain(text, fold) {
        return Cow::Borrowed(text);
    }
    // Lower-casing can undo NFKC and the other way round; two rounds settle all but exotic text,
    // and the bound keeps even that finite.
    let mut current = once(text, fold);
    for _ in 0..4 {
        let next = once(&current, fold);
        if next == current {
            break;
        }
        current = next;
    }
    Cow::Owned(current)
}

/// Whether `text` is its own prepared form for sure: ASCII, no control characters, single inner
/// spaces, and lower case where case does not count.
fn is_plain(text: &str, fold: bool) -> bool {
    let mut before = b' ';
    for byte in text.bytes() {
        let plain = match byte {
            b' ' => before != b' ',
            b'A'..=b'Z' => !fold,
            byte => byte.is_ascii_graphic(),
        };
        if !plain {
            return false;
        }
        before = byte;
    }
    before != b' ' || text.is_empty()
}

fn once(text: &str, fold: bool) -> String {
    let mapped: String = text.chars().filter_map(map).collect();
    let normal = Nickname::new()
        .normalization_rule(mapped.as_str())
        .map_or_else(|_| mapped.clone(), Cow::into_owned);
    let folded = if fold { normal.to_lowercase() } else { normal };
    let mut out = String::with_capacity(folded.len());
    for word in folded.split(' ').filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// RFC 4518, section 2.2: what counts as a space, what counts as nothing.
fn map(c: char) -> Option<char> {
    match c {
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' => Some(' '),
        '\u{ad}' | '\u{1806}' | '\u{34f}' | '\u{fffc}' | '\u{200b}'..='\u{200f}' => None,
        '\u{180b}'..='\u{180e}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' => None,
        '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2063}' | '\u{206a}'..='\u{206f}' => None,
        c if c.is_control() => None,
        c if c.is_whitespace() => Some(' '),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_tables_are_sorted_so_that_they_can_be_searched() {
        assert!(ALIASES.is_sorted());
        assert!(EXACT.is_sorted());
        assert!(DNS.is_sorted());
    }

    #[test]
    fn attribute_types_have_one_name() {
        for (written, name) in [
            ("CN", "cn"),
            ("2.5.4.3", "cn"),
            ("OID.2.5.4.3", "cn"),
            ("commonName", "cn"),
            ("userid", "uid"),
            ("cn;lang-de", "cn"),
            ("departmentNumber", "departmentnumber"),
            ("oid.1.2.3", "1.2.3"),
        ] {
            assert_eq!(attribute(written), name, "{written}");
        }
    }

    #[test]
    fn values_compare_ignoring_case_width_and_repeated_spaces() {
        for (a, b) in [
            ("Research", "research"),
            ("  ML   Team ", "ml team"),
            ("Ａｌｉｃｅ", "alice"),
            ("E\u{301}mile", "émile"),
            ("a\u{a0}b", "a b"),
            ("a\tb", "a b"),
            ("a\u{ad}b", "ab"),
            ("", ""),
            ("   ", ""),
        ] {
            assert_eq!(folded(a), folded(b), "{a:?} and {b:?}");
        }
        assert_ne!(folded("a b"), folded("ab"));
        assert_ne!(prepared("homedirectory", "/home/A"), prepared("homedirectory", "/home/a"));
        assert_eq!(prepared("telephonenumber", "+1 555-01"), "+155501");
    }

    proptest! {
        #[test]
        fn preparing_twice_changes_nothing(text in "\\PC{0,20}") {
            let once = folded(&text).into_owned();
            prop_assert_eq!(folded(&once).into_owned(), once);
        }
    }
}
