//! `demo`: the whole story in a minute, on a throw-away database of its own.
//!
//! It has no flag for a database and looks at no `DATABASE_URL`: there is nothing that it could spoil.

mod audit;
mod checks;
mod crowd;
mod naive;
mod plan;
mod replay;
mod show;
mod stage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use seatkeeper::health::Health;
use seatkeeper::http::{self, Pages};
use seatkeeper::metrics::{self, SharedState};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper::queue;
use serde::Serialize;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::audit::{Audit, audit, per_second};
use self::checks::{Check, checks};
use self::crowd::Crowd;
use self::naive::Naive;
use self::plan::Plan;
use self::stage::Stage;
use super::run::stop_on_signal;
use super::{Exit, Failure};

/// Workers in this process.
const WORKERS: u16 = 2;
/// How often the queue is looked at while the crowd is at it.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Without a single answer for this long, something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Grants that are sent in one call.
const CHUNK: usize = 500;

#[derive(Debug, Args)]
pub struct Demo {
    /// Where the embedded PostgreSQL lives
    #[arg(long, env = "SEATKEEPER_DATA_DIR", default_value = ".seatkeeper")]
    data_dir: PathBuf,
    /// Places in the semester that everybody wants
    #[arg(long, env = "SEATKEEPER_SEATS", default_value_t = 100, value_parser = clap::value_parser!(i32).range(0..=1_000_000))]
    seats: i32,
    /// Players who want one
    #[arg(long, env = "SEATKEEPER_PLAYERS", default_value_t = 2000, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    players: i64,
    /// Connections that ask at the same time
    #[arg(long, env = "SEATKEEPER_CONNECTIONS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=200))]
    connections: u16,
    /// Number that decides the order of the crowd and its credits; drawn when it is not given
    #[arg(long, env = "SEATKEEPER_SEED")]
    seed: Option<u64>,
    /// Let the same crowd come to the usual check-then-insert code afterwards
    #[arg(long, env = "SEATKEEPER_NAIVE")]
    naive: bool,
    /// Stay up afterwards, with metrics, until Ctrl-C
    #[arg(long, env = "SEATKEEPER_HOLD")]
    hold: bool,
    /// Where metrics and health are served with --hold
    #[arg(long, env = "SEATKEEPER_LISTEN", default_value = "127.0.0.1:9600")]
    listen: SocketAddr,
    /// Print the result as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

/// What is told at the end.
#[derive(Debug, Serialize)]
struct Story {
    adds_up: bool,
    seed: u64,
    seats: i32,
    players: i64,
    connections: u16,
    workers: u16,
    postgres: u32,
    data_dir: String,
    #[serde(flatten)]
    audit: Audit,
    speed: Speed,
    checks: Vec<Check>,
    naive: Option<Naive>,
    hold: Option<Hold>,
}

/// What was measured, from the first request of the crowd to the last answer.
#[derive(Debug, Serialize)]
struct Speed {
    seconds: f64,
    requests_per_second: f64,
    commits: i64,
    requests_per_commit: f64,
}

/// Where to look while it stays up.
#[derive(Debug, Clone, Serialize)]
struct Hold {
    metrics: String,
    database_url: String,
    psql: String,
}

impl Demo {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let shutdown = stop_on_signal()?;
        let waiting = spinner(format!("starting PostgreSQL in {}", self.data_dir.display()));
        let connections = u32::from(WORKERS) * 2 + 6;
        let stage = shutdown.run_until_cancelled(Stage::build(&self.data_dir, connections)).await;
        waiting.finish_and_clear();
        let stage = stage.unwrap_or_else(|| Err(interrupted()))?;
        let outcome = self.play(&stage, &shutdown).await;
        stage.close().await?;
        outcome
    }

    async fn play(&self, stage: &Stage, shutdown: &CancellationToken) -> Result<Exit, Failure> {
        let health = Health::default();
        let pages = if self.hold { Some(self.open_pages(stage, &health, shutdown).await?) } else { None };
        let workers = tokio::spawn(queue::run(
            Transactions::new(stage.pool.clone(), Timeouts::default()),
            queue::Settings { workers: usize::from(WORKERS), ..queue::Settings::default() },
            health,
            shutdown.clone(),
        ));
        let hold = pages.as_ref().map(|(address, _)| Hold {
            metrics: format!("http://{address}/metrics"),
            database_url: stage.url(),
            psql: format!("psql '{}'", stage.url()),
        });
        let story = shutdown.run_until_cancelled(self.story(stage, hold)).await;
        let story = story.unwrap_or_else(|| Err(interrupted()));
        if let Ok(story) = &story {
            self.print(story)?;
            if self.hold {
                shutdown.cancelled().await;
            }
        }
        shutdown.cancel();
        // What they say is of no interest any more: every answer was looked at.
        let _ = workers.await;
        if let Some((_, serving)) = pages {
            let _ = serving.await;
        }
        Ok(if story?.adds_up { Exit::Fine } else { Exit::BadNews })
    }

