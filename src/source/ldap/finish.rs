//! The end of assembling: members are resolved, doubts become partial scopes and warnings.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::assemble::{Assembler, Group, GroupIdx, LeftOut};
use super::config::MembersFrom;
use super::lists::{self, Doubt, Doubted, EXPANDED, Judge};
use super::primary::{self, Primary};
use super::schema::Schema;
use super::shape::MEMBER_OF;
use super::sides;
use crate::directory::{Completeness, Interest, Kind, NewRef, RefIdx, Snapshot, dn};
use crate::model::diagnostic::some_of;
use crate::model::{Diagnostic, DiagnosticCode, IndexVec, Subject};

/// How the reads went.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Why these are not all users.
    pub users: Option<String>,
    /// Why these are not all groups.
    pub groups: Option<String>,
    /// Why nothing at all can be believed to be all: the canary is not there.
    pub canary: Option<String>,
    /// Worth telling.
    pub diagnostics: Vec<Diagnostic>,
}

/// At most this many groups have a warning of their own, with at most this many names each.
const WARNED_GROUPS: usize = 50;
const NAMED: usize = 3;

/// Names that directories put where a group must have a member and has none.
const PLACEHOLDERS: &[&str] = &["nobody", "none", "empty", "dummy", "placeholder"];

const AGAIN: &str = "the directory changed in mid-read, again and again";
const GRANT: &str = "grant this identity read access to it";

/// Nothing came and nothing went wrong.
fn none(what: &str, base: &str) -> String {
    format!(
        "the search for {what} below `{base}` succeeded with no entries, which is also what a \
         server answers whose access rules hide them: check `{what}.base`, `{what}.filter` and \
         what this identity may read"
    )
}

impl Assembler {
    /// Why not all users have a username.
    fn unnamed(&self) -> Option<String> {
        let name = &self.shape.username;
        let odd = self.users_without_name.shown();
        (self.users_without_name.count() > 0).then(|| match self.shape.file {
            true => format!("{odd} among the users without a `{name}`: left out"),
            false => format!(
                "{odd} among the users without a readable `{name}`, and hidden cannot be told \
                 from absent: {GRANT}, or add `({name}=*)` to `users.filter`"
            ),
        })
    }

    /// Why these cannot be all users, however well the search ended.
    pub(super) fn users_doubt(&self) -> Option<String> {
        if self.users_twice.count() > 0 {
            let odd = self.users_twice.shown();
            Some(format!("{odd} had the DN of another user: {AGAIN}"))
        } else if self.users_without_id.count() > 0 {
            let odd = self.users_without_id.shown();
            let id = self.shape.dialect.id_attribute();
            Some(format!("{odd} among the users without a readable `{id}`: {GRANT}"))
        } else if self.builder.counts().0 == 0 {
            Some(none("users", &self.shape.users_base))
        } else {
            None
        }
    }

    /// Why these cannot be all groups, however well the search ended.
    pub(super) fn groups_doubt(&self) -> Option<String> {
        let name = &self.shape.name;
        let base = self.shape.groups_base.as_ref()?;
        if let Some(full) = self.too_many {
            Some(full.to_string())
        } else if self.groups_twice.count() > 0 {
            let odd = self.groups_twice.shown();
            Some(format!("{odd} had the DN of another group: {AGAIN}"))
        } else if self.groups_without_id.count() > 0 {
            let odd = self.groups_without_id.shown();
            let id = self.shape.dialect.id_attribute();
            Some(format!("{odd} among the groups without a readable `{id}`: {GRANT}"))
        } else if self.groups_without_name.count() > 0 {
            let odd = self.groups_without_name.shown();
            Some(if self.shape.file {
                format!("{odd} among the groups without a `{name}`: left out")
            } else {
                format!("{odd} among the groups without a readable `{name}`: {GRANT}")
            })
        } else if self.groups_without_type.count() > 0 {
            let odd = self.groups_without_type.shown();
            Some(format!(
                "{odd} among the groups without a readable `groupType`, so whether they give \
                 rights cannot be told: {GRANT}"
            ))
        } else if self.groups.is_empty() {
            Some(if self.shape.file {
                format!("no entry below `{base}` is a group by `groups.filter`")
            } else {
                none("groups", base)
            })
        } else {
            None
        }
    }

