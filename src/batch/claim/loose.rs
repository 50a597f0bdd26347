//! Requests without a lane, and the grants that go before other requests of their users.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Waiting, executable};

/// The most grants of one user that one batch looks at.
const GRANTS_OF_A_USER: i64 = 64;

/// Locks ready requests that have no lane, or whose lane has no semester, in order of arrival.
pub(in crate::batch) async fn lock_loose(
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
pub(in crate::batch) struct Grants {
    /// Locked by this transaction.
    pub(in crate::batch) claimed: Vec<Waiting>,
    /// User → the arrival from which on their requests have to wait for a later batch.
    pub(in crate::batch) barred: HashMap<i64, i64>,
}

/// Looks for the ready grants of these users, and locks them without waiting: who waited for a grant while holding
/// lanes or users could be waited for by the worker that holds the grant.
pub(in crate::batch) async fn lock_grants(
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
