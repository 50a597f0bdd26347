//! Commit: the changes and the answers, set by set, each row once with its final value.
//!
//! First what leaves, then what enters. Every statement says how many rows it expects and on what values it was
//! decided; if the database disagrees, somebody wrote without the lock, and the whole batch is rolled back. Rows are found
//! by the one index of their key, at any size of the tables: see [`crate::postgres::WALK_INDEXES`].

mod places;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::SemesterId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::BatchError;
use crate::decide::{Changes, Enrollment, LedgerEntry};
use crate::failpoint::fail_point;

pub(super) use places::{delete_marks, write_fills};

/// A semester's counter and clock.
#[derive(Debug)]
pub(super) struct LaneMove {
    pub(super) semester_id: SemesterId,
    pub(super) enrolled_before: i32,
    pub(super) enrolled_after: i32,
    pub(super) decided_at: DateTime<Utc>,
}

/// The end of a request, as stored.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) request_id: Uuid,
    pub(super) status: &'static str,
    pub(super) outcome: Option<&'static str>,
    pub(super) reason: Option<&'static str>,
    pub(super) result: Option<String>,
    pub(super) answer_seq: Option<i64>,
    pub(super) finished_at: DateTime<Utc>,
}

pub(super) async fn write_changes(
    connection: &mut PgConnection,
    changes: &Changes,
    lanes: &[LaneMove],
) -> Result<(), BatchError> {
    withdraw(&mut *connection, &changes.withdrawn).await?;
    fail_point!("commit.withdrawn");
    places::give_up(&mut *connection, &changes.given_up).await?;
    fail_point!("commit.given_up");
    move_lanes(&mut *connection, lanes, &changes.cancelled_semesters).await?;
    fail_point!("commit.lanes");
    move_balances(&mut *connection, changes).await?;
    fail_point!("commit.balances");
    enroll(&mut *connection, &changes.enrolled).await?;
    fail_point!("commit.enrolled");
    enter_ledger(&mut *connection, &changes.ledger).await?;
    fail_point!("commit.ledger");
    places::promote(&mut *connection, &changes.promoted).await?;
    fail_point!("commit.promoted");
    places::book(&mut *connection, &changes.booked).await?;
    fail_point!("commit.booked");
    places::record(&mut *connection, &changes.attendance).await?;
    fail_point!("commit.recorded");
    places::verify_counts(connection, &changes.confirmed).await?;
    fail_point!("commit.counted");
    Ok(())
}

async fn withdraw(connection: &mut PgConnection, withdrawn: &[Enrollment]) -> Result<(), BatchError> {
    if withdrawn.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = withdrawn.iter().map(|enrollment| enrollment.enrollment_id.get()).collect();
    let at: Vec<DateTime<Utc>> = withdrawn.iter().filter_map(|enrollment| enrollment.withdrawn_at).collect();
    let done = sqlx::query!(
        "-- commit.withdraw
         update seatkeeper.enrollments e set status = 'WITHDRAWN', is_active = false, withdrawn_at = w.at
         from unnest($1::bigint[], $2::timestamptz[]) w (enrollment_id, at)
         where e.enrollment_id = any (array[w.enrollment_id]) and coalesce(e.is_active and e.status = 'APPROVED', false)",
        &ids,
        &at
    )
    .execute(connection)
    .await?;
    guard("withdrawn enrollments", withdrawn.len(), done.rows_affected())
}

