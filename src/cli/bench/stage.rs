//! The databases that measurements are made on: copies of templates in which everybody is rich and enrolled, by requests
//! that were answered like any other, so that an audit can follow every balance.

use std::time::Duration;

use rand::RngCore as _;
use rand::rngs::StdRng;
use seatkeeper::postgres;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::postgres::enqueue_many;
use seatkeeper_jobs::{Job, Request};
use sqlx::PgPool;
use uuid::Uuid;

use super::asks::{Ask, HOT, HOT_SESSIONS, SESSIONS, Scale, What, home};
use super::server::Server;
use super::work;
use crate::cli::Failure;

/// What everybody is given, and what a semester costs.
const CREDITS: i64 = 1_000_000;
const COST: i64 = 10;
/// Requests that are sent in one call.
const CHUNK: usize = 2_000;

/// What a measurement begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Users with credits, semesters without limits.
    Enroll,
    /// Everybody enrolled in the hot semester and in another one, sessions with too few places.
    Bookings,
    /// A long queue on the hot semester.
    Waiting,
}

impl Template {
    /// The name of its database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Bookings => "bookings",
            Self::Waiting => "waiting",
        }
    }
}

/// Makes the templates.
pub async fn prepare(server: &Server, scale: &Scale, random: &mut StdRng) -> Result<(), Failure> {
    let pool = server.make(Template::Enroll.name(), None, 4).await?;
    postgres::migrate(&pool).await.map_err(|error| Failure::unable(error.to_string()))?;
    sqlx::raw_sql(include_str!("usual.sql")).execute(&pool).await?;
    if server.counts_pages {
        sqlx::raw_sql("create extension pg_stat_statements").execute(&pool).await?;
    }
    catalog(&pool, scale).await?;
    let grants = (1..=scale.users).map(|user| {
        let amount = Amount::new(CREDITS).map_err(impossible)?;
        let job = GrantCredits { user_id: user.try_into().map_err(impossible)?, amount, note: None };
        Ok(Request::new(drawn_id(random), Job::from(job)))
    });
    settle(pool, grants.collect::<Result<_, Failure>>()?).await?;

    let pool = server.make(Template::Bookings.name(), Some(Template::Enroll.name()), 4).await?;
    sessions(&pool, scale).await?;
    let enrolls = (1..=scale.users).flat_map(|user| [(user, HOT), (user, home(user, scale))]).map(
        |(user, semester)| Ask { id: drawn_id(random), what: What::Enroll { user, semester } }.request(),
    );
    settle(pool, enrolls.collect::<Result<_, _>>().map_err(impossible)?).await?;

    let pool = server.make(Template::Waiting.name(), Some(Template::Enroll.name()), 4).await?;
    wait(&pool, scale).await?;
    pool.close().await;
    Ok(())
}

fn drawn_id(random: &mut StdRng) -> Uuid {
    Uuid::from_u64_pair(random.next_u64(), random.next_u64())
}

fn impossible(error: impl std::fmt::Display) -> Failure {
    Failure::unable(format!("a request could not be written: {error}"))
}

