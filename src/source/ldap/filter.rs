//! Search filters: RFC 4515 in, a judgement over entries out.
//!
//! A live server evaluates the filter itself; this is for an LDIF, and for telling a bad filter
//! when the configuration is read rather than when the server is asked.

use std::fmt;

use super::entry::Entry;
use super::extensible::{Extensible, RuleUnknown};
use super::options::Description;
use super::schema::Schema;
use crate::directory::{dn, value};

/// A parsed filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter {
    /// All of them; `(&)` is true.
    And(Vec<Filter>),
    /// Any of them; `(|)` is false.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// A test of the values that a description means.
    Test(Description, Test),
    /// By a rule of its own.
    Extensible(Extensible),
}

/// What is asked of an attribute's values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Test {
    /// `(a=*)`
    Present,
    /// `(a=v)`, and `(a~=v)`, which servers may treat alike.
    Equal(Vec<u8>),
    /// `(objectClass=c)`: one of these, in lower case.
    Class(Vec<String>),
    /// `(a=i*m*f)`: the pieces between the stars; the first and the last may be empty.
    Pieces(Vec<Vec<u8>>),
    /// `(a>=v)`
    AtLeast(Vec<u8>),
    /// `(a<=v)`
    AtMost(Vec<u8>),
}

/// Why a text is not a filter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{}` is not a search filter: {why}", filter.escape_debug())]
pub struct FilterError {
    filter: String,
    why: FilterFault,
}

/// What is wrong with a filter, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum FilterFault {
    #[error("it nests more than {} deep", DEPTH)]
    TooDeep,
    #[error("{what} is missing at {at}")]
    Missing { what: &'static str, at: Place },
    #[error("`{name}` is not an attribute, at {at}")]
    NoAttribute { name: String, at: Place },
    #[error("a `*` stands in the value of `{of}`")]
    Star { of: String },
    #[error("two `*` in a row in the value of `{of}`")]
    Stars { of: String },
    #[error("a backslash in `{}` is not followed by two hex digits", .0.escape_debug())]
    Escape(String),
    #[error("`{}` follows its end", .0.escape_debug())]
    Trailing(String),
    #[error(transparent)]
    Rule(#[from] RuleUnknown),
}

/// A place in a filter: the beginning of what stands there.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => f.write_str("its end"),
            text => write!(f, "`{}`", text.escape_debug()),
        }
    }
}

/// How deep filters may nest. Keeps a hostile file from overflowing the stack.
const DEPTH: usize = 64;

impl Filter {
    /// Parses `text`. The outermost parentheses may be missing, as servers and tools allow.
    ///
    /// # Errors
    /// It is not a filter, or it has an extensible match (`:=`) that only a server can evaluate; the
    /// message names the place.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Filter::parse_by(text, Schema::common())
    }

    /// The same with the object classes of a server.
    pub(super) fn parse_by(text: &str, classes: &Schema) -> Result<Self, FilterError> {
        let trimmed = text.trim();
        let mut parser = Parser { text: trimmed, at: 0, classes };
        let filter = if trimmed.starts_with('(') { parser.filter(0) } else { parser.item() };
        let filter = filter.and_then(|filter| match parser.rest() {
            "" => Ok(filter),
            rest => Err(FilterFault::Trailing(rest.to_owned())),
        });
        filter.map_err(|why| FilterError { filter: text.to_owned(), why })
    }

    /// Gives the one name of each attribute that is tested to `on`.
    pub fn each_attribute(&self, on: &mut impl FnMut(&str)) {
        match self {
            Filter::And(filters) | Filter::Or(filters) => {
                filters.iter().for_each(|filter| filter.each_attribute(on));
            }
            Filter::Not(filter) => filter.each_attribute(on),
            Filter::Test(of, _) | Filter::Extensible(Extensible { of, .. }) => {
                on(&of.name);
                value::subtypes(&of.name).iter().for_each(|subtype| on(subtype));
            }
        }
    }

    /// Whether `entry` matches.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        match self {
            Filter::And(filters) => filters.iter().all(|filter| filter.matches(entry)),
            Filter::Or(filters) => filters.iter().any(|filter| filter.matches(entry)),
            Filter::Not(filter) => !filter.matches(entry),
            Filter::Test(of, test) => some(entry, of, |v| test.holds(&of.name, v)),
            Filter::Extensible(extensible) => extensible.matches(entry),
        }
    }
}

/// Whether some value that `of` means holds: one of its type, or of those that hold its values too.
pub(super) fn some(entry: &Entry, of: &Description, holds: impl Fn(&[u8]) -> bool) -> bool {
    entry.described(of).any(&holds)
        || (!value::subtypes(&of.name).is_empty()
            && of.subtypes().any(|of| entry.described(&of).any(&holds)))
}

