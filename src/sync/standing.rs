//! Whether what stands in a store is what a configuration makes of it.

use super::admin::Admin;
use super::{SourceAnswer, local, merge_mirrors, token};
use crate::config::Config;
use crate::store::{Reader, StoreError};

/// Whether the last plan for everybody was made by this configuration, of what the mirrors say now: else the next
/// run by it plans for everybody anew, and roles may come and go. Of `config` that counts on which a plan depends:
/// rules, roles, sources, the guard. `None`: nobody can tell, as after what people did by hand, until the next run.
/// Asks no source, and reads no mirror.
///
/// # Errors
/// The store cannot be read.
pub fn stands_by(config: &Config, reader: &dyn Reader) -> Result<Option<bool>, StoreError> {
    // Whose secret cannot be read cannot run either, which is told there.
    let Ok(admin) = Admin::read(config) else { return Ok(None) };
    // All of one state: what a feed told brings another token with it.
    reader.snapshot(|reader| {
        let Some(settled) = reader.meta()?.settled else { return Ok(None) };
        let answers = config.sources.iter().map(|_| SourceAnswer::NotAsked).collect();
        let mut known = merge_mirrors(config, answers, Some(reader), &mut Vec::new())?;
        local::refresh(config, &mut known, Some(reader))?;
        Ok(Some(token(config, &known, admin.as_ref()) == settled))
    })
}
