//! A batch: hundreds of requests answered in one transaction.
//!
//! 0. **Look where this is** ([`Position`]): in another database than before, nothing that is remembered counts, and whether it is
//!    fit to be worked on has to be found out first.
//! 1. **Claim** ([`claim`]): lock lanes, then read what is ready in them, in order of arrival.
//! 2. **Prefetch** ([`gather`]): lock the sessions, then the users, ascending; read, after locking, every row that is needed.
//! 3. **Decide** ([`crate::decide`]): plain Rust, one request after the other, on the rows in memory.
//! 4. **Commit** ([`commit`]): write each changed row once and the answers with them. Effect, ledger, counters,
//!    answer and completion are one commit; there is no second path.
//! 5. **Tell** (the caller, with the [`Report`]): metrics, only after the commit.
//!
//! The cost of a commit is paid once for hundreds of requests, and the number of round trips does not depend on the
//! batch. Locked rows need no lease and no rescuer: when a worker dies its transaction is rolled back, and
//! everything is free at once. What happens to a batch that fails is in [`retry`].

mod answers;
mod assemble;
mod claim;
mod commit;
mod gather;
mod hold;
mod needs;
mod places;
mod prefetch;
mod retry;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use seatkeeper_jobs::{Job, Kind, Outcome, Reason, SemesterId, UserId};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::decide::{DecideError, World};
use crate::failpoint::fail_point;
use crate::postgres::{ErrorClass, Position, Transactions, obstacles};
use claim::{Cursor, Mark, Waiting};
use needs::Needs;

pub(crate) use claim::{BUSY, Floors, Found, Known, Lesson, Snapshot, drawing, over};
pub use hold::sort_out;
pub use retry::{Limits, Turn, Worker};

/// Why a batch came to nothing. Everything that it did was rolled back.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// PostgreSQL refused, or was not there.
    #[error("{}", crate::postgres::describe(.0))]
    Database(#[from] sqlx::Error),
    /// A guarded write met other rows than the decision was made on: somebody wrote without the lock.
    #[error("guard: {written} {what} written where {expected} were decided")]
    Guard {
        /// Which rows.
        what: &'static str,
        /// How many were decided.
        expected: usize,
        /// How many the database wrote.
        written: u64,
    },
    /// The rules could not give an answer.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// The rules panicked.
    #[error("panic while deciding: {0}")]
    Panic(String),
    /// The database holds what its constraints rule out.
    #[error("inconsistent database: {0}")]
    Inconsistent(String),
    /// Nothing was even looked for: answers would be wrong in this database.
    #[error("the database is not fit to be worked on: {}", .0.join("; "))]
    Unfit(Vec<String>),
}

impl BatchError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Database(error) => ErrorClass::of(error),
            _ => ErrorClass::Other,
        }
    }
}

/// How the next batch is to be made.
#[derive(Debug, Clone)]
struct Order {
    /// Where in the ring of lanes it begins.
    cursor: Cursor,
    /// The most requests that it answers, at least 1.
    limit: usize,
    /// Not to wait for locked users: lanes that need one are left out.
    cautious: bool,
    /// A lone request that a guard of the database refused, and the refusal which that means.
    refuse: Option<(Uuid, Reason)>,
    /// How many waiters more than can get a place are read of a waitlist: some may turn out to be gone.
    window: usize,
}

impl Order {
    /// The same without what another database has taught.
    fn without_memory(&self) -> Self {
        Self { cursor: Cursor::default(), refuse: None, ..self.clone() }
    }
}

/// What became of one request, for the metrics.
#[derive(Debug, Clone)]
pub struct Told {
    /// What was asked.
    pub kind: Kind,
    /// What came of it; `None` when it failed.
    pub outcome: Option<Outcome>,
    /// Why it was refused, or failed.
    pub reason: Option<Reason>,
    /// From enqueued (or due) to committed.
    pub latency: Duration,
}

