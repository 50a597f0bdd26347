//! The HTTP listener: metrics, health and the runbooks of the alerts, on axum.
//!
//! Whoever reaches it may be slow, silent or many: what clients take of the process is bounded (axum's own way of serving has no
//! bounds), and none of them keeps it from ending.

mod exchange;
mod hosts;
mod listener;
mod runbooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::{self, SharedState};

pub use hosts::host;
pub use listener::Bounds;

use hosts::Hosts;

/// What the pages tell about.
#[derive(Debug)]
pub struct Pages {
    /// The recorder of this process.
    pub recorder: PrometheusHandle,
    /// The pool of this process.
    pub pool: PgPool,
    /// The state that all processes share.
    pub shared: SharedState,
    /// Whether the database was reached lately.
    pub health: Health,
}

/// Serves until `shutdown`, and then no longer than the bounds allow. On a loopback address, requests under any but this
/// machine's own names, or one of `allowed`, are refused.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    allowed: Vec<String>,
    bounds: Bounds,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    if !hosts::is_here(address.ip()) {
        tracing::warn!(
            %address,
            "other machines can reach the pages, which ask for no password and are not encrypted: see to it that only those \
             do that should, or choose an address of this machine only with --listen 127.0.0.1:9600"
        );
    }
    let upkeep = tokio::spawn(upkeep(pages.recorder.clone(), shutdown.clone()));
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/runbooks", get(runbooks::list))
        .route("/runbooks/{alert}", get(runbooks::show))
        .layer(from_fn_with_state(Hosts::of(address, &allowed), hosts::ours_only))
        .with_state(Arc::new(pages));
    let served = listener::serve(listener, router, bounds, &shutdown).await;
    upkeep.abort();
    served
}

async fn metrics_page(State(pages): State<Arc<Pages>>) -> impl IntoResponse {
    let text = metrics::render(&pages.recorder, &pages.pool, &pages.shared).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn readyz(State(pages): State<Arc<Pages>>) -> impl IntoResponse {
    match pages.health.obstacle() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

/// Without it the recorder keeps every histogram sample until somebody scrapes.
async fn upkeep(recorder: PrometheusHandle, shutdown: CancellationToken) {
    let mut every = tokio::time::interval(metrics::UPKEEP_EVERY);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        recorder.run_upkeep();
    }
}
