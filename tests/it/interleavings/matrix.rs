//! What is explored: which transactions meet, and in which situation. Combinations that make no difference are left out, each
//! with its reason.

use std::collections::BTreeMap;
use std::fmt;

use seatkeeper_jobs::Kind;

/// A change past the queue, by an owner of the catalog, or of the queue itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    SemesterClosed,
    Repriced,
    SemesterCapacity,
    SessionCapacity,
    SessionMoved,
    OtherSessionMoved,
    UserDeactivated,
    WaiterDeactivated,
    /// The first request was for later. Its time has come, and a worker puts it into the queue.
    FallsDue,
}

impl Change {
    /// Those by an owner.
    pub const ALL: [Self; 8] = [
        Self::SemesterClosed,
        Self::Repriced,
        Self::SemesterCapacity,
        Self::SessionCapacity,
        Self::SessionMoved,
        Self::OtherSessionMoved,
        Self::UserDeactivated,
        Self::WaiterDeactivated,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::SemesterClosed => "semester-closed",
            Self::Repriced => "repriced",
            Self::SemesterCapacity => "semester-capacity",
            Self::SessionCapacity => "session-capacity",
            Self::SessionMoved => "session-moved",
            Self::OtherSessionMoved => "other-session-moved",
            Self::UserDeactivated => "user-deactivated",
            Self::WaiterDeactivated => "waiter-deactivated",
            Self::FallsDue => "falls-due",
        }
    }

    /// The statement. It concerns what the first request is about. A capacity is lowered to what is taken, or raised by one
    /// where all is taken.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::SemesterClosed => {
                "update seatkeeper.semesters set status = 'ENROLLMENT_CLOSED' where semester_id = 1"
            }
            Self::Repriced => "update seatkeeper.semesters set enrollment_cost = 95 where semester_id = 1",
            Self::SemesterCapacity => {
                "update seatkeeper.semesters
                 set max_players = case when enrolled_count < max_players then enrolled_count else max_players + 1 end
                 where semester_id = 1"
            }
            Self::SessionCapacity => {
                "update seatkeeper.sessions
                 set capacity = case when confirmed_count < capacity then confirmed_count else capacity + 1 end
                 where session_id = 11"
            }
            // To the time of another session, where its users may have a place.
            Self::SessionMoved => {
                "update seatkeeper.sessions s set (starts_at, ends_at) = (select t.starts_at, t.ends_at
                     from seatkeeper.sessions t where t.session_id = 13) where s.session_id = 11"
            }
            // Of a lane that nobody asks in: where the first user waits, onto the time at which he books.
            Self::OtherSessionMoved => {
                "update seatkeeper.sessions s set (starts_at, ends_at) = (select t.starts_at, t.ends_at
                     from seatkeeper.sessions t where t.session_id = 11) where s.session_id = 31"
            }
            Self::UserDeactivated => "update seatkeeper.users set is_active = false where user_id = 1",
            // The first in the waitlist.
            Self::WaiterDeactivated => "update seatkeeper.users set is_active = false where user_id = 7",
            Self::FallsDue => "update seatkeeper.requests set hold = null where status = 'queued' and hold = 'scheduled'",
        }
    }
}

/// One who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A request, and a worker that may answer it.
    Asks(Kind),
    /// An owner.
    Changes(Change),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asks(kind) => kind.as_str(),
            Self::Changes(change) => change.name(),
        })
    }
}

/// What is scarce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scarce {
    /// One place is left in the semester and in the session; none, and somebody waits, where one is given back.
    Place,
    /// The credits are for one.
    Credits,
}

/// A scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    pub parts: Vec<Part>,
    pub same_user: bool,
    pub scarce: Scarce,
    /// Each request has a lane of its own, at the same hour.
    pub own_lanes: bool,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(ToString::to_string).collect();
        let user = if self.same_user { "same-user" } else { "different-users" };
        let scarce = if self.scarce == Scarce::Place { "last-place" } else { "last-credit" };
        let lanes = if self.own_lanes { "own-lanes" } else { "one-lane" };
        write!(f, "{}/{user}/{scarce}/{lanes}", parts.join("×"))
    }
}

impl Scenario {
    /// The requests, in the order of their arrival.
    pub fn kinds(&self) -> Vec<Kind> {
        let kind = |part: &Part| match part {
            Part::Asks(kind) => Some(*kind),
            Part::Changes(_) => None,
        };
        self.parts.iter().filter_map(kind).collect()
    }

