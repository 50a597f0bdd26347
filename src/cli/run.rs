//! `run`: worker, scheduler and HTTP listener in one process.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;
use seatkeeper::batch::Limits;
use seatkeeper::health::Health;
use seatkeeper::http::{self, Pages};
use seatkeeper::metrics::{self, SharedState};
use seatkeeper::postgres::{self, Distrust, ErrorClass, Timeouts, Transactions};
use seatkeeper::queue::{self, chores};
use seatkeeper::schedule::{self, Plan, Timetable};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::database::{DatabaseFlags, Rights, usable};
use super::{Exit, Failure};

/// How often a database that is down is tried again at the start, and how often a process without workers looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const HTTP_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(3600);

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Where metrics and health are served
    #[arg(long, env = "SEATKEEPER_LISTEN", default_value = "127.0.0.1:9600")]
    listen: SocketAddr,
    /// Batches in parallel
    #[arg(long, env = "SEATKEEPER_WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// The most requests that one commit answers; beyond 500 only while more than that wait
    #[arg(long, env = "SEATKEEPER_BATCH", default_value_t = 2_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// How often a request may fail before an operator has to look at it
    #[arg(long, env = "SEATKEEPER_ATTEMPTS", default_value_t = 5, value_parser = clap::value_parser!(i32).range(1..=100))]
    attempts: i32,
    /// Pause before a failed request is tried again; doubles with each attempt
    #[arg(long, env = "SEATKEEPER_RETRY_AFTER", default_value = "1s", value_parser = humantime::parse_duration)]
    retry_after: Duration,
    /// How often an idle worker looks for work
    #[arg(long, env = "SEATKEEPER_POLL", default_value = "20ms", value_parser = humantime::parse_duration)]
    poll: Duration,
    /// The longest that one statement of a batch may take
    #[arg(long, env = "SEATKEEPER_STATEMENT_TIMEOUT", default_value = "15s", value_parser = humantime::parse_duration)]
    statement_timeout: Duration,
    /// The longest that a batch waits for one lock
    #[arg(long, env = "SEATKEEPER_LOCK_TIMEOUT", default_value = "300ms", value_parser = humantime::parse_duration)]
    lock_timeout: Duration,
    /// The longest that a batch may pause between two statements
    #[arg(long, env = "SEATKEEPER_IDLE_TIMEOUT", default_value = "5s", value_parser = humantime::parse_duration)]
    idle_timeout: Duration,
    /// How long a shutdown waits for the batches and chores in hand, and for clients to take their answers
    #[arg(long, env = "SEATKEEPER_DRAIN", default_value = "20s", value_parser = humantime::parse_duration)]
    drain: Duration,
    /// Do not work off the queue
    #[arg(long, env = "SEATKEEPER_NO_WORKER")]
    no_worker: bool,
    /// Do not call the roll, and do no other chores
    #[arg(long, env = "SEATKEEPER_NO_SCHEDULER")]
    no_scheduler: bool,
    /// When the roll is called: cron with six fields, seconds first
    #[arg(long, env = "SEATKEEPER_ROLL_CALL", value_name = "CRON", default_value = "0 0 8 * * Mon", value_parser = cron)]
    roll_call: String,
    /// When the critical invariants are checked: cron with six fields, seconds first
    #[arg(long, env = "SEATKEEPER_CRITICAL_CHECKS", value_name = "CRON", default_value = "0 0 * * * *", value_parser = cron)]
    critical_checks: String,
    /// The time zone of both: its IANA name, such as Europe/Berlin
    #[arg(long, env = "SEATKEEPER_TIME_ZONE", value_name = "ZONE", default_value = "UTC", value_parser = time_zone)]
    time_zone: String,
    /// The longest that the check of one invariant may take
    #[arg(long, env = "SEATKEEPER_CHECK_TIMEOUT", default_value = "5min", value_parser = humantime::parse_duration)]
    check_timeout: Duration,
    /// Delete answered requests of this age, such as 400days, leaving tombstones [default: keep them for good]
    #[arg(long, env = "SEATKEEPER_RETAIN", value_parser = humantime::parse_duration)]
    retain: Option<Duration>,
    /// Do not listen
    #[arg(long, env = "SEATKEEPER_NO_HTTP")]
    no_http: bool,
    /// How long a client of the listener may take to send a request, to come with its next one, and to take an answer
    #[arg(long, env = "SEATKEEPER_HTTP_TIMEOUT", default_value = "10s", value_parser = http_timeout)]
    http_timeout: Duration,
    /// The most connections to the listener; beyond them, those that ask for nothing are closed
    #[arg(long, env = "SEATKEEPER_HTTP_CONNECTIONS", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    http_connections: u16,
    /// On a loopback address: a name, besides localhost and the like, under which the pages may be asked for, such as that of
    /// a proxy which passes it on
    #[arg(long, env = "SEATKEEPER_ALLOW_HOST", value_name = "NAME", value_delimiter = ',', value_parser = http::host)]
    allow_host: Vec<String>,
}

