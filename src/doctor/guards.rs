//! Whether every constraint, index and trigger of the schema is there and in force, and not merely a name.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::Finding;

/// The guards of the schema that this build knows: what, table, name. Compared with the migrations by a test.
pub const MANIFEST: &str = include_str!("guards.txt");

/// A constraint, an index or a trigger of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// What, table and name, as in a line of the [`MANIFEST`].
    pub line: String,
    /// Whether it is in force: validated, valid, enabled.
    pub is_live: bool,
}

/// The guards in the database, whatever this build knows.
///
/// # Errors
/// When the database cannot be asked.
pub async fn guards(connection: &mut PgConnection) -> sqlx::Result<Vec<Guard>> {
    // A foreign key is enforced by triggers that `disable trigger all` turns off.
    sqlx::query_as!(
        Guard,
        r#"
        -- doctor.guards
        select concat_ws(' ', g.what, t.relname, g.name) collate "C" as "line!", g.is_live as "is_live!"
        from (
            select 'constraint' as what, c.conrelid as relid, c.conname as name,
                   c.convalidated and not exists (select from pg_catalog.pg_trigger r
                       where r.tgconstraint = c.oid and r.tgenabled not in ('O', 'A')) as is_live
            from pg_catalog.pg_constraint c where c.contype in ('c', 'f', 'p', 'u', 'x')
            union all
            select 'index', i.indrelid, n.relname, i.indisvalid and i.indisready and i.indislive
            from pg_catalog.pg_index i join pg_catalog.pg_class n on n.oid = i.indexrelid
            union all
            select 'trigger', r.tgrelid, r.tgname, r.tgenabled in ('O', 'A')
            from pg_catalog.pg_trigger r where not r.tgisinternal
        ) g
        join pg_catalog.pg_class t on t.oid = g.relid
        join pg_catalog.pg_namespace s on s.oid = t.relnamespace
        where s.nspname = 'seatkeeper' and t.relname <> '_sqlx_migrations'
        order by 1
        "#
    )
    .fetch_all(connection)
    .await
}

pub(super) async fn finding(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let live: HashMap<String, bool> =
        guards(connection).await?.into_iter().map(|guard| (guard.line, guard.is_live)).collect();
    let wrong: Vec<String> = MANIFEST
        .lines()
        .filter_map(|line| match live.get(line) {
            Some(true) => None,
            Some(false) => Some(format!("{line} is not in force")),
            None => Some(format!("{line} is missing")),
        })
        .collect();
    Ok(if wrong.is_empty() {
        Finding::ok("guards", format!("all {} are there and in force", MANIFEST.lines().count()))
    } else {
        Finding::problem(
            "guards",
            wrong.join("; "),
            "pause everything, put them back as `seatkeeper migrate sql` has them (validate constraints, reindex, \
             enable triggers), and look for rows that they would have refused",
        )
    })
}
