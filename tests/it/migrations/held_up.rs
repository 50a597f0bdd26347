//! Somebody is in the way of a migration, or holds a lock that everybody knows. Nobody else waits for them.

use tokio::time::timeout;

use super::apply_first;
use crate::support::plain_sql::{pid, run_on};
use crate::support::{PATIENCE, TestDb, verb};

/// Those after them change tables that exist.
const BEFORE: usize = 11;

#[tokio::test]
async fn nobody_waits_behind_a_migration_that_waits_for_an_idle_reader() {
    let db = TestDb::empty().await;
    apply_first(&db, BEFORE).await;
    db.semester(1, None, 0).await;
    let mut reader = db.pool.begin().await.unwrap();
    run_on(
        &mut reader,
        "lock table seatkeeper.users, seatkeeper.semesters, seatkeeper.requests in access share mode",
    )
    .await;
    let holder = pid(&mut reader).await;
    let arguments = ["migrate", "up", "--database-url", &db.direct];
    let ((code, out, complaints), ()) = tokio::join!(verb(&arguments, b""), async {
        db.until_blocked_by(holder).await;
        // Others read and write as ever: what waits before them gives way.
        for table in ["users", "semesters", "requests"] {
            let mut other = db.pool.begin().await.unwrap();
            let lock = format!(
                "set local lock_timeout = '20s'; lock table seatkeeper.{table} in row exclusive mode"
            );
            run_on(&mut other, &lock).await;
            other.rollback().await.unwrap();
        }
        db.until_blocked_by(holder).await;
        reader.rollback().await.unwrap();
    });
    assert_eq!(code, 0, "{out}{complaints}");
    assert!(complaints.contains(&format!("process {holder} of ")), "who is in the way? {complaints}");
}

#[tokio::test]
async fn who_else_migrates_is_named() {
    let db = TestDb::new().await;
    let mut other = db.pool.begin().await.unwrap();
    run_on(&mut other, "lock table seatkeeper._sqlx_migrations in share update exclusive mode").await;
    let holder = pid(&mut other).await;
    let arguments = ["migrate", "up", "--database-url", &db.direct];
    let ((code, out, complaints), ()) = tokio::join!(verb(&arguments, b""), async {
        db.until_blocked_by(holder).await;
        // Until it has said so once.
        let is_again = format!(
            "select exists (select from pg_stat_activity where {holder} = any (pg_blocking_pids(pid))
                            and xact_start > (select xact_start from pg_stat_activity where pid = {holder}) + interval '1 second')"
        );
        crate::support::until("it waits for the second time", async || db.value(&is_again).await).await;
        other.rollback().await.unwrap();
    });
    assert_eq!(code, 0, "{out}{complaints}");
    assert!(complaints.contains(&format!("process {holder} of ")), "{complaints}");
}

/// Anybody who may connect can take an advisory lock, with any number.
#[tokio::test]
async fn advisory_locks_of_strangers_keep_nobody_waiting() {
    let db = TestDb::new().await;
    let mut stranger = db.session().await;
    let database = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(db.name().as_bytes());
    let of_migrations = 0x3d32_ad9e_i64 * i64::from(database);
    for lock in ["7305238412", "7305238413", &of_migrations.to_string()] {
        run_on(&mut stranger, &format!("select pg_advisory_lock({lock})")).await;
    }
    for chore in ["roll_call", "critical_checks", "retention", "statistics"] {
        run_on(&mut stranger, &format!("select pg_advisory_lock(730524, hashtext('{chore}'))")).await;
    }
    for arguments in [["migrate", "up"].as_slice(), &["roles", "--apply"], &["check"]] {
        let arguments = [arguments, &["--database-url", &db.direct]].concat();
        let (code, out, complaints) =
            timeout(PATIENCE, verb(&arguments, b"")).await.unwrap_or_else(|_| panic!("{arguments:?} waits"));
        assert_eq!(code, 0, "{arguments:?}: {out}{complaints}");
    }
    let process = crate::support::Process::run(
        &db.direct,
        &["--no-http", "--no-worker", "--critical-checks", "* * * * * *"],
    );
    let called = "select count(*) > 0 from seatkeeper.invariant_runs where trigger = 'schedule' and finished_at is not null";
    crate::support::until("the invariants are checked on schedule", async || db.value(called).await).await;
    assert_eq!(process.terminate(), Some(0));
}
