//! The guards of the schema: what they have to be, and what is wrong with them.
//!
//! The manifest is compared by definition, not by name, and by the SELECT of INV-05 and INV-B05 alone: the doctor and
//! whoever asks whether a guard is live get their answer from there. The definitions are PostgreSQL's own words
//! (`pg_get_constraintdef` and its like) under [`WORDS`]; of functions a digest of the source. They read the same in PostgreSQL
//! 14 to 18, and after a dump: a test makes each guard anew from its own words. What differs between versions (constraints for
//! `not null`, in 18) is left out.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::catalogue::catalogue;
use super::parse::Invariant;
use super::repair;
use crate::postgres::opening;

/// The guards of the schema that this build knows: compared with the migrations by a test, which prints what it has to be.
pub const MANIFEST: &str = include_str!("guards.json");

static KNOWN: LazyLock<Vec<Guard>> = LazyLock::new(|| {
    // A test reads it.
    serde_json::from_str(MANIFEST).unwrap_or_default()
});

/// What PostgreSQL's words depend on, whatever the database, the role or the session has set.
pub(super) const WORDS: &str = "set local search_path = pg_catalog; set local quote_all_identifiers = off; \
                                set local timezone = 'UTC'; set local datestyle = 'ISO, MDY'; \
                                set local standard_conforming_strings = on";

/// A guard as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The invariant that looks at it.
    pub group: String,
    /// `constraint`, `index`, `trigger`, `function`, `table`, `column`, `sequence`, `extension` or `setting`.
    pub what: String,
    /// The table that it is on; empty where it is on none.
    pub table: String,
    /// Its name; of a function with its arguments.
    pub name: String,
    /// Its definition, in PostgreSQL's words.
    pub definition: String,
}

/// What is wrong with a guard.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Trouble {
    /// The invariant that looks at it.
    #[sqlx(skip)]
    pub invariant: String,
    /// As of a [`Guard`]; or `rule` or `policy`, of which there are none of ours.
    pub what: String,
    /// The table that it is on; empty where it is on none.
    pub table: String,
    /// Its name; of a function with its arguments.
    pub name: String,
    /// What is wrong, in words.
    pub problem: String,
    /// The definition that it has to have; `None` = it is none of ours.
    pub expected: Option<String>,
    /// The definition that it has.
    pub found: Option<String>,
    /// The statements that put it right, each to be run by itself. Empty where others do that on the way (an index comes with
    /// its constraint, an identity's sequence with its column), or none can.
    pub repair: Vec<String>,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_told = self.table.is_empty() || self.table == self.name;
        let table = if is_told { String::new() } else { format!(" {}", self.table) };
        write!(f, "{}{table} {} is {}", self.what, self.name, self.problem)
    }
}

/// The guards of the [`MANIFEST`].
#[must_use]
pub fn manifest() -> Vec<Guard> {
    KNOWN.clone()
}

/// What the SELECT of an invariant takes: its own guards.
pub(super) fn manifest_for(invariant: &Invariant) -> Value {
    of_group(&KNOWN, invariant)
}

fn of_group(guards: &[Guard], invariant: &Invariant) -> Value {
    let own = |guard: &&Guard| invariant.takes_manifest && guard.group == invariant.id;
    json!(guards.iter().filter(own).collect::<Vec<_>>())
}

/// What is wrong with the guards now, in the order in which it is put right.
///
/// # Errors
/// When the database cannot be asked.
pub async fn troubles(connection: &mut PgConnection) -> sqlx::Result<Vec<Trouble>> {
    compare(connection, &KNOWN).await
}

async fn compare(connection: &mut PgConnection, guards: &[Guard]) -> sqlx::Result<Vec<Trouble>> {
    let begin = format!("begin read only; {WORDS}; set local statement_timeout = 10000; set local jit = off");
    let mut read = connection.begin_with(opening(&begin)).await?;
    let mut troubles: Vec<Trouble> = Vec::new();
    for invariant in catalogue().iter().filter(|invariant| invariant.takes_manifest) {
        let sql = format!("-- roll_call.guards\n{}\norder by 1, 2, 3", invariant.select);
        let found = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(of_group(guards, invariant));
        let found: Vec<Trouble> = found.fetch_all(&mut *read).await?;
        troubles.extend(found.into_iter().map(|one| Trouble { invariant: invariant.id.clone(), ..one }));
    }
    read.rollback().await?;
    repair::complete(&mut troubles);
    Ok(troubles)
}

