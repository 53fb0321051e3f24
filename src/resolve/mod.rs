//! Mapping rules, sync modes, users. Pure.
