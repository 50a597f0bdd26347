//! `requests`: what operators see and do of single requests.

mod change;
mod list;
mod place;
mod show;
mod wait;

use std::time::Duration;

use clap::{Args, Subcommand};
use seatkeeper::operate::Filter;
use seatkeeper_jobs::{Kind, SemesterId, SessionId, UserId};

use super::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Requests {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The latest requests, filtered
    List(list::List),
    /// The whole story of one request, and why it waits
    Show(show::Show),
    /// Wait until requests have come to an end
    Wait(wait::Wait),
    /// Put failed requests back into the queue
    Retry(change::Retry),
    /// Withdraw queued requests
    Cancel(change::Cancel),
}

impl Requests {
    pub async fn execute(self) -> Result<Exit, Failure> {
        match self.what {
            What::List(verb) => verb.execute().await,
            What::Show(verb) => verb.execute().await,
            What::Wait(verb) => verb.execute().await,
            What::Retry(verb) => verb.execute().await,
            What::Cancel(verb) => verb.execute().await,
        }
    }
}

/// The flags that say which requests, for every verb that takes a filter.
#[derive(Debug, Args)]
struct FilterFlags {
    /// Only requests of this kind
    #[arg(long, env = "SEATKEEPER_KIND")]
    kind: Option<Kind>,
    /// Only requests about this user
    #[arg(long, env = "SEATKEEPER_USER")]
    user: Option<UserId>,
    /// Only requests in the lane of this semester
    #[arg(long, env = "SEATKEEPER_SEMESTER")]
    semester: Option<SemesterId>,
    /// Only requests about this session: they name it, or a booking of it
    #[arg(long, env = "SEATKEEPER_SESSION")]
    session: Option<SessionId>,
    /// Only requests that this account asked for
    #[arg(long, env = "SEATKEEPER_ENQUEUED_BY", value_name = "ACCOUNT")]
    enqueued_by: Option<String>,
    /// Only requests that arrived longer ago than this, such as 2h
    #[arg(long, env = "SEATKEEPER_OLDER_THAN", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Only requests that arrived less long ago than this, such as 30m
    #[arg(long, env = "SEATKEEPER_NEWER_THAN", value_parser = humantime::parse_duration)]
    newer_than: Option<Duration>,
}

impl FilterFlags {
    fn filter(&self) -> Filter {
        Filter {
            kind: self.kind,
            user: self.user.map(UserId::get),
            semester: self.semester.map(SemesterId::get),
            session: self.session.map(SessionId::get),
            enqueued_by: self.enqueued_by.clone(),
            older_than: self.older_than,
            newer_than: self.newer_than,
            ..Filter::default()
        }
    }
}
