//! Which attribute types a server knows, so that it is not asked for others with every entry:
//! OpenLDAP needs as long to pass over twenty that it does not know as for the rest of a user.

use ldap3::Scope;

use super::account;
use super::connect::Connection;
use super::dialect::Dialect;
use super::entry::Entry;
use super::schema::Schema;
use super::search::{self, Limits, Search};
use super::types::Types;

/// The attribute types in the server's subschema (RFC 4512, section 4.4); `None` where it does not show
/// that.
pub(super) async fn attribute_types(connection: &Connection, limits: Limits) -> Option<Types> {
    let subschema = subschema(connection, limits, "attributeTypes").await?;
    let types = Types::of(subschema.texts("attributetypes"));
    (!types.is_empty()).then_some(types)
}

/// The object classes that the server knows; those that servers commonly have where it does not show
/// them.
pub(super) async fn object_classes(connection: &Connection, limits: Limits) -> Schema {
    let subschema = subschema(connection, limits, "objectClasses").await;
    let schema = subschema.map(|entry| Schema::of(entry.texts("objectclasses")));
    schema.filter(|schema| !schema.is_empty()).unwrap_or_else(|| Schema::common().clone())
}

/// The server's subschema, with this attribute.
async fn subschema(connection: &Connection, limits: Limits, attribute: &str) -> Option<Entry> {
    let root = one(connection, limits, String::new(), "subschemaSubentry").await?;
    let place = root.text("subschemasubentry")?.into_owned();
    one(connection, limits, place, attribute).await
}

/// An entry, with one attribute.
pub(super) async fn one(
    connection: &Connection,
    limits: Limits,
    base: String,
    attribute: &str,
) -> Option<Entry> {
    let search = Search {
        what: "the schema",
        base,
        scope: Scope::Base,
        filter: "(objectClass=*)".to_owned(),
        attributes: vec![attribute.to_owned()],
        page_size: 0,
        as_stored: false,
        dialect: Dialect::OPENLDAP,
    };
    let mut found = None;
    let mut ldap = connection.ldap.clone();
    let end = search::run(&mut ldap, &search, limits, |entry| found = Some(entry), |_| {}).await;
    found.filter(|_| end.fault.is_none())
}

/// `wanted` without the attributes of accounts that are not among the `known` types. What is not
/// in the schema can be in no entry.
pub(super) fn asked(wanted: Vec<String>, known: Option<&Types>) -> Vec<String> {
    let Some(known) = known else { return wanted };
    let of_account = |name: &str| account::attributes().any(|other| other == name);
    let is_known = |name: &String| known.has(name);
    wanted.into_iter().filter(|name| is_known(name) || !of_account(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attributes_of_accounts_that_the_server_does_not_know_are_left_out() {
        let known = Types::of([
            "( 2.5.4.3 NAME ( 'cn' 'commonName' ) DESC 'a name' SUP name )",
            "( 1.3.6.1.1.1.1.10 NAME 'shadowExpire' EQUALITY integerMatch )",
            "( 1.1.9.3 NAME 'LOGINDISABLED' )",
        ]);
        assert!(known.has("commonname") && known.has("shadowexpire"));
        let wanted = ["uid", "myMail", "shadowExpire", "loginDisabled", "krbPrincipalExpiration"];
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        let asked_is = asked(wanted.clone(), Some(&known));
        assert_eq!(asked_is, ["uid", "myMail", "shadowExpire", "loginDisabled"]);
        assert_eq!(asked(wanted.clone(), None), wanted, "no schema: everything");
    }
}
