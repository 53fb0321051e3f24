//! How a domain of [`super::samba`] is read.

use idpsyncd::config::SecretRef;
use idpsyncd::source::ldap::{LdapConfig, LdapGroups, LdapUsers};

use super::ldap;
use super::samba::{ADMIN, PASSWORD, Samba, user};

/// Whom rules mean by people.
pub const USERS: &str = "(&(objectCategory=person)(objectClass=user))";

/// An account that may read, with [`PASSWORD`].
pub fn service() -> String {
    use base64::Engine as _;
    let quoted: Vec<u8> =
        format!("\"{PASSWORD}\"").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let password = base64::engine::general_purpose::STANDARD.encode(quoted);
    user("reader", &format!("userAccountControl: 512\nunicodePwd:: {password}\n"))
}

/// A configuration that reads the whole domain of `dc` over LDAPS, as the administrator.
pub fn whole(dc: &Samba) -> LdapConfig {
    let path = dc.dir.path().join("admin-secret");
    std::fs::write(&path, PASSWORD).unwrap();
    let suffix = dc.domain.suffix.to_owned();
    let at = ldap::at(&dc.ldaps_url);
    LdapConfig {
        ca_file: Some(dc.ca_file()),
        bind_dn: Some(dc.dn(ADMIN)),
        bind_password: Some(SecretRef::File(path)),
        users: LdapUsers {
            base: suffix.clone(),
            filter: USERS.to_owned(),
            username: "sAMAccountName".to_owned(),
            ..at.users
        },
        groups: at.groups.map(|groups| LdapGroups {
            base: suffix,
            filter: "(objectClass=group)".to_owned(),
            ..groups
        }),
        ..at
    }
}
