//! LDIF files as directories in the field write them, each read whole: who is in it, in which
//! groups, and what is said about it.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use idpsyncd::directory::{Enabled, Interest, Kind, Snapshot};
use idpsyncd::model::index::Place as _;
use idpsyncd::source::FullRead;
use idpsyncd::source::file::FileSource;

/// Rules that reach every group.
struct Everything;

impl Interest for Everything {
    fn reaches(&self, _: Kind, _: &str, _: &str, _: &str, _: &str, _: &[&str]) -> bool {
        true
    }

    fn attributes(&self) -> &[(String, String)] {
        &[]
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ldif_field").join(name)
}

/// Reads the LDIF at `path`; `keys` are further keys of the source.
fn read(path: &Path, keys: &str) -> Snapshot {
    let toml = format!(
        "[store]\npath = \"store.db\"\n[[source]]\nname = \"dir\"\nkind = \"file\"\nldif = '{}'\n{keys}\n",
        path.display()
    );
    let config =
        idpsyncd::config::parse(&toml, Path::new("idpsyncd.toml"), &idpsyncd::source::kinds())
            .unwrap();
    let source = FileSource::new("dir", &*config.sources[0].kind).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.read(&Everything, Arc::new(|_| {}))).unwrap()
}

const EVERYWHERE: &str = "users = {}\ngroups = {}";

/// A reading in lines: users, groups with their members, warnings.
fn said(snapshot: &Snapshot) -> Vec<String> {
    let directory = &snapshot.directory;
    let text = |text| directory.text(text).to_owned();
    let mut lines: Vec<String> = directory
        .users
        .iter()
        .map(|user| {
            let state = match user.enabled {
                Enabled::Yes => "",
                Enabled::No => " disabled",
                Enabled::Unknown => " unknown",
            };
            format!("user {} <{}>{state}", text(user.username), text(user.email))
        })
        .collect();
    for (reference, members) in directory.refs.iter().zip(&directory.members) {
        let mut names: Vec<String> =
            members.iter().map(|member| text(directory.users[member.place()].username)).collect();
        names.sort();
        lines.push(format!("group {}: {}", text(reference.name), names.join(" ")));
    }
    lines.sort();
    lines.extend(snapshot.warnings().iter().map(|warning| format!("! {warning}")));
    lines
}

#[test]
fn an_export_with_replication_state_says_what_a_search_would() {
    let snapshot = read(&fixture("389-replica.ldif"), EVERYWHERE);
    assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
    assert_eq!(
        said(&snapshot),
        [
            "group Nobody yet: ",
            "group Operators: nia",
            "group Reviewers: lou max",
            "user kai <> disabled",
            "user lou <lou@example.com>",
            "user max <max.new@example.com>",
            "user nia <nia@example.com>",
            "! 1 entries are replication conflicts, which no search returns, and are passed over \
             (such as `nsuniqueid=0000000a-00000000-00000000-00000001+uid=nia,ou=people,\
             dc=example,dc=com`): settle them on the server",
        ]
    );
    // Whoever was deleted and made again is known by the id of the one who is there.
    let directory = &snapshot.directory;
    let lou = directory.users.iter().find(|user| directory.text(user.username) == "lou").unwrap();
    assert_eq!(directory.text(lou.ext), "00000006-00000000-00000000-00000002");
}

#[test]
fn a_dump_of_openldap_s_database_says_what_a_search_would() {
    let snapshot = read(&fixture("openldap-slapcat.ldif"), EVERYWHERE);
    assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
    assert_eq!(
        said(&snapshot),
        [
            "group Staff: ann bea",
            "user ann <ann@example.com>",
            "user bea <> disabled",
            "user cal <cal@example.com> disabled",
            "user dee <dee@example.com>",
        ]
    );
}

#[test]
fn what_ldifde_writes_is_read_in_utf_16_and_without_what_was_deleted() {
    let text = std::fs::read_to_string(fixture("ad-ldifde.ldif")).unwrap();
    let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let utf16 = text.encode_utf16();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ad.ldif");
    std::fs::write(&path, utf16.flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    let snapshot = read(
        &path,
        "users = { filter = '(&(objectClass=user)(!(objectClass=computer)))', username = 'sAMAccountName' }\n\
         groups = { filter = '(objectClass=group)' }",
    );
    assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
    assert_eq!(
        said(&snapshot),
        [
            "group Entwickler Süd: Jörg",
            "user Jörg <joerg@example.com>",
            "user old <> disabled",
            "user spent <> disabled",
        ]
    );
}

#[test]
fn names_in_several_languages_and_spellings_are_the_plain_ones() {
    assert_eq!(
        said(&read(&fixture("names.ldif"), EVERYWHERE)),
        [
            "group Helpers: gil ",
            "group Operations: fay",
            "group Zebras: fay gil ",
            "user fay <fay@example.com>",
            "user gil  <gil.a@example.com>",
            "! group `cn=Helpers,ou=groups,dc=example,dc=com`: 1 member(s) name no user: `admin`",
        ]
    );
}

#[test]
fn every_time_and_switch_that_cannot_be_read_is_named_with_whoever_has_it() {
    let lines = said(&read(&fixture("accounts.ldif"), EVERYWHERE));
    let of_users = |line: &String| line.starts_with("user") || line.starts_with("! user");
    assert_eq!(
        lines.into_iter().filter(of_users).collect::<Vec<_>>(),
        [
            "user always <>",
            "user ended-comma <> disabled",
            "user ended-hour <> disabled",
            "user ended-offset <> disabled",
            "user garbled <> unknown",
            "user leap <> disabled",
            "user locked <> disabled",
            "user odd-switch <> unknown",
            "user starts-later <> disabled",
            "user zero-days <>",
            "! user `uid=garbled,ou=people,dc=example,dc=com`: `pwdEndTime` is `2020-01-01`, which \
             is no time (RFC 4517, section 3.3.13): whether the account is enabled is unknown, so \
             what was last known stands, and a newcomer is left out",
            "! user `uid=odd-switch,ou=people,dc=example,dc=com`: `loginDisabled` is `maybe`, which \
             is no boolean (`TRUE`, `FALSE`): whether the account is enabled is unknown, so what \
             was last known stands, and a newcomer is left out",
        ]
    );
}
