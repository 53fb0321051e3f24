//! The references of a mirror that bear on some people, one by one and by index.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::sql::db::{Conn, params};

use super::load::{FoundRef, REF_COLUMNS, put_refs, read_ref};
use super::{Numbers, damaged, id, kind_code, number, range};
use crate::directory::Directory;
use crate::store::sql::error::Fault;
use crate::store::sql::names::{bare, must_be_current};

/// What has this identity, of any kind: the ids of rows.
pub(in crate::store::sql) const IDENTICAL: &str = "SELECT id FROM mirror_container \
     WHERE identity = ?3 AND +kind = ?4 AND id BETWEEN ?1 AND ?2";
/// The groups of this bare name.
pub(in crate::store::sql) const CALLED: &str = "SELECT id FROM mirror_container \
     WHERE bare = ?3 AND +kind = ?4 AND id BETWEEN ?1 AND ?2";

/// Loads the refs of the numbers `open` with everything that goes with them
/// ([`PartRefs::Near`](crate::directory::PartRefs::Near)), without members, into a directory that has none.
pub(in crate::store::sql) fn load_near(
    conn: Conn<'_>,
    source: i64,
    mut open: BTreeSet<u32>,
    names: &BTreeSet<String>,
    directory: &mut Directory,
    numbers: &mut Numbers,
) -> Result<(), Fault> {
    must_be_current(conn)?;
    let mut row =
        conn.prepare(&format!("SELECT {REF_COLUMNS} FROM mirror_container WHERE id = ?1"))?;
    let (mut identical, mut called) = (conn.prepare(IDENTICAL)?, conn.prepare(CALLED)?);
    let (first, last) = range(source);
    let mut found: BTreeMap<u32, FoundRef> = BTreeMap::new();
    let mut asked: BTreeSet<String> = BTreeSet::new();
    while let Some(next) = open.pop_first() {
        if found.contains_key(&next) {
            continue;
        }
        let mut rows = row.query([id(source, next)])?;
        let it = rows.next()?.ok_or_else(|| damaged("lists something that it does not have"))?;
        let it = read_ref(it, &mut directory.texts)?;
        let texts = &directory.texts;
        let (kind, identity) = (it.reference.kind, texts.get(it.reference.identity));
        open.extend(it.implies.iter().copied().chain(it.parent));
        let mut alike = identical.query(params![first, last, identity, kind_code(kind)])?;
        while let Some(row) = alike.next()? {
            open.insert(number(row.get(0)?));
        }
        let bare = bare(kind, texts.get(it.reference.name)).filter(|it| names.contains(&**it));
        if let Some(bare) = bare.filter(|bare| !asked.contains(&**bare)) {
            let mut alike = called.query(params![first, last, &*bare, kind_code(kind)])?;
            while let Some(row) = alike.next()? {
                open.insert(number(row.get(0)?));
            }
            asked.insert(bare.into_owned());
        }
        found.insert(next, it);
    }
    let found = found.into_values().map(|it| (it, Vec::new())).collect();
    put_refs(found, directory, numbers)
}
