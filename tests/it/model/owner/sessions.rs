//! What owners do to sessions: more and fewer places, called off and on again, deadlines, and other times.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::super::stage::{CROWDED, SESSIONS, WANDERING};
use super::{Change, Table};

/// Further than all sessions that overlap reach, so that whoever goes there meets only those who did as well.
const AWAY: &str = "interval '20 days'";

/// One place fewer than are taken, where any is.
pub fn too_few_places(rng: &mut ChaCha8Rng) -> Change {
    Change::of(Table::Sessions, rng.random_range(CROWDED), "capacity = abs(confirmed_count - 1)")
}

/// A session takes the time of another one of somebody who has a place in it. Where they have one in that as well, this is
/// refused, unless they give one back first; where they wait, they wait no longer.
pub fn onto_another(rng: &mut ChaCha8Rng, there: &str) -> Change {
    let id = rng.random_range(CROWDED);
    let statement = format!(
        "update seatkeeper.sessions s set starts_at = other.starts_at, ends_at = other.ends_at
         from (select o.session_id, o.starts_at, o.ends_at
               from seatkeeper.bookings b join seatkeeper.bookings c using (user_id)
               join seatkeeper.sessions o on o.session_id = c.session_id
               where b.session_id = {id} and c.session_id <> {id}
                 and b.status = 'CONFIRMED' and c.status = '{there}' limit 1) other
         where s.session_id = {id}"
    );
    Change { table: Table::Sessions, rows: vec![id], moves: true, statement }
}

/// One place more, where somebody waits; preferably somebody who waits elsewhere at the same time.
pub fn one_place_more() -> Change {
    let statement = "update seatkeeper.sessions set capacity = confirmed_count + 1
         where session_id = (select b.session_id
                             from seatkeeper.bookings b
                             join seatkeeper.users u on u.user_id = b.user_id and u.is_active
                             join seatkeeper.sessions s on s.session_id = b.session_id
                             where b.status = 'WAITLISTED' and s.status = 'SCHEDULED'
                               and s.starts_at > clock_timestamp()
                             order by exists (select from seatkeeper.bookings c
                                              where c.user_id = b.user_id and c.session_id <> b.session_id
                                                and c.status = 'WAITLISTED'
                                                and c.starts_at < b.ends_at and b.starts_at < c.ends_at) desc,
                                      random() limit 1)";
    Change { table: Table::Sessions, rows: CROWDED.collect(), moves: false, statement: statement.to_owned() }
}

/// Out of the past comes a session that somebody is in who has left the semester meanwhile.
pub fn brought_back() -> Change {
    let (first, last) = (WANDERING.start(), WANDERING.end());
    let statement = format!(
        "update seatkeeper.sessions set {}
         where starts_at <= clock_timestamp() and session_id = (
             select s.session_id from seatkeeper.bookings b join seatkeeper.sessions s using (session_id)
             where s.session_id between {first} and {last} and b.status <> 'CANCELLED'
               and s.starts_at <= clock_timestamp()
               and not exists (select from seatkeeper.enrollments e
                               where e.user_id = b.user_id and e.semester_id = s.semester_id and e.is_active)
             order by random() limit 1)",
        shift("+", AWAY)
    );
    Change { table: Table::Sessions, rows: WANDERING.collect(), moves: true, statement }
}

/// A session that can be booked no longer, since it was called off, is over or has a deadline that is: among the others
/// again, or there would soon be nothing left to book.
pub fn bookable_again(rng: &mut ChaCha8Rng) -> Change {
    let (first, last) = (CROWDED.start(), CROWDED.end());
    let statement = format!(
        "update seatkeeper.sessions set status = 'SCHEDULED', cancellation_closes_at = null, {}
         where session_id = (
             select session_id from seatkeeper.sessions
             where session_id between {first} and {last}
               and (status <> 'SCHEDULED'
                    or coalesce(booking_closes_at, starts_at - interval '24 hours') <= clock_timestamp())
             order by random() limit 1)",
        back_on_the_grid(rng)
    );
    Change { table: Table::Sessions, rows: CROWDED.collect(), moves: true, statement }
}