async fn move_lanes(
    connection: &mut PgConnection,
    lanes: &[LaneMove],
    cancelled: &[(SemesterId, Uuid)],
) -> Result<(), BatchError> {
    if lanes.is_empty() {
        return Ok(());
    }
    let cancelled: HashMap<SemesterId, Uuid> = cancelled.iter().copied().collect();
    let cancelled: Vec<Option<Uuid>> =
        lanes.iter().map(|lane| cancelled.get(&lane.semester_id).copied()).collect();
    let ids: Vec<i64> = lanes.iter().map(|lane| lane.semester_id.get()).collect();
    let before: Vec<i32> = lanes.iter().map(|lane| lane.enrolled_before).collect();
    let after: Vec<i32> = lanes.iter().map(|lane| lane.enrolled_after).collect();
    let at: Vec<DateTime<Utc>> = lanes.iter().map(|lane| lane.decided_at).collect();
    let done = sqlx::query!(
        "-- commit.move_lanes
         update seatkeeper.semesters s
         set enrolled_count = l.after, last_decided_at = l.at, cancelled_by = coalesce(l.cancelled_by, s.cancelled_by),
             status = case when l.cancelled_by is null then s.status else 'CANCELLED' end
         from unnest($1::bigint[], $2::integer[], $3::integer[], $4::timestamptz[], $5::uuid[])
             l (semester_id, before, after, at, cancelled_by)
         where s.semester_id = any (array[l.semester_id]) and s.enrolled_count = l.before",
        &ids,
        &before,
        &after,
        &at,
        &cancelled as &[Option<Uuid>]
    )
    .execute(connection)
    .await?;
    guard("semesters", lanes.len(), done.rows_affected())
}

async fn move_balances(connection: &mut PgConnection, changes: &Changes) -> Result<(), BatchError> {
    if changes.balances.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = changes.balances.iter().map(|(user, _, _)| user.get()).collect();
    let before: Vec<i64> = changes.balances.iter().map(|(_, before, _)| *before).collect();
    let after: Vec<i64> = changes.balances.iter().map(|(_, _, after)| *after).collect();
    let done = sqlx::query!(
        "-- commit.move_balances
         update seatkeeper.users u set credit_balance = b.after
         from unnest($1::bigint[], $2::bigint[], $3::bigint[]) b (user_id, before, after)
         where u.user_id = any (array[b.user_id]) and u.credit_balance = b.before",
        &ids,
        &before,
        &after
    )
    .execute(connection)
    .await?;
    guard("balances", changes.balances.len(), done.rows_affected())
}

async fn enroll(connection: &mut PgConnection, enrolled: &[Enrollment]) -> Result<(), BatchError> {
    if enrolled.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = enrolled.iter().map(|enrollment| enrollment.enrollment_id.get()).collect();
    let users: Vec<i64> = enrolled.iter().map(|enrollment| enrollment.user_id.get()).collect();
    let semesters: Vec<i64> = enrolled.iter().map(|enrollment| enrollment.semester_id.get()).collect();
    let prices: Vec<i64> = enrolled.iter().map(|enrollment| enrollment.price_paid).collect();
    let (requests, at): (Vec<Uuid>, Vec<DateTime<Utc>>) =
        enrolled.iter().filter_map(|enrollment| enrollment.made).unzip();
    let withdrawn: Vec<Option<DateTime<Utc>>> =
        enrolled.iter().map(|enrollment| enrollment.withdrawn_at).collect();
    let done = sqlx::query!(
        "-- commit.enroll
         insert into seatkeeper.enrollments
             (enrollment_id, user_id, semester_id, price_paid, request_id, enrolled_at, withdrawn_at, status, is_active)
         select e.enrollment_id, e.user_id, e.semester_id, e.price_paid, e.request_id, e.enrolled_at, e.withdrawn_at,
                case when e.withdrawn_at is null then 'APPROVED' else 'WITHDRAWN' end, e.withdrawn_at is null
         from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::uuid[], $6::timestamptz[], $7::timestamptz[])
             e (enrollment_id, user_id, semester_id, price_paid, request_id, enrolled_at, withdrawn_at)",
        &ids,
        &users,
        &semesters,
        &prices,
        &requests,
        &at,
        &withdrawn as &[Option<DateTime<Utc>>]
    )
    .execute(connection)
    .await?;
    guard("enrollments", enrolled.len(), done.rows_affected())
}

