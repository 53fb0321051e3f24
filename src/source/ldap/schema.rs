//! Object classes (RFC 4512, section 4.1.1): which attributes they must and may have, and what
//! they descend from. As far as that tells of a group without members whether it is empty.
//!
//! A live server says it in its subschema; where it does not, and for files, there are the classes
//! that the standards and the common servers define.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// The attributes that groups' members are read from, by their one names.
pub const MEMBERS: [&str; 3] = ["member", "uniquemember", "memberuid"];

/// Some of [`MEMBERS`], a bit each.
pub type Lists = u8;

/// Which of [`MEMBERS`] `attribute` (its one name) is.
#[must_use]
pub fn list_of(attribute: &str) -> Lists {
    MEMBERS.iter().position(|name| *name == attribute).map_or(0, |place| 1 << place)
}

/// The names of `lists`.
#[must_use]
pub fn names_of(lists: Lists) -> String {
    let chosen = MEMBERS.iter().filter(|name| lists & list_of(name) != 0);
    chosen.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What one class adds to those above it.
#[derive(Clone, Debug, Default)]
struct Class {
    above: Vec<String>,
    must: Lists,
    may: Lists,
}

/// Which of [`MEMBERS`] entries of some classes have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    /// They must have values of these.
    pub must: Lists,
    /// They can have values of these.
    pub may: Lists,
    /// One of the classes is not in the schema.
    pub unknown: bool,
}

/// Object classes, by each of their names and OIDs in lower case.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    classes: HashMap<String, usize>,
    list: Vec<Class>,
}

impl Schema {
    /// The classes that `descriptions` describe (values of `objectClasses`). What cannot be
    /// understood of them is left out.
    pub fn of<'d>(descriptions: impl IntoIterator<Item = &'d str>) -> Self {
        let mut schema = Schema::default();
        for description in descriptions {
            let Some((names, class)) = read(description) else { continue };
            let place = schema.list.len();
            schema.list.push(class);
            for name in names {
                schema.classes.entry(name).or_insert(place);
            }
        }
        schema
    }

    /// The classes of the standards and of the common servers.
    #[must_use]
    pub fn common() -> &'static Schema {
        static COMMON: LazyLock<Schema> = LazyLock::new(|| Schema::of(DESCRIPTIONS.lines()));
        &COMMON
    }

    /// Whether there is a class of this name (in any case).
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.class(name).is_some()
    }

    /// Whether there are no classes in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn class(&self, name: &str) -> Option<(usize, &Class)> {
        let place = *self.classes.get(&name.to_ascii_lowercase())?;
        Some((place, self.list.get(place)?))
    }

    /// The places of `class` and of all that it descends from; `None` for one that is not here.
    fn lineage(&self, class: &str) -> Option<HashSet<usize>> {
        let (place, _) = self.class(class)?;
        let mut seen = HashSet::from([place]);
        let mut next = vec![place];
        while let Some(class) = next.pop().and_then(|place| self.list.get(place)) {
            for (place, _) in class.above.iter().filter_map(|name| self.class(name)) {
                if seen.insert(place) {
                    next.push(place);
                }
            }
        }
        Some(seen)
    }

    /// Which of [`MEMBERS`] entries of `classes` must and can have.
    pub fn allowed<'c>(&self, classes: impl IntoIterator<Item = &'c str>) -> Allowed {
        let mut allowed = Allowed::default();
        for class in classes {
            let Some(lineage) = self.lineage(class) else {
                allowed.unknown = true;
                continue;
            };
            for class in lineage.iter().filter_map(|place| self.list.get(*place)) {
                allowed.must |= class.must;
                allowed.may |= class.must | class.may;
            }
        }
        allowed
    }

    /// The names in lower case of the classes that are `wanted` or descend from it; `wanted` alone
    /// where it is not in the schema.
    #[must_use]
    pub fn kinds(&self, wanted: &str) -> Vec<String> {
        let mut kinds: Vec<String> =
            self.classes.keys().filter(|class| self.is_a(class, wanted)).cloned().collect();
        kinds.push(wanted.to_ascii_lowercase());
        kinds.sort();
        kinds.dedup();
        kinds
    }

    /// Whether an entry of the class `class` is one of the class `wanted`: the same by any of its
    /// names, or one that it descends from.
    #[must_use]
    pub fn is_a(&self, class: &str, wanted: &str) -> bool {
        class.eq_ignore_ascii_case(wanted)
            || self.class(wanted).is_some_and(|(wanted, _)| {
                self.lineage(class).is_some_and(|lineage| lineage.contains(&wanted))
            })
    }
}

