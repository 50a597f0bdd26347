//! What one account can do to the others: how long a lone request in a quiet lane waits beside loads that others bring, and how much of a
//! hot lane is answered in a second; builds beside each other in one run.
//!
//! `scripts/neighbours [COMMIT]` makes a server, builds the program (and, beside it, that of another commit), and calls this with the
//! server in `NEIGHBOURS_URL` and the programs as `name=path`; without it there is nothing to measure on.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]

mod loads;
mod stage;

use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::time::sleep;

use self::loads::Load;
use self::stage::{Build, Stage};

/// The pause between two lone requests: they find the workers in whatever they are at.
const PAUSE: Duration = Duration::from_millis(150);
/// The least number of lone requests beside a load, and the longest that a load is watched.
const LEAST: usize = 20;
const LONGEST: Duration = Duration::from_secs(90);

#[tokio::main]
async fn main() {
    let Ok(url) = std::env::var("NEIGHBOURS_URL") else {
        println!("nothing to measure on: `scripts/neighbours` makes a server and sets NEIGHBOURS_URL");
        return;
    };
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let builds: Vec<Build> = arguments.iter().filter_map(|argument| Build::named(argument)).collect();
    let only: Vec<&String> = arguments.iter().filter(|argument| !argument.contains('=')).collect();
    println!("a lone request in a quiet lane, in milliseconds (and scrapes that did not get everything)\n");
    println!(
        "| beside | build | median | longest | requests | scrapes failed |\n|---|---|---:|---:|---:|---:|"
    );
    for load in loads::ALL {
        if !only.is_empty() && !only.iter().any(|name| load.name.contains(name.as_str())) {
            continue;
        }
        for build in &builds {
            let stage = Stage::set(&url, build).await;
            let beside = watch(&stage, load).await;
            println!(
                "| {} | {} | {:.0} | {:.0} | {} | {} of {} |",
                load.name,
                build.name,
                beside.median(),
                beside.longest(),
                beside.waits.len(),
                beside.scrapes_failed,
                beside.scrapes
            );
            stage.strike().await;
        }
    }
    if only.is_empty() || only.iter().any(|name| "hot lane".contains(name.as_str())) {
        hot_lane(&url, &builds).await;
    }
}

/// What was seen beside a load.
#[derive(Default)]
struct Beside {
    /// Milliseconds, ascending.
    waits: Vec<f64>,
    scrapes: usize,
    scrapes_failed: usize,
}

impl Beside {
    fn median(&self) -> f64 {
        self.waits.get(self.waits.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn longest(&self) -> f64 {
        self.waits.last().copied().unwrap_or(f64::NAN)
    }
}

/// Brings the load and asks for one thing after the other until the load is over.
async fn watch(stage: &Stage, load: &Load) -> Beside {
    let bringing = tokio::spawn((load.bring)(stage.pool.clone()));
    let mut beside = Beside::default();
    let began = Instant::now();
    let mut scraped = Instant::now();
    for user in 1.. {
        let waited = lone(&stage.pool, user).await;
        beside.waits.push(waited.as_secs_f64() * 1000.0);
        if scraped.elapsed() > Duration::from_secs(2) {
            scraped = Instant::now();
            beside.scrapes += 1;
            beside.scrapes_failed += usize::from(!stage.scrape_is_whole().await);
        }
        let is_over = bringing.is_finished() && !stage.is_anything_ready().await;
        if beside.waits.len() >= LEAST && is_over || began.elapsed() > LONGEST {
            break;
        }
        sleep(PAUSE).await;
    }
    bringing.abort();
    beside.waits.sort_by(f64::total_cmp);
    beside
}

/// A lone request; gives how long it took until its answer was there.
async fn lone(pool: &PgPool, user: i64) -> Duration {
    let id: uuid::Uuid = uuid::Uuid::new_v4();
    let asked = Instant::now();
    sqlx::query("select seatkeeper.enqueue($1, 'enroll', jsonb_build_object('user_id', $2::bigint, 'semester_id', $3::bigint))")
        .bind(id)
        .bind(1 + user % stage::USERS)
        .bind(stage::QUIET)
        .execute(pool)
        .await
        .unwrap();
    loop {
        let is_done: bool =
            sqlx::query_scalar("select status = 'done' from seatkeeper.requests where request_id = $1")
                .bind(id)
                .fetch_one(pool)
                .await
                .unwrap();
        if is_done || asked.elapsed() > LONGEST {
            return asked.elapsed();
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Requests of one lane in a second, each build in turn.
async fn hot_lane(url: &str, builds: &[Build]) {
    const REQUESTS: i64 = 40_000;
    const ROUNDS: usize = 15;
    println!("\none hot lane: requests answered in a second, {REQUESTS} at a time, in alternation");
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); builds.len()];
    for round in 0..ROUNDS {
        for at in 0..builds.len() {
            let at = (at + round) % builds.len();
            let stage = Stage::set_before(url, &builds[at], &loads::hot(REQUESTS)).await;
            let began = Instant::now();
            while stage.is_anything_ready().await {
                sleep(Duration::from_millis(5)).await;
            }
            rates[at].push(REQUESTS as f64 / began.elapsed().as_secs_f64());
            stage.strike().await;
        }
    }
    for (build, rates) in builds.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        println!(
            "{}: median {:.0} of {:?}",
            build.name,
            rates[rates.len() / 2],
            rates.iter().map(|rate| rate.round()).collect::<Vec<_>>()
        );
    }
}
