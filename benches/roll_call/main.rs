//! What a roll call costs the workers: a hot load of enroll and unenroll, without and with a roll call beside it, in
//! alternation, on a database of many rows. What carries over is the ratio.
//!
//! `scripts/roll-call-under-load [ROWS [ROUNDS]]` makes the database and calls this with its URL in `ROLL_CALL_URL`;
//! without it there is nothing to measure on.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::invariants::{Run, Selection, Trigger, call_the_roll};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};
use sqlx::PgPool;

/// The semester of the hot load, which nobody else is in.
const SEMESTER: i64 = 900_000_000;
/// Its users.
const FIRST_USER: i64 = 900_000_000;
const USERS: i64 = 2_000;
const WORKERS: usize = 2;
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
        "{rows} rows; {USERS} users enroll and leave one hot semester, {WORKERS} workers, {rounds} rounds"
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
        "\n{:>24} {:>24} {:>8} {:>14}",
        "without, requests/s", "with, requests/s", "ratio", "roll call, s"
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
        // The same time with a snapshot that nobody works in: what is due to dead rows that cannot be cleaned away.
        let held = {
            let snapshot = hold(&pool).await;
            let stop = Arc::new(AtomicBool::new(false));
            let (ended, took) = (stop.clone(), roll.finished_at - roll.started_at);
            let waiting = tokio::spawn(async move {
                tokio::time::sleep(took.to_std().unwrap()).await;
                ended.store(true, Ordering::Relaxed);
            });
            let held = load(&pool, Some(stop)).await;
            waiting.await.unwrap();
            snapshot.rollback().await.unwrap();
            held
        };
        ratios.push(with.0 / without.0);
        println!(
            "{:>24} {:>24} {:>8.2} {:>14.1} {:>24} {:>8.2}",
            format!("{:.0} (p99 {:.0} ms)", without.0, without.1),
            format!("{:.0} (p99 {:.0} ms)", with.0, with.1),
            with.0 / without.0,
            seconds(&roll),
            format!("{:.0} (p99 {:.0} ms)", held.0, held.1),
            held.0 / without.0
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
}

async fn roll_call(pool: &PgPool) -> Run {
    call_the_roll(pool, &Selection::all(), Trigger::Manual, Duration::from_secs(300)).await.unwrap()
}

async fn hold(pool: &PgPool) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read read only").await.unwrap();
    sqlx::query("select 1").execute(&mut *snapshot).await.unwrap();
    snapshot
}

async fn seed(pool: &PgPool) {
    sqlx::query(
        "insert into seatkeeper.users (user_id) select $1 + g from generate_series(0, $2 - 1) g on conflict do nothing",
    )
    .bind(FIRST_USER)
    .bind(USERS)
    .execute(pool)
    .await
    .unwrap();
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
    let mut requests = 0;
    while began.elapsed() < AT_LEAST || until.as_ref().is_some_and(|until| !until.load(Ordering::Relaxed)) {
        let pass = Instant::now();
        for kind in ["enroll", "unenroll"] {
            sqlx::query(
                "select count(*) from seatkeeper.enqueue_many((
                     select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', $1::text,
                         'payload', jsonb_build_object('user_id', $2 + g, 'semester_id', $3::bigint)))
                     from generate_series(0, $4 - 1) g))",
            )
            .bind(kind)
            .bind(FIRST_USER)
            .bind(SEMESTER)
            .bind(USERS)
            .execute(pool)
            .await
            .unwrap();
            drain(pool).await;
            requests += USERS;
        }
        passes.push(pass.elapsed().as_secs_f64() * 1_000.0);
    }
    passes.sort_by(f64::total_cmp);
    (requests as f64 / began.elapsed().as_secs_f64(), passes[(passes.len() - 1) * 99 / 100])
}

async fn drain(pool: &PgPool) {
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let transactions = Transactions::new(pool.clone(), Timeouts::default());
            let mut worker = Worker::new(transactions, Limits::default());
            tokio::spawn(async move {
                loop {
                    match worker.turn().await {
                        Turn::Idle => return,
                        // All of the hot lane is held by the other worker.
                        Turn::Contended => tokio::time::sleep(Duration::from_millis(2)).await,
                        Turn::Answered(_) | Turn::Again(Duration::ZERO) => {}
                        other => panic!("trouble in a measurement: {other:?}"),
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}
