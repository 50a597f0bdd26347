//! The proxy itself: a worker does not notice that it is there, and a connection that it cuts, before any statement or when
//! the answer to it is on its way, costs no request its one answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::{Timeouts, Transactions, pool};
use sqlx::postgres::PgConnectOptions;

use crate::support::proxy::{PassThrough, Policy, Proxy, RoundTrip, Verdict};
use crate::support::{TestDb, until};

/// Cuts the connection once, at this round trip.
struct CutAt {
    trip: usize,
    /// When PostgreSQL has answered.
    answered: bool,
    seen: AtomicUsize,
    /// The server's process.
    pid: AtomicI32,
}

impl CutAt {
    fn verdict(&self, count: usize) -> Verdict {
        if count == self.trip { Verdict::Cut } else { Verdict::Pass }
    }
}

impl Policy for CutAt {
    async fn before(&self, trip: &RoundTrip) -> Verdict {
        self.pid.store(trip.pid, Ordering::SeqCst);
        let count = self.seen.fetch_add(1, Ordering::SeqCst);
        if self.answered { Verdict::Pass } else { self.verdict(count) }
    }

    async fn after(&self, _: &RoundTrip, _: bool) -> Verdict {
        if self.answered { self.verdict(self.seen.load(Ordering::SeqCst) - 1) } else { Verdict::Pass }
    }
}

async fn turn_through<P: Policy>(db: &TestDb, policy: Arc<P>) -> Turn {
    let server: PgConnectOptions = db.direct.parse().unwrap();
    let proxy = Proxy::start(&server, policy).await;
    let pool = pool(proxy.through(&server), 1);
    let turn =
        Worker::new(Transactions::new(pool.clone(), Timeouts::default()), Limits::default()).turn().await;
    pool.close().await;
    turn
}

async fn ask(db: &TestDb) {
    db.run(r#"select seatkeeper.enqueue(gen_random_uuid(), 'grant_credits', '{"user_id": 1, "amount": 1}')"#)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_any_statement_costs_nobody_an_answer() {
    let db = TestDb::new().await;
    db.users(1).await;
    ask(&db).await;
    let turn = turn_through(&db, Arc::new(PassThrough)).await;
    assert!(matches!(turn, Turn::Answered(_)), "{turn:?}");
    let (mut asked, mut cuts) = (1, 0);
    for answered in [false, true] {
        for trip in 0.. {
            ask(&db).await;
            asked += 1;
            let policy =
                Arc::new(CutAt { trip, answered, seen: AtomicUsize::new(0), pid: AtomicI32::new(0) });
            let turn = turn_through(&db, Arc::clone(&policy)).await;
            if policy.seen.load(Ordering::SeqCst) <= trip {
                assert!(matches!(turn, Turn::Answered(_)), "{turn:?}");
                break;
            }
            assert!(matches!(turn, Turn::Away(_)), "trip {trip}: {turn:?}");
            cuts += 1;
            let pid = policy.pid.load(Ordering::SeqCst);
            until("the server has noticed", async || {
                db.value(&format!("select not exists (select from pg_stat_activity where pid = {pid})")).await
            })
            .await;
            db.drain().await;
        }
    }
    println!("{cuts} cuts");
    assert!(cuts > 10, "{cuts} cuts: fewer than a turn has statements");
    let balance: i64 = db.value("select credit_balance from seatkeeper.users").await;
    assert_eq!(balance, asked, "each grant once");
    db.assert_sound().await;
}