/// A batch that was committed.
#[derive(Debug, Default)]
pub struct Report {
    /// Its requests, in the order of the decisions.
    pub told: Vec<Told>,
    /// From the first lock to the commit.
    pub duration: Duration,
}

/// What a batch came to.
#[derive(Debug)]
enum Done {
    /// The pass found nothing that this build could answer.
    Nothing(Cursor),
    /// Something is ready, but others hold what it needs.
    Contended(Cursor),
    /// Committed.
    Answered(Report, Cursor),
}

/// A batch that failed, and what was in it.
#[derive(Debug)]
struct Failure {
    error: BatchError,
    contents: Contents,
}

/// What a batch is about, for the case that it fails.
#[derive(Debug, Default)]
struct Contents {
    requests: Vec<Uuid>,
    marks: Vec<i64>,
    lane: Option<i64>,
}

impl Contents {
    fn of(claim: &Claim) -> Self {
        Self {
            requests: claim.batch.iter().map(|claimed| claimed.waiting.request_id).collect(),
            marks: claim.marks.iter().map(|mark| mark.mark_id).collect(),
            lane: claim.batch.first().and_then(|claimed| claimed.waiting.semester_id),
        }
    }
}

/// A claimed request: what was asked, or the proof that nobody can tell.
#[derive(Debug)]
struct Claimed {
    waiting: Waiting,
    kind: Kind,
    job: Option<Job>,
}

/// What a claim got hold of.
struct Claim {
    batch: Vec<Claimed>,
    /// Sessions of the lanes to be filled.
    marks: Vec<Mark>,
    /// The lanes that this transaction owns.
    held: HashSet<i64>,
    next: Cursor,
    /// Whether something was ready that could not be had.
    contended: bool,
}

/// What a worker remembers of the database that it was at last.
#[derive(Debug, Default)]
struct Memory {
    /// Where that was; `None` = nowhere yet, or the connection was lost.
    position: Option<Position>,
    /// Whether that was another database than the one before.
    has_moved: bool,
    floors: Floors,
}

/// Claims, decides and commits one batch.
async fn execute(transactions: &Transactions, order: &Order, memory: &mut Memory) -> Result<Done, Failure> {
    let mut contents = Contents::default();
    let outcome = attempt(transactions, order, memory, &mut contents).await;
    outcome.map_err(|error| Failure { error, contents })
}

async fn attempt(
    transactions: &Transactions,
    order: &Order,
    memory: &mut Memory,
    contents: &mut Contents,
) -> Result<Done, BatchError> {
    let mut open = Open(Some(transactions.begin().await?));
    fail_point!("batch.begun");
    let outcome = work(&mut open, order, memory, contents).await;
    // Not left to the drop, which only gets to it when the connection is used next: until then the lanes would look
    // busy to everybody, ourselves included.
    if let Some(left) = open.0.take()
        && let Err(error) = left.rollback().await
    {
        tracing::debug!(error = %crate::postgres::describe(&error), "the rollback failed; the connection is given up");
    }
    outcome
}

