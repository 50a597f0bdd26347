//! The checker itself, put to the test: a real history in which one thing was changed must be complained of, by name.

mod places;

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::json;

use super::arrival::{Call, Ended, check_calls};
use super::check::{About, Complaints, check};
use super::history::{Asked, History};
use super::load::{Load, seed};
use crate::support::TestDb;

/// A small load, answered by one worker while it is asked.
async fn real() -> (Arc<Load>, TestDb, History) {
    let db = TestDb::new().await;
    let load = Load::prepare(db.pool.clone(), seed(), 4_000).await;
    println!("seed {}", load.seed);
    load.allow(load.total);
    let mut worker = db.worker();
    let stop = tokio_util::sync::CancellationToken::new();
    let working = async {
        while !stop.is_cancelled() {
            worker.turn().await;
            let _ = seatkeeper::batch::sort_out(&transactions(&db)).await;
        }
    };
    let asking = async {
        load.run().await;
        load.answered().await;
        stop.cancel();
    };
    tokio::join!(working, asking);
    let (history, complaints) = load.check().await;
    complaints.assert_none(load.seed);
    (load, db, history)
}

fn transactions(db: &TestDb) -> seatkeeper::postgres::Transactions {
    seatkeeper::postgres::Transactions::new(db.pool.clone(), seatkeeper::postgres::Timeouts::default())
}

/// What is complained of, once the history is changed.
fn abouts(history: &History, tamper: impl FnOnce(&mut History)) -> Vec<About> {
    let mut changed = history.clone();
    tamper(&mut changed);
    kinds(&check(&changed))
}

