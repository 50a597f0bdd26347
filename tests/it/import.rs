//! `import`: what is in a file gets into the catalog, all of it or nothing, and what is wrong is named.

mod long;
mod sessions;

use serde_json::{Value, json};

use crate::support::{TestDb, until, verb};

/// Imports from standard input.
async fn import(db: &TestDb, what: &str, flags: &[&str], input: impl AsRef<[u8]>) -> (i32, String, String) {
    let mut arguments = vec!["import", what, "--database-url", &db.url, "--file", "-"];
    arguments.extend(flags);
    verb(&arguments, input.as_ref()).await
}

const CSV: &[&str] = &["--format", "csv"];
const CSV_JSON: &[&str] = &["--format", "csv", "--json"];
const NDJSON: &[&str] = &["--format", "ndjson"];

async fn counts(db: &TestDb, what: &str, input: &str) -> [i64; 3] {
    let (exit, output, complaints) = import(db, what, CSV_JSON, input).await;
    assert_eq!((exit, complaints.as_str()), (0, ""), "{output}");
    let told: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&told["written"], &told["what"]), (&json!(true), &json!(what)));
    ["added", "changed", "unchanged"].map(|field| told[field].as_i64().unwrap())
}

/// The complaints about lines, in their order.
fn lines(complaints: &str) -> Vec<&str> {
    complaints.lines().filter(|line| line.starts_with("line ")).collect()
}

const SEMESTERS: &str = "\
semester_id,code,name,status,max_players,enrollment_cost,refund_percent,enrollment_closes_at,unenroll_closes_at
3,S3,\"Cup, summer\",ENROLLMENT_OPEN,100,45,50,2031-05-01T08:00:00+02:00,
1,S1,,DRAFT,,0,0,,2031-05-01T08:00:00Z
";
const SESSIONS: &str = "\
session_id,semester_id,starts_at,ends_at,capacity
10,3,2031-06-01T08:00:00Z,2031-06-01T09:00:00Z,5
";

#[tokio::test]
async fn a_catalog_is_added_then_found_unchanged_then_changed() {
    let db = TestDb::new().await;
    assert_eq!(counts(&db, "semesters", SEMESTERS).await, [2, 0, 0]);
    assert_eq!(counts(&db, "sessions", SESSIONS).await, [1, 0, 0]);
    let stored: Value =
        db.value("select to_jsonb(s) from seatkeeper.semesters s where semester_id = 3").await;
    for (column, value) in [
        ("code", json!("S3")),
        ("name", json!("Cup, summer")),
        ("max_players", json!(100)),
        ("enrollment_cost", json!(45)),
        ("unenroll_closes_at", json!(null)),
        ("enrolled_count", json!(0)),
    ] {
        assert_eq!(stored[column], value, "{column}");
    }
    let closes: bool = db
        .value("select enrollment_closes_at = '2031-05-01 06:00Z' from seatkeeper.semesters where semester_id = 3")
        .await;
    assert!(closes);
    let changes = "select count(*) from seatkeeper.catalog_changes";
    let before: i64 = db.value(changes).await;
    assert_eq!(counts(&db, "semesters", SEMESTERS).await, [0, 0, 2]);
    assert_eq!(counts(&db, "sessions", SESSIONS).await, [0, 0, 1]);
    assert_eq!(db.value::<i64>(changes).await, before, "what is unchanged is not touched");

    // Columns that the file does not have stay as they are; a new row gets their defaults.
    let some = "semester_id,code,max_players\n3,S3,120\n4,S4,\n1,S1,\n";
    assert_eq!(counts(&db, "semesters", some).await, [1, 1, 1]);
    let now: Value = db
        .value("select jsonb_agg(jsonb_build_array(semester_id, name, status, max_players) order by semester_id) from seatkeeper.semesters")
        .await;
    assert_eq!(
        now,
        json!([[1, "", "DRAFT", null], [3, "Cup, summer", "ENROLLMENT_OPEN", 120], [4, "", "DRAFT", null]])
    );
}

