//! The planner's statistics of the hot tables, where autovacuum has not been yet.
//!
//! After an import or a first rush a table may hold thousands of rows of which the planner knows nothing. Batches do
//! not depend on it (see [`crate::postgres::Transactions`]); checks and people's own queries do.

use sqlx::PgPool;

use crate::postgres;

/// Analyzes the tables that have never been, or have more than doubled since. Gives their names.
///
/// # Errors
/// When the database cannot be reached, or refuses.
pub async fn refresh(pool: &PgPool) -> sqlx::Result<Vec<String>> {
    let stale: Vec<String> = sqlx::query_scalar!(
        r#"-- statistics.stale
           select c.relname::text as "table!"
           from pg_catalog.pg_class c left join pg_catalog.pg_stat_user_tables s on s.relid = c.oid
           where c.relnamespace = 'seatkeeper'::regnamespace and c.relkind = 'r'
             -- What workers lock has no rows, and an analyze would wait for whoever has it locked: for this chore itself.
             and c.relname not like 'lock\_%' and (c.reltuples < 0 or s.n_live_tup > 2 * c.reltuples + 1000)
           order by c.relname"#
    )
    .fetch_all(pool)
    .await?;
    let mut refreshed = Vec::new();
    for table in stale {
        // Each in a transaction of its own: an analyze keeps its lock to the end.
        let mut transaction = postgres::begin_chore(pool).await?;
        let done = sqlx::query_scalar!(
            r#"-- statistics.refresh
               select seatkeeper.refresh_statistics($1) as "done!""#,
            table
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        if done {
            refreshed.push(table);
        } else {
            tracing::warn!(table, "its owner may not analyze it; autovacuum, or a person, has to");
        }
    }
    Ok(refreshed)
}