fn kinds(complaints: &Complaints) -> Vec<About> {
    let mut kinds: Vec<About> = complaints.0.iter().map(|complaint| complaint.about).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The position of the last answer of this kind and ending: the last, so that nothing repairs itself behind it.
fn last(history: &History, kind: &str, ending: &str) -> usize {
    let found = history.requests.iter().rposition(|asked| asked.kind == kind && asked.ending() == ending);
    found.unwrap_or_else(|| panic!("no {kind} was answered {ending}"))
}

fn swap_answers(requests: &mut [Asked], one: usize, other: usize) {
    let (left, right) = (requests[one].clone(), requests[other].clone());
    for (at, from) in [(one, right), (other, left)] {
        requests[at].outcome = from.outcome;
        requests[at].reason = from.reason;
        requests[at].result = from.result;
    }
}

fn swap_places(requests: &mut [Asked], one: usize, other: usize) {
    let seq = requests[one].answer_seq;
    requests[one].answer_seq = requests[other].answer_seq;
    requests[other].answer_seq = seq;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_complains_of_whatever_is_not_so() {
    let (load, _db, history) = real().await;
    let has = |about: About, tamper: &dyn Fn(&mut History)| {
        let found = abouts(&history, tamper);
        assert!(found.contains(&about), "seed {}: {about:?} was due, found {found:?}", load.seed);
    };
    let only = |about: About, tamper: &dyn Fn(&mut History)| {
        assert_eq!(abouts(&history, tamper), [about], "seed {}", load.seed);
    };

    let applied = last(&history, "enroll", "applied");
    let unenrolled = last(&history, "unenroll", "applied");
    let granted = last(&history, "grant_credits", "applied");
    let full = last(&history, "enroll", "semester_full");
    let unknown = last(&history, "enroll", "semester_not_found");

    // Answers
    has(About::Answer, &|h| swap_answers(&mut h.requests, applied, full));
    only(About::Answer, &|h| h.requests[full].reason = Some("insufficient_credits".into()));
    only(About::Answer, &|h| h.requests[unknown].reason = Some("user_not_found".into()));
    for (at, field) in [
        (applied, "charged"),
        (applied, "balance"),
        (unenrolled, "refunded"),
        (unenrolled, "enrollment_id"),
        (granted, "balance"),
    ] {
        only(About::Answer, &|h| {
            let result = h.requests[at].result.as_mut().unwrap();
            result[field] = json!(result[field].as_i64().unwrap() + 1);
        });
    }
    only(About::Answer, &|h| h.requests[granted].result = None);
    only(About::Answer, &|h| {
        h.requests[unenrolled].result.as_mut().unwrap()["promoted_bookings"] = json!([1]);
    });
    // One name for two places
    has(About::Answer, &|h| {
        let first = h.requests.iter().find(|r| r.kind == "enroll" && r.ending() == "applied").unwrap();
        let name = first.result.as_ref().unwrap()["enrollment_id"].clone();
        h.requests[applied].result.as_mut().unwrap()["enrollment_id"] = name;
    });
    let poor = last(&history, "enroll", "insufficient_credits");
    only(About::Answer, &|h| h.requests[poor].result = Some(json!({ "balance": -1 })));
    // An expiry that nobody saw, and one that nobody stored
    has(About::Answer, &|h| h.requests[granted].expires_at = h.requests[granted].finished_at);
    let expired = last(&history, "enroll", "request_expired");
    has(About::Answer, &|h| h.requests[expired].expires_at = None);

    // Order and time
    let name = &history.requests[unenrolled].result.as_ref().unwrap()["enrollment_id"];
    let made = history.requests.iter().position(|asked| {
        asked.kind == "enroll" && asked.result.as_ref().is_some_and(|result| result["enrollment_id"] == *name)
    });
    has(About::Answer, &|h| swap_places(&mut h.requests, made.unwrap(), unenrolled));
    has(About::Sequence, &|h| h.requests[full].answer_seq = h.requests[applied].answer_seq);
    has(About::Clock, &|h| {
        let enqueued_at = h.requests[full].enqueued_at;
        h.requests[full].finished_at = Some(enqueued_at - TimeDelta::microseconds(1));
    });
    has(About::Clock, &|h| {
        let at = h.requests[granted].finished_at.unwrap();
        h.requests[granted].run_at = Some(at + TimeDelta::microseconds(1));
    });
    has(About::Clock, &|h| {
        let lane = h.lane(&h.requests[applied]);
        let first = h.requests.iter().position(|r| h.lane(r) == lane).unwrap();
        let latest = h.requests.iter().filter_map(|r| r.finished_at).max().unwrap();
        h.requests[first].finished_at = Some(latest + TimeDelta::seconds(1));
    });

    // Once
    has(About::Unanswered, &|h| {
        let asked = &mut h.requests[granted];
        asked.status = "queued".into();
        (asked.outcome, asked.result, asked.answer_seq, asked.finished_at) = (None, None, None, None);
    });
    only(About::Attempts, &|h| h.requests[full].attempts = 2);
    only(About::Attempts, &|h| h.requests[full].last_error = Some("40P01: deadlock detected".into()));

    // The state at the end
    only(About::Balance, &|h| h.end.users.get_mut(&1).unwrap().balance += 1);
    only(About::Balance, &|h| h.end.users.get_mut(&1).unwrap().is_active = false);
    only(About::Ledger, &|h| {
        h.end.ledger.pop();
    });
    only(About::Ledger, &|h| {
        let user = h.end.ledger[0].user_id;
        let second = (1..h.end.ledger.len()).find(|at| h.end.ledger[*at].user_id == user).unwrap();
        h.end.ledger.swap(0, second);
    });
    only(About::Ledger, &|h| h.end.ledger[0].balance_after += 1);
    only(About::Ledger, &|h| h.end.ledger[0].request_id = None);
    only(About::Counter, &|h| h.end.semesters[0].enrolled_count += 1);
    only(About::Enrollment, &|h| h.end.enrollments.first_entry().unwrap().get_mut().price_paid += 1);
    only(About::Enrollment, &|h| {
        h.end.enrollments.pop_last();
    });
    only(About::Enrollment, &|h| {
        let active = h.end.enrollments.values_mut().find(|enrollment| enrollment.is_active).unwrap();
        active.is_active = false;
    });

    // The catalog
    // Of a single one nobody may know: nothing hangs on a name, and a cancelled semester hides its status of before.
    let owned = (0..history.changes.len()).filter(|at| history.changes[*at].table == "semesters");
    let missed = owned.rev().map(|at| abouts(&history, |h| drop(h.changes.remove(at))));
    assert!(missed.take(10).any(|found| found.contains(&About::Catalog)), "seed {}", load.seed);
    has(About::Catalog, &|h| {
        h.changes.retain(|change| change.before.is_none() || change.table == "users");
    });
    only(About::Catalog, &|h| h.end.semesters[0].catalog["enrollment_cost"] = json!(123_456));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_knows_who_came_first_and_what_producers_were_told() {
    let (load, _db, history) = real().await;
    let calls = load.journal.calls();
    let found = |history: &History, calls: &[Call]| {
        let mut complaints = Complaints::default();
        check_calls(history, calls, &mut complaints);
        kinds(&complaints)
    };
    assert_eq!(found(&history, &calls), []);

    // The first answer of a semester, given last; and the same for a grant and what its user asked later.
    let overtaken = |choose: &dyn Fn(&Asked) -> bool| {
        let mut changed = history.clone();
        let at = changed.requests.iter().position(|asked| asked.run_at.is_none() && choose(asked)).unwrap();
        let latest = changed.requests.iter().filter_map(|asked| asked.answer_seq).max().unwrap();
        changed.requests[at].answer_seq = Some(latest + 1);
        found(&changed, &calls)
    };
    assert!(overtaken(&|asked| history.lane(asked) == Some(1)).contains(&About::Arrival));
    assert!(
        overtaken(&|asked| asked.kind == "book" && history.lane(asked) == Some(9)).contains(&About::Arrival)
    );
    assert_eq!(overtaken(&|asked| asked.kind == "grant_credits"), [About::Grant]);

    let told = |change: &dyn Fn(&mut Call) -> bool| {
        let mut changed = calls.clone();
        assert!(changed.iter_mut().any(change), "nothing was changed");
        found(&history, &changed)
    };
    let other_result = told(&|call| match &mut call.ended {
        Ended::Committed(receipt, _) if receipt.result.is_some() => {
            receipt.result = Some(json!({ "balance": 1_000_000_000 }));
            true
        }
        _ => false,
    });
    assert_eq!(other_result, [About::Receipt]);
    let new_twice = told(&|call| match &mut call.ended {
        Ended::Committed(receipt, _) if receipt.duplicate => {
            receipt.duplicate = false;
            true
        }
        _ => false,
    });
    assert!(new_twice.contains(&About::Receipt));
    let mut none = calls.clone();
    none.retain(|call| call.request_id != history.requests[0].request_id);
    assert_eq!(found(&history, &none), [About::Receipt]);
    let mut gone = history.clone();
    gone.requests.remove(0);
    assert_eq!(found(&gone, &calls), [About::Receipt]);
}
