//! The command line's shape.

use clap::{Args, Parser, Subcommand};

mod by_hand;
mod global;
mod platform;
mod report;
mod store;

pub use by_hand::{GrantCommand, TokenArgs, TokenCommand, UserCommand};
pub use global::{Format, Global, GlobalArgs, Output};
pub use platform::{H2oCommand, IamCommand, ImportCommand};
pub use report::{AccessArgs, ReportCommand, SignArgs, WhoArgs};
pub use store::{StoreCommand, StoreCopyArgs};

/// Keeps a gateway's idea of who may do what in step with Keycloak and LDAP.
#[derive(Parser, Debug)]
#[command(
    name = "idpsyncd",
    version,
    about = "Keeps a gateway's idea of who may do what in step with Keycloak and LDAP",
    after_help = "\
Examples:
  idpsyncd check                          what is wrong with the configuration and the sources
  idpsyncd sync --dry-run                 what a sync would change, without changing it
  idpsyncd sync                           one sync
  idpsyncd run                            the daemon
  idpsyncd serve                          answer gateways from a store that another process writes
  idpsyncd explain alice --role osmo-user why alice holds a role, or why not
  idpsyncd report access                  who holds what, since when and why
  idpsyncd plan show                      what the guard holds

Exit status, the first that applies: 64 usage, 1 error and nothing changed, 4 a source failed or
was partial, 3 removals are held, 2 a dry run found changes (--detailed-exitcode), 0 done.",
    max_term_width = 100
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the daemon: sync on the schedule and answer gateways, until SIGTERM
    Run,
    /// Answer gateways only, from a store that another process writes, until SIGTERM
    #[command(after_help = "\
Contacts no source and reads none of their secrets; follows the store within a second.

Example:
  idpsyncd serve --config /etc/idpsyncd/idpsyncd.toml
  curl http://127.0.0.1:9180/readyz")]
    Serve,
    /// Sync once
    #[command(after_help = "\
Examples:
  idpsyncd sync --dry-run
  idpsyncd sync --dry-run --output json --detailed-exitcode
  idpsyncd sync --source corp-keycloak     the other sources speak through their mirrors
  idpsyncd sync --offline --dry-run        a changed configuration against the mirrors
  idpsyncd sync --dry-run --all | less     every change, a line each

Losses come first. More than 30 changes of a kind (200, where standard output is no terminal) are told
by what causes them: per role and rule how many people gain or lose it, through what, and the first
names; of losses the first 200.")]
    Sync(SyncArgs),
    /// Report every problem of the configuration and the sources at once
    #[command(after_help = "Exit status 1 for errors; warnings alone are 0.")]
    Check(CheckArgs),
    /// Say why a user holds each role, and why not others; or who reaches a cloud identity
    #[command(after_help = "\
Examples:
  idpsyncd explain alice
  idpsyncd explain --workload arn:aws:iam::123456789012:role/vision
  idpsyncd explain alice --role osmo-admin
  idpsyncd explain alice --action workflow:Create --resource pool/ml-training")]
    Explain(ExplainArgs),
    /// Decide a request from the store: exit 0 Allow, 5 Deny
    #[command(after_help = "\
Examples:
  idpsyncd authorize alice pool:List
  idpsyncd authorize alice workflow:Create pool/ml-training
  idpsyncd authorize alice --request \"POST /api/pool/ml-training/workflow\"
  idpsyncd authorize alice --request \"WEBSOCKET /api/workflow/my-run/exec\"
  idpsyncd authorize alice --request \"GET https://osmo.example.com/api/pool\"")]
    Authorize(AuthorizeArgs),
    /// List everyone who may do something, or who holds a role, from the store
    #[command(after_help = "\
Examples:
  idpsyncd who pool:List
  idpsyncd who workflow:Create pool/ml-training
  idpsyncd who --request \"POST /api/pool/ml-training/workflow\"
  idpsyncd who --role osmo-admin
  idpsyncd who workflow:Create pool/ml-training --output csv > who.csv

The role that is named is the one whose policy decides, as `authorize` names it. Who is denied by
any of their roles is not listed.")]
    Who(WhoArgs),
    /// Report who holds what, since when, why and by whom: for a review
    #[command(
        subcommand,
        after_help = "\
Examples:
  idpsyncd report access --output csv > access.csv
  idpsyncd report access --as-of 2026-11-01T00:00:00Z
  idpsyncd report access --since-last-review quarterly
  idpsyncd report sign quarterly --by \"Ada Berg\" --generation 42
  idpsyncd report list"
    )]
    Report(ReportCommand),
    /// Show sources, generation, held plan, next run
    Status,
    /// Show, approve or discard what the guard holds
    #[command(
        subcommand,
        after_help = "\
Examples:
  idpsyncd plan show
  idpsyncd plan approve 1a2b3c4d5e6f       lets exactly that happen
  idpsyncd plan discard 1a2b3c4d5e6f       forgets it until the next run asks again"
    )]
    Plan(PlanCommand),
    /// Show who gained or lost what, when, why, in which generation
    #[command(after_help = "\
