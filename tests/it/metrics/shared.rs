//! What is read from the database at each scrape: from where on, for how long, and of whom it speaks.

use std::time::Duration;

use seatkeeper::metrics::SharedState;
use seatkeeper::postgres::{apply_roles, connect_options, pool};
use seatkeeper_jobs::{Request, postgres as door};
use uuid::Uuid;

use super::enroll;
use crate::old_snapshots::{A_TURN, answer_many, ask, enroll_in, run, stage};
use crate::support::http::sample;
use crate::support::plain_sql::pid;
use crate::support::{TestDb, until};

/// The queue as the text of a scrape tells it.
async fn enrolls(shared: &SharedState) -> (f64, f64) {
    let text = shared.render().await;
    assert_eq!(sample(&text, "seatkeeper_db_scrape_success", ""), Some(1.0), "{text}");
    let depth = sample(&text, "seatkeeper_queue_depth", "kind=\"enroll\",state=\"ready\"");
    let age = sample(&text, "seatkeeper_queue_oldest_ready_age_seconds", "kind=\"enroll\"");
    (depth.unwrap(), age.unwrap())
}

#[tokio::test]
async fn an_old_snapshot_costs_a_scrape_nothing() {
    const TURNS: i64 = 40;
    let (server, pool_of_test) = stage().await;
    run(&pool_of_test, "vacuum analyze seatkeeper.requests").await;
    let mut old = pool_of_test.begin_with("begin isolation level repeatable read").await.unwrap();
    sqlx::query("select count(*) from seatkeeper.requests").execute(&mut *old).await.unwrap();
    let mut asking = pool_of_test.acquire().await.unwrap();
    let aside = ask(&mut asking, enroll_in(390, 1)).await;
    let hold = |hold| format!("update seatkeeper.requests set {hold} where request_id = '{aside}'");
    run(&pool_of_test, &hold("hold = 'scheduled', run_at = now() + interval '1 hour'")).await;
    let mut open = pool_of_test.begin().await.unwrap();
    ask(&mut open, enroll_in(391, 1)).await;
    let own = pool(connect_options(&server.url()).unwrap(), 1);
    let shared = SharedState::new(own.clone()).fresh_for(Duration::ZERO);
    for turn in 0..TURNS {
        answer_many(&server, &pool_of_test, 1).await;
        assert_eq!(enrolls(&shared).await, (0.0, 0.0), "turn {turn}");
    }
    // Whatever becomes ready is seen all the same, and how long it has waited.
    ask(&mut asking, enroll_in(392, 1)).await;
    assert!(matches!(enrolls(&shared).await, (1.0, age) if age > 0.0));
    run(&pool_of_test, &hold("hold = null, run_at = null, enqueued_at = now() - interval '1 day'")).await;
    assert!(matches!(enrolls(&shared).await, (2.0, age) if age >= 86_400.0));
    open.commit().await.unwrap();
    assert_eq!(enrolls(&shared).await.0, 3.0);
    own.close().await;
    let read: i64 = sqlx::query_scalar(
        "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'idx_ready_by_kind'",
    )
    .fetch_one(&pool_of_test)
    .await
    .unwrap();
    println!("{read} entries of the queue read by {TURNS} scrapes beside {} that are dead", TURNS * A_TURN);
    // All that were answered before, each time, were twenty times as many; and what is open is asked for at each fifth scrape.
    assert!(read < 12 * TURNS * A_TURN, "{read} entries of the queue read by {TURNS} scrapes");
    old.rollback().await.unwrap();
    drop(asking);
    pool_of_test.close().await;
    server.remove().await;
}

const OLDEST: &str = "seatkeeper_oldest_transaction_age_seconds";

/// Without memory of earlier scrapes that were a moment ago.
fn scraper(url: &str) -> SharedState {
    SharedState::new(pool(connect_options(url).unwrap(), 1)).fresh_for(Duration::ZERO)
}

/// The labels and the value of the oldest transaction.
async fn oldest(shared: &SharedState) -> (String, f64) {
    let text = shared.render().await;
    let line = text.lines().find_map(|line| line.strip_prefix(OLDEST)).unwrap_or_else(|| panic!("{text}"));
    let (labels, age) = line.rsplit_once(' ').unwrap();
    (labels.to_owned(), age.parse().unwrap())
}

