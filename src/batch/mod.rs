//! A batch: hundreds of requests answered in one transaction.
//!
//! 1. **Claim** ([`claim`]): lock lanes, then read what is ready in them, in order of arrival.
//! 2. **Prefetch** ([`prefetch`]): lock the users, ascending; read, after locking, every row that is needed.
//! 3. **Decide** ([`crate::decide`]): plain Rust, one request after the other, on the rows in memory.
//! 4. **Commit** ([`commit`]): write each changed row once and the answers with them. Effect, ledger, counters,
//!    answer and completion are one commit; there is no second path.
//! 5. **Tell** (the caller, with the [`Report`]): metrics, only after the commit.
//!
//! The cost of a commit is paid once for hundreds of requests, and the number of round trips does not depend on the
//! batch. Locked rows need no lease and no rescuer: when a worker dies its transaction is rolled back, and
//! everything is free at once. What happens to a batch that fails is in [`retry`].

mod answers;
mod claim;
mod commit;
mod hold;
mod prefetch;
mod retry;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Job, Kind, Outcome, Reason, SemesterId, UserId};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::decide::{DecideError, World};
use crate::postgres::{ErrorClass, Transactions};
use claim::{Cursor, Waiting};

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

/// A batch that failed, and the requests that were in it.
#[derive(Debug)]
struct Failure {
    error: BatchError,
    requests: Vec<Uuid>,
    lane: Option<i64>,
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
    /// The lanes that this transaction owns.
    held: HashSet<i64>,
    next: Cursor,
    /// Whether something was ready that could not be had.
    contended: bool,
}

/// Claims, decides and commits one batch.
async fn execute(transactions: &Transactions, order: &Order) -> Result<Done, Failure> {
    let mut requests = Vec::new();
    let mut lane = None;
    let outcome = attempt(transactions, order, &mut requests, &mut lane).await;
    outcome.map_err(|error| Failure { error, requests, lane })
}

async fn attempt(
    transactions: &Transactions,
    order: &Order,
    requests: &mut Vec<Uuid>,
    first_lane: &mut Option<i64>,
) -> Result<Done, BatchError> {
    let mut open = Open(Some(transactions.begin().await?));
    let outcome = work(&mut open, order, requests, first_lane).await;
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
    requests: &mut Vec<Uuid>,
    first_lane: &mut Option<i64>,
) -> Result<Done, BatchError> {
    let started = Instant::now();
    let connection = open.connection()?;

    let mut claim = claim_batch(connection, order).await?;
    let batch = &mut claim.batch;
    requests.extend(batch.iter().map(|claimed| claimed.waiting.request_id));
    *first_lane = batch.first().and_then(|claimed| claimed.waiting.semester_id);
    if batch.is_empty() {
        return Ok(if claim.contended { Done::Contended(claim.next) } else { Done::Nothing(claim.next) });
    }

    let moves = take_misplaced(batch);
    if !moves.is_empty() {
        commit::move_requests(connection, &moves).await?;
    }
    let mut world = World::default();
    let clocks = prefetch_world(connection, order, &claim.held, batch, &mut world).await?;
    requests.clear();
    requests.extend(batch.iter().map(|claimed| claimed.waiting.request_id));
    if batch.is_empty() {
        // Moves are worth keeping: they let the request be found in its own lane.
        open.commit().await?;
        return Ok(Done::Contended(claim.next));
    }

    let answerable = batch.iter().filter(|claimed| claimed.job.is_some()).count();
    let enrolls = batch.iter().filter(|claimed| matches!(claimed.job, Some(Job::Enroll(_)))).count();
    let draw = prefetch::draw(connection, answerable, enrolls).await?;
    let drawn = Instant::now();
    world.put_enrollment_ids(draw.enrollment_ids.iter().copied());

    let decided = answers::decide_all(&mut world, batch, &draw, &clocks, order.refuse)?;
    let lanes = answers::lane_moves(&world, &decided);
    commit::write_changes(connection, &world.into_changes(), &lanes).await?;
    commit::write_endings(connection, &decided.iter().map(answers::Decided::ending).collect::<Vec<_>>())
        .await?;
    open.commit().await?;

    let since_draw = drawn.elapsed();
    let told = decided.iter().map(|decided| decided.tell(draw.clock, since_draw)).collect();
    Ok(Done::Answered(Report { told, duration: started.elapsed() }, claim.next))
}

