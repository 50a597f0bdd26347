//! What is stored, what comes back, and what comes back again.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Kind, Outcome, Receipt, Status, postgres as door};
use serde_json::json;
use sqlx::Connection;
use uuid::Uuid;

use super::{enroll, grant, stored};
use crate::support::TestDb;
use crate::support::plain_sql::{Ask, Door, send_many};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_request_is_stored_as_it_was_asked() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let ask = |id| Ask {
        run_at: Some("2999-01-01T00:00:00Z".into()),
        expires_at: Some("2999-01-02T00:00:00Z".into()),
        producer: Some("é".repeat(200)),
        traceparent: Some(TRACE.into()),
        ..Ask::new(id, "enroll", json!({"user_id": 7, "semester_id": 3}))
    };
    let (one, many) = (Uuid::now_v7(), Uuid::now_v7());
    let first = ask(one).send(&mut connection).await.unwrap();
    let second = send_many(&mut connection, &[ask(many)]).await.unwrap().remove(0);
    for (id, receipt) in [(one, first), (many, second)] {
        assert_eq!((receipt.request_id, receipt.kind, receipt.duplicate), (id, Kind::Enroll, false));
        assert_eq!((receipt.status, receipt.outcome, receipt.reason), (Status::Queued, None, None));
        assert_eq!((receipt.result, receipt.finished_at, receipt.attempts), (None, None, 0));
        let as_asked: bool = db
            .value(&format!(
                "select kind = 'enroll' and payload = '{{\"user_id\": 7, \"semester_id\": 3}}' and status = 'queued'
                     and producer = repeat('é', 200) and traceparent = '{TRACE}' and attempts = 0
                     and run_at = '2999-01-01 00:00Z' and expires_at = '2999-01-02 00:00Z' and hold = 'scheduled'
                     and semester_id = 3 and user_id = 7
                     and num_nulls(outcome, reason, result, finished_at, answer_seq, last_error) = 6
                     and enqueued_at between clock_timestamp() - interval '1 minute' and clock_timestamp()
                 from seatkeeper.requests where request_id = '{id}'"
            ))
            .await;
        assert!(as_asked, "the row of {id}");
        let stored_at: DateTime<Utc> =
            db.value(&format!("select enqueued_at from seatkeeper.requests where request_id = '{id}'")).await;
        assert_eq!(receipt.enqueued_at, stored_at);
    }
}

#[tokio::test]
async fn the_same_request_through_any_door_gets_the_receipt_of_the_first() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    for first in Door::ALL {
        let (id, job) = (Uuid::now_v7(), enroll(7));
        let receipt = first.send(&mut connection, id, &job).await.unwrap();
        assert!(!receipt.duplicate, "{first:?}");
        for again in Door::ALL {
            let repeated = again.send(&mut connection, id, &job).await.unwrap();
            assert_eq!(repeated, Receipt { duplicate: true, ..receipt.clone() }, "{first:?}, then {again:?}");
        }
    }
    assert_eq!(stored(&db).await, 4, "one row for each ID");
    let counted: i64 = db.value("select last_value from seatkeeper.duplicates_seq").await;
    assert_eq!(counted, 16, "each duplicate is counted once");
}

#[tokio::test]
async fn a_duplicate_gets_the_receipt_as_it_is_now() {
    let db = TestDb::new().await;
    db.users(1).await;
    let (id, job) = (Uuid::now_v7(), grant(1, 50));
    db.ask(id, job.clone()).await;
    db.drain().await;
    let mut connection = db.pool.acquire().await.unwrap();
    for door in Door::ALL {
        let receipt = door.send(&mut connection, id, &job).await.unwrap();
        assert!(receipt.duplicate, "{door:?}");
        assert_eq!((receipt.status, receipt.outcome), (Status::Done, Some(Outcome::Applied)), "{door:?}");
        assert_eq!(receipt.result, Some(json!({"balance": 50})), "{door:?}");
        assert!(receipt.finished_at.is_some() && receipt.attempts == 1, "{door:?}");
    }
}

#[tokio::test]
async fn the_order_of_keys_and_white_space_make_no_other_request_and_the_first_run_at_stays() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let id = Uuid::now_v7();
    let first = Ask {
        producer: Some("first".into()),
        ..Ask::new(id, "enroll", r#"{"user_id": 7, "semester_id": 3}"#)
    };
    first.send(&mut connection).await.unwrap();
    let again = Ask {
        run_at: Some("2999-01-01T00:00:00Z".into()),
        expires_at: Some("2999-01-01T00:00:00Z".into()),
        producer: Some("second".into()),
        traceparent: Some(TRACE.into()),
        ..Ask::new(id, "enroll", " {\"semester_id\":\n3 ,\t\"user_id\":7}")
    };
    assert!(again.send(&mut connection).await.unwrap().duplicate);
    assert!(send_many(&mut connection, &[again]).await.unwrap()[0].duplicate);
    let unchanged: bool = db
        .value(
            "select producer = 'first' and num_nulls(run_at, expires_at, traceparent, hold) = 4
             from seatkeeper.requests",
        )
        .await;
    assert!(unchanged);
}

