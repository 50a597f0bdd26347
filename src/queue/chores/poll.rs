//! When an idle worker looks for a chore: at an interval.
//!
//! Not by apalis's own interval strategy. When its delay ends in the same moment as a fetch that found nothing, it
//! starts a delay that nobody polls: the worker then sleeps until its next heartbeat, up to 30 s.

use std::task::{Context, Poll};
use std::time::Duration;

use apalis::prelude::{PollSnapshot, PollStrategy};
use tokio::time::{Interval, MissedTickBehavior};

/// Wakes the worker at an interval.
pub(super) struct Every(Interval);

impl Every {
    pub(super) fn new(interval: Duration) -> Self {
        let mut interval = tokio::time::interval(interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(interval)
    }
}

impl PollStrategy for Every {
    fn poll_drive(&mut self, context: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut due = Poll::Pending;
        // Until it is pending: only then is the next wake-up ordered.
        while self.0.poll_tick(context).is_ready() {
            due = Poll::Ready(Some(()));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    use tokio::sync::Notify;

    use super::*;

    struct Woken(Notify);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.notify_one();
        }
    }

    #[tokio::test]
    async fn whoever_is_told_to_look_is_woken_again_without_asking() {
        let mut every = Every::new(Duration::from_millis(5));
        let woken = Arc::new(Woken(Notify::new()));
        let waker = Waker::from(woken.clone());
        let mut looks = 0;
        while looks < 20 {
            if every.poll_drive(&mut Context::from_waker(&waker), &PollSnapshot::new()).is_ready() {
                looks += 1;
            }
            let again = tokio::time::timeout(Duration::from_secs(60), woken.0.notified());
            assert!(again.await.is_ok(), "never woken again");
        }
    }
}
