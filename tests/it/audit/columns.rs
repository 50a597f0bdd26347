//! Every column of every table that the audit is about: one value edited past all guards, and that row is named. The columns
//! are those of information_schema, so that a new one needs a case here, or a reason why not.

use std::collections::{BTreeMap, BTreeSet};

use seatkeeper::audit::{About, Finding};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::{SEED, assert_holds, audited, mixed};
use crate::support::TestDb;

/// A table, and rows of it to edit.
struct Table {
    name: &'static str,
    /// Its primary key.
    key: &'static str,
    /// Each gives the key of one row.
    rows: &'static [&'static str],
    /// Edits other than that of the column's type: what is stored instead.
    edits: &'static [(&'static str, &'static str)],
    /// Columns whose edit is told of the answer to the request that made the row.
    by_its_answer: &'static [&'static str],
    /// Columns that only some of the rows tell (by their place in `rows`): of the others nothing else has the value.
    told_by: &'static [(&'static str, &'static [usize])],
    /// Columns that are not audited, and why.
    left_out: &'static [(&'static str, &'static str)],
}

/// A booking with others before it in its session.
const LATER_BOOKING: &str = "select max(b.booking_id) from seatkeeper.bookings b where exists (
    select from seatkeeper.bookings o where o.session_id = b.session_id and o.waitlist_ticket < b.waitlist_ticket)";

const TABLES: [Table; 8] = [
    Table {
        name: "requests",
        key: "request_id",
        // Not the first of their semester, so that the clock before them says when at the earliest.
        rows: &[
            "select request_id from seatkeeper.requests where kind = 'enroll' and outcome = 'applied' order by answer_seq desc limit 1",
            "select request_id from seatkeeper.requests where reason = 'insufficient_credits' and kind = 'enroll' order by answer_seq desc limit 1",
            "select request_id from seatkeeper.requests where kind = 'book' and outcome = 'applied' order by answer_seq desc limit 1",
            "select request_id from seatkeeper.requests where kind = 'unenroll' and outcome = 'applied' order by answer_seq desc limit 1",
        ],
        edits: &[
            ("payload", "'{}'"),
            ("expires_at", "'2000-01-01 00:00Z'"),
            ("finished_at", "finished_at - interval '1 day'"),
            // Somebody else's number.
            ("answer_seq", "(select max(answer_seq) from seatkeeper.requests where kind = 'grant_credits')"),
        ],
        by_its_answer: &[],
        // A number that a refused request has nowhere else. What an unenroll entered in the ledger has it, and is told.
        told_by: &[("request_id", &[0, 2])],
        left_out: &[
            ("seq", "the order of arrival: what came of it is the order of the answers"),
            ("producer", "who asked decides nothing"),
            ("enqueued_by", "nor does the account"),
            ("limited", "what may wait decides nothing; it is asked before"),
            ("traceparent", "decides nothing"),
            ("attempts", "how often it was tried; the answer is that of the last time"),
            ("run_at", "when it was due; the answer says when it was given"),
            ("enqueued_at", "the server's clock, which may have been set since"),
            ("last_error", "of an attempt that did not happen"),
            ("semester_id", "the queue that it waited in"),
            ("user_id", "whose grants were looked for before it"),
            ("hold", "of what has no answer yet"),
            ("returned", "of what has no answer yet"),
        ],
    },
    Table {
        name: "users",
        key: "user_id",
        // Somebody whom an owner changed: of others nobody records how they were.
        rows: &["select 4::bigint"],
        edits: &[],
        by_its_answer: &[],
        told_by: &[],
        left_out: &[("user_id", "additions of users are not recorded: who is gone was never there, and whoever is named by an \
                                 answer is missed there")],
    },
    Table {
        name: "semesters",
        key: "semester_id",
        rows: &["select 1::bigint", "select 3::bigint"],
        edits: &[],
        by_its_answer: &[],
        told_by: &[],
        left_out: &[("last_decided_at", "a clock for the next answer, whose instant is compared with those before it")],
    },
    Table {
        name: "sessions",
        key: "session_id",
        rows: &["select 2::bigint", "select 7::bigint"],
        edits: &[],
        by_its_answer: &[],
        told_by: &[],
        left_out: &[],
    },
    Table {
        name: "enrollments",
        key: "enrollment_id",
        rows: &[
            "select max(enrollment_id) from seatkeeper.enrollments where is_active",
            "select max(enrollment_id) from seatkeeper.enrollments where not is_active",
        ],
        edits: &[],
        by_its_answer: &["enrollment_id"],
        told_by: &[],
        left_out: &[],
    },
    Table {
        name: "credit_transactions",
        key: "transaction_id",
        rows: &[
            "select max(transaction_id) from seatkeeper.credit_transactions where transaction_type = 'PURCHASE'",
            "select max(transaction_id) from seatkeeper.credit_transactions where transaction_type = 'TOURNAMENT_ENROLLMENT'",
            "select max(transaction_id) from seatkeeper.credit_transactions where transaction_type = 'TOURNAMENT_CANCEL_REFUND'",
        ],
        edits: &[],
        by_its_answer: &[],
        told_by: &[],
        left_out: &[("transaction_id", "a number that nothing refers to")],
    },
    Table {
        name: "bookings",
        key: "booking_id",
        rows: &[
            LATER_BOOKING,
            "select max(b.booking_id) from seatkeeper.bookings b where b.promoted_at is not null and exists (
                 select from seatkeeper.bookings o where o.session_id = b.session_id and o.waitlist_ticket < b.waitlist_ticket)",
            "select max(b.booking_id) from seatkeeper.bookings b where status = 'CANCELLED' and exists (
                 select from seatkeeper.bookings o where o.session_id = b.session_id and o.waitlist_ticket < b.waitlist_ticket)",
        ],
        // In front of those who were there before. A ticket that leaves everybody in their order is as good as any.
        edits: &[("waitlist_ticket", "0")],
        by_its_answer: &["booking_id"],
        told_by: &[],
        left_out: &[],
    },
    Table {
        name: "attendance",
        key: "booking_id",
        rows: &["select max(booking_id) from seatkeeper.attendance"],
        edits: &[],
        by_its_answer: &[],
        told_by: &[],
        left_out: &[],
    },
];

