//! What a group's entry tells of its members: all of them, that there are none, or that they are
//! not to be seen.
//!
//! A server hides members without saying so, some groups may be empty and others may not, and some
//! kinds of groups name their members in ways that are not read. None of these may pass for
//! another: what is hidden or not read is unknown, never empty.

use std::collections::{BTreeMap, HashSet};

use super::entry::Entry;
use super::names::Names;
use super::schema::{self, Allowed, Lists, MEMBERS, Schema};
use crate::model::diagnostic::some_of;
use crate::model::{Diagnostic, DiagnosticCode, Kind, Subject};

/// Attributes that name members in ways that are not read.
pub(super) const UNREAD: &[&str] = &[
    "memberURL",
    "memberQueryURL",
    "roleOccupant",
    "rfc822MailMember",
    "mgrpRFC822MailMember",
    "memberCertificateDescription",
    "nisNetgroupTriple",
    "memberNisNetgroup",
];

/// The one of them that some servers put members in place of.
pub(super) const EXPANDED: &str = "memberURL";

/// What a group's entry showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Attributes of members that it has.
    lists: Lists,
    /// It has [`EXPANDED`].
    url: bool,
    /// Whom that means is known.
    pub evaluated: bool,
    /// The first of the others of [`UNREAD`] that it has.
    unread: Option<&'static str>,
    /// It has more members than came.
    ranged: bool,
    /// Its object classes, as a number of [`Classes`].
    pub classes: u32,
}

impl Shown {
    /// Whether it shows no member at all.
    pub fn is_bare(self) -> bool {
        self.lists == 0
    }

    /// Whether it names members by [`EXPANDED`].
    pub fn may_be_expanded(self) -> bool {
        self.url
    }
}

/// The distinct combinations of object classes.
#[derive(Default)]
pub(super) struct Classes(Names);

impl Classes {
    /// What `entry` shows.
    pub fn shown(&mut self, entry: &Entry) -> Shown {
        let classes: Vec<&str> = entry.texts("objectclass").collect();
        let has = |name: &&&'static str| entry.has(&name.to_ascii_lowercase());
        Shown {
            lists: MEMBERS
                .iter()
                .filter(|name| entry.has(name))
                .fold(0, |lists, name| lists | schema::list_of(name)),
            url: has(&&EXPANDED),
            evaluated: false,
            unread: UNREAD.iter().filter(|name| **name != EXPANDED).find(has).copied(),
            ranged: !entry.ranged.is_empty(),
            classes: self.0.id(&classes.join("\n")),
        }
    }

    fn of(&self, number: u32) -> impl Iterator<Item = &str> {
        // An object of this class may have any attribute, which says nothing about which it has.
        const ANYTHING: &str = "extensibleObject";
        let classes = self.0.text(number).lines();
        classes.filter(|class| !class.eq_ignore_ascii_case(ANYTHING))
    }
}

/// Why a group's members are not all known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doubt {
    /// Only a part of them came.
    Ranged,
    /// It must have some by these attributes and shows none.
    Hidden(Lists),
    /// It shows neither members nor classes.
    Blank,
    /// It may have some by these attributes, and nothing tells that they could be seen.
    Unseen(Lists),
    /// It names members by this attribute, which is not read.
    Unread(&'static str),
    /// Nothing of its classes (a number of [`Classes`]) is a list of members that is read.
    NoList(u32),
}

/// A doubt in words.
pub(super) struct Doubted {
    /// Why the group's members are not all known.
    pub told: String,
    /// Its kind, where that has no list of members.
    kind: Option<String>,
    /// Its members are not read, rather than hidden.
    unread: bool,
}

/// At most this many groups have a warning of their own, and of each kind so many are named.
const WARNED: usize = 50;
const NAMED: usize = 10;

