//! Metrics: the only place that spells their names.
//!
//! What happens in this process is counted here, after the commit, by the recorder. What is shared state (queue,
//! duplicates, pauses) is read from the database at each scrape, in [`shared`], and never counted per process.

mod invariants;
mod queue;
mod schedules;
mod shared;
mod transactions;

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use seatkeeper_jobs::{Kind, Outcome, Reason};
use sqlx::PgPool;

use crate::batch::{Report, Told};

pub(crate) use invariants::INVARIANT_VIOLATIONS;
pub use shared::SharedState;

const REQUESTS: &str = "seatkeeper_requests_total";
const LATENCY: &str = "seatkeeper_request_latency_seconds";
const BATCH_SIZE: &str = "seatkeeper_batch_size";
const BATCH_DURATION: &str = "seatkeeper_batch_duration_seconds";
const RETRIES: &str = "seatkeeper_batch_retries_total";
const CONSTRAINT_HITS: &str = "seatkeeper_constraint_hits_total";
const POOL: &str = "seatkeeper_db_pool_connections";
const BUILD: &str = "seatkeeper_build_info";

/// Why a batch was made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the contract say it")]
pub enum RetryCause {
    Deadlock,
    Serialization,
    LockTimeout,
    Connection,
    Guard,
    Panic,
    Window,
}

impl RetryCause {
    const ALL: [Self; 7] = [
        Self::Deadlock,
        Self::Serialization,
        Self::LockTimeout,
        Self::Connection,
        Self::Guard,
        Self::Panic,
        Self::Window,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::Serialization => "serialization",
            Self::LockTimeout => "lock_timeout",
            Self::Connection => "connection",
            Self::Guard => "guard",
            Self::Panic => "panic",
            Self::Window => "window",
        }
    }
}

/// The guards of the database by name. A firing of any other constraint is counted as `other`, so that the label
/// stays a closed set.
const GUARDS: [&str; 15] = [
    "uq_active_enrollment",
    "chk_credit_balance_non_negative",
    "chk_enrolled_within_capacity",
    "chk_enrolled_count_non_negative",
    "chk_enrollment_state",
    "uq_refund_per_enrollment",
    "uq_ledger_per_request",
    "uq_active_booking",
    "uq_waitlist_ticket",
    "uq_booking_attendance",
    "xcl_no_overlapping_confirmed_bookings",
    "chk_confirmed_within_capacity",
    "chk_confirmed_count_non_negative",
    "trg_answer_for_good",
    "trg_ledger_append_only",
];

/// Installs the recorder of this process and registers every label set at 0: a counter that is born at 1 is invisible
/// to `increase()`.
///
/// # Errors
/// When another recorder is installed.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full(LATENCY.into()),
            &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0],
        )?
        .set_buckets_for_metric(
            Matcher::Full(BATCH_SIZE.into()),
            &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2000.0],
        )?
        .set_buckets_for_metric(
            Matcher::Full(BATCH_DURATION.into()),
            &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0],
        )?
        .install_recorder()?;
    describe();
    register();
    metrics_process::Collector::default().describe();
    Ok(handle)
}

fn describe() {
    describe_counter!(REQUESTS, "Requests that came to an end, counted after the commit");
    describe_histogram!(LATENCY, Unit::Seconds, "From enqueued (or due) to committed");
    describe_histogram!(BATCH_SIZE, "Requests per commit");
    describe_histogram!(BATCH_DURATION, Unit::Seconds, "From the first lock to the commit");
    describe_counter!(RETRIES, "Batches that were rolled back and made again");
    describe_counter!(CONSTRAINT_HITS, "Times that a guard of the database fired");
    describe_gauge!(POOL, "Connections to PostgreSQL that this process holds");
    describe_gauge!(BUILD, "Constant 1; the labels tell the version");
}

fn register() {
    for &kind in Kind::ALL {
        counter!(REQUESTS, "kind" => kind.as_str(), "outcome" => "applied", "reason" => "").absolute(0);
        for reason in kind.refusals() {
            counter!(REQUESTS, "kind" => kind.as_str(), "outcome" => "refused", "reason" => reason.as_str())
                .absolute(0);
        }
        for reason in [Reason::InvalidPayload, Reason::AttemptsExhausted] {
            counter!(REQUESTS, "kind" => kind.as_str(), "outcome" => "failed", "reason" => reason.as_str())
                .absolute(0);
        }
    }
    for cause in RetryCause::ALL {
        counter!(RETRIES, "cause" => cause.as_str()).absolute(0);
    }
    for guard in GUARDS.into_iter().chain(["other"]) {
        counter!(CONSTRAINT_HITS, "constraint" => guard).absolute(0);
    }
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// A batch is durable.
#[expect(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^52 requests")]
pub(crate) fn batch_committed(report: &Report) {
    // A batch that only filled marked sessions answered nobody.
    if !report.told.is_empty() {
        histogram!(BATCH_SIZE).record(report.told.len() as f64);
    }
    histogram!(BATCH_DURATION).record(report.duration);
    report.told.iter().for_each(request_told);
}

/// A request came to an end.
pub(crate) fn request_told(told: &Told) {
    let outcome = match told.outcome {
        Some(Outcome::Applied) => "applied",
        Some(Outcome::Refused) => "refused",
        None => "failed",
    };
    let reason = told.reason.map_or("", Reason::as_str);
    counter!(REQUESTS, "kind" => told.kind.as_str(), "outcome" => outcome, "reason" => reason).increment(1);
    histogram!(LATENCY, "kind" => told.kind.as_str()).record(told.latency);
}

/// A batch was rolled back.
pub(crate) fn batch_retried(cause: RetryCause) {
    counter!(RETRIES, "cause" => cause.as_str()).increment(1);
}

/// A guard of the database fired.
pub(crate) fn constraint_hit(name: &str) {
    let guard = GUARDS.into_iter().find(|guard| *guard == name).unwrap_or("other");
    counter!(CONSTRAINT_HITS, "constraint" => guard).increment(1);
}

/// Renders everything that one scrape gets.
pub async fn render(handle: &PrometheusHandle, pool: &PgPool, shared: &SharedState) -> String {
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    gauge!(POOL, "state" => "idle").set(idle);
    gauge!(POOL, "state" => "used").set(pool.size().saturating_sub(idle));
    metrics_process::Collector::default().collect();
    let mut text = handle.render();
    text.push_str(&shared.render().await);
    text
}

/// How often the recorder's histograms have to be drained when nobody scrapes.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);
