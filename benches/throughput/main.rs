//! Seatkeeper's whole path (claim, decide, effect, ledger, answer, completion, commit) beside the usual way (one
//! plpgsql call and one transaction for each request), in one run, on one server with PostgreSQL's default durability,
//! the same schema, constraints and indexes. Rounds are shuffled; what carries over is the ratios and the requests
//! per WAL sync, not the absolute rates: disks differ from minute to minute.
//!
//! `cargo bench --bench throughput -- [ROUNDS [REQUESTS]]`
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{MIGRATOR, Timeouts, Transactions, pool};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

const USERS: i64 = 100_000;
const SEMESTERS: i64 = 1_000;
const CLIENTS: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    OneByOne,
    Batches { limit: usize, workers: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Hot,
    Spread,
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    rate: f64,
    per_sync: f64,
    cpu_ms: f64,
}

#[tokio::main]
async fn main() {
    // `cargo bench` passes --bench; what is left is ours.
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let rounds = numbers.first().copied().unwrap_or(3);
    let requests = numbers.get(1).copied().unwrap_or(20_000);
    let seed: u64 = rand::random();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    println!(
        "seed={seed} rounds={rounds} requests={requests} users={USERS} semesters={SEMESTERS} clients={CLIENTS}"
    );

    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let embedded = Embedded::start(Options::new(dir.path())).await.unwrap();
    let pool = pool(embedded.connect_options("postgres"), 60);
    MIGRATOR.run(&pool).await.unwrap();
    sqlx::raw_sql(include_str!("one_by_one.sql")).execute(&pool).await.unwrap();

    let ways = [
        Way::OneByOne,
        Way::Batches { limit: 1, workers: 1 },
        Way::Batches { limit: 100, workers: 1 },
        Way::Batches { limit: 500, workers: 1 },
        Way::Batches { limit: 500, workers: 2 },
    ];
    let mut cells: Vec<_> =
        ways.into_iter().flat_map(|way| [Shape::Hot, Shape::Spread].map(|s| (s, way))).collect();
    let mut figures: BTreeMap<(Shape, Way), Vec<Figures>> = BTreeMap::new();
    for _ in 0..rounds {
        cells.shuffle(&mut random);
        for &(shape, way) in &cells {
            // What takes one transaction each is slow: fewer of them say as much.
            let slow = matches!(way, Way::OneByOne | Way::Batches { limit: 1, .. });
            let count = if slow { requests / 5 } else { requests };
            let measured = measure(&pool, &embedded, shape, way, count, &mut random).await;
            figures.entry((shape, way)).or_default().push(measured);
        }
    }
    report(&figures);
    pool.close().await;
    embedded.remove().await.unwrap();
}

