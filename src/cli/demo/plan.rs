//! What the crowd is going to ask: made beforehand, so that what comes of it can be checked.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Job, Request, SemesterId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::Failure;

/// The semester that everybody wants.
pub const CUP: i64 = 1;
/// What a place in it costs. Odd, so that the refund of one half is floored.
pub const CUP_COST: i64 = 45;
/// The semester that has room for everybody.
pub const CAMP: i64 = 2;
/// What that costs.
pub const CAMP_COST: i64 = 10;

/// Everything that is going to be asked.
#[derive(Debug)]
pub struct Plan {
    /// Credits for every player, some with too few for the cup.
    pub grants: Vec<Request>,
    /// The requests of the crowd, each with an ID of its own.
    pub asks: Vec<Request>,
    /// What the connections send, in this order, whichever is free.
    pub steps: Vec<Step>,
}

/// One thing that a connection does.
#[derive(Debug)]
pub enum Step {
    /// Sends a request, for the first time or again.
    Ask(usize),
    /// Sends a request, and when it is in, another one with the same ID.
    AskThenConflict(usize, Box<Request>),
    /// Sends what is no request.
    Malformed(Malformed),
}

/// What is no request.
#[derive(Debug)]
pub struct Malformed {
    pub kind: &'static str,
    pub payload: Value,
    /// The field that the refusal has to name.
    pub field: &'static str,
}

impl Plan {
    /// A plan for players 1 to `players`; the same seed gives the same order and the same credits.
    pub fn new(players: i64, seats: i64, seed: u64) -> Result<Self, Failure> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut order: Vec<i64> = (1..=players).collect();
        order.shuffle(&mut random);

        let mut plan = Self { grants: Vec::new(), asks: Vec::new(), steps: Vec::new() };
        for player in 1..=players {
            let credits = if player % 9 == 4 {
                random.random_range(1..CUP_COST)
            } else {
                random.random_range(CUP_COST..=4 * CUP_COST)
            };
            plan.grants.push(request(grant(player, credits)?));
        }

        // Who changes their mind does so some places later, while others still come.
        let lag = usize::try_from(seats / 2).unwrap_or(usize::MAX).max(3);
        let changes_their_mind =
            |place: usize| place % 10 == 1 && i64::try_from(place).unwrap_or(i64::MAX) < seats;
        for (place, &player) in order.iter().enumerate() {
            plan.wants_the_cup(place, player)?;
            if let Some(early) = place.checked_sub(lag).filter(|&early| changes_their_mind(early)) {
                plan.ask(unenroll(order[early], CUP)?);
            }
        }
        Ok(plan)
    }

    fn wants_the_cup(&mut self, place: usize, player: i64) -> Result<(), Failure> {
        if place % 60 == 11 {
            self.steps.push(Step::Malformed(malformed(place / 60, player)));
        }
        let cup = self.asks.len();
        self.asks.push(request(enroll(player, CUP)?));
        if place % 50 == 7 {
            let other = Request::new(self.asks[cup].request_id(), enroll(player, CAMP)?);
            self.steps.push(Step::AskThenConflict(cup, Box::new(other)));
        } else {
            self.steps.push(Step::Ask(cup));
        }
        // A neighbour in the list is sent at the same time, by another connection.
        if place % 10 == 3 {
            self.steps.push(Step::Ask(cup));
        }
        if place % 4 == 2 {
            self.ask(enroll(player, CAMP)?);
        }
        Ok(())
    }

    fn ask(&mut self, job: Job) {
        self.steps.push(Step::Ask(self.asks.len()));
        self.asks.push(request(job));
    }
}

fn request(job: Job) -> Request {
    Request::new(Uuid::now_v7(), job)
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

fn enroll(player: i64, semester: i64) -> Result<Job, Failure> {
    Ok(Enroll { user_id: user(player)?, semester_id: self::semester(semester)? }.into())
}

fn unenroll(player: i64, semester: i64) -> Result<Job, Failure> {
    let semester_id = self::semester(semester)?;
    Ok(Unenroll { user_id: user(player)?, semester_id, enrollment_id: None }.into())
}

fn grant(player: i64, credits: i64) -> Result<Job, Failure> {
    let amount = Amount::new(credits).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(GrantCredits { user_id: user(player)?, amount, note: None }.into())
}

fn user(number: i64) -> Result<UserId, Failure> {
    UserId::new(number).map_err(|error| Failure::usage(error.to_string()))
}

fn semester(number: i64) -> Result<SemesterId, Failure> {
    SemesterId::new(number).map_err(|error| Failure::usage(error.to_string()))
}
