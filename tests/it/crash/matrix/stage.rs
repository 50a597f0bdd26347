//! What the cells need: for each a semester of its own with sessions and users, laid out by requests, so that the audit can
//! work out again how it came about.

use seatkeeper::batch::Turn;
use seatkeeper_jobs::cancel_semester::CancelSemester;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::record_attendance::AttendanceStatus;
use seatkeeper_jobs::{Job, Kind, Request, postgres as door};
use uuid::Uuid;

use crate::booking::{attended, book, cancel, enroll, unenroll};
use crate::support::{TestDb, until};

/// IDs of one cell begin here.
const APART: i64 = 10;

/// The users, semesters and sessions of one cell.
///
/// User 1 may enroll in the semester. User 2 is enrolled and has the only place in session 1, for which 3 waits; 4 is enrolled;
/// 5 has the only place in session 2, for which 6 waits; 7 has a place in session 3, which has started. User 6 is
/// alone in the other semester.
#[derive(Debug, Clone, Copy)]
pub struct Corner {
    base: i64,
}

impl Corner {
    pub fn new(number: usize) -> Self {
        Self { base: i64::try_from(number + 1).unwrap() * APART }
    }

    const fn user(self, number: i64) -> i64 {
        self.base + number
    }

    pub const fn semester(self) -> i64 {
        self.base
    }

    pub const fn other_semester(self) -> i64 {
        self.base + 1
    }

    const fn session(self, number: i64) -> i64 {
        self.base + number
    }

    /// The request of this kind, which is applied whatever of the others is answered before it.
    pub fn job(self, kind: Kind) -> Job {
        match kind {
            Kind::Enroll => enroll(self.user(1), self.semester()).into(),
            Kind::Unenroll => unenroll(self.user(2), self.semester()).into(),
            Kind::Book => book(self.user(4), self.session(1)).into(),
            Kind::CancelBooking => cancel(self.user(5), self.session(2)).into(),
            Kind::RecordAttendance => {
                attended(self.user(7), self.session(3), AttendanceStatus::Present).into()
            }
            Kind::CancelSemester => {
                CancelSemester { semester_id: self.other_semester().try_into().unwrap(), note: None }.into()
            }
            Kind::GrantCredits => grant(self.user(1), 5),
        }
    }

    /// A user whom the request of this kind locks.
    pub const fn locked_user(self, kind: Kind) -> i64 {
        self.user(match kind {
            Kind::Enroll | Kind::GrantCredits => 1,
            Kind::Unenroll => 2,
            Kind::Book => 4,
            Kind::CancelBooking => 5,
            Kind::CancelSemester => 6,
            Kind::RecordAttendance => 7,
        })
    }

    /// The lane of the request of this kind; a grant has none, but its neighbours have this one.
    pub const fn lane(self, kind: Kind) -> i64 {
        match kind {
            Kind::CancelSemester => self.other_semester(),
            _ => self.semester(),
        }
    }
}

fn grant(user: i64, amount: i64) -> Job {
    let amount = Amount::new(amount).unwrap();
    GrantCredits { user_id: user.try_into().unwrap(), amount, note: None }.into()
}

/// Asks for all of it in one transaction, in this order; gives the IDs.
pub async fn ask(db: &TestDb, jobs: Vec<Job>) -> Vec<Uuid> {
    let requests: Vec<Request> = jobs.into_iter().map(|job| Request::new(Uuid::now_v7(), job)).collect();
    let mut connection = db.pool.acquire().await.unwrap();
    door::enqueue_many(&mut connection, &requests).await.unwrap();
    requests.iter().map(Request::request_id).collect()
}

/// A database with so many corners, and a trigger that lets fail what is listed in `public.poison`.
pub async fn lay_out(corners: usize) -> TestDb {
    let db = TestDb::new().await;
    let each = format!("generate_series({APART}, {}, {APART}) base", corners * 10);
    db.run(&format!(
        "insert into seatkeeper.users (user_id) select base + n from {each}, generate_series(1, 7) n;
         insert into seatkeeper.semesters (semester_id, code, status, enrollment_cost)
             select base + n, 'S' || base + n, 'ENROLLMENT_OPEN', 7 from {each}, generate_series(0, 1) n;
         create table public.poison (request_id uuid primary key);
         create function public.poisoned() returns trigger language plpgsql as $$ begin
             if exists (select from public.poison p where p.request_id = new.request_id) then
                 raise exception 'a defect';
             end if;
             return new;
         end $$;
         create trigger aaa_poisoned before update on seatkeeper.requests
             for each row when (new.status = 'done') execute function public.poisoned()"
    ))
    .await;
    let everywhere = |jobs: &dyn Fn(Corner) -> Vec<Job>| -> Vec<Job> {
        (0..corners).map(Corner::new).flat_map(jobs).collect()
    };
    ask(
        &db,
        everywhere(&|at| {
            let grants = (1..=7).map(|user| grant(at.user(user), 20));
            let enrolls = (2..=7).map(|user| enroll(at.user(user), at.semester()).into());
            grants.chain(enrolls).chain([enroll(at.user(6), at.other_semester()).into()]).collect()
        }),
    )
    .await;
    db.drain().await;
    // Late enough that 7 is in before it begins.
    db.run(&format!(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity, booking_closes_at)
         select base + n, base, starts_at, starts_at + interval '1 hour', 1, starts_at
         from {each}, (values (1, interval '48 hours'), (2, interval '72 hours'), (3, interval '3 seconds')) s (n, later),
              lateral (select clock_timestamp() + later as starts_at) t"
    ))
    .await;
    ask(&db, everywhere(&|at| vec![book(at.user(7), at.session(3)).into()])).await;
    db.drain().await;
    let places = [(2, 1), (3, 1), (5, 2), (6, 2)];
    ask(
        &db,
        everywhere(&|at| {
            places.map(|(user, session)| book(at.user(user), at.session(session)).into()).into()
        }),
    )
    .await;
    db.drain().await;
    let applied = "select count(*) from seatkeeper.requests where outcome is distinct from 'applied'";
    assert_eq!(db.value::<i64>(applied).await, 0, "everything that the cells need was had");
    until("the sessions have started", async || {
        let last =
            "select max(starts_at) < clock_timestamp() from seatkeeper.sessions where session_id % 10 = 3";
        db.value::<bool>(last).await
    })
    .await;
    // A worker that has not seen any of it finds nothing to do.
    assert!(matches!(db.worker().turn().await, Turn::Idle));
    db
}
