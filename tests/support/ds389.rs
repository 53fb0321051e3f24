//! A real 389 Directory Server for tests: its own folder, a free loopback port, killed when dropped.
//!
//! ```ignore
//! let Some(server) = ds389::Ds389::start(&ds389::tree()) else { return };
//! ```
//!
//! The suffix is [`SUFFIX`], the directory manager [`ROOT_DN`] with [`ROOT_PASSWORD`]. Everyone may read
//! everything but passwords. Its plug-ins for `memberOf`, the retro change log and content
//! synchronization are on. Everything blocks; no state is shared.
//!
//! It is made without `dscreate`, which insists on systemd and listens on all interfaces: from
//! Debian's template, and the backend added once the server runs.
//!
//! Where `ns-slapd` is not installed: with `CI=true` that is a failure, else the test prints
//! `skipped: …` and `start` returns `None`.
use std::path::Path;
use std::process::{Command, Stdio};

use super::server::{Process, fed, free_port, run, text};
use super::skip;

/// What everything is below.
pub const SUFFIX: &str = "dc=example,dc=org";
/// Who may do everything.
pub const ROOT_DN: &str = "cn=Directory Manager";
/// Its password.
pub const ROOT_PASSWORD: &str = "root-secret-4711";

/// What the Debian package ships.
const SHIPPED: &str = "/usr/share/dirsrv";
const CONFIGURED: &str = "/etc/dirsrv";

/// A running server.
pub struct Ds389 {
    /// `ldap://127.0.0.1:PORT`
    pub url: String,
    /// The port of [`Ds389::url`].
    pub port: u16,
    /// Its folder: `etc/dse.ldif`, `db/`, `log/`.
    pub dir: tempfile::TempDir,
    process: Option<Process>,
}

