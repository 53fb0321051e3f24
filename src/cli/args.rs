//! The command line's shape.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod report;

pub use report::{AccessArgs, ReportCommand, SignArgs, WhoArgs};

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

/// What holds for every command, as it is written.
#[derive(Args, Debug)]
pub struct GlobalArgs {
    /// The configuration
    #[arg(
        long,
        short,
        global = true,
        env = "IDPSYNCD_CONFIG",
        value_name = "FILE",
        default_value = "/etc/idpsyncd/idpsyncd.toml"
    )]
    pub config: PathBuf,
    /// Results as text for people, as JSON for programs, or (`who` and `report access` only) as CSV
    #[arg(
        long = "output",
        global = true,
        value_enum,
        default_value_t = Format::Text,
        value_name = "FORMAT"
    )]
    pub format: Format,
    /// Logs (on standard error) as text or as JSON
    #[arg(
        long,
        global = true,
        value_enum,
        env = "IDPSYNCD_LOG_FORMAT",
        default_value_t = Output::Text,
        value_name = "FORMAT"
    )]
    pub log_format: Output,
    /// What is logged: error, warn, info, debug, trace, or a filter such as idpsyncd=debug. Default:
    /// $RUST_LOG, else info for `run` and `serve`, warn for the rest
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// What holds for every command.
#[derive(Debug)]
pub struct Global {
    /// As in [`GlobalArgs`].
    pub config: PathBuf,
    /// What every command writes.
    pub output: Output,
    /// What the commands write that have rows for a spreadsheet too.
    pub format: Format,
    /// As in [`GlobalArgs`].
    pub log_format: Output,
    /// As in [`GlobalArgs`].
    pub log_level: Option<String>,
}

/// A format of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For spreadsheets.
    Csv,
}

/// A format of output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
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
  idpsyncd authorize alice --request \"WEBSOCKET /api/workflow/my-run/exec\"")]
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
    /// In place of them a request as the gateway gets it: the route tells action and resource.
    /// WEBSOCKET for a WebSocket upgrade
    #[arg(long, value_name = "METHOD PATH", conflicts_with_all = ["action", "resource"])]
    pub request: Option<String>,
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

/// `idpsyncd user`
#[derive(Subcommand, Debug)]
pub enum UserCommand {
    /// List all users
    List,
    /// Show one user
    Show {
        /// The username
        user: String,
    },
    /// Add a user whom no identity provider brings, or a service account
    #[command(after_help = "\
Names are ASCII letters and digits, with `_`, `.`, `@` and `-` between them. A name that an identity
provider's user has is linked with that one; a service account's or the default admin's never is. Where
there is no `[[source]]` and no store yet, this makes it, as `idpsyncd sync` would.

Examples:
  idpsyncd user add ann --email ann@example.com --reason \"no account at the IdP yet\"
  idpsyncd user add svc-ci --service --reason \"nightly builds, ticket 4711\"")]
    Add {
        /// The username
        name: String,
        /// The email address
        #[arg(long)]
        email: Option<String>,
        /// A service account: nobody signs in as it, only tokens speak for it
        #[arg(long)]
        service: bool,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Disable a local user: grants and tokens are kept, none counts
    #[command(after_help = "\
Example:
  idpsyncd user disable svc-ci --reason \"its host is being looked at\"")]
    Disable {
        /// The username
        name: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Enable a local user again
    #[command(after_help = "\
Example:
  idpsyncd user enable svc-ci --reason \"the host is clean\"")]
    Enable {
        /// The username
        name: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Remove a local user with every grant and token, at once
    #[command(after_help = "\
Of somebody whom an identity provider lists as well only the local side goes. Whoever is added again
under an old name is a new person.

Example:
  idpsyncd user remove svc-ci --reason \"replaced by svc-build\"")]
    Remove {
        /// The username
        name: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// `idpsyncd grant`
#[derive(Subcommand, Debug)]
pub enum GrantCommand {
    /// Grant a role by hand
    #[command(after_help = "\
Example:
  idpsyncd grant add alice osmo-admin --reason \"on call\" --until 24h")]
    Add {
        /// The username
        user: String,
        /// The role
        role: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// Until this time (RFC 3339) or for this long (such as 24h or 7d)
        #[arg(long, value_name = "TIME|DURATION")]
        until: Option<String>,
    },
    /// Remove a local grant, else the imported one
    Remove {
        /// The username
        user: String,
        /// The role
        role: String,
        /// Remove the imported grant, not the local one
        #[arg(long)]
        imported: bool,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// List local grants
    List,
}

