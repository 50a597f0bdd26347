//! What is in the queue and what is not yet: requests whose time has come enter it, requests of a paused kind leave
//! it, and come back when the pause ends. Marks whose filling failed come back when their time has come.
//!
//! So the index of what is ready holds nothing else, and a claim never reads past what it may not have. Rows that
//! somebody holds are skipped; the next pass finds them.

use crate::failpoint::fail_point;
use crate::postgres::Transactions;

/// The most requests that one pass moves for each reason.
const A_PASS: i64 = 2_000;

/// Makes one pass; gives the number of requests that it moved. When that is not 0, another pass may find more.
///
/// # Errors
/// When PostgreSQL refuses or is away; nothing has changed then.
pub async fn sort_out(transactions: &Transactions) -> sqlx::Result<u64> {
    let pending = sqlx::query_scalar!(
        r#"-- hold.pending
           select current_setting('session_replication_role') = 'origin' -- else the trigger that marks what returns is silent
              and ((select r.run_at <= statement_timestamp() from seatkeeper.requests r
                   where r.status = 'queued' and r.hold = 'scheduled' order by r.run_at limit 1) is true
               or (select r.seq from seatkeeper.requests r
                   where r.status = 'queued' and r.hold = 'paused' order by r.kind, r.seq limit 1) is not null
               or (select m.retry_at <= statement_timestamp() from seatkeeper.fill_marks m
                   where m.retry_at is not null order by m.retry_at limit 1) is true
               or exists (select from seatkeeper.pauses where kind is not null)) as "pending!""#
    )
    // Planned anew: a plan from when the table was empty reads all of it.
    .persistent(false)
    .fetch_one(transactions.pool())
    .await?;
    if !pending {
        return Ok(0);
    }

    let mut transaction = transactions.begin().await?;
    fail_point!("hold.begun");
    let due = sqlx::query!(
        "-- hold.release_due
         with due as materialized (
             select request_id from seatkeeper.requests
             where status = 'queued' and hold = 'scheduled' and run_at <= statement_timestamp()
             order by run_at limit $1 for update skip locked
         )
         update seatkeeper.requests r set hold = null from due where r.request_id = any (array[due.request_id])",
        A_PASS
    )
    .execute(&mut *transaction)
    .await?;
    fail_point!("hold.due");
    let parked = sqlx::query!(
        "-- hold.park
         with paused as materialized (
             select ready.request_id from (select p.kind from seatkeeper.pauses p where p.kind is not null) p
             cross join lateral (
                 select r.request_id from seatkeeper.requests r
                 where r.kind = p.kind and r.status = 'queued' and r.hold is null
                 order by r.seq limit $1 for update skip locked
             ) ready
         )
         update seatkeeper.requests r set hold = 'paused' from paused where r.request_id = any (array[paused.request_id])",
        A_PASS
    )
    .execute(&mut *transaction)
    .await?;
    fail_point!("hold.parked");
    let kinds: Vec<String> = seatkeeper_jobs::Kind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect();
    let resumed = sqlx::query!(
        "-- hold.unpark
         with resumed as materialized (
             select held.request_id from unnest($2::text[]) k (kind)
             cross join lateral (
                 select r.request_id from seatkeeper.requests r
                 where r.kind = k.kind and r.status = 'queued' and r.hold = 'paused'
                 order by r.seq limit $1 for update skip locked
             ) held
             where k.kind <> all (array(select p.kind from seatkeeper.pauses p where p.kind is not null))
         )
         update seatkeeper.requests r
         set hold = case when r.run_at > statement_timestamp() then 'scheduled' end
         from resumed where r.request_id = any (array[resumed.request_id])",
        A_PASS,
        &kinds
    )
    .execute(&mut *transaction)
    .await?;
    fail_point!("hold.unparked");
    let again = sqlx::query!(
        "-- hold.fill_again
         with due as materialized (
             select mark_id from seatkeeper.fill_marks where retry_at is not null and retry_at <= statement_timestamp()
             order by retry_at limit $1 for update skip locked
         )
         update seatkeeper.fill_marks m set retry_at = null from due where m.mark_id = any (array[due.mark_id])",
        A_PASS
    )
    .execute(&mut *transaction)
    .await?;
    fail_point!("hold.marks");
    transaction.commit().await?;
    fail_point!("hold.committed");
    Ok(again.rows_affected() + due.rows_affected() + parked.rows_affected() + resumed.rows_affected())
}
