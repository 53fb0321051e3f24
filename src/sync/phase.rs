//! How far a run has come, as far as it matters to whoever may want to drop it.

use std::sync::Arc;

/// How far a run has come. It only moves down this list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Phase {
    /// The sources are being asked.
    Reading,
    /// Every source has been heard; the plan is being made, on values.
    Planning,
    /// A transaction is open or about to be.
    Committing,
}

impl Phase {
    /// Whether the run's future may be dropped, and nothing will have been written. Planning and
    /// committing are one stretch without a point at which the future could end.
    #[must_use]
    pub fn may_be_dropped(self) -> bool {
        match self {
            Phase::Reading => true,
            Phase::Planning | Phase::Committing => false,
        }
    }
}

/// Is told each phase as the run enters it. Called from any thread, and waited for.
pub type OnPhase = Arc<dyn Fn(Phase) + Send + Sync>;
