//! What is written in Rust of the measurement beside the peers: apalis-postgres as it comes, and Seatkeeper's doors.
//!
//! `peers apalis setup`, `peers apalis work BATCH`, `peers {apalis,seatkeeper} enqueue BATCH`. The database is that of
//! `DATABASE_URL`; what is asked is in its table `peers.ask`. Prints one line of JSON: when it began and when it ended,
//! in seconds since 1970, and how many were done.

mod apalis_jobs;
mod asks;
mod seatkeeper_doors;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use sqlx::postgres::PgPoolOptions;

/// Jobs at once, and connections for them: as many as the anchor has clients.
const AT_ONCE: usize = 32;
/// Producers at once.
const PRODUCERS: usize = 8;

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL is due")?;
    // Besides the jobs: fetching, acknowledging, and whoever looks whether all is done.
    let pool = PgPoolOptions::new().max_connections(AT_ONCE as u32 + 4).connect(&url).await?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (began, ended, count) = match words[..] {
        ["apalis", "setup"] => return apalis_jobs::setup(&pool).await,
        ["apalis", "work", batch] => apalis_jobs::work(&pool, batch.parse()?).await?,
        ["apalis", "enqueue", batch] => apalis_jobs::enqueue(&pool, batch.parse()?).await?,
        ["seatkeeper", "enqueue", batch] => seatkeeper_doors::enqueue(&pool, batch.parse()?).await?,
        _ => bail!("usage: peers apalis setup | apalis work BATCH | (apalis | seatkeeper) enqueue BATCH"),
    };
    pool.close().await;
    println!("{{\"began\": {began:.6}, \"ended\": {ended:.6}, \"count\": {count}}}");
    Ok(())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
