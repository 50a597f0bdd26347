//! What Prometheus scrapes, from the text of the real process.

mod shared;

use std::collections::BTreeSet;

use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::{Kind, Status};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::http::{get, sample};
use crate::support::{Process, TestDb, own_server, until};

const FLAGS: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn enroll(user: i64, semester: i64) -> Enroll {
    Enroll { user_id: user.try_into().unwrap(), semester_id: semester.try_into().unwrap() }
}

async fn scrape(address: &str) -> String {
    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    text
}

#[tokio::test]
async fn every_label_set_is_there_from_the_start_at_0_and_there_are_not_too_many() {
    let db = TestDb::new().await;
    let process = Process::run(&db.url, &FLAGS);
    let address = process.address();
    let text = scrape(&address).await;

    let requests = "seatkeeper_requests_total";
    for kind in Kind::ALL {
        let applied = format!("kind=\"{kind}\",outcome=\"applied\",reason=\"\"");
        assert_eq!(sample(&text, requests, &applied), Some(0.0), "{applied}");
        for reason in kind.refusals() {
            let refused = format!("kind=\"{kind}\",outcome=\"refused\",reason=\"{reason}\"");
            assert_eq!(sample(&text, requests, &refused), Some(0.0), "{refused}");
        }
        for reason in ["invalid_payload", "attempts_exhausted"] {
            let failed = format!("kind=\"{kind}\",outcome=\"failed\",reason=\"{reason}\"");
            assert_eq!(sample(&text, requests, &failed), Some(0.0), "{failed}");
        }
        for state in ["ready", "scheduled", "failed"] {
            let depth = format!("kind=\"{kind}\",state=\"{state}\"");
            assert_eq!(sample(&text, "seatkeeper_queue_depth", &depth), Some(0.0), "{depth}");
        }
        let age = format!("kind=\"{kind}\"");
        assert_eq!(sample(&text, "seatkeeper_queue_oldest_ready_age_seconds", &age), Some(0.0));
        assert_eq!(sample(&text, "seatkeeper_paused", &format!("what=\"{kind}\"")), Some(0.0));
    }
    for what in ["semester", "everything"] {
        assert_eq!(sample(&text, "seatkeeper_paused", &format!("what=\"{what}\"")), Some(0.0));
    }
    for cause in ["deadlock", "serialization", "lock_timeout", "connection", "guard", "panic", "window"] {
        let labels = format!("cause=\"{cause}\"");
        assert_eq!(sample(&text, "seatkeeper_batch_retries_total", &labels), Some(0.0), "{cause}");
    }
    let guard = "constraint=\"chk_enrolled_within_capacity\"";
    assert_eq!(sample(&text, "seatkeeper_constraint_hits_total", guard), Some(0.0));
    assert_eq!(sample(&text, "seatkeeper_duplicates_total", ""), Some(0.0));
    assert_eq!(sample(&text, "seatkeeper_conflicts_total", ""), Some(0.0));
    assert_eq!(sample(&text, "seatkeeper_db_scrape_success", ""), Some(1.0));
    assert!(sample(&text, "process_resident_memory_bytes", "").is_some_and(|bytes| bytes > 0.0));
    assert!(text.contains("seatkeeper_build_info{version=\""));
    assert!(text.contains("seatkeeper_db_pool_connections{state=\"used\"}"));

    let series = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
    println!("{series} series");
    assert!(series <= 400, "{series} series of one process");
    every_family_is_described(&text);
}

fn every_family_is_described(text: &str) {
    let described: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(described.contains(name) || described.contains(family), "no HELP: {name}");
    }
}

