//! What connections do: the requests and the order in which they are taken up, and how the requests are made.

use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Job, Request};
use serde_json::Value;
use uuid::Uuid;

use crate::cli::Failure;

/// What a crowd is going to do.
#[derive(Debug, Default)]
pub struct Script {
    /// The requests, each with an ID of its own.
    pub asks: Vec<Request>,
    /// What the connections do, in this order, whichever is free.
    pub steps: Vec<Step>,
}

/// One thing that a connection does.
#[derive(Debug)]
pub enum Step {
    /// Sends a request, for the first time or again.
    Ask(usize),
    /// Sends requests, each when the one before it is in.
    InTurn(Vec<usize>),
    /// Sends a request, and when it is in, another one with the same ID.
    AskThenConflict(usize, Box<Request>),
    /// Sends what is no request.
    Malformed(Malformed),
    /// Changes the places of a session, as its owner.
    Places { session: i64, places: i32 },
}

/// What is no request.
#[derive(Debug)]
pub struct Malformed {
    pub kind: &'static str,
    pub payload: Value,
    /// The field that the refusal has to name.
    pub field: &'static str,
}

impl Script {
    /// Adds a request that no step sends yet.
    pub fn add(&mut self, job: Job) -> usize {
        self.asks.push(request(job));
        self.asks.len() - 1
    }

    /// Adds a request and the step that sends it.
    pub fn ask(&mut self, job: Job) -> usize {
        let ask = self.add(job);
        self.steps.push(Step::Ask(ask));
        ask
    }

    /// Adds requests and the step that sends one after the other.
    pub fn ask_in_turn(&mut self, jobs: impl IntoIterator<Item = Job>) -> Vec<usize> {
        let asks: Vec<usize> = jobs.into_iter().map(|job| self.add(job)).collect();
        self.steps.push(Step::InTurn(asks.clone()));
        asks
    }
}

impl Step {
    /// The requests that it sends, in its order.
    pub fn asks(&self) -> &[usize] {
        match self {
            Self::Ask(ask) | Self::AskThenConflict(ask, _) => std::slice::from_ref(ask),
            Self::InTurn(asks) => asks,
            Self::Malformed(_) | Self::Places { .. } => &[],
        }
    }
}

pub fn request(job: Job) -> Request {
    Request::new(Uuid::now_v7(), job)
}

pub fn grant(player: i64, credits: i64) -> Result<Job, Failure> {
    let amount = Amount::new(credits).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(GrantCredits { user_id: id(player)?, amount, note: None }.into())
}

pub fn enroll(player: i64, semester: i64) -> Result<Job, Failure> {
    Ok(Enroll { user_id: id(player)?, semester_id: id(semester)? }.into())
}

pub fn unenroll(player: i64, semester: i64) -> Result<Job, Failure> {
    Ok(Unenroll { user_id: id(player)?, semester_id: id(semester)?, enrollment_id: None }.into())
}

pub fn book(player: i64, session: i64) -> Result<Job, Failure> {
    Ok(Book { user_id: id(player)?, session_id: id(session)? }.into())
}

pub fn cancel_by_session(player: i64, session: i64) -> Result<Job, Failure> {
    Ok(CancelBooking { user_id: id(player)?, which: Which::SessionId(id(session)?) }.into())
}

pub fn cancel_by_booking(player: i64, booking: i64) -> Result<Job, Failure> {
    Ok(CancelBooking { user_id: id(player)?, which: Which::BookingId(id(booking)?) }.into())
}

fn id<T: TryFrom<i64, Error: std::fmt::Display>>(number: i64) -> Result<T, Failure> {
    number.try_into().map_err(|error: T::Error| Failure::usage(error.to_string()))
}