impl Ds389 {
    /// Starts a server and adds `ldif` to it, entries below [`SUFFIX`].
    pub fn start(ldif: &str) -> Option<Ds389> {
        if !skip::has("ns-slapd") || !skip::has("ldapmodify") {
            skip::skip(&skip::test(), "389-DS is not installed (Debian: 389-ds-base ldap-utils)");
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        lay(dir.path());
        let mut server = Ds389 { url: String::new(), port: 0, dir, process: None };
        // A free port can be taken by another test between being found and being used.
        for _ in 0..5 {
            server.port = free_port();
            server.url = format!("ldap://127.0.0.1:{}", server.port);
            configure(server.dir.path(), server.port);
            if server.start_again() {
                server.modify(BACKEND);
                server.modify(PLUGINS);
                // Plug-ins count from the next start.
                server.stop();
                assert!(server.start_again(), "ns-slapd starts a second time");
                server.add(ldif);
                return Some(server);
            }
        }
        panic!("ns-slapd does not start: {}", server.errors());
    }

    /// Starts it again after [`Ds389::stop`] or [`Ds389::kill`], on the same port with the same
    /// data. Whether it answers.
    pub fn start_again(&mut self) -> bool {
        let mut slapd = Command::new("/usr/sbin/ns-slapd");
        slapd
            .arg("-D")
            .arg(self.dir.path().join("etc"))
            .arg("-i")
            .arg(self.dir.path().join("pid"))
            .args(["-d", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It listens before it answers.
        let answers = || self.try_search(&["-b", "", "-s", "base", "vendorVersion"]).is_ok();
        self.process = Process::start(&mut slapd, answers);
        self.process.is_some()
    }

    /// Ends it as a service manager does (SIGTERM), and waits.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop();
        }
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Runs one of the server's own tools (`db2archive`, `archive2db`, `db2ldif`, `ldif2db`) on its data,
    /// after [`Ds389::stop`].
    pub fn offline(&self, tool: &str, arguments: &[&str]) {
        assert!(self.process.is_none(), "{tool} wants the server stopped");
        let etc = self.dir.path().join("etc");
        let output = run(Command::new("/usr/sbin/ns-slapd")
            .arg(tool)
            .arg("-D")
            .arg(&etc)
            .args(arguments)
            .stdin(Stdio::null()));
        assert!(output.status.success(), "{tool}: {}", text(&output.stderr));
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running server").id()
    }

    /// Applies LDIF change records as the directory manager.
    pub fn modify(&self, changes: &str) {
        self.feed(&[], changes);
    }

    /// Adds the entries of an LDIF.
    pub fn add(&self, ldif: &str) {
        self.feed(&["-a"], ldif);
    }

    fn feed(&self, arguments: &[&str], changes: &str) {
        fed(
            Command::new("ldapmodify")
                .args(["-x", "-H", &self.url, "-D", ROOT_DN, "-w", ROOT_PASSWORD])
                .args(arguments),
            changes,
        )
        .unwrap_or_else(|told| panic!("ldapmodify: {told}"));
    }

    /// `ldapsearch -LLL` below [`SUFFIX`] as the directory manager; what it prints.
    pub fn search(&self, arguments: &[&str]) -> String {
        let all = [&["-D", ROOT_DN, "-w", ROOT_PASSWORD, "-b", SUFFIX], arguments].concat();
        self.try_search(&all).unwrap_or_else(|error| panic!("ldapsearch: {error}"))
    }

    fn try_search(&self, arguments: &[&str]) -> Result<String, String> {
        let output = run(Command::new("ldapsearch")
            .args(["-LLL", "-x", "-o", "ldif-wrap=no", "-H", &self.url])
            .args(arguments));
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log/errors")).unwrap_or_default()
    }
}

/// The entries that everything else is below: `ou=people`, `ou=groups`, `ou=services` and the reader
/// `cn=reader,ou=services` with the password `reader-secret`. The suffix itself is there.
pub fn tree() -> String {
    format!(
        "dn: ou=people,{SUFFIX}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=groups,{SUFFIX}\nobjectClass: organizationalUnit\nou: groups\n\n\
         dn: ou=services,{SUFFIX}\nobjectClass: organizationalUnit\nou: services\n\n\
         dn: cn=reader,ou=services,{SUFFIX}\nobjectClass: applicationProcess\n\
         objectClass: simpleSecurityObject\ncn: reader\nuserPassword: reader-secret\n\n"
    )
}

/// A person `uid=UID,ou=people`. `extra` are further lines of LDIF, each with its line
/// end, object classes first.
pub fn person(uid: &str, extra: &str) -> String {
    format!(
        "dn: uid={uid},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\nobjectClass: nsMemberOf\n\
         {extra}uid: {uid}\ncn: {uid}\nsn: {uid}\nmail: {uid}@example.org\n\n"
    )
}

/// A groupOfNames `cn=CN,ou=groups` with members given by DN; here it may have none.
pub fn group(cn: &str, members: &[String]) -> String {
    let members: String = members.iter().map(|member| format!("member: {member}\n")).collect();
    format!("dn: cn={cn},ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: {cn}\n{members}\n")
}

/// The DN of a [`person`].
pub fn person_dn(uid: &str) -> String {
    format!("uid={uid},ou=people,{SUFFIX}")
}

/// The DN of a [`group`].
pub fn group_dn(cn: &str) -> String {
    format!("cn={cn},ou=groups,{SUFFIX}")
}

/// The backend of [`SUFFIX`], its place in the mapping tree, and the suffix with its rule of
/// access (without one nobody reads).
const BACKEND: &str = r#"dn: cn=userRoot,cn=ldbm database,cn=plugins,cn=config
changetype: add
objectClass: extensibleObject
objectClass: nsBackendInstance
cn: userRoot
nsslapd-suffix: dc=example,dc=org

dn: cn="dc=example,dc=org",cn=mapping tree,cn=config
changetype: add
objectClass: extensibleObject
objectClass: nsMappingTree
cn: dc=example,dc=org
nsslapd-state: backend
nsslapd-backend: userRoot

dn: dc=example,dc=org
changetype: add
objectClass: domain
dc: example
aci: (targetattr != "userPassword")(version 3.0; acl "read"; allow (read, search, compare) userdn = "ldap:///anyone";)

"#;

/// What the tests need beyond the template.
const PLUGINS: &str = "dn: cn=MemberOf Plugin,cn=plugins,cn=config
changetype: modify
replace: nsslapd-pluginEnabled
nsslapd-pluginEnabled: on

dn: cn=Retro Changelog Plugin,cn=plugins,cn=config
changetype: modify
replace: nsslapd-pluginEnabled
nsslapd-pluginEnabled: on
-
add: nsslapd-attribute
nsslapd-attribute: nsuniqueid:targetUniqueId

dn: cn=Content Synchronization,cn=plugins,cn=config
changetype: modify
replace: nsslapd-pluginEnabled
nsslapd-pluginEnabled: on

";

/// The folders and the files of an instance, without its configuration.
fn lay(dir: &Path) {
    for folder in FOLDERS {
        std::fs::create_dir_all(dir.join(folder)).expect("a folder");
    }
    let copy = |from: &str, to: &str| {
        std::fs::copy(from, dir.join(to)).unwrap_or_else(|error| panic!("{from}: {error}"));
    };
    for entry in std::fs::read_dir(format!("{SHIPPED}/schema")).expect("Debian's schema") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        copy(&format!("{SHIPPED}/schema/{name}"), &format!("etc/schema/{name}"));
    }
    copy(&format!("{CONFIGURED}/schema/99user.ldif"), "etc/schema/99user.ldif");
    for name in ["slapd-collations.conf", "certmap.conf"] {
        copy(&format!("{CONFIGURED}/config/{name}"), &format!("etc/{name}"));
    }
}

const FOLDERS: [&str; 10] =
    ["etc/schema", "lock", "tmp", "ldif", "bak", "run", "inst", "log", "db", "dbhome"];

/// `etc/dse.ldif` from Debian's template.
fn configure(dir: &Path, port: u16) {
    let path = |folder: &str| dir.join(folder).display().to_string();
    let fields = [
        ("schema_dir", path("etc/schema")),
        ("lock_dir", path("lock")),
        ("tmp_dir", path("tmp")),
        ("cert_dir", path("etc")),
        ("ldif_dir", path("ldif")),
        ("bak_dir", path("bak")),
        ("run_dir", path("run")),
        ("inst_dir", path("inst")),
        ("log_dir", path("log")),
        ("config_dir", path("etc")),
        ("db_dir", path("db")),
        ("db_home_dir", path("dbhome")),
        ("db_lib", "bdb".to_owned()),
        ("fqdn", "localhost".to_owned()),
        ("ds_port", format!("{port}\nnsslapd-listenhost: 127.0.0.1")),
        ("ds_user", user()),
        ("rootdn", ROOT_DN.to_owned()),
        ("ds_passwd", format!("{{CLEAR}}{ROOT_PASSWORD}")),
        ("ds_suffix", SUFFIX.to_owned()),
        ("ldapi_enabled", "off".to_owned()),
        ("ldapi_autobind", "off".to_owned()),
        ("ldapi", path("run/ldapi")),
    ];
    let template = format!("{SHIPPED}/data/template-dse.ldif");
    let mut text = std::fs::read_to_string(&template).expect("Debian's template");
    for (field, value) in fields {
        text = text.replace(&format!("%{field}%"), &value);
    }
    assert!(!text.contains(": %"), "{template} has a field that is not filled in");
    std::fs::write(dir.join("etc/dse.ldif"), text).expect("dse.ldif");
}

/// The user that runs the tests: the server changes to no other.
fn user() -> String {
    text(&run(Command::new("id").arg("-un")).stdout).trim().to_owned()
}
