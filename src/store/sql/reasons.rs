//! How reasons are stored: one row each, with the path as JSON in an encoding that is fixed.
//!
//! A step is `{"kind": "group", "id": "…", "identity": "/Eng/ML"}`. Before schema 4 it was what people
//! read, ``"group `/Eng/ML`"``, without an id. Such a row stays as it is until a sync that knows the
//! ids gives it them ([`renew`]), or somebody's new grant does ([`number`]).

use std::borrow::Cow;

use crate::store::sql::db::{Conn, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::apply::{json, one};
use super::error::{Fault, Mismatch};
use super::load::text;
use super::reader;
use crate::model::{ExternalRef, Kind, Reason, RefKind, TooMany};

/// The word for a kind in a step.
fn word(kind: RefKind) -> &'static str {
    match kind {
        RefKind::Directory(Kind::Group) => "group",
        RefKind::Directory(Kind::RealmRole) => "realm-role",
        RefKind::Directory(Kind::ClientRole) => "client-role",
        RefKind::Directory(Kind::Attribute) => "attribute",
        RefKind::Directory(Kind::ForeignPrincipal) => "foreign-principal",
        RefKind::Directory(Kind::Organization) => "organization",
        RefKind::Directory(Kind::OrganizationGroup) => "organization-group",
        RefKind::TokenClaim => "token-claim",
    }
}

/// A step as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Step<'a> {
    Now {
        kind: Cow<'a, str>,
        id: Cow<'a, str>,
        identity: Cow<'a, str>,
    },
    /// Before schema 4.
    Old(Cow<'a, str>),
}

impl<'a> Step<'a> {
    fn of(it: &'a ExternalRef) -> Self {
        match &it.id {
            Some(id) => Step::Now {
                kind: word(it.kind).into(),
                id: id.into(),
                identity: (&it.identity).into(),
            },
            None => Step::old(it),
        }
    }

    /// The step as it was before schema 4.
    fn old(it: &'a ExternalRef) -> Self {
        Step::Old(it.label().into())
    }

    fn into_ref(self) -> Result<ExternalRef, Fault> {
        let unknown = |what: &str| Fault::Damaged(format!("a reason leads through `{what}`"));
        match self {
            Step::Now { kind, id, identity } => {
                let known = RefKind::ALL.into_iter().find(|known| word(*known) == kind);
                let kind = known.ok_or_else(|| unknown(&kind))?;
                Ok(ExternalRef { kind, id: Some(id.into()), identity: identity.into() })
            }
            Step::Old(label) => ExternalRef::from_label(&label).ok_or_else(|| unknown(&label)),
        }
    }
}

/// A reason, from the columns `source`, `rule`, `path` from `first` on.
pub(super) fn reason(row: Row<'_>, first: usize) -> Result<Reason, Fault> {
    let column = |offset: usize| first.saturating_add(offset);
    let path: Vec<Step<'_>> = reader::json(text(row, column(2))?, "reason's path")?;
    Ok(Reason {
        source: row.get(column(0))?,
        rule: row.get(column(1))?,
        path: path.into_iter().map(Step::into_ref).collect::<Result<_, _>>()?,
    })
}

/// The number of a reason, which is added where it is new.
pub(super) fn number(conn: Conn<'_>, reason: &Reason) -> Result<u32, Fault> {
    let path = json(&reason.path.iter().map(Step::of).collect::<Vec<_>>())?;
    if let Some(num) = find(conn, reason, &path)? {
        return Ok(num);
    }
    let old = json(&reason.path.iter().map(Step::old).collect::<Vec<_>>())?;
    if let Some(num) = find(conn, reason, &old)? {
        put_path(conn, num, &path)?;
        return Ok(num);
    }
    let num: i64 = conn
        .prepare("INSERT INTO reason (source, rule, path) VALUES (?1, ?2, ?3) RETURNING num")?
        .query_row(params![reason.source, reason.rule, path], |row| row.get(0))?;
    u32::try_from(num).map_err(|_| Mismatch::from(TooMany("reasons")).into())
}

