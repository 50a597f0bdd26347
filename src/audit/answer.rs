//! One answer once more: what the rules look for is put into the world, they decide, and what they say is compared.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::cancel_booking::Which;
use seatkeeper_jobs::{Job, Reason, SemesterId, SessionId};
use serde_json::{Value, json};

use super::findings::About;
use super::history::Asked;
use super::numbers::Fresh;
use super::replay::{Replay, Step, stop};
use crate::decide::{self, Answer, DecideError, Semester, Session, User};

impl Replay {
    /// Works an answer out again.
    pub(super) fn answer(&mut self, asked: &Asked) -> Step {
        self.audit.answers += 1;
        let about = || About::Answer {
            request_id: asked.request_id,
            kind: asked.kind.clone(),
            answer_seq: asked.answer_seq,
        };
        let question = || asked.job.as_ref().map(without_note);
        let (Some(seq), Some(at)) = (asked.answer_seq, asked.finished_at) else {
            let right = json!("an answer has a number and an instant");
            self.audit.found(about(), question(), told(asked), right);
            return Ok(());
        };
        if !self.is_next(seq) {
            let right = json!({ "answer_seq": "a number that nothing else has" });
            self.audit.found(about(), question(), json!({ "answer_seq": seq }), right);
        }
        let Some(job) = &asked.job else {
            let right = json!("no answer: the payload cannot be read");
            self.audit.found(about(), None, told(asked), right);
            return Ok(());
        };
        let fresh = self.prepare(asked, job).map_err(|error| stop(seq, &error))?;
        let hidden = self.hide(asked, job);
        let id = asked.request_id;
        let request = decide::Request { id, job: job.clone(), expires_at: asked.expires_at, at };
        let answer = decide::decide(&mut self.world, &request).map_err(|error| stop(seq, &error))?;
        self.show(hidden);
        self.world.take_back_numbers();
        if let Some(finding) = fresh.and_then(|fresh| self.numbers.was_booked(&self.world, &fresh)) {
            self.audit.add(finding);
        }
        if let (Job::CancelSemester(ask), Answer::Applied(_)) = (job, &answer) {
            self.cancelled_by.insert(ask.semester_id, id);
        }
        if !is_same(asked, &answer) {
            self.audit.found(about(), question(), told(asked), in_words(&answer));
        }
        if is_of_a_lane(asked)
            && let Some(lane) = self.lane(job)
            && let Some(right) = self.went_back(lane, at, seq)
        {
            let (stored, right) = (json!({ "finished_at": at }), json!({ "finished_at": right }));
            self.audit.found(about(), question(), stored, right);
        }
        Ok(())
    }

    /// The semester in whose queue it was.
    fn lane(&self, job: &Job) -> Option<SemesterId> {
        let session = match job {
            Job::Book(ask) => ask.session_id,
            Job::RecordAttendance(ask) => ask.session_id,
            Job::CancelBooking(ask) => match ask.which {
                Which::SessionId(session) => session,
                Which::BookingId(booking) => self.world.booking(booking).ok()?.session_id,
            },
            Job::GrantCredits(_) => return None,
            Job::Enroll(_) | Job::Unenroll(_) | Job::CancelSemester(_) => return job.semester_id(),
        };
        Some(self.world.session(session).ok()??.semester_id)
    }