/// `idpsyncd token`
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token, and write its secret to standard output: once, it is kept nowhere
    #[command(after_help = "\
Examples:
  idpsyncd token create svc-ci nightly --role osmo-user --expires 90d
  idpsyncd token create alice laptop --expires 2027-01-31 > laptop.token   (umask 077)

Standard output has the secret alone: 43 characters and a line end (with --output json an object with
it). A date ends at its 00:00 UTC. Without --role the token has every role that is granted to the user
now. It never has more than its owner: a role that the user loses leaves it for good.")]
    Create(TokenArgs),
    /// List all tokens
    List {
        /// Of this user only
        #[arg(long)]
        user: Option<String>,
    },
    /// Show one token: its roles, and with which of them it decides now
    Show {
        /// The username
        user: String,
        /// The token's name
        name: String,
    },
    /// Take a token away, for good
    #[command(after_help = "\
Example:
  idpsyncd token revoke alice laptop --reason \"lost on the train\"")]
    Revoke {
        /// The username
        user: String,
        /// The token's name
        name: String,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
}

/// `idpsyncd token create`
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// The username
    pub user: String,
    /// The token's name: a letter, then letters, digits, `-` and `_`
    pub name: String,
    /// A role that the user holds (repeatable); without it every role that is granted to the user
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Good until this date (2027-01-31, 00:00 UTC) or for this long (such as 24h or 30d)
    #[arg(long, value_name = "DATE|DURATION")]
    pub expires: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// `idpsyncd h2o`
#[derive(Subcommand, Debug)]
pub enum H2oCommand {
    /// Check, import or export IAM policies
    #[command(
        subcommand,
        after_help = "\
Examples:
  idpsyncd h2o iam check policies.json     names what is not understood; needs no configuration
  idpsyncd h2o iam import policies.json    stores them beside the files of `[h2o] iam`
  idpsyncd h2o iam export > policies.json  all of them, in a form that `import` takes"
    )]
    Iam(IamCommand),
}

/// `idpsyncd h2o iam`
#[derive(Subcommand, Debug)]
pub enum IamCommand {
    /// Say whether a file is understood in whole: exit 0, or 1 with every fault
    Check {
        /// JSON: one policy, or a list of them
        file: PathBuf,
    },
    /// Store a file's policies beside the `iam` files; those that are there already change nothing
    Import {
        /// JSON: one policy, or a list of them
        file: PathBuf,
    },
    /// Write all policies as JSON
    Export,
}

/// `idpsyncd import`
#[derive(Subcommand, Debug)]
pub enum ImportCommand {
    /// OSMO's users, the roles that somebody assigned there, and access tokens with their secrets
    #[command(after_help = "\
Examples:
  PGPASSFILE=~/.pgpass idpsyncd import osmo-db postgresql://reader@db.example.com/osmo --dry-run
  idpsyncd import osmo-db 'postgresql://reader@db.example.com/osmo?sslrootcert=/etc/ssl/corp.pem'

An account that can only read is enough. The password comes from $PGPASSWORD, or the file $PGPASSFILE
(~/.pgpass). TLS is verified; a server on this machine needs none. What is here already stays as it is,
so the same import again changes nothing. A dry run exits 2 where it would change something, else 0.")]
    OsmoDb {
        /// postgresql://USER@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=FILE]
        url: String,
        /// Plan and show, write nothing
        #[arg(long)]
        dry_run: bool,
        /// Exit 2 where a dry run found changes: it always does
        #[arg(long, requires = "dry_run")]
        detailed_exitcode: bool,
    },
}