Examples:
  idpsyncd history --user alice
  idpsyncd history --role osmo-admin --since 7d
  idpsyncd history --since 2026-11-01T00:00:00Z --output json")]
    History(HistoryArgs),
    /// Show users; add, disable, enable or remove local ones
    #[command(subcommand)]
    User(UserCommand),
    /// Add, remove or list local grants
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Create, list, show or revoke access tokens
    #[command(
        subcommand,
        after_help = "\
Examples:
  idpsyncd token create svc-ci nightly --role osmo-user --expires 90d
  idpsyncd token create alice laptop --expires 2027-01-31 --description \"osmo login\"
  idpsyncd token list --user svc-ci
  idpsyncd token revoke svc-ci nightly --reason \"left in a build log\""
    )]
    Token(TokenCommand),
    /// Make the store, let a gateway's database role read it, or copy all of it elsewhere
    #[command(
        subcommand,
        after_help = "\
Examples:
  idpsyncd store init                      makes the store, or brings an older one up to date
  idpsyncd store grant gateway             PostgreSQL: what the role `gateway` needs to serve, nothing else
  idpsyncd store copy --to postgresql://idpsyncd@db.example.com/idpsyncd
                                           all of it into an empty database, while nothing runs"
    )]
    Store(StoreCommand),
    /// The policies of H2O's App Store
    #[command(name = "h2o", subcommand)]
    H2o(H2oCommand),
    /// Take over what another platform keeps in its database
    #[command(subcommand)]
    Import(ImportCommand),
    /// Write a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual page
    Man,
}

/// `idpsyncd sync`
#[derive(Args, Debug)]
pub struct SyncArgs {
    /// Plan and show, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Read this source only (repeatable); the others speak through their mirrors
    #[arg(long, value_name = "NAME", conflicts_with = "offline")]
    pub source: Vec<String>,
    /// Contact no source: every one speaks through its mirror
    #[arg(long)]
    pub offline: bool,
    /// Exit 2 where a dry run found changes
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Tell every change one by one, however many
    #[arg(long)]
    pub all: bool,
}

/// `idpsyncd check`
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Do not connect to any source
    #[arg(long)]
    pub offline: bool,
}

/// `idpsyncd explain`
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The username
    #[arg(required_unless_present = "workload")]
    pub user: Option<String>,
    /// In place of a user a cloud identity: who reaches it, through which pool and platform, by which role
    #[arg(
        long,
        value_name = "IDENTITY",
        conflicts_with_all = ["user", "role", "action", "resource"]
    )]
    pub workload: Option<String>,
    /// This role only
    #[arg(long)]
    pub role: Option<String>,
    /// This action, such as workflow:Create
    #[arg(long)]
    pub action: Option<String>,
    /// On this resource, such as pool/ml-training
    #[arg(long, requires = "action")]
    pub resource: Option<String>,
}

/// `idpsyncd authorize`
#[derive(Args, Debug)]
pub struct AuthorizeArgs {
    /// The username
    pub user: String,
    /// The action, such as workflow:Create
    #[arg(required_unless_present = "request")]
    pub action: Option<String>,
    /// The resource, such as pool/ml-training
    pub resource: Option<String>,
    /// In place of them a request as the gateway gets it, its path alone or as a URL: the route tells
    /// action and resource. WEBSOCKET for a WebSocket upgrade
    #[arg(long, value_name = "METHOD PATH|URL", conflicts_with_all = ["action", "resource"])]
    pub request: Option<String>,
    /// The host of a request whose path stands alone, where routes name hosts
    #[arg(long, requires = "request", conflicts_with_all = ["action", "resource"])]
    pub host: Option<String>,
}

/// `idpsyncd plan`
#[derive(Subcommand, Debug)]
pub enum PlanCommand {
    /// Show the held plan
    Show {
        /// Its id
        id: Option<String>,
        /// Tell every change one by one, however many
        #[arg(long)]
        all: bool,
    },
    /// Apply exactly this plan, if each of its changes still stands
    Approve {
        /// Its id
        id: String,
        /// Tell every change one by one, however many
        #[arg(long)]
        all: bool,
    },
    /// Forget this plan until the next run asks again
    Discard {
        /// Its id
        id: String,
    },
}

/// `idpsyncd history`
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// This user only
    #[arg(long)]
    pub user: Option<String>,
    /// This role only
    #[arg(long)]
    pub role: Option<String>,
    /// Since this time (RFC 3339) or for this long (such as 24h or 7d)
    #[arg(long, value_name = "TIME|DURATION")]
    pub since: Option<String>,
    /// At most this many, the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}
