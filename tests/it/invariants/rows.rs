//! The rows that break an invariant: counted in full, shown in part, accepted or not, and since when.

use seatkeeper::invariants::{KEPT_KEYS, Outcome, SAMPLE, Status};

use crate::support::TestDb;

/// Enrollments without a row in the ledger, as an import has left them behind: `from` … `to`, a user each.
async fn silent(db: &TestDb, from: i64, to: i64) {
    db.run(&format!(
        "insert into seatkeeper.users (user_id) select generate_series({from}, {to}) on conflict do nothing;
         insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
         select i, i, 1, 'APPROVED', true from generate_series({from}, {to}) i;
         select setval('seatkeeper.enrollments_enrollment_id_seq', {to});
         update seatkeeper.semesters set enrolled_count = (select count(*) from seatkeeper.enrollments where is_active)"
    ))
    .await;
}

async fn with_silent(rows: i64) -> TestDb {
    let db = TestDb::new().await;
    db.semester(1, None, 0).await;
    silent(&db, 1, rows).await;
    db
}

async fn accept(db: &TestDb, from: i64, to: i64, expires: &str) {
    db.run(&format!(
        "insert into seatkeeper.invariant_baseline (invariant, key, reason, accepted_by, expires_at)
         select 'INV-04', jsonb_build_object('enrollment_id', i), 'imported', 'erika', {expires}
         from generate_series({from}, {to}) i"
    ))
    .await;
}

fn figures(outcome: &Outcome) -> (Status, Option<i64>, i64, bool) {
    (outcome.status, outcome.violations, outcome.accepted, outcome.is_bad_news())
}

#[tokio::test]
async fn the_audit_trail_is_bad_news_beyond_50_accepted_or_not() {
    let db = with_silent(20).await;
    assert_eq!(figures(&db.found("INV-04").await), (Status::Violated, Some(20), 0, false));
    // The baseline of the system before: 20 rows.
    accept(&db, 1, 20, "null").await;
    assert_eq!(figures(&db.found("INV-04").await), (Status::Holds, Some(20), 20, false));
    silent(&db, 21, 50).await;
    assert_eq!(figures(&db.found("INV-04").await), (Status::Violated, Some(50), 20, false));
    silent(&db, 51, 51).await;
    assert_eq!(figures(&db.found("INV-04").await), (Status::Violated, Some(51), 20, true));
    accept(&db, 21, 51, "null").await;
    assert_eq!(figures(&db.found("INV-04").await), (Status::Holds, Some(51), 51, true));
}

#[tokio::test]
async fn an_acceptance_ends_when_it_expires_on_the_clock_of_the_database() {
    let db = with_silent(3).await;
    accept(&db, 1, 1, "now() + interval '1 hour'").await;
    accept(&db, 2, 2, "now() - interval '1 second'").await;
    let outcome = db.found("INV-04").await;
    assert_eq!((outcome.violations, outcome.accepted), (Some(3), 1));
    let accepted: Vec<bool> = outcome.sample.iter().map(|row| row["accepted"].as_bool().unwrap()).collect();
    assert_eq!(accepted, [true, false, false]);
    // Accepted for another invariant is not accepted for this one.
    db.run("update seatkeeper.invariant_baseline set invariant = 'INV-01'").await;
    assert_eq!(db.found("INV-04").await.accepted, 0);
}

#[tokio::test]
async fn a_row_is_remembered_from_its_first_sighting_to_its_repair() {
    let db = with_silent(2).await;
    let first = db.roll_call(&["INV-04"]).await;
    assert_eq!(first.results[0].since, Some(first.started_at));
    silent(&db, 3, 3).await;
    let second = db.roll_call(&[]).await;
    let outcome = second.results.iter().find(|outcome| outcome.invariant == "INV-04").unwrap();
    assert_eq!(outcome.since, Some(first.started_at));
    let seen: Vec<chrono::DateTime<chrono::Utc>> =
        outcome.sample.iter().map(|row| row["first_seen"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(seen, [first.started_at, first.started_at, second.started_at]);

    // Gone for one run, and back: that is a new one. A run that could not look forgets nothing.
    db.run("alter table seatkeeper.enrollments rename column price_paid to price").await;
    assert_eq!(db.found("INV-04").await.status, Status::Unknown);
    db.run("alter table seatkeeper.enrollments rename column price to price_paid").await;
    db.run("update seatkeeper.enrollments set is_active = false, status = 'PENDING' where enrollment_id = 1")
        .await;
    assert_eq!(db.found("INV-04").await.since, Some(first.started_at));
    db.run("update seatkeeper.enrollments set is_active = true, status = 'APPROVED' where enrollment_id = 1")
        .await;
    let again = db.roll_call(&["INV-04"]).await;
    let seen = |row: usize| again.results[0].sample[row]["first_seen"].as_str().unwrap().parse().ok();
    assert_eq!((seen(0), seen(1)), (Some(again.started_at), Some(first.started_at)));
    db.run("update seatkeeper.enrollments set is_active = false, status = 'PENDING'").await;
    assert_eq!(db.found("INV-04").await.since, None);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.invariant_sightings").await, 0);
}

#[tokio::test]
async fn a_hundred_thousand_rows_are_counted_and_a_few_are_kept() {
    let db = with_silent(100_000).await;
    let outcome = db.found("INV-04").await;
    assert_eq!((outcome.violations, outcome.sample.len()), (Some(100_000), SAMPLE));
    let keys: Vec<i64> =
        outcome.sample.iter().map(|row| row["key"]["enrollment_id"].as_i64().unwrap()).collect();
    assert!(
        keys.is_sorted() && keys[0] == 1 && keys[SAMPLE - 1] == i64::try_from(SAMPLE).unwrap(),
        "{keys:?}"
    );
    let sightings = "select count(*) from seatkeeper.invariant_sightings";
    assert_eq!(db.value::<i64>(sightings).await, i64::try_from(KEPT_KEYS).unwrap());
    db.found("INV-04").await;
    assert_eq!(db.value::<i64>(sightings).await, i64::try_from(KEPT_KEYS).unwrap());
}