impl Run {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let shutdown = stop_on_signal()?;
        let connections = u32::from(self.workers) * 2 + 3 + chores::CONNECTIONS;
        let database = self.database.open_with(connections, Rights::Worker).await?;
        let health = Health::default();
        let outcome = self.run(&database.pool, &health, &shutdown).await;
        shutdown.cancel();
        database.close().await?;
        outcome
    }

    async fn run(
        &self,
        pool: &PgPool,
        health: &Health,
        shutdown: &CancellationToken,
    ) -> Result<Exit, Failure> {
        let recorder = metrics::install().map_err(|error| Failure::unable(format!("no metrics: {error}")))?;
        let pages = if self.no_http {
            None
        } else {
            let listener = TcpListener::bind(self.listen).await.map_err(|error| {
                Failure::unable(format!(
                    "cannot listen on {}: {error}; choose another address with --listen",
                    self.listen
                ))
            })?;
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "listening");
            }
            let shared = SharedState::new(pool.clone());
            let pages = Pages { recorder, pool: pool.clone(), shared, health: health.clone() };
            let bounds = http::Bounds {
                connections: usize::from(self.http_connections),
                patience: self.http_timeout,
                drain: self.drain,
            };
            let allowed = self.allow_host.clone();
            Some(tokio::spawn(http::serve(listener, pages, allowed, bounds, shutdown.clone())))
        };

        let worked = self.work(pool, health, shutdown).await;
        shutdown.cancel();
        if let Some(pages) = pages {
            match pages.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Failure::unable(format!("the listener broke: {error}"))),
                Err(error) => return Err(Failure::unable(format!("the listener died: {error}"))),
            }
        }
        worked?;
        tracing::info!("stopped");
        Ok(Exit::Fine)
    }

    async fn work(
        &self,
        pool: &PgPool,
        health: &Health,
        shutdown: &CancellationToken,
    ) -> Result<(), Failure> {
        if wait_for_schema(pool, health, shutdown, !self.no_worker).await?.is_none() {
            return Ok(());
        }
        let chores = self.chores(pool, shutdown)?;
        let worked = self.answer(pool, health, shutdown).await;
        // Without workers there is no more to do either.
        shutdown.cancel();
        if let Some(chores) = chores {
            match chores.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Failure::unable(format!("the schedule broke: {error}"))),
                Err(error) => return Err(Failure::unable(format!("the schedule died: {error}"))),
            }
        }
        worked
    }

    /// Starts the scheduler and its chores, beside the requests.
    fn chores(&self, pool: &PgPool, shutdown: &CancellationToken) -> Result<Option<Chores>, Failure> {
        if self.no_scheduler {
            return Ok(None);
        }
        let timetable = |expression: &str| {
            Timetable::new(expression, &self.time_zone).map_err(|error| Failure::usage(error.to_string()))
        };
        let plan = Plan {
            roll_call: timetable(&self.roll_call)?,
            critical_checks: timetable(&self.critical_checks)?,
            retain: self.retain,
        };
        let settings = chores::Settings { plan, check_timeout: self.check_timeout, drain: self.drain };
        let (pool, shutdown) = (pool.clone(), shutdown.clone());
        Ok(Some(tokio::spawn(chores::run(pool, settings, shutdown))))
    }

    async fn answer(
        &self,
        pool: &PgPool,
        health: &Health,
        shutdown: &CancellationToken,
    ) -> Result<(), Failure> {
        if self.no_worker {
            look_at_database(pool, health, shutdown).await;
            return Ok(());
        }
        let timeouts =
            Timeouts { statement: self.statement_timeout, lock: self.lock_timeout, idle: self.idle_timeout };
        let settings = queue::Settings {
            workers: usize::from(self.workers),
            limits: Limits {
                batch: usize::from(self.batch),
                attempts: self.attempts,
                retry_after: self.retry_after,
                ..Limits::default()
            },
            poll: self.poll,
            drain: self.drain,
        };
        tracing::info!(workers = self.workers, batch = self.batch, "working");
        queue::run(Transactions::new(pool.clone(), timeouts), settings, health.clone(), shutdown.clone())
            .await
            .map_err(|error| Failure::unable(format!("the workers could not be kept running: {error}")))
    }
}

