//! Whether a database is fit to be worked on: what would make answers wrong, for good, although every statement succeeds.

use sqlx::PgConnection;

/// Why nothing must be decided here now, and what to do; empty when nothing is in the way.
///
/// It reads with the rights of a worker. To be asked in a transaction of ours, whose settings it looks at.
///
/// # Errors
/// When the database cannot be asked, or hides rows from this account.
pub async fn obstacles(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    let session = sqlx::query!(
        r#"-- fitness.session
           select current_setting('session_replication_role') as "replication_role!",
                  array(select c.relname::text from pg_catalog.pg_class c
                        where c.relnamespace = 'seatkeeper'::regnamespace and c.relkind in ('r', 'p')
                          and pg_catalog.row_security_active(c.oid)
                        order by 1) as "hiding!",
                  -- Before migration 15 there is nothing to ask; `run` does not work on such a schema.
                  to_regprocedure('seatkeeper.sequences_behind()') is not null as "compares!""#
    )
    .fetch_one(&mut *connection)
    .await?;
    let mut obstacles = Vec::new();
    if session.replication_role != "origin" {
        obstacles.push(format!(
            "session_replication_role is {}: triggers are silent and deferrable guards let everything in. `alter role … reset \
             session_replication_role`, or `alter database … reset …`, wherever it was set",
            session.replication_role
        ));
    }
    if !session.compares {
        return Ok(obstacles);
    }
    if !session.hiding.is_empty() {
        obstacles.push(format!(
            "row level security may hide rows of {} from this account: `alter table … disable row level security`, or give the \
             account of the workers the attribute BYPASSRLS",
            session.hiding.join(", ")
        ));
        return Ok(obstacles);
    }
    obstacles.extend(sequences_behind(connection).await?.into_iter().map(|row| {
        format!(
            "the sequence {} is at {}, and {} is stored already: numbers would be given twice. Run `{}`",
            row.sequence, row.next, row.stored, row.repair
        )
    }));
    Ok(obstacles)
}

/// A sequence that would give numbers twice.
#[derive(Debug)]
pub struct SequenceBehind {
    /// Its name in the schema `seatkeeper`.
    pub sequence: String,
    /// The number that it gives next.
    pub next: i64,
    /// The greatest one that is stored.
    pub stored: i64,
    /// The statement that puts it right.
    pub repair: String,
}

/// Every sequence whose next number is stored already, or a greater one; none in a sound database.
///
/// # Errors
/// When the database cannot be asked, before migration 15 too.
pub async fn sequences_behind(connection: &mut PgConnection) -> sqlx::Result<Vec<SequenceBehind>> {
    sqlx::query_as!(
        SequenceBehind,
        r#"-- fitness.sequences
           select s.sequence as "sequence!", s.next as "next!", s.stored as "stored!", s.repair as "repair!"
           from seatkeeper.sequences_behind() s order by s.sequence"#
    )
    .fetch_all(connection)
    .await
}
