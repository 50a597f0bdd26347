//! The rows of `seatkeeper.schedules`: registered, changed, due.

use std::time::Duration;

use seatkeeper::schedule::{self, Plan, Schedule, Timetable};

use crate::chores::{plan, since};
use crate::support::{Process, TestDb, http, verb};

async fn due(db: &TestDb, schedule: Schedule) -> bool {
    let mut connection = db.pool.acquire().await.unwrap();
    schedule::due(&mut connection, schedule).await.unwrap().is_some()
}

#[tokio::test]
async fn on_a_fresh_database_nothing_is_due() {
    let db = TestDb::new().await;
    schedule::keep(&db.pool, &plan()).await.unwrap();
    for schedule in Schedule::ALL {
        assert!(!due(&db, schedule).await, "{schedule:?}");
    }
    let rows: i64 = db.value("select count(*) from seatkeeper.schedules").await;
    assert_eq!(rows, 3, "retention is off");
}

#[tokio::test]
async fn a_restart_keeps_what_is_due_and_a_change_of_the_timetable_drops_what_lies_before_it() {
    let db = TestDb::new().await;
    schedule::keep(&db.pool, &plan()).await.unwrap();
    since(&db, "roll_call", "8 days").await;
    since(&db, "critical_checks", "2 hours").await;
    schedule::keep(&db.pool, &plan()).await.unwrap();
    assert!(due(&db, Schedule::RollCall).await && due(&db, Schedule::CriticalChecks).await);

    let berlin = Plan { roll_call: Timetable::new("0 0 8 * * Mon", "Europe/Berlin").unwrap(), ..plan() };
    schedule::keep(&db.pool, &berlin).await.unwrap();
    assert!(!due(&db, Schedule::RollCall).await, "no slot of the new zone has fallen due since");
    assert!(due(&db, Schedule::CriticalChecks).await, "which did not change");

    // Its `since` never goes back.
    db.run("update seatkeeper.schedules set since = clock_timestamp() + interval '1 hour' where schedule = 'roll_call'").await;
    schedule::keep(&db.pool, &plan()).await.unwrap();
    let ahead: bool = db
        .value("select since > clock_timestamp() from seatkeeper.schedules where schedule = 'roll_call'")
        .await;
    assert!(ahead);
}

#[tokio::test]
async fn retention_is_on_the_schedule_while_it_is_asked_for() {
    let db = TestDb::new().await;
    let seconds = "select retain_seconds from seatkeeper.schedules where schedule = 'retention'";
    schedule::keep(&db.pool, &Plan { retain: Some(Duration::from_secs(86_400)), ..plan() }).await.unwrap();
    assert_eq!(db.value::<i64>(seconds).await, 86_400);
    schedule::keep(&db.pool, &plan()).await.unwrap();
    let rows: i64 = db.value("select count(*) from seatkeeper.schedules where schedule = 'retention'").await;
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn every_replica_and_the_doctor_tell_the_same_of_a_slot_that_is_due() {
    let db = TestDb::new().await;
    schedule::keep(&db.pool, &plan()).await.unwrap();
    since(&db, "critical_checks", "3 hours").await;
    let replicas = [0, 1].map(|_| Process::run(&db.url, &["--listen", "127.0.0.1:0", "--no-scheduler"]));
    let hour: i64 =
        db.value("select extract(epoch from date_trunc('hour', clock_timestamp()))::bigint").await;
    for replica in &replicas {
        let text = http::get(&replica.address(), "/metrics").await.1;
        let value = |name: &str, schedule: &str| -> i64 {
            let series =
                format!("seatkeeper_schedule_{name}_slot_timestamp_seconds{{schedule=\"{schedule}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&series));
            line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
        };
        assert_eq!(value("last", "critical_checks"), 0);
        // An hour may have struck meanwhile.
        assert!([hour, hour + 3600].contains(&value("due", "critical_checks")));
        assert_eq!((value("last", "roll_call"), value("due", "roll_call")), (0, 0));
        assert!(!text.contains("schedule=\"statistics\""), "chores without an alert are no series");
    }

    db.run(
        "update seatkeeper.schedules set last_slot = date_trunc('hour', clock_timestamp()) - interval '1 day',
             last_finished_at = clock_timestamp(), expression = '0 0 0 1 1 *', since = '2000-01-01'
         where schedule = 'critical_checks'",
    )
    .await;
    let (code, out, _) = verb(&["doctor", "--database-url", &db.url], b"").await;
    let line = out.lines().find(|line| line.contains("critical_checks")).unwrap_or_else(|| panic!("{out}"));
    assert!(!line.starts_with("PROBLEM"), "the slot of New Year is older than the last one: {out}");
    db.run("update seatkeeper.schedules set last_slot = '2001-01-01' where schedule = 'critical_checks'")
        .await;
    let (overdue, out, _) = verb(&["doctor", "--database-url", &db.url], b"").await;
    let line = out.lines().find(|line| line.contains("critical_checks")).unwrap();
    assert!(overdue == 1 && line.starts_with("PROBLEM") && line.contains("overdue"), "{code}, {out}");
}
