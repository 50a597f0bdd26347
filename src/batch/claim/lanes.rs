//! Lanes: which semesters have something ready, the locks on them, and what is ready in them.

use std::time::Instant;

use sqlx::PgConnection;

use super::floors::{Known, Reading, Snapshot};
use super::{Waiting, executable};

/// So many lanes a pass looks at, however small its batch. A larger batch looks at as many as it has room for requests: the cost goes
/// with the batch, not with the number of semesters.
const LANES_A_PASS: i64 = 512;

/// A lane where no more than this is ready is quiet, and does not wait for its turn in the ring; of the others, this many go before what
/// there is room for besides.
pub(in crate::batch) const QUIET: usize = 8;

/// Where in the ring of lanes the next batch begins to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::batch) struct Cursor(i64);

impl Cursor {
    /// Begins behind this lane.
    pub(in crate::batch) const fn after(lane: i64) -> Self {
        Self(lane)
    }
}

/// How a batch is shared out among lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::batch) struct Shares {
    /// The most requests of the batch.
    limit: i64,
    /// What a quiet lane has at most. 0: the batch is so small (a failure is being hunted down) that all lanes only take turns.
    quiet: i64,
    /// What a full lane has for certain when it is its turn.
    quantum: i64,
}

impl Shares {
    /// Of a batch of at most this many requests.
    pub(in crate::batch) fn of(limit: usize) -> Self {
        let is_small = limit < 2 * QUIET;
        let of = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        Self {
            limit: of(limit),
            quiet: if is_small { 0 } else { of(QUIET) },
            quantum: of(if is_small { limit } else { (limit / QUIET).max(QUIET) }),
        }
    }

    /// The number of a lane's first requests that go before what there is room for besides.
    pub(in crate::batch) fn first(self) -> usize {
        usize::try_from(self.quiet).unwrap_or_default()
    }
}

/// What a pass over the lanes found.
#[derive(Debug, Default)]
pub(in crate::batch) struct Lanes {
    /// Locked by this transaction.
    pub(in crate::batch) held: Vec<i64>,
    /// Without a semester: from each of these on and up to the other.
    pub(in crate::batch) unknown: Vec<(i64, i64)>,
    /// Whether others hold lanes that have something ready.
    pub(in crate::batch) busy: bool,
    /// How many requests are ready in the lanes that are held, as far as that was counted.
    pub(in crate::batch) ready: i64,
    /// The most that the batch has room for of one lane.
    pub(in crate::batch) most: i64,
    /// Where the next pass goes on.
    pub(in crate::batch) next: Cursor,
}

