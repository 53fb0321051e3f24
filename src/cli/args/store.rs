//! The store's own commands.

use clap::{Args, Subcommand};

/// `idpsyncd store`
#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Make the store where there is none, and bring an older one up to this version
    Init,
    /// Let a role of the store's database read the views and what `serve` needs, and nothing else
    Grant {
        /// The role
        role: String,
    },
    /// Copy the whole store into another, empty one: from a file into a database, or back
    #[command(after_help = "\
Examples:
  idpsyncd store copy --to postgresql://idpsyncd@db.example.com/idpsyncd --dry-run
  PGPASSFILE=~/.pgpass idpsyncd store copy --to \\
    'postgresql://idpsyncd@db.example.com/idpsyncd?sslrootcert=/etc/ssl/certs/corp.pem'
  idpsyncd store copy --to /var/lib/idpsyncd/store.db      from the database back into a file

What is copied is the store that the configuration names: generation, history, grants, tokens, held plans,
mirrors, everything. Stop every `run` and `serve` first; whoever holds the lock of one of the two is named.
The other store must hold nothing. Every table and every view is read again there and compared before
anything is committed: it is all there, or nothing is. Then name the other store in the configuration.
The password of a database in `--to` comes from $PGPASSWORD, or the file $PGPASSFILE (~/.pgpass).")]
    Copy(StoreCopyArgs),
}

/// `idpsyncd store copy`
#[derive(Args, Debug)]
pub struct StoreCopyArgs {
    /// A file, or postgresql://USER@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=FILE]
    #[arg(long, value_name = "URL|PATH")]
    pub to: String,
    /// The schema of the database [default: idpsyncd]
    #[arg(long, value_name = "NAME")]
    pub schema: Option<String>,
    /// Say what would be copied, write nothing
    #[arg(long)]
    pub dry_run: bool,
}
