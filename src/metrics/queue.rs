//! The queue: how many requests wait, and for how long the oldest of them.
//!
//! Each state is a reading of its own with a bound of its own, so that one of them cannot hide the others.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use seatkeeper_jobs::Kind;
use sqlx::PgConnection;

use super::shared::{family, sample};
use crate::batch::{BUSY, Floors, Found, Known, Lesson, Snapshot, drawing, over};

/// Depths are exact up to here, so that a scrape costs no more with ten million waiting.
const CAP: i64 = 100_000;

/// By kind.
pub(super) type Counts = BTreeMap<String, i64>;

/// What is ready of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ready {
    count: i64,
    oldest: f64,
}

pub(super) fn kinds() -> Vec<String> {
    Kind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect()
}

/// What is ready, by kind, read from these floors on; the lanes of the floors are the places of the kinds in [`Kind::ALL`].
pub(super) async fn ready(
    connection: &mut PgConnection,
    floors: &mut Floors,
    known: &Known,
) -> sqlx::Result<BTreeMap<String, Ready>> {
    let began = std::time::Instant::now();
    let lanes: Vec<i64> = (0..).take(Kind::ALL.len()).collect();
    // Before the reading: whoever has drawn a number up to this one was under way then, or is in the reading.
    let drawn = sqlx::query_scalar!(
        r#"-- metrics.drawn
           select last_value as "drawn!" from seatkeeper.requests_seq_seq"#
    )
    .fetch_one(&mut *connection)
    .await?;
    // The same way: who is not there then is over, and in the reading.
    let drawing = if floors.are_held_up(&lanes) { Some(drawing(&mut *connection).await?) } else { None };
    let from: Vec<i64> = lanes.iter().map(|lane| known.floor(*lane)).collect();
    let rows = sqlx::query!(
        r#"-- metrics.ready
           select k.kind as "kind!", r.count as "count!", r.lowest, r.highest,
                  (select extract(epoch from clock_timestamp() - greatest(r2.enqueued_at, r2.run_at))::float8
                   from seatkeeper.requests r2
                   where r2.kind = k.kind and r2.status = 'queued' and r2.hold is null and r2.seq >= r.lowest
                   order by r2.seq limit 1) as oldest,
                  (select pg_snapshot_xmin(pg_current_snapshot())::text::bigint) as "running_from!",
                  (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint) as "running_below!"
           from unnest($1::text[], $2::bigint[]) k (kind, floor)
           cross join lateral (
               select count(*) as count, min(x.seq) as lowest, max(x.seq) as highest
               from (select r.seq from seatkeeper.requests r
                     where r.kind = k.kind and r.status = 'queued' and r.hold is null and r.seq >= k.floor
                     order by r.seq limit $3) x
           ) r"#,
        &kinds(),
        &from,
        CAP
    )
    .fetch_all(&mut *connection)
    .await?;

    let mut ready = BTreeMap::new();
    let mut found = HashMap::new();
    let mut snapshot = None;
    for (lane, row) in lanes.iter().zip(rows) {
        snapshot = Some(Snapshot {
            running_from: row.running_from,
            running_below: row.running_below,
            // What a pause keeps out of sight is set aside or ready, and takes its place by a trigger when it returns.
            is_whole: true,
        });
        // Where nothing is ready, the queue begins behind all that was drawn.
        let lowest = row.lowest.unwrap_or(drawn + 1);
        let highest = row.highest.unwrap_or(drawn + 1);
        found.insert(*lane, Found { lowest, highest, count: BUSY });
        ready.insert(row.kind, Ready { count: row.count, oldest: row.oldest.unwrap_or(0.0) });
    }
    if let Some(snapshot) = snapshot {
        let (lanes, drawing, took) = (&*lanes, drawing.as_deref(), began.elapsed());
        floors.learn(&Lesson { lanes, known, snapshot, found, is_cut: false, drawing, took });
    }
    add_returned(connection, &from, &mut ready).await?;
    Ok(ready)
}

