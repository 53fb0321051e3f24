//! A real OpenLDAP for tests: its own folder, a free loopback port, killed when dropped.
//!
//! ```ignore
//! let Some(server) = openldap::OpenLdap::start(ldif, "") else { return };
//! ```
//!
//! The suffix is [`SUFFIX`], the root DN [`ROOT_DN`] with [`ROOT_PASSWORD`]. Everyone may read
//! everything unless `conf_extra` says otherwise. Everything blocks; no state is shared.
//!
//! Where `slapd` is not installed: with `CI=true` that is a failure, else the test prints
//! `skipped: …` and `start` returns `None`.
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::{
    Authority, KEY, Process, authority, certificate, fed, free_port, openssl, run, text,
};
use super::skip;

/// What everything is below.
pub const SUFFIX: &str = "dc=example,dc=org";
/// Who may do everything.
pub const ROOT_DN: &str = "cn=admin,dc=example,dc=org";
/// Its password.
pub const ROOT_PASSWORD: &str = "root-secret-4711";

/// A running server.
pub struct OpenLdap {
    /// `ldap://127.0.0.1:PORT`
    pub url: String,
    /// `ldaps://localhost:PORT`; empty unless started with TLS.
    pub ldaps_url: String,
    /// `ldap://[::1]:PORT` and `ldaps://[::1]:PORT`; absent unless started with TLS, and on a
    /// machine without IPv6.
    pub ipv6: Option<[String; 2]>,
    /// `ldapi://%2F…`
    pub ldapi_url: String,
    /// The port of [`OpenLdap::url`].
    pub port: u16,
    /// Its folder: `slapd.conf`, `db/`, and with TLS `ca.pem` and `other-ca.pem`.
    pub dir: tempfile::TempDir,
    process: Option<Process>,
    listen: String,
}

impl OpenLdap {
    /// Starts a server that holds `ldif`. `conf_extra` is appended to the database section of its
    /// configuration: `limits`, `access`, `overlay` and their directives (a first line
    /// `moduleload X` loads a module; `#global` before a line puts it before the database).
    pub fn start(ldif: &str, conf_extra: &str) -> Option<OpenLdap> {
        Self::start_as(ldif, conf_extra, Tls::No)
    }

    /// The same with `ldaps://localhost` and StartTLS, by a certificate for `localhost` and `::1`
    /// (not for `127.0.0.1`) from an authority of its own, `ca.pem`.
    pub fn start_tls(ldif: &str, conf_extra: &str) -> Option<OpenLdap> {
        Self::start_as(ldif, conf_extra, Tls::Issued)
    }

    /// The same by a certificate that it signed itself, `ca.pem`.
    pub fn start_self_signed(ldif: &str, conf_extra: &str) -> Option<OpenLdap> {
        Self::start_as(ldif, conf_extra, Tls::SelfSigned)
    }

