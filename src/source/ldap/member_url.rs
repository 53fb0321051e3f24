//! A group's `memberURL` (RFC 4516; `groupOfURLs`): who is meant by it, said of one entry at a time.
//!
//! What is said here must be what the server would find. So a URL is evaluated only where the server's
//! schema compares each attribute of its filter as it is compared here; everything else is told and
//! leaves the group's members unknown.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;

use super::entry::Entry;
use super::filter::{Filter, FilterError, Test};
use super::options::Description;
use super::schema::Schema;
use super::types::{Rule, Types};
use crate::directory::{dn, value};

/// Who is meant: entries in this place that the filter matches.
#[derive(Clone, Debug)]
pub(super) struct MemberUrl {
    /// The base, in normal form.
    base: String,
    scope: Scope,
    filter: Filter,
    /// The filter as servers are sent it.
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scope {
    Base,
    One,
    Subtree,
    /// All below the base and not itself.
    Below,
}

/// Why a URL is not evaluated here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotEvaluated {
    /// It is no URL of that kind.
    #[error("it is not of the form `ldap:///BASE??SCOPE?FILTER`")]
    Form,
    /// It names another server.
    #[error("it names a server")]
    Host,
    /// It names attributes whose values are meant instead of the entries.
    #[error("it means values of attributes, not entries")]
    Attributes,
    /// It has extensions.
    #[error("it has extensions")]
    Extensions,
    /// It has no base, or one that is no DN.
    #[error("it has no base that is a DN")]
    Base,
    /// An unknown word.
    #[error("its scope is none of `base`, `one`, `sub` and `children`")]
    Scope,
    /// No filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Approximate and extensible matches.
    #[error("its filter has a match that only a server evaluates")]
    Match,
    /// The schema has it not, or compares it otherwise.
    #[error("the server's schema compares `{0}` in a way that is not followed here")]
    Attribute(String),
    /// An unknown class.
    #[error("the server's schema has no object class `{0}`")]
    Class(String),
    /// The server hides how it compares.
    #[error("the server does not show its schema: grant this identity read access to it")]
    NoSchema,
    /// Not read in this run.
    #[error("it was not there when the users were asked for, and is evaluated by the next read")]
    New,
    /// Hidden cannot be told from absent.
    #[error(
        "no user shows `{0}`, and hidden cannot be told from absent: check what this identity may \
         read"
    )]
    Unseen(String),
}

/// By what is compared.
#[derive(Clone, Copy)]
pub(super) enum By<'s> {
    /// The rules of this program: for files, whose filters it evaluates itself.
    Own,
    /// A server's schema.
    Schema {
        /// Its attribute types.
        types: &'s Types,
        /// Its object classes.
        classes: &'s Schema,
    },
}

impl MemberUrl {
    /// Reads a value of `memberURL`.
    ///
    /// # Errors
    /// It cannot be evaluated here.
    pub fn parse(text: &str, by: By<'_>) -> Result<Self, NotEvaluated> {
        let text = text.trim();
        let rest = match text.split_at_checked(7) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ldap://") => rest,
            _ => return Err(NotEvaluated::Form),
        };
        let rest = rest.strip_prefix('/').ok_or(NotEvaluated::Host)?;
        let mut parts = rest.split('?').map(|part| percent_decode_str(part).decode_utf8());
        let mut part = || match parts.next() {
            Some(Ok(part)) => Ok(part.into_owned()),
            Some(Err(_)) => Err(NotEvaluated::Form),
            None => Ok(String::new()),
        };
        let (base, attributes, scope, filter) = (part()?, part()?, part()?, part()?);
        if !part()?.is_empty() {
            return Err(NotEvaluated::Extensions);
        }
        if !attributes.is_empty() {
            return Err(NotEvaluated::Attributes);
        }
        let base = dn::normalize(&base).ok().filter(|base| !base.is_empty());
        let base = base.ok_or(NotEvaluated::Base)?;
        let scope = match scope.to_ascii_lowercase().as_str() {
            "" | "base" => Scope::Base,
            "one" | "onelevel" => Scope::One,
            "sub" | "subtree" => Scope::Subtree,
            "children" | "subord" | "subordinate" => Scope::Below,
            _ => return Err(NotEvaluated::Scope),
        };
        let text = if filter.is_empty() { "(objectClass=*)" } else { filter.as_str() };
        let filter = match by {
            By::Own => Filter::parse(text)?,
            By::Schema { types, classes } => {
                // The parser takes it for an equality, as few servers do.
                if text.contains("~=") {
                    return Err(NotEvaluated::Match);
                }
                let filter = Filter::parse_by(text, classes)?;
                followed(&filter, types, classes)?;
                filter
            }
        };
        let text = text.trim();
        let text = if text.starts_with('(') { text.to_owned() } else { format!("({text})") };
        Ok(MemberUrl { base, scope, filter, text })
    }

    /// The filter, in brackets, by which a server finds those that are meant, and perhaps others elsewhere.
    pub fn test(&self) -> &str {
        &self.text
    }

    /// Whether an entry whose DN is `norm` in normal form lies where those lie that are meant.
    pub fn is_in_scope(&self, norm: &str) -> bool {
        let parent = || norm.split_once(',').map(|(_, parent)| parent);
        match self.scope {
            Scope::Base => norm == self.base,
            Scope::One => parent() == Some(&self.base),
            Scope::Subtree => dn::is_under(norm, &self.base),
            Scope::Below => norm != self.base && dn::is_under(norm, &self.base),
        }
    }

    /// Adds the one names of the attributes that tell who is meant.
    pub fn attributes(&self, to: &mut BTreeSet<String>) {
        self.filter.each_attribute(&mut |name| {
            to.insert(name.to_owned());
        });
    }

    /// Whether `entry`, whose DN is `norm` in normal form, is meant.
    pub fn is_meant(&self, entry: &Entry, norm: &str) -> bool {
        self.is_in_scope(norm) && self.filter.matches(entry)
    }
}

