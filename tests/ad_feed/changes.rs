//! Random changes to a domain: some fail, as they do in life.

use crate::kit::{add, change, delete, rename};
use crate::support::samba::Samba;
use crate::{group, moved, person, place};

const PEOPLE: usize = 14;
const GROUPS: usize = 6;

/// What everything begins with, beside [`crate::company`].
pub fn beginning() -> String {
    let people: String = (0..PEOPLE / 2).map(|n| person(&format!("p{n}"), "")).collect();
    [people, group("g0", &["p0"]), group("g1", &["p1"])].concat()
}

/// Where somebody may be.
fn at(name: &str, random: &mut fastrand::Rng) -> String {
    match random.u8(0..10) {
        0 => format!("CN={name},OU=a,OU=c,SUFFIX"),
        1 => format!("CN={name},OU=out,SUFFIX"),
        _ => place(name),
    }
}

/// One change, sometimes two that belong together.
pub fn some(random: &mut fastrand::Rng) -> String {
    let name = |random: &mut fastrand::Rng| format!("p{}", random.usize(0..PEOPLE));
    let (it, other) = (name(random), name(random));
    let who = at(&it, random);
    let (g, h) = (random.usize(0..GROUPS), random.usize(0..GROUPS));
    let its = place(&format!("g{g}"));
    let member = match random.u8(0..5) {
        0 => place(&format!("g{h}")),
        _ => at(&other, random),
    };
    let set = |name: &str, value: &str| format!("replace: {name}\n{name}: {value}\n");
    let either = |random: &mut fastrand::Rng, one: &'static str, two: &'static str| {
        if random.bool() { one } else { two }
    };
    match random.u8(0..21) {
        0 | 1 => add(&person(&it, "mail: x@example.org\n")),
        2 => delete(&who),
        3 => [delete(&place(&it)), add(&person(&it, ""))].concat(),
        4 => rename(&who, &format!("CN={other}")),
        5 => change(&who, &set("sAMAccountName", &other)),
        6 | 7 => {
            let to = ["OU=c,SUFFIX", "OU=a,OU=c,SUFFIX", "OU=out,SUFFIX"][random.usize(0..3)];
            moved(&who, &format!("CN={it}"), to)
        }
        8 => change(&who, &set("mail", &format!("{}@example.org", random.u8(0..9)))),
        9 => change(&who, &set("departmentNumber", either(random, "research", "sales"))),
        10 => change(&who, &set("userAccountControl", either(random, "544", "546"))),
        11 => change(&who, &set("accountExpires", either(random, "1", "0"))),
        12 => change(&who, &set("employeeType", either(random, "external", "staff"))),
        13 => add(&group(&format!("g{g}"), &[&other])),
        14 => delete(&its),
        15 => [delete(&its), add(&group(&format!("g{g}"), &[&other]))].concat(),
        16 => rename(&its, &format!("CN=g{h}")),
        17 => change(&its, &set("groupType", either(random, "-2147483646", "2"))),
        18 | 19 => change(&its, &format!("add: member\nmember: {member}\n")),
        _ => change(&its, &format!("delete: member\nmember: {member}\n")),
    }
}

/// Another primary group for somebody: one of ours, or everybody's.
pub fn primary(dc: &Samba, random: &mut fastrand::Rng) {
    let name = format!("g{}", random.usize(0..GROUPS));
    let who = place(&format!("p{}", random.usize(0..PEOPLE)));
    let told = dc.search(&[&format!("(sAMAccountName={name})"), "primaryGroupToken"]);
    let token = |told: &str| {
        told.lines().find_map(|line| line.strip_prefix("primaryGroupToken: ").map(str::to_owned))
    };
    let Some(token) = token(&told).filter(|_| random.bool()) else {
        dc.attempt(&change(&who, "replace: primaryGroupID\nprimaryGroupID: 513\n"));
        return;
    };
    let join = change(&place(&name), &format!("add: member\nmember: {who}\n"));
    let set = change(&who, &format!("replace: primaryGroupID\nprimaryGroupID: {token}\n"));
    dc.attempt(&[join, set].concat());
}
