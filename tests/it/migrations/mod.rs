//! The schema: applied to an empty database and to a populated one, complete, named and commented throughout.

mod applied;
mod beside;
mod held_up;
mod paths;
mod process;
mod shape;

use std::borrow::Cow;

use seatkeeper::postgres::MIGRATOR;
use sqlx::migrate::{Migration, Migrator};

use crate::support::TestDb;

/// The migrations as they are kept, but only the first of them: what an older version applied.
pub async fn apply_first(db: &TestDb, count: usize) {
    let migrations: Vec<Migration> = MIGRATOR.iter().take(count).cloned().collect();
    let mut older = Migrator::with_migrations(migrations);
    older.dangerous_set_table_name(MIGRATOR.table_name.clone());
    for schema in MIGRATOR.create_schemas.iter() {
        older.create_schema(Cow::clone(schema));
    }
    older.run(&db.pool).await.unwrap();
}

/// A row as of a version that nobody has written yet.
async fn pretend_newer(db: &TestDb, is_finished: bool) {
    db.run(&format!(
        "insert into seatkeeper._sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'from the future', {is_finished}, '', 0)"
    ))
    .await;
}