/// A transaction that is either committed or rolled back, in time.
struct Open(Option<Transaction<'static, Postgres>>);

impl Open {
    fn connection(&mut self) -> Result<&mut PgConnection, BatchError> {
        self.0.as_deref_mut().ok_or_else(|| BatchError::Inconsistent("the transaction is over".into()))
    }

    async fn commit(&mut self) -> sqlx::Result<()> {
        match self.0.take() {
            Some(transaction) => transaction.commit().await,
            None => Ok(()),
        }
    }
}

async fn work(
    open: &mut Open,
    order: &Order,
    memory: &mut Memory,
    contents: &mut Contents,
) -> Result<Done, BatchError> {
    let started = Instant::now();
    let connection = open.connection()?;

    // In the transaction itself: behind a pooler the one before may have been on another server.
    let mut position = Position::look(connection).await?;
    let elsewhere = memory.position.as_ref().is_none_or(|before| !position.continues(before));
    if elsewhere {
        *memory = Memory { has_moved: memory.position.is_some(), ..Memory::default() };
        let obstacles = obstacles(connection).await?;
        if !obstacles.is_empty() {
            return Err(BatchError::Unfit(obstacles));
        }
        // A sequence that was put right since the first look was found sound, and may be set back to where that saw it.
        position.advance(&Position::look(connection).await?);
    }
    memory.position = Some(position);
    let order = &if elsewhere { order.without_memory() } else { order.clone() };
    let mut claim = assemble::claim(connection, order, &mut memory.floors).await?;
    *contents = Contents::of(&claim);
    if claim.batch.is_empty() && claim.marks.is_empty() {
        return Ok(if claim.contended { Done::Contended(claim.next) } else { Done::Nothing(claim.next) });
    }

    let needs = needs::find_lanes(connection, &claim.batch).await?;
    fail_point!("needs.lanes");
    let moves = take_misplaced(&mut claim.batch, &needs);
    if !moves.is_empty() {
        commit::move_requests(connection, &moves).await?;
    }
    fail_point!("commit.moved");
    let mut world = World::default();
    let gathered = gather::gather(connection, order, &mut claim, needs, &mut world).await?;
    *contents = Contents::of(&claim);
    let batch = &claim.batch;
    if batch.is_empty() && gathered.fills.is_empty() && gathered.void_marks.is_empty() {
        // Moves are worth keeping: they let the request be found in its own lane.
        open.commit().await?;
        return Ok(Done::Contended(claim.next));
    }

    let answerable = batch.iter().filter(|claimed| claimed.job.is_some()).count();
    let count = |kind| batch.iter().filter(|claimed| claimed.kind == kind && claimed.job.is_some()).count();
    let draw = prefetch::draw(
        connection,
        prefetch::Wanted {
            fills: gathered.fills.iter().map(|fill| fill.waiting.min(fill.most)).sum(),
            answers: answerable,
            enrollments: count(Kind::Enroll),
            bookings: count(Kind::Book),
        },
    )
    .await?;
    let drawn = Instant::now();
    fail_point!("prefetch.drawn");
    world.put_enrollment_ids(draw.enrollment_ids.iter().copied());
    world.put_fresh_bookings(draw.bookings.iter().copied());

    let decided = answers::decide_all(&mut world, batch, &draw, &gathered, order.refuse)?;
    let lanes = answers::lane_moves(&world, &decided);
    fail_point!("batch.decided");
    commit::write_changes(connection, &world.into_changes(), &lanes).await?;
    commit::write_fills(connection, &decided.filled).await?;
    fail_point!("commit.fills");
    commit::delete_marks(connection, &gathered).await?;
    fail_point!("commit.marks");
    let endings: Vec<_> = decided.answered.iter().map(answers::Decided::ending).collect();
    commit::write_endings(connection, &endings).await?;
    fail_point!("commit.endings");
    open.commit().await?;
    fail_point!("batch.committed");

    let since_draw = drawn.elapsed();
    let told = decided.answered.iter().map(|decided| decided.tell(draw.clock, since_draw)).collect();
    Ok(Done::Answered(Report { told, duration: started.elapsed() }, claim.next))
}

/// Takes out the requests that are in another lane, or under another user, than their payload says.
fn take_misplaced(batch: &mut Vec<Claimed>, needs: &Needs) -> Vec<(Uuid, Option<i64>, Option<i64>)> {
    let mut moves = Vec::new();
    batch.retain(|claimed| {
        let Some(job) = &claimed.job else { return true };
        let lane = needs.lane(job).map(SemesterId::get);
        let user = job.user_id().map(UserId::get);
        let in_place = claimed.waiting.semester_id == lane && claimed.waiting.user_id == user;
        if !in_place {
            moves.push((claimed.waiting.request_id, lane, user));
        }
        in_place
    });
    moves
}
