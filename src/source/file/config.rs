//! `kind = "file"`: its keys, and what follows from them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::FileSource;
use crate::config::{
    ClaimedNames, Code, KindSettings, Names, Node, Read, SourceKind, SourceTable, TableForm,
};
use crate::model::encoding::Encoder;
use crate::source::keycloak::{self, clients, realm_name};
use crate::source::ldap::{self, LdapGroups, LdapUsers};
use crate::source::{Kind, Source, SourceError};

/// `kind = "file"` with `realm_export`
#[derive(Clone, Debug)]
pub struct RealmExportConfig {
    /// The export.
    pub path: PathBuf,
    /// Which realm of several; absent: the only one.
    pub realm: Option<String>,
    /// The clients whose client roles count.
    pub clients: Vec<String>,
    /// Service accounts are people too. Default false.
    pub service_accounts: bool,
}

/// `kind = "file"` with `ldif`
#[derive(Clone, Debug)]
pub struct LdifConfig {
    /// The LDIF.
    pub path: PathBuf,
    /// Where the people are. Base `""` is everywhere.
    pub users: LdapUsers,
    /// Where the groups are. Base `""` is everywhere. Absent: it has none.
    pub groups: Option<LdapGroups>,
}

/// The kind `file`.
pub(crate) struct File;

const REALM_EXPORT: TableForm = TableForm {
    of: "a file source with `realm_export`",
    keys: &["realm_export", "realm", "clients", "service_accounts"],
};
const LDIF: TableForm = TableForm {
    of: "a file source with `ldif`",
    keys: &["ldif", "email_verified", "users", "groups"],
};

impl SourceKind for File {
    fn word(&self) -> &'static str {
        "file"
    }

    fn forms(&self) -> &'static [TableForm] {
        &[REALM_EXPORT, LDIF]
    }

    fn read(&self, table: &mut SourceTable<'_, '_>) -> Read<Arc<dyn KindSettings>> {
        match (table.has("realm_export"), table.has("ldif")) {
            (true, false) => {
                table.facts.names = Some(Names::Exact);
                let path = table.required("realm_export", Node::path);
                let realm = table.optional("realm", realm_name);
                let clients = clients(table);
                let service_accounts = table.or("service_accounts", false, Node::boolean);
                table.finish("beside `realm_export`", &[&REALM_EXPORT]);
                Ok(Arc::new(RealmExportConfig {
                    path: path?,
                    realm: realm?,
                    clients: clients?,
                    service_accounts: service_accounts?,
                }))
            }
            (false, true) => {
                table.facts.names = Some(Names::Folded);
                let path = table.required("ldif", Node::path);
                let users = ldap::users(table, false);
                let groups = ldap::groups(table, false);
                table.finish("beside `ldif`", &[&LDIF]);
                Ok(Arc::new(LdifConfig { path: path?, users: users?, groups: groups? }))
            }
            (both, _) => {
                for key in REALM_EXPORT.keys.iter().chain(LDIF.keys) {
                    table.get(key);
                }
                table.finish("for `kind = \"file\"`", &[&REALM_EXPORT, &LDIF]);
                if let (false, Some(reported)) = (both, table.meant(&["realm_export", "ldif"])) {
                    return Err(reported);
                }
                Err(if both {
                    table.fault(
                        Code::Conflict,
                        "has `realm_export` and `ldif`: make two sources of them",
                    )
                } else {
                    table.missing("realm_export", "a file source needs `realm_export` or `ldif`")
                })
            }
        }
    }
}

impl Kind for File {
    fn open(&self, name: &str, own: &dyn KindSettings) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(FileSource::new(name, own)?))
    }
}

impl KindSettings for RealmExportConfig {
    fn word(&self) -> &'static str {
        "file"
    }

    fn names(&self) -> Names {
        Names::Exact
    }

    fn without_ids(&self) -> bool {
        true
    }

    fn how_to_have_ids(&self) -> Option<&'static str> {
        Some("let each user have its `id`, as `kc.sh export` writes it")
    }

    fn encode(&self, to: &mut Encoder) {
        let RealmExportConfig { path, realm, clients, service_accounts } = self;
        to.text("realm_export");
        to.text(&path.to_string_lossy());
        to.maybe(realm.as_ref().map(|realm| [realm]));
        to.list(clients);
        to.flag(*service_accounts);
    }

    fn clients(&self) -> &[String] {
        &self.clients
    }

    fn claimed<'c>(&self, claim: &'c str) -> ClaimedNames<'c> {
        keycloak::claimed(claim)
    }

    /// A file is read in whole for each, and there is nothing to wait for.
    fn for_lookups(&self, _: usize, _: Duration) -> Arc<dyn KindSettings> {
        Arc::new(self.clone())
    }
}

impl KindSettings for LdifConfig {
    fn word(&self) -> &'static str {
        "file"
    }

    fn names(&self) -> Names {
        Names::Folded
    }

    fn without_ids(&self) -> bool {
        true
    }

    fn how_to_have_ids(&self) -> Option<&'static str> {
        Some(
            "export the ids as well (`entryUUID`, `nsUniqueId` or `objectGUID`): `ldapsearch` writes them \
             where `'*' +` stands behind the filter, `slapcat` always",
        )
    }

    fn encode(&self, to: &mut Encoder) {
        let LdifConfig { path, users, groups } = self;
        to.text("ldif");
        to.text(&path.to_string_lossy());
        users.encode(to);
        ldap::encode_groups(groups.as_ref(), to);
    }

    fn claimed<'c>(&self, claim: &'c str) -> ClaimedNames<'c> {
        keycloak::claimed(claim)
    }

    /// As a realm's export.
    fn for_lookups(&self, _: usize, _: Duration) -> Arc<dyn KindSettings> {
        Arc::new(self.clone())
    }
}
