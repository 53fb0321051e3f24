//! The store that the configuration in force names: opened once, and anew where a reload names another.

use std::sync::Arc;

use crate::config::{Config, SecretRef};
use crate::model::StoreConfig;
use crate::store::{self, Password, Store};

/// The store that `config` names. Its password is read each time that somebody signs in.
#[must_use]
pub fn open_store(config: &Config) -> Arc<dyn Store> {
    store::open_with(&config.store, store_password(config))
}

/// The password of the store that `config` names: read each time that somebody signs in.
#[must_use]
pub fn store_password(config: &Config) -> Option<Password> {
    let secret = config.store_password.clone();
    secret.map(|secret| Password::new(move || Ok(secret.read()?)))
}

/// An opened store, and where it is.
#[derive(Clone, Debug)]
pub struct OpenStore {
    at: (StoreConfig, Option<SecretRef>),
    store: Arc<dyn Store>,
}

impl OpenStore {
    /// The one that `config` names.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        OpenStore { at: at(config), store: open_store(config) }
    }

    /// The one that `config` names now: this one, where it is the same.
    #[must_use]
    pub fn again(&self, config: &Config) -> Self {
        if self.names(config) { self.clone() } else { OpenStore::of(config) }
    }

    /// Whether `config` names this one.
    #[must_use]
    pub fn names(&self, config: &Config) -> bool {
        self.at == at(config)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// What tells one store from another.
fn at(config: &Config) -> (StoreConfig, Option<SecretRef>) {
    (config.store.clone(), config.store_password.clone())
}
