//! The store that the configuration in force names: opened once, and anew where a reload names another.

use std::sync::Arc;

use crate::config::Config;
use crate::model::StoreConfig;
use crate::store::{self, Store};

/// An opened store, and where it is.
#[derive(Clone, Debug)]
pub struct OpenStore {
    at: StoreConfig,
    store: Arc<dyn Store>,
}

impl OpenStore {
    /// The one that `config` names.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        OpenStore { at: config.store.clone(), store: store::open(&config.store) }
    }

    /// The one that `config` names now: this one, where it is the same.
    #[must_use]
    pub fn again(&self, config: &Config) -> Self {
        if self.names(config) { self.clone() } else { OpenStore::of(config) }
    }

    /// Whether `config` names this one.
    #[must_use]
    pub fn names(&self, config: &Config) -> bool {
        self.at == config.store
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}