    /// The snapshot. A file is proof by itself: there, entries that cannot be used are warnings. What
    /// is not known of groups that no rule of `interest` reaches leaves nothing unknown.
    #[must_use]
    pub fn finish(mut self, mut verdict: Verdict, interest: &dyn Interest) -> Snapshot {
        let mut told = std::mem::take(&mut verdict.diagnostics);
        told.extend(self.unclear.diagnostics());
        self.weigh(&mut verdict, &mut told);
        let mut groups = std::mem::take(&mut self.groups);
        for group in groups.iter_mut().filter(|group| !group.urls.is_empty()) {
            group.shown.evaluated = self.places_of(group).is_ok();
        }
        let by_url = self.meant_by_url(&groups);
        let numbers = groups.map(|group| {
            self.builder.reference(&NewRef {
                kind: Kind::Group,
                key: &group.key,
                name: &group.name,
                identity: &group.identity,
                norm: self.dns.text(group.dn),
            })
        });
        if self.shape.from == MembersFrom::Member {
            self.builder.nested_by_list();
        }
        self.of_domains(&mut groups, &numbers);
        self.join_by_word(&groups, &numbers);
        if self.shape.compare && verdict.users.is_none() && verdict.groups.is_none() {
            told.extend(sides::compare(&self, &groups));
        }
        let doubts = self.doubts(&groups);
        let reached = self.reached(&groups, &doubts, interest);
        let mut warned = 0_usize;
        for ((place, group), number) in groups.numbered().zip(&numbers) {
            let Some(number) = *number else { continue };
            let lost = self.resolve(group, number, &numbers);
            self.resolve_urls(group, number, &by_url, &numbers);
            let doubt = doubts.get(&place);
            let partial = match (&verdict.canary, doubt) {
                (Some(canary), _) => Some(canary.clone()),
                (None, Some(doubt)) => Some(doubt.told.clone()),
                (None, None) => {
                    self.unsaid(&verdict).or_else(|| self.unsure(group, &lost, &verdict))
                }
            };
            if let Some(why) = partial {
                let asked = verdict.canary.is_some() || doubt.is_none() || reached.contains(&place);
                self.builder.members_are(
                    number,
                    if asked { Completeness::Partial(why) } else { Completeness::NotAsked },
                );
            } else if let Some(text) = self.told(group, &lost) {
                warned += 1;
                if warned <= WARNED_GROUPS {
                    let subject = Subject::reference(Kind::Group, &group.identity);
                    told.push(Diagnostic::warning(DiagnosticCode::MembersLost, subject, text));
                }
            }
        }
        if let Some(more) = warned.checked_sub(WARNED_GROUPS).filter(|more| *more > 0) {
            let message = format!("{more} more groups have members that lead to no user");
            told.push(Diagnostic::warning(DiagnosticCode::MembersLost, Subject::None, message));
        }
        told.extend(lists::diagnostics(doubts.iter().map(|(place, doubt)| {
            (doubt, groups.at(*place).identity.as_str(), reached.contains(place))
        })));
        self.attributes(&verdict, &mut told);
        told.extend(self.left_out(interest));

        let scope = |why: Option<String>| why.map_or(Completeness::Complete, Completeness::Partial);
        self.builder.users_are(scope(verdict.users));
        self.builder.groups_are(scope(verdict.groups));
        if self.shape.file {
            self.builder.from_file();
        }
        for told in told {
            self.builder.tell(told);
        }
        self.builder.finish()
    }

    /// Says which SIDs there are, and by which of other domains groups list members. What is left of
    /// [`Group::foreign`] can be nobody's here.
    fn of_domains(
        &mut self,
        groups: &mut IndexVec<GroupIdx, Group>,
        numbers: &IndexVec<GroupIdx, Option<RefIdx>>,
    ) {
        let Assembler { shape, builder, principals, domain, .. } = self;
        builder.domain(domain.as_ref());
        for (group, number) in groups.iter_mut().zip(numbers) {
            // Of what there was no room for nothing is told: the groups are not complete then.
            let Some(number) = *number else { continue };
            builder.ref_is(number, group.rid);
            group.foreign.retain(|text| {
                // A foreign security principal may stand for a group.
                let norm = dn::normalized(text).ok().filter(|norm| shape.dialect.is_foreign(norm));
                let Some(norm) = norm.filter(|_| shape.nested) else { return true };
                let Some(sid) = principals.sid_of(&norm) else { return true };
                let principal = builder.reference(&NewRef {
                    kind: Kind::ForeignPrincipal,
                    key: &sid.to_string(),
                    name: "",
                    identity: text,
                    norm: &norm,
                });
                if let Some(principal) = principal {
                    builder.leads_to(principal, number);
                }
                false
            });
        }
    }