impl Test {
    /// Whether entries are of `class`: by any of its names, and whether or not the classes above
    /// their own are listed (RFC 4512, section 3.3). Everything is of the class `top`.
    fn class(class: &[u8], classes: &Schema) -> Self {
        match std::str::from_utf8(class) {
            Ok(class) if classes.is_a("top", class) => Test::Present,
            Ok(class) => Test::Class(classes.kinds(class)),
            Err(_) => Test::Equal(class.to_vec()),
        }
    }
}

impl Test {
    fn holds(&self, name: &str, candidate: &[u8]) -> bool {
        match self {
            Test::Present => true,
            Test::Equal(wanted) => equal(name, candidate, wanted),
            Test::Class(kinds) => std::str::from_utf8(candidate)
                .is_ok_and(|class| kinds.iter().any(|kind| kind.eq_ignore_ascii_case(class))),
            Test::Pieces(pieces) => {
                let (Ok(candidate), Some(pieces)) = (
                    std::str::from_utf8(candidate),
                    pieces.iter().map(|p| std::str::from_utf8(p).ok()).collect::<Option<Vec<_>>>(),
                ) else {
                    return false;
                };
                fits(name, candidate, &pieces)
            }
            Test::AtLeast(bound) => order(name, candidate, bound).is_some_and(|o| o.is_ge()),
            Test::AtMost(bound) => order(name, candidate, bound).is_some_and(|o| o.is_le()),
        }
    }
}

pub(super) fn equal(name: &str, candidate: &[u8], wanted: &[u8]) -> bool {
    let (Ok(candidate), Ok(wanted)) = (std::str::from_utf8(candidate), std::str::from_utf8(wanted))
    else {
        return candidate == wanted;
    };
    if name == "objectclass" {
        return Schema::common().is_a(candidate, wanted);
    }
    if value::holds_dns(name)
        && let (Ok(candidate), Ok(wanted)) = (dn::normalized(candidate), dn::normalized(wanted))
    {
        return candidate == wanted;
    }
    value::prepared(name, candidate) == value::prepared(name, wanted)
}

fn fits(name: &str, candidate: &str, pieces: &[&str]) -> bool {
    // Spaces at the edges of a piece count here, unlike in a whole value: prepare it between
    // guards, so that only its inside is squeezed.
    let piece = |piece: &str| {
        let guarded = format!("|{piece}|");
        let prepared = value::prepared(name, &guarded);
        let inner = prepared.strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
        inner.unwrap_or(&prepared).to_owned()
    };
    let candidate = value::prepared(name, candidate);
    let (Some((first, rest)), Some(last)) = (pieces.split_first(), pieces.last()) else {
        return false;
    };
    let Some(mut remaining) = candidate.strip_prefix(piece(first).as_str()) else { return false };
    let last = if rest.is_empty() { "" } else { last };
    let Some(middle) = remaining.strip_suffix(piece(last).as_str()) else { return false };
    remaining = middle;
    for middle in rest.iter().take(rest.len().saturating_sub(1)) {
        let middle = piece(middle);
        match remaining.find(middle.as_str()) {
            Some(at) => remaining = remaining.get(at + middle.len()..).unwrap_or(""),
            None => return false,
        }
    }
    true
}

