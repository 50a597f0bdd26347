//! Connections that have fallen silent.
//!
//! A peer that went away with a word is an error at once. One that went without (a firewall that forgot the connection, a
//! proxy that hangs) leaves its client waiting for a reply for ever: TCP only notices what is being sent. PostgreSQL cuts each
//! statement off in time, so who hears nothing for much longer than that need not wait any more. What was asked may have been
//! done all the same.
//!
//! One wait it never cuts off: that of a COMMIT for a synchronous standby that is gone. No timeout ends it, nor does the end of the
//! client: whoever gave such a connection up and opened another would leave one server process after the other behind, each with
//! its locks. So before a silent connection is given up, the server is asked, on another one, whether commits of this account
//! wait for a standby; as long as they do, the connection is kept ([`unless_given_up`]).

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sqlx::{PgExecutor, PgPool};
use tokio::time::{Instant, sleep, timeout};

/// Whether any connection of this process has fallen silent.
static FELL_SILENT: AtomicBool = AtomicBool::new(false);

/// How often somebody who hears nothing asks what the server is doing.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// And how long the answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Nothing was heard for too long; what was under way was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing was heard from the server for {0:?}; the connection is given up")]
pub struct Silence(Duration);

/// Whether some connection was given up, so that those which are let go are asked whether they still live.
pub(super) fn fell_silent() -> bool {
    FELL_SILENT.load(Ordering::Relaxed)
}

/// Has connections that are let go asked from now on: somebody did not wait for a reply.
pub fn note_silence() {
    FELL_SILENT.store(true, Ordering::Relaxed);
}

/// Notes whether the work was woken, and passes it on.
struct Woken {
    heard: AtomicBool,
    parent: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.heard.store(true, Ordering::Release);
        self.parent.wake_by_ref();
    }
}

/// Work with the server, of any length, that is given up when it hears nothing for `patience` (not at all when that is zero).
///
/// # Errors
/// When it was given up.
pub async fn unless_silent<F: Future>(patience: Duration, work: F) -> Result<F::Output, Silence> {
    if patience.is_zero() {
        return Ok(work.await);
    }
    heard_within(patience, pin!(work)).await.map_err(|_| {
        note_silence();
        Silence(patience)
    })
}

/// The same, but kept for as long as commits of this account wait for a synchronous standby, which is told each time that it
/// is found out.
///
/// # Errors
/// When it was given up.
pub async fn unless_given_up<F: Future>(
    pool: &PgPool,
    patience: Duration,
    work: F,
    mut waits: impl FnMut(i64),
) -> Result<F::Output, Silence> {
    let mut work = pin!(work);
    if patience.is_zero() {
        return Ok(work.await);
    }
    let mut silent = Duration::ZERO;
    loop {
        let slice = ASK_EVERY.min(patience);
        match heard_within(slice, work.as_mut()).await {
            Ok(output) => return Ok(output),
            Err(Quiet { spoke: true }) => silent = slice,
            Err(Quiet { spoke: false }) => silent += slice,
        }
        match timeout(ANSWERS_WITHIN, replication_waits(pool)).await {
            Ok(Ok(waiting)) if waiting > 0 => {
                waits(waiting);
                silent = Duration::ZERO;
            }
            _ if silent < patience => {}
            _ => {
                note_silence();
                return Err(Silence(silent));
            }
        }
    }
}

/// How many commits to this database wait for a synchronous standby: those of this account, and of others where it may see what
/// they do (`pg_read_all_stats`).
///
/// # Errors
/// When the database cannot be asked.
pub async fn replication_waits(database: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- silence.replication_waits
           select count(*) as "waits!" from pg_catalog.pg_stat_activity a
           where a.datname = current_database() and a.wait_event = 'SyncRep'"#
    )
    .persistent(false)
    .fetch_one(database)
    .await
}

/// Nothing was heard for a while, and whether anything was before that.
struct Quiet {
    spoke: bool,
}

/// The work, as far as it comes before nothing was heard for so long.
async fn heard_within<F: Future>(patience: Duration, mut work: Pin<&mut F>) -> Result<F::Output, Quiet> {
    let mut silence = pin!(sleep(patience));
    let mut woken: Option<Arc<Woken>> = None;
    // The first look is ours.
    let mut words = 0_u64;
    std::future::poll_fn(move |context| {
        let before = woken.take();
        let heard = before.as_ref().is_none_or(|before| before.heard.swap(false, Ordering::AcqRel));
        let same = before.filter(|before| before.parent.will_wake(context.waker()));
        let is_new = same.is_none();
        let known = same.unwrap_or_else(|| {
            Arc::new(Woken { heard: AtomicBool::new(false), parent: context.waker().clone() })
        });
        // Who waits for it in another task from now on has to be known to it as well; that alone is no word of the server.
        if heard || is_new {
            let waker = Waker::from(known.clone());
            if let Poll::Ready(output) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(Ok(output));
            }
            if heard {
                words += 1;
                silence.as_mut().reset(Instant::now() + patience);
            }
        }
        woken = Some(known);
        silence.as_mut().poll(context).map(|()| Err(Quiet { spoke: words > 1 }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::time::sleep;

    use super::unless_silent;

    #[tokio::test]
    async fn what_is_heard_now_and_then_may_take_any_time() {
        let patience = Duration::from_secs(1);
        let began = Instant::now();
        let talking = async {
            while began.elapsed() < patience * 2 {
                sleep(Duration::from_millis(10)).await;
            }
            7
        };
        assert_eq!(unless_silent(patience, talking).await, Ok(7));
    }

    #[tokio::test]
    async fn what_is_not_heard_is_given_up_however_often_it_is_looked_at() {
        let patience = Duration::from_millis(200);
        let began = Instant::now();
        let mut waiting = std::pin::pin!(unless_silent(patience, std::future::pending::<()>()));
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        let outcome = loop {
            tokio::select! {
                outcome = &mut waiting => break outcome,
                _ = looks.tick() => assert!(began.elapsed() < Duration::from_secs(60), "never given up"),
            }
        };
        assert!(outcome.is_err() && began.elapsed() >= patience);
    }

    #[tokio::test]
    async fn without_a_limit_it_is_waited_for() {
        assert_eq!(unless_silent(Duration::ZERO, sleep(Duration::from_millis(20))).await, Ok(()));
    }
}
