//! What can be wrong with a YAML text.

use super::{MOST_LEVELS, MOST_NODES, Position};

/// Why a text is not what this reads.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{fault}")]
pub struct YamlError {
    /// Where.
    pub place: Position,
    /// What is wrong there.
    pub fault: YamlFault,
}

/// What is wrong; in lower case, as it goes on after a place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum YamlFault {
    /// The parser does not understand it.
    #[error("is not YAML: {0}")]
    Syntax(String),
    /// A list or map ends that is not open.
    #[error("is not YAML: something ends that never began")]
    NotOpen,
    /// An alias of nothing, or of what it stands in.
    #[error("names an anchor that is not there, or holds this itself")]
    NoAnchor,
    /// A key is an alias of something that is no text.
    #[error("a key that is no text")]
    KeyNoText,
    /// A key is a list or a map.
    #[error("a key that is a list or a map")]
    KeyNoScalar,
    /// A key stands twice in one map.
    #[error("the key `{}` stands twice: first in line {first}", key.escape_debug())]
    Twice {
        /// The key.
        key: String,
        /// The line of the first.
        first: usize,
    },
    /// It nests too deep.
    #[error("more than {} levels of lists and maps", MOST_LEVELS)]
    TooDeep,
    /// It is too large.
    #[error("more than {} values, those that aliases repeat included", MOST_NODES)]
    TooMany,
    /// `<<` with something else than a map, which is this.
    #[error("`<<` takes a map, this is {0}")]
    MergesNoMap(&'static str),
    /// A tag that would make a value of its own.
    #[error("the tag `{0}` means nothing here")]
    Tag(String),
}