#[tokio::test]
async fn many_users_come_in_and_balances_stay() {
    let db = TestDb::new().await;
    db.users(700).await;
    db.run("insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after)
            select user_id, 'OPENING_BALANCE', 5, 5 from seatkeeper.users; update seatkeeper.users set credit_balance = 5")
        .await;
    let file: String = (1..=2000).rev().map(|user| format!("{user},{}\r\n", user % 7 != 0)).collect();
    let file = format!("\u{feff}user_id,is_active\r\n{file}");
    assert_eq!(counts(&db, "users", &file).await, [1300, 100, 600]);
    assert_eq!(counts(&db, "users", &file).await, [0, 0, 2000]);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.users where not is_active").await, 285);
    let balances: i64 =
        db.value("select sum(credit_balance)::bigint from seatkeeper.users where user_id <= 700").await;
    assert_eq!(balances, 700 * 5);
}

#[tokio::test]
async fn json_lines_may_each_have_their_own_columns() {
    let db = TestDb::new().await;
    let first = r#"{"semester_id": 1, "code": "A", "max_players": 5}

{"semester_id": 2, "code": "B", "name": "second", "max_players": null}"#;
    let (exit, output, _) = import(&db, "semesters", NDJSON, first).await;
    assert_eq!((exit, output.as_str()), (0, "semesters: 2 added, 0 changed, 0 unchanged\n"));
    let second = "{\"semester_id\": 1, \"max_players\": null}\n{\"semester_id\": 2, \"name\": \"two\"}\n\
                  {\"semester_id\": 3, \"code\": \"C\"}";
    let (exit, output, _) = import(&db, "semesters", NDJSON, second).await;
    assert_eq!((exit, output.as_str()), (0, "semesters: 1 added, 2 changed, 0 unchanged\n"));
    let stored: Value = db
        .value("select jsonb_agg(jsonb_build_array(code, name, max_players) order by code) from seatkeeper.semesters")
        .await;
    assert_eq!(stored, json!([["A", "", null], ["B", "two", null], ["C", "", null]]));
}

#[tokio::test]
async fn every_bad_line_is_named_and_nothing_is_imported() {
    let db = TestDb::new().await;
    let file = b"semester_id,code,max_players,enrollment_closes_at\n\
        1,A,5,\n\
        2,B,many,soon\n\
        \n\
        3,C\n\
        0,D,,\n\
        1,E,,\n\
        5,\xFF,,\n\
        6,F,,2031-05-01T08:00:00Z\n";
    let expected = [
        r#"line 3: max_players: "many": a whole number from 0 to 2147483647 is due"#,
        r#"line 3: enrollment_closes_at: "soon": an instant like 2030-01-31T08:00:00Z (RFC 3339) is due"#,
        "line 5: 2 fields where the header has 4",
        "line 6: semester_id: 0: a whole number from 1 on is due",
        "line 7: semester_id: 1 is in line 2 already",
        "line 8: code: not UTF-8",
    ];
    let (exit, output, complaints) = import(&db, "semesters", CSV_JSON, file).await;
    assert_eq!(exit, 2);
    assert_eq!(lines(&complaints), expected);
    assert!(
        complaints.contains("nothing was imported") && complaints.contains("--keep-going"),
        "{complaints}"
    );
    let told: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&told["bad"], &told["written"]), (&json!(6), &json!(false)));
    assert_eq!(told["bad_lines"][4]["field"], "semester_id");
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.semesters").await, 0);

    let (exit, output, complaints) =
        import(&db, "semesters", &["--format", "csv", "--keep-going"], file).await;
    assert_eq!(exit, 2);
    assert_eq!(lines(&complaints), expected);
    assert_eq!(output, "semesters: 2 added, 0 changed, 0 unchanged\n");
    let codes: String =
        db.value("select string_agg(code, ' ' order by code) from seatkeeper.semesters").await;
    assert_eq!(codes, "A F");
}

#[tokio::test]
async fn bad_json_lines_are_named() {
    let db = TestDb::new().await;
    let file = "{\"user_id\": 1}\n{\"user_id\": 2\n[3]\n{\"is_active\": true}\n{\"user_id\": 5, \"is_active\": \"yes\"}\n\
                {\"user_id\": 1.0}\n{\"user_id\": 7, \"credit_balance\": 100}\n{\"user_id\": 8, \"is_active\": null}\n";
    let (exit, _, complaints) = import(&db, "users", NDJSON, file).await;
    assert_eq!(exit, 2);
    let named = lines(&complaints);
    for (line, part) in named.iter().zip([
        "line 2: not JSON",
        "line 3: a JSON object is due",
        "line 4: user_id: missing",
        "line 5: is_active: \"yes\": true or false is due",
        "line 6: user_id: 1.0: a whole number",
        "line 7: credit_balance: balances are not imported: give credits with grant_credits",
        "line 8: is_active: null: true or false is due",
    ]) {
        assert!(line.starts_with(part), "{part} in {line}");
    }
    assert_eq!(named.len(), 7);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.users").await, 0);
}

