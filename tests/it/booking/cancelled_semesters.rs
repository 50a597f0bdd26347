//! A semester that is cancelled: everybody leaves, in one commit.

use seatkeeper::batch::Turn;
use seatkeeper_jobs::cancel_semester::CancelSemester;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::{Job, Reason};
use serde_json::json;
use uuid::Uuid;

use super::{applied, book, booked, bookings, enroll, enroll_all, refused, session, stage, unenroll};

fn cancel_semester(id: i64) -> Job {
    CancelSemester { semester_id: id.try_into().unwrap(), note: None }.into()
}

#[tokio::test]
async fn everybody_gets_back_what_they_paid_and_nothing_stays_booked() {
    let db = stage(0).await;
    db.users(3).await;
    db.semester(2, None, 7).await;
    for user in 1..=3 {
        let amount = Amount::new(10).unwrap();
        db.ask(Uuid::now_v7(), GrantCredits { user_id: user.try_into().unwrap(), amount, note: None }).await;
    }
    enroll_all(&db, 1..=3, 2).await;
    db.run("update seatkeeper.semesters set enrollment_cost = 99, refund_percent = 1 where semester_id = 2")
        .await;
    session(&db, 1, 2, 48, 1).await;
    session(&db, 2, 2, 50, 1).await;
    booked(&db, 1, 2).await;
    for user in 1..=2 {
        booked(&db, user, 1).await;
    }
    db.run("update seatkeeper.sessions set starts_at = now() - interval '1 hour', ends_at = now() where session_id = 2")
        .await;
    db.drain().await;

    let result = applied(&db, cancel_semester(2)).await;
    assert_eq!(result, json!({"withdrawn": 3, "refunded": 21, "cancelled_bookings": 2}));
    assert_eq!(bookings(&db, 1).await, "1 CANCELLED semester_cancelled, 2 CANCELLED semester_cancelled");
    assert_eq!(bookings(&db, 2).await, "1 CONFIRMED", "it has started");
    assert_eq!(db.value::<i64>("select min(credit_balance) from seatkeeper.users").await, 10);
    let row: String = db
        .value(
            "select s.status || ' ' || s.enrolled_count || ' ' || (s.cancelled_by = r.request_id)::text
             from seatkeeper.semesters s, seatkeeper.requests r where s.semester_id = 2 and r.kind = 'cancel_semester'",
        )
        .await;
    assert_eq!(row, "CANCELLED 0 true");
    let types: i64 = db
        .value("select count(*) from seatkeeper.credit_transactions where transaction_type = 'TOURNAMENT_CANCEL_REFUND'")
        .await;
    assert_eq!(types, 3);
    // An answer, and no change by its owners.
    let recorded: i64 = db
        .value(r#"select count(*) from seatkeeper.catalog_changes where after ->> 'status' = 'CANCELLED'"#)
        .await;
    assert_eq!(recorded, 0);

    assert_eq!(refused(&db, cancel_semester(2)).await, Reason::AlreadyCancelled);
    assert_eq!(refused(&db, cancel_semester(77)).await, Reason::SemesterNotFound);
    assert_eq!(refused(&db, enroll(1, 2)).await, Reason::SemesterNotOpen);
    assert_eq!(refused(&db, book(1, 1)).await, Reason::NotEnrolled);
    assert_eq!(refused(&db, unenroll(1, 2)).await, Reason::SemesterNotOpen);
    db.assert_sound().await;
}

#[tokio::test]
async fn owners_can_open_it_again_and_it_can_be_cancelled_again() {
    let db = stage(2).await;
    applied(&db, cancel_semester(1)).await;
    db.run("update seatkeeper.semesters set status = 'ENROLLMENT_OPEN'").await;
    applied(&db, enroll(2, 1)).await;
    let again = applied(&db, cancel_semester(1)).await;
    assert_eq!(again, json!({"withdrawn": 1, "refunded": 0, "cancelled_bookings": 0}));
    let recorded: Vec<String> = db
        .value(
            r#"select array_agg((before ->> 'status') || '>' || (after ->> 'status') order by change_seq)
               from seatkeeper.catalog_changes where "table" = 'semesters' and before is not null"#,
        )
        .await;
    assert_eq!(recorded, ["CANCELLED>ENROLLMENT_OPEN"]);
    db.assert_sound().await;
}

#[tokio::test]
async fn who_enrolls_and_books_in_the_same_batch_leaves_with_the_others() {
    let db = stage(1).await;
    db.run("insert into seatkeeper.users (user_id) values (2)").await;
    session(&db, 1, 1, 48, 1).await;
    let ids: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    db.ask(ids[0], enroll(2, 1)).await;
    db.ask(ids[1], book(2, 1)).await;
    db.ask(ids[2], cancel_semester(1)).await;
    db.ask(ids[3], book(1, 1)).await;
    let turn = db.worker().turn().await;
    assert!(matches!(&turn, Turn::Answered(report) if report.told.len() == 4), "at the first try: {turn:?}");
    let result = db.receipt(ids[2]).await.result.unwrap();
    assert_eq!(result, json!({"withdrawn": 2, "refunded": 0, "cancelled_bookings": 1}));
    assert_eq!(db.receipt(ids[3]).await.reason, Some(Reason::NotEnrolled));
    assert_eq!(bookings(&db, 1).await, "2 CANCELLED semester_cancelled");
    db.assert_sound().await;
}
