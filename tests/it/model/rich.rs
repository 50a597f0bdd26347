//! The same comparison among people who have as much as anybody may have, and more.

use super::load::{Load, scaled, seed};
use super::stage::RICH;
use crate::support::TestDb;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_limit_of_balances_every_answer_is_that_of_the_reference() {
    let db = TestDb::new().await;
    let load = Load::rich(db.pool.clone(), seed(), scaled(2_000)).await;
    println!("seed {}", load.seed);
    load.allow(load.total);
    let (stop, worker) = super::working(&db, 40);
    load.run().await;
    load.answered().await;
    stop.cancel();
    worker.await.unwrap();

    let (history, complaints) = load.compare().await;
    complaints.assert_none(load.seed);
    let count = |kind: &str, ending: &str| {
        let of = |asked: &&super::history::Asked| {
            asked.kind == kind
                && asked.ending() == ending
                && asked.payload["user_id"].as_i64().is_some_and(|user| user <= RICH)
        };
        history.requests.iter().filter(of).count()
    };
    let refused = count("grant_credits", "balance_limit");
    let others =
        [count("grant_credits", "applied"), count("enroll", "applied"), count("unenroll", "applied")];
    println!("{refused} refused, {others:?} applied");
    assert!(refused > 0 && !others.contains(&0), "seed {}: too little occurred", load.seed);
    let above = history.end.ledger.iter().any(|row| {
        row.user_id < RICH && row.transaction_type.contains("REFUND") && row.balance_after > 10_i64.pow(18)
    });
    assert!(above, "seed {}: no refund went above the limit", load.seed);
    db.assert_sound().await;
}