fn order(name: &str, candidate: &[u8], bound: &[u8]) -> Option<std::cmp::Ordering> {
    let candidate = std::str::from_utf8(candidate).ok()?;
    let bound = std::str::from_utf8(bound).ok()?;
    if let (Ok(candidate), Ok(bound)) = (candidate.parse::<i128>(), bound.parse::<i128>()) {
        return Some(candidate.cmp(&bound));
    }
    Some(value::prepared(name, candidate).cmp(&value::prepared(name, bound)))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    classes: &'a Schema,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn eat(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at = self.at.saturating_add(what.len());
        }
        found
    }

    fn filter(&mut self, depth: usize) -> Result<Filter, FilterFault> {
        if depth > DEPTH {
            return Err(FilterFault::TooDeep);
        }
        if !self.eat("(") {
            return Err(self.missing("a `(`"));
        }
        let filter = if self.eat("&") {
            Filter::And(self.list(depth)?)
        } else if self.eat("|") {
            Filter::Or(self.list(depth)?)
        } else if self.eat("!") {
            Filter::Not(Box::new(self.filter(depth.saturating_add(1))?))
        } else {
            self.item()?
        };
        if !self.eat(")") {
            return Err(self.missing("a `)`"));
        }
        Ok(filter)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Filter>, FilterFault> {
        let mut filters = Vec::new();
        while self.rest().starts_with('(') {
            filters.push(self.filter(depth.saturating_add(1))?);
        }
        Ok(filters)
    }

    fn place(&self) -> Place {
        Place(self.rest().chars().take(20).collect())
    }

    fn missing(&self, what: &'static str) -> FilterFault {
        FilterFault::Missing { what, at: self.place() }
    }

    fn item(&mut self) -> Result<Filter, FilterFault> {
        let at = self.place();
        let rest = self.rest();
        let is_name = |c: char| c.is_ascii_alphanumeric() || ".-;_".contains(c);
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or("");
        if name.is_empty() {
            return Err(FilterFault::Missing { what: "an attribute", at });
        }
        if !is_description(name) {
            return Err(FilterFault::NoAttribute { name: name.to_owned(), at });
        }
        let of = Description::new(name);
        self.at = self.at.saturating_add(end);
        if self.rest().starts_with(':') {
            let rest = self.rest();
            let Some((how, _)) = rest.split_once(":=") else {
                return Err(self.missing("an operator"));
            };
            self.at = self.at.saturating_add(how.len()).saturating_add(2);
            return match self.pieces()?.as_slice() {
                [one] => Ok(Filter::Extensible(Extensible::new(of, how, one.clone())?)),
                _ => Err(FilterFault::Star { of: format!("{name}{how}:=") }),
            };
        }
        for (operator, make) in [
            (">=", Test::AtLeast as fn(Vec<u8>) -> Test),
            ("<=", Test::AtMost),
            ("~=", Test::Equal),
        ] {
            if self.eat(operator) {
                return match self.pieces()?.as_slice() {
                    [one] => Ok(Filter::Test(of, make(one.clone()))),
                    _ => Err(FilterFault::Star { of: format!("{name}{operator}") }),
                };
            }
        }
        if !self.eat("=") {
            return Err(self.missing("an operator"));
        }
        let pieces = self.pieces()?;
        let test = match pieces.as_slice() {
            [one] if of.name == "objectclass" => Test::class(one, self.classes),
            [one] => Test::Equal(one.clone()),
            [first, last] if first.is_empty() && last.is_empty() => Test::Present,
            [_, middle @ .., _] if middle.iter().any(Vec::is_empty) => {
                return Err(FilterFault::Stars { of: name.to_owned() });
            }
            _ => Test::Pieces(pieces),
        };
        Ok(Filter::Test(of, test))
    }

    /// A value cut at its stars, unescaped.
    fn pieces(&mut self) -> Result<Vec<Vec<u8>>, FilterFault> {
        let rest = self.rest();
        let end = rest.find(['(', ')']).unwrap_or(rest.len());
        let value = rest.get(..end).unwrap_or("");
        self.at = self.at.saturating_add(end);
        value.split('*').map(unescape).collect()
    }
}

/// `\XX` is a byte; a raw backslash is not allowed.
fn unescape(piece: &str) -> Result<Vec<u8>, FilterFault> {
    let mut bytes = piece.bytes();
    let mut out = Vec::with_capacity(piece.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let escaped = match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        out.push(escaped.ok_or_else(|| FilterFault::Escape(piece.to_owned()))?);
    }
    Ok(out)
}

