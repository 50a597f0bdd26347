//! PostgreSQL's words for a guard are the same tomorrow: after a dump, in another session, whoever asks.

use std::collections::BTreeSet;

use seatkeeper::invariants::guards::{self, Guard};
use seatkeeper::invariants::{Outcome, Selection, Status, Trigger, call_the_roll};
use seatkeeper::postgres::{connect_options, pool};
use sqlx::AssertSqlSafe;

use crate::support::{PATIENCE, TestDb};

/// How it is taken away, and how it is made anew from its own words, as a dump does. `None` = it goes and comes with another.
fn again(guard: &Guard, all: &[Guard]) -> Option<(String, String)> {
    let Guard { what, table, name, definition, .. } = guard;
    let of_constraint = all.iter().any(|other| {
        other.what == "constraint" && (&other.table, &other.name) == (table, name) && what == "index"
    });
    match what.as_str() {
        "constraint" => Some(match definition.split_once(" of seatkeeper.") {
            Some((check, of)) => {
                let alter = format!("alter domain seatkeeper.{}", of.split(' ').next().unwrap());
                (format!("{alter} drop constraint {name}"), format!("{alter} add constraint {name} {check}"))
            }
            None => (
                format!("alter table seatkeeper.{table} drop constraint {name} cascade"),
                format!("alter table seatkeeper.{table} add constraint {name} {definition}"),
            ),
        }),
        "index" if !of_constraint => Some((format!("drop index seatkeeper.{name}"), definition.clone())),
        "trigger" => Some((format!("drop trigger {name} on seatkeeper.{table}"), definition.clone())),
        // A column of its own, in a table of its own.
        "column" => Some((
            String::new(),
            format!("create table seatkeeper.again_{table}_{name} (again {definition})"),
        )),
        _ => None,
    }
}

#[tokio::test]
async fn every_guard_is_what_postgresql_makes_of_its_own_words() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let before = guards::live(&mut connection).await.unwrap();
    let refers = |guard: &&Guard| guard.definition.starts_with("FOREIGN KEY");
    // What refers goes first, and comes last.
    let (foreign, others): (Vec<&Guard>, Vec<&Guard>) = before.iter().partition(refers);
    let steps: Vec<_> = foreign.iter().chain(&others).filter_map(|guard| again(guard, &before)).collect();
    assert!(steps.len() > 250, "{}", steps.len());
    let taken = steps.iter().map(|(taken, _)| taken);
    let (foreign, others) = steps.split_at(foreign.len());
    let made = others.iter().chain(foreign).map(|(_, made)| made);
    let sql: Vec<&str> = taken.chain(made).filter(|sql| !sql.is_empty()).map(String::as_str).collect();
    sqlx::raw_sql(AssertSqlSafe(sql.join(";\n"))).execute(&mut *connection).await.unwrap();

    let after = guards::live(&mut connection).await.unwrap();
    let words =
        |guard: &Guard| format!("{} {} {}: {}", guard.what, guard.table, guard.name, guard.definition);
    let after: BTreeSet<String> = after
        .iter()
        .map(|guard| match guard.table.strip_prefix("again_").filter(|_| guard.what == "column") {
            Some(of) => format!("again {of}: {}", guard.definition),
            None => words(guard),
        })
        .collect();
    let changed: Vec<String> = before
        .iter()
        .flat_map(|guard| {
            let Guard { table, name, definition, .. } = guard;
            let again = format!("again {table}_{name}: {definition}");
            [words(guard)].into_iter().chain((guard.what == "column").then_some(again))
        })
        .filter(|words| !after.contains(words))
        .collect();
    assert!(changed.is_empty(), "a dump changes these:\n{}", changed.join("\n"));
}

/// Whatever of a session changes PostgreSQL's words, for the one who asks or for everybody.
#[tokio::test]
async fn the_comparison_is_the_same_for_everybody() {
    let db = TestDb::new().await;
    let name: String = db.value("select current_database()::text").await;
    for setting in [
        "search_path = seatkeeper, public",
        "default_transaction_isolation = 'serializable'",
        "quote_all_identifiers = on",
        "datestyle = 'German, DMY'",
        "timezone = 'Asia/Tokyo'",
        "intervalstyle = 'iso_8601'",
        "extra_float_digits = -10",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
    ] {
        // What is opened from now on has it; sqlx's own settings excepted, which the session changes.
        db.run(&format!("alter database {name} set {setting}")).await;
        let theirs = pool(connect_options(&db.direct).unwrap(), 1);
        let mut connection = theirs.acquire().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("set {setting}"))).execute(&mut *connection).await.unwrap();
        assert_eq!(guards::troubles(&mut connection).await.unwrap(), [], "{setting}");
        drop(connection);
        let which = Selection::only(&["INV-05", "INV-B05"]).unwrap();
        let run = call_the_roll(&theirs, &which, Trigger::Manual, PATIENCE).await.unwrap();
        let holds = |outcome: &Outcome| outcome.status == Status::Holds;
        assert!(run.results.iter().all(holds), "{setting}: {:#?}", run.results);
        theirs.close().await;
        db.run(&format!("alter database {name} reset all")).await;
    }
}
