//! Requests without a lane, and the grants that go before other requests of their users.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Waiting, executable};

/// The most grants of one user that one batch looks at.
const GRANTS_OF_A_USER: usize = 64;

/// Locks ready requests that have no lane, in order of arrival, and some of those whose lanes, in these ranges, have no semester: as many
/// of both, and at most `limit`.
pub(in crate::batch) async fn lock_loose(
    connection: &mut PgConnection,
    unknown: &[(i64, i64)],
    limit: i64,
) -> sqlx::Result<Vec<Waiting>> {
    let (low, high): (Vec<i64>, Vec<i64>) = unknown.iter().copied().unzip();
    let of_unknown = if unknown.is_empty() { 0 } else { (limit + 1) / 2 };
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
            (select range.* from unnest($1::bigint[], $4::bigint[]) u (low, high)
            cross join lateral (
                select * from seatkeeper.requests r
                where r.semester_id >= u.low and r.semester_id <= u.high and r.status = 'queued' and r.hold is null
                  and r.seq < (array(
                      select case when exists (select from seatkeeper.pauses p where p.kind = k.kind) then 0
                                  else coalesce((select p.seq from seatkeeper.requests p
                                                 where p.kind = k.kind and p.status = 'queued' and p.hold = 'paused'
                                                 order by p.seq limit 1), 9223372036854775807) end
                      from unnest($3::text[]) with ordinality k (kind, ord) order by k.ord))[array_position($3, r.kind)]
                  and r.semester_id <> all (array(select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
                  and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)
                order by r.semester_id, r.seq limit $5
                for update skip locked
            ) range limit $5)
        ) r
        order by r.seq
        "#,
        &low,
        (limit - of_unknown).max(1),
        &executable(),
        &high,
        of_unknown
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

/// A ready grant that goes before what its user asked afterwards.
#[derive(Debug)]
pub(in crate::batch) struct Grant {
    request_id: Uuid,
    user_id: i64,
    pub(in crate::batch) seq: i64,
    /// Whether it is the last one that was looked for: behind it there may be more of the same user.
    is_last: bool,
}

impl Grant {
    /// Whether this transaction has it already, as a request of its own.
    pub(in crate::batch) fn is_one_of(&self, own: &HashSet<Uuid>) -> bool {
        own.contains(&self.request_id)
    }
}

/// Looks for the ready grants of users that arrived before the last of what is claimed of each (user → arrival); the more users, the
/// fewer of each, so that no more are found than two batches of `limit` have room for.
pub(in crate::batch) async fn find_grants(
    connection: &mut PgConnection,
    asked: &BTreeMap<i64, i64>,
    limit: usize,
) -> sqlx::Result<Vec<Grant>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let (users, before): (Vec<i64>, Vec<i64>) = asked.iter().unzip();
    let of_each = (2 * limit / asked.len()).clamp(1, GRANTS_OF_A_USER);
    let of_each = i64::try_from(of_each).unwrap_or(1);
    let rows = sqlx::query!(
        r#"
        -- claim.find_grants
        select r.request_id as "request_id!", r.user_id as "user_id!", r.seq as "seq!", r.position as "position!"
        from unnest($1::bigint[], $2::bigint[]) u (user_id, before)
        cross join lateral (
            select g.request_id, g.user_id, g.seq, row_number() over (order by g.seq) as position
            from (select * from seatkeeper.requests r
                  where r.user_id = u.user_id and r.kind = 'grant_credits' and r.status = 'queued' and r.hold is null
                    and not exists (select from seatkeeper.pauses p where p.kind = 'grant_credits')
                    and r.seq < least(u.before, coalesce((select p.seq from seatkeeper.requests p
                                                          where p.kind = 'grant_credits' and p.status = 'queued' and p.hold = 'paused'
                                                          order by p.seq limit 1), 9223372036854775807))
                  order by r.seq limit $3) g
        ) r
        "#,
        &users,
        &before,
        of_each
    )
    .fetch_all(connection)
    .await?;
    let grants = rows.into_iter().map(|row| Grant {
        request_id: row.request_id,
        user_id: row.user_id,
        seq: row.seq,
        is_last: row.position == of_each,
    });
    Ok(grants.collect())
}

/// Locks those of these grants that the batch has room for (up to the arrival `last`, or before what goes first of their users: user →
/// arrival), without waiting: who waited for a grant while
/// holding lanes or users could be waited for by the worker that holds the grant.
pub(in crate::batch) async fn lock_grants(
    connection: &mut PgConnection,
    ready: &[Grant],
    own: &HashSet<Uuid>,
    last: i64,
    first: &HashMap<i64, i64>,
) -> sqlx::Result<Grants> {
    let mut grants = Grants::default();
    let others: Vec<Uuid> = ready
        .iter()
        .filter(|grant| grant.seq <= last || first.get(&grant.user_id).is_some_and(|seq| grant.seq < *seq))
        .filter(|grant| !grant.is_one_of(own))
        .map(|grant| grant.request_id)
        .collect();
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
                where r.request_id = u.request_id limit 1 for update skip locked
            ) r
            where r.status = 'queued' and r.hold is null
            "#,
            &others
        )
        .fetch_all(connection)
        .await?;
    }

    let claimed: HashSet<Uuid> = grants.claimed.iter().map(|grant| grant.request_id).collect();
    for grant in ready {
        let is_ours = grant.is_one_of(own) || claimed.contains(&grant.request_id);
        let from = if !is_ours {
            grant.seq
        } else if grant.is_last {
            grant.seq + 1
        } else {
            continue;
        };
        grants.barred.entry(grant.user_id).and_modify(|seq| *seq = from.min(*seq)).or_insert(from);
    }
    Ok(grants)
}