#[tokio::test]
async fn who_keeps_a_transaction_open_after_enqueueing_is_named_and_nobody_else() {
    let db = TestDb::new().await;
    apply_roles(&db.pool).await.unwrap();
    let (sees_all, sees_little) = (scraper(&db.direct), scraper(&db.url_as("seatkeeper_worker")));
    let mut reads = db.pool.begin_with("begin isolation level repeatable read").await.unwrap();
    sqlx::query("select count(*) from seatkeeper.requests").execute(&mut *reads).await.unwrap();
    let mut writes = db.pool.begin().await.unwrap();
    sqlx::query("create table public.left_open ()").execute(&mut *writes).await.unwrap();
    assert_eq!(oldest(&sees_all).await, (String::new(), 0.0));

    let mut asks = db.pool.begin().await.unwrap();
    sqlx::query(r#"set local application_name = 'im"port\nn'"#).execute(&mut *asks).await.unwrap();
    door::enqueue(&mut asks, &Request::new(Uuid::now_v7(), enroll(7, 1))).await.unwrap();
    let user: String = db.value("select session_user::text").await;
    let named = format!(r#"{{pid="{}",user="{user}",application="im\"port\\nn"}}"#, pid(&mut asks).await);
    for shared in [&sees_all, &sees_little] {
        let (labels, first) = oldest(shared).await;
        assert_eq!(labels, named);
        until("it grows older", async || oldest(shared).await.1 > first).await;
    }
    asks.rollback().await.unwrap();
    for shared in [&sees_all, &sees_little] {
        assert_eq!(oldest(shared).await, (String::new(), 0.0));
    }
}

#[tokio::test]
async fn a_family_that_is_not_to_be_had_takes_no_other_one_with_it() {
    let db = TestDb::new().await;
    db.users(1).await;
    let mut locked = db.pool.begin().await.unwrap();
    sqlx::query("lock seatkeeper.pauses in access exclusive mode").execute(&mut *locked).await.unwrap();
    let shared = scraper(&db.url);
    let text = shared.render().await;
    assert_eq!(sample(&text, "seatkeeper_db_scrape_success", ""), Some(0.0));
    assert_eq!(sample(&text, "seatkeeper_paused", "what=\"everything\""), None);
    for state in ["ready", "scheduled", "failed"] {
        let labels = format!("kind=\"enroll\",state=\"{state}\"");
        assert_eq!(sample(&text, "seatkeeper_queue_depth", &labels), Some(0.0), "{text}");
    }
    assert_eq!(sample(&text, "seatkeeper_duplicates_total", ""), Some(0.0));
    locked.rollback().await.unwrap();
    let text = shared.render().await;
    assert_eq!(sample(&text, "seatkeeper_db_scrape_success", ""), Some(1.0));
    assert_eq!(sample(&text, "seatkeeper_paused", "what=\"everything\""), Some(0.0));
}

#[tokio::test]
async fn what_is_far_in_the_future_costs_a_scrape_no_more_the_more_there_is() {
    let db = TestDb::new().await;
    db.run(
        "alter table seatkeeper.requests disable trigger user;
         insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id, run_at, hold)
         select gen_random_uuid(), 'enroll', '{\"user_id\": 1, \"semester_id\": 1}', 1, 1, now() + n * interval '1 minute', 'scheduled'
         from generate_series(1, 150000) n;
         alter table seatkeeper.requests enable trigger user",
    )
    .await;
    let own = pool(connect_options(&db.direct).unwrap(), 1);
    let shared = SharedState::new(own.clone());
    let text = shared.render().await;
    assert_eq!(
        sample(&text, "seatkeeper_queue_depth", "kind=\"enroll\",state=\"scheduled\""),
        Some(100_000.0),
        "{text}"
    );
    own.close().await;
    let read = async || -> i64 {
        db.value("select idx_tup_read from pg_stat_user_indexes where indexrelname = 'idx_due'").await
    };
    until("the statistics", async || read().await > 0).await;
    assert!(read().await <= 100_001, "{}", read().await);
}
