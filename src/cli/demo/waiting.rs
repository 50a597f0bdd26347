//! Waiting for the workers, and showing how far they are.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sqlx::PgPool;

use crate::cli::Failure;

/// How often the queue is looked at while the crowd is at it.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// When nothing has moved for this long, something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until so many requests are answered, and shows how far it is.
pub async fn await_answers(
    pool: &PgPool,
    wanted: usize,
    what: &'static str,
    detail: impl Fn() -> String,
) -> Result<(), Failure> {
    let bar = ProgressBar::new(wanted.try_into().unwrap_or(u64::MAX)).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg:10} {bar:40} {pos}/{len} answered {prefix}") {
        bar.set_style(style);
    }
    let mut last = (0, Instant::now());
    loop {
        let answered = sqlx::query_scalar!(
            r#"-- demo.answered
               select count(*) as "count!" from seatkeeper.requests where status <> 'queued'"#
        )
        .fetch_one(pool)
        .await?;
        bar.set_position(answered.try_into().unwrap_or_default());
        bar.set_prefix(detail());
        if usize::try_from(answered).is_ok_and(|answered| answered >= wanted) {
            bar.finish_and_clear();
            return Ok(());
        }
        if answered > last.0 {
            last = (answered, Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            return Err(nothing_moves(&format!("{answered} of {wanted} requests are answered")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until no session is marked for filling.
pub async fn await_fills(pool: &PgPool) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let marked = sqlx::query_scalar!(
            r#"-- demo.marked
               select count(*) as "count!" from seatkeeper.fill_marks"#
        )
        .fetch_one(pool)
        .await?;
        if marked == 0 {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(nothing_moves(&format!("{marked} marks for filling are left")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn nothing_moves(how_far: &str) -> Failure {
    Failure::unable(format!(
        "nothing has moved for {} s: {how_far}; run it with --log debug to see why",
        PATIENCE.as_secs()
    ))
}

/// Shows that something is going on; hidden when standard error is no terminal.
pub fn spinner(message: String) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
