//! `idpsyncd serve`: the gateway's side alone, over a store that another process writes.
//!
//! Reads no secret of a source and contacts none. SIGHUP reads the configuration again (a broken
//! one leaves the old one in force), SIGTERM lets open requests end.

use std::path::Path;
use std::time::{Duration, Instant};

use super::DaemonError;
use super::notify::{Notify, watchdog_limit};
use super::open_store::OpenStore;
use super::report::{log_diagnostics, log_faults};
use super::signals::{Signals, Wish};
use super::watchdog::Watchdog;
use crate::config::{self, Config};
use crate::gateway::{Gateway, ProcessKind};
use crate::source::kinds;

/// How often systemd is told how things are.
const TELL: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT. `config` is what `config_file` holds now.
///
/// # Errors
/// There is no `[gateway]`, an address cannot be had, a TLS file cannot be used, or signals cannot
/// be received.
pub async fn serve(config_file: &Path, config: Config) -> Result<(), DaemonError> {
    let mut signals = Signals::new().map_err(DaemonError::Signals)?;
    log_diagnostics(&config.diagnostics);
    let mut store = OpenStore::of(&config);
    let Some(mut gateway) = Gateway::start(&config, store.store(), ProcessKind::Alone).await?
    else {
        return Err(DaemonError::NothingToServe(config_file.to_owned()));
    };
    let mut notify = Notify::default();
    let mut watchdog = Watchdog::new(watchdog_limit());
    notify.ready();
    loop {
        notify.status(match gateway.not_ready() {
            None => "serving".to_owned(),
            Some(why) => format!("refusing every request: {why}"),
        });
        if watchdog.feed(Instant::now(), false, 0) {
            notify.watchdog();
        }
        let wake = watchdog.look_every().unwrap_or(TELL).min(TELL);
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Reload => {
                    notify.reloading();
                    reload(&mut gateway, &mut store, config_file).await;
                    notify.ready();
                }
                Wish::Stop => break,
            },
            () = tokio::time::sleep(wake) => {}
        }
    }
    notify.stopping();
    gateway.stop().await;
    Ok(())
}

/// Puts the file in force, or says why not.
async fn reload(gateway: &mut Gateway, store: &mut OpenStore, file: &Path) {
    let config = match config::load(file, &kinds()) {
        Ok(config) if config.gateway.is_some() => config,
        Ok(_) => {
            tracing::error!(
                "the configuration was not loaded, the old one stays: `[gateway]` is gone"
            );
            return;
        }
        Err(error) => {
            let why = log_faults(error);
            tracing::error!("the configuration was not loaded, the old one stays: {why}");
            return;
        }
    };
    log_diagnostics(&config.diagnostics);
    let named = store.again(&config);
    match gateway.reload(&config, named.store()).await {
        Ok(()) => {
            *store = named;
            tracing::info!(file = %file.display(), "the configuration is in force");
        }
        Err(why) => {
            tracing::error!("the configuration was not loaded, the old one stays: {why}");
        }
    }
}
