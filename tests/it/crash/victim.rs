//! A process to be killed: turns at the queue, or one pass of `sort_out`, up to a fail point.
//!
//! `crash-victim URL turns|sort POINT[:HIT] die|wait`: there it dies by SIGKILL, or says `there` and waits to be killed.
//! A process of `seatkeeper run` spends most of its life on its runtime, its schedule and its signals; this one
//! connects, works and dies. Should it get past the point, it ends with exit code 0, which no test takes for a death.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use seatkeeper::batch::{Limits, Turn, Worker, sort_out};
use seatkeeper::failpoint::{arm, die};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match work().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crash-victim: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn work() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, task, place, end] = arguments.as_slice() else {
        return Err("crash-victim URL turns|sort POINT[:HIT] die|wait".into());
    };
    let (point, hit) = place.split_once(':').unwrap_or((place, "1"));
    match end.as_str() {
        "die" => arm(point, hit.parse()?, die)?,
        "wait" => arm(point, hit.parse()?, wait)?,
        other => return Err(format!("no such end: {other}").into()),
    }
    let transactions = Transactions::new(pool(connect_options(url)?, 1), Timeouts::default());
    if task == "sort" {
        sort_out(&transactions).await?;
        return Ok(());
    }
    // What fails is tried again soon.
    let limits = Limits { retry_after: Duration::from_millis(5), ..Limits::default() };
    let mut worker = Worker::new(transactions, limits);
    while !matches!(worker.turn().await, Turn::Idle) {}
    Ok(())
}

/// Says so, and stays where it is.
fn wait() {
    println!("there");
    if std::io::stdout().flush().is_err() {
        die();
    }
    loop {
        std::thread::park();
    }
}
