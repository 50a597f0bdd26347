//! Sessions that have bookings: what a new timetable does to them, and what is refused.

use serde_json::{Value, json};

use super::{CSV_JSON, NDJSON, counts, import, lines};
use crate::support::TestDb;

/// Semester 1 with sessions 1, 2 and 3, an hour each, at 8, 10 and 12, one place each. User 1 has a place in 1 and 2 and
/// waits for 3, where user 2 has it.
async fn timetable() -> TestDb {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, None, 0).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
             select n, 1, '2031-01-01 06:00Z'::timestamptz + n * interval '2 hours',
                    '2031-01-01 07:00Z'::timestamptz + n * interval '2 hours', 1 from generate_series(1, 3) n;
         insert into seatkeeper.enrollments (user_id, semester_id, status, is_active)
             select u, 1, 'APPROVED', true from generate_series(1, 2) u;
         update seatkeeper.semesters set enrolled_count = 2;
         insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at)
             select v.user_id, v.session_id, v.status, s.starts_at, s.ends_at
             from (values (1, 1, 'CONFIRMED'), (1, 2, 'CONFIRMED'), (2, 3, 'CONFIRMED'), (1, 3, 'WAITLISTED'))
                 v (user_id, session_id, status)
             join seatkeeper.sessions s using (session_id);
         update seatkeeper.sessions set confirmed_count = 1",
    )
    .await;
    db
}

/// Bookings as [user, session, status], and whether each has the time of its session.
async fn bookings(db: &TestDb) -> (Value, bool) {
    let all = db
        .value(
            "select jsonb_agg(jsonb_build_array(user_id, session_id, status) order by session_id, user_id)
             from seatkeeper.bookings",
        )
        .await;
    let same = db
        .value(
            "select bool_and((b.starts_at, b.ends_at) = (s.starts_at, s.ends_at))
             from seatkeeper.bookings b join seatkeeper.sessions s using (session_id) where b.status <> 'CANCELLED'",
        )
        .await;
    (all, same)
}

fn at(session: i64, from: u32, to: u32) -> String {
    format!(
        "{{\"session_id\": {session}, \"starts_at\": \"2031-01-01T{from:02}:00:00Z\", \
         \"ends_at\": \"2031-01-01T{to:02}:00:00Z\"}}\n"
    )
}

#[tokio::test]
async fn a_timetable_is_moved_as_a_whole_and_takes_the_bookings_along() {
    let db = timetable().await;
    // The first two change places, and each goes by where the other was; only one of them has more columns to change.
    let file = "session_id,starts_at,ends_at,capacity\n\
        1,2031-01-01T10:00:00Z,2031-01-01T11:00:00Z,4\n\
        2,2031-01-01T08:00:00Z,2031-01-01T09:00:00Z,1\n";
    assert_eq!(counts(&db, "sessions", file).await, [0, 2, 0]);
    let kept = json!([[1, 1, "CONFIRMED"], [1, 2, "CONFIRMED"], [1, 3, "WAITLISTED"], [2, 3, "CONFIRMED"]]);
    assert_eq!(bookings(&db).await, (kept, true));
    let marked: Value = db.value("select jsonb_agg(distinct session_id) from seatkeeper.fill_marks").await;
    assert_eq!(marked, json!([1, 2]), "a worker looks whether somebody can move up");

    // A wait that comes to lie over a place of the same user is given up.
    let (exit, output, complaints) = import(&db, "sessions", NDJSON, at(3, 8, 9)).await;
    assert_eq!((exit, output.as_str()), (0, "sessions: 0 added, 1 changed, 0 unchanged\n"), "{complaints}");
    let because: String = db
        .value("select cancelled_because from seatkeeper.bookings where user_id = 1 and session_id = 3")
        .await;
    assert_eq!(because, "superseded");
    assert!(bookings(&db).await.1);
}

#[tokio::test]
async fn who_would_be_in_two_places_or_in_none_is_refused_by_line_and_field() {
    let db = timetable().await;
    let before = bookings(&db).await;
    for (file, complaint) in [
        (at(2, 8, 9), "line 1: starts_at: at this time somebody would be in two confirmed places at once"),
        (
            "{\"session_id\": 1, \"ends_at\": \"2031-01-01T10:30:00Z\"}\n".to_owned(),
            "line 1: ends_at: at this time somebody would be in two confirmed places at once",
        ),
        (
            "{\"session_id\": 1, \"capacity\": 0}\n".to_owned(),
            "line 1: capacity: below the number of confirmed bookings (confirmed_count)",
        ),
        (
            "{\"session_id\": 1, \"starts_at\": \"2031-01-01T09:00:00Z\"}\n".to_owned(),
            "line 1: starts_at: not before ends_at, which stays as it is",
        ),
        // The first line is right as soon as the second is done: only the one at fault is named.
        (
            at(1, 10, 11) + &at(2, 14, 15) + "{\"session_id\": 3, \"capacity\": 0}\n",
            "line 3: capacity: below the number of confirmed bookings (confirmed_count)",
        ),
    ] {
        let (exit, _, complaints) = import(&db, "sessions", NDJSON, &file).await;
        assert_eq!((exit, lines(&complaints)), (2, vec![complaint]), "{file}");
        assert!(complaints.contains("nothing was imported"), "{complaints}");
        assert_eq!(bookings(&db).await, before, "{file}");
    }
}

#[tokio::test]
async fn with_keep_going_the_good_lines_move_whatever_their_order() {
    let db = timetable().await;
    let file = at(1, 10, 11) + &at(2, 14, 15) + "{\"session_id\": 3, \"capacity\": 0}\n";
    let flags = ["--format", "ndjson", "--keep-going"];
    let (exit, output, complaints) = import(&db, "sessions", &flags, &file).await;
    assert_eq!((exit, output.as_str()), (2, "sessions: 0 added, 2 changed, 0 unchanged\n"));
    assert_eq!(
        lines(&complaints),
        ["line 3: capacity: below the number of confirmed bookings (confirmed_count)"]
    );
    assert!(bookings(&db).await.1);
}

#[tokio::test]
async fn more_places_go_to_who_waits_without_anybody_asking() {
    let db = timetable().await;
    let (exit, ..) = import(&db, "sessions", CSV_JSON, "session_id,capacity\n3,2\n").await;
    assert_eq!(exit, 0);
    db.drain().await;
    let kept = json!([[1, 1, "CONFIRMED"], [1, 2, "CONFIRMED"], [1, 3, "CONFIRMED"], [2, 3, "CONFIRMED"]]);
    assert_eq!(bookings(&db).await, (kept, true));
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.fill_marks").await, 0);
}
