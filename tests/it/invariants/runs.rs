//! A run: one snapshot for all checks, stored once, and nothing unknown is taken for sound.

use std::time::Duration;

use chrono::{DateTime, Utc};
use seatkeeper::invariants::{Outcome, Run, Selection, Status, Trigger, call_the_roll};

use crate::support::TestDb;

pub const TIMEOUT: Duration = Duration::from_secs(60);

impl TestDb {
    /// The roll call of these invariants; of all when there are none.
    pub async fn roll_call(&self, ids: &[&str]) -> Run {
        let which = if ids.is_empty() { Selection::all() } else { Selection::only(ids).unwrap() };
        call_the_roll(&self.pool, &which, Trigger::Manual, TIMEOUT).await.unwrap()
    }

    /// One of them.
    pub async fn found(&self, id: &str) -> Outcome {
        self.roll_call(&[id]).await.results.remove(0)
    }
}

#[tokio::test]
async fn a_fresh_schema_holds_everything() {
    let db = TestDb::new().await;
    let run = db.roll_call(&[]).await;
    assert_eq!(run.results.len(), seatkeeper::invariants::catalogue().len());
    for outcome in &run.results {
        assert_eq!((outcome.status, outcome.violations), (Status::Holds, Some(0)), "{outcome:?}");
        assert!(outcome.seconds.is_some() && outcome.since.is_none());
    }
    assert_eq!((run.trigger.as_str(), run.slot), ("manual", None));
    assert!(run.started_at <= run.finished_at);
}

#[tokio::test]
async fn a_slot_is_run_once_by_whoever_comes_first() {
    let db = TestDb::new().await;
    let slot: DateTime<Utc> = "2026-11-02T08:00:00Z".parse().unwrap();
    let trigger = Trigger::Schedule { schedule: "roll_call", slot };
    let which = Selection::all();
    let call = || call_the_roll(&db.pool, &which, trigger, TIMEOUT);
    let (one, other, third) = tokio::join!(call(), call(), call());
    let (one, other, third) = (one.unwrap(), other.unwrap(), third.unwrap());
    assert!(one == other && other == third);
    assert_eq!((one.schedule.as_deref(), one.slot), (Some("roll_call"), Some(slot)));
    assert_eq!(call().await.unwrap(), one);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.invariant_runs").await, 1);
    // Another schedule's slot of the same instant, and a run by hand, are runs of their own.
    let critical = Trigger::Schedule { schedule: "critical_checks", slot };
    assert_ne!(call_the_roll(&db.pool, &which, critical, TIMEOUT).await.unwrap().run_id, one.run_id);
    db.roll_call(&[]).await;
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.invariant_runs").await, 3);
}
