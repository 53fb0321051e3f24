//! The search that stays open: begun with a cookie, and what it fills.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap3::{Ldap, LdapResult, Scope};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::inbox::{Ended, Inbox};
use super::server::Provider;
use super::wire;
use super::{EVERYTHING, Origin, Stop};
use crate::model::panicked::own_fault;
use crate::source::SourceErrorKind;
use crate::source::feed::{NotFollowed, WhyFull};
use crate::source::ldap::connect::Connection;
use crate::source::ldap::dialect;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::explain::{self, Fault};

/// What the search fills and the follower empties.
pub(super) struct Shared {
    inbox: Mutex<Inbox>,
    /// Something came that can be worked on.
    pub changed: Notify,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A search that stays open, and the connections beside it. Dropping it ends them.
pub(super) struct Stream {
    pub shared: Arc<Shared>,
    pump: JoinHandle<()>,
    /// The one that the search is on.
    pub connection: Connection,
    /// The one for everything else.
    pub second: Connection,
    pub provider: Provider,
    /// When it was begun.
    pub since: Instant,
}

impl Stream {
    /// Begins the search below `base` with `cookie`.
    pub async fn open(
        origin: &Origin,
        connection: Connection,
        provider: Provider,
        base: &str,
        cookie: &[u8],
    ) -> Stream {
        // Where the server allows one connection alone, that must do.
        let second = origin.connector.connect_to(&connection.url).await;
        let second = second.unwrap_or_else(|_| connection.clone());
        let inbox = Mutex::new(Inbox::new(provider));
        let shared = Arc::new(Shared { inbox, changed: Notify::new() });
        let limits = origin.shape.dialect.limits;
        let ldap = connection.ldap.clone();
        let pump = pump(ldap, base.to_owned(), cookie.to_vec(), shared.clone(), limits);
        let pump = tokio::spawn(pump);
        Stream { shared, pump, connection, second, provider, since: Instant::now() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Reads what comes and keeps ids and names of it.
async fn pump(
    mut ldap: Ldap,
    base: String,
    cookie: Vec<u8>,
    shared: Arc<Shared>,
    limits: dialect::Limits,
) {
    /// However this ends, the follower learns of it.
    struct Left(Arc<Shared>);
    impl Drop for Left {
        fn drop(&mut self) {
            let mut broken = Fault::local("the search for changes broke off", true);
            if std::thread::panicking() {
                let why = format!("{}: {}", broken.message, own_fault("see the log"));
                broken = Fault::local(why, true).of_kind(SourceErrorKind::Panicked);
            }
            let ended = Ended { code: None, fault: Some(broken) };
            self.0.lock().ended.get_or_insert(ended);
            self.0.changed.notify_one();
        }
    }
    let left = Left(shared.clone());
    let ended = match search(&mut ldap, &base, &cookie, &shared).await {
        Ok(result) => {
            let code = Some(result.rc);
            let fault =
                (result.rc != 0).then(|| explain::search(&result, "changes", &base, &limits));
            if result.rc == 0
                && let Some(done) = wire::done(&result.ctrls)
            {
                shared.lock().done(done);
            }
            Ended { code, fault }
        }
        Err(fault) => Ended { code: None, fault: Some(fault) },
    };
    shared.lock().ended = Some(ended);
    drop(left);
}

async fn search(
    ldap: &mut Ldap,
    base: &str,
    cookie: &[u8],
    shared: &Shared,
) -> Result<LdapResult, Fault> {
    let broken = |error| explain::broken(&error, "the search for changes broke off");
    ldap.with_controls(wire::request(Some(cookie), true));
    let mut stream = ldap
        .streaming_search(base, Scope::Subtree, EVERYTHING, vec!["entryUUID", "nsUniqueId"])
        .await
        .map_err(broken)?;
    while let Some(item) = stream.next().await.map_err(broken)? {
        let mut inbox = shared.lock();
        if item.is_intermediate() {
            match wire::info(item.0) {
                Ok(info) => info.into_iter().for_each(|info| inbox.info(info)),
                Err(()) => inbox.garbled = true,
            }
        } else if !item.is_ref() {
            match (wire::state(&item.1), Entry::from_wire(item.0)) {
                (Ok(state), Ok(entry)) => inbox.entry(entry.dn, state),
                _ => inbox.garbled = true,
            }
        }
        if !inbox.is_refreshing() || inbox.overflow {
            shared.changed.notify_one();
        }
    }
    Ok(stream.finish().await)
}

/// The cookie that stands for now. It does not depend on how far down is searched, so the base alone is
/// asked for, and no limit stands in the way.
pub(super) async fn cookie(
    origin: &Origin,
    connection: &Connection,
    base: &str,
) -> Result<Vec<u8>, Stop> {
    let broken = |error| Stop::Fault(explain::broken(&error, "asking for a cookie broke off"));
    let late = || Stop::Fault(Fault::late("asking for a cookie took too long"));
    let mut ldap = connection.ldap.clone();
    let ask = async {
        ldap.with_timeout(origin.config.timeout);
        ldap.with_controls(wire::request(None, false));
        let attributes = vec!["1.1"];
        let mut stream = ldap
            .streaming_search(base, Scope::Base, EVERYTHING, attributes)
            .await
            .map_err(broken)?;
        while stream.next().await.map_err(broken)?.is_some() {}
        Ok::<LdapResult, Stop>(stream.finish().await)
    };
    let result =
        tokio::time::timeout(origin.config.read_timeout, ask).await.map_err(|_| late())??;
    if result.rc != 0 {
        let limits = origin.shape.dialect.limits;
        return Err(refused(result.rc, Some(explain::search(&result, "a cookie", base, &limits))));
    }
    wire::done(&result.ctrls)
        .and_then(|done| done.cookie)
        .ok_or_else(|| Stop::Not(NotFollowed::Refused("the server gave no cookie".to_owned())))
}

/// What a search for changes that ended with this result code means.
pub(super) fn refused(code: u32, fault: Option<Fault>) -> Stop {
    const NOT_ON: &str = "the server does not offer content synchronization for this base: on \
                          OpenLDAP add `overlay syncprov` to the database";
    let said = || fault.as_ref().map(|fault| fault.message.clone()).unwrap_or_default();
    match code {
        4096 => Stop::Read(WhyFull::Refused),
        // OpenLDAP: "consumer state is newer than provider!"
        53 => Stop::Read(WhyFull::Newer),
        12 => Stop::Not(NotFollowed::NotOffered(NOT_ON)),
        4 | 11 | 18 | 32 | 34 | 50 => Stop::Not(NotFollowed::Refused(said())),
        // 3, the time limit, ends a search that stayed open for long as well.
        _ => Stop::Fault(Fault {
            transient: true,
            ..fault.unwrap_or_else(|| Fault::local("the search for changes ended", true))
        }),
    }
}