#[tokio::test]
async fn what_happens_is_counted_after_the_commit_and_a_drained_queue_is_0_not_absent() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, Some(1), 0).await;
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for (user, id) in (1..).zip(&ids) {
        db.ask(*id, enroll(user, 1)).await;
    }
    db.ask(ids[0], enroll(1, 1)).await;
    // Nobody works yet, so what waits can be seen.
    let idle = Process::run(&db.url, &["--listen", "127.0.0.1:0", "--no-worker"]);
    let replica = idle.address();
    let text = scrape(&replica).await;
    assert_eq!(sample(&text, "seatkeeper_queue_depth", "kind=\"enroll\",state=\"ready\""), Some(3.0));
    let age = sample(&text, "seatkeeper_queue_oldest_ready_age_seconds", "kind=\"enroll\"");
    assert!(age.is_some_and(|age| age > 0.0 && age < 60.0), "{age:?}");
    assert_eq!(sample(&text, "seatkeeper_duplicates_total", ""), Some(1.0));

    let process = Process::run(&db.url, &FLAGS);
    let address = process.address();
    let applied = "kind=\"enroll\",outcome=\"applied\",reason=\"\"";
    let full = "kind=\"enroll\",outcome=\"refused\",reason=\"semester_full\"";
    until("the counters", async || {
        let text = scrape(&address).await;
        sample(&text, "seatkeeper_requests_total", applied) == Some(1.0)
            && sample(&text, "seatkeeper_requests_total", full) == Some(2.0)
            && sample(&text, "seatkeeper_queue_depth", "kind=\"enroll\",state=\"ready\"") == Some(0.0)
    })
    .await;
    let text = scrape(&address).await;
    assert_eq!(sample(&text, "seatkeeper_request_latency_seconds_count", "kind=\"enroll\""), Some(3.0));
    assert_eq!(sample(&text, "seatkeeper_batch_size_sum", ""), Some(3.0));
    assert!(
        sample(&text, "seatkeeper_batch_duration_seconds_count", "").is_some_and(|batches| batches >= 1.0)
    );
    for id in &ids {
        assert!(!text.contains(&id.to_string()), "an id is no label");
    }
    // The same on every replica, whoever did the work.
    until("the other replica agrees", async || {
        let text = scrape(&replica).await;
        sample(&text, "seatkeeper_queue_depth", "kind=\"enroll\",state=\"ready\"") == Some(0.0)
    })
    .await;
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test]
async fn requests_about_bookings_are_counted_by_kind_and_reason() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, None, 0).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (7, 1, now() + interval '9 days', now() + interval '10 days', 1)",
    )
    .await;
    let asked = [
        ("enroll", r#"{"user_id": 1, "semester_id": 1}"#),
        ("book", r#"{"user_id": 1, "session_id": 7}"#),
        ("book", r#"{"user_id": 1, "session_id": 7}"#),
        ("book", r#"{"user_id": 2, "session_id": 7}"#),
        ("record_attendance", r#"{"user_id": 1, "session_id": 7, "status": "present"}"#),
        ("cancel_booking", r#"{"user_id": 1, "session_id": 7}"#),
        ("cancel_booking", r#"{"user_id": 1, "session_id": 7}"#),
        ("cancel_semester", r#"{"semester_id": 1}"#),
        ("cancel_semester", r#"{"semester_id": 1}"#),
    ];
    for (kind, payload) in asked {
        db.run(&format!("select seatkeeper.enqueue(gen_random_uuid(), '{kind}', '{payload}')")).await;
    }
    let process = Process::run(&db.url, &FLAGS);
    let address = process.address();
    let expected = [
        ("book", "applied", ""),
        ("book", "refused", "already_booked"),
        ("book", "refused", "not_enrolled"),
        ("record_attendance", "refused", "session_not_started"),
        ("cancel_booking", "applied", ""),
        ("cancel_booking", "refused", "already_cancelled"),
        ("cancel_semester", "applied", ""),
        ("cancel_semester", "refused", "already_cancelled"),
    ];
    until("the counters", async || {
        let text = scrape(&address).await;
        expected.iter().all(|(kind, outcome, reason)| {
            let labels = format!("kind=\"{kind}\",outcome=\"{outcome}\",reason=\"{reason}\"");
            sample(&text, "seatkeeper_requests_total", &labels) == Some(1.0)
        })
    })
    .await;
    let text = scrape(&address).await;
    for guard in [
        "uq_active_booking",
        "uq_waitlist_ticket",
        "uq_booking_attendance",
        "xcl_no_overlapping_confirmed_bookings",
        "chk_confirmed_within_capacity",
    ] {
        let labels = format!("constraint=\"{guard}\"");
        assert_eq!(sample(&text, "seatkeeper_constraint_hits_total", &labels), Some(0.0), "{guard}");
    }
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test]
async fn failures_and_guards_that_fired_are_counted() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, Some(5), 0).await;
    let (poison, fine) = (Uuid::now_v7(), Uuid::now_v7());
    db.run(
        "create function poison() returns trigger language plpgsql as $$ begin
             if new.user_id = 1 then raise exception 'poison' using errcode = 'check_violation', constraint = 'chk_enrollment_state'; end if;
             return new;
         end $$;
         create trigger poison before insert on seatkeeper.enrollments for each row execute function poison()",
    )
    .await;
    db.ask(poison, enroll(1, 1)).await;
    db.ask(fine, enroll(2, 1)).await;
    let flags = [&FLAGS[..], &["--attempts", "2", "--retry-after", "10ms"]].concat();
    let process = Process::run(&db.url, &flags);
    let address = process.address();
    until("it failed for good", async || db.receipt(poison).await.status == Status::Failed).await;
    until("its neighbour is answered", async || db.receipt(fine).await.status == Status::Done).await;
    until("the counters", async || {
        let text = scrape(&address).await;
        let failed = "kind=\"enroll\",outcome=\"failed\",reason=\"attempts_exhausted\"";
        sample(&text, "seatkeeper_requests_total", failed) == Some(1.0)
            && sample(&text, "seatkeeper_constraint_hits_total", "constraint=\"chk_enrollment_state\"")
                >= Some(2.0)
            && sample(&text, "seatkeeper_batch_retries_total", "cause=\"guard\"") >= Some(2.0)
            && sample(&text, "seatkeeper_queue_depth", "kind=\"enroll\",state=\"failed\"") == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn while_the_database_is_down_shared_families_are_absent_and_nothing_looks_like_an_empty_queue() {
    let mut server = own_server().await;
    let process = Process::run(&server.url(), &FLAGS);
    let address = process.address();
    until("ready", async || get(&address, "/readyz").await.0 == 200).await;
    let text = scrape(&address).await;
    assert_eq!(sample(&text, "seatkeeper_db_scrape_success", ""), Some(1.0));
    assert!(text.contains("seatkeeper_queue_depth{"));

    server.embedded.stop_server().await.unwrap();
    until("the scrape says so", async || {
        let text = scrape(&address).await;
        sample(&text, "seatkeeper_db_scrape_success", "") == Some(0.0)
    })
    .await;
    let text = scrape(&address).await;
    let shared =
        ["queue_depth", "queue_oldest_ready_age_seconds", "paused", "duplicates_total", "conflicts_total"];
    for family in shared {
        assert!(!text.contains(&format!("seatkeeper_{family}")), "a stale sample: {family}");
    }
    assert!(text.contains("seatkeeper_requests_total{"), "what this process counted is still there");
    until("not ready", async || get(&address, "/readyz").await.0 == 503).await;
    assert_eq!(get(&address, "/livez").await, (200, "alive\n".into()), "the process is well");

    server.embedded.start_server().await.unwrap();
    until("ready again", async || get(&address, "/readyz").await.0 == 200).await;
    until("the shared families are back", async || {
        sample(&scrape(&address).await, "seatkeeper_db_scrape_success", "") == Some(1.0)
    })
    .await;
    let pool: PgPool = server.pool();
    sqlx::raw_sql("insert into seatkeeper.users (user_id) values (1); insert into seatkeeper.semesters (semester_id, code, status) values (1, 'S', 'ENROLLMENT_OPEN')")
        .execute(&pool)
        .await
        .unwrap();
    let id = Uuid::now_v7();
    let mut connection = pool.acquire().await.unwrap();
    seatkeeper_jobs::postgres::enqueue(&mut connection, &seatkeeper_jobs::Request::new(id, enroll(1, 1)))
        .await
        .unwrap();
    until("it works again", async || {
        let receipt = seatkeeper_jobs::postgres::get_receipt(&mut connection, id).await.unwrap();
        receipt.is_some_and(|receipt| receipt.status == Status::Done)
    })
    .await;
    drop(connection);
    assert_eq!(process.terminate(), Some(0));
    server.remove().await;
}