    async fn open_pages(
        &self,
        stage: &Stage,
        health: &Health,
        shutdown: &CancellationToken,
    ) -> Result<(SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>), Failure> {
        let cannot = |error| {
            let address = self.listen;
            Failure::unable(format!(
                "cannot listen on {address}: {error}; choose another address with --listen"
            ))
        };
        let recorder = metrics::install().map_err(|error| Failure::unable(format!("no metrics: {error}")))?;
        let listener = TcpListener::bind(self.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let shared = SharedState::new(stage.pool.clone());
        let pages = Pages { recorder, pool: stage.pool.clone(), shared, health: health.clone() };
        Ok((address, tokio::spawn(http::serve(listener, pages, shutdown.clone()))))
    }

    /// Everything but the printing.
    async fn story(&self, stage: &Stage, hold: Option<Hold>) -> Result<Story, Failure> {
        let seed = self.seed.unwrap_or_else(rand::random);
        let plan = Arc::new(Plan::new(self.players, self.seats.into(), seed)?);
        stage.seed(self.players, self.seats).await?;
        hand_out_credits(&stage.pool, &plan).await?;

        let asked = plan.grants.len() + plan.asks.len();
        let crowd = Crowd::set_off(stage, &plan, self.connections.into()).await?;
        let began = crowd.began;
        let steps = plan.steps.len();
        let sent = || format!("{} of {steps} sent", crowd.sent());
        await_answers(&stage.pool, asked, "the crowd", sent).await?;
        let took = began.elapsed();
        let heard = crowd.heard().await?;

        let audit = audit(&stage.pool, &plan, &heard, self.seats.into()).await?;
        let checks = checks(&audit, &plan);
        let naive = if self.naive {
            let waiting = spinner("the same crowd, the usual way".into());
            let naive = naive::run(stage, &plan, self.seats.into(), self.connections.into()).await;
            waiting.finish_and_clear();
            Some(naive?)
        } else {
            None
        };
        let speed = Speed {
            seconds: took.as_secs_f64(),
            requests_per_second: per_second(plan.asks.len(), took),
            commits: audit.commits,
            requests_per_commit: per_commit(&audit),
        };
        Ok(Story {
            adds_up: checks.iter().all(|check| check.holds),
            seed,
            seats: self.seats,
            players: self.players,
            connections: self.connections,
            workers: WORKERS,
            postgres: stage.version(),
            data_dir: self.data_dir.display().to_string(),
            audit,
            speed,
            checks,
            naive,
            hold,
        })
    }

    fn print(&self, story: &Story) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string(story).map_err(|error| Failure::unable(error.to_string()))?;
            super::print(&format!("{json}\n"));
            return Ok(());
        }
        super::print(&show::text(story));
        if let Some(hold) = &story.hold {
            super::print(&format!(
                "\nIt stays up until Ctrl-C. Where to look:\n  metrics   {}\n  database  {}\n  for example: select * \
                 from seatkeeper.requests order by answer_seq limit 20\n",
                hold.metrics, hold.psql
            ));
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a demo has far fewer than 2^52 requests")]
fn per_commit(audit: &Audit) -> f64 {
    audit.answered_by_them as f64 / audit.commits.max(1) as f64
}

async fn hand_out_credits(pool: &PgPool, plan: &Plan) -> Result<(), Failure> {
    let mut connection = pool.acquire().await?;
    for grants in plan.grants.chunks(CHUNK) {
        seatkeeper_jobs::postgres::enqueue_many(&mut connection, grants)
            .await
            .map_err(|error| Failure::unable(format!("the grants were not accepted: {error}")))?;
    }
    drop(connection);
    await_answers(pool, plan.grants.len(), "credits", String::new).await
}

/// Waits until so many requests are answered, and shows how far it is.
async fn await_answers(
    pool: &PgPool,
    wanted: usize,
    what: &'static str,
    detail: impl Fn() -> String,
) -> Result<(), Failure> {
    let bar = ProgressBar::new(wanted.try_into().unwrap_or(u64::MAX)).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg:10} {bar:40} {pos}/{len} answered {prefix}") {
        bar.set_style(style);
    }
    let mut last = (0, Instant::now());
    loop {
        let answered = sqlx::query_scalar!(
            r#"-- demo.answered
               select count(*) as "count!" from seatkeeper.requests where status <> 'queued'"#
        )
        .fetch_one(pool)
        .await?;
        bar.set_position(answered.try_into().unwrap_or_default());
        bar.set_prefix(detail());
        if usize::try_from(answered).is_ok_and(|answered| answered >= wanted) {
            bar.finish_and_clear();
            return Ok(());
        }
        if answered > last.0 {
            last = (answered, Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            return Err(Failure::unable(format!(
                "no answer for {} s: {answered} of {wanted} requests are answered; run it with --log debug to see why",
                PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Shows that something is going on; hidden when standard error is no terminal.
fn spinner(message: String) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn interrupted() -> Failure {
    Failure::unable("interrupted")
}
