//! The audit: are the stored answers right, and does the present state follow from them?
//!
//! Every answer has its place in one order (`answer_seq`), and so have the recorded changes of the catalog and the fills that
//! no request caused. The [`audit`] executes all of them one at a time in that order through [`crate::decide`], the
//! very rules that the workers decide by, and compares: each answer, each fill, and in the end every balance, enrollment,
//! booking, attendance, ledger row, and what is counted on semesters and sessions. It knows no rule of its own.
//!
//! All that is read is of one moment, so that it can run beside the workers. It only reads.
//!
//! What it cannot say:
//!
//! - An answer "there is no such …" is true of a moment: a row that is not there cannot be locked. It is accepted as long as
//!   no earlier answer has found the row. Additions of users are not recorded: a user is there from the first answer on that
//!   needs one.
//! - A position in a waitlist is a hint of the moment, and not compared.
//! - What becomes of the bookings of a session that is moved in time is decided in the database
//!   (`seatkeeper.move_bookings`), not by these rules. At such a change it stops, and says so; also where retention
//!   has removed answers that the rest depends on.

mod answer;
mod catalog;
mod end;
mod findings;
mod history;
mod numbers;
mod replay;
mod rows;

use sqlx::PgPool;

use history::History;

pub use findings::{About, Audit, Finding, NotCovered};

/// Works everything out again and compares.
///
/// # Errors
/// When the database cannot be asked, or holds what its constraints rule out.
pub async fn audit(pool: &PgPool) -> sqlx::Result<Audit> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read read only").await?;
    let history = History::read(&mut snapshot).await?;
    snapshot.commit().await?;
    Ok(replay::replay(&history))
}
