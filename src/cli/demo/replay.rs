//! The rules once more, as plain as they can be: one request after the other, no batches, no database.
//!
//! The workers' answers have to be the same as these. It knows only what the demo asks for.

use std::collections::HashMap;

use seatkeeper_jobs::{Applied, Job, Reason};

/// What a semester is, for the replay.
#[derive(Debug, Clone, Copy)]
pub struct Semester {
    /// Places; `None` = unlimited.
    pub places: Option<i64>,
    /// Credits for a place.
    pub cost: i64,
    /// Percent of the price that come back.
    pub refund_percent: i64,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done: credits moved (negative = charged), credits left.
    Applied { moved: i64, balance: i64 },
    /// Refused.
    Refused(Reason),
}

impl Answer {
    /// What a stored answer comes to.
    pub fn of(applied: &Applied, job: &Job) -> Option<Self> {
        match (applied, job) {
            (Applied::Enroll(done), _) => Some(Self::Applied { moved: -done.charged, balance: done.balance }),
            (Applied::Unenroll(done), _) => {
                Some(Self::Applied { moved: done.refunded, balance: done.balance })
            }
            (Applied::GrantCredits(done), Job::GrantCredits(asked)) => {
                Some(Self::Applied { moved: asked.amount.get(), balance: done.balance })
            }
            _ => None,
        }
    }
}

/// Everything that the rules look at.
#[derive(Debug, Default)]
pub struct Replay {
    pub semesters: HashMap<i64, Semester>,
    /// User → credits; whoever is not in here does not exist.
    pub balances: HashMap<i64, i64>,
    /// User and semester → price paid.
    active: HashMap<(i64, i64), i64>,
    taken: HashMap<i64, i64>,
}

impl Replay {
    /// Decides one request; `None` for what the demo never asks.
    pub fn decide(&mut self, job: &Job) -> Option<Answer> {
        let user = job.user_id()?.get();
        let semester = match job.semester_id() {
            Some(id) => match self.semesters.get(&id.get()) {
                Some(semester) => Some((id.get(), *semester)),
                None => return Some(Answer::Refused(Reason::SemesterNotFound)),
            },
            None => None,
        };
        let Some(&balance) = self.balances.get(&user) else {
            return Some(Answer::Refused(Reason::UserNotFound));
        };
        match (job, semester) {
            (Job::Enroll(_), Some((id, semester))) => {
                let taken = self.taken.entry(id).or_default();
                if self.active.contains_key(&(user, id)) {
                    return Some(Answer::Refused(Reason::AlreadyEnrolled));
                }
                if semester.places.is_some_and(|places| *taken >= places) {
                    return Some(Answer::Refused(Reason::SemesterFull));
                }
                if balance < semester.cost {
                    return Some(Answer::Refused(Reason::InsufficientCredits));
                }
                *taken += 1;
                self.active.insert((user, id), semester.cost);
                Some(self.moves(user, -semester.cost))
            }
            (Job::Unenroll(_), Some((id, semester))) => match self.active.remove(&(user, id)) {
                Some(price) => {
                    *self.taken.entry(id).or_default() -= 1;
                    Some(self.moves(user, price * semester.refund_percent / 100))
                }
                None => Some(Answer::Refused(Reason::NotEnrolled)),
            },
            (Job::GrantCredits(grant), None) => Some(self.moves(user, grant.amount.get())),
            _ => None,
        }
    }

    fn moves(&mut self, user: i64, moved: i64) -> Answer {
        let balance = self.balances.entry(user).or_default();
        *balance += moved;
        Answer::Applied { moved, balance: *balance }
    }
}
