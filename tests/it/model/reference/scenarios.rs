//! The reference by hand: small scenes whose outcome anybody can work out.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use seatkeeper_jobs::Job;
use seatkeeper_jobs::record_attendance::AttendanceStatus;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, Model, Question, Semester, Session, User};
use crate::booking::{attended, book, cancel, cancel_by_id, enroll, unenroll};

/// Users 1 to 5 in the semesters 1 and 2, which cost 3; the numbers that the database would give are counted here.
#[derive(Clone)]
struct Scene {
    model: Model,
    now: DateTime<Utc>,
    given: i64,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self { model: Model::default(), now: DateTime::UNIX_EPOCH, given: 0 };
        let semester = Semester {
            name: String::new(),
            status: "ENROLLMENT_OPEN".to_owned(),
            max_players: None,
            enrollment_cost: 3,
            refund_percent: 50,
            enrollment_closes_at: None,
            unenroll_closes_at: None,
        };
        scene.model.semesters = BTreeMap::from([(1, semester.clone()), (2, semester)]);
        for user in 1..=5 {
            scene.model.users.insert(user, User { is_active: true, balance: 20 });
            for semester in [1, 2] {
                scene.applied(enroll(user, semester));
            }
        }
        scene
    }

    /// Adds a session, or changes it.
    fn session(&mut self, id: i64, semester_id: i64, hours: std::ops::Range<i64>, capacity: i64) {
        let session = self.timed(semester_id, hours, capacity);
        assert_eq!(self.changed([(id, session)]), BTreeSet::new());
    }

    fn timed(&self, semester_id: i64, hours: std::ops::Range<i64>, capacity: i64) -> Session {
        Session {
            semester_id,
            starts_at: self.now + TimeDelta::hours(hours.start),
            ends_at: self.now + TimeDelta::hours(hours.end),
            capacity,
            status: "SCHEDULED".to_owned(),
            booking_closes_at: None,
            cancellation_closes_at: None,
        }
    }

    fn changed(&mut self, sessions: impl IntoIterator<Item = (i64, Session)>) -> BTreeSet<i64> {
        self.model.change_sessions(&sessions.into_iter().collect(), self.now)
    }

    fn answer(&mut self, job: impl Into<Job>) -> Answer {
        self.given += 1;
        let question = Question {
            request_id: Uuid::from_u128(u128::try_from(self.given).unwrap()),
            job: &job.into(),
            expires_at: None,
            now: self.now,
            new_enrollment_id: Some(self.given),
            new_booking: Some((self.given, self.given)),
        };
        self.model.answer(&question)
    }

    fn applied(&mut self, job: impl Into<Job>) -> Value {
        match self.answer(job) {
            Answer::Applied(result) => result,
            refused @ Answer::Refused(..) => panic!("{refused:?}"),
        }
    }

    fn refused(&mut self, job: impl Into<Job>) -> &'static str {
        match self.answer(job) {
            Answer::Refused(reason, _) => reason,
            applied @ Answer::Applied(_) => panic!("{applied:?}"),
        }
    }

    fn booked(&mut self, user: i64, session: i64) -> i64 {
        self.applied(book(user, session))["booking_id"].as_i64().unwrap()
    }

    /// Whether it is confirmed or waits, or why it was cancelled.
    fn status(&self, booking: i64) -> &str {
        let booking = &self.model.bookings[&booking];
        booking.cancelled_because.as_deref().unwrap_or(&booking.status)
    }
}

