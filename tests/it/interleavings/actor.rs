//! An actor: a real transaction, or the few that a worker's turns are, on a connection of its own behind a [`Gate`].
//!
//! The workers are those of the engine, [`Worker::turn`], which know nothing of being watched. An outside writer is SQL, as an
//! owner of the catalog would run it.

use std::collections::BTreeSet;
use std::time::Duration;

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::{Timeouts, Transactions, pool};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinHandle;

use super::event::Row;
use super::guard::Guard;
use crate::support::proxy::{Event, Gate, Gatekeeper, Proxy, RoundTrip};

/// What an actor does in a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Turns of a worker that answers one request a commit: until one was answered or nothing is ready, so many at most.
    Turns(usize),
    /// One transaction of these statements.
    Writes(Vec<String>),
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// In front of this statement.
    Held(RoundTrip),
    /// Waits for a lock in the statement that is this event of the schedule.
    Waits(usize),
    /// It is through.
    Over,
}

/// A connection with its gate, and who works on it.
pub struct Actor {
    pub letter: char,
    pub standing: Standing,
    /// The server's process.
    pub pid: i32,
    /// What its open transaction has locked or changed so far.
    pub rows: BTreeSet<Row>,
    /// Whether that transaction has written anything.
    pub writes: bool,
    pub is_outside: bool,
    /// Who kept it waiting when that was last looked at.
    pub blocked_by: BTreeSet<usize>,
    gate: Gatekeeper,
    pool: PgPool,
    _proxy: Proxy,
    working: Option<JoinHandle<String>>,
    /// How it ended.
    pub ended: String,
}

/// Whom waiting does not interrupt: the explorer decides who goes on.
const NEVER: Duration = Duration::from_secs(600);

/// What became visible of an actor.
#[derive(Debug)]
pub enum Seen {
    Held(RoundTrip),
    Done { failed: bool },
    Over,
}

impl Actor {
    /// With a guard, its statements come to the server without that.
    pub async fn new(letter: char, server: &PgConnectOptions, without: Option<&Guard>) -> Self {
        let (gate, gatekeeper) = Gate::new(without.and_then(Guard::of_statements));
        let proxy = Proxy::start(server, gate).await;
        Self {
            letter,
            standing: Standing::Over,
            pid: 0,
            rows: BTreeSet::new(),
            writes: false,
            is_outside: false,
            blocked_by: BTreeSet::new(),
            gate: gatekeeper,
            pool: pool(proxy.through(server), 1),
            _proxy: proxy,
            working: None,
            ended: String::new(),
        }
    }

    /// Begins. It comes to its first statement.
    pub fn start(&mut self, task: &Task) {
        assert!(self.working.is_none(), "it is not through yet");
        self.rows.clear();
        self.writes = false;
        self.is_outside = matches!(task, Task::Writes(_));
        let pool = self.pool.clone();
        self.working = Some(match task.clone() {
            Task::Turns(most) => tokio::spawn(turns(pool, most)),
            Task::Writes(statements) => tokio::spawn(write(pool, statements)),
        });
    }

    /// Lets the statement go that it stands before.
    pub fn let_go(&self) {
        self.gate.let_go();
    }

    /// What it does next. Safe to be dropped: nothing is lost.
    pub async fn next(&mut self) -> Seen {
        let Some(working) = self.working.as_mut() else { return self.left_over() };
        tokio::select! {
            biased;
            event = self.gate.next() => self.see(event),
            ended = working => {
                self.ended = ended.unwrap();
                self.working = None;
                self.left_over()
            }
        }
    }

    /// Its last statement may have been done, and itself have ended, between the look at the one and at the other.
    fn left_over(&mut self) -> Seen {
        match self.gate.has_seen() {
            Some(event) => self.see(event),
            None => Seen::Over,
        }
    }

    fn see(&mut self, event: Event) -> Seen {
        match event {
            Event::Held(trip) => {
                self.pid = trip.pid;
                Seen::Held(trip)
            }
            Event::Done { failed } => Seen::Done { failed },
        }
    }
}

async fn turns(pool: PgPool, most: usize) -> String {
    let timeouts = Timeouts { statement: NEVER, lock: NEVER, idle: NEVER };
    let limits = Limits { batch: 1, ..Limits::default() };
    let mut worker = Worker::new(Transactions::new(pool, timeouts), limits);
    let mut ended = Vec::new();
    for _ in 0..most {
        let (word, goes_on) = match worker.turn().await {
            Turn::Answered(_) => ("answered", false),
            Turn::Idle => ("idle", false),
            Turn::Contended => ("contended", true),
            Turn::Again(_) => ("again", true),
            Turn::Away(_) => ("away", true),
            Turn::Unfit(..) => ("unfit", false),
        };
        ended.push(word);
        if !goes_on {
            break;
        }
    }
    ended.join(", ")
}

pub async fn write(pool: PgPool, statements: Vec<String>) -> String {
    let mut transaction = pool.begin().await.unwrap();
    let mut written = Ok(());
    for statement in statements {
        if written.is_ok() {
            written = sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await.map(|_| ());
        }
    }
    // Not left to the drop, which would come to the gate when the actor seems to be through.
    let ended = if written.is_ok() { transaction.commit().await } else { transaction.rollback().await };
    match written.and(ended) {
        Ok(()) => "written".to_owned(),
        Err(error) => {
            let refused = error.as_database_error().map(|error| {
                let code = error.code().unwrap_or_default().into_owned();
                error.constraint().map_or(code, str::to_owned)
            });
            format!("refused: {}", refused.unwrap_or_else(|| error.to_string()))
        }
    }
}
