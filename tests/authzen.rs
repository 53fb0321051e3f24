//! AuthZEN Authorization API 1.0 as callers see it: the real binary, a store that `sync` wrote from a
//! file. The certification scenario (certification/authorization-api-1_0-scenario.md of
//! openid/authzen) rule by rule, what the specification and its traps want besides, and who may ask.
#![cfg(test)]

mod support;

#[path = "authzen/kit.rs"]
mod kit;

#[path = "authzen/callers.rs"]
mod callers;
#[path = "authzen/certification.rs"]
mod certification;
#[path = "authzen/hostile.rs"]
mod hostile;
#[path = "authzen/searches.rs"]
mod searches;
#[path = "authzen/subjects.rs"]
mod subjects;
