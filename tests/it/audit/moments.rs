//! What an audit accepts because it was true of its moment, and where it has to stop.

use seatkeeper_jobs::Reason;

use super::{ask, assert_holds, audited, count, grant};
use crate::booking::{book, booked, enroll, refused, session, stage};
use crate::support::TestDb;

#[tokio::test]
async fn whoever_was_not_there_yet_was_not_found() {
    let db = TestDb::new().await;
    db.semester(1, Some(1), 5).await;
    db.users(1).await;
    assert_eq!(refused(&db, enroll(2, 1)).await, Reason::UserNotFound);
    db.run("insert into seatkeeper.users (user_id, is_active) values (2, false), (3, true)").await;
    assert_eq!(refused(&db, enroll(2, 1)).await, Reason::UserInactive);
    db.run("update seatkeeper.users set is_active = true where user_id = 2").await;
    ask(&db, [grant(2, 7), enroll(2, 1).into()]).await;
    assert_holds(&audited(&db).await);

    // But who was found once is not gone.
    db.run(
        "begin; set local session_replication_role = replica;
         update seatkeeper.requests set outcome = 'refused', reason = 'user_not_found', result = null
         where kind = 'enroll' and outcome = 'applied'; commit",
    )
    .await;
    assert_eq!(audited(&db).await.findings.len(), 1);
}

#[tokio::test]
async fn a_row_that_nobody_had_committed_yet_was_not_found() {
    let db = TestDb::new().await;
    db.users(1).await;
    let mut adding = db.pool.begin().await.unwrap();
    for sql in [
        "insert into seatkeeper.semesters (semester_id, code, status) values (1, 'S1', 'ENROLLMENT_OPEN')",
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (1, 1, now() + interval '3 days', now() + interval '4 days', 1)",
    ] {
        sqlx::query(sql).execute(&mut *adding).await.unwrap();
    }
    assert_eq!(refused(&db, enroll(1, 1)).await, Reason::SemesterNotFound);
    assert_eq!(refused(&db, book(1, 1)).await, Reason::SessionNotFound);
    adding.commit().await.unwrap();
    ask(&db, [enroll(1, 1).into(), book(1, 1).into()]).await;
    assert_eq!(count(&db, "bookings where status = 'CONFIRMED'").await, 1);
    assert_holds(&audited(&db).await);
}

#[tokio::test]
async fn it_stops_where_a_session_with_bookings_is_moved() {
    let db = stage(2).await;
    session(&db, 1, 1, 48, 1).await;
    // Nobody is in it: there is nothing to follow.
    db.run("update seatkeeper.sessions set starts_at = starts_at + interval '10 minutes'").await;
    booked(&db, 1, 1).await;
    assert_holds(&audited(&db).await);
    db.run("update seatkeeper.sessions set starts_at = starts_at + interval '10 minutes'").await;
    db.drain().await;
    let audit = audited(&db).await;
    assert!(!audit.holds() && audit.findings.is_empty());
    let told = audit.not_covered.unwrap().to_string();
    assert!(told.contains("session 1 was moved"), "{told}");
}

#[tokio::test]
async fn it_does_not_begin_where_answers_are_gone() {
    let db = stage(1).await;
    db.run(
        "insert into seatkeeper.request_tombstones
             (request_id, kind, payload_digest, status, outcome, enqueued_at, finished_at)
         values (gen_random_uuid(), 'enroll', '', 'done', 'applied', now(), now())",
    )
    .await;
    let audit = audited(&db).await;
    assert_eq!((audit.answers, audit.not_covered.unwrap().seq), (0, None));
}
