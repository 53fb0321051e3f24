//! Tokens, good and bad, and issuers in every state. Keys are made anew for each run.

pub(super) mod kit;

mod bad_tokens;
mod dpop;
mod good_tokens;
mod issuers;
mod sessions;
mod vouched;
