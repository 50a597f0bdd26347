//! One measurement: counters before, the work, counters after, and the proof that the work was done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;

use super::MOST;
use super::asks::{Ask, Load, Scale};
use super::doors::Door;
use super::figures::{Figures, float, per_second};
use super::server::Server;
use super::stage::{self, CELL, Template};
use super::work::{self, Client, Done};
use crate::cli::Failure;

/// A way of doing the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// One call of a function in the database for each request, a transaction each.
    OneCall,
    /// A transaction of eight statements for each request.
    Statements,
    /// Seatkeeper.
    Batches {
        /// The most requests that one commit answers.
        limit: usize,
        /// Batches in parallel.
        workers: usize,
    },
}

impl Way {
    /// For people.
    pub fn name(self) -> String {
        match self {
            Self::OneCall => format!("one call each, {} clients", work::CLIENTS),
            Self::Statements => format!("eight statements each, {} clients", work::CLIENTS),
            Self::Batches { limit: MOST, workers } => {
                format!("Seatkeeper, batches of up to {MOST}, {workers} at once")
            }
            Self::Batches { limit, workers: 1 } => format!("Seatkeeper, batches of {limit}, 1 worker"),
            Self::Batches { limit, workers } => format!("Seatkeeper, batches of {limit}, {workers} workers"),
        }
    }

    /// What takes a transaction each is slow: fewer of them say as much.
    pub const fn is_slow(self) -> bool {
        matches!(self, Self::OneCall | Self::Statements | Self::Batches { limit: 1, .. })
    }
}

/// What is done with a database while the counters run.
pub enum Task {
    /// Requests that are asked there, one transaction each.
    OneByOne { client: Client, asks: Arc<Vec<Ask>> },
    /// What waits there, until nothing is left or enough is answered.
    Batches { limit: usize, workers: usize, enough: usize },
    /// Calls of producers.
    Door { door: Door, asks: Arc<Vec<Ask>> },
}

impl Task {
    /// Answers all that waits.
    pub const fn batches(limit: usize, workers: usize) -> Self {
        Self::Batches { limit, workers, enough: usize::MAX }
    }
}

/// Measures the work on one load.
pub async fn work(
    server: &Server,
    scale: &Scale,
    load: Load,
    way: Way,
    asks: Vec<Ask>,
    thorough: bool,
) -> Result<Figures, Failure> {
    let template = if load.is_bookings() { Template::Bookings } else { Template::Enroll };
    let ours = matches!(way, Way::Batches { .. });
    let pool = stage::cell(server, template, ours).await?;
    if ours {
        stage::ask(&pool, &asks).await?;
        sqlx::raw_sql("analyze seatkeeper.requests").execute(&pool).await?;
    }
    let (asked, before) = (asks.len(), answered(&pool).await?);
    let task = match way {
        Way::OneCall => Task::OneByOne { client: Client::OneCall, asks: asks.into() },
        Way::Statements => Task::OneByOne { client: Client::Statements, asks: asks.into() },
        Way::Batches { limit, workers } => Task::batches(limit, workers),
    };
    let figures = measured(server, pool, task).await?;
    verify(server, scale, before, asked, false, thorough).await?;
    Ok(figures)
}

/// Measures the work at the head of a long queue.
pub async fn long_queue(server: &Server, scale: &Scale, limit: usize) -> Result<Figures, Failure> {
    let pool = stage::cell(server, Template::Waiting, true).await?;
    let before = answered(&pool).await?;
    let task = Task::Batches { limit, workers: 1, enough: scale.requests };
    let figures = measured(server, pool, task).await?;
    verify(server, scale, before, scale.requests, true, false).await?;
    Ok(figures)
}

/// Runs a task between two looks at the counters.
pub async fn measured(server: &Server, pool: PgPool, task: Task) -> Result<Figures, Failure> {
    pool.close().await;
    alone(server).await?;
    let pool = server.connect(CELL, 70);
    let (syncs, cpu) = (wal_syncs(server).await?, server.cpu());
    let began = Instant::now();
    let done = match task {
        Task::OneByOne { client, asks } => work::one_by_one(&pool, asks, client).await?,
        Task::Batches { limit, workers, enough } => work::answer(&pool, limit, workers, enough).await?,
        Task::Door { door, asks } => door.knock(&pool, asks).await?,
    };
    let took = began.elapsed();
    // A server process reports its syncs at the latest when it ends.
    pool.close().await;
    alone(server).await?;
    let cpu = server.cpu().zip(cpu).map(|(after, before)| after.saturating_sub(before));
    let syncs = wal_syncs(server).await? - syncs;
    let pages = claimed_pages(server, done).await?;
    Ok(Figures {
        rate: per_second(done.answered, took),
        per_sync: float(done.answered) / float(usize::try_from(syncs).unwrap_or_default().max(1)),
        cpu: cpu.map(|cpu| cpu.as_secs_f64() * 1_000.0 / float(done.answered.max(1))),
        pages,
    })
}