    /// Puts into the world what the rules will look for, and whatever new the answer may need a number for.
    fn prepare(&mut self, asked: &Asked, job: &Job) -> Result<Option<Fresh>, DecideError> {
        let user = job.user_id();
        if let Some(user) = user {
            if needs_user(asked)
                && let Some(is_active) = self.to_come.remove(&user)
            {
                self.world.put_user(user, Some(User { is_active, balance: 0 }));
            }
            if self.world.user(user).is_err() {
                self.world.put_user(user, None);
            }
        }
        let mut semester = job.semester_id();
        let session = match job {
            Job::Book(ask) => Some(ask.session_id),
            Job::RecordAttendance(ask) => Some(ask.session_id),
            Job::CancelBooking(ask) => match ask.which {
                Which::SessionId(session) => Some(session),
                Which::BookingId(booking) => {
                    let known = self.world.booking(booking).ok().cloned();
                    self.world.put_named(booking, known);
                    None
                }
            },
            _ => None,
        };
        if let Some(session) = session {
            if self.world.session(session).is_err() {
                self.world.put_session(session, None);
            }
            semester = self.world.session(session)?.map(|session| session.semester_id);
        }
        if let Some(semester) = semester
            && self.world.semester(semester).is_err()
        {
            self.world.put_semester(semester, None);
        }
        if let (Some(user), Some(semester)) = (user, semester)
            && self.world.active_enrollment(user, semester).is_err()
        {
            self.world.put_active_enrollment(user, semester, None);
        }
        if let (Some(user), Some(session)) = (user, session) {
            self.world.put_looked(user, session);
            self.world.put_cancelled(user, session, false);
            self.world.put_around(user, DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        }
        match job {
            Job::Enroll(_) => self.numbers.put_enrollment(&mut self.world, asked),
            Job::Book(ask) => return Ok(self.numbers.put_booking(&mut self.world, asked, ask.session_id)),
            _ => {}
        }
        Ok(None)
    }

    /// Takes a row away for this one answer, which says that there is none, when no answer has found it before: it may
    /// have been added by somebody who had not committed yet.
    fn hide(&mut self, asked: &Asked, job: &Job) -> Hidden {
        let mut hidden = Hidden::default();
        let reason = asked.reason.as_deref();
        let session = match job {
            Job::Book(ask) => Some(ask.session_id),
            Job::RecordAttendance(ask) => Some(ask.session_id),
            _ => None,
        };
        let no_semester = reason == Some(Reason::SemesterNotFound.as_str());
        let no_session = reason == Some(Reason::SessionNotFound.as_str());
        if let Some(id) = job.semester_id().filter(|id| no_semester && self.unseen_semesters.contains(id)) {
            hidden.semester = self.world.semester(id).ok().flatten().cloned().map(|semester| (id, semester));
            self.world.put_semester(id, None);
        } else if let Some(id) = session.filter(|id| no_session && self.unseen_sessions.contains(id)) {
            hidden.session = self.world.session(id).ok().flatten().cloned().map(|session| (id, session));
            self.world.put_session(id, None);
        } else if reason != Some(Reason::RequestExpired.as_str()) {
            self.see(job.semester_id(), session);
        }
        hidden
    }

    fn show(&mut self, hidden: Hidden) {
        if let Some((id, semester)) = hidden.semester {
            self.world.put_semester(id, Some(semester));
        }
        if let Some((id, session)) = hidden.session {
            self.world.put_session(id, Some(session));
        }
    }

    /// Takes note of what an answer, or a fill, has found.
    pub(super) fn see(&mut self, semester: Option<SemesterId>, session: Option<SessionId>) {
        if let Some(session) = session {
            self.unseen_sessions.remove(&session);
        }
        if let Some(semester) = semester {
            self.unseen_semesters.remove(&semester);
        }
    }
}

/// Rows that are not there for the moment.
#[derive(Default)]
struct Hidden {
    semester: Option<(SemesterId, Semester)>,
    session: Option<(SessionId, Session)>,
}

/// Whether an answer shows that its user is there: it does unless it was given before anybody looked.
fn needs_user(asked: &Asked) -> bool {
    let before = [
        Reason::RequestExpired,
        Reason::SemesterNotFound,
        Reason::SessionNotFound,
        Reason::UserNotFound,
        Reason::BookingNotFound,
    ];
    !before.iter().any(|reason| asked.reason.as_deref() == Some(reason.as_str()))
}

/// Whether it was surely decided under the lock of its semester: of what is not there nobody holds a lock.
fn is_of_a_lane(asked: &Asked) -> bool {
    let without =
        [Reason::RequestExpired, Reason::SemesterNotFound, Reason::SessionNotFound, Reason::BookingNotFound];
    !without.iter().any(|reason| asked.reason.as_deref() == Some(reason.as_str()))
}

/// What was asked; a note is nobody's business here.
fn without_note(job: &Job) -> Value {
    let mut payload = job.payload();
    if let Some(fields) = payload.as_object_mut() {
        fields.remove("note");
    }
    payload
}

/// A position in a waitlist is a hint: whether there is one is compared, not which.
fn without_hint(mut result: Value) -> Value {
    if let Some(position) = result.get_mut("waitlist_position")
        && position.as_i64().is_some_and(|position| position >= 1)
    {
        *position = Value::from(1);
    }
    result
}

fn is_same(asked: &Asked, answer: &Answer) -> bool {
    if asked.status != DONE {
        return false;
    }
    let (outcome, reason) = (asked.outcome.as_deref(), asked.reason.as_deref());
    match answer {
        Answer::Applied(applied) => {
            (outcome, reason) == (Some("applied"), None)
                && asked.result.clone().map(without_hint) == Some(without_hint(json!(applied)))
        }
        // A refusal need not explain itself: one that a guard of the database gave does not.
        Answer::Refused(why, figures) => {
            (outcome, reason) == (Some("refused"), Some(why.as_str()))
                && (asked.result.is_none() || asked.result == *figures)
        }
    }
}

const DONE: &str = "done";

fn told(asked: &Asked) -> Value {
    let mut told = json!({ "outcome": asked.outcome, "reason": asked.reason, "result": asked.result });
    if asked.status != DONE {
        told["status"] = json!(asked.status);
    }
    told
}

fn in_words(answer: &Answer) -> Value {
    match answer {
        Answer::Applied(applied) => json!({ "outcome": "applied", "reason": null, "result": applied }),
        Answer::Refused(reason, why) => json!({ "outcome": "refused", "reason": reason, "result": why }),
    }
}
