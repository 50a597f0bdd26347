//! Somebody leaves a transaction open that has written something. What its requests are, nobody can see until it is over; until then
//! it costs the others nothing, and afterwards they take their place.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options};
use seatkeeper_jobs::{Request, postgres as door};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::model::load::seed;
use crate::old_snapshots::{
    A_TURN, USERS, answer_many, answer_one_by_one, answer_seq, ask, assert_answered_in_turn, enroll,
    enroll_in, entries_read, one_at_a_time, run, stage,
};
use crate::support::plain_sql::pid;
use crate::support::{assert_follows, until};

/// Batches that are answered beside it.
const TURNS: i64 = 80;

/// How often each entry of the queue was read for the requests that were answered.
async fn assert_read_little(pool_of_test: &PgPool, own: PgPool, what: &str) {
    let (read, answered) = (entries_read(pool_of_test, own).await, TURNS * A_TURN);
    println!("{what}: {read} entries of the queue read for {answered} requests");
    // All that were answered before, each time, were two hundred.
    assert!(read < 40 * answered, "{what}: {read} entries of the queue read for {answered} requests");
}

#[tokio::test]
async fn a_write_left_open_in_another_database_costs_a_claim_nothing() {
    let (server, pool_of_test) = stage().await;
    run(&pool_of_test, "vacuum analyze seatkeeper.requests").await;
    run(&pool_of_test, "create database elsewhere").await;
    let options = connect_options(&server.url()).unwrap().database("elsewhere");
    let mut elsewhere = PgConnection::connect_with(&options).await.unwrap();
    elsewhere.execute("begin; create table left_open ()").await.unwrap();
    let (_, own) = answer_many(&server, &pool_of_test, TURNS).await;
    assert_read_little(&pool_of_test, own, "elsewhere").await;
    elsewhere.close().await.unwrap();
    pool_of_test.close().await;
    server.remove().await;
}

#[tokio::test]
async fn a_request_left_uncommitted_costs_a_claim_nothing_and_takes_its_place_when_it_comes() {
    let (server, pool_of_test) = stage().await;
    run(&pool_of_test, "vacuum analyze seatkeeper.requests").await;
    let mut open = pool_of_test.begin().await.unwrap();
    let late = ask(&mut open, enroll(300)).await;
    let (mut worker, own) = answer_many(&server, &pool_of_test, TURNS).await;
    open.commit().await.unwrap();
    let afterwards = ask(&mut pool_of_test.acquire().await.unwrap(), enroll(301)).await;
    let turn = worker.turn().await;
    assert!(matches!(&turn, Turn::Answered(report) if report.told.len() == 2), "{turn:?}");
    assert!(answer_seq(&pool_of_test, late).await < answer_seq(&pool_of_test, afterwards).await);
    assert_read_little(&pool_of_test, own, "uncommitted").await;
    pool_of_test.close().await;
    server.remove().await;
}

/// A transaction that has asked for a place and is left open.
async fn left_open(pool: &PgPool, user: i64) -> (Transaction<'static, Postgres>, Uuid) {
    let mut open = pool.begin().await.unwrap();
    let id = ask(&mut open, enroll(user)).await;
    (open, id)
}

