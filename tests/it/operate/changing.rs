//! Retry and cancel.

use std::collections::BTreeSet;

use seatkeeper::batch::Turn;
use seatkeeper::operate::{self, Change, Filter, Operator};
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use serde_json::json;
use uuid::Uuid;

use super::{answered, ask_all, cli_ends, cli_json, enroll, fail, is_answered, status};
use crate::support::{PATIENCE, TestDb};

fn somebody() -> Operator {
    Operator::new(Some("erika".into()))
}

#[tokio::test]
async fn what_an_operator_is_cancelling_is_not_overtaken() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, Some(1), 0).await;
    db.semester(2, Some(1), 0).await;
    let first = ask_all(&db, [1, 2], 1).await;
    let other = ask_all(&db, [3], 2).await;

    // The operator's transaction is open: the first is cancelled, or is it?
    let mut transaction = operate::transactions(db.pool.clone()).begin().await.unwrap();
    let step = operate::change_step(&mut transaction, Change::Cancel, &first[..1], &somebody(), "hm").await;
    assert_eq!(step.unwrap().changed, first[..1]);

    // The other lane goes on; this one is left alone at once, without waiting and without a rollback.
    let mut worker = db.worker();
    assert!(is_answered(&worker.turn().await));
    assert_eq!(answered(&db).await, other);
    for _ in 0..3 {
        let turn = worker.turn().await;
        assert!(matches!(turn, Turn::Contended), "{turn:?}");
    }

    // It was not: the first still comes first, and gets the place.
    transaction.rollback().await.unwrap();
    db.drain().await;
    assert_eq!(answered(&db).await, [other[0], first[0], first[1]]);
    assert_eq!(status(&db, first[0]).await, "applied");
    assert_eq!(status(&db, first[1]).await, "refused");
    let recorded: i64 = db.value("select count(*) from seatkeeper.operator_actions").await;
    assert_eq!(recorded, 0, "what was rolled back is not recorded");
    db.assert_sound().await;
}

#[tokio::test]
async fn what_an_operator_is_bringing_back_is_not_overtaken() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, Some(1), 0).await;
    let ids = ask_all(&db, [1, 2], 1).await;
    fail(&db, ids[0]).await;

    let mut transaction = operate::transactions(db.pool.clone()).begin().await.unwrap();
    operate::change_step(&mut transaction, Change::Retry, &ids[..1], &somebody(), "fixed").await.unwrap();
    let turn = db.worker().turn().await;
    assert!(matches!(turn, Turn::Contended), "{turn:?}");
    transaction.commit().await.unwrap();

    db.drain().await;
    assert_eq!(answered(&db).await, ids);
    assert_eq!(status(&db, ids[0]).await, "applied");
    assert_eq!(status(&db, ids[1]).await, "refused");
}

#[tokio::test]
async fn an_operator_waits_for_the_batch_in_hand() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, Some(1), 0).await;
    let ids = ask_all(&db, [1], 1).await;

    // A worker's batch, as far as its lane: it will answer the request.
    let mut batch = db.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.semesters where semester_id = 1 for no key update")
        .fetch_all(&mut *batch)
        .await
        .unwrap();
    let pool = db.pool.clone();
    let cancel = tokio::spawn(async move {
        let (selection, _) = operate::select_ids(&pool, Change::Cancel, &ids).await.unwrap();
        let transactions = operate::transactions(pool);
        operate::change(&transactions, Change::Cancel, &selection, &somebody(), "late", |_| {}).await
    });
    crate::support::until("an operator that waits for the lane", async || {
        db.value(
            "select exists (select from pg_stat_activity where datname = current_database()
                            and wait_event_type = 'Lock' and query like '%operate.cancel%')",
        )
        .await
    })
    .await;
    sqlx::query(
        "update seatkeeper.requests set status = 'done', outcome = 'refused', reason = 'semester_full', attempts = 1,
             answer_seq = nextval('seatkeeper.answer_seq'), finished_at = clock_timestamp()",
    )
    .execute(&mut *batch)
    .await
    .unwrap();
    batch.commit().await.unwrap();

    let progress = tokio::time::timeout(PATIENCE, cancel).await.unwrap().unwrap().unwrap();
    assert_eq!(
        (progress.changed, progress.left_alone.len()),
        (0, 1),
        "answered meanwhile: reported, not forced"
    );
    assert!(progress.actions.is_empty());
}

