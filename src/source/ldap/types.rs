//! Attribute types (RFC 4512, section 4.1.2) as a server's schema has them: by which rules their values
//! compare, and what descends from them.

use std::collections::HashMap;

use super::schema::words;
use crate::directory::value;

/// One attribute type.
#[derive(Clone, Debug, Default)]
struct Type {
    /// Its names, in lower case.
    names: Vec<String>,
    /// The type that it descends from.
    above: Option<String>,
    equality: Option<String>,
    ordering: Option<String>,
    substrings: Option<String>,
}

/// The attribute types of a server, by each of their names and OIDs in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Types {
    places: HashMap<String, usize>,
    list: Vec<Type>,
}

/// A matching rule of a type, as far as values are compared by it here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    IgnoringCase,
    /// The same of ASCII: anything else is no value.
    IgnoringCaseIa5,
    Exactly,
    /// The same of ASCII.
    ExactlyIa5,
    Names,
    Integers,
    Booleans,
    Phones,
    Classes,
    /// Another one.
    Other,
}

impl Rule {
    /// Whether values of ASCII alone compare by it.
    pub fn is_ia5(self) -> bool {
        matches!(self, Rule::IgnoringCaseIa5 | Rule::ExactlyIa5)
    }

    /// How ASCII compares by it.
    pub fn of_texts(self) -> Rule {
        match self {
            Rule::IgnoringCaseIa5 => Rule::IgnoringCase,
            Rule::ExactlyIa5 => Rule::Exactly,
            rule => rule,
        }
    }
}

/// By name in lower case and by OID (RFC 4517, section 4.2).
const RULES: &[(&str, Rule)] = &[
    ("1.3.6.1.4.1.1466.109.114.1", Rule::ExactlyIa5),
    ("1.3.6.1.4.1.1466.109.114.2", Rule::IgnoringCaseIa5),
    ("2.5.13.0", Rule::Classes),
    ("2.5.13.1", Rule::Names),
    ("2.5.13.13", Rule::Booleans),
    ("2.5.13.14", Rule::Integers),
    ("2.5.13.15", Rule::Integers),
    ("2.5.13.2", Rule::IgnoringCase),
    ("2.5.13.20", Rule::Phones),
    ("2.5.13.4", Rule::IgnoringCase),
    ("2.5.13.5", Rule::Exactly),
    ("2.5.13.7", Rule::Exactly),
    ("booleanmatch", Rule::Booleans),
    ("caseexactia5match", Rule::ExactlyIa5),
    ("caseexactia5substringsmatch", Rule::ExactlyIa5),
    ("caseexactmatch", Rule::Exactly),
    ("caseexactsubstringsmatch", Rule::Exactly),
    ("caseignoreia5match", Rule::IgnoringCaseIa5),
    ("caseignoreia5substringsmatch", Rule::IgnoringCaseIa5),
    ("caseignorematch", Rule::IgnoringCase),
    ("caseignoresubstringsmatch", Rule::IgnoringCase),
    ("distinguishednamematch", Rule::Names),
    ("integermatch", Rule::Integers),
    ("integerorderingmatch", Rule::Integers),
    ("objectidentifiermatch", Rule::Classes),
    ("telephonenumbermatch", Rule::Phones),
];

/// How deep types may descend: more is a cycle.
const DEPTH: usize = 32;

