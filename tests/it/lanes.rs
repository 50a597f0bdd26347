//! How many lanes a batch takes: as many as it has room for, however little waits in each of them.

use std::collections::BTreeSet;

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper_jobs::Request;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::postgres::enqueue_many;
use uuid::Uuid;

use crate::support::TestDb;

/// As many semesters, and somebody who asks for a place in each.
async fn one_request_in_each_of(db: &TestDb, semesters: i64) {
    db.users(semesters).await;
    db.run(&format!(
        "insert into seatkeeper.semesters (semester_id, code, status)
         select n, 'S' || n, 'ENROLLMENT_OPEN' from generate_series(1, {semesters}) n"
    ))
    .await;
    let ask = |id: i64| Enroll { user_id: id.try_into().unwrap(), semester_id: id.try_into().unwrap() };
    let requests: Vec<_> = (1..=semesters).map(|id| Request::new(Uuid::now_v7(), ask(id))).collect();
    enqueue_many(&mut db.pool.acquire().await.unwrap(), &requests).await.unwrap();
}

async fn answered(worker: &mut Worker) -> usize {
    match worker.turn().await {
        Turn::Answered(report) => report.told.len(),
        Turn::Idle => 0,
        turn => panic!("{turn:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_full_when_a_request_waits_in_each_of_many_semesters() {
    let db = TestDb::new().await;
    one_request_in_each_of(&db, 450).await;
    let mut worker = db.worker_with(Limits { batch: 200, ..Limits::default() });
    let batches = [answered(&mut worker).await, answered(&mut worker).await, answered(&mut worker).await];
    assert_eq!(batches, [200, 200, 50]);
    assert_eq!(answered(&mut worker).await, 0);
    db.assert_sound().await;
}

#[tokio::test]
async fn small_batches_go_round_all_semesters() {
    let db = TestDb::new().await;
    one_request_in_each_of(&db, 30).await;
    let mut worker = db.worker_with(Limits { batch: 4, ..Limits::default() });
    let mut batches = Vec::new();
    while batches.iter().sum::<usize>() < 30 {
        batches.push(answered(&mut worker).await);
    }
    assert_eq!(batches.iter().max(), Some(&4));
    assert!(batches.len() <= 9, "{batches:?}: eight full ones, and one where the round ends");
    let lanes: Vec<i64> = sqlx::query_scalar(
        "select semester_id from seatkeeper.requests where outcome = 'applied' order by answer_seq",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(lanes.iter().copied().collect::<BTreeSet<_>>(), (1..=30).collect());
    db.assert_sound().await;
}