/// Takes lanes and requests: in order of arrival, at most `limit`, and none that has to wait for a grant which this
/// batch cannot have.
async fn claim_batch(connection: &mut PgConnection, order: &Order) -> Result<Claim, BatchError> {
    let limit = i64::try_from(order.limit).unwrap_or(i64::MAX);
    let lanes = claim::lock_lanes(connection, order.cursor, limit).await?;
    let mut waiting = claim::lock_loose(connection, &lanes.unknown, (limit / 2).max(1)).await?;
    let loose: HashSet<Uuid> = waiting.iter().map(|request| request.request_id).collect();
    if !lanes.held.is_empty() {
        waiting.extend(claim::read_lanes(connection, &lanes.held, limit).await?);
    }

    let users: BTreeSet<i64> = waiting.iter().filter_map(|request| request.user_id).collect();
    let users: Vec<i64> = users.into_iter().collect();
    let grants = claim::lock_grants(connection, &users, &loose).await?;
    let found = waiting.len();
    waiting.extend(grants.claimed);
    waiting.sort_unstable_by_key(|request| request.seq);

    let mut barred = Barred { from: grants.barred, lanes: HashSet::new() };
    waiting.retain(|request| barred.admits(request));
    waiting.truncate(order.limit);
    let batch = waiting
        .into_iter()
        .filter_map(|waiting| {
            // The claim asks for kinds with a rule only, so each of them has a name that is known.
            let kind: Kind = waiting.kind.parse().ok()?;
            let payload = waiting.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let job = payload.and_then(|payload| Job::read(kind, &payload).ok());
            Some(Claimed { waiting, kind, job })
        })
        .collect();
    let contended = lanes.busy || found > 0;
    Ok(Claim { batch, held: lanes.held.into_iter().collect(), next: lanes.next, contended })
}

/// Users whose requests have to wait, and the lanes that wait with them: nobody overtakes within a lane.
struct Barred {
    from: HashMap<i64, i64>,
    lanes: HashSet<i64>,
}

impl Barred {
    fn admits(&mut self, request: &Waiting) -> bool {
        if request.semester_id.is_some_and(|lane| self.lanes.contains(&lane)) {
            return false;
        }
        let user_waits =
            request.user_id.and_then(|user| self.from.get(&user)).is_some_and(|from| request.seq >= *from);
        if user_waits && let Some(lane) = request.semester_id {
            self.lanes.insert(lane);
        }
        !user_waits
    }
}

/// Takes out the requests that are in another lane, or under another user, than their payload says.
fn take_misplaced(batch: &mut Vec<Claimed>) -> Vec<(Uuid, Option<i64>, Option<i64>)> {
    let mut moves = Vec::new();
    batch.retain(|claimed| {
        let Some(job) = &claimed.job else { return true };
        let lane = job.semester_id().map(SemesterId::get);
        let user = job.user_id().map(UserId::get);
        let in_place = claimed.waiting.semester_id == lane && claimed.waiting.user_id == user;
        if !in_place {
            moves.push((claimed.waiting.request_id, lane, user));
        }
        in_place
    });
    moves
}

/// The latest decision of each lane that is there.
type Clocks = HashMap<SemesterId, Option<DateTime<Utc>>>;

/// Locks and reads what the batch needs, and takes out the requests that cannot be decided in it.
async fn prefetch_world(
    connection: &mut PgConnection,
    order: &Order,
    held: &HashSet<i64>,
    batch: &mut Vec<Claimed>,
    world: &mut World,
) -> Result<Clocks, BatchError> {
    let wanted: BTreeSet<UserId> =
        batch.iter().filter_map(|claimed| claimed.job.as_ref()?.user_id()).collect();
    let users = prefetch::lock_users(connection, &wanted, order.cautious).await?;
    if !users.busy.is_empty() {
        let from = users.busy.iter().map(|user| (user.get(), i64::MIN)).collect();
        let mut barred = Barred { from, lanes: HashSet::new() };
        batch.retain(|claimed| barred.admits(&claimed.waiting));
    }

    let semesters: BTreeSet<SemesterId> =
        batch.iter().filter_map(|claimed| claimed.job.as_ref()?.semester_id()).collect();
    let mut found = prefetch::read_semesters(connection, &semesters).await?;
    // Claimed by its own lock because there was no semester: if there is one now, its lane is not ours.
    batch.retain(|claimed| {
        let lane = claimed.job.as_ref().and_then(Job::semester_id);
        lane.is_none_or(|lane| !found.contains_key(&lane) || held.contains(&lane.get()))
    });

    let pairs = batch.iter().filter_map(|claimed| {
        let job = claimed.job.as_ref()?;
        Some((job.user_id()?, job.semester_id()?))
    });
    let pairs: BTreeSet<(UserId, SemesterId)> = pairs.collect();
    let mut enrollments = prefetch::read_enrollments(connection, &pairs).await?;

    let mut locked = users.locked;
    for user in wanted {
        world.put_user(user, locked.remove(&user));
    }
    for &(user, semester) in &pairs {
        world.put_active_enrollment(user, semester, enrollments.remove(&(user, semester)));
    }
    let mut clocks = Clocks::new();
    for semester in semesters {
        let lane = found.remove(&semester);
        if let Some(lane) = &lane {
            clocks.insert(semester, lane.last_decided_at);
        }
        world.put_semester(semester, lane.map(|lane| lane.semester));
    }
    Ok(clocks)
}
