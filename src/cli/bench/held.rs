//! Beside a snapshot that somebody holds open, nothing that was written since can be cleared away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::asks::HOT;
use super::figures::per_second;
use super::growth::Point;
use super::server::Server;
use super::stage::{CELL, Template};
use super::{measure, work};
use crate::cli::Failure;

/// A hot load that goes on, looked at again and again, beside a snapshot that somebody holds open, or not.
///
/// `users` ask in turn, for as long as `lasts`; one looks every `look`.
pub async fn held_snapshot(
    server: &Server,
    (lasts, look): (Duration, Duration),
    users: i64,
    hold: bool,
) -> Result<Vec<Point>, Failure> {
    server.make(CELL, Some(Template::Enroll.name()), 1).await?;
    server.count_pages(CELL).await?;
    let pool = server.connect(CELL, 8);
    sqlx::query(
        "with added as (insert into seatkeeper.users (user_id, credit_balance)
                        select g, 1000 from generate_series((select max(user_id) + 1 from seatkeeper.users), $1) g
                        returning user_id)
         insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after)
         select user_id, 'OPENING_BALANCE', 1000, 1000 from added",
    )
    .bind(users)
    .execute(&pool)
    .await?;
    sqlx::raw_sql("vacuum analyze").execute(&pool).await?;
    let mut worker = work::Steady::new(&pool, super::MOST);
    let feeding = CancellationToken::new();
    let fed = tokio::spawn(feed(server.connect(CELL, 1), users, worker.answered(), feeding.clone()));
    let mut snapshot = pool.begin_with("begin isolation level repeatable read").await?;
    if hold {
        sqlx::query("select count(*) from seatkeeper.semesters").execute(&mut *snapshot).await?;
    }
    let mut points = Vec::new();
    let began = Instant::now();
    // One look says nothing about how it goes on, however long it took.
    while points.len() < 2 || began.elapsed() < lasts {
        let begun = Instant::now();
        let done = worker.answer_for(look).await?;
        points.push(Point {
            size: i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX),
            per_second: per_second(done.answered, begun.elapsed()),
            requests_per_sync: None,
            cpu_ms: None,
            pages_per_claim: measure::claimed_pages(server, done).await?,
        });
    }
    feeding.cancel();
    fed.await.map_err(|error| Failure::unable(error.to_string()))??;
    snapshot.rollback().await?;
    pool.close().await;
    Ok(points)
}

/// Keeps thousands of requests waiting in the hot semester. What waits is what was asked less what was answered: whoever
/// counted it in the table would read, beside a snapshot, all that was answered since.
async fn feed(
    pool: PgPool,
    users: i64,
    answered: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut next: i64 = 0;
    while !stop.is_cancelled() {
        let answered = i64::try_from(answered.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        if next - answered >= 20_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        sqlx::query(
            "insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id)
             select gen_random_uuid(), case (g / $2) % 2 when 0 then 'enroll' else 'unenroll' end,
                    jsonb_build_object('user_id', u.user_id, 'semester_id', $1), $1, u.user_id
             from generate_series($3, $3 + 1999) g, lateral (select 1 + g % $2) u (user_id) order by g",
        )
        .bind(HOT)
        .bind(users)
        .bind(next)
        .execute(&pool)
        .await?;
        next += 2_000;
    }
    pool.close().await;
    Ok(())
}
