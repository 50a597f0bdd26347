//! A lone request in a quiet lane waits for a batch, whatever waits elsewhere.

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper_jobs::Status;
use uuid::Uuid;

use super::enroll;
use crate::support::TestDb;

/// Lanes that are full, and how much waits in each.
const FULL: i64 = 60;
const IN_EACH: i64 = 60;
/// In the middle of them, and quiet.
const QUIET: i64 = 30;
const BATCH: usize = 100;

/// Semesters, and users who ask for places in all of them but the quiet one.
async fn full_lanes() -> TestDb {
    let db = TestDb::new().await;
    db.users(IN_EACH + 10).await;
    db.run(&format!(
        "insert into seatkeeper.semesters (semester_id, code, status)
         select n, 'S' || n, 'ENROLLMENT_OPEN' from generate_series(1, {FULL}) n;
         select count(*) from seatkeeper.enqueue_many((
             select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', 'enroll',
                 'payload', jsonb_build_object('user_id', u, 'semester_id', s)))
             from generate_series(1, {FULL}) s, generate_series(1, {IN_EACH}) u where s <> {QUIET}))"
    ))
    .await;
    db
}

async fn turn(worker: &mut Worker) -> usize {
    match worker.turn().await {
        Turn::Answered(report) => report.told.len(),
        turn => panic!("{turn:?}"),
    }
}

async fn is_answered(db: &TestDb, id: Uuid) -> bool {
    db.receipt(id).await.status == Status::Done
}

/// One after the other, lone requests arrive; the next batch answers each, and is as full as ever.
async fn assert_answered_at_once(db: &TestDb, worker: &mut Worker, rounds: i64) {
    for round in 1..=rounds {
        let lone = Uuid::now_v7();
        db.ask(lone, enroll(IN_EACH + round, QUIET)).await;
        assert_eq!(turn(worker).await, BATCH, "round {round}");
        assert!(is_answered(db, lone).await, "round {round}: it waits for others");
    }
}

#[tokio::test]
async fn a_lone_request_does_not_wait_for_full_lanes() {
    let db = full_lanes().await;
    let mut worker = db.worker_with(Limits { batch: BATCH, ..Limits::default() });
    assert_answered_at_once(&db, &mut worker, 10).await;
    // And the full ones take turns: all of them have had one after a few batches.
    let unserved = "select count(*) from seatkeeper.semesters where enrolled_count = 0";
    assert_eq!(db.value::<i64>(unserved).await, 0);
    db.drain().await;
    db.assert_sound().await;
}

#[tokio::test]
async fn a_lone_request_does_not_wait_for_grants_either() {
    let db = full_lanes().await;
    // More grants than anybody can answer at once, and two for each who asks next.
    db.run(&format!(
        "select count(*) from seatkeeper.enqueue_many((
             select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', 'grant_credits',
                 'payload', jsonb_build_object('user_id', 1 + n % {IN_EACH}, 'amount', 1))) from generate_series(1, 3000) n));
         select count(*) from seatkeeper.enqueue_many((
             select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', 'grant_credits',
                 'payload', jsonb_build_object('user_id', {IN_EACH} + 1 + n % 10, 'amount', 1))) from generate_series(1, 20) n))"
    ))
    .await;
    let mut worker = db.worker_with(Limits { batch: BATCH, ..Limits::default() });
    for round in 1..=5 {
        let lone = Uuid::now_v7();
        db.ask(lone, enroll(IN_EACH + round, QUIET)).await;
        turn(&mut worker).await;
        assert!(is_answered(&db, lone).await, "round {round}: it waits for others");
        let granted =
            format!("select credit_balance from seatkeeper.users where user_id = {}", IN_EACH + round);
        assert_eq!(db.value::<i64>(&granted).await, 2, "round {round}: its user's grants come first");
    }
    db.drain().await;
    db.assert_sound().await;
}

#[tokio::test]
async fn semesters_that_do_not_exist_are_no_lanes() {
    const UNKNOWN: i64 = 3_000;
    let db = TestDb::new().await;
    db.users(IN_EACH + 10).await;
    for semester in [QUIET, QUIET + UNKNOWN / 2, QUIET + UNKNOWN] {
        db.semester(semester, None, 0).await;
    }
    db.run(&format!(
        "select count(*) from seatkeeper.enqueue_many((
             select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', 'enroll',
                 'payload', jsonb_build_object('user_id', 1, 'semester_id', s)))
             from generate_series({QUIET} + 1, {QUIET} + {UNKNOWN} - 1) s where s <> {QUIET} + {UNKNOWN} / 2))"
    ))
    .await;
    let mut worker = db.worker_with(Limits { batch: BATCH, ..Limits::default() });
    for round in 1..=5 {
        let lone = [QUIET, QUIET + UNKNOWN / 2, QUIET + UNKNOWN].map(|lane| (Uuid::now_v7(), lane));
        for (id, lane) in lone {
            db.ask(id, enroll(round, lane)).await;
        }
        let answered = turn(&mut worker).await;
        for (id, lane) in lone {
            assert!(is_answered(&db, id).await, "round {round}: lane {lane} waits for what does not exist");
        }
        assert!(answered >= BATCH / 4, "round {round}: {answered}");
    }
    db.drain().await;
    let refused: i64 =
        db.value("select count(*) from seatkeeper.requests where reason = 'semester_not_found'").await;
    assert_eq!(refused, UNKNOWN - 2);
    db.assert_sound().await;
}

/// What fails in a quiet lane is found among full ones, and nothing else fails with it.
#[tokio::test]
async fn what_fails_in_a_quiet_lane_is_found_among_full_ones() {
    let db = full_lanes().await;
    db.run(&format!(
        "create function public.broken() returns trigger language plpgsql as $$ begin raise exception 'broken'; end $$;
         create trigger aaa_broken before insert on seatkeeper.enrollments for each row when (new.semester_id = {QUIET})
             execute function public.broken()"
    ))
    .await;
    let lone = Uuid::now_v7();
    db.ask(lone, enroll(IN_EACH + 1, QUIET)).await;
    let mut worker = db.worker_with(Limits { batch: BATCH, attempts: 1, ..Limits::default() });
    loop {
        match worker.turn().await {
            Turn::Answered(_) | Turn::Again(_) => {}
            Turn::Idle => break,
            turn => panic!("{turn:?}"),
        }
    }
    assert_eq!(db.receipt(lone).await.status, Status::Failed);
    let others: i64 = db
        .value("select count(*) from seatkeeper.requests where status <> 'done' or outcome <> 'applied'")
        .await;
    assert_eq!(others, 1);
    db.assert_sound().await;
}