#[test]
fn a_place_given_back_goes_to_the_first_able_waiter_who_gives_up_the_other_wait() {
    let mut scene = Scene::new();
    scene.session(1, 1, 48..50, 1);
    scene.session(2, 2, 49..51, 0);
    scene.session(3, 2, 50..52, 0);
    let first = scene.applied(book(1, 1));
    assert_eq!((&first["status"], &first["superseded_bookings"]), (&json!("CONFIRMED"), &json!([])));
    assert_eq!(scene.model.bookings[&first["booking_id"].as_i64().unwrap()].promoted_at, None);
    let (away, second) = (scene.booked(2, 1), scene.booked(3, 1));
    let (overlapping, touching) = (scene.booked(3, 2), scene.booked(3, 3));
    assert_eq!(scene.refused(book(3, 1)), "already_booked");
    assert_eq!(scene.refused(book(1, 2)), "schedule_conflict");
    scene.model.users.get_mut(&2).unwrap().is_active = false;

    scene.now += TimeDelta::hours(1);
    assert_eq!(scene.applied(cancel(1, 1))["promoted_bookings"], json!([second]));
    assert_eq!(scene.model.bookings[&second].promoted_at, Some(scene.now));
    assert_eq!(
        [away, second, overlapping, touching].map(|id| scene.status(id)),
        ["WAITLISTED", "CONFIRMED", "superseded", "WAITLISTED"]
    );
    assert_eq!(scene.refused(cancel(1, 1)), "already_cancelled");
    assert_eq!(scene.refused(cancel_by_id(2, second)), "booking_not_found");
    assert_eq!(scene.refused(cancel(5, 1)), "booking_not_found");
    // Closed 24 hours before the start, and 12.
    scene.now += TimeDelta::hours(23);
    assert_eq!(scene.refused(book(1, 1)), "booking_closed");
    scene.now += TimeDelta::hours(12);
    assert_eq!(scene.refused(cancel(3, 1)), "cancellation_closed");
    scene.applied(cancel(2, 1));
    assert_eq!(scene.refused(attended(3, 1, AttendanceStatus::Late)), "session_not_started");
    scene.now += TimeDelta::hours(12);
    let late = attended(3, 1, AttendanceStatus::Late);
    assert_eq!(scene.applied(late.clone())["replaced"], json!(null));
    assert_eq!(scene.applied(late)["replaced"], json!("late"));
    assert_eq!(scene.refused(attended(2, 1, AttendanceStatus::Late)), "booking_not_found");
}

#[test]
fn whoever_leaves_gives_back_what_has_not_started_and_the_rest_when_it_has_not_any_more() {
    let mut scene = Scene::new();
    scene.session(1, 1, 30..31, 1);
    scene.session(2, 1, 60..61, 1);
    scene.session(3, 1, 60..61, 1);
    let (started, coming, elsewhere) = (scene.booked(1, 1), scene.booked(1, 2), scene.booked(2, 3));
    let (second, third) = (scene.booked(3, 2), scene.booked(3, 3));
    scene.now += TimeDelta::hours(30);
    let result = scene.applied(unenroll(1, 1));
    assert_eq!(
        (&result["refunded"], &result["cancelled_bookings"], &result["promoted_bookings"]),
        (&json!(1), &json!([coming]), &json!([second]))
    );
    assert_eq!(
        [started, coming, second, third, elsewhere].map(|id| scene.status(id)),
        ["CONFIRMED", "unenrolled", "CONFIRMED", "superseded", "CONFIRMED"]
    );
    let before = scene.model.bookings[&started].starts_at;
    scene.session(1, 1, 5..6, 1);
    assert_eq!(scene.status(started), "unenrolled");
    assert_eq!(scene.model.bookings[&started].starts_at, before);
}

#[test]
fn sessions_move_together_with_their_bookings_and_end_waits() {
    let mut scene = Scene::new();
    scene.session(1, 1, 48..49, 1);
    scene.session(2, 1, 49..50, 1);
    scene.session(3, 2, 50..51, 0);
    let (one, two, wait) = (scene.booked(1, 1), scene.booked(1, 2), scene.booked(1, 3));
    // Changing places is no overlap; moving one onto the other is.
    let (later, earlier) = (scene.timed(1, 49..50, 1), scene.timed(1, 48..49, 1));
    assert_eq!(scene.changed([(1, later), (2, earlier)]), BTreeSet::new());
    assert_eq!(scene.model.bookings[&one].starts_at, scene.now + TimeDelta::hours(49));
    assert_eq!([one, two, wait].map(|id| scene.status(id)), ["CONFIRMED", "CONFIRMED", "WAITLISTED"]);
    let onto = scene.timed(1, 49..51, 1);
    assert_eq!(scene.clone().changed([(2, onto)]), BTreeSet::from([1]));
    scene.session(3, 2, 49..51, 0);
    assert_eq!(scene.status(wait), "superseded");
}

#[test]
fn a_cancelled_semester_pays_everything_back() {
    let mut scene = Scene::new();
    scene.session(1, 1, 48..49, 1);
    scene.session(2, 2, 48..49, 1);
    let (here, there) = (scene.booked(1, 1), scene.booked(2, 2));
    let job: Job = super::super::asks::cancel_semester(1, None).into();
    assert_eq!(
        scene.applied(job.clone()),
        json!({ "withdrawn": 5, "refunded": 15, "cancelled_bookings": 1 })
    );
    assert_eq!(scene.refused(job), "already_cancelled");
    assert_eq!([here, there].map(|id| scene.status(id)), ["semester_cancelled", "CONFIRMED"]);
    assert!(scene.model.users.values().all(|user| user.balance == 17));
    assert_eq!(scene.model.enrolled(1), 0);
}
