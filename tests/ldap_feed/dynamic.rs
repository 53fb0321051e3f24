//! Groups that name members by URL, of which no server tells who comes to be in one or leaves it.

use std::collections::BTreeSet;

use idpsyncd::source::feed::WhyFull;
use idpsyncd::source::ldap::LdapConfig;

use crate::kit::{World, add, change, delete, facts, is_in, rename};
use crate::support::openldap::{OpenLdap, SUFFIX, group, group_dn, person, person_dn, tree};
use crate::support::{ds389, ldap};
use crate::{REFINT, SYNCPROV};

/// OpenLDAP's own classes for such groups.
pub const CLASSES: &str = "#global include /etc/ldap/schema/dyngroup.schema\n";
/// The server puts members in the place of URLs.
const DYNLIST: &str = "moduleload dynlist\noverlay dynlist\n\
                       dynlist-attrset groupOfURLs memberURL member\n";

/// Which groups are read: such groups as well.
pub const GROUPS: &str =
    "(|(objectClass=groupOfNames)(objectClass=posixGroup)(objectClass=groupOfURLs))";

/// A group whose members are those below `base` that `filter` matches. `rest` are further lines.
pub fn by_url(cn: &str, base: &str, filter: &str, rest: &str) -> String {
    format!(
        "dn: {}\nobjectClass: groupOfURLs\n{rest}cn: {cn}\nmemberURL: ldap:///{base}??sub?{filter}\n\n",
        group_dn(cn)
    )
}

fn people() -> String {
    format!("ou=people,{SUFFIX}")
}

/// Somebody of whom nothing is looked at but that every attribute is shown.
fn shown() -> String {
    person(
        "shown",
        "title: other\nemployeeType: other\ndescription: other\ndepartmentNumber: research\n",
    )
}

fn company() -> String {
    [
        format!("dn: ou=far,{}\nobjectClass: organizationalUnit\nou: far\n\n", people()),
        shown(),
        person("alice", "title: helpdesk\n"),
        person("bob", ""),
        by_url("desk", &people(), "(title=helpdesk)", ""),
        by_url("near", &people(), "(&(objectClass=person)(!(employeeType=external)))", ""),
        by_url("far", &format!("ou=far,{}", people()), "(objectClass=person)", ""),
        by_url("groups", &format!("ou=groups,{SUFFIX}"), "(description=meant)", ""),
        by_url(
            "mixed",
            &people(),
            "(title=helpdesk)",
            &format!("objectClass: extensibleObject\nmember: {}\n", person_dn("bob")),
        ),
        group("plain", &[person_dn("alice")]),
    ]
    .concat()
}

fn with_dynamic(mut config: LdapConfig) -> LdapConfig {
    config.groups.as_mut().unwrap().filter = GROUPS.to_owned();
    config
}

fn title(who: &str, title: &str) -> String {
    change(&person_dn(who), &format!("replace: title\ntitle: {title}\n"))
}

type Seen = Box<dyn Fn(&BTreeSet<String>) -> bool>;

fn be_in(group: &'static str, who: &'static str) -> Seen {
    Box::new(move |facts| is_in(facts, &group_dn(group), who))
}

fn not_be_in(group: &'static str, who: &'static str) -> Seen {
    Box::new(move |facts| !is_in(facts, &group_dn(group), who))
}