/// Asks and answers, and lets go of the database.
async fn settle(pool: PgPool, requests: Vec<Request>) -> Result<(), Failure> {
    send(&pool, &requests).await?;
    sqlx::raw_sql("analyze").execute(&pool).await?;
    work::answer(&pool, 500, 1, usize::MAX).await?;
    let left: i64 = sqlx::query_scalar(
        "select count(*) from seatkeeper.requests where outcome is distinct from 'applied'",
    )
    .fetch_one(&pool)
    .await?;
    if left > 0 {
        return Err(Failure::unable(format!("{left} requests of the preparation were not applied")));
    }
    sqlx::raw_sql("vacuum analyze").execute(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Asks, in this order.
pub async fn ask(pool: &PgPool, asks: &[Ask]) -> Result<(), Failure> {
    let requests = asks.iter().map(Ask::request).collect::<Result<Vec<_>, _>>();
    send(pool, &requests.map_err(impossible)?).await
}

/// Sends requests, in their order.
async fn send(pool: &PgPool, requests: &[Request]) -> Result<(), Failure> {
    let mut connection = pool.acquire().await?;
    for chunk in requests.chunks(CHUNK) {
        enqueue_many(&mut connection, chunk)
            .await
            .map_err(|error| Failure::unable(format!("requests were not accepted: {error}")))?;
    }
    Ok(())
}

async fn catalog(pool: &PgPool, scale: &Scale) -> Result<(), Failure> {
    sqlx::query("insert into seatkeeper.users (user_id) select generate_series(1, $1::bigint)")
        .bind(scale.users)
        .execute(pool)
        .await?;
    sqlx::query(
        "insert into seatkeeper.semesters (semester_id, code, status, enrollment_cost)
         select g, 'S' || g, 'ENROLLMENT_OPEN', $2 from generate_series(1, $1::bigint) g",
    )
    .bind(scale.semesters)
    .bind(COST)
    .execute(pool)
    .await?;
    Ok(())
}

/// Two sessions share an hour, so that bookings meet; half of those who ask find a place.
async fn sessions(pool: &PgPool, scale: &Scale) -> Result<(), Failure> {
    let requests = i64::try_from(scale.requests).unwrap_or(i64::MAX);
    let half = |sessions: i64| i32::try_from(requests / (2 * sessions)).unwrap_or(i32::MAX).max(1);
    sqlx::query(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         select row_number() over (order by m.semester_id, n.number), m.semester_id, t.starts_at, t.starts_at + interval '2 hours',
                case when m.semester_id = $1 then $4 else $5 end
         from seatkeeper.semesters m
         cross join lateral generate_series(0, case when m.semester_id = $1 then $2 else $3 end - 1) n (number)
         cross join lateral (select date_trunc('day', clock_timestamp())
             + (30 + n.number / 2) * interval '1 day' + (9 + n.number % 2) * interval '1 hour') t (starts_at)",
    )
    .bind(HOT)
    .bind(HOT_SESSIONS)
    .bind(SESSIONS)
    .bind(half(HOT_SESSIONS))
    .bind(half((scale.semesters - 1) * SESSIONS))
    .execute(pool)
    .await?;
    Ok(())
}

/// Everybody asks for the hot semester, again and again, until so many requests wait behind those that will be answered.
pub async fn wait(pool: &PgPool, scale: &Scale) -> Result<(), Failure> {
    let all = scale.waiting + i64::try_from(scale.requests).unwrap_or(i64::MAX);
    sqlx::query(
        "insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id)
         select gen_random_uuid(), 'enroll', jsonb_build_object('user_id', u.user_id, 'semester_id', $1), $1, u.user_id
         from generate_series(1, $2) g, lateral (select 1 + (g - 1) % $3) u (user_id)
         order by g",
    )
    .bind(HOT)
    .bind(all)
    .bind(scale.users)
    .execute(pool)
    .await?;
    sqlx::raw_sql("vacuum analyze").execute(pool).await?;
    Ok(())
}

/// A copy of a template for one measurement, and connections to it.
pub async fn cell(server: &Server, template: Template, count_pages: bool) -> Result<PgPool, Failure> {
    server.make(CELL, Some(template.name()), 1).await?;
    if count_pages {
        server.count_pages(CELL).await?;
    }
    let pool = server.connect(CELL, 70);
    // The file of the copy is on the disk, and the next checkpoint some minutes away.
    sqlx::raw_sql("checkpoint").execute(&server.admin).await?;
    Ok(pool)
}

/// The database of the measurement that is under way.
pub const CELL: &str = "cell";
/// Long enough for a server to notice that a client is gone.
pub const PATIENCE: Duration = Duration::from_secs(20);
