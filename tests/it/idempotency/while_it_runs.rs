//! Sent again before and during execution, one by one and by many at once.

use std::sync::Arc;

use seatkeeper_jobs::{Outcome, Receipt, Status};
use tokio::sync::Barrier;
use uuid::Uuid;

use super::{assert_effects, assert_replayed, enroll, hold_commits, hold_user, others, patient_turn, seeded};
use crate::support::TestDb;
use crate::support::plain_sql::Door;

async fn assert_done_once(db: &TestDb, id: Uuid) -> Receipt {
    let receipt = db.receipt(id).await;
    assert_eq!((receipt.status, receipt.outcome), (Status::Done, Some(Outcome::Applied)));
    assert_effects(db, id, 1).await;
    receipt
}

#[tokio::test]
async fn a_request_sent_again_before_it_is_executed_has_one_effect() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    let receipt = db.ask(id, enroll()).await;
    assert_replayed(&db, id, &enroll(), &receipt).await;
    assert_effects(&db, id, 0).await;
    db.drain().await;
    assert_done_once(&db, id).await;
}

/// RACE-13. The worker is in the middle of its transaction: lane locked, request claimed, waiting for the user.
#[tokio::test]
async fn a_producer_that_times_out_and_sends_again_while_the_first_runs_gets_the_same_receipt() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    let receipt = db.ask(id, enroll()).await;
    let (holder, number) = hold_user(&db).await;
    let turn = patient_turn(&db);
    db.until_blocked_by(number).await;

    assert_replayed(&db, id, &enroll(), &receipt).await;
    assert!(!turn.is_finished(), "it was sent again during the execution");
    assert_effects(&db, id, 0).await;

    holder.rollback().await.unwrap();
    turn.await.unwrap();
    let receipt = assert_done_once(&db, id).await;
    assert_replayed(&db, id, &enroll(), &receipt).await;
    db.drain().await;
    assert_done_once(&db, id).await;
}

#[tokio::test]
async fn a_request_sent_again_while_its_answer_is_written_but_not_committed_has_one_effect() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    let receipt = db.ask(id, enroll()).await;
    let (holder, number) = hold_commits(&db).await;
    let turn = patient_turn(&db);
    db.until_blocked_by(number).await;

    // Nobody waits for the commit of a worker: the answer is not there yet, so the receipt says queued.
    assert_replayed(&db, id, &enroll(), &receipt).await;
    assert!(!turn.is_finished(), "it was sent again before the commit");

    holder.rollback().await.unwrap();
    turn.await.unwrap();
    let receipt = assert_done_once(&db, id).await;
    assert_replayed(&db, id, &enroll(), &receipt).await;
}

#[tokio::test]
async fn a_request_sent_again_after_it_was_answered_has_one_effect() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    db.ask(id, enroll()).await;
    db.drain().await;
    let receipt = assert_done_once(&db, id).await;
    assert_replayed(&db, id, &enroll(), &receipt).await;
    db.drain().await;
    assert_eq!(assert_done_once(&db, id).await, receipt);
}

/// All at the same instant, through all doors, while workers work.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_sent_from_32_connections_at_once_is_new_to_one_of_them_and_has_one_effect() {
    let db = seeded().await;
    let id = Uuid::now_v7();
    let start = Arc::new(Barrier::new(33));
    let senders: Vec<_> = Door::ALL
        .into_iter()
        .cycle()
        .take(32)
        .map(|door| {
            let (pool, start) = (db.pool.clone(), start.clone());
            tokio::spawn(async move {
                let mut connection = pool.acquire().await.unwrap();
                start.wait().await;
                door.send(&mut connection, id, &enroll()).await.unwrap()
            })
        })
        .collect();
    start.wait().await;
    db.drain().await;
    let mut new = 0;
    for sender in senders {
        let receipt = sender.await.unwrap();
        assert_eq!(receipt.request_id, id);
        new += usize::from(!receipt.duplicate);
    }
    assert_eq!(new, 1);
    db.drain().await;
    assert_done_once(&db, id).await;
}

/// Whichever comes first is the request; everybody with something else is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_different_requests_with_one_id_sent_at_once_one_wins_and_the_others_are_conflicts() {
    let db = seeded().await;
    for _ in 0..10 {
        let id = Uuid::now_v7();
        let start = Arc::new(Barrier::new(32));
        let jobs: Vec<_> = std::iter::once(enroll()).chain(others()).collect();
        let senders: Vec<_> = (0..32)
            .map(|number| {
                let (pool, start, job) = (db.pool.clone(), start.clone(), jobs[number % jobs.len()].clone());
                let door = Door::ALL[number / 8];
                tokio::spawn(async move {
                    let mut connection = pool.acquire().await.unwrap();
                    start.wait().await;
                    let sent = door.send(&mut connection, id, &job).await;
                    (job, sent)
                })
            })
            .collect();
        let mut won = Vec::new();
        for sender in senders {
            let (job, sent) = sender.await.unwrap();
            match sent {
                Ok(receipt) => won.push((job, receipt.duplicate)),
                Err(refusal) => assert_eq!(refusal.what(), ("RC409", id.to_string().as_str())),
            }
        }
        assert_eq!(won.len(), 8, "those who sent what the winner sent");
        assert!(won.iter().all(|(job, _)| *job == won[0].0));
        assert_eq!(won.iter().filter(|(_, is_duplicate)| !is_duplicate).count(), 1);
        let stored: serde_json::Value =
            db.value(&format!("select payload from seatkeeper.requests where request_id = '{id}'")).await;
        assert_eq!(stored, won[0].0.payload());
    }
    db.drain().await;
    db.assert_sound().await;
}
