//! Every guard of the database is taken away once: none goes unnoticed. Prints the table of what notices it.

use std::collections::BTreeMap;
use std::path::Path;

use seatkeeper::invariants::guards::{Guard, manifest, troubles};
use sqlx::AssertSqlSafe;

use crate::support::TestDb;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// By guard: the invariants whose counterexample is refused by it while it is there.
fn counterexamples() -> BTreeMap<String, Vec<String>> {
    let mut by_guard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("tests/counterexamples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let guard = text.lines().find_map(|line| line.strip_prefix("-- guard: ")).unwrap().trim().to_owned();
        by_guard.entry(guard).or_default().push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    by_guard
}

fn without(Guard { what, table, name, definition, .. }: &Guard) -> String {
    match what.as_str() {
        // Of a type, for the columns that have it
        "constraint" if definition.contains(" of seatkeeper.") => format!(
            "do $$ begin execute (select format('alter domain %s drop constraint {name}', contypid::regtype)
                                  from pg_constraint where conname = '{name}'); end $$"
        ),
        "constraint" => format!("alter table seatkeeper.{table} drop constraint {name} cascade"),
        "index" => format!("drop index seatkeeper.{name} cascade"),
        "trigger" => format!("drop trigger {name} on seatkeeper.{table}"),
        "function" => format!("drop function seatkeeper.{name} cascade"),
        "table" => format!("drop table seatkeeper.{table} cascade"),
        "column" => format!("alter table seatkeeper.{table} drop column {name:?} cascade"),
        "sequence" => match definition.split_once(" identity of ") {
            Some((_, column)) => {
                let (table, column) = column.rsplit_once('.').unwrap();
                format!("alter table {table} alter column {column} drop identity")
            }
            None => format!("drop sequence seatkeeper.{name} cascade"),
        },
        "extension" => format!("drop extension {name} cascade"),
        "setting" => format!("set local {name} = replica"),
        other => panic!("a guard of an unknown kind: {other}"),
    }
}

#[tokio::test]
async fn no_guard_of_the_database_goes_unnoticed() {
    let db = TestDb::new().await;
    let guards = manifest();
    let counterexamples = counterexamples();
    let mut connection = db.pool.acquire().await.unwrap();
    for guard in &guards {
        let goes_with_its_constraint = |other: &Guard| {
            other.what == "constraint" && (&other.table, &other.name) == (&guard.table, &guard.name)
        };
        if guard.what == "index" && guards.iter().any(goes_with_its_constraint) {
            continue;
        }
        // Undone by the rollback with which the comparison ends.
        let sql = format!("begin; {}", without(guard));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
        let found = troubles(&mut connection).await.unwrap();
        let is_it = |one: &&_| {
            let one: &seatkeeper::invariants::guards::Trouble = one;
            (&one.what, &one.table, &one.name) == (&guard.what, &guard.table, &guard.name)
        };
        let noticed = found.iter().find(is_it).unwrap_or_else(|| panic!("goes unnoticed: {guard:?}"));
        assert!(noticed.problem == "missing" || guard.what == "setting", "{noticed:?}");

        let seen_by = counterexamples.get(&guard.name).cloned().unwrap_or_default();
        let test = if seen_by.is_empty() {
            "no_guard_of_the_database_goes_unnoticed"
        } else {
            "every_invariant_is_broken_seen_and_repaired"
        };
        let invariants = [vec![guard.group.clone()], seen_by.clone()].concat().join(", ");
        let alerts = if seen_by.is_empty() {
            "SeatkeeperGuardMissing"
        } else {
            "SeatkeeperGuardMissing, SeatkeeperInvariantViolated"
        };
        println!("| {} {} {} | {test} | {invariants} | {alerts} |", guard.what, guard.table, guard.name);
    }
    assert_eq!(troubles(&mut connection).await.unwrap(), [], "the rollbacks brought all of them back");
}
