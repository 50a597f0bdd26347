//! A gate: each statement waits in front of it until the test lets it go.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::{Policy, RoundTrip, Verdict};

/// What is seen at a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A statement has come, and waits.
    Held(RoundTrip),
    /// The statement that was let go is done.
    Done {
        /// With an error.
        failed: bool,
    },
}

/// The policy: for a single connection at a time.
pub struct Gate {
    seen: mpsc::UnboundedSender<Event>,
    /// A text in statements, and what comes to the server instead.
    replaced: Option<(String, String)>,
    go: Mutex<mpsc::UnboundedReceiver<()>>,
}

/// The other side of it.
pub struct Gatekeeper {
    seen: mpsc::UnboundedReceiver<Event>,
    go: mpsc::UnboundedSender<()>,
}

impl Gate {
    /// A gate and who keeps it. Without its keeper it is open. Where statements have the first text of `replaced`, the server
    /// gets the second.
    pub fn new(replaced: Option<(String, String)>) -> (Arc<Self>, Gatekeeper) {
        let (seen, sees) = mpsc::unbounded_channel();
        let (lets_go, go) = mpsc::unbounded_channel();
        (Arc::new(Self { seen, replaced, go: Mutex::new(go) }), Gatekeeper { seen: sees, go: lets_go })
    }
}

impl Policy for Gate {
    fn instead(&self, sql: &str) -> Option<String> {
        let (text, other) = self.replaced.as_ref()?;
        sql.contains(text).then(|| sql.replace(text, other))
    }

    async fn before(&self, trip: &RoundTrip) -> Verdict {
        if self.seen.send(Event::Held(trip.clone())).is_ok() {
            self.go.lock().await.recv().await;
        }
        Verdict::Pass
    }

    async fn after(&self, _trip: &RoundTrip, failed: bool) -> Verdict {
        let _ = self.seen.send(Event::Done { failed });
        Verdict::Pass
    }
}

impl Gatekeeper {
    /// Lets the statement go that waits, or the next one.
    pub fn let_go(&self) {
        self.go.send(()).unwrap();
    }

    /// What has been seen already.
    pub fn has_seen(&mut self) -> Option<Event> {
        self.seen.try_recv().ok()
    }

    /// What is seen next.
    pub async fn next(&mut self) -> Event {
        self.seen.recv().await.unwrap()
    }
}
