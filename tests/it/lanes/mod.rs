//! Lanes: how many a batch takes (as many as it has room for, however little waits in each of them), their clock, and that
//! nobody changes what is queued in one without holding it.

mod quiet;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use seatkeeper::batch::{Limits, Turn, Worker, sort_out};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::postgres::enqueue_many;
use seatkeeper_jobs::{Outcome, Request, Status};
use uuid::Uuid;

use crate::support::plain_sql::pid;
use crate::support::{PATIENCE, TestDb, until};

fn enroll(user: i64, semester: i64) -> Enroll {
    Enroll { user_id: user.try_into().unwrap(), semester_id: semester.try_into().unwrap() }
}

/// As many semesters, and somebody who asks for a place in each.
async fn one_request_in_each_of(db: &TestDb, semesters: i64) {
    db.users(semesters).await;
    db.run(&format!(
        "insert into seatkeeper.semesters (semester_id, code, status)
         select n, 'S' || n, 'ENROLLMENT_OPEN' from generate_series(1, {semesters}) n"
    ))
    .await;
    let requests: Vec<_> = (1..=semesters).map(|id| Request::new(Uuid::now_v7(), enroll(id, id))).collect();
    enqueue_many(&mut db.pool.acquire().await.unwrap(), &requests).await.unwrap();
}

async fn answered(worker: &mut Worker) -> usize {
    match worker.turn().await {
        Turn::Answered(report) => report.told.len(),
        Turn::Idle => 0,
        turn => panic!("{turn:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_full_when_a_request_waits_in_each_of_many_semesters() {
    let db = TestDb::new().await;
    one_request_in_each_of(&db, 450).await;
    let mut worker = db.worker_with(Limits { batch: 200, ..Limits::default() });
    let batches = [answered(&mut worker).await, answered(&mut worker).await, answered(&mut worker).await];
    assert_eq!(batches, [200, 200, 50]);
    assert_eq!(answered(&mut worker).await, 0);
    db.assert_sound().await;
}

#[tokio::test]
async fn small_batches_go_round_all_semesters() {
    let db = TestDb::new().await;
    one_request_in_each_of(&db, 30).await;
    let mut worker = db.worker_with(Limits { batch: 4, ..Limits::default() });
    let mut batches = Vec::new();
    while batches.iter().sum::<usize>() < 30 {
        batches.push(answered(&mut worker).await);
    }
    assert_eq!(batches.iter().max(), Some(&4));
    assert!(batches.len() <= 9, "{batches:?}: eight full ones, and one where the round ends");
    let lanes: Vec<i64> = sqlx::query_scalar(
        "select semester_id from seatkeeper.requests where outcome = 'applied' order by answer_seq",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(lanes.iter().copied().collect::<BTreeSet<_>>(), (1..=30).collect());
    db.assert_sound().await;
}

/// The clock of a server can be set back; a lane's is not. Red without: the comparison in `batch/answers.rs`.
#[tokio::test]
async fn no_answer_is_dated_before_the_one_before_it_in_its_lane() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    db.run("update seatkeeper.semesters set last_decided_at = clock_timestamp() + interval '1 hour'").await;
    let before: DateTime<Utc> = db.value("select last_decided_at from seatkeeper.semesters").await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(1, 1)).await;
    db.drain().await;
    assert_eq!(db.receipt(id).await.finished_at, Some(before));
    assert_eq!(db.value::<DateTime<Utc>>("select last_decided_at from seatkeeper.semesters").await, before);
    db.assert_sound().await;
}

/// Who puts a request off takes its lane first, or a later one could be answered meanwhile by somebody who did not see it go.
/// Red without: the lock of `retry.lock_lane`.
#[tokio::test]
async fn an_attempt_is_charged_under_the_lane() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    db.run(
        "create function public.broken() returns trigger language plpgsql as $$ begin raise exception 'broken'; end $$;
         create trigger broken before insert on seatkeeper.enrollments for each row execute function public.broken()",
    )
    .await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(1, 1)).await;
    // The batch waits for the user, somebody waits for the lane behind it, and gets it when the batch has failed.
    let mut user = db.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.users for update").execute(&mut *user).await.unwrap();
    let user_holder = pid(&mut user).await;
    let timeouts = Timeouts { lock: PATIENCE, idle: PATIENCE, ..Timeouts::default() };
    let limits = Limits { retry_after: Duration::from_secs(3_600), ..Limits::default() };
    let mut worker = db.worker_on(timeouts, limits);
    let turn = tokio::spawn(async move { worker.turn().await });
    db.until_blocked_by(user_holder).await;
    let batch: i32 = db
        .value(&format!("select pid from pg_stat_activity where {user_holder} = any (pg_blocking_pids(pid))"))
        .await;
    let mut lane = db.pool.begin().await.unwrap();
    let lane_holder = pid(&mut lane).await;
    let lane = tokio::spawn(async move {
        sqlx::query("select from seatkeeper.semesters for no key update").execute(&mut *lane).await.unwrap();
        lane
    });
    db.until_blocked_by(batch).await;
    user.rollback().await.unwrap();
    let lane = lane.await.unwrap();
    until("the attempt waits for the lane", async || {
        db.value::<bool>(&format!(
            "select exists (select from pg_stat_activity
                            where {lane_holder} = any (pg_blocking_pids(pid)) and query ~ 'retry.lock_lane')"
        ))
        .await
    })
    .await;
    assert_eq!(db.receipt(id).await.attempts, 0);
    lane.rollback().await.unwrap();
    assert!(matches!(turn.await.unwrap(), Turn::Again(_)));
    assert_eq!(db.receipt(id).await.attempts, 1);
    assert!(matches!(db.worker().turn().await, Turn::Idle), "set aside, it holds nobody up");

    db.run("drop trigger broken on seatkeeper.enrollments; update seatkeeper.requests set hold = null").await;
    db.drain().await;
    assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));
    db.assert_sound().await;
}

