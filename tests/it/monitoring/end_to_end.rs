//! Alerts that really fire: provoked behind the guards' back, through the real check, Prometheus and Alertmanager, to
//! whoever is told; repaired, and resolved. One stack for all of them, with the shipped rules and files.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::provoked::{FILLED, GIVEN, LONG_AGO, ONCE, TWICE, gaps, peace, sabotage};
use super::receiver::Which;
use super::runbooks::blocks;
use super::stack::{Stack, ask};
use super::{files, panel_queries};

const STALLED: Which<'_> =
    &[("alertname", "SeatkeeperQueueStalled"), ("kind", "enroll"), ("severity", "critical")];
const STORM: Which<'_> =
    &[("alertname", "SeatkeeperRetryStorm"), ("cause", "serialization"), ("severity", "warning")];
const VIOLATED: Which<'_> =
    &[("alertname", "SeatkeeperInvariantViolated"), ("invariant", "INV-01"), ("severity", "critical")];
const GUARD: Which<'_> =
    &[("alertname", "SeatkeeperGuardMissing"), ("invariant", "INV-05"), ("severity", "critical")];
const GAP: Which<'_> =
    &[("alertname", "SeatkeeperAuditTrailGap"), ("invariant", "INV-04"), ("severity", "warning")];
const NEW_ROWS: Which<'_> =
    &[("alertname", "SeatkeeperAuditTrailNewRows"), ("invariant", "INV-04"), ("severity", "info")];
const UNKNOWN: Which<'_> =
    &[("alertname", "SeatkeeperInvariantCheckUnknown"), ("invariant", "INV-B04"), ("severity", "critical")];
const UNREADABLE: Which<'_> = &[("alertname", "SeatkeeperDbScrapeFailing"), ("severity", "critical")];
const DOWN: Which<'_> = &[("alertname", "SeatkeeperDown"), ("severity", "critical")];
const FAILED: Which<'_> =
    &[("alertname", "SeatkeeperRequestsFailed"), ("kind", "enroll"), ("severity", "warning")];
const STALE: Which<'_> =
    &[("alertname", "SeatkeeperInvariantCheckStale"), ("cause", "too_long_ago"), ("severity", "critical")];
const WATCHDOG: Which<'_> = &[("alertname", "SeatkeeperWatchdog"), ("severity", "none")];

/// What a repair ends, and a run has to see.
const FOUND: [Which<'_>; 5] = [VIOLATED, GUARD, GAP, NEW_ROWS, UNKNOWN];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_every_class_reach_somebody_once_and_resolve() {
    let began = Instant::now();
    let step = |what: &str| eprintln!("{:>6.1} s  {what}", began.elapsed().as_secs_f64());
    let mut stack = Stack::start().await;
    stack.run(GIVEN).await;
    stack.told(WATCHDOG, "firing").await;
    stack.evaluations(8.0).await;
    let told = stack.receiver.told();
    assert!(told.iter().all(|told| told.is(WATCHDOG) && told.to == "dead-mans-switch"), "{told:#?}");
    step("nothing but the watchdog fires");

    // Nothing was answered so far. A lane is held by somebody's open transaction, and the batches of another one fail.
    let mut held = stack.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.semesters where semester_id = 2 for update")
        .execute(&mut *held)
        .await
        .unwrap();
    stack.ask_for_places(2, true).await;
    stack.run(&sabotage(3, "40001")).await;
    stack.ask_for_places(3, false).await;

    // Rows, and a guard, that the real check finds: 50 gaps are no reason to call anybody.
    stack.run(TWICE).await;
    stack.run(&gaps(101..=150)).await;
    let (exit, report) = stack.verb(&["check"]).await;
    assert_eq!(exit, 1, "{report}");
    for which in [VIOLATED, GUARD, NEW_ROWS] {
        stack.told(which, "firing").await;
    }
    step("violated, guard missing, new gaps");
    stack.evaluations(3.0).await;
    assert_eq!(stack.receiver.count(GAP, "firing"), 0, "50 gaps");
    stack.run(&gaps(151..=151)).await;
    stack.verb(&["check", "--only", "INV-04"]).await;
    stack.told(GAP, "firing").await;
    step("51 gaps");

    // A check that comes to nothing, since somebody holds the table.
    let mut locked = stack.pool.begin().await.unwrap();
    sqlx::query("lock table seatkeeper.attendance in access exclusive mode")
        .execute(&mut *locked)
        .await
        .unwrap();
    let (exit, report) = stack.verb(&["check", "--only", "INV-B04", "--timeout", "200ms"]).await;
    assert_eq!(exit, 3, "{report}");
    locked.rollback().await.unwrap();
    stack.told(UNKNOWN, "firing").await;
    step("unknown");

    stack.told(STALLED, "firing").await;
    step("stalled");
    stack.told(STORM, "firing").await;
    step("retry storm");
    assert_eq!(stack.receiver.count(STORM, "firing"), 1);
    stack.run(&peace(3)).await;
    let storm_ended = Instant::now();
    held.rollback().await.unwrap();
    stack.told(STALLED, "resolved").await;
    step("stalled: resolved");

    // The database goes away: nobody knows whether it was repaired, so nothing resolves.
    stack.server.embedded.stop_server().await.unwrap();
    stack.told(UNREADABLE, "firing").await;
    step("database down");
    stack.evaluations(8.0).await;
    assert_unresolved(&stack).await;
    stack.server.embedded.start_server().await.unwrap();
    stack.told(UNREADABLE, "resolved").await;
    step("database up");

    // The same when the processes are gone.
    stack.kill_processes();
    stack.told(DOWN, "firing").await;
    stack.evaluations(8.0).await;
    assert_unresolved(&stack).await;
    stack.start_processes();
    stack.told(DOWN, "resolved").await;
    stack.evaluations(5.0).await;
    assert_unresolved(&stack).await;
    step("processes down, and up");

    // The repair alone changes nothing; the check that sees it does.
    stack.run(ONCE).await;
    stack.run(FILLED).await;
    stack.evaluations(5.0).await;
    assert_unresolved(&stack).await;
    let (exit, report) = stack.verb(&["check"]).await;
    assert_eq!(exit, 0, "{report}");
    for which in FOUND {
        stack.told(which, "resolved").await;
    }
    step("repaired");

    stack.run(&sabotage(5, "XX000")).await;
    stack.ask_for_places(5, false).await;
    stack.told(FAILED, "firing").await;
    stack.run(&peace(5)).await;
    let (exit, report) = stack
        .verb(&["requests", "retry", "--failed-because", "attempts_exhausted", "--yes", "--reason", "peace"])
        .await;
    assert_eq!(exit, 0, "{report}");
    stack.told(FAILED, "resolved").await;
    step("failed, and retried");

    // Checks that were last made more than eight days ago.
    let invariants = files("monitoring/invariants", "sql").len();
    stack.run(LONG_AGO).await;
    stack.until("all are stale", async || stack.receiver.count(STALE, "firing") == invariants).await;
    stack.verb(&["check"]).await;
    stack.until("none is stale", async || stack.receiver.count(STALE, "resolved") == invariants).await;
    step("stale, and checked");

    // A rate needs something to happen between two scrapes: answers, after others that Prometheus has seen.
    for _ in 0..2 {
        stack.ask_for_places(6, false).await;
        stack.evaluations(4.0).await;
    }
    assert_panels_show_something(&stack).await;
    step("panels");

    // The window of the rule is two minutes, and stays what it is.
    stack.told(STORM, "resolved").await;
    assert!(storm_ended.elapsed() > Duration::from_secs(60), "{:?}", storm_ended.elapsed());
    step("retry storm: resolved");

    for which in [&FOUND[..], &[STALLED, UNREADABLE, DOWN, FAILED]].concat() {
        assert_eq!(
            (stack.receiver.count(which, "firing"), stack.receiver.count(which, "resolved")),
            (1, 1),
            "{which:?}"
        );
    }
    assert_told_well(&stack).await;
    stack.remove().await;
    step("done");
}

