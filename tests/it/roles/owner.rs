//! As on a managed PostgreSQL: the owner of the database may create roles, and is no superuser. Everything begins and goes on
//! with that account, and with accounts that have one role each.

use std::fs;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::operate::{cli, cli_ends, cli_json};
use crate::support::{OwnServer, Process, own_server, until};

const DATABASE: &str = "managed";
const ACCOUNTS: [&str; 6] = ["producer", "catalog", "worker", "reader", "monitor", "operator"];
const SEMESTERS: &str = "semester_id,code,status,max_players\n1,S1,ENROLLMENT_OPEN,1\n";
const USERS: &str = "user_id\n1\n2\n";

/// A server of its own: roles are those of a whole server, and on that of the other tests a superuser has made them.
struct Managed {
    server: OwnServer,
    files: TempDir,
}

impl Managed {
    /// With a database that belongs to `owner`, and nothing in it.
    async fn new() -> Self {
        let server = own_server().await;
        let admin = server.pool();
        for sql in [
            "create role owner login createrole password 'owner'",
            "create database managed owner owner",
            "revoke all on database managed from public",
            "create role stranger login password 'stranger'",
            "grant connect on database managed to stranger",
        ] {
            sqlx::query(sql).execute(&admin).await.unwrap();
        }
        admin.close().await;
        Self { server, files: tempfile::tempdir().unwrap() }
    }

    /// With the schema, the roles, and an account in each of them that is called like it, all made by the owner.
    async fn with_accounts() -> Self {
        let managed = Self::new().await;
        managed.cli("owner", &["migrate", "up"], 0).await;
        managed.cli("owner", &["roles", "--apply"], 0).await;
        for account in ACCOUNTS {
            managed
                .run_as(
                    "owner",
                    &format!(
                        "create role {account} login password '{account}' in role seatkeeper_{account};
                         grant connect on database managed to {account}"
                    ),
                )
                .await;
        }
        managed
    }

    fn url(&self, account: &str) -> String {
        format!("postgres://{account}:{account}@127.0.0.1:{}/{DATABASE}", self.server.embedded.port())
    }

    /// Runs the binary with this account; gives what it printed.
    async fn cli(&self, account: &str, arguments: &[&str], exit: i32) -> String {
        cli_ends(&self.url(account), arguments, exit).await
    }

    async fn connect(&self, account: &str) -> PgConnection {
        PgConnection::connect(&self.url(account)).await.unwrap()
    }

    async fn run_as(&self, account: &str, sql: &str) {
        let mut connection = self.connect(account).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap_or_else(|error| {
            panic!("{error}: {sql}");
        });
        connection.close().await.unwrap();
    }

    /// Runs a verb that has to be content and to complain of nothing.
    async fn silent(&self, account: &str, arguments: &[&str]) {
        let output = cli(&self.url(account), arguments).await;
        let complaints = String::from_utf8_lossy(&output.stderr);
        let lines = complaints.lines().count();
        assert_eq!(
            (output.status.code(), lines),
            (Some(0), 0),
            "{account} {arguments:?}: {complaints:.2000}"
        );
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Imports a semester with one place, and two users.
    async fn import_as(&self, account: &str) {
        for (what, text) in [("semesters", SEMESTERS), ("users", USERS)] {
            let file = self.file(&format!("{what}.csv"), text);
            let told = cli_json(&self.url(account), &["import", what, "--file", &file], 0).await;
            assert_eq!(told["written"], true, "{told}");
        }
    }

    async fn remove(self) {
        self.server.remove().await;
    }
}

/// What `doctor` says is wrong.
fn problems(report: &Value) -> Vec<&Value> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "problem").collect()
}

const ENROLL: [&str; 6] = ["enqueue", "enroll", "--semester", "1", "--wait", "--user"];

