//! Bad input in the table itself, past the doors: it fails for good, its neighbours are answered, the worker lives.

use std::time::Duration;

use proptest::prelude::*;
use seatkeeper_jobs::{Job, Kind, Request, enroll::Enroll};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{as_stored, has_nul, payloads, property};
use crate::support::TestDb;

/// A row of `seatkeeper.requests` as nobody but a superuser writes it.
#[derive(Debug, Clone)]
struct Stored {
    kind: Kind,
    payload: Value,
    lane: Option<i64>,
    user: Option<i64>,
}

async fn insert(db: &TestDb, id: Uuid, row: &Stored) {
    sqlx::query(
        "insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id)
         values ($1, $2, $3::text::jsonb, $4, $5)",
    )
    .bind(id)
    .bind(row.kind.as_str())
    .bind(row.payload.to_string())
    .bind(row.lane)
    .bind(row.user)
    .execute(&db.pool)
    .await
    .unwrap();
}

/// Works until nothing is ready, which must come to an end.
async fn drain(db: &TestDb) {
    tokio::time::timeout(Duration::from_secs(60), db.drain()).await.expect("the worker comes to an end");
}

/// (status, outcome, reason, lane, user, seq)
type Row = (String, Option<String>, Option<String>, Option<i64>, Option<i64>, i64);

async fn row(db: &TestDb, id: Uuid) -> Row {
    sqlx::query_as(
        "select status, outcome, reason, semester_id, user_id, seq from seatkeeper.requests where request_id = $1",
    )
    .bind(id)
    .fetch_one(&db.pool)
    .await
    .unwrap()
}

/// Ids that are there (1 to 3), and that are not.
fn any_place() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        2 => Just(None),
        4 => (1..=3_i64).prop_map(Some),
        1 => prop::sample::select(vec![Some(4), Some(i64::MAX)]),
    ]
}

fn any_stored() -> impl Strategy<Value = Stored> {
    let small = |payload: Value| {
        // Mostly about users and semesters that are there, so that lanes are shared.
        let mut payload = payload;
        for field in ["user_id", "semester_id"] {
            if let Some(id) = payload.get(field).and_then(Value::as_i64).filter(|id| *id > 3) {
                payload[field] = json!(id % 3 + 1);
            }
        }
        payload
    };
    let what = payloads::any_kind_and_payload().prop_map(move |(kind, payload)| (kind, small(payload)));
    (what, any_place(), any_place()).prop_filter_map("jsonb has no NUL", |((kind, payload), lane, user)| {
        (!has_nul(&payload)).then_some(Stored { kind, payload, lane, user })
    })
}

#[test]
fn any_stored_request_is_answered_or_fails_and_every_good_neighbour_is_answered() {
    let rows = prop::collection::vec(any_stored(), 1..40);
    property(30, &rows, async |db, rows| {
        // The runs share a database, but nothing that one of them left in the queue.
        db.run(
            "delete from seatkeeper.requests where status = 'queued';
             insert into seatkeeper.users (user_id) select generate_series(1, 3) on conflict do nothing;
             insert into seatkeeper.semesters (semester_id, code, status)
             select n, 'S' || n, 'ENROLLMENT_OPEN' from generate_series(1, 3) n on conflict do nothing",
        )
        .await;
        let mut asked = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let id = Uuid::now_v7();
            insert(db, id, row).await;
            let place = |id: usize| i64::try_from(id % 3 + 1).unwrap().try_into().unwrap();
            let semester_id = i64::try_from(number % 3 + 1).unwrap().try_into().unwrap();
            let neighbour = Uuid::now_v7();
            db.ask(neighbour, Enroll { user_id: place(number / 3), semester_id }).await;
            asked.push((id, neighbour));
        }
        drain(db).await;
        for ((id, neighbour), stored) in asked.into_iter().zip(&rows) {
            let neighbour = db.receipt(neighbour).await;
            assert!(neighbour.outcome.is_some(), "a good neighbour was answered: {neighbour:?}");

            let text = as_stored(db, &stored.payload.to_string()).await;
            let read = serde_json::from_str::<Value>(&text)
                .ok()
                .filter(|_| text.len() <= Request::MAX_PAYLOAD_BYTES);
            let job = read.and_then(|payload| Job::read(stored.kind, &payload).ok());
            let (status, outcome, reason, lane, user, _) = row(db, id).await;
            match job {
                Some(job) => {
                    assert_eq!((status.as_str(), outcome.is_some()), ("done", true), "{stored:?}");
                    assert_eq!(lane, job.semester_id().map(|id| id.get()), "{stored:?}");
                    assert_eq!(user, job.user_id().map(|id| id.get()), "{stored:?}");
                }
                None => {
                    assert_eq!(
                        (status.as_str(), reason.as_deref()),
                        ("failed", Some("invalid_payload")),
                        "{stored:?}"
                    );
                }
            }
        }
        db.assert_sound().await;
    });
}

