//! Processes that are told to stop, that are stopped, and that come too early.

use seatkeeper::batch::Turn;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::{Outcome, Request, Status, postgres as door};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::support::plain_sql::{pid, run_on};
use crate::support::{Process, TestDb, http, own_server, until};

fn enroll(user: i64) -> Enroll {
    Enroll { user_id: user.try_into().unwrap(), semester_id: 1.try_into().unwrap() }
}

/// Two requests of one lane, in this order.
async fn ask_two(db: &TestDb) -> [Uuid; 2] {
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    db.ask(ids[0], enroll(1)).await;
    db.ask(ids[1], enroll(2)).await;
    ids
}

/// Holds a user's row, so that a batch stays where it needs it; also gives the holder's backend.
async fn hold_user(db: &TestDb) -> (Transaction<'static, Postgres>, i32) {
    let mut held = db.pool.begin().await.unwrap();
    run_on(&mut held, "select from seatkeeper.users where user_id = 1 for no key update").await;
    let holder = pid(&mut held).await;
    (held, holder)
}

async fn is_applied(db: &TestDb, id: Uuid) -> bool {
    db.receipt(id).await.outcome == Some(Outcome::Applied)
}

async fn prepared() -> TestDb {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, Some(10), 0).await;
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_the_batch_in_hand_and_claims_no_more() {
    let db = prepared().await;
    let (held, holder) = hold_user(&db).await;
    let [in_hand, next] = ask_two(&db).await;
    let flags = ["--no-http", "--workers", "1", "--batch", "1", "--lock-timeout", "50s"];
    let mut worker = Process::run(&format!("{}&application_name=leaving", db.url), &flags);
    db.until_blocked_by(holder).await;

    worker.signal("TERM");
    worker.await_log("stopping");
    assert_eq!(db.receipt(in_hand).await.status, Status::Queued, "the batch is still in hand");
    held.commit().await.unwrap();
    assert_eq!(worker.exit_code(), Some(0));
    assert!(is_applied(&db, in_hand).await, "the batch in hand was finished");
    assert_eq!(db.receipt(next).await.status, Status::Queued, "nothing more was claimed");
    until("its connections are gone", async || {
        let left = "select count(*) from pg_stat_activity where application_name = 'leaving'";
        db.value::<i64>(left).await == 0
    })
    .await;
    db.run("select from seatkeeper.semesters for update nowait; select from seatkeeper.requests for update nowait")
        .await;
    db.drain().await;
    assert!(is_applied(&db, next).await);
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stopped_in_the_middle_of_a_batch_does_not_keep_its_lane() {
    let db = prepared().await;
    let (held, holder) = hold_user(&db).await;
    let ids = ask_two(&db).await;
    let flags = ["--no-http", "--workers", "1", "--lock-timeout", "50s", "--idle-timeout", "1s"];
    let stopped = Process::run(&db.url, &flags);
    db.until_blocked_by(holder).await;
    stopped.signal("STOP");
    held.commit().await.unwrap();
    let turn = db.worker().turn().await;
    assert!(matches!(turn, Turn::Contended), "the stopped worker has the lane: {turn:?}");

    let other = Process::run(&db.url, &["--no-http", "--workers", "1"]);
    until("another worker answers in the lane", async || is_applied(&db, ids[1]).await).await;
    assert!(is_applied(&db, ids[0]).await);
    assert_eq!(other.terminate(), Some(0));

    stopped.signal("CONT");
    let later = Uuid::now_v7();
    db.ask(later, enroll(3)).await;
    until("the worker that was stopped works again", async || is_applied(&db, later).await).await;
    assert_eq!(stopped.terminate(), Some(0));
    for id in ids.into_iter().chain([later]) {
        assert_eq!(db.receipt(id).await.attempts, 1);
    }
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_comes_before_its_database_waits_for_it() {
    let mut server = own_server().await;
    let pool = server.pool();
    sqlx::raw_sql(
        "insert into seatkeeper.users (user_id) values (1);
         insert into seatkeeper.semesters (semester_id, code, status) values (1, 'S', 'ENROLLMENT_OPEN')",
    )
    .execute(&pool)
    .await
    .unwrap();
    server.embedded.stop_server().await.unwrap();

    let impatient = Process::run(&server.url(), &["--no-http"]);
    impatient.await_log("waiting for it");
    assert_eq!(impatient.terminate(), Some(0), "waiting, it can be told to stop");

    let worker = Process::run(&server.url(), &["--listen", "127.0.0.1:0"]);
    let address = worker.address();
    worker.await_log("waiting for it");
    assert_eq!(http::get(&address, "/readyz").await.0, 503);
    assert_eq!(http::get(&address, "/livez").await.0, 200);
    server.embedded.start_server().await.unwrap();
    until("the worker is ready", async || http::get(&address, "/readyz").await.0 == 200).await;

    let id = Uuid::now_v7();
    let mut connection = pool.acquire().await.unwrap();
    door::enqueue(&mut connection, &Request::new(id, enroll(1))).await.unwrap();
    until("the worker answers", async || {
        let receipt = door::get_receipt(&mut connection, id).await.unwrap().unwrap();
        receipt.outcome == Some(Outcome::Applied)
    })
    .await;
    assert_eq!(worker.terminate(), Some(0));
    drop(connection);
    pool.close().await;
    server.remove().await;
}
