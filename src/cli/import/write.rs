//! From rows to the catalog.
//!
//! An upsert locks unchanged rows all the same, and naming a key column in it takes the lock that holds up
//! foreign-key checks. So what differs is looked for first, without any lock; only rows that differ are locked,
//! ascending by key as everybody does, and only columns that differ somewhere are named.
//!
//! What changes, changes in one statement: a timetable is moved as a whole, and halfway two sessions might lie over
//! each other that do so neither before nor after.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seatkeeper::postgres::{ErrorClass, opening};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row as _};

use super::columns::Table;
use super::read::Row;
use super::refusal::{bad_line, is_about_rows};
use crate::cli::Failure;
use crate::cli::database::refusal as words_of;
use crate::cli::lines::BadLine;

/// Rows of one transaction with `--keep-going`, and of one statement where rows have nothing to do with each other.
const CHUNK: usize = 500;
/// How often work is begun again that others were in the way of.
const ATTEMPTS: u32 = 5;
/// Whoever holds a row for longer than the lock timeout is waited for by beginning again, not by holding more rows.
const BEGIN: &str = "begin isolation level read committed read write; set local lock_timeout = '3s'; \
                     set local statement_timeout = '60s'";

/// How many rows were what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub added: usize,
    pub changed: usize,
    pub unchanged: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
    }
}

/// What was written, or would be.
#[derive(Debug, Default)]
pub struct Written {
    pub counts: Counts,
    /// Lines that the database refused.
    pub bad: Vec<BadLine>,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// In one transaction, which is rolled back when any row is refused.
    AllOrNothing,
    /// A transaction for each chunk; refused rows are left out.
    KeepGoing,
    /// In one transaction, which is rolled back.
    DryRun,
}

/// Writes all rows, which are ascending by key; `progress` is told how many are done.
pub async fn write(
    pool: &PgPool,
    table: &Table,
    rows: &[Row],
    manner: Manner,
    progress: impl Fn(usize),
) -> Result<Written, Failure> {
    let at_a_time = if manner == Manner::KeepGoing { CHUNK } else { rows.len().max(1) };
    let (mut written, mut done) = (Written::default(), 0);
    for part in rows.chunks(at_a_time) {
        let part_written = with_patience(pool, table, part, manner, |count| progress(done + count)).await?;
        written.counts += part_written.counts;
        written.bad.extend(part_written.bad);
        done += part.len();
    }
    written.bad.sort_by_key(|bad| bad.line);
    Ok(written)
}

