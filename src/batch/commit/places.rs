//! What a batch writes about sessions: bookings, attendance, fills.
//!
//! The counter of a session follows its bookings by a trigger. That it comes out as it was decided is the guard here.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::SessionId;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::guard;
use crate::batch::BatchError;
use crate::batch::gather::Gathered;
use crate::decide::{Attendance, Booking, BookingStatus, Promotion};

/// Bookings that end CANCELLED: out of their places, out of the waitlists.
pub(super) async fn give_up(
    connection: &mut PgConnection,
    given_up: &[(BookingStatus, Booking)],
) -> Result<(), BatchError> {
    if given_up.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = given_up.iter().map(|(_, booking)| booking.booking_id.get()).collect();
    let before: Vec<String> = given_up.iter().map(|(before, _)| before.as_str().to_owned()).collect();
    let promoted: Vec<Option<DateTime<Utc>>> =
        given_up.iter().map(|(_, booking)| booking.promoted_at).collect();
    let (at, because): (Vec<DateTime<Utc>>, Vec<String>) = given_up
        .iter()
        .filter_map(|(_, booking)| booking.cancelled)
        .map(|(at, because)| (at, because.as_str().to_owned()))
        .unzip();
    let done = sqlx::query!(
        "-- commit.give_up
         update seatkeeper.bookings b
         set status = 'CANCELLED', cancelled_at = g.at, cancelled_because = g.because,
             promoted_at = coalesce(g.promoted_at, b.promoted_at)
         from unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[])
             g (booking_id, before, promoted_at, at, because)
         where b.booking_id = any (array[g.booking_id]) and b.status = g.before",
        &ids,
        &before,
        &promoted as &[Option<DateTime<Utc>>],
        &at,
        &because
    )
    .execute(connection)
    .await?;
    guard("cancelled bookings", given_up.len(), done.rows_affected())
}

/// Bookings that waited before the batch, and have a place after it.
pub(super) async fn promote(connection: &mut PgConnection, promoted: &[Booking]) -> Result<(), BatchError> {
    if promoted.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = promoted.iter().map(|booking| booking.booking_id.get()).collect();
    let at: Vec<DateTime<Utc>> = promoted.iter().filter_map(|booking| booking.promoted_at).collect();
    let done = sqlx::query!(
        "-- commit.promote
         update seatkeeper.bookings b set status = 'CONFIRMED', promoted_at = p.at
         from unnest($1::bigint[], $2::timestamptz[]) p (booking_id, at)
         where b.booking_id = any (array[p.booking_id]) and coalesce(b.status = 'WAITLISTED', false)",
        &ids,
        &at
    )
    .execute(connection)
    .await?;
    guard("promoted bookings", promoted.len(), done.rows_affected())
}

/// Bookings that the batch made, as they are at its end.
pub(super) async fn book(connection: &mut PgConnection, booked: &[Booking]) -> Result<(), BatchError> {
    if booked.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = booked.iter().map(|booking| booking.booking_id.get()).collect();
    let users: Vec<i64> = booked.iter().map(|booking| booking.user_id.get()).collect();
    let sessions: Vec<i64> = booked.iter().map(|booking| booking.session_id.get()).collect();
    let statuses: Vec<String> = booked.iter().map(|booking| booking.status.as_str().to_owned()).collect();
    let tickets: Vec<i64> = booked.iter().map(|booking| booking.ticket).collect();
    let starts: Vec<DateTime<Utc>> = booked.iter().map(|booking| booking.starts_at).collect();
    let ends: Vec<DateTime<Utc>> = booked.iter().map(|booking| booking.ends_at).collect();
    let (requests, at): (Vec<Uuid>, Vec<DateTime<Utc>>) =
        booked.iter().filter_map(|booking| booking.made).unzip();
    let promoted: Vec<Option<DateTime<Utc>>> = booked.iter().map(|booking| booking.promoted_at).collect();
    let (cancelled, because): (Vec<Option<DateTime<Utc>>>, Vec<Option<&str>>) =
        booked.iter().map(|booking| booking.cancelled.map(|(at, why)| (at, why.as_str())).unzip()).unzip();
    let done = sqlx::query!(
        r#"-- commit.book
           insert into seatkeeper.bookings
               (booking_id, user_id, session_id, status, waitlist_ticket, starts_at, ends_at, booked_at, promoted_at,
                cancelled_at, cancelled_because, request_id)
           select b.* from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::timestamptz[],
                                  $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[],
                                  $12::uuid[]) b"#,
        &ids,
        &users,
        &sessions,
        &statuses,
        &tickets,
        &starts,
        &ends,
        &at,
        &promoted as &[Option<DateTime<Utc>>],
        &cancelled as &[Option<DateTime<Utc>>],
        &because as &[Option<&str>],
        &requests
    )
    .execute(connection)
    .await?;
    guard("bookings", booked.len(), done.rows_affected())
}

