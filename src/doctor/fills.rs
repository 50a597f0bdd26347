//! Sessions that a worker is to look at: a place may have come free without a request.

use std::time::Duration;

use sqlx::PgConnection;

use super::queue::{SLOW, STUCK};
use super::{Finding, queue};

pub(super) async fn finding(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    // In a paused semester nothing counts as late; what ended in an error is told by its error.
    let row = sqlx::query!(
        r#"-- doctor.fills
           select count(distinct m.session_id) as "sessions!",
                  count(distinct m.session_id) filter (where m.last_error is not null) as "failing!",
                  (array_agg(m.last_error order by m.mark_id desc) filter (where m.last_error is not null))[1] as last_error,
                  coalesce(extract(epoch from clock_timestamp() - min(m.marked_at) filter (
                      where m.semester_id <> all (array(
                                select p.semester_id from seatkeeper.pauses p where p.semester_id is not null))
                        and not exists (select from seatkeeper.pauses p where p.kind is null and p.semester_id is null)))::float8,
                      0) as "oldest!"
           from seatkeeper.fill_marks m"#
    )
    .fetch_one(connection)
    .await?;
    const TODO: &str = "is `seatkeeper run` running, and does it reach the database? See its log";
    let age = Duration::from_secs(Duration::try_from_secs_f64(row.oldest).unwrap_or_default().as_secs());
    let what = format!(
        "{} sessions wait for a worker to look whether somebody can move up, the oldest for {}",
        queue::count(row.sessions),
        humantime::format_duration(age)
    );
    Ok(match row.last_error {
        Some(error) => Finding::warning(
            "fills",
            format!("the waitlist of {} sessions could not be moved: {error}", row.failing),
            "it is tried again; remove the cause, or report it together with the worker's log",
        ),
        None if row.oldest > STUCK => Finding::problem("fills", what, TODO),
        None if row.oldest > SLOW => Finding::warning("fills", what, TODO),
        None if row.sessions == 0 => Finding::ok("fills", "no waitlist waits for a worker"),
        None => Finding::ok("fills", what),
    })
}
