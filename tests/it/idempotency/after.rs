//! Sent again after something has happened to it: a refusal, a failure, a retry, a cancel, a crash.

use seatkeeper_jobs::{Outcome, Reason, Status};
use serde_json::json;
use uuid::Uuid;

use super::{
    CREDITS, USER, assert_effects, assert_replayed, enroll, grant, hold_commits, hold_user, seeded, unenroll,
};
use crate::support::{Process, TestDb, until};

/// As an exhausted request looks.
async fn exhaust(db: &TestDb, id: Uuid) {
    db.run(&format!(
        "update seatkeeper.requests set status = 'failed', reason = 'attempts_exhausted', attempts = 5,
                finished_at = clock_timestamp(), last_error = 'XX000: a defect' where request_id = '{id}'"
    ))
    .await;
}

/// As an operator does it: the lane first, so that no later request overtakes it.
async fn operate(db: &TestDb, id: Uuid, change: &str) {
    db.run(&format!(
        "begin;
         select from seatkeeper.semesters where semester_id =
             (select semester_id from seatkeeper.requests where request_id = '{id}') for no key update;
         {change} where request_id = '{id}';
         commit"
    ))
    .await;
}

const RETRY: &str = "update seatkeeper.requests set status = 'queued', reason = null, finished_at = null,
                            attempts = 0, run_at = null, hold = null, last_error = null";
const CANCEL: &str =
    "update seatkeeper.requests set status = 'cancelled', finished_at = clock_timestamp(), hold = null";

#[tokio::test]
async fn a_refusal_is_replayed_also_when_it_would_be_applied_by_now() {
    let db = seeded().await;
    let (id, late) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(Uuid::now_v7(), grant(-CREDITS)).await;
    db.ask(id, enroll()).await;
    db.drain().await;
    let receipt = db.receipt(id).await;
    assert_eq!(receipt.reason, Some(Reason::InsufficientCredits));
    assert_eq!(receipt.result, Some(json!({"balance": 0, "cost": 10})));

    db.ask(late, grant(CREDITS)).await;
    db.drain().await;
    assert_replayed(&db, id, &enroll(), &receipt).await;
    db.drain().await;
    assert_eq!(db.receipt(id).await, receipt);
    let enrollments: i64 = db.value("select count(*) from seatkeeper.enrollments").await;
    assert_eq!(enrollments, 0);
    db.assert_sound().await;
}

#[tokio::test]
async fn a_late_duplicate_of_an_unenroll_does_not_end_the_enrollment_that_followed_it() {
    let db = seeded().await;
    let (first, leave, anew) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    for (id, job) in [(first, enroll()), (leave, unenroll()), (anew, enroll())] {
        db.ask(id, job).await;
        db.drain().await;
    }
    let receipt = db.receipt(leave).await;
    assert_eq!(receipt.outcome, Some(Outcome::Applied));
    assert_replayed(&db, leave, &unenroll(), &receipt).await;
    db.drain().await;
    let active: Uuid = db.value("select request_id from seatkeeper.enrollments where is_active").await;
    assert_eq!(active, anew);
    let refunds: i64 = db
        .value("select count(*) from seatkeeper.credit_transactions where transaction_type like '%REFUND'")
        .await;
    assert_eq!(refunds, 1);
    db.assert_sound().await;
}

#[tokio::test]
async fn a_failed_request_sent_again_is_not_executed_until_an_operator_retries_it() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    db.ask(id, enroll()).await;
    exhaust(&db, id).await;
    let receipt = db.receipt(id).await;
    assert_eq!((receipt.status, receipt.reason), (Status::Failed, Some(Reason::AttemptsExhausted)));
    assert_replayed(&db, id, &enroll(), &receipt).await;
    db.drain().await;
    assert_eq!(db.receipt(id).await, receipt, "sending again is no retry");
    assert_effects(&db, id, 0).await;

    operate(&db, id, RETRY).await;
    let receipt = db.receipt(id).await;
    assert_eq!(receipt.status, Status::Queued);
    assert_replayed(&db, id, &enroll(), &receipt).await;
    db.drain().await;
    let receipt = db.receipt(id).await;
    assert_eq!((receipt.status, receipt.outcome), (Status::Done, Some(Outcome::Applied)));
    assert_replayed(&db, id, &enroll(), &receipt).await;
    assert_effects(&db, id, 1).await;
}

#[tokio::test]
async fn an_answered_request_cannot_be_retried_or_cancelled() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    db.ask(id, enroll()).await;
    db.drain().await;
    let receipt = db.receipt(id).await;
    for change in [RETRY, CANCEL] {
        let sql = format!("{change} where request_id = '{id}'");
        let error = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&db.pool).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().constraint(), Some("trg_answer_for_good"));
    }
    db.drain().await;
    assert_eq!(db.receipt(id).await, receipt);
    assert_effects(&db, id, 1).await;
}

#[tokio::test]
async fn a_cancelled_request_sent_again_stays_cancelled_and_has_no_effect() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    db.ask(id, enroll()).await;
    operate(&db, id, CANCEL).await;
    let receipt = db.receipt(id).await;
    assert_eq!((receipt.status, receipt.outcome), (Status::Cancelled, None));
    assert_replayed(&db, id, &enroll(), &receipt).await;
    db.drain().await;
    assert_eq!(db.receipt(id).await, receipt);
    assert_effects(&db, id, 0).await;
}

const FLAGS: [&str; 6] = [
    "--no-http",
    "--workers=1",
    "--lock-timeout=60s",
    "--statement-timeout=60s",
    "--idle-timeout=60s",
    "--poll=5ms",
];

/// The first worker is killed inside its transaction: before it has written anything, and with everything written.
#[tokio::test]
async fn a_request_whose_worker_is_killed_in_the_middle_has_one_effect_after_a_restart() {
    for at_commit in [false, true] {
        let db = seeded().await;
        let (holder, number) = if at_commit { hold_commits(&db).await } else { hold_user(&db).await };
        let id = Uuid::now_v7();
        let queued = db.ask(id, enroll()).await;
        let first = Process::run(&db.url, &FLAGS);
        db.until_blocked_by(number).await;
        assert_replayed(&db, id, &enroll(), &queued).await;
        first.kill();
        assert_replayed(&db, id, &enroll(), &queued).await;
        assert_effects(&db, id, 0).await;

        holder.rollback().await.unwrap();
        let second = Process::run(&db.url, &FLAGS);
        // The commit of the killed one may go through on the server by itself: then there is nothing to wait for.
        second.await_log("working");
        until("the request is answered", || async { db.receipt(id).await.status.is_final() }).await;
        assert_eq!(second.terminate(), Some(0));
        let receipt = db.receipt(id).await;
        assert_eq!(receipt.outcome, Some(Outcome::Applied));
        assert_replayed(&db, id, &enroll(), &receipt).await;
        assert_effects(&db, id, 1).await;
        assert_eq!(receipt.result.unwrap()["balance"], json!(CREDITS - 10), "of user {USER}");
    }
}