/// That each session counts as many CONFIRMED bookings as were decided (RACE-B02, B06).
pub(super) async fn verify_counts(
    connection: &mut PgConnection,
    confirmed: &[(SessionId, i32, i32)],
) -> Result<(), BatchError> {
    if confirmed.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = confirmed.iter().map(|(session, _, _)| session.get()).collect();
    let counts: Vec<i32> = confirmed.iter().map(|(_, _, after)| *after).collect();
    let equal = sqlx::query_scalar!(
        r#"-- commit.verify_counts
           select count(*) as "equal!" from unnest($1::bigint[], $2::integer[]) c (session_id, confirmed)
           cross join lateral (select * from seatkeeper.sessions s where s.session_id = c.session_id limit 1) s
           where s.confirmed_count = c.confirmed"#,
        &ids,
        &counts
    )
    .fetch_one(connection)
    .await?;
    guard("counters of sessions", confirmed.len(), u64::try_from(equal).unwrap_or_default())
}

/// Who was there: one row for a booking (RACE-B07).
pub(super) async fn record(
    connection: &mut PgConnection,
    attendance: &[Attendance],
) -> Result<(), BatchError> {
    for is_new in [false, true] {
        let rows: Vec<_> = attendance.iter().filter(|row| row.before.is_none() == is_new).collect();
        if rows.is_empty() {
            continue;
        }
        let name =
            |status| serde_json::to_value(status).ok().and_then(|value| value.as_str().map(str::to_owned));
        let ids: Vec<i64> = rows.iter().map(|row| row.booking_id.get()).collect();
        let before: Vec<Option<String>> = rows.iter().map(|row| row.before.and_then(name)).collect();
        let statuses: Vec<String> = rows.iter().filter_map(|row| row.now.and_then(name)).collect();
        let (requests, at): (Vec<Uuid>, Vec<DateTime<Utc>>) =
            rows.iter().filter_map(|row| row.recorded).unzip();
        let done = if is_new {
            sqlx::query!(
                "-- commit.record
                 insert into seatkeeper.attendance (booking_id, status, recorded_at, request_id)
                 select a.* from unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::uuid[]) a",
                &ids,
                &statuses,
                &at,
                &requests
            )
            .execute(&mut *connection)
            .await?
        } else {
            sqlx::query!(
                "-- commit.record_again
                 update seatkeeper.attendance a set status = r.status, recorded_at = r.at, request_id = r.request_id
                 from unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::uuid[])
                     r (booking_id, before, status, at, request_id)
                 where a.booking_id = any (array[r.booking_id]) and a.status = r.before",
                &ids,
                &before as &[Option<String>],
                &statuses,
                &at,
                &requests
            )
            .execute(&mut *connection)
            .await?
        };
        guard("attendance", rows.len(), done.rows_affected())?;
    }
    Ok(())
}

/// Records the fills that no request caused, each in its place in the order of the answers.
pub(in crate::batch) async fn write_fills(
    connection: &mut PgConnection,
    filled: &[(i64, Promotion)],
) -> Result<(), BatchError> {
    /// A booking as such a record shows it.
    #[derive(Serialize)]
    struct Image {
        booking_id: i64,
        user_id: i64,
        session_id: i64,
        status: &'static str,
    }
    if filled.is_empty() {
        return Ok(());
    }
    let image = |promotion: &Promotion, status: BookingStatus| {
        let image = Image {
            booking_id: promotion.booking_id.get(),
            user_id: promotion.user_id.get(),
            session_id: promotion.session_id.get(),
            status: status.as_str(),
        };
        serde_json::to_value(image).unwrap_or_default()
    };
    let seqs: Vec<i64> = filled.iter().map(|(seq, _)| *seq).collect();
    let at: Vec<DateTime<Utc>> = filled.iter().map(|(_, promotion)| promotion.at).collect();
    let keys: Vec<i64> = filled.iter().map(|(_, promotion)| promotion.booking_id.get()).collect();
    let before: Vec<_> = filled.iter().map(|(_, one)| image(one, BookingStatus::Waitlisted)).collect();
    let after: Vec<_> = filled.iter().map(|(_, one)| image(one, BookingStatus::Confirmed)).collect();
    let done = sqlx::query!(
        r#"-- commit.write_fills
           insert into seatkeeper.catalog_changes (change_seq, statement_seq, changed_at, "table", key, before, after)
           select f.seq, f.seq, f.at, 'bookings', f.key, f.before, f.after
           from unnest($1::bigint[], $2::timestamptz[], $3::bigint[], $4::jsonb[], $5::jsonb[]) f (seq, at, key, before, after)"#,
        &seqs,
        &at,
        &keys,
        &before,
        &after
    )
    .execute(connection)
    .await?;
    guard("fills", filled.len(), done.rows_affected())
}

/// Takes the marks away that this batch has worked off.
pub(in crate::batch) async fn delete_marks(
    connection: &mut PgConnection,
    gathered: &Gathered,
) -> Result<(), BatchError> {
    let marks = gathered.fills.iter().flat_map(|fill| &fill.marks).chain(&gathered.void_marks);
    let marks: Vec<i64> = marks.copied().collect();
    if marks.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "-- commit.delete_marks
         delete from seatkeeper.fill_marks where mark_id = any ($1)",
        &marks
    )
    .execute(connection)
    .await?;
    guard("marks", marks.len(), done.rows_affected())
}
