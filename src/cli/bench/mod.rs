//! `bench`: what Seatkeeper does in a second beside the usual ways of doing the same work, on the machine at hand.
//!
//! Everything is measured in one run on one server, in shuffled rounds, on databases of its own; what carries over to
//! another machine are the ratios, the requests per sync and the processor time per request. What was measured is verified.

mod asks;
mod doors;
mod figures;
mod growth;
mod held;
mod latency;
mod measure;
mod one_by_one;
mod results;
mod server;
mod show;
mod stage;
mod targets;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::json;

use self::asks::{Load, Scale};
use self::doors::Door;
use self::figures::{Figures, Summary};
use self::measure::{Task, Way};
use self::results::{DoorResult, Results};
use self::server::Server;
use self::stage::Template;
use super::progress::progress_bar;
use super::terminal::{print_json, print_own};
use super::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Bench {
    /// A server to measure instead of an embedded one: postgres://user:password@host/name?sslmode=verify-full. It
    /// gets databases of its own there, and removes them; the named one is not written to
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Where the embedded PostgreSQL lives
    #[arg(long, env = "SEATKEEPER_DATA_DIR", default_value = ".seatkeeper")]
    data_dir: PathBuf,
    /// Rounds; each measures everything once, in an order of its own [default: 3, with --quick 1]
    #[arg(long, env = "SEATKEEPER_ROUNDS", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
    /// Requests of one measurement [default: 20000, with --quick 1000]
    #[arg(long, env = "SEATKEEPER_REQUESTS", value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    requests: Option<u32>,
    /// Less of everything: shows that it works, and says little about speed; no target is judged
    #[arg(long, env = "SEATKEEPER_QUICK")]
    quick: bool,
    /// Measure instead what becomes of the speed as the tables grow, beside a snapshot that is held open, and while old
    /// requests are removed
    #[arg(long, env = "SEATKEEPER_GROWTH", conflicts_with = "rounds")]
    growth: bool,
    /// Number that decides what is asked and in which order it is measured; drawn when it is not given
    #[arg(long, env = "SEATKEEPER_SEED")]
    seed: Option<u64>,
    /// Print the result as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

/// The most that one commit answers where `run` is not told otherwise.
const MOST: usize = 2_000;

/// What is printed in the end.
enum Told {
    Json(serde_json::Value),
    Text(String),
}

/// Something that is measured in every round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Work(Load, Way),
    Door(Door),
    LongQueue,
}