/// Whether the server compares all that `filter` tests as it is compared here.
fn followed(filter: &Filter, types: &Types, classes: &Schema) -> Result<(), NotEvaluated> {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => {
            filters.iter().try_for_each(|filter| followed(filter, types, classes))
        }
        Filter::Not(filter) => followed(filter, types, classes),
        Filter::Extensible(_) => Err(NotEvaluated::Match),
        Filter::Test(of, test) => test_followed(of, test, types, classes),
    }
}

fn test_followed(
    of: &Description,
    test: &Test,
    types: &Types,
    classes: &Schema,
) -> Result<(), NotEvaluated> {
    let name = of.name.as_str();
    // What is no value of a type servers call neither equal nor different.
    let text = |bytes: &[u8], rule: Option<Rule>| {
        let text = std::str::from_utf8(bytes).ok()?;
        (text.is_ascii() || !rule.is_some_and(Rule::is_ia5)).then(|| text.to_owned())
    };
    let own = own_rule(name);
    let same = |rule: Option<Rule>| {
        rule.map(Rule::of_texts) == Some(own) || (own == Rule::IgnoringCase && is_plain(rule))
    };
    let followed = !of.is_narrow()
        && types.stands_alone(name)
        && match test {
            Test::Present => true,
            Test::Class(kinds) => {
                let known = |kind: &String| classes.has(kind);
                if !kinds.iter().all(known) {
                    return Err(NotEvaluated::Class(kinds.join(", ")));
                }
                types.equality(name) == Some(Rule::Classes)
            }
            Test::Equal(wanted) => {
                let rule = types.equality(name);
                same(rule) && text(wanted, rule).is_some_and(|wanted| is_value(rule, &wanted))
            }
            Test::Pieces(pieces) => {
                let rule = types.substrings(name);
                let plain =
                    |piece: &Vec<u8>| text(piece, rule).is_some_and(|piece| is_piece(&piece));
                matches!(own, Rule::IgnoringCase | Rule::Exactly)
                    && rule.map(Rule::of_texts) == Some(own)
                    && pieces.iter().all(plain)
            }
            Test::AtLeast(bound) | Test::AtMost(bound) => {
                let rule = types.ordering(name);
                rule == Some(Rule::Integers)
                    && types.equality(name) == rule
                    && text(bound, rule).is_some_and(|bound| is_value(rule, &bound))
            }
        };
    if followed { Ok(()) } else { Err(NotEvaluated::Attribute(name.to_owned())) }
}

/// How values of `name` compare here.
fn own_rule(name: &str) -> Rule {
    match name {
        "objectclass" => Rule::Classes,
        "telephonenumber" => Rule::Phones,
        name if value::holds_dns(name) => Rule::Names,
        name if value::is_exact(name) => Rule::Exactly,
        _ => Rule::IgnoringCase,
    }
}

/// Whether values that servers compare by `rule` have one form each, so that any comparison of texts
/// does.
fn is_plain(rule: Option<Rule>) -> bool {
    matches!(rule, Some(Rule::Integers | Rule::Booleans))
}

/// Whether `text` is a value of what compares by `rule`: of others servers say neither yes nor no.
fn is_value(rule: Option<Rule>, text: &str) -> bool {
    match rule {
        Some(Rule::Integers) => text.parse::<i64>().is_ok_and(|number| number.to_string() == text),
        Some(Rule::Booleans) => matches!(text, "TRUE" | "FALSE"),
        Some(Rule::Names) => dn::normalize(text).is_ok_and(|norm| !norm.is_empty()),
        Some(_) => !text.trim().is_empty() && text.chars().all(is_ordinary),
        None => false,
    }
}

/// Whether servers agree on a part of a value: on spaces at its edges they do not.
fn is_piece(text: &str) -> bool {
    !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text.contains("  ")
        && text.chars().all(is_ordinary)
}