/// Locks lanes that have ready requests or marked sessions, beginning behind the cursor and once round the ring: full ones until the batch
/// is full, each for its quantum, and all that are quiet, as long as they take no more than half of the batch from the full ones.
///
/// So a lone request waits for a batch, not for everybody else's; and lanes that are full take turns. What has no semester is no lane:
/// between one semester and the next, all of it counts once.
pub(in crate::batch) async fn lock_lanes(
    connection: &mut PgConnection,
    cursor: Cursor,
    shares: Shares,
    known: &Known,
) -> sqlx::Result<Lanes> {
    let window = shares.limit.max(LANES_A_PASS);
    // Everything here is evaluated row by row, so the limits at the ends keep lanes that are not needed unlocked; and each
    // request is a row: what is asked of a lane that is held is not asked once more for each of them.
    let rows = sqlx::query!(
        r#"
        -- claim.lock_lanes
        with recursive
        -- An index skip scan: one probe for each lane that has something ready, however much. It steps over the lanes with a
        -- floor, whose dead entries it would read, and probes each of them from its floor on. At the end of the ring it goes on at
        -- its start, up to the cursor.
        lane (semester_id, upto, is_ready, is_known, is_round) as (
            select $1::bigint, $1::bigint, false, false, $1::bigint = 0
            union all
            select coalesce(n.semester_id, 0), coalesce(n.upto, 0),
                   case when n.is_ready then true
                        when n.semester_id is null then false
                        -- Not "exists", which knows no order: only the index of the lanes has this one, and a plan made
                        -- when there was next to nothing would read through another index from end to end.
                        else coalesce((select true from seatkeeper.requests r
                                       where r.semester_id = n.semester_id and r.status = 'queued' and r.hold is null
                                         and r.seq >= ($5::bigint[])[array_position($4::bigint[], n.semester_id)]
                                       order by r.seq limit 1),
                                      (select true from seatkeeper.requests r
                                       where r.semester_id = n.semester_id and r.status = 'queued' and r.hold is null
                                         and r.returned
                                       order by r.seq limit 1), false) end,
                   coalesce(n.is_known, false), lane.is_round or n.semester_id is null
            from lane
            left join lateral (
                select c.semester_id, c.is_ready, s.is_known,
                       -- Whatever has no semester, up to the next one that there is.
                       case when s.is_known then c.semester_id
                            else coalesce((select s.semester_id from seatkeeper.semesters s where s.semester_id > c.semester_id
                                           order by s.semester_id limit 1) - 1, 9223372036854775807) end as upto
                from (
                    select coalesce(u.semester_id, least(k.semester_id, m.semester_id)) as semester_id,
                           u.semester_id is not null or m.semester_id <= k.semester_id or k.semester_id is null as is_ready
                    from (select min(l) as semester_id from unnest($4::bigint[]) l where l > lane.upto) k
                    cross join lateral (
                        select (select m.semester_id from seatkeeper.fill_marks m
                                where m.retry_at is null and m.semester_id > lane.upto
                                order by m.semester_id limit 1) as semester_id
                    ) m
                    cross join lateral (
                        select (select r.semester_id from seatkeeper.requests r
                                where r.status = 'queued' and r.hold is null and r.semester_id > lane.upto
                                  and r.semester_id <= coalesce(least(k.semester_id, m.semester_id) - 1, 9223372036854775807)
                                order by r.semester_id limit 1) as semester_id
                    ) u
                ) c
                cross join lateral (
                    -- No "exists", which may be turned into a walk through all semesters.
                    select (select true from seatkeeper.semesters s where s.semester_id = c.semester_id) is not null as is_known
                ) s
                where c.semester_id is not null
            ) n on true
            where case when n.semester_id is null then not lane.is_round
                       else $1::bigint = 0 or not lane.is_round or n.semester_id <= $1::bigint end
        ),
        probed as (
            select l.semester_id, l.upto, l.is_known,
                   $6::bigint = 0 or l.is_known and (
                       (select true from seatkeeper.requests r
                        where r.semester_id = l.semester_id and r.status = 'queued' and r.hold is null
                          and r.seq >= coalesce(($5::bigint[])[array_position($4::bigint[], l.semester_id)], 0)
                        order by r.seq offset $6::bigint limit 1) is not null
                       or (select true from seatkeeper.requests r
                           where r.semester_id = l.semester_id and r.status = 'queued' and r.hold is null and r.returned
                           order by r.seq offset $6::bigint limit 1) is not null) as is_full
            from lane l where l.is_ready limit $2
        ),
        taken as materialized (
            select l.semester_id, l.upto, l.is_known, held.semester_id is not null as is_held
            from probed l
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
                 order by r.seq limit $7)
                union all
                (select r.seq from seatkeeper.requests r
                 where r.semester_id = held.semester_id and r.status = 'queued' and r.hold is null and r.returned
                   and r.seq < ($5::bigint[])[array_position($4::bigint[], held.semester_id)]
                 order by r.seq limit $7)
            ) ready on true
            where l.is_full
            limit $3
        )
        select t.semester_id as "semester_id!", t.upto as "upto!", t.is_known as "is_known!", t.is_held as "is_held!",
               true as "is_full!"
        from taken t
        union all
        (select l.semester_id, l.upto, l.is_known, held.semester_id is not null, false
         from probed l
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
              order by r.seq limit $6)
             union all
             (select r.seq from seatkeeper.requests r
              where r.semester_id = held.semester_id and r.status = 'queued' and r.hold is null and r.returned
                and r.seq < ($5::bigint[])[array_position($4::bigint[], held.semester_id)]
              order by r.seq limit $6)
         ) ready on true
         where not l.is_full
         limit (select case when count(*) > 0 then $3 / 2 else $3 end from taken))
        "#,
        cursor.0,
        window,
        shares.limit,
        &known.lanes,
        &known.floors,
        shares.quiet,
        shares.quantum
    )
    .fetch_all(connection)
    .await?;

    let rows = rows.into_iter().map(|row| Row {
        semester_id: row.semester_id,
        // A pass that began among what has no semester ends there.
        upto: if row.semester_id <= cursor.0 { row.upto.min(cursor.0) } else { row.upto },
        is_known: row.is_known,
        is_held: row.is_held,
        is_full: row.is_full,
    });
    Ok(tell(rows, cursor, shares, window))
}

