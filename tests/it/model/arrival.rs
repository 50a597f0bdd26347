//! Who came first? Producers note a tick of one logical clock before each call and after each commit; if one request's
//! commit lies before another one's call, it has arrived before it, whatever any clock of the wall says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use seatkeeper_jobs::Receipt;
use uuid::Uuid;

use super::check::{About, Complaints};
use super::history::{Asked, History};

/// How a call of a door ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// With its commit; the receipt that was given, and the tick after the commit.
    Committed(Box<Receipt>, u64),
    /// Rolled back on purpose, or by an error after which nothing can have stayed.
    RolledBack,
    /// Nobody knows: the connection broke.
    Broken,
}

/// One call for one request.
#[derive(Debug, Clone)]
pub struct Call {
    pub request_id: Uuid,
    /// The tick before it.
    pub called: u64,
    pub ended: Ended,
}

/// What the producers noted, in no particular order.
#[derive(Debug, Default)]
pub struct Journal {
    clock: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

impl Journal {
    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub fn note(&self, request_id: Uuid, called: u64, ended: Ended) {
        self.calls.lock().unwrap().push(Call { request_id, called, ended });
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

/// A request arrived after `called` and before `committed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arrived {
    called: u64,
    committed: u64,
}

/// When each request arrived. Of several calls the one counts that was not told "duplicate"; where that one broke,
/// it may have been any.
fn arrivals(calls: &[Call]) -> HashMap<Uuid, Arrived> {
    let mut by_id: HashMap<Uuid, Vec<&Call>> = HashMap::new();
    for call in calls {
        by_id.entry(call.request_id).or_default().push(call);
    }
    let arrived = |(id, calls): (Uuid, Vec<&Call>)| {
        let ticks = |call: &&Call| match &call.ended {
            Ended::Committed(receipt, tick) => Some((!receipt.duplicate, *tick)),
            _ => None,
        };
        let committed = calls.iter().filter_map(ticks).map(|(_, tick)| tick).min()?;
        let first = calls.iter().find(|call| ticks(call).is_some_and(|(first, _)| first));
        let possible = calls.iter().filter(|call| !matches!(call.ended, Ended::RolledBack));
        let called = first.map(|call| call.called).or_else(|| possible.map(|call| call.called).min())?;
        Some((id, Arrived { called, committed }))
    };
    by_id.into_iter().filter_map(arrived).collect()
}

/// What the producers were told, against what is stored; and the order in which they came, against the answers'.
pub fn check_calls(history: &History, calls: &[Call], complaints: &mut Complaints) {
    let stored: HashMap<Uuid, &Asked> = history.requests.iter().map(|r| (r.request_id, r)).collect();
    let mut firsts: HashMap<Uuid, u32> = HashMap::new();
    for call in calls {
        let Ended::Committed(receipt, _) = &call.ended else { continue };
        *firsts.entry(call.request_id).or_default() += u32::from(!receipt.duplicate);
        match stored.get(&call.request_id) {
            None => complaints.add(About::Receipt, format!("{} is gone", call.request_id)),
            Some(asked) => compare_receipt(receipt, asked, complaints),
        }
    }
    for (id, _) in firsts.iter().filter(|(_, firsts)| **firsts > 1) {
        complaints.add(About::Receipt, format!("{id} was new twice"));
    }
    let arrivals = arrivals(calls);
    for id in stored.keys().filter(|id| !arrivals.contains_key(*id)) {
        complaints.add(About::Receipt, format!("{id} is stored, but no call for it was committed"));
    }
    check_order(history, &arrivals, complaints);
}

fn compare_receipt(receipt: &Receipt, asked: &Asked, complaints: &mut Complaints) {
    let is_done = receipt.outcome.is_some();
    let outcome = receipt.outcome.map(|outcome| outcome.as_str());
    let reason = receipt.reason.map(|reason| reason.as_str());
    let same = receipt.kind.as_str() == asked.kind
        && receipt.enqueued_at == asked.enqueued_at
        && (!is_done
            || (outcome == asked.outcome.as_deref()
                && reason == asked.reason.as_deref()
                && receipt.result == asked.result
                && receipt.finished_at == asked.finished_at));
    if !same {
        complaints.add(About::Receipt, format!("told {receipt:?}, stored {asked:?}"));
    }
}

/// Nobody is overtaken: in a semester, and by a user's other requests for the user's grants. A request that was due
/// later took its place in the queue later, so it may be overtaken; it overtakes nobody's grant all the same.
fn check_order(history: &History, arrivals: &HashMap<Uuid, Arrived>, complaints: &mut Complaints) {
    let mut answered: Vec<&Asked> = history.requests.iter().filter(|r| r.answer_seq.is_some()).collect();
    answered.sort_by_key(|asked| asked.answer_seq);
    // The latest call among those answered so far
    let mut in_lane: BTreeMap<i64, (u64, Uuid)> = BTreeMap::new();
    let mut of_user: BTreeMap<i64, (u64, Uuid)> = BTreeMap::new();
    for asked in answered {
        let id = asked.request_id;
        let Some(Arrived { called, committed }) = arrivals.get(&id).copied() else { continue };
        let at_once = asked.run_at.is_none();
        if let Some(lane) = history.lane(asked).filter(|_| at_once) {
            let latest = in_lane.entry(lane).or_insert((called, id));
            if latest.0 > committed {
                let words =
                    format!("{} came after {id} in semester {lane}, and was answered first", latest.1);
                complaints.add(About::Arrival, words);
            }
            *latest = (*latest).max((called, id));
        }
        if let Some(user) = asked.user_id() {
            let latest = of_user.entry(user).or_insert((called, id));
            if asked.kind == "grant_credits" && at_once && latest.0 > committed {
                let words =
                    format!("{} of user {user} came after grant {id}, and was answered first", latest.1);
                complaints.add(About::Grant, words);
            }
            *latest = (*latest).max((called, id));
        }
    }
}