/// What is stored instead of a value of this type.
fn edited(column: &str, data_type: &str) -> String {
    match data_type {
        "bigint" | "integer" => format!("coalesce({column}, 0) + 1000000"),
        "boolean" => format!("not {column}"),
        "text" => format!("coalesce({column}, '') || 'X'"),
        "uuid" => "gen_random_uuid()".to_owned(),
        "jsonb" => r#"'{"x": 1}'"#.to_owned(),
        "timestamp with time zone" => format!("coalesce({column}, now()) + interval '1 hour'"),
        other => panic!("a case for {other} is missing"),
    }
}

/// Drops what would refuse an edit: checks, foreign keys, and what is unique beside the primary keys.
const UNGUARD: &str = "do $$ declare each record; begin
    for each in select conrelid::regclass as of, conname from pg_constraint
                where connamespace = 'seatkeeper'::regnamespace and contype in ('c', 'f', 'u', 'x') and conrelid <> 0 loop
        execute format('alter table %s drop constraint %I', each.of, each.conname);
    end loop;
    for each in select contypid::regtype as of, conname from pg_constraint
                where connamespace = 'seatkeeper'::regnamespace and contype = 'c' and contypid <> 0 loop
        execute format('alter domain %s drop constraint %I', each.of, each.conname);
    end loop;
    for each in select indexrelid::regclass as index from pg_index join pg_class on pg_class.oid = indexrelid
                where relnamespace = 'seatkeeper'::regnamespace and indisunique and not indisprimary loop
        execute format('drop index %s', each.index);
    end loop;
end $$";

async fn columns(db: &TestDb, table: &str) -> BTreeMap<String, String> {
    let sql = "select column_name::text, data_type::text from information_schema.columns
               where table_schema = 'seatkeeper' and table_name = $1";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).bind(table).fetch_all(&db.pool).await.unwrap();
    rows.into_iter().collect()
}

/// The row as it is, as JSON.
async fn row(db: &TestDb, table: &Table, key: &str) -> Value {
    let sql =
        format!("select to_jsonb(t) from seatkeeper.{} t where {}::text = '{key}'", table.name, table.key);
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&db.pool).await.unwrap()
}

/// Runs SQL past all triggers.
async fn past_the_guards(db: &TestDb, sql: &str) {
    db.run(&format!("begin; set local session_replication_role = replica; {sql}; commit")).await;
}