/// What is told one by one, in this order.
fn steps() -> Vec<(&'static str, String, Seen)> {
    let to = |name: &str, base: &str| {
        format!(
            "dn: {name}\nchangetype: modrdn\nnewrdn: uid=shown\ndeleteoldrdn: 1\nnewsuperior: {base}\n\n"
        )
    };
    let far = format!("ou=far,{}", people());
    let mixed = |lines: String| change(&group_dn("mixed"), &lines);
    vec![
        ("an attribute by which she leaves", title("alice", "lead"), not_be_in("desk", "alice")),
        ("and comes back", title("alice", "HELPDESK"), be_in("desk", "alice")),
        (
            "an attribute that is gone",
            change(&person_dn("alice"), "delete: title\n"),
            not_be_in("desk", "alice"),
        ),
        (
            "a filter with a negation",
            change(&person_dn("bob"), "add: employeeType\nemployeeType: external\n"),
            not_be_in("near", "bob"),
        ),
        ("and back", change(&person_dn("bob"), "delete: employeeType\n"), be_in("near", "bob")),
        ("he is listed beside", title("bob", "helpdesk"), be_in("desk", "bob")),
        ("and is still listed", title("bob", "lead"), not_be_in("desk", "bob")),
        (
            "a list beside the URL",
            mixed(format!("add: member\nmember: {}\n", person_dn("alice"))),
            be_in("mixed", "alice"),
        ),
        (
            "no longer listed",
            mixed(format!("delete: member\nmember: {}\n", person_dn("alice"))),
            not_be_in("mixed", "alice"),
        ),
        ("moved to where a URL means her", to(&person_dn("shown"), &far), be_in("far", "shown")),
        ("moved away", to(&format!("uid=shown,{far}"), &people()), not_be_in("far", "shown")),
        ("somebody new", add(&person("carol", "title: helpdesk\n")), be_in("desk", "carol")),
        ("renamed", rename(&person_dn("carol"), "uid=caroline"), be_in("desk", "caroline")),
        (
            "a group that is meant",
            change(&group_dn("plain"), "add: description\ndescription: meant\n"),
            Box::new(|facts| {
                facts.iter().any(|it| it.contains("cn=plain,") && it.contains(" in cn=groups,"))
            }),
        ),
        (
            "and no longer",
            change(&group_dn("plain"), "delete: description\n"),
            Box::new(|facts| !facts.iter().any(|it| it.contains(" in cn=groups,"))),
        ),
        (
            "a URL that another has as well",
            change(
                &group_dn("far"),
                &format!(
                    "replace: memberURL\nmemberURL: ldap:///{}??sub?(title=helpdesk)\n",
                    people()
                ),
            ),
            be_in("far", "caroline"),
        ),
        ("somebody deleted", delete(&person_dn("caroline")), not_be_in("desk", "caroline")),
        ("a group deleted", delete(&group_dn("near")), not_be_in("near", "bob")),
    ]
}

fn each_is_told(mut world: World, modify: &dyn Fn(&str)) {
    world.settle();
    world.assert_no_drift();
    for (what, changes, done) in steps() {
        modify(&changes);
        world.until(what, done);
        if what.starts_with("and is still") {
            assert!(world.is_in(&group_dn("mixed"), "bob"), "the list says so");
        }
        world.settle();
        world.assert_no_drift();
        assert_eq!(world.reads, [], "{what}");
    }
    // A URL that nobody knew is evaluated by a full read, at once.
    modify(&add(&by_url("new", &people(), "(employeeType=intern)", "")));
    modify(&change(&person_dn("bob"), "add: employeeType\nemployeeType: intern\n"));
    world.until("read in full", be_in("new", "bob"));
    world.settle();
    world.assert_no_drift();
    assert!(
        matches!(world.reads.as_slice(), [WhyFull::Other(why)] if why.contains("URL")),
        "{:?}",
        world.reads
    );
    modify(&change(&person_dn("bob"), "delete: employeeType\n"));
    world.until("told from then on", not_be_in("new", "bob"));
    assert_eq!(world.reads.len(), 1);
    // What happened while nobody followed is told as well.
    world.following = None;
    modify(&[title("bob", "helpdesk"), title("shown", "helpdesk")].concat());
    world.restart();
    world.until("told", |facts| {
        ["bob", "shown"].iter().all(|who| is_in(facts, &group_dn("desk"), who))
    });
    modify(&[title("bob", "other"), title("shown", "other")].concat());
    world.until("and back", not_be_in("desk", "shown"));
    world.settle();
    world.assert_no_drift();
}

#[test]
fn who_comes_to_be_in_a_group_by_url_or_leaves_it_is_told_by_openldap() {
    for more in [String::new(), REFINT.to_owned()] {
        let conf = format!("{CLASSES}{SYNCPROV}{more}");
        let Some(server) = OpenLdap::start(&(tree() + &company()), &conf) else { return };
        each_is_told(World::new(with_dynamic(ldap::reader(&server))), &|changes| {
            server.modify(changes)
        });
    }
}

#[test]
fn who_comes_to_be_in_a_group_by_url_or_leaves_it_is_told_by_389_ds() {
    let Some(server) = ds389::Ds389::start(&(ds389::tree() + &company())) else { return };
    each_is_told(World::new(with_dynamic(crate::ds389::reader(&server))), &|changes| {
        server.modify(changes)
    });
}

#[test]
fn where_the_server_puts_members_in_its_list_is_read_again() {
    let conf = format!("{CLASSES}{SYNCPROV}{DYNLIST}");
    let Some(server) = OpenLdap::start(&(tree() + &company()), &conf) else { return };
    let mut world = World::new(with_dynamic(ldap::reader(&server)));
    world.settle();
    world.assert_no_drift();
    for (what, changes, done) in steps().into_iter().take(7) {
        server.modify(&changes);
        world.until(what, done);
    }
    server.modify(&add(&person("carol", "title: helpdesk\n")));
    world.until("somebody new", be_in("desk", "carol"));
    server.modify(&rename(&person_dn("carol"), "uid=caroline"));
    world.until("renamed", be_in("desk", "caroline"));
    world.settle();
    assert!(world.is_in(&group_dn("desk"), "caroline"));
    assert_eq!(world.reads, []);
}

