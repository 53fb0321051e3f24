//! A real Active Directory domain controller for tests: Samba's, with its own folder and its own
//! address of the loopback, killed when dropped.
//!
//! ```ignore
//! let Some(dc) = samba::Samba::start(samba::AD, &samba::user("alice", "")) else { return };
//! ```
//!
//! The ports of Active Directory are fixed (389 and 636), so each server has an address of its own,
//! `127.X.Y.Z`: it listens there and nowhere else. LDAP alone is served, and Kerberos where a test wants
//! it: no SMB, no DNS. A domain is provisioned once and kept in the cache of tests; each server has a copy.
//!
//! The administrator is [`ADMIN`] with [`PASSWORD`]. Certificates are from an authority of the
//! server's own, `ca.pem`, for its address.
//!
//! Where Samba is not installed, or the tests do not run as root (ports below 1024): with `CI=true`
//! that is a failure, else the test prints `skipped: …` and `start` returns `None`.
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::{Process, authority, certificate, fed, run, text};
use super::skip;

/// The password of [`ADMIN`].
pub const PASSWORD: &str = "Admin-4711-secret";
/// The administrator's account.
pub const ADMIN: &str = "Administrator";

/// A domain that can be started.
#[derive(Clone, Copy)]
pub struct Domain {
    /// `ad.example.org`
    pub name: &'static str,
    /// Its short name.
    pub netbios: &'static str,
    /// `DC=ad,DC=example,DC=org`
    pub suffix: &'static str,
}

/// The domain of most tests.
pub const AD: Domain =
    Domain { name: "ad.example.org", netbios: "ADEX", suffix: "DC=ad,DC=example,DC=org" };
/// Another, whose members can be foreign ones in the first.
pub const OTHER: Domain =
    Domain { name: "other.example.net", netbios: "OTHER", suffix: "DC=other,DC=example,DC=net" };

/// A running domain controller.
pub struct Samba {
    /// `ldap://127.X.Y.Z`
    pub url: String,
    /// `ldaps://127.X.Y.Z`
    pub ldaps_url: String,
    /// The domain.
    pub domain: Domain,
    /// Its folder: `ca.pem`, `etc/smb.conf`, `private/`.
    pub dir: tempfile::TempDir,
    /// `127.X.Y.Z`
    pub address: Ipv4Addr,
    process: Option<Process>,
}

impl Samba {
    /// Starts a controller of `domain` that holds `ldif` beside what every domain has.
    pub fn start(domain: Domain, ldif: &str) -> Option<Samba> {
        Samba::start_serving(domain, "ldap", ldif)
    }

    /// Starts one that is a Kerberos server too, at port 88 of its address. It is known as
    /// `dc.ad.example.org`, which its certificate is for too.
    pub fn start_with_kerberos(domain: Domain, ldif: &str) -> Option<Samba> {
        // As Active Directory does by default, and Samba does not.
        let conf = "ldap kdc\n\tldap server require strong auth = allow_sasl_over_tls";
        Samba::start_serving(domain, conf, ldif)
    }

    fn start_serving(domain: Domain, services: &str, ldif: &str) -> Option<Samba> {
        if !skip::has("samba") || !skip::has("samba-tool") {
            skip::skip(&skip::test(), "Samba's AD is not installed (Debian: samba-ad-provision)");
            return None;
        }
        let Some(address) = free_address() else {
            skip::skip(&skip::test(), "the ports of Active Directory are for root alone");
            return None;
        };
        let dir = tempfile::tempdir().expect("a folder");
        let kept = provisioned(domain);
        let copied = run(Command::new("cp").arg("-a").arg(kept.join(".")).arg(dir.path()));
        assert!(copied.status.success(), "cp: {}", text(&copied.stderr));
        std::fs::create_dir_all(dir.path().join("run/ncalrpc")).expect("a folder");
        let (ca, certificate, key) = make_certificates(dir.path(), address, domain);
        let smb_conf = dir.path().join("etc/smb.conf");
        let provisioned = std::fs::read_to_string(&smb_conf).expect("smb.conf");
        let here = dir.path().display().to_string();
        let mut conf = String::new();
        for line in provisioned.replace(&kept.display().to_string(), &here).lines() {
            let key_of = line.split('=').next().unwrap_or_default().trim();
            if !["interfaces", "server services", "log file"].contains(&key_of) {
                conf += &format!("{line}\n");
            }
            if line == "[global]" {
                conf += &format!(
                    "\tinterfaces = {address}/8\n\tserver services = {services}\n\
                     \tlog file = {here}/log\n\tpid directory = {here}/run\n\
                     \tncalrpc dir = {here}/run/ncalrpc\n\tserver role check:inhibit = yes\n\
                     \ttls enabled = yes\n\ttls cafile = {ca}\n\ttls certfile = {certificate}\n\
                     \ttls keyfile = {key}\n"
                );
            }
        }
        std::fs::write(&smb_conf, conf).expect("smb.conf");
        let mut server = Samba {
            url: format!("ldap://{address}"),
            ldaps_url: format!("ldaps://{address}"),
            domain,
            dir,
            address,
            process: None,
        };
        server.load(ldif);
        assert!(server.start_again(), "samba does not start: {}", server.log());
        Some(server)
    }

