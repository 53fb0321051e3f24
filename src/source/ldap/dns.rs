//! What DNS says of a domain's servers: which there are (RFC 2782), and at what addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use url::Url;

use super::address::Domain;

/// At most so many servers of a domain are tried. Where a whole network is cut off, each takes its
/// time to be given up.
const TRIED: usize = 8;

/// Whom DNS is asked through.
#[derive(Clone, Debug)]
pub(super) struct Dns {
    /// These servers; none: those of the system.
    servers: Vec<SocketAddr>,
    /// The site whose servers come first.
    site: Option<String>,
}

/// Why DNS did not say what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum DnsError {
    /// The system's configuration cannot be used.
    #[error("DNS cannot be asked: {0}")]
    Setup(#[source] NetError),
    /// No answer.
    #[error("DNS does not answer for `{name}`: {why}")]
    NoAnswer {
        /// What was asked for.
        name: String,
        /// Why.
        #[source]
        why: NetError,
    },
    /// The domain has no such servers.
    #[error(
        "DNS has no servers under `{0}` (SRV): check the domain's name, or give the servers' own URLs"
    )]
    NoServer(String),
    /// The name has no address.
    #[error("DNS has no address for `{0}`")]
    NoAddress(String),
}

impl DnsError {
    /// Whether it may pass by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, DnsError::NoAnswer { .. })
    }
}

impl Dns {
    /// Asks these servers (none: those of the system); of a domain's servers those of `site` come
    /// first.
    pub fn new(servers: &[SocketAddr], site: Option<&str>) -> Self {
        Dns { servers: servers.to_vec(), site: site.map(str::to_owned) }
    }

    /// Whether every name is asked for here, rather than by the system.
    pub fn resolves_names(&self) -> bool {
        !self.servers.is_empty()
    }

    /// The servers of `domain` in the order in which to try them, as `ldap://` URLs, or `ldaps://` where
    /// a record names a port of that.
    ///
    /// # Errors
    /// DNS does not answer, or knows of none.
    pub async fn servers_of(&self, domain: &Domain) -> Result<Vec<Url>, DnsError> {
        let resolver = self.resolver()?;
        let everywhere = format!("_ldap._tcp.{}.", domain.as_str());
        let names =
            self.site.iter().map(|site| format!("_ldap._tcp.{site}._sites.{}.", domain.as_str()));
        let (mut urls, mut seen) = (Vec::new(), BTreeSet::new());
        for name in names.chain([everywhere.clone()]) {
            let records = records(&resolver, &name).await?;
            for Record { host, port, .. } in ordered(records, |below| fastrand::u64(0..below)) {
                let scheme = if matches!(port, 636 | 3269) { "ldaps" } else { "ldap" };
                // What is no name of a host leads nowhere.
                let Ok(url) = Url::parse(&format!("{scheme}://{host}:{port}")) else { continue };
                if seen.insert((host, port)) {
                    urls.push(url);
                }
            }
        }
        if urls.is_empty() {
            return Err(DnsError::NoServer(everywhere));
        }
        urls.truncate(TRIED);
        Ok(urls)
    }

    /// The addresses of `host`.
    ///
    /// # Errors
    /// DNS does not answer, or knows of none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let name = format!("{}.", host.strip_suffix('.').unwrap_or(host));
        match self.resolver()?.lookup_ip(name.as_str()).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(why) if why.is_no_records_found() => Err(DnsError::NoAddress(name)),
            Err(why) => Err(DnsError::NoAnswer { name, why }),
        }
    }

    /// One that keeps nothing: what DNS says is asked for each connection anew, as the system does.
    fn resolver(&self) -> Result<TokioResolver, DnsError> {
        let builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(DnsError::Setup)?
        } else {
            let servers = self.servers.iter().map(|server| {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let ways = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                NameServerConfig::new(server.ip(), true, ways)
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        builder.build().map_err(DnsError::Setup)
    }
}

/// The records of servers under `name`; none where there is no such name, or where it says that there
/// are none (a root as the only target).
async fn records(resolver: &TokioResolver, name: &str) -> Result<Vec<Record>, DnsError> {
    let found = match resolver.srv_lookup(name).await {
        Ok(found) => found,
        Err(why) if why.is_no_records_found() => return Ok(Vec::new()),
        Err(why) => return Err(DnsError::NoAnswer { name: name.to_owned(), why }),
    };
    let record = |data: &RData| match data {
        RData::SRV(srv) if !srv.target.is_root() => Some(Record {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            host: srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase(),
        }),
        _ => None,
    };
    Ok(found.answers().iter().filter_map(|answer| record(&answer.data)).collect())
}

/// A server of a domain, as a record says it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Record {
    priority: u16,
    weight: u16,
    port: u16,
    host: String,
}

/// The order in which to try servers: by priority, and among those of one priority by lot, where
/// weight is the number of lots (RFC 2782). `below` gives a number below another.
fn ordered(mut records: Vec<Record>, mut below: impl FnMut(u64) -> u64) -> Vec<Record> {
    let mut order = Vec::with_capacity(records.len());
    // Those of no weight come first, so that they have a chance, but a small one.
    records.sort_by_key(|record| (record.priority, record.weight != 0));
    while let Some(first) = records.first() {
        let priority = first.priority;
        let equal = || records.iter().take_while(|record| record.priority == priority);
        let lots: u64 = equal().map(|record| u64::from(record.weight)).sum();
        let drawn = below(lots.saturating_add(1));
        let mut sum = 0_u64;
        let place = equal().position(|record| {
            sum = sum.saturating_add(u64::from(record.weight));
            sum >= drawn
        });
        order.push(records.remove(place.unwrap_or(0)));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, host: &str) -> Record {
        Record { priority, weight, port: 389, host: host.to_owned() }
    }

    #[test]
    fn servers_are_tried_by_priority_and_then_by_lot() {
        let records = [
            record(10, 0, "spare"),
            record(0, 60, "big"),
            record(0, 20, "small"),
            record(0, 0, "tiny"),
        ];
        let order = |lots: &[u64]| -> Vec<String> {
            let mut lots = lots.iter().copied();
            let drawn = |below| lots.next().unwrap().min(below - 1);
            ordered(records.to_vec(), drawn).into_iter().map(|record| record.host).collect()
        };
        assert_eq!(order(&[1, 1, 0, 0]), ["big", "small", "tiny", "spare"]);
        assert_eq!(order(&[61, 60, 0, 0]), ["small", "big", "tiny", "spare"]);
        assert_eq!(order(&[0, 80, 0, 0]), ["tiny", "small", "big", "spare"]);
        // As often as its weight says.
        let mut state = 1_u64;
        let mut first = std::collections::HashMap::<String, u32>::new();
        for _ in 0..10_000 {
            let drawn = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % below
            };
            let order = ordered(records.to_vec(), drawn);
            *first.entry(order[0].host.clone()).or_default() += 1;
        }
        assert!((7_000..8_000).contains(&first["big"]), "{first:?}");
        assert!((2_000..3_000).contains(&first["small"]), "{first:?}");
        assert!(first["tiny"] > 0 && first["tiny"] < 400, "{first:?}");
    }
}
