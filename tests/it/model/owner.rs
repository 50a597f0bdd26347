//! The owners of the catalog: they close, open, reprice, widen, narrow, set deadlines, and send users away, while
//! requests wait.

use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::asks::{FICKLE_USERS, SEMESTERS, SEMESTERS_WITHOUT_FIXED_DEADLINE, USERS};
use super::load::Load;
use super::producer::is_passing;

/// Makes one change for every so many requests, until producers have done.
pub async fn run(load: Arc<Load>, mut rng: ChaCha8Rng, requests_a_change: u32) {
    let mut turn = 0;
    while let Ok(asked) = load.asked.acquire_many(requests_a_change).await {
        asked.forget();
        turn += 1;
        let statements = if turn % 4 == 0 { vec![too_few_places(&mut rng)] } else { draw(&mut rng) };
        let keep = rng.random_bool(0.85);
        let mut connection = load.connection().await;
        let began = std::time::Instant::now();
        let changed = change(&mut connection, &statements, keep).await;
        load.lead.add_permits(usize::try_from(requests_a_change).unwrap());
        load.count(|tally| tally.slowest_change = tally.slowest_change.max(began.elapsed()));
        match changed {
            Ok(()) if keep => load.count(|tally| tally.changes += 1),
            Ok(()) => load.count(|tally| tally.changes_rolled_back += 1),
            Err(error) if is_refused_capacity(&error) => load.count(|tally| tally.capacity_refused += 1),
            Err(error) if is_passing(&error) => load.count(|tally| tally.changes_broken += 1),
            Err(error) => panic!("seed {}: {error} in {statements:?}", load.seed),
        }
    }
}

/// Fewer places than are taken: refused to whoever asks for it.
fn is_refused_capacity(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.constraint()) == Some("chk_enrolled_within_capacity")
}

async fn change(connection: &mut PgConnection, statements: &[String], keep: bool) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement.as_str())).execute(&mut *transaction).await?;
    }
    if keep { transaction.commit().await } else { transaction.rollback().await }
}

/// One place fewer than are taken, where any is.
fn too_few_places(rng: &mut ChaCha8Rng) -> String {
    let id = rng.random_range(1..=SEMESTERS);
    format!("update seatkeeper.semesters set max_players = abs(enrolled_count - 1) where semester_id = {id}")
}

/// One change, or several in one transaction: semesters before users, each ascending, as the workers lock.
fn draw(rng: &mut ChaCha8Rng) -> Vec<String> {
    let count = if rng.random_bool(0.25) { 3 } else { 1 };
    let mut changes: Vec<(&str, i64, String)> = (0..count).map(|_| draw_one(rng)).collect();
    changes.sort();
    changes.into_iter().map(|(_, _, statement)| statement).collect()
}

fn draw_one(rng: &mut ChaCha8Rng) -> (&'static str, i64, String) {
    let kind = rng.random_range(0..100);
    let id = match kind {
        85..100 => rng.random_range(FICKLE_USERS..=USERS),
        70..85 => rng.random_range(1..=SEMESTERS_WITHOUT_FIXED_DEADLINE),
        _ => rng.random_range(1..=SEMESTERS),
    };
    if kind >= 85 {
        let toggle = format!("update seatkeeper.users set is_active = not is_active where user_id = {id}");
        return ("2 users", id, toggle);
    }
    let assignment = match kind {
        0..30 => {
            let closed = ["DRAFT", "ENROLLMENT_CLOSED", "COMPLETED", "CANCELLED"];
            let open = ["ENROLLMENT_OPEN", "IN_PROGRESS"];
            let status = if rng.random_bool(0.8) {
                open[rng.random_range(0..open.len())]
            } else {
                closed[rng.random_range(0..closed.len())]
            };
            format!("status = '{status}'")
        }
        30..45 => format!("enrollment_cost = {}", rng.random_range(0..60)),
        45..52 => format!("refund_percent = {}", [0, 33, 50, 100][rng.random_range(0..4)]),
        52..54 => "name = name || '.'".to_owned(),
        54..58 => "max_players = null".to_owned(),
        58..62 => "max_players = enrolled_count".to_owned(),
        62..70 => format!("max_players = {}", rng.random_range(2..20)),
        _ => {
            let which = if rng.random_bool(0.5) { "enrollment_closes_at" } else { "unenroll_closes_at" };
            let when = match rng.random_range(0..10) {
                0..5 => "null".to_owned(),
                5..7 => "clock_timestamp()".to_owned(),
                _ => format!("clock_timestamp() + interval '{} milliseconds'", rng.random_range(1..150)),
            };
            format!("{which} = {when}")
        }
    };
    ("1 semesters", id, format!("update seatkeeper.semesters set {assignment} where semester_id = {id}"))
}
