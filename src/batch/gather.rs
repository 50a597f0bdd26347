//! The prefetch of a batch as a whole: what is locked and read, in which order, and what has to be left for a later batch.
//!
//! Sessions, then users, each ascending; nothing is ever locked out of order. A cautious batch does not wait for what
//! somebody else holds: requests that need it are left out, and with them the rest of their lanes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use seatkeeper_jobs::cancel_booking::Which;
use seatkeeper_jobs::{Job, SemesterId, SessionId, UserId};
use sqlx::PgConnection;

use super::claim::Waiting;
use super::needs::{self, Needs};
use super::places::{self, Head, Sessions, Wanted};
use super::{BatchError, Claim, Claimed, Order, prefetch};
use crate::decide::{BookingStatus, World};
use crate::failpoint::fail_point;

/// The most places that one batch gives in a session where many came free at once. The rest is for the next batch, and
/// so are the requests about the session.
const MOST_AT_ONCE: usize = 1_000;

/// The latest decision of each lane that is there.
pub(super) type Clocks = HashMap<SemesterId, Option<DateTime<Utc>>>;

/// A session to be filled before the requests are answered.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) session_id: SessionId,
    pub(super) semester_id: SemesterId,
    /// The marks that asked for it.
    pub(super) marks: Vec<i64>,
    /// The most places that it gives.
    pub(super) most: usize,
    /// How many are known to wait.
    pub(super) waiting: usize,
}

/// What goes with the world.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) clocks: Clocks,
    pub(super) fills: Vec<Fill>,
    /// Marks of sessions that are not there any more.
    pub(super) void_marks: Vec<i64>,
}

/// Requests that have to wait for a later batch, and the lanes that wait with them: nobody overtakes within a lane.
#[derive(Debug, Default)]
pub(super) struct Barred {
    /// From this arrival on, requests of the user.
    pub(super) users: HashMap<i64, i64>,
    lanes: HashSet<i64>,
}

impl Barred {
    pub(super) fn from_grants(users: HashMap<i64, i64>) -> Self {
        Self { users, lanes: HashSet::new() }
    }

    pub(super) fn admits(&mut self, request: &Waiting, needs_more: bool) -> bool {
        if request.semester_id.is_some_and(|lane| self.lanes.contains(&lane)) {
            return false;
        }
        let user_waits =
            request.user_id.and_then(|user| self.users.get(&user)).is_some_and(|from| request.seq >= *from);
        let waits = user_waits || needs_more;
        if waits && let Some(lane) = request.semester_id {
            self.lanes.insert(lane);
        }
        !waits
    }
}

/// Locks and reads what the batch needs, and takes out of it what cannot be decided in it.
pub(super) async fn gather(
    connection: &mut PgConnection,
    order: &Order,
    claim: &mut Claim,
    mut needs: Needs,
    world: &mut World,
) -> Result<Gathered, BatchError> {
    needs::find_leaving(&mut *connection, &claim.batch, &mut needs).await?;
    fail_point!("needs.leaving");
    let mut marks: BTreeMap<SessionId, Vec<i64>> = BTreeMap::new();
    for mark in &claim.marks {
        marks.entry(prefetch::id(mark.session_id)?).or_default().push(mark.mark_id);
    }

    let jobs = claim.batch.iter().filter_map(|claimed| claimed.job.as_ref());
    let mut wanted: BTreeSet<SessionId> = jobs.flat_map(|job| needs.sessions(job)).collect();
    wanted.extend(marks.keys());
    let sessions = places::lock_sessions(&mut *connection, &wanted, order.cautious).await?;
    fail_point!("places.sessions");
    leave_out(&mut claim.batch, &needs, &sessions.busy, &HashSet::new());
    marks.retain(|session, _| !sessions.busy.contains(session));

    let able = places_to_give(&claim.batch, &needs, &sessions, &marks, order.window);
    let mut heads = places::read_heads(&mut *connection, &able).await?;
    fail_point!("places.heads");
    let mut gathered = Gathered::default();
    let full = plan_fills(&sessions, &heads, marks, &mut gathered);
    leave_out(&mut claim.batch, &needs, &full, &HashSet::new());

    lock_users(&mut *connection, order, claim, &needs, &mut heads, &mut gathered, world).await?;
    fail_point!("prefetch.users");
    read_lanes(&mut *connection, claim, &needs, &heads, &mut gathered, world).await?;
    fail_point!("prefetch.lanes");
    read_places(connection, &claim.batch, &needs, sessions, heads, world).await?;
    fail_point!("prefetch.places");
    Ok(gathered)
}

