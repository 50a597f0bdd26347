//! Lanes: which semesters have something ready, the locks on them, and what is ready in them.

use std::time::Instant;

use sqlx::PgConnection;

use super::floors::{Known, Reading, Snapshot};
use super::{Waiting, executable};

/// So many lanes a pass looks at, however small its batch, so that it gets past lanes that others hold. A larger batch
/// looks at as many as it has room for requests: its cost goes with the batch, not with the number of semesters.
const LANES_A_PASS: i64 = 64;

/// Where in the ring of lanes the next batch begins to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::batch) struct Cursor(i64);

impl Cursor {
    /// Begins behind this lane.
    pub(in crate::batch) const fn after(lane: i64) -> Self {
        Self(lane)
    }
}

/// What a pass over the lanes found.
#[derive(Debug, Default)]
pub(in crate::batch) struct Lanes {
    /// Locked by this transaction.
    pub(in crate::batch) held: Vec<i64>,
    /// Without a semester.
    pub(in crate::batch) unknown: Vec<i64>,
    /// Whether others hold lanes that have something ready.
    pub(in crate::batch) busy: bool,
    /// Where the next pass goes on.
    pub(in crate::batch) next: Cursor,
}

/// Locks lanes that have ready requests or marked sessions, beginning behind the cursor, until they hold `limit` requests. Where the ring
/// ends before any was found, it goes on at its start: one hot lane is found again at once.
pub(in crate::batch) async fn lock_lanes(
    connection: &mut PgConnection,
    cursor: Cursor,
    limit: i64,
    known: &Known,
) -> sqlx::Result<Lanes> {
    let lanes = pass(connection, cursor, limit, known).await?;
    let found = !lanes.held.is_empty() || !lanes.unknown.is_empty();
    if found || cursor == Cursor::default() || lanes.next != Cursor::default() {
        return Ok(lanes);
    }
    let again = pass(connection, Cursor::default(), limit, known).await?;
    Ok(Lanes { busy: again.busy || lanes.busy, ..again })
}

