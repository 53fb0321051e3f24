//! Routes: which action a request is, and on what. Pure.
//!
//! A route is declared (`template`), competes with others for a request (`conflict` says which two
//! tie), and stands in a table ([`Routes`]) that takes a request's host ([`host`]) and path ([`path`])
//! to a [`Question`]. `osmo` is the preset; [`coverage`] says which routes nobody may take.
//!
//! Who asks, over which protocol, and what the answer is are the gateway's business.

mod conflict;
pub mod coverage;
pub mod host;
pub mod osmo;
pub mod path;
mod question;
mod table;
mod template;

pub use conflict::Shapes;
pub use host::{BadHost, Host, HostPattern, HostPatternError};
pub use path::Path;
pub use question::{ActionIdx, On, Question};
pub use table::{Matched, Origin, Refused, Route, Routes, Site, WEBSOCKET, built_in, configured};
pub use template::{
    Preset, RouteSpec, RouteTemplateError, Segment, Target, check_resource, parse_path, parse_scope,
};