/// Letters and digits of any script, and ASCII that is seen.
fn is_ordinary(c: char) -> bool {
    if c.is_ascii() { c == ' ' || c.is_ascii_graphic() } else { c.is_alphanumeric() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> Types {
        Types::of([
            "( 2.5.4.0 NAME 'objectClass' EQUALITY objectIdentifierMatch )",
            "( 2.5.4.41 NAME 'name' EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch )",
            "( 2.5.4.12 NAME 'title' SUP name )",
            "( 1.3 NAME 'mail' EQUALITY caseIgnoreIA5Match SUBSTR caseIgnoreIA5SubstringsMatch )",
            "( 1.4 NAME 'uidNumber' EQUALITY integerMatch ORDERING integerOrderingMatch )",
            "( 1.5 NAME 'manager' EQUALITY distinguishedNameMatch )",
            "( 1.6 NAME 'secret' EQUALITY octetStringMatch )",
            "( 1.7 NAME 'token' EQUALITY caseExactMatch )",
        ])
    }

    fn parsed(url: &str) -> Result<MemberUrl, NotEvaluated> {
        let (types, classes) = (types(), Schema::common());
        MemberUrl::parse(url, By::Schema { types: &types, classes })
    }

    #[test]
    fn base_and_scope_say_where_and_the_filter_says_who() {
        let entry = |dn: &str| {
            let mut entry = Entry::new(dn.to_owned());
            entry.add("title", [b"Help  Desk".to_vec()]);
            (dn::normalize(dn).unwrap(), entry)
        };
        for (url, meant) in [
            ("ldap:///ou=p,dc=x??sub?(title=help desk)", [true, true, true, false]),
            ("LDAP:///OU=P,DC=X??one?(title=help%20desk)", [false, true, false, false]),
            ("ldap:///ou=p,dc=x???(title=*)", [true, false, false, false]),
            ("ldap:///uid=a,ou=p,dc=x??base", [false; 4]),
            ("ldap:///ou=p,dc=x??children?(title=h*k)", [false, true, true, false]),
            ("ldap:///dc=x??sub?(!(title=nothing))", [true; 4]),
        ] {
            let parsed = parsed(url).unwrap_or_else(|why| panic!("{url}: {why}"));
            let all = ["ou=p,dc=x", "uid=a,ou=p,dc=x", "uid=b,ou=q,ou=p,dc=x", "uid=c,dc=x"];
            let found = all.map(entry).map(|(norm, entry)| parsed.is_meant(&entry, &norm));
            assert_eq!(found, meant, "{url}");
        }
    }

    #[test]
    fn what_a_server_may_see_otherwise_is_not_evaluated() {
        for (url, why) in [
            ("ldap://other/dc=x??sub?(title=a)", "a server"),
            ("ldaps:///dc=x??sub?(title=a)", "not of the form"),
            ("https://x", "not of the form"),
            ("ldap:///", "no base"),
            ("ldap:///x??sub", "no base"),
            ("ldap:///dc=x?uid?sub?(title=a)", "values of attributes"),
            ("ldap:///dc=x??sub?(title=a)?!x", "extensions"),
            ("ldap:///dc=x??near?(title=a)", "scope"),
            ("ldap:///dc=x??sub?(title=a", "is not a search filter"),
            ("ldap:///dc=x??sub?(title~=a)", "only a server"),
            ("ldap:///dc=x??sub?(title:dn:=a)", "only a server"),
            ("ldap:///dc=x??sub?(name=a)", "`name`"),
            ("ldap:///dc=x??sub?(gone=a)", "`gone`"),
            ("ldap:///dc=x??sub?(!(gone=*))", "`gone`"),
            ("ldap:///dc=x??sub?(secret=a)", "`secret`"),
            ("ldap:///dc=x??sub?(token=a)", "`token`"),
            ("ldap:///dc=x??sub?(!(mail=zo\u{eb}))", "`mail`"),
            ("ldap:///dc=x??sub?(!(mail=zo\u{eb}*))", "`mail`"),
            ("ldap:///dc=x??sub?(title>=a)", "`title`"),
            ("ldap:///dc=x??sub?(title= a*)", "`title`"),
            ("ldap:///dc=x??sub?(title;lang-de=a)", "`title`"),
            ("ldap:///dc=x??sub?(uidNumber=x)", "`uidnumber`"),
            ("ldap:///dc=x??sub?(uidNumber>=007)", "`uidnumber`"),
            ("ldap:///dc=x??sub?(manager=boss)", "`manager`"),
            ("ldap:///dc=x??sub?(objectClass=acmeTeam)", "object class `acmeteam`"),
        ] {
            let told = parsed(url).err().unwrap_or_else(|| panic!("{url}")).to_string();
            assert!(told.contains(why), "{url}: {told}");
        }
        for url in [
            "ldap:///dc=x??sub?(&(uidNumber>=7)(mail=*@x.org)(manager=uid=a,dc=x))",
            "ldap:///dc=x??sub?(|(objectClass=person)(!(title=*)))",
        ] {
            parsed(url).unwrap_or_else(|why| panic!("{url}: {why}"));
        }
    }
}
