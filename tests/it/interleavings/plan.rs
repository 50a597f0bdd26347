//! The plan of a stage: who and what is there before a scenario begins, and what is asked then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;

use seatkeeper_jobs::Kind;

use super::matrix::{Change, Part, Scarce, Scenario};

/// The one who waits first where all places are taken; who waits behind has the next numbers.
const WAITER: usize = 7;
/// How many users there are.
const USERS: usize = WAITER + 2;
/// The holder of a place in lane `n` is user `HOLDER + n`.
const HOLDER: usize = 3;

/// The lane of the session that is moved onto the time of the first one.
const ELSEWHERE: usize = 3;

/// What a user has in a lane before it begins, as far as the requests say.
#[derive(Debug, Default)]
struct Before {
    enrolled: Option<bool>,
    booked: Option<bool>,
    attends: bool,
}

/// What is there before, and what is asked.
pub struct Plan<'a> {
    scenario: &'a Scenario,
    before: BTreeMap<(usize, usize), Before>,
    lanes: BTreeSet<usize>,
    /// Whether the first user waits elsewhere, at another time.
    elsewhere: bool,
}

impl<'a> Plan<'a> {
    pub fn of(scenario: &'a Scenario) -> Self {
        let mut plan =
            Self { scenario, before: BTreeMap::new(), lanes: BTreeSet::from([1]), elsewhere: false };
        for (at, kind) in scenario.kinds().into_iter().enumerate() {
            let (user, lane) = plan.place(at);
            plan.lanes.insert(lane);
            let before = plan.before.entry((user, lane)).or_default();
            // The earlier request has its way where both cannot.
            let mut wish = |enrolled: bool, booked: Option<bool>| {
                before.enrolled.get_or_insert(enrolled);
                before.booked = before.booked.or(booked);
            };
            match kind {
                Kind::Enroll => wish(false, None),
                Kind::Book => wish(true, Some(false)),
                Kind::Unenroll | Kind::CancelBooking => wish(true, Some(true)),
                Kind::RecordAttendance => {
                    wish(true, None);
                    before.attends = true;
                }
                Kind::CancelSemester | Kind::GrantCredits => {}
            }
        }
        if scenario.parts.contains(&Part::Changes(Change::OtherSessionMoved)) {
            plan.elsewhere = true;
            plan.lanes.insert(ELSEWHERE);
        }
        plan
    }

    /// The user and the lane of a request.
    fn place(&self, at: usize) -> (usize, usize) {
        let user = if self.scenario.same_user { 1 } else { at + 1 };
        (user, if self.scenario.own_lanes { at + 1 } else { 1 })
    }

    fn asked_in(&self, lane: usize, kinds: &[Kind]) -> bool {
        let asked = self.scenario.kinds();
        asked.iter().enumerate().any(|(at, kind)| self.place(at).1 == lane && kinds.contains(kind))
    }

    /// Whether all is taken in a lane, and somebody waits.
    fn is_full(&self, lane: usize) -> bool {
        if self.elsewhere && lane == ELSEWHERE {
            return true;
        }
        self.scenario.scarce == Scarce::Place && self.asked_in(lane, &[Kind::Unenroll, Kind::CancelBooking])
    }

    fn is_moved(&self) -> bool {
        self.scenario.parts.contains(&Part::Changes(Change::SessionMoved))
    }

    fn is_later(&self) -> bool {
        self.scenario.parts.contains(&Part::Changes(Change::FallsDue))
    }

    pub fn attends(&self) -> bool {
        self.scenario.kinds().contains(&Kind::RecordAttendance)
    }

    fn enrolled(&self) -> Vec<(usize, usize)> {
        let asked = self.before.iter().filter(|(_, before)| before.enrolled == Some(true)).map(|(at, _)| *at);
        let holders = self.lanes.iter().map(|lane| (HOLDER + lane, *lane));
        let waiters = self.lanes.iter().flat_map(|lane| self.waiters(*lane).map(|user| (user, *lane)));
        asked.chain(holders).chain(waiters).collect()
    }

    /// Who waits in the session of a lane: one for each place that is given back.
    fn waiters(&self, lane: usize) -> Range<usize> {
        if self.elsewhere && lane == ELSEWHERE {
            return 1..2;
        }
        let leaves = |at: &usize| {
            let gives_back = [Kind::Unenroll, Kind::CancelBooking].contains(&self.scenario.kinds()[*at]);
            gives_back && self.place(*at).1 == lane
        };
        let leaving = (0..self.scenario.kinds().len()).filter(leaves).count();
        WAITER..WAITER + if self.is_full(lane) { leaving.min(1 + USERS - WAITER) } else { 0 }
    }

    /// Who has a place in the session of a lane.
    fn confirmed(&self, lane: usize) -> Vec<usize> {
        let booked = |before: &Before| before.enrolled == Some(true) && before.booked == Some(true);
        let asked = self.before.iter().filter(|((_, of), before)| *of == lane && booked(before));
        std::iter::once(HOLDER + lane).chain(asked.map(|((user, _), _)| *user)).collect()
    }

