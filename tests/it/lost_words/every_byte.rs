//! Not by chance: a worker's turn at one batch of every kind, cut behind every byte of either direction. `make test` takes the
//! bytes around the ends of messages, and some in between that the seed draws.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};
use seatkeeper_jobs::cancel_semester::CancelSemester;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::record_attendance::AttendanceStatus;
use seatkeeper_jobs::{Job, Request, postgres as door};
use uuid::Uuid;

use super::assert_covered;
use crate::booking::{attended, book, cancel, enroll, session, stage, unenroll};
use crate::model::{scaled, seed};
use crate::support::TestDb;
use crate::support::proxy::{Direction, Fate, Passed, Wire};

/// Bytes in between, in a slice of each direction.
const BETWEEN: u64 = 40;

/// A proxy whose next connection, and no other, has the fate that is put here.
pub async fn wire_with_next_fate(url: &str) -> (Wire, Arc<Mutex<Fate>>) {
    let next = Arc::new(Mutex::new(Fate::Spared));
    let fate = Arc::clone(&next);
    let wire = Wire::start(url, move |_| std::mem::replace(&mut *fate.lock().unwrap(), Fate::Spared)).await;
    wire.rage();
    (wire, next)
}

/// Where it is cut: before, inside and behind the first and the last message of each type, and behind so many bytes in between; in
/// the long version behind every byte.
pub fn places(passed: &[Passed], rng: &mut ChaCha8Rng, between: u64) -> Vec<Fate> {
    let mut places = Vec::new();
    for direction in Direction::BOTH {
        let of_it: Vec<&Passed> = passed.iter().filter(|each| each.direction == direction).collect();
        // By number, since the bytes before it may be a few more or less the next time.
        let mut ends: BTreeMap<char, [u64; 2]> = BTreeMap::new();
        for (number, each) in (0..).zip(&of_it) {
            ends.entry(each.kind).or_insert([number, number])[1] = number;
        }
        let mut numbers: Vec<u64> = ends.into_values().flatten().collect();
        numbers.dedup();
        for number in numbers {
            places.extend([0.0, 0.5, 1.0].map(|share| Fate::Message(direction, number, share)));
        }
        let total = of_it.last().unwrap().to;
        let stride = if scaled(1) > 1 { 1 } else { (total / between).max(1) };
        let bytes = (rng.random_range(0..stride)..=total).step_by(usize::try_from(stride).unwrap());
        places.extend(bytes.map(|byte| Fate::Byte(direction, byte)));
        println!("{direction:?}: {total} bytes in {} messages", of_it.len());
    }
    places
}

/// Two semesters, a session to come, and one that has begun, in which user 3 has a place.
async fn laid_out() -> TestDb {
    let db = stage(3).await;
    db.semester(2, None, 0).await;
    db.semester(3, None, 0).await;
    session(&db, 1, 2, 48, 1).await;
    session(&db, 2, 1, 48, 1).await;
    db.ask(Uuid::now_v7(), book(3, 2)).await;
    db.drain().await;
    db.run(
        "update seatkeeper.sessions set starts_at = now() - interval '1 hour', ends_at = now() + interval '1 hour'
         where session_id = 2",
    )
    .await;
    db
}

/// Every kind once. User 2 comes, takes a place, gives it back and goes.
fn batch() -> [Job; 7] {
    let grant = GrantCredits { user_id: 1.try_into().unwrap(), amount: Amount::new(1).unwrap(), note: None };
    [
        grant.into(),
        enroll(2, 2).into(),
        book(2, 1).into(),
        cancel(2, 1).into(),
        unenroll(2, 2).into(),
        attended(3, 2, AttendanceStatus::Late).into(),
        CancelSemester { semester_id: 3.try_into().unwrap(), note: None }.into(),
    ]
}

/// Asks for the batch, and has a worker take a turn through the proxy; then another one sees to what is left.
async fn round(db: &TestDb, wire: &Wire) -> Turn {
    let requests = batch().map(|job| Request::new(Uuid::now_v7(), job));
    door::enqueue_many(&mut db.pool.acquire().await.unwrap(), &requests).await.unwrap();
    let through = pool(connect_options(&wire.through(&db.direct)).unwrap(), 1);
    let transactions = Transactions::new(through.clone(), Timeouts::default());
    let turn = Worker::new(transactions, Limits::default()).turn().await;
    through.close().await;
    db.drain().await;
    turn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_cut_behind_any_byte_is_answered_once() {
    let db = laid_out().await;
    let seed = seed();
    let (wire, next) = wire_with_next_fate(&db.direct).await;
    // The first one has a semester to cancel and an attendance to add, as none that follow.
    for _ in 0..2 {
        wire.passed();
        let turn = round(&db, &wire).await;
        assert!(matches!(&turn, Turn::Answered(report) if report.told.len() == 7), "{turn:?}");
    }
    let places = places(&wire.passed(), &mut ChaCha8Rng::seed_from_u64(seed), BETWEEN);

    let (mut rounds, mut answered, mut away) = (2_i64, 0, 0);
    for place in &places {
        *next.lock().unwrap() = *place;
        match round(&db, &wire).await {
            Turn::Answered(_) => answered += 1,
            Turn::Away(_) => away += 1,
            other => panic!("cut at {place:?}: {other:?}"),
        }
        *next.lock().unwrap() = Fate::Spared;
        wire.passed();
        rounds += 1;
        let (granted, left): (i64, i64) = sqlx::query_as(
            "select (select credit_balance from seatkeeper.users where user_id = 1),
                    (select count(*) from seatkeeper.requests where status = 'queued')",
        )
        .fetch_one(&db.pool)
        .await
        .unwrap();
        assert_eq!((granted, left), (rounds, 0), "cut at {place:?}");
    }
    let seen = wire.seen();
    println!("seed {seed}: {} places; {answered} turns answered, {away} were away; {seen}", places.len());
    // One semester is cancelled once; everything else is applied each time, at the first attempt.
    let otherwise = "select coalesce(string_agg(distinct concat_ws(' ', kind, outcome, reason, attempts), ', '), 'none')
                     from seatkeeper.requests
                     where (outcome, attempts) <> ('applied', 1) and (kind, reason, attempts) <> ('cancel_semester', 'already_cancelled', 1)";
    assert_eq!(db.value::<String>(otherwise).await, "none", "kinds that were not always applied at once");
    let applied = "select count(*) from seatkeeper.requests where outcome = 'applied'";
    assert_eq!(db.value::<i64>(applied).await, rounds * 6 + 1 + 4);
    db.assert_follows().await;
    let least = u32::try_from(places.len()).unwrap() * 9 / 10;
    assert_covered("a batch", seed, &seen, least, ["^pPDSBEQ", "RSKZ12tTnDC"]);
    assert!(away > 100, "only {away} turns noticed");
}
