//! The plan of each statement, made when there is nothing, when there is much that the planner has not heard of, and when it has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use seatkeeper::postgres::Transactions;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};

use super::{fill, on_one_connection};
use crate::support::TestDb;

/// Statements of whoever works, changes as an operator or is scraped: by their names, or the first part of those. They run under
/// the settings of a business transaction, and what is planned once is kept.
const KEPT: [&str; 13] = [
    "claim",
    "commit",
    "history",
    "hold",
    "metrics",
    "needs",
    "operate",
    "places",
    "prefetch",
    "retry",
    "roll_call.last_of_each",
    "schedule.states",
    "silence.replication_waits",
];
/// Statements that are planned anew each time, on the sizes of the moment.
const PLANNED_ANEW: [&str; 2] = ["hold.pending", "queue.anything_ready"];
/// What filters as its user likes, and reads what it has to.
const ANY_FILTER: [&str; 2] = ["operate.list", "operate.select"];
/// A row for each pause and each schedule.
const SMALL: [&str; 2] = ["pauses", "schedules"];
/// Indexes that a statement reads from their beginning, in their order, up to the first row that will do or as many as it may count.
const FROM_THE_BEGINNING: [(&str, &str); 9] = [
    ("claim.lock_loose", "idx_ready_loose"),
    ("claim.read_lanes", "idx_paused"),
    ("hold.pending", "idx_due"),
    ("hold.pending", "idx_fill_marks_put_off"),
    ("hold.pending", "idx_paused"),
    ("metrics.returned", "idx_ready_returned"),
    ("metrics.scheduled", "idx_due"),
    ("queue.anything_ready", "idx_fill_marks_by_lane"),
    ("queue.anything_ready", "idx_ready_by_kind"),
];

/// Name → text and number of parameters, of all statements in the sources that have a name.
fn statements() -> BTreeMap<String, (String, usize)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let source = std::fs::read_to_string(path).unwrap();
                found.extend(source.match_indices("-- ").filter_map(|(at, _)| statement(&source, at)));
            }
        }
    }
    found
}

/// The statement that begins here with its name, if one does.
fn statement(source: &str, at: usize) -> Option<(String, (String, usize))> {
    let before = source[..at].trim_end();
    let (name, _) = source[at + 3..].split_once('\n')?;
    let is_name = name.contains('.') && name.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c));
    if !is_name || !before.ends_with('"') {
        return None;
    }
    let text = &source[at..];
    let text = if before.ends_with("#\"") {
        text.split_once("\"#")?.0.to_owned()
    } else {
        let end = text.match_indices('"').find(|(at, _)| !text[..*at].ends_with('\\'))?.0;
        text[..end].replace("\\\"", "\"")
    };
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok();
    let parameters = text.split('$').skip(1).filter_map(number).max().unwrap_or(0);
    Some((name.to_owned(), (text, parameters)))
}

fn is_kept(name: &str) -> bool {
    let kind = name.split('.').next().unwrap_or_default();
    !PLANNED_ANEW.contains(&name)
        && !ANY_FILTER.contains(&name)
        && (KEPT.contains(&name) || KEPT.contains(&kind))
}

/// Where each index begins: its first column.
async fn first_columns(db: &TestDb) -> BTreeMap<String, Vec<String>> {
    sqlx::query(
        "select i.relname::text, array(select a.attname::text from unnest(x.indkey) with ordinality k (number, ord)
                                       join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.number order by k.ord)
         from pg_index x join pg_class i on i.oid = x.indexrelid where i.relnamespace = 'seatkeeper'::regnamespace",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap()
    .iter()
    .map(|row| (row.get(0), row.get(1)))
    .collect()
}

/// How a table is read: by which index, and by which of its columns; none of them = from end to end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Scan {
    table: String,
    index: Option<String>,
    by: Vec<String>,
}

impl Scan {
    fn is_bounded(&self, statement: &str, columns: &BTreeMap<String, Vec<String>>) -> bool {
        if SMALL.contains(&self.table.as_str()) || self.table.ends_with("_seq") {
            return true;
        }
        let Some(index) = &self.index else { return false };
        FROM_THE_BEGINNING.contains(&(statement, index))
            || self.by.first().is_some_and(|first| columns[index].first() == Some(first))
    }
}

