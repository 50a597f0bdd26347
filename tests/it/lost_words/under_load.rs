//! Everybody at once: workers, producers and owners, whose connections break all the time, under the load of the model. Every
//! request has one answer, which is the reference's, and the history follows.

use super::assert_covered;
use super::fates::{Whose, drawn};
use crate::model::{Coverage, Load, scaled, seed};
use crate::support::proxy::{Loss, Seen, Wire};
use crate::support::{Process, TestDb};
use seatkeeper::postgres::{connect_options, pool};

const CALLS: u32 = 1_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_and_producers_whose_words_are_lost_come_to_one_answer() {
    let db = TestDb::new().await;
    let seed = seed();
    println!("seed {seed}");
    let asking = Wire::start(&db.direct, drawn(seed, 1, Whose::Patient)).await;
    let mut working = Vec::new();
    for stream in 2..5 {
        working.push(Wire::start(&db.direct, drawn(seed, stream, Whose::Worker)).await);
    }
    let producers = pool(connect_options(&asking.through(&db.direct)).unwrap(), 20);
    let load = Load::prepare(producers, seed, scaled(CALLS)).await;
    // One with its chores; all of them soon take silence for the end.
    let flags: [&[&str]; 3] = [&["--batch", "1"], &["--batch", "7", "--no-scheduler"], &["--no-scheduler"]];
    let workers: Vec<Process> = std::iter::zip(&working, flags)
        .map(|(wire, own)| {
            // What is connected in quiet times is spared.
            wire.rage();
            let flags = [&["--no-http", "--statement-timeout", "2s"], own].concat();
            let worker = Process::run(&wire.through(&db.direct), &flags);
            worker.await_log("working");
            worker
        })
        .collect();

    asking.rage();
    load.allow(load.total);
    load.run().await;
    asking.calm();
    load.answered().await;
    working.iter().for_each(Wire::calm);
    for worker in workers {
        assert_eq!(worker.terminate(), Some(0));
    }

    println!("producers and owners: {}", asking.seen());
    let mut worked = Seen::default();
    working.iter().for_each(|wire| worked.add(&wire.seen()));
    println!("workers: {worked}");
    let (history, complaints) = load.check().await;
    let tally = load.tally.lock().unwrap().clone();
    println!("{}\n{tally:?}", Coverage::of(&history));
    complaints.assert_none(seed);
    db.assert_follows().await;

    let calls = scaled(1);
    assert_covered("producers", seed, &asking.seen(), 60 * calls, ["SQ", "C"]);
    assert!(asking.seen().unheard_commits() >= 10 * calls, "seed {seed}: {}", asking.seen());
    assert!(tally.committed_unknowingly >= 5 * calls, "seed {seed}: {tally:?}");
    assert_covered("workers", seed, &worked, 40 * calls, ["SQ", "C"]);
    assert!(worked.unheard_commits() >= 10 * calls, "seed {seed}: {worked}");
    for loss in [Loss::OnTheWay, Loss::Unheard, Loss::Reply] {
        let lost = worked.commits.keys().any(|(how, _)| *how == loss);
        assert!(lost, "seed {seed}: no commit of a worker was lost as {loss:?}: {worked}");
    }
}