/// Takes out the requests that need what this batch cannot have.
fn leave_out(
    batch: &mut Vec<Claimed>,
    needs: &Needs,
    sessions: &HashSet<SessionId>,
    users: &HashSet<UserId>,
) {
    if sessions.is_empty() && users.is_empty() {
        return;
    }
    let mut barred = Barred::from_grants(users.iter().map(|user| (user.get(), i64::MIN)).collect());
    batch.retain(|claimed| {
        let needs_more = claimed.job.as_ref().is_some_and(|job| {
            let everybody = match job {
                Job::CancelSemester(ask) => needs.everybody_in.get(&ask.semester_id),
                _ => None,
            };
            needs.sessions(job).iter().any(|session| sessions.contains(session))
                || everybody.is_some_and(|everybody| everybody.iter().any(|user| users.contains(user)))
        });
        barred.admits(&claimed.waiting, needs_more)
    });
}

/// For each session that is filled in this batch, the number of waiters that could get a place, and a few more.
fn places_to_give(
    batch: &[Claimed],
    needs: &Needs,
    sessions: &Sessions,
    marks: &BTreeMap<SessionId, Vec<i64>>,
    window: usize,
) -> BTreeMap<SessionId, usize> {
    let mut coming_free: BTreeMap<SessionId, usize> = marks.keys().map(|session| (*session, 0)).collect();
    for job in batch.iter().filter_map(|claimed| claimed.job.as_ref()) {
        let places = match job {
            Job::Book(_) => 0,
            Job::CancelBooking(_) | Job::Unenroll(_) => 1,
            _ => continue,
        };
        for session in needs.sessions(job) {
            *coming_free.entry(session).or_default() += places;
        }
    }
    let wanted = coming_free.into_iter().filter_map(|(id, coming_free)| {
        let locked = sessions.locked.get(&id)?;
        let places = locked.free().min(MOST_AT_ONCE) + coming_free;
        Some((id, if places == 0 || !locked.can_be_filled() { 0 } else { places.saturating_add(window) }))
    });
    wanted.collect()
}

/// Which sessions are filled before the requests are answered; gives those that stay full of work after it.
fn plan_fills(
    sessions: &Sessions,
    heads: &HashMap<SessionId, Head>,
    mut marks: BTreeMap<SessionId, Vec<i64>>,
    gathered: &mut Gathered,
) -> HashSet<SessionId> {
    let mut full = HashSet::new();
    for (session, head) in heads {
        let Some(locked) = sessions.locked.get(session) else { continue };
        if locked.free() > MOST_AT_ONCE && head.able > MOST_AT_ONCE {
            full.insert(*session);
            marks.entry(*session).or_default();
        }
    }
    for (session_id, marks) in marks {
        match sessions.locked.get(&session_id) {
            Some(locked) => {
                let is_full = full.contains(&session_id);
                gathered.fills.push(Fill {
                    session_id,
                    semester_id: locked.session.semester_id,
                    // With places and takers left over, the session stays marked.
                    marks: if is_full { Vec::new() } else { marks },
                    most: if is_full { MOST_AT_ONCE } else { usize::MAX },
                    waiting: heads.get(&session_id).map_or(0, |head| head.candidates.len()),
                });
            }
            None => gathered.void_marks.extend(marks),
        }
    }
    full
}