    fn start_as(ldif: &str, conf_extra: &str, tls: Tls) -> Option<OpenLdap> {
        if !skip::has("slapd") || !skip::has("slapadd") {
            skip::skip(&skip::test(), "slapd is not installed (Debian: slapd ldap-utils)");
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path();
        std::fs::create_dir(path.join("db")).expect("a database folder");
        std::fs::write(path.join("data.ldif"), ldif).expect("the LDIF");
        if tls != Tls::No {
            make_certificates(path, tls);
        }
        std::fs::write(path.join("slapd.conf"), conf(path, conf_extra, tls != Tls::No))
            .expect("slapd.conf");
        let slapadd = run(Command::new("slapadd")
            .args(["-q", "-b", SUFFIX, "-f"])
            .arg(path.join("slapd.conf"))
            .arg("-l")
            .arg(path.join("data.ldif")));
        assert!(slapadd.status.success(), "slapadd: {}", text(&slapadd.stderr));
        let socket = path.join("ldapi");
        let ldapi_url = format!("ldapi://{}", socket.display().to_string().replace('/', "%2F"));
        let mut server = OpenLdap {
            url: String::new(),
            ldaps_url: String::new(),
            ipv6: None,
            ldapi_url,
            port: 0,
            dir,
            process: None,
            listen: String::new(),
        };
        // A free port can be taken by another test between being found and being used.
        for _ in 0..5 {
            server.port = free_port();
            server.url = format!("ldap://127.0.0.1:{}", server.port);
            server.listen = format!("{}/ {}", server.url, server.ldapi_url);
            if tls != Tls::No {
                let port = free_port();
                server.ldaps_url = format!("ldaps://localhost:{port}");
                server.listen += &format!(" ldaps://127.0.0.1:{port}/");
                if TcpListener::bind("[::1]:0").is_ok() {
                    let urls =
                        ["ldap", "ldaps"].map(|kind| format!("{kind}://[::1]:{}", free_port()));
                    server.listen += &format!(" {}/ {}/", urls[0], urls[1]);
                    server.ipv6 = Some(urls);
                }
            }
            if server.start_again() {
                return Some(server);
            }
        }
        panic!("slapd does not start");
    }

    /// Starts it again after [`OpenLdap::kill`], on the same port with the same data. Whether it
    /// answers.
    pub fn start_again(&mut self) -> bool {
        let mut slapd = Command::new("slapd");
        slapd
            .arg("-f")
            .arg(self.dir.path().join("slapd.conf"))
            .args(["-h", &self.listen, "-d", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let answers = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        self.process = Process::start(&mut slapd, answers);
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

    /// Applies LDIF change records as the root DN with `ldapmodify`.
    pub fn modify(&self, changes: &str) {
        fed(
            Command::new("ldapmodify").args([
                "-x",
                "-H",
                &self.url,
                "-D",
                ROOT_DN,
                "-w",
                ROOT_PASSWORD,
            ]),
            changes,
        )
        .unwrap_or_else(|told| panic!("ldapmodify: {told}"));
    }

    /// `ldapsearch -LLL` as the root DN; what it prints.
    pub fn search(&self, arguments: &[&str]) -> String {
        let output = run(Command::new("ldapsearch")
            .args(["-LLL", "-x", "-o", "ldif-wrap=no", "-H", &self.url])
            .args(["-D", ROOT_DN, "-w", ROOT_PASSWORD, "-b", SUFFIX])
            .args(arguments));
        assert!(output.status.success(), "ldapsearch: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The CA certificate that signed the server's (with TLS).
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A client's certificate with the subject `cn=CN`, and its key, by the authority of [`Self::ca_file`]
    /// or, with `other`, by the one of [`Self::other_ca_file`] (with TLS).
    pub fn client_cert(&self, cn: &str, other: bool) -> [PathBuf; 2] {
        let (dir, by) = (self.dir.path(), if other { OTHER_CA } else { CA });
        let name = format!("{cn}-by-{}", by[1]);
        // Without an extension it is one of version 1, whose key nobody can compare.
        certificate(dir, by, &name, cn, "extendedKeyUsage=clientAuth");
        [dir.join(format!("{name}.pem")), dir.join(format!("{name}.key"))]
    }

    /// A CA certificate that did not.
    pub fn other_ca_file(&self) -> PathBuf {
        self.dir.path().join("other-ca.pem")
    }
}

/// The entries that everything else is below: the suffix, `ou=people`, `ou=groups`,
/// `ou=services` and the reader `cn=reader,ou=services` with the password `reader-secret`.
pub fn tree() -> String {
    format!(
        "dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n\
         dn: ou=people,{SUFFIX}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=groups,{SUFFIX}\nobjectClass: organizationalUnit\nou: groups\n\n\
         dn: ou=services,{SUFFIX}\nobjectClass: organizationalUnit\nou: services\n\n\
         dn: cn=reader,ou=services,{SUFFIX}\nobjectClass: organizationalRole\n\
         objectClass: simpleSecurityObject\ncn: reader\nuserPassword: reader-secret\n\n"
    )
}

/// A person `uid=UID,ou=people`. `extra` are further lines of LDIF, each with its line
/// end, object classes first.
pub fn person(uid: &str, extra: &str) -> String {
    format!(
        "dn: uid={uid},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\n{extra}uid: {uid}\n\
         cn: {uid}\nsn: {uid}\nmail: {uid}@example.org\n\n"
    )
}

/// A groupOfNames `cn=CN,ou=groups` with members given by DN.
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

fn conf(dir: &Path, extra: &str, tls: bool) -> String {
    let schema = |name: &str| format!("include /etc/ldap/schema/{name}.schema\n");
    let mut conf: String = ["core", "cosine", "nis", "inetorgperson"].map(schema).concat();
    conf += "modulepath /usr/lib/ldap\nmoduleload back_mdb\n";
    let mut database = String::new();
    for line in extra.lines() {
        match (line.strip_prefix("#global "), line.starts_with("moduleload ")) {
            (Some(line), _) => conf += &format!("{line}\n"),
            (None, true) => conf += &format!("{line}\n"),
            (None, false) => database += &format!("{line}\n"),
        }
    }
    if tls {
        let path = |name: &str| dir.join(name).display().to_string();
        conf += &format!("TLSCACertificateFile {}\n", path("ca.pem"));
        conf += &format!("TLSCertificateFile {}\n", path("server.pem"));
        conf += &format!("TLSCertificateKeyFile {}\n", path("server.key"));
    }
    let db = dir.join("db").display().to_string();
    let pid = dir.join("slapd.pid").display().to_string();
    conf += &format!(
        "pidfile {pid}\ndatabase mdb\nsuffix {SUFFIX}\nrootdn {ROOT_DN}\nrootpw {ROOT_PASSWORD}\n\
         directory {db}\nmaxsize 4294967296\ndbnosync\nindex objectClass,entryUUID,uid eq\n"
    );
    conf + &database
}

/// By what certificate a server is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    No,
    Issued,
    SelfSigned,
}

const CA: Authority = ["ca", "ca"];
const OTHER_CA: Authority = ["other-ca", "other"];

/// A CA, a certificate for `localhost` by it (or the CA's own), and another CA.
fn make_certificates(dir: &Path, tls: Tls) {
    authority(dir, OTHER_CA, "Other-CA");
    if tls == Tls::Issued {
        authority(dir, CA, "Test-CA");
        let names = "subjectAltName=DNS:localhost,IP:::1";
        return certificate(dir, CA, "server", "localhost", names);
    }
    let itself = "-subj /CN=localhost -addext subjectAltName=DNS:localhost";
    openssl(dir, &format!("req -x509 {KEY} -keyout server.key -out ca.pem {itself}"));
    std::fs::copy(dir.join("ca.pem"), dir.join("server.pem")).expect("a copy");
}
