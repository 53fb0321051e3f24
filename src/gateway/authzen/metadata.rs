//! What this decision point says of itself (AuthZEN 1.0, section 9).

use serde::Serialize;

use super::http::{ACTIONS, EVALUATION, EVALUATIONS, RESOURCES, SUBJECTS};
use crate::config::AuthzenConfig;

#[derive(Serialize)]
struct Metadata {
    /// Compared as a text with what the caller was given.
    policy_decision_point: String,
    access_evaluation_endpoint: String,
    access_evaluations_endpoint: String,
    search_subject_endpoint: String,
    search_resource_endpoint: String,
    search_action_endpoint: String,
}

/// The metadata; `None`: callers know this decision point under no name.
pub(super) fn metadata(config: &AuthzenConfig) -> Option<String> {
    let base = &config.base_url.as_ref()?.text;
    let at = |path: &str| format!("{base}{path}");
    let metadata = Metadata {
        policy_decision_point: base.clone(),
        access_evaluation_endpoint: at(EVALUATION),
        access_evaluations_endpoint: at(EVALUATIONS),
        search_subject_endpoint: at(SUBJECTS),
        search_resource_endpoint: at(RESOURCES),
        search_action_endpoint: at(ACTIONS),
    };
    serde_json::to_string(&metadata).ok()
}