/// A lane of a pass, or a request of it.
struct Row {
    semester_id: i64,
    upto: i64,
    is_known: bool,
    is_held: bool,
    is_full: bool,
}

/// What the rows of a pass say: first those of the full lanes, then of the quiet ones, each in the order of the ring.
fn tell(rows: impl Iterator<Item = Row>, cursor: Cursor, shares: Shares, window: i64) -> Lanes {
    let mut lanes = Lanes::default();
    let (mut full, mut quiet, mut looked_at) = (0, 0, 0);
    let (mut last_full, mut last_quiet, mut before) = (0, 0, None);
    for row in rows {
        lanes.ready += i64::from(row.is_held);
        let (count, last) =
            if row.is_full { (&mut full, &mut last_full) } else { (&mut quiet, &mut last_quiet) };
        *count += 1;
        *last = row.upto;
        if before.replace(row.semester_id) == Some(row.semester_id) {
            continue;
        }
        looked_at += 1;
        if row.is_held {
            lanes.held.push(row.semester_id);
        } else if row.is_known {
            lanes.busy = true;
        } else {
            lanes.unknown.push((row.semester_id, row.upto));
        }
    }
    lanes.most = shares.quantum + (shares.limit - lanes.ready).max(0);
    let room_of_quiet = if full > 0 { shares.limit / 2 } else { shares.limit };
    // A pass that saw the whole ring begins at its start next time. (Each lane gives a row at least.)
    lanes.next = if full >= shares.limit {
        Cursor::after(last_full)
    } else if quiet > 0 && quiet >= room_of_quiet {
        Cursor::after(last_quiet)
    } else if looked_at >= window {
        // Of the two, the one that is further round the ring.
        let place = |lane: &i64| (*lane <= cursor.0, *lane);
        let last = [last_full, last_quiet].into_iter().filter(|lane| *lane > 0).max_by_key(place);
        last.map_or(Cursor::default(), Cursor::after)
    } else {
        Cursor::default()
    };
    lanes
}

/// The ready requests of lanes that are held, in order of arrival: at most `limit`, and of each lane at most `most`. The first ones of each
/// lane go before what there is room for besides.
pub(in crate::batch) async fn read_lanes(
    connection: &mut PgConnection,
    held: &[i64],
    limit: i64,
    most: i64,
    shares: Shares,
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
            select r.*, r.payload::text as body, row_number() over (order by r.seq) as place from (
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
                 order by a.seq limit $7)
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
                 order by b.seq limit $7)
            ) r
            order by r.seq limit $7
        ) r
        order by r.place > $8, r.seq
        limit $2
        "#,
        held,
        limit,
        &executable(),
        &floors,
        &lows,
        &known.owed,
        most,
        shares.quiet
    )
    .fetch_all(connection)
    .await?;
    let snapshot = rows.first().map(|row| Snapshot {
        running_from: row.running_from,
        running_below: row.running_below,
        is_whole: row.is_whole,
    });
    let is_cut = i64::try_from(rows.len()).is_ok_and(|found| found >= limit);
    let mut waiting: Vec<Waiting> = rows
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
    waiting.sort_unstable_by_key(|request| request.seq);
    Ok(Reading { waiting, snapshot, is_cut, took: began.elapsed() })
}