/// Writes a part in a transaction, and begins again when others were in the way.
async fn with_patience(
    pool: &PgPool,
    table: &Table,
    rows: &[Row],
    manner: Manner,
    progress: impl Fn(usize),
) -> Result<Written, Failure> {
    let mut attempt = 1;
    loop {
        let error = match transaction(pool, table, rows, manner, &progress).await {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        let in_the_way = matches!(
            ErrorClass::of(&error),
            ErrorClass::Deadlock
                | ErrorClass::Serialization
                | ErrorClass::LockTimeout
                | ErrorClass::Connection
        );
        if !in_the_way || attempt == ATTEMPTS {
            let kept =
                if manner == Manner::KeepGoing { "earlier rows are in" } else { "nothing was imported" };
            return Err(Failure::unable(format!(
                "{}; {kept}. Run the same command again: rows that are in \
                 already count as unchanged",
                words_of(&error)
            )));
        }
        tokio::time::sleep(Duration::from_millis(100) * attempt).await;
        attempt += 1;
    }
}

async fn transaction(
    pool: &PgPool,
    table: &Table,
    rows: &[Row],
    manner: Manner,
    progress: &impl Fn(usize),
) -> sqlx::Result<Written> {
    let mut transaction = pool.begin_with(opening(BEGIN)).await?;
    let (mut written, mut done) = (Written::default(), 0);
    let at_a_time = if table.moves_as_a_whole { rows.len().max(1) } else { CHUNK };
    for chunk in rows.chunks(at_a_time) {
        match step(&mut transaction, table, chunk).await {
            Ok(counts) => written.counts += counts,
            Err(error) if is_about_rows(&error) => {
                let one_by_one = one_by_one(&mut transaction, table, chunk).await?;
                written.counts += one_by_one.counts;
                written.bad.extend(one_by_one.bad);
            }
            Err(error) => return Err(error),
        }
        done += chunk.len();
        progress(done);
    }
    let keep = match manner {
        Manner::AllOrNothing => written.bad.is_empty(),
        Manner::KeepGoing => true,
        Manner::DryRun => false,
    };
    if keep {
        transaction.commit().await?
    } else {
        transaction.rollback().await?
    }
    Ok(written)
}

/// Writes each row for itself, so that every line that is refused is named, and no other: what was refused because
/// of a row that comes later is tried again after that.
async fn one_by_one(connection: &mut PgConnection, table: &Table, rows: &[Row]) -> sqlx::Result<Written> {
    let mut written = Written::default();
    let mut left: Vec<&Row> = rows.iter().collect();
    loop {
        let mut refused = Vec::new();
        written.bad.clear();
        for row in &left {
            match step(connection, table, std::slice::from_ref(*row)).await {
                Ok(counts) => written.counts += counts,
                Err(error) if is_about_rows(&error) => {
                    refused.push(*row);
                    written.bad.push(bad_line(row, &error));
                }
                Err(error) => return Err(error),
            }
        }
        if refused.is_empty() || refused.len() == left.len() {
            return Ok(written);
        }
        left = refused;
    }
}

/// Writes a chunk, or leaves the transaction as it was.
async fn step(connection: &mut PgConnection, table: &Table, rows: &[Row]) -> sqlx::Result<Counts> {
    let mut savepoint = connection.begin().await?;
    match write_chunk(&mut savepoint, table, rows).await {
        Ok(counts) => savepoint.commit().await.map(|()| counts),
        Err(error) => {
            // When the connection is gone, so is what it did.
            let _ = savepoint.rollback().await;
            Err(error)
        }
    }
}

/// Rows by the columns that have to be written.
type Groups<'a> = BTreeMap<Vec<String>, Vec<&'a Map<String, Value>>>;

async fn write_chunk(connection: &mut PgConnection, table: &Table, rows: &[Row]) -> sqlx::Result<Counts> {
    loop {
        let (added, changed) = differences(connection, table, rows).await?;
        let count = |groups: &Groups<'_>| groups.values().map(Vec::len).sum::<usize>();
        let counts = Counts {
            added: count(&added),
            changed: count(&changed),
            unchanged: rows.len() - count(&added) - count(&changed),
        };
        if lock(connection, table, &changed).await? < counts.changed {
            // Somebody has deleted a row since we looked: look again.
            continue;
        }
        for (columns, items) in &added {
            insert(connection, table, columns, items).await?;
        }
        if counts.changed > 0 {
            update(connection, table, &changed).await?;
        }
        return Ok(counts);
    }
}

/// Which rows are new, and which are there with other values. Takes no lock.
async fn differences<'a>(
    connection: &mut PgConnection,
    table: &Table,
    rows: &'a [Row],
) -> sqlx::Result<(Groups<'a>, Groups<'a>)> {
    let (name, key) = (table.name, table.key);
    let items: Vec<&Map<String, Value>> = rows.iter().map(|row| &row.values).collect();
    let found = sqlx::query(AssertSqlSafe(format!(
        "-- import.differences
         select t.{key} is null as added,
                array(select field from jsonb_object_keys(i.item) field
                      where to_jsonb(n) -> field is distinct from to_jsonb(t) -> field order by field) as differing
         from jsonb_array_elements($1) with ordinality i (item, ord)
         left join {name} t on t.{key} = (i.item ->> '{key}')::bigint
         cross join lateral jsonb_populate_record(t, i.item) n
         order by i.ord"
    )))
    .bind(Json(items))
    .fetch_all(connection)
    .await?;
    let (mut added, mut changed) = (Groups::new(), Groups::new());
    for (row, found) in rows.iter().zip(found) {
        let differing: Vec<String> = found.try_get("differing")?;
        if found.try_get("added")? {
            let columns = row.values.keys().cloned().collect();
            added.entry(columns).or_default().push(&row.values);
        } else if !differing.is_empty() {
            changed.entry(differing).or_default().push(&row.values);
        }
    }
    Ok((added, changed))
}

/// Locks the rows that are going to be changed, ascending. Gives how many are still there.
async fn lock(connection: &mut PgConnection, table: &Table, changed: &Groups<'_>) -> sqlx::Result<usize> {
    let (name, key) = (table.name, table.key);
    let keys: Vec<i64> =
        changed.values().flatten().filter_map(|item| item.get(key).and_then(Value::as_i64)).collect();
    let locked = sqlx::query(AssertSqlSafe(format!(
        "-- import.lock
         select from {name} where {key} = any ($1) order by {key} for no key update"
    )))
    .bind(keys)
    .fetch_all(connection)
    .await?;
    Ok(locked.len())
}

/// Columns that the file does not have get their defaults.
async fn insert(
    connection: &mut PgConnection,
    table: &Table,
    columns: &[String],
    items: &[&Map<String, Value>],
) -> sqlx::Result<()> {
    let (name, key, columns) = (table.name, table.key, columns.join(", "));
    sqlx::query(AssertSqlSafe(format!(
        "-- import.insert
         insert into {name} ({columns})
         select {columns} from jsonb_populate_recordset(null::{name}, $1) order by {key}"
    )))
    .bind(Json(items))
    .execute(connection)
    .await?;
    Ok(())
}

/// In one statement, of each row the columns that differ.
async fn update(connection: &mut PgConnection, table: &Table, changed: &Groups<'_>) -> sqlx::Result<()> {
    let (name, key) = (table.name, table.key);
    let columns: BTreeSet<&String> = changed.keys().flatten().collect();
    let set: Vec<String> = columns
        .iter()
        .map(|column| format!("{column} = case when i.item ? '{column}' then n.{column} else t.{column} end"))
        .collect();
    let items: Vec<&Map<String, Value>> = changed.values().flatten().copied().collect();
    sqlx::query(AssertSqlSafe(format!(
        "-- import.update
         update {name} t set {}
         from jsonb_array_elements($1) i (item) cross join lateral jsonb_populate_record(null::{name}, i.item) n
         where t.{key} = n.{key}",
        set.join(", ")
    )))
    .bind(Json(items))
    .execute(connection)
    .await?;
    Ok(())
}
