//! What owners changed in the catalog, in its turn, and the places that were filled because of it.

use std::collections::BTreeMap;

use seatkeeper_jobs::{SemesterId, SessionId, UserId};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::findings::{About, NotCovered};
use super::history::Change;
use super::replay::{Replay, Step, stop};
use super::rows;
use crate::decide::{self, User};

impl Replay<'_> {
    /// Takes over a change, or works a fill out again.
    pub(super) fn change(&mut self, change: &Change) -> Step {
        let seq = change.change_seq;
        if change.table == "bookings" {
            return self.fill(change);
        }
        self.audit.changes += 1;
        match change.table.as_str() {
            "users" => self.change_user(id(change.key, seq)?, change),
            "semesters" => self.change_semester(id(change.key, seq)?, change),
            "sessions" => self.change_session(id(change.key, seq)?, change),
            table => Err(NotCovered { seq: Some(seq), why: format!("a change of {table}") }),
        }
    }

    fn change_user(&mut self, id: UserId, change: &Change) -> Step {
        let after = change.after.as_ref().and_then(|after| after["is_active"].as_bool());
        let is_active = after.ok_or_else(|| unreadable(change))?;
        self.to_come.remove(&id);
        let balance = self.world.user(id).ok().flatten().map_or(0, |user| user.balance);
        self.world.put_user(id, Some(User { is_active, balance }));
        Ok(())
    }

    fn change_semester(&mut self, id: SemesterId, change: &Change) -> Step {
        let Some(row) = image::<rows::Semester>(change)? else {
            self.world.put_semester(id, None);
            return Ok(());
        };
        let mut semester = row.read().ok_or_else(|| unreadable(change))?;
        if let Ok(Some(now)) = self.world.semester(id) {
            semester.enrolled_count = now.enrolled_count;
        } else {
            self.unseen_semesters.insert(id);
            self.world.put_whole(id);
        }
        self.world.put_semester(id, Some(semester));
        Ok(())
    }

    fn change_session(&mut self, id: SessionId, change: &Change) -> Step {
        let Some(row) = image::<rows::Session>(change)? else {
            self.world.put_session(id, None);
            return Ok(());
        };
        let mut session = row.read();
        if let Ok(Some(now)) = self.world.session(id) {
            session.confirmed_count = now.confirmed_count;
            let is_moved = (session.starts_at, session.ends_at) != (now.starts_at, now.ends_at);
            let is_empty = now.confirmed_count == 0
                && self.world.waiting(id).is_ok_and(|mut waiting| waiting.next().is_none());
            if is_moved && !is_empty {
                let why = format!(
                    "session {id} was moved in time; what becomes of its bookings is decided in the database"
                );
                return Err(NotCovered { seq: Some(change.change_seq), why });
            }
        } else {
            self.unseen_sessions.insert(id);
            self.world.put_queue(id, BTreeMap::new(), None, 0);
        }
        self.world.put_session(id, Some(session));
        Ok(())
    }

    /// A place that was given without a request: it is due to that booking, and to no other.
    fn fill(&mut self, change: &Change) -> Step {
        self.audit.fills += 1;
        let seq = change.change_seq;
        let session = change.after.as_ref().and_then(|after| after["session_id"].as_i64());
        let session_id: SessionId = id(session.ok_or_else(|| unreadable(change))?, seq)?;
        self.see(None, Some(session_id));
        let promoted = decide::fill_marked(&mut self.world, session_id, change.changed_at, 1);
        let promoted = promoted.map_err(|error| stop(seq, &error))?;
        let right = promoted.first().map(|promotion| {
            let (booking, user) = (promotion.booking_id, promotion.user_id);
            json!({ "booking_id": booking, "user_id": user, "session_id": session_id, "status": "CONFIRMED" })
        });
        if change.after != right {
            let about = About::Fill { change_seq: seq, session_id: session_id.get() };
            self.audit.found(about, json!(change.after), json!(right));
        }
        Ok(())
    }
}

/// The row after a change; `None` when it is gone.
fn image<T: DeserializeOwned>(change: &Change) -> Result<Option<T>, NotCovered> {
    change.after.as_ref().map(|after| T::deserialize(after).map_err(|_| unreadable(change))).transpose()
}

fn id<T: TryFrom<i64, Error: ToString>>(number: i64, seq: i64) -> Result<T, NotCovered> {
    number.try_into().map_err(|error: T::Error| NotCovered { seq: Some(seq), why: error.to_string() })
}

fn unreadable(change: &Change) -> NotCovered {
    let why = format!("the record of a change of {} {} cannot be read", change.table, change.key);
    NotCovered { seq: Some(change.change_seq), why }
}
