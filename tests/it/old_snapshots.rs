//! Somebody holds an old snapshot, and the dead entries of everything answered since stay in the index of what is ready.
//! Workers do not read through them; and nothing that becomes ready among them is overlooked.
//!
//! On servers of their own: what keeps workers from forgetting the past is any open transaction of the whole server.

use seatkeeper::batch::{Limits, Turn, Worker, sort_out};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Job, Request, SemesterId, UserId, postgres as door};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use crate::support::plain_sql::pid;
use crate::support::{OwnServer, TestDb, own_server, until};

pub const USERS: i64 = 400;

pub async fn stage() -> (OwnServer, PgPool) {
    let server = own_server().await;
    let pool = server.pool();
    run(
        &pool,
        &format!(
            "insert into seatkeeper.users (user_id) select generate_series(1, {USERS});
             insert into seatkeeper.semesters (semester_id, code, status, enrollment_cost)
             values (1, 'hot', 'ENROLLMENT_OPEN', 0), (2, 'other', 'ENROLLMENT_OPEN', 0)"
        ),
    )
    .await;
    (server, pool)
}

pub async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
}

pub fn enroll(user: i64) -> Job {
    enroll_in(user, 1)
}

pub fn enroll_in(user: i64, semester: i64) -> Job {
    Enroll { user_id: UserId::new(user).unwrap(), semester_id: SemesterId::new(semester).unwrap() }.into()
}

fn unenroll(user: i64) -> Job {
    let semester_id = SemesterId::new(1).unwrap();
    Unenroll { user_id: UserId::new(user).unwrap(), semester_id, enrollment_id: None }.into()
}

pub async fn ask(connection: &mut PgConnection, job: Job) -> Uuid {
    let id = Uuid::new_v4();
    door::enqueue(connection, &Request::new(id, job)).await.unwrap();
    id
}

/// Asks for this many, and answers them one at a time.
pub async fn answer_one_by_one(pool: &PgPool, worker: &mut Worker, users: std::ops::Range<i64>) {
    for user in users {
        ask(&mut pool.acquire().await.unwrap(), enroll(user)).await;
        let turn = worker.turn().await;
        assert!(matches!(turn, Turn::Answered(_)), "{turn:?}");
    }
}

pub async fn answer_seq(pool: &PgPool, id: Uuid) -> Option<i64> {
    sqlx::query_scalar("select answer_seq from seatkeeper.requests where request_id = $1")
        .bind(id)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// The next two turns answer these two, in this order.
pub async fn assert_answered_in_turn(
    pool: &PgPool,
    worker: &mut Worker,
    first: Uuid,
    second: Uuid,
    what: &str,
) {
    for expected in [first, second] {
        let turn = worker.turn().await;
        assert!(matches!(turn, Turn::Answered(_)), "{what}: {turn:?}");
        assert!(answer_seq(pool, expected).await.is_some(), "{what}: another one was answered instead");
    }
}

pub fn one_at_a_time(pool: &PgPool) -> Worker {
    let limits = Limits { batch: 1, ..Limits::default() };
    Worker::new(Transactions::new(pool.clone(), Timeouts::default()), limits)
}

/// Requests in a batch of [`answer_many`].
pub const A_TURN: i64 = 100;

/// Answers that many batches of the hot lane; gives the worker with its pool of one connection.
pub async fn answer_many(server: &OwnServer, pool_of_test: &PgPool, turns: i64) -> (Worker, PgPool) {
    for _ in 0..turns {
        run(
            pool_of_test,
            &format!(
                "select count(*) from seatkeeper.enqueue_many((
                     select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', 'enroll',
                         'payload', jsonb_build_object('user_id', n, 'semester_id', 1))) from generate_series(1, {A_TURN}) n))"
            ),
        )
        .await;
    }
    let own = pool(connect_options(&server.url()).unwrap(), 1);
    let limits = Limits { batch: 100, ..Limits::default() };
    let mut worker = Worker::new(Transactions::new(own.clone(), Timeouts::default()), limits);
    for _ in 0..turns {
        let turn = worker.turn().await;
        assert!(matches!(&turn, Turn::Answered(report) if report.told.len() == 100), "{turn:?}");
    }
    (worker, own)
}

/// Entries of the queue that were read. The worker's connection is closed first: at its end a server process reports what it has read.
pub async fn entries_read(pool_of_test: &PgPool, own: PgPool) -> i64 {
    own.close().await;
    let read = async || -> i64 {
        sqlx::query_scalar(
            "select coalesce(sum(idx_tup_read), 0)::bigint from pg_stat_user_indexes where indexrelname like 'idx\\_ready%'",
        )
        .fetch_one(pool_of_test)
        .await
        .unwrap()
    };
    until("the statistics", async || read().await > 0).await;
    read().await
}

