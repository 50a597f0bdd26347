//! Interleavings by construction: two or three real transactions, statement by statement, through every schedule. README.md
//! says what is explored, and what is left out and why.
//!
//! The transactions are those of the engine, not a copy of its SQL: each [`seatkeeper::batch::Worker`] runs on a connection
//! through a proxy of the test's own (`tests/it/support/proxy`), which holds each statement at its real boundary, as the
//! protocol has it. Hooks in `src/batch` would have had to be put between frozen code, would be only where somebody thought of
//! putting them, and could not hold the transactions of owners, which are held the same way here.

mod actor;
mod check;
mod event;
mod explorer;
mod guard;
mod matrix;
mod observer;
mod plan;
mod proxied;
mod scenario;
mod schedule;
mod stage;
mod triples;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use seatkeeper_jobs::Kind;

use explorer::Pruning;
use guard::Guard;
use matrix::{Change, Matrix, Part, Scarce, Scenario};
use scenario::{Budget, Explored, House};
use triples::triples;

use crate::model::{scaled, seed};

/// Schedules of three that are explored at most, in each scenario.
const MOST_OF_THREE: usize = 1_000;
/// So many of them, or more, are explored to the end within that.
const COMPLETE_OF_THREE: usize = 25;
/// The locks that keep transactions apart, each with a scenario in which some schedule goes wrong without it.
const NOTICED: [(&str, &str); 5] = [
    ("lane_lock", "enroll×semester-closed/same-user/last-place/one-lane"),
    ("lane_lock", "enroll×enroll×falls-due/different-users/last-place/one-lane"),
    ("session_lock", "book×session-moved/same-user/last-place/one-lane"),
    ("user_lock", "unenroll×unenroll/same-user/last-place/own-lanes"),
    ("move_locks_users", "book×other-session-moved/same-user/last-place/one-lane"),
];
/// The same for the locks on those who wait, which are no text of a statement.
const WAITERS_NOTICED: &str = "unenroll×waiter-deactivated/same-user/last-place/one-lane";
/// Houses at work beside each other.
const HOUSES: usize = 2;
/// Whether all is to be explored, as `scripts/proof` does.
fn proof() -> bool {
    scaled(1) > 1
}

/// A guard that is to be missing, by the name of its mutant: to see which scenarios notice.
fn missing() -> Option<Guard> {
    std::env::var("SEATKEEPER_WITHOUT").ok().map(|name| Guard::named(&name))
}

/// Explores scenarios; fails, with the schedules to be replayed, when one goes wrong.
async fn explore_all(
    scenarios: Vec<Scenario>,
    pruning: Pruning,
    budget: Budget,
) -> Vec<(Scenario, Explored)> {
    let began = Instant::now();
    let missing = missing();
    let due = scenarios.len();
    let queue = Mutex::new(scenarios.into_iter());
    let houses = (0..HOUSES).map(async |_| {
        let mut house = House::new(missing.as_ref()).await;
        let mut explored = Vec::new();
        loop {
            let next = queue.lock().unwrap().next();
            let Some(scenario) = next else { return explored };
            let came_of_it = house.explore(&scenario, pruning, budget).await;
            println!("{scenario}: {came_of_it}");
            explored.push((scenario, came_of_it));
        }
    });
    let all: Vec<_> = futures::future::join_all(houses).await.into_iter().flatten().collect();
    let sum = |of: fn(&Explored) -> usize| all.iter().map(|(_, explored)| of(explored)).sum::<usize>();
    println!(
        "{} scenarios, {} schedules with {} statements, {} of them with a lock wait, {} abandoned, {:.0} s",
        all.len(),
        sum(|explored| explored.schedules),
        sum(|explored| explored.statements),
        sum(|explored| explored.waited),
        sum(|explored| explored.abandoned),
        began.elapsed().as_secs_f64()
    );
    let mut failures = String::new();
    for (scenario, explored) in &all {
        if let Some((letters, wrong)) = &explored.failure {
            failures += &format!("\nSEATKEEPER_SCHEDULE='{scenario}: {letters}'\n  {}", wrong.join("\n  "));
        }
    }
    assert!(failures.is_empty(), "schedules that go wrong:{failures}");
    assert_eq!(all.len(), due, "not everything was explored");
    assert!(sum(|explored| explored.schedules) > 2 * due, "nothing is interleaved");
    // (A few scenarios of three, drawn for the slice, may be without a lock wait.)
    assert!(due < 5 || sum(|explored| explored.waited) > 0, "nobody ever waited for anybody");
    all
}

