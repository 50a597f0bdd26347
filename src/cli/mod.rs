//! The verbs, one file each. Here: their common ground.

mod ask;
mod audit;
mod bench;
mod check;
mod database;
mod demo;
mod doctor;
mod enqueue;
mod import;
mod lines;
mod migrate;
mod pause;
mod progress;
mod requests;
mod roles;
mod rules;
mod run;
mod terminal;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use seatkeeper::postgres::embedded::EmbeddedError;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::terminal::{JsonLog, Page, line, log_field, say, say_page};

/// Who reads password files (`~/.pgpass`) and tells of it.
const PASSWORD_FILE: &str = "sqlx_postgres::options::pgpass";

/// How a verb ends, as its exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// The answer is bad news: a critical violation, a failed request.
    BadNews = 1,
    /// The command line was not understood.
    Usage = 2,
    /// It could not be done: no database, a schema that is too old.
    Unable = 3,
}

/// Why a verb came to nothing, in words that say what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    message: String,
    /// What belongs to it and has lines of its own: where was looked, the end of a log.
    more: Vec<String>,
}

impl Failure {
    /// It could not be done.
    pub fn unable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unable, message: message.into(), more: Vec::new() }
    }

    /// What was found is bad.
    pub fn bad_news(message: impl Into<String>) -> Self {
        Self { exit: Exit::BadNews, message: message.into(), more: Vec::new() }
    }

    /// The command line, or a file that it names, was not understood.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), more: Vec::new() }
    }
}

impl Failure {
    fn tell(&self) {
        let mut page = Page::default();
        line!(page, "seatkeeper: {}", self.message);
        // Set in, so that nothing in it can be taken for a line of ours.
        self.more.iter().for_each(|text| line!(page, "  {}", text.trim_start()));
        say_page(&page);
    }
}

impl From<EmbeddedError> for Failure {
    fn from(error: EmbeddedError) -> Self {
        let text = error.to_string();
        let mut lines = text.lines().map(str::to_owned);
        let message = lines.next().unwrap_or_default();
        Self { exit: Exit::Unable, message, more: lines.collect() }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::unable(database::refusal(&error))
    }
}

/// The worker that answers enrollment and booking requests exactly once.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    /// How logs are written (to standard error)
    #[arg(long, env = "SEATKEEPER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Pretty, global = true)]
    log_format: LogFormat,
    /// What is logged: a level, or directives such as seatkeeper=debug
    #[arg(long, env = "SEATKEEPER_LOG", global = true)]
    log: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Pretty,
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the whole story in a minute, on a throw-away PostgreSQL of its own
    Demo(demo::Demo),
    /// Work off the queue: worker, scheduler and HTTP listener in one process
    Run(run::Run),
    /// Bring the schema up to date, or show what that would do
    Migrate(migrate::Migrate),
    /// Look at requests, wait for them, retry and cancel them
    Requests(requests::Requests),
    /// Keep workers from a kind, a semester or everything; producers can still enqueue
    Pause(pause::Pause),
    /// End a pause
    Resume(pause::Resume),
    /// Say what is wrong with an installation, and what to do
    Doctor(doctor::Doctor),
    /// Call the roll: does everything hold that must hold?
    Check(check::Check),
    /// Replay the history: do all answers, and the present state, follow?
    Audit(audit::Audit),
    /// The alert rules of the invariants
    Rules(rules::Rules),
    /// Make the roles of the database, or print the SQL that does
    Roles(roles::Roles),
    /// Ask: one request from flags, or many from a file
    Enqueue(enqueue::Enqueue),
    /// Bring users, semesters or sessions into the catalog from a file
    Import(import::Import),
    /// Measure throughput and latency beside the usual ways of doing the same work
    Bench(bench::Bench),
}

impl Verb {
    /// What is logged when nobody says: a service tells its story, a verb only what is wrong.
    const fn default_log(&self) -> &'static str {
        match self {
            Self::Run(_) => "info",
            // A statement may take its time. That is no news to who waits for it, and nothing to show the SQL for.
            _ => "warn,sqlx::query=error",
        }
    }

    async fn execute(self) -> Result<Exit, Failure> {
        match self {
            Self::Demo(verb) => verb.execute().await,
            Self::Enqueue(verb) => verb.execute().await,
            Self::Import(verb) => verb.execute().await,
            Self::Run(verb) => verb.execute().await,
            Self::Migrate(verb) => verb.execute().await,
            Self::Requests(verb) => verb.execute().await,
            Self::Pause(verb) => verb.execute().await,
            Self::Resume(verb) => verb.execute().await,
            Self::Doctor(verb) => verb.execute().await,
            Self::Roles(verb) => verb.execute().await,
            Self::Check(verb) => verb.execute().await,
            Self::Audit(verb) => verb.execute().await,
            Self::Rules(verb) => verb.execute().await,
            Self::Bench(verb) => verb.execute().await,
        }
    }
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "failpoints")]
    if let Err(error) = seatkeeper::failpoint::arm_from_environment() {
        say(format_args!("seatkeeper: {error}"));
        return ExitCode::from(Exit::Usage as u8);
    }
    start_log(arguments.log_format, arguments.log.as_deref().unwrap_or(arguments.verb.default_log()));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("seatkeeper: no threads to be had: {error}"));
            return ExitCode::from(Exit::Unable as u8);
        }
    };
    let exit = runtime.block_on(arguments.verb.execute()).unwrap_or_else(|failure| {
        failure.tell();
        failure.exit
    });
    // A task that is still waiting for the network must not keep the process from ending.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}

fn start_log(format: LogFormat, directives: &str) {
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(directives);
    // A line of a password file that sqlx does not understand is shown by it, password and all.
    let no_passwords =
        filter_fn(|event| event.target() != PASSWORD_FILE || event.fields().field("line").is_none());
    let lines = tracing_subscriber::fmt::layer();
    let log = tracing_subscriber::registry().with(filter).with(no_passwords);
    match format {
        LogFormat::Pretty => {
            let fields = debug_fn(log_field).delimited(" ");
            log.with(lines.fmt_fields(fields).with_writer(std::io::stderr)).init();
        }
        LogFormat::Json => log.with(lines.json().with_writer(|| JsonLog)).init(),
    }
}
