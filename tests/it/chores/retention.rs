//! Retention: what is old goes, what is told of it stays.

use std::time::Duration;

use seatkeeper::retention::retire;
use seatkeeper::schedule::{self, Plan};
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::postgres as door;
use seatkeeper_jobs::{Job, Request, Status};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{plan, since};
use crate::support::{Process, TestDb, until};

const DAY: i64 = 86_400;

fn grant(user: i64) -> Job {
    GrantCredits { user_id: user.try_into().unwrap(), amount: Amount::new(5).unwrap(), note: None }.into()
}

async fn count(db: &TestDb, table: &str) -> i64 {
    db.value(&format!("select count(*) from seatkeeper.{table}")).await
}

/// Lets everything that is finished have been finished that long ago.
async fn age(db: &TestDb, interval: &str) {
    db.run(&format!(
        "alter table seatkeeper.requests disable trigger trg_answer_for_good;
         update seatkeeper.requests set finished_at = finished_at - interval '{interval}', enqueued_at = enqueued_at - interval '{interval}';
         alter table seatkeeper.requests enable trigger trg_answer_for_good"
    ))
    .await;
}

/// Has requests kept for so many days.
async fn keep_days(db: &TestDb, days: u64) {
    let plan = Plan { retain: Some(Duration::from_secs(days * 86_400)), ..plan() };
    schedule::keep(&db.pool, &plan).await.unwrap();
}

#[tokio::test]
async fn an_old_answer_goes_and_sending_it_again_is_still_a_duplicate() {
    let db = TestDb::new().await;
    db.users(3).await;
    let [done, refused, waiting, failed] = [1, 2, 3, 4].map(|_| Uuid::now_v7());
    db.ask(done, grant(1)).await;
    db.ask(refused, grant(99)).await;
    db.drain().await;
    db.ask(failed, grant(2)).await;
    db.run(&format!(
        "update seatkeeper.requests set status = 'failed', reason = 'attempts_exhausted', finished_at = clock_timestamp()
         where request_id = '{failed}'"
    ))
    .await;
    age(&db, "400 days").await;
    let before = db.receipt(done).await;
    db.ask(waiting, grant(3)).await;
    let recent = Uuid::now_v7();
    db.run("insert into seatkeeper.pauses (paused_by, reason) values ('test', 'what waits is to wait')")
        .await;
    db.run(&format!(
        "insert into seatkeeper.requests (request_id, kind, payload, status, reason, finished_at)
         values ('{recent}', 'grant_credits', '{{}}', 'cancelled', 'by hand', clock_timestamp())"
    ))
    .await;

    keep_days(&db, 399).await;
    since(&db, "retention", "2 days").await;
    let process = Process::run(&db.url, &["--no-http", "--no-worker", "--retain", "399days"]);
    until("retention has been there", async || {
        db.value::<bool>(
            "select last_slot is not null from seatkeeper.schedules where schedule = 'retention'",
        )
        .await
    })
    .await;
    assert_eq!(process.terminate(), Some(0));

    assert_eq!((count(&db, "requests").await, count(&db, "request_tombstones").await), (3, 2));
    let mut connection = db.pool.acquire().await.unwrap();
    let again = door::enqueue(&mut connection, &Request::new(done, grant(1))).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(
        (again.status, again.outcome, again.finished_at, again.attempts),
        (before.status, before.outcome, before.finished_at, before.attempts)
    );
    let other = door::enqueue(&mut connection, &Request::new(done, grant(2))).await;
    assert!(matches!(other, Err(door::EnqueueError::Conflict(id)) if id == done), "{other:?}");
    let receipt = db.receipt(refused).await;
    assert_eq!(receipt.status, Status::Done);
    assert!(receipt.reason.is_some());
    for id in [waiting, failed, recent] {
        assert_eq!(count(&db, &format!("requests where request_id = '{id}'")).await, 1);
    }
    assert_eq!(count(&db, "credit_transactions").await, 1, "the effect stays");
}

#[tokio::test]
async fn many_old_ones_go_in_bounded_steps_and_a_pass_can_be_stopped() {
    let db = TestDb::new().await;
    db.run(
        "insert into seatkeeper.requests (request_id, kind, payload, status, reason, finished_at)
         select gen_random_uuid(), 'grant_credits', '{}', 'cancelled', 'by hand', clock_timestamp() - interval '2 days'
         from generate_series(1, 2500)",
    )
    .await;
    keep_days(&db, 1).await;
    let stopped = CancellationToken::new();
    stopped.cancel();
    let none = retire(&db.pool, DAY, &stopped).await.unwrap();
    assert_eq!((none.requests, none.complete), (0, false));
    let all = retire(&db.pool, DAY, &CancellationToken::new()).await.unwrap();
    assert_eq!((all.requests, all.complete), (2500, true));
    assert_eq!((count(&db, "requests").await, count(&db, "request_tombstones").await), (0, 2500));
    let bounded = sqlx::query_scalar::<_, i64>(
        "select max(n) from (select count(*) as n from seatkeeper.request_tombstones group by xmin::text) x",
    );
    assert_eq!(bounded.fetch_one(&db.pool).await.unwrap(), 1000, "of one transaction");
}

/// Whoever may call the function cannot have a request forgotten that the settings keep.
#[tokio::test]
async fn whoever_calls_it_nothing_goes_that_the_settings_keep() {
    let db = TestDb::new().await;
    db.run(
        "insert into seatkeeper.requests (request_id, kind, payload, status, reason, finished_at)
         select gen_random_uuid(), 'grant_credits', '{}', 'cancelled', 'by hand', clock_timestamp() - n * interval '1 day' - interval '1 hour'
         from generate_series(0, 9) n",
    )
    .await;
    let call = async |age: &str| {
        db.value::<i32>(&format!("select seatkeeper.retire_requests({age}, 0, 1000, 1000)")).await
    };
    let ages = ["0", "-1000000", "null", "86400"];
    for age in ages {
        assert_eq!(call(age).await, 0, "{age}: no age is set, so that nothing is old");
    }
    keep_days(&db, 5).await;
    assert_eq!(call("691200").await, 2, "who asks for less than what may go gets less");
    assert_eq!(call("0").await, 3);
    for age in ages {
        assert_eq!(call(age).await, 0, "{age}: younger than five days");
    }
    schedule::keep(&db.pool, &Plan { retain: None, ..plan() }).await.unwrap();
    age(&db, "400 days").await;
    for age in ages {
        assert_eq!(call(age).await, 0, "{age}: it is switched off again");
    }
    assert_eq!((count(&db, "requests").await, count(&db, "request_tombstones").await), (5, 5));
}

#[tokio::test]
async fn it_reads_the_table_by_its_pages() {
    let db = TestDb::new().await;
    db.run(
        "insert into seatkeeper.requests (request_id, kind, payload, status, reason, finished_at)
         select gen_random_uuid(), 'grant_credits', '{}', 'cancelled', 'by hand', clock_timestamp() from generate_series(1, 20000);
         analyze seatkeeper.requests",
    )
    .await;
    let plan: Vec<String> = sqlx::query_scalar(
        "explain select from seatkeeper.requests r
         where r.ctid >= format('(%s,0)', 10)::tid and r.ctid < format('(%s,0)', 20)::tid and r.status in ('done', 'cancelled')",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert!(plan.join("\n").contains("Tid Range Scan"), "{plan:#?}");
}
