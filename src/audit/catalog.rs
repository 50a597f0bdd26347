//! What owners changed in the catalog, in its turn, and the places that were filled because of it.

use std::collections::{BTreeMap, BTreeSet};

use seatkeeper_jobs::{SemesterId, SessionId, UserId};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::findings::{About, NotCovered};
use super::history::Change;
use super::replay::{Replay, Step, stop};
use super::rows;
use crate::decide::{self, User};

impl Replay {
    /// Takes over the changes that one statement made, or works a fill out again.
    pub(super) fn changes(&mut self, changes: &[Change]) -> Step {
        let Some(first) = changes.first() else { return Ok(()) };
        if !self.is_next(first.statement_seq) {
            let right = json!("a number that nothing else has");
            self.audit.found(about(first), None, json!(first.statement_seq), right);
        }
        let mut moved = BTreeSet::new();
        for change in changes {
            if change.table == "bookings" {
                self.fill(change)?;
                continue;
            }
            self.audit.changes += 1;
            let seq = change.change_seq;
            match change.table.as_str() {
                "users" => self.change_user(id(change.key, seq)?, change)?,
                "semesters" => self.change_semester(id(change.key, seq)?, change)?,
                "sessions" => moved.extend(self.change_session(id(change.key, seq)?, change)?),
                table => return Err(NotCovered { seq: Some(seq), why: format!("a change of {table}") }),
            }
        }
        // They are where they are now before anybody's bookings follow.
        if !moved.is_empty() {
            let followed = self.world.move_bookings(&moved, first.changed_at);
            followed.map_err(|error| stop(first.change_seq, &error))?;
        }
        Ok(())
    }

    fn change_user(&mut self, id: UserId, change: &Change) -> Step {
        let says = |image: &Option<Value>| image.as_ref()?["is_active"].as_bool();
        let is_active = says(&change.after).ok_or_else(|| unreadable(change))?;
        let to_come = self.to_come.remove(&id);
        let user = self.world.user(id).ok().flatten();
        let balance = user.map_or(0, |user| user.balance);
        let was = user.map(|user| user.is_active).or(to_come);
        self.began(change, says(&change.before), was);
        self.world.put_user(id, Some(User { is_active, balance }));
        Ok(())
    }

    fn change_semester(&mut self, id: SemesterId, change: &Change) -> Step {
        let now = self.world.semester(id).ok().flatten();
        let written = self.semesters.get(&id).cloned().zip(now);
        let was = written.map(|(written, now)| written.after(now, None).image());
        let count = now.map(|now| now.enrolled_count);
        self.began(change, image::<rows::Semester>(change, change.before.as_ref())?, was);
        let Some(row) = image::<rows::Semester>(change, change.after.as_ref())? else {
            self.world.put_semester(id, None);
            self.semesters.remove(&id);
            return Ok(());
        };
        let mut semester = row.read().ok_or_else(|| unreadable(change))?;
        if let Some(count) = count {
            semester.enrolled_count = count;
        } else {
            self.unseen_semesters.insert(id);
            self.world.put_whole(id);
        }
        self.world.put_semester(id, Some(semester));
        self.semesters.insert(id, row);
        Ok(())
    }

    /// Gives the session when it is at another time now.
    fn change_session(&mut self, id: SessionId, change: &Change) -> Result<Option<SessionId>, NotCovered> {
        let now = self.world.session(id).ok().flatten().cloned();
        let was = now.as_ref().map(|now| rows::Session::from(now).image());
        self.began(change, image::<rows::Session>(change, change.before.as_ref())?, was);
        let Some(row) = image::<rows::Session>(change, change.after.as_ref())? else {
            self.world.put_session(id, None);
            self.sessions.remove(&id);
            return Ok(None);
        };
        let mut session = row.read();
        let mut moved = None;
        if let Some(now) = now {
            session.confirmed_count = now.confirmed_count;
            let is_moved = (session.starts_at, session.ends_at) != (now.starts_at, now.ends_at);
            moved = is_moved.then_some(id);
        } else {
            self.unseen_sessions.insert(id);
            self.world.put_queue(id, BTreeMap::new(), None, 0);
        }
        self.world.put_session(id, Some(session));
        self.sessions.insert(id);
        Ok(moved)
    }

    /// A change begins with the row as the one before it, or a request, has left it.
    fn began<T: PartialEq + serde::Serialize>(
        &mut self,
        change: &Change,
        recorded: Option<T>,
        was: Option<T>,
    ) {
        if recorded != was {
            self.audit.found(about(change), None, json!({ "before": recorded }), json!({ "before": was }));
        }
    }

    /// A place that was given without a request: it is due to that booking, and to no other.
    fn fill(&mut self, change: &Change) -> Step {
        self.audit.fills += 1;
        let seq = change.change_seq;
        let session = change.after.as_ref().and_then(|after| after["session_id"].as_i64());
        let session_id: SessionId = id(session.ok_or_else(|| unreadable(change))?, seq)?;
        self.see(None, Some(session_id));
        let at = change.changed_at;
        let promoted = decide::fill_marked(&mut self.world, session_id, at, 1);
        let promoted = promoted.map_err(|error| stop(seq, &error))?;
        let image = |status: &str| {
            let promotion = promoted.first()?;
            let (booking, user) = (promotion.booking_id, promotion.user_id);
            Some(
                json!({ "booking_id": booking, "user_id": user, "session_id": session_id, "status": status }),
            )
        };
        let about = || About::Fill { change_seq: seq, session_id: session_id.get() };
        let (before, after) = (image("WAITLISTED"), image("CONFIRMED"));
        if change.after != after {
            self.audit.found(about(), None, json!(change.after), json!(after));
        } else if change.before != before {
            self.audit.found(about(), None, json!({ "before": change.before }), json!({ "before": before }));
        }
        let lane = self.world.session(session_id).ok().flatten().map(|session| session.semester_id);
        if let Some(right) = lane.and_then(|lane| self.went_back(lane, at, seq)) {
            self.audit.found(about(), None, json!({ "changed_at": at }), json!({ "changed_at": right }));
        }
        Ok(())
    }
}

fn about(change: &Change) -> About {
    About::Change { change_seq: change.change_seq, table: change.table.clone(), key: change.key }
}

/// The row before or after a change; `None` when it is not there.
fn image<T: DeserializeOwned>(change: &Change, image: Option<&Value>) -> Result<Option<T>, NotCovered> {
    image.map(|image| T::deserialize(image).map_err(|_| unreadable(change))).transpose()
}

fn id<T: TryFrom<i64, Error: ToString>>(number: i64, seq: i64) -> Result<T, NotCovered> {
    number.try_into().map_err(|error: T::Error| NotCovered { seq: Some(seq), why: error.to_string() })
}

fn unreadable(change: &Change) -> NotCovered {
    let why = format!("the record of a change of {} {} cannot be read", change.table, change.key);
    NotCovered { seq: Some(change.change_seq), why }
}