/// Locks the users of the requests that are left, and those who may get a place.
async fn lock_users(
    connection: &mut PgConnection,
    order: &Order,
    claim: &mut Claim,
    needs: &Needs,
    heads: &mut HashMap<SessionId, Head>,
    gathered: &mut Gathered,
    world: &mut World,
) -> Result<(), BatchError> {
    let jobs = claim.batch.iter().filter_map(|claimed| claimed.job.as_ref());
    let mut wanted: BTreeSet<UserId> = BTreeSet::new();
    for job in jobs {
        wanted.extend(job.user_id());
        if let Job::CancelSemester(ask) = job {
            wanted.extend(needs.everybody_in.get(&ask.semester_id).into_iter().flatten());
        }
    }
    wanted.extend(heads.values().flat_map(|head| &head.candidates).map(|candidate| candidate.user_id));
    let mut users = prefetch::lock_users(connection, &wanted, order.cautious).await?;
    if !users.busy.is_empty() {
        let waited_for = |head: &Head| head.candidates.iter().any(|one| users.busy.contains(&one.user_id));
        let sessions: HashSet<SessionId> =
            heads.iter().filter(|(_, head)| waited_for(head)).map(|(session, _)| *session).collect();
        leave_out(&mut claim.batch, needs, &sessions, &users.busy);
        gathered.fills.retain(|fill| !sessions.contains(&fill.session_id));
        heads.retain(|session, _| !sessions.contains(session));
    }
    for user in wanted {
        if !users.busy.contains(&user) {
            world.put_user(user, users.locked.remove(&user));
        }
    }
    Ok(())
}

/// Reads the semesters, and who is enrolled in them.
async fn read_lanes(
    connection: &mut PgConnection,
    claim: &mut Claim,
    needs: &Needs,
    heads: &HashMap<SessionId, Head>,
    gathered: &mut Gathered,
    world: &mut World,
) -> Result<(), BatchError> {
    let lane_of = |claimed: &Claimed| claimed.job.as_ref().and_then(|job| needs.lane(job));
    let mut semesters: BTreeSet<SemesterId> = claim.batch.iter().filter_map(lane_of).collect();
    semesters.extend(gathered.fills.iter().map(|fill| fill.semester_id));
    let mut found = prefetch::read_semesters(&mut *connection, &semesters).await?;
    // Claimed by its own lock because there was no semester: if there is one now, its lane is not ours.
    claim.batch.retain(|claimed| {
        lane_of(claimed).is_none_or(|lane| !found.contains_key(&lane) || claim.held.contains(&lane.get()))
    });

    let mut pairs: BTreeSet<(UserId, SemesterId)> = BTreeSet::new();
    let mut whole: BTreeSet<SemesterId> = BTreeSet::new();
    for job in claim.batch.iter().filter_map(|claimed| claimed.job.as_ref()) {
        if let (Some(user), Some(semester)) = (job.user_id(), needs.lane(job)) {
            pairs.insert((user, semester));
        }
        if let Job::CancelSemester(ask) = job {
            whole.insert(ask.semester_id);
        }
    }
    let semester_of = |session| needs.semester_of.get(session).copied();
    let filled: HashMap<SessionId, SemesterId> =
        gathered.fills.iter().map(|fill| (fill.session_id, fill.semester_id)).collect();
    for (session, head) in heads {
        let Some(semester) = semester_of(session).or_else(|| filled.get(session).copied()) else { continue };
        pairs.extend(head.candidates.iter().map(|candidate| (candidate.user_id, semester)));
    }
    for semester in &whole {
        let everybody = needs.everybody_in.get(semester).into_iter().flatten();
        pairs.extend(everybody.map(|user| (*user, *semester)));
        world.put_whole(*semester);
    }
    let mut enrollments = prefetch::read_enrollments(connection, &pairs).await?;
    for (user, semester) in pairs {
        world.put_active_enrollment(user, semester, enrollments.remove(&(user, semester)));
    }
    for semester in semesters {
        let lane = found.remove(&semester);
        if let Some(lane) = &lane {
            gathered.clocks.insert(semester, lane.last_decided_at);
        }
        world.put_semester(semester, lane.map(|lane| lane.semester));
    }
    Ok(())
}

