//! What a roll call costs the workers: one hot semester that ever new users enroll in and leave, as on the day that
//! enrollment opens, without and with a roll call beside it, in alternation, on a database of many rows. What carries over
//! is the ratio.
//!
//! `scripts/roll-call-under-load [ROWS [ROUNDS]]` makes the database and calls this with its URL in `ROLL_CALL_URL`;
//! without it there is nothing to measure on.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::invariants::{Run, Selection, Trigger, call_the_roll};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};
use sqlx::PgPool;

/// The semester of the hot load, which nobody else is in.
const SEMESTER: i64 = 900_000_000;
/// How many users enroll, and then leave, at a time.
const USERS: i64 = 2_000;
const WORKERS: usize = 2;
/// The users whose turn has been: each comes once, as long as there are others.
static SERVED: AtomicI64 = AtomicI64::new(0);
/// The least that a round lasts.
const AT_LEAST: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let Ok(url) = std::env::var("ROLL_CALL_URL") else {
        println!(
            "nothing to measure on: `scripts/roll-call-under-load` makes a database and sets ROLL_CALL_URL"
        );
        return;
    };
    let rounds: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(3);
    let pool = pool(connect_options(&url).unwrap(), 40);
    seed(&pool).await;
    let rows: i64 = sqlx::query_scalar(
        "select sum(reltuples)::bigint from pg_class where relnamespace = 'seatkeeper'::regnamespace and relkind = 'r'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    println!(
        "{rows} rows; {USERS} users at a time enroll in one hot semester and leave it, {WORKERS} workers, {rounds} rounds"
    );

    let alone = roll_call(&pool).await;
    println!("\nthe roll call with nothing beside it");
    for outcome in &alone.results {
        println!(
            "  {:8} {:9} {:8.2} s",
            outcome.invariant,
            outcome.status.as_str(),
            outcome.seconds.unwrap_or_default()
        );
    }
    let seconds = |run: &Run| (run.finished_at - run.started_at).as_seconds_f64();
    println!("  all of it {:18.2} s", seconds(&alone));

    println!(
        "\nrequests/s\n{:>22} {:>22} {:>6} {:>6} {:>22} {:>6} {:>22} {:>6}",
        "alone",
        "beside the roll call",
        "ratio",
        "s",
        "beside a snapshot",
        "ratio",
        "beside a busy backend",
        "ratio"
    );
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        sqlx::raw_sql(
            "vacuum seatkeeper.requests, seatkeeper.enrollments, seatkeeper.users, seatkeeper.semesters",
        )
        .execute(&pool)
        .await
        .unwrap();
        let without = load(&pool, None).await;
        let (roll, with) = {
            let stop = Arc::new(AtomicBool::new(false));
            let (beside, ended) = (pool.clone(), stop.clone());
            let roll = tokio::spawn(async move {
                let run = roll_call(&beside).await;
                ended.store(true, Ordering::Relaxed);
                run
            });
            let with = load(&pool, Some(stop)).await;
            (roll.await.unwrap(), with)
        };
        // The same time with a snapshot that nobody works in, and with a statement that does nothing but keep one
        // processor busy: what is due to dead rows that cannot be cleared away, and what to the lack of a processor.
        let took = (roll.finished_at - roll.started_at).to_std().unwrap();
        let held = beside(&pool, "begin isolation level repeatable read read only", "select 1", took).await;
        let busy =
            beside(&pool, "begin", "select sum(sqrt(n)) from generate_series(1, 2000000000) n", took).await;
        ratios.push(with.0 / without.0);
        let figures = |(rate, p99): (f64, f64)| format!("{rate:.0} (p99 {p99:.0} ms)");
        println!(
            "{:>22} {:>22} {:>6.2} {:>6.1} {:>22} {:>6.2} {:>22} {:>6.2}",
            figures(without),
            figures(with),
            with.0 / without.0,
            took.as_secs_f64(),
            figures(held),
            held.0 / without.0,
            figures(busy),
            busy.0 / without.0
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
}

