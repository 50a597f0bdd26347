//! What happens to a batch that failed.
//!
//! | error | what follows |
//! |---|---|
//! | deadlock, serialization | the same again, after a moment |
//! | a waitlist that moved meanwhile | the same again, reading more of it |
//! | lock timeout | for a few seconds nobody waits for locked users: lanes that need one are left out |
//! | server away, or unable to write | again, with growing patience; never an attempt of any request |
//! | a connection that remembers an older schema | again, on a new one; never an attempt either |
//! | a database in which answers would be wrong | nothing, until it is put right |
//! | anything else | half as many requests, until the one at fault is alone |
//!
//! A request that fails alone gets an attempt and a later `run_at`, and is `failed` when its budget is spent; when a
//! guard of the database refused it alone, and that guard means a refusal, it is refused. The mark of a session whose filling
//! fails alone is put off. Its neighbours are answered
//! meanwhile. Halving finds it in a logarithmic number of steps, and because every step claims anew, an earlier
//! request that came back in between is never overtaken.

use std::time::{Duration, Instant};

use rand::Rng;
use seatkeeper_jobs::{Kind, Reason};
use uuid::Uuid;

use super::claim::Cursor;
use super::{BatchError, Contents, Done, Failure, Memory, Order, Report, Told, execute};
use crate::decide::DecideError;
use crate::failpoint::fail_point;
use crate::metrics::{self, RetryCause};
use crate::postgres::{ErrorClass, Transactions, note_unusable, retire_connections};

/// What bounds a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most requests that one commit answers, at least 1; beyond 500 only while more than that wait.
    pub batch: usize,
    /// Executions of a request that may end in an error before it is `failed`, at least 1.
    pub attempts: i32,
    /// Pause before a failed request is tried again; doubles with each attempt, up to 64 times as long.
    pub retry_after: Duration,
    /// How long a lock timeout keeps the worker from waiting for locked users.
    pub caution: Duration,
}

impl Limits {
    fn while_keeping_up(&self) -> usize {
        self.batch.clamp(1, KEEPING_UP)
    }

    /// The most that the next batch answers: after a failure it grows back, and behind a full one further.
    fn after(&self, limit: usize, answered: usize) -> usize {
        let usual = self.while_keeping_up();
        if limit < usual {
            (limit * 2).min(usual)
        } else if answered < limit {
            usual
        } else {
            (limit * 2).min(self.batch.max(1))
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch: 2_000,
            attempts: 5,
            retry_after: Duration::from_secs(1),
            caution: Duration::from_secs(3),
        }
    }
}

/// What a commit answers at most as long as no more than that waits. A batch that comes out full says that more do: the next
/// one may be twice as large. The cost of a commit is then shared by more, and a lane is held longer.
const KEEPING_UP: usize = 500;

/// The longest pause between two tries to reach a server that is away: it is noticed soon after it is back.
const LONGEST_ABSENCE: Duration = Duration::from_millis(500);
/// The first pause after a deadlock, or when the server is away.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// How many more waiters than places are read of a waitlist at first, and the factor by which that grows.
const WINDOW: usize = 4;
const WIDER: usize = 8;

/// What a turn at the queue came to.
#[derive(Debug)]
pub enum Turn {
    /// Requests were answered; there may be more.
    Answered(Report),
    /// Nothing is ready.
    Idle,
    /// Something is ready, but others hold what it needs.
    Contended,
    /// Try again after this pause.
    Again(Duration),
    /// The server is away or cannot write; try again after this pause.
    Away(Duration),
    /// The database is not fit to be worked on: answers would be wrong. Look again after this pause.
    Unfit(Duration, Vec<String>),
}

/// One worker: makes batches, one at a time, and remembers what the last one taught.
#[derive(Debug)]
pub struct Worker {
    transactions: Transactions,
    limits: Limits,
    cursor: Cursor,
    memory: Memory,
    /// Whether every pass since the beginning of the ring of lanes found nothing.
    found_nothing: bool,
    limit: usize,
    cautious_until: Option<Instant>,
    refuse: Option<(Uuid, Reason)>,
    window: usize,
    troubles: u32,
}

impl Worker {
    /// A worker on these transactions.
    #[must_use]
    pub fn new(transactions: Transactions, limits: Limits) -> Self {
        let limit = limits.while_keeping_up();
        Self {
            transactions,
            limits,
            cursor: Cursor::default(),
            memory: Memory::default(),
            found_nothing: false,
            limit,
            cautious_until: None,
            refuse: None,
            window: WINDOW,
            troubles: 0,
        }
    }

