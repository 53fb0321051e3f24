//! `[[source]]`: what every source has. The rest is its kind's ([`SourceKind`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Code;
use super::kind::{Facts, KindSettings, Kinds, SourceKind, SourceTable};
use super::reader::{Node, Read, Table, all};
use super::sections::LINKS;
use super::types::{SourceConfig, WatchMode};
use super::value::{glob, source_name};
use crate::resolve::LinkBy;

const WATCH: [(&str, WatchMode); 2] = [("auto", WatchMode::Auto), ("off", WatchMode::Off)];

/// Every `[[source]]`.
pub(super) struct ReadSources {
    /// The sources.
    pub sources: Read<Vec<SourceConfig>>,
    /// What is known of each, in the order of the file.
    pub facts: Vec<Facts>,
}

/// Reads `[[source]]`.
pub(super) fn sources(root: &Table<'_>, link_by: LinkBy, kinds: &Kinds) -> ReadSources {
    let tables = match root.get("source").map(|node| node.tables()) {
        Some(Ok(tables)) => tables,
        Some(Err(reported)) => return ReadSources { sources: Err(reported), facts: Vec::new() },
        // Nobody but those whom `local` has.
        None => return ReadSources { sources: Ok(Vec::new()), facts: Vec::new() },
    };
    let mut facts = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let sources = all((1usize..).zip(tables).map(|(place, table)| {
        let mut fact = Facts::default();
        let name = table.required("name", |node| {
            let name = node.parsed(source_name)?;
            if name == crate::directory::local::NAME {
                return Err(node.fault(
                    Code::Conflict,
                    "`local` is the name of the built-in source, which has the people that are \
                     added by hand: give this one another name",
                ));
            }
            fact.name = Some(name.clone());
            match places.get(&name) {
                Some(first) => Err(node.fault(
                    Code::Conflict,
                    format!("`{name}` is the name of `source[{first}]` already"),
                )),
                None => {
                    places.insert(name.clone(), place);
                    Ok(name)
                }
            }
        });
        let grants =
            table.optional("grants", |node| all(node.list()?.iter().map(|n| n.parsed(glob))));
        let link_by = table.or("link_by", link_by, |node| node.one_of(&LINKS));
        let lifecycle = table.or("lifecycle", true, Node::boolean);
        let watch = table.or("watch", WatchMode::Auto, |node| node.one_of(&WATCH));
        let kind = kind(&table, kinds, &mut fact);
        facts.push(fact);
        Ok(SourceConfig {
            name: name?,
            grants: grants?,
            link_by: link_by?,
            lifecycle: lifecycle?,
            watch: watch?,
            kind: kind?,
        })
    }));
    ReadSources { sources, facts }
}

/// `kind` and the keys of that kind; finishes the table.
fn kind(table: &Table<'_>, kinds: &Kinds, facts: &mut Facts) -> Read<Arc<dyn KindSettings>> {
    match table.required("kind", |node| node.one_of::<&dyn SourceKind>(&kinds.named())) {
        Ok(kind) => kind.read(&mut SourceTable::new(table, kinds, facts)),
        Err(reported) => {
            // Which keys belong here is unknown; those of no kind at all are still wrong.
            for key in kinds.forms().flat_map(|form| form.keys) {
                table.get(key);
            }
            table.finish();
            Err(reported)
        }
    }
}