/// Hidden is not absent: whoever does not show an attribute that nobody shows any more stays.
#[test]
fn who_hides_what_a_url_tests_neither_leaves_nor_comes() {
    let (may, reader) =
        (format!("cn=may,ou=services,{SUFFIX}"), format!("cn=reader,ou=services,{SUFFIX}"));
    let ldif = [
        tree(),
        format!("dn: {may}\nobjectClass: groupOfNames\ncn: may\nmember: {reader}\n\n"),
        person("alice", "title: helpdesk\n"),
        person("bob", "title: other\ndepartmentNumber: research\n"),
        by_url("desk", &people(), "(title=helpdesk)", ""),
        by_url("others", &people(), "(!(title=helpdesk))", ""),
    ];
    let conf = format!(
        "{CLASSES}{SYNCPROV}access to attrs=title by group.exact=\"{may}\" read by * none\n\
         access to * by * read\n"
    );
    let Some(server) = OpenLdap::start(&ldif.concat(), &conf) else { return };
    let mut world = World::new(with_dynamic(ldap::reader(&server)));
    world.settle();
    world.assert_no_drift();
    server.modify(&change(&may, "replace: member\nmember: cn=nobody\n"));
    let touch = |n: u32| {
        let mails = ["alice", "bob"]
            .map(|who| change(&person_dn(who), &format!("replace: mail\nmail: {n}@example.org\n")));
        server.modify(&mails.concat());
    };
    touch(1);
    let seen = |facts: &BTreeSet<String>| {
        facts.iter().filter(|it| it.contains(" 1@example.org ")).count() == 2
    };
    world.until("told", seen);
    server.modify(&change(&group_dn("desk"), "add: description\ndescription: x\n"));
    world.settle();
    assert!(world.is_in(&group_dn("desk"), "alice") && !world.is_in(&group_dn("desk"), "bob"));
    assert!(world.is_in(&group_dn("others"), "bob") && !world.is_in(&group_dn("others"), "alice"));
    let never = |it: &_| is_in(&facts(it), &group_dn("others"), "alice");
    assert!(!world.seen.iter().any(never), "not for a moment");
    assert_eq!(world.reads, []);
}

/// How many entries the server has sent so far, to anybody.
fn sent(server: &OpenLdap) -> u64 {
    let count = ["-b", "cn=Entries,cn=Statistics,cn=Monitor", "-s", "base", "monitorCounter"];
    let told = server.search(&count);
    told.lines().find_map(|line| line.strip_prefix("monitorCounter: ")?.parse().ok()).unwrap()
}

/// Neither more people nor more members make it dearer that one comes or leaves.
#[test]
fn who_leaves_a_group_by_url_costs_nothing_by_how_many_are_in_it() {
    let costs = [20, 400].map(|count| {
        let members: String =
            (0..count).map(|n| person(&format!("p{n}"), "title: helpdesk\n")).collect();
        let ldif = [
            tree(),
            shown(),
            members,
            by_url("desk", &people(), "(title=helpdesk)", ""),
            by_url("all", &people(), "(!(title=lead))", ""),
        ];
        let conf = format!(
            "{CLASSES}#global moduleload back_monitor\n#global database monitor\n{SYNCPROV}"
        );
        let server = OpenLdap::start(&ldif.concat(), &conf)?;
        let mut world = World::new(with_dynamic(ldap::reader(&server)));
        world.settle();
        let before = sent(&server);
        server.modify(&title("p7", "lead"));
        world.until("left", |facts| {
            ["desk", "all"].iter().all(|it| !is_in(facts, &group_dn(it), "p7"))
        });
        server.modify(&add(&person("newcomer", "title: helpdesk\n")));
        world.until("came", |facts| {
            ["desk", "all"].iter().all(|it| is_in(facts, &group_dn(it), "newcomer"))
        });
        world.settle();
        let cost = sent(&server) - before;
        world.assert_no_drift();
        assert_eq!(world.reads, []);
        Some(cost)
    });
    let [Some(few), Some(many)] = costs else { return };
    println!("{few} entries among 20 people, {many} among 400");
    assert!(many <= few + 5 && many < 40, "{few} entries among 20 people, {many} among 400");
}