pub fn draw(rng: &mut ChaCha8Rng) -> Change {
    let crowded = rng.random_range(CROWDED);
    let any = rng.random_range(1..=SESSIONS);
    match rng.random_range(0..100) {
        0..12 => Change::of(Table::Sessions, any, &format!("capacity = {}", rng.random_range(0..7))),
        12..24 => {
            let more = rng.random_range(0..4);
            Change::of(Table::Sessions, crowded, &format!("capacity = confirmed_count + {more}"))
        }
        24..38 => {
            let status = if rng.random_bool(0.3) { "CANCELLED" } else { "SCHEDULED" };
            Change::of(Table::Sessions, any, &format!("status = '{status}'"))
        }
        38..50 => Change::of(Table::Sessions, any, &deadline(rng)),
        50..54 => {
            // Several at once without moving any
            let rows = vec![crowded, crowded % CROWDED.end() + 1];
            changed(rows, false, "capacity = capacity + 1")
        }
        54..64 => {
            let way = ["-", "+"][rng.random_range(0..2)];
            let much = [30, 60, 90][rng.random_range(0..3)];
            changed(some(rng), true, &shift(way, &format!("interval '{much} minutes'")))
        }
        64..68 => {
            let long = rng.random_range(1..6) * 30;
            let ends = format!("ends_at = starts_at + interval '{long} minutes'");
            Change { moves: true, ..Change::of(Table::Sessions, crowded, &ends) }
        }
        68..76 => swapped(crowded, rng.random_range(CROWDED)),
        76..80 => Change { moves: true, ..Change::of(Table::Sessions, crowded, &about_to_start(rng)) },
        80..83 => Change { moves: true, ..Change::of(Table::Sessions, crowded, &back_on_the_grid(rng)) },
        _ => wandered(rng),
    }
}

/// One session or several of those that overlap.
fn some(rng: &mut ChaCha8Rng) -> Vec<i64> {
    let count = if rng.random_bool(0.5) { 1 } else { rng.random_range(2..5) };
    (0..count).map(|_| rng.random_range(CROWDED)).collect()
}

fn changed(mut rows: Vec<i64>, moves: bool, assignment: &str) -> Change {
    rows.sort_unstable();
    rows.dedup();
    let ids = rows.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let statement = format!("update seatkeeper.sessions set {assignment} where session_id in ({ids})");
    Change { table: Table::Sessions, rows, moves, statement }
}

fn shift(way: &str, by: &str) -> String {
    format!("starts_at = starts_at {way} {by}, ends_at = ends_at {way} {by}")
}

/// Two sessions take each other's times.
fn swapped(one: i64, other: i64) -> Change {
    let mut rows = vec![one, other];
    rows.sort_unstable();
    rows.dedup();
    let statement = format!(
        "update seatkeeper.sessions s set starts_at = o.starts_at, ends_at = o.ends_at from seatkeeper.sessions o
         where s.session_id in ({one}, {other}) and o.session_id in ({one}, {other}) and s.session_id <> o.session_id"
    );
    Change { table: Table::Sessions, rows, moves: true, statement }
}

/// Starts while the load is on; it can be booked until then.
fn about_to_start(rng: &mut ChaCha8Rng) -> String {
    let start = format!("clock_timestamp() + interval '{} milliseconds'", rng.random_range(50..2_000));
    format!("starts_at = {start}, ends_at = {start} + interval '2 seconds', booking_closes_at = {start}")
}

/// Back among the others, who keep the time of the load from emptying.
fn back_on_the_grid(rng: &mut ChaCha8Rng) -> String {
    let start = format!(
        "date_trunc('hour', clock_timestamp()) + interval '10 days' + interval '{} minutes'",
        rng.random_range(0..15) * 30
    );
    format!("starts_at = {start}, ends_at = {start} + interval '1 hour', booking_closes_at = null")
}

/// From the future into the past, with the bookings; or back, which happens more often.
pub fn wandered(rng: &mut ChaCha8Rng) -> Change {
    let id = rng.random_range(WANDERING);
    let (way, so_far) = if rng.random_bool(0.45) { ("-", ">") } else { ("+", "<=") };
    let mut change = Change::of(Table::Sessions, id, &shift(way, AWAY));
    change.statement.push_str(&format!(" and starts_at {so_far} clock_timestamp()"));
    Change { moves: true, ..change }
}

fn deadline(rng: &mut ChaCha8Rng) -> String {
    let which = if rng.random_bool(0.5) { "booking_closes_at" } else { "cancellation_closes_at" };
    let when = match rng.random_range(0..10) {
        0..6 => "null".to_owned(),
        6 => "clock_timestamp()".to_owned(),
        7 => "starts_at + interval '1 hour'".to_owned(),
        _ => format!("clock_timestamp() + interval '{} milliseconds'", rng.random_range(1..400)),
    };
    format!("{which} = {when}")
}
