//! Servers that DNS names for a domain.

use idpsyncd::source::ldap::LdapConfig;

use super::support::fake_dns::{FakeDns, Srv};
use super::support::ldap::*;
use super::support::openldap::*;
use super::{UdpSocket, company};

const EVERYWHERE: &str = "_ldap._tcp.example.com";
const OF_SITE: &str = "_ldap._tcp.Berlin._sites.example.com";

/// A directory with one person alone.
fn of(uid: &str) -> Option<OpenLdap> {
    OpenLdap::start(&[tree(), person(uid, ""), group("g", &[person_dn(uid)])].concat(), "")
}

fn by_dns(server: &OpenLdap, dns: &FakeDns) -> LdapConfig {
    LdapConfig {
        urls: vec!["srv:example.com".parse().unwrap()],
        dns_servers: vec![dns.address],
        ..reader(server)
    }
}

fn people(config: &LdapConfig) -> Vec<String> {
    let snapshot = read(config).unwrap();
    assert_complete(&snapshot);
    usernames(&snapshot).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_domains_servers_are_tried_by_priority_until_one_answers() {
    let (Some(first), Some(second)) = (of("first"), of("second")) else { return };
    let start = |records: &[Srv]| FakeDns::start(&[(EVERYWHERE, records)]);
    let (one, two) = (first.port, second.port);
    let dns = start(&[(20, 0, one, "dc1.example.com"), (10, 0, two, "dc2.example.com")]);
    assert_eq!(people(&by_dns(&first, &dns)), ["second"]);
    assert_eq!(sighting(&by_dns(&first, &dns), &[], "second").len(), 1);
    let dead = dead_port();
    let dns = start(&[
        (0, 10, dead, "dc1.example.com"),
        (0, 20, dead, "dc2.example.com"),
        (1, 0, one, "dc3.example.com"),
        (2, 0, two, "dc4.example.com"),
    ]);
    assert_eq!(people(&by_dns(&first, &dns)), ["first"]);

    // Beside URLs, in the order of the list.
    let mut config = by_dns(&first, &dns);
    config.urls.insert(0, second.url.parse().unwrap());
    assert_eq!(people(&config), ["second"]);
    config.urls.reverse();
    assert_eq!(people(&config), ["first"]);

    let dns = start(&[(0, 0, dead, "dc1.example.com"), (0, 0, dead, "dc2.example.com")]);
    let error = read(&by_dns(&first, &dns)).unwrap_err();
    assert!(error.message.contains("dc1.example.com") && error.message.contains("dc2"), "{error}");
    assert!(error.transient, "{error}");
}

#[test]
fn the_servers_of_a_site_come_first_and_the_others_after() {
    let (Some(near), Some(far)) = (of("near"), of("far")) else { return };
    let with =
        |config: LdapConfig, site: &str| LdapConfig { site: Some(site.to_owned()), ..config };
    let all: &[Srv] = &[(0, 0, far.port, "dc1.example.com"), (5, 0, near.port, "dc2.example.com")];
    let of_site: &[Srv] = &[(9, 0, near.port, "dc2.example.com")];
    let lower = OF_SITE.to_ascii_lowercase();
    let dns = FakeDns::start(&[(EVERYWHERE, all), (&lower, of_site)]);
    assert_eq!(people(&with(by_dns(&near, &dns), "Berlin")), ["near"]);
    assert_eq!(*dns.asked.lock().unwrap(), [lower.as_str(), EVERYWHERE]);
    assert_eq!(people(&by_dns(&near, &dns)), ["far"]);
    assert_eq!(people(&with(by_dns(&near, &dns), "Nowhere")), ["far"], "no such site");
    let gone: &[Srv] = &[(0, 0, dead_port(), "dc2.example.com")];
    let dns = FakeDns::start(&[(EVERYWHERE, all), (&lower, gone)]);
    assert_eq!(people(&with(by_dns(&near, &dns), "Berlin")), ["far"], "nobody is there");
}

#[test]
fn a_domain_without_servers_and_dns_without_an_answer_are_told_apart() {
    let Some(server) = of("alice") else { return };
    let none = FakeDns::start(&[]);
    let error = read(&by_dns(&server, &none)).unwrap_err();
    assert!(error.message.contains("`_ldap._tcp.example.com.`"), "{error}");
    assert!(!error.transient, "{error}");
    // A root as the only target says outright that there is none.
    let said = FakeDns::start(&[(EVERYWHERE, &[(0, 0, 0, "")])]);
    let error = read(&by_dns(&server, &said)).unwrap_err();
    assert!(error.message.contains("has no servers"), "{error}");

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = LdapConfig {
        dns_servers: vec![silent.local_addr().unwrap()],
        timeout: std::time::Duration::from_secs(1),
        ..by_dns(&server, &none)
    };
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("DNS") && error.transient, "{error}");
}

#[test]
fn a_server_that_dns_names_proves_itself_by_its_own_certificate() {
    let Some(server) = OpenLdap::start_tls(&company(), "") else { return };
    let tls_port: u16 = server.ldaps_url.rsplit(':').next().unwrap().parse().unwrap();
    let dns = FakeDns::start(&[(EVERYWHERE, &[(0, 0, server.port, "localhost")])]);
    let config =
        LdapConfig { start_tls: true, ca_file: Some(server.ca_file()), ..by_dns(&server, &dns) };
    assert_eq!(people(&config), ["alice", "bob", "carol"]);
    // By the system's authorities anybody proves some name: only the domain's own count.
    let error = read(&LdapConfig { ca_file: None, ..config.clone() }).unwrap_err();
    assert!(error.message.contains("servers of other domains alone"), "{error}");
    let other = FakeDns::start(&[(EVERYWHERE, &[(0, 0, server.port, "dc1.example.com")])]);
    let error = read(&LdapConfig { dns_servers: vec![other.address], ..config.clone() });
    let error = error.unwrap_err();
    assert!(error.message.contains("is for another name"), "{error}");

    // Names in URLs are asked of the same servers.
    let url = format!("ldaps://localhost:{tls_port}").parse().unwrap();
    assert_eq!(
        people(&LdapConfig { urls: vec![url], start_tls: false, ..config.clone() }).len(),
        3
    );
    let url = format!("ldap://dc7.example.com:{}", server.port).parse().unwrap();
    let clear = LdapConfig { urls: vec![url], start_tls: false, ..config.clone() };
    assert_eq!(people(&clear).len(), 3);
    let url = format!("ldap://dc7.example.org:{}", server.port).parse().unwrap();
    let error = read(&LdapConfig { urls: vec![url], ..clear }).unwrap_err();
    assert!(error.message.contains("DNS has no address for `dc7.example.org.`"), "{error}");
}
