//! Signing in without a password: by a client certificate.

use idpsyncd::directory::Snapshot;
use idpsyncd::source::SourceError;
use idpsyncd::source::ldap::{ClientCert, LdapConfig};

use super::company;
use super::support::ldap::*;
use super::support::openldap::*;

/// A server that takes `cn=idpsyncd` for its reader and shows nothing to anybody else. `verify` is its
/// `TLSVerifyClient`.
fn server(verify: &str) -> Option<OpenLdap> {
    let extra = format!(
        "#global TLSVerifyClient {verify}\n\
         #global authz-regexp ^cn=idpsyncd$ cn=reader,ou=services,{SUFFIX}\n\
         access to attrs=userPassword by anonymous auth\n\
         access to * by dn.exact=cn=reader,ou=services,{SUFFIX} read by * none\n"
    );
    OpenLdap::start_tls(&company(), &extra)
}

/// A configuration with this certificate and without a password.
fn by_cert(server: &OpenLdap, [cert_file, key_file]: [std::path::PathBuf; 2]) -> LdapConfig {
    LdapConfig {
        ca_file: Some(server.ca_file()),
        client_cert: Some(ClientCert { cert_file, key_file }),
        ..at(&server.ldaps_url)
    }
}

fn start_tls(server: &OpenLdap, config: LdapConfig) -> LdapConfig {
    let url = format!("ldap://localhost:{}", server.port).parse().unwrap();
    LdapConfig { urls: vec![url], start_tls: true, ..config }
}

fn assert_whole(read: Result<Snapshot, SourceError>) {
    let snapshot = read.unwrap();
    assert_complete(&snapshot);
    assert_eq!(usernames(&snapshot), ["alice", "bob", "carol"]);
}

#[test]
fn a_client_certificate_signs_in_without_a_password() {
    let Some(server) = server("demand") else { return };
    let config = by_cert(&server, server.client_cert("idpsyncd", false));
    assert_whole(read(&config));
    assert_whole(read(&start_tls(&server, config.clone())));
    if let Some([ldap, ldaps]) = &server.ipv6 {
        let at = |url: &str| vec![url.parse().unwrap()];
        assert_whole(read(&LdapConfig { urls: at(ldaps), ..config.clone() }));
        let by_address = LdapConfig { urls: at(ldap), start_tls: true, ..config.clone() };
        assert_whole(read(&by_address));
    }
    let findings = check(&config);
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(sighting(&config, &[], "alice").len(), 1);

    // Beside a password it is what the server wants of every client.
    let with_password = LdapConfig {
        client_cert: config.client_cert.clone(),
        ca_file: config.ca_file.clone(),
        urls: config.urls.clone(),
        ..reader(&server)
    };
    assert_whole(read(&with_password));
    let error = read(&LdapConfig { client_cert: None, ..with_password }).unwrap_err();
    assert!(error.message.contains("signing in"), "{error}");
}

#[test]
fn a_certificate_that_is_not_taken_is_told_and_brings_nothing() {
    let Some(server) = server("demand") else { return };
    let foreign = by_cert(&server, server.client_cert("idpsyncd", true));
    for config in [foreign.clone(), start_tls(&server, foreign)] {
        let error = read(&config).unwrap_err();
        assert!(error.message.contains("does not trust the certificate"), "{error}");
    }
    // Trusted, and nobody whom the server shows anything.
    let error = read(&by_cert(&server, server.client_cert("other", false))).unwrap_err();
    assert!(!error.message.is_empty());

    let [cert_file, key_file] = server.client_cert("idpsyncd", false);
    let [_, other_key] = server.client_cert("other", false);
    let gone = server.dir.path().join("gone.pem");
    for (cert_file, key_file, why) in [
        (cert_file.clone(), other_key, "cannot be used"),
        (gone.clone(), key_file.clone(), "cannot read `cert_file`"),
        (cert_file.clone(), gone, "cannot read a private key from `key_file`"),
        (key_file, cert_file, "holds no certificate"),
    ] {
        let error = read(&by_cert(&server, [cert_file, key_file])).unwrap_err();
        assert!(error.message.contains(why), "{error}");
        assert!(!error.transient);
    }
}

#[test]
fn a_server_that_asks_for_no_certificate_is_told_what_to_do() {
    let Some(server) = server("never") else { return };
    let error = read(&by_cert(&server, server.client_cert("idpsyncd", false))).unwrap_err();
    assert!(error.message.contains("TLSVerifyClient"), "{error}");
    assert!(!error.transient, "{error}");
}