#[tokio::test]
async fn an_owner_who_is_no_superuser_does_everything_and_postgresql_complains_of_nothing() {
    let managed = Managed::new().await;
    for again in ["applied", "nothing to do"] {
        let told = managed.cli("owner", &["migrate", "up"], 0).await;
        assert!(told.contains(again), "{told}");
    }
    // Making them, and taking back what is too much.
    managed.silent("owner", &["roles", "--apply"]).await;
    let (grant, may) = (
        "grant execute on function seatkeeper.retire_requests to seatkeeper_producer",
        "has_function_privilege('seatkeeper_producer', 'seatkeeper.retire_requests(bigint, bigint, bigint, integer)', 'execute')",
    );
    managed.run_as("owner", &format!("{grant}; do $$ begin assert {may}; end $$")).await;
    managed.silent("owner", &["roles", "--apply"]).await;
    managed.run_as("owner", &format!("do $$ begin assert not {may}; end $$")).await;
    // By hand, as somebody may want to.
    let sql = managed.cli("owner", &["roles", "--print-sql"], 0).await;
    managed.run_as("owner", &sql).await;

    managed.import_as("owner").await;
    let worker = Process::run(&managed.url("owner"), &["--no-http", "--critical-checks", "* * * * * *"]);
    worker.await_log("working");
    managed.silent("owner", &[&ENROLL[..], &["1"]].concat()).await;
    managed.silent("owner", &["check"]).await;
    managed.silent("owner", &["audit"]).await;
    let report = cli_json(&managed.url("owner"), &["doctor"], 0).await;
    assert!(problems(&report).is_empty(), "{report:#}");
    let mut connection = managed.connect("owner").await;
    let done = "select count(distinct schedule) from seatkeeper.invariant_runs where schedule = 'critical_checks' and finished_at is not null";
    until("the chores have been done", async || {
        sqlx::query_scalar::<_, i64>(done).fetch_one(&mut connection).await.unwrap() > 0
    })
    .await;
    connection.close().await.unwrap();
    assert_eq!(worker.terminate(), Some(0));
    managed.remove().await;
}

#[tokio::test]
async fn an_account_with_one_role_does_with_the_program_what_the_role_is_for() {
    let managed = Managed::with_accounts().await;
    managed.import_as("catalog").await;
    let worker = Process::run(&managed.url("worker"), &["--no-http"]);
    worker.await_log("working");

    // A producer: one request, and many.
    let told = managed.cli("producer", &[&ENROLL[..], &["1"]].concat(), 0).await;
    assert!(told.contains("applied"), "{told}");
    let told = managed.cli("producer", &[&ENROLL[..], &["2"]].concat(), 1).await;
    assert!(told.contains("semester_full"), "{told}");
    let id = Uuid::now_v7();
    let grant =
        json!({ "request_id": id, "kind": "grant_credits", "payload": { "user_id": 1, "amount": 5 } });
    let file = managed.file("requests.ndjson", &format!("{grant}\n"));
    managed.silent("producer", &["enqueue", "--file", &file, "--wait"]).await;
    managed.silent("producer", &["requests", "wait", &id.to_string()]).await;

    // An operator and a monitor.
    let id = id.to_string();
    managed.silent("operator", &["pause", "--everything", "--reason", "a look"]).await;
    managed.cli("producer", &["enqueue", "unenroll", "--user", "1", "--semester", "1"], 0).await;
    managed.silent("operator", &["requests", "cancel", "--kind", "unenroll", "--yes", "--reason", "x"]).await;
    managed.silent("operator", &["resume", "--everything", "--reason", "seen"]).await;
    managed.silent("operator", &["check"]).await;
    for account in ["operator", "reader", "worker", "monitor"] {
        managed.silent(account, &["requests", "list"]).await;
        if account != "monitor" {
            managed.silent(account, &["requests", "show", &id]).await;
            managed.silent(account, &["audit"]).await;
        }
        let report = cli_json(&managed.url(account), &["doctor"], 0).await;
        assert!(problems(&report).is_empty(), "{account}: {report:#}");
    }
    let told = managed.cli("monitor", &["check"], 3).await;
    assert!(told.contains("42501") && told.contains("seatkeeper_operator"), "{told}");
    assert_eq!(worker.terminate(), Some(0));
    managed.remove().await;
}

#[tokio::test]
async fn who_may_not_look_into_the_schema_is_told_so_and_by_no_verb_that_all_is_well() {
    let managed = Managed::with_accounts().await;
    for account in ["producer", "catalog", "stranger"] {
        let report = cli_json(&managed.url(account), &["doctor"], 1).await;
        let [finding] = problems(&report)[..] else { panic!("{account}: {report:#}") };
        assert!(finding["what"].as_str().unwrap().contains("may not look into the schema"), "{finding}");
        for verb in [&["run", "--no-http"][..], &["check"], &["audit"], &["requests", "list"]] {
            let told = managed.cli(account, verb, 3).await;
            assert!(
                told.contains("may not see whether the schema is up to date"),
                "{account} {verb:?}: {told}"
            );
        }
        let told = managed.cli(account, &["roles", "--apply"], 3).await;
        assert!(told.contains("it takes the owner of the schema"), "{account}: {told}");
    }
    // What is hidden from them is refused by PostgreSQL itself, to who may not.
    let file = managed.file("semesters.csv", SEMESTERS);
    for (account, verb) in [
        ("stranger", &["enqueue", "enroll", "--user", "1", "--semester", "1"][..]),
        ("catalog", &["enqueue", "enroll", "--user", "1", "--semester", "1"]),
        ("producer", &["import", "semesters", "--file", &file]),
    ] {
        let told = managed.cli(account, verb, 3).await;
        assert!(told.contains("42501"), "{account} {verb:?}: {told}");
    }
    managed.remove().await;
}