fn scans(node: &Value, columns: &BTreeMap<String, Vec<String>>, into: &mut BTreeSet<Scan>) {
    let text = |key: &str| node[key].as_str().map(str::to_owned);
    let kind = node["Node Type"].as_str().unwrap();
    let index = text("Index Name");
    if kind == "Bitmap Index Scan" || kind.contains("Scan") && node["Relation Name"].is_string() {
        let condition = text("Index Cond").unwrap_or_default();
        let words: BTreeSet<_> = condition.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let by = index.as_ref().map_or_else(Vec::new, |index| {
            columns
                .get(index)
                .map(|all| all.iter().filter(|column| words.contains(column.as_str())).cloned().collect())
                .unwrap_or_default()
        });
        // A table of the catalog is none of ours.
        if node["Schema"] == "seatkeeper" {
            into.insert(Scan { table: text("Relation Name").unwrap_or_default(), index, by });
        }
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        scans(child, columns, into);
    }
}

async fn plan(
    transactions: &Transactions,
    name: &str,
    (query, parameters): &(String, usize),
    columns: &BTreeMap<String, Vec<String>>,
) -> BTreeSet<Scan> {
    let mut transaction = transactions.begin().await.unwrap();
    if !is_kept(name) {
        // As a connection has it that is not in a business transaction.
        sqlx::raw_sql(
            "reset enable_seqscan; reset enable_bitmapscan; reset enable_hashjoin; reset enable_mergejoin; reset enable_material;
             reset enable_sort; reset plan_cache_mode",
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
    }
    let values = vec!["null"; *parameters].join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    sqlx::raw_sql(AssertSqlSafe(format!("prepare looked_at as {query}")))
        .execute(&mut *transaction)
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let explained: Value = sqlx::query_scalar(AssertSqlSafe(format!(
        "explain (format json, verbose) execute looked_at{values}"
    )))
    .persistent(false)
    .fetch_one(&mut *transaction)
    .await
    .unwrap_or_else(|error| panic!("{name}: {error}"));
    transaction.rollback().await.unwrap();
    sqlx::raw_sql("deallocate looked_at").execute(transactions.pool()).await.unwrap();
    let mut found = BTreeSet::new();
    scans(&explained[0]["Plan"], columns, &mut found);
    found
}

#[tokio::test]
async fn no_plan_depends_on_what_the_planner_knew_when_it_was_made() {
    let db = TestDb::new().await;
    let transactions = on_one_connection(&db);
    let columns = first_columns(&db).await;
    let statements: Vec<_> = statements()
        .into_iter()
        .filter(|(name, _)| {
            is_kept(name) || PLANNED_ANEW.contains(&name.as_str()) && !ANY_FILTER.contains(&name.as_str())
        })
        .collect();
    for kind in KEPT.into_iter().chain(PLANNED_ANEW) {
        assert!(statements.iter().any(|(name, _)| name.starts_with(kind)), "no statement of {kind}");
    }

    db.run("vacuum analyze").await;
    let mut states = Vec::new();
    for state in ["nothing", "much, unknown", "much, known"] {
        match state {
            "much, unknown" => fill(&db).await,
            "much, known" => db.run("vacuum analyze").await,
            _ => {}
        }
        let mut plans = BTreeMap::new();
        for (name, statement) in &statements {
            plans.insert(name.as_str(), plan(&transactions, name, statement, &columns).await);
        }
        states.push((state, plans));
    }
    transactions.pool().close().await;

    let mut wrong = Vec::new();
    for (name, _) in &statements {
        let name = name.as_str();
        // What is planned anew is never planned on nothing when there is much.
        let states = if is_kept(name) { &states[..] } else { &states[1..] };
        let (_, last) = states.last().unwrap();
        for (state, plans) in states {
            if plans[name] != last[name] {
                wrong.push(format!(
                    "{name}: with {state}: {:?}, and at the end: {:?}",
                    plans[name], last[name]
                ));
            }
            for scan in plans[name].iter().filter(|scan| !scan.is_bounded(name, &columns)) {
                wrong.push(format!("{name}: with {state} it reads from end to end: {scan:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