/// Whether a lock was seen to be missed in it: those come first.
fn is_telling(scenario: &Scenario) -> bool {
    let name = scenario.to_string();
    NOTICED.iter().any(|(_, telling)| *telling == name) || name == WAITERS_NOTICED
}

/// All of them in the proof; else some, drawn anew each time, with everything that `marks` tells apart among them.
fn slice<M: Ord>(name: &str, matrix: Matrix, marks: fn(&Scenario) -> Vec<M>) -> Vec<Scenario> {
    let Matrix { mut scenarios, left_out } = matrix;
    let whole = scenarios.len();
    if !proof() {
        let seed = seed();
        println!("SEATKEEPER_TEST_SEED={seed}");
        // The largest ones, which are left to the long version.
        scenarios.retain(|scenario| scenario.same_user || !scenario.own_lanes);
        scenarios.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        scenarios.sort_by_key(|scenario| !is_telling(scenario));
        let mut seen = BTreeSet::new();
        scenarios.retain(|scenario| {
            let before = seen.len();
            seen.extend(marks(scenario));
            seen.len() > before
        });
    }
    println!(
        "{name}: {} of {whole} scenarios{}",
        scenarios.len(),
        if proof() { "" } else { " (all: scripts/proof)" }
    );
    for (reason, count) in left_out {
        println!("  {count} left out: {reason}");
    }
    scenarios
}

/// The kinds of the requests, whichever comes first.
fn pair(scenario: &Scenario) -> Vec<Vec<Kind>> {
    let mut kinds = scenario.kinds();
    kinds.sort_unstable();
    vec![kinds]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_interleaving_of_two_requests_comes_to_a_serial_order() {
    let explored = explore_all(slice("pairs", Matrix::pairs(), pair), Pruning::Commuting, Budget::ALL).await;
    let pairs: BTreeSet<_> = explored.iter().flat_map(|(scenario, _)| pair(scenario)).collect();
    assert_eq!(pairs.len(), Kind::ALL.len() * (Kind::ALL.len() + 1) / 2, "a pair is missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_interleaving_with_a_change_by_an_owner_comes_to_a_serial_order() {
    let parts = |scenario: &Scenario| scenario.parts.clone();
    let explored =
        explore_all(slice("changes", Matrix::changes(), parts), Pruning::Commuting, Budget::ALL).await;
    let met: BTreeSet<_> = explored.iter().flat_map(|(scenario, _)| parts(scenario)).collect();
    assert_eq!(met.len(), Kind::ALL.len() + Change::ALL.len(), "a kind or a change is missing");
}

/// Three at once: a chosen set in the long version, with a bound for each; here a few schedules of some, drawn anew each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_interleaving_of_three_comes_to_a_serial_order() {
    let seed = seed();
    println!("SEATKEEPER_TEST_SEED={seed}");
    let mut scenarios = triples();
    let whole = scenarios.len();
    let schedules = if proof() { MOST_OF_THREE } else { MOST_OF_THREE / 10 };
    if !proof() {
        scenarios.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        scenarios.sort_by_key(|scenario| !is_telling(scenario));
        scenarios.truncate(2);
    }
    let budget = Budget { schedules, drawn: schedules / 4, seed };
    println!(
        "triples: {} of {whole} scenarios, at most {schedules} schedules of the search each, and {} drawn when it is cut there",
        scenarios.len(),
        budget.drawn
    );
    let explored = explore_all(scenarios, Pruning::Commuting, budget).await;
    let cut: Vec<String> = explored
        .iter()
        .filter(|(_, explored)| explored.is_cut)
        .map(|(scenario, _)| scenario.to_string())
        .collect();
    let complete = explored.len() - cut.len();
    println!("{complete} scenarios explored completely, {} cut at the budget: {cut:#?}", cut.len());
    assert!(!proof() || complete >= COMPLETE_OF_THREE, "only {complete} were explored completely");
}

/// All scenarios that there are.
fn everything() -> impl Iterator<Item = Scenario> {
    [Matrix::pairs().scenarios, Matrix::changes().scenarios, triples()].into_iter().flatten()
}

/// The scenario of this name.
fn named(name: &str) -> Scenario {
    everything().find(|scenario| scenario.to_string() == name).expect("no such scenario")
}

/// The explorer itself: with a lock taken out of the statements it finds the schedule that needed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_taken_away_is_noticed() {
    for (guard, name) in NOTICED {
        let mut house = House::new(Some(&Guard::named(guard))).await;
        let explored = house.explore(&named(name), Pruning::Commuting, Budget::ALL).await;
        println!("without {guard}: {name}: {explored}");
        let (letters, wrong) = explored.failure.unwrap_or_else(|| panic!("{guard} is not missed in {name}"));
        println!("  {letters}: {wrong:#?}");
        assert!(explored.schedules > 0, "{guard}: wrong without anybody else: {wrong:#?}");
    }
}