    pub fn catalog(&self, delay_ms: u32) -> String {
        let mut sql = format!("insert into seatkeeper.users (user_id) select generate_series(1, {USERS});");
        let users_in_two = (1..=3)
            .any(|user| self.lanes.iter().filter(|lane| self.confirmed(**lane).contains(&user)).count() > 1);
        let enrolled = self.enrolled();
        for &lane in &self.lanes {
            let active = enrolled.iter().filter(|(_, of)| *of == lane).count();
            let (places, capacity) = match self.scenario.scarce {
                Scarce::Credits => ("null".to_owned(), 100),
                Scarce::Place => {
                    let leaves = self.asked_in(lane, &[Kind::Unenroll]);
                    let places = active + usize::from(!leaves);
                    (places.to_string(), self.confirmed(lane).len() + usize::from(!self.is_full(lane)))
                }
            };
            // All at the same hour, unless somebody has to be in two of them.
            let apart = users_in_two || (self.elsewhere && lane == ELSEWHERE);
            let day = if apart { 10 + lane } else { 10 };
            write!(
                sql,
                "insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost)
                 values ({lane}, 'S{lane}', 'ENROLLMENT_OPEN', {places}, 10);
                 insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity, booking_closes_at)
                 select {lane} * 10 + n, {lane}, t.starts_at, t.starts_at + interval '1 hour', capacity, t.closes_at
                 from (values (1, date_trunc('hour', now()) + interval '{day} days', {capacity}, null),
                              (2, now() + interval '{delay_ms} ms', 10, now() + interval '{delay_ms} ms'),
                              (3, date_trunc('hour', now()) + interval '20 days' + {lane} * interval '2 hours', 10, null))
                      t (n, starts_at, capacity, closes_at)
                 where n <> 2 or {attends};",
                attends = self.attends()
            )
            .unwrap();
        }
        sql
    }

    pub fn asks_before(&self) -> String {
        let mut asks = Vec::new();
        let enrolled = self.enrolled();
        for user in 1..=USERS {
            let scarce = self.scenario.scarce == Scarce::Credits && user <= HOLDER;
            let left = if scarce { 10 } else { 100 };
            let spent = 10 * enrolled.iter().filter(|(who, _)| *who == user).count();
            asks.push(ask("grant_credits", &format!(r#""user_id": {user}, "amount": {}"#, left + spent)));
        }
        for (user, lane) in &enrolled {
            asks.push(ask("enroll", &format!(r#""user_id": {user}, "semester_id": {lane}"#)));
        }
        let mut books = |user: usize, session: usize| {
            asks.push(ask("book", &format!(r#""user_id": {user}, "session_id": {session}"#)));
        };
        for &lane in &self.lanes {
            self.confirmed(lane).into_iter().for_each(|user| books(user, lane * 10 + 1));
            self.waiters(lane).for_each(|user| books(user, lane * 10 + 1));
        }
        for ((user, lane), before) in &self.before {
            if before.attends && before.enrolled == Some(true) {
                books(*user, lane * 10 + 2);
            }
        }
        if self.is_moved() {
            for (user, lane) in enrolled.iter().filter(|(user, _)| *user == 1 || *user >= WAITER) {
                books(*user, lane * 10 + 3);
            }
        }
        asks.concat()
    }

    pub fn asks(&self) -> String {
        let mut asks = String::new();
        for (at, kind) in self.scenario.kinds().into_iter().enumerate() {
            let (user, lane) = self.place(at);
            let amount = if self.scenario.scarce == Scarce::Credits { -10 } else { 5 };
            let status = ["present", "late", "excused"][at];
            let when = if at == 0 && self.is_later() {
                ", run_at => clock_timestamp() + interval '20 ms'"
            } else {
                ""
            };
            asks += &ask_at(
                kind.as_str(),
                &match kind {
                    Kind::Enroll | Kind::Unenroll => format!(r#""user_id": {user}, "semester_id": {lane}"#),
                    Kind::Book | Kind::CancelBooking => {
                        format!(r#""user_id": {user}, "session_id": {lane}1"#)
                    }
                    Kind::RecordAttendance => {
                        format!(r#""user_id": {user}, "session_id": {lane}2, "status": "{status}""#)
                    }
                    Kind::CancelSemester => format!(r#""semester_id": {lane}"#),
                    Kind::GrantCredits => format!(r#""user_id": {user}, "amount": {amount}"#),
                },
                when,
            );
        }
        asks
    }
}

fn ask(kind: &str, fields: &str) -> String {
    ask_at(kind, fields, "")
}

fn ask_at(kind: &str, fields: &str, when: &str) -> String {
    format!("select seatkeeper.enqueue(gen_random_uuid(), '{kind}', '{{{fields}}}'{when});")
}
