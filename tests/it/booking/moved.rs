//! What owners change on sessions, and what follows.

use seatkeeper_jobs::Reason;
use serde_json::json;

use super::{applied, book, booked, bookings, cancel, enroll_all, fills, refused, session, stage, unenroll};
use crate::support::TestDb;

/// The constraint that refuses the statement.
async fn refused_by(db: &TestDb, sql: &'static str) -> String {
    let error = sqlx::query(sql).execute(&db.pool).await.expect_err("it was let through");
    error.as_database_error().and_then(|error| error.constraint()).unwrap_or("none").to_owned()
}

#[tokio::test]
async fn a_moved_session_takes_its_bookings_along() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 1, 72, 1).await;
    for user in 1..=2 {
        booked(&db, user, 1).await;
    }
    applied(&db, cancel(2, 1)).await;
    booked(&db, 3, 1).await;
    db.run("update seatkeeper.sessions set starts_at = starts_at + interval '2 hours', ends_at = ends_at + interval '2 hours' where session_id = 1")
        .await;
    db.drain().await;
    let with_it: Vec<bool> = db
        .value(
            "select array_agg(b.starts_at = s.starts_at and b.ends_at = s.ends_at order by b.user_id)
             from seatkeeper.bookings b join seatkeeper.sessions s using (session_id)",
        )
        .await;
    assert_eq!(with_it, [true, false, true], "a cancelled booking says what it was for");
    // The guard follows: at the new time there is no other place for the holder.
    session(&db, 3, 1, 50, 1).await;
    assert_eq!(refused(&db, book(1, 3)).await, Reason::ScheduleConflict);
    db.assert_sound().await;
}

#[tokio::test]
async fn a_move_that_puts_somebody_in_two_places_is_refused_and_a_swap_is_not() {
    let db = stage(1).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 1, 72, 1).await;
    booked(&db, 1, 1).await;
    booked(&db, 1, 2).await;
    let onto = "update seatkeeper.sessions s set starts_at = o.starts_at, ends_at = o.ends_at
                from seatkeeper.sessions o where s.session_id = 1 and o.session_id = 2";
    assert_eq!(refused_by(&db, onto).await, "xcl_no_overlapping_confirmed_bookings");
    let before: i64 = db.value("select count(*) from seatkeeper.catalog_changes").await;
    db.run(
        "update seatkeeper.sessions s set starts_at = o.starts_at, ends_at = o.ends_at
            from seatkeeper.sessions o where s.session_id <> o.session_id",
    )
    .await;
    db.drain().await;
    assert_eq!(bookings(&db, 1).await + &bookings(&db, 2).await, "1 CONFIRMED1 CONFIRMED");
    // Both at once, and recorded so.
    let rows: Vec<(i64, bool)> = sqlx::query_as(
        r#"select key, statement_seq = min(change_seq) over () from seatkeeper.catalog_changes
           where "table" = 'sessions' and before is not null order by change_seq"#,
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(rows, [(1, true), (2, true)]);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.catalog_changes").await, before + 2);
    db.assert_sound().await;
}

#[tokio::test]
async fn waits_that_now_overlap_a_place_are_given_up() {
    let db = stage(3).await;
    db.semester(2, None, 0).await;
    enroll_all(&db, [1], 2).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 2, 72, 1).await;
    session(&db, 3, 1, 96, 1).await;
    booked(&db, 2, 1).await;
    booked(&db, 3, 3).await;
    booked(&db, 1, 2).await;
    booked(&db, 1, 1).await;
    booked(&db, 1, 3).await;
    // The wait moves onto the place, in another semester.
    db.run("update seatkeeper.sessions set starts_at = starts_at + interval '24 hours', ends_at = ends_at + interval '24 hours' where session_id = 1")
        .await;
    assert_eq!(bookings(&db, 1).await, "2 CONFIRMED, 1 CANCELLED superseded");
    // The place moves onto the wait.
    db.run("update seatkeeper.sessions set starts_at = starts_at + interval '24 hours', ends_at = ends_at + interval '24 hours' where session_id = 2")
        .await;
    assert_eq!(bookings(&db, 3).await, "3 CONFIRMED, 1 CANCELLED superseded");
    assert_eq!(bookings(&db, 2).await, "1 CONFIRMED");
    let at: bool = db
        .value(
            r#"select bool_and(exists (select from seatkeeper.catalog_changes c where c.changed_at = b.cancelled_at))
               from seatkeeper.bookings b where b.status = 'CANCELLED'"#,
        )
        .await;
    assert!(at, "at the instant of the change");
    db.drain().await;
    db.assert_sound().await;
}

/// Red without: the first update in `move_bookings` (INV-B06).
#[tokio::test]
async fn who_left_after_the_start_does_not_come_back_when_the_start_is_put_off() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 1).await;
    for user in 1..=3 {
        booked(&db, user, 1).await;
    }
    let to = |hours: i64| {
        format!(
            "update seatkeeper.sessions set starts_at = now() + interval '{hours} hours', ends_at = now() + interval '{} hours'",
            hours + 1
        )
    };
    db.run(&to(-2)).await;
    db.drain().await;
    applied(&db, unenroll(1, 1)).await;
    applied(&db, unenroll(2, 1)).await;
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED, 2 WAITLISTED, 3 WAITLISTED");
    db.run(&to(48)).await;
    assert_eq!(bookings(&db, 1).await, "1 CANCELLED unenrolled, 2 CANCELLED unenrolled, 3 WAITLISTED");
    db.drain().await;
    assert!(bookings(&db, 1).await.ends_with("3 CONFIRMED"));
    assert_eq!(fills(&db).await.len(), 1);
    db.assert_sound().await;
}

#[tokio::test]
async fn a_cancelled_session_keeps_its_queue_and_goes_on_where_it_was() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 1).await;
    for user in 1..=2 {
        booked(&db, user, 1).await;
    }
    db.run("update seatkeeper.sessions set status = 'CANCELLED'").await;
    db.drain().await;
    assert_eq!(refused(&db, book(3, 1)).await, Reason::SessionCancelled);
    assert_eq!(applied(&db, cancel(1, 1)).await["promoted_bookings"], json!([]));
    assert_eq!(bookings(&db, 1).await, "1 CANCELLED requested, 2 WAITLISTED");
    db.run("update seatkeeper.sessions set status = 'SCHEDULED'").await;
    db.drain().await;
    assert_eq!(bookings(&db, 1).await, "1 CANCELLED requested, 2 CONFIRMED");
    db.assert_sound().await;
}

#[tokio::test]
async fn a_session_stays_in_its_semester_and_keeps_its_name() {
    let db = stage(0).await;
    db.semester(2, None, 0).await;
    session(&db, 1, 1, 48, 1).await;
    let to_another = "update seatkeeper.sessions set semester_id = 2";
    assert_eq!(refused_by(&db, to_another).await, "trg_session_semester_for_good");
    assert_eq!(
        refused_by(&db, "update seatkeeper.sessions set session_id = 5").await,
        "trg_session_id_for_good"
    );
}
