//! Claim: which requests this batch answers, and the locks that make them its own.
//!
//! A semester's row is its lane. Whoever holds it owns the queue of the semester until commit, so the requests
//! of a lane need no lock of their own, and arrival order holds with any number of workers. Lanes are taken with
//! `skip locked`: workers never wait for each other here. What is ready in a lane is read in a later statement
//! than the one that locked it: an older snapshot would show requests that the former holder has just answered.
//!
//! Of a paused kind nothing is claimed, and after the pause nothing that arrived later than what is still parked
//! ([`super::hold`] puts that back by and by): each claim reads with the requests a bound for every kind, and a kind
//! without a rule has none. (Only by that bound: by `kind = any (…)` the planner took the index of the kinds, and read the
//! whole queue for one request.) Pauses are read again with the requests of a lane, under its lock: one that was there
//! before the lock counts.
//!
//! Requests without a lane (grants, and those whose semester, session or booking does not exist) are claimed by their own
//! row lock. A lane also brings its marked sessions, which are filled before its requests are answered.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use seatkeeper_jobs::Kind;
use sqlx::PgConnection;
use uuid::Uuid;

/// The most lanes that one pass looks at, so that its cost does not grow with the number of semesters.
const LANES_A_PASS: i64 = 64;
/// The most grants of one user that one batch looks at.
const GRANTS_OF_A_USER: i64 = 64;

/// A request as it waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) request_id: Uuid,
    pub(super) seq: i64,
    pub(super) kind: String,
    /// As text, and `None` beyond 8 KiB: what is stored may be any jsonb, also one that no client library reads.
    pub(super) payload: Option<String>,
    pub(super) attempts: i32,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) semester_id: Option<i64>,
    pub(super) user_id: Option<i64>,
    /// Enqueued, or due.
    pub(super) waiting_since: DateTime<Utc>,
    pub(super) traceparent: Option<String>,
}

/// Where in the ring of lanes the next batch begins to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cursor(i64);

impl Cursor {
    /// Begins behind this lane.
    pub(super) const fn after(lane: i64) -> Self {
        Self(lane)
    }
}

/// What a pass over the lanes found.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Locked by this transaction.
    pub(super) held: Vec<i64>,
    /// Without a semester.
    pub(super) unknown: Vec<i64>,
    /// Whether others hold lanes that have something ready.
    pub(super) busy: bool,
    /// Where the next pass goes on.
    pub(super) next: Cursor,
}

/// Locks lanes that have ready requests or marked sessions, beginning behind the cursor, until they hold `limit` requests. Where the ring
/// ends before any was found, it goes on at its start: one hot lane is found again at once.
pub(super) async fn lock_lanes(
    connection: &mut PgConnection,
    cursor: Cursor,
    limit: i64,
) -> sqlx::Result<Lanes> {
    let lanes = pass(connection, cursor, limit).await?;
    let found = !lanes.held.is_empty() || !lanes.unknown.is_empty();
    if found || cursor == Cursor::default() || lanes.next != Cursor::default() {
        return Ok(lanes);
    }
    let again = pass(connection, Cursor::default(), limit).await?;
    Ok(Lanes { busy: again.busy || lanes.busy, ..again })
}

