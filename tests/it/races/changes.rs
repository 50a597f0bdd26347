//! RACE-10: the owners change the catalog while a request waits for its locks. It is decided on the rows as locked.

use seatkeeper::batch::Turn;
use seatkeeper_jobs::Reason;
use uuid::Uuid;

use super::{
    APPLIED, answer, answered, batches_wait, enroll, fund, hold, patient, refused, second_turn, start,
};
use crate::support::TestDb;

/// Red without: reading the user by the statement that locks it, in `prefetch.lock_users`.
#[tokio::test]
async fn race_10_a_user_deactivated_while_the_request_waits_is_refused() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(1, 1)).await;
    let change = hold(&db, "update seatkeeper.users set is_active = false where user_id = 1").await;
    let turn = start(patient(&db));
    batches_wait(&db, 1).await;
    change.commit().await.unwrap();
    answered(turn).await;
    assert_eq!(answer(&db, id).await, refused(Reason::UserInactive));
}

/// What the owner changes while the request waits, and what the request is answered then.
async fn changed_meanwhile(change: &str, expected: (seatkeeper_jobs::Outcome, Option<Reason>)) -> TestDb {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, Some(5), 10).await;
    fund(&db, [1], 30).await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(1, 1)).await;
    let change = hold(&db, change).await;
    // The owner holds the semester's row, and so the lane: the worker neither waits nor reads what is old.
    let turn = second_turn(&db).await;
    assert!(matches!(turn, Turn::Contended), "{turn:?}");
    change.commit().await.unwrap();
    db.drain().await;
    assert_eq!(answer(&db, id).await, expected);
    db.assert_sound().await;
    db
}

/// Red without: the lane lock in `claim.lock_lanes`; so the three below.
#[tokio::test]
async fn race_10_a_semester_closed_while_the_request_waits_refuses_it() {
    let change = "update seatkeeper.semesters set status = 'ENROLLMENT_CLOSED'";
    changed_meanwhile(change, refused(Reason::SemesterNotOpen)).await;
}

#[tokio::test]
async fn race_10_a_semester_repriced_while_the_request_waits_charges_the_new_price() {
    let db = changed_meanwhile("update seatkeeper.semesters set enrollment_cost = 25", APPLIED).await;
    assert_eq!(db.value::<i64>("select price_paid from seatkeeper.enrollments").await, 25);
    let db = changed_meanwhile(
        "update seatkeeper.semesters set enrollment_cost = 31",
        refused(Reason::InsufficientCredits),
    );
    assert_eq!(
        db.await.value::<i64>("select credit_balance from seatkeeper.users where user_id = 1").await,
        30
    );
}

#[tokio::test]
async fn race_10_places_taken_away_while_the_request_waits_are_gone() {
    changed_meanwhile("update seatkeeper.semesters set max_players = 0", refused(Reason::SemesterFull)).await;
}

#[tokio::test]
async fn race_10_a_deadline_moved_while_the_request_waits_holds() {
    let change = "update seatkeeper.semesters set enrollment_closes_at = clock_timestamp()";
    changed_meanwhile(change, refused(Reason::EnrollmentClosed)).await;
}

/// Red without: `clock_timestamp()` in `prefetch.draw`, read with all locks held.
#[tokio::test]
async fn race_10_a_deadline_that_passes_while_the_batch_waits_for_a_lock_has_passed() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(1, 1)).await;
    let blocker = hold(&db, "select from seatkeeper.users where user_id = 1 for update").await;
    // Two seconds from now: the batch has begun long before, and decides after.
    db.run("update seatkeeper.semesters set enrollment_closes_at = clock_timestamp() + interval '2 seconds'")
        .await;
    let turn = start(patient(&db));
    batches_wait(&db, 1).await;
    crate::support::until("the deadline", async || {
        db.value::<bool>("select clock_timestamp() >= enrollment_closes_at from seatkeeper.semesters").await
    })
    .await;
    blocker.rollback().await.unwrap();
    answered(turn).await;
    assert_eq!(answer(&db, id).await, refused(Reason::EnrollmentClosed));
    let decided_late: bool = db
        .value("select r.finished_at >= s.enrollment_closes_at from seatkeeper.requests r, seatkeeper.semesters s")
        .await;
    assert!(decided_late, "the instant of decision is the one after the wait");
}
