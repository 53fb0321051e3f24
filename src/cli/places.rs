//! What the mirrors say that a user is in, for `explain`.

use std::collections::BTreeSet;

use super::Failure;
use crate::config::Config;
use crate::directory::{AccountSid, Directory, Kind, RefIdx, Rid};
use crate::model::ExternalRef;
use crate::store::{Reader, UserDetail};

/// What a user is in, directly or not, by source.
pub(super) type Within = BTreeSet<(String, ExternalRef)>;

/// What the mirrors say the user is directly in, in words; and all that they are in, in other domains of
/// Active Directory too.
pub(super) fn places(
    config: &Config,
    reader: &dyn Reader,
    user: &UserDetail,
) -> Result<(Vec<String>, Within), Failure> {
    let mut places =
        Places { out: Vec::new(), within: Within::new(), sids: Vec::new(), seen: BTreeSet::new() };
    for (source, ext) in &user.links {
        let Some(mirror) = reader.mirror(source)? else {
            places.out.push(format!("{source}: it was never read"));
            continue;
        };
        let directory: &Directory = &mirror.mirror.directory;
        let Some(place) = directory.find_user(ext) else {
            places.out.push(format!("{source}: does not list the user any more"));
            continue;
        };
        let direct: Vec<RefIdx> = directory
            .members
            .numbered()
            .filter(|(_, members)| members.binary_search(&place).is_ok())
            .map(|(reference, _)| reference)
            .collect();
        places.out.push(format!("{source}: directly in {}", words(directory, &direct)));
        places.bears(directory, directory.users.at(place).rid);
        places.upwards(source, directory, direct);
    }
    places.abroad(config, reader)?;
    Ok((places.out, places.within))
}

struct Places {
    out: Vec<String>,
    within: Within,
    /// By which the user, or a group that they are in, may be listed elsewhere, and was not looked for
    /// yet.
    sids: Vec<AccountSid>,
    seen: BTreeSet<AccountSid>,
}

impl Places {
    /// Notes the SID of a row of `directory`.
    fn bears(&mut self, directory: &Directory, rid: Rid) {
        let sid = directory.sid_of(rid);
        self.sids.extend(sid.filter(|sid| self.seen.insert(sid.clone())));
    }

    /// Notes what these references lead to.
    fn upwards(&mut self, source: &str, directory: &Directory, mut open: Vec<RefIdx>) {
        let mut seen = BTreeSet::new();
        while let Some(reference) = open.pop() {
            if !seen.insert(reference) {
                continue;
            }
            self.within.insert((source.to_owned(), directory.external(reference)));
            self.bears(directory, directory.refs.at(reference).rid);
            open.extend(directory.implies.at(reference));
        }
    }

    /// Looks for what lists a SID in another source.
    fn abroad(&mut self, config: &Config, reader: &dyn Reader) -> Result<(), Failure> {
        if self.sids.is_empty() {
            return Ok(());
        }
        let mut structures = Vec::new();
        for source in &config.sources {
            structures.extend(reader.structure(&source.name)?.map(|it| (&source.name, it)));
        }
        let mut lines = BTreeSet::new();
        while let Some(sid) = self.sids.pop() {
            for (source, directory) in &structures {
                let key = sid.to_string();
                let Some(place) = directory.find_ref(Kind::ForeignPrincipal, &key) else {
                    continue;
                };
                let groups = directory.implies.at(place).clone();
                lines
                    .insert(format!("{source}: by the SID {sid} in {}", words(directory, &groups)));
                self.upwards(source, directory, vec![place]);
            }
        }
        self.out.extend(lines);
        Ok(())
    }
}

/// These references, in words.
fn words(directory: &Directory, refs: &[RefIdx]) -> String {
    let external = refs.iter().map(|reference| directory.external(*reference));
    let mut words: Vec<String> = external.map(|it| it.to_string()).collect();
    words.sort();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}
