//! The whole history once more, one thing at a time, in one world that grows with it.

use std::collections::{HashMap, HashSet};

use seatkeeper_jobs::{Reason, SemesterId, SessionId, UserId};

use super::end;
use super::findings::{Audit, NotCovered};
use super::history::History;
use super::numbers::Numbers;
use crate::decide::{DecideError, User, World};

/// Works it all out again and compares.
pub(super) fn replay(history: &History) -> Audit {
    let mut replay = Replay::new(history);
    match replay.run() {
        Ok(()) => end::compare(history, replay.world, &mut replay.audit),
        Err(stop) => replay.audit.not_covered = Some(stop),
    }
    replay.audit
}

/// The replay as far as it is.
pub(super) struct Replay<'a> {
    history: &'a History,
    pub(super) world: World,
    pub(super) audit: Audit,
    pub(super) numbers: Numbers,
    /// Users who were told that there is no such user, as long as nothing shows them to be there; whether they are active.
    /// Nobody records when a user is added.
    pub(super) to_come: HashMap<UserId, bool>,
    /// Rows that were added, and that no answer has found yet.
    pub(super) unseen_semesters: HashSet<SemesterId>,
    pub(super) unseen_sessions: HashSet<SessionId>,
}

/// A thing that was worked out again, or where that cannot be.
pub(super) type Step = Result<(), NotCovered>;

impl<'a> Replay<'a> {
    fn new(history: &'a History) -> Self {
        let mut replay = Self {
            history,
            world: World::default(),
            audit: Audit::default(),
            numbers: Numbers::of(history),
            to_come: HashMap::new(),
            unseen_semesters: HashSet::new(),
            unseen_sessions: HashSet::new(),
        };
        replay.put_users();
        replay
    }

    /// Everybody with nothing, and as active as before the first change of that.
    fn put_users(&mut self) {
        let mut at_first: HashMap<i64, bool> = HashMap::new();
        for change in self.history.changes.iter().filter(|change| change.table == "users") {
            if let Some(before) = change.before.as_ref().and_then(|before| before["is_active"].as_bool()) {
                at_first.entry(change.key).or_insert(before);
            }
        }
        let told_none = Reason::UserNotFound.as_str();
        let told = self.history.requests.iter().filter(|asked| asked.reason.as_deref() == Some(told_none));
        let told: HashSet<UserId> = told.filter_map(|asked| asked.job.as_ref()?.user_id()).collect();
        for (&id, user) in &self.history.users {
            let is_active = at_first.get(&id.get()).copied().unwrap_or(user.is_active);
            if told.contains(&id) {
                self.to_come.insert(id, is_active);
                self.world.put_user(id, None);
            } else {
                self.world.put_user(id, Some(User { is_active, balance: 0 }));
            }
        }
    }

    fn run(&mut self) -> Step {
        let history = self.history;
        if history.removed > 0 {
            let why = format!("{} answers are not kept any more", history.removed);
            return Err(NotCovered { seq: None, why });
        }
        let mut changes = history.changes.iter().peekable();
        for asked in &history.requests {
            while let Some(change) = changes.next_if(|change| change.change_seq < asked.answer_seq) {
                self.change(change)?;
            }
            self.answer(asked)?;
        }
        changes.try_for_each(|change| self.change(change))?;
        // Whom no answer has found, nothing has happened to.
        for (id, is_active) in self.to_come.drain() {
            self.world.put_user(id, Some(User { is_active, balance: 0 }));
        }
        Ok(())
    }
}

/// The rules give no answer: the world is of no further use.
pub(super) fn stop(seq: i64, error: &DecideError) -> NotCovered {
    NotCovered { seq: Some(seq), why: format!("the rules cannot go on: {error}") }
}
