//! Names, in both directions: alert, runbook and rule test; metric, rule and dashboard; invariant, counterexample and rule.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml_ng::Value;
use uuid::Uuid;

use super::{files, items, panel_queries, rules, text};
use crate::support::http::get;
use crate::support::{Process, TestDb, until, verb};

/// What other people's systems rely on: a name that is missing here has been given up, and that is not ours to do.
const ALERTS: [&str; 16] = [
    "SeatkeeperAuditTrailGap",
    "SeatkeeperAuditTrailNewRows",
    "SeatkeeperConstraintHit",
    "SeatkeeperDbScrapeFailing",
    "SeatkeeperDown",
    "SeatkeeperGuardMissing",
    "SeatkeeperInvariantCheckStale",
    "SeatkeeperInvariantCheckUnknown",
    "SeatkeeperInvariantViolated",
    "SeatkeeperOldTransaction",
    "SeatkeeperPaused",
    "SeatkeeperQueueStalled",
    "SeatkeeperReplicationUnsafe",
    "SeatkeeperRequestsFailed",
    "SeatkeeperRetryStorm",
    "SeatkeeperWatchdog",
];
const METRICS: [&str; 21] = [
    "seatkeeper_batch_duration_seconds",
    "seatkeeper_batch_retries_total",
    "seatkeeper_batch_size",
    "seatkeeper_build_info",
    "seatkeeper_conflicts_total",
    "seatkeeper_constraint_hits_total",
    "seatkeeper_db_pool_connections",
    "seatkeeper_db_scrape_success",
    "seatkeeper_duplicates_total",
    "seatkeeper_invariant_last_run_timestamp_seconds",
    "seatkeeper_invariant_status",
    "seatkeeper_invariant_violations",
    "seatkeeper_oldest_transaction_age_seconds",
    "seatkeeper_paused",
    "seatkeeper_queue_depth",
    "seatkeeper_queue_oldest_ready_age_seconds",
    "seatkeeper_replication_waits",
    "seatkeeper_request_latency_seconds",
    "seatkeeper_requests_total",
    "seatkeeper_schedule_due_slot_timestamp_seconds",
    "seatkeeper_schedule_last_slot_timestamp_seconds",
];
/// Used by no alert and no panel: for a person who looks closer.
const DIAGNOSTIC: [&str; 2] = ["process_max_fds", "process_virtual_memory_bytes"];
const PLATFORM: [&str; 1] = ["process_virtual_memory_max_bytes"];

type Names = BTreeSet<String>;

fn names<T: Into<String>>(of: impl IntoIterator<Item = T>) -> Names {
    of.into_iter().map(Into::into).collect()
}

/// Words of PromQL or Rust that begin like a metric of ours.
fn metrics_in(source: &str) -> Names {
    let words = source.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    names(words.filter(|word| !word.starts_with("seatkeeper_jobs")).filter(|word| {
        ["seatkeeper_", "process_"]
            .iter()
            .any(|prefix| word.strip_prefix(prefix).is_some_and(|r| !r.is_empty()))
    }))
}

#[test]
fn an_alert_has_its_runbook_and_its_tests_and_says_what_a_person_needs() {
    let rules = rules();
    let alerts: Vec<&Value> = rules.iter().filter(|rule| rule.get("alert").is_some()).collect();
    assert_eq!(names(alerts.iter().map(|rule| text(rule, "alert"))), names(ALERTS));

    for rule in &alerts {
        let name = text(rule, "alert");
        let severity = text(&rule["labels"], "severity");
        assert!(["critical", "warning", "info", "none"].contains(&severity), "{name}: {severity}");
        let annotations = &rule["annotations"];
        assert!(text(annotations, "summary").len() < 140, "{name}: a summary is a line");
        let description = text(annotations, "description").to_lowercase();
        assert!(description.contains("clear"), "{name}: does it clear by itself?");
        assert_eq!(text(annotations, "runbook_url"), format!("http://localhost:9600/runbooks/{name}"));
    }

    let runbooks = files("monitoring/runbooks", "md");
    assert_eq!(names(runbooks.iter().map(|(name, _)| name.as_str())), names(ALERTS));
    for (name, text) in &runbooks {
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let title = format!("# {name}");
        let sections =
            ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation", "## Does it clear by itself?"];
        assert_eq!(headings, [&[title.as_str()], &sections[..]].concat(), "{name}");
    }

    // Each alert fires in a test and is silent in another; the watchdog is never silent.
    let mut firing: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (file, source) in files("monitoring/tests", "yml") {
        let parsed: Value = serde_yaml_ng::from_str(&source).unwrap();
        for test in items(&parsed, "tests") {
            for case in items(test, "alert_rule_test") {
                let name = text(case, "alertname").to_owned();
                let fires = items(case, "exp_alerts").next().is_some();
                assert!(case.get("exp_alerts").is_some(), "{file}: {name} expects nothing");
                firing.entry(name).or_default()[usize::from(fires)] += 1;
            }
        }
    }
    firing.get_mut("SeatkeeperWatchdog").unwrap()[0] += 1;
    assert_eq!(names(firing.keys().cloned()), names(ALERTS));
    let untested: Vec<_> = firing.iter().filter(|(_, [silent, fires])| *silent == 0 || *fires == 0).collect();
    assert!(untested.is_empty(), "silent and firing cases: {untested:?}");
}

