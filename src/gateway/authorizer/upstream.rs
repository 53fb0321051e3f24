//! What the upstream is told of whoever may.

use std::sync::Arc;

use super::Who;
use crate::config::{GatewayConfig, TOKEN_NAME};
use crate::gateway::answer::Set;
use crate::gateway::replica::{HeldRoles, Replica};
use crate::policy::Action;

/// A header that OSMO believes, whoever sent it. With `preset = "osmo"` what a client sends of it
/// never reaches the upstream: it is set where the configuration says how, and removed otherwise.
const ALLOWED_POOLS: &str = "x-osmo-allowed-pools";

/// Another: set from OSMO's own tokens.
const WORKFLOW_ID: &str = "x-osmo-workflow-id";

/// The headers for the upstream. Each that is ever set is either set or removed, so that none comes from
/// a client.
pub(super) struct Upstream {
    user: Arc<str>,
    roles: Arc<str>,
    /// Each with the actions of the requests that get it, in the order of the configuration.
    allowed: Vec<(Arc<str>, Vec<Action>)>,
    removed: Option<Arc<str>>,
    token: Arc<str>,
    /// Absent where nobody believes it: no preset, no issuer of OSMO's.
    workflow: Option<Arc<str>>,
}

impl Upstream {
    pub(super) fn new(config: &GatewayConfig) -> Upstream {
        let named = |name: &str| Arc::from(name);
        let set: Vec<&str> = [&config.user_header, &config.roles_header]
            .into_iter()
            .chain(config.allowed.iter().map(|allowed| &allowed.header))
            .map(String::as_str)
            .collect();
        let free = |name: &str| !set.contains(&name);
        let osmo = config.preset.is_some();
        let named_here = config.jwt.iter().any(|jwt| jwt.service_roles.is_some());
        let allowed = config.allowed.iter();
        Upstream {
            user: named(&config.user_header),
            roles: named(&config.roles_header),
            allowed: allowed.map(|it| (named(&it.header), it.routes.clone())).collect(),
            removed: Some(ALLOWED_POOLS).filter(|name| osmo && free(name)).map(named),
            token: named(TOKEN_NAME),
            workflow: Some(WORKFLOW_ID)
                .filter(|name| (osmo || named_here) && free(name))
                .map(named),
        }
    }

    /// What `who`, who holds the roles of `held`, is told by for `action`.
    pub(super) fn headers(
        &self,
        replica: &Replica,
        held: HeldRoles<'_>,
        who: Who<'_>,
        action: Option<&Action>,
    ) -> Vec<Set> {
        let user = who.user;
        let mut headers = Vec::with_capacity(5usize.saturating_add(self.allowed.len()));
        headers.push(Set { name: Arc::clone(&self.user), value: user.map(str::to_owned) });
        let roles = replica.roles_header(held);
        headers.push(Set {
            name: Arc::clone(&self.roles),
            value: Some(roles.to_owned()).filter(|roles| !roles.is_empty()),
        });
        for (place, (name, actions)) in self.allowed.iter().enumerate() {
            let wanted = action.is_some_and(|action| actions.contains(action));
            let value = wanted.then(|| replica.allowed_header(held, user, place).into_owned());
            headers.push(Set { name: Arc::clone(name), value });
        }
        if let Some(name) = &self.removed {
            headers.push(Set { name: Arc::clone(name), value: None });
        }
        headers.push(Set { name: Arc::clone(&self.token), value: who.token.map(str::to_owned) });
        if let Some(name) = &self.workflow {
            let value = who.workflow.map(str::to_owned);
            headers.push(Set { name: Arc::clone(name), value });
        }
        headers
    }
}