/// The tables, the functions and what else is on no table that INV-B05 looks at; INV-05 looks at all others.
const OF_BOOKINGS: [&str; 14] = [
    "sessions",
    "bookings",
    "attendance",
    "fill_marks",
    "session_keys",
    "count_confirmed()",
    "follow_sessions()",
    "keep_session_key()",
    "mark_sessions_of_user()",
    "move_bookings(moved bigint[], concerned bigint[], at timestamp with time zone)",
    "bookings_booking_id_seq",
    "fill_marks_mark_id_seq",
    "waitlist_ticket_seq",
    "btree_gist",
];

/// Every guard of the database as it is, whatever this build knows: the [`manifest`] of this schema.
///
/// # Errors
/// When the database cannot be asked.
pub async fn live(connection: &mut PgConnection) -> sqlx::Result<Vec<Guard>> {
    let names = sqlx::query!(
        r#"-- roll_call.names_of_guards
           select g.what as "what!", coalesce(t.relname::text, '') as "table!", g.name as "name!"
           from (
               select 'constraint' as what, c.conrelid as relid, c.conname::text as name
               from pg_catalog.pg_constraint c where c.contype in ('c', 'f', 'p', 'u', 'x')
               union
               select 'constraint', a.attrelid, c.conname::text
               from pg_catalog.pg_constraint c join pg_catalog.pg_attribute a on a.atttypid = c.contypid
               join pg_catalog.pg_class o on o.oid = a.attrelid
               where c.contype = 'c' and c.contypid <> 0 and o.relkind = 'r' and not a.attisdropped
               union all
               select 'index', i.indrelid, n.relname
               from pg_catalog.pg_index i join pg_catalog.pg_class n on n.oid = i.indexrelid
               union all
               select 'trigger', r.tgrelid, r.tgname from pg_catalog.pg_trigger r where not r.tgisinternal
               union all
               select 'table', c.oid, c.relname from pg_catalog.pg_class c where c.relkind in ('r', 'p')
               union all
               select 'column', a.attrelid, a.attname
               from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
               where c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
               union all
               select 'sequence', null, c.relname from pg_catalog.pg_class c
               where c.relkind = 'S' and c.relnamespace = 'seatkeeper'::regnamespace
               union all
               select 'extension', null, x.extname from pg_catalog.pg_extension x where x.extname = 'btree_gist'
               union all
               select 'setting', null, 'session_replication_role'
               union all
               select 'function', null, format('%s(%s)', f.proname, pg_catalog.pg_get_function_identity_arguments(f.oid))
               from pg_catalog.pg_proc f
               where f.pronamespace = 'seatkeeper'::regnamespace and f.prokind = 'f'
                 -- What an extension brings along is not ours.
                 and not exists (select from pg_catalog.pg_depend d
                                 where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = f.oid and d.deptype = 'e')
           ) g
           left join pg_catalog.pg_class t on t.oid = g.relid
           where g.relid is null
              or (t.relnamespace = 'seatkeeper'::regnamespace and t.relname <> '_sqlx_migrations')
           order by g.what, coalesce(t.relname::text, '') collate "C", g.name::text collate "C""#
    )
    .fetch_all(&mut *connection)
    .await?;
    let wanted = names.into_iter().map(|row| {
        let subject = if row.table.is_empty() { &row.name } else { &row.table };
        let group = if OF_BOOKINGS.contains(&subject.as_str()) { "INV-B05" } else { "INV-05" };
        // No definition is the empty one, so each is told.
        let definition = String::new();
        Guard { group: group.to_owned(), what: row.what, table: row.table, name: row.name, definition }
    });
    let mut guards: Vec<Guard> = wanted.collect();
    let told = compare(connection, &guards).await?;
    for guard in &mut guards {
        let same = |each: &&Trouble| {
            (&each.what, &each.table, &each.name) == (&guard.what, &guard.table, &guard.name)
        };
        guard.definition = told.iter().find(same).and_then(|each| each.found.clone()).unwrap_or_default();
    }
    Ok(guards)
}

/// The guards as the file of the [`MANIFEST`], one a line.
#[must_use]
pub fn as_manifest(guards: &[Guard]) -> String {
    let lines: Vec<String> =
        guards.iter().map(|guard| serde_json::to_string(guard).unwrap_or_default()).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}
