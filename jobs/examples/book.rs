//! Books session 5 for user 7, who is enrolled in its semester, looks at the booking and gives it back; DATABASE_URL
//! names a database with Seatkeeper's schema.

use std::time::Duration;

use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::postgres::{enqueue, get_booking, get_receipt};
use seatkeeper_jobs::{Applied, BookingId, Job, Receipt, Request, SessionId, UserId};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

type Error = Box<dyn std::error::Error>;

/// Asks, and waits for the answer; not for ever, since nobody may be there to give one.
async fn ask(connection: &mut PgConnection, job: Job) -> Result<Receipt, Error> {
    let request = Request::new(Uuid::now_v7(), job).with_producer("example in Rust")?;
    let mut receipt = enqueue(connection, &request).await?;
    let mut pause = Duration::from_millis(20);
    for _ in 0..15 {
        if receipt.status.is_final() {
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
        receipt = get_receipt(connection, request.request_id()).await?.ok_or("it was asked above")?;
    }
    match receipt.reason {
        Some(reason) => println!("{}: {}, {reason}", receipt.kind, receipt.status),
        None => println!("{}: {}", receipt.kind, receipt.status),
    }
    Ok(receipt)
}

/// The answer is of its moment; this is how the booking is now.
async fn look(connection: &mut PgConnection, booking_id: BookingId) -> Result<(), Error> {
    let booking = get_booking(connection, booking_id).await?.ok_or("bookings are never deleted")?;
    match (booking.waitlist_position, booking.cancelled_because) {
        (Some(position), _) => println!("now: {}, place {position} in the waitlist", booking.status),
        (None, Some(because)) => println!("now: {}, {because}", booking.status),
        (None, None) => println!("now: {}", booking.status),
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut connection = PgConnection::connect(&std::env::var("DATABASE_URL")?).await?;
    let (user_id, session_id) = (UserId::new(7)?, SessionId::new(5)?);

    let receipt = ask(&mut connection, Book { user_id, session_id }.into()).await?;
    let Some(Applied::Book(booked)) = receipt.applied()? else { return Ok(()) };
    look(&mut connection, booked.booking_id).await?;

    let which = Which::BookingId(booked.booking_id);
    ask(&mut connection, CancelBooking { user_id, which }.into()).await?;
    look(&mut connection, booked.booking_id).await
}
