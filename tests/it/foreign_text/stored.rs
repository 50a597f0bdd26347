//! Every verb, on a database with hostile text in each column that takes it, and in names of objects and roles.

use seatkeeper_jobs::Job;
use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::enroll::Enroll;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;

use super::{HOSTILE, assert_exact, assert_harmless};
use crate::operate::cli;
use crate::support::TestDb;

/// Columns whose text a constraint holds to known words. All others take what they are given.
const WORDS: [&str; 18] = [
    "seatkeeper.bookings.cancelled_because",
    "seatkeeper.bookings.status",
    "seatkeeper.catalog_changes.table",
    "seatkeeper.credit_transactions.transaction_type",
    "seatkeeper.enrollments.status",
    "seatkeeper.invariant_results.error",
    "seatkeeper.invariant_results.status",
    "seatkeeper.invariant_runs.schedule",
    "seatkeeper.invariant_runs.trigger",
    "seatkeeper.operator_actions.action",
    "seatkeeper.pauses.kind",
    "seatkeeper.requests.hold",
    "seatkeeper.requests.kind",
    "seatkeeper.requests.outcome",
    "seatkeeper.requests.reason",
    "seatkeeper.requests.status",
    "seatkeeper.semesters.status",
    "seatkeeper.sessions.status",
];

fn enroll(user: i64) -> Job {
    Enroll { user_id: user.try_into().unwrap(), semester_id: 1.try_into().unwrap() }.into()
}

fn book(user: i64, session: i64) -> Job {
    Book { user_id: user.try_into().unwrap(), session_id: session.try_into().unwrap() }.into()
}

/// A row in every table, requests in every state among them; gives the requests.
async fn full() -> (TestDb, Vec<Uuid>) {
    let db = TestDb::new().await;
    db.users(5).await;
    db.semester(1, Some(3), 0).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (1, 1, now() + interval '9 days', now() + interval '10 days', 1)",
    )
    .await;
    let mut ids = Vec::new();
    for job in [enroll(1), enroll(2), enroll(3), enroll(4), book(1, 1), book(2, 1), enroll(5)] {
        ids.push(Uuid::now_v7());
        db.ask(ids[ids.len() - 1], job).await;
        if ids.len() == 6 {
            db.drain().await;
        }
    }
    for job in [enroll(4), enroll(4), enroll(4)] {
        ids.push(Uuid::now_v7());
        db.ask(ids[ids.len() - 1], job).await;
    }
    let (failed, cancelled, scheduled) = (ids[7], ids[8], ids[9]);
    db.run(&format!(
        "update seatkeeper.requests set status = 'failed', reason = 'attempts_exhausted', attempts = 5, last_error = 'x',
             finished_at = clock_timestamp() where request_id = '{failed}';
         update seatkeeper.requests set status = 'cancelled', finished_at = clock_timestamp()
             where request_id = '{cancelled}';
         update seatkeeper.requests set hold = 'scheduled', run_at = now() + interval '1 day', attempts = 1
             where request_id = '{scheduled}';
         update seatkeeper.sessions set capacity = 1, ends_at = ends_at + interval '1 hour' where session_id = 1;
         insert into seatkeeper.pauses (semester_id, paused_by, reason) values (1, 'x', 'x'), (null, 'x', 'x');
         insert into seatkeeper.pauses (kind, paused_by, reason) values ('enroll', 'x', 'x');
         insert into seatkeeper.operator_actions (operator, action, reason, request_ids)
             select 'x', 'retry', 'x', array_agg(request_id) from seatkeeper.requests;
         insert into seatkeeper.invariant_baseline (invariant, key, reason, accepted_by)
             values ('INV-04', '{{\"enrollment_id\": 1}}', 'x', 'x');
         insert into seatkeeper.schedules (schedule, expression, time_zone) values ('retention', '0 0 8 * * Mon', 'UTC');
         delete from seatkeeper.fill_marks;
         insert into seatkeeper.fill_marks (semester_id, session_id, attempts, retry_at, last_error)
             values (1, 1, 1, now() + interval '1 hour', 'x');
         insert into seatkeeper.request_tombstones
             (request_id, kind, payload_digest, status, outcome, enqueued_at, finished_at)
             values (gen_random_uuid(), 'enroll', '', 'done', 'applied', now(), now());"
    ))
    .await;
    cli(&db.direct, &["check"]).await;
    (db, ids)
}

/// Writes hostile text into all columns that take it; gives those that do not.
async fn spoil(session: &mut PgConnection) -> Vec<String> {
    // Neither triggers nor foreign keys are in the way; constraints are.
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut *session).await.unwrap();
    let columns = sqlx::query(
        "select c.table_schema::text, c.table_name::text, c.column_name::text
         from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
         where c.table_schema in ('seatkeeper', 'apalis') and t.table_type = 'BASE TABLE'
           and c.data_type in ('text', 'character varying')
         order by 1, 2, 3",
    )
    .fetch_all(&mut *session)
    .await
    .unwrap();
    assert!(columns.len() > 40, "{}", columns.len());
    let mut refused = Vec::new();
    for column in columns {
        let [schema, table, name] = [0, 1, 2].map(|place| column.get::<String, _>(place));
        // What is unique stays so.
        let update = format!("update {schema}.\"{table}\" set \"{name}\" = $1 || substr(ctid::text, 1, 20)");
        let done = sqlx::query(AssertSqlSafe(update)).bind(HOSTILE).execute(&mut *session).await;
        match done {
            Ok(_) => {}
            Err(error) => {
                let code = error.as_database_error().and_then(|error| error.code().map(String::from));
                assert_eq!(code.as_deref(), Some("23514"), "{schema}.{table}.{name}: {error}");
                refused.push(format!("{schema}.{table}.{name}"));
            }
        }
    }
    sqlx::raw_sql("set session_replication_role = origin").execute(session).await.unwrap();
    refused
}

