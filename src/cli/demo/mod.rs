//! `demo`: the whole story in a minute, on a throw-away database of its own.
//!
//! It has no flag for a database and looks at no `DATABASE_URL`: there is nothing that it could spoil.

mod audit;
mod checks;
mod crowd;
mod naive;
mod plan;
mod script;
mod sequel;
mod sessions;
mod show;
mod stage;
mod stored;
mod waiting;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use seatkeeper::health::Health;
use seatkeeper::http::{self, Pages};
use seatkeeper::invariants::{Run, Selection, Trigger, call_the_roll};
use seatkeeper::metrics::{self, SharedState};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper::queue;
use serde::Serialize;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::audit::{Audit, audit, per_second};
use self::checks::{Check, checks};
use self::crowd::{Crowd, Heard};
use self::naive::Naive;
use self::plan::{CampPlaces, Plan};
use self::script::Script;
use self::stage::Stage;
use self::waiting::{await_answers, await_fills, spinner};
use super::run::stop_on_signal;
use super::terminal::{foreign, print_json, print_own};
use super::{Exit, Failure};

/// Workers in this process.
const WORKERS: u16 = 2;
/// The longest that one check of the roll call may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);
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
    campers: usize,
    connections: u16,
    workers: u16,
    postgres: u32,
    data_dir: String,
    #[serde(flatten)]
    audit: Audit,
    speed: Speed,
    checks: Vec<Check>,
    roll_call: Run,
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
        let waiting = spinner(format!("starting PostgreSQL in {}", foreign(self.data_dir.display())));
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
            Transactions::new(stage.workers.clone(), Timeouts::default()),
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
        let shared = SharedState::new(stage.workers.clone());
        let pages = Pages { recorder, pool: stage.workers.clone(), shared, health: health.clone() };
        let serving = http::serve(listener, pages, Vec::new(), http::Bounds::default(), shutdown.clone());
        Ok((address, tokio::spawn(serving)))
    }

    /// Everything but the printing.
    async fn story(&self, stage: &Stage, hold: Option<Hold>) -> Result<Story, Failure> {
        let seed = self.seed.unwrap_or_else(rand::random);
        let plan = Plan::new(self.players, self.seats.into(), seed)?;
        let camp = CampPlaces::for_campers(plan.campers);
        stage.seed(self.players, self.seats, camp).await?;
        hand_out_credits(&stage.pool, &plan).await?;

        let asked = plan.grants.len();
        let (mut heard, mut took) = self.act(stage, &plan.script, "the crowd", asked).await?;
        let asked = asked + plan.script.asks.len();
        let sequel = Arc::new(sequel::write(&stage.pool, camp, seed).await?);
        let second = self.act(stage, &sequel, "waitlists", asked).await?;
        heard.extend(second.0);
        took += second.1;

        let asks = [&plan.script.asks[..], &sequel.asks[..]].concat();
        let audit = audit(&stage.pool, &asks, &heard, self.seats.into()).await?;
        let roll_call = call_the_roll(&stage.pool, &Selection::all(), Trigger::Manual, CHECK_TIMEOUT).await?;
        let mut checks = checks(&audit, plan.grants.len() + asks.len());
        checks.push(checks::roll_call(&roll_call));
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
            requests_per_second: per_second(asks.len(), took),
            commits: audit.commits,
            requests_per_commit: per_commit(&audit),
        };
        Ok(Story {
            adds_up: checks.iter().all(|check| check.holds),
            seed,
            seats: self.seats,
            players: self.players,
            campers: plan.campers,
            connections: self.connections,
            workers: WORKERS,
            postgres: stage.version(),
            data_dir: self.data_dir.display().to_string(),
            audit,
            speed,
            checks,
            roll_call,
            naive,
            hold,
        })
    }

    /// Plays a script until all of it is answered, and every place that came free is filled. Gives what the crowd heard,
    /// and how long it took. `before` = requests that are answered already.
    async fn act(
        &self,
        stage: &Stage,
        script: &Arc<Script>,
        what: &'static str,
        before: usize,
    ) -> Result<(Vec<Heard>, Duration), Failure> {
        let crowd = Crowd::set_off(stage, script, self.connections.into()).await?;
        let began = crowd.began;
        let steps = script.steps.len();
        let sent = || format!("{} of {steps} sent", crowd.sent());
        await_answers(&stage.pool, before + script.asks.len(), what, sent).await?;
        let took = began.elapsed();
        let heard = crowd.heard().await?;
        // Only now, since a change by an owner may have come after the last answer.
        await_fills(&stage.pool).await?;
        Ok((heard, took))
    }

    fn print(&self, story: &Story) -> Result<(), Failure> {
        if self.json {
            return print_json(story);
        }
        print_own(&show::text(story));
        if let Some(hold) = &story.hold {
            print_own(&format!(
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

fn interrupted() -> Failure {
    Failure::unable("interrupted")
}
