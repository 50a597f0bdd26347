//! One request, from flags.

use chrono::{DateTime, Utc};
use clap::Args;
use seatkeeper_jobs::grant_credits::Amount;
use seatkeeper_jobs::{
    BookingId, EnrollmentId, Job, Kind, Note, Request, RequestError, SemesterId, SessionId, UserId,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::cli::Failure;

/// The fields of every kind; which of them a kind has is checked when it is known.
#[derive(Debug, Args)]
pub struct One {
    /// What is asked: enroll, unenroll, book, cancel_booking, record_attendance, cancel_semester, grant_credits
    #[arg(env = "SEATKEEPER_KIND", conflicts_with = "file")]
    kind: Option<Kind>,
    /// Who it is about
    #[arg(long, env = "SEATKEEPER_USER", conflicts_with = "file")]
    user: Option<UserId>,
    /// Which semester
    #[arg(long, env = "SEATKEEPER_SEMESTER", conflicts_with = "file")]
    semester: Option<SemesterId>,
    /// Which session
    #[arg(long, env = "SEATKEEPER_SESSION", conflicts_with = "file")]
    session: Option<SessionId>,
    /// unenroll: only this enrollment
    #[arg(long, env = "SEATKEEPER_ENROLLMENT", conflicts_with = "file")]
    enrollment: Option<EnrollmentId>,
    /// cancel_booking: which booking, instead of --session
    #[arg(long, env = "SEATKEEPER_BOOKING", conflicts_with = "file")]
    booking: Option<BookingId>,
    /// grant_credits: how many; negative takes them away
    #[arg(long, env = "SEATKEEPER_AMOUNT", conflicts_with = "file", allow_negative_numbers = true, value_parser = amount)]
    amount: Option<Amount>,
    /// record_attendance: present, absent, late or excused
    #[arg(long, env = "SEATKEEPER_ATTENDANCE", conflicts_with = "file", value_parser = ["present", "absent", "late", "excused"])]
    status: Option<String>,
    /// grant_credits, cancel_semester: why
    #[arg(long, env = "SEATKEEPER_NOTE", conflicts_with = "file", value_parser = note)]
    note: Option<Note>,
    /// The request's ID: the same again gets the first receipt; a new one when not given
    #[arg(long, env = "SEATKEEPER_REQUEST_ID", conflicts_with = "file")]
    id: Option<Uuid>,
    /// Not to be answered before this instant (RFC 3339)
    #[arg(long, env = "SEATKEEPER_RUN_AT", conflicts_with = "file", value_parser = instant)]
    run_at: Option<DateTime<Utc>>,
    /// Refused as request_expired from this instant on (RFC 3339)
    #[arg(long, env = "SEATKEEPER_EXPIRES_AT", conflicts_with = "file", value_parser = instant)]
    expires_at: Option<DateTime<Utc>>,
    /// Who asks: a name for people to read
    #[arg(long, env = "SEATKEEPER_PRODUCER", conflicts_with = "file")]
    producer: Option<String>,
    /// W3C trace context of whoever asks
    #[arg(long, env = "SEATKEEPER_TRACEPARENT", conflicts_with = "file")]
    traceparent: Option<String>,
}

impl One {
    /// The request that the flags describe.
    pub fn request(&self) -> Result<Request, Failure> {
        let kind = self.kind.ok_or_else(|| Failure::usage("say what is asked, or give --file"))?;
        let payload = self.payload();
        let job = Job::read(kind, &Value::Object(payload.clone()))
            .map_err(|error| Failure::usage(misfit(kind, &error.field, &payload)))?;
        let refused = |error: RequestError| {
            Failure::usage(format!("--{} is not acceptable", error.field.replace('_', "-")))
        };
        let mut request = Request::new(self.id.unwrap_or_else(Uuid::now_v7), job);
        if let Some(run_at) = self.run_at {
            request = request.with_run_at(run_at).map_err(refused)?;
        }
        if let Some(expires_at) = self.expires_at {
            request = request.with_expires_at(expires_at).map_err(refused)?;
        }
        if let Some(producer) = &self.producer {
            request = request.with_producer(producer.as_str()).map_err(refused)?;
        }
        if let Some(traceparent) = &self.traceparent {
            request = request.with_traceparent(traceparent.as_str()).map_err(refused)?;
        }
        Ok(request)
    }

    fn payload(&self) -> Map<String, Value> {
        let fields = [
            ("user_id", self.user.map(|id| id.get().into())),
            ("semester_id", self.semester.map(|id| id.get().into())),
            ("session_id", self.session.map(|id| id.get().into())),
            ("enrollment_id", self.enrollment.map(|id| id.get().into())),
            ("booking_id", self.booking.map(|id| id.get().into())),
            ("amount", self.amount.map(|amount| amount.get().into())),
            ("status", self.status.as_deref().map(Value::from)),
            ("note", self.note.as_ref().map(|note| note.as_str().into())),
        ];
        fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))).collect()
    }
}

/// Each value was checked by itself, so a field at fault is missing, or has no place there.
fn misfit(kind: Kind, field: &str, payload: &Map<String, Value>) -> String {
    let flag = field.strip_suffix("_id").unwrap_or(field);
    match (kind, field, payload.contains_key(field)) {
        (Kind::CancelBooking, "booking_id", _) => {
            "cancel_booking takes --session or --booking, not both".to_owned()
        }
        (Kind::CancelBooking, "session_id", false) => {
            "cancel_booking needs --session or --booking".to_owned()
        }
        (_, _, true) => format!("{kind} has no --{flag}"),
        (_, _, false) => format!("{kind} needs --{flag}"),
    }
}

fn amount(text: &str) -> Result<Amount, String> {
    let number: i64 = text.parse().map_err(|_| "a whole number is due".to_owned())?;
    Amount::new(number).map_err(|error| error.to_string())
}

fn note(text: &str) -> Result<Note, String> {
    Note::new(text).map_err(|error| error.to_string())
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|instant| instant.with_timezone(&Utc))
        .map_err(|_| "an instant like 2030-01-31T08:00:00Z is due".to_owned())
}