impl Bench {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let stop = super::run::stop_on_signal()?;
        let server = match &self.database_url {
            Some(url) => Server::given(url).await?,
            None => Server::embedded(&self.data_dir).await?,
        };
        let outcome = tokio::select! {
            outcome = self.outcome(&server) => outcome,
            () = stop.cancelled() => Err(Failure::unable("interrupted")),
        };
        // Whatever came of it, nothing is left behind.
        let closed = server.close().await;
        let (told, exit) = outcome?;
        closed?;
        match told {
            Told::Json(results) => print_json(&results)?,
            Told::Text(text) => print_own(&text),
        }
        Ok(exit)
    }

    /// What is printed, and how it ends.
    async fn outcome(&self, server: &Server) -> Result<(Told, Exit), Failure> {
        if self.growth {
            let growth = self.measure_growth(server).await?;
            return Ok((self.told(&growth, show::growth), Exit::Fine));
        }
        let results = self.measure(server).await?;
        let exit = if results.met() { Exit::Fine } else { Exit::BadNews };
        Ok((self.told(&results, show::text), exit))
    }

    fn told<T: serde::Serialize>(&self, results: &T, text: impl FnOnce(&T) -> String) -> Told {
        if self.json { Told::Json(json!(results)) } else { Told::Text(text(results)) }
    }

    async fn measure_growth(&self, server: &Server) -> Result<growth::Growth, Failure> {
        let seed = self.seed.unwrap_or_else(rand::random);
        let bar = progress_bar("measuring")?;
        let mut random = StdRng::seed_from_u64(seed);
        let growth = growth::measure(server, &self.scale(), self.quick, &mut random, &bar).await;
        bar.finish_and_clear();
        growth
    }

    fn scale(&self) -> Scale {
        let requests = self.requests.map(|requests| usize::try_from(requests).unwrap_or(usize::MAX));
        if self.quick {
            Scale {
                users: 2_000,
                semesters: 100,
                requests: requests.unwrap_or(1_000),
                waiting: 20_000,
                alone: 20,
            }
        } else {
            Scale {
                users: 20_000,
                semesters: 1_000,
                requests: requests.unwrap_or(20_000),
                waiting: 1_000_000,
                alone: 300,
            }
        }
    }

    fn items(&self) -> Vec<Item> {
        let batches = |limit, workers| Way::Batches { limit, workers };
        let enroll = [
            Way::OneCall,
            Way::Statements,
            batches(1, 1),
            batches(10, 1),
            batches(100, 1),
            batches(500, 1),
            batches(500, 2),
            batches(500, 4),
            // As `run` works: larger as long as more waits.
            batches(MOST, 1),
            batches(MOST, 2),
        ];
        let bookings = [Way::OneCall, batches(100, 1), batches(500, 1), batches(500, 2), batches(MOST, 2)];
        let mut items = Vec::new();
        for load in Load::ALL {
            let ways: &[Way] = if load.is_bookings() { &bookings } else { &enroll };
            items.extend(ways.iter().map(|&way| Item::Work(load, way)));
        }
        items.extend(Door::ALL.map(Item::Door));
        items.push(Item::LongQueue);
        items
    }

    async fn measure(&self, server: &Server) -> Result<Results, Failure> {
        let seed = self.seed.unwrap_or_else(rand::random);
        let mut random = StdRng::seed_from_u64(seed);
        let scale = self.scale();
        let rounds = usize::from(self.rounds.unwrap_or(if self.quick { 1 } else { 3 }));
        let mut items = self.items();
        let bar = progress_bar("measuring")?;
        bar.set_length((items.len() * rounds + 2).try_into().unwrap_or(u64::MAX));

        stage::prepare(server, &scale, &mut random).await?;
        bar.inc(1);
        let mut work: BTreeMap<(Load, Way), Vec<Figures>> = BTreeMap::new();
        let mut doors: BTreeMap<Door, Vec<Figures>> = BTreeMap::new();
        let mut long_queue = Vec::new();
        for round in 0..rounds {
            items.shuffle(&mut random);
            for &item in &items {
                match item {
                    Item::Work(load, way) => {
                        let mut asks = asks::draw(load, &scale, &mut random);
                        if way.is_slow() {
                            asks.truncate(scale.requests.div_ceil(5));
                        }
                        let figures = measure::work(server, &scale, load, way, asks, round == 0).await?;
                        work.entry((load, way)).or_default().push(figures);
                    }
                    Item::Door(door) => {
                        doors.entry(door).or_default().push(knock(server, &scale, door, &mut random).await?);
                    }
                    Item::LongQueue => long_queue.push(measure::long_queue(server, &scale, 500).await?),
                }
                bar.inc(1);
            }
        }
        let latency = latency::measure(server, &scale, &mut random).await?;
        bar.finish_and_clear();

        let doors = doors
            .iter()
            .filter_map(|(&door, figures)| Some(DoorResult { door, summary: Summary::of(figures)? }));
        let mut results = Results {
            seed,
            server: server.name(),
            rounds,
            quick: self.quick,
            scale,
            fdatasync_ms: server.fdatasync().await?,
            cells: results::cells(&work),
            doors: doors.collect(),
            long_queue: Summary::of(&long_queue),
            latency: Some(latency),
            targets: Vec::new(),
        };
        results.targets = targets::targets(&results);
        if self.quick {
            for target in &mut results.targets {
                (target.met, target.why_not_judged) = (None, Some("too little was measured"));
            }
        }
        Ok(results)
    }
}

/// Measures a door on a database in which everybody has something to ask.
async fn knock(server: &Server, scale: &Scale, door: Door, random: &mut StdRng) -> Result<Figures, Failure> {
    let pool = stage::cell(server, Template::Enroll, false).await?;
    let mut asks = asks::draw(Load::EnrollSpread, scale, random);
    if !matches!(door, Door::EnqueueMany8) {
        asks.truncate(scale.requests.div_ceil(2));
    }
    measure::measured(server, pool, Task::Door { door, asks: Arc::new(asks) }).await
}
