//! The due slot: the latest instant, up to now, at which a schedule falls due. Pure: no clock, no I/O.
//!
//! croner reads the expression and finds wall-clock times. What a wall-clock time means on the nights when the clocks
//! change is decided here, since croner's search backwards over a switch gives slots that move with `now`:
//!
//! - A time of the day (one second, one minute, one hour) falls due exactly once. When the clocks skip it, at the
//!   instant of the switch; when it comes twice, the first time.
//! - An interval (`*`, a step, a list) goes on in real time: skipped times are skipped, and an hour that comes twice
//!   counts twice.

use std::str::FromStr;

use chrono::{DateTime, Duration, DurationRound, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds};
use croner::{Cron, JobType};

/// Clocks are changed by less than this, and never twice within it.
const SWITCH: Duration = Duration::hours(3);
/// Wall-clock time and UTC differ by less than this.
const FARTHEST_OFFSET: Duration = Duration::hours(30);

/// When something falls due: a cron expression of six fields and a time zone. Valid once it exists.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
    expression: String,
}

/// Why an expression or a time zone is none, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoTimetable(String);

impl Timetable {
    /// Reads both.
    ///
    /// # Errors
    /// When one of them is none.
    pub fn new(expression: &str, zone: &str) -> Result<Self, NoTimetable> {
        Ok(Self { cron: cron(expression)?, zone: time_zone(zone)?, expression: expression.trim().to_owned() })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The time zone.
    #[must_use]
    pub const fn zone(&self) -> Tz {
        self.zone
    }

    /// The latest instant up to `now` at which it falls due, to the second; `None` when there is none in years.
    #[must_use]
    pub fn due_slot(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let fixed = matches!(self.cron.determine_job_type(), JobType::FixedTime);
        // While an hour comes for the second time, what was due late in its first pass has passed.
        let start = self.wall(now)?.max(now.naive_utc() + self.offset(now - SWITCH));
        let mut best: Option<(NaiveDateTime, DateTime<Utc>)> = None;
        let mut from = start;
        while let Some(wall) = previous(&self.cron, from) {
            if let Some((found, slot)) = best
                // Only where an hour comes twice can an earlier wall-clock time be the later instant.
                && (wall < found - SWITCH || !self.clocks_change_near(slot))
            {
                break;
            }
            let later = self.instants(wall, fixed).into_iter().flatten().filter(|slot| *slot <= now).max();
            if let Some(slot) = later
                && best.is_none_or(|(_, other)| slot > other)
            {
                best = Some((wall, slot));
            }
            from = wall - Duration::seconds(1);
        }
        best.map(|(_, slot)| slot)
    }

    /// The instants at which this wall-clock time counts.
    fn instants(&self, wall: NaiveDateTime, fixed: bool) -> [Option<DateTime<Utc>>; 2] {
        let utc = |local: DateTime<Tz>| local.with_timezone(&Utc);
        match self.zone.from_local_datetime(&wall) {
            chrono::LocalResult::Single(only) => [Some(utc(only)), None],
            chrono::LocalResult::Ambiguous(first, second) => {
                [Some(utc(first)), (!fixed).then(|| utc(second))]
            }
            chrono::LocalResult::None => [if fixed { self.switch_over(wall) } else { None }, None],
        }
    }

    /// The instant at which the clocks skip this wall-clock time.
    fn switch_over(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        let (mut before, mut after) = (wall.and_utc() - FARTHEST_OFFSET, wall.and_utc() + FARTHEST_OFFSET);
        while after - before > Duration::seconds(1) {
            let middle = before + Duration::seconds((after - before).num_seconds() / 2);
            if self.wall(middle)? < wall { before = middle } else { after = middle }
        }
        Some(after)
    }

    fn clocks_change_near(&self, instant: DateTime<Utc>) -> bool {
        self.offset(instant - SWITCH) != self.offset(instant + SWITCH)
    }

    fn offset(&self, instant: DateTime<Utc>) -> Duration {
        let offset = self.zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
        Duration::seconds(offset.local_minus_utc().into())
    }

    fn wall(&self, instant: DateTime<Utc>) -> Option<NaiveDateTime> {
        instant.naive_utc().checked_add_signed(self.offset(instant))
    }
}

/// Reads an expression of six fields: seconds, minutes, hours, days, months, days of the week.
///
/// # Errors
/// When it is none, or nothing ever falls due by it.
pub fn cron(expression: &str) -> Result<Cron, NoTimetable> {
    let fields = expression.split_whitespace().count();
    if fields != 6 {
        return Err(NoTimetable(format!(
            "{fields} fields; six are due: seconds, minutes, hours, days, months, days of the week, as in \"0 0 8 * * Mon\""
        )));
    }
    let parser = CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build();
    let cron = parser.parse(expression).map_err(|error| NoTimetable(error.to_string()))?;
    // A leap year after which every day of the year has been every day of the week.
    let end = chrono::NaiveDate::from_ymd_opt(2028, 12, 31).and_then(|day| day.and_hms_opt(23, 59, 59));
    if end.and_then(|end| previous(&cron, end)).is_none() {
        return Err(NoTimetable("nothing ever falls due by it".into()));
    }
    Ok(cron)
}

/// Reads the name of a time zone, such as `Europe/Berlin`.
///
/// # Errors
/// When there is none of that name.
pub fn time_zone(name: &str) -> Result<Tz, NoTimetable> {
    Tz::from_str(name).map_err(|_| {
        NoTimetable(format!(
            "no time zone is called {name:?}; names are those of the IANA, such as UTC or Europe/Berlin"
        ))
    })
}

/// The latest wall-clock time up to this one that the expression names.
fn previous(cron: &Cron, wall: NaiveDateTime) -> Option<NaiveDateTime> {
    // Read as UTC, which has no switches: what they mean is decided here.
    let whole = wall.and_utc().duration_trunc(Duration::seconds(1)).ok()?;
    cron.find_previous_occurrence(&whole, true).ok().map(|found| found.naive_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn slots(expression: &str, zone: &str, expected: &[(&str, &str)]) {
        let timetable = Timetable::new(expression, zone).unwrap();
        for (now, slot) in expected {
            assert_eq!(timetable.due_slot(at(now)), Some(at(slot)), "{expression} in {zone}, now {now}");
        }
    }

    /// 2026-11-23 is a Monday.
    #[test]
    fn monday_at_eight_in_utc() {
        slots(
            "0 0 8 * * Mon",
            "UTC",
            &[
                ("2026-11-23T08:00:00Z", "2026-11-23T08:00:00Z"),
                ("2026-11-23T08:00:00.999Z", "2026-11-23T08:00:00Z"),
                ("2026-11-23T07:59:59.999Z", "2026-11-16T08:00:00Z"),
                ("2026-11-29T23:59:59Z", "2026-11-23T08:00:00Z"),
                ("2026-11-30T08:00:01Z", "2026-11-30T08:00:00Z"),
            ],
        );
    }

    #[test]
    fn monday_at_eight_stays_eight_on_the_clock_in_berlin_over_both_switches() {
        slots(
            "0 0 8 * * Mon",
            "Europe/Berlin",
            &[
                // Winter: 08:00 is 07:00 UTC. The clocks go forward on Sunday, 2026-03-29 at 01:00 UTC.
                ("2026-03-23T06:59:59Z", "2026-03-16T07:00:00Z"),
                ("2026-03-23T07:00:00Z", "2026-03-23T07:00:00Z"),
                ("2026-03-30T05:59:59Z", "2026-03-23T07:00:00Z"),
                ("2026-03-30T06:00:00Z", "2026-03-30T06:00:00Z"),
                // And back on Sunday, 2026-10-25 at 01:00 UTC.
                ("2026-10-19T06:00:00Z", "2026-10-19T06:00:00Z"),
                ("2026-10-26T06:59:59Z", "2026-10-19T06:00:00Z"),
                ("2026-10-26T07:00:00Z", "2026-10-26T07:00:00Z"),
            ],
        );
    }

    #[test]
    fn a_time_that_the_clocks_skip_falls_due_at_the_switch() {
        slots(
            "0 30 2 * * *",
            "Europe/Berlin",
            &[
                ("2026-03-28T01:30:00Z", "2026-03-28T01:30:00Z"),
                ("2026-03-29T00:59:59Z", "2026-03-28T01:30:00Z"),
                ("2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"),
                ("2026-03-29T01:30:00Z", "2026-03-29T01:00:00Z"),
                ("2026-03-30T00:29:59Z", "2026-03-29T01:00:00Z"),
                ("2026-03-30T00:30:00Z", "2026-03-30T00:30:00Z"),
            ],
        );
    }

    #[test]
    fn a_time_that_comes_twice_falls_due_the_first_time_only() {
        slots(
            "0 30 2 * * *",
            "Europe/Berlin",
            &[
                ("2026-10-25T00:29:59Z", "2026-10-24T00:30:00Z"),
                ("2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z"),
                ("2026-10-25T01:10:00Z", "2026-10-25T00:30:00Z"),
                ("2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z"),
                ("2026-10-26T01:29:59Z", "2026-10-25T00:30:00Z"),
                ("2026-10-26T01:30:00Z", "2026-10-26T01:30:00Z"),
            ],
        );
    }

    #[test]
    fn every_hour_is_every_hour_in_real_time() {
        slots(
            "0 0 * * * *",
            "Europe/Berlin",
            &[
                ("2026-03-29T00:59:59Z", "2026-03-29T00:00:00Z"),
                ("2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"),
                ("2026-10-25T00:10:00Z", "2026-10-25T00:00:00Z"),
                ("2026-10-25T01:00:00Z", "2026-10-25T01:00:00Z"),
                ("2026-10-25T01:59:59Z", "2026-10-25T01:00:00Z"),
                ("2026-10-25T02:00:00Z", "2026-10-25T02:00:00Z"),
            ],
        );
        slots(
            "0 */30 * * * *",
            "Europe/Berlin",
            &[
                ("2026-10-25T00:59:59Z", "2026-10-25T00:30:00Z"),
                ("2026-10-25T01:10:00Z", "2026-10-25T01:00:00Z"),
                ("2026-10-25T01:30:00Z", "2026-10-25T01:30:00Z"),
            ],
        );
    }

    /// Minute by minute over both switches: the due slot never moves back, is never in the future, and is due itself.
    #[test]
    fn slots_never_move_back() {
        for expression in [
            "0 30 2 * * *",
            "0 0 8 * * Mon",
            "0 0 3 * * Sun",
            "0 0 * * * *",
            "0 */7 * * * *",
            "0 15,45 2 * * *",
        ] {
            for (zone, day) in [
                ("Europe/Berlin", "2026-03-28T12:00:00Z"),
                ("Europe/Berlin", "2026-10-24T12:00:00Z"),
                ("America/New_York", "2026-03-07T12:00:00Z"),
                ("America/New_York", "2026-10-31T12:00:00Z"),
                ("Australia/Lord_Howe", "2026-04-04T00:00:00Z"),
                ("Australia/Lord_Howe", "2026-10-03T00:00:00Z"),
            ] {
                let timetable = Timetable::new(expression, zone).unwrap();
                let mut last = None;
                for minute in 0..2 * 24 * 60 {
                    let now = at(day) + Duration::minutes(minute);
                    let slot = timetable.due_slot(now).unwrap();
                    assert!(
                        slot <= now && last.is_none_or(|last| slot >= last),
                        "{expression} {zone} {now}: {slot}"
                    );
                    assert_eq!(timetable.due_slot(slot), Some(slot), "{expression} {zone} {now}");
                    last = Some(slot);
                }
            }
        }
    }

    #[test]
    fn what_is_no_timetable_is_refused_in_words() {
        for (expression, word) in [
            ("0 8 * * Mon", "5 fields"),
            ("0 0 8 * * Mon 2026", "7 fields"),
            ("0 0 25 * * *", ""),
            ("0 0 8 * * Mo", ""),
            ("", "0 fields"),
            ("0 0 8 30 2 *", "nothing ever"),
        ] {
            let error = Timetable::new(expression, "UTC").unwrap_err().to_string();
            assert!(error.contains(word), "{expression}: {error}");
        }
        for zone in ["Berlin", "", "CEST", "europe/berlin "] {
            assert!(
                Timetable::new("0 0 8 * * Mon", zone).unwrap_err().to_string().contains("time zone"),
                "{zone}"
            );
        }
    }
}
