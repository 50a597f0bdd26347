//! The schedules as the database has them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::{Plan, Schedule, Timetable};

/// A slot that is due and has not been run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The slot.
    pub slot: DateTime<Utc>,
    /// For how long finished requests are kept, in seconds; only retention has it.
    pub retain_seconds: Option<i64>,
}

/// How a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Which.
    pub schedule: Schedule,
    /// The latest slot that was run.
    pub last_slot: Option<DateTime<Utc>>,
    /// When that was finished.
    pub last_finished_at: Option<DateTime<Utc>>,
    /// The latest slot that fell due, whether it was run or not; `None` until the first one.
    pub due_slot: Option<DateTime<Utc>>,
    /// The expression and the time zone, in words.
    pub timetable: String,
    /// The database's clock.
    pub now: DateTime<Utc>,
}

impl State {
    /// For how long the due slot has been waiting to be run, in seconds; 0 when none is.
    #[must_use]
    pub fn overdue_seconds(&self) -> i64 {
        match self.due_slot {
            Some(due) if self.last_slot.is_none_or(|last| last < due) => (self.now - due).num_seconds(),
            _ => 0,
        }
    }
}

/// Writes down what is on the schedule. What is new or changed has nothing due from before this moment; what the
/// plan does not have is taken off. The replica that starts last decides.
///
/// # Errors
/// When the database cannot be reached, or refuses.
pub async fn keep(pool: &PgPool, plan: &Plan) -> sqlx::Result<()> {
    let timetables = plan.timetables().map_err(|error| sqlx::Error::Configuration(error.into()))?;
    let names: Vec<String> = timetables.iter().map(|(schedule, _)| schedule.as_str().to_owned()).collect();
    for (schedule, timetable) in &timetables {
        let retain = plan.retain.filter(|_| *schedule == Schedule::Retention);
        let retain = retain.map(|retain| i64::try_from(retain.as_secs()).unwrap_or(i64::MAX));
        sqlx::query!(
            "-- schedule.keep
             insert into seatkeeper.schedules as s (schedule, expression, time_zone, retain_seconds)
             values ($1, $2, $3, $4)
             on conflict (schedule) do update
                 set expression = excluded.expression, time_zone = excluded.time_zone,
                     retain_seconds = excluded.retain_seconds, since = greatest(s.since, clock_timestamp())
                 where (s.expression, s.time_zone, s.retain_seconds)
                     is distinct from (excluded.expression, excluded.time_zone, excluded.retain_seconds)",
            schedule.as_str(),
            timetable.expression(),
            timetable.zone().name(),
            retain
        )
        .execute(pool)
        .await?;
    }
    sqlx::query!(
        "-- schedule.take_off
         delete from seatkeeper.schedules where schedule <> all ($1)",
        &names
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The slot of this schedule that is due now and has not been run.
///
/// # Errors
/// When the database cannot be asked, or has an expression that this build cannot read.
pub async fn due(connection: &mut PgConnection, schedule: Schedule) -> sqlx::Result<Option<Due>> {
    let row = sqlx::query!(
        r#"-- schedule.due
           select expression, time_zone, since, last_slot, retain_seconds, clock_timestamp() as "now!"
           from seatkeeper.schedules where schedule = $1"#,
        schedule.as_str()
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let slot = slot_after(&row.expression, &row.time_zone, row.since, row.now)?;
    let due = slot.filter(|slot| row.last_slot.is_none_or(|last| last < *slot));
    Ok(due.map(|slot| Due { slot, retain_seconds: row.retain_seconds }))
}

/// How all schedules stand.
///
/// # Errors
/// As [`due`].
pub async fn states(connection: &mut PgConnection) -> sqlx::Result<Vec<State>> {
    let rows = sqlx::query!(
        r#"-- schedule.states
           select schedule, expression, time_zone, since, last_slot, last_finished_at, clock_timestamp() as "now!"
           from seatkeeper.schedules order by schedule"#
    )
    .fetch_all(connection)
    .await?;
    let mut states = Vec::new();
    for row in rows {
        let Some(schedule) = Schedule::named(&row.schedule) else { continue };
        states.push(State {
            schedule,
            last_slot: row.last_slot,
            last_finished_at: row.last_finished_at,
            due_slot: slot_after(&row.expression, &row.time_zone, row.since, row.now)?.max(row.last_slot),
            timetable: format!("{} in {}", row.expression, row.time_zone),
            now: row.now,
        });
    }
    Ok(states)
}

/// Writes down that a slot has been run.
///
/// # Errors
/// When the database cannot be reached, or refuses.
pub async fn finish(
    connection: &mut PgConnection,
    schedule: Schedule,
    slot: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- schedule.finish
         update seatkeeper.schedules set last_slot = $2, last_finished_at = clock_timestamp()
         where schedule = $1 and (last_slot is null or last_slot < $2)",
        schedule.as_str(),
        slot
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn slot_after(
    expression: &str,
    zone: &str,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let timetable =
        Timetable::new(expression, zone).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    Ok(timetable.due_slot(now).filter(|slot| *slot > since))
}
