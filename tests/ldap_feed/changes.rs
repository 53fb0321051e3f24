//! Random changes to a directory: some fail, as they do in life.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::openldap::{self, SUFFIX};

const PEOPLE: usize = 14;
const GROUPS: usize = 6;

/// What everything begins with.
pub fn beginning(tree: String) -> String {
    let mut random = fastrand::Rng::with_seed(0);
    let people: String = (0..PEOPLE / 2).map(|n| person(n, &mut random)).collect();
    let sub = format!("dn: ou=a,ou=people,{SUFFIX}\nobjectClass: organizationalUnit\nou: a\n\n");
    // Shows everything that URLs test.
    let mark = openldap::person("mark", "title: mark\nemployeeType: staff\n");
    // Some groups stay as they are: what they show and by which URLs is known throughout.
    let by_url = |n: usize| [dynamic(n, n, ""), dynamic(n + URLS.len(), n, "")].concat();
    let by_url: String = (0..URLS.len()).map(by_url).collect();
    let [one, other, third] = [group(0, "p0"), group(1, "p1"), posix(0, "p2")];
    [tree, sub, people, mark, one, other, third, posix(9, "mark"), by_url].concat()
}

/// By which entries groups may mean: those with a title, all but some, in a place, and groups.
const URLS: [&str; 4] = [
    "ou=people,dc=example,dc=org??sub?(title=lead)",
    "ou=people,dc=example,dc=org??sub?(&(!(title=lead))(employeeType=staff))",
    "ou=a,ou=people,dc=example,dc=org??one?(objectClass=person)",
    "dc=example,dc=org??sub?(cn=*1)",
];

fn dynamic(n: usize, url: usize, rest: &str) -> String {
    format!(
        "dn: cn=d{n},ou=groups,{SUFFIX}\nobjectClass: groupOfURLs\n{rest}cn: d{n}\n\
         memberURL: ldap:///{}\n\n",
        URLS[url]
    )
}

fn person(n: usize, random: &mut fastrand::Rng) -> String {
    let department = if random.bool() { "departmentNumber: research\n" } else { "" };
    format!(
        "dn: uid=p{n},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\nobjectClass: shadowAccount\n\
         uid: p{n}\ncn: p{n}\nsn: p{n}\nmail: p{n}@example.org\n{department}\n"
    )
}

fn group(n: usize, member: &str) -> String {
    format!(
        "dn: cn=g{n},ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: g{n}\n\
         member: uid={member},ou=people,{SUFFIX}\n\n"
    )
}

fn posix(n: usize, member: &str) -> String {
    format!(
        "dn: cn=x{n},ou=groups,{SUFFIX}\nobjectClass: posixGroup\ncn: x{n}\ngidNumber: {n}\n\
         memberUid: {member}\n\n"
    )
}

