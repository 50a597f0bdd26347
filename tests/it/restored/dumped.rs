//! `pg_dump` and `pg_restore`, in the ways that people take.

use std::path::PathBuf;

use super::{is_sound, load, program};
use crate::migrations::apply_first;
use crate::support::{TestDb, verb};

/// What `pg_dump` is told besides, and then `pg_restore`.
type Step = (&'static [&'static str], &'static [&'static str]);

/// The ways, step by step.
const WAYS: [(&str, &[Step]); 5] = [
    ("as a whole", &[(&[], &[])]),
    ("by two at once", &[(&[], &["--jobs=2"])]),
    (
        "schema, then data",
        &[(&["--schema-only"], &[]), (&["--data-only"], &["--data-only", "--disable-triggers"])],
    ),
    (
        "section by section",
        &[(&[], &["--section=pre-data"]), (&[], &["--section=data"]), (&[], &["--section=post-data"])],
    ),
    // With what their columns are made of: a schema's dump holds no extension that is not named.
    (
        "its schemas alone",
        &[(&["-n", "seatkeeper", "-n", "apalis", "-e", "btree_gist", "-e", "hstore", "-e", "pgcrypto"], &[])],
    ),
];

#[tokio::test]
async fn a_database_that_is_restored_is_as_sound_as_the_one_that_was_dumped() {
    let db = TestDb::new().await;
    load(&db.pool, 1).await;
    db.assert_follows().await;
    let programs: String = db.value("select setting from pg_config where name = 'BINDIR'").await;
    let programs = PathBuf::from(programs);
    let place = tempfile::tempdir().unwrap();
    for (way, steps) in WAYS {
        let restored = TestDb::empty().await;
        for (number, (dumping, restoring)) in steps.iter().enumerate() {
            let file = place.path().join(format!("{way} {number}"));
            let file = file.to_str().unwrap();
            let dump = ["--format=custom", "--file", file, "--dbname", &db.direct];
            program(&programs, "pg_dump", &[&dump[..], dumping].concat());
            let restore = ["--exit-on-error", "--dbname", &restored.direct];
            program(&programs, "pg_restore", &[&restore[..], restoring, &[file]].concat());
        }
        is_sound(&restored.direct, way).await;
    }
}

/// Before migration 14 a dump changed the words of guards: such a copy becomes what every other database becomes.
#[tokio::test]
async fn a_copy_of_an_older_schema_is_brought_up_to_date_like_any_other() {
    let (older, copy) = (TestDb::empty().await, TestDb::empty().await);
    apply_first(&older, 13).await;
    let programs: String = older.value("select setting from pg_config where name = 'BINDIR'").await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("dump");
    let file = file.to_str().unwrap();
    program(programs.as_ref(), "pg_dump", &["--format=custom", "--file", file, "--dbname", &older.direct]);
    program(programs.as_ref(), "pg_restore", &["--exit-on-error", "--dbname", &copy.direct, file]);
    for (db, way) in [(&older, "as it was"), (&copy, "as it was restored")] {
        let (code, _, complaints) = verb(&["migrate", "up", "--database-url", &db.direct], b"").await;
        assert_eq!(code, 0, "{complaints}");
        load(&db.pool, 1).await;
        is_sound(&db.direct, way).await;
    }
}

/// A restored database is dumped again one day.
#[tokio::test]
async fn the_copy_of_a_copy_is_sound() {
    let db = TestDb::new().await;
    load(&db.pool, 1).await;
    let programs: String = db.value("select setting from pg_config where name = 'BINDIR'").await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("dump");
    let file = file.to_str().unwrap();
    let (first, second) = (TestDb::empty().await, TestDb::empty().await);
    for (from, to) in [(&db, &first), (&first, &second)] {
        program(programs.as_ref(), "pg_dump", &["--format=custom", "--file", file, "--dbname", &from.direct]);
        program(programs.as_ref(), "pg_restore", &["--exit-on-error", "--dbname", &to.direct, file]);
    }
    is_sound(&second.direct, "twice").await;
}
