//! What is shown of a place in a session: the booking as it is now, and why it has not moved.

use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::record_attendance::{AttendanceStatus, RecordAttendance};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ask_all, cli_ends, cli_json};
use crate::support::TestDb;

const SESSION: i64 = 7;

fn book(user: i64) -> Book {
    Book { user_id: user.try_into().unwrap(), session_id: SESSION.try_into().unwrap() }
}

/// Four users who are enrolled in semester 2; its session 7 has one place, and those of `users` have asked for it.
async fn booked(users: &[i64]) -> (TestDb, Vec<Uuid>) {
    let db = TestDb::new().await;
    db.users(4).await;
    db.semester(2, None, 0).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (7, 2, now() + interval '9 days', now() + interval '9 days 1 hour', 1)",
    )
    .await;
    ask_all(&db, 1..=4, 2).await;
    let mut ids = Vec::new();
    for user in users {
        let id = Uuid::now_v7();
        db.ask(id, book(*user)).await;
        ids.push(id);
    }
    db.drain().await;
    (db, ids)
}

async fn story(db: &TestDb, id: Uuid) -> Value {
    cli_json(&db.url, &["requests", "show", &id.to_string()], 0).await
}

async fn text(db: &TestDb, id: Uuid) -> String {
    cli_ends(&db.url, &["requests", "show", &id.to_string()], 0).await
}

async fn kept_by(db: &TestDb, id: Uuid) -> Value {
    story(db, id).await["booking"]["kept_waiting_by"].clone()
}

#[tokio::test]
async fn a_booking_that_waits_says_what_for() {
    let (db, ids) = booked(&[1, 2, 3]).await;
    let (second, third) = (ids[1], ids[2]);
    let shown = story(&db, third).await;
    let (booking, session) = (&shown["booking"], &shown["session"]);
    assert_eq!((&booking["user_id"], &booking["status"]), (&json!(3), &json!("WAITLISTED")));
    assert_eq!((&booking["waitlist_position"], &booking["able_before"]), (&json!(2), &json!(1)));
    assert_eq!(booking["kept_waiting_by"], json!(["session_full"]));
    assert_eq!(
        (&session["capacity"], &session["confirmed_count"], &session["waiting"]),
        (&json!(1), &json!(1), &json!(2))
    );
    let shown = text(&db, third).await;
    for words in ["1 of 1 places taken, 2 waiting", "2 in the waitlist of 2", "for a place: 1 of 1 are taken"]
    {
        assert!(shown.contains(words), "{words}\n{shown}");
    }

    db.run("update seatkeeper.users set is_active = false where user_id = 3").await;
    assert_eq!(kept_by(&db, third).await, json!(["user_inactive", "session_full"]));
    db.run("update seatkeeper.users set is_active = true where user_id = 3").await;
    db.drain().await;

    // Nobody has looked at the new place yet.
    db.run("update seatkeeper.sessions set capacity = 2").await;
    assert_eq!(kept_by(&db, second).await, json!(["fill_pending"]));
    assert_eq!(kept_by(&db, third).await, json!(["others_first", "fill_pending"]));
    let pause = ["pause", "--semester", "2", "--reason", "hall is flooded", "--operator", "erika"];
    cli_ends(&db.url, &pause, 0).await;
    assert_eq!(kept_by(&db, second).await, json!(["paused", "fill_pending"]));
    let shown = text(&db, second).await;
    assert!(shown.contains("semester 2 is paused") && shown.contains("marked for filling since"), "{shown}");
    cli_ends(&db.url, &["resume", "--semester", "2", "--reason", "dry again", "--operator", "erika"], 0)
        .await;
    db.drain().await;
    let shown = story(&db, second).await;
    assert_eq!(shown["booking"]["status"], "CONFIRMED");
    assert!(shown["booking"]["promoted_at"].is_string());
    assert_eq!(shown["booking"]["kept_waiting_by"], json!([]));
    assert_eq!(shown["result"]["status"], "WAITLISTED", "the answer is the one of its moment");

    db.run("update seatkeeper.sessions set status = 'CANCELLED'").await;
    assert_eq!(kept_by(&db, third).await, json!(["session_cancelled", "session_full"]));
    db.run("update seatkeeper.sessions set status = 'SCHEDULED', starts_at = now() - interval '1 minute'")
        .await;
    assert_eq!(kept_by(&db, third).await, json!(["session_started", "session_full"]));
    assert!(text(&db, third).await.contains("in vain: the session has started"));
}

#[tokio::test]
async fn a_booking_without_an_enrollment_is_passed_over() {
    let (db, _) = booked(&[1]).await;
    // As an import leaves it behind: no request, and no enrollment.
    db.run(
        "insert into seatkeeper.users (user_id) values (5);
         insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at)
         select 5, session_id, 'WAITLISTED', starts_at, ends_at from seatkeeper.sessions",
    )
    .await;
    let again = Uuid::now_v7();
    db.ask(again, book(5)).await;
    // Not answered yet: the live booking of its user is told all the same.
    assert_eq!(kept_by(&db, again).await, json!(["not_enrolled", "session_full"]));
    db.ask(Uuid::now_v7(), book(4)).await;
    let shown = text(&db, again).await;
    assert!(shown.contains("user 5 has no active enrollment in semester 2"), "{shown}");
    assert!(shown.contains("waits       for nobody: it is next"), "{shown}");
}

