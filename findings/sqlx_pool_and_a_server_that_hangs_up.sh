#!/usr/bin/env bash
# To sqlx a server that hangs up is a broken protocol, and a pool does not wait for a better one.
#
# One would guess: a pool of sqlx waits for a server that is not there until its acquire_timeout, whichever way it is not there: a port on
#   which nobody listens, or a proxy (HAProxy, a load balancer, a port-forward) that takes the connection and closes it, having
#   nobody behind it.
# What happens: "connection refused" is tried again until acquire_timeout, and ends as PoolTimedOut. Accept and close is
#   Protocol("unexpected response from SSLRequest: 0x00"), though nobody sent a 0x00: what was read is the empty buffer. It is
#   no I/O error, so the pool gives it back at once: whoever loops on it spins, and whoever sorts errors by I/O calls it a bug.
# Versions: sqlx 0.9.0, tokio 1.54.1, rustc 1.94 or newer. FINDING_TARGET may name a directory in which what cargo builds is kept.
# Seen (acquire_timeout 2 s):
#   nobody listens      after 2 s    PoolTimedOut
#   accepts and closes  at once      Protocol("unexpected response from SSLRequest: 0x00 (…)")
#
# Exit 0: it is so. 1: no more.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/program/src"
cat >"$work/program/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
sqlx = { version = "=0.9.0", default-features = false, features = ["postgres", "runtime-tokio", "tls-rustls"] }
tokio = { version = "=1.54.1", features = ["rt-multi-thread", "macros", "net", "time"] }
[workspace]
TOML
cat >"$work/program/src/main.rs" <<'RUST'
use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;

async fn ask(what: &str, port: u16) -> (Duration, sqlx::Error) {
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy(&format!("postgres://postgres@127.0.0.1:{port}/postgres"))
        .expect("a URL");
    let began = Instant::now();
    let error = pool.acquire().await.expect_err("nobody is there");
    let took = began.elapsed();
    let when = if took > Duration::from_secs(1) { format!("after {} s", took.as_secs()) } else { "at once".to_owned() };
    println!("{what:<19} {when:<12} {error:?}");
    (took, error)
}

#[tokio::main]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken = listener.local_addr().expect("an address").port();
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a port").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // Not before the client has said what it wants, as a proxy does that looks for a server meanwhile.
            let mut request = [0; 8];
            let _ = socket.readable().await;
            let _ = socket.try_read(&mut request);
        }
    });
    let (waited, refused) = ask("nobody listens", free).await;
    let (at_once, closed) = ask("accepts and closes", taken).await;
    let as_before = matches!(refused, sqlx::Error::PoolTimedOut)
        && waited > Duration::from_secs(1)
        && matches!(&closed, sqlx::Error::Protocol(text) if text.contains("SSLRequest"))
        && at_once < Duration::from_secs(1);
    std::process::exit(i32::from(!as_before));
}
RUST
CARGO_TARGET_DIR=${FINDING_TARGET:-$work/target} cargo run --quiet --manifest-path "$work/program/Cargo.toml"