/// A class's names and OID in lower case, and the class.
fn read(description: &str) -> Option<(Vec<String>, Class)> {
    let mut words = words(description).into_iter().skip_while(|word| word == "(");
    let mut names = vec![words.next()?.to_ascii_lowercase()];
    let mut class = Class::default();
    let mut keyword = String::new();
    for word in words {
        match word.as_str() {
            "NAME" | "DESC" | "OBSOLETE" | "SUP" | "ABSTRACT" | "STRUCTURAL" | "AUXILIARY"
            | "MUST" | "MAY" => keyword = word,
            "(" | ")" | "$" => {}
            _ if word.starts_with("X-") => keyword = word,
            _ => {
                let name = word.trim_matches('\'').to_ascii_lowercase();
                match keyword.as_str() {
                    "NAME" => names.push(name),
                    "SUP" => class.above.push(name),
                    "MUST" => class.must |= list_of(&crate::directory::value::attribute(&name)),
                    "MAY" => class.may |= list_of(&crate::directory::value::attribute(&name)),
                    _ => {}
                }
            }
        }
    }
    Some((names, class))
}

/// The words of a description: parentheses and `$` are words, and so is what stands in quotes.
pub(super) fn words(description: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in description.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.push(c);
            }
            _ if quoted => word.push(c),
            '(' | ')' | '$' => {
                words.push(std::mem::take(&mut word));
                words.push(c.to_string());
            }
            c if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// RFC 4512, 4519, 4524, 2798, 2307, 3296, 2377; Netscape's, FreeIPA's and Active Directory's. Of