/// The scheduler and its chores, at work.
type Chores = tokio::task::JoinHandle<Result<(), Box<dyn std::error::Error + Send + Sync>>>;

/// Refuses what is no cron expression of six fields.
fn cron(text: &str) -> Result<String, schedule::NoTimetable> {
    schedule::cron(text).map(|_| text.to_owned())
}

/// Refuses what would close every connection (a scrape alone may take a second), or hardly any.
fn http_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if HTTP_TIMEOUTS.contains(&timeout) => Ok(timeout),
        Ok(_) => Err("from 2s to 1h".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Refuses what is no time zone.
fn time_zone(text: &str) -> Result<String, schedule::NoTimetable> {
    schedule::time_zone(text).map(|zone| zone.name().to_owned())
}

/// A token that SIGTERM and SIGINT cancel.
pub(super) fn stop_on_signal() -> Result<CancellationToken, Failure> {
    let no_signal = |error| Failure::unable(format!("no signal handler: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signal)?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: finishing the batches in hand");
        token.cancel();
    });
    Ok(shutdown)
}

/// Nobody's lock on a table keeps a process from coming up.
const BEGIN_LOOK: &str = "begin read only; set local statement_timeout = 15000; set local lock_timeout = 300";

/// Refuses a database in which answers would be wrong. Where that is not to be found out now, the workers do, before they
/// decide anything.
async fn fit(pool: &PgPool) -> Result<(), Failure> {
    let obstacles = async {
        let mut transaction = pool.begin_with(postgres::opening(BEGIN_LOOK)).await?;
        let obstacles = postgres::obstacles(&mut transaction).await?;
        transaction.rollback().await?;
        Ok::<_, sqlx::Error>(obstacles)
    };
    match obstacles.await {
        Ok(obstacles) if obstacles.is_empty() => Ok(()),
        Ok(obstacles) => {
            Err(Failure::unable(format!("the database is not fit to be worked on: {}", obstacles.join("; "))))
        }
        Err(error) => {
            tracing::warn!(error = %postgres::describe(&error), "whether the database is fit could not be found out yet");
            Ok(())
        }
    }
}

/// Waits for a database that is down; refuses one whose schema is too old. `None` when told to stop meanwhile.
async fn wait_for_schema(
    pool: &PgPool,
    health: &Health,
    shutdown: &CancellationToken,
    decides: bool,
) -> Result<Option<()>, Failure> {
    let mut told = None;
    loop {
        match shutdown.run_until_cancelled(postgres::schema(pool)).await {
            None => return Ok(None),
            Some(Ok(schema)) => {
                usable(schema)?;
                if decides && let Some(answer) = shutdown.run_until_cancelled(fit(pool)).await {
                    answer?;
                }
                health.reached();
                return Ok(Some(()));
            }
            Some(Err(error)) => {
                // A certificate is renewed, or TLS switched on, at the server: it is waited for as a server that is away is, and
                // as a worker waits that meets it in the middle of its work.
                let distrust = postgres::distrust(&error);
                if distrust.is_none() && !matches!(ErrorClass::of(&error), ErrorClass::Connection) {
                    return Err(error.into());
                }
                let why = postgres::describe(&error);
                if told.as_ref() != Some(&why) {
                    match distrust {
                        Some(Distrust { todo, .. }) => {
                            tracing::warn!(error = %why, todo, "the database is there, but is not used; waiting until it is trusted");
                        }
                        None => tracing::warn!(error = %why, "the database is not there; waiting for it"),
                    }
                    told = Some(why);
                }
            }
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return Ok(None);
        }
    }
}

/// Without workers, somebody else has to notice whether the database can be reached.
async fn look_at_database(pool: &PgPool, health: &Health, shutdown: &CancellationToken) {
    loop {
        match sqlx::query("select 1").execute(pool).await {
            Ok(_) => health.reached(),
            Err(_) => health.lost(),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return;
        }
    }
}
