//! A run for people, at three in the morning too.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use seatkeeper::invariants::guards::Trouble;
use seatkeeper::invariants::{Invariant, Outcome, Run, Status, invariant};
use serde_json::Value;

use crate::cli::doctor::shortened;
use crate::cli::words::grouped;

/// Rows that are shown of each invariant.
const SHOWN: usize = 8;
/// The longest that one row is shown, in characters.
const LONGEST_ROW: usize = 240;

/// The run as text. `troubles` = what is wrong with the guards now; `None` = they could not be looked at.
pub fn text(run: &Run, troubles: Option<&[Trouble]>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = tell(&mut text, run, troubles);
    text
}

fn tell(text: &mut String, run: &Run, troubles: Option<&[Trouble]>) -> std::fmt::Result {
    let count = |status| run.results.iter().filter(|outcome| outcome.status == status).count();
    let (violated, unknown) = (count(Status::Violated), count(Status::Unknown));
    writeln!(
        text,
        "Roll call {}: as of {}, {:.1} s\n",
        run.run_id,
        instant(run.started_at),
        (run.finished_at - run.started_at).as_seconds_f64()
    )?;
    for outcome in &run.results {
        let summary = invariant(&outcome.invariant).map_or("", |known| &known.summary);
        let mark = match outcome.status {
            Status::Holds => "ok",
            Status::Violated => "VIOLATED",
            Status::Unknown => "UNKNOWN",
        };
        let accepted = match outcome.accepted {
            0 => String::new(),
            rows => format!(" ({} accepted)", grouped(rows)),
        };
        writeln!(text, "  {mark:<9} {:<8} {summary}{accepted}", outcome.invariant)?;
    }
    for outcome in run.results.iter().filter(|outcome| outcome.status != Status::Holds) {
        match invariant(&outcome.invariant) {
            Some(known) => tell_one(text, known, outcome, troubles)?,
            None => writeln!(text, "\n{}: this version does not know it", outcome.invariant)?,
        }
    }
    // Accepted ones count where the header says so: beyond its threshold that is bad news, violated or not.
    for outcome in
        run.results.iter().filter(|outcome| outcome.status == Status::Holds && outcome.is_bad_news())
    {
        writeln!(
            text,
            "\n{}: {} rows offend, more than may be, though all of them are accepted",
            outcome.invariant,
            grouped(outcome.violations.unwrap_or_default())
        )?;
    }
    let verdict = match (violated, unknown) {
        (0, 0) => "Everything holds.".to_owned(),
        (0, _) => format!("{unknown} could not be evaluated: nobody knows whether they hold."),
        (_, 0) => format!("{violated} violated."),
        _ => format!("{violated} violated; {unknown} could not be evaluated."),
    };
    writeln!(text, "\n{verdict}")
}

fn tell_one(
    text: &mut String,
    known: &Invariant,
    outcome: &Outcome,
    troubles: Option<&[Trouble]>,
) -> std::fmt::Result {
    let severity = known.severity.as_str();
    writeln!(text, "\n{} ({severity}): {}", known.id, known.summary)?;
    if let Some(error) = &outcome.error {
        let todo = "remove the cause (a lock, a missing right, a timeout that is too short), and check again";
        return writeln!(text, "  unknown   could not be evaluated: {error}\n  to do     {todo}");
    }
    let violations = outcome.violations.unwrap_or_default();
    let since = outcome.since.map(|since| format!(", the first since {}", instant(since)));
    let accepted = match outcome.accepted {
        0 => String::new(),
        rows => format!("; {} more are accepted", grouped(rows)),
    };
    let rows = violations - outcome.accepted;
    writeln!(
        text,
        "  broken    {} offend{}{}{accepted}",
        if rows == 1 { "1 row".to_owned() } else { format!("{} rows", grouped(rows)) },
        if rows == 1 { "s" } else { "" },
        since.unwrap_or_default()
    )?;
    if known.alert_above > 0 {
        let all = if known.counts_accepted { ", accepted ones included" } else { "" };
        writeln!(text, "            bad news only beyond {}{all}", known.alert_above)?;
    }
    let open: Vec<&Value> = outcome.sample.iter().filter(|row| row["accepted"] != true).collect();
    for (place, row) in open.iter().take(SHOWN).enumerate() {
        writeln!(text, "  {:<9} {}", if place == 0 { "rows" } else { "" }, one_row(known, row))?;
    }
    let more = rows - i64::try_from(open.len().min(SHOWN)).unwrap_or_default();
    if more > 0 {
        writeln!(text, "            and {} more", grouped(more))?;
    }
    tell_guards(text, known, troubles)?;
    // A step to a line.
    writeln!(text, "  to do     {}", known.repair.replace(". ", ".\n            "))?;
    let of_this = troubles.into_iter().flatten().filter(|trouble| trouble.invariant == known.id);
    let mut statements: Vec<&String> = Vec::new();
    for sql in of_this.flat_map(|trouble| &trouble.repair) {
        // All triggers of a table are enabled at once.
        if !statements.contains(&sql) {
            statements.push(sql);
        }
    }
    for (place, sql) in statements.into_iter().enumerate() {
        writeln!(text, "  {:<9} {};", if place == 0 { "sql" } else { "" }, shortened(sql))?;
    }
    Ok(())
}

fn tell_guards(text: &mut String, known: &Invariant, troubles: Option<&[Trouble]>) -> std::fmt::Result {
    if let Some(why) = &known.unguarded {
        return writeln!(text, "  guard     none: {why}");
    }
    for (place, guard) in known.guards.iter().enumerate() {
        let state = match troubles {
            None => "could not be looked at".to_owned(),
            Some(troubles) => match troubles.iter().find(|trouble| trouble.name == *guard) {
                Some(trouble) => format!("should have held: {}", trouble.problem.to_uppercase()),
                None => "is live now".to_owned(),
            },
        };
        writeln!(text, "  {:<9} {guard} {state}", if place == 0 { "guard" } else { "" })?;
    }
    Ok(())
}

/// `user_id 7, semester_id 3: enrollments 2; since 2026-11-02 08:00:00 UTC`
fn one_row(known: &Invariant, sample: &Value) -> String {
    let says = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let key: Vec<String> =
        known.key.iter().map(|column| format!("{column} {}", says(&sample["key"][column]))).collect();
    let rest: Vec<String> = sample["row"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(column, value)| !known.key.contains(column) && !value.is_null())
        // Told below, one by one.
        .filter(|(column, _)| !(known.takes_manifest && *column == "repair"))
        .map(|(column, value)| format!("{column} {}", says(value)))
        .collect();
    let mut line = key.join(", ");
    if !rest.is_empty() {
        line = format!("{line}: {}", rest.join(", "));
    }
    if line.chars().count() > LONGEST_ROW {
        line = line.chars().take(LONGEST_ROW).chain(['…']).collect();
    }
    let since = sample["first_seen"].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    match since {
        Some(since) => format!("{line}; since {}", instant(since)),
        None => line,
    }
}

pub fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
