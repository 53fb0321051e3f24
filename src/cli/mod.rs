//! Commands: one file each, and how things print.
//!
//! Results go to standard output, logs and errors to standard error. A command returns its exit
//! status; [`main`] turns what went wrong into one line.

mod account;
mod args;
mod authorize;
mod changes;
mod check;
mod explain;
mod grant;
mod h2o;
mod held;
mod history;
mod import;
mod log;
mod man;
mod places;
mod print;
mod progress;
mod reach;
mod report;
mod request;
mod sheet;
mod status;
mod store;
mod store_copy;
mod sync;
mod time;
mod token;
mod user;
mod who;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};

use crate::config::{self, Config, ConfigError};
use crate::daemon;
use crate::model::TooMany;
use crate::source::kinds;
use crate::store::{CopyError, Store, StoreError};
use crate::sync::osmo_db::ReadError;
use crate::sync::{ManualError, Outcome, RunError};
use args::{Cli, Command, Format, Global, GlobalArgs, Output, ReportCommand};
use print::OutputError;
use time::MomentError;

/// Exit statuses: the design's section 3.
mod exit {
    pub const DONE: u8 = 0;
    pub const ERROR: u8 = 1;
    pub const CHANGES: u8 = 2;
    pub const HELD: u8 = 3;
    pub const SOURCE: u8 = 4;
    pub const DENY: u8 = 5;
    pub const USAGE: u8 = 64;
}

/// Why a command came to nothing.
enum Failure {
    /// The command line is wrong: status 64.
    Usage(String),
    /// Status 1; nothing was changed.
    Error(String),
    /// Status 1; the command has printed what is wrong.
    Said,
}

impl From<MomentError> for Failure {
    fn from(error: MomentError) -> Self {
        Failure::Usage(error.to_string())
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        Failure::Error(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Error(error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Failure::Error(error.to_string())
    }
}

impl From<ManualError> for Failure {
    fn from(error: ManualError) -> Self {
        Failure::Error(error.to_string())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Failure::Error(error.to_string())
    }
}

impl From<TooMany> for Failure {
    fn from(error: TooMany) -> Self {
        Failure::Error(error.to_string())
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        Failure::Error(error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Error(error.to_string())
    }
}

/// What a command has done before it tells that. Status 1 alone says that nothing was changed, so where
/// something fails after that, the error says first what was done.
struct AlreadyDone(Option<String>);

impl AlreadyDone {
    /// Nothing was changed.
    fn nothing() -> Self {
        AlreadyDone(None)
    }

    /// A generation of the store.
    fn generation(number: u64) -> Self {
        AlreadyDone::that(format!("generation {number} is committed"))
    }

    /// What a run committed, if anything.
    fn by_run(outcome: &Outcome) -> Self {
        AlreadyDone::to(outcome.before, outcome.generation)
    }

    /// The generation to which the store went from `before`, if it is another.
    fn to(before: u64, generation: u64) -> Self {
        match generation {
            generation if generation == before => AlreadyDone::nothing(),
            generation => AlreadyDone::generation(generation),
        }
    }

    /// Something else: a sentence without its full stop.
    fn that(what: String) -> Self {
        AlreadyDone(Some(what))
    }

    /// What came of a step after that.
    fn then<T>(&self, step: Result<T, impl Into<Failure>>) -> Result<T, Failure> {
        step.map_err(|error| match (error.into(), &self.0) {
            (Failure::Error(error), Some(done)) => Failure::Error(format!("{done}, but {error}")),
            (failure, _) => failure,
        })
    }
}

/// Reads the command line, does what it says, and returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors.
            let status = if error.use_stderr() { exit::USAGE } else { exit::DONE };
            return match error.print() {
                Ok(()) => ExitCode::from(status),
                Err(_) => ExitCode::from(exit::ERROR),
            };
        }
    };
    // A mistake in this program ends the command as an error does, and has told what it is on the way.
    // What is planned is written in one transaction: nothing was changed, or everything.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| start(cli)));
    match done.unwrap_or(Err(Failure::Said)) {
        Ok(status) => ExitCode::from(status),
        Err(Failure::Said) => ExitCode::from(exit::ERROR),
        Err(Failure::Error(message)) => {
            eprintln!("error: {}", message.trim_end());
            ExitCode::from(exit::ERROR)
        }
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}\n\nFor more information, try '--help'.");
            ExitCode::from(exit::USAGE)
        }
    }
}

