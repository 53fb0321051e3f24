//! What is done by hand: people, grants, tokens.

use clap::{Args, Subcommand};

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
