//! The story for people.

use std::fmt::Write as _;

use super::Story;
use super::naive::Naive;
use super::plan::{EVENING, MORNING, NOON};
use super::sessions::Bookings;
use crate::cli::terminal::foreign;
use crate::cli::words::grouped;

/// The whole story as text, ready to print.
pub fn text(story: &Story) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = tell(&mut text, story);
    text
}

fn tell(text: &mut String, story: &Story) -> std::fmt::Result {
    let audit = &story.audit;
    writeln!(
        text,
        "{} players wanted the {} places of the Summer Cup; {} connections asked at once, {} workers answered.",
        grouped(story.players),
        grouped(story.seats),
        story.connections,
        story.workers
    )?;

    writeln!(
        text,
        "{} of them went for the sessions of the Open Camp as well. Once everybody had an answer, some gave places\nback, \
         some left the camp, and its owner added places in the evening.\n",
        grouped(story.campers)
    )?;

    writeln!(text, "  {:<26}{:>10}{:>10}{:>10}", "requests", "asked", "applied", "refused")?;
    let kinds = audit.by_kind.iter().map(|(kind, requests)| (kind.as_str(), requests));
    for (kind, requests) in kinds.chain([("all", &audit.requests)]) {
        writeln!(
            text,
            "    {kind:<24}{:>10}{:>10}{:>10}",
            grouped(requests.asked),
            grouped(requests.applied),
            grouped(requests.refused)
        )?;
    }
    if !audit.refused_by_reason.is_empty() {
        writeln!(text, "  refused because")?;
    }
    for (reason, count) in &audit.refused_by_reason {
        writeln!(text, "    {reason:<44}{:>10}", grouped(count))?;
    }

    tell_sessions(text, &audit.bookings)?;

    let doors = &audit.doors;
    writeln!(text, "  at the door")?;
    for (what, count) in [
        ("sent again: got the first receipt", doors.first_receipt),
        ("known ID, other content: refused (RC409)", doors.conflicts_refused),
        ("malformed: refused, field named (RC422)", doors.malformed_refused),
    ] {
        writeln!(text, "    {what:<44}{:>10}", grouped(count))?;
    }

    let speed = &story.speed;
    writeln!(
        text,
        "  speed\n    {} requests a second, first one sent to last one answered ({:.2} s)\n    \
         {} commits answered them: {:.0} requests per commit",
        grouped(speed.requests_per_second.round()),
        speed.seconds,
        grouped(speed.commits),
        speed.requests_per_commit
    )?;

    writeln!(text, "\n  does it add up?")?;
    for check in &story.checks {
        let verdict = if check.holds { "yes" } else { "NO " };
        writeln!(text, "    {verdict}  {:<13} {}", check.name, check.says)?;
    }
    writeln!(
        text,
        "{}",
        if story.adds_up {
            "    It adds up."
        } else {
            "    It does NOT add up. That is a defect: please report it, with the seed below."
        }
    )?;
    if let Some(naive) = &story.naive {
        tell_naive(text, naive)?;
    }
    writeln!(text, "\n(seed {}, PostgreSQL {}, {})", story.seed, story.postgres, foreign(&story.data_dir))
}

fn tell_sessions(text: &mut String, bookings: &Bookings) -> std::fmt::Result {
    let figures = ["places", "confirmed", "waiting", "moved up", "cancelled"];
    write!(text, "  {:<26}", "sessions of the camp")?;
    figures.iter().try_for_each(|figure| write!(text, "{figure:>10}"))?;
    writeln!(text)?;
    for session in &bookings.sessions {
        let name = match session.session_id {
            MORNING => "morning, 9 to 11".to_owned(),
            NOON => "noon, 10 to 12".to_owned(),
            EVENING => format!("evening, {} at first", session.places_at_first),
            other => format!("session {other}"),
        };
        writeln!(
            text,
            "    {name:<24}{:>10}{:>10}{:>10}{:>10}{:>10}",
            grouped(session.places),
            grouped(session.confirmed),
            grouped(session.waiting),
            grouped(session.promoted),
            grouped(session.cancelled)
        )?;
    }
    let promotions = &bookings.promotions;
    writeln!(text, "  moved up because")?;
    for (what, count) in [
        ("somebody gave a place back", promotions.by_cancelled_bookings),
        ("somebody left the camp", promotions.by_unenrollments),
        ("the owner added places: nobody asked", promotions.by_owners),
    ] {
        writeln!(text, "    {what:<44}{:>10}", grouped(count))?;
    }
    writeln!(text, "  bookings cancelled because")?;
    for (why, count) in &bookings.cancelled_because {
        let what = match why.as_str() {
            "requested" => "asked for (requested)",
            "unenrolled" => "left the camp (unenrolled)",
            "superseded" => "got a place at that time (superseded)",
            other => other,
        };
        writeln!(text, "    {what:<44}{:>10}", grouped(count))?;
    }
    Ok(())
}

fn tell_naive(text: &mut String, naive: &Naive) -> std::fmt::Result {
    writeln!(
        text,
        "\nThe same crowd, the usual way: count, then insert, then write the balance that was read\n({} connections, \
         plain tables in schema naive)\n",
        naive.connections
    )?;
    if naive.oversold == 0 {
        writeln!(
            text,
            "  By chance no place was oversold in {} tries. Nothing prevents it: try again, or with more --players.",
            naive.rounds
        )?;
    }
    for (what, count) in [
        ("places", naive.seats),
        ("sold", naive.sold),
        ("sold beyond the capacity", naive.oversold),
        ("users with two places in one semester", naive.enrolled_twice),
        ("users with a wrong balance", naive.wrong_balances),
    ] {
        writeln!(text, "    {what:<44}{:>10}", grouped(count))?;
    }
    if !naive.offending.is_empty() {
        writeln!(text, "  some of the rows")?;
        for row in &naive.offending {
            writeln!(text, "    {row}")?;
        }
        writeln!(text, "  what would fire")?;
        for alert in &naive.alerts {
            writeln!(text, "    {alert}")?;
        }
    }
    Ok(())
}