impl Types {
    /// The types that `descriptions` describe (values of `attributeTypes`). What cannot be understood
    /// of them is left out.
    pub fn of<'d>(descriptions: impl IntoIterator<Item = &'d str>) -> Self {
        let mut types = Types::default();
        for (names, found) in descriptions.into_iter().filter_map(read) {
            let place = types.list.len();
            types.list.push(found);
            for name in names {
                types.places.entry(name).or_insert(place);
            }
        }
        types
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether `name` (in any case) is among them.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&Type> {
        self.list.get(*self.places.get(&name.to_ascii_lowercase())?)
    }

    /// Whether values come by this one name alone, and no other type's values are its values too.
    pub fn stands_alone(&self, name: &str) -> bool {
        let Some(found) = self.find(name) else { return false };
        let above =
            |other: &Type| other.above.as_ref().is_some_and(|above| found.names.contains(above));
        let one_name = |other: &String| {
            other.starts_with(|c: char| c.is_ascii_digit()) || value::attribute(other) == name
        };
        value::subtypes(name).is_empty()
            && found.names.iter().all(one_name)
            && !self.list.iter().any(above)
    }

    /// The rule by which values of `name` are equal.
    pub fn equality(&self, name: &str) -> Option<Rule> {
        self.rule(name, |found| found.equality.as_deref())
    }

    /// The rule by which they have an order.
    pub fn ordering(&self, name: &str) -> Option<Rule> {
        self.rule(name, |found| found.ordering.as_deref())
    }

    /// The rule by which parts of them compare.
    pub fn substrings(&self, name: &str) -> Option<Rule> {
        self.rule(name, |found| found.substrings.as_deref())
    }

    /// A rule that a type has itself or from those above it.
    fn rule(&self, name: &str, of: impl Fn(&Type) -> Option<&str>) -> Option<Rule> {
        let mut next = self.find(name);
        for _ in 0..DEPTH {
            let found = next?;
            if let Some(rule) = of(found) {
                let known = RULES.binary_search_by(|(known, _)| (*known).cmp(rule)).ok();
                let known = known.and_then(|place| RULES.get(place));
                return Some(known.map_or(Rule::Other, |(_, rule)| *rule));
            }
            next = found.above.as_deref().and_then(|above| self.find(above));
        }
        None
    }
}

/// A type's names and OID in lower case, and the type.
fn read(description: &str) -> Option<(Vec<String>, Type)> {
    let mut words = words(description).into_iter().skip_while(|word| word == "(");
    let mut found = Type { names: vec![words.next()?.to_ascii_lowercase()], ..Type::default() };
    let mut keyword = String::new();
    for word in words {
        if word.starts_with(|c: char| c.is_ascii_uppercase()) && !word.contains('\'') {
            let is_keyword = word.chars().all(|c| c.is_ascii_uppercase() || "-_".contains(c));
            if is_keyword {
                keyword = word;
                continue;
            }
        }
        let text = word.trim_matches('\'').to_ascii_lowercase();
        match keyword.as_str() {
            _ if matches!(word.as_str(), "(" | ")" | "$") => {}
            "NAME" => found.names.push(text),
            "SUP" => found.above = Some(text),
            "EQUALITY" => found.equality = Some(text),
            "ORDERING" => found.ordering = Some(text),
            "SUBSTR" => found.substrings = Some(text),
            _ => {}
        }
    }
    Some((found.names.clone(), found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_the_rules_of_those_above_it() {
        assert!(RULES.is_sorted_by_key(|(name, _)| *name));
        let types = Types::of([
            "( 2.5.4.41 NAME 'name' EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3{32768} )",
            "( 2.5.4.3 NAME ( 'cn' 'commonName' ) DESC 'A name' SUP name )",
            "( 1.3.6.1.1.1.1.0 NAME 'uidNumber' EQUALITY integerMatch ORDERING integerOrderingMatch SINGLE-VALUE )",
            "( 1.1.1 NAME ( 'team' 'crew' ) EQUALITY 2.5.13.5 X-ORIGIN ( 'x' 'EQUALITY' ) )",
            "( 1.1.2 NAME 'odd' EQUALITY octetStringMatch )",
            "( 1.1.3 NAME 'loop' SUP loop )",
        ]);
        assert_eq!(types.equality("cn"), Some(Rule::IgnoringCase));
        assert_eq!(types.substrings("CommonName"), Some(Rule::IgnoringCase));
        assert_eq!(types.ordering("cn"), None);
        assert_eq!(types.ordering("uidnumber"), Some(Rule::Integers));
        assert_eq!(types.equality("crew"), Some(Rule::Exactly));
        assert_eq!(types.equality("odd"), Some(Rule::Other));
        assert_eq!((types.equality("loop"), types.equality("gone")), (None, None));
        assert!(types.stands_alone("cn") && types.stands_alone("uidnumber"));
        assert!(!types.stands_alone("name"), "a `cn` is a `name`");
        assert!(!types.stands_alone("team"), "it may come as `crew`");
        assert!(types.has("2.5.4.3") && !types.has("gone"));
    }
}
