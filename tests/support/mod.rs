//! What the tests share: real servers and fakes, the program at work, stores. A file of tests says
//! `mod support;` and takes what it needs.

#![expect(dead_code, reason = "each file of tests needs a part of it")]

pub mod ad;
pub mod asking;
pub mod company;
pub mod done;
pub mod door;
pub mod ds389;
pub mod fake_dns;
pub mod fake_ldap;
pub mod fed_mirror;
pub mod gateways;
pub mod idpsyncd;
pub mod in_process;
pub mod kc_organizations;
pub mod kc_slapd;
pub mod kc_snapshot;
pub mod keycloak;
pub mod ldap;
pub mod meddle;
pub mod openldap;
pub mod pgbouncer;
pub mod postgres;
pub mod samba;
pub mod server;
pub mod skip;
pub mod slow_keycloak;
pub mod wire_proxy;
