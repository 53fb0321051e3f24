//! `idpsyncd h2o iam`: the App Store's IAM policies, from and to their JSON.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::args::{Global, H2oCommand, IamCommand, Output};
use super::print::{self, Style};
use super::{AlreadyDone, Failure, exit, load};
use crate::config::{Config, H2oConfig, name_fits, role_in_another_case};
use crate::platform::h2o::{self, IamFault, IamPolicy};

/// How many files of one name may be there already before an import gives up.
const MOST_NAMES: u32 = 1_000;

pub(super) fn run(global: &Global, command: &H2oCommand) -> Result<u8, Failure> {
    let H2oCommand::Iam(command) = command;
    match command {
        // The file is judged by itself: no configuration is needed.
        IamCommand::Check { file } => check(file, global.output),
        IamCommand::Import { file } => import(&load(global)?, file, global.output),
        IamCommand::Export => export(&load(global)?),
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let told = |why: String| Failure::Error(format!("cannot read `{}`: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| told(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| told("it is not UTF-8".to_owned()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn check(file: &Path, output: Output) -> Result<u8, Failure> {
    let found = h2o::parse(&read(file)?);
    let (policies, faults) = match &found {
        Ok(policies) => (policies.len(), &[][..]),
        Err(faults) => (0, faults.as_slice()),
    };
    let status = if faults.is_empty() { exit::DONE } else { exit::ERROR };
    if output == Output::Json {
        print::json(&json!({
            "format": 1, "file": file.display().to_string(), "policies": policies, "faults": faults,
        }))?;
        return Ok(status);
    }
    let style = Style::detect();
    let mut out: Vec<String> =
        told(file, faults).map(|line| format!("{} {line}", style.red("error:"))).collect();
    out.push(format!(
        "{}: {}",
        file.display(),
        match faults.len() as u64 {
            0 => print::count(policies as u64, "policy", "policies"),
            count => format!("{}, nothing of it counts", print::count(count, "fault", "faults")),
        }
    ));
    print::lines(&out)?;
    Ok(status)
}

/// A line for each fault: the file, the field, what is wrong.
fn told<'a>(file: &'a Path, faults: &'a [IamFault]) -> impl Iterator<Item = String> + 'a {
    faults.iter().map(|fault| print::shown(&format!("{}: {fault}", file.display())))
}

fn import(config: &Config, file: &Path, output: Output) -> Result<u8, Failure> {
    let h2o = config.h2o.as_ref().filter(|h2o| !h2o.iam.is_empty()).ok_or_else(|| {
        Failure::Error(
            "the configuration does not say where the policies are: it needs the like of `iam = \
             [\"iam/*.json\"]` in `[h2o]`"
                .to_owned(),
        )
    })?;
    let given = h2o::parse(&read(file)?).map_err(|faults| {
        let lines: Vec<String> = told(file, &faults).collect();
        Failure::Error(format!(
            "nothing is imported, since this is not understood:\n  {}",
            lines.join("\n  ")
        ))
    })?;
    let mut new: Vec<&IamPolicy> = Vec::new();
    for policy in &given {
        if !h2o.policies().any(|known| known == policy) && !new.contains(&policy) {
            new.push(policy);
        }
    }
    if let Some((role, other)) = clash(config, &new) {
        return Err(Failure::Error(format!(
            "nothing is imported: role `{role}` differs from role `{other}` in case only"
        )));
    }
    let stored = if new.is_empty() { None } else { Some(store(h2o, file, &h2o::write(&new))?) };
    let known = given.len() - new.len();
    let is_stored = |path: &PathBuf| AlreadyDone::that(format!("`{}` is written", path.display()));
    let committed = stored.as_ref().map_or_else(AlreadyDone::nothing, is_stored);
    if output == Output::Json {
        committed.then(print::json(&json!({
            "stored": new.len(), "known": known,
            "file": stored.map(|path| path.display().to_string()),
        })))?;
        return Ok(exit::DONE);
    }
    let policies = |count: usize| print::count(count as u64, "policy", "policies");
    committed.then(print::lines(&[match stored {
        None => format!("Nothing to import: {} of the file, all there already.", policies(known)),
        Some(path) => {
            let already = if known == 0 {
                String::new()
            } else {
                format!(", {} there already", policies(known))
            };
            format!(
                "Stored in `{}`: {}{already}. The next `idpsyncd sync` makes decisions of it; a \
                 daemon reads it on SIGHUP.",
                path.display(),
                policies(new.len())
            )
        }
    }]))?;
    Ok(exit::DONE)
}

/// The first two roles that would differ in case only, which the configuration refuses.
fn clash(config: &Config, new: &[&IamPolicy]) -> Option<(String, String)> {
    let mut names: BTreeSet<&str> = config.roles.keys().map(String::as_str).collect();
    for (role, _) in new.iter().flat_map(|policy| policy.of_roles()) {
        if let Some(other) = role_in_another_case(role, names.iter().copied()) {
            return Some((role.to_owned(), other.to_owned()));
        }
        names.insert(role);
    }
    None
}

/// Stores `text` under a name that one of the `iam` patterns fits, as near to that of `file` as can
/// be. What is there is left alone.
fn store(h2o: &H2oConfig, file: &Path, text: &str) -> Result<PathBuf, Failure> {
    let stem = file.file_stem().map_or("policy".into(), |stem| stem.to_string_lossy());
    let own = file.file_name().map(|name| name.to_string_lossy().into_owned());
    for pattern in &h2o.iam {
        let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else { continue };
        let pattern = name.to_string_lossy();
        if folder.to_string_lossy().contains(['*', '?', '[', '{']) {
            continue;
        }
        let numbered = |number: u32| match number {
            1 => stem.to_string(),
            number => format!("{stem}-{number}"),
        };
        let names = own.clone().into_iter().chain((1..=MOST_NAMES).flat_map(|number| {
            let stem = numbered(number);
            [format!("{stem}.json"), pattern.replacen('*', &stem, 1)]
        }));
        for name in names.filter(|name| name_fits(&pattern, name)) {
            let path = folder.join(&name);
            match create(folder, &name, text) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Failure::Error(format!(
                        "cannot store `{}`: {error}",
                        path.display()
                    )));
                }
            }
        }
    }
    let patterns: Vec<String> = h2o.iam.iter().map(|it| format!("`{}`", it.display())).collect();
    Err(Failure::Error(format!(
        "no name is free that `h2o.iam` fits ({}): add a pattern such as `iam/*.json`",
        patterns.join(", ")
    )))
}

/// Makes a file, whole or not at all, and never in another's place.
///
/// # Errors
/// There is something of that name, or it cannot be written.
fn create(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    if folder.join(name).symlink_metadata().is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    // No pattern fits a name with a dot before it.
    let passing = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&passing)?;
    let made = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        renameat_with(CWD, &passing, CWD, folder.join(name), RenameFlags::NOREPLACE)?;
        File::open(folder)?.sync_all()
    });
    if made.is_err() {
        // It may have got its name already; then there is nothing to remove.
        let _ = std::fs::remove_file(&passing);
    }
    made
}

fn export(config: &Config) -> Result<u8, Failure> {
    let policies: Vec<&IamPolicy> = config.h2o.iter().flat_map(H2oConfig::policies).collect();
    print::plain(&[h2o::write(&policies).trim_end().to_owned()])?;
    Ok(exit::DONE)
}
