//! LDIF (RFC 2849): a directory in a file.
//!
//! A file that is cut off, malformed or empty is an error that names the place ([`records`]).
//! Entries become a reading by the same logic as those of a live directory ([`Assembler`]); what a
//! server does before is done here: it evaluates the filters, and keeps to itself what no ordinary
//! search returns.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::choice::Choice;
use super::config::LdifConfig;
use super::encoding;
use super::records::{Fault, Record, Records, whole};
use crate::directory::{Interest, Snapshot, dn, value};
use crate::model::{Diagnostic, DiagnosticCode, Subject, Time};
use crate::source::ldap::dialect::Dialect;
use crate::source::ldap::dynamic::{self, Dynamic};
use crate::source::ldap::entry::Entry;
use crate::source::ldap::presence::{Presence, presence};
use crate::source::ldap::roles::Roles;
use crate::source::ldap::{Assembler, Shape, Verdict};
use crate::source::{SourceError, SourceErrorKind};

/// Reads the LDIF that `config` names. Accounts are judged at the present moment.
///
/// # Errors
/// The file cannot be read, is not whole or not LDIF (with the line), a base or filter of the
/// configuration is malformed, or there is no user in it.
pub fn read_ldif(config: &LdifConfig, interest: &dyn Interest) -> Result<Snapshot, SourceError> {
    read_ldif_at(config, interest, chrono::Utc::now())
}

/// [`read_ldif`] with the moment at which accounts are judged.
///
/// # Errors
/// As [`read_ldif`].
pub fn read_ldif_at(
    config: &LdifConfig,
    interest: &dyn Interest,
    now: Time,
) -> Result<Snapshot, SourceError> {
    let path = config.path.as_path();
    let bytes = std::fs::read(path).map_err(|error| {
        SourceError::fatal(format!("cannot read `{}`: {error}", path.display()))
            .of_kind(SourceErrorKind::File)
    })?;
    let bytes = encoding::utf8(bytes)
        .map_err(|why| SourceError::fatal(located(path, &whole(why.to_string()))))?;
    let (assembler, verdict) = read_bytes(&bytes, config, interest, now)
        .map_err(|why| SourceError::fatal(located(path, &why)))?;
    // The bytes are half of what this needs, and what follows needs as much again.
    drop(bytes);
    Ok(assembler.finish(verdict, interest))
}

fn located(path: &Path, fault: &Fault) -> String {
    match fault.line {
        0 => format!("`{}`: {}", path.display(), fault.why),
        line => format!("`{}:{line}`: {}", path.display(), fault.why),
    }
}

/// Reads the entries twice and keeps none: a million of them with their members would take several
/// times the file's size. The first time shows whether the file is whole, and what is known of an entry
/// only once all were seen.
fn read_bytes(
    bytes: &[u8],
    config: &LdifConfig,
    interest: &dyn Interest,
    now: Time,
) -> Result<(Assembler, Verdict), Fault> {
    let groups = config.groups.as_ref();
    let shape = Shape::new(&config.users, groups, interest.attributes(), Dialect::FILE, now)
        .map_err(|why| whole(why.to_string()))?;
    let choice = Choice::new(config, &shape)?;
    let mut assembler = Assembler::new(shape);
    let survey = survey(bytes, &choice, &assembler)?;
    survey.is_whole(config)?;
    let Survey { shared_names, roles, conflicts, people, urls, verdict, .. } = survey;
    assembler.shared_names(shared_names);
    assembler.dynamic(Dynamic::of_file(urls));
    assembler.inactivation(roles.inactivation());
    conflicts.tell(&mut assembler);
    assemble(bytes, &choice, &mut assembler)?;
    if assembler.has_no_user() {
        return Err(whole(format!(
            "no user: none of its {people} users has a `{}` (`users.username`)",
            config.users.username
        )));
    }
    Ok((assembler, verdict))
}

/// What the first reading finds.
#[derive(Default)]
struct Survey {
    entries: u64,
    /// Of those the ones with an id.
    with_id: u64,
    /// The last entry's line, and whether it has an id.
    last: (usize, bool),
    people: u64,
    /// Usernames (folded) that several entries without an id bear.
    shared_names: HashSet<String>,
    roles: Roles,
    conflicts: Conflicts,
    /// By which groups name members.
    urls: BTreeSet<String>,
    verdict: Verdict,
}

