//! Every invariant has its counterexample in `tests/counterexamples/`: rows that break it. It shows that the guard is what
//! prevents them, that the check sees exactly them, and that the repair of the header repairs.
//!
//! The list is the folder's: adding an invariant is adding its two files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use seatkeeper::invariants::{Outcome, Status, catalogue};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection};

use crate::support::TestDb;

/// Rows that are written by hand have numbers which no sequence has given: each is put ahead of them.
pub const AHEAD: &str = "do $$ declare repair text; begin
    for repair in select b.repair from seatkeeper.sequences_behind() b loop execute repair; end loop; end $$";

/// A file of the folder.
struct Counterexample {
    invariant: String,
    guard: String,
    offends: Vec<Value>,
    also: BTreeSet<String>,
    parts: BTreeMap<String, String>,
}

impl Counterexample {
    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let (header, body) = text.split_once("-- == ").unwrap_or_else(|| panic!("{file:?} has no parts"));
        let field = |name: &str| {
            let prefix = format!("-- {name}:");
            header
                .lines()
                .filter_map(move |line| line.strip_prefix(&prefix))
                .map(|value| value.trim().to_owned())
        };
        let one = |name| field(name).next().unwrap_or_else(|| panic!("{file:?}: {name} is missing"));
        let parts = body.split("-- == ").map(|part| part.split_once('\n').unwrap_or((part, "")));
        let example = Self {
            invariant: one("invariant"),
            guard: one("guard"),
            offends: field("offends").map(|key| serde_json::from_str(&key).unwrap()).collect(),
            also: field("also")
                .flat_map(|list| list.split(',').map(|id| id.trim().to_owned()).collect::<Vec<_>>())
                .filter(|id| !id.is_empty() && id != "none")
                .collect(),
            parts: parts.map(|(name, sql)| (name.trim().to_owned(), sql.to_owned())).collect(),
        };
        assert_eq!(file.file_stem().unwrap().to_str().unwrap(), example.invariant, "the file's name");
        assert!(!example.offends.is_empty(), "{file:?}: nothing offends");
        let names: Vec<&str> = example.parts.keys().map(String::as_str).collect();
        assert_eq!(names, ["breach", "drop", "given", "repair"], "{file:?}");
        example
    }

    fn part(&self, name: &str) -> &str {
        &self.parts[name]
    }

    /// Runs through all of it; gives what is wrong.
    async fn play(&self) -> Result<(), String> {
        let db = TestDb::new().await;
        db.run(self.part("given")).await;
        db.run(AHEAD).await;
        holds(&db, "given").await?;
        if !self.guard.starts_with("none") {
            let refused = refusal(&db, self.part("breach")).await;
            if refused.as_deref() != Some(self.guard.as_str()) {
                return Err(format!("{} has to refuse the breach; it was {refused:?}", self.guard));
            }
        }
        db.run(self.part("drop")).await;
        db.run(self.part("breach")).await;
        if self.invariant != "INV-10" {
            db.run(AHEAD).await;
        }

        let run = db.roll_call(&[]).await;
        let violated: BTreeSet<String> = not_holding(&run.results).collect();
        let expected: BTreeSet<String> = self.also.iter().cloned().chain([self.invariant.clone()]).collect();
        if violated != expected {
            return Err(format!(
                "violated are {violated:?}, to be violated were {expected:?}: {:#?}",
                run.results
            ));
        }
        let own = run.results.iter().find(|outcome| outcome.invariant == self.invariant).unwrap();
        let keys: Vec<Value> = own.sample.iter().map(|row| row["key"].clone()).collect();
        let same = self.offends.len() == keys.len() && self.offends.iter().all(|key| keys.contains(key));
        if !same || own.violations != Some(i64::try_from(keys.len()).unwrap()) {
            return Err(format!("{keys:?} offend, to offend were {:?}", self.offends));
        }
        if own.status != Status::Violated || own.since != Some(run.started_at) {
            return Err(format!("first seen now: {own:?}"));
        }
        db.run(self.part("repair")).await;
        if self.invariant != "INV-10" {
            db.run(AHEAD).await;
        }
        holds(&db, "repair").await
    }
}

fn not_holding(results: &[Outcome]) -> impl Iterator<Item = String> {
    results.iter().filter(|outcome| outcome.status != Status::Holds).map(|outcome| outcome.invariant.clone())
}

async fn holds(db: &TestDb, part: &str) -> Result<(), String> {
    let run = db.roll_call(&[]).await;
    match run.results.iter().find(|outcome| outcome.status != Status::Holds) {
        None => Ok(()),
        Some(outcome) => Err(format!("after `{part}` this does not hold: {outcome:#?}")),
    }
}

/// The name of the guard that refuses this, if one does; nothing of it stays.
async fn refusal(db: &TestDb, sql: &str) -> Option<String> {
    let mut connection = db.pool.acquire().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let refused = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.err();
    transaction.rollback().await.unwrap();
    refused.map(|error| {
        let name = error.as_database_error().and_then(|error| error.constraint().map(ToOwned::to_owned));
        name.unwrap_or_else(|| error.to_string())
    })
}

#[tokio::test]
async fn every_invariant_is_broken_seen_and_repaired() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/counterexamples");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let examples: Vec<_> = files.iter().map(|file| Counterexample::read(file)).collect();
    let written: Vec<&str> = examples.iter().map(|example| example.invariant.as_str()).collect();
    let known: Vec<&str> = catalogue().iter().map(|invariant| invariant.id.as_str()).collect();
    assert_eq!(written, known, "a counterexample for each invariant");

    let mut wrong = Vec::new();
    for example in &examples {
        let known = seatkeeper::invariants::invariant(&example.invariant).unwrap();
        if !known.takes_manifest
            && !example.guard.starts_with("none")
            && !known.guards.contains(&example.guard)
        {
            wrong.push(format!("{}: {} is not among its guards", example.invariant, example.guard));
        }
        if let Err(error) = example.play().await {
            wrong.push(format!("{}: {error}", example.invariant));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
