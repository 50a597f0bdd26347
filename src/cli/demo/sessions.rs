//! What came of the sessions: places, waitlists, who moved up and why, and whether the queues were kept.

use std::collections::{BTreeMap, HashMap};

use seatkeeper_jobs::book::BookingStatus;
use seatkeeper_jobs::{Applied, Kind};
use serde::Serialize;
use sqlx::PgPool;

use super::stored::Stored;
use crate::cli::Failure;

/// One session in the end.
#[derive(Debug, Serialize)]
pub struct SessionFigures {
    pub session_id: i64,
    pub places: i64,
    pub places_at_first: i64,
    pub confirmed: i64,
    /// As counted on the session itself.
    pub confirmed_count: i64,
    pub waiting: i64,
    pub cancelled: i64,
    /// Those that waited first and got a place then.
    pub promoted: i64,
    /// Free places beside somebody who waits and could take one.
    pub idle: i64,
}

/// Who moved up, and because of what. Nobody moves up twice.
#[derive(Debug, Default, Serialize)]
pub struct Promotions {
    /// By the answers to cancelled bookings.
    pub by_cancelled_bookings: usize,
    /// By the answers to unenrollments.
    pub by_unenrollments: usize,
    /// Without anybody asking, after an owner added places.
    pub by_owners: usize,
    /// Bookings that moved up other than once, or of which the database does not know it.
    pub wrong: usize,
}

/// All bookings.
#[derive(Debug, Serialize)]
pub struct Bookings {
    pub sessions: Vec<SessionFigures>,
    /// Bookings by the answers.
    pub booked: usize,
    /// Given back by the answers: asked for, and by leaving the semester.
    pub given_back: usize,
    pub left: usize,
    pub cancelled_because: BTreeMap<String, i64>,
    pub promotions: Promotions,
    /// Bookings that were CONFIRMED before one that is ahead of them in the queue, which could have taken the place.
    pub overtaken: usize,
    /// Users with two CONFIRMED bookings at one time, or a wait beside one.
    pub in_two_places: i64,
    /// Live bookings of users without an active enrollment.
    pub without_enrollment: i64,
}

impl Bookings {
    /// The sum of a figure over all sessions.
    pub fn sum(&self, figure: impl Fn(&SessionFigures) -> i64) -> i64 {
        self.sessions.iter().map(figure).sum()
    }
}

/// Looks at everything about sessions.
pub async fn bookings(pool: &PgPool, stored: &[Stored]) -> Result<Bookings, Failure> {
    let because = sqlx::query!(
        r#"-- demo.cancelled_because
           select b.cancelled_because as "because!", count(*) as "count!" from seatkeeper.bookings b
           where b.cancelled_because is not null group by b.cancelled_because"#
    )
    .fetch_all(pool)
    .await?;
    let wrong = sqlx::query!(
        r#"-- demo.wrong_bookings
           select (select count(*) from seatkeeper.bookings c join seatkeeper.bookings o using (user_id)
                   where c.booking_id <> o.booking_id and c.status = 'CONFIRMED' and o.status <> 'CANCELLED'
                     and tstzrange(c.starts_at, c.ends_at) && tstzrange(o.starts_at, o.ends_at)) as "in_two_places!",
                  (select count(*) from seatkeeper.bookings b join seatkeeper.sessions s using (session_id)
                   where b.status <> 'CANCELLED'
                     and not exists (select from seatkeeper.enrollments e where e.user_id = b.user_id
                                         and e.semester_id = s.semester_id and e.is_active)) as "without_enrollment!""#
    )
    .fetch_one(pool)
    .await?;
    let applied =
        |kind: Kind| stored.iter().filter(|each| each.is_applied() && each.job.kind() == kind).count();
    let left = stored.iter().filter_map(Stored::applied).map(|applied| match applied {
        Applied::Unenroll(done) => done.cancelled_bookings.len(),
        _ => 0,
    });
    let (promotions, overtaken) = queues(pool, stored).await?;
    Ok(Bookings {
        sessions: figures(pool).await?,
        booked: applied(Kind::Book),
        given_back: applied(Kind::CancelBooking),
        left: left.sum(),
        cancelled_because: because.into_iter().map(|row| (row.because, row.count)).collect(),
        promotions,
        overtaken,
        in_two_places: wrong.in_two_places,
        without_enrollment: wrong.without_enrollment,
    })
}

