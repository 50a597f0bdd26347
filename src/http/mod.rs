//! The HTTP listener: metrics, health and the runbooks of the alerts, on axum.

mod runbooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::{self, SharedState};

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

/// Serves until `shutdown`.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(listener: TcpListener, pages: Pages, shutdown: CancellationToken) -> std::io::Result<()> {
    let upkeep = tokio::spawn(upkeep(pages.recorder.clone(), shutdown.clone()));
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/runbooks", get(runbooks::list))
        .route("/runbooks/{alert}", get(runbooks::show))
        .with_state(Arc::new(pages));
    let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
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