/// One pass, up to the end of the ring. That it finds none says nothing about the lanes before the cursor.
async fn pass(connection: &mut PgConnection, cursor: Cursor, limit: i64) -> sqlx::Result<Lanes> {
    // Everything here is evaluated row by row, so the limit at the end keeps lanes that are not needed unlocked.
    let rows = sqlx::query!(
        r#"
        -- claim.lock_lanes
        with recursive
        -- an index skip scan: one probe for each lane that has something ready, however much
        lane (semester_id) as (
            select least((select r.semester_id from seatkeeper.requests r
                          where r.status = 'queued' and r.hold is null and r.semester_id > $1
                          order by r.semester_id limit 1),
                         (select m.semester_id from seatkeeper.fill_marks m
                          where m.retry_at is null and m.semester_id > $1
                          order by m.semester_id limit 1))
            union all
            select least((select r.semester_id from seatkeeper.requests r
                          where r.status = 'queued' and r.hold is null and r.semester_id > lane.semester_id
                          order by r.semester_id limit 1),
                         (select m.semester_id from seatkeeper.fill_marks m
                          where m.retry_at is null and m.semester_id > lane.semester_id
                          order by m.semester_id limit 1))
            from lane where lane.semester_id is not null
        )
        select l.semester_id as "semester_id!",
               held.semester_id is not null as "is_held!",
               exists (select from seatkeeper.semesters s where s.semester_id = l.semester_id) as "is_known!"
        from (select lane.semester_id from lane where lane.semester_id is not null limit $2) l
        left join lateral (
            select s.semester_id from seatkeeper.semesters s
            where s.semester_id = l.semester_id
              and l.semester_id <> all (array(select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
              and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
            for no key update of s skip locked
        ) held on true
        left join lateral (
            select r.seq from seatkeeper.requests r
            where r.semester_id = held.semester_id and r.status = 'queued' and r.hold is null
            order by r.seq limit $3
        ) ready on true
        limit $3
        "#,
        cursor.0,
        LANES_A_PASS,
        limit
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
    // A pass that reached the end of the ring begins at its start next time.
    lanes.next = match rows.last() {
        Some(last) if i64::try_from(rows.len()).is_ok_and(|found| found >= limit.min(LANES_A_PASS)) => {
            Cursor::after(last.semester_id)
        }
        _ => Cursor::default(),
    };
    Ok(lanes)
}

/// The ready requests of lanes that are held, in order of arrival.
pub(super) async fn read_lanes(
    connection: &mut PgConnection,
    held: &[i64],
    limit: i64,
) -> sqlx::Result<Vec<Waiting>> {
    sqlx::query_as!(
        Waiting,
        r#"
        -- claim.read_lanes
        select r.request_id as "request_id!", r.seq as "seq!", r.kind as "kind!",
               case when octet_length(r.body) <= 8192 then r.body end as payload,
               r.attempts as "attempts!", r.expires_at, r.semester_id, r.user_id,
               greatest(r.enqueued_at, r.run_at) as "waiting_since!", r.traceparent
        from unnest($1::bigint[]) held (semester_id)
        cross join lateral (
            select r.*, r.payload::text as body from seatkeeper.requests r
            where r.semester_id = held.semester_id and r.status = 'queued' and r.hold is null
              and r.seq < (array(
                  select case when exists (select from seatkeeper.pauses p where p.kind = k.kind) then 0
                              else coalesce((select p.seq from seatkeeper.requests p
                                             where p.kind = k.kind and p.status = 'queued' and p.hold = 'paused'
                                             order by p.seq limit 1), 9223372036854775807) end
                  from unnest($3::text[]) with ordinality k (kind, ord) order by k.ord))[array_position($3, r.kind)]
              and r.semester_id <> all (array(select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
              and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
            order by r.seq limit $2
        ) r
        order by r.seq
        limit $2
        "#,
        held,
        limit,
        &executable()
    )
    .fetch_all(connection)
    .await
}

/// A session whose waitlist may be able to move, without anybody having asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) mark_id: i64,
    pub(super) session_id: i64,
}

/// The marked sessions of lanes that are held, the oldest mark first.
pub(super) async fn read_marks(
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

/// Locks ready requests that have no lane, or whose lane has no semester, in order of arrival.
pub(super) async fn lock_loose(
    connection: &mut PgConnection,
    unknown: &[i64],
    limit: i64,
) -> sqlx::Result<Vec<Waiting>> {
    sqlx::query_as!(
        Waiting,
        r#"
        -- claim.lock_loose
        select r.request_id as "request_id!", r.seq as "seq!", r.kind as "kind!",
               case when octet_length(r.payload::text) <= 8192 then r.payload::text end as payload,
               r.attempts as "attempts!", r.expires_at, r.semester_id, r.user_id,
               greatest(r.enqueued_at, r.run_at) as "waiting_since!", r.traceparent
        from (
            select * from (select * from seatkeeper.requests r
             where r.semester_id is null and r.status = 'queued' and r.hold is null
               and r.seq < (array(
                   select case when exists (select from seatkeeper.pauses p where p.kind = k.kind) then 0
                               else coalesce((select p.seq from seatkeeper.requests p
                                              where p.kind = k.kind and p.status = 'queued' and p.hold = 'paused'
                                              order by p.seq limit 1), 9223372036854775807) end
                   from unnest($3::text[]) with ordinality k (kind, ord) order by k.ord))[array_position($3, r.kind)]
               and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
             order by r.seq limit $2
             for update skip locked) loose
            union all
            select lane.* from unnest($1::bigint[]) u (semester_id)
            cross join lateral (
                select * from seatkeeper.requests r
                where r.semester_id = u.semester_id and r.status = 'queued' and r.hold is null
                  and r.seq < (array(
                      select case when exists (select from seatkeeper.pauses p where p.kind = k.kind) then 0
                                  else coalesce((select p.seq from seatkeeper.requests p
                                                 where p.kind = k.kind and p.status = 'queued' and p.hold = 'paused'
                                                 order by p.seq limit 1), 9223372036854775807) end
                      from unnest($3::text[]) with ordinality k (kind, ord) order by k.ord))[array_position($3, r.kind)]
                  and r.semester_id <> all (array(select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
                  and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
                order by r.seq limit $2
                for update skip locked
            ) lane
        ) r
        order by r.seq
        "#,
        unknown,
        limit,
        &executable()
    )
    .fetch_all(connection)
    .await
}

/// The grants that have to be answered before other requests of their users, and the users for whom that is not
/// possible in this batch.
#[derive(Debug, Default)]
pub(super) struct Grants {
    /// Locked by this transaction.
    pub(super) claimed: Vec<Waiting>,
    /// User → the arrival from which on their requests have to wait for a later batch.
    pub(super) barred: HashMap<i64, i64>,
}

/// Looks for the ready grants of these users, and locks them without waiting: who waited for a grant while holding
/// lanes or users could be waited for by the worker that holds the grant.
pub(super) async fn lock_grants(
    connection: &mut PgConnection,
    users: &[i64],
    own: &HashSet<Uuid>,
) -> sqlx::Result<Grants> {
    let ready = sqlx::query!(
        r#"
        -- claim.find_grants
        select r.request_id as "request_id!", r.user_id as "user_id!", r.seq as "seq!", r.position as "position!"
        from unnest($1::bigint[]) u (user_id)
        cross join lateral (
            select g.request_id, g.user_id, g.seq, row_number() over (order by g.seq) as position
            from (select * from seatkeeper.requests r
                  where r.user_id = u.user_id and r.kind = 'grant_credits' and r.status = 'queued' and r.hold is null
                    and not exists (select from seatkeeper.pauses p where p.kind = 'grant_credits')
                    and r.seq < coalesce((select p.seq from seatkeeper.requests p
                                          where p.kind = 'grant_credits' and p.status = 'queued' and p.hold = 'paused'
                                          order by p.seq limit 1), 9223372036854775807)
                  order by r.seq limit $2) g
        ) r
        "#,
        users,
        GRANTS_OF_A_USER
    )
    .fetch_all(&mut *connection)
    .await?;

    let mut grants = Grants::default();
    let others: Vec<Uuid> =
        ready.iter().map(|grant| grant.request_id).filter(|id| !own.contains(id)).collect();
    if !others.is_empty() {
        grants.claimed = sqlx::query_as!(
            Waiting,
            r#"
            -- claim.lock_grants
            select r.request_id as "request_id!", r.seq as "seq!", r.kind as "kind!",
                   case when octet_length(r.payload::text) <= 8192 then r.payload::text end as payload,
                   r.attempts as "attempts!", r.expires_at, r.semester_id, r.user_id,
                   greatest(r.enqueued_at, r.run_at) as "waiting_since!", r.traceparent
            from unnest($1::uuid[]) u (request_id)
            cross join lateral (
                select * from seatkeeper.requests r
                where r.request_id = u.request_id and r.status = 'queued' and r.hold is null
                limit 1 for update skip locked
            ) r
            "#,
            &others
        )
        .fetch_all(&mut *connection)
        .await?;
    }

    let claimed: HashSet<Uuid> = grants.claimed.iter().map(|grant| grant.request_id).collect();
    for grant in &ready {
        let is_ours = own.contains(&grant.request_id) || claimed.contains(&grant.request_id);
        // Beyond the last grant that was looked at there may be more.
        let from = if !is_ours {
            grant.seq
        } else if grant.position == GRANTS_OF_A_USER {
            grant.seq + 1
        } else {
            continue;
        };
        grants.barred.entry(grant.user_id).and_modify(|seq| *seq = from.min(*seq)).or_insert(from);
    }
    Ok(grants)
}

/// The kinds that this build has rules for. Requests of any other kind stay in the queue, untouched.
fn executable() -> Vec<String> {
    Kind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect()
}