#[tokio::test]
async fn a_known_id_with_anything_else_is_a_conflict_that_names_the_id_alone_and_is_counted() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let id = Uuid::now_v7();
    db.ask(id, enroll(7)).await;
    for door in Door::ALL {
        for job in [enroll(8), grant(7, 424_242)] {
            let refusal = door.send(&mut connection, id, &job).await.unwrap_err();
            assert_eq!(refusal.what(), ("RC409", id.to_string().as_str()), "{door:?}");
            assert!(!refusal.message.contains("424242"), "the payload is not echoed: {refusal:?}");
        }
    }
    let counted: i64 = db.value("select last_value from seatkeeper.conflicts_seq").await;
    assert_eq!(counted, 8, "counted although each was rolled back");
    assert_eq!(stored(&db).await, 1);
}

#[tokio::test]
async fn a_known_id_is_looked_up_before_anything_is_validated() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let id = Uuid::now_v7();
    let payload = json!({"user_id": 7, "semester_id": 1});
    db.ask(id, enroll(7)).await;

    let others = [
        Ask::new(id, "enroll", json!({"user_id": null})),
        Ask::new(id, "enroll", json!([])),
        Ask::new(id, "enroll", json!({"x": "x".repeat(9000)})),
        Ask::new(id, "no_such_kind", &payload),
        Ask { payload: None, ..Ask::new(id, "enroll", "") },
    ];
    for ask in others {
        assert_eq!(ask.send(&mut connection).await.unwrap_err().code, "RC409", "{ask:.200?}");
        assert_eq!(send_many(&mut connection, &[ask]).await.unwrap_err().code, "RC409");
    }
    let no_kind = Ask { kind: None, ..Ask::new(id, "", &payload) };
    assert_eq!(no_kind.send(&mut connection).await.unwrap_err().code, "RC409");

    let same = Ask {
        run_at: Some("infinity".into()),
        expires_at: Some("-infinity".into()),
        producer: Some("x".repeat(1000)),
        traceparent: Some("nonsense".into()),
        ..Ask::new(id, "enroll", &payload)
    };
    assert!(same.send(&mut connection).await.unwrap().duplicate);
    assert!(send_many(&mut connection, &[same]).await.unwrap()[0].duplicate);
}

#[tokio::test]
async fn a_rollback_leaves_nothing_and_a_commit_everything() {
    let db = TestDb::new().await;
    for door in Door::ALL {
        let (whole, part, kept) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let mut transaction = db.pool.begin().await.unwrap();
        assert!(!door.send(&mut transaction, whole, &enroll(7)).await.unwrap().duplicate);
        transaction.rollback().await.unwrap();

        let mut transaction = db.pool.begin().await.unwrap();
        assert!(!door.send(&mut transaction, kept, &enroll(7)).await.unwrap().duplicate);
        let mut savepoint = transaction.begin().await.unwrap();
        assert!(!door.send(&mut savepoint, part, &enroll(7)).await.unwrap().duplicate);
        savepoint.rollback().await.unwrap();
        transaction.commit().await.unwrap();

        let mut connection = db.pool.acquire().await.unwrap();
        let known = door::get_receipts(&mut connection, &[whole, part, kept]).await.unwrap();
        assert_eq!(known.iter().map(|receipt| receipt.request_id).collect::<Vec<_>>(), [kept], "{door:?}");
        assert!(!door.send(&mut connection, whole, &grant(1, 1)).await.unwrap().duplicate, "never was");
    }
}