/// What was found is still firing, for Prometheus and for whoever was told.
async fn assert_unresolved(stack: &Stack) {
    for which in FOUND {
        assert_eq!(stack.receiver.count(which, "resolved"), 0, "{which:?}");
        let labels: Vec<String> = which.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let firing = format!("count(ALERTS{{alertstate=\"firing\",{}}})", labels.join(","));
        assert_eq!(stack.value(&firing).await, Some(1.0), "{firing}");
    }
}

/// Every panel of the dashboard, and every query of the runbooks: no error, and each panel has something to show.
async fn assert_panels_show_something(stack: &Stack) {
    let now = chrono::Utc::now().timestamp();
    let (start, end) = ((now - 180).to_string(), now.to_string());
    let mut empty = BTreeSet::new();
    for (title, query) in panel_queries() {
        let range = [("query", query.as_str()), ("start", &start), ("end", &end), ("step", "2")];
        let series = stack.api("query_range", &range).await["result"].as_array().unwrap().clone();
        let samples = series.iter().flat_map(|series| series["values"].as_array().unwrap());
        if samples.filter(|sample| sample[1] != "NaN").count() == 0 {
            empty.insert(format!("{title}: {query}"));
        }
    }
    assert!(empty.is_empty(), "nothing to show: {empty:#?}");
    for (_, block) in blocks("promql") {
        for query in block.lines().filter(|line| !line.is_empty()) {
            stack.api("query", &[("query", query)]).await;
        }
    }
}

/// Whoever was told anything was the right one, and was told what to do.
async fn assert_told_well(stack: &Stack) {
    let mut links = BTreeSet::new();
    for told in stack.receiver.told() {
        let severity = told.labels["severity"].as_str();
        let receiver = match severity {
            "critical" => "pager",
            "warning" => "tickets",
            "info" => "chat",
            _ => "dead-mans-switch",
        };
        assert_eq!(told.to, receiver, "{told:?}");
        assert_eq!(told.labels["installation"], "main", "{told:?}");
        assert!(severity == "none" || told.labels["job"] == "seatkeeper", "{told:?}");
        let summary = &told.annotations["summary"];
        assert!(!summary.is_empty() && !summary.contains("{{"), "{told:?}");
        assert!(told.annotations["description"].len() > 40, "{told:?}");
        links.insert((told.labels["alertname"].clone(), told.annotations["runbook_url"].clone()));
    }
    for (alert, link) in links {
        let path = link.strip_prefix("http://localhost:9600").expect("where a process serves them");
        let (status, page) = ask(&stack.addresses[1], path).await.unwrap();
        assert!(status == 200 && page.starts_with(&format!("# {alert}\n")), "{link}: {page}");
    }
}
