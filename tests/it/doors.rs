//! The doors of the database, through plain SQL and through the Rust crate: what producers are promised.

mod arguments;
mod concurrent;
mod many;
mod receipts;
mod safety;

use seatkeeper_jobs::{Job, enroll::Enroll, grant_credits::GrantCredits};

use crate::support::TestDb;

/// A place for a user in semester 1.
fn enroll(user: i64) -> Job {
    Enroll { user_id: user.try_into().unwrap(), semester_id: 1.try_into().unwrap() }.into()
}

/// Credits for a user.
fn grant(user: i64, amount: i64) -> Job {
    let amount = seatkeeper_jobs::grant_credits::Amount::new(amount).unwrap();
    GrantCredits { user_id: user.try_into().unwrap(), amount, note: None }.into()
}

/// How many requests are stored.
async fn stored(db: &TestDb) -> i64 {
    db.value("select count(*) from seatkeeper.requests").await
}
