//! A million random requests, batch after batch, against the laws that every history keeps.

mod booking;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Applied, EnrollmentId, Job, Reason, SemesterId, UserId};
use uuid::Uuid;

use super::{Answer, Changes, Enrollment, Request, Semester, SemesterStatus, User, World, decide};

const USERS: i64 = 60;
const SEMESTERS: i64 = 8;
const REQUESTS: usize = 1_000_000;

/// The database, as far as the rules can tell.
#[derive(Default)]
struct Stored {
    users: HashMap<UserId, User>,
    semesters: HashMap<SemesterId, Semester>,
    active: HashMap<(UserId, SemesterId), Enrollment>,
    ledger: HashMap<UserId, i64>,
    refunded: HashSet<EnrollmentId>,
    paid: HashMap<EnrollmentId, i64>,
    next_id: i64,
}

impl Stored {
    fn new(random: &mut ChaCha8Rng) -> Self {
        let mut stored = Self { next_id: 1, ..Self::default() };
        // Ids that nobody has stay without a row.
        for id in 1..USERS {
            let user = User { is_active: random.random_ratio(9, 10), balance: 0 };
            stored.users.insert(UserId::new(id).unwrap(), user);
        }
        for id in 1..SEMESTERS {
            let semester = Semester {
                status: SemesterStatus::EnrollmentOpen,
                max_players: random.random_ratio(4, 5).then(|| random.random_range(0..12)),
                enrollment_cost: random.random_range(0..40),
                refund_percent: random.random_range(0..=100),
                enrollment_closes_at: random
                    .random_ratio(1, 3)
                    .then(|| instant(random.random_range(0..2_000_000))),
                unenroll_closes_at: random
                    .random_ratio(1, 3)
                    .then(|| instant(random.random_range(0..2_000_000))),
                enrolled_count: 0,
            };
            stored.semesters.insert(SemesterId::new(id).unwrap(), semester);
        }
        stored
    }

    fn world(&self, ids: usize) -> World {
        let mut world = World::default();
        for id in 1..=USERS {
            let user = UserId::new(id).unwrap();
            world.put_user(user, self.users.get(&user).cloned());
            for id in 1..=SEMESTERS {
                let semester = SemesterId::new(id).unwrap();
                world.put_active_enrollment(user, semester, self.active.get(&(user, semester)).cloned());
            }
        }
        for id in 1..=SEMESTERS {
            let semester = SemesterId::new(id).unwrap();
            world.put_semester(semester, self.semesters.get(&semester).cloned());
        }
        let last = self.next_id + i64::try_from(ids).unwrap();
        world.put_enrollment_ids((self.next_id..last).map(|id| EnrollmentId::new(id).unwrap()));
        world
    }

    /// Writes what a batch changed, the way the commit does, and asserts the laws on the way.
    fn write(&mut self, changes: Changes, counts: &[(SemesterId, i32)]) {
        for gone in changes.withdrawn {
            let key = (gone.user_id, gone.semester_id);
            assert_eq!(self.active.remove(&key).map(|active| active.enrollment_id), Some(gone.enrollment_id));
        }
        for made in changes.enrolled {
            assert!(made.enrollment_id.get() >= self.next_id, "an id is used once");
            assert!(self.paid.insert(made.enrollment_id, made.price_paid).is_none(), "an id is used once");
            if made.withdrawn_at.is_none() {
                let double =
                    self.active.insert((made.user_id, made.semester_id), Enrollment { made: None, ..made });
                assert!(double.is_none(), "one active place for a user in a semester");
            }
        }
        for entry in &changes.ledger {
            let sum = self.ledger.entry(entry.user_id).or_default();
            *sum += entry.amount;
            assert_eq!(*sum, entry.balance_after, "the ledger continues");
            let refund = entry.transaction_type.as_str().ends_with("REFUND");
            if let (true, Some(enrollment)) = (refund, entry.enrollment_id) {
                assert!(self.refunded.insert(enrollment), "refunded once");
                assert!((0..=self.paid[&enrollment]).contains(&entry.amount), "no more than what was paid");
            }
        }
        for (user, before, after) in changes.balances {
            let row = self.users.get_mut(&user).unwrap();
            assert_eq!(row.balance, before);
            assert!(after >= 0);
            row.balance = after;
        }
        for (user, row) in &self.users {
            assert_eq!(
                row.balance,
                self.ledger.get(user).copied().unwrap_or(0),
                "balance = sum of the ledger"
            );
        }
        for &(semester, count) in counts {
            let row = self.semesters.get_mut(&semester).unwrap();
            row.enrolled_count = count;
            assert!(row.max_players.is_none_or(|places| count <= places), "oversold");
            let active = self.active.keys().filter(|(_, of)| *of == semester).count();
            assert_eq!(usize::try_from(count).unwrap(), active, "the counter counts");
        }
    }
}