/// the attributes only those that tell members.
const DESCRIPTIONS: &str = "\
( 2.5.6.0 NAME 'top' )
( 2.5.6.1 NAME 'alias' SUP top )
( 2.5.6.2 NAME 'country' SUP top )
( 2.5.6.3 NAME 'locality' SUP top )
( 2.5.6.4 NAME 'organization' SUP top )
( 2.5.6.5 NAME 'organizationalUnit' SUP top )
( 2.5.6.6 NAME 'person' SUP top )
( 2.5.6.7 NAME 'organizationalPerson' SUP person )
( 2.5.6.8 NAME 'organizationalRole' SUP top )
( 2.5.6.9 NAME 'groupOfNames' SUP top MUST member )
( 2.5.6.10 NAME 'residentialPerson' SUP person )
( 2.5.6.11 NAME 'applicationProcess' SUP top )
( 2.5.6.14 NAME 'device' SUP top )
( 2.5.6.17 NAME 'groupOfUniqueNames' SUP top MUST uniqueMember )
( 0.9.2342.19200300.100.4.5 NAME 'account' SUP top )
( 0.9.2342.19200300.100.4.13 NAME 'domain' SUP top )
( 0.9.2342.19200300.100.4.19 NAME 'simpleSecurityObject' SUP top )
( 1.3.6.1.4.1.1466.344 NAME 'dcObject' SUP top )
( 1.3.6.1.1.3.1 NAME 'uidObject' SUP top )
( 2.16.840.1.113730.3.2.2 NAME 'inetOrgPerson' SUP organizationalPerson )
( 2.16.840.1.113730.3.2.4 NAME 'mailGroup' SUP top )
( 2.16.840.1.113730.3.2.6 NAME 'referral' SUP top )
( 2.16.840.1.113730.3.2.31 NAME 'groupOfCertificates' SUP top )
( 2.16.840.1.113730.3.2.33 NAME 'groupOfURLs' SUP top )
( 1.3.6.1.1.1.2.0 NAME 'posixAccount' SUP top )
( 1.3.6.1.1.1.2.1 NAME 'shadowAccount' SUP top )
( 1.3.6.1.1.1.2.2 NAME 'posixGroup' SUP top MAY memberUid )
( 1.3.6.1.1.1.2.8 NAME 'nisNetgroup' SUP top )
( 1.3.6.1.4.1.42.2.27.1.2.5 NAME 'nisMailAlias' SUP top )
( 1.2.826.0.1.3458854.2.1.1.1 NAME 'groupOfEntries' SUP top MAY member )
( groupOfMembers-oid NAME 'groupOfMembers' SUP top MAY member )
( nestedGroup-oid NAME 'nestedGroup' SUP groupOfNames )
( ipaUserGroup-oid NAME 'ipaUserGroup' SUP nestedGroup )
( 1.2.840.113556.1.5.8 NAME 'group' SUP top MAY member )
( 1.2.840.113556.1.5.9 NAME 'user' SUP organizationalPerson )
( 1.2.840.113556.1.3.30 NAME 'computer' SUP user )
( 1.2.840.113556.1.3.23 NAME 'reference' SUP top )";

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: Lists = 1;
    const UNIQUE: Lists = 2;
    const UID: Lists = 4;

    #[test]
    fn a_description_says_what_a_class_must_and_may_have_and_what_is_above_it() {
        let schema = Schema::of([
            "( 2.5.6.9 NAME 'groupOfNames' DESC 'RFC2256: (a) MUST member $ x' SUP top \
             STRUCTURAL MUST ( member $ cn ) MAY ( businessCategory $ seeAlso ) )",
            "( 1.1.2 NAME ( 'team' 'crew' ) SUP ( groupOfNames $ 1.1.9 ) AUXILIARY MAY uniqueMember \
             X-ORIGIN ( 'MUST' 'memberUid' ) )",
            "(1.1.9 MAY(memberUid$description))",
            "( 2.5.6.0 NAME 'top' ABSTRACT MUST objectClass )",
            "",
            "( 1.1.3 NAME 'loop' SUP loop )",
        ]);
        let allowed = |classes: &[&str]| schema.allowed(classes.iter().copied());
        let whole = |must, may| Allowed { must, may, unknown: false };
        assert_eq!(allowed(&["GroupOfNames", "top"]), whole(MEMBER, MEMBER));
        assert_eq!(allowed(&["crew"]), whole(MEMBER, MEMBER | UNIQUE | UID));
        assert_eq!(allowed(&["1.1.9"]), whole(0, UID));
        assert_eq!(allowed(&["loop"]), whole(0, 0));
        assert_eq!(allowed(&["top", "other"]), Allowed { unknown: true, ..Allowed::default() });
        assert!(schema.is_a("team", "2.5.6.9") && schema.is_a("CREW", "TOP"));
        assert!(!schema.is_a("groupOfNames", "crew") && schema.is_a("other", "OTHER"));
    }

    #[test]
    fn the_common_classes_are_known() {
        let common = Schema::common();
        assert_eq!(common.list.len(), DESCRIPTIONS.lines().count());
        assert!(common.is_a("inetOrgPerson", "2.5.6.6") && common.is_a("ipausergroup", "top"));
        for (class, must, may) in [
            ("groupOfNames", MEMBER, MEMBER),
            ("groupOfUniqueNames", UNIQUE, UNIQUE),
            ("posixGroup", 0, UID),
            ("groupOfURLs", 0, 0),
        ] {
            assert_eq!(common.allowed([class]), Allowed { must, may, unknown: false }, "{class}");
        }
    }
}
