//! The platforms whose own configuration is read, and what it says: [`osmo`], [`h2o`]; and who OSMO's
//! pods are in the clouds: [`workload`].
//!
//! Everything here is computed from texts: who reads the files is [`crate::config`]. What a text
//! says comes out as the configuration's own types, so that everything after it knows nothing
//! special of where a role was declared.

pub mod h2o;
pub mod osmo;
pub mod workload;
pub mod yaml;