/// Reads the bookings that the answers can depend on or change, and puts the sessions with their waitlists into the world.
async fn read_places(
    connection: &mut PgConnection,
    batch: &[Claimed],
    needs: &Needs,
    mut sessions: Sessions,
    heads: HashMap<SessionId, Head>,
    world: &mut World,
) -> Result<(), BatchError> {
    let mut wanted = Wanted::default();
    let mut joined: BTreeSet<SessionId> = BTreeSet::new();
    let mut cancelling: BTreeSet<(UserId, SessionId)> = BTreeSet::new();
    let mut attending: BTreeSet<(UserId, SessionId)> = BTreeSet::new();
    for job in batch.iter().filter_map(|claimed| claimed.job.as_ref()) {
        match job {
            Job::Book(ask) => {
                if let Some(locked) = sessions.locked.get(&ask.session_id) {
                    wanted.taker(ask.user_id, ask.session_id, &locked.session);
                    joined.insert(ask.session_id);
                }
            }
            Job::CancelBooking(ask) => match ask.which {
                Which::SessionId(session) => {
                    wanted.pairs.insert((ask.user_id, session));
                    cancelling.insert((ask.user_id, session));
                }
                Which::BookingId(booking) => {
                    wanted.named.insert(booking);
                }
            },
            Job::RecordAttendance(ask) => {
                wanted.pairs.insert((ask.user_id, ask.session_id));
                attending.insert((ask.user_id, ask.session_id));
            }
            Job::Unenroll(ask) => {
                wanted.pairs.extend(needs.sessions(job).into_iter().map(|session| (ask.user_id, session)));
            }
            Job::CancelSemester(_) => wanted.sessions.extend(needs.sessions(job)),
            Job::Enroll(_) | Job::GrantCredits(_) => {}
        }
        if let Some(session) = needs.session(job)
            && !sessions.locked.contains_key(&session)
        {
            world.put_session(session, None);
        }
    }
    for (session, head) in &heads {
        let Some(locked) = sessions.locked.get(session) else { continue };
        for candidate in &head.candidates {
            wanted.taker(candidate.user_id, *session, &locked.session);
        }
    }

    let bookings = places::read_bookings(&mut *connection, &wanted).await?;
    let waiting: HashSet<_> = bookings
        .iter()
        .filter(|booking| booking.status == BookingStatus::Waitlisted)
        .map(|booking| booking.booking_id)
        .collect();
    let ever = places::read_cancelled(&mut *connection, &cancelling).await?;
    let attended: Vec<i64> = bookings
        .iter()
        .filter(|booking| attending.contains(&(booking.user_id, booking.session_id)))
        .map(|booking| booking.booking_id.get())
        .collect();
    let attendance = places::read_attendance(&mut *connection, &attended).await?;
    let counts = places::count_waiting(connection, &joined).await?;

    for &(user, session) in &wanted.pairs {
        world.put_looked(user, session);
    }
    for (&user, &(from, until)) in &wanted.around {
        world.put_around(user, from, until);
    }
    for pair in cancelling {
        world.put_cancelled(pair.0, pair.1, ever.contains(&pair));
    }
    for booking in attended.into_iter().filter_map(|booking| booking.try_into().ok()) {
        world.put_attendance(booking, attendance.get(&booking).copied());
    }
    for id in wanted.named {
        world.put_named(id, bookings.iter().find(|booking| booking.booking_id == id).cloned());
    }
    for booking in bookings {
        world.put_booking(booking);
    }
    for (session, head) in heads {
        let still_there = head.candidates.iter().filter(|one| waiting.contains(&one.booking_id));
        let queue = still_there.map(|one| (one.ticket, one.booking_id)).collect();
        world.put_queue(session, queue, head.unread_after, counts.get(&session).copied().unwrap_or(0));
    }
    for (id, locked) in sessions.locked.drain() {
        world.put_session(id, Some(locked.session));
    }
    Ok(())
}
