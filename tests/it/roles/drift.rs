//! What somebody has changed since the roles were applied is told, and put right where that may be.

use seatkeeper::doctor::{self, Level};
use seatkeeper::postgres::{self, roles};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use super::{acting_as, allowed, refused, with_roles};
use crate::operate::{cli_ends, cli_json};
use crate::support::{TestDb, own_server};

const CHECK: [&str; 2] = ["roles", "--check"];
const APPLY: [&str; 2] = ["roles", "--apply"];

async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// What differs, in words.
fn problems(report: &Value, list: &str) -> Vec<String> {
    let all = report[list].as_array().unwrap_or_else(|| panic!("{report:#}"));
    all.iter().map(|one| one["problem"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_manifest_is_what_the_roles_are_given() {
    let db = TestDb::new().await;
    // By itself: what the manifest does not have, `apply_roles` would take away again.
    db.run(&format!("begin; {} commit", postgres::ROLES_SQL)).await;
    let mut connection = db.session().await;
    let live = roles::live(&mut connection).await.unwrap();
    let text = roles::as_manifest(&live);
    assert!(
        text.contains(r#"{"on":"table seatkeeper.users","role":"catalog","right":"UPDATE (is_active)"}"#)
    );
    assert!(
        text == roles::MANIFEST,
        "src/postgres/roles/manifest.json does not fit roles.sql; it has to be:\n{text}"
    );
    let found = roles::look(&mut connection, &roles::RolePrefix::default()).await.unwrap();
    assert_eq!(found.drift, []);
    cli_ends(&db.url, &CHECK, 0).await;
}

/// SQL that changes a right, and the words that tell of it.
const CHANGED: [(&str, &str); 13] = [
    ("grant select on seatkeeper.requests to public", "PUBLIC has SELECT on table seatkeeper.requests"),
    (
        "grant update (credit_balance) on seatkeeper.users to public",
        "PUBLIC has UPDATE (credit_balance) on table seatkeeper.users",
    ),
    (
        "grant execute on function seatkeeper.enqueue_many to public",
        "PUBLIC has EXECUTE on routine seatkeeper.enqueue_many(",
    ),
    (
        "grant usage on sequence seatkeeper.answer_seq to public",
        "PUBLIC has USAGE on sequence seatkeeper.answer_seq",
    ),
    ("grant create on schema seatkeeper to public", "PUBLIC has CREATE on schema seatkeeper"),
    ("revoke usage on type seatkeeper.receipt from public", "PUBLIC lacks USAGE on type seatkeeper.receipt"),
    (
        "revoke insert on seatkeeper.bookings from seatkeeper_worker",
        "seatkeeper_worker lacks INSERT on table seatkeeper.bookings",
    ),
    (
        "revoke update (name) on seatkeeper.semesters from seatkeeper_catalog",
        "seatkeeper_catalog lacks UPDATE (name) on table seatkeeper.semesters",
    ),
    (
        "grant delete on apalis.jobs to seatkeeper_producer",
        "seatkeeper_producer has DELETE on table apalis.jobs",
    ),
    (
        "grant select on seatkeeper.pauses to seatkeeper_monitor with grant option",
        "seatkeeper_monitor may pass on SELECT on table seatkeeper.pauses",
    ),
    (
        "set local role seatkeeper_monitor; grant select on seatkeeper.pauses to public; reset role",
        "PUBLIC has SELECT on table seatkeeper.pauses, passed on by seatkeeper_monitor",
    ),
    (
        "alter default privileges in schema seatkeeper grant select on tables to public",
        "PUBLIC is given SELECT on all tables that ",
    ),
    (
        "alter default privileges in schema apalis grant select on tables to seatkeeper_producer",
        "seatkeeper_producer is given SELECT on all tables that ",
    ),
];

#[tokio::test]
async fn rights_that_somebody_changed_are_told_and_put_right() {
    let db = with_roles().await;
    for (change, _) in CHANGED {
        db.run(&format!("begin; {change}; commit")).await;
    }
    // What an account of their own was given on purpose is theirs; and in a schema that they share they give what they like.
    db.run("grant select, update (name) on seatkeeper.semesters to pg_monitor; grant select on apalis.jobs to pg_monitor, public").await;
    let others =
        "pg_monitor, no role of Seatkeeper's, has SELECT, UPDATE (name) on table seatkeeper.semesters";

    let report = cli_json(&db.url, &CHECK, 1).await;
    let told = problems(&report, "drift");
    for words in CHANGED.iter().map(|(_, words)| *words).chain([others]) {
        assert!(told.iter().any(|one| one.starts_with(words)), "{words}: {told:#?}");
    }
    assert_eq!(told.len(), CHANGED.len() + 1, "{told:#?}");
    let text = cli_ends(&db.url, &CHECK, 1).await;
    let mends = r#"revoke SELECT, UPDATE (name) on table seatkeeper.semesters from "pg_monitor";"#;
    assert!(text.contains(mends) && text.contains(&format!("{} differences", told.len())), "{text}");

    let report = cli_json(&db.url, &APPLY, 1).await;
    assert_eq!(problems(&report, "left"), [others]);
    let may = "select has_table_privilege('pg_monitor', 'seatkeeper.semesters', 'select')
                  and has_column_privilege('pg_monitor', 'seatkeeper.semesters', 'name', 'update')
                  and has_table_privilege('pg_monitor', 'apalis.jobs', 'select')";
    assert!(db.value::<bool>(may).await);
    db.run(mends).await;
    cli_ends(&db.url, &CHECK, 0).await;
    cli_ends(&db.url, &APPLY, 0).await;
}

/// Each by itself, with the statement that it shows.
#[tokio::test]
async fn what_is_advised_puts_it_right() {
    let db = with_roles().await;
    db.run("create table seatkeeper.theirs (); alter table seatkeeper.theirs owner to pg_monitor").await;
    for (change, _) in CHANGED {
        db.run(&format!("begin; {change}; commit")).await;
    }
    let report = cli_json(&db.url, &CHECK, 1).await;
    for one in report["drift"].as_array().unwrap() {
        match one["sql"].as_str() {
            Some(sql) => db.run(sql).await,
            None => assert!(one["problem"].as_str().unwrap().contains("passed on by"), "{one}"),
        }
    }
    cli_ends(&db.url, &CHECK, 0).await;
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_told() {
    let db = with_roles().await;
    db.run("alter table seatkeeper.pauses owner to pg_monitor").await;
    let report = cli_json(&db.url, &APPLY, 1).await;
    let left = problems(&report, "left");
    let told = |words: &str| left.iter().any(|one| one.starts_with(words));
    assert!(told("table seatkeeper.pauses belongs to pg_monitor"), "{left:#?}");
    for one in report["left"].as_array().unwrap().iter().filter(|one| one["kind"] == "owner") {
        db.run(one["sql"].as_str().unwrap()).await;
    }
    cli_ends(&db.url, &CHECK, 0).await;
}

#[tokio::test]
async fn a_doctor_of_any_account_tells_it() {
    let db = with_roles().await;
    let monitor = acting_as(&db, "seatkeeper_monitor");
    let found = async || {
        let findings = doctor::examine(&monitor, 2).await.unwrap();
        findings.into_iter().find(|one| one.subject == "roles").unwrap()
    };
    assert_eq!(found().await.level, Level::Ok);
    db.run("grant select on seatkeeper.users to public; grant select on seatkeeper.users to pg_monitor")
        .await;
    let finding = found().await;
    assert_eq!(finding.level, Level::Problem);
    for words in ["PUBLIC has SELECT on table", "pg_monitor, no role of Seatkeeper's, has SELECT on table"] {
        assert!(finding.what.contains(words), "{finding:?}");
    }
    // What others were given is not among what is run.
    assert_eq!(finding.sql, ["revoke SELECT on table seatkeeper.users from public"]);
    // A schema of tomorrow has rights that are known tomorrow.
    db.run(
        "insert into seatkeeper._sqlx_migrations (version, description, success, checksum, execution_time)
         values (99999, 'of tomorrow', true, '', 0)",
    )
    .await;
    assert_eq!(found().await.level, Level::Ok);
    for verb in [CHECK, APPLY] {
        let text = cli_ends(&db.url, &verb, 3).await;
        assert!(text.contains("newer"), "{text}");
    }
    assert!(db.value::<bool>("select has_table_privilege('public', 'seatkeeper.users', 'select')").await);
    monitor.close().await;
}

#[tokio::test]
async fn a_prefix_that_makes_no_name_is_refused() {
    for bad in ["Club_", "1_", "a-", "pg_club_", &"a".repeat(63)] {
        for verb in [&APPLY[..], &CHECK, &["roles", "--print-sql"], &["doctor"]] {
            let nowhere = "postgres://postgres@127.0.0.1:1/nowhere";
            let text = cli_ends(nowhere, &[verb, &["--role-prefix", bad]].concat(), 2).await;
            assert!(text.contains("--role-prefix"), "{text}");
        }
    }
    let empty = TestDb::empty().await;
    for url in ["postgres://postgres@127.0.0.1:1/nowhere", &empty.url] {
        cli_ends(url, &CHECK, 3).await;
    }
}

/// Attributes, memberships and names are the whole server's.
#[tokio::test]
async fn roles_that_are_more_than_they_should_be_and_those_of_a_neighbour() {
    let server = own_server().await;
    let (pool, url) = (server.pool(), server.url());
    attributes_and_memberships(&pool, &url).await;
    neighbours(&server.embedded, &pool, &url).await;
    pool.close().await;
    server.remove().await;
}

async fn attributes_and_memberships(pool: &PgPool, url: &str) {
    let report = cli_json(url, &CHECK, 1).await;
    assert_eq!(problems(&report, "drift").len(), postgres::ROLES.len(), "{report:#}");
    let finding = finding(&cli_json(url, &["doctor"], 0).await, "roles");
    assert!(finding["what"].as_str().unwrap().contains("none were made"), "{finding}");
    cli_ends(url, &APPLY, 0).await;
    run(pool, "create role app login in role seatkeeper_producer").await;
    let report = cli_json(url, &CHECK, 0).await;
    // Good to know, and no difference.
    assert_eq!(report["advice"][0]["sql"], "revoke connect on database postgres from public");

    let changed = [
        ("alter role seatkeeper_producer superuser", "seatkeeper_producer is a superuser"),
        ("alter role seatkeeper_producer login", "seatkeeper_producer may log in"),
        ("alter role seatkeeper_catalog createdb", "seatkeeper_catalog may create databases"),
        ("alter role seatkeeper_catalog createrole", "seatkeeper_catalog may create roles"),
        ("alter role seatkeeper_monitor replication", "seatkeeper_monitor may replicate"),
        ("alter role seatkeeper_monitor bypassrls", "seatkeeper_monitor may go past"),
        ("alter role seatkeeper_operator noinherit", "seatkeeper_operator does not inherit"),
        ("grant seatkeeper_worker to seatkeeper_monitor", "seatkeeper_monitor is in seatkeeper_worker"),
        (
            "revoke seatkeeper_booker from seatkeeper_producer",
            "seatkeeper_producer is not in seatkeeper_booker",
        ),
        (
            "grant seatkeeper_cashier to seatkeeper_producer with admin option",
            "seatkeeper_producer may have others in seatkeeper_cashier",
        ),
        ("grant pg_read_all_data to seatkeeper_monitor", "seatkeeper_monitor is in pg_read_all_data"),
    ];
    for (change, _) in changed {
        run(pool, change).await;
    }
    let told = problems(&cli_json(url, &CHECK, 1).await, "drift");
    for (_, words) in changed {
        assert!(told.iter().any(|one| one.starts_with(words)), "{words}: {told:#?}");
    }
    assert_eq!(told.len(), changed.len(), "{told:#?}");
    let report = cli_json(url, &["doctor"], 1).await;
    assert_eq!(self::finding(&report, "roles")["level"], "problem");
    cli_ends(url, &APPLY, 0).await;
    let report = cli_json(url, &["doctor"], 0).await;
    assert_eq!(self::finding(&report, "roles")["level"], "ok");
    assert!(self::finding(&report, "connect")["todo"].as_str().unwrap().contains("revoke connect on"));
    assert_eq!(report["warnings"], 0, "{report:#}");
}

fn finding(report: &Value, subject: &str) -> Value {
    let all = report["findings"].as_array().unwrap();
    all.iter().find(|one| one["subject"] == subject).unwrap_or_else(|| panic!("{report:#}")).clone()
}

/// A second installation on the same server, of an owner who is no superuser.
async fn neighbours(server: &postgres::embedded::Embedded, pool: &PgPool, url: &str) {
    for sql in ["create role owner login createrole password 'owner'", "create database club owner owner"] {
        run(pool, sql).await;
    }
    let club = format!("postgres://owner:owner@127.0.0.1:{}/club", server.port());
    cli_ends(&club, &["migrate", "up"], 0).await;
    let with_prefix = |verb: &[&'static str]| [verb, &["--role-prefix", "club_"]].concat();
    let text = cli_ends(&club, &with_prefix(&APPLY), 0).await;
    assert!(text.contains("in role club_producer") && !text.contains("seatkeeper_"), "{text}");
    cli_ends(&club, &with_prefix(&CHECK), 0).await;

    // Neither has any right with the other.
    let as_role =
        |database, role| postgres::pool(server.connect_options(database).options([("role", role)]), 1);
    const BALANCE: &str = "select seatkeeper.get_balance(1)";
    for (database, role, may) in [
        ("club", "club_producer", true),
        ("club", "seatkeeper_producer", false),
        ("postgres", "club_producer", false),
        ("postgres", "seatkeeper_producer", true),
    ] {
        let as_role = as_role(database, role);
        if may {
            allowed(&as_role, BALANCE).await
        } else {
            refused(&as_role, BALANCE).await
        }
        as_role.close().await;
    }
    // The other installation's roles are strangers here.
    let report = cli_json(url, &with_prefix(&CHECK), 1).await;
    let told = problems(&report, "drift");
    assert!(told.iter().any(|one| one.starts_with("seatkeeper_producer, no role of")), "{told:#?}");
    assert!(told.iter().any(|one| one.starts_with("club_producer has none of its rights")), "{told:#?}");
    // And what was never applied to a database is no fault of its.
    run(pool, "create database third").await;
    let third = server.url("third");
    cli_ends(&third, &["migrate", "up"], 0).await;
    let finding_there = finding(&cli_json(&third, &["doctor"], 0).await, "roles");
    assert!(finding_there["what"].as_str().unwrap().contains("none were made"), "{finding_there}");
    assert_eq!(problems(&cli_json(&third, &CHECK, 1).await, "drift").len(), postgres::ROLES.len());
    let report = cli_json(&club, &with_prefix(&["doctor"]), 0).await;
    assert_eq!(finding(&report, "roles")["level"], "ok", "{report:#}");

    // What this account may not take away is named, with the reason; the rest is put right all the same.
    run(pool, "alter role club_producer superuser; alter role club_worker createdb").await;
    run(&postgres::pool(server.connect_options("club"), 1), "grant select on seatkeeper.users to public")
        .await;
    let report = cli_json(&club, &with_prefix(&APPLY), 1).await;
    let told = problems(&report, "left");
    assert!(told[0].starts_with("club_producer is a superuser"), "{told:#?}");
    assert!(report["left"][0]["refused"].as_str().unwrap().contains("42501"), "{report:#}");
    assert!(!told.iter().any(|one| one.contains("PUBLIC")), "{told:#?}");
    run(pool, "alter role club_producer nosuperuser; alter role club_worker nocreatedb").await;
    cli_ends(&club, &with_prefix(&CHECK), 0).await;
}
