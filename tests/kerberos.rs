//! Signing in by Kerberos at a real Active Directory domain controller (Samba's), which is the Kerberos
//! server too. Needs the feature `gssapi` (docs/configuration.md).
#![cfg(test)]

mod support;

use std::path::Path;
use std::process::Output;

use base64::Engine as _;

use support::fake_dns::FakeDns;
use support::idpsyncd::Home;
use support::samba::{AD, PASSWORD, Samba, dn, group, user};

/// An account that signs in, with a password.
fn service(password: &str) -> String {
    format!("userAccountControl: 512\nunicodePwd:: {}\n", quoted(password))
}

/// A password as the attribute `unicodePwd` has it.
fn quoted(password: &str) -> String {
    let quoted: Vec<u8> =
        format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).collect();
    base64::engine::general_purpose::STANDARD.encode(quoted)
}

/// A configuration that reads `dc` at `url`, whose name this DNS knows.
fn config(dc: &Samba, dns: &FakeDns, url: &str) -> String {
    format!(
        r#"
[store]
path = "store.db"

[[source]]
name = "ad"
kind = "ldap"
url = "{url}"
dns_servers = ["{dns}"]
ca_file = "{ca}"
sasl = "GSSAPI"
flavor = "active-directory"
users = {{ base = "CN=Users,{suffix}", filter = "(&(objectCategory=person)(objectClass=user))", username = "sAMAccountName" }}
groups = {{ base = "CN=Users,{suffix}", filter = "(objectClass=group)" }}

[roles.engineer]
external_roles = ["engineers"]
[[roles.engineer.policies]]
actions = ["code:Read"]
resources = ["*"]
"#,
        dns = dns.address,
        ca = dc.ca_file().display(),
        suffix = AD.suffix,
    )
}

/// What MIT's library needs to know, written to the home's folder: the Kerberos server is at `kdc`.
fn realm(home: &Home, kdc: &str) {
    let realm = AD.name.to_uppercase();
    let text = format!(
        "[libdefaults]\ndefault_realm = {realm}\ndns_lookup_kdc = false\nrdns = false\n\
         dns_canonicalize_hostname = false\nudp_preference_limit = 1\n\
         [realms]\n{realm} = {{\n kdc = {kdc}\n}}\n[domain_realm]\n.{} = {realm}\n",
        AD.name
    );
    std::fs::write(home.path("krb5.conf"), text).unwrap();
}

/// Runs a command with a keytab.
fn run(home: &Home, keytab: &Path, args: &[&str]) -> Output {
    let mut command = home.command(args);
    command
        .env("KRB5_CONFIG", home.path("krb5.conf"))
        .env("KRB5_CLIENT_KTNAME", keytab)
        .env("KRB5CCNAME", "MEMORY:");
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn a_keytab_signs_in_and_a_refused_key_is_sent_once() {
    let ldif = [
        user("svc", &service(PASSWORD)),
        user("alice", ""),
        group("engineers", &[dn("alice")], ""),
    ]
    .concat();
    let Some(dc) = Samba::start_with_kerberos(AD, &ldif) else { return };
    // A controller registers this by a task of its own, which does not run here.
    dc.modify(
        "dn: CN=DC,OU=Domain Controllers,SUFFIX\nchangetype: modify\nadd: servicePrincipalName\n\
         servicePrincipalName: ldap/dc.ad.example.org\n",
    );
    let dns = FakeDns::start_zone(AD.name, dc.address, &[]);
    let keytab = dc.keytab("svc", "svc.keytab");
    let home = Home::new("");
    realm(&home, &dc.address.to_string());

    // The controller wants the channel binding of its certificate where TLS is spoken.
    let ldaps = config(&dc, &dns, "ldaps://dc.ad.example.org");
    let with_start_tls =
        config(&dc, &dns, "ldap://dc.ad.example.org").replace("sasl =", "start_tls = true\nsasl =");
    for config in [ldaps, with_start_tls] {
        home.configure(&config);
        let output = run(&home, &keytab, &["sync", "--dry-run"]);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.contains("alice") && told.contains("engineer"), "{told}");
    }
    home.configure(&config(&dc, &dns, "ldap://dc.ad.example.org"));
    let output = run(&home, &keytab, &["sync", "--dry-run"]);
    assert!(text(&output).contains("Kerberos signs in over TLS only"), "{}", text(&output));
    home.configure(&config(&dc, &dns, "ldaps://dc.ad.example.org"));

    // A keytab that is not there.
    let output = run(&home, &home.path("none.keytab"), &["sync", "--dry-run"]);
    assert!(text(&output).contains("KRB5_CLIENT_KTNAME"), "{}", text(&output));

    // The directory is there, and no Kerberos server.
    realm(&home, "127.0.0.1:1");
    let output = run(&home, &keytab, &["sync", "--dry-run"]);
    assert!(text(&output).contains("no Kerberos server answers"), "{}", text(&output));
    assert_ne!(output.status.code(), Some(0), "{}", text(&output));
    realm(&home, &dc.address.to_string());

    dc.modify("dn: SUFFIX\nchangetype: modify\nreplace: lockoutThreshold\nlockoutThreshold: 9\n");
    // The password was changed: the key is an old one, and each use of it counts as a wrong password
    // (but for those of the last two passwords).
    for password in ["Second-4711-secret", "Third-4711-secret", "Fourth-4711-secret"] {
        dc.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: unicodePwd\nunicodePwd:: {}\n",
            dc.dn("svc"),
            quoted(password)
        ));
    }
    let url = "[\"ldaps://dc.ad.example.org\", \"ldaps://other.ad.example.org\"]";
    home.configure(&config(&dc, &dns, "URL").replace("\"URL\"", url));
    let output = run(&home, &keytab, &["sync", "--dry-run"]);
    assert!(text(&output).contains("the Kerberos server refused the key"), "{}", text(&output));
    let entry = dc.search(&["(sAMAccountName=svc)", "badPwdCount"]);
    assert!(entry.contains("badPwdCount: 1"), "sent once: {entry}");
}
