//! The whole history once more, one thing at a time: every answer, every change by an owner and every place that was filled
//! without a request, in the order that the witness gives them.

use std::collections::HashMap;

use seatkeeper_jobs::{Applied, Outcome};
use sqlx::PgPool;

use super::replay::{Answer, Replay, Semester};
use super::replay_sessions::Session;
use super::stored::Stored;
use crate::cli::Failure;

/// What came of working it out again.
#[derive(Debug, Default)]
pub struct Replayed {
    pub answers: usize,
    /// Places that were filled without a request.
    pub fills: usize,
    pub bookings: usize,
    /// Answers, fills and bookings at the end that came out otherwise.
    pub differing: usize,
}

/// What was not asked for.
enum Change {
    /// A session was added, or changed by its owner.
    Session(i64, Session),
    /// A booking got a place.
    Filled(i64),
}

/// Works it all out again.
pub async fn replay(pool: &PgPool, stored: &[Stored]) -> Result<Replayed, Failure> {
    let mut replay = opening(pool).await?;
    let mut changes = read_changes(pool).await?.into_iter().peekable();
    let mut replayed = Replayed::default();
    let answered = stored.iter().filter(|each| each.is_done).map(Some);
    // Once more after the last answer, for what came after it.
    for each in answered.chain([None]) {
        let until = each.map_or(Some(i64::MAX), |each| each.answer_seq);
        while let Some((_, change)) = changes.next_if(|(seq, _)| Some(*seq) < until) {
            match change {
                Change::Session(id, session) => replay.sessions.set(id, session),
                Change::Filled(booking) => {
                    replayed.fills += 1;
                    replayed.differing += usize::from(!replay.filled(booking));
                }
            }
        }
        let Some(each) = each else { break };
        replayed.answers += 1;
        let applied = each.applied();
        let booking_id = match &applied {
            Some(Applied::Book(done)) => Some(done.booking_id.get()),
            _ => None,
        };
        let answer = match (each.outcome, each.reason, applied) {
            (Some(Outcome::Applied), _, Some(applied)) => Answer::of(applied, &each.job),
            (Some(Outcome::Refused), Some(reason), _) => Some(Answer::Refused(reason)),
            _ => None,
        };
        let expected = replay.decide(&each.job, booking_id);
        replayed.differing += usize::from(expected.is_none() || answer != expected);
    }
    let ended: HashMap<i64, &str> = replay.sessions.ended().collect();
    let bookings = sqlx::query!(
        "-- demo.bookings_in_the_end
         select b.booking_id, b.status from seatkeeper.bookings b"
    )
    .fetch_all(pool)
    .await?;
    replayed.bookings = bookings.len();
    let differing = bookings.iter().filter(|row| ended.get(&row.booking_id) != Some(&row.status.as_str()));
    replayed.differing += differing.count() + ended.len().abs_diff(bookings.len());
    Ok(replayed)
}

/// The users and semesters, which nobody changes while the demo plays.
async fn opening(pool: &PgPool) -> Result<Replay, Failure> {
    let semesters = sqlx::query!(
        "-- demo.semesters
         select s.semester_id, s.max_players, s.enrollment_cost, s.refund_percent from seatkeeper.semesters s"
    )
    .fetch_all(pool)
    .await?;
    let users = sqlx::query_scalar!(
        "-- demo.users
         select u.user_id from seatkeeper.users u"
    )
    .fetch_all(pool)
    .await?;
    let mut replay = Replay::default();
    replay.balances.extend(users.into_iter().map(|user| (user, 0)));
    replay.semesters.extend(semesters.into_iter().map(|row| {
        let places = row.max_players.map(i64::from);
        let semester =
            Semester { places, cost: row.enrollment_cost, refund_percent: row.refund_percent.into() };
        (row.semester_id, semester)
    }));
    Ok(replay)
}

async fn read_changes(pool: &PgPool) -> Result<Vec<(i64, Change)>, Failure> {
    let rows = sqlx::query!(
        r#"-- demo.changes
           select c.change_seq, c.key, c."table" = 'bookings' as "is_fill!",
                  (c.after ->> 'semester_id')::bigint as semester, (c.after ->> 'capacity')::bigint as places,
                  (c.after ->> 'starts_at')::timestamptz as starts_at, (c.after ->> 'ends_at')::timestamptz as ends_at
           from seatkeeper.catalog_changes c where c."table" in ('sessions', 'bookings') order by c.change_seq"#
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| match (row.is_fill, row.semester, row.places, row.starts_at, row.ends_at) {
            (true, ..) => Ok((row.change_seq, Change::Filled(row.key))),
            (false, Some(semester), Some(places), Some(starts_at), Some(ends_at)) => Ok((
                row.change_seq,
                Change::Session(row.key, Session { semester, starts_at, ends_at, places }),
            )),
            _ => Err(Failure::unable("the history of the demo's sessions has a gap")),
        })
        .collect()
}