    /// Starts it again after [`Samba::kill`], at the same address with the same data. Whether it
    /// answers.
    pub fn start_again(&mut self) -> bool {
        let mut samba = Command::new("/usr/sbin/samba");
        samba
            .arg("-s")
            .arg(self.dir.path().join("etc/smb.conf"))
            .args(["-i", "-M", "single"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.dir.path().join("log")).expect("a log"));
        let anonymous = || {
            run(self.ldap("ldapsearch", &self.ldaps_url, None).args([
                "-b",
                "",
                "-s",
                "base",
                "defaultNamingContext",
            ]))
        };
        self.process = Process::start(&mut samba, || anonymous().status.success());
        self.process.is_some()
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running server").id()
    }

    /// The certificate of the authority that signed the server's.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The DN of a [`user`] or [`group`].
    pub fn dn(&self, cn: &str) -> String {
        format!("CN={cn},CN=Users,{}", self.domain.suffix)
    }

    /// An LDIF or a name with the domain in the place of `SUFFIX`.
    pub fn full(&self, text: &str) -> String {
        text.replace("SUFFIX", self.domain.suffix)
    }

    /// `NAME@ad.example.org`: who binds by user principal name.
    pub fn upn(&self, name: &str) -> String {
        format!("{name}@{}", self.domain.name)
    }

    /// Applies LDIF change records as the administrator. `SUFFIX` in them is the domain's.
    pub fn modify(&self, changes: &str) {
        self.try_modify(changes).unwrap_or_else(|told| panic!("ldapmodify: {told}"));
    }

    /// The same; what is told where it is refused.
    pub fn try_modify(&self, changes: &str) -> Result<(), String> {
        let admin = self.upn(ADMIN);
        fed(
            &mut self.ldap("ldapmodify", &self.ldaps_url, Some((&admin, PASSWORD))),
            &changes.replace("SUFFIX", self.domain.suffix),
        )
    }

    /// Applies LDIF change records as the administrator; those that are refused are passed over.
    pub fn attempt(&self, changes: &str) {
        let admin = self.upn(ADMIN);
        let mut ldapmodify = self.ldap("ldapmodify", &self.ldaps_url, Some((&admin, PASSWORD)));
        let _ = fed(ldapmodify.arg("-c"), &changes.replace("SUFFIX", self.domain.suffix));
    }

