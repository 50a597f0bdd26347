//! Who may still commit what arrived earlier: transactions that are open.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::floors::Floors;

/// The transactions that are open and can have drawn the number of a request: whoever does holds a lock on the table from before that
/// until its end. Transactions of other databases, and those that write other tables only, have none.
pub(crate) async fn drawing(connection: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"-- claim.drawing
           select min(l.id) as "id!"
           from (
               select k.virtualtransaction,
                      -- Its own: who waits for a transaction asks for a lock on the ID of that one. With the epoch, which locks lack.
                      case when k.locktype = 'transactionid' and k.granted and k.mode = 'ExclusiveLock'
                           then n.next - ((n.next - k.transactionid::text::bigint) & 4294967295) end as id,
                      k.locktype = 'relation' and k.relation = $1::text::regclass and k.database = n.database
                          and k.mode not in ('AccessShareLock', 'RowShareLock') as can_draw
               from pg_catalog.pg_locks k
               cross join (
                   select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint as next,
                          (select d.oid from pg_catalog.pg_database d where d.datname = current_database()) as database
               ) n
               where k.pid is distinct from pg_catalog.pg_backend_pid()
           ) l
           group by l.virtualtransaction
           having min(l.id) is not null and bool_or(l.can_draw)"#,
        "seatkeeper.requests"
    )
    .fetch_all(connection)
    .await
}

/// Which of these transactions are over.
pub(crate) async fn over(connection: &mut PgConnection, owed: &[i64]) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"-- claim.over
           select o.id as "id!" from unnest($1::bigint[]) o (id)
           where pg_catalog.pg_visible_in_snapshot(o.id::text::xid8, pg_catalog.pg_current_snapshot())"#,
        owed
    )
    .fetch_all(connection)
    .await
}

/// Looks which of the transactions that floors are in debt to are over, and reads once what they were owed.
pub(in crate::batch) async fn settle(connection: &mut PgConnection, floors: &mut Floors) -> sqlx::Result<()> {
    let owed = floors.owed();
    if owed.is_empty() {
        return Ok(());
    }
    let over = over(&mut *connection, &owed).await?;
    if over.is_empty() {
        return Ok(());
    }
    let due = floors.due(&over);
    let lanes: Vec<i64> = due.iter().map(|(lane, ..)| *lane).collect();
    let low: Vec<i64> = due.iter().map(|(_, low, _)| *low).collect();
    let high: Vec<i64> = due.iter().map(|(.., high)| *high).collect();
    let found = sqlx::query!(
        r#"-- claim.late
           select d.semester_id as "semester_id!", r.seq
           from unnest($1::bigint[], $2::bigint[], $3::bigint[]) d (semester_id, low, high)
           cross join lateral (
               select r.seq from seatkeeper.requests r
               where r.semester_id = d.semester_id and r.status = 'queued' and r.hold is null
                 and r.seq >= d.low and r.seq < d.high
               order by r.seq limit 1
           ) r"#,
        &lanes,
        &low,
        &high
    )
    .fetch_all(connection)
    .await?;
    let mut lowest: BTreeMap<i64, i64> = BTreeMap::new();
    for row in found {
        lowest.entry(row.semester_id).and_modify(|seq| *seq = row.seq.min(*seq)).or_insert(row.seq);
    }
    floors.settle(&over, &lowest);
    Ok(())
}