/// Drawn, unless `SEATKEEPER_TEST_SEED` gives one; printed, so that a failure can be had again.
fn seed() -> u64 {
    let seed =
        std::env::var("SEATKEEPER_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed={seed}");
    seed
}

fn instant(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

fn random_job(random: &mut ChaCha8Rng, last_enrollment: i64) -> Job {
    let user_id = UserId::new(random.random_range(1..=USERS)).unwrap();
    let semester_id = SemesterId::new(random.random_range(1..=SEMESTERS)).unwrap();
    match random.random_range(0..10) {
        0..5 => Enroll { user_id, semester_id }.into(),
        5..8 => {
            let named = random.random_ratio(1, 10) && last_enrollment > 1;
            let enrollment_id =
                named.then(|| EnrollmentId::new(random.random_range(1..last_enrollment)).unwrap());
            Unenroll { user_id, semester_id, enrollment_id }.into()
        }
        _ => {
            let amount = [-25, -1, 1, 7, 60][random.random_range(0..5)];
            GrantCredits { user_id, amount: Amount::new(amount).unwrap(), note: None }.into()
        }
    }
}

/// Runs a history; gives how often each outcome came, and a digest of all answers.
fn history(seed: u64, requests: usize) -> (HashMap<&'static str, usize>, u64) {
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut stored = Stored::new(random);
    let mut outcomes = HashMap::new();
    let mut digest = std::hash::DefaultHasher::new();
    let mut done = 0;
    while done < requests {
        let size = random.random_range(1..=2_000).min(requests - done);
        let mut world = stored.world(size);
        let mut enrolled = 0;
        for number in done..done + size {
            let at = instant(2 * i64::try_from(number).unwrap());
            let request = Request {
                id: Uuid::from_u128(u128::try_from(number).unwrap()),
                job: random_job(random, stored.next_id),
                expires_at: random
                    .random_ratio(1, 50)
                    .then(|| at + TimeDelta::seconds(random.random_range(-1..=1))),
                at,
            };
            let answer = decide(&mut world, &request).unwrap();
            std::hash::Hash::hash(&format!("{answer:?}"), &mut digest);
            let outcome = match &answer {
                Answer::Applied(applied) => {
                    enrolled += i64::from(matches!(applied, Applied::Enroll(_)));
                    "applied"
                }
                Answer::Refused(reason, _) => reason.as_str(),
            };
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
        let mut ids: Vec<SemesterId> = stored.semesters.keys().copied().collect();
        ids.sort_unstable();
        let counts: Vec<_> = ids.iter().map(|id| (*id, world.enrolled_counts(*id).unwrap().1)).collect();
        stored.write(world.into_changes(), &counts);
        stored.next_id += enrolled;
        done += size;
        // The owners change their minds now and then.
        let semester = stored.semesters.get_mut(&ids[random.random_range(0..ids.len())]).unwrap();
        semester.status = match random.random_range(0..6) {
            0 => SemesterStatus::Draft,
            1 => SemesterStatus::EnrollmentClosed,
            2 => SemesterStatus::InProgress,
            _ => SemesterStatus::EnrollmentOpen,
        };
        semester.enrollment_cost = random.random_range(0..40);
    }
    (outcomes, std::hash::Hasher::finish(&digest))
}

#[test]
fn a_million_requests_keep_every_law() {
    let seed = seed();
    let (outcomes, _) = history(seed, REQUESTS);
    println!("{outcomes:?}");
    assert_eq!(outcomes.values().sum::<usize>(), REQUESTS);
    let reachable = [
        Reason::RequestExpired,
        Reason::SemesterNotFound,
        Reason::UserNotFound,
        Reason::UserInactive,
        Reason::SemesterNotOpen,
        Reason::AlreadyEnrolled,
        Reason::SemesterFull,
        Reason::InsufficientCredits,
        Reason::NotEnrolled,
    ];
    for outcome in reachable.iter().map(|reason| reason.as_str()).chain(["applied"]) {
        assert!(outcomes.get(outcome).is_some_and(|count| *count > 100), "hardly ever seen: {outcome}");
    }
}

#[test]
fn the_same_requests_get_the_same_answers() {
    let seed = seed();
    assert_eq!(history(seed, 20_000), history(seed, 20_000));
}
