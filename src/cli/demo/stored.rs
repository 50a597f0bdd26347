//! The requests as they are stored once everything is over.

use seatkeeper_jobs::{Applied, Job, Kind, Outcome, Reason};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::plan::CAMP;
use crate::cli::Failure;

/// A request as it is stored.
pub struct Stored {
    pub request_id: Uuid,
    pub job: Job,
    pub outcome: Option<Outcome>,
    pub reason: Option<Reason>,
    pub result: Option<Value>,
    pub answer_seq: Option<i64>,
}

impl Stored {
    /// What came of it, when it was applied.
    pub fn applied(&self) -> Option<Applied> {
        Applied::read(self.job.kind(), self.result.as_ref().filter(|_| self.is_applied())?).ok()
    }

    pub fn is_applied(&self) -> bool {
        self.outcome == Some(Outcome::Applied)
    }

    /// The semester in whose queue it was.
    pub fn lane(&self) -> Option<i64> {
        match &self.job {
            // All sessions are the camp's.
            Job::Book(_) | Job::CancelBooking(_) | Job::RecordAttendance(_) => Some(CAMP),
            job => job.semester_id().map(|semester| semester.get()),
        }
    }
}

/// All of them, in the order of their answers.
pub async fn read_requests(pool: &PgPool) -> Result<Vec<Stored>, Failure> {
    let rows = sqlx::query!(
        r#"-- demo.requests
           select r.request_id, r.kind, r.payload as "payload: Json<Value>", r.outcome, r.reason,
                  r.result as "result: Json<Value>", r.answer_seq
           from seatkeeper.requests r order by r.answer_seq"#
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            let job = row.kind.parse::<Kind>().ok().and_then(|kind| Job::read(kind, &row.payload.0).ok());
            let job = job.ok_or_else(|| Failure::unable("the demo's database holds what was never asked"))?;
            Ok(Stored {
                request_id: row.request_id,
                job,
                outcome: row.outcome.and_then(|outcome| outcome.parse().ok()),
                reason: row.reason.and_then(|reason| reason.parse().ok()),
                result: row.result.map(|Json(result)| result),
                answer_seq: row.answer_seq,
            })
        })
        .collect()
}
