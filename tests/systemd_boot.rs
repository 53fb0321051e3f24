//! The units that `systemd/` ships, on a systemd that really boots: a small Debian in a container,
//! with the program that was built here. `tests/boot/drive.sh` is what happens inside.
#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::skip;

/// What is printed where a step was not reached: the container's own words.
const TAIL: usize = 40;

const CONFIG: &str = r#"
[store]
path = "/var/lib/idpsyncd/store.db"

[schedule]
cron = "0 0 0 1 1 *"

[[source]]
name = "acme"
kind = "file"
realm_export = "realm.json"
grants = ["reader"]

[roles.reader]
[[roles.reader.policies]]
actions = ["report:Read"]
resources = ["report/*"]

[[catalog]]
actions = ["report:Read"]
resources = ["report/q1"]

[gateway]
http = "unix:/run/idpsyncd/http.sock"
identity = "header"
user_header = "x-osmo-user"

[[gateway.route]]
methods = ["GET"]
path = "/reports/{report}"
action = "report:Read"
resource = "report/{report}"
"#;

const REALM: &str = r#"{"realm": "acme", "enabled": true,
 "roles": {"realm": [{"name": "reader", "id": "r1"}]},
 "users": [{"id": "u1", "username": "ada", "enabled": true, "realmRoles": ["reader"]}]}"#;

/// Those whom the container's own users are: the gateway's, and somebody else.
const USERS: &str = "u envoy - - -\nu stranger - - -\nm envoy idpsyncd-gateway\n";

const DRIVE: &str = "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nTimeoutStartSec=20min\n\
                     ExecStart=/drive/drive.sh\n[Install]\nWantedBy=multi-user.target\n";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Why no container can be booted here; `Ok`: the small Debian to copy.
fn debian() -> Result<PathBuf, String> {
    let whoami = Command::new("id").arg("-u").output().unwrap();
    if whoami.stdout.trim_ascii() != b"0" {
        return Err("only root can boot a container".to_owned());
    }
    if !skip::has("systemd-nspawn") {
        return Err("no systemd-nspawn (Debian: systemd-container)".to_owned());
    }
    let made = Command::new(repository("tests/tools/boot-root.sh")).output().unwrap();
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).trim().to_owned());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()))
}

/// Puts the program, the units and the configuration where docs/install.md puts them.
fn install(root: &Path) {
    let put = |from: PathBuf, to: &str| {
        let to = root.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    put(PathBuf::from(env!("CARGO_BIN_EXE_idpsyncd")), "usr/bin/idpsyncd");
    put(repository("systemd/idpsyncd.service"), "etc/systemd/system/idpsyncd.service");
    put(repository("systemd/idpsyncd-serve.service"), "etc/systemd/system/idpsyncd-serve.service");
    put(repository("systemd/idpsyncd.sysusers.conf"), "usr/lib/sysusers.d/idpsyncd.conf");
    put(repository("systemd/idpsyncd.tmpfiles.conf"), "usr/lib/tmpfiles.d/idpsyncd.conf");
    put(repository("tests/boot/drive.sh"), "drive/drive.sh");
    for (path, text) in [
        ("etc/idpsyncd/idpsyncd.toml", CONFIG),
        ("etc/idpsyncd/realm.json", REALM),
        ("usr/lib/sysusers.d/test.conf", USERS),
        ("etc/systemd/system/drive.service", DRIVE),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    std::os::unix::fs::symlink("/etc/systemd/system/drive.service", wants.join("drive.service"))
        .unwrap();
}

#[test]
fn a_company_under_systemd() {
    let debian = match debian() {
        Ok(debian) => debian,
        Err(why) => return skip::skip("a_company_under_systemd", &why),
    };
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    let copied =
        Command::new("cp").args(["-a", "--reflink=auto"]).arg(&debian).arg(&root).status().unwrap();
    assert!(copied.success());
    install(&root);

    let booted = Command::new("systemd-nspawn")
        .args(["--boot", "--quiet", "--register=no", "--keep-unit", "--private-network"])
        .arg(format!("--machine=idpsyncd-test-{}", std::process::id()))
        .arg("--directory")
        .arg(&root)
        .stdin(Stdio::null())
        .output()
        .unwrap();

    let read = |name: &str| fs::read_to_string(root.join("drive").join(name)).unwrap_or_default();
    let out = read("out");
    let last = |text: &str| {
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    };
    let said = || {
        format!(
            "{out}\n--- steps\n{}\n--- journal\n{}\n--- daemon\n{}\n--- serve\n{}\n--- systemd\n{}\n{}",
            last(&read("errors")),
            read("errors.journal"),
            last(&read("daemon.log")),
            last(&read("serve.log")),
            last(&String::from_utf8_lossy(&booted.stdout)),
            last(&String::from_utf8_lossy(&booted.stderr)),
        )
    };
    let seen: BTreeMap<_, _> = out.lines().filter_map(|line| line.split_once('\t')).collect();
    let expected = [
        ("start", "active"),
        ("asks-envoy", "200"),
        // The folder of the socket is the readers' group's: a stranger cannot even connect.
        ("asks-stranger", "000"),
        ("runs-as", "idpsyncd"),
        ("seccomp", "2"),
        ("capabilities", "0000000000000000"),
        ("generation", "1"),
        ("envoy-reads", "yes"),
        ("envoy-writes", "no"),
        ("envoy-makes", "no"),
        ("stranger-reads", "no"),
        ("stranger-lists", "no"),
        ("broken-active", "active"),
        ("broken-same-process", "yes"),
        ("broken-asks", "200"),
        ("mended-active", "active"),
        ("killed-asks", "200"),
        ("killed-restarts", "1"),
        ("killed-away", "1s"),
        ("killed-generation", "1"),
        ("stopped", "success inactive"),
        ("stopped-generation", "1"),
        ("serve-asks", "200"),
        ("serve-stranger", "000"),
        ("serve-stopped", "success inactive"),
        ("end", "yes"),
    ];
    for (step, wanted) in expected {
        assert_eq!(seen.get(step).copied(), Some(wanted), "step `{step}`\n{}", said());
    }
    // Started with the daemon's socket it must not serve, and say which folder is its own.
    assert_ne!(seen.get("serve-foreign").copied(), Some("active"), "{}", said());
    let foreign = read("serve-foreign.log");
    let own = "set `unix:/run/idpsyncd-serve/http.sock`";
    assert!(foreign.contains(own), "{foreign}\n{}", said());
    // Logs are one JSON object a line, with no path of the machine that built the program. What a
    // command ends with is one line for people.
    let logs = read("daemon.log") + &read("serve.log");
    for line in logs.lines().filter(|line| !line.starts_with("error: ")) {
        let object: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(object.is_object(), "{line}");
        assert!(!line.contains("/.cargo/") && !line.contains(env!("CARGO_MANIFEST_DIR")), "{line}");
    }
}
