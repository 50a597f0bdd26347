//! Enrolls user 7 in semester 3, which must exist; DATABASE_URL names a database with Seatkeeper's schema.

use std::time::Duration;

use seatkeeper_jobs::postgres::{enqueue, get_receipt};
use seatkeeper_jobs::{Request, SemesterId, UserId, enroll::Enroll};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut connection = PgConnection::connect(&std::env::var("DATABASE_URL")?).await?;

    // One ID for each intention, stored before it is sent, so that it can be sent again after a crash.
    let request_id = Uuid::now_v7();
    let job = Enroll { user_id: UserId::new(7)?, semester_id: SemesterId::new(3)? };
    let request = Request::new(request_id, job).with_producer("example in Rust")?;

    // In the transaction of your own changes: either both happen or none.
    let mut tx = connection.begin().await?;
    let first = enqueue(&mut tx, &request).await?;
    tx.commit().await?;
    println!("first: duplicate = {}", first.duplicate);

    // After a timeout, say: the same ID with the same job is the same request.
    let again = enqueue(&mut connection, &request).await?;
    println!("again: duplicate = {}", again.duplicate);

    // Ask for the answer, less and less often.
    let mut pause = Duration::from_millis(20);
    loop {
        let receipt = get_receipt(&mut connection, request_id).await?.ok_or("it was committed above")?;
        if receipt.status.is_final() || pause > Duration::from_secs(1) {
            println!("receipt: {} {} is {}", receipt.kind, receipt.request_id, receipt.status);
            if let Some(reason) = receipt.reason {
                println!("reason: {reason}");
            }
            if let Some(result) = receipt.result {
                println!("result: {result}");
            }
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