fn report(figures: &BTreeMap<(Shape, Way), Vec<Figures>>) {
    println!(
        "{:7} {:38} {:>10} {:>14} {:>10} {:>10}",
        "shape", "way", "median/s", "requests/sync", "CPU ms", "ratio"
    );
    for (&(shape, way), rounds) in figures {
        let base = figures[&(shape, Way::OneByOne)].iter();
        let ratios: Vec<f64> = rounds.iter().zip(base).map(|(round, base)| round.rate / base.rate).collect();
        println!(
            "{:7} {:38} {:10.0} {:14.1} {:10.3} {:>10}",
            format!("{shape:?}"),
            format!("{way:?}"),
            median(rounds.iter().map(|round| round.rate)),
            median(rounds.iter().map(|round| round.per_sync)),
            median(rounds.iter().map(|round| round.cpu_ms)),
            format!(
                "{:.1}-{:.1}",
                ratios.iter().copied().fold(f64::MAX, f64::min),
                ratios.iter().copied().fold(0.0, f64::max)
            ),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn measure(
    pool: &PgPool,
    embedded: &Embedded,
    shape: Shape,
    way: Way,
    count: usize,
    random: &mut ChaCha8Rng,
) -> Figures {
    reset(pool).await;
    let asked: Vec<(Uuid, i64, i64)> = (0..count)
        .map(|_| {
            let semester = if shape == Shape::Hot { 1 } else { random.random_range(1..=SEMESTERS) };
            (Uuid::from_u128(random.random()), random.random_range(1..=USERS), semester)
        })
        .collect();
    if matches!(way, Way::Batches { .. }) {
        enqueue(pool, &asked).await;
    }
    sqlx::raw_sql("analyze; checkpoint").execute(pool).await.unwrap();

    let (syncs, cpu) = (wal_syncs(pool).await, server_cpu(embedded));
    // Connections of its own, closed before the count: a server process reports its syncs at the latest when it ends.
    let measured = seatkeeper::postgres::pool(embedded.connect_options("postgres"), 60);
    let began = Instant::now();
    match way {
        Way::OneByOne => one_by_one(&measured, asked.clone()).await,
        Way::Batches { limit, workers } => batches(&measured, limit, workers).await,
    }
    let took = began.elapsed();
    measured.close().await;
    let cpu = server_cpu(embedded) - cpu;
    let syncs = wal_syncs(pool).await - syncs;
    verify(pool, count).await;
    Figures {
        rate: count as f64 / took.as_secs_f64(),
        per_sync: count as f64 / syncs.max(1) as f64,
        cpu_ms: cpu.as_secs_f64() * 1_000.0 / count as f64,
    }
}

async fn reset(pool: &PgPool) {
    sqlx::raw_sql(AssertSqlSafe(format!(
        "alter table seatkeeper.credit_transactions disable trigger trg_ledger_append_only;
         truncate seatkeeper.credit_transactions, seatkeeper.enrollments, seatkeeper.requests, seatkeeper.catalog_changes,
             seatkeeper.attendance, seatkeeper.bookings, seatkeeper.sessions, seatkeeper.semesters, seatkeeper.users;
         alter table seatkeeper.credit_transactions enable trigger trg_ledger_append_only;
         insert into seatkeeper.users (user_id, credit_balance) select g, 1000000000 from generate_series(1, {USERS}) g;
         insert into seatkeeper.semesters (semester_id, code, status, enrollment_cost)
         select g, 'S' || g, 'ENROLLMENT_OPEN', 10 from generate_series(1, {SEMESTERS}) g"
    )))
    .execute(pool)
    .await
    .unwrap();
}

async fn enqueue(pool: &PgPool, asked: &[(Uuid, i64, i64)]) {
    for chunk in asked.chunks(5_000) {
        let items: Vec<_> = chunk
            .iter()
            .map(|(id, user, semester)| {
                serde_json::json!({ "request_id": id, "kind": "enroll",
                                    "payload": { "user_id": user, "semester_id": semester } })
            })
            .collect();
        sqlx::query("select count(*) from seatkeeper.enqueue_many($1)")
            .bind(serde_json::Value::from(items))
            .execute(pool)
            .await
            .unwrap();
    }
}

async fn one_by_one(pool: &PgPool, asked: Vec<(Uuid, i64, i64)>) {
    let (asked, next) = (Arc::new(asked), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (pool, asked, next) = (pool.clone(), asked.clone(), next.clone());
            tokio::spawn(async move {
                let mut connection = pool.acquire().await.unwrap();
                loop {
                    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(&(id, user, semester)) = asked.get(index) else { return };
                    // Semester before user, always: no deadlock, as in our own batches.
                    sqlx::query("select seatkeeper.bench_enroll($1, $2, $3)")
                        .bind(id)
                        .bind(user)
                        .bind(semester)
                        .execute(&mut *connection)
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

async fn batches(pool: &PgPool, limit: usize, workers: usize) {
    let workers: Vec<_> = (0..workers)
        .map(|_| {
            let limits = Limits { batch: limit, ..Limits::default() };
            let mut worker = Worker::new(Transactions::new(pool.clone(), Timeouts::default()), limits);
            tokio::spawn(async move {
                loop {
                    match worker.turn().await {
                        Turn::Idle => return,
                        // All of a hot lane is held by the other worker.
                        Turn::Contended => tokio::time::sleep(Duration::from_millis(2)).await,
                        // Once round the ring of lanes before it says that there is nothing left.
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

/// What was measured is right: every request answered, counters and ledger as the enrollments say.
async fn verify(pool: &PgPool, count: usize) {
    let (answered, unsound): (i64, i64) = sqlx::query_as(
        "select (select count(*) from seatkeeper.requests where status = 'done'),
                (select count(*) from seatkeeper.semesters s where s.enrolled_count <>
                    (select count(*) from seatkeeper.enrollments e where e.semester_id = s.semester_id and e.is_active))
              + (select count(*) from seatkeeper.users u
                 left join (select user_id, sum(amount) as moved from seatkeeper.credit_transactions group by user_id) t
                     using (user_id)
                 where u.credit_balance <> 1000000000 + coalesce(t.moved, 0))
              + (select count(*) from seatkeeper.requests r where r.outcome = 'applied'
                 and not exists (select from seatkeeper.enrollments e where e.enrollment_id = (r.result ->> 'enrollment_id')::bigint))",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!((usize::try_from(answered).unwrap(), unsound), (count, 0), "the measurement is void");
}

async fn wal_syncs(pool: &PgPool) -> i64 {
    // Statistics of a backend arrive with its next report; ours forces it.
    sqlx::query_scalar("select wal_sync from (select pg_stat_force_next_flush()) f, pg_stat_wal")
        .fetch_one(pool)
        .await
        .unwrap()
}

/// User and system time of all processes of the server so far, those that ended included.
fn server_cpu(embedded: &Embedded) -> Duration {
    let postmaster = embedded.server_pid().unwrap();
    let ticks: u64 = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter_map(|stat| {
            // Behind the name in parentheses: state, parent, …; times are fields 14 to 17 of the whole.
            let (head, tail) = stat.rsplit_once(')')?;
            let pid: u32 = head.split(' ').next()?.parse().ok()?;
            let fields: Vec<&str> = tail.split_whitespace().collect();
            let parent: u32 = fields.get(1)?.parse().ok()?;
            let times = if pid == postmaster { 11..15 } else { 11..13 };
            let ours = pid == postmaster || parent == postmaster;
            ours.then(|| fields[times].iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
        })
        .sum();
    Duration::from_millis(ticks * 10)
}
