//! Users who enroll without end, in several semesters, so that both processes are at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinHandle;

const SEMESTERS: i64 = 8;
const USERS: i64 = 20_000;
/// So many at a time, and so often.
const AT_A_TIME: i64 = 10;
const EVERY: Duration = Duration::from_millis(5);

/// At it until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<()>,
}

impl Load {
    pub async fn start(pool: &PgPool) -> Self {
        sqlx::query("insert into seatkeeper.users (user_id) select generate_series(1, $1)")
            .bind(USERS)
            .execute(pool)
            .await
            .unwrap();
        sqlx::query(
            "insert into seatkeeper.semesters (semester_id, code, status)
             select s, 'S' || s, 'ENROLLMENT_OPEN' from generate_series(1, $1) s",
        )
        .bind(SEMESTERS)
        .execute(pool)
        .await
        .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let asking = tokio::spawn(ask(pool.clone(), stop.clone()));
        Self { stop, asking }
    }

    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.unwrap();
    }
}

async fn ask(pool: PgPool, stop: Arc<AtomicBool>) {
    let mut pace = tokio::time::interval(EVERY);
    // Who is behind does not make up for it in a burst.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in 0_i64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        pace.tick().await;
        // While the server is away there is nobody to ask.
        drop(
            sqlx::query(
                "select count(*) from seatkeeper.enqueue_many((
                     select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', 'enroll',
                         'payload', jsonb_build_object('user_id', ($1 * $2 + n) / $3 % $4 + 1, 'semester_id', ($1 * $2 + n) % $3 + 1)))
                     from generate_series(0, $2 - 1) n))",
            )
            .bind(turn)
            .bind(AT_A_TIME)
            .bind(SEMESTERS)
            .bind(USERS)
            .execute(&pool)
            .await,
        );
    }
}
