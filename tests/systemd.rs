//! The unit, the users and the folders that `systemd/` ships, judged by systemd's own tools. No
//! running systemd is needed.
#![cfg(test)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::skip;

/// Both units.
const UNITS: [&str; 2] = ["idpsyncd.service", "idpsyncd-serve.service"];

/// 2.0 on `systemd-analyze security`'s scale, in its tenths.
const MOST_EXPOSURE: u32 = 20;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

fn unit() -> String {
    fs::read_to_string(shipped("idpsyncd.service")).unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// `systemd-analyze verify` on a unit's text; what it complained of. It exits 0 for unknown keys,
/// so silence is what counts.
fn verify(unit: &str) -> String {
    verify_as("idpsyncd.service", unit)
}

fn verify_as(name: &str, unit: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, unit).unwrap();
    let output =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
    let said = text(&output);
    assert!(output.status.success() || !said.is_empty(), "{output:?}");
    said
}

#[test]
fn the_unit_verifies_without_a_word() {
    if !skip::has("systemd-analyze") {
        return skip::skip(
            "the_unit_verifies_without_a_word",
            "no systemd-analyze (Debian: systemd)",
        );
    }
    for name in UNITS {
        let unit = fs::read_to_string(shipped(name)).unwrap();
        let installed = "ExecStart=/usr/bin/idpsyncd ";
        assert!(unit.contains(installed), "{name} starts {installed}");
        // The command must exist for systemd to be content: the one that was built.
        let here = format!("ExecStart={} ", env!("CARGO_BIN_EXE_idpsyncd"));
        assert_eq!(verify_as(name, &unit.replace(installed, &here)), "", "{name}");
    }
}

#[test]
fn a_misspelt_key_in_the_unit_would_be_seen() {
    if !skip::has("systemd-analyze") {
        return skip::skip(
            "a_misspelt_key_in_the_unit_would_be_seen",
            "no systemd-analyze (Debian: systemd)",
        );
    }
    let said = verify(&unit().replace("NoNewPrivileges", "NoNewPrivilege"));
    assert!(said.contains("NoNewPrivilege"), "{said}");
}

#[test]
fn the_unit_is_exposed_by_two_points_at_most() {
    if !skip::has("systemd-analyze") {
        return skip::skip(
            "the_unit_is_exposed_by_two_points_at_most",
            "no systemd-analyze (Debian: systemd)",
        );
    }
    for name in UNITS {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={MOST_EXPOSURE}"))
            .arg(shipped(name))
            .output()
            .unwrap();
        let said = text(&output);
        assert!(output.status.success(), "{name}: {said}");
        assert!(said.contains("Overall exposure level"), "{name}: {said}");
    }
}

#[test]
fn the_unit_tells_readiness_is_watched_and_reloads_by_signal() {
    let unit = unit();
    for line in [
        "Type=notify",
        "NotifyAccess=main",
        "WatchdogSec=",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=\n",
        "SystemCallFilter=~@privileged @resources",
    ] {
        assert!(unit.contains(&format!("\n{line}")), "{line} is missing");
    }
}

#[test]
fn the_guide_names_every_credential_that_the_unit_loads() {
    let guide =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install.md")).unwrap();
    let unit = unit();
    let loaded: Vec<_> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("LoadCredential="))
        .filter_map(|value| value.split_once(':'))
        .collect();
    assert_eq!(loaded.len(), 2, "{loaded:?}");
    for (name, stored) in loaded {
        assert!(guide.contains(&format!("credential = \"{name}\"")), "{name}");
        assert!(guide.contains(&format!("/etc/credstore/{stored}")), "{stored}");
    }
}

/// The id of `name` in an `/etc/passwd` or `/etc/group`.
fn id(file: &Path, name: &str) -> u32 {
    fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name)
        .unwrap_or_else(|| panic!("{name} is not in {}", file.display()))[2]
        .parse()
        .unwrap()
}

#[test]
fn the_readers_group_may_enter_the_stores_folder_but_not_write_there() {
    let name = "the_readers_group_may_enter_the_stores_folder_but_not_write_there";
    if !(skip::has("systemd-sysusers") && skip::has("systemd-tmpfiles")) {
        return skip::skip(name, "no systemd-sysusers (Debian: systemd)");
    }
    let root = tempfile::tempdir().unwrap();
    if fs::metadata(root.path()).unwrap().uid() != 0 {
        // Giving a folder to another user takes root; a container in CI is root.
        return skip::skip(name, "needs root");
    }
    for folder in ["etc", "var/lib"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    let rooted = |program: &str, more: &[&str], file: &str| {
        let output = Command::new(program)
            .arg(format!("--root={}", root.path().display()))
            .args(more)
            .arg(shipped(file))
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {}", text(&output));
    };
    rooted("systemd-sysusers", &[], "idpsyncd.sysusers.conf");
    rooted("systemd-tmpfiles", &["--create"], "idpsyncd.tmpfiles.conf");

    let folder = fs::metadata(root.path().join("var/lib/idpsyncd")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o7777, 0o2750);
    let etc = root.path().join("etc");
    assert_eq!(folder.uid(), id(&etc.join("passwd"), "idpsyncd"));
    assert_eq!(folder.gid(), id(&etc.join("group"), "idpsyncd-gateway"));
    assert!(unit().contains("\nStateDirectoryMode=2750\n"));
    assert!(unit().contains("\nGroup=idpsyncd-gateway\n"));
}
