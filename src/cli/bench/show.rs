//! The results for people.

use std::fmt::Write as _;

use super::figures::Summary;
use super::growth::Growth;
use super::results::Results;
use crate::cli::words::grouped;

/// All of it, as text.
pub fn text(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, results);
    text
}

fn write(text: &mut String, results: &Results) -> std::fmt::Result {
    let scale = &results.scale;
    writeln!(
        text,
        "{}; {} rounds, shuffled (seed {}); {} requests a measurement, {} users, {} semesters",
        results.server,
        results.rounds,
        results.seed,
        grouped(scale.requests),
        grouped(scale.users),
        grouped(scale.semesters)
    )?;
    match results.fdatasync_ms {
        Some(time) => writeln!(text, "one fdatasync takes {time:.2} ms")?,
        None => writeln!(text, "the server's disk and processors cannot be looked at from here")?,
    }
    let mut load = None;
    for cell in &results.cells {
        if load != Some(cell.load) {
            load = Some(cell.load);
            writeln!(
                text,
                "\n  {:42} {:>10} {:>9} {:>9} {:>7} {:>14}",
                cell.load.name(),
                "a second",
                "per sync",
                "CPU ms",
                "pages",
                "times as fast"
            )?;
        }
        let ratio = cell.beside_one_call.map(|ratio| {
            if results.rounds == 1 {
                format!("{:.1}", ratio.middle)
            } else {
                format!("{:.1} ({:.1}-{:.1})", ratio.middle, ratio.smallest, ratio.largest)
            }
        });
        line(text, &cell.way, &cell.summary, &ratio.unwrap_or_default())?;
    }
    writeln!(text, "\n  {:42} {:>10} {:>9} {:>9}", "what producers get", "a second", "per sync", "CPU ms")?;
    for door in &results.doors {
        line(text, door.door.name(), &door.summary, "")?;
    }
    if let Some(summary) = &results.long_queue {
        writeln!(text, "\n  with {} more waiting in the semester", grouped(scale.waiting))?;
        line(text, "Seatkeeper, batches of 500, 1 worker", summary, "")?;
    }
    if let Some(latency) = &results.latency {
        writeln!(
            text,
            "\n  a lone request is answered in {:.0} ms (the middle of {}), 90 of 100 in {:.0}, 99 of 100 in {:.0}, all in {:.0} ms",
            latency.p50_ms, latency.requests, latency.p90_ms, latency.p99_ms, latency.longest_ms
        )?;
    }
    writeln!(text, "\n  targets")?;
    for target in &results.targets {
        let verdict = match target.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "-",
        };
        writeln!(
            text,
            "    {verdict:7} {:68} {:8.2}, wanted {:.2}{}",
            target.name,
            target.measured,
            target.wanted,
            target.why_not_judged.map(|why| format!(" ({why})")).unwrap_or_default()
        )?;
    }
    writeln!(
        text,
        "\nEvery measurement was verified: all requests answered, counters and balances as the rows say; in the first round\nof each, every answer and balance was audited."
    )
}

fn line(text: &mut String, name: &str, summary: &Summary, ratio: &str) -> std::fmt::Result {
    writeln!(
        text,
        "    {:40} {:>10} {:>9.1} {:>9} {:>7} {:>14}",
        name,
        grouped(format!("{:.0}", summary.per_second)),
        summary.requests_per_sync,
        or_nothing(summary.cpu_ms, 3),
        or_nothing(summary.pages_per_claim, 0),
        ratio
    )
}

/// The curves, as text.
pub fn growth(growth: &Growth) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_growth(&mut text, growth);
    text
}

fn write_growth(text: &mut String, growth: &Growth) -> std::fmt::Result {
    for curve in &growth.curves {
        writeln!(text, "{}", curve.name)?;
        writeln!(
            text,
            "  {:>32} {:>10} {:>9} {:>9} {:>7}",
            curve.grows, "a second", "per sync", "CPU ms", "pages"
        )?;
        for point in &curve.points {
            writeln!(
                text,
                "  {:>32} {:>10} {:>9} {:>9} {:>7}",
                grouped(point.size),
                grouped(format!("{:.0}", point.per_second)),
                or_nothing(point.requests_per_sync, 1),
                or_nothing(point.cpu_ms, 3),
                or_nothing(point.pages_per_claim, 0)
            )?;
        }
    }
    let removal = &growth.removal;
    writeln!(
        text,
        "removal of old requests: {} in all, {:.0} a second; the hot load before it {:.0} a second, meanwhile {:.0}, after it {:.0}",
        grouped(removal.requests),
        removal.per_second,
        removal.before,
        removal.meanwhile,
        removal.after
    )
}

fn or_nothing(value: Option<f64>, digits: usize) -> String {
    value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
}