#[tokio::test]
async fn a_retried_request_takes_its_place_and_keeps_its_story() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, Some(1), 0).await;
    let ids = ask_all(&db, [1, 2], 1).await;
    fail(&db, ids[0]).await;
    let id = ids[0].to_string();

    let retry = ["requests", "retry", &id, "--reason", "disk is back", "--operator", "erika"];
    let text = cli_ends(&db.url, &retry, 0).await;
    assert_eq!(text, "1 request put back into the queue\n");
    let row: serde_json::Value = db
        .value(&format!(
            "select to_jsonb(r) - array['enqueued_at', 'payload', 'producer'] from seatkeeper.requests r
             where request_id = '{id}'"
        ))
        .await;
    assert_eq!(
        row,
        json!({ "request_id": id, "seq": 1, "kind": "enroll", "status": "queued", "outcome": null, "reason": null,
                "result": null, "traceparent": null, "attempts": 0, "run_at": null, "expires_at": null,
                "finished_at": null, "answer_seq": null, "last_error": "boom", "semester_id": 1, "user_id": 1,
                "hold": null, "returned": true, "enqueued_by": "postgres", "limited": null })
    );
    let act: serde_json::Value = db
        .value("select to_jsonb(a) - array['action_id', 'acted_at'] from seatkeeper.operator_actions a")
        .await;
    assert_eq!(
        act,
        json!({ "operator": "erika", "action": "retry", "reason": "disk is back", "request_ids": [id],
                "account": "postgres", "details": { "role": "postgres", "semester_id": 1 } })
    );

    db.drain().await;
    assert_eq!(answered(&db).await, ids);
    // Answered: there is nothing to retry or cancel any more.
    for verb in ["retry", "cancel"] {
        let text = cli_ends(&db.url, &["requests", verb, &id, "--reason", "again"], 1).await;
        assert!(text.contains(&format!("{id} is done, not ")), "{text}");
    }
    assert_eq!(status(&db, ids[0]).await, "applied");
    db.assert_sound().await;
}

#[tokio::test]
async fn a_cancelled_request_stays_unanswered() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, Some(1), 0).await;
    let ids = ask_all(&db, [1, 2], 1).await;
    let id = ids[0].to_string();
    let report = cli_json(&db.url, &["requests", "cancel", &id, "--reason", "typo"], 0).await;
    assert_eq!(report["changed"], 1);
    db.drain().await;
    assert_eq!(answered(&db).await, ids[1..]);
    assert_eq!(status(&db, ids[0]).await, "cancelled");
    // Sent again by its producer, it gets the receipt of what became of it.
    assert!(db.ask(ids[0], enroll(1, 1)).await.duplicate);
    let text = cli_ends(&db.url, &["requests", "retry", &id, "--reason", "well"], 1).await;
    assert!(text.contains("is cancelled, not failed"), "{text}");
}

#[tokio::test]
async fn a_filter_shows_the_count_and_asks() {
    let db = TestDb::new().await;
    db.users(4).await;
    db.semester(1, None, 0).await;
    db.semester(2, None, 0).await;
    let here = ask_all(&db, [1, 2, 3], 1).await;
    let there = ask_all(&db, [4], 2).await;
    let count = "select count(*) from seatkeeper.requests where status = 'cancelled'";

    let cancel = ["requests", "cancel", "--semester", "1", "--reason", "called off"];
    let text = cli_ends(&db.url, &cancel, 2).await;
    assert!(text.contains("3 requests in 1 semester will be cancelled") && text.contains("--yes"), "{text}");
    let text = cli_ends(&db.url, &[&cancel[..], &["--dry-run"]].concat(), 0).await;
    assert_eq!(text, "3 requests would be cancelled\n");
    assert_eq!(db.value::<i64>(count).await, 0);
    let report = cli_json(&db.url, &[&cancel[..], &["--yes"]].concat(), 0).await;
    assert_eq!((report["selected"].clone(), report["changed"].clone()), (json!(3), json!(3)));
    assert_eq!(db.value::<i64>(count).await, 3);
    for id in here {
        assert_eq!(status(&db, id).await, "cancelled");
    }
    assert_eq!(status(&db, there[0]).await, "queued");

    // What is not said clearly is not done.
    for wrong in [
        &["requests", "cancel", "--reason", "x", "--yes"][..],
        &["requests", "cancel", "--semester", "1", "--yes"],
        &["requests", "cancel", "--semester", "1", "--reason", " ", "--yes"],
        &["requests", "cancel", &there[0].to_string(), "--semester", "1", "--reason", "x"],
        &["requests", "cancel", "--all", "--semester", "1", "--reason", "x", "--yes"],
        &["requests", "cancel", "--all", &there[0].to_string(), "--reason", "x", "--yes"],
    ] {
        cli_ends(&db.url, wrong, 2).await;
    }
    // One unknown ID among others: nothing is changed.
    let unknown = Uuid::now_v7().to_string();
    let text =
        cli_ends(&db.url, &["requests", "cancel", &there[0].to_string(), &unknown, "--reason", "x"], 3).await;
    assert!(text.contains(&unknown), "{text}");
    assert_eq!(status(&db, there[0]).await, "queued");
    cli_ends(&db.url, &["requests", "cancel", "--all", "--reason", "x", "--yes"], 0).await;
    assert_eq!(status(&db, there[0]).await, "cancelled");
}

