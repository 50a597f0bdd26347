//! The owners of the catalog: they close, open, reprice, widen, narrow, set deadlines, move and call off sessions, and
//! send users away, while requests wait.

mod last;
mod semesters;
mod sessions;

use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::load::{Load, Tally};
use super::producer::is_passing;
use super::stage::{FICKLE_USERS, USERS};

pub use last::change_last;

/// The tables in the order in which everybody locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Semesters,
    Sessions,
    Users,
}

/// A statement and the rows that it changes, ascending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    table: Table,
    rows: Vec<i64>,
    /// Moves sessions, and so locks their users: nothing that locks users may be in the same transaction.
    moves: bool,
    statement: String,
}

impl Change {
    fn of(table: Table, id: i64, assignment: &str) -> Self {
        let (name, key) = match table {
            Table::Semesters => ("semesters", "semester_id"),
            Table::Sessions => ("sessions", "session_id"),
            Table::Users => ("users", "user_id"),
        };
        let statement = format!("update seatkeeper.{name} set {assignment} where {key} = {id}");
        Self { table, rows: vec![id], moves: false, statement }
    }
}

/// Makes one change for every so many requests, until producers have done.
pub async fn run(load: Arc<Load>, mut rng: ChaCha8Rng, requests_a_change: u32) {
    let mut turn = 0;
    while let Ok(asked) = load.asked.acquire_many(requests_a_change).await {
        asked.forget();
        turn += 1;
        // What is drawn seldom hits what it is after; so every other turn is for something that is sure to occur.
        let changes = match turn % 28 {
            2 | 10 | 18 => vec![semesters::reopened()],
            4 => vec![semesters::too_few_places(&mut rng)],
            6 => vec![sessions::too_few_places(&mut rng)],
            8 => vec![sessions::onto_another(&mut rng, "CONFIRMED")],
            12 => vec![sessions::onto_another(&mut rng, "WAITLISTED")],
            14 | 22 => vec![sessions::one_place_more()],
            16 | 20 => vec![sessions::brought_back()],
            24 | 26 => vec![sessions::bookable_again(&mut rng)],
            0 => vec![sessions::wandered(&mut rng)],
            _ => draw(&mut rng),
        };
        let mut statements = statements(changes);
        if rng.random_bool(0.3) {
            // Takes a while before it ends: whoever does not wait for it sees the rows as they were.
            statements.push("select count(*) from generate_series(1, 200000)".to_owned());
        }
        let keep = rng.random_bool(0.85);
        let mut connection = load.connection().await;
        let began = std::time::Instant::now();
        let changed = change(&mut connection, &statements, keep).await;
        load.lead.add_permits(usize::try_from(requests_a_change).unwrap());
        load.count(|tally| {
            tally.slowest_change = tally.slowest_change.max(began.elapsed());
            match &changed {
                Ok(()) if keep => tally.changes += 1,
                Ok(()) => tally.changes_rolled_back += 1,
                Err(error) => match refusal(tally, error) {
                    Some(count) => *count += 1,
                    None => panic!("seed {}: {error} in {statements:?}", load.seed),
                },
            }
        });
    }
}

/// What counts changes that ended like this; there is nothing for what must not happen.
fn refusal<'a>(tally: &'a mut Tally, error: &sqlx::Error) -> Option<&'a mut u32> {
    match error.as_database_error().and_then(|error| error.constraint()) {
        Some("chk_enrolled_within_capacity") => Some(&mut tally.capacity_refused),
        Some("chk_confirmed_within_capacity") => Some(&mut tally.session_capacity_refused),
        Some("xcl_no_overlapping_confirmed_bookings") => Some(&mut tally.moves_refused),
        _ => is_passing(error).then_some(&mut tally.changes_broken),
    }
}

async fn change(connection: &mut PgConnection, statements: &[String], keep: bool) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement.as_str())).execute(&mut *transaction).await?;
    }
    if keep { transaction.commit().await } else { transaction.rollback().await }
}

/// One change, or several in one transaction.
fn draw(rng: &mut ChaCha8Rng) -> Vec<Change> {
    let mut changes = vec![draw_one(rng)];
    if rng.random_bool(0.25) {
        changes.extend([draw_one(rng), draw_one(rng)]);
    }
    changes
}

fn draw_one(rng: &mut ChaCha8Rng) -> Change {
    match rng.random_range(0..100) {
        0..40 => semesters::draw(rng),
        40..85 => sessions::draw(rng),
        _ => {
            let id = rng.random_range(FICKLE_USERS..=USERS);
            Change::of(Table::Users, id, &format!("is_active = {}", rng.random_bool(0.7)))
        }
    }
}

/// Semesters before sessions before users, each ascending, as the workers lock.
fn statements(mut changes: Vec<Change>) -> Vec<String> {
    changes.sort();
    if let Some(moving) = changes.iter().position(|change| change.moves) {
        let mut at = 0;
        changes.retain(|change| {
            at += 1;
            at - 1 == moving || !(change.moves || change.table == Table::Users)
        });
    }
    let mut sessions: Vec<i64> = changes
        .iter()
        .filter(|change| change.table == Table::Sessions)
        .flat_map(|change| change.rows.clone())
        .collect();
    sessions.sort_unstable();
    sessions.dedup();
    let before = changes.iter().take_while(|change| change.table == Table::Semesters).count();
    let mut statements: Vec<String> = changes.into_iter().map(|change| change.statement).collect();
    if sessions.len() > 1 {
        // A statement that changes several locks them in any order.
        let ids = sessions.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let lock = format!(
            "select from seatkeeper.sessions where session_id in ({ids}) order by session_id for no key update"
        );
        statements.insert(before, lock);
    }
    statements
}
