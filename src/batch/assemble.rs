//! Puts a batch together out of what can be claimed, so that everybody gets a share of it.
//!
//! Requests without a lane have at least a quarter, marked sessions at most a quarter. Of the rest, and of what these leave, the first
//! requests of each lane go before what there is room for besides. What is left out in the end are the latest of those in full lanes: a lone
//! request is in the next batch, whatever waits elsewhere.

use std::collections::{BTreeMap, HashMap, HashSet};

use seatkeeper_jobs::{Job, Kind};
use sqlx::PgConnection;
use uuid::Uuid;

use super::claim::{self, Floors, Shares, Waiting};
use super::gather::Barred;
use super::{BatchError, Claim, Claimed, Order};
use crate::failpoint::fail_point;

/// Takes lanes and requests: at most `limit`, of each lane in order of arrival, and none that has to wait for a grant which this batch
/// cannot have.
pub(super) async fn claim(
    connection: &mut PgConnection,
    order: &Order,
    floors: &mut Floors,
) -> Result<Claim, BatchError> {
    let limit = i64::try_from(order.limit).unwrap_or(i64::MAX);
    let shares = Shares::of(order.limit);
    claim::settle(connection, floors).await?;
    let known = floors.known();
    let lanes = claim::lock_lanes(connection, order.cursor, shares, &known).await?;
    fail_point!("claim.lanes");
    let of_loose = (limit - lanes.ready).max(limit / 4).max(1);
    let mut waiting = claim::lock_loose(connection, &lanes.unknown, of_loose).await?;
    fail_point!("claim.loose");
    let loose: HashSet<Uuid> = waiting.iter().map(|request| request.request_id).collect();
    let mut marks = Vec::new();
    if !lanes.held.is_empty() {
        marks = claim::read_marks(connection, &lanes.held, (limit / 4).max(1)).await?;
        let taken = i64::try_from(waiting.len() + marks.len()).unwrap_or(i64::MAX);
        let of_lanes = (limit - taken).max(1);
        // Before the reading: who is not there then is over, and in the reading.
        let is_late = floors.are_held_up(&lanes.held);
        let drawing = if is_late { Some(claim::drawing(connection).await?) } else { None };
        let reading =
            claim::read_lanes(connection, &lanes.held, of_lanes, lanes.most, shares, &known).await?;
        floors.learn_held(&lanes.held, &known, &reading, drawing.as_deref());
        waiting.extend(reading.waiting);
    }
    fail_point!("claim.read");

    let room = order.limit - marks.len().min(order.limit);
    waiting.sort_unstable_by_key(|request| request.seq);
    let held: HashSet<i64> = lanes.held.into_iter().collect();
    let firsts = firsts(&waiting, &held, shares);
    let mut asked: BTreeMap<i64, i64> = BTreeMap::new();
    for request in &waiting {
        if let Some(user) = request.user_id {
            asked.insert(user, request.seq);
        }
    }
    let ready = claim::find_grants(connection, &asked, order.limit).await?;
    let further = ready.iter().filter(|grant| !grant.is_one_of(&loose)).map(|grant| grant.seq);
    let last = last_with_room(waiting.iter().map(|request| request.seq).chain(further).collect(), room);
    let grants = claim::lock_grants(connection, &ready, &loose, last, &firsts.of_users).await?;
    fail_point!("claim.grants");
    let found = waiting.len();
    waiting.extend(grants.claimed);
    waiting.sort_unstable_by_key(|request| request.seq);

    let mut barred = Barred::from_grants(grants.barred);
    waiting.retain(|request| barred.admits(request, false));
    leave_out_the_latest(&mut waiting, room, &firsts);
    let batch = waiting
        .into_iter()
        .filter_map(|waiting| {
            // The claim asks for kinds with a rule only, so each of them has a name that is known.
            let kind: Kind = waiting.kind.parse().ok()?;
            let payload = waiting.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let job = payload.and_then(|payload| Job::read(kind, &payload).ok());
            Some(Claimed { waiting, kind, job })
        })
        .collect();
    let contended = lanes.busy || found > 0;
    Ok(Claim { batch, marks, held, next: lanes.next, contended })
}

/// What goes before the others.
struct Firsts {
    /// The first requests of each lane.
    requests: HashSet<Uuid>,
    /// Whose they are, with the arrival of the last of each: their grants have to come first.
    of_users: HashMap<i64, i64>,
}

/// Which of these, in order of arrival, go before the others.
fn firsts(waiting: &[Waiting], held: &HashSet<i64>, shares: Shares) -> Firsts {
    let mut firsts = Firsts { requests: HashSet::new(), of_users: HashMap::new() };
    let mut seen: HashMap<i64, usize> = HashMap::new();
    for request in waiting {
        let Some(lane) = request.semester_id.filter(|lane| held.contains(lane)) else { continue };
        let seen = seen.entry(lane).or_default();
        *seen += 1;
        if *seen <= shares.first() {
            firsts.requests.insert(request.request_id);
            if let Some(user) = request.user_id {
                firsts.of_users.insert(user, request.seq);
            }
        }
    }
    firsts
}

/// Leaves out what the batch has no room for: the latest of what does not go first. Of each lane, and of the grants of each user, what is
/// left is what arrived first.
fn leave_out_the_latest(waiting: &mut Vec<Waiting>, room: usize, firsts: &Firsts) {
    if waiting.len() <= room {
        return;
    }
    let goes_first = |request: &Waiting| {
        let before = request.user_id.and_then(|user| firsts.of_users.get(&user));
        firsts.requests.contains(&request.request_id)
            || request.kind == Kind::GrantCredits.as_str()
                && before.is_some_and(|before| request.seq < *before)
    };
    waiting.sort_by_cached_key(|request| (!goes_first(request), request.seq));
    waiting.truncate(room);
    waiting.sort_unstable_by_key(|request| request.seq);
}

/// Of these arrivals, the last one that a batch with this much room answers.
fn last_with_room(mut arrivals: Vec<i64>, room: usize) -> i64 {
    match room.checked_sub(1) {
        Some(last) if last < arrivals.len() => *arrivals.select_nth_unstable(last).1,
        Some(_) => i64::MAX,
        None => i64::MIN,
    }
}