    /// Brings into `verdict` why these are not all users or groups, by what was read of them.
    fn weigh(&mut self, verdict: &mut Verdict, told: &mut Vec<Diagnostic>) {
        let (users, groups) = (self.users_doubt(), self.groups_doubt());
        if self.shape.file {
            let users = users.into_iter().chain(self.unnamed()).map(|why| ("users", why));
            let all = users.chain(groups.map(|why| ("groups", why)));
            told.extend(all.map(|(scope, why)| {
                Diagnostic::warning(DiagnosticCode::EntriesUnusable, Subject::scope(scope), why)
            }));
        } else {
            let unnamed = self.unnamed();
            self.builder.unnamed(unnamed);
            verdict.users = verdict.users.take().or(users);
            verdict.groups = verdict.groups.take().or(groups);
        }
        // A member who is nowhere to be found may be someone whom the searches passed by.
        let open_users = self.open(|shape, norm| shape.may_be_user(norm));
        let open_groups = self.open(|shape, norm| shape.may_be_group(norm));
        if !self.shape.file {
            const MOVING: &str = "members of groups changed their names while they were read, or \
                                  could not be looked up";
            if open_users {
                verdict.users.get_or_insert_with(|| MOVING.to_owned());
            }
            if open_groups {
                verdict.groups.get_or_insert_with(|| MOVING.to_owned());
            }
        }
        if let Some(canary) = &verdict.canary {
            verdict.users.get_or_insert_with(|| canary.clone());
            verdict.groups.get_or_insert_with(|| canary.clone());
        }
    }

    /// With `groups.from = "memberOf"`: puts everyone into the groups that their own entries name.
    fn join_by_word(
        &mut self,
        groups: &IndexVec<GroupIdx, Group>,
        numbers: &IndexVec<GroupIdx, Option<RefIdx>>,
    ) {
        if self.shape.from != MembersFrom::MemberOf {
            return;
        }
        let number_of = |assembler: &Self, dn: u32| *numbers.at(assembler.group_at.get(dn)?);
        for (user, group) in std::mem::take(&mut self.within) {
            if let Some(group) = number_of(self, group) {
                self.builder.member(group, user);
                self.somebody_says = true;
            }
        }
        for (group, number) in groups.iter().zip(numbers).filter(|_| self.shape.nested) {
            let Some(number) = *number else { continue };
            for dn in &group.within {
                if let Some(upper) = number_of(self, *dn) {
                    self.builder.leads_to(number, upper);
                }
            }
        }
    }

    /// With `groups.from = "memberOf"`: why it is not known who is in any group.
    fn unsaid(&self, verdict: &Verdict) -> Option<String> {
        if self.shape.from != MembersFrom::MemberOf {
            return None;
        }
        if let Some(why) = &verdict.users {
            return Some(why.clone());
        }
        (!self.somebody_says).then(|| {
            format!(
                "no user shows a `{MEMBER_OF}` of these groups, and hidden cannot be told from \
                 absent: {GRANT}, or switch on what keeps it (389-DS: the MemberOf plug-in)"
            )
        })
    }

    /// Tells of distribution groups that rules name.
    fn left_out(&self, interest: &dyn Interest) -> Vec<Diagnostic> {
        let named = self.left_out.iter().filter(|group| {
            let LeftOut { key, name, identity, norm } = group;
            interest.reaches(Kind::Group, key, name, identity, norm, &[name])
        });
        let mut named: Vec<&str> = named.map(|group| group.identity.as_str()).collect();
        named.sort_unstable();
        let tell = |identity: &&str| {
            let message = format!(
                "`{}` is a distribution group, which gives no rights in Active Directory: nobody \
                 has a role through it unless `groups.distribution = true`",
                identity.escape_debug()
            );
            let subject = Subject::reference(Kind::Group, identity);
            Diagnostic::warning(DiagnosticCode::DistributionGroup, subject, message)
        };
        named.iter().take(WARNED_GROUPS).map(tell).collect()
    }

    /// Whether some member is open that could be `ours`.
    fn open(&self, ours: impl Fn(&super::shape::Shape, &str) -> bool) -> bool {
        let mut members = self.groups.iter().flat_map(|group| &group.members);
        members.any(|id| self.is_open(*id) && ours(&self.shape, self.dns.text(*id)))
    }

