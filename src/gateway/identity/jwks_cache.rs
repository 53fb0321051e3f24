//! The store as the place where keys outlive a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::JwksCache;
use crate::store::{Store, StoreError};

/// Keeps keys in the store, which is opened for each use: keys change once in months. Keys are
/// public; whoever can write the store could grant themselves roles as well.
pub struct StoreJwksCache {
    store: Arc<dyn Store>,
    writes: bool,
    /// The last fault, so that it is told once.
    told: Mutex<Option<String>>,
    /// What is known to be kept, by issuer: the store is not opened for that again.
    kept: Mutex<HashMap<String, String>>,
}

impl StoreJwksCache {
    /// Over `store`. `writes`: keys are kept there; otherwise, for a process that only
    /// reads the store, they are loaded only.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, writes: bool) -> Self {
        StoreJwksCache { store, writes, told: Mutex::default(), kept: Mutex::default() }
    }

    /// The value, or a warning where the fault is a new one.
    fn or_tell<T>(&self, doing: &str, result: Result<T, StoreError>) -> Option<T> {
        let (value, fault) = match result {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(format!("{doing}: {error}"))),
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = &fault
            && told.as_ref() != Some(fault)
        {
            tracing::warn!("{fault}");
        }
        *told = fault;
        value
    }

    fn read(&self, issuer: &str) -> Result<Option<Option<String>>, StoreError> {
        self.store.reader()?.map(|reader| reader.keys(issuer)).transpose()
    }

    /// Whether they are kept now: the store is made by the first run, not by this.
    fn write(&self, issuer: &str, jwks: &str) -> Result<bool, StoreError> {
        match self.read(issuer)? {
            None => return Ok(false),
            // What is there already needs no writer, and so never meets a run's.
            Some(Some(kept)) if kept == jwks => {}
            Some(_) => self.store.keep_keys(issuer, jwks, chrono::Utc::now())?,
        }
        Ok(true)
    }
}

impl JwksCache for StoreJwksCache {
    fn load(&self, issuer: &str) -> Option<String> {
        let doing = format!("the kept keys of issuer `{issuer}` cannot be loaded");
        self.or_tell(&doing, self.read(issuer)).flatten().flatten()
    }

    fn keep(&self, issuer: &str, jwks: &str) -> bool {
        if !self.writes {
            return true;
        }
        // Held over the writing: two issuers' keys do not meet there.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.get(issuer).is_some_and(|kept| kept == jwks) {
            return true;
        }
        let doing = format!("the keys of issuer `{issuer}` cannot be kept yet");
        let done = self.or_tell(&doing, self.write(issuer, jwks)) == Some(true);
        if done {
            kept.insert(issuer.to_owned(), jwks.to_owned());
        }
        done
    }
}