    /// The orders in which the parts may follow each other: requests as they arrived, unless they have lanes of their own or one
    /// of them is a grant (what a user asks after a grant is answered after it); a change by an owner anywhere.
    pub fn orders(&self) -> Vec<Vec<usize>> {
        let asked = |at: usize| match self.parts[at] {
            Part::Asks(kind) => Some(kind),
            Part::Changes(_) => None,
        };
        let may_turn = |earlier: usize, later: usize| match (asked(earlier), asked(later)) {
            (Some(first), Some(second)) => {
                let after_a_grant = first == Kind::GrantCredits && self.same_user;
                let loose = [first, second].contains(&Kind::GrantCredits);
                self.own_lanes || (loose && !after_a_grant)
            }
            // What was asked for later has been asked when it falls due.
            _ => earlier > 0 || self.parts[later] != Part::Changes(Change::FallsDue),
        };
        let mut orders = permutations(self.parts.len());
        orders.retain(|order| {
            let pairs = order
                .iter()
                .enumerate()
                .flat_map(|(at, one)| order[at + 1..].iter().map(move |next| (*one, *next)));
            pairs.into_iter().all(|(one, next)| one < next || may_turn(next, one))
        });
        orders
    }

    fn has(&self, kinds: &[Kind]) -> bool {
        self.kinds().iter().any(|kind| kinds.contains(kind))
    }

    /// Why it is left out.
    pub fn pointless(&self) -> Option<&'static str> {
        let kinds = self.kinds();
        let about_users = kinds.iter().filter(|kind| **kind != Kind::CancelSemester).count();
        if self.same_user && kinds.len() > 1 && about_users < 2 {
            return Some("cancel_semester is about no user: same user is as different users");
        }
        if self.own_lanes && self.same_user && kinds.iter().all(|kind| *kind == Kind::RecordAttendance) {
            return Some("nobody is in two sessions that begin at the same moment");
        }
        if self.own_lanes && self.has(&[Kind::GrantCredits]) {
            return Some("a grant has no lane");
        }
        if self.own_lanes && !kinds.is_sorted() {
            return Some(
                "in lanes of their own the order of arrival is no matter: its mirror image is explored",
            );
        }
        let waiter = self.parts.contains(&Part::Changes(Change::WaiterDeactivated));
        if waiter && !self.has(&[Kind::Unenroll, Kind::CancelBooking]) {
            return Some("nobody waits");
        }
        if self.parts.contains(&Part::Changes(Change::OtherSessionMoved)) && !self.has(&[Kind::Book]) {
            return Some("nobody takes a place at the time that another session is moved to");
        }
        if self.scarce == Scarce::Credits && !self.has(&[Kind::Enroll, Kind::GrantCredits]) {
            return Some("nobody spends credits");
        }
        let about_places =
            [Kind::Enroll, Kind::Unenroll, Kind::Book, Kind::CancelBooking, Kind::CancelSemester];
        let changes = kinds.len() < self.parts.len();
        if self.scarce == Scarce::Place
            && !changes
            && !self.has(&about_places)
            && self.has(&[Kind::GrantCredits])
        {
            return Some("nobody takes a place or gives one back");
        }
        None
    }
}

/// The numbers below `n` in every order.
pub fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for last in 0..n {
        let longer = |order: &Vec<usize>| {
            let order = order.clone();
            (0..=last).map(move |at| {
                let mut longer = order.clone();
                longer.insert(last - at, last);
                longer
            })
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

/// Scenarios, and how many were left out for which reason.
#[derive(Debug, Default)]
pub struct Matrix {
    pub scenarios: Vec<Scenario>,
    pub left_out: BTreeMap<&'static str, usize>,
}

impl Matrix {
    fn add(&mut self, parts: &[Part], own_lanes: &[bool], scarce: &[Scarce]) {
        let alone = parts.iter().filter(|part| matches!(part, Part::Asks(_))).count() < 2;
        for &own_lanes in own_lanes {
            for &scarce in scarce {
                for same_user in [true, false] {
                    let scenario = Scenario { parts: parts.to_vec(), same_user, scarce, own_lanes };
                    match scenario.pointless() {
                        Some(reason) => *self.left_out.entry(reason).or_default() += 1,
                        None if alone && !same_user => {}
                        None => self.scenarios.push(scenario),
                    }
                }
            }
        }
    }

    /// Every kind before every kind, in every situation.
    pub fn pairs() -> Self {
        let mut matrix = Self::default();
        for first in Kind::ALL {
            for second in Kind::ALL {
                let parts = [Part::Asks(*first), Part::Asks(*second)];
                matrix.add(&parts, &[false, true], &[Scarce::Place, Scarce::Credits]);
            }
        }
        matrix
    }

    /// Every change by an owner beside every kind.
    pub fn changes() -> Self {
        let mut matrix = Self::default();
        for change in Change::ALL {
            for kind in Kind::ALL {
                matrix.add(&[Part::Asks(*kind), Part::Changes(change)], &[false], &[Scarce::Place]);
            }
        }
        matrix
    }
}
