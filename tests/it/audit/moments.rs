//! What an audit accepts because it was true of its moment, and where it has to stop.

use seatkeeper_jobs::Reason;

use super::{ask, assert_holds, audited, count, grant};
use crate::booking::{book, enroll, refused, session, stage, unenroll};
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
async fn bookings_follow_a_session_that_is_moved() {
    let db = stage(3).await;
    db.semester(2, None, 0).await;
    for (id, semester, hours, capacity) in [(1, 1, 48, 2), (2, 2, 72, 1)] {
        session(&db, id, semester, hours, capacity).await;
    }
    // Nobody is in it: there is nothing to follow.
    db.run(
        "update seatkeeper.sessions set starts_at = starts_at + interval '10 minutes' where session_id = 1",
    )
    .await;
    ask(&db, [1, 2].map(|user| enroll(user, 2).into())).await;
    // User 1 has a place in the first session and waits for the second, whose place user 2 has.
    ask(&db, [book(2, 2).into(), book(1, 2).into(), book(1, 1).into(), book(3, 1).into()]).await;
    assert_eq!(count(&db, "bookings where status = 'WAITLISTED'").await, 1);
    assert_holds(&audited(&db).await);
    // Both in one statement, onto each other: user 1's wait is superseded. What moved takes its bookings along.
    db.run(
        "update seatkeeper.sessions set starts_at = t, ends_at = t + interval '1 hour'
         from (select date_trunc('hour', now()) + interval '90 hours') n (t)",
    )
    .await;
    db.drain().await;
    assert_eq!(count(&db, "bookings where cancelled_because = 'superseded'").await, 1);
    assert_holds(&audited(&db).await);

    // It starts, user 3 leaves and keeps the booking; then it is to start once more.
    db.run("update seatkeeper.sessions set starts_at = now() - interval '1 minute' where session_id = 1")
        .await;
    ask(&db, [unenroll(3, 1).into()]).await;
    assert_eq!(count(&db, "bookings where user_id = 3 and status = 'CONFIRMED'").await, 1);
    db.run(
        "update seatkeeper.sessions set starts_at = starts_at + interval '50 hours', ends_at = ends_at + interval '50 hours'
         where session_id = 1",
    )
    .await;
    db.drain().await;
    assert_eq!(count(&db, "bookings where user_id = 3 and cancelled_because = 'unenrolled'").await, 1);
    db.assert_follows().await;
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
