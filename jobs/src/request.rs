//! One request, as a producer sends it.

use chrono::{DateTime, SubsecRound, Utc};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::note::is_acting;
use crate::{Job, Kind, PayloadError};

/// A request that every door accepts: valid by construction.
///
/// The ID stands for one intention. Whoever sends the same ID with the same job again, after a timeout or a crash,
/// gets the receipt of the first; so draw it once (`Uuid::now_v7()`), and store it before sending.
///
/// ```
/// use seatkeeper_jobs::{Request, SemesterId, UserId, enroll::Enroll};
///
/// let job = Enroll { user_id: UserId::new(7)?, semester_id: SemesterId::new(3)? };
/// let request = Request::new(uuid::Uuid::now_v7(), job).with_producer("website")?;
/// assert_eq!(request.producer(), Some("website"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    request_id: Uuid,
    job: Job,
    run_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    producer: Option<String>,
    traceparent: Option<String>,
}

/// A request that no door would accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("request not accepted: `{field}` is missing, malformed or not allowed here")]
pub struct RequestError {
    /// The first field at fault, of the request or of its payload. Never a value.
    pub field: String,
}

/// A line that is no request.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not JSON, nested too deeply, or holding a number that no program can hold.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but not a request.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl RequestError {
    fn of(field: &str) -> Self {
        PayloadError::of(field).into()
    }
}

impl From<PayloadError> for RequestError {
    fn from(error: PayloadError) -> Self {
        Self { field: error.field }
    }
}

impl Request {
    /// The longest name of a producer, in characters (not bytes).
    pub const MAX_PRODUCER_CHARACTERS: usize = 200;
    /// The largest payload, in bytes of JSON text. No well-formed one comes near.
    pub const MAX_PAYLOAD_BYTES: usize = 8192;

    /// A request that is due at once, never expires and says nothing about who asks.
    #[must_use]
    pub fn new(request_id: Uuid, job: impl Into<Job>) -> Self {
        Self {
            request_id,
            job: job.into(),
            run_at: None,
            expires_at: None,
            producer: None,
            traceparent: None,
        }
    }

    /// Not to be answered before this instant, which is kept in whole microseconds.
    ///
    /// # Errors
    /// When it is outside the years 1 to 9999.
    pub fn with_run_at(self, instant: DateTime<Utc>) -> Result<Self, RequestError> {
        Ok(Self { run_at: Some(storable("run_at", instant)?), ..self })
    }

    /// To be refused as `request_expired` from this instant on, which is kept in whole microseconds.
    ///
    /// # Errors
    /// When it is outside the years 1 to 9999.
    pub fn with_expires_at(self, instant: DateTime<Utc>) -> Result<Self, RequestError> {
        Ok(Self { expires_at: Some(storable("expires_at", instant)?), ..self })
    }

    /// Who asks: a name for people to read, such as `website`.
    ///
    /// # Errors
    /// When it is longer than [`Self::MAX_PRODUCER_CHARACTERS`], or holds a control character or one that turns the direction of
    /// writing.
    pub fn with_producer(self, name: impl Into<String>) -> Result<Self, RequestError> {
        Ok(Self { producer: Some(producer_name(name.into())?), ..self })
    }

    /// The W3C trace context of whoever asks, which becomes the parent of the request's span:
    /// `version-traceid-spanid-flags` in lower-case hex.
    ///
    /// # Errors
    /// When it has another form.
    pub fn with_traceparent(self, traceparent: impl Into<String>) -> Result<Self, RequestError> {
        Ok(Self { traceparent: Some(trace_context(traceparent.into())?), ..self })
    }

    /// Reads an item of `seatkeeper.enqueue_many`: {request_id, kind, payload} and optionally run_at, expires_at,
    /// producer and traceparent, which may be null. Instants are RFC 3339.
    ///
    /// This is the door for what others wrote. It refuses what the database would refuse, naming the same field, and
    /// what only PostgreSQL can read: `"tomorrow"` as an instant, an ID in braces, a number as the producer's name.
    ///
    /// # Errors
    /// When it is no request; the error names the first field at fault, `requests` when it is no object at all.
    pub fn read(item: &Value) -> Result<Self, RequestError> {
        let object = item.as_object().ok_or_else(|| RequestError::of("requests"))?;
        let required =
            |field| object.get(field).and_then(Value::as_str).ok_or_else(|| RequestError::of(field));
        let optional = |field| match object.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => required(field).map(Some),
        };

        // In the order of the database: first what cannot be read at all, then what is not acceptable.
        let (request_id, kind) = (required("request_id")?, required("kind")?);
        if let Some(surplus) = object.keys().filter(|key| !FIELDS.contains(&key.as_str())).min() {
            return Err(RequestError::of(surplus));
        }
        let request_id = parse_id(request_id)?;
        let run_at = optional("run_at")?.map(|text| parse_instant("run_at", text)).transpose()?;
        let expires_at = optional("expires_at")?.map(|text| parse_instant("expires_at", text)).transpose()?;

