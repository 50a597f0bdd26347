//! A proxy between a client and PostgreSQL that understands just enough of the protocol to see round trips: a statement of
//! a real program can be held, watched or cut off at its real boundary, and the program knows nothing of it.
//!
//! What becomes of a round trip is a [`Policy`]: [`PassThrough`], a [`Gate`] that lets each statement go when the test says so,
//! or one of a test's own, which may also cut the connection, before PostgreSQL has the statement or when it has answered.
//! A [`Wire`] does not stop at that boundary: it breaks connections after any byte.

mod carrying;
mod connection;
mod framing;
mod gate;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use gate::{Event, Gate, Gatekeeper};
pub use wire::{Direction, Fate, Loss, Passed, Seen, Wire};

/// What is sent until the client waits for the server, with at least one statement that is executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoundTrip {
    /// The text of what is executed, also of a statement that was prepared earlier.
    pub sql: String,
    /// The server's process for this connection.
    pub pid: i32,
}

/// What becomes of a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// Both ends of the connection are closed; nothing more is passed on.
    Cut,
}

/// What a proxy does with round trips. Preparing a statement, a ping and the authentication are none.
pub trait Policy: Send + Sync + 'static {
    /// What the server is to prepare instead of a statement, which takes the same parameters and gives the same columns.
    fn instead(&self, _sql: &str) -> Option<String> {
        None
    }

    /// Before the server gets it.
    fn before(&self, _trip: &RoundTrip) -> impl Future<Output = Verdict> + Send {
        async { Verdict::Pass }
    }

    /// When the server has answered, and before the client learns that the answer is complete. `failed`: with an error.
    fn after(&self, _trip: &RoundTrip, _failed: bool) -> impl Future<Output = Verdict> + Send {
        async { Verdict::Pass }
    }
}

/// Nothing happens to anything.
#[derive(Debug, Clone, Copy)]
pub struct PassThrough;

impl Policy for PassThrough {}

/// A listening proxy. Gone, with its connections, when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// In front of the server that these options lead to, which has to be at an address of TCP.
    pub async fn start<P: Policy>(server: &PgConnectOptions, policy: Arc<P>) -> Self {
        let server = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listening = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, policy) = (server.clone(), Arc::clone(&policy));
                connections.spawn(async move {
                    // A connection that breaks is what its client and the server get to see.
                    let _ = connection::serve(client, server, policy).await;
                });
            }
        });
        Self { address, listening }
    }

    /// The same options, through the proxy.
    pub fn through(&self, server: &PgConnectOptions) -> PgConnectOptions {
        server.clone().host(&self.address.ip().to_string()).port(self.address.port())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
