//! What a history is made of when it is recorded. All instants are far from any day on which it is replayed.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::player::Ask;

const USERS: i64 = 14;
const SEMESTERS: i64 = 5;
const SESSIONS: i64 = 15;

/// The catalog at the start.
pub fn stage() -> Vec<String> {
    vec![
        format!("insert into seatkeeper.users (user_id) select generate_series(1, {USERS})"),
        "insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost, refund_percent) values \
         (1, 'hot', 'ENROLLMENT_OPEN', 6, 10, 50), (2, 'odd', 'IN_PROGRESS', 9, 33, 33), \
         (3, 'free', 'ENROLLMENT_OPEN', null, 0, 50), (4, 'dear', 'ENROLLMENT_OPEN', 3, 100, 100), \
         (5, 'club', 'ENROLLMENT_OPEN', null, 1, 0)"
            .to_owned(),
        format!(
            "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity) \
             select n, 1 + n % {SEMESTERS}, start, start + interval '1 hour', n % 4 \
             from generate_series(1, {SESSIONS}) n, \
             lateral (select timestamptz '2090-05-01 08:00Z' + n * 7 % 9 * interval '30 minutes') t (start)"
        ),
    ]
}

/// What an owner does: one statement, refused or not.
pub fn change(random: &mut ChaCha8Rng) -> String {
    let session = random.random_range(1..=SESSIONS);
    let semester = random.random_range(1..=SEMESTERS);
    let user = random.random_range(1..=USERS);
    let deadline = |random: &mut ChaCha8Rng| match random.random_range(0..4) {
        0 => "'2020-01-01 00:00Z'",
        1 => "'2089-01-01 00:00Z'",
        _ => "null",
    };
    let statement = match random.random_range(0..140) {
        // Now and then everything is open again, or all would soon be refused.
        100..110 => "update seatkeeper.users set is_active = true where not is_active".to_owned(),
        110..125 => {
            "update seatkeeper.semesters set status = 'ENROLLMENT_OPEN', enrollment_closes_at = null, \
                     unenroll_closes_at = null"
                .to_owned()
        }
        125..140 => "update seatkeeper.sessions set status = 'SCHEDULED', booking_closes_at = null, \
                     cancellation_closes_at = null"
            .to_owned(),
        0..22 => format!(
            "update seatkeeper.sessions set capacity = {} where session_id = {session}",
            random.random_range(0..6)
        ),
        22..44 => {
            let year = if random.random_ratio(2, 5) { 2020 } else { 2090 };
            let half_hours = random.random_range(0..10);
            let start = format!("timestamptz '{year}-05-01 08:00Z' + {half_hours} * interval '30 minutes'");
            format!(
                "update seatkeeper.sessions set starts_at = {start}, ends_at = {start} + interval '1 hour' where session_id = {session}"
            )
        }
        44..52 => {
            let status = if random.random_ratio(2, 3) { "SCHEDULED" } else { "CANCELLED" };
            format!("update seatkeeper.sessions set status = '{status}' where session_id = {session}")
        }
        52..62 => {
            let (books, cancels) = (deadline(random), deadline(random));
            format!(
                "update seatkeeper.sessions set booking_closes_at = {books}, cancellation_closes_at = {cancels} where session_id = {session}"
            )
        }
        62..68 => {
            let is_active = random.random_ratio(1, 2);
            format!("update seatkeeper.users set is_active = {is_active} where user_id = {user}")
        }
        68..82 => {
            let status = ["ENROLLMENT_OPEN", "ENROLLMENT_OPEN", "IN_PROGRESS", "ENROLLMENT_CLOSED"]
                [random.random_range(0..4)];
            format!("update seatkeeper.semesters set status = '{status}' where semester_id = {semester}")
        }
        82..90 => {
            let (enrolls, leaves) = (deadline(random), deadline(random));
            format!(
                "update seatkeeper.semesters set enrollment_closes_at = {enrolls}, unenroll_closes_at = {leaves} where semester_id = {semester}"
            )
        }
        _ => format!(
            "update seatkeeper.semesters set max_players = {}, enrollment_cost = {} where semester_id = {semester}",
            random.random_range(3..12),
            random.random_range(0..40)
        ),
    };
    format!(
        "do $$ begin {statement}; exception when integrity_constraint_violation or check_violation or exclusion_violation then null; end $$"
    )
}

