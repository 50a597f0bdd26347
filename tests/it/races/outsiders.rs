//! Producers that lock in another order than the workers: a deadlock never reaches a receipt.

use seatkeeper::batch::Turn;
use sqlx::error::DatabaseError;
use uuid::Uuid;

use super::{APPLIED, answer, batches_wait, enroll, hold, patient};
use crate::support::{PATIENCE, TestDb};

/// Red without: making the same batch again after a deadlock, in `batch/retry.rs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_changes_a_user_and_then_a_semester_costs_no_request_an_attempt() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    let mut victims = (0, 0);
    for round in 0..4 {
        let id = Uuid::now_v7();
        if round > 0 {
            db.ask(Uuid::now_v7(), super::unenroll(1, 1)).await;
            db.drain().await;
        }
        db.ask(id, enroll(1, 1)).await;
        let mut producer = hold(&db, "update seatkeeper.users set is_active = true where user_id = 1").await;
        let mut worker = patient(&db);
        let turn = tokio::spawn(async move { (worker.turn().await, worker) });
        // The worker has the semester and wants the user; the producer has the user and wants the semester.
        batches_wait(&db, 1).await;
        let crossed = sqlx::query("update seatkeeper.semesters set name = 'crossed' where semester_id = 1")
            .execute(&mut *producer)
            .await;
        match crossed {
            Ok(_) => producer.commit().await.unwrap(),
            Err(error) => {
                assert_eq!(error.as_database_error().and_then(DatabaseError::code).as_deref(), Some("40P01"));
                victims.0 += 1;
                producer.rollback().await.unwrap();
            }
        }
        let (turn, mut worker) = tokio::time::timeout(PATIENCE, turn).await.unwrap().unwrap();
        if matches!(turn, Turn::Again(_)) {
            victims.1 += 1;
            while !matches!(worker.turn().await, Turn::Idle) {}
        }
        assert_eq!(answer(&db, id).await, APPLIED);
        let receipt = db.receipt(id).await;
        assert_eq!(receipt.attempts, 1, "a deadlock is nobody's attempt");
    }
    println!("victims: producer {}, worker {}", victims.0, victims.1);
    assert_eq!(victims.0 + victims.1, 4, "each round is a deadlock");
    let errors: i64 = db.value("select count(*) from seatkeeper.requests where last_error is not null").await;
    assert_eq!(errors, 0);
    db.assert_sound().await;
}
