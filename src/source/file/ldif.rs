//! LDIF (RFC 2849): a directory in a file.
//!
//! A file that is cut off, malformed or empty is an error that names the place ([`records`]).
//! Entries become a reading by the same logic as those of a live directory ([`Assembler`]); what a
//! server does before is done here: it evaluates the filters, and keeps to itself what no ordinary
//! search returns.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::choice::Choice;
use super::config::LdifConfig;
use super::encoding;
use super::records::{Fault, Record, Records, whole};
use crate::directory::{Interest, Snapshot, dn, value};
use crate::model::{Diagnostic, DiagnosticCode, Subject, Time};
use crate::source::SourceError;
use crate::source::ldap::dialect::Dialect;
use crate::source::ldap::presence::{Presence, presence};
use crate::source::ldap::roles::Roles;
use crate::source::ldap::{Assembler, Shape, Verdict};

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
    let mut verdict = Verdict::default();
    let mut assembler = Assembler::new(shape);
    let mut shared = SharedNames::default();
    let mut people = 0_u64;
    let mut lines_of: HashMap<String, usize> = HashMap::new();
    let mut with_id = 0_u64;
    let mut last_with_id = true;
    let mut last_line = 0;
    let mut ids: HashMap<String, usize> = HashMap::new();
    let mut roles = Roles::default();
    let mut conflicts = Conflicts::default();
    let mut records = Records::new(bytes)?;
    let mut count = 0_u64;
    // Entries are read twice and never kept: a million of them with their members would take
    // several times the file's size. The first time shows whether the file is whole, and which
    // names are borne twice.
    while let Some(record) = records.next_record()? {
        let Record { line, entry, .. } = &record;
        let line = *line;
        count += 1;
        let norm = dn::normalize(&entry.dn).map_err(|e| Fault { line, why: e.to_string() })?;
        let id = entry.stable_id();
        last_with_id = id.is_some();
        with_id += u64::from(last_with_id);
        last_line = line;
        match presence(entry, &norm) {
            Presence::There | Presence::Subentry => roles.see(entry, &norm),
            Presence::Gone => {}
            Presence::Conflict => conflicts.see(&norm),
        }
        let Some(chosen) = choice.of(entry, &norm) else { continue };
        choice.refer(entry, &norm, &mut verdict);
        choice.is_whole(&record, &norm, chosen)?;
        if chosen.user {
            people += 1;
            if id.is_none() {
                shared.see(assembler.username_of(entry));
            }
        }
        if let Some(first) = lines_of.insert(norm, line) {
            let why = format!("the entry `{}` stands in line {first} already", entry.dn);
            return Err(Fault { line, why });
        }
        if let Some(id) = id
            && let Some(first) = ids.insert(id, line)
        {
            let why = format!(
                "the entry `{}` has the id of the one in line {first}: two exports in one file?",
                entry.dn
            );
            return Err(Fault { line, why });
        }
    }
    let SharedNames { once, twice } = shared;
    drop((lines_of, ids, once));
    if count == 0 {
        return Err(whole("there is no entry in it: a directory is never empty"));
    }
    if count > 2 && with_id == count.saturating_sub(1) && !last_with_id {
        // An export ends each entry with its operational attributes.
        let why = "the last entry has no id, unlike all others: the file looks cut off";
        return Err(Fault { line: last_line, why: why.to_owned() });
    }
    if people == 0 {
        return Err(whole(format!(
            "no user: none of its {count} entries is below `{}` and matches `{}` (`users.base`, \
             `users.filter`)",
            config.users.base, config.users.filter
        )));
    }
    assembler.shared_names(twice);
    assembler.inactivation(roles.inactivation());
    conflicts.tell(&mut assembler);
    let mut records = Records::new(bytes)?;
    while let Some(Record { line, entry, .. }) = records.next_record()? {
        let norm = dn::normalize(&entry.dn).map_err(|e| Fault { line, why: e.to_string() })?;
        let chosen = choice.of(&entry, &norm).unwrap_or_default();
        if chosen.user {
            assembler.user(&entry);
        }
        if chosen.group {
            assembler.group(&entry);
        }
    }
    if assembler.has_no_user() {
        return Err(whole(format!(
            "no user: none of its {people} users has a `{}` (`users.username`)",
            config.users.username
        )));
    }
    Ok((assembler, verdict))
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
