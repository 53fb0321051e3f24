//! Being woken when something changes (change notification; MS-ADTS, section 3.1.1.3.4.1.9).
//!
//! Nothing that comes is looked at: it only says that it is time to ask. So it may be lost, come twice, or
//! not be offered at all.

use std::sync::Arc;

use ldap3::controls::RawControl;
use ldap3::{LdapError, Scope};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::super::{EVERYTHING, Origin};
use crate::source::ldap::connect::Connection;

/// A search that stays open and wakes. Dropping it ends it.
pub(super) struct Wake {
    pub woken: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Wake {
    /// Opens the search below `domain`, over a connection of its own.
    pub async fn open(origin: &Origin, connection: &Connection, domain: &str) -> Option<Wake> {
        let second = origin.connector.connect_to(&connection.url).await.ok()?;
        let woken = Arc::new(Notify::new());
        let (source, domain, notify) = (origin.name.clone(), domain.to_owned(), woken.clone());
        let task = tokio::spawn(async move {
            let why = match wait(second, &domain, &notify).await {
                Ok(code) => format!("result {code}"),
                Err(error) => error.to_string(),
            };
            tracing::debug!(source = %source, %why, "change notification ended");
        });
        Some(Wake { woken, task })
    }

    /// Whether it still waits for changes.
    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn wait(mut connection: Connection, domain: &str, woken: &Notify) -> Result<u32, LdapError> {
    const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
    let control = RawControl { ctype: NOTIFICATION.to_owned(), crit: true, val: None };
    connection.ldap.with_controls(control);
    let asked = vec!["objectGUID"];
    let mut stream =
        connection.ldap.streaming_search(domain, Scope::Subtree, EVERYTHING, asked).await?;
    while stream.next().await?.is_some() {
        woken.notify_one();
    }
    Ok(stream.finish().await.rc)
}