async fn roll_call(pool: &PgPool) -> Run {
    call_the_roll(pool, &Selection::all(), Trigger::Manual, Duration::from_secs(300)).await.unwrap()
}

/// The load beside a connection that has begun a transaction and is in that statement, for so long.
async fn beside(
    pool: &PgPool,
    begin: &'static str,
    statement: &'static str,
    lasting: Duration,
) -> (f64, f64) {
    let mut connection = pool.acquire().await.unwrap().detach();
    sqlx::query(begin).execute(&mut connection).await.unwrap();
    let process: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, canceller) = (stop.clone(), pool.clone());
    let waiting = tokio::spawn(async move {
        tokio::time::sleep(lasting).await;
        ended.store(true, Ordering::Relaxed);
        sqlx::query("select pg_terminate_backend($1)").bind(process).execute(&canceller).await.unwrap();
    });
    let working = tokio::spawn(async move {
        // Ends when it is terminated, or is idle until then.
        drop(sqlx::query(statement).execute(&mut connection).await);
        connection
    });
    let measured = load(pool, Some(stop)).await;
    waiting.await.unwrap();
    drop(working.await.unwrap());
    measured
}

async fn seed(pool: &PgPool) {
    sqlx::query(
        "insert into seatkeeper.semesters (semester_id, code, status) values ($1, 'HOT', 'ENROLLMENT_OPEN')
         on conflict do nothing",
    )
    .bind(SEMESTER)
    .execute(pool)
    .await
    .unwrap();
}

/// Works off enrolls and unenrolls of all users in turn, until it lasted long enough and `until` is set. Gives requests a
/// second, and the 99th percentile of what one user's pass took in milliseconds.
async fn load(pool: &PgPool, until: Option<Arc<AtomicBool>>) -> (f64, f64) {
    let began = Instant::now();
    let mut passes = Vec::new();
    let mut workers = hire(pool);
    let mut requests = 0;
    let everybody: i64 =
        sqlx::query_scalar("select count(*) from seatkeeper.users").fetch_one(pool).await.unwrap();
    while began.elapsed() < AT_LEAST || until.as_ref().is_some_and(|until| !until.load(Ordering::Relaxed)) {
        let served = SERVED.fetch_add(USERS, Ordering::Relaxed) % (everybody - USERS);
        let pass = Instant::now();
        for kind in ["enroll", "unenroll"] {
            sqlx::query(
                "select count(*) from seatkeeper.enqueue_many((
                     select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', $1::text,
                         'payload', jsonb_build_object('user_id', u.user_id, 'semester_id', $3::bigint)))
                     from (select user_id from seatkeeper.users where user_id > $2 order by user_id limit $4) u))",
            )
            .bind(kind)
            .bind(served)
            .bind(SEMESTER)
            .bind(USERS)
            .execute(pool)
            .await
            .unwrap();
            workers = drain(workers).await;
            requests += USERS;
        }
        passes.push(pass.elapsed().as_secs_f64() * 1_000.0);
    }
    passes.sort_by(f64::total_cmp);
    (requests as f64 / began.elapsed().as_secs_f64(), passes[(passes.len() - 1) * 99 / 100])
}

/// Two workers, as they stay in a process: they remember what they have learnt about the lane.
fn hire(pool: &PgPool) -> Vec<Worker> {
    let transactions = Transactions::new(pool.clone(), Timeouts::default());
    (0..WORKERS).map(|_| Worker::new(transactions.clone(), Limits::default())).collect()
}

async fn drain(workers: Vec<Worker>) -> Vec<Worker> {
    let drained: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            tokio::spawn(async move {
                loop {
                    match worker.turn().await {
                        Turn::Idle => return worker,
                        // All of the hot lane is held by the other worker.
                        Turn::Contended => tokio::time::sleep(Duration::from_millis(2)).await,
                        Turn::Answered(_) | Turn::Again(Duration::ZERO) => {}
                        other => panic!("trouble in a measurement: {other:?}"),
                    }
                }
            })
        })
        .collect();
    let mut workers = Vec::new();
    for worker in drained {
        workers.push(worker.await.unwrap());
    }
    workers
}
