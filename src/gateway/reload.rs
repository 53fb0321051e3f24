//! A configuration that comes into force while requests are answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::authorizer::Authorizer;
use super::identity::KeyReading;
use super::session_watcher::SessionWatcher;
use super::{
    Beside, Gateway, GatewayError, acceptor, affordable, authzen, exchanging, identifier, keys,
    ledger, provisioner, sessions, watcher,
};
use crate::config::{Config, GatewayConfig};
use crate::store::Store;

/// How long a reload waits at a time for the new configuration's view of the store.
const LOADED_WITHIN: Duration = Duration::from_secs(60);

impl Gateway {
    /// Puts `config` in force, over its `store`: the same value as before where it is the same store.
    /// Listeners whose address stays go on; requests are answered by the
    /// old configuration until the new one's view of the store is loaded.
    ///
    /// # Errors
    /// An address cannot be had, a TLS file cannot be used: the old configuration stays in force.
    pub async fn reload(
        &mut self,
        config: &Config,
        store: &Arc<dyn Store>,
    ) -> Result<(), GatewayError> {
        let Some(gateway) = &config.gateway else { return Ok(()) };
        let acceptor = acceptor(gateway)?;
        let exchange = exchanging(gateway)?;
        let same_store = Arc::ptr_eq(&self.store, store);
        let same_identity =
            same_store && self.tells_people_alike(gateway, keys(exchange.as_deref()).as_deref());
        let identity = if same_identity {
            None
        } else {
            let Gateway { ended, proofs, .. } = self;
            let beside = Beside { exchange: exchange.as_deref(), ended, proofs };
            Some(identifier(store, gateway, self.part, &beside)?)
        };
        let before = self.authzen.as_deref().filter(|_| same_store);
        let authzen = authzen(store, gateway, self.part, &self.ended, before)?;
        self.most = affordable(gateway);
        // Everything that can fail comes before the first change.
        let grpc = match (&gateway.grpc, &self.config.grpc) {
            (new, old) if new == old => None,
            _ => Some(self.listen_grpc(gateway).await?),
        };
        let http = match (&gateway.http, &self.config.http) {
            (new, old) if new == old => None,
            _ => Some(self.listen_http(gateway).await?),
        };
        let wanted = Authorizer::wanted(gateway)?;
        let watcher = if same_store && Authorizer::wanted(&self.config)? == wanted {
            // What is loaded is right for the new configuration as well.
            Arc::clone(&self.watcher)
        } else {
            watcher(store, wanted)?
        };
        let sessions = self.sessions_under(gateway, store)?;
        for listening in [&self.grpc, &self.http].into_iter().flatten() {
            listening.limit(self.most);
        }
        self.tell_of_health(gateway);
        self.tls.store(acceptor);
        let old = [
            grpc.and_then(|new| std::mem::replace(&mut self.grpc, new)),
            http.and_then(|new| std::mem::replace(&mut self.http, new)),
        ];
        for listening in old.into_iter().flatten() {
            tokio::spawn(listening.stop());
        }
        let mut old_reading = None;
        if let Some((identifier, reading)) = identity {
            self.identifier = identifier;
            self.own_keys = keys(exchange.as_deref());
            old_reading = Some(std::mem::replace(&mut self.reading, reading));
        }
        if !same_store || self.ledger.is_some() != gateway.logout.is_some() {
            self.ledger = ledger(store, gateway, self.part, &self.ended);
        }
        let provisioner = provisioner(config, store, gateway, self.part, &self.metrics);
        let authorizer = Authorizer::new(
            gateway,
            Arc::clone(&self.identifier),
            Arc::clone(&watcher),
            provisioner,
        )?
        .exchanging(exchange)
        .holding_against(sessions.clone())
        .ending(self.ledger.clone())
        .answering(authzen.clone());
        self.authzen = authzen;
        self.watcher = watcher;
        self.sessions = sessions;
        self.config = gateway.clone();
        self.store = Arc::clone(store);
        self.put_when_loaded(authorizer, old_reading);
        Ok(())
    }

    /// Lets `authorizer` answer as soon as it knows what the one before it does. `held`: what that one needs.
    fn put_when_loaded(&mut self, authorizer: Authorizer, held: Option<KeyReading>) {
        if let Some(coming) = self.coming.take() {
            coming.abort();
        }
        let (state, ended) = (Arc::clone(&self.state), Arc::clone(&self.ended));
        let (watcher, sessions) = (Arc::clone(&self.watcher), self.sessions.clone());
        let logout = self.config.logout;
        self.coming = Some(tokio::spawn(async move {
            while !watcher.at_least(1, Instant::now() + LOADED_WITHIN).await {}
            if let Some(sessions) = sessions {
                sessions.read().await;
            }
            state.put(Arc::new(authorizer));
            if let Some(logout) = logout {
                ended.tokens_live(logout.max_token_lifetime);
            }
            // Until now the old authorizer answered: its keys had to be kept up to date.
            drop(held);
            tracing::info!("requests are answered by the new configuration");
        }));
    }

    /// What follows which sessions have ended under another configuration: what does so far, if it has read
    /// as much as that needs, or else one that reads the store's list anew. The list goes on reaching as far
    /// back as the configuration needs that still answers.
    fn sessions_under(
        &self,
        new: &GatewayConfig,
        store: &Arc<dyn Store>,
    ) -> Result<Option<Arc<SessionWatcher>>, GatewayError> {
        let lifetime = |config: &GatewayConfig| config.logout.map(|it| it.max_token_lifetime);
        if let Some(lifetime) = lifetime(new) {
            self.ended.tokens_live_at_least(lifetime);
        }
        let enough = Arc::ptr_eq(&self.store, store) && lifetime(new) <= lifetime(&self.config);
        match (&self.sessions, new.logout) {
            (Some(before), Some(_)) if enough => Ok(Some(Arc::clone(before))),
            _ => sessions(store, new, &self.ended),
        }
    }

    /// Whether who asks is told in the same way by `gateway`, with these keys of the exchange.
    fn tells_people_alike(&self, gateway: &GatewayConfig, own_keys: Option<&str>) -> bool {
        self.config.identity == gateway.identity
            && self.config.preset == gateway.preset
            && self.config.tokens.is_some() == gateway.tokens.is_some()
            && own_keys == self.own_keys.as_deref()
            && self.config.user_header == gateway.user_header
            && self.config.subject == gateway.subject
            && self.config.jwt == gateway.jwt
            && self.config.logout == gateway.logout
            && self.config.dpop == gateway.dpop
    }

    /// What a reload cannot change.
    fn tell_of_health(&self, new: &GatewayConfig) {
        if new.grpc_health != self.config.grpc_health && new.grpc == self.config.grpc {
            tracing::warn!("`gateway.grpc_health` takes effect with the next start");
        }
    }
}

#[cfg(test)]
mod tests;
