//! The benches' generators: a bench that measures the wrong company measures nothing.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::skip;

/// What a generator in `bench/` prints; nothing where python3 is missing.
fn generated(test: &str, script: &str, arguments: &[&str]) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    python(test, &[&[script.to_str().unwrap()], arguments].concat())
}

/// What `code`, which imports modules of `bench/`, prints; nothing where python3 is missing.
fn told(test: &str, code: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
    let path = format!("import sys; sys.path.insert(0, {:?})\n", folder.to_str().unwrap());
    python(test, &["-c", &(path + code)])
}

fn python(test: &str, arguments: &[&str]) -> Option<String> {
    if !skip::has("python3") {
        skip::skip(test, "no python3");
        return None;
    }
    let output = Command::new("python3").arg("-B").args(arguments).output().unwrap();
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
fn a_company_of_active_directory_has_the_same_people_in_the_same_groups() {
    let name = "a_company_of_active_directory_has_the_same_people_in_the_same_groups";
    let arguments = ["--users", "100", "--groups", "40", "--memberships", "730", "--huge", "60"];
    let with_ad = [&arguments[..], &["--ad"]].concat();
    let Some(plain) = generated(name, "bench/gen_ldif.py", &arguments) else { return };
    let Some(ad) = generated(name, "bench/gen_ldif.py", &with_ad) else { return };
    // The first part of a DN says who it is in both.
    let first = |dn: &str| dn.split(',').next().unwrap().split('=').nth(1).unwrap().to_owned();
    let rows = |ldif: &str| -> BTreeSet<String> {
        let entries = ldif.split("\n\n").filter(|entry| !entry.contains("organizational"));
        let rows = entries.flat_map(|entry| {
            let dn = entry.lines().next().unwrap_or_default();
            let members = entry.lines().filter_map(|line| line.strip_prefix("member: "));
            let members = members.map(|member| format!("{} in {}", first(member), first(dn)));
            members.chain(entry.contains("\nmail: ").then(|| first(dn))).collect::<Vec<_>>()
        });
        rows.collect()
    };
    assert_eq!(rows(&plain).len(), 100 + 730 + 60);
    assert_eq!(rows(&ad), rows(&plain));
    assert_eq!(rows(&plain).iter().filter(|row| row.ends_with(" in huge")).count(), 60);
}

#[test]
fn a_realm_that_is_followed_keeps_its_events_and_lets_the_reader_see_them() {
    let name = "a_realm_that_is_followed_keeps_its_events_and_lets_the_reader_see_them";
    let size = ["--users", "50", "--groups", "20", "--memberships", "50"];
    for (more, kept) in [(&[][..], false), (&["--events"][..], true)] {
        let arguments = [&size[..], more].concat();
        let Some(text) = generated(name, "bench/gen_realm.py", &arguments) else { return };
        let realm: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(realm["adminEventsEnabled"] == true, kept);
        let reader = realm["users"].as_array().unwrap().last().unwrap();
        let rights = reader["clientRoles"]["realm-management"].as_array().unwrap();
        assert_eq!(rights.iter().any(|right| right == "view-events"), kept);
    }
}

#[test]
fn who_is_changed_at_a_server_holds_the_role_in_one_way_and_is_changed_once() {
    let name = "who_is_changed_at_a_server_holds_the_role_in_one_way_and_is_changed_once";
    let code = "\
import argparse, followed, gen_ldif
class Recorder:
    def __init__(self): self.calls = []
    def modify(self, *what): self.calls.append(what)
    def delete(self, *what): self.calls.append(what)
parser = argparse.ArgumentParser(); followed.arguments(parser)
for kind in ('openldap', '389ds', 'ad'):
    a = parser.parse_args(['--server', kind, '--users', '1000', '--groups', '200', '--memberships',
                           '20000', '--huge', '500', '--scratch', '/nowhere', '--binary', 'none'])
    server, recorder = followed.server(a, 20), Recorder()
    server.connect = lambda: recorder
    kinds = server.prepare(10)
    users = [change.user for changes in kinds.values() for change in changes]
    huge = [change.user for change in server.prepare_huge(10)]
    assert [len(changes) for changes in kinds.values()] == [10, 10, 10], kinds
    assert len(set(users + huge)) == 40
    members = set(map(gen_ldif.uid, server.members))
    assert members.issuperset(users) and members.isdisjoint(huge)
    assert all(int(user[1:]) >= 500 for user in users) and all(int(user[1:]) < 500 for user in huge)
    for changes in kinds.values():
        for change in changes: change.apply()
    assert [change.user in str(call) for change, call in zip(sum(kinds.values(), []), recorder.calls)] \
        == [True] * 30
print('well')
";
    let Some(said) = told(name, code) else { return };
    assert_eq!(said, "well\n");
}

#[test]
fn a_company_that_is_too_small_for_its_changes_is_said_to_be() {
    let name = "a_company_that_is_too_small_for_its_changes_is_said_to_be";
    let code = "\
import argparse, followed, gen_ldif, io
def said(what):
    try: what()
    except SystemExit as error: return str(error)
    raise AssertionError('nothing was said')
def refused(text):
    try: followed.positive(text)
    except argparse.ArgumentTypeError as error: return str(error)
parser = argparse.ArgumentParser(); followed.arguments(parser)
def server(huge):
    a = parser.parse_args(['--server', 'openldap', '--users', '1000', '--groups', '200', '--memberships',
                           '20000', '--huge', huge, '--scratch', '/nowhere', '--binary', 'none'])
    it = followed.server(a, 20)
    it.connect = lambda: None
    return it
print(said(lambda: server('500').prepare(40)))
print(said(lambda: server('100').prepare_huge(100)))
print(said(lambda: gen_ldif.write(io.StringIO(), gen_ldif.Plain(), 10, 1, 2, huge=11)))
print(refused('0'), followed.positive('1'))
";
    let Some(said) = told(name, code) else { return };
    let expected = [
        "too many changes for a company of this size: 40 people are wanted who are in the group `team-0020` and not in the huge one, 11 are left",
        "too many changes for a company of this size: 100 people are wanted who are in the huge group and not in `team-0020`, 90 are left",
        "these numbers do not go together: 11 of 10 people in one group",
        "at least one change is wanted 1",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_change_at_a_directory_is_encoded_as_the_standard_says_and_a_refusal_ends_the_bench() {
    let name =
        "a_change_at_a_directory_is_encoded_as_the_standard_says_and_a_refusal_ends_the_bench";
    let code = "\
import ldap_client as it, socket, threading
asked = []
def serve(listener):
    client, _ = listener.accept()
    for answer in ('300c02010161070a010004000400', '300c02010267070a010004000400',
                   '301002010367 0b0a01320400040473616964'.replace(' ', '')):
        asked.append(client.recv(1 << 16).hex())
        client.sendall(bytes.fromhex(answer))
listener = socket.create_server(('127.0.0.1', 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
connection = it.Connection('127.0.0.1', listener.getsockname()[1], 'cn=a', 'pw')
connection.modify('cn=g', it.DELETE, 'member', 'cn=' + 200 * 'x')
try: connection.delete('cn=b')
except SystemExit as refused: print(refused)
print(*asked, sep='\\n')
print(it.number(128).hex(), it.contents(it.text(300 * 'y'))[0] == 300 * b'y')
";
    let Some(said) = told(name, code) else { return };
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said[0], "the server refused: 50 said");
    assert_eq!(said[1], "3012020101600d0201030404636e3d6180027077");
    let value = format!("0481cb636e3d{}", "78".repeat(200));
    let change = format!("3181ce{value}");
    let change = format!("3081d904066d656d626572{change}");
    let change = format!("3081df0a0101{change}");
    let changes = format!("0404636e3d673081e2{change}");
    assert_eq!(said[2], format!("3081f10201026681eb{changes}"));
    assert_eq!(said[3], "30090201034a04636e3d62");
    assert_eq!(said[4], "02020080 True");
}

#[test]
fn what_goes_through_the_proxy_is_passed_on_and_counted() {
    let name = "what_goes_through_the_proxy_is_passed_on_and_counted";
    let code = "\
import lib, socket, threading
def serve(listener):
    while True:
        client, _ = listener.accept()
        while piece := client.recv(1 << 16): client.sendall(3 * piece)
        client.close()
listener = socket.create_server(('127.0.0.1', 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
proxy = lib.Proxy('127.0.0.1', listener.getsockname()[1])
for asked in (b'GET / HTTP/1.1\\r\\n\\r\\n', b'no request'):
    with socket.create_connection(('127.0.0.1', proxy.port)) as client:
        client.sendall(asked)
        client.shutdown(socket.SHUT_WR)
        assert client.makefile('rb').read() == 3 * asked
print(proxy.received, proxy.requests)
times = list(range(1, 201))
print(lib.percentile(times, 0.5), lib.percentile(times, 0.99), lib.percentile([7], 0.99))
assert lib.cpu_seconds(__import__('os').getpid()) > 0
";
    let Some(said) = told(name, code) else { return };
    assert_eq!(said, "84 1\n101 199 7\n");
}

#[test]
fn a_server_has_worked_what_its_ended_connections_have() {
    let name = "a_server_has_worked_what_its_ended_connections_have";
    let code = r#"
import lib, subprocess, sys
WORK = "import time\nwhile time.process_time() < 0.3: pass"
SERVER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]]); print('done', flush=True); input()"
server = subprocess.Popen([sys.executable, "-c", SERVER, WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
server.stdout.readline()
# The system counts in ticks of a hundredth, rounded down.
print(lib.tree_cpu_seconds(server.pid) - lib.cpu_seconds(server.pid) >= 0.25)
server.communicate(b"\n")
"#;
    let Some(said) = told(name, code) else { return };
    assert_eq!(said, "True\n");
}

#[test]
fn all_followers_are_asked_until_each_has_said_so() {
    let name = "all_followers_are_asked_until_each_has_said_so";
    let code = r#"
import followers
class Follower:
    def __init__(self, after): self.after, self.asked = after, 0
    def allows(self, user):
        self.asked += 1
        return self.asked <= self.after
every = [Follower(after) for after in (0, 3, 1)]
when = followers.until(every, "ann", False)
print([it.asked for it in every], len(when), when == sorted(when))
"#;
    let Some(said) = told(name, code) else { return };
    assert_eq!(said, "[1, 4, 2] 3 True\n");
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
    let small = called(&["-C", "opt-level=s"]);
    assert!(small.contains("--remap-path-prefix=/somewhere/cargo/registry/src=crates"), "{small}");
}
