//! `[import]`: what a platform's own files declare.

use std::collections::BTreeMap;

use super::files::Absent;
use super::reader::{Node, Read, Table};
use crate::model::Diagnostic;
use crate::platform::osmo::{self, Imported, Osmo};

/// `[import]`, read: roles with where they were declared, pools, pod templates.
pub(super) fn import(root: &Table<'_>, warnings: &mut Vec<Diagnostic>) -> Read<Osmo> {
    let Some(node) = root.get("import") else { return Ok(Osmo::default()) };
    let table = node.table()?;
    let osmo = table.optional("osmo", osmo);
    table.finish();
    let mut osmo = osmo?.unwrap_or_default();
    warnings.append(&mut osmo.diagnostics);
    Ok(osmo)
}

/// Where a file is gone its roles would be, and everybody's access with them: so that is a fault.
fn osmo(node: &Node<'_>) -> Read<Osmo> {
    let named = node.files(Absent::IsFault)?;
    let files = named.found.iter().map(|file| (file.path.as_path(), file.text.as_str()));
    let mut osmo = osmo::read(files);
    let mut reported = None;
    for fault in osmo.faults.drain(..) {
        reported = Some(node.ctx.report_in(fault));
    }
    reported.map_or(Ok(osmo), Err)
}

/// The imported roles; none where they could not be read.
pub(super) fn roles(import: &Read<Osmo>) -> BTreeMap<String, Imported> {
    import.as_ref().map(|osmo| osmo.roles.clone()).unwrap_or_default()
}
