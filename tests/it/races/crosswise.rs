//! Many lanes that share their users and overlap in time: whoever locks out of order meets a deadlock here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};
use seatkeeper_jobs::{Job, Request, Status};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::booking::{book, cancel, enroll, enroll_all, session, stage, unenroll};
use crate::support::{PATIENCE, TestDb};

const USERS: i64 = 24;
const LANES: i64 = 8;
const ASKED: usize = 3_000;

/// Lanes 1 to `LANES` with two sessions each, all within the same few hours; everybody is in every lane.
async fn crossroads() -> TestDb {
    let db = stage(USERS).await;
    // A deadlock is found at once: these tests wait for no clock. Set for the database, since a pooler has no sessions; what is
    // connected already goes.
    db.run(&format!("alter database {} set deadlock_timeout = '5ms'", db.name())).await;
    db.run(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()",
    )
    .await;
    for lane in 2..=LANES {
        db.semester(lane, None, 0).await;
        enroll_all(&db, 1..=USERS, lane).await;
    }
    for id in 1..=2 * LANES {
        session(&db, id, (id - 1) % LANES + 1, 48 + id % 3, 3).await;
    }
    db
}

/// Books, gives back, leaves and comes back, everybody everywhere.
async fn ask_crosswise(db: &TestDb, seed: u64) -> Vec<Uuid> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut requests = Vec::new();
    for _ in 0..ASKED {
        let (user, lane) = (rng.random_range(1..=USERS), rng.random_range(1..=LANES));
        let at = rng.random_range(1..=2 * LANES);
        let job: Job = match rng.random_range(0..20) {
            0..9 => book(user, at).into(),
            9..17 => cancel(user, at).into(),
            17 => unenroll(user, lane).into(),
            _ => enroll(user, lane).into(),
        };
        requests.push(Request::new(Uuid::now_v7(), job));
    }
    let mut connection = db.pool.acquire().await.unwrap();
    seatkeeper_jobs::postgres::enqueue_many(&mut connection, &requests).await.unwrap();
    requests.iter().map(Request::request_id).collect()
}

/// Connections of their own.
fn quick(db: &TestDb) -> PgPool {
    pool(connect_options(&db.url).unwrap(), 10)
}

/// Four workers with batches of several lanes, until everything is answered; gives how often one was made again.
async fn work_crosswise(quick: &PgPool) -> usize {
    let workers = (0..4).map(|_| {
        let timeouts = Timeouts { lock: PATIENCE, idle: PATIENCE, ..Timeouts::default() };
        let limits = Limits { batch: 9, ..Limits::default() };
        let mut worker = Worker::new(Transactions::new(quick.clone(), timeouts), limits);
        tokio::spawn(async move {
            let (mut answered, mut again) = (0, 0);
            loop {
                match worker.turn().await {
                    Turn::Answered(report) => answered += report.told.len(),
                    Turn::Idle => return (answered, again),
                    Turn::Contended => tokio::task::yield_now().await,
                    Turn::Again(_) | Turn::Away(_) | Turn::Unfit(..) => again += 1,
                }
            }
        })
    });
    let (mut again, mut worked) = (0, 0);
    for worker in workers.collect::<Vec<_>>() {
        let (answered, tries) = worker.await.unwrap();
        again += tries;
        worked += usize::from(answered > 0);
    }
    assert!(worked > 1, "the workers did not overlap");
    again
}

async fn assert_all_answered_at_once(db: &TestDb, ids: &[Uuid]) -> HashMap<String, usize> {
    let mut endings: HashMap<String, usize> = HashMap::new();
    for id in ids {
        let receipt = db.receipt(*id).await;
        assert_eq!((receipt.status, receipt.attempts), (Status::Done, 1), "{receipt:?}");
        let ending = receipt.reason.map_or("applied", seatkeeper_jobs::Reason::as_str);
        *endings.entry(format!("{} {ending}", receipt.kind.as_str())).or_default() += 1;
    }
    let errors: i64 = db.value("select count(*) from seatkeeper.requests where last_error is not null").await;
    assert_eq!(errors, 0);
    endings
}