#[tokio::test]
async fn a_header_that_does_not_fit_is_named() {
    let db = TestDb::new().await;
    for (file, part) in [
        ("user_id,credit_balance\n1,5\n", "credit_balance: balances are not imported"),
        ("user_id,email\n1,x\n", "email: no such column; there are user_id, is_active"),
        ("user_id,user_id\n1,1\n", "there twice"),
        ("is_active\ntrue\n", "user_id: the column is missing"),
        ("", "user_id: the column is missing"),
    ] {
        let (exit, _, complaints) = import(&db, "users", CSV, file).await;
        assert_eq!(exit, 2);
        assert!(complaints.contains("line 1: ") && complaints.contains(part), "{part} in {complaints}");
        let (exit, output, _) =
            import(&db, "users", &["--format", "csv", "--json", "--keep-going"], file).await;
        let report: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!((exit, &report["written"], &report["added"]), (2, &false.into(), &0.into()));
        let named = format!("{}: {}", report["bad_lines"][0]["field"], report["bad_lines"][0]["problem"]);
        assert!(report["bad_lines"][0]["line"] == 1 && named.replace('"', "").contains(part), "{report}");
    }
    let (exit, _, complaints) = import(&db, "users", &[], "user_id\n1\n").await;
    assert_eq!(exit, 2);
    assert!(complaints.contains("--format"), "{complaints}");
    let (exit, ..) = import(&db, "coaches", CSV, "").await;
    assert_eq!(exit, 2);
}

#[tokio::test]
async fn what_the_database_refuses_is_named_in_words() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, Some(5), 0).await;
    db.semester(2, None, 0).await;
    db.run("insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity) values
                (1, 1, '2031-01-01 08:00Z', '2031-01-01 09:00Z', 3), (2, 2, '2031-01-01 10:00Z', '2031-01-01 11:00Z', 3);
            insert into seatkeeper.enrollments (user_id, semester_id, status, is_active)
                select u, 1, 'APPROVED', true from generate_series(1, 3) u union all select 1, 2, 'APPROVED', true;
            update seatkeeper.semesters set enrolled_count = case semester_id when 1 then 3 else 1 end;
            insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at)
                select 1, session_id, 'CONFIRMED', starts_at, ends_at from seatkeeper.sessions")
        .await;
    let semesters = "{\"semester_id\": 1, \"max_players\": 2}\n{\"semester_id\": 2, \"code\": \"S1\"}\n\
                     {\"semester_id\": 3, \"name\": \"no code\"}\n{\"semester_id\": 4, \"code\": \"fine\"}";
    let expected = [
        "line 1: max_players: below the number that is enrolled (enrolled_count)",
        "line 2: code: another semester has it",
        "line 3: code: missing; a new row needs it",
    ];
    let (exit, _, complaints) = import(&db, "semesters", NDJSON, semesters).await;
    assert_eq!(exit, 2);
    assert_eq!(lines(&complaints), expected);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.semesters").await, 2);

    let sessions = "session_id,semester_id,starts_at,ends_at,capacity\n\
        1,1,2031-01-01T08:00:00Z,2031-01-01T09:00:00Z,0\n\
        2,2,2031-01-01T08:30:00Z,2031-01-01T09:30:00Z,3\n\
        3,1,2031-01-01T09:00:00Z,2031-01-01T08:00:00Z,3\n\
        4,99,2031-01-01T08:00:00Z,2031-01-01T09:00:00Z,3\n\
        5,1,2031-01-01T08:00:00Z,2031-01-01T09:00:00Z,3\n";
    let moved = "{\"session_id\": 1, \"semester_id\": 2}";
    let (exit, _, complaints) = import(&db, "sessions", NDJSON, moved).await;
    assert_eq!(exit, 2);
    assert_eq!(
        lines(&complaints),
        ["line 1: semester_id: a session never changes its semester; add a new session instead"]
    );
    let (exit, output, complaints) =
        import(&db, "sessions", &["--format", "csv", "--keep-going"], sessions).await;
    assert_eq!(exit, 2);
    assert_eq!(
        lines(&complaints),
        [
            "line 2: capacity: below the number of confirmed bookings (confirmed_count)",
            "line 3: starts_at: at this time somebody would be in two confirmed places at once",
            "line 4: ends_at: not after starts_at",
            "line 5: semester_id: there is no such semester; import semesters first",
        ]
    );
    assert_eq!(output, "sessions: 1 added, 0 changed, 0 unchanged\n");
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.sessions").await, 3);
}

