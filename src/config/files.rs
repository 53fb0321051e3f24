//! The files that a configuration names. They are read through one value, so that whoever parses a
//! configuration says what it may open: [`Files::Disk`] in earnest, [`Files::Held`] where nothing
//! may be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::{Component, Path, PathBuf};

use super::fault::{Code, FileFault, Lines};
use super::reader::{Node, Read, all};
use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// No file that a configuration names is larger: what a platform says of roles takes kilobytes.
const MOST_BYTES: u64 = 64 << 20;

/// Where the files that a configuration names come from.
#[derive(Clone, Debug)]
pub enum Files {
    /// The file system.
    Disk,
    /// These and no others, by path.
    Held(BTreeMap<PathBuf, Vec<u8>>),
}

impl Files {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Files::Held(BTreeMap::new())
    }

    /// The content of `file`.
    fn read(&self, file: &Path) -> Result<Vec<u8>> {
        match self {
            Files::Held(files) => {
                files.get(file).cloned().ok_or_else(|| Error::from(ErrorKind::NotFound))
            }
            Files::Disk => {
                // Looked at before it is opened: opening a pipe would wait for its other end.
                if !std::fs::metadata(file)?.is_file() {
                    return Err(Error::other("it is no regular file"));
                }
                let mut bytes = Vec::new();
                std::fs::File::open(file)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
                if bytes.len() as u64 > MOST_BYTES {
                    return Err(Error::other("it is larger than 64 MiB"));
                }
                Ok(bytes)
            }
        }
    }

    /// Whether there is a folder of this name.
    fn is_folder(&self, folder: &Path) -> bool {
        match self {
            Files::Held(files) => files.keys().any(|file| file.parent() == Some(folder)),
            Files::Disk => here(folder).is_dir(),
        }
    }

    /// What `folder` holds, in no order. Nothing where there is no such folder.
    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        match self {
            Files::Held(files) => {
                let below = files.keys().filter_map(|file| file.strip_prefix(folder).ok());
                let first = below.filter_map(|rest| rest.components().next());
                Ok(first.map(|it| it.as_os_str().to_string_lossy().into_owned()).collect())
            }
            Files::Disk => {
                let entries = match std::fs::read_dir(here(folder)) {
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::NotFound | ErrorKind::NotADirectory
                        ) =>
                    {
                        return Ok(Vec::new());
                    }
                    entries => entries?,
                };
                // A name that is not UTF-8 fits no pattern of a TOML file.
                let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
                Ok(names.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
            }
        }
    }

    /// The paths that fit `pattern`, sorted. As in a shell: a `*` goes no further than a slash, and
    /// fits no name that begins with a dot.
    fn glob(&self, pattern: &Path) -> std::result::Result<Vec<PathBuf>, BadPattern> {
        let mut found = vec![PathBuf::new()];
        let mut certain = true;
        for part in pattern.components() {
            let text = part.as_os_str().to_string_lossy();
            if !matches!(part, Component::Normal(_)) || (!is_pattern(&text) && certain) {
                found.iter_mut().for_each(|path| path.push(part));
                continue;
            }
            // From a pattern on, a name is looked for like any other.
            certain = false;
            let fits = fits(&text)?;
            let mut next = BTreeSet::new();
            for folder in &found {
                let names = self
                    .list(folder)
                    .map_err(|error| BadPattern::Folder { folder: folder.clone(), error })?;
                let names = names.into_iter().filter(|name| fits(name));
                next.extend(names.map(|name| folder.join(name)));
            }
            found = next.into_iter().collect();
        }
        Ok(found)
    }
}

/// What the empty path means: the current folder.
fn here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Why nobody can tell which paths fit a pattern.
#[derive(Debug, thiserror::Error)]
enum BadPattern {
    /// It goes down any number of folders.
    #[error("holds `**`: name each level of folders")]
    Levels,
    /// It is none.
    #[error("is not a pattern: {0}")]
    Glob(globset::ErrorKind),
    /// A folder on the way cannot be read.
    #[error("cannot look into the folder `{}`: {error}", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

/// Which names of a folder fit `pattern`.
fn fits(pattern: &str) -> std::result::Result<impl Fn(&str) -> bool + use<>, BadPattern> {
    if pattern.contains("**") {
        return Err(BadPattern::Levels);
    }
    let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build();
    let glob = glob.map_err(|error| BadPattern::Glob(error.kind().clone()))?;
    let (glob, dotted) = (glob.compile_matcher(), pattern.starts_with('.'));
    Ok(move |name: &str| glob.is_match(name) && (dotted || !name.starts_with('.')))
}

/// Whether a file called `name` fits the last part of a path or pattern.
#[must_use]
pub fn name_fits(pattern: &str, name: &str) -> bool {
    if is_pattern(pattern) { fits(pattern).is_ok_and(|fits| fits(name)) } else { pattern == name }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// A file that a key names.
pub(super) struct NamedFile {
    /// As it is told: from the configuration's folder.
    pub path: PathBuf,
    /// Its content, without a byte order mark.
    pub text: String,
}

/// The files that a key names.
#[derive(Default)]
pub(super) struct Named {
    /// Each once: in the order of the list, those of one pattern sorted.
    pub found: Vec<NamedFile>,
    /// What is in the list and is not there: files, and patterns that nothing fits.
    pub absent: Vec<AbsentFile>,
}

/// A file that is not there, or a pattern that nothing fits.
pub(super) struct AbsentFile {
    path: String,
    message: String,
}

impl AbsentFile {
    /// What there is to tell of it; `means` goes on after it.
    pub(super) fn told(self, means: &str) -> Diagnostic {
        let (subject, message) = (Subject::File(self.path), format!("{}{means}", self.message));
        Diagnostic::warning(DiagnosticCode::FileAbsent, subject, message)
    }
}

/// What it means that a file is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// What was in it would be gone: a fault.
    IsFault,
    /// What it would say is unknown: left to the caller.
    IsTold,
    /// A file that is named in whole, or a folder, would be gone: a fault. That a pattern fits none of
    /// a folder's files yet is left to the caller.
    FileIsFault,
}

impl Node<'_> {
    /// The files of a list of paths and patterns (`sa/*.yaml`), read. One that cannot be read is a
    /// fault, always: its content is unknown.
    pub(super) fn files(&self, absent: Absent) -> Read<Named> {
        let mut named = Named::default();
        let mut seen = BTreeSet::new();
        all(self.some_list()?.iter().map(|node| {
            let path = node.path()?;
            let by_pattern = is_pattern(node.string()?);
            let paths = if by_pattern {
                self.ctx.files.glob(&path).map_err(|error| node.bad(error.to_string()))?
            } else {
                vec![path.clone()]
            };
            if paths.is_empty() {
                return node.not_there(&path, absent, "no file fits", &mut named);
            }
            for path in paths {
                if !seen.insert(path.clone()) {
                    continue;
                }
                match self.ctx.files.read(&path) {
                    Ok(bytes) => named.found.push(node.decoded(path, bytes)?),
                    // A name that a pattern found is there: what it leads to is unknown, not absent.
                    Err(error) if error.kind() == ErrorKind::NotFound && !by_pattern => {
                        node.not_there(&path, absent, "there is no file", &mut named)?;
                    }
                    Err(error) => {
                        return Err(node.fault(
                            Code::Unreadable,
                            format!("cannot read `{}`: {}", path.display(), plain(&error)),
                        ));
                    }
                }
            }
            Ok(())
        }))?;
        Ok(named)
    }

