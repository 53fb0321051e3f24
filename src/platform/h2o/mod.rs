//! H2O AI Cloud's App Store: its administrators, full access, visitors and tags as roles, and its
//! IAM policies from and to their JSON.
//!
//! Who owns an app or an instance, and who may see it, the App Store knows alone. So what is decided
//! here is what a role gives by itself, and the exceptions of the IAM policies.
//!
//! ```text
//! [h2o] ──► rights: what a role may ─┐
//! *.json ─► json ─► iam: statements ─┴─► policies of the roles they name
//! ```

mod iam;
mod json;
mod rights;

pub use iam::{IamFault, IamPolicy, Statement, parse, write};
pub use rights::{administrator, full_access, tag_administrator, tag_visitor};
