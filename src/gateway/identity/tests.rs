//! Tokens, good and bad, and issuers in every state. Keys are made anew for each run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub(super) mod kit;

mod bad_tokens;
mod good_tokens;
mod issuers;
mod vouched;