async fn enter_ledger(connection: &mut PgConnection, ledger: &[LedgerEntry]) -> Result<(), BatchError> {
    if ledger.is_empty() {
        return Ok(());
    }
    let users: Vec<i64> = ledger.iter().map(|entry| entry.user_id.get()).collect();
    let types: Vec<String> = ledger.iter().map(|entry| entry.transaction_type.as_str().to_owned()).collect();
    let amounts: Vec<i64> = ledger.iter().map(|entry| entry.amount).collect();
    let balances: Vec<i64> = ledger.iter().map(|entry| entry.balance_after).collect();
    let enrollments: Vec<Option<i64>> =
        ledger.iter().map(|entry| entry.enrollment_id.map(|id| id.get())).collect();
    let requests: Vec<Uuid> = ledger.iter().map(|entry| entry.request_id).collect();
    let at: Vec<DateTime<Utc>> = ledger.iter().map(|entry| entry.at).collect();
    // transaction_id grows in the order of the decisions: it is drawn row by row behind the sort.
    let done = sqlx::query!(
        "-- commit.enter_ledger
         insert into seatkeeper.credit_transactions
             (user_id, transaction_type, amount, balance_after, enrollment_id, request_id, created_at)
         select t.user_id, t.transaction_type, t.amount, t.balance_after, t.enrollment_id, t.request_id, t.created_at
         from unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[], $7::timestamptz[])
             with ordinality t (user_id, transaction_type, amount, balance_after, enrollment_id, request_id, created_at, ord)
         order by t.ord",
        &users,
        &types,
        &amounts,
        &balances,
        &enrollments as &[Option<i64>],
        &requests,
        &at
    )
    .execute(connection)
    .await?;
    guard("ledger rows", ledger.len(), done.rows_affected())
}

/// Stores the answers. A request that is no longer queued makes the whole batch void (RACE-12).
pub(super) async fn write_endings(
    connection: &mut PgConnection,
    endings: &[Ending],
) -> Result<(), BatchError> {
    let ids: Vec<Uuid> = endings.iter().map(|ending| ending.request_id).collect();
    let statuses: Vec<String> = endings.iter().map(|ending| ending.status.to_owned()).collect();
    let outcomes: Vec<Option<&str>> = endings.iter().map(|ending| ending.outcome).collect();
    let reasons: Vec<Option<&str>> = endings.iter().map(|ending| ending.reason).collect();
    let results: Vec<Option<&str>> = endings.iter().map(|ending| ending.result.as_deref()).collect();
    let answer_seqs: Vec<Option<i64>> = endings.iter().map(|ending| ending.answer_seq).collect();
    let finished: Vec<DateTime<Utc>> = endings.iter().map(|ending| ending.finished_at).collect();
    let done = sqlx::query!(
        "-- commit.write_endings
         update seatkeeper.requests r
         set status = e.status, outcome = e.outcome, reason = e.reason, result = e.result::jsonb,
             answer_seq = e.answer_seq, finished_at = e.finished_at, attempts = r.attempts + 1, hold = null
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[])
             e (request_id, status, outcome, reason, result, answer_seq, finished_at)
         where r.request_id = any (array[e.request_id]) and coalesce(r.status = 'queued', false)",
        &ids,
        &statuses,
        &outcomes as &[Option<&str>],
        &reasons as &[Option<&str>],
        &results as &[Option<&str>],
        &answer_seqs as &[Option<i64>],
        &finished
    )
    .execute(connection)
    .await?;
    guard("requests", endings.len(), done.rows_affected())
}

/// Puts requests into the lane, and to the user, that their payloads name. They keep their place in the order.
pub(super) async fn move_requests(
    connection: &mut PgConnection,
    moves: &[(Uuid, Option<i64>, Option<i64>)],
) -> Result<(), BatchError> {
    let ids: Vec<Uuid> = moves.iter().map(|(id, _, _)| *id).collect();
    let lanes: Vec<Option<i64>> = moves.iter().map(|(_, lane, _)| *lane).collect();
    let users: Vec<Option<i64>> = moves.iter().map(|(_, _, user)| *user).collect();
    let done = sqlx::query!(
        "-- commit.move_requests
         update seatkeeper.requests r set semester_id = m.semester_id, user_id = m.user_id
         from unnest($1::uuid[], $2::bigint[], $3::bigint[]) m (request_id, semester_id, user_id)
         where r.request_id = any (array[m.request_id]) and coalesce(r.status = 'queued', false)",
        &ids,
        &lanes as &[Option<i64>],
        &users as &[Option<i64>]
    )
    .execute(connection)
    .await?;
    guard("moved requests", moves.len(), done.rows_affected())
}

fn guard(what: &'static str, expected: usize, written: u64) -> Result<(), BatchError> {
    if u64::try_from(expected).is_ok_and(|expected| expected == written) {
        return Ok(());
    }
    Err(BatchError::Guard { what, expected, written })
}
