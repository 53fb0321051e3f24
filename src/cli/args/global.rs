//! What holds for every command: where the configuration is, and how results and logs are written.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

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