#[tokio::test]
async fn an_old_snapshot_costs_a_claim_nothing() {
    const TURNS: i64 = 40;
    let (server, pool_of_test) = stage().await;
    // What a new database looks like once it was vacuumed.
    run(&pool_of_test, "vacuum analyze seatkeeper.requests").await;
    let mut old = pool_of_test.begin_with("begin isolation level repeatable read").await.unwrap();
    sqlx::query("select count(*) from seatkeeper.requests").execute(&mut *old).await.unwrap();
    let (_, own) = answer_many(&server, &pool_of_test, TURNS).await;
    let (read, answered) = (entries_read(&pool_of_test, own).await, TURNS * A_TURN);
    println!("{read} entries of the queue read for {answered} requests");
    // Three times each for the claim that answers it, and once more as a dead one; all of those before it, and it were 60.
    assert!(read < 12 * answered, "{read} entries of the queue read for {answered} requests");
    // What a scan skips for its second column is not counted there. In a plan made while there is next to nothing any index
    // looks as good; this one would be read from end to end.
    let scans: i64 = sqlx::query_scalar(
        "select idx_scan from pg_stat_user_indexes where indexrelname = 'idx_ready_by_kind'",
    )
    .fetch_one(&pool_of_test)
    .await
    .unwrap();
    assert_eq!(scans, 0, "scans of the index of the kinds");
    old.rollback().await.unwrap();
    pool_of_test.close().await;
    server.remove().await;
}

#[tokio::test]
async fn what_is_committed_late_comes_before_what_was_asked_afterwards() {
    let (server, pool) = stage().await;
    let mut worker = one_at_a_time(&pool);
    answer_one_by_one(&pool, &mut worker, 1..40).await;
    let mut slow = pool.begin().await.unwrap();
    let late = ask(&mut slow, enroll(100)).await;
    // Its number is passed by.
    answer_one_by_one(&pool, &mut worker, 40..80).await;
    slow.commit().await.unwrap();
    let afterwards = ask(&mut pool.acquire().await.unwrap(), enroll(101)).await;
    assert_answered_in_turn(&pool, &mut worker, late, afterwards, "committed late").await;
    pool.close().await;
    server.remove().await;
}

#[tokio::test]
async fn what_becomes_ready_again_takes_its_place_by_its_number() {
    let (server, pool) = stage().await;
    let transactions = Transactions::new(pool.clone(), Timeouts::default());
    let mut worker = one_at_a_time(&pool);
    // How it is put aside, and how it comes back.
    let ways = [
        (
            "its time has come",
            "hold = 'scheduled', run_at = now() + interval '1 hour'",
            "run_at = now() - interval '1 second'",
        ),
        (
            "tried again by an operator",
            "status = 'failed', reason = 'attempts_exhausted', finished_at = now()",
            "status = 'queued', reason = null, finished_at = null",
        ),
        (
            "its lane was found out",
            "semester_id = 2, hold = 'scheduled', run_at = now() + interval '1 hour'",
            "semester_id = 1, hold = null",
        ),
        ("by hand", "hold = 'scheduled', run_at = now() + interval '1 hour'", "hold = null"),
    ];
    for (number, (what, aside, back)) in (0..).zip(ways) {
        let from = 1 + number * 60;
        let id = ask(&mut pool.acquire().await.unwrap(), enroll(from + 50)).await;
        run(&pool, &format!("update seatkeeper.requests set {aside} where request_id = '{id}'")).await;
        answer_one_by_one(&pool, &mut worker, from..from + 40).await;
        run(&pool, &format!("update seatkeeper.requests set {back} where request_id = '{id}'")).await;
        sort_out(&transactions).await.unwrap();
        let afterwards = ask(&mut pool.acquire().await.unwrap(), enroll(from + 51)).await;
        assert_answered_in_turn(&pool, &mut worker, id, afterwards, what).await;
    }

    // Kept out by a pause, and never put aside.
    run(&pool, "insert into seatkeeper.pauses (kind, paused_by, reason) values ('unenroll', 'test', 'test')")
        .await;
    let paused = ask(&mut pool.acquire().await.unwrap(), unenroll(1)).await;
    answer_one_by_one(&pool, &mut worker, 300..340).await;
    run(&pool, "delete from seatkeeper.pauses").await;
    let afterwards = ask(&mut pool.acquire().await.unwrap(), unenroll(2)).await;
    assert_answered_in_turn(&pool, &mut worker, paused, afterwards, "a pause ended").await;
    pool.close().await;
    server.remove().await;
}

#[tokio::test]
async fn a_producer_has_its_transaction_id_before_it_draws_a_number() {
    let db = TestDb::new().await;
    for call in [
        "select seatkeeper.enqueue('8d7e0f3a-0000-4000-8000-000000000001', 'enroll', '{\"user_id\": 1, \"semester_id\": 1}')",
        "select count(*) from seatkeeper.enqueue_many('[{\"request_id\": \"8d7e0f3a-0000-4000-8000-000000000002\", \"kind\": \"enroll\",
             \"payload\": {\"user_id\": 1, \"semester_id\": 1}}]')",
    ] {
        let mut first = db.pool.begin().await.unwrap();
        let holder = pid(&mut first).await;
        sqlx::query(call).execute(&mut *first).await.unwrap();
        // Has drawn a number, and waits for what becomes of the other one with the same ID.
        let pool = db.pool.clone();
        let second = tokio::spawn(async move { sqlx::query(call).execute(&pool).await });
        db.until_blocked_by(holder).await;
        let is_known: bool = db
            .value(&format!(
                "select backend_xid is not null from pg_stat_activity where {holder} = any (pg_blocking_pids(pid))"
            ))
            .await;
        assert!(is_known, "{call}");
        first.rollback().await.unwrap();
        second.await.unwrap().unwrap();
    }
}
