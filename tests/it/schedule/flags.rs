//! The flags of `run` are validated at start.

use crate::support::{TestDb, verb};

#[tokio::test]
async fn a_flag_that_is_no_timetable_is_a_usage_error_that_names_it() {
    let db = TestDb::new().await;
    for (flag, value, word) in [
        ("--roll-call", "0 8 * * Mon", "six"),
        ("--roll-call", "0 0 8 * * Someday", ""),
        ("--roll-call", "0 0 8 30 2 *", "nothing ever falls due"),
        ("--critical-checks", "hourly", "six"),
        ("--time-zone", "Berlin", "Europe/Berlin"),
        ("--check-timeout", "soon", ""),
        ("--retain", "forever", ""),
    ] {
        let (code, _, complaints) =
            verb(&["run", "--no-http", "--database-url", &db.url, flag, value], b"").await;
        assert_eq!(code, 2, "{flag} {value}: {complaints}");
        assert!(complaints.contains(flag) && complaints.contains(word), "{flag} {value}: {complaints}");
    }
}

#[tokio::test]
async fn run_without_the_storage_of_the_chores_is_refused_as_a_schema_that_is_too_old() {
    let db = TestDb::new().await;
    db.run("delete from apalis._sqlx_migrations where version = (select max(version) from apalis._sqlx_migrations)").await;
    let run = ["run", "--no-http", "--database-url", db.url.as_str()];
    let (code, _, complaints) = verb(&run, b"").await;
    assert_eq!(code, 3, "{complaints}");
    assert!(complaints.contains("too old") && complaints.contains("migrate up"), "{complaints}");
    db.run("drop schema apalis cascade").await;
    let (code, _, complaints) = verb(&run, b"").await;
    assert_eq!(code, 3, "{complaints}");
    assert!(complaints.contains("too old") && complaints.contains("migrate up"), "{complaints}");
}