/// Of what waits for its time, what is due comes into the queue, and nothing else.
#[tokio::test]
async fn what_is_due_comes_into_the_queue_and_the_rest_stays_out() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, None, 0).await;
    let (due, later) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(later, enroll(1, 1)).await;
    db.ask(due, enroll(2, 1)).await;
    db.run(&format!(
        "update seatkeeper.requests set hold = 'scheduled',
             run_at = clock_timestamp() + case request_id when '{due}' then interval '0' else interval '1 hour' end"
    ))
    .await;
    let transactions = Transactions::new(db.pool.clone(), Timeouts::default());
    assert_eq!(sort_out(&transactions).await.unwrap(), 1);
    assert_eq!(sort_out(&transactions).await.unwrap(), 0);
    db.drain().await;
    assert_eq!(db.receipt(due).await.outcome, Some(Outcome::Applied));
    assert_eq!(db.receipt(later).await.status, Status::Queued);
    db.assert_sound().await;
}

/// Who keeps up answers a few hundred in a commit at most; who has fallen behind answers more and more of them, up to the most.
#[tokio::test]
async fn a_worker_that_falls_behind_answers_more_in_one_commit() {
    let db = TestDb::new().await;
    db.users(4_000).await;
    db.semester(1, None, 0).await;
    let requests: Vec<_> = (1..=4_000).map(|user| Request::new(Uuid::now_v7(), enroll(user, 1))).collect();
    enqueue_many(&mut db.pool.acquire().await.unwrap(), &requests).await.unwrap();
    let mut worker = db.worker();
    let mut batches = Vec::new();
    while batches.iter().sum::<usize>() < 4_000 {
        batches.push(answered(&mut worker).await);
    }
    assert_eq!(batches, [500, 1_000, 2_000, 500]);

    // It has caught up.
    db.semester(2, None, 0).await;
    let requests: Vec<_> = (1..=600).map(|user| Request::new(Uuid::now_v7(), enroll(user, 2))).collect();
    enqueue_many(&mut db.pool.acquire().await.unwrap(), &requests).await.unwrap();
    assert_eq!([answered(&mut worker).await, answered(&mut worker).await], [500, 100]);
    db.assert_sound().await;
}

/// Whoever looks at once finds the lane free, also where the batch failed by a guard of its own. (After an error of
/// PostgreSQL's own everything is free in any case.)
#[tokio::test]
async fn a_batch_that_failed_has_let_go_of_its_lane() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, None, 0).await;
    db.run(
        "create function public.skip() returns trigger language plpgsql as $$ begin return null; end $$;
         create trigger skip before insert on seatkeeper.enrollments for each row when (new.user_id = 2)
             execute function public.skip()",
    )
    .await;
    for user in 1..=2 {
        db.ask(Uuid::now_v7(), enroll(user, 1)).await;
    }
    let mut other = db.pool.acquire().await.unwrap();
    for _ in 0..10 {
        assert!(matches!(db.worker().turn().await, Turn::Again(_)));
        // Without a round trip of preparation, in which the connection could be put in order.
        sqlx::raw_sql("select from seatkeeper.semesters for no key update nowait")
            .execute(&mut *other)
            .await
            .unwrap();
    }
}