/// Warnings of groups whose members are not all known: each with its identity, and whether some
/// rule reaches it, which tells of what is hidden by itself. What is not read is told by name.
pub(super) fn diagnostics<'d>(
    doubts: impl Iterator<Item = (&'d Doubted, &'d str, bool)>,
) -> Vec<Diagnostic> {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut more = 0_u64;
    for (doubted, identity, reached) in doubts {
        match &doubted.kind {
            Some(kind) => kinds.entry(kind).or_default().push(identity),
            None if reached && !doubted.unread => {}
            None if warnings.len() < WARNED => {
                let (code, subject) =
                    (DiagnosticCode::MembersUnknown, Subject::reference(Kind::Group, identity));
                warnings.push(Diagnostic::warning(code, subject, doubted.told.clone()));
            }
            None => more = more.saturating_add(1),
        }
    }
    if more > 0 {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::MembersUnknown,
            Subject::None,
            format!("{more} more groups have members that are not known"),
        ));
    }
    for (kind, mut names) in kinds {
        names.sort_unstable();
        warnings.push(Diagnostic::warning(DiagnosticCode::MembersUnknown, Subject::Name(kind.to_owned()), format!(
            "groups by `groups.filter` of the kind `{kind}`, which has no list of members that is \
             read, so who is in them is unknown: {}; narrow `groups.filter`",
            some_of(&names, NAMED)
        )));
    }
    warnings
}

/// What is known of the groups of a read together.
pub(super) struct Judge<'a> {
    classes: &'a Classes,
    schema: &'a Schema,
    file: bool,
    /// The server puts members in the place of [`EXPANDED`] for groups of these classes.
    expanded: &'a HashSet<u32>,
    /// Attributes by which some group showed members.
    seen: Lists,
    /// What groups that showed members could have shown.
    alike: HashSet<Lists>,
    /// The classes of groups that showed members.
    showing: HashSet<u32>,
}

impl<'a> Judge<'a> {
    /// Looks at all groups of a read.
    pub fn new(
        groups: impl Iterator<Item = Shown>,
        classes: &'a Classes,
        schema: &'a Schema,
        expanded: &'a HashSet<u32>,
        file: bool,
    ) -> Self {
        let (mut seen, mut showing) = (0, HashSet::new());
        for group in groups.filter(|group| group.lists != 0) {
            seen |= group.lists;
            showing.insert(group.classes);
        }
        let mut judge =
            Judge { classes, schema, file, expanded, seen, alike: HashSet::new(), showing };
        judge.alike = judge.showing.iter().map(|classes| judge.allowed(*classes).may).collect();
        judge
    }

    fn allowed(&self, classes: u32) -> Allowed {
        self.schema.allowed(self.classes.of(classes))
    }

    /// Why the members of a group that showed this are not all known; `None`: they are.
    pub fn doubt(&self, group: Shown) -> Option<Doubt> {
        let Shown { lists, url, evaluated, unread, ranged, classes } = group;
        if ranged {
            return Some(Doubt::Ranged);
        }
        if url && !evaluated && !self.expanded.contains(&classes) {
            return Some(Doubt::Unread(EXPANDED));
        }
        if let Some(unread) = unread {
            return Some(Doubt::Unread(unread));
        }
        let allowed = self.allowed(classes);
        if self.file {
            // A file is what it is; but a list of another kind is not an empty one of these.
            let a_list = url || lists | allowed.may != 0 || self.showing.contains(&classes);
            let silent = self.classes.of(classes).next().is_none();
            return (!a_list && !silent).then_some(Doubt::NoList(classes));
        }
        let hidden = allowed.must & !lists;
        if hidden != 0 {
            return Some(Doubt::Hidden(hidden));
        }
        if lists != 0 || url {
            return None;
        }
        if self.classes.of(classes).next().is_none() {
            return Some(Doubt::Blank);
        }
        if allowed.may == 0 && !allowed.unknown {
            return Some(Doubt::NoList(classes));
        }
        let seen = allowed.may & !self.seen == 0 && !allowed.unknown;
        // Others that could have shown the same did show something: so would this one.
        let alike = self.showing.contains(&classes)
            || (!allowed.unknown && self.alike.contains(&allowed.may));
        (!seen && !alike).then_some(Doubt::Unseen(allowed.may))
    }

