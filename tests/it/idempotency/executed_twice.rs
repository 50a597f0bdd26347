//! RACE-12: the same request in the hands of two executors. One effect, one answer.
//!
//! The guards, one behind the other, and what a worker without the guard would run into:
//! the lane's lock (or the request's own) · the answer is written only where the request is still queued ·
//! `trg_answer_for_good` · `uq_ledger_per_request`.

use seatkeeper::batch::Turn;
use seatkeeper_jobs::{Outcome, Status};
use uuid::Uuid;

use super::{assert_effects, enroll, grant, hold_commits, hold_user, patient_turn, seeded};
use crate::support::TestDb;
use crate::support::plain_sql::pid;

#[tokio::test]
async fn a_second_worker_does_not_get_a_request_that_the_first_is_executing() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    db.ask(id, enroll()).await;
    let (holder, number) = hold_user(&db).await;
    let first = patient_turn(&db);
    db.until_blocked_by(number).await;

    // It neither waits for the lane nor sees the request.
    for _ in 0..20 {
        let turn = db.worker().turn().await;
        assert!(matches!(turn, Turn::Contended), "{turn:?}");
    }
    assert!(!first.is_finished(), "both were at it at the same time");
    holder.rollback().await.unwrap();
    assert!(matches!(first.await.unwrap(), Turn::Answered(report) if report.told.len() == 1));
    assert!(matches!(db.worker().turn().await, Turn::Idle));
    assert_effects(&db, id, 1).await;
}

#[tokio::test]
async fn a_second_worker_does_not_get_a_grant_that_the_first_is_executing() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    db.ask(id, grant(5)).await;
    let (holder, number) = hold_user(&db).await;
    let first = patient_turn(&db);
    db.until_blocked_by(number).await;
    for _ in 0..20 {
        let turn = db.worker().turn().await;
        assert!(matches!(turn, Turn::Idle | Turn::Contended), "{turn:?}");
    }
    assert!(!first.is_finished());
    holder.rollback().await.unwrap();
    assert!(matches!(first.await.unwrap(), Turn::Answered(report) if report.told.len() == 1));
    let granted: i64 = db
        .value(&format!("select count(*) from seatkeeper.credit_transactions where request_id = '{id}'"))
        .await;
    assert_eq!(granted, 1);
    db.assert_sound().await;
}

/// The answer of an executor that took no lane: a refusal, so that it can be told from that of the worker.
fn answer_without_a_lane(id: Uuid, guard: &str) -> String {
    format!(
        "update seatkeeper.requests set status = 'done', outcome = 'refused', reason = 'semester_full',
                answer_seq = nextval('seatkeeper.answer_seq'), finished_at = clock_timestamp(), attempts = attempts + 1
         where request_id = '{id}' {guard}"
    )
}

/// Runs it while the worker's answer is written and not committed; gives what came of it after the commit.
async fn overlapping_answer(db: &TestDb, id: Uuid, guard: &str) -> sqlx::Result<u64> {
    let (holder, number) = hold_commits(db).await;
    let worker = patient_turn(db);
    db.until_blocked_by(number).await;
    let worker_number: i32 = db
        .value(&format!("select pid from pg_stat_activity where {number} = any (pg_blocking_pids(pid))"))
        .await;
    let mut second = db.pool.begin().await.unwrap();
    let second_number = pid(&mut second).await;
    let sql = answer_without_a_lane(id, guard);
    let second = tokio::spawn(async move {
        let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *second).await?.rows_affected();
        second.commit().await?;
        Ok(done)
    });
    db.until_blocked_by(worker_number).await;
    assert_ne!(second_number, worker_number);
    assert!(!second.is_finished() && !worker.is_finished(), "both hold a transaction open");
    holder.rollback().await.unwrap();
    assert!(matches!(worker.await.unwrap(), Turn::Answered(_)));
    second.await.unwrap()
}

/// The mutant without the lane's lock: the guarded update finds nothing to answer.
#[tokio::test]
async fn without_the_lane_the_guarded_update_finds_no_queued_request() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    db.ask(id, enroll()).await;
    let answered = overlapping_answer(&db, id, "and status = 'queued'").await.unwrap();
    assert_eq!(answered, 0);
    assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));
    assert_effects(&db, id, 1).await;
}

/// The mutant without the lane's lock and without the guard: the trigger keeps the first answer.
#[tokio::test]
async fn without_the_guard_the_trigger_refuses_a_second_answer() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    db.ask(id, enroll()).await;
    let error = overlapping_answer(&db, id, "").await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().constraint(), Some("trg_answer_for_good"));
    assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));
    assert_effects(&db, id, 1).await;
}

/// The other way round: the worker is in the middle of its batch when another answer is committed.
#[tokio::test]
async fn a_worker_that_finds_its_request_answered_rolls_back_and_has_no_effect() {
    let db = seeded().await;
    let (id, neighbour) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(id, enroll()).await;
    let job = seatkeeper_jobs::enroll::Enroll { user_id: super::user(1), semester_id: super::semester(3) };
    db.ask(neighbour, job).await;
    let (holder, number) = hold_user(&db).await;
    let first = patient_turn(&db);
    db.until_blocked_by(number).await;
    db.run(&answer_without_a_lane(id, "and status = 'queued'")).await;
    assert!(!first.is_finished());
    holder.rollback().await.unwrap();
    let turn = first.await.unwrap();
    assert!(matches!(turn, Turn::Again(_)), "nothing was committed: {turn:?}");
    assert_eq!(db.receipt(neighbour).await.status, Status::Queued);

    db.drain().await;
    let receipt = db.receipt(id).await;
    assert_eq!((receipt.outcome, receipt.attempts), (Some(Outcome::Refused), 1));
    assert_eq!(db.receipt(neighbour).await.outcome, Some(Outcome::Applied), "it is answered all the same");
    let effects: i64 = db
        .value(&format!("select count(*) from seatkeeper.credit_transactions where request_id = '{id}'"))
        .await;
    assert_eq!(effects, 0);
    db.assert_sound().await;
}

/// The last line: even who executes it again in full cannot enter the effect twice.
#[tokio::test]
async fn the_effect_of_a_request_enters_the_ledger_once() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    db.ask(id, enroll()).await;
    db.drain().await;
    let mut again = db.pool.begin().await.unwrap();
    let sql = format!(
        "insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, enrollment_id, request_id)
         select user_id, transaction_type, amount, balance_after, enrollment_id, request_id
         from seatkeeper.credit_transactions where request_id = '{id}'"
    );
    let error = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *again).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().constraint(), Some("uq_ledger_per_request"));
    again.rollback().await.unwrap();
    assert_effects(&db, id, 1).await;
}