/// One pass, up to the end of the ring. That it finds none says nothing about the lanes before the cursor.
async fn pass(
    connection: &mut PgConnection,
    cursor: Cursor,
    limit: i64,
    known: &Known,
) -> sqlx::Result<Lanes> {
    // Everything here is evaluated row by row, so the limit at the end keeps lanes that are not needed unlocked; and each
    // request is a row: what is asked of a lane that is held is not asked once more for each of them.
    let rows = sqlx::query!(
        r#"
        -- claim.lock_lanes
        with recursive
        -- An index skip scan: one probe for each lane that has something ready, however much. It steps over the lanes with a
        -- floor, whose dead entries it would read, and probes each of them from its floor on.
        lane (semester_id, is_ready) as (
            select $1::bigint, false
            union all
            select n.semester_id,
                   case when n.is_ready then true
                        -- Not "exists", which knows no order: only the index of the lanes has this one, and a plan made
                        -- when there was next to nothing would read through another index from end to end.
                        else coalesce((select true from seatkeeper.requests r
                                       where r.semester_id = n.semester_id and r.status = 'queued' and r.hold is null
                                         and r.seq >= ($5::bigint[])[array_position($4::bigint[], n.semester_id)]
                                       order by r.seq limit 1),
                                      (select true from seatkeeper.requests r
                                       where r.semester_id = n.semester_id and r.status = 'queued' and r.hold is null
                                         and r.returned
                                       order by r.seq limit 1), false) end
            from lane
            cross join lateral (
                select coalesce(u.semester_id, least(k.semester_id, m.semester_id)) as semester_id,
                       u.semester_id is not null or m.semester_id <= k.semester_id or k.semester_id is null as is_ready
                from (select min(l) as semester_id from unnest($4::bigint[]) l where l > lane.semester_id) k
                cross join lateral (
                    select (select m.semester_id from seatkeeper.fill_marks m
                            where m.retry_at is null and m.semester_id > lane.semester_id
                            order by m.semester_id limit 1) as semester_id
                ) m
                cross join lateral (
                    select (select r.semester_id from seatkeeper.requests r
                            where r.status = 'queued' and r.hold is null and r.semester_id > lane.semester_id
                              and r.semester_id <= coalesce(least(k.semester_id, m.semester_id) - 1, 9223372036854775807)
                            order by r.semester_id limit 1) as semester_id
                ) u
            ) n
            where n.semester_id is not null
        )
        select l.semester_id as "semester_id!",
               held.semester_id is not null as "is_held!",
               (held.semester_id is not null
                   -- No "exists", which may be turned into a walk through all semesters.
                   or (select true from seatkeeper.semesters s where s.semester_id = l.semester_id) is not null) as "is_known!"
        from (select lane.semester_id from lane where lane.is_ready limit $2) l
        left join lateral (
            select s.semester_id from seatkeeper.semesters s
            where s.semester_id = l.semester_id
              and l.semester_id <> all (array(select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
              and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
            for no key update of s skip locked
        ) held on true
        left join lateral (
            (select r.seq from seatkeeper.requests r
             where r.semester_id = held.semester_id and r.status = 'queued' and r.hold is null
               and r.seq >= coalesce(($5::bigint[])[array_position($4::bigint[], held.semester_id)], 0)
             order by r.seq limit $3)
            union all
            (select r.seq from seatkeeper.requests r
             where r.semester_id = held.semester_id and r.status = 'queued' and r.hold is null and r.returned
               and r.seq < ($5::bigint[])[array_position($4::bigint[], held.semester_id)]
             order by r.seq limit $3)
        ) ready on true
        limit $3
        "#,
        cursor.0,
        limit.max(LANES_A_PASS),
        limit,
        &known.lanes,
        &known.floors
    )
    .fetch_all(connection)
    .await?;

    let mut lanes = Lanes::default();
    for row in &rows {
        let (list, known) =
            if row.is_held { (&mut lanes.held, true) } else { (&mut lanes.unknown, row.is_known) };
        if !row.is_held && known {
            lanes.busy = true;
        } else if list.last() != Some(&row.semester_id) {
            list.push(row.semester_id);
        }
    }
    // A pass that reached the end of the ring begins at its start next time. (Each lane gives a row at least.)
    lanes.next = match rows.last() {
        Some(last) if i64::try_from(rows.len()).is_ok_and(|found| found >= limit) => {
            Cursor::after(last.semester_id)
        }
        _ => Cursor::default(),
    };
    Ok(lanes)
}

/// The ready requests of lanes that are held, in order of arrival.
pub(in crate::batch) async fn read_lanes(
    connection: &mut PgConnection,
    held: &[i64],
    limit: i64,
    known: &Known,
) -> sqlx::Result<Reading> {
    let began = Instant::now();
    let floors: Vec<i64> = held.iter().map(|lane| known.floor(*lane)).collect();
    let lows: Vec<i64> = held.iter().map(|lane| known.low(*lane)).collect();
    let rows = sqlx::query!(
        r#"
        -- claim.read_lanes
        select r.request_id as "request_id!", r.seq as "seq!", r.kind as "kind!",
               case when octet_length(r.body) <= 8192 then r.body end as payload,
               r.attempts as "attempts!", r.expires_at, r.semester_id as "semester_id!", r.user_id,
               greatest(r.enqueued_at, r.run_at) as "waiting_since!", r.traceparent,
               (select pg_snapshot_xmin(pg_current_snapshot())::text::bigint) as "running_from!",
               (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint) as "running_below!",
               not exists (select from seatkeeper.pauses)
                   and not exists (select from seatkeeper.requests p where p.status = 'queued' and p.hold = 'paused') as "is_whole!"
        from (
            -- Whoever is owed something and is over by now: what that is can be seen from here.
            select h.semester_id,
                   case when (select bool_or(pg_visible_in_snapshot(o.id::text::xid8, pg_current_snapshot()))
                              from unnest($6::bigint[]) o (id)) then h.low else h.floor end as floor
            from unnest($1::bigint[], $4::bigint[], $5::bigint[]) h (semester_id, floor, low)
        ) held
        cross join lateral (
            select r.*, r.payload::text as body from (
                (select * from seatkeeper.requests a
                 where a.semester_id = held.semester_id and a.status = 'queued' and a.hold is null and a.seq >= held.floor
                   and a.seq < (array(
                       select case when exists (select from seatkeeper.pauses p where p.kind = k.kind) then 0
                                   else coalesce((select p.seq from seatkeeper.requests p
                                                  where p.kind = k.kind and p.status = 'queued' and p.hold = 'paused'
                                                  order by p.seq limit 1), 9223372036854775807) end
                       from unnest($3::text[]) with ordinality k (kind, ord) order by k.ord))[array_position($3, a.kind)]
                   and a.semester_id <> all (array(select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
                   and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
                 order by a.seq limit $2)
                union all
                (select * from seatkeeper.requests b
                 where b.semester_id = held.semester_id and b.status = 'queued' and b.hold is null
                   and b.returned and b.seq < held.floor
                   and b.seq < (array(
                       select case when exists (select from seatkeeper.pauses p where p.kind = k.kind) then 0
                                   else coalesce((select p.seq from seatkeeper.requests p
                                                  where p.kind = k.kind and p.status = 'queued' and p.hold = 'paused'
                                                  order by p.seq limit 1), 9223372036854775807) end
                       from unnest($3::text[]) with ordinality k (kind, ord) order by k.ord))[array_position($3, b.kind)]
                   and b.semester_id <> all (array(select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
                   and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
                 order by b.seq limit $2)
            ) r
            order by r.seq limit $2
        ) r
        order by r.seq
        limit $2
        "#,
        held,
        limit,
        &executable(),
        &floors,
        &lows,
        &known.owed
    )
    .fetch_all(connection)
    .await?;
    let snapshot = rows.first().map(|row| Snapshot {
        running_from: row.running_from,
        running_below: row.running_below,
        is_whole: row.is_whole,
    });
    let is_cut = i64::try_from(rows.len()).is_ok_and(|found| found >= limit);
    let waiting = rows
        .into_iter()
        .map(|row| Waiting {
            request_id: row.request_id,
            seq: row.seq,
            kind: row.kind,
            payload: row.payload,
            attempts: row.attempts,
            expires_at: row.expires_at,
            semester_id: Some(row.semester_id),
            user_id: row.user_id,
            waiting_since: row.waiting_since,
            traceparent: row.traceparent,
        })
        .collect();
    Ok(Reading { waiting, snapshot, is_cut, took: began.elapsed() })
}

/// A session whose waitlist may be able to move, without anybody having asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::batch) struct Mark {
    pub(in crate::batch) mark_id: i64,
    pub(in crate::batch) session_id: i64,
}

/// The marked sessions of lanes that are held, the oldest mark first.
pub(in crate::batch) async fn read_marks(
    connection: &mut PgConnection,
    held: &[i64],
    limit: i64,
) -> sqlx::Result<Vec<Mark>> {
    sqlx::query_as!(
        Mark,
        r#"
        -- claim.read_marks
        select m.mark_id as "mark_id!", m.session_id as "session_id!"
        from unnest($1::bigint[]) held (semester_id)
        cross join lateral (
            select * from seatkeeper.fill_marks m
            where m.semester_id = held.semester_id and m.retry_at is null
              and m.semester_id <> all (array(select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
              and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
            order by m.mark_id limit $2
        ) m
        order by m.mark_id
        limit $2
        "#,
        held,
        limit
    )
    .fetch_all(connection)
    .await
}
