//! SIGHUP: another configuration comes into force, or the one before it stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::Utc;

use super::Daemon;
use super::open_store::OpenStore;
use super::report::{Faulty, log_faults};
use super::status::one_line;
use super::store_status;
use crate::config::{self, Config};
use crate::gateway::{Gateway, GatewayError, ProcessKind};
use crate::source::kinds;
use crate::store::{Store, StoreError};
use crate::sync::AdminError;

/// Why a configuration was not put in force: the one before it stays.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// The file is not there, or has faults.
    #[error(transparent)]
    Config(#[from] Faulty),
    /// `[default_admin]` has no secret that will do.
    #[error(transparent)]
    DefaultAdmin(#[from] AdminError),
    /// Its store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its gateway's side did not start.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

impl Daemon {
    /// SIGHUP.
    pub(super) async fn reload(&mut self) {
        // Before the daemon is ready systemd does not expect to hear of a reload.
        if self.ready {
            self.notify.reloading();
        }
        let loaded = match tokio::task::block_in_place(|| self.load()) {
            Ok((config, store)) => {
                let done = self.reload_gateway(&config, store.store()).await;
                done.map(|()| (config, store)).map_err(ReloadError::from)
            }
            Err(why) => Err(why),
        };
        match loaded {
            Ok((config, store)) => {
                tracing::info!(file = %self.file.display(), "the configuration is in force");
                self.status.broken = None;
                self.scheduler.reload(&config.schedule);
                let names: BTreeSet<&str> =
                    config.sources.iter().map(|source| source.name.as_str()).collect();
                self.status.failing.retain(|name| names.contains(name.as_str()));
                let another = !self.store.names(&config);
                self.config = Arc::new(config);
                self.store = store;
                self.announce();
                if another {
                    self.resign();
                    self.step_down();
                    self.scheduler.reload(&self.config.schedule);
                    self.elect();
                }
                self.again = None;
                self.compared = None;
                self.wanted.clear();
                if let Some(gateway) = &self.gateway {
                    gateway.metrics().leads(self.leads());
                }
                if self.leads() {
                    self.follow();
                }
                // A run under the old configuration is dropped while it reads; one that writes
                // already goes on to its end, and the new one's run follows.
                if let Some(attempt) = &self.attempt {
                    attempt.cancel();
                }
            }
            Err(why) => {
                tracing::error!("the configuration was not loaded, the old one stays: {why}");
                self.status.broken = Some(one_line(&why.to_string()));
            }
        }
        self.tell();
        if self.ready {
            self.notify.ready();
        }
    }

    /// Puts the gateway's part of `config` in force; where that fails nothing changes.
    async fn reload_gateway(
        &mut self,
        config: &Config,
        store: &Arc<dyn Store>,
    ) -> Result<(), GatewayError> {
        match &mut self.gateway {
            Some(gateway) if config.gateway.is_some() => gateway.reload(config, store).await,
            Some(_) => {
                if let Some(gateway) = self.gateway.take() {
                    gateway.stop().await;
                }
                Ok(())
            }
            None => {
                self.gateway = Gateway::start(config, store, ProcessKind::Daemon).await?;
                Ok(())
            }
        }
    }

    /// Loads the file and makes sure that its store can be used; logs each fault.
    fn load(&self) -> Result<(Config, OpenStore), ReloadError> {
        let config = config::load(&self.file, &kinds()).map_err(log_faults)?;
        crate::sync::check_default_admin(&config)?;
        let store = self.store.again(&config);
        if !self.store.names(&config) {
            store_status::prepare(&**store.store(), Utc::now())?;
        }
        Ok((config, store))
    }
}