#[tokio::test]
async fn a_filter_picks_by_what_a_request_is_about() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, None, 0).await;
    let ids = ask_all(&db, [1, 2], 1).await;
    let grant = Uuid::now_v7();
    let amount = Amount::new(5).unwrap();
    db.ask(grant, GrantCredits { user_id: 3.try_into().unwrap(), amount, note: None }).await;
    fail(&db, ids[0]).await;
    fail(&db, grant).await;
    db.run(&format!(
        "update seatkeeper.requests set reason = 'invalid_payload', enqueued_at = enqueued_at - interval '3 hours'
         where request_id = '{grant}'"
    ))
    .await;

    let hour = std::time::Duration::from_secs(3600);
    let all = Filter::default;
    for (filter, expected) in [
        (all(), vec![ids[0], grant]),
        (Filter { user: Some(1), ..all() }, vec![ids[0]]),
        (Filter { semester: Some(1), ..all() }, vec![ids[0]]),
        (Filter { kind: Some(seatkeeper_jobs::Kind::GrantCredits), ..all() }, vec![grant]),
        (Filter { reason: Some(seatkeeper_jobs::Reason::InvalidPayload), ..all() }, vec![grant]),
        (Filter { older_than: Some(hour), ..all() }, vec![grant]),
        (Filter { newer_than: Some(hour), ..all() }, vec![ids[0]]),
        (Filter { older_than: Some(std::time::Duration::MAX), ..all() }, vec![]),
        (Filter { session: Some(1), ..all() }, vec![]),
        (Filter { enqueued_by: Some("postgres".into()), ..all() }, vec![ids[0], grant]),
        (Filter { enqueued_by: Some("somebody".into()), ..all() }, vec![]),
    ] {
        let selection = operate::select(&db.pool, Change::Retry, &filter).await.unwrap();
        let found: BTreeSet<Uuid> = selection.lanes.into_values().flatten().collect();
        assert_eq!(found, expected.into_iter().collect(), "{filter:?}");
    }
    let text = cli_ends(
        &db.url,
        &["requests", "retry", "--failed-because", "invalid_payload", "--reason", "x", "--yes"],
        0,
    )
    .await;
    assert!(text.contains("1 request put back"), "{text}");
    assert_eq!(status(&db, grant).await, "queued");
    assert_eq!(status(&db, ids[0]).await, "failed");
}

#[tokio::test]
async fn a_bulk_action_goes_in_steps_beside_the_workers() {
    let db = TestDb::new().await;
    db.users(1_500).await;
    db.semester(1, None, 0).await;
    db.semester(2, None, 0).await;
    db.run(
        "select count(*) from (
             select seatkeeper.enqueue(gen_random_uuid(), 'enroll', jsonb_build_object('user_id', u, 'semester_id', s))
             from generate_series(1, 1500) u, generate_series(1, 2) s offset 0) x;
         select count(*) from (
             select seatkeeper.enqueue(gen_random_uuid(), 'grant_credits', jsonb_build_object('user_id', u, 'amount', 1))
             from generate_series(1, 1200) u offset 0) x",
    )
    .await;
    let selection = operate::select(&db.pool, Change::Cancel, &Filter::default()).await.unwrap();
    assert_eq!(selection.count(), 4_200);

    let drain = db.drain();
    let transactions = operate::transactions(db.pool.clone());
    let mut steps = 0;
    let operator = somebody();
    let change =
        operate::change(&transactions, Change::Cancel, &selection, &operator, "storm", |_| steps += 1);
    let ((), progress) = tokio::join!(drain, change);
    let progress = progress.unwrap();
    assert_eq!(steps, 6, "two steps for each lane and for the grants");

    let cancelled: Vec<Uuid> = sqlx::query_scalar(
        "select request_id from seatkeeper.requests where status = 'cancelled' order by 1",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let recorded: Vec<Uuid> =
        sqlx::query_scalar("select unnest(request_ids) from seatkeeper.operator_actions order by 1")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(cancelled.len(), progress.changed);
    assert_eq!(cancelled, recorded, "what is recorded is what was done");
    assert_eq!(progress.changed + progress.left_alone.len(), 4_200);
    let largest: i32 =
        db.value("select coalesce(max(cardinality(request_ids)), 0) from seatkeeper.operator_actions").await;
    assert!(largest <= 1_000, "{largest} in one transaction");
    db.drain().await;
    let done: i64 = db.value("select count(*) from seatkeeper.requests where status = 'done'").await;
    assert_eq!(done, i64::try_from(progress.left_alone.len()).unwrap());
    db.assert_sound().await;
}
