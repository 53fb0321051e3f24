//! Who pods are in the clouds.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::policy::{Action, Resource};

/// What may be asked: an action, and the resource or none.
type Request = (Action, Option<Resource>);

/// A cloud that knows pods by their service account.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Cloud {
    /// EKS: IRSA, Pod Identity.
    Aws,
    /// AKS.
    Azure,
    /// GKE.
    Gcp,
}

impl Cloud {
    /// Every cloud.
    pub const ALL: [Cloud; 3] = [Cloud::Aws, Cloud::Azure, Cloud::Gcp];

    /// `aws`, `azure` or `gcp`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Cloud::Aws => "aws",
            Cloud::Azure => "azure",
            Cloud::Gcp => "gcp",
        }
    }
}

/// What the pods of a pool's platform are in a cloud: a certain identity, or an unknown one. Pods
/// that are nobody anywhere have no such row.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct WorkloadIdentity {
    /// The pool's bare name.
    pub pool: String,
    /// The platform's name.
    pub platform: String,
    /// The Kubernetes namespace; none where nothing tells it.
    pub namespace: Option<String>,
    /// The service account; none where it is left to run time.
    pub service_account: Option<String>,
    /// The cloud; none where not even that is known.
    pub cloud: Option<Cloud>,
    /// The identity as the cloud calls it; none where it is unknown.
    pub identity: Option<String>,
    /// Why it is unknown; empty where it is known.
    pub why: String,
}

/// By what people reach the pods of a pool: they start them, or get into them, whoever started them.
pub const VIA: [(&str, &str); 2] = [("workflow", "Create"), ("workflow", "Exec")];

/// The actions of [`VIA`].
#[must_use]
pub fn via() -> [Action; 2] {
    VIA.map(|(kind, name)| Action::spelt(kind, name))
}

/// A pool as policies speak of it. `None`: no resource can be called so, which the configuration
/// rules out.
#[must_use]
pub fn pool(name: &str) -> Option<Resource> {
    format!("pool/{name}").parse().ok()
}

/// `catalog`, and after it those requests that are not in it and tell who reaches the pools of
/// `workload`: what decisions are kept for.
#[must_use]
pub fn requests<'a>(catalog: &'a [Request], workload: &[WorkloadIdentity]) -> Cow<'a, [Request]> {
    if workload.is_empty() {
        return Cow::Borrowed(catalog);
    }
    let listed: HashSet<&Request> = catalog.iter().collect();
    let mut all = catalog.to_vec();
    let mut last = None;
    for row in workload {
        if last == Some(&row.pool) {
            continue;
        }
        last = Some(&row.pool);
        let Some(resource) = pool(&row.pool) else { continue };
        for action in via() {
            let request = (action, Some(resource.clone()));
            if !listed.contains(&request) {
                all.push(request);
            }
        }
    }
    Cow::Owned(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_actions_are_spelt_as_policies_spell_them() {
        for (action, text) in via().iter().zip(["workflow:Create", "workflow:Exec"]) {
            assert_eq!(text.parse::<Action>().unwrap(), *action);
        }
    }

    #[test]
    fn each_pool_is_asked_for_once_and_what_the_catalog_has_is_not_asked_again() {
        let row = |pool: &str, platform: &str| WorkloadIdentity {
            pool: pool.to_owned(),
            platform: platform.to_owned(),
            namespace: None,
            service_account: None,
            cloud: None,
            identity: None,
            why: String::new(),
        };
        let catalog =
            [("workflow:Exec".parse().unwrap(), pool("a")), ("a:B".parse().unwrap(), None)];
        let all = requests(&catalog, &[row("a", "x"), row("a", "y"), row("b", "x")]);
        let text = |(action, resource): &(Action, Option<Resource>)| {
            format!("{action} {}", resource.as_ref().map_or("", Resource::as_str))
        };
        assert_eq!(
            all.iter().map(text).collect::<Vec<_>>(),
            [
                "workflow:Exec pool/a",
                "a:B ",
                "workflow:Create pool/a",
                "workflow:Create pool/b",
                "workflow:Exec pool/b"
            ]
        );
    }
}
