//! How long a lone request waits for its answer while nothing else is asked: from before the call of `enqueue` to the
//! receipt that says `done`, as a producer sees it.

use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::rngs::StdRng;
use seatkeeper::health::Health;
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper::queue::{self, Settings};
use seatkeeper_jobs::Status;
use seatkeeper_jobs::postgres::{enqueue, get_receipt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::asks::{Load, Scale, draw};
use super::figures::percentile;
use super::server::Server;
use super::stage::{self, Template};
use crate::cli::Failure;

/// The longest pause before the next request: long enough for workers to be idle again.
const LONGEST_PAUSE: Duration = Duration::from_millis(60);
/// How often the receipt is looked at: what is measured is too long by at most that.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// From asked to answered, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// How many requests.
    pub requests: usize,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub longest_ms: f64,
}

/// Asks one request after the other, each of idle workers with the settings of `seatkeeper run`.
pub async fn measure(server: &Server, scale: &Scale, random: &mut StdRng) -> Result<Latency, Failure> {
    let pool = stage::cell(server, Template::Enroll, false).await?;
    let stop = CancellationToken::new();
    let working = {
        let (transactions, stop) = (Transactions::new(pool.clone(), Timeouts::default()), stop.clone());
        tokio::spawn(async move {
            queue::run(transactions, Settings::default(), Health::default(), stop)
                .await
                .map_err(|error| error.to_string())
        })
    };
    let mut times = Vec::new();
    let mut connection = pool.acquire().await?;
    for ask in draw(Load::EnrollSpread, scale, random).into_iter().take(scale.alone) {
        tokio::time::sleep(LONGEST_PAUSE.mul_f64(random.random_range(0.3..1.0))).await;
        let request = ask.request().map_err(|error| Failure::unable(error.to_string()))?;
        let began = Instant::now();
        let mut receipt =
            enqueue(&mut connection, &request).await.map_err(|error| Failure::unable(error.to_string()))?;
        while receipt.status == Status::Queued {
            if began.elapsed() > stage::PATIENCE {
                return Err(Failure::bad_news(format!(
                    "request {} was not answered in {:?}",
                    ask.id,
                    stage::PATIENCE
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let found = get_receipt(&mut connection, ask.id).await;
            let found = found.map_err(|error| Failure::unable(error.to_string()))?;
            receipt = found.ok_or_else(|| Failure::bad_news(format!("request {} is gone", ask.id)))?;
        }
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    drop(connection);
    stop.cancel();
    working
        .await
        .map_err(|error| Failure::unable(error.to_string()))?
        .map_err(|error| Failure::unable(format!("the workers could not be kept running: {error}")))?;
    pool.close().await;
    let at = |percent| percentile(&times, percent).unwrap_or_default();
    Ok(Latency { requests: times.len(), p50_ms: at(50), p90_ms: at(90), p99_ms: at(99), longest_ms: at(100) })
}