async fn deadlocks(db: &TestDb) -> i64 {
    db.value("select deadlocks from pg_stat_database where datname = current_database()").await
}

/// Red without: the ascending order in `prefetch.lock_users`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_of_lanes_that_share_users_and_hours_never_deadlock() {
    let db = crossroads().await;
    let ids = ask_crosswise(&db, 11).await;
    let again = work_crosswise(&quick(&db)).await;
    let endings = assert_all_answered_at_once(&db, &ids).await;
    let superseded: i64 =
        db.value("select count(*) from seatkeeper.bookings where cancelled_because = 'superseded'").await;
    let promoted: i64 =
        db.value("select count(*) from seatkeeper.bookings where promoted_at is not null").await;
    let found = deadlocks(&db).await;
    println!(
        "40P01: {found}; batches made again: {again}; superseded {superseded}, promoted {promoted}\n{endings:?}"
    );
    assert!(superseded > 50 && promoted > 50, "the load did not do what it is for");
    assert_eq!(found, 0, "users are locked in one order");
    db.assert_follows().await;
}

/// Owners who move sessions in whatever order they like meet deadlocks, and so may workers; no receipt tells of it.
/// Red without: making the same batch again after a deadlock, in `batch/retry.rs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn owners_who_lock_crosswise_cost_no_request_an_attempt() {
    let db = crossroads().await;
    let ids = ask_crosswise(&db, 12).await;
    let over = Arc::new(AtomicBool::new(false));
    let owners = (0..3).map(|owner| {
        let (pool, over) = (quick(&db), over.clone());
        tokio::spawn(async move {
            let mut rng = ChaCha8Rng::seed_from_u64(owner);
            let (mut moved, mut refused, mut victims) = (0, 0, 0);
            while !over.load(Ordering::Relaxed) {
                let mut transaction = pool.begin().await.unwrap();
                let mut outcome = Ok(());
                for _ in 0..3 {
                    let id = rng.random_range(1..=2 * LANES);
                    let user = rng.random_range(1..=USERS);
                    let hours = rng.random_range(48..51);
                    // Users before sessions, and sessions in any order: all that the guide advises against.
                    let sql = format!(
                        "update seatkeeper.users set is_active = is_active where user_id = {user};
                         update seatkeeper.sessions set starts_at = date_trunc('hour', now()) + interval '{hours} hours',
                             ends_at = date_trunc('hour', now()) + interval '{hours} hours 50 minutes'
                         where session_id = {id}"
                    );
                    outcome = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.map(|_| ());
                    if outcome.is_err() {
                        break;
                    }
                }
                match outcome {
                    Ok(()) => {
                        transaction.commit().await.unwrap();
                        moved += 1;
                    }
                    Err(error) => {
                        let code = error.as_database_error().and_then(|error| error.code().map(String::from));
                        match code.as_deref() {
                            Some("40P01") => victims += 1,
                            Some("23P01") => refused += 1,
                            _ => panic!("{error}"),
                        }
                        transaction.rollback().await.unwrap();
                    }
                }
            }
            (moved, refused, victims)
        })
    });
    let owners: Vec<_> = owners.collect();
    let again = work_crosswise(&quick(&db)).await;
    over.store(true, Ordering::Relaxed);
    let (mut moved, mut refused, mut victims) = (0, 0, 0);
    for owner in owners {
        let (a, b, c) = owner.await.unwrap();
        moved += a;
        refused += b;
        victims += c;
    }
    db.drain().await;
    let endings = assert_all_answered_at_once(&db, &ids).await;
    println!(
        "40P01: {} ({victims} times an owner's); batches made again: {again}; moved {moved}, refused {refused}\n{endings:?}",
        deadlocks(&db).await
    );
    assert!(moved > 10, "the owners did not get to it");
    db.assert_follows().await;
}
