//! `bench --growth`: what becomes of the speed as the tables grow, beside a snapshot that is held open, and while old
//! requests are removed.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use rand::rngs::StdRng;
use seatkeeper::retention::retire;
use serde::Serialize;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::asks::{Ask, Load, Scale, draw};
use super::figures::{Figures, per_second};
use super::held::held_snapshot;
use super::measure::{self, Task};
use super::server::Server;
use super::stage::{self, CELL, Template};
use super::work;
use crate::cli::Failure;

/// How far it goes.
#[derive(Debug, Clone)]
struct Sizes {
    answered: Vec<i64>,
    waiting: Vec<i64>,
    semesters: Vec<i64>,
    /// Users that ask beside a snapshot, each of them a few times.
    crowd: i64,
    /// How long a snapshot is held open, and how often one looks.
    held: Duration,
    look: Duration,
}

impl Sizes {
    fn of(quick: bool) -> Self {
        if quick {
            Self {
                answered: vec![0, 5_000],
                waiting: vec![0, 5_000],
                semesters: vec![100, 500],
                crowd: 5_000,
                held: Duration::from_secs(1),
                look: Duration::from_millis(500),
            }
        } else {
            Self {
                answered: vec![0, 10_000, 100_000, 1_000_000, 5_000_000],
                waiting: vec![0, 10_000, 100_000, 1_000_000],
                semesters: vec![1_000, 10_000, 50_000],
                crowd: 500_000,
                held: Duration::from_secs(180),
                look: Duration::from_secs(10),
            }
        }
    }
}

/// What was measured at one size.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// How many there are of what grows, or seconds since the snapshot was taken.
    pub size: i64,
    pub per_second: f64,
    pub requests_per_sync: Option<f64>,
    pub cpu_ms: Option<f64>,
    /// Pages that the claim of one batch touched.
    pub pages_per_claim: Option<f64>,
}

impl Point {
    const fn of(size: i64, figures: Figures) -> Self {
        Self {
            size,
            per_second: figures.rate,
            requests_per_sync: Some(figures.per_sync),
            cpu_ms: figures.cpu,
            pages_per_claim: figures.pages,
        }
    }
}

/// How the speed goes with one thing that grows.
#[derive(Debug, Serialize)]
pub struct Curve {
    pub name: &'static str,
    pub grows: &'static str,
    pub points: Vec<Point>,
}

