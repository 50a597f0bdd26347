//! The proof that answers are right: a mixed random load whose every single answer, and whose final state, equal those of
//! a plain [reference] that executes the same requests one at a time in the order of `answer_seq`.

mod aim;
mod arrival;
mod asks;
mod check;
mod coverage;
mod history;
pub mod load;
mod owner;
mod producer;
mod reference;
mod rich;
mod stage;
mod tampered;

use seatkeeper::batch::Limits;
use seatkeeper::health::Health;
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};
use seatkeeper::queue;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use coverage::Coverage;
pub use load::{Load, scaled, seed};

use crate::support::{Process, TestDb};

/// Several producers, several worker processes with batches of every size, and one worker in this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_that_of_the_reference() {
    let db = TestDb::new().await;
    let load = Load::prepare(db.pool.clone(), seed(), scaled(8_000)).await;
    println!("seed {}", load.seed);
    let mut processes = Vec::new();
    for batch in ["1", "7", "500"] {
        processes.push(Process::run(&db.url, &["--no-http", "--batch", batch]));
    }
    for process in &processes {
        process.await_log("working");
    }
    let (stop, worker) = working(&db, 40);

    load.allow(load.total);
    load.run().await;
    load.answered().await;
    stop.cancel();
    worker.await.unwrap();
    for process in processes {
        assert_eq!(process.terminate(), Some(0));
    }

    let (history, complaints) = load.check().await;
    let coverage = Coverage::of(&history);
    println!("{coverage}\n{:?}", load.tally.lock().unwrap());
    complaints.assert_none(load.seed);
    coverage.assert_everything_occurred(&load);
    db.assert_sound().await;
}

/// A worker in this process, until the token is cancelled.
fn working(db: &TestDb, batch: usize) -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let own_pool = pool(connect_options(&db.url).unwrap(), 3);
    let settings = queue::Settings {
        workers: 1,
        limits: Limits { batch, ..Limits::default() },
        ..queue::Settings::default()
    };
    let transactions = Transactions::new(own_pool, Timeouts::default());
    let running = queue::run(transactions, settings, Health::default(), stop.clone());
    (stop, tokio::spawn(async { running.await.unwrap() }))
}