/// Adds what returned to the queue below the floors: it has an index of its own.
async fn add_returned(
    connection: &mut PgConnection,
    floors: &[i64],
    ready: &mut BTreeMap<String, Ready>,
) -> sqlx::Result<()> {
    if floors.iter().all(|floor| *floor == 0) {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"-- metrics.returned
           select r.kind as "kind!", count(*) as "count!",
                  extract(epoch from clock_timestamp() - min(r.since))::float8 as "oldest!"
           from (select r.kind, r.seq, greatest(r.enqueued_at, r.run_at) as since from seatkeeper.requests r
                 where r.returned and r.status = 'queued' and r.hold is null
                 order by r.semester_id, r.seq limit $3) r
           where r.seq < ($2::bigint[])[array_position($1::text[], r.kind)]
           group by r.kind"#,
        &kinds(),
        floors,
        CAP
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let ready = ready.entry(row.kind).or_default();
        ready.count = (ready.count + row.count).min(CAP);
        ready.oldest = ready.oldest.max(row.oldest);
    }
    Ok(())
}

/// Lowers the floors by which a transaction that is over by now may have brought something.
pub(super) async fn settle(connection: &mut PgConnection, floors: &mut Floors) -> sqlx::Result<()> {
    let owed = floors.owed();
    if owed.is_empty() {
        return Ok(());
    }
    let over = over(connection, &owed).await?;
    let mut lowest = BTreeMap::new();
    for (lane, low, _) in floors.due(&over) {
        lowest.entry(lane).and_modify(|seq: &mut i64| *seq = low.min(*seq)).or_insert(low);
    }
    floors.settle(&over, &lowest);
    Ok(())
}

/// What waits for its time: of the next [`CAP`] in all, by kind.
pub(super) async fn scheduled(connection: &mut PgConnection) -> sqlx::Result<Counts> {
    let rows = sqlx::query!(
        r#"-- metrics.scheduled
           select r.kind as "kind!", count(*) as "count!"
           from (select r.kind from seatkeeper.requests r where r.status = 'queued' and r.hold = 'scheduled'
                 order by r.run_at limit $1) r
           group by r.kind"#,
        CAP
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.count)).collect())
}

/// What failed, up to [`CAP`] of each kind.
pub(super) async fn failed(connection: &mut PgConnection) -> sqlx::Result<Counts> {
    let rows = sqlx::query!(
        r#"-- metrics.failed
           select k.kind as "kind!",
                  (select count(*) from (select from seatkeeper.requests r where r.kind = k.kind
                      and r.status = 'failed' order by r.finished_at limit $2) x) as "count!"
           from unnest($1::text[]) k (kind)"#,
        &kinds(),
        CAP
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.count)).collect())
}

pub(super) fn render(
    text: &mut String,
    ready: Option<&BTreeMap<String, Ready>>,
    scheduled: Option<&Counts>,
    failed: Option<&Counts>,
) {
    let name = "seatkeeper_queue_depth";
    family(text, name, "gauge", "Requests that are not answered, up to 100000 each");
    for kind in kinds() {
        let ready = ready.map(|ready| ready.get(&kind).map_or(0, |ready| ready.count));
        let of = |counts: Option<&Counts>| counts.map(|counts| counts.get(&kind).copied().unwrap_or(0));
        for (state, depth) in [("ready", ready), ("scheduled", of(scheduled)), ("failed", of(failed))] {
            if let Some(depth) = depth {
                sample(text, name, &format!("kind=\"{kind}\",state=\"{state}\""), depth);
            }
        }
    }
    let name = "seatkeeper_queue_oldest_ready_age_seconds";
    family(text, name, "gauge", "Age of the oldest request that is ready; 0 when there is none");
    for kind in kinds() {
        let Some(ready) = ready else { break };
        let age = ready.get(&kind).map_or(0.0, |ready| ready.oldest.max(0.0));
        sample(text, name, &format!("kind=\"{kind}\""), age);
    }
}

/// Reading from the beginning, to see whether the floors are still right, takes no longer than this.
pub(super) const WHOLE_WITHIN: Duration = Duration::from_millis(250);
