//! What accounts of mirrors are found by. SQLite folds ASCII only, so a row holds the forms of a name
//! that is compared otherwise; of a name in plain ASCII there is nothing to hold, and most are.

use std::borrow::Cow;

use crate::store::sql::db::{Conn, params};

use super::error::Fault;
use super::load::text;
use super::mirror::kind;
use crate::directory::Kind;
use crate::directory::value::folded;
use crate::model::username::canonical;

/// Accounts by their external id. Under a collation that is named texts are found by their hash in PostgreSQL.
pub(super) const BY_EXT: &str = "ext = ?3 COLLATE BINARY";
/// By their username in ASCII's lower case.
pub(super) const BY_USERNAME: &str = "username = ?3 COLLATE NOCASE";
/// The same by their address. What the index is of stands beside it.
pub(super) const BY_EMAIL: &str = "email <> '' AND email = ?3 COLLATE NOCASE";
/// By the columns of [`Forms`].
pub(super) const BY_CALLED: &str = "called = ?3";
pub(super) const BY_CALLED_EMAIL: &str = "called_email = ?3";
pub(super) const BY_ADDRESS: &str = "address = ?3";

/// The version of the forms: another one where names come to be compared otherwise.
const VERSION: i64 = 2;

/// The columns `called`, `called_email` and `address`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Forms {
    pub(super) called: Option<String>,
    pub(super) called_email: Option<String>,
    pub(super) address: Option<String>,
}

impl Forms {
    /// The forms of an account.
    pub(super) fn of(username: &str, email: &str) -> Self {
        let called = |text: &str| {
            let called = canonical(text).ok()?;
            (called != text.to_ascii_lowercase()).then(|| called.into_owned())
        };
        Forms {
            called: Some(username).filter(|it| !is_plain(it)).and_then(called),
            called_email: Some(email).filter(|it| !is_plain(it)).and_then(called),
            address: Some(email).filter(|it| !it.is_ascii()).and_then(|email| {
                let address = email.to_lowercase();
                (address != email.to_ascii_lowercase()).then_some(address)
            }),
        }
    }
}

/// What a reference's row is found by beside its key and identity: a group's bare name, folded.
pub(super) fn bare(kind: Kind, name: &str) -> Option<Cow<'_, str>> {
    (kind == Kind::Group).then(|| folded(name))
}

/// Whether a text is its own canonical form but for ASCII's case, or none at all.
fn is_plain(text: &str) -> bool {
    text.is_ascii() && text.trim() == text
}

/// Whether the forms of the store's names are those of this program.
pub(in crate::store) fn are_current(conn: Conn<'_>) -> Result<bool, Fault> {
    let version: i64 = conn.query_row("SELECT names FROM meta", [], |row| row.get(0))?;
    Ok(version == VERSION)
}

/// Refuses to look for anybody by names of another version.
pub(super) fn must_be_current(conn: Conn<'_>) -> Result<(), Fault> {
    if are_current(conn)? { Ok(()) } else { Err(Fault::Names) }
}

/// Makes the forms of every name in the store anew: once, after an older program.
pub(in crate::store) fn make(conn: Conn<'_>) -> Result<(), Fault> {
    if are_current(conn)? {
        return Ok(());
    }
    let mut found = Vec::new();
    let mut statement =
        conn.prepare("SELECT id, username, email, called, called_email, address FROM mirror_user")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let forms = Forms::of(text(row, 1)?, text(row, 2)?);
        let there = Forms { called: row.get(3)?, called_email: row.get(4)?, address: row.get(5)? };
        if forms != there {
            found.push((row.get::<_, i64>(0)?, forms));
        }
    }
    let mut write = conn.prepare(
        "UPDATE mirror_user SET called = ?2, called_email = ?3, address = ?4 WHERE id = ?1",
    )?;
    for (id, Forms { called, called_email, address }) in found {
        write.execute(params![id, called, called_email, address])?;
    }
    make_bare(conn)?;
    conn.execute("UPDATE meta SET names = ?1", [VERSION])?;
    Ok(())
}

fn make_bare(conn: Conn<'_>) -> Result<(), Fault> {
    let mut found = Vec::new();
    let mut statement = conn.prepare("SELECT id, kind, name, bare FROM mirror_container")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let bare = bare(kind(row.get(1)?)?, text(row, 2)?);
        if bare.as_deref() != row.get_ref(3)?.as_str_or_null()? {
            found.push((row.get::<_, i64>(0)?, bare.map(Cow::into_owned)));
        }
    }
    let mut write = conn.prepare("UPDATE mirror_container SET bare = ?2 WHERE id = ?1")?;
    for (id, bare) in found {
        write.execute(params![id, bare])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_its_form_or_by_itself_in_ascii_lower_case() {
        let names = [
            "ann",
            "Ann",
            "ANN@Example.org",
            " ann",
            "ann\t",
            "ÉMILE",
            "émile",
            "Ａｌｉｃｅ",
            "김철수",
            "\u{212a}elvin",
            "ΣΊΣΥΦΟΣ",
            "İbrahim",
            "straße",
            "STRASSE",
            "a b",
            "",
            "\u{200b}a",
            "e\u{301}",
            "É@Example.org",
        ];
        for raw in names {
            let Forms { called, called_email, address } = Forms::of(raw, raw);
            assert_eq!(called, called_email);
            match canonical(raw) {
                Ok(name) => {
                    let found = called.as_deref() == Some(&name) || raw.eq_ignore_ascii_case(&name);
                    assert!(found, "{raw:?}: {called:?}");
                }
                Err(_) => assert_eq!(called, None, "{raw:?}"),
            }
            let lower = raw.to_lowercase();
            assert!(
                address.as_ref() == Some(&lower) || raw.eq_ignore_ascii_case(&lower),
                "{raw:?}"
            );
        }
    }
}
