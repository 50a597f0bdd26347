//! The load: several producers at once through every door, and owners who change the catalog meanwhile.

use std::sync::{Arc, Mutex};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seatkeeper_jobs::Request;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::arrival::Journal;
use super::check::{self, Complaints};
use super::history::{Before, History};
use super::producer::{Producer, is_passing};
use super::{owner, stage};
use crate::support::{assert_follows, until_in_task};

/// Calls for requests, to one change of the catalog.
const REQUESTS_A_CHANGE: u32 = 10;
const PRODUCERS: u32 = 4;
const OWNERS: u64 = 4;
/// How many calls the producers may be ahead of the owners, who wait for lanes: more than all steps at once and a change.
const LEAD: usize = 240;

/// What the load has met with.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub duplicates_before_answer: u32,
    pub duplicates_after_answer: u32,
    pub conflicts: u32,
    pub rolled_back: u32,
    /// Calls that broke and were sent again with the same ID.
    pub broken: u32,
    /// Of those, the ones that had been committed all the same.
    pub committed_unknowingly: u32,
    pub changes: u32,
    pub changes_rolled_back: u32,
    pub changes_broken: u32,
    /// Fewer places than are taken, of a semester and of a session.
    pub capacity_refused: u32,
    pub session_capacity_refused: u32,
    /// A session moved onto another one that somebody is in as well.
    pub moves_refused: u32,
    /// The longest that an owner had to wait for the workers.
    pub slowest_change: std::time::Duration,
}

/// A load on one database.
pub struct Load {
    pub seed: u64,
    /// Calls for requests, the repeated ones among them.
    pub total: u32,
    pub pool: PgPool,
    pub journal: Journal,
    pub tally: Mutex<Tally>,
    /// Drawn, and perhaps not asked yet.
    pub drawn: Mutex<Vec<Request>>,
    /// Asked for good.
    pub committed: Mutex<Vec<Request>>,
    /// What producers may still ask.
    pub allowance: Semaphore,
    /// What they have asked, for the owners to take their pace from.
    pub asked: Semaphore,
    /// How far producers may still run ahead of the owners.
    pub lead: Semaphore,
    before: Before,
}

/// The seed of this run: a new one, or the one of the environment.
pub fn seed() -> u64 {
    match std::env::var("SEATKEEPER_TEST_SEED") {
        Ok(text) => text.parse().expect("SEATKEEPER_TEST_SEED is a number"),
        Err(_) => rand::random_range(0..1_000_000_000),
    }
}

/// So many, or a multiple as the environment says.
pub fn scaled(requests: u32) -> u32 {
    match std::env::var("SEATKEEPER_TEST_SCALE") {
        Ok(text) => requests * text.parse::<u32>().expect("SEATKEEPER_TEST_SCALE is a whole number"),
        Err(_) => requests,
    }
}

impl Load {
    /// Makes the catalog on a database that has none yet. Nothing is asked before there is an allowance.
    pub async fn prepare(pool: PgPool, seed: u64, total: u32) -> Arc<Self> {
        stage::lay_out(&pool).await;
        Self::on_stage(pool, seed, total).await
    }

    /// The same with balances about the limit, which nobody can grant in the time of a test: no answer explains them, so that
    /// this is nothing for the audit. See [`Self::compare`].
    pub async fn rich(pool: PgPool, seed: u64, total: u32) -> Arc<Self> {
        stage::lay_out(&pool).await;
        stage::enrich(&pool).await;
        Self::on_stage(pool, seed, total).await
    }

    async fn on_stage(pool: PgPool, seed: u64, total: u32) -> Arc<Self> {
        let before = Before::read(&pool).await;
        Arc::new(Self {
            seed,
            total,
            pool,
            journal: Journal::default(),
            tally: Mutex::default(),
            drawn: Mutex::default(),
            committed: Mutex::default(),
            allowance: Semaphore::new(0),
            asked: Semaphore::new(0),
            lead: Semaphore::new(LEAD),
            before,
        })
    }

    /// Lets producers ask so many more.
    pub fn allow(&self, calls: u32) {
        self.allowance.add_permits(usize::try_from(calls).unwrap());
    }

    /// Asks everything, as far as the allowance goes, and changes the catalog meanwhile; and once more when all is answered.
    pub async fn run(self: &Arc<Self>) {
        let mut producers = JoinSet::new();
        for number in 0..PRODUCERS {
            let share = self.total / PRODUCERS + u32::from(number < self.total % PRODUCERS);
            producers.spawn(Producer::new(self.clone(), self.rng(u64::from(number)), share).run());
        }
        let mut owners = JoinSet::new();
        for number in 0..OWNERS {
            owners.spawn(owner::run(self.clone(), self.rng(1_000 + number), REQUESTS_A_CHANGE));
        }
        while let Some(done) = producers.join_next().await {
            done.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        }
        self.asked.close();
        while let Some(done) = owners.join_next().await {
            done.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        }
        owner::change_last(self).await;
    }

    /// A stream of randomness of its own for everybody who takes part.
    pub fn rng(&self, stream: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(stream);
        rng
    }

    pub fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.tally.lock().unwrap());
    }

    /// One of a list, if there is one.
    pub fn pick(list: &Mutex<Vec<Request>>, rng: &mut ChaCha8Rng) -> Option<Request> {
        let list = list.lock().unwrap();
        // Half of the time one of the latest, which is likely to be on its way.
        let from = if rng.random_bool(0.5) { list.len().saturating_sub(8) } else { 0 };
        (!list.is_empty()).then(|| list[rng.random_range(from..list.len())].clone())
    }

    /// A connection, as soon as the server is there.
    pub async fn connection(&self) -> PoolConnection<Postgres> {
        let slot = Mutex::new(None);
        until_in_task("the server gives a connection", async || match self.pool.acquire().await {
            Ok(connection) => slot.lock().unwrap().replace(connection).is_none(),
            Err(_) => false,
        })
        .await;
        slot.into_inner().unwrap().unwrap()
    }

    /// Waits until everything is answered and filled, however long that takes as long as it goes on.
    pub async fn answered(&self) {
        let mut left = self.left().await;
        while left > 0 {
            until_in_task("there is less to do", async || self.left().await < left).await;
            left = self.left().await;
        }
    }

    /// Requests without an answer, and sessions to be filled. Where the look breaks, another one is taken.
    pub async fn left(&self) -> i64 {
        loop {
            let looked = sqlx::query_scalar(
                "select (select count(*) from seatkeeper.requests where status = 'queued')
                      + (select count(*) from seatkeeper.fill_marks)",
            )
            .fetch_one(&mut *self.connection().await)
            .await;
            match looked {
                Ok(left) => return left,
                Err(error) if is_passing(&error) => {}
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
        }
    }

    /// Compares what is stored with the reference and with what the producers were told; and holds the audit to saying the
    /// same as the reference.
    pub async fn check(&self) -> (History, Complaints) {
        println!("seed {}", self.seed);
        assert_follows(&self.pool).await;
        self.compare().await
    }

    /// The same without the audit.
    pub async fn compare(&self) -> (History, Complaints) {
        let history = History::read(&self.pool, self.before.clone()).await;
        let mut complaints = check::check(&history);
        super::arrival::check_calls(&history, &self.journal.calls(), &mut complaints);
        (history, complaints)
    }
}
