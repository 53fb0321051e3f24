//! The benches' generators: a bench that measures the wrong company measures nothing.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::skip;

/// What a generator in `bench/` prints; nothing where python3 is missing.
fn generated(test: &str, script: &str, arguments: &[&str]) -> Option<String> {
    if !skip::has("python3") {
        skip::skip(test, "no python3");
        return None;
    }
    let output = Command::new("python3")
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_ldif_has_the_numbers_that_were_asked_for_and_no_member_twice() {
    let arguments = ["--users", "1000", "--groups", "400", "--memberships", "7300"];
    let name = "the_ldif_has_the_numbers_that_were_asked_for_and_no_member_twice";
    let Some(ldif) = generated(name, "bench/gen_ldif.py", &arguments) else {
        return;
    };
    let mut people = BTreeSet::new();
    let mut groups = 0;
    let mut memberships = BTreeSet::new();
    for entry in ldif.split("\n\n").filter(|entry| !entry.is_empty()) {
        let dn = entry.lines().next().unwrap().strip_prefix("dn: ").unwrap();
        if entry.contains("\nobjectClass: inetOrgPerson\n") {
            assert!(people.insert(dn), "{dn} twice");
        }
        if entry.contains("\nobjectClass: groupOfNames\n") {
            groups += 1;
            let members = entry.lines().filter_map(|line| line.strip_prefix("member: "));
            for member in members {
                assert!(people.contains(member), "{member} is nobody");
                assert!(memberships.insert((dn, member)), "{member} twice in a group");
            }
        }
    }
    assert_eq!((people.len(), groups, memberships.len()), (1000, 400, 7300));
    assert_eq!(generated(name, "bench/gen_ldif.py", &arguments).unwrap(), ldif);
}

#[test]
fn a_company_that_has_moved_has_the_same_people_and_so_many_other_memberships() {
    let name = "a_company_that_has_moved_has_the_same_people_and_so_many_other_memberships";
    let arguments = ["--users", "1000", "--groups", "400", "--memberships", "20000"];
    let moved = [&arguments[..], &["--moved", "10"]].concat();
    let Some(before) = generated(name, "bench/gen_ldif.py", &arguments) else { return };
    let Some(after) = generated(name, "bench/gen_ldif.py", &moved) else { return };
    let memberships = |ldif: &str| -> BTreeSet<String> {
        let entries = ldif.split("\n\n").filter(|entry| entry.contains("groupOfNames"));
        let pairs = entries.flat_map(|entry| {
            let group = entry.lines().next().unwrap();
            let members = entry.lines().filter(|line| line.starts_with("member: "));
            members.map(move |line| format!("{group} {line}")).collect::<Vec<_>>()
        });
        pairs.collect()
    };
    let (old, new) = (memberships(&before), memberships(&after));
    assert_eq!((old.len(), new.len()), (20_000, 20_000));
    let left = old.difference(&new).count();
    assert!((1_600..=2_000).contains(&left), "about a tenth, rounded down in each group: {left}");
    let people = |ldif: &str| ldif.matches("objectClass: inetOrgPerson").count();
    assert_eq!(people(&before), people(&after));
}

#[test]
fn the_realm_has_the_numbers_that_were_asked_for_and_no_membership_twice() {
    let arguments = ["--users", "500", "--groups", "80", "--memberships", "1501"];
    let name = "the_realm_has_the_numbers_that_were_asked_for_and_no_membership_twice";
    let Some(text) = generated(name, "bench/gen_realm.py", &arguments) else {
        return;
    };
    let realm: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut paths = BTreeSet::new();
    for unit in realm["groups"].as_array().unwrap() {
        paths.insert(unit["path"].as_str().unwrap());
        for team in unit["subGroups"].as_array().unwrap() {
            paths.insert(team["path"].as_str().unwrap());
        }
    }
    let mut people = 0;
    let mut memberships = BTreeSet::new();
    for user in realm["users"].as_array().unwrap() {
        let Some(groups) = user.get("groups").and_then(|groups| groups.as_array()) else {
            continue; // the service account
        };
        people += 1;
        for group in groups {
            let (user, group) = (user["username"].as_str().unwrap(), group.as_str().unwrap());
            assert!(paths.contains(group), "{group} is no group");
            assert!(memberships.insert((user, group)), "{user} twice in {group}");
        }
    }
    assert_eq!((people, paths.len(), memberships.len()), (500, 80, 1501));
    assert_eq!(generated(name, "bench/gen_realm.py", &arguments).unwrap(), text);
}

#[test]
fn only_what_is_built_for_release_has_its_paths_replaced() {
    let called = |args: &[&str]| {
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo/rustc"))
            .arg("echo")
            .args(args)
            .env("CARGO_HOME", "/somewhere/cargo")
            .env("OUT_DIR", "/somewhere/out")
            .current_dir("/")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    assert_eq!(
        called(&["--crate-name", "x", "-C", "debuginfo=2"]),
        "--crate-name x -C debuginfo=2"
    );
    assert_eq!(
        called(&["-C", "opt-level=3"]),
        "-C opt-level=3 --remap-path-prefix=/=. \
         --remap-path-prefix=/somewhere/cargo/registry/src=crates \
         --remap-path-prefix=/somewhere/out=out"
    );
}