/// Pages that the claims touched since the last look, for each commit: claims that came to nothing are counted as well.
/// `None` where they are not counted.
pub async fn claimed_pages(server: &Server, done: Done) -> Result<Option<f64>, Failure> {
    if !server.counts_pages || done.batches == 0 {
        return Ok(None);
    }
    let pool = server.connect(CELL, 1);
    let pages: Option<i64> = sqlx::query_scalar(
        "select sum(shared_blks_hit + shared_blks_read)::bigint from pg_stat_statements
         where dbid = (select oid from pg_database where datname = current_database()) and query like '-- claim.%'",
    )
    .fetch_one(&pool)
    .await?;
    sqlx::raw_sql("select pg_stat_statements_reset()").execute(&pool).await?;
    pool.close().await;
    let pages = pages.and_then(|pages| usize::try_from(pages).ok());
    Ok(pages.map(|pages| float(pages) / float(done.batches)))
}

/// Requests that have their answer.
pub async fn answered(pool: &PgPool) -> Result<i64, Failure> {
    Ok(sqlx::query_scalar("select count(*) from seatkeeper.requests where status = 'done'")
        .fetch_one(pool)
        .await?)
}

/// What was measured was done: every request answered, counters and balances as the rows say, and, when it is to be
/// thorough, every answer and every balance as the rules give it.
pub async fn verify(
    server: &Server,
    scale: &Scale,
    before: i64,
    asked: usize,
    more_wait: bool,
    thorough: bool,
) -> Result<(), Failure> {
    let pool = server.connect(CELL, 2);
    let (answered, left, unsound): (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from seatkeeper.requests where status = 'done'),
                (select count(*) from seatkeeper.requests where status <> 'done'),
                (select count(*) from seatkeeper.semesters s
                 where s.enrolled_count <> (select count(*) from seatkeeper.enrollments e
                                            where e.semester_id = s.semester_id and e.is_active))
              + (select count(*) from seatkeeper.sessions s
                 where s.confirmed_count > s.capacity or s.confirmed_count <> (select count(*) from seatkeeper.bookings b
                                             where b.session_id = s.session_id and b.status = 'CONFIRMED'))
              + (select count(*) from seatkeeper.users u
                 left join (select user_id, sum(amount) as moved from seatkeeper.credit_transactions group by user_id) t
                     using (user_id)
                 where u.credit_balance <> coalesce(t.moved, 0))",
    )
    .fetch_one(&pool)
    .await?;
    let done = usize::try_from(answered - before).unwrap_or_default();
    let complete = if more_wait { done >= asked && left > 0 } else { done == asked && left == 0 };
    if !complete || unsound > 0 {
        return Err(off(format!(
            "{done} of {asked} requests answered, {left} left, {unsound} rows that do not add up"
        )));
    }
    if thorough {
        let audit = seatkeeper::audit::audit(&pool).await?;
        if !audit.holds() || audit.users != usize::try_from(scale.users).unwrap_or_default() {
            return Err(off(format!(
                "the audit finds {} differences, first {:?}, not covered {:?}",
                audit.findings.len(),
                audit.findings.first(),
                audit.not_covered
            )));
        }
    }
    pool.close().await;
    Ok(())
}

fn off(what: String) -> Failure {
    Failure::bad_news(format!("the measurement is void: {what}"))
}

/// Syncs of the WAL since the server's counters began.
async fn wal_syncs(server: &Server) -> Result<i64, Failure> {
    // What a process has counted arrives with its next report; ours forces it.
    let query = if server.version >= 180_000 {
        "select coalesce(sum(fsyncs), 0)::bigint from (select pg_stat_force_next_flush()) f, pg_stat_io where object = 'wal'"
    } else if server.version >= 150_000 {
        "select wal_sync from (select pg_stat_force_next_flush()) f, pg_stat_wal"
    } else {
        "select wal_sync from pg_stat_wal"
    };
    Ok(sqlx::query_scalar(query).fetch_one(&server.admin).await?)
}

/// Waits until nobody is connected to the database of the measurement any more.
async fn alone(server: &Server) -> Result<(), Failure> {
    let began = Instant::now();
    while server.clients(CELL).await? > 0 {
        if began.elapsed() > stage::PATIENCE {
            return Err(Failure::unable("clients of a measurement do not let go of its database"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
