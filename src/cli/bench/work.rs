//! The two ways of doing the work: Seatkeeper's batches, and one transaction for each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::{ErrorClass, Timeouts, Transactions};
use sqlx::{PgConnection, PgPool};
use tokio::task::JoinSet;

use super::asks::{Ask, What};
use super::one_by_one;
use crate::cli::Failure;

/// Clients that ask at the same time where each request is a transaction of its own.
pub const CLIENTS: usize = 32;
/// How long a worker stays away when others hold all that is ready.
const HELD_UP: Duration = Duration::from_millis(2);

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    /// Requests that were answered.
    pub answered: usize,
    /// Commits that answered them, where they are counted.
    pub batches: usize,
}

/// Lets workers answer what is ready, until nothing is left or `enough` is answered.
pub async fn answer(pool: &PgPool, limit: usize, workers: usize, enough: usize) -> Result<Done, Failure> {
    let answered = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let limits = Limits { batch: limit, ..Limits::default() };
        let mut worker = Worker::new(Transactions::new(pool.clone(), Timeouts::default()), limits);
        let answered = answered.clone();
        tasks.spawn(async move {
            let mut batches = 0;
            while answered.load(Ordering::Relaxed) < enough {
                match worker.turn().await {
                    Turn::Answered(report) => {
                        batches += 1;
                        answered.fetch_add(report.told.len(), Ordering::Relaxed);
                    }
                    Turn::Idle => break,
                    Turn::Contended => tokio::time::sleep(HELD_UP).await,
                    Turn::Again(pause) => tokio::time::sleep(pause).await,
                    Turn::Away(_) | Turn::Unfit(..) => {
                        return Err(Failure::unable("the server went away during a measurement"));
                    }
                }
            }
            Ok(batches)
        });
    }
    let mut batches = 0;
    while let Some(done) = tasks.join_next().await {
        batches += done.map_err(|error| Failure::unable(error.to_string()))??;
    }
    Ok(Done { answered: answered.load(Ordering::Relaxed), batches })
}

/// A worker that goes on where it stopped: what it has learnt about a lane stays with it.
pub struct Steady {
    worker: Worker,
    answered: Arc<AtomicUsize>,
}

impl Steady {
    /// A worker with batches of at most `limit`.
    pub fn new(pool: &PgPool, limit: usize) -> Self {
        let limits = Limits { batch: limit, ..Limits::default() };
        let worker = Worker::new(Transactions::new(pool.clone(), Timeouts::default()), limits);
        Self { worker, answered: Arc::default() }
    }

    /// How many it has answered so far: goes on counting.
    pub fn answered(&self) -> Arc<AtomicUsize> {
        self.answered.clone()
    }

    /// Answers for so long.
    pub async fn answer_for(&mut self, long: Duration) -> Result<Done, Failure> {
        let began = Instant::now();
        let mut done = Done::default();
        while began.elapsed() < long {
            match self.worker.turn().await {
                Turn::Answered(report) => {
                    done.batches += 1;
                    done.answered += report.told.len();
                    self.answered.fetch_add(report.told.len(), Ordering::Relaxed);
                }
                Turn::Idle | Turn::Contended => tokio::time::sleep(HELD_UP).await,
                Turn::Again(pause) => tokio::time::sleep(pause).await,
                Turn::Away(_) | Turn::Unfit(..) => {
                    return Err(Failure::unable("the server went away during a measurement"));
                }
            }
        }
        Ok(done)
    }
}

/// How one client does one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// One call of a function in the database.
    OneCall,
    /// Statement after statement.
    Statements,
}

/// Lets clients do the requests, one transaction each.
pub async fn one_by_one(pool: &PgPool, asks: Arc<Vec<Ask>>, client: Client) -> Result<Done, Failure> {
    let answered = asks.len();
    many(pool, CLIENTS, asks.len(), move |index, connection| {
        let ask = asks[index];
        Box::pin(async move {
            loop {
                let done = match client {
                    Client::OneCall => call(connection, ask).await,
                    Client::Statements => one_by_one::enroll(connection, ask).await,
                };
                match done {
                    // Who fills a session locks whoever waits there, in no order: sometimes one has to come back.
                    Err(error) if matches!(ErrorClass::of(&error), ErrorClass::Deadlock) => {}
                    done => return done,
                }
            }
        })
    })
    .await?;
    Ok(Done { answered, batches: 0 })
}

type Step<'a> = std::pin::Pin<Box<dyn Future<Output = sqlx::Result<()>> + Send + 'a>>;

/// Runs steps 0 to `steps`, each once, on so many connections at a time.
pub async fn many<F>(pool: &PgPool, connections: usize, steps: usize, step: F) -> Result<(), Failure>
where
    F: for<'a> Fn(usize, &'a mut PgConnection) -> Step<'a> + Send + Sync + 'static,
{
    let (step, next) = (Arc::new(step), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (step, next) = (step.clone(), next.clone());
        let mut connection = pool.acquire().await?;
        clients.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= steps {
                    return Ok(());
                }
                step(index, &mut connection).await?;
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        let done: sqlx::Result<()> = done.map_err(|error| Failure::unable(error.to_string()))?;
        done?;
    }
    Ok(())
}

async fn call(connection: &mut PgConnection, ask: Ask) -> sqlx::Result<()> {
    let (call, user, other) = match ask.what {
        What::Enroll { user, semester } => ("select usual.enroll($1, $2, $3)", user, semester),
        What::Book { user, session } => ("select usual.book($1, $2, $3)", user, session),
        What::Cancel { user, session } => ("select usual.cancel_booking($1, $2, $3)", user, session),
    };
    sqlx::query(call).bind(ask.id).bind(user).bind(other).execute(connection).await?;
    Ok(())
}
