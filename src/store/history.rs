//! What was changed, when, by whom and why.

use crate::model::{Deed, Time};
use crate::plan::ChangeView;

/// Which rows of history are wanted. Empty: all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryFilter {
    /// Of those who have or had this username.
    pub user: Option<String>,
    /// Of this role.
    pub role: Option<String>,
    /// Applied then or later.
    pub since: Option<Time>,
    /// The newest so many.
    pub limit: Option<u64>,
}

/// One change that was applied.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct HistoryRow {
    /// In which generation.
    pub generation: u64,
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub change: ChangeView,
    /// Who asked for it by hand, and why; absent for what a run did.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub deed: Option<Deed>,
}
