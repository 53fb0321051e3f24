//! `[gateway.dpop]`: proofs of possession (RFC 9449).

use std::time::Duration;

use super::gateway::{IdentityWay, hosts};
use super::reader::{Node, Read, Table};
use crate::routes::HostPattern;

/// The longest that a proof may be good: each one is remembered for that long.
const LONGEST: Duration = Duration::from_secs(600);

/// `[gateway.dpop]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DpopConfig {
    /// A proof that was made longer ago is refused. Default one minute.
    pub max_age: Duration,
    /// The hosts that a proof may be for. Empty: the request's, whichever that is.
    pub hosts: Vec<HostPattern>,
}

impl Default for DpopConfig {
    fn default() -> Self {
        DpopConfig { max_age: Duration::from_secs(60), hosts: Vec::new() }
    }
}

/// Reads `[gateway.dpop]` of the table `gateway`.
pub(super) fn dpop(gateway: &Table<'_>, identity: Option<IdentityWay>) -> Read<DpopConfig> {
    let default = DpopConfig::default();
    let Some(node) = gateway.get("dpop") else { return Ok(default) };
    let table = node.table()?;
    let max_age = table.or("max_age", default.max_age, |node| {
        let max_age = node.some_duration()?;
        if max_age > LONGEST {
            return Err(
                node.bad("is longer than ten minutes: each proof is remembered for that long")
            );
        }
        Ok(max_age)
    });
    let hosts = hosts(&table);
    table.finish();
    goes_with_jwt(&node, identity)?;
    Ok(DpopConfig { max_age: max_age?, hosts: hosts? })
}

/// A proof names its token, so it is for whoever sees that.
pub(super) fn goes_with_jwt(node: &Node<'_>, identity: Option<IdentityWay>) -> Read<()> {
    match identity {
        None | Some(IdentityWay::Jwt) => Ok(()),
        Some(IdentityWay::Metadata | IdentityWay::Header) => Err(node.fault(
            super::fault::Code::Conflict,
            "goes with `identity = \"jwt\"`: a proof is of a token that is verified here",
        )),
    }
}