#[tokio::test]
async fn stored_payloads_that_no_door_accepts_fail_at_once_with_their_reason() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    let payloads = [
        (
            "9,000 bytes of text",
            format!("'{{\"user_id\": 1, \"semester_id\": 1, \"x\": \"{}\"}}'", "x".repeat(9000)),
        ),
        ("10 MB", "to_jsonb(repeat('x', 10000000))".to_owned()),
        ("3,000 deep", format!("'{}{}'", "[".repeat(3000), "]".repeat(3000))),
        (
            "200 deep",
            format!("'{{\"user_id\": 1, \"semester_id\": {}{}}}'", "[".repeat(200), "]".repeat(200)),
        ),
        ("a number that no float holds", "'{\"user_id\": 1e400, \"semester_id\": 1}'".to_owned()),
        ("null", "'null'".to_owned()),
        ("an array", "'[1, 2]'".to_owned()),
        ("nothing", "'{}'".to_owned()),
    ];
    let mut ids = Vec::new();
    for kind in Kind::ALL {
        for (what, payload) in &payloads {
            let id = Uuid::now_v7();
            let sql = format!(
                "insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id)
                 values ('{id}', '{kind}', {payload}, 1, 1)"
            );
            sqlx::query(AssertSqlSafe(sql)).execute(&db.pool).await.unwrap();
            ids.push((*kind, *what, id));
        }
    }
    let good = Uuid::now_v7();
    db.ask(good, Enroll { user_id: 1.try_into().unwrap(), semester_id: 1.try_into().unwrap() }).await;
    drain(&db).await;
    for (kind, what, id) in ids {
        let (status, outcome, reason, ..) = row(&db, id).await;
        assert_eq!(
            (status.as_str(), outcome, reason.as_deref()),
            ("failed", None, Some("invalid_payload")),
            "{kind}: {what}"
        );
    }
    assert_eq!(row(&db, good).await.1.as_deref(), Some("applied"));
}

#[tokio::test]
async fn a_request_in_a_wrong_lane_moves_to_its_own_keeps_its_place_and_is_answered_there() {
    for lane in [Some(2), None, Some(99), Some(i64::MAX)] {
        for user in [None, Some(2), Some(i64::MAX)] {
            let db = TestDb::new().await;
            db.users(3).await;
            db.semester(1, Some(1), 0).await;
            db.semester(2, Some(1), 0).await;
            let (id, in_lane_2) = (Uuid::now_v7(), Uuid::now_v7());
            let payload = json!({"user_id": 1, "semester_id": 1});
            insert(&db, id, &Stored { kind: Kind::Enroll, payload, lane, user }).await;
            db.ask(in_lane_2, Enroll { user_id: 2.try_into().unwrap(), semester_id: 2.try_into().unwrap() })
                .await;
            let place = row(&db, id).await.5;
            drain(&db).await;
            let (status, outcome, reason, now_in, now_of, seq) = row(&db, id).await;
            assert_eq!((status.as_str(), reason), ("done", None), "lane {lane:?}, user {user:?}");
            assert_eq!(outcome.as_deref(), Some("applied"), "lane {lane:?}, user {user:?}");
            assert_eq!((now_in, now_of, seq), (Some(1), Some(1), place), "lane {lane:?}, user {user:?}");
            assert_eq!(
                row(&db, in_lane_2).await.1.as_deref(),
                Some("applied"),
                "the place of lane 2 is untouched"
            );
            db.assert_sound().await;
        }
    }
}

/// A lane is a positive number, and so is a user: no worker would look for another.
#[tokio::test]
async fn a_lane_that_no_worker_looks_for_cannot_be_stored() {
    let db = TestDb::new().await;
    for (lane, user) in [(0, 1), (-5, 1), (i64::MIN, 1), (1, 0), (1, -1)] {
        let sql = format!(
            "insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id)
             values (gen_random_uuid(), 'enroll', '{{\"user_id\": 1, \"semester_id\": 1}}', {lane}, {user})"
        );
        let error = sqlx::query(AssertSqlSafe(sql)).execute(&db.pool).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().constraint(), Some("chk_request_lane"));
    }
}

/// They wait for a version that knows them; meanwhile they are in nobody's way, however many lanes they are in.
#[tokio::test]
async fn requests_without_a_rule_in_this_version_stay_and_keep_no_other_lane_waiting() {
    let db = TestDb::new().await;
    // As a newer schema would allow it.
    db.run("alter domain seatkeeper.request_kind drop constraint chk_request_kind").await;
    db.users(1).await;
    db.run(
        "insert into seatkeeper.semesters (semester_id, code, status)
         select n, 'S' || n, 'ENROLLMENT_OPEN' from generate_series(1, 200) n",
    )
    .await;
    db.run(
        "insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id)
         select gen_random_uuid(), 'of_tomorrow', '{}', n, 1 from generate_series(1, 199) n",
    )
    .await;
    let good = Uuid::now_v7();
    db.ask(good, Enroll { user_id: 1.try_into().unwrap(), semester_id: 200.try_into().unwrap() }).await;
    drain(&db).await;
    assert_eq!(row(&db, good).await.1.as_deref(), Some("applied"));
    let left: i64 =
        db.value("select count(*) from seatkeeper.requests where status = 'queued' and attempts = 0").await;
    assert_eq!(left, 199);
}