/// Gives `before` the ids of `reason`, which reads the same. Where both are stored, both stay.
pub(super) fn renew(conn: Conn<'_>, before: &Reason, reason: &Reason) -> Result<(), Fault> {
    let of = |reason: &Reason| json(&reason.path.iter().map(Step::of).collect::<Vec<_>>());
    let path = of(reason)?;
    match find(conn, before, &of(before)?)? {
        Some(num) if find(conn, reason, &path)?.is_none() => put_path(conn, num, &path),
        _ => Ok(()),
    }
}

fn find(conn: Conn<'_>, reason: &Reason, path: &str) -> Result<Option<u32>, Fault> {
    let sql = "SELECT num FROM reason WHERE source = ?1 AND rule = ?2 AND path = ?3";
    let mut statement = conn.prepare(sql)?;
    let key = params![reason.source, reason.rule, path];
    Ok(statement.query_row(key, |row| row.get(0)).optional()?)
}

fn put_path(conn: Conn<'_>, num: u32, path: &str) -> Result<(), Fault> {
    let mut statement = conn.prepare("UPDATE reason SET path = ?2 WHERE num = ?1")?;
    one(statement.execute(params![num, path])?, || Mismatch::NoSuchReason(num))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(reason: &Reason) -> String {
        json(&reason.path.iter().map(Step::of).collect::<Vec<_>>()).unwrap()
    }

    fn read(path: &str) -> Result<Vec<ExternalRef>, Fault> {
        let steps: Vec<Step<'_>> = serde_json::from_str(path).unwrap();
        steps.into_iter().map(Step::into_ref).collect()
    }

    fn through(path: &[ExternalRef]) -> Reason {
        Reason { source: "corp".to_owned(), rule: "mapping[1]".to_owned(), path: path.to_vec() }
    }

    #[test]
    fn the_encoding_of_a_path_is_what_it_is() {
        let reason = through(&[
            ExternalRef::new(RefKind::TokenClaim, "roles", "roles"),
            ExternalRef::new(Kind::Group, "7", "/a \"b\"/ü"),
            ExternalRef::new(Kind::RealmRole, "r", "r"),
            ExternalRef::new(Kind::ClientRole, "c%2F/r", "c//r"),
            ExternalRef::new(Kind::Attribute, "a=b", "a=b"),
            ExternalRef::new(Kind::Organization, "o-1", "acme"),
            ExternalRef::new(Kind::OrganizationGroup, "g-1", "acme:/eng/ml"),
        ]);
        let pinned = concat!(
            r#"[{"kind":"token-claim","id":"roles","identity":"roles"},"#,
            r#"{"kind":"group","id":"7","identity":"/a \"b\"/ü"},"#,
            r#"{"kind":"realm-role","id":"r","identity":"r"},"#,
            r#"{"kind":"client-role","id":"c%2F/r","identity":"c//r"},"#,
            r#"{"kind":"attribute","id":"a=b","identity":"a=b"},"#,
            r#"{"kind":"organization","id":"o-1","identity":"acme"},"#,
            r#"{"kind":"organization-group","id":"g-1","identity":"acme:/eng/ml"}]"#
        );
        assert_eq!(stored(&reason), pinned);
        assert_eq!(read(pinned).unwrap(), reason.path);
    }

    #[test]
    fn what_older_stores_kept_is_read_without_ids_and_kept_as_it_was() {
        let old = r#"["token claim `roles`","group `/a `b``","realm role `r`","client role `c/r`","attribute `a=b`"]"#;
        let path = read(old).unwrap();
        let told: Vec<String> = path.iter().map(ToString::to_string).collect();
        assert_eq!(json(&told).unwrap(), old);
        assert!(path.iter().all(|it| it.id.is_none()));
        assert_eq!(path[1].identity, "/a `b`");
        assert_eq!(stored(&through(&path)), old);
        for bad in
            [r#"["planet `x`"]"#, r#"["group x"]"#, r#"[{"kind":"x","id":"","identity":""}]"#]
        {
            assert!(matches!(read(bad), Err(Fault::Damaged(_))), "{bad}");
        }
    }
}