#[tokio::test]
async fn an_unknown_id_has_no_receipt_and_many_receipts_come_in_the_order_of_the_ids() {
    let db = TestDb::new().await;
    let (first, second, unknown) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    db.ask(first, enroll(1)).await;
    db.ask(second, enroll(2)).await;
    let mut connection = db.pool.acquire().await.unwrap();
    assert_eq!(door::get_receipt(&mut connection, unknown).await.unwrap(), None);
    let is_null: bool = db.value(&format!("select seatkeeper.get_receipt('{unknown}') is null")).await;
    assert!(is_null);
    let null: bool = db.value("select seatkeeper.get_receipt(null) is null").await;
    assert!(null);

    let receipt = door::get_receipt(&mut connection, first).await.unwrap().unwrap();
    assert!(!receipt.duplicate && receipt.request_id == first && receipt.status == Status::Queued);
    let receipts = door::get_receipts(&mut connection, &[second, unknown, first, second]).await.unwrap();
    let ids: Vec<Uuid> = receipts.iter().map(|receipt| receipt.request_id).collect();
    assert_eq!(ids, [second, first, second]);
    assert_eq!(door::get_receipts(&mut connection, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_booking_and_a_balance_can_be_read_and_are_null_when_there_is_none() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, None, 0).await;
    db.run(
        "update seatkeeper.users set credit_balance = 9223372036854775807 where user_id = 2;
         insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (5, 1, '2999-01-01 10:00Z', '2999-01-01 11:00Z', 0);
         insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at, cancelled_at, cancelled_because)
         select b.id, b.id, 5, b.status, '2999-01-01 10:00Z', '2999-01-01 11:00Z',
                case when b.status = 'CANCELLED' then clock_timestamp() end,
                case when b.status = 'CANCELLED' then 'requested' end
         from (values (1, 'CANCELLED'), (2, 'WAITLISTED'), (3, 'WAITLISTED')) b (id, status)",
    )
    .await;
    let booking = |id: i64| {
        let sql = format!(
            "select concat_ws(' ', booking_id, user_id, session_id, status, waitlist_position, cancelled_because,
                              booked_at is not null, promoted_at is null, cancelled_at is null)
             from seatkeeper.get_booking({id})"
        );
        let db = &db;
        async move { db.value::<String>(&sql).await }
    };
    assert_eq!(booking(1).await, "1 1 5 CANCELLED requested t t f");
    assert_eq!(booking(2).await, "2 2 5 WAITLISTED 1 t t t");
    assert_eq!(booking(3).await, "3 3 5 WAITLISTED 2 t t t");
    let none: bool = db.value("select seatkeeper.get_booking(99) is null").await;
    assert!(none);

    assert_eq!(db.value::<Option<i64>>("select seatkeeper.get_balance(1)").await, Some(0));
    assert_eq!(db.value::<Option<i64>>("select seatkeeper.get_balance(2)").await, Some(i64::MAX));
    assert_eq!(db.value::<Option<i64>>("select seatkeeper.get_balance(99)").await, None);
    assert_eq!(db.value::<Option<i64>>("select seatkeeper.get_balance(null)").await, None);
}

#[tokio::test]
async fn what_retention_left_of_a_request_is_still_recognised() {
    let db = TestDb::new().await;
    db.users(1).await;
    let (id, job) = (Uuid::now_v7(), grant(1, 50));
    db.ask(id, job.clone()).await;
    db.drain().await;
    // As retention does it: the digest is that of the payload's jsonb text.
    db.run(
        "insert into seatkeeper.request_tombstones
             (request_id, kind, payload_digest, status, outcome, reason, attempts, enqueued_at, finished_at)
         select request_id, kind, sha256(convert_to(payload::text, 'UTF8')), status, outcome, reason, attempts,
                enqueued_at, finished_at from seatkeeper.requests;
         delete from seatkeeper.requests",
    )
    .await;
    let mut connection = db.pool.acquire().await.unwrap();
    for door in Door::ALL {
        let receipt = door.send(&mut connection, id, &job).await.unwrap();
        assert!(receipt.duplicate, "{door:?}");
        assert_eq!((receipt.status, receipt.outcome), (Status::Done, Some(Outcome::Applied)), "{door:?}");
        assert_eq!((receipt.result, receipt.attempts), (None, 1), "{door:?}");
        for other in [grant(1, 51), enroll(1)] {
            let refusal = door.send(&mut connection, id, &other).await.unwrap_err();
            assert_eq!(refusal.what(), ("RC409", id.to_string().as_str()), "{door:?}");
        }
    }
    let malformed = Ask::new(id, "grant_credits", "{}");
    assert_eq!(malformed.send(&mut connection).await.unwrap_err().code, "RC409");
    assert_eq!(send_many(&mut connection, &[malformed]).await.unwrap_err().code, "RC409");
    assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));
    let known = door::get_receipts(&mut connection, &[id]).await.unwrap();
    assert!(known.len() == 1 && !known[0].duplicate);
    assert_eq!(stored(&db).await, 0);
    assert_eq!(db.value::<i64>("select credit_balance from seatkeeper.users").await, 50);
}