/// Every shared family of the program is looked at as last known and taken together; a sum would count it per replica.
#[test]
fn shared_state_is_never_summed_over_replicas() {
    let shared = ["seatkeeper_queue_", "seatkeeper_paused", "seatkeeper_invariant_", "seatkeeper_schedule_"];
    for rule in rules() {
        let expr = text(&rule, "expr").replace([' ', '\n'], "");
        for (at, _) in shared.iter().flat_map(|family| expr.match_indices(family)) {
            let before = &expr[..at];
            assert!(before.ends_with('(') && before.contains("maxby("), "not taken together: {expr}");
        }
    }
}

#[test]
fn an_invariant_has_its_counterexample_and_its_rules() {
    let invariants = files("monitoring/invariants", "sql");
    let ids = names(invariants.iter().map(|(name, _)| name.split('_').next().unwrap()));
    assert_eq!(ids.len(), invariants.len(), "an ID twice");
    let counterexamples = files("tests/counterexamples", "sql");
    assert_eq!(names(counterexamples.iter().map(|(name, _)| name.as_str())), ids);
    let of_rules = rules();
    let of_rules = of_rules.iter().map(|rule| text(&rule["labels"], "invariant")).filter(|id| !id.is_empty());
    assert_eq!(names(of_rules), ids);
}

#[tokio::test]
async fn a_metric_of_a_rule_or_a_panel_is_one_that_the_program_has_and_none_is_forgotten() {
    // What a real process says, when everything has happened once that a family waits for.
    let db = TestDb::new().await;
    let process = Process::run(&db.url, &["--listen", "127.0.0.1:0"]);
    let address = process.address();
    let id = Uuid::now_v7();
    let user = 1.try_into().unwrap();
    db.ask(id, seatkeeper_jobs::enroll::Enroll { user_id: user, semester_id: 1.try_into().unwrap() }).await;
    let page = async || get(&address, "/metrics").await.1;
    until("the answer is counted", async || page().await.contains("# TYPE seatkeeper_batch_size")).await;
    until("the schedules are read", async || page().await.contains("seatkeeper_db_scrape_success 1")).await;
    let scraped = page().await;
    let families: BTreeMap<&str, &str> =
        scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let known = names(families.keys().copied());
    let ours = |name: &&String| name.starts_with("seatkeeper_");
    assert_eq!(known.iter().filter(ours).cloned().collect::<Names>(), names(METRICS));

    // What src/metrics spells is what is scraped.
    let mut spelled = Names::new();
    for (_, source) in files("src/metrics", "rs") {
        spelled.extend(metrics_in(&source));
    }
    assert_eq!(
        spelled.into_iter().filter(|name| name.starts_with("seatkeeper_")).collect::<Names>(),
        names(METRICS)
    );

    // A histogram is asked for by its parts.
    let family = |name: String| {
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        match part {
            Some(base) if families.get(base).is_some_and(|kind| *kind == "histogram") => base.to_owned(),
            _ => name,
        }
    };
    let of_rules =
        rules().iter().flat_map(|rule| metrics_in(text(rule, "expr"))).map(family).collect::<Names>();
    let of_panels: Names =
        panel_queries().iter().flat_map(|(_, expr)| metrics_in(expr)).map(family).collect();
    let used: Names = of_rules.union(&of_panels).cloned().collect();
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "the program has no such metric: {unknown:?}");
    let mut unused: Names = known.difference(&used).cloned().collect();
    PLATFORM.iter().for_each(|name| _ = unused.remove(*name));
    assert_eq!(unused, names(DIAGNOSTIC), "in no rule and in no panel");

    // What is recorded is used, and what is used is recorded.
    let rules = rules();
    let recorded = names(rules.iter().map(|rule| text(rule, "record")).filter(|name| !name.is_empty()));
    let words = rules.iter().flat_map(|rule| {
        text(rule, "expr").split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
    });
    assert_eq!(names(words.filter(|word| word.starts_with("seatkeeper:"))), recorded);
}

#[test]
fn the_dashboard_is_in_order() {
    let json = std::fs::read_to_string(super::shipped("dashboards/seatkeeper.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&json).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut covered = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{title}: its ID is there twice");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{title} sticks out");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(covered.insert((x, y)), "{title} lies over another panel");
            }
        }
        if panel["type"] != "row" {
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}: what does it mean?");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(
                    target["datasource"]["uid"], "${datasource}",
                    "{title}: a datasource of somebody's"
                );
                assert!(
                    target["expr"].as_str().unwrap().contains(r#"job="$job""#),
                    "{title}: of which installation?"
                );
            }
        }
    }
    assert_eq!(panels[0]["title"], "Is everything right?");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "job"]);
}

#[tokio::test]
async fn the_rules_are_what_the_invariants_generate() {
    let check = async |path: &str| verb(&["rules", "generate", "--check", "--output", path], b"").await;
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/monitoring/rules/invariants.yml");
    let (code, told, complaint) = check(rules).await;
    assert_eq!(code, 0, "{told}{complaint}");

    let other = tempfile::NamedTempFile::new().unwrap();
    let edited = std::fs::read_to_string(rules).unwrap().replacen("INV-01", "INV-10", 1);
    std::fs::write(other.path(), edited).unwrap();
    let (code, told, _) = check(other.path().to_str().unwrap()).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("INV-10") && told.contains("`seatkeeper rules generate` writes it"), "{told}");
}