        let kind: Kind = kind.parse().map_err(|_| RequestError::of("kind"))?;
        let run_at = run_at.map(|instant| storable("run_at", instant)).transpose()?;
        let expires_at = expires_at.map(|instant| storable("expires_at", instant)).transpose()?;
        let producer = optional("producer")?.map(|name| producer_name(name.to_owned())).transpose()?;
        let traceparent = optional("traceparent")?.map(|text| trace_context(text.to_owned())).transpose()?;

        let payload = object.get("payload").ok_or_else(|| RequestError::of("payload"))?;
        if payload.to_string().len() > Self::MAX_PAYLOAD_BYTES {
            return Err(RequestError::of("payload"));
        }
        let job = Job::read(kind, payload)?;
        // Jobs that were taken before have their answer whatever their note is; a new one is looked at.
        if payload.get("note").and_then(Value::as_str).is_some_and(is_acting) {
            return Err(RequestError::of("note"));
        }
        Ok(Self { request_id, job, run_at, expires_at, producer, traceparent })
    }

    /// Reads a line of NDJSON: see [`Request::read`].
    ///
    /// # Errors
    /// When it is not JSON, or no request.
    pub fn read_line(line: &str) -> Result<Self, LineError> {
        let item: Value = serde_json::from_str(line)?;
        Ok(Self::read(&item)?)
    }

    /// The ID: one for each intention.
    #[must_use]
    pub const fn request_id(&self) -> Uuid {
        self.request_id
    }

    /// What is asked.
    #[must_use]
    pub const fn job(&self) -> &Job {
        &self.job
    }

    /// Not to be answered before this instant.
    #[must_use]
    pub const fn run_at(&self) -> Option<DateTime<Utc>> {
        self.run_at
    }

    /// To be refused from this instant on.
    #[must_use]
    pub const fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.expires_at
    }

    /// Who asks.
    #[must_use]
    pub fn producer(&self) -> Option<&str> {
        self.producer.as_deref()
    }

    /// The trace context of whoever asks.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }
}

/// The item of `seatkeeper.enqueue_many`; what was not set is left out. [`Request::read`] reads it back.
impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut item = serializer.serialize_map(None)?;
        item.serialize_entry("request_id", &self.request_id)?;
        item.serialize_entry("kind", &self.job.kind())?;
        item.serialize_entry("payload", &self.job)?;
        if let Some(run_at) = self.run_at {
            item.serialize_entry("run_at", &run_at)?;
        }
        if let Some(expires_at) = self.expires_at {
            item.serialize_entry("expires_at", &expires_at)?;
        }
        if let Some(producer) = &self.producer {
            item.serialize_entry("producer", producer)?;
        }
        if let Some(traceparent) = &self.traceparent {
            item.serialize_entry("traceparent", traceparent)?;
        }
        item.end()
    }
}

const FIELDS: [&str; 7] =
    ["request_id", "kind", "payload", "run_at", "expires_at", "producer", "traceparent"];

/// Seconds since 1970 of 0001-01-01 and 9999-12-31, both 00:00 UTC: the bounds of the database. Beyond them lie
/// instants that most client languages cannot hold.
const EARLIEST: i64 = -62_135_596_800;
const LATEST: i64 = 253_402_214_400;

/// With or without hyphens; other forms are not read by every door.
fn parse_id(text: &str) -> Result<Uuid, RequestError> {
    match Uuid::try_parse(text) {
        Ok(id) if matches!(text.len(), 32 | 36) => Ok(id),
        _ => Err(RequestError::of("request_id")),
    }
}

fn parse_instant(field: &str, text: &str) -> Result<DateTime<Utc>, RequestError> {
    DateTime::parse_from_rfc3339(text)
        .map(|instant| instant.with_timezone(&Utc))
        .map_err(|_| RequestError::of(field))
}

/// Whole microseconds are what PostgreSQL keeps; rounded here as there, every door stores the same instant.
fn storable(field: &str, instant: DateTime<Utc>) -> Result<DateTime<Utc>, RequestError> {
    // First the bounds, since rounding the last instant of chrono panics; then again, since rounding moves it.
    let within = |instant: &DateTime<Utc>| {
        let bounds = (EARLIEST, 0)..=(LATEST, 0);
        bounds.contains(&(instant.timestamp(), instant.timestamp_subsec_micros()))
    };
    Some(instant)
        .filter(within)
        .map(|instant| instant.round_subsecs(6))
        .filter(within)
        .ok_or_else(|| RequestError::of(field))
}

fn producer_name(name: String) -> Result<String, RequestError> {
    if name.chars().count() > Request::MAX_PRODUCER_CHARACTERS || is_acting(&name) {
        return Err(RequestError::of("producer"));
    }
    Ok(name)
}

fn trace_context(text: String) -> Result<String, RequestError> {
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    if lengths != [2, 32, 16, 2] || !parts.iter().all(|part| is_hex(part)) {
        return Err(RequestError::of("traceparent"));
    }
    Ok(text)
}
