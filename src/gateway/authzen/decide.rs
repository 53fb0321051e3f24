//! One question, answered from one generation.

use serde::Serialize;

use super::mapping::{Inexpressible, Meant};
use super::request::{BadRequest, Evaluation};
use super::{Authzen, shown};
use crate::config::SubjectType;
use crate::gateway::replica::{KnownPerson, OpenQuestion, Replica, Ruling};

/// The answer to one question (AuthZEN 1.0, section 5.5). A permit has no context: a caller that does
/// not understand one may refuse.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Decision {
    pub decision: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<DecisionContext>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum DecisionContext {
    /// By status, in words.
    ReasonAdmin(Forbidden),
    /// The question is none.
    Error(ItemError),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Forbidden {
    #[serde(rename = "403")]
    why: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct ItemError {
    status: u16,
    message: String,
}

impl Decision {
    /// That of a question which lacks something.
    pub(super) fn broken(why: &BadRequest) -> Decision {
        let error = ItemError { status: 400, message: why.to_string() };
        Decision { decision: false, context: Some(DecisionContext::Error(error)) }
    }
}

/// Why a subject may not do what is asked. Its words are for whoever reads a log or a denial.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum WhyDenied {
    #[error(transparent)]
    Inexpressible(#[from] Inexpressible),
    #[error("no subject of type `{}` is known here", shown(.0))]
    UnknownType(String),
    #[error("the store knows no such subject")]
    UnknownSubject,
    #[error("several people have that address: nobody can tell who is meant")]
    Several,
    #[error("the subject is disabled or deprovisioned")]
    Disabled,
    #[error("only access tokens speak for this account")]
    TokensAlone,
    #[error("role `{role}`, policy {} says Deny", .policy.saturating_add(1))]
    SaysDeny {
        role: String,
        /// The place of the policy, from 0.
        policy: usize,
    },
    #[error("no policy of the subject's roles allows it")]
    NoPolicy,
}

impl Authzen {
    /// Answers one question of `caller`.
    pub(super) fn decide(
        &self,
        replica: &Replica,
        question: &Evaluation<'_>,
        caller: Option<&str>,
    ) -> Decision {
        let meant = self.mapping.meant(question);
        let ruled = meant.clone().map_err(WhyDenied::from);
        let ruled = ruled.and_then(|meant| self.ruled(replica, question, &meant));
        let meant = meant.as_ref().ok();
        let subject = shown(question.subject.id);
        let action = meant.map(|meant| shown(&meant.action));
        let resource = meant.and_then(|meant| meant.resource.as_deref()).map(shown);
        match ruled {
            Ok(()) => {
                tracing::debug!(caller, subject, action, resource, "allowed");
                Decision { decision: true, context: None }
            }
            Err(why) => {
                tracing::info!(caller, subject, action, resource, "denied: {why}");
                let reason = || DecisionContext::ReasonAdmin(Forbidden { why: why.to_string() });
                Decision { decision: false, context: self.config.reasons.then(reason) }
            }
        }
    }

    /// Whether the subject may do what is meant; else why not.
    fn ruled(
        &self,
        replica: &Replica,
        question: &Evaluation<'_>,
        meant: &Meant,
    ) -> Result<(), WhyDenied> {
        let subject = question.subject;
        let kind = self.subject_type(subject.kind);
        let kind = kind.ok_or_else(|| WhyDenied::UnknownType(subject.kind.to_owned()))?;
        let (set, name) = match replica.person(&kind.id, subject.id) {
            KnownPerson::Enabled { set, name } => (set, name),
            KnownPerson::Unknown => return Err(WhyDenied::UnknownSubject),
            KnownPerson::Several => return Err(WhyDenied::Several),
            KnownPerson::Disabled(_) => return Err(WhyDenied::Disabled),
            KnownPerson::TokensAlone => return Err(WhyDenied::TokensAlone),
        };
        let asked = OpenQuestion { action: &meant.action, resource: meant.resource.as_deref() };
        match replica.decide_open(set, Some(name), asked) {
            Ruling::Allow { .. } => Ok(()),
            Ruling::Deny { role, policy } => {
                Err(WhyDenied::SaysDeny { role: role.to_owned(), policy })
            }
            Ruling::NoPolicy => Err(WhyDenied::NoPolicy),
        }
    }

    /// The type of subjects that is called so.
    pub(super) fn subject_type(&self, name: &str) -> Option<&SubjectType> {
        self.config.subjects.iter().find(|subject| subject.name == name)
    }
}