fn start(cli: Cli) -> Result<u8, Failure> {
    let Cli { global, command } = cli;
    let global = understood(global, &command)?;
    let output = global.output;
    let quiet = !matches!(command, Command::Run | Command::Serve);
    start_logging(&global, if quiet { "warn" } else { "info" })?;
    match command {
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "idpsyncd", &mut out);
            print::plain(&[String::from_utf8_lossy(&out).trim_end().to_owned()])?;
            Ok(exit::DONE)
        }
        Command::Man => {
            let page = man::page().map_err(|error| {
                Failure::Error(format!("cannot write the manual page: {error}"))
            })?;
            print::plain(&[page])?;
            Ok(exit::DONE)
        }
        Command::Run => {
            let config = load(&global)?;
            let runtime = runtime()?;
            let done = runtime.block_on(daemon::run(&global.config, config));
            // A file that never answers must not keep the daemon from ending.
            runtime.shutdown_background();
            done.map_err(|error| Failure::Error(error.to_string()))?;
            Ok(exit::DONE)
        }
        Command::Serve => {
            let config = load(&global)?;
            let runtime = runtime()?;
            let done = runtime.block_on(daemon::serve::serve(&global.config, config));
            runtime.shutdown_background();
            done.map_err(|error| Failure::Error(error.to_string()))?;
            Ok(exit::DONE)
        }
        Command::Check(args) => check::run(&global, &args),
        Command::Sync(args) => over_store(&global, |at| sync::run(at, &args, output)),
        Command::Explain(args) => over_store(&global, |at| explain::run(at, &args, output)),
        Command::Authorize(args) => over_store(&global, |at| authorize::run(at, &args, output)),
        Command::Who(args) => over_store(&global, |at| who::run(at, &args, global.format)),
        Command::Report(command) => report::run(&global, &command),
        Command::Status => over_store(&global, |at| status::run(at, output)),
        Command::Plan(command) => over_store(&global, |at| held::run(at, &command, output)),
        Command::Store(command) => {
            store_copy::hide_password(&command)?;
            over_store(&global, |at| store::run(at, &command, output))
        }
        Command::History(args) => over_store(&global, |at| history::run(at, &args, output)),
        Command::User(command) => over_store(&global, |at| user::run(at, command, output)),
        Command::Grant(command) => over_store(&global, |at| grant::run(at, command, output)),
        Command::Token(command) => over_store(&global, |at| token::run(at, command, output)),
        Command::H2o(command) => h2o::run(&global, &command),
        Command::Import(command) => {
            import::hide_password(&command)?;
            over_store(&global, |at| import::run(at, &command, output))
        }
    }
}

/// What holds for every command. CSV is for the commands alone that have rows for a spreadsheet.
fn understood(args: GlobalArgs, command: &Command) -> Result<Global, Failure> {
    let GlobalArgs { config, format, log_format, log_level } = args;
    let rows = matches!(command, Command::Who(_) | Command::Report(ReportCommand::Access(_)));
    let output = match format {
        Format::Csv if !rows => {
            return Err(Failure::Usage(
                "`--output csv` is for `who` and `report access` alone: use `text` or `json`"
                    .to_owned(),
            ));
        }
        Format::Text | Format::Csv => Output::Text,
        Format::Json => Output::Json,
    };
    Ok(Global { config, output, format, log_format, log_level })
}

/// The configuration; its faults go to standard error as they are.
fn load(global: &Global) -> Result<Config, Failure> {
    config::load(&global.config, &kinds()).map_err(|error| {
        eprintln!("{}", error.to_string().trim_end());
        Failure::Said
    })
}

/// What a command works with.
#[derive(Clone, Copy)]
struct Context<'a> {
    config: &'a Config,
    /// That of `config`.
    store: &'a dyn Store,
}

/// Does `work` with the configuration and its store.
fn over_store(
    global: &Global,
    work: impl FnOnce(Context<'_>) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    let config = load(global)?;
    work(Context { config: &config, store: &*open(&config) })
}

/// The store that `config` names. Whatever a command does with it, it opens it once, here.
fn open(config: &Config) -> Arc<dyn Store> {
    daemon::open_store(config)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Error(format!("cannot start the runtime: {error}")))
}

fn start_logging(global: &Global, default: &str) -> Result<(), Failure> {
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::fmt::format::JsonFields;
    let filter = match &global.log_level {
        Some(level) => EnvFilter::try_new(level),
        None => match std::env::var("RUST_LOG") {
            Ok(filter) if !filter.is_empty() => EnvFilter::try_new(filter),
            _ => EnvFilter::try_new(default),
        },
    }
    .map_err(|error| Failure::Usage(format!("`--log-level` is not a level or filter: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match global.log_format {
        Output::Json => {
            builder.fmt_fields(JsonFields::new()).event_format(log::JsonLines::new()).try_init()
        }
        Output::Text => {
            use std::io::IsTerminal;
            let ansi = std::io::stderr().is_terminal();
            builder.fmt_fields(log::TextFields::default()).with_ansi(ansi).try_init()
        }
    };
    done.map_err(|error| Failure::Error(format!("cannot start logging: {error}")))
}
