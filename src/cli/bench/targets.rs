//! What Seatkeeper has to reach, measured beside the usual way in one run.

use serde::Serialize;

use super::asks::Load;
use super::doors::Door;
use super::measure::Way;
use super::results::Results;

/// Requests that share a sync of the WAL, as a part of the most that one commit answers.
const PER_SYNC: f64 = 0.75;
/// Processor time for a request, as a part of what one call each takes.
const CPU: f64 = 0.25;
/// Times as fast as one call each.
const SPREAD: f64 = 3.0;
const HOT: f64 = 20.0;
/// Below this, in milliseconds, a sync holds nobody up, and times as fast say little.
const SLOW_DISK: f64 = 1.0;
/// Of the rate of a trivial insert: single calls, and calls with a hundred.
const ENQUEUE: f64 = 0.5;
const ENQUEUE_MANY: f64 = 2.0;
/// Milliseconds from asked to answered that 99 of 100 lone requests do not exceed.
const ALONE: f64 = 50.0;
/// How much more a claim may touch when a long queue waits.
const FLAT: f64 = 1.2;

/// A target, and whether it was met.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    pub name: String,
    pub wanted: f64,
    pub measured: f64,
    /// Null: it says nothing here, and why.
    pub met: Option<bool>,
    pub why_not_judged: Option<&'static str>,
}

impl Target {
    fn at_least(name: impl Into<String>, wanted: f64, measured: Option<f64>) -> Option<Self> {
        let measured = measured?;
        let met = Some(measured >= wanted);
        Some(Self { name: name.into(), wanted, measured, met, why_not_judged: None })
    }

    fn at_most(name: impl Into<String>, wanted: f64, measured: Option<f64>) -> Option<Self> {
        let measured = measured?;
        let met = Some(measured <= wanted);
        Some(Self { name: name.into(), wanted, measured, met, why_not_judged: None })
    }

    fn only_if(mut self, judged: bool, why_not: &'static str) -> Self {
        if !judged {
            (self.met, self.why_not_judged) = (None, Some(why_not));
        }
        self
    }
}

/// All targets that this run can say something about.
pub fn targets(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for load in [Load::EnrollHot, Load::EnrollSpread] {
        for limit in [100_u32, 500] {
            let way = Way::Batches { limit: limit as usize, workers: 1 };
            let per_sync = results.summary(load, way).map(|summary| summary.requests_per_sync);
            let name = format!("requests per sync, batches of {limit}, {}", load.name());
            targets.push(Target::at_least(name, PER_SYNC * f64::from(limit), per_sync));
        }
        let cpu = |way| results.summary(load, way)?.cpu_ms;
        let (ours, theirs) = (cpu(Way::Batches { limit: 500, workers: 1 }), cpu(Way::OneCall));
        let name = format!("processor time per request beside one call each, {}", load.name());
        targets.push(Target::at_most(name, CPU, ours.zip(theirs).map(|(ours, theirs)| ours / theirs)));
        let wanted = if load.is_hot() { HOT } else { SPREAD };
        let ratio = results.best_ratio(load);
        let slow = results.fdatasync_ms.is_some_and(|time| time >= SLOW_DISK);
        let name = format!("times as fast as one call each, {}", load.name());
        let target = Target::at_least(name, wanted, ratio).map(|target| {
            target.only_if(slow || !load.is_hot(), "the disk syncs too fast to hold one call each up")
        });
        targets.push(target);
    }
    let (few, single) = (results.door(Door::TrivialInsert8), results.door(Door::Enqueue8));
    let (many, bulk) = (results.door(Door::TrivialInsert32), results.door(Door::EnqueueMany8));
    let rate = |one: Option<&super::figures::Summary>, other: Option<&super::figures::Summary>| {
        Some(one?.per_second / other?.per_second)
    };
    targets.push(Target::at_least(
        "enqueue beside a trivial insert, 8 connections each",
        ENQUEUE,
        rate(single, few),
    ));
    targets.push(Target::at_least(
        "calls of enqueue per sync",
        1.01,
        single.map(|single| single.requests_per_sync),
    ));
    targets.push(Target::at_least(
        "enqueue_many beside a trivial insert on 32 connections",
        ENQUEUE_MANY,
        rate(bulk, many),
    ));
    let alone = results.latency.as_ref().map(|latency| latency.p99_ms);
    targets.push(Target::at_most("milliseconds to the answer of a lone request, 99 of 100", ALONE, alone));
    let pages = results.long_queue.as_ref().and_then(|summary| summary.pages_per_claim);
    let base = results.summary(Load::EnrollHot, Way::Batches { limit: 500, workers: 1 });
    let base = base.and_then(|summary| summary.pages_per_claim);
    let name = "pages of a claim with a long queue, beside those without";
    targets.push(Target::at_most(name, FLAT, pages.zip(base).map(|(pages, base)| pages / base)));
    targets.into_iter().flatten().collect()
}