    /// Puts users and nested groups into the group, and returns who is left.
    fn resolve(
        &mut self,
        group: &Group,
        number: RefIdx,
        numbers: &IndexVec<GroupIdx, Option<RefIdx>>,
    ) -> Lost {
        let mut lost = Lost::default();
        if let Primary::Of(number_of_it) = &group.primary {
            for user in self.of_primary.get(number_of_it).into_iter().flatten() {
                self.builder.member(number, *user);
            }
        }
        for id in &group.members {
            if let Some(user) = self.user_at.get(*id) {
                self.builder.member(number, user);
            } else if let Some(child) = self.group_at.get(*id) {
                if self.shape.nested
                    && let Some(child) = *numbers.at(child)
                {
                    self.builder.leads_to(child, number);
                }
            } else if self.left_out_dns.contains(id) {
                // A distribution group: no way leads through it.
            } else if self.shape.may_be_ours(self.dns.text(*id)) {
                lost.nobody.push(*id);
            } else {
                lost.outside.push(*id);
            }
        }
        for uid in &group.uids {
            match self.user_of_uid.get(*uid) {
                Some(_) if self.shared_uids.contains(uid) => lost.shared.push(*uid),
                Some(user) => self.builder.member(number, user),
                None => lost.unnamed.push(*uid),
            }
        }
        lost
    }

    /// Why not all members of a group that showed a list are known.
    fn unsure(&self, group: &Group, lost: &Lost, verdict: &Verdict) -> Option<String> {
        let name = group.identity.escape_debug();
        let unread = |text: &&String| {
            let norm = dn::normalized(text).ok();
            let is_unread =
                |norm: &str| self.shape.dialect.is_foreign(norm) && self.principals.is_unread(norm);
            self.shape.nested && norm.is_some_and(|norm| is_unread(&norm))
        };
        if let Some(member) = group.foreign.iter().find(unread) {
            return Some(format!(
                "group `{name}` lists `{}`, whose SID could not be read, so who that is is unknown",
                member.escape_debug()
            ));
        }
        // Not all users are known, so whoever was not found may be one of them: even below no base,
        // since a base with a slip in it is a reason why users are not known. So with groups.
        let may_be_group = |id: &u32| self.shape.may_be_group(self.dns.text(*id));
        if (verdict.users.is_some() && !lost.is_empty())
            || (verdict.groups.is_some() && lost.nobody.iter().any(may_be_group))
        {
            return Some(format!(
                "group `{name}` has members that are not among the users that could be read"
            ));
        }
        if self.is_dynamic(group) && !self.shape.file {
            let not_read = match () {
                () if verdict.users.is_some() => Some("users"),
                () if verdict.groups.is_some() && self.shape.nested => Some("groups"),
                () => None,
            };
            if let Some(what) = not_read {
                return Some(format!(
                    "group `{name}` may have members by its URL among {what} that were not read"
                ));
            }
        }
        let odd = self.users_without_primary.shown();
        let by = self.shape.dialect.primary;
        match group.primary {
            Primary::No => None,
            _ if self.shape.file => None,
            Primary::Hidden => Some(format!(
                "group `{name}` shows no readable `{}`, so its primary members are unknown: \
                 {GRANT}",
                primary::of_group(by)
            )),
            Primary::Of(_) if self.users_without_primary.count() > 0 => Some(format!(
                "group `{name}` may have primary members among {odd} without a readable \
                 `{}`: {GRANT}",
                primary::of_user(by)
            )),
            Primary::Of(_) => verdict.users.is_some().then(|| {
                format!("group `{name}` may have primary members among users that were not read")
            }),
        }
    }

    /// Why the lists of some groups (by place) are not all known.
    fn doubts(&self, groups: &IndexVec<GroupIdx, Group>) -> BTreeMap<GroupIdx, Doubted> {
        if self.shape.from == MembersFrom::MemberOf {
            // Their own lists are not read.
            return BTreeMap::new();
        }
        let schema = self.schema.as_ref().unwrap_or(Schema::common());
        let shown = groups.iter().map(|group| group.shown);
        let judge = Judge::new(shown, &self.classes, schema, &self.expanded, self.shape.file);
        let doubt = |(place, group): (GroupIdx, &Group)| {
            let doubt = judge.doubt(group.shown)?;
            let mut doubted = judge.doubted(&group.identity, doubt);
            if doubt == Doubt::Unread(EXPANDED)
                && let Err((url, why)) = self.places_of(group)
            {
                doubted.told = format!(
                    "group `{}` names members by the URL `{}`, which is not evaluated here ({why}): \
                     who is in it besides those listed is unknown",
                    group.identity.escape_debug(),
                    url.escape_debug()
                );
            }
            Some((place, doubted))
        };
        groups.numbered().filter_map(doubt).collect()
    }