fn survey(bytes: &[u8], choice: &Choice, assembler: &Assembler) -> Result<Survey, Fault> {
    let mut survey = Survey::default();
    let mut seen = Seen::default();
    let mut shared = SharedNames::default();
    let mut records = Records::new(bytes)?;
    while let Some(record) = records.next_record()? {
        let Record { line, entry, .. } = &record;
        let norm = normalized(entry, *line)?;
        let id = entry.stable_id();
        survey.count(*line, id.is_some());
        match presence(entry, &norm) {
            Presence::There | Presence::Subentry => survey.roles.see(entry, &norm),
            Presence::Gone => {}
            Presence::Conflict => survey.conflicts.see(&norm),
        }
        let Some(chosen) = choice.of(entry, &norm) else { continue };
        choice.refer(entry, &norm, &mut survey.verdict);
        choice.is_whole(&record, &norm, chosen)?;
        if chosen.group {
            survey.urls.extend(dynamic::urls_of(entry));
        }
        if chosen.user {
            survey.people += 1;
            if id.is_none() {
                shared.see(assembler.username_of(entry));
            }
        }
        seen.once(entry, *line, norm, id)?;
    }
    survey.shared_names = shared.twice;
    Ok(survey)
}

impl Survey {
    fn count(&mut self, line: usize, has_id: bool) {
        self.entries += 1;
        self.with_id += u64::from(has_id);
        self.last = (line, has_id);
    }

    /// Refuses a file that is empty, looks cut off, or has nobody in it.
    fn is_whole(&self, config: &LdifConfig) -> Result<(), Fault> {
        let Survey { entries, with_id, last: (line, last_has_id), .. } = *self;
        if entries == 0 {
            return Err(whole("there is no entry in it: a directory is never empty"));
        }
        if entries > 2 && with_id == entries.saturating_sub(1) && !last_has_id {
            // An export ends each entry with its operational attributes.
            let why = "the last entry has no id, unlike all others: the file looks cut off";
            return Err(Fault { line, why: why.to_owned() });
        }
        if self.people == 0 {
            return Err(whole(format!(
                "no user: none of its {entries} entries is below `{}` and matches `{}` \
                 (`users.base`, `users.filter`)",
                config.users.base, config.users.filter
            )));
        }
        Ok(())
    }
}

/// Where each DN, and each id, of a user or group stands.
#[derive(Default)]
struct Seen {
    dns: HashMap<String, usize>,
    ids: HashMap<String, usize>,
}

impl Seen {
    /// Refuses a DN or an id that stands in the file a second time.
    fn once(
        &mut self,
        entry: &Entry,
        line: usize,
        norm: String,
        id: Option<String>,
    ) -> Result<(), Fault> {
        if let Some(first) = self.dns.insert(norm, line) {
            let why = format!("the entry `{}` stands in line {first} already", entry.dn);
            return Err(Fault { line, why });
        }
        if let Some(first) = id.and_then(|id| self.ids.insert(id, line)) {
            let why = format!(
                "the entry `{}` has the id of the one in line {first}: two exports in one file?",
                entry.dn
            );
            return Err(Fault { line, why });
        }
        Ok(())
    }
}

/// The second reading: hands users and groups to `assembler`.
fn assemble(bytes: &[u8], choice: &Choice, assembler: &mut Assembler) -> Result<(), Fault> {
    let mut records = Records::new(bytes)?;
    while let Some(Record { line, entry, .. }) = records.next_record()? {
        let norm = normalized(&entry, line)?;
        let chosen = choice.of(&entry, &norm).unwrap_or_default();
        if chosen.user {
            assembler.user(&entry);
        }
        if chosen.group {
            assembler.group(&entry);
        }
    }
    Ok(())
}

fn normalized(entry: &Entry, line: usize) -> Result<String, Fault> {
    dn::normalize(&entry.dn).map_err(|error| Fault { line, why: error.to_string() })
}

/// Entries that replication left beside another of their name: nobody, and worth telling.
#[derive(Default)]
struct Conflicts {
    count: u64,
    /// The smallest DN in normal form.
    first: Option<String>,
}

impl Conflicts {
    fn see(&mut self, norm: &str) {
        self.count += 1;
        if self.first.as_deref().is_none_or(|first| norm < first) {
            self.first = Some(norm.to_owned());
        }
    }

    fn tell(&self, assembler: &mut Assembler) {
        if let Some(first) = &self.first {
            assembler.tell(Diagnostic::warning(
                DiagnosticCode::ReplicationConflicts,
                Subject::None,
                format!(
                    "{} entries are replication conflicts, which no search returns, and are passed \
                 over (such as `{}`): settle them on the server",
                    self.count,
                    first.escape_debug()
                ),
            ));
        }
    }
}

/// Usernames (folded) of entries without an id.
#[derive(Default)]
struct SharedNames {
    once: HashSet<String>,
    /// Those that several bear: such people are told apart by DN, so that resolving sees two and
    /// provisions neither.
    twice: HashSet<String>,
}

impl SharedNames {
    fn see(&mut self, name: Option<Cow<'_, str>>) {
        let Some(name) = name else { return };
        let folded = value::folded(&name).into_owned();
        if self.once.contains(&folded) {
            self.twice.insert(folded);
        } else {
            self.once.insert(folded);
        }
    }
}

#[cfg(test)]
#[path = "ldif_tests.rs"]
mod tests;
