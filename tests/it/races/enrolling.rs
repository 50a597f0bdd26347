//! RACE-01, RACE-02, RACE-04, RACE-04b: one lane, several workers.

use seatkeeper::batch::Turn;
use seatkeeper_jobs::Reason;
use uuid::Uuid;

use super::{
    APPLIED, answer, answered, batches_wait, enroll, fund, hold, patient, refused, second_turn, start,
    unenroll,
};
use crate::support::TestDb;

/// Red without: the lane lock in `claim.lock_lanes`; the comparison with `max_players` in `decide/enroll.rs`.
#[tokio::test]
async fn race_01_the_first_to_arrive_get_the_places_and_no_more() {
    let db = TestDb::new().await;
    db.users(40).await;
    db.semester(1, Some(10), 0).await;
    let mut ids = Vec::new();
    for user in 1..=30 {
        let id = Uuid::now_v7();
        db.ask(id, enroll(user, 1)).await;
        ids.push(id);
    }

    // The first worker is in the middle of its batch with all thirty; more arrive; a second worker tries.
    let blocker = hold(&db, "select from seatkeeper.users where user_id = 15 for update").await;
    let first = start(patient(&db));
    batches_wait(&db, 1).await;
    for user in 31..=40 {
        let id = Uuid::now_v7();
        db.ask(id, enroll(user, 1)).await;
        ids.push(id);
    }
    let second = second_turn(&db).await;
    assert!(matches!(second, Turn::Contended), "the lane is held by the first: {second:?}");
    blocker.rollback().await.unwrap();
    assert_eq!(answered(first).await.told.len(), 30);
    let rest = db.worker().turn().await;
    assert!(matches!(&rest, Turn::Answered(report) if report.told.len() == 10), "{rest:?}");

    for (number, id) in ids.into_iter().enumerate() {
        let expected = if number < 10 { APPLIED } else { refused(Reason::SemesterFull) };
        assert_eq!(answer(&db, id).await, expected, "request number {number}");
    }
    db.assert_sound().await;
}

/// Red without: the lane lock in `claim.lock_lanes`; the check for an active enrollment in `decide/enroll.rs`.
#[tokio::test]
async fn race_02_the_same_user_enrolling_twice_at_once_is_charged_once() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 10).await;
    fund(&db, [1], 100).await;
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(one, enroll(1, 1)).await;
    let blocker = hold(&db, "select from seatkeeper.users where user_id = 1 for update").await;
    let first = start(patient(&db));
    batches_wait(&db, 1).await;
    db.ask(two, enroll(1, 1)).await;
    let second = second_turn(&db).await;
    assert!(matches!(second, Turn::Contended), "{second:?}");
    blocker.rollback().await.unwrap();
    answered(first).await;
    let rest = db.worker().turn().await;
    assert!(matches!(rest, Turn::Answered(_)), "{rest:?}");

    assert_eq!(answer(&db, one).await, APPLIED);
    assert_eq!(answer(&db, two).await, refused(Reason::AlreadyEnrolled));
    assert_eq!(db.value::<i64>("select credit_balance from seatkeeper.users").await, 90);
    db.assert_sound().await;
}

/// Red without: the lane lock in `claim.lock_lanes`; taking the enrollment out of the world in `World::withdraw`.
#[tokio::test]
async fn race_04_two_unenrolls_at_once_give_one_refund() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 10).await;
    fund(&db, [1], 100).await;
    db.ask(Uuid::now_v7(), enroll(1, 1)).await;
    db.drain().await;
    // Two wait already, a third comes while they are executed.
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    db.ask(ids[0], unenroll(1, 1)).await;
    db.ask(ids[1], unenroll(1, 1)).await;
    let blocker = hold(&db, "select from seatkeeper.users where user_id = 1 for update").await;
    let first = start(patient(&db));
    batches_wait(&db, 1).await;
    db.ask(ids[2], unenroll(1, 1)).await;
    let second = second_turn(&db).await;
    assert!(matches!(second, Turn::Contended), "{second:?}");
    blocker.rollback().await.unwrap();
    answered(first).await;
    let rest = db.worker().turn().await;
    assert!(matches!(rest, Turn::Answered(_)), "{rest:?}");

    assert_eq!(answer(&db, ids[0]).await, APPLIED);
    assert_eq!(answer(&db, ids[1]).await, refused(Reason::NotEnrolled));
    assert_eq!(answer(&db, ids[2]).await, refused(Reason::NotEnrolled));
    assert_eq!(db.value::<i64>("select credit_balance from seatkeeper.users").await, 95);
    db.assert_sound().await;
}

/// Red without: the lane lock in `claim.lock_lanes`.
#[tokio::test]
async fn race_04b_unenroll_and_enroll_of_the_same_user_end_as_one_after_the_other() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, Some(1), 10).await;
    fund(&db, [1], 100).await;
    db.ask(Uuid::now_v7(), enroll(1, 1)).await;
    db.drain().await;
    let (out, again) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(out, unenroll(1, 1)).await;
    let blocker = hold(&db, "select from seatkeeper.users where user_id = 1 for update").await;
    let first = start(patient(&db));
    batches_wait(&db, 1).await;
    db.ask(again, enroll(1, 1)).await;
    let second = second_turn(&db).await;
    assert!(matches!(second, Turn::Contended), "{second:?}");
    blocker.rollback().await.unwrap();
    answered(first).await;
    db.drain().await;

    assert_eq!(answer(&db, out).await, APPLIED);
    assert_eq!(answer(&db, again).await, APPLIED);
    let rows: Vec<(String, bool, i64)> = sqlx::query_as(
        "select status, is_active, price_paid from seatkeeper.enrollments order by enrollment_id",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(rows, [("WITHDRAWN".into(), false, 10), ("APPROVED".into(), true, 10)]);
    assert_eq!(db.value::<i64>("select credit_balance from seatkeeper.users").await, 85);
    db.assert_sound().await;
}
