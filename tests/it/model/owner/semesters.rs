//! What owners do to semesters.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::super::stage::{CLUBS, SEMESTERS, SEMESTERS_WITHOUT_FIXED_DEADLINE};
use super::{Change, Table};

/// One place fewer than are taken, where any is.
pub fn too_few_places(rng: &mut ChaCha8Rng) -> Change {
    let id = rng.random_range(1..=SEMESTERS);
    Change::of(Table::Semesters, id, "max_players = abs(enrolled_count - 1)")
}

/// A club that somebody cancelled or closed: open again, or there would soon be nobody left to book.
pub fn reopened() -> Change {
    let (first, last) = (CLUBS.start(), CLUBS.end());
    let statement = format!(
        "update seatkeeper.semesters
         set status = 'ENROLLMENT_OPEN', unenroll_closes_at = null, enrollment_closes_at = null
         where semester_id = (select semester_id from seatkeeper.semesters
                              where semester_id between {first} and {last}
                              order by status in ('ENROLLMENT_OPEN', 'IN_PROGRESS')
                                       and coalesce(enrollment_closes_at, 'infinity') > clock_timestamp(),
                                       random() limit 1)"
    );
    Change { table: Table::Semesters, rows: CLUBS.collect(), moves: false, statement }
}

pub fn draw(rng: &mut ChaCha8Rng) -> Change {
    let kind = rng.random_range(0..100);
    if rng.random_bool(0.3) {
        return draw_for_a_club(rng);
    }
    let last = CLUBS.start() - 1;
    let id = rng.random_range(1..=if kind < 75 { last } else { SEMESTERS_WITHOUT_FIXED_DEADLINE });
    let assignment = match kind {
        0..35 => status(rng, 0.8),
        35..50 => format!("enrollment_cost = {}", rng.random_range(0..60)),
        50..57 => refund(rng),
        57..59 => "name = name || '.'".to_owned(),
        59..63 => "max_players = null".to_owned(),
        63..67 => "max_players = enrolled_count".to_owned(),
        67..75 => format!("max_players = {}", rng.random_range(2..20)),
        _ => deadline(rng),
    };
    Change::of(Table::Semesters, id, &assignment)
}

/// Less of what keeps people out.
fn draw_for_a_club(rng: &mut ChaCha8Rng) -> Change {
    let assignment = match rng.random_range(0..100) {
        0..60 => status(rng, 0.9),
        60..70 => refund(rng),
        70..80 => format!("enrollment_cost = {}", rng.random_range(0..3)),
        80..90 => "max_players = null".to_owned(),
        90..95 => "max_players = greatest(enrolled_count, 30)".to_owned(),
        _ => deadline(rng),
    };
    Change::of(Table::Semesters, rng.random_range(CLUBS), &assignment)
}

fn status(rng: &mut ChaCha8Rng, mostly_open: f64) -> String {
    let closed = ["DRAFT", "ENROLLMENT_CLOSED", "COMPLETED", "CANCELLED"];
    let open = ["ENROLLMENT_OPEN", "IN_PROGRESS"];
    let status = if rng.random_bool(mostly_open) {
        open[rng.random_range(0..open.len())]
    } else {
        closed[rng.random_range(0..closed.len())]
    };
    format!("status = '{status}'")
}

fn refund(rng: &mut ChaCha8Rng) -> String {
    format!("refund_percent = {}", [0, 33, 50, 100][rng.random_range(0..4)])
}

fn deadline(rng: &mut ChaCha8Rng) -> String {
    let which = if rng.random_bool(0.5) { "enrollment_closes_at" } else { "unenroll_closes_at" };
    let when = match rng.random_range(0..10) {
        0..5 => "null".to_owned(),
        5..7 => "clock_timestamp()".to_owned(),
        _ => format!("clock_timestamp() + interval '{} milliseconds'", rng.random_range(1..150)),
    };
    format!("{which} = {when}")
}
