//! A webhook receiver: whom the Alertmanager tells what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::{Json, Router, routing::post};
use serde::Deserialize;

/// An alert in a notification.
#[derive(Debug, Clone, Deserialize)]
pub struct Told {
    /// The receiver of alertmanager.yml.
    #[serde(skip)]
    pub to: String,
    pub status: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Notification {
    alerts: Vec<Told>,
}

/// Labels that say which alert is meant, its name first.
pub type Which<'a> = &'a [(&'a str, &'a str)];

impl Told {
    /// Whether it is about this alert.
    pub fn is(&self, which: Which<'_>) -> bool {
        which.iter().all(|(label, value)| self.labels.get(*label).is_some_and(|found| found == value))
    }
}

/// Everything that was told so far.
#[derive(Clone, Default)]
pub struct Receiver {
    told: Arc<Mutex<Vec<Told>>>,
}

impl Receiver {
    /// Listens on a free port; gives the base of its addresses, to which the name of a receiver is appended.
    pub async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/{to}", post(accept)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// How often it was told that this alert is `firing`, or `resolved`.
    pub fn count(&self, which: Which<'_>, status: &str) -> usize {
        self.told.lock().unwrap().iter().filter(|told| told.status == status && told.is(which)).count()
    }
}

async fn accept(State(receiver): State<Receiver>, Path(to): Path<String>, Json(sent): Json<Notification>) {
    let alerts = sent.alerts.into_iter().map(|alert| Told { to: to.clone(), ..alert });
    receiver.told.lock().unwrap().extend(alerts);
}
