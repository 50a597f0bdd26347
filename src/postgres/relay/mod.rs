//! A way through a pooler that lends a connection for one transaction at a time (`PgBouncer` with
//! `pool_mode = transaction`), of any version.
//!
//! sqlx prepares a statement in one round trip and executes it by its name in the next ones. Behind such a pooler each
//! round trip outside of a transaction may go to another connection of the server, where a statement of that name does
//! not exist, or is another client's. `PgBouncer` knows what is prepared where from 1.21 on, if told to; Debian's 1.18 does
//! not. So this process relays its connections to the pooler itself and sees to it that every execution brings its
//! statement along, in the same round trip, without a name (`rewriting`). To sqlx it looks like a connection of its own.
//!
//! The relay listens on 127.0.0.1, authenticates nobody and keeps no password: whoever reaches it reaches the pooler, and
//! has to satisfy it. That is why it leads to TCP only, where every user of this machine gets anyway. And why nothing is held
//! here for somebody whom the pooler has not let in: bodies pass in pieces, and what has to be held has a limit.

mod connection;
mod message;
mod rewriting;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener as Listener};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;

use sqlx::postgres::PgConnectOptions;

/// The relays of this process: where they lead, and their ports.
static RELAYS: Mutex<Option<HashMap<(String, u16), u16>>> = Mutex::new(None);
/// Where all of them listen.
pub(super) const HOST: &str = "127.0.0.1";
/// The pause after a connection could not be accepted: no file descriptor is free, most likely.
const BREATH: Duration = Duration::from_millis(50);

/// The port on 127.0.0.1 of this process's relay to a pooler, which is started when there is none.
///
/// # Errors
/// When there is no port, or no thread, for it.
pub(super) fn port_to(host: &str, port: u16) -> io::Result<u16> {
    let mut relays = RELAYS.lock().unwrap_or_else(PoisonError::into_inner);
    let relays = relays.get_or_insert_default();
    let target = (host.to_owned(), port);
    if let Some(own) = relays.get(&target) {
        return Ok(*own);
    }
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let own = listener.local_addr()?.port();
    // On a runtime of its own: it outlives the one that the pool was made on, as the pool may.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let to = target.clone();
    std::thread::Builder::new()
        .name("relay to the pooler".to_owned())
        .spawn(move || runtime.block_on(accept(listener, to)))?;
    relays.insert(target, own);
    Ok(own)
}

/// Whether these lead through a relay of this process.
pub(super) fn leads(options: &PgConnectOptions) -> bool {
    let relays = RELAYS.lock().unwrap_or_else(PoisonError::into_inner);
    options.get_host() == HOST
        && relays.as_ref().is_some_and(|relays| relays.values().any(|port| *port == options.get_port()))
}

/// The host that the relay on this port of 127.0.0.1 leads to, when it is one of this process.
pub fn host_behind(port: u16) -> Option<String> {
    let relays = RELAYS.lock().unwrap_or_else(PoisonError::into_inner);
    let (target, _) = relays.as_ref()?.iter().find(|(_, own)| **own == port)?;
    Some(target.0.clone())
}

async fn accept(listener: Listener, target: (String, u16)) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the relay to the pooler does not listen"),
    };
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let target = target.clone();
                tokio::spawn(async move {
                    // sqlx sees a connection that broke, and says so to whoever has to act on it.
                    if let Err(error) = connection::carry(client, &target).await {
                        tracing::debug!(%error, "a connection to the pooler broke");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the relay to the pooler could not accept a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}