    /// What there is to tell of the group `name`, which is in doubt.
    pub fn doubted(&self, name: &str, doubt: Doubt) -> Doubted {
        let kind = match doubt {
            Doubt::NoList(classes) => Some(self.kind(classes).to_owned()),
            _ => None,
        };
        let unread = matches!(doubt, Doubt::Unread(_) | Doubt::NoList(_));
        Doubted { told: self.told(name, doubt), kind, unread }
    }

    fn told(&self, name: &str, doubt: Doubt) -> String {
        const GRANT: &str = "grant this identity read access to";
        let name = name.escape_debug();
        match doubt {
            Doubt::Ranged => format!("group `{name}` shows only a range of its members"),
            Doubt::Hidden(lists) => format!(
                "group `{name}` shows no members although it must have some: {GRANT} {}",
                schema::names_of(lists)
            ),
            Doubt::Blank => format!(
                "group `{name}` shows neither members nor object classes: {GRANT} `objectClass`"
            ),
            Doubt::Unseen(0) => format!(
                "group `{name}` shows no members, and the server's schema does not say whether it \
                 must: {GRANT} the subschema"
            ),
            Doubt::Unseen(lists) => format!(
                "group `{name}` shows no members, and no other group shows that they could be \
                 seen, so hidden cannot be told from empty: {GRANT} {}, or leave such groups out \
                 by `groups.filter`",
                schema::names_of(lists)
            ),
            Doubt::Unread(attribute) => format!(
                "group `{name}` names members by `{attribute}`, which is not read: who is in it \
                 besides those listed is unknown"
            ),
            Doubt::NoList(classes) => format!(
                "`{name}` is a group by `groups.filter`, but an `{}` has no list of members that \
                 is read: who is in it is unknown; narrow `groups.filter`",
                self.kind(classes)
            ),
        }
    }