    /// Makes one batch. Never an error: whatever happens is counted, and decides what the next turn does.
    pub async fn turn(&mut self) -> Turn {
        let cautious = self.cautious_until.is_some_and(|until| Instant::now() < until);
        if self.cursor == Cursor::default() {
            self.found_nothing = true;
        }
        let order = Order {
            cursor: self.cursor,
            limit: self.limit,
            cautious,
            refuse: self.refuse,
            window: self.window,
        };
        let outcome = execute(&self.transactions, &order, &mut self.memory).await;
        if std::mem::take(&mut self.memory.has_moved) {
            tracing::info!(
                "the database is another one than before; what was remembered of that is forgotten"
            );
            // Other connections of this process may lead to the one before.
            retire_connections();
        }
        match outcome {
            Ok(done) => self.accept(done),
            Err(failure) => self.recover(failure, cautious).await,
        }
    }

    fn accept(&mut self, done: Done) -> Turn {
        self.troubles = 0;
        match done {
            Done::Nothing(next) => {
                self.cursor = next;
                // A pass looks at a few lanes only, and all of them may be full of what this build has no rule for.
                if next == Cursor::default() && self.found_nothing {
                    self.limit = self.limits.while_keeping_up();
                    return Turn::Idle;
                }
                Turn::Again(Duration::ZERO)
            }
            Done::Contended(next) => {
                self.found_nothing = false;
                self.cursor = next;
                Turn::Contended
            }
            Done::Answered(report, next) => {
                self.found_nothing = false;
                self.cursor = next;
                self.refuse = None;
                self.window = WINDOW;
                self.limit = self.limits.after(self.limit, report.told.len());
                metrics::batch_committed(&report);
                Turn::Answered(report)
            }
        }
    }

    async fn recover(&mut self, failure: Failure, cautious: bool) -> Turn {
        let Failure { error, contents } = failure;
        let Contents { requests, marks, lane } = contents;
        let class = error.class();
        self.found_nothing = false;
        self.troubles = self.troubles.saturating_add(1);
        let error = match error {
            BatchError::Unfit(obstacles) => return Turn::Unfit(self.pause(), obstacles),
            error => error,
        };
        let cause = cause(&error, &class);
        metrics::batch_retried(cause);
        if let ErrorClass::Constraint(name) = &class {
            metrics::constraint_hit(name);
        }
        if cause == RetryCause::Window {
            // Nobody's fault, and nothing was written yet.
            tracing::debug!(error = %error, "batch made again with more of the waitlists");
            self.window = self.window.saturating_mul(WIDER);
            return Turn::Again(Duration::ZERO);
        }
        tracing::warn!(error = %error, requests = requests.len(), cause = cause.as_str(), "batch rolled back");

        match class {
            ErrorClass::Deadlock | ErrorClass::Serialization => Turn::Again(self.pause()),
            ErrorClass::Connection | ErrorClass::Environment | ErrorClass::ReadOnly => {
                // Whoever answers next may be another server, further back.
                self.memory = Memory::default();
                if let BatchError::Database(error) = &error {
                    note_unusable(error);
                }
                Turn::Away(self.pause())
            }
            ErrorClass::Outdated => {
                retire_connections();
                Turn::Again(self.pause())
            }
            ErrorClass::LockTimeout if !cautious => {
                self.cautious_until = Some(Instant::now() + self.limits.caution);
                Turn::Again(Duration::ZERO)
            }
            // Even without waiting for users: somebody holds a row of a request itself. Its lane has to wait.
            ErrorClass::LockTimeout => {
                self.cursor = lane.map_or(self.cursor, Cursor::after);
                self.limit = (requests.len() / 2).max(1);
                Turn::Again(self.pause())
            }
            ErrorClass::Constraint(_) | ErrorClass::Other => match (requests.as_slice(), marks.as_slice()) {
                // Before anything was claimed: no request is to blame.
                ([], []) => Turn::Away(self.pause()),
                ([alone], []) => self.settle(*alone, &error, &class).await,
                ([], [alone]) => self.put_off(*alone, &error).await,
                (requests, marks) => {
                    self.limit = ((requests.len() + marks.len()) / 2).max(1);
                    Turn::Again(Duration::ZERO)
                }
            },
        }
    }

    /// A request that failed alone: refused when a guard says so, else charged with an attempt.
    async fn settle(&mut self, request: Uuid, error: &BatchError, class: &ErrorClass) -> Turn {
        self.limit = 1;
        if let ErrorClass::Constraint(name) = class
            && let Some(reason) = refusal_of(name)
            && self.refuse != Some((request, reason))
        {
            self.refuse = Some((request, reason));
            return Turn::Again(Duration::ZERO);
        }
        self.refuse = None;
        match self.charge(request, error).await {
            Ok(failed) => {
                failed.iter().for_each(metrics::request_told);
                Turn::Again(Duration::ZERO)
            }
            Err(error) => {
                note_unusable(&error);
                tracing::warn!(error = %crate::postgres::describe(&error), "an attempt could not be recorded");
                Turn::Away(self.pause())
            }
        }
    }

