//! The shape of `who` and `report`.

use clap::{Args, Subcommand};

/// `idpsyncd who`
#[derive(Args, Debug)]
pub struct WhoArgs {
    /// The action, such as workflow:Create
    #[arg(required_unless_present_any = ["request", "role"])]
    pub action: Option<String>,
    /// The resource, such as pool/ml-training
    pub resource: Option<String>,
    /// In place of them a request as the gateway gets it, its path alone or as a URL: the route tells
    /// action and resource. WEBSOCKET for a WebSocket upgrade
    #[arg(long, value_name = "METHOD PATH|URL", conflicts_with_all = ["action", "resource"])]
    pub request: Option<String>,
    /// The host of a request whose path stands alone, where routes name hosts
    #[arg(long, requires = "request", conflicts_with_all = ["action", "resource", "role"])]
    pub host: Option<String>,
    /// In place of them a role: everyone who effectively holds it
    #[arg(long, conflicts_with_all = ["action", "resource", "request"])]
    pub role: Option<String>,
}

/// `idpsyncd report`
#[derive(Subcommand, Debug)]
pub enum ReportCommand {
    /// Report who effectively holds what, since when, why and by whom
    #[command(after_help = "\
Examples:
  idpsyncd report access
  idpsyncd report access --user alice
  idpsyncd report access --role osmo-admin --output json
  idpsyncd report access --as-of 41                      as it was at generation 41
  idpsyncd report access --as-of 2026-11-01              as it was at 00:00 UTC of that day
  idpsyncd report access --since-last-review quarterly   what is not as it was then

A past state is told as the gateways saw it. A moment between two generations means the earlier
one.")]
    Access(AccessArgs),
    /// Record that somebody has looked at who holds what
    #[command(after_help = "\
Example:
  idpsyncd report sign quarterly --by \"Ada Berg\" --generation 42

Changes nobody's access, and makes no generation. Name the generation that was looked at (`report
access` says which it was): without it, it is the newest. Needs an account that may write the
store.")]
    Sign(SignArgs),
    /// List who has looked at what and when, newest first
    List,
}

/// `idpsyncd report access`
#[derive(Args, Debug)]
pub struct AccessArgs {
    /// This user only, by the username at that time
    #[arg(long)]
    pub user: Option<String>,
    /// This role only
    #[arg(long)]
    pub role: Option<String>,
    /// The state at this time (RFC 3339, or a day: at 00:00 UTC) or generation
    #[arg(long, value_name = "TIME|GENERATION")]
    pub as_of: Option<String>,
    /// Only what is not as it was at the last `report sign NAME`
    #[arg(long, value_name = "NAME")]
    pub since_last_review: Option<String>,
}

/// `idpsyncd report sign`
#[derive(Args, Debug)]
pub struct SignArgs {
    /// The review's name, such as quarterly
    pub name: String,
    /// Who has looked
    #[arg(long, value_name = "WHO")]
    pub by: String,
    /// The generation that was looked at; the newest where absent
    #[arg(long, value_name = "N")]
    pub generation: Option<u64>,
}
