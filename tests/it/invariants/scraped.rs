//! What Prometheus sees of the roll call, from the text of the real process.

use crate::support::http::{get, sample};
use crate::support::{Process, TestDb, own_server, until};

const FLAGS: [&str; 2] = ["--listen", "127.0.0.1:0"];
const VIOLATIONS: &str = "seatkeeper_invariant_violations";
const STATUS: &str = "seatkeeper_invariant_status";
const LAST_RUN: &str = "seatkeeper_invariant_last_run_timestamp_seconds";

/// The samples of the families about invariants.
fn ours(text: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with("seatkeeper_invariant_")).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn the_last_run_is_scraped_alike_everywhere_and_right_after_a_start() {
    let db = TestDb::new().await;
    db.semester(1, None, 0).await;
    db.users(3).await;
    let process = Process::run(&db.url, &FLAGS);
    let address = process.address();
    let (_, text) = get(&address, "/metrics").await;
    assert_eq!(ours(&text), Vec::<String>::new(), "nothing before the first run");
    assert!(text.contains("# TYPE seatkeeper_invariant_violations gauge"));

    db.run(
        r#"insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
           select user_id, user_id, 1, 'APPROVED', true from seatkeeper.users;
           select setval('seatkeeper.enrollments_enrollment_id_seq', 3);
           update seatkeeper.semesters set enrolled_count = 3;
           insert into seatkeeper.invariant_baseline (invariant, key, reason, accepted_by)
           values ('INV-04', '{"enrollment_id": 2}', 'imported', 'erika')"#,
    )
    .await;
    db.roll_call(&[]).await;
    // Years of runs behind it: the last one of each invariant is found by an index.
    db.run(
        "insert into seatkeeper.invariant_runs (run_id, trigger, started_at, finished_at) overriding system value
         select -i, 'manual', now(), now() from generate_series(1, 10000) i;
         insert into seatkeeper.invariant_results (run_id, invariant, status, violations)
         select -i, r.invariant, 'violated', 99 from generate_series(1, 10000) i, seatkeeper.invariant_results r
         where r.run_id > 0",
    )
    .await;
    db.run("alter table seatkeeper.attendance rename to presence").await;
    db.roll_call(&["INV-B04"]).await;

    // One that has just come up, beside the other.
    let other = Process::run(&db.url, &FLAGS);
    let mut seen = Vec::new();
    for address in [address, other.address()] {
        until("the scrape sees both runs", async || {
            let (_, text) = get(&address, "/metrics").await;
            sample(&text, STATUS, "invariant=\"INV-B04\",status=\"unknown\"") == Some(1.0)
        })
        .await;
        let (_, text) = get(&address, "/metrics").await;
        let rows = |accepted: &str| {
            let labels = format!("invariant=\"INV-04\",severity=\"warning\",accepted=\"{accepted}\"");
            sample(&text, VIOLATIONS, &labels)
        };
        assert_eq!((rows("false"), rows("true")), (Some(2.0), Some(1.0)));
        for (status, is) in [("holds", 0.0), ("violated", 1.0), ("unknown", 0.0)] {
            let labels = format!("invariant=\"INV-04\",status=\"{status}\"");
            assert_eq!(sample(&text, STATUS, &labels), Some(is), "{status}");
        }
        assert!(sample(&text, LAST_RUN, "invariant=\"INV-04\"").is_some_and(|at| at > 1.7e9));
        assert!(sample(&text, LAST_RUN, "invariant=\"INV-B04\"").is_some());
        // Nobody knows how many: no sample, which is not 0.
        assert!(!text.contains("seatkeeper_invariant_violations{invariant=\"INV-B04\""), "{text}");
        seen.push(ours(&text));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_database_that_is_down_says_nothing_about_invariants() {
    let server = own_server().await;
    let pool = server.pool();
    let which = seatkeeper::invariants::Selection::all();
    let manual = seatkeeper::invariants::Trigger::Manual;
    seatkeeper::invariants::call_the_roll(&pool, &which, manual, super::runs::TIMEOUT).await.unwrap();
    pool.close().await;
    let process = Process::run(&server.url(), &FLAGS);
    let address = process.address();
    until("the roll call is scraped", async || !ours(&get(&address, "/metrics").await.1).is_empty()).await;
    server.remove().await;
    until("the database is missed", async || {
        let (_, text) = get(&address, "/metrics").await;
        sample(&text, "seatkeeper_db_scrape_success", "") == Some(0.0) && ours(&text).is_empty()
    })
    .await;
}
