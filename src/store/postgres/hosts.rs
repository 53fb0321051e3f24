//! Which host: one after the other, each address for at most [`EACH`], everything until the session can be
//! used included. One that takes a connection and then says nothing keeps nobody from the next.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

use super::session::SessionError;

/// How long it may take until one can be used.
const EACH: Duration = Duration::from_secs(5);

/// One host of a URL.
pub(super) struct OneHost {
    config: Config,
    host: Option<Host>,
    /// Where its name need not be looked up.
    address: Option<IpAddr>,
    port: u16,
}

impl OneHost {
    /// For messages.
    fn shown(&self) -> String {
        match (&self.host, self.address) {
            (Some(Host::Tcp(name)), _) => format!("{name}:{}", self.port),
            (None, Some(address)) => format!("{address}:{}", self.port),
            #[cfg(unix)]
            (Some(Host::Unix(path)), _) => path.display().to_string(),
            (None, None) => String::new(),
        }
    }

    /// Its addresses: what is connected to. A name may have several.
    async fn addresses(&self) -> std::io::Result<Vec<Config>> {
        let name = match (&self.host, self.address) {
            (Some(Host::Tcp(name)), None) => name,
            _ => return Ok(vec![self.config.clone()]),
        };
        let found = tokio::net::lookup_host((name.as_str(), self.port)).await?;
        let with = |address: std::net::SocketAddr| {
            let mut config = self.config.clone();
            config.hostaddr(address.ip());
            config
        };
        Ok(found.map(with).collect())
    }
}

/// The hosts of `config`, in the order in which they are tried.
pub(super) fn each_of(config: &Config) -> Vec<OneHost> {
    let (hosts, addresses, ports) =
        (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let mut all: Vec<OneHost> = (0..hosts.len().max(addresses.len()))
        .map(|at| {
            let port = ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
            let (host, address) = (hosts.get(at).cloned(), addresses.get(at).copied());
            OneHost { config: alone(config, host.as_ref(), address, port), host, address, port }
        })
        .collect();
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        fastrand::shuffle(&mut all);
    }
    all
}

/// `config` with one host: a configuration's hosts cannot be taken away again.
fn alone(config: &Config, host: Option<&Host>, address: Option<IpAddr>, port: u16) -> Config {
    let mut one = Config::new();
    match host {
        Some(Host::Tcp(name)) => drop(one.host(name)),
        #[cfg(unix)]
        Some(Host::Unix(path)) => drop(one.host_path(path)),
        None => {}
    }
    if let Some(address) = address {
        one.hostaddr(address);
    }
    one.port(port);
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(most) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*most);
    }
    if let Some(pause) = config.get_keepalives_interval() {
        one.keepalives_interval(pause);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .target_session_attrs(config.get_target_session_attrs())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle());
    one
}

/// What `open` makes of the first host at which it comes to something.
///
/// # Errors
/// None: what each says, or of those that answered what the last of them refuses.
pub(super) async fn first<T, F: Future<Output = Result<T, SessionError>>>(
    hosts: Vec<OneHost>,
    open: impl Fn(Config) -> F,
) -> Result<T, SessionError> {
    let mut refused = None;
    let mut told = Vec::new();
    let mut say = |host: &OneHost, error: SessionError| {
        told.push(format!("`{}`: {error}", host.shown()));
        if refused.is_none() || !error.is_cut() {
            refused = Some(error);
        }
    };
    for host in &hosts {
        let addresses = match tokio::time::timeout(EACH, host.addresses()).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                say(host, SessionError::Connect(error.to_string()));
                continue;
            }
            Err(_) => {
                say(host, SessionError::Connect("its name was not found in time".to_owned()));
                continue;
            }
        };
        for address in addresses {
            match tokio::time::timeout(EACH, open(address)).await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(error)) => say(host, error),
                Err(_) => say(host, SessionError::Silent(EACH)),
            }
        }
    }
    match refused {
        Some(error) if told.len() == 1 || !error.is_cut() => Err(error),
        _ => Err(SessionError::Connect(told.join(", "))),
    }
}
