//! What is wrong with a file that somebody wrote, each fault with its place.
//!
//! A fault never quotes a line of the file: the line may hold a secret. It names the key's path
//! and, where the value cannot be a secret, the value.

use std::fmt;
use std::path::PathBuf;

/// What kind of fault, as a stable word for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Not TOML, or a key given twice.
    Syntax,
    /// A key that means nothing here.
    UnknownKey,
    /// A required key, or a whole required table, is missing.
    MissingKey,
    /// A number where a text belongs, and the like.
    WrongType,
    /// The right type, but not a value that is possible here.
    BadValue,
    /// It names a source, role or client that the file does not have.
    UnknownName,
    /// Two things in the file contradict each other.
    Conflict,
    /// A file that the configuration names cannot be read.
    Unreadable,
}

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord, serde::Serialize)]
pub struct FileFault {
    /// The file that it is in, where that is one that the configuration names; absent: it is in the
    /// configuration itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The key's path, such as `source[2].users.base`; places in lists count from 1. Empty for the
    /// file as a whole.
    pub key: String,
    /// What kind.
    pub code: Code,
    /// What is wrong and what is possible instead.
    pub message: String,
    /// The name that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did_you_mean: Option<String>,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileFault { file: _, line, column, key, code: _, message, did_you_mean } = self;
        write!(f, "{line}:{column}: ")?;
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        f.write_str(message)?;
        match did_you_mean {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

/// The one of `known` that `given` was probably meant to be.
#[must_use]
pub fn near_miss<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let lower = given.to_lowercase();
    // A third of the letters may be wrong, but at least one and at most three: `fore` is `force`,
    // while two short words that share a letter are not each other.
    let most = (lower.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| {
            let distance = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
            (distance, strsim::damerau_levenshtein(given, name), name)
        })
        .filter(|(distance, _, name)| *distance <= most && *name != given)
        .min()
        .map(|(_, _, name)| name.to_owned())
}
