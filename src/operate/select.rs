//! Which requests an operator is about to change: found once, so that what is changed is what was counted.

use std::collections::BTreeMap;

use seatkeeper_jobs::{Kind, Reason};
use sqlx::PgPool;
use uuid::Uuid;

use super::change::Change;
use super::filter::{Filter, interval};

/// Requests that can be changed, lane by lane, each lane in order of arrival; `None` = without a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Lane → requests.
    pub lanes: BTreeMap<Option<i64>, Vec<Uuid>>,
}

impl Selection {
    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lanes.values().map(Vec::len).sum()
    }

    fn add(&mut self, lane: Option<i64>, request: Uuid) {
        self.lanes.entry(lane).or_default().push(request);
    }
}

/// A request that was named and cannot be changed as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Which.
    pub request_id: Uuid,
    /// Where it is; `None` when the ID is not known.
    pub status: Option<String>,
}

/// Finds the requests that the filter lets through and the change is for; whatever status and outcome the filter
/// names is left out of account.
///
/// # Errors
/// When the database cannot be asked.
pub async fn select(pool: &PgPool, change: Change, filter: &Filter) -> sqlx::Result<Selection> {
    let rows = sqlx::query!(
        r#"
        -- operate.select
        select r.request_id, r.semester_id
        from seatkeeper.requests r
        where r.status = $1
          and ($2::text is null or r.kind = $2)
          and ($3::text is null or r.reason = $3)
          and ($4::bigint is null or r.user_id = $4)
          and ($5::bigint is null or r.semester_id = $5)
          and ($6::bigint is null or r.payload -> 'session_id' = to_jsonb($6::bigint)
               or r.payload -> 'booking_id' in (
                   select to_jsonb(b.booking_id) from seatkeeper.bookings b where b.session_id = $6))
          and ($7::interval is null or r.enqueued_at < statement_timestamp() - $7::interval)
          and ($8::interval is null or r.enqueued_at > statement_timestamp() - $8::interval)
          and ($9::text is null or r.enqueued_by = $9)
        order by r.seq
        "#,
        change.from().as_str(),
        filter.kind.map(Kind::as_str),
        filter.reason.map(Reason::as_str),
        filter.user,
        filter.semester,
        filter.session,
        interval(filter.older_than),
        interval(filter.newer_than),
        filter.enqueued_by
    )
    .fetch_all(pool)
    .await?;
    let mut selection = Selection::default();
    for row in rows {
        selection.add(row.semester_id, row.request_id);
    }
    Ok(selection)
}

/// Finds the requests with these IDs that the change is for, and tells the others apart.
///
/// # Errors
/// When the database cannot be asked.
pub async fn select_ids(
    pool: &PgPool,
    change: Change,
    request_ids: &[Uuid],
) -> sqlx::Result<(Selection, Vec<Other>)> {
    let rows = sqlx::query!(
        r#"
        -- operate.select_ids
        select r.request_id, r.semester_id, r.status
        from seatkeeper.requests r where r.request_id = any ($1) order by r.seq
        "#,
        request_ids
    )
    .fetch_all(pool)
    .await?;
    let mut selection = Selection::default();
    let mut others: Vec<Other> = request_ids
        .iter()
        .filter(|id| !rows.iter().any(|row| row.request_id == **id))
        .map(|id| Other { request_id: *id, status: None })
        .collect();
    for row in rows {
        if row.status == change.from().as_str() {
            selection.add(row.semester_id, row.request_id);
        } else {
            others.push(Other { request_id: row.request_id, status: Some(row.status) });
        }
    }
    Ok((selection, others))
}