#[tokio::test]
async fn whoever_commits_last_is_answered_in_turn_whoever_else_is_still_open() {
    let (server, pool) = stage().await;
    let mut worker = one_at_a_time(&pool);
    // Each is passed by on its own, and the third has a savepoint.
    answer_one_by_one(&pool, &mut worker, 1..30).await;
    let (first, of_first) = left_open(&pool, 200).await;
    answer_one_by_one(&pool, &mut worker, 30..60).await;
    let (second, of_second) = left_open(&pool, 201).await;
    answer_one_by_one(&pool, &mut worker, 60..90).await;
    let mut third = pool.begin().await.unwrap();
    sqlx::raw_sql("create table other (); savepoint before").execute(&mut *third).await.unwrap();
    let of_third = ask(&mut third, enroll(202)).await;
    let (fourth, _) = left_open(&pool, 203).await;
    answer_one_by_one(&pool, &mut worker, 90..130).await;

    let number = async |id: Uuid| -> i64 {
        sqlx::query_scalar("select seq from seatkeeper.requests where request_id = $1")
            .bind(id)
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    fourth.rollback().await.unwrap();
    for (what, open, late, user) in [
        ("the second", second, of_second, 210),
        ("the third", third, of_third, 211),
        ("the first", first, of_first, 212),
    ] {
        open.commit().await.unwrap();
        let afterwards = ask(&mut pool.acquire().await.unwrap(), enroll(user)).await;
        assert!(number(late).await < number(afterwards).await);
        assert_answered_in_turn(&pool, &mut worker, late, afterwards, what).await;
        let users = (user - 210) * 30 + 220;
        answer_one_by_one(&pool, &mut worker, users..users + 30).await;
    }
    pool.close().await;
    server.remove().await;
}

#[tokio::test]
async fn who_waits_for_another_transaction_is_not_taken_for_it() {
    let (server, pool) = stage().await;
    let mut worker = one_at_a_time(&pool);
    answer_one_by_one(&pool, &mut worker, 1..30).await;
    let (first, id) = left_open(&pool, 200).await;
    let (mut second, late) = left_open(&pool, 201).await;
    let holder = pid(&mut second).await;
    // The second sends what the first has sent: it waits for what becomes of that.
    let request = Request::new(id, enroll(200));
    let again = door::enqueue(&mut second, &request);
    let (receipt, ()) = tokio::join!(again, async {
        until("it waits", async || {
            let waits = format!("select cardinality(pg_blocking_pids({holder})) > 0");
            sqlx::query_scalar::<_, bool>(AssertSqlSafe(waits)).fetch_one(&pool).await.unwrap()
        })
        .await;
        answer_one_by_one(&pool, &mut worker, 30..80).await;
        first.rollback().await.unwrap();
    });
    assert!(!receipt.unwrap().duplicate);
    answer_one_by_one(&pool, &mut worker, 80..90).await;
    second.commit().await.unwrap();
    let afterwards = ask(&mut pool.acquire().await.unwrap(), enroll(202)).await;
    assert_answered_in_turn(&pool, &mut worker, late, id, "who waited").await;
    let turn = worker.turn().await;
    assert!(answer_seq(&pool, afterwards).await.is_some(), "{turn:?}");
    pool.close().await;
    server.remove().await;
}

#[tokio::test]
async fn who_commits_while_a_batch_is_on_its_way_is_not_overtaken() {
    let (server, pool) = stage().await;
    let mut worker = one_at_a_time(&pool);
    answer_one_by_one(&pool, &mut worker, 1..30).await;
    let (open, late) = left_open(&pool, 200).await;
    answer_one_by_one(&pool, &mut worker, 30..80).await;

    // The batch has seen that it is open, and waits on its way to what is ready.
    let mut owner = pool.begin().await.unwrap();
    let holder = pid(&mut owner).await;
    sqlx::raw_sql("lock seatkeeper.fill_marks in access exclusive mode").execute(&mut *owner).await.unwrap();
    let (turn, afterwards) = tokio::join!(worker.turn(), async {
        until("the batch waits", async || {
            let waits = format!(
                "select exists (select from pg_stat_activity where {holder} = any (pg_blocking_pids(pid)))"
            );
            sqlx::query_scalar::<_, bool>(AssertSqlSafe(waits)).fetch_one(&pool).await.unwrap()
        })
        .await;
        open.commit().await.unwrap();
        let afterwards = ask(&mut pool.acquire().await.unwrap(), enroll(201)).await;
        owner.rollback().await.unwrap();
        afterwards
    });
    assert!(matches!(turn, Turn::Answered(_)), "{turn:?}");
    assert!(answer_seq(&pool, late).await.is_some(), "another one was answered instead");
    assert_eq!(answer_seq(&pool, afterwards).await, None);
    pool.close().await;
    server.remove().await;
}

/// A request as the test knows it.
struct Asked {
    id: Uuid,
    lane: i64,
    /// When it was asked, and when that was committed, in steps of the test.
    asked: usize,
    committed: Option<usize>,
}

/// A transaction that is open, and the requests in it, by their places in the list of all.
type Open = (Transaction<'static, Postgres>, Vec<usize>);

/// Transactions come, ask and go in an order that is drawn, and two workers answer what there is.
#[tokio::test]
async fn nobody_is_overtaken_whatever_is_open() {
    const STEPS: usize = 1_500;
    let seed = seed();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let (server, pool) = stage().await;
    let mut workers: Vec<Worker> = [1, 3]
        .map(|batch| {
            let limits = Limits { batch, ..Limits::default() };
            Worker::new(Transactions::new(pool.clone(), Timeouts::default()), limits)
        })
        .into();
    let mut asked: Vec<Asked> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for step in 0..STEPS {
        let lane = random.random_range(1..=2);
        let user = random.random_range(1..=USERS);
        match random.random_range(0..20) {
            0 if open.len() < 6 => open.push((pool.begin().await.unwrap(), Vec::new())),
            1..=2 => {
                if let Some(at) = (0..open.len()).collect::<Vec<_>>().choose(&mut random) {
                    let (transaction, requests) = &mut open[*at];
                    let id = ask(transaction, enroll_in(user, lane)).await;
                    requests.push(asked.len());
                    asked.push(Asked { id, lane, asked: step, committed: None });
                }
            }
            3 if !open.is_empty() && random.random_bool(0.5) => {
                let (transaction, requests) = open.swap_remove(random.random_range(0..open.len()));
                if random.random_bool(0.7) {
                    transaction.commit().await.unwrap();
                    requests.iter().for_each(|at| asked[*at].committed = Some(step));
                } else {
                    transaction.rollback().await.unwrap();
                }
            }
            4..=11 => {
                let id = ask(&mut pool.acquire().await.unwrap(), enroll_in(user, lane)).await;
                asked.push(Asked { id, lane, asked: step, committed: Some(step) });
            }
            _ => {
                workers[random.random_range(0..2)].turn().await;
            }
        }
    }
    for (transaction, requests) in open {
        transaction.commit().await.unwrap();
        requests.iter().for_each(|at| asked[*at].committed = Some(STEPS));
    }
    while !matches!(workers[0].turn().await, Turn::Idle) {}

    let mut answered = Vec::new();
    for request in asked.iter().filter(|request| request.committed.is_some()) {
        let place = answer_seq(&pool, request.id).await;
        answered
            .push((request, place.unwrap_or_else(|| panic!("seed {seed}: {} is not answered", request.id))));
    }
    for (before, place_before) in &answered {
        for (after, place_after) in &answered {
            let is_later = before.committed.is_some_and(|committed| committed < after.asked);
            assert!(
                !is_later || before.lane != after.lane || place_before < place_after,
                "seed {seed}: {} was committed in step {:?}, and {}, asked in step {}, was answered before it",
                before.id,
                before.committed,
                after.id,
                after.asked
            );
        }
    }
    assert_follows(&pool).await;
    pool.close().await;
    server.remove().await;
}