    fn not_there(&self, path: &Path, absent: Absent, what: &str, named: &mut Named) -> Read<()> {
        match absent {
            Absent::IsFault => {
                Err(self.fault(Code::Unreadable, format!("{what} `{}`", path.display())))
            }
            Absent::FileIsFault if !self.as_str().is_some_and(is_pattern) => {
                Err(self.fault(Code::Unreadable, format!("{what} `{}`", path.display())))
            }
            Absent::FileIsFault
                if !path.parent().is_some_and(|it| self.ctx.files.is_folder(it)) =>
            {
                let why = format!(
                    "{what} `{}`, nor is there such a folder: make it where it is to be empty",
                    path.display()
                );
                Err(self.fault(Code::Unreadable, why))
            }
            Absent::FileIsFault | Absent::IsTold => {
                let (key, path) = (self.key.clone(), path.display().to_string());
                named.absent.push(AbsentFile { message: format!("{key}: {what} `{path}`"), path });
                Ok(())
            }
        }
    }

    fn decoded(&self, path: PathBuf, bytes: Vec<u8>) -> Read<NamedFile> {
        match String::from_utf8(bytes) {
            Ok(text) => {
                let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                Ok(NamedFile { path, text })
            }
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let before = error.as_bytes().get(..valid).unwrap_or_default();
                let before = String::from_utf8_lossy(before);
                let (line, column) = Lines::of(&before).position(before.len());
                Err(self.ctx.report_in(FileFault {
                    file: Some(path),
                    line,
                    column,
                    key: String::new(),
                    code: Code::Syntax,
                    message: "is not UTF-8 from here on".to_owned(),
                    did_you_mean: None,
                }))
            }
        }
    }
}

/// The cause of an error, without the system's number.
fn plain(error: &Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(paths: &[&str]) -> Files {
        Files::Held(paths.iter().map(|path| (PathBuf::from(path), Vec::new())).collect())
    }

    #[test]
    fn a_pattern_fits_as_in_a_shell_and_what_it_fits_is_sorted() {
        let files =
            held(&["/c/sa/b.yaml", "/c/sa/a.yaml", "/c/sa/.x.yaml", "/c/sa/d/e.yaml", "/c/o"]);
        for (pattern, expected) in [
            ("/c/sa/*.yaml", &["/c/sa/a.yaml", "/c/sa/b.yaml"][..]),
            ("/c/*/a.yaml", &["/c/sa/a.yaml"]),
            ("/c/sa/*/*.yaml", &["/c/sa/d/e.yaml"]),
            ("/c/sa/{a,b}.yaml", &["/c/sa/a.yaml", "/c/sa/b.yaml"]),
            ("/c/sa/[ab].yaml", &["/c/sa/a.yaml", "/c/sa/b.yaml"]),
            ("/c/sa/.*.yaml", &["/c/sa/.x.yaml"]),
            ("/d/*.yaml", &[]),
        ] {
            let found = files.glob(Path::new(pattern)).unwrap();
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(found, expected, "{pattern}");
        }
        assert!(files.glob(Path::new("/c/**/a")).is_err());
    }

    #[test]
    fn the_disk_answers_as_a_map_does() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sa")).unwrap();
        for name in ["sa/b.yaml", "sa/a.yaml", "sa/.x.yaml"] {
            std::fs::write(at(name), name).unwrap();
        }
        assert_eq!(Files::Disk.glob(&at("sa/*.yaml")).unwrap(), [at("sa/a.yaml"), at("sa/b.yaml")]);
        assert_eq!(Files::Disk.glob(&at("none/*.yaml")).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(Files::Disk.read(&at("sa/a.yaml")).unwrap(), b"sa/a.yaml");
        assert_eq!(Files::Disk.read(&at("no")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(Files::Disk.read(&at("sa")).is_err());
    }
}
