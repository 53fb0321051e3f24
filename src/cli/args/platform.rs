//! Other platforms: their policies, their databases.

use std::path::PathBuf;

use clap::Subcommand;

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