/// Whether a finding names this row, as it was before the edit or as it is after it.
fn names(about: &About, table: &str, row: &Value) -> bool {
    let number = |column: &str| row[column].as_i64().unwrap();
    let request = || row["request_id"].as_str().unwrap_or_default();
    match about {
        About::Answer { answer_seq, .. } => table == "requests" && *answer_seq == row["answer_seq"].as_i64(),
        About::User { user_id } => table == "users" && *user_id == number("user_id"),
        About::Semester { semester_id } => table == "semesters" && *semester_id == number("semester_id"),
        About::Session { session_id } => table == "sessions" && *session_id == number("session_id"),
        About::Enrollment { enrollment_id } => {
            table == "enrollments" && *enrollment_id == number("enrollment_id")
        }
        About::Booking { booking_id } => table == "bookings" && *booking_id == number("booking_id"),
        About::Attendance { booking_id } => table == "attendance" && *booking_id == number("booking_id"),
        About::Ledger { request_id, enrollment_id } => {
            table == "credit_transactions"
                && request_id.to_string() == request()
                && *enrollment_id == row["enrollment_id"].as_i64()
        }
        _ => false,
    }
}

fn is_the_answer_that_made(finding: &Finding, row: &Value) -> bool {
    matches!(&finding.about, About::Answer { request_id, .. } if request_id.to_string() == row["request_id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_edited_value_in_any_column_names_its_row() {
    let db = mixed(SEED).await;
    assert_holds(&audited(&db).await);
    db.run(UNGUARD).await;
    db.run("create schema kept").await;
    let mut cases = 0;
    let mut silent = Vec::new();
    for table in &TABLES {
        let columns = columns(&db, table.name).await;
        let left_out: BTreeSet<&str> = table.left_out.iter().map(|(column, _)| *column).collect();
        let known = |column: &&str| columns.contains_key(*column);
        let named = left_out.iter().copied().chain(table.edits.iter().map(|(column, _)| *column));
        assert!(
            named.chain(table.by_its_answer.iter().copied()).all(|column| known(&column)),
            "{}",
            table.name
        );
        db.run(&format!("create table kept.{0} as select * from seatkeeper.{0}", table.name)).await;
        for (column, data_type) in columns.iter().filter(|(column, _)| !left_out.contains(column.as_str())) {
            let own = table.edits.iter().find(|(of, _)| of == column).map(|(_, edit)| (*edit).to_owned());
            let edit = own.unwrap_or_else(|| edited(&format!("t.{column}"), data_type));
            let told_by = table.told_by.iter().find(|(of, _)| of == column).map(|(_, rows)| *rows);
            for (_, pick) in table
                .rows
                .iter()
                .enumerate()
                .filter(|(place, _)| told_by.is_none_or(|rows| rows.contains(place)))
            {
                let case = format!("{}.{column} = {edit} of ({pick})", table.name);
                let key: String = db.value(&format!("select ({pick})::text")).await;
                let before = row(&db, table, &key).await;
                past_the_guards(
                    &db,
                    &format!(
                        "update seatkeeper.{} t set {column} = {edit} where {}::text = '{key}'",
                        table.name, table.key
                    ),
                )
                .await;
                let after = if table.key == column { before.clone() } else { row(&db, table, &key).await };
                let audit = audited(&db).await;
                assert_eq!(audit.not_covered, None, "{case}");
                let mut found = audit.findings.iter();
                let is_named = if table.by_its_answer.contains(&column.as_str()) {
                    found.any(|finding| is_the_answer_that_made(finding, &before))
                } else {
                    found.any(|finding| {
                        names(&finding.about, table.name, &before)
                            || names(&finding.about, table.name, &after)
                    })
                };
                let first: Vec<String> = audit.findings.iter().take(5).map(ToString::to_string).collect();
                if !is_named {
                    silent.push(format!("{case}: not among {} findings: {first:#?}", audit.differing));
                }
                past_the_guards(
                    &db,
                    &format!(
                        "delete from seatkeeper.{0}; insert into seatkeeper.{0} select * from kept.{0}",
                        table.name
                    ),
                )
                .await;
                cases += 1;
            }
        }
        assert_holds(&audited(&db).await);
    }
    assert!(silent.is_empty(), "{} of {cases}: {silent:#?}", silent.len());
    println!("{cases} values edited, {cases} rows named");
    assert!(cases > 120, "only {cases} cases");
}