#[tokio::test]
async fn who_has_a_place_at_that_time_is_passed_over_and_keeps_nobody_waiting() {
    let (db, ids) = booked(&[1, 2, 3]).await;
    // By hand: a wait is given up when its user gets a place at that time.
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         select 8, 2, starts_at, ends_at, 1 from seatkeeper.sessions;
         insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at)
         select 2, session_id, 'CONFIRMED', starts_at, ends_at from seatkeeper.sessions where session_id = 8;
         update seatkeeper.sessions set capacity = 2 where session_id = 7",
    )
    .await;
    assert_eq!(kept_by(&db, ids[1]).await, json!(["place_elsewhere", "fill_pending"]));
    assert_eq!(kept_by(&db, ids[2]).await, json!(["fill_pending"]));
    assert!(text(&db, ids[1]).await.contains("user 2 has a place at that time elsewhere"));
    db.drain().await;
    assert_eq!(story(&db, ids[2]).await["booking"]["status"], "CONFIRMED");
}

#[tokio::test]
async fn what_became_of_a_booking_is_told_by_every_request_about_it() {
    let (db, ids) = booked(&[1, 2]).await;
    let booking = story(&db, ids[0]).await["booking"]["booking_id"].as_i64().unwrap();
    let (cancel, late) = (Uuid::now_v7(), Uuid::now_v7());
    let which = Which::BookingId(booking.try_into().unwrap());
    db.ask(cancel, CancelBooking { user_id: 1.try_into().unwrap(), which }).await;
    db.drain().await;
    db.run("update seatkeeper.sessions set starts_at = now() - interval '1 minute'").await;
    let attendance = RecordAttendance {
        user_id: 2.try_into().unwrap(),
        session_id: SESSION.try_into().unwrap(),
        status: AttendanceStatus::Late,
    };
    db.ask(late, attendance).await;
    db.drain().await;

    for id in [ids[0], cancel] {
        let shown = story(&db, id).await;
        assert_eq!(shown["booking"]["booking_id"], booking);
        assert_eq!(shown["booking"]["cancelled_because"], "requested");
        assert_eq!(shown["session"]["session_id"], SESSION);
        let shown = text(&db, id).await;
        assert!(shown.contains("now CANCELLED") && shown.contains("it was asked for"), "{shown}");
    }
    let shown = story(&db, late).await;
    assert_eq!((&shown["booking"]["user_id"], &shown["booking"]["attendance"]), (&json!(2), &json!("late")));
    assert!(text(&db, late).await.contains("late, recorded"));

    let (nowhere, unknown) = (Uuid::now_v7(), Uuid::now_v7());
    db.run(&format!(
        "select seatkeeper.enqueue('{nowhere}', 'book', '{{\"user_id\": 1, \"session_id\": 99}}');
         select seatkeeper.enqueue('{unknown}', 'cancel_booking', '{{\"user_id\": 1, \"booking_id\": 99}}')"
    ))
    .await;
    assert!(text(&db, nowhere).await.contains("session     99: there is none"));
    assert!(text(&db, unknown).await.contains("booking     99: there is none"));
    assert_eq!(story(&db, nowhere).await["session"], Value::Null);
}

#[tokio::test]
async fn a_booking_that_was_refused_names_the_place_at_that_time() {
    let (db, _) = booked(&[1]).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         select 8, 2, starts_at + interval '30 minutes', ends_at + interval '1 hour', 1 from seatkeeper.sessions
         union all select 9, 2, ends_at, ends_at + interval '1 hour', 1 from seatkeeper.sessions",
    )
    .await;
    let ask = async |session: i64| {
        let id = Uuid::now_v7();
        let session_id = session.try_into().unwrap();
        db.ask(id, Book { user_id: 1.try_into().unwrap(), session_id }).await;
        db.drain().await;
        story(&db, id).await
    };
    let refused = ask(8).await;
    assert_eq!(refused["reason"], "schedule_conflict");
    assert_eq!(refused["conflicts"][0]["session_id"], SESSION);
    assert_eq!(refused["booking"], Value::Null);
    let shown = text(&db, refused["request_id"].as_str().unwrap().parse().unwrap()).await;
    assert!(shown.contains("of session 7, CONFIRMED"), "{shown}");
    let touching = ask(9).await;
    assert_eq!((&touching["outcome"], &touching["conflicts"]), (&json!("applied"), &json!([])));
}

#[tokio::test]
async fn a_list_by_session_has_every_kind_of_request_about_it() {
    let (db, ids) = booked(&[1, 2]).await;
    let booking: i64 = db.value("select booking_id from seatkeeper.bookings where user_id = 1").await;
    let asked = [
        ("cancel_booking", json!({ "user_id": 1, "booking_id": booking })),
        ("cancel_booking", json!({ "user_id": 2, "session_id": SESSION })),
        ("record_attendance", json!({ "user_id": 2, "session_id": SESSION, "status": "absent" })),
    ];
    let mut expected: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    for (kind, payload) in asked {
        let id = Uuid::now_v7();
        db.run(&format!("select seatkeeper.enqueue('{id}', '{kind}', '{payload}')")).await;
        expected.push(id.to_string());
    }
    expected.reverse();
    let listed = cli_ends(&db.url, &["requests", "list", "--session", "7", "--json"], 0).await;
    let listed: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["request_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, expected);
    // What is about the session can be withdrawn together.
    let cancel =
        ["requests", "cancel", "--session", "7", "--yes", "--reason", "flood", "--operator", "erika"];
    cli_ends(&db.url, &cancel, 0).await;
    let cancelled: i64 =
        db.value("select count(*) from seatkeeper.requests where status = 'cancelled'").await;
    assert_eq!(cancelled, 3);
}
