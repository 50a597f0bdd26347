//! What our statements read and lock: never more because of statistics of another time, and no more than is needed.

mod claims;
mod statements;
mod triggers;

use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};

use crate::support::TestDb;

/// Transactions as a worker has them, all on one connection to the server itself: what it has planned it keeps.
fn on_one_connection(db: &TestDb) -> Transactions {
    Transactions::new(pool(connect_options(&db.direct).unwrap(), 1), Timeouts::default())
}

/// Fills every table that grows; the planner does not hear of it.
async fn fill(db: &TestDb) {
    let mut connection = db.session().await;
    let sql = concat!("begin;", include_str!("fill.sql"), "commit");
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}