    /// Those of the doubted groups that some rule can reach: themselves, or through a group that
    /// they are in.
    fn reached(
        &self,
        groups: &IndexVec<GroupIdx, Group>,
        doubts: &BTreeMap<GroupIdx, Doubted>,
        interest: &dyn Interest,
    ) -> HashSet<GroupIdx> {
        if doubts.is_empty() {
            return HashSet::new();
        }
        let mut above: HashMap<GroupIdx, Vec<GroupIdx>> = HashMap::new();
        for (place, group) in groups.numbered().filter(|_| self.shape.nested) {
            let inner = group.members.iter().filter_map(|id| self.group_at.get(*id));
            inner.for_each(|inner| above.entry(inner).or_default().push(place));
        }
        let reaches = |place: GroupIdx| {
            groups.get(place).is_some_and(|group| {
                let (name, norm) = (group.name.as_str(), self.dns.text(group.dn));
                let Group { key, identity, .. } = group;
                interest.reaches(Kind::Group, key, name, identity, norm, &[name])
            })
        };
        let leads = |start: GroupIdx| {
            let (mut seen, mut next) = (HashSet::from([start]), vec![start]);
            while let Some(place) = next.pop() {
                if reaches(place) {
                    return true;
                }
                let above = above.get(&place).into_iter().flatten();
                next.extend(above.copied().filter(|place| seen.insert(*place)));
            }
            false
        };
        doubts.keys().copied().filter(|place| leads(*place)).collect()
    }

    /// What there is to tell about members that lead to no user; nothing for placeholders alone.
    fn told(&self, group: &Group, lost: &Lost) -> Option<String> {
        let dns = |ids: &[u32]| -> Vec<String> {
            let texts = ids.iter().map(|id| self.dns.text(*id));
            texts.filter(|norm| !is_placeholder(norm)).map(str::to_owned).collect()
        };
        let uids = |ids: &[u32]| ids.iter().map(|id| self.uids.text(*id).to_owned()).collect();
        let parts: Vec<String> = [
            (dns(&lost.nobody), "lead to no user or group (gone, or left out by a filter)"),
            (dns(&lost.outside), "are outside the bases of users and groups"),
            (group.bad.clone(), "are not distinguished names"),
            (
                group.foreign.clone(),
                "are of another directory, or stand for no person, and are not read here",
            ),
            (uids(&lost.unnamed), "name no user"),
            (uids(&lost.shared), "name several users, so they give nothing"),
        ]
        .into_iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(mut names, what)| {
            names.sort();
            format!("{} member(s) {what}: {}", names.len(), some_of(&names, NAMED))
        })
        .collect();
        let name = group.identity.escape_debug();
        (!parts.is_empty()).then(|| format!("group `{name}`: {}", parts.join("; ")))
    }

    /// A reference for each attribute value that rules name.
    fn attributes(&mut self, verdict: &Verdict, told: &mut Vec<Diagnostic>) {
        let shape = self.shape.clone();
        let having = std::mem::take(&mut self.having);
        let nobody = self.builder.counts().0 == 0;
        for ((wanted, users), seen) in shape.wanted.iter().zip(having).zip(&self.seen) {
            let Some(number) = self.builder.reference(&NewRef {
                kind: Kind::Attribute,
                key: &wanted.identity,
                name: &wanted.value,
                identity: &wanted.identity,
                norm: &wanted.identity,
            }) else {
                continue;
            };
            for user in users {
                self.builder.member(number, user);
            }
            let unseen = (!seen && !nobody).then(|| {
                format!(
                    "no user shows an attribute `{}`, and hidden cannot be told from absent: \
                     check the name in the rules and what this identity may read",
                    wanted.attribute
                )
            });
            if let Some(why) = &verdict.users {
                self.builder.members_are(number, Completeness::Partial(why.clone()));
            } else if let Some(why) = unseen {
                if shape.file {
                    let subject = Subject::Attribute(wanted.attribute.clone());
                    let code = DiagnosticCode::AttributeUnseen;
                    told.push(Diagnostic::warning(code, subject, why));
                } else {
                    self.builder.members_are(number, Completeness::Partial(why));
                }
            }
        }
    }
}

/// Members of a group that led to no user and no group.
#[derive(Default)]
struct Lost {
    /// Below a base, but not there.
    nobody: Vec<u32>,
    /// Below no base.
    outside: Vec<u32>,
    /// Usernames that nobody has.
    unnamed: Vec<u32>,
    /// Usernames that several have.
    shared: Vec<u32>,
}

impl Lost {
    fn is_empty(&self) -> bool {
        let Lost { nobody, outside, unnamed, shared } = self;
        [nobody, outside, unnamed, shared].iter().all(|list| list.is_empty())
    }
}

/// Whether a DN (in normal form) is one that stands for nobody, such as `cn=nobody`.
fn is_placeholder(norm: &str) -> bool {
    let rdn = dn::first_rdn(norm);
    rdn.split_once('=').is_some_and(|(_, value)| PLACEHOLDERS.contains(&value))
}