#[tokio::test]
async fn lines_are_counted_as_editors_do() {
    let db = TestDb::new().await;
    let file = "\u{feff}semester_id,code,name\r\n1,A,\"two\r\nlines\"\r\n\r\n\r\nx,B,\r\n3,C,\"\"\"quoted\"\"\"\r\ny,D,";
    let (exit, _, complaints) = import(&db, "semesters", &["--format", "csv", "--keep-going"], file).await;
    assert_eq!(exit, 2);
    let numbers: Vec<&str> = lines(&complaints).iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(numbers, ["line 6", "line 8"]);
    let names: Vec<String> = sqlx::query_scalar("select name from seatkeeper.semesters order by code")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(names, ["two\r\nlines", "\"quoted\""]);
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_writes_nothing() {
    let db = TestDb::new().await;
    db.users(2).await;
    let flags = ["--format", "csv", "--dry-run"];
    let (exit, output, _) =
        import(&db, "users", &flags, "user_id,is_active\n1,false\n2,true\n3,true\n").await;
    assert_eq!(
        (exit, output.as_str()),
        (0, "users: 1 added, 1 changed, 1 unchanged (nothing was written)\n")
    );
    let users: i64 = db.value("select count(*) filter (where is_active) from seatkeeper.users").await;
    assert_eq!(users, 2);
    let file = "semester_id\n1\n";
    let (exit, _, complaints) = import(&db, "semesters", &flags, file).await;
    assert_eq!(exit, 2);
    assert_eq!(lines(&complaints), ["line 2: code: missing; a new row needs it"]);
}

#[tokio::test]
async fn it_waits_for_no_row_that_it_does_not_change() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, None, 0).await;
    // Somebody is about to change user 1, and somebody else has just checked a foreign key to the semester.
    let mut others = db.pool.begin().await.unwrap();
    sqlx::raw_sql(
        "select from seatkeeper.users where user_id = 1 for update;
         select from seatkeeper.semesters where semester_id = 1 for key share",
    )
    .execute(&mut *others)
    .await
    .unwrap();
    assert_eq!(counts(&db, "users", "user_id,is_active\n1,true\n2,false\n").await, [0, 1, 1]);
    assert_eq!(counts(&db, "semesters", "semester_id,code,name\n1,S1,new\n").await, [0, 1, 0]);
    others.rollback().await.unwrap();
}

#[tokio::test]
async fn it_waits_for_a_row_that_it_does_change() {
    let db = TestDb::new().await;
    db.users(3).await;
    let mut other = db.pool.begin().await.unwrap();
    sqlx::raw_sql("select from seatkeeper.users where user_id = 2 for update")
        .execute(&mut *other)
        .await
        .unwrap();
    let release = async {
        until("the import waits for the lock", async || {
            db.value(
                "select exists (select from pg_stat_activity where datname = current_database()
                                     and wait_event_type = 'Lock' and query like '%import.lock%')",
            )
            .await
        })
        .await;
        other.commit().await.unwrap();
    };
    let (counted, ()) = tokio::join!(counts(&db, "users", "user_id,is_active\n1,false\n2,false\n"), release);
    assert_eq!(counted, [0, 2, 0]);
}

#[tokio::test]
async fn a_name_and_a_code_that_are_too_long_are_named_by_their_lines() {
    let db = TestDb::new().await;
    let rows = format!(
        "semester_id,code,name\n1,{ok},{fine}\n2,{long},x\n3,C,{longer}\n",
        ok = "é".repeat(200),
        fine = "é".repeat(500),
        long = "é".repeat(201),
        longer = "é".repeat(501)
    );
    let (exit, _, complaints) = import(&db, "semesters", CSV, &rows).await;
    assert_eq!(exit, 2);
    let lines = lines(&complaints);
    assert_eq!(lines.len(), 2, "{complaints}");
    assert!(
        lines[0].starts_with("line 3: code: ") && lines[0].contains("up to 200 characters"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with("line 4: name: ") && lines[1].contains("up to 500 characters"),
        "{}",
        lines[1]
    );
    assert_eq!(
        counts(&db, "semesters", &rows.lines().take(2).map(|line| format!("{line}\n")).collect::<String>())
            .await,
        [1, 0, 0]
    );
}
