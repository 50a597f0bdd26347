//! Who was there.

use seatkeeper_jobs::Reason;
use seatkeeper_jobs::record_attendance::AttendanceStatus::{Absent, Late, Present};
use serde_json::json;

use super::{applied, attended, booked, refused, session, stage};

#[tokio::test]
async fn attendance_is_one_row_for_a_place_and_the_latest_word_counts() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 1).await;
    let id = booked(&db, 1, 1).await;
    booked(&db, 2, 1).await;
    assert_eq!(refused(&db, attended(1, 1, Present)).await, Reason::SessionNotStarted);
    db.run("update seatkeeper.sessions set starts_at = now() - interval '1 hour', ends_at = now()").await;
    db.drain().await;
    let first = applied(&db, attended(1, 1, Present)).await;
    assert_eq!(first, json!({"booking_id": id, "status": "present", "replaced": null}));
    assert_eq!(applied(&db, attended(1, 1, Late)).await["replaced"], "present");
    assert_eq!(applied(&db, attended(1, 1, Late)).await["replaced"], "late");
    let row: String = db
        .value(
            "select a.booking_id || ' ' || a.status || ' ' || (a.recorded_at = r.finished_at)::text
             from seatkeeper.attendance a join seatkeeper.requests r using (request_id)
             where r.answer_seq = (select max(answer_seq) from seatkeeper.requests where kind = 'record_attendance')",
        )
        .await;
    assert_eq!(row, format!("{id} late true"));
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.attendance").await, 1);

    // Who waits has no place to attend, and who never booked neither.
    assert_eq!(refused(&db, attended(2, 1, Absent)).await, Reason::BookingNotFound);
    assert_eq!(refused(&db, attended(3, 1, Absent)).await, Reason::BookingNotFound);
    assert_eq!(refused(&db, attended(1, 9, Absent)).await, Reason::SessionNotFound);
    db.assert_sound().await;
}