    /// The class that says most of what an entry is.
    fn kind(&self, classes: u32) -> &str {
        let above = |class: &str, other: &str| class != other && self.schema.is_a(other, class);
        let all = || self.classes.of(classes).filter(|class| !class.eq_ignore_ascii_case("top"));
        all().find(|class| !all().any(|other| above(class, other))).unwrap_or("entry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(classes: &[&str], attributes: &[&str]) -> Entry {
        let mut entry = Entry::new("cn=g".to_owned());
        entry.add("objectClass", classes.iter().map(|class| class.as_bytes().to_vec()));
        for name in attributes {
            entry.add(name, [b"uid=a".to_vec()]);
        }
        entry
    }

    /// The doubts about `group` among `others`.
    fn doubt(schema: &Schema, file: bool, group: &Entry, others: &[Entry]) -> Option<Doubt> {
        let mut classes = Classes::default();
        let shown: Vec<Shown> =
            others.iter().chain([group]).map(|entry| classes.shown(entry)).collect();
        let expanded = HashSet::new();
        let judge = Judge::new(shown.iter().copied(), &classes, schema, &expanded, file);
        shown.last().and_then(|shown| judge.doubt(*shown))
    }

    /// As 389-DS has it: groups may be empty.
    fn lenient() -> Schema {
        Schema::of([
            "( 2.5.6.0 NAME 'top' )",
            "( 2.5.6.9 NAME 'groupOfNames' SUP top MUST cn MAY member )",
            "( 1.3.6.1.1.1.2.2 NAME 'posixGroup' SUP top MAY memberUid )",
            "( 2.5.6.5 NAME 'organizationalUnit' SUP top )",
        ])
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn a_live_group_without_members_is_empty_hidden_or_not_of_a_kind_that_is_read() {
        let names = || entry(&["groupOfNames"], &["member"]);
        let posix = || entry(&["posixGroup"], &["memberUid"]);
        let strict = Schema::common();
        let both: &[&str] = &["groupOfNames", "posixGroup"];
        for (what, schema, classes, attributes, others, expected) in [
            (
                "must have some",
                strict,
                &["groupOfNames"][..],
                &[][..],
                vec![names()],
                Some(Doubt::Hidden(1)),
            ),
            (
                "shows another",
                strict,
                &["groupOfNames"],
                &["uniqueMember"],
                vec![],
                Some(Doubt::Hidden(1)),
            ),
            ("may be empty", &lenient(), &["groupOfNames", "top"], &[], vec![names()], None),
            (
                "nobody shows",
                &lenient(),
                &["groupOfNames"],
                &[],
                vec![posix()],
                Some(Doubt::Unseen(1)),
            ),
            ("alone", &lenient(), &["groupOfNames"], &[], vec![], Some(Doubt::Unseen(1))),
            ("one of two", &lenient(), both, &[], vec![names()], Some(Doubt::Unseen(5))),
            ("both seen", &lenient(), both, &[], vec![names(), posix()], None),
            ("alike", &lenient(), both, &[], vec![entry(both, &["member"])], None),
            ("posix", strict, &["posixGroup", "top"], &[], vec![posix()], None),
            ("posix alone", strict, &["posixGroup"], &[], vec![names()], Some(Doubt::Unseen(4))),
            ("no classes", strict, &[], &[], vec![names()], Some(Doubt::Blank)),
            ("no classes, members", strict, &[], &["member"], vec![], None),
            (
                "not a list",
                strict,
                &["organizationalUnit"],
                &[],
                vec![names()],
                Some(Doubt::NoList(0)),
            ),
            (
                "urls",
                strict,
                &["groupOfURLs"],
                &["memberURL"],
                vec![],
                Some(Doubt::Unread("memberURL")),
            ),
            (
                "mixed",
                strict,
                &["groupOfURLs", "groupOfNames"],
                &["member", "memberURL"],
                vec![],
                Some(Doubt::Unread("memberURL")),
            ),
            ("no url", strict, &["groupOfURLs"], &[], vec![], Some(Doubt::NoList(0))),
            (
                "occupant",
                strict,
                &["organizationalRole"],
                &["roleOccupant"],
                vec![],
                Some(Doubt::Unread("roleOccupant")),
            ),
            ("unknown class", strict, &["acmeTeam"], &[], vec![names()], Some(Doubt::Unseen(0))),
            ("its like", strict, &["acmeTeam"], &[], vec![entry(&["acmeTeam"], &["member"])], None),
            (
                "anything",
                strict,
                &["extensibleObject", "account"],
                &[],
                vec![names()],
                Some(Doubt::NoList(0)),
            ),
        ] {
            let found = doubt(schema, false, &entry(classes, attributes), &others);
            let found = match found {
                Some(Doubt::NoList(_)) => Some(Doubt::NoList(0)),
                found => found,
            };
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_group_without_members_in_a_file_is_empty_unless_its_kind_is_not_read() {
        for (classes, attributes, others, read) in [
            (&["groupOfNames"][..], &[][..], vec![], true),
            (&["groupOfUniqueNames", "top"], &[], vec![], true),
            (&["posixGroup"], &[], vec![], true),
            (&["ipaUserGroup"], &[], vec![], true),
            (&[], &[], vec![], true),
            (&["acmeTeam"], &["member"], vec![], true),
            (&["acmeTeam"], &[], vec![entry(&["acmeTeam"], &["member"])], true),
            (&["acmeTeam"], &[], vec![entry(&["groupOfNames"], &["member"])], false),
            (&["organizationalUnit"], &[], vec![], false),
            (&["nisNetgroup"], &[], vec![], false),
            (&["nisMailAlias"], &["rfc822MailMember"], vec![], false),
            (&["groupOfUniqueNames", "groupOfURLs"], &["uniqueMember", "memberURL"], vec![], false),
        ] {
            let found = doubt(Schema::common(), true, &entry(classes, attributes), &others);
            assert_eq!(found.is_none(), read, "{classes:?} {attributes:?}: {found:?}");
        }
    }

    #[test]
    fn a_kind_is_told_by_its_own_class() {
        let mut classes = Classes::default();
        let shown = classes.shown(&entry(&["top", "person", "inetOrgPerson"], &[]));
        let expanded = HashSet::new();
        let none = std::iter::empty();
        let judge = Judge::new(none, &classes, Schema::common(), &expanded, true);
        assert_eq!(judge.kind(shown.classes), "inetOrgPerson");
        let told = judge.told("cn=x", Doubt::NoList(shown.classes));
        assert!(told.contains("`cn=x`") && told.contains("`inetOrgPerson`"), "{told}");
    }
}