async fn figures(pool: &PgPool) -> Result<Vec<SessionFigures>, Failure> {
    let figures = sqlx::query_as!(
        SessionFigures,
        r#"-- demo.sessions
           select s.session_id, s.capacity::bigint as "places!", s.confirmed_count::bigint as "confirmed_count!",
                  (select (c.after ->> 'capacity')::bigint from seatkeeper.catalog_changes c
                   where c."table" = 'sessions' and c.key = s.session_id and c.before is null) as "places_at_first!",
                  b.confirmed as "confirmed!", b.waiting as "waiting!", b.cancelled as "cancelled!",
                  b.promoted as "promoted!", greatest(least(s.capacity - b.confirmed, b.able), 0) as "idle!"
           from seatkeeper.sessions s cross join lateral (
               select count(*) filter (where b.status = 'CONFIRMED') as confirmed,
                      count(*) filter (where b.status = 'WAITLISTED') as waiting,
                      count(*) filter (where b.status = 'CANCELLED') as cancelled,
                      count(b.promoted_at) as promoted,
                      count(*) filter (where b.status = 'WAITLISTED' and exists (
                          select from seatkeeper.enrollments e where e.user_id = b.user_id
                              and e.semester_id = s.semester_id and e.is_active)) as able
               from seatkeeper.bookings b where b.session_id = s.session_id) b
           order by s.session_id"#
    )
    .fetch_all(pool)
    .await?;
    Ok(figures)
}

/// Who moved up by what, and how many were overtaken in a queue.
async fn queues(pool: &PgPool, stored: &[Stored]) -> Result<(Promotions, usize), Failure> {
    let rows = sqlx::query!(
        r#"-- demo.queues
           select b.booking_id, b.session_id, b.status = 'WAITLISTED' as "waits!", b.promoted_at is not null as "promoted!"
           from seatkeeper.bookings b order by b.session_id, b.waitlist_ticket"#
    )
    .fetch_all(pool)
    .await?;
    let fills = sqlx::query!(
        "-- demo.fills
         select c.key, c.change_seq from seatkeeper.catalog_changes c where c.\"table\" = 'bookings'"
    )
    .fetch_all(pool)
    .await?;

    let mut promotions = Promotions { by_owners: fills.len(), ..Promotions::default() };
    // Booking → when it got a place, in the order of the witness.
    let mut confirmed: HashMap<i64, i64> = HashMap::new();
    let mut promoted: Vec<(i64, i64)> = fills.iter().map(|fill| (fill.key, fill.change_seq)).collect();
    for each in stored {
        let (Some(applied), Some(seq)) = (each.applied(), each.answer_seq) else { continue };
        let by_it = match applied {
            Applied::Book(done) => {
                if done.status == BookingStatus::Confirmed {
                    confirmed.insert(done.booking_id.get(), seq);
                }
                continue;
            }
            Applied::CancelBooking(done) => {
                promotions.by_cancelled_bookings += done.promoted_bookings.len();
                done.promoted_bookings
            }
            Applied::Unenroll(done) => {
                promotions.by_unenrollments += done.promoted_bookings.len();
                done.promoted_bookings
            }
            _ => continue,
        };
        promoted.extend(by_it.iter().map(|booking| (booking.get(), seq)));
    }
    let all = promoted.len();
    for (booking, seq) in promoted {
        promotions.wrong += usize::from(confirmed.insert(booking, seq).is_some());
    }
    promotions.wrong += all.abs_diff(rows.iter().filter(|row| row.promoted).count());

    // From the end of each queue to its front: nobody behind got a place earlier, or at all while one still waits.
    let (mut overtaken, mut behind) = (0, (0, i64::MAX));
    for row in rows.iter().rev() {
        if behind.0 != row.session_id {
            behind = (row.session_id, i64::MAX);
        }
        let seq = if row.waits { Some(i64::MAX) } else { confirmed.get(&row.booking_id).copied() };
        // Who gave the wait up got no place, and was not overtaken.
        let Some(seq) = seq else { continue };
        overtaken += usize::from(behind.1 < seq);
        behind.1 = behind.1.min(seq);
    }
    Ok((promotions, overtaken))
}