/// What the pruning leaves out comes to nothing new: the outcomes are those of every schedule, statement by statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pruned_schedules_come_to_what_all_of_them_come_to() {
    let against = |kind, change| Scenario {
        parts: vec![Part::Asks(kind), Part::Changes(change)],
        same_user: true,
        scarce: Scarce::Place,
        own_lanes: false,
    };
    let mut scenarios = vec![against(Kind::GrantCredits, Change::UserDeactivated)];
    if proof() {
        scenarios.push(against(Kind::Enroll, Change::Repriced));
        scenarios.push(against(Kind::Enroll, Change::UserDeactivated));
        scenarios.push(against(Kind::Book, Change::SessionCapacity));
    }
    let pruned = explore_all(scenarios.clone(), Pruning::Commuting, Budget::ALL).await;
    let all = explore_all(scenarios, Pruning::Nothing, Budget::ALL).await;
    for (scenario, pruned) in pruned {
        let (_, all) = all.iter().find(|(other, _)| *other == scenario).unwrap();
        assert!(pruned.schedules < all.schedules, "{scenario}: nothing was pruned");
        let seen = |explored: &Explored| -> BTreeSet<String> {
            let seen = explored.outcomes.iter().filter(|(_, (_, count))| *count > 0);
            seen.map(|(outcome, _)| outcome.clone()).collect()
        };
        assert_eq!(seen(&pruned), seen(all), "{scenario}");
    }
}

/// `SEATKEEPER_SCHEDULE='scenario: letters'` is played again with everything that happened, and without letters the scenarios
/// whose names contain it are explored; else a schedule that is known is played again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_replayed_from_its_letters() {
    let mut house = House::new(missing().as_ref()).await;
    if let Ok(text) = std::env::var("SEATKEEPER_SCHEDULE") {
        let Some((name, letters)) = text.split_once(": ") else {
            let named = everything().filter(|scenario| scenario.to_string().contains(&text)).collect();
            let budget = Budget { schedules: MOST_OF_THREE, drawn: MOST_OF_THREE / 4, seed: seed() };
            explore_all(named, Pruning::Commuting, budget).await;
            return;
        };
        let scenario = named(name);
        let (run, checked) = house.replay(&scenario, letters).await;
        println!("{}\nended: {}", run.log.join("\n"), run.ended.join(" / "));
        match checked {
            Ok(outcome) => println!("{outcome}"),
            Err(wrong) => panic!("{}", wrong.join("\n")),
        }
        return;
    }
    let scenario = Scenario {
        parts: vec![Part::Asks(Kind::Enroll), Part::Changes(Change::UserDeactivated)],
        same_user: true,
        scarce: Scarce::Place,
        own_lanes: false,
    };
    // The owner has the user first, and the worker waits for that.
    let (first, came_of_it) = house.first_that(&scenario, "A waits for B").await;
    let (again, same) = house.replay(&scenario, &first.letters()).await;
    assert_eq!(again.log, first.log, "the same letters, another schedule");
    assert!(first.log.iter().any(|line| line == "A waits for B"), "{:#?}", first.log);
    let came_of_it = came_of_it.unwrap();
    assert!(came_of_it.contains("user_inactive"), "{came_of_it}");
    assert_eq!(same.unwrap(), came_of_it);
}