    /// The mark of a session whose filling failed alone: later, so that the lane's requests are answered meanwhile.
    async fn put_off(&mut self, mark: i64, error: &BatchError) -> Turn {
        self.limit = 1;
        match self.put_off_mark(mark, error).await {
            Ok(()) => Turn::Again(Duration::ZERO),
            Err(error) => {
                note_unusable(&error);
                tracing::warn!(error = %crate::postgres::describe(&error), "a fill could not be put off");
                Turn::Away(self.pause())
            }
        }
    }

    async fn put_off_mark(&self, mark: i64, error: &BatchError) -> sqlx::Result<()> {
        let mut transaction = self.transactions.begin().await?;
        sqlx::query!(
            "-- retry.put_off
             update seatkeeper.fill_marks
             set attempts = attempts + 1, last_error = $2,
                 retry_at = clock_timestamp() + make_interval(secs => $3 * power(2, least(attempts, 6)))
             where mark_id = $1",
            mark,
            error.to_string(),
            self.limits.retry_after.as_secs_f64()
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// Records an attempt; gives what to tell when it was the last one.
    async fn charge(&self, request: Uuid, error: &BatchError) -> sqlx::Result<Option<Told>> {
        let mut transaction = self.transactions.begin().await?;
        fail_point!("retry.begun");
        // Who changes a queued request takes its lane first, or a later request of the lane could overtake it.
        sqlx::query!(
            "-- retry.lock_lane
             select from seatkeeper.semesters where semester_id = (
                 select r.semester_id from seatkeeper.requests r where r.request_id = $1)
             for no key update",
            request
        )
        .fetch_optional(&mut *transaction)
        .await?;
        fail_point!("retry.locked");
        let charged = sqlx::query!(
            r#"-- retry.charge
               update seatkeeper.requests r
               set attempts = r.attempts + 1, last_error = $2,
                   status = case when r.attempts + 1 >= $3 then 'failed' else 'queued' end,
                   reason = case when r.attempts + 1 >= $3 then 'attempts_exhausted' end,
                   finished_at = case when r.attempts + 1 >= $3 then clock_timestamp() end,
                   hold = case when r.attempts + 1 < $3 then 'scheduled' end,
                   run_at = case when r.attempts + 1 < $3
                       then clock_timestamp() + make_interval(secs => $4 * power(2, least(r.attempts, 6)) * (0.8 + 0.4 * random()))
                       else r.run_at end
               where r.request_id = $1 and r.status = 'queued'
               returning r.kind, r.status, clock_timestamp() - greatest(r.enqueued_at, r.run_at) as "waited""#,
            request,
            error.to_string(),
            self.limits.attempts,
            self.limits.retry_after.as_secs_f64()
        )
        .fetch_optional(&mut *transaction)
        .await?;
        fail_point!("retry.charged");
        transaction.commit().await?;
        fail_point!("retry.committed");

        let told = charged.filter(|row| row.status == "failed").and_then(|row| {
            let kind: Kind = row.kind.parse().ok()?;
            let waited = row.waited.map_or(0, |interval| interval.microseconds.max(0));
            let latency = Duration::from_micros(waited.unsigned_abs());
            Some(Told { kind, outcome: None, reason: Some(Reason::AttemptsExhausted), latency })
        });
        Ok(told)
    }

    /// Grows with the troubles in a row, with jitter, so that workers do not come back in step.
    fn pause(&self) -> Duration {
        let longest = SHORTEST_PAUSE.saturating_mul(1 << self.troubles.min(8)).min(LONGEST_ABSENCE);
        longest.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

fn cause(error: &BatchError, class: &ErrorClass) -> RetryCause {
    match (error, class) {
        (BatchError::Panic(_), _) => RetryCause::Panic,
        (BatchError::Decide(DecideError::WindowTooSmall { .. }), _) => RetryCause::Window,
        (_, ErrorClass::Deadlock) => RetryCause::Deadlock,
        (_, ErrorClass::Serialization) => RetryCause::Serialization,
        (_, ErrorClass::LockTimeout) => RetryCause::LockTimeout,
        (
            _,
            ErrorClass::Connection | ErrorClass::Environment | ErrorClass::ReadOnly | ErrorClass::Outdated,
        ) => RetryCause::Connection,
        (_, ErrorClass::Constraint(_) | ErrorClass::Other) => RetryCause::Guard,
    }
}

/// The refusal that a guard of the database means when it fires for a request alone (RACE-01 to RACE-03, RACE-B01).
fn refusal_of(constraint: &str) -> Option<Reason> {
    match constraint {
        "uq_active_enrollment" => Some(Reason::AlreadyEnrolled),
        "chk_credit_balance_non_negative" => Some(Reason::InsufficientCredits),
        "chk_enrolled_within_capacity" => Some(Reason::SemesterFull),
        "uq_active_booking" => Some(Reason::AlreadyBooked),
        "xcl_no_overlapping_confirmed_bookings" => Some(Reason::ScheduleConflict),
        _ => None,
    }
}