/// What is asked at once: requests of one lane, or grants. Across lanes the order of answers is nobody's promise.
pub fn run(random: &mut ChaCha8Rng, known: (usize, usize)) -> Vec<Ask> {
    let semester = random.random_range(1..=SEMESTERS);
    match random.random_range(0..10) {
        0 | 1 => (0..random.random_range(1..8)).map(|_| grant(random)).collect(),
        2 => vec![stray(random, known)],
        _ => (0..random.random_range(1..16)).map(|_| of_lane(random, semester)).collect(),
    }
}

fn ask(random: &mut ChaCha8Rng, kind: &str, payload: Value) -> Ask {
    Ask { kind: kind.to_owned(), has_expired: random.random_ratio(1, 40), payload }
}

fn user(random: &mut ChaCha8Rng) -> i64 {
    if random.random_ratio(1, 40) { USERS + 1 } else { random.random_range(1..=USERS) }
}

fn grant(random: &mut ChaCha8Rng) -> Ask {
    let amount =
        if random.random_ratio(1, 3) { -random.random_range(1..90) } else { random.random_range(1..200) };
    let payload = json!({ "user_id": user(random), "amount": amount });
    ask(random, "grant_credits", payload)
}

/// A session of the semester: every fifth one.
fn session_of(random: &mut ChaCha8Rng, semester: i64) -> i64 {
    let first = if semester == 1 { SEMESTERS } else { semester - 1 };
    first + SEMESTERS * random.random_range(0..SESSIONS / SEMESTERS)
}

fn of_lane(random: &mut ChaCha8Rng, semester: i64) -> Ask {
    let (user, session) = (user(random), session_of(random, semester));
    match random.random_range(0..100) {
        0..24 => ask(random, "enroll", json!({ "user_id": user, "semester_id": semester })),
        24..32 => ask(random, "unenroll", json!({ "user_id": user, "semester_id": semester })),
        32..72 => ask(random, "book", json!({ "user_id": user, "session_id": session })),
        72..86 => ask(random, "cancel_booking", json!({ "user_id": user, "session_id": session })),
        86..99 => {
            let status = ["present", "absent", "late", "excused"][random.random_range(0..4)];
            ask(
                random,
                "record_attendance",
                json!({ "user_id": user, "session_id": session, "status": status }),
            )
        }
        _ if random.random_ratio(1, 3) => {
            ask(random, "cancel_semester", json!({ "semester_id": semester, "note": "rain" }))
        }
        _ => ask(random, "book", json!({ "user_id": user, "session_id": session })),
    }
}

/// About what is not there, or names an enrollment or a booking, whatever its lane: asked alone.
fn stray(random: &mut ChaCha8Rng, (enrollments, bookings): (usize, usize)) -> Ask {
    let user = user(random);
    match random.random_range(0..8) {
        0 => ask(random, "enroll", json!({ "user_id": user, "semester_id": SEMESTERS + 1 })),
        1 => ask(random, "unenroll", json!({ "user_id": user, "semester_id": SEMESTERS + 1 })),
        2 => ask(random, "book", json!({ "user_id": user, "session_id": SESSIONS + 1 })),
        3 => ask(
            random,
            "record_attendance",
            json!({ "user_id": user, "session_id": SESSIONS + 1, "status": "late" }),
        ),
        4 => ask(random, "cancel_semester", json!({ "semester_id": SEMESTERS + 1 })),
        5 | 6 if bookings > 0 => {
            let booking = format!("booking {}", random.random_range(1..=bookings));
            ask(random, "cancel_booking", json!({ "user_id": user, "booking_id": booking }))
        }
        7 if enrollments > 0 => {
            let enrollment = format!("enrollment {}", random.random_range(1..=enrollments));
            let semester = random.random_range(1..=SEMESTERS);
            ask(
                random,
                "unenroll",
                json!({ "user_id": user, "semester_id": semester, "enrollment_id": enrollment }),
            )
        }
        _ => grant(random),
    }
}
