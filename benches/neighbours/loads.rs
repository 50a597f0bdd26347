//! What others bring.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use sqlx::{Connection, Executor, PgConnection, PgPool};

use super::stage::{LANES, QUIET, USERS, run};

/// How long what is left open stays open.
const OPEN_FOR: Duration = Duration::from_secs(60);

/// A load: its name, and what brings it. It is over when that has ended and nothing is ready any more.
pub struct Load {
    pub name: &'static str,
    pub bring: fn(PgPool) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

pub const ALL: &[Load] = &[
    Load { name: "nothing", bring: |_| Box::pin(async {}) },
    Load { name: "three grants for each of 10,000 users", bring: |pool| Box::pin(grants(pool)) },
    Load { name: "an uncommitted request, and a busy lane", bring: |pool| Box::pin(uncommitted(pool)) },
    Load { name: "a write in another database, and a busy lane", bring: |pool| Box::pin(elsewhere(pool)) },
    Load { name: "60,000 semesters that do not exist", bring: |pool| Box::pin(unknown(pool)) },
    Load { name: "60,000 requests over 199 lanes", bring: |pool| Box::pin(many_lanes(pool)) },
    Load { name: "40,000 requests in one lane", bring: |pool| Box::pin(one_lane(pool)) },
    Load { name: "800,000 requests for next year", bring: |pool| Box::pin(far_future(pool)) },
    Load { name: "a balance that would overflow, 500 times", bring: |pool| Box::pin(overflow(pool)) },
];

/// Enqueues through the door, a thousand in a call: `kind`, and a payload for each `n` of this range.
fn enqueue(kind: &str, payload: &str, from: i64, count: i64) -> String {
    format!(
        "do $$ begin for k in 0 .. ({count} - 1) / 1000 loop
             perform count(*) from seatkeeper.enqueue_many((
                 select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', '{kind}', 'payload', {payload}))
                 from generate_series({from} + k * 1000, {from} + least((k + 1) * 1000, {count}) - 1) n));
         end loop; end $$"
    )
}

/// Enrollments in one lane.
pub fn hot(count: i64) -> String {
    enqueue("enroll", &format!("jsonb_build_object('user_id', 1 + n % {USERS}, 'semester_id', 1)"), 0, count)
}

async fn grants(pool: PgPool) {
    let payload = format!("jsonb_build_object('user_id', 1 + n % {USERS}, 'amount', 1)");
    run(&pool, &enqueue("grant_credits", &payload, 0, 3 * USERS)).await;
}

/// A lane that is asked for something all the time.
async fn keep_busy(pool: &PgPool) {
    let began = Instant::now();
    let mut from = 0;
    while began.elapsed() < OPEN_FOR {
        let payload = format!("jsonb_build_object('user_id', 1 + n % {USERS}, 'semester_id', 1)");
        run(pool, &enqueue("enroll", &payload, from, 60)).await;
        from += 60;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn uncommitted(pool: PgPool) {
    let mut open = pool.begin().await.unwrap();
    open.execute(
        "select seatkeeper.enqueue(gen_random_uuid(), 'enroll', '{\"user_id\": 1, \"semester_id\": 1}')",
    )
    .await
    .unwrap();
    keep_busy(&pool).await;
    open.rollback().await.unwrap();
}

async fn elsewhere(pool: PgPool) {
    let options = pool.connect_options().as_ref().clone().database("postgres");
    let mut open = PgConnection::connect_with(&options).await.unwrap();
    open.execute("begin; create table left_open ()").await.unwrap();
    keep_busy(&pool).await;
    open.close().await.unwrap();
}

async fn unknown(pool: PgPool) {
    let payload = format!("jsonb_build_object('user_id', 1, 'semester_id', {LANES} + 1 + n)");
    run(&pool, &enqueue("enroll", &payload, 0, 60_000)).await;
}

async fn many_lanes(pool: PgPool) {
    let payload = format!(
        "jsonb_build_object('user_id', 1 + n / {LANES}, 'semester_id', case n % {LANES} + 1 when {QUIET} then 1 else n % {LANES} + 1 end)"
    );
    run(&pool, &enqueue("enroll", &payload, 0, 60_000)).await;
}

async fn one_lane(pool: PgPool) {
    run(&pool, &hot(40_000)).await;
}

async fn far_future(pool: PgPool) {
    run(
        &pool,
        "insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id, run_at, hold)
         select gen_random_uuid(), 'enroll', '{\"user_id\": 1, \"semester_id\": 1}', 1, 1, now() + interval '1 year' + n * interval '1 second',
                'scheduled' from generate_series(1, 800000) n",
    )
    .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
}

async fn overflow(pool: PgPool) {
    run(&pool, "update seatkeeper.users set credit_balance = 9223372036854775807 where user_id <= 100").await;
    run(&pool, &enqueue("grant_credits", "jsonb_build_object('user_id', 1 + n % 100, 'amount', 1)", 0, 500))
        .await;
}
