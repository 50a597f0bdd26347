//! What the crowd is going to ask: made beforehand, so that what comes of it can be checked.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use seatkeeper_jobs::Request;
use serde_json::json;

use super::script::{Malformed, Script, Step, book, enroll, grant, request, unenroll};
use crate::cli::Failure;

/// The semester that everybody wants.
pub const CUP: i64 = 1;
/// What a place in it costs. Odd, so that the refund of one half is floored.
pub const CUP_COST: i64 = 45;
/// The semester that has room for everybody, but not in its sessions.
pub const CAMP: i64 = 2;
/// What that costs.
pub const CAMP_COST: i64 = 10;

/// The sessions of the camp. Nobody can be in the first two at once.
pub const MORNING: i64 = 1;
pub const NOON: i64 = 2;
/// Has no place at first: its owner adds some while everybody waits.
pub const EVENING: i64 = 3;

/// Everything that is asked before anybody has an answer.
#[derive(Debug)]
pub struct Plan {
    /// Credits for every player, some with too few for the cup.
    pub grants: Vec<Request>,
    /// What the crowd does.
    pub script: Arc<Script>,
    /// Players who go for the camp and its sessions.
    pub campers: usize,
}

impl Plan {
    /// A plan for players 1 to `players`; the same seed gives the same order and the same credits.
    pub fn new(players: i64, seats: i64, seed: u64) -> Result<Self, Failure> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut order: Vec<i64> = (1..=players).collect();
        order.shuffle(&mut random);

        let mut grants = Vec::new();
        for player in 1..=players {
            let credits = if player % 9 == 4 {
                random.random_range(1..CUP_COST)
            } else {
                random.random_range(CUP_COST..=4 * CUP_COST)
            };
            grants.push(request(grant(player, credits)?));
        }

        // Who changes their mind does so some places later, while others still come.
        let lag = usize::try_from(seats / 2).unwrap_or(usize::MAX).max(3);
        let changes_their_mind =
            |place: usize| place % 10 == 1 && i64::try_from(place).unwrap_or(i64::MAX) < seats;
        let mut draft = Draft::default();
        let mut booked: Vec<usize> = Vec::new();
        for (place, &player) in order.iter().enumerate() {
            draft.wants_the_cup(place, player)?;
            if place % 4 == 2 {
                booked.push(draft.goes_camping(player)?);
                // Some time later, by whichever connection: the same request once more.
                if let Some(earlier) = booked.len().checked_sub(8).filter(|earlier| earlier % 5 == 0) {
                    draft.script.steps.push(Step::Ask(booked[earlier]));
                }
            } else if place % 40 == 9 {
                draft.script.ask(book(player, MORNING)?);
            }
            if let Some(early) = place.checked_sub(lag).filter(|&early| changes_their_mind(early)) {
                draft.script.ask(unenroll(order[early], CUP)?);
            }
        }
        Ok(Self { grants, script: Arc::new(draft.script), campers: draft.campers })
    }
}

/// The script while it is written.
#[derive(Default)]
struct Draft {
    script: Script,
    campers: usize,
}

impl Draft {
    fn wants_the_cup(&mut self, place: usize, player: i64) -> Result<(), Failure> {
        let script = &mut self.script;
        if place % 60 == 11 {
            script.steps.push(Step::Malformed(malformed(place / 60, player)));
        }
        let cup = script.add(enroll(player, CUP)?);
        if place % 50 == 7 {
            let other = Request::new(script.asks[cup].request_id(), enroll(player, CAMP)?);
            script.steps.push(Step::AskThenConflict(cup, Box::new(other)));
        } else {
            script.steps.push(Step::Ask(cup));
        }
        // A neighbour in the list is sent at the same time, by another connection.
        if place % 10 == 3 {
            script.steps.push(Step::Ask(cup));
        }
        Ok(())
    }

    /// Enrolls in the camp, and then books. Gives the request for the morning.
    fn goes_camping(&mut self, player: i64) -> Result<usize, Failure> {
        let mut jobs = vec![enroll(player, CAMP)?, book(player, MORNING)?];
        // Refused to who has a place in the morning; who still waits for one gives the wait up for a place at noon.
        if self.campers.is_multiple_of(3) {
            jobs.push(book(player, NOON)?);
        }
        if self.campers % 2 == 1 {
            jobs.push(book(player, EVENING)?);
        }
        // Forgot that it was asked already, and draws a new ID.
        if self.campers % 12 == 5 {
            jobs.push(book(player, MORNING)?);
        }
        self.campers += 1;
        Ok(self.script.ask_in_turn(jobs)[1])
    }
}

/// Places of the camp's sessions: few, so that most of those who want one wait.
#[derive(Debug, Clone, Copy)]
pub struct CampPlaces {
    pub morning: i32,
    pub noon: i32,
    /// What the owner adds in the evening.
    pub evening: i32,
}

impl CampPlaces {
    /// For so many who go for the camp.
    pub fn for_campers(campers: usize) -> Self {
        let one_in = |share: usize| i32::try_from(campers / share).unwrap_or(i32::MAX).max(1);
        Self { morning: one_in(10), noon: one_in(6), evening: one_in(12) }
    }
}

fn malformed(number: usize, player: i64) -> Malformed {
    let (kind, payload, field) = match number % 5 {
        0 => ("enroll", json!({ "user_id": "seven", "semester_id": CUP }), "user_id"),
        1 => ("enroll", json!({ "user_id": player }), "semester_id"),
        2 => ("enroll", json!({ "user_id": player, "semester_id": CUP, "seat": 5 }), "seat"),
        3 => ("grant_credits", json!({ "user_id": player, "amount": 0 }), "amount"),
        _ => ("enrol", json!({ "user_id": player, "semester_id": CUP }), "kind"),
    };
    Malformed { kind, payload, field }
}