/// One change, sometimes two that belong together.
pub fn some(random: &mut fastrand::Rng) -> String {
    let at = |n: usize, random: &mut fastrand::Rng| match random.u8(0..8) {
        0 => format!("uid=p{n},ou=a,ou=people,{SUFFIX}"),
        1 => format!("uid=p{n},ou=services,{SUFFIX}"),
        _ => format!("uid=p{n},ou=people,{SUFFIX}"),
    };
    let (n, m) = (random.usize(0..PEOPLE), random.usize(0..PEOPLE));
    let who = at(n, random);
    let (g, h) = (random.usize(0..GROUPS), random.usize(0..GROUPS));
    let its = format!("cn=g{g},ou=groups,{SUFFIX}");
    let member = match random.u8(0..5) {
        0 => format!("cn=g{h},ou=groups,{SUFFIX}"),
        _ => at(m, random),
    };
    let add = |entry: String| entry.replacen('\n', "\nchangetype: add\n", 1);
    let modify = |dn: &str, lines: String| format!("dn: {dn}\nchangetype: modify\n{lines}\n");
    let delete = |dn: &str| format!("dn: {dn}\nchangetype: delete\n\n");
    let rename = |dn: &str, rdn: String| {
        format!("dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n\n")
    };
    match random.u8(0..26) {
        0 | 1 => add(person(n, random)),
        2 => delete(&who),
        3 => [delete(&format!("uid=p{n},ou=people,{SUFFIX}")), add(person(n, random))].concat(),
        4 | 5 => rename(&who, format!("uid=p{m}")),
        6 => {
            let to = ["ou=people", "ou=a,ou=people", "ou=services"][random.usize(0..3)];
            format!(
                "dn: {who}\nchangetype: modrdn\nnewrdn: uid=p{n}\ndeleteoldrdn: 1\n\
                 newsuperior: {to},{SUFFIX}\n\n"
            )
        }
        7 => modify(&who, format!("replace: mail\nmail: {}@example.org\n", random.u8(0..9))),
        8 => {
            let value = if random.bool() { "research" } else { "sales" };
            modify(&who, format!("replace: departmentNumber\ndepartmentNumber: {value}\n"))
        }
        9 => modify(&who, format!("replace: shadowExpire\nshadowExpire: {}\n", random.u8(0..2))),
        10 => {
            let value = if random.bool() { "external" } else { "staff" };
            modify(&who, format!("replace: employeeType\nemployeeType: {value}\n"))
        }
        11 => add(group(g, &format!("p{m}"))),
        12 => delete(&its),
        13 => rename(&its, format!("cn=g{h}")),
        14 => [delete(&its), add(group(g, &format!("p{m}")))].concat(),
        15 | 16 => modify(&its, format!("add: member\nmember: {member}\n")),
        17 => modify(&its, format!("delete: member\nmember: {member}\n")),
        18 => modify(&its, format!("replace: member\nmember: {member}\n")),
        19 | 20 => {
            let title = if random.bool() { "lead" } else { "other" };
            modify(&who, format!("replace: title\ntitle: {title}\n"))
        }
        21 => modify(&who, "delete: title\n".to_owned()),
        22..=24 => of_a_url(&member, random),
        _ => {
            let its = format!("cn=x{},ou=groups,{SUFFIX}", random.u8(0..2));
            match random.u8(0..3) {
                0 => add(posix(0, &format!("p{m}"))),
                1 => modify(&its, format!("add: memberUid\nmemberUid: p{m}\n")),
                _ => modify(&its, format!("delete: memberUid\nmemberUid: p{m}\n")),
            }
        }
    }
}

/// One change of a group that names members by URL.
fn of_a_url(member: &str, random: &mut fastrand::Rng) -> String {
    use crate::kit::{add, change, delete, rename};
    let its = format!("cn=d{},ou=groups,{SUFFIX}", random.usize(0..URLS.len()));
    let (n, url) = (random.usize(0..URLS.len()), random.usize(0..URLS.len()));
    match random.u8(0..9) {
        0 => delete(&its),
        1 => rename(&its, &format!("cn=d{n}")),
        2 | 3 => {
            let url = URLS[url];
            change(&its, &format!("replace: memberURL\nmemberURL: ldap:///{url}\n"))
        }
        4 => change(&its, &format!("add: member\nmember: {member}\n")),
        5 => change(&its, &format!("delete: member\nmember: {member}\n")),
        6 => add(&dynamic(n, url, "")),
        _ => add(&dynamic(n, url, &format!("objectClass: extensibleObject\nmember: {member}\n"))),
    }
}

/// Applies changes; what fails fails.
pub fn attempt(url: &str, dn: &str, password: &str, changes: &str) {
    let mut child = Command::new("ldapmodify")
        .args(["-c", "-x", "-H", url, "-D", dn, "-w", password])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ldapmodify");
    child.stdin.take().expect("stdin").write_all(changes.as_bytes()).expect("changes");
    child.wait().expect("ldapmodify");
}