/// What the removal of old requests does and costs.
#[derive(Debug, Serialize)]
pub struct Removal {
    pub requests: i64,
    /// Requests removed in a second, the pauses between the steps included.
    pub per_second: f64,
    /// The hot load before, while, and after it.
    pub before: f64,
    pub meanwhile: f64,
    pub after: f64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Growth {
    pub curves: Vec<Curve>,
    pub removal: Removal,
}

/// Measures all of it; takes its time.
pub async fn measure(
    server: &Server,
    scale: &Scale,
    quick: bool,
    random: &mut StdRng,
    bar: &ProgressBar,
) -> Result<Growth, Failure> {
    let sizes = Sizes::of(quick);
    let steps = 3 * sizes.answered.len() + sizes.waiting.len() + 2 * sizes.semesters.len() + 4;
    bar.set_length(steps.try_into().unwrap_or(u64::MAX));
    stage::prepare(server, &Scale { waiting: 0, ..*scale }, random).await?;
    let mut curves = Vec::new();
    let (mut hot, mut in_order, mut spread) = (Vec::new(), Vec::new(), Vec::new());
    // One database that grows: what is measured becomes a part of it.
    server.make(CELL, Some(Template::Enroll.name()), 1).await?;
    server.count_pages(CELL).await?;
    let mut there = 0;
    for &size in &sizes.answered {
        answered(server, there, size).await?;
        there = there.max(size);
        for (load, is_in_order, points) in [
            (Load::EnrollHot, false, &mut hot),
            (Load::EnrollHot, true, &mut in_order),
            (Load::EnrollSpread, false, &mut spread),
        ] {
            let mut asks = draw(load, scale, random);
            if is_in_order {
                // One after the other, as producers draw them that follow the guide.
                asks.iter_mut().for_each(|ask| ask.id = Uuid::now_v7());
            }
            points.push(point(server, scale, size, asks).await?);
            leave_everything(server).await?;
            bar.inc(1);
        }
    }
    let removal = removal(server, scale, random).await?;
    bar.inc(1);
    curves.push(Curve { name: "one hot semester", grows: "answered requests", points: hot });
    let name = "one hot semester, IDs that ascend";
    curves.push(Curve { name, grows: "answered requests", points: in_order });
    curves.push(Curve { name: "spread over the semesters", grows: "answered requests", points: spread });

    let mut points = Vec::new();
    for &size in &sizes.waiting {
        server.make(CELL, Some(Template::Enroll.name()), 1).await?;
        server.count_pages(CELL).await?;
        stage::wait(&server.connect(CELL, 1), &Scale { waiting: size, ..*scale }).await?;
        points.push(head(server, scale, size).await?);
        bar.inc(1);
    }
    curves.push(Curve {
        name: "at the head of a long queue",
        grows: "requests waiting in the semester",
        points,
    });

    let (mut all, mut one) = (Vec::new(), Vec::new());
    for &size in &sizes.semesters {
        let scale = Scale { semesters: size, ..*scale };
        for (load, points) in [(Load::EnrollSpread, &mut all), (Load::EnrollHot, &mut one)] {
            server.make(CELL, Some(Template::Enroll.name()), 1).await?;
            server.count_pages(CELL).await?;
            more_semesters(server, size).await?;
            points.push(point(server, &scale, size, draw(load, &scale, random)).await?);
            bar.inc(1);
        }
    }
    curves.push(Curve { name: "spread over all semesters", grows: "semesters", points: all });
    curves.push(Curve { name: "one hot semester among them", grows: "semesters", points: one });

    for (name, hold, users) in [
        ("beside a snapshot that is held open", true, sizes.crowd),
        ("the same without it", false, sizes.crowd),
        // Their own rows, their balances and places, are what has more and more old versions then.
        ("beside a snapshot, few users again and again", true, scale.users),
    ] {
        let points = held_snapshot(server, (sizes.held, sizes.look), users, hold).await?;
        curves.push(Curve { name, grows: "seconds since the snapshot", points });
        bar.inc(1);
    }
    Ok(Growth { curves, removal })
}

/// Asks, and measures the answers.
async fn point(server: &Server, scale: &Scale, size: i64, asks: Vec<Ask>) -> Result<Point, Failure> {
    let pool = server.connect(CELL, 4);
    stage::ask(&pool, &asks).await?;
    sqlx::raw_sql("analyze seatkeeper.requests; checkpoint").execute(&pool).await?;
    let before = measure::answered(&pool).await?;
    let figures = measure::measured(server, pool, Task::batches(500, 1)).await?;
    measure::verify(server, scale, before, asks.len(), false, false).await?;
    Ok(Point::of(size, figures))
}

/// The same of requests that are there already, and many more behind them.
async fn head(server: &Server, scale: &Scale, size: i64) -> Result<Point, Failure> {
    let pool = server.connect(CELL, 4);
    sqlx::raw_sql("checkpoint").execute(&pool).await?;
    let task = Task::Batches { limit: 500, workers: 1, enough: scale.requests };
    let figures = measure::measured(server, pool, task).await?;
    Ok(Point::of(size, figures))
}

/// Everybody leaves all semesters again, by hand, so that the next load meets the same state but for the history.
async fn leave_everything(server: &Server) -> Result<(), Failure> {
    let pool = server.connect(CELL, 1);
    sqlx::raw_sql(
        "begin;
         insert into seatkeeper.credit_transactions
             (user_id, transaction_type, amount, balance_after, enrollment_id)
         select e.user_id, 'TOURNAMENT_UNENROLL_REFUND', e.price_paid, u.credit_balance + e.price_paid, e.enrollment_id
         from seatkeeper.enrollments e join seatkeeper.users u using (user_id) where e.is_active;
         update seatkeeper.users u set credit_balance = u.credit_balance + e.paid
         from (select user_id, sum(price_paid) as paid from seatkeeper.enrollments where is_active group by user_id) e
         where u.user_id = e.user_id;
         update seatkeeper.semesters set enrolled_count = 0 where enrolled_count > 0;
         update seatkeeper.enrollments set is_active = false, status = 'WITHDRAWN', withdrawn_at = clock_timestamp()
         where is_active;
         commit",
    )
    .execute(&pool)
    .await?;
    sqlx::raw_sql("vacuum analyze").execute(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Adds answered requests with what they left behind: half enrolled, half withdrew.
async fn answered(server: &Server, there: i64, size: i64) -> Result<(), Failure> {
    if size <= there {
        return Ok(());
    }
    let pool = server.connect(CELL, 1);
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql("set local session_replication_role = replica; set local work_mem = '128MB'")
        .execute(&mut *transaction)
        .await?;
    // Pairs: somebody enrolled, and left. What a batch could come across, not sound books.
    sqlx::query(
        "create temporary table past on commit drop as
         select gen_random_uuid() as came, gen_random_uuid() as left_, 1 + g % (select count(*) from seatkeeper.users) as user_id,
                1 + g * 7919 % (select count(*) from seatkeeper.semesters) as semester_id,
                nextval(pg_get_serial_sequence('seatkeeper.enrollments', 'enrollment_id')) as enrollment_id,
                nextval('seatkeeper.answer_seq') as first_seq, nextval('seatkeeper.answer_seq') as second_seq,
                clock_timestamp() - interval '100 days' as at
         from generate_series(1, $1::bigint) g",
    )
    .bind((size - there) / 2)
    .execute(&mut *transaction)
    .await?;
    sqlx::raw_sql(
        "insert into seatkeeper.requests (request_id, kind, payload, status, outcome, result, attempts, enqueued_at,
                                          finished_at, answer_seq, semester_id, user_id)
         select r.id, r.kind, jsonb_build_object('user_id', user_id, 'semester_id', semester_id), 'done', 'applied',
                jsonb_build_object('enrollment_id', enrollment_id, r.what, 10, 'balance', 90), 1, at, at, r.seq,
                semester_id, user_id
         from past cross join lateral (values (came, 'enroll', 'charged', first_seq), (left_, 'unenroll', 'refunded', second_seq))
             r (id, kind, what, seq);
         insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, price_paid,
                                             enrolled_at, withdrawn_at, request_id)
         select enrollment_id, user_id, semester_id, 'WITHDRAWN', false, 10, at, at, came from past;
         insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, enrollment_id,
                                                     request_id, created_at)
         select user_id, r.type, r.amount, 90, enrollment_id, r.id, at
         from past cross join lateral (values (came, 'TOURNAMENT_ENROLLMENT', -10), (left_, 'TOURNAMENT_UNENROLL_REFUND', 10))
             r (id, type, amount)",
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    sqlx::raw_sql("vacuum analyze").execute(&pool).await?;
    pool.close().await;
    Ok(())
}

async fn more_semesters(server: &Server, size: i64) -> Result<(), Failure> {
    let pool = server.connect(CELL, 1);
    sqlx::query(
        "insert into seatkeeper.semesters (semester_id, code, status, enrollment_cost)
         select g, 'S' || g, 'ENROLLMENT_OPEN', 10
         from generate_series((select max(semester_id) + 1 from seatkeeper.semesters), $1) g",
    )
    .bind(size)
    .execute(&pool)
    .await?;
    sqlx::raw_sql("vacuum analyze").execute(&pool).await?;
    pool.close().await;
    Ok(())
}

/// The age in seconds from which on requests are removed.
const RETAIN: i64 = 86_400;

/// Removes what is old while a hot load goes on.
async fn removal(server: &Server, scale: &Scale, random: &mut StdRng) -> Result<Removal, Failure> {
    let pool = server.connect(CELL, 4);
    let before = hot(&pool, draw(Load::EnrollHot, scale, random)).await?;
    leave_everything(server).await?;
    // Nothing goes that the settings keep, whoever asks.
    sqlx::query(
        "insert into seatkeeper.schedules (schedule, expression, time_zone, retain_seconds) values ('retention', '0 20 3 * * *', 'UTC', $1)
         on conflict (schedule) do update set retain_seconds = excluded.retain_seconds",
    )
    .bind(RETAIN)
    .execute(&pool)
    .await?;
    let stop = CancellationToken::new();
    let removing = {
        let (pool, stop) = (pool.clone(), stop.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            retire(&pool, RETAIN, &stop).await.map(|retired| (retired.requests, began.elapsed()))
        })
    };
    let meanwhile = hot(&pool, draw(Load::EnrollHot, scale, random)).await?;
    stop.cancel();
    let (requests, took) = removing.await.map_err(|error| Failure::unable(error.to_string()))??;
    leave_everything(server).await?;
    let after = hot(&pool, draw(Load::EnrollHot, scale, random)).await?;
    pool.close().await;
    let removed = usize::try_from(requests).unwrap_or_default();
    Ok(Removal { requests, per_second: per_second(removed, took), before, meanwhile, after })
}

/// Requests a second of a hot load, with whatever else goes on.
async fn hot(pool: &PgPool, asks: Vec<Ask>) -> Result<f64, Failure> {
    stage::ask(pool, &asks).await?;
    let began = Instant::now();
    let done = work::answer(pool, 500, 1, usize::MAX).await?;
    Ok(per_second(done.answered, began.elapsed()))
}
