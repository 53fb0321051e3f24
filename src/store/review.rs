//! That somebody has looked at who holds what.

use crate::model::Time;

/// Somebody has looked at who held what at a generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Review {
    /// The review's name: those of one name follow each other.
    pub name: String,
    /// The state that was looked at.
    pub generation: u64,
    /// Who has looked, in their own words.
    pub by: String,
    /// Whose account it was that said so.
    pub account: String,
    /// When it was said.
    pub at: Time,
}