    /// `ldapsearch -LLL` over the domain as the administrator; what it prints.
    pub fn search(&self, arguments: &[&str]) -> String {
        let admin = self.upn(ADMIN);
        let output = run(self
            .ldap("ldapsearch", &self.ldaps_url, Some((&admin, PASSWORD)))
            .args(["-LLL", "-o", "ldif-wrap=no", "-b", self.domain.suffix])
            .args(arguments));
        assert!(output.status.success(), "ldapsearch: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The SID of a person or a group.
    pub fn sid(&self, name: &str) -> ::idpsyncd::directory::AccountSid {
        use base64::Engine as _;
        let told = self.search(&[&format!("(sAMAccountName={name})"), "objectSid"]);
        let sid = told.lines().find_map(|line| line.strip_prefix("objectSid:: ")).expect("a SID");
        let sid = base64::engine::general_purpose::STANDARD.decode(sid).expect("base 64");
        ::idpsyncd::directory::AccountSid::of_bytes(&sid).expect("an account's SID")
    }

    /// Tries to bind as `who`; what the server says where it refuses.
    pub fn bind(&self, who: &str, password: &str) -> Result<(), String> {
        let output = run(self
            .ldap("ldapsearch", &self.ldaps_url, Some((who, password)))
            .args(["-b", "", "-s", "base", "1.1"]));
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
    }

    /// Puts an entry (SDDL) into the access rules of the entry `dn`. `WHO` in it is the account of that
    /// name.
    pub fn grant(&self, dn: &str, name: &str, entry: &str) {
        let output = run(Command::new("/usr/bin/python3")
            .args(["-c", GRANT])
            .arg(self.dir.path().join("etc/smb.conf"))
            .arg(self.dir.path().join("private/sam.ldb"))
            .args([&self.full(dn), name, entry]));
        assert!(output.status.success(), "granting: {}", text(&output.stderr));
    }

    /// Lets an account see what was deleted.
    pub fn show_deleted(&self, name: &str) {
        self.grant("CN=Deleted Objects,SUFFIX", name, "(A;;LCRP;;;WHO)");
    }

    /// Lets an account ask what has changed (`Replicating Directory Changes`).
    pub fn show_changes(&self, name: &str) {
        let right = "1131f6aa-9c07-11d1-f79f-00c04fc2dcd2";
        self.grant("SUFFIX", name, &format!("(OA;;CR;{right};;WHO)"));
    }

    fn ldap(&self, program: &str, url: &str, as_: Option<(&str, &str)>) -> Command {
        let mut command = Command::new(program);
        command.env("LDAPTLS_CACERT", self.ca_file()).args(["-x", "-H", url]);
        if let Some((who, password)) = as_ {
            command.args(["-D", who, "-w", password]);
        }
        command
    }

    /// Writes entries to the database while the server is not running, in one transaction.
    fn load(&self, ldif: &str) {
        let file = self.dir.path().join("data.ldif");
        std::fs::write(&file, ldif.replace("SUFFIX", self.domain.suffix)).expect("the LDIF");
        let output = run(Command::new("/usr/bin/python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/samba-load.py"))
            .arg(self.dir.path().join("etc/smb.conf"))
            .arg(self.dir.path().join("private/sam.ldb"))
            .arg(&file));
        assert!(output.status.success(), "loading: {}", text(&output.stderr));
    }

    /// Writes the keys of an account to a keytab of this name in the server's folder.
    pub fn keytab(&self, account: &str, file: &str) -> PathBuf {
        let path = self.dir.path().join(file);
        let output = run(Command::new("samba-tool")
            .args(["domain", "exportkeytab", "--principal", account])
            .arg(&path)
            .arg("-s")
            .arg(self.dir.path().join("etc/smb.conf")));
        assert!(output.status.success(), "samba-tool: {}", text(&output.stderr));
        path
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// A person `CN=NAME,CN=Users` who is enabled and has no password. `extra` are further lines of LDIF,
/// each with its line end.
pub fn user(name: &str, extra: &str) -> String {
    let account =
        if extra.contains("userAccountControl:") { "" } else { "userAccountControl: 544\n" };
    format!(
        "dn: CN={name},CN=Users,SUFFIX\nobjectClass: user\nsAMAccountName: {name}\n{account}{extra}\n"
    )
}

/// A security group `CN=NAME,CN=Users` (global) with members given by DN.
pub fn group(name: &str, members: &[String], extra: &str) -> String {
    let members: String = members.iter().map(|member| format!("member: {member}\n")).collect();
    format!(
        "dn: CN={name},CN=Users,SUFFIX\nobjectClass: group\nsAMAccountName: {name}\n{members}{extra}\n"
    )
}

/// The DN of a [`user`] or [`group`] in an LDIF of this module's.
pub fn dn(cn: &str) -> String {
    format!("CN={cn},CN=Users,SUFFIX")
}

/// Puts an entry before the others of an entry's access rules.
const GRANT: &str = "
import sys, ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
from samba.ndr import ndr_pack, ndr_unpack
from samba.dcerpc import security
lp = LoadParm()
lp.load(sys.argv[1])
db = SamDB(url=sys.argv[2], session_info=system_session(lp), lp=lp)
who = db.search(db.domain_dn(), expression='(sAMAccountName=%s)' % sys.argv[4], attrs=['objectSid'])
who = ndr_unpack(security.dom_sid, who[0]['objectSid'][0])
controls = ['show_deleted:1', 'sd_flags:1:4']
name = 'nTSecurityDescriptor'
found = db.search(sys.argv[3], scope=ldb.SCOPE_BASE, attrs=[name], controls=controls)[0]
domain = security.dom_sid(db.get_domain_sid())
text = ndr_unpack(security.descriptor, found[name][0]).as_sddl(domain)
at = text.index('(')
text = text[:at] + sys.argv[5].replace('WHO', str(who)) + text[at:]
change = ldb.Message(found.dn)
text = ndr_pack(security.descriptor.from_sddl(text, domain))
change[name] = ldb.MessageElement(text, ldb.FLAG_MOD_REPLACE, name)
db.modify(change, controls=controls)
";

/// The folder of a provisioned domain, made where it is not there yet.
fn provisioned(domain: Domain) -> PathBuf {
    let cache = std::env::var_os("IDPSYNCD_TEST_CACHE").map_or_else(
        || {
            let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
            PathBuf::from(home).join(".cache/idpsyncd-tests")
        },
        PathBuf::from,
    );
    std::fs::create_dir_all(&cache).expect("the cache of tests");
    let version = text(&run(Command::new("/usr/sbin/samba").arg("--version")).stdout);
    let version: String =
        version.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let kept = cache.join(format!("{}-{version}", domain.name));
    // Of tests that run side by side one makes it, and the others wait.
    let lock = std::fs::File::create(cache.join(format!("{}.lock", domain.name))).expect("a lock");
    lock.lock().expect("a lock");
    if kept.join("done").is_file() {
        return kept;
    }
    let _ = std::fs::remove_dir_all(&kept);
    std::fs::create_dir(&kept).expect("a folder");
    let output = run(Command::new("samba-tool")
        .args(["domain", "provision", "--server-role=dc", "--dns-backend=NONE"])
        .arg(format!("--realm={}", domain.name.to_uppercase()))
        .arg(format!("--domain={}", domain.netbios))
        .arg(format!("--adminpass={PASSWORD}"))
        .arg(format!("--targetdir={}", kept.display()))
        .args(["--host-name=dc", "--option=interfaces=lo", "--option=bind interfaces only=yes"])
        .arg("--option=vfs objects=dfs_samba4 acl_xattr xattr_tdb"));
    assert!(output.status.success(), "samba-tool: {}", text(&output.stderr));
    std::fs::write(kept.join("done"), "").expect("a mark");
    kept
}

/// An address of the loopback where nobody listens on the ports of Active Directory; none where this
/// user may not listen there.
fn free_address() -> Option<Ipv4Addr> {
    for _ in 0..100 {
        let bytes = tempfile::Builder::new().rand_bytes(3).tempfile().ok()?;
        let name = bytes.path().file_name()?.to_string_lossy().into_owned();
        let at = |from_end: usize| name.bytes().rev().nth(from_end).map(|byte| byte % 250 + 2);
        let address = Ipv4Addr::new(127, at(0)?, at(1)?, at(2)?);
        match TcpListener::bind((address, 389)) {
            Ok(_) => return Some(address),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
            Err(_) => {}
        }
    }
    None
}

/// An authority `ca.pem` and a certificate by it for `address` and the controller's name: the three files
/// of `tls …` in smb.conf.
fn make_certificates(dir: &Path, address: Ipv4Addr, domain: Domain) -> (String, String, String) {
    authority(dir, ["ca", "ca"], "Test-CA");
    let names = format!("subjectAltName=DNS:localhost,DNS:dc.{},IP:{address}", domain.name);
    certificate(dir, ["ca", "ca"], "server", "dc", &names);
    let path = |name: &str| dir.join(name).display().to_string();
    (path("ca.pem"), path("server.pem"), path("server.key"))
}