#[tokio::test]
async fn no_verb_prints_what_is_stored_as_it_is() {
    let (db, ids) = full().await;
    let mut session = db.session().await;
    let refused = spoil(&mut session).await;
    // Objects and roles have names, too. The role is the whole server's, so it goes in the end.
    let role = ["\"role_", db.name(), &HOSTILE[..30], "\""].concat();
    db.run(&format!(
        "create role {role}; grant usage on schema seatkeeper to {role};
         alter role {role} set synchronous_commit = off;
         create trigger \"t{HOSTILE}\" before update on seatkeeper.users
             for each row when (false) execute function suppress_redundant_updates_trigger();
         update seatkeeper.invariant_baseline set key = jsonb_build_object('enrollment_id', '{HOSTILE}');"
    ))
    .await;
    let failed = ids[7].to_string();
    let all: Vec<Vec<&str>> = vec![
        vec!["requests", "list"],
        vec!["requests", "wait", "--timeout", "1ms", &failed],
        vec!["doctor"],
        vec!["doctor", "--sql"],
        vec!["check"],
        vec!["check", "list"],
        vec!["check", "baseline"],
        vec!["check", "unaccept", "--all-of", "INV-04", "--reason", "x", "--yes"],
        vec!["audit"],
        vec!["migrate", "status"],
        vec!["migrate", "sql"],
        vec!["roles", "--print-sql"],
        vec!["pause", "--semester", "1", "--reason", "x"],
        vec!["resume", "--semester", "1", "--reason", "x"],
        vec!["requests", "retry", &failed, "--reason", "x"],
        vec!["requests", "cancel", &failed, "--reason", "x"],
    ];
    let stories: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    let stories = stories.iter().map(|id| vec!["requests", "show", id.as_str()]);
    let told_by =
        ["requests show", "requests list", "doctor", "check", "check baseline", "pause", "resume", "audit"];
    let mut told: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
    for arguments in stories.chain(all) {
        let what = arguments.join(" ");
        let output = cli(&db.direct, &arguments).await;
        for printed in [&output.stdout, &output.stderr] {
            let printed = std::str::from_utf8(printed).unwrap();
            if assert_harmless(&what, printed) > 0 {
                told.extend(told_by.iter().copied().filter(|verb| what.starts_with(verb)));
            }
        }
    }
    db.run(&format!("drop owned by {role}; drop role {role}")).await;
    for verb in told_by {
        assert!(told.contains(&verb), "{verb} shows no text at all");
    }
    assert_eq!(refused, WORDS);
}

#[tokio::test]
async fn what_is_stored_is_exact_in_json() {
    let (db, ids) = full().await;
    spoil(&mut db.session().await).await;
    let queued = ids[6].to_string();
    for arguments in [
        vec!["requests", "list", "--status", "queued"],
        vec!["requests", "show", &queued],
        vec!["check", "baseline"],
        vec!["doctor"],
        vec!["pause", "--semester", "1", "--reason", "x"],
        vec!["resume", "--semester", "1", "--reason", "x"],
    ] {
        let output = cli(&db.direct, &[&arguments[..], &["--json"]].concat()).await;
        assert_exact(&arguments.join(" "), std::str::from_utf8(&output.stdout).unwrap(), HOSTILE);
    }
}

/// What the server says is the text of others as well: of a trigger, of a function, of a value that it quotes.
#[tokio::test]
async fn what_the_server_says_is_told_in_one_line() {
    let (db, ids) = full().await;
    db.run(&format!(
        "create function public.refuse() returns trigger language plpgsql as $$ begin
             raise exception using message = '{HOSTILE}'; end $$;
         create trigger refuse before insert on seatkeeper.operator_actions
             for each row execute function public.refuse();
         create trigger refuse before insert on seatkeeper.requests
             for each row execute function public.refuse();
         create trigger refuse before insert on seatkeeper.invariant_runs
             for each row execute function public.refuse();
         create trigger refuse before insert on seatkeeper.users
             for each row execute function public.refuse();"
    ))
    .await;
    let failed = ids[7].to_string();
    let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    std::fs::write(file.path(), "user_id\n77\n").unwrap();
    let file = file.path().to_str().unwrap();
    for arguments in [
        vec!["pause", "--kind", "book", "--reason", "x"],
        vec!["requests", "retry", &failed, "--reason", "x"],
        vec!["enqueue", "enroll", "--user", "1", "--semester", "1"],
        vec!["check"],
        vec!["import", "users", "--file", file],
    ] {
        let what = arguments.join(" ");
        let output = cli(&db.direct, &arguments).await;
        assert!(!output.status.success(), "{what}");
        let told = assert_harmless(&what, std::str::from_utf8(&output.stderr).unwrap());
        assert!(told > 0, "{what}: {output:?}");
        assert_harmless(&what, std::str::from_utf8(&output.stdout).unwrap());
    }
}
