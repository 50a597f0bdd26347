//! tokio-cron-scheduler carries the schedule and a safety tick; every tick only says "look".
//!
//! The library alone would not do. It takes the offset of a time zone once, when a job is made, so after a switch of
//! the clocks it fires an hour off; it replays nothing after a downtime; it fires on every replica, and over itself.
//! All that costs nothing here: to look is idempotent, and what is due is computed from the database. Only async
//! jobs are used: a panic in one of its sync jobs ends that job for good.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use super::Timetable;

/// How often it is looked in any case: what finds a slot that was left in the middle, and what an outage swallowed.
const SAFETY_TICK: &str = "*/5 * * * * *";

/// A clock that is going. It stops when it is dropped.
pub struct Clock {
    scheduler: JobScheduler,
}

impl Clock {
    /// Winds it up: `look` is notified at every tick of one of these timetables, and of the safety tick.
    ///
    /// # Errors
    /// When the library does not take a timetable, or does not start.
    pub async fn start(timetables: &[Timetable], look: Arc<Notify>) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let say = |look: &Arc<Notify>| {
            let look = look.clone();
            move |_, _| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
                let look = look.clone();
                Box::pin(async move { look.notify_one() })
            }
        };
        for timetable in timetables {
            scheduler.add(Job::new_async_tz(timetable.expression(), timetable.zone(), say(&look))?).await?;
        }
        scheduler.add(Job::new_async(SAFETY_TICK, say(&look))?).await?;
        scheduler.start().await?;
        Ok(Self { scheduler })
    }

    /// Stops it.
    pub async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the clock did not stop");
        }
    }
}
