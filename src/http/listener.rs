//! The connections of the listener: how many there are, which of them gives way, and how they end.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::exchange::{Owed, carry};

/// The pause after a connection could not be accepted: no file descriptor is free, most likely.
const BREATH: Duration = Duration::from_millis(200);

/// What clients may take of the process.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most connections at a time, at least one.
    pub connections: usize,
    /// How long a client may take to send the head of a request, to come with its next one, and to take an answer.
    pub patience: Duration,
    /// How long the answers in hand may take once the process is to stop.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 256, patience: Duration::from_secs(10), drain: Duration::from_secs(20) }
    }
}

/// Serves until `shutdown`, and then no longer than the bounds allow.
pub(super) async fn serve(
    listener: TcpListener,
    pages: Router,
    bounds: Bounds,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let mut open = Open::default();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // The client changed its mind.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!(%error, "the listener could not accept a connection");
                let _ = shutdown.run_until_cancelled(tokio::time::sleep(BREATH)).await;
                continue;
            }
        };
        if shutdown.run_until_cancelled(open.room_for_one(bounds.connections)).await.is_none() {
            break;
        }
        open.carry(stream, pages.clone(), bounds.patience, shutdown.clone());
    }
    drop(listener);
    open.end_within(bounds.drain).await;
    Ok(())
}

/// The connections that there are.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    /// In the order in which they came, some of which may be over.
    in_order: VecDeque<(AbortHandle, Owed)>,
}

impl Open {
    fn carry(&mut self, stream: TcpStream, pages: Router, patience: Duration, shutdown: CancellationToken) {
        let owed = Owed::nothing();
        let task = self.tasks.spawn(carry(stream, pages, patience, owed.clone(), shutdown));
        self.in_order.push_back((task, owed));
    }

    /// Awaits that there is room. Who has waited longest without asking for anything gives way, so that those who hold
    /// connections keep nobody out who comes with a request.
    async fn room_for_one(&mut self, most: usize) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.in_order.retain(|(task, _)| !task.is_finished());
            if self.tasks.len() < most {
                return;
            }
            if let Some(at) = self.in_order.iter().position(|(_, owed)| owed.is_nothing())
                && let Some((task, _)) = self.in_order.remove(at)
            {
                task.abort();
            }
            self.tasks.join_next().await;
        }
    }

    /// Awaits the answers in hand; who does not take them in time is cut off.
    async fn end_within(mut self, drain: Duration) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, ended).await.is_err() {
            tracing::warn!(
                clients = self.tasks.len(),
                "clients that did not take their answers were cut off"
            );
            self.tasks.shutdown().await;
        }
    }
}