/// Whether `text` is an attribute description (RFC 4512, section 2.5): a name that begins with a
/// letter (some servers take `_` in it), or a numeric OID; options may follow.
fn is_description(text: &str) -> bool {
    let mut parts = text.split(';');
    let name = parts.next().unwrap_or_default();
    let digits = |arc: &str| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit());
    let oid = name.contains('.') && name.split('.').all(digits);
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.contains('.');
    (oid || named) && parts.all(|option| !option.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Entry {
        let mut entry = Entry::new("uid=alice,dc=x".to_owned());
        for (name, value) in [
            ("objectClass", "inetOrgPerson"),
            ("uid", "alice"),
            ("cn", "Alice  Liddell"),
            ("mail", "alice@example.org"),
            ("uidNumber", "1200"),
            ("memberOf", "cn=Admins,ou=Groups,dc=x"),
            ("description", "a (nice) * one"),
            ("title;lang-de", "Leiterin"),
        ] {
            entry.add(name, [value.as_bytes().to_vec()]);
        }
        entry
    }

    #[test]
    fn filters_match_as_a_directory_matches() {
        for (filter, matches) in [
            ("(uid=alice)", true),
            ("uid=alice", true),
            ("(UID=ALICE)", true),
            ("(userid=alice)", true),
            ("(0.9.2342.19200300.100.1.1=alice)", true),
            ("(uid=bob)", false),
            ("(uid=*)", true),
            ("(sn=*)", false),
            ("(!(sn=*))", true),
            ("(!(sn=x))", true),
            ("(cn=alice liddell)", true),
            ("(cn=Al*)", true),
            ("(cn=*dell)", true),
            ("(cn=*e li*)", true),
            ("(cn=a*c*d*l)", true),
            ("(cn=alice*alice*)", false),
            ("(cn=*x*)", false),
            ("(cn=alice liddell*l)", false),
            ("(cn~=ALICE LIDDELL)", true),
            ("(uidNumber>=900)", true),
            ("(uidNumber<=900)", false),
            ("(uidNumber>=1200)", true),
            ("(mail>=alice)", true),
            ("(&)", true),
            ("(|)", false),
            ("(&(uid=alice)(!(mail=*@evil.org)))", true),
            ("(|(uid=bob)(cn=Alice*))", true),
            ("(&(uid=alice)(cn=Bob))", false),
            ("(objectClass=inetorgperson)", true),
            ("(objectClass=person)", true),
            ("(objectClass=top)", true),
            ("(objectClass=groupOfNames)", false),
            ("(memberOf=CN=admins, OU=groups,DC=X)", true),
            ("(memberOf=cn=admins,dc=x)", false),
            ("(2.5.4.3=alice liddell)", true),
            ("(name=alice liddell)", true),
            ("(2.5.4.41=leiterin)", true),
            ("(name;lang-de=leiterin)", true),
            ("(name;lang-de=alice liddell)", false),
            ("(name=alice)", false),
            ("(name=*)", true),
            ("(givenName=*)", false),
            ("(objectClass=2.16.840.1.113730.3.2.2)", true),
            ("(objectClass=2.5.6.6)", true),
            ("(objectClass=residentialPerson)", false),
            ("(cn:=ALICE liddell)", true),
            ("(cn:caseExactMatch:=Alice Liddell)", true),
            ("(cn:caseExactMatch:=alice liddell)", false),
            ("(cn:2.5.13.5:=Alice Liddell)", true),
            ("(name:caseIgnoreMatch:=leiterin)", true),
            ("(dc:dn:=X)", true),
            ("(dc:=x)", false),
            ("(ou:dn:=x)", false),
            ("(uid:dn:caseExactMatch:=alice)", true),
            ("(memberOf:distinguishedNameMatch:=CN=admins,OU=groups,DC=X)", true),
            ("(uidNumber:1.2.840.113556.1.4.803:=1200)", true),
            ("(uidNumber:1.2.840.113556.1.4.803:=1201)", false),
            ("(uidNumber:1.2.840.113556.1.4.804:=1201)", true),
            ("(uidNumber:1.2.840.113556.1.4.804:=1)", false),
            ("(uidNumber:integerMatch:=01200)", true),
            ("(description=a \\28nice\\29 \\2a one)", true),
            (" (uid=alice) ", true),
            ("(title=leiterin)", true),
            ("(title=*)", true),
            ("(title;lang-de=Leit*)", true),
            ("(title;LANG-DE=*)", true),
            ("(title;lang-en=*)", false),
            ("(!(title;lang-en=*))", true),
            ("(uid;lang-de=alice)", false),
        ] {
            let parsed = Filter::parse(filter).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.matches(&entry()), matches, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_and_the_place_named() {
        for (filter, why) in [
            ("", "an attribute is missing at its end"),
            ("(uid=alice", "a `)` is missing at its end"),
            ("(uid=alice))", "`)` follows its end"),
            ("(&(uid=alice)", "a `)` is missing"),
            ("(&uid=alice)", "a `)` is missing at `uid=alice)`"),
            ("(=alice)", "an attribute is missing at `=alice)`"),
            ("(uid)", "an operator is missing at `)`"),
            ("(0a=b)", "`0a` is not an attribute"),
            ("(0=b)", "`0` is not an attribute"),
            ("(uid;=b)", "`uid;` is not an attribute"),
            ("(uid=a**b)", "two `*` in a row"),
            ("(uid>=a*)", "a `*` stands"),
            ("(uid=a\\2)", "two hex digits"),
            ("(uid=a\\zz)", "two hex digits"),
            ("(memberOf:1.2.840.113556.1.4.1941:=cn=a)", "only a server evaluates it"),
            ("(cn:dn:a:b:=x)", "only a server evaluates it"),
            ("(cn:dn=x)", "an operator is missing"),
            ("(cn:=a*)", "a `*` stands"),
            ("(!uid=a)", "a `(` is missing"),
        ] {
            let error = Filter::parse(filter).unwrap_err().to_string();
            assert!(error.contains(why), "{filter}: {error}");
        }
        let deep = format!("{}(a=b){}", "(!".repeat(1000), ")".repeat(1000));
        assert!(Filter::parse(&deep).unwrap_err().to_string().contains("deep"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error_and_never_a_panic(text in "[(&|!)a-c=*<>~\\\\0-9: ]{0,30}") {
            if let Ok(filter) = Filter::parse(&text) {
                let _ = filter.matches(&entry());
                prop_assert!(ldap3::parse_filter(text.trim()).is_ok(), "{}", text);
            }
        }
    }
}
