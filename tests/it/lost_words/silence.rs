//! A connection that stays and says nothing: the server has committed, and no word of it ever comes. Whoever waits for it has to
//! give up by himself.

use std::time::Instant;

use seatkeeper_jobs::Outcome;
use uuid::Uuid;

use crate::booking::enroll;
use crate::support::proxy::{Fate, Loss, Wire};
use crate::support::{Process, TestDb, until};

/// Each of the first connections falls silent at its first commit, or at its first look at the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_connections_fall_silent_goes_on_with_new_ones() {
    let db = TestDb::new().await;
    db.users(8).await;
    db.semester(1, None, 0).await;
    let wire = Wire::start(&db.direct, |number| match number {
        0..6 => Fate::Commit(0, Loss::Silence),
        _ => Fate::Spared,
    })
    .await;
    let flags = ["--no-http", "--no-scheduler", "--workers", "1", "--statement-timeout", "500ms"];
    wire.rage();
    let worker = Process::run(&wire.through(&db.direct), &flags);
    worker.await_log("working");
    let began = Instant::now();
    for user in 1..=8 {
        let id = Uuid::now_v7();
        db.ask(id, enroll(user, 1)).await;
        until("the worker answers", async || db.receipt(id).await.outcome == Some(Outcome::Applied)).await;
    }
    println!("{} in {:?}", wire.seen(), began.elapsed());
    let silent = wire.seen().commits.get(&(Loss::Silence, Some(true))).copied().unwrap_or_default();
    assert!(silent >= 4, "{}", wire.seen());
    wire.calm();
    assert_eq!(worker.terminate(), Some(0));
    db.assert_follows().await;
}
