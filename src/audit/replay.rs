//! The whole history once more, one thing at a time, in one world that grows with it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use seatkeeper_jobs::{SemesterId, SessionId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::end::{self, End};
use super::findings::{Audit, NotCovered};
use super::history::{Before, Event, events};
use super::numbers::Numbers;
use super::rows::Semester;
use super::{Progress, STRIDE};
use crate::decide::{DecideError, User, World};

/// Works it all out again and compares.
pub(super) async fn replay(
    connection: &mut PgConnection,
    watch: &mut impl FnMut(Progress),
) -> sqlx::Result<Audit> {
    let mut before = Before::read(connection).await?;
    let files = std::mem::take(&mut before.files);
    let (removed, total) = (before.removed, u64::try_from(before.events).unwrap_or_default());
    let mut replay = Replay::new(before);
    replay.audit.files = Some(files);
    let stopped = if removed > 0 {
        let why =
            format!("{removed} answers are not kept any more (retention), and the rest depends on them");
        Some(NotCovered { seq: None, why })
    } else {
        replay.run(connection, total, watch).await?
    };
    let Replay { world, mut audit, users, semesters, sessions, cancelled_by, .. } = replay;
    if stopped.is_none() {
        watch(Progress::Comparing { done: 0, total: 0 });
        let end = End { world, users, semesters, cancelled_by, sessions: sessions.into_iter().collect() };
        end::compare(connection, end, &mut audit, watch).await?;
    }
    audit.not_covered = stopped;
    Ok(audit)
}

/// The replay as far as it is.
pub(super) struct Replay {
    pub(super) world: World,
    pub(super) audit: Audit,
    pub(super) numbers: Numbers,
    /// Everybody, ascending.
    users: Vec<UserId>,
    /// Users who were told that there is no such user, as long as nothing shows them to be there; whether they are active.
    /// Nobody records when a user is added.
    pub(super) to_come: HashMap<UserId, bool>,
    /// As their owners wrote them last.
    pub(super) semesters: BTreeMap<SemesterId, Semester>,
    pub(super) sessions: BTreeSet<SessionId>,
    /// Which request cancelled a semester last.
    pub(super) cancelled_by: HashMap<SemesterId, Uuid>,
    /// Rows that were added, and that no answer has found yet.
    pub(super) unseen_semesters: HashSet<SemesterId>,
    pub(super) unseen_sessions: HashSet<SessionId>,
    /// The instant of the latest decision in a semester, and its place in the order.
    clocks: HashMap<SemesterId, (DateTime<Utc>, i64)>,
    /// The place of the latest event.
    latest: Option<i64>,
}

/// A thing that was worked out again, or where that cannot be.
pub(super) type Step = Result<(), NotCovered>;

impl Replay {
    /// Everybody with nothing, and as active as before the first change of that.
    fn new(before: Before) -> Self {
        let mut replay = Self {
            world: World::default(),
            audit: Audit::default(),
            numbers: Numbers::of(before.enrollments, before.bookings),
            users: Vec::with_capacity(before.users.len()),
            to_come: HashMap::new(),
            semesters: BTreeMap::new(),
            sessions: BTreeSet::new(),
            cancelled_by: HashMap::new(),
            unseen_semesters: HashSet::new(),
            unseen_sessions: HashSet::new(),
            clocks: HashMap::new(),
            latest: None,
        };
        for (number, is_active) in before.users {
            let Ok(id) = UserId::new(number) else { continue };
            let is_active = before.active_at_first.get(&number).copied().unwrap_or(is_active);
            replay.users.push(id);
            if before.told_none.contains(&id) {
                replay.to_come.insert(id, is_active);
                replay.world.put_user(id, None);
            } else {
                replay.world.put_user(id, Some(User { is_active, balance: 0 }));
            }
        }
        replay
    }

    async fn run(
        &mut self,
        connection: &mut PgConnection,
        total: u64,
        watch: &mut impl FnMut(Progress),
    ) -> sqlx::Result<Option<NotCovered>> {
        let mut events = std::pin::pin!(events(connection));
        let mut done = 0;
        // What one statement changed takes effect together.
        let mut changes = Vec::new();
        loop {
            let next = events.try_next().await?;
            let statement = changes.first().map(|change: &super::history::Change| change.statement_seq);
            let is_more = match &next {
                Some(Event::Changed(change)) => statement == Some(change.statement_seq),
                _ => false,
            };
            if !is_more && let Err(stop) = self.changes(&std::mem::take(&mut changes)) {
                return Ok(Some(stop));
            }
            match next {
                None => break,
                Some(Event::Changed(change)) => changes.push(*change),
                Some(Event::Answered(asked)) => {
                    if let Err(stop) = self.answer(&asked) {
                        self.audit.answers -= 1;
                        return Ok(Some(stop));
                    }
                }
            }
            done += 1;
            if u64::is_multiple_of(done, STRIDE) {
                watch(Progress::Replaying { done, total });
            }
        }
        // Whom no answer has found, nothing has happened to.
        for (id, is_active) in self.to_come.drain() {
            self.world.put_user(id, Some(User { is_active, balance: 0 }));
        }
        Ok(None)
    }

    /// Whether this place in the order is behind the latest.
    pub(super) fn is_next(&mut self, seq: i64) -> bool {
        self.latest.replace(seq).is_none_or(|latest| latest < seq)
    }

    /// The clock of a semester never goes back. If it does: what is right, in words.
    pub(super) fn went_back(&mut self, lane: SemesterId, at: DateTime<Utc>, seq: i64) -> Option<String> {
        let (latest, before) = *self.clocks.entry(lane).or_insert((at, seq));
        if latest <= at {
            self.clocks.insert(lane, (at, seq));
            return None;
        }
        Some(format!("not before {latest:?}, when number {before} was decided in semester {lane}"))
    }
}

/// The rules give no answer: the world is of no further use.
pub(super) fn stop(seq: i64, error: &DecideError) -> NotCovered {
    NotCovered { seq: Some(seq), why: format!("the rules cannot go on: {error}") }
}
