//! The runbooks, served by the process itself: the links of the alerts lead here unless somebody says otherwise.

use axum::extract::Path;
use axum::http::{HeaderName, StatusCode, header};

/// File name and text of each.
static RUNBOOKS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/runbooks.rs"));

const MARKDOWN: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
const PLAIN: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];

/// The runbooks that there are.
pub(super) async fn list() -> ([(HeaderName, &'static str); 1], String) {
    let links = alerts().map(|alert| format!("- [{alert}](/runbooks/{alert})\n"));
    (MARKDOWN, format!("# Runbooks\n\n{}", links.collect::<String>()))
}

/// The runbook of an alert.
pub(super) async fn show(
    Path(alert): Path<String>,
) -> Result<
    ([(HeaderName, &'static str); 1], &'static str),
    (StatusCode, [(HeaderName, &'static str); 1], String),
> {
    let asked = alert.strip_suffix(".md").unwrap_or(&alert);
    match RUNBOOKS.iter().find(|(file, _)| file.strip_suffix(".md") == Some(asked)) {
        Some((_, text)) => Ok((MARKDOWN, *text)),
        None => {
            let there: Vec<&str> = alerts().collect();
            let text = format!("There is no runbook of that name. There are: {}\n", there.join(", "));
            Err((StatusCode::NOT_FOUND, PLAIN, text))
        }
    }
}

fn alerts() -> impl Iterator<Item = &'static str> {
    RUNBOOKS.iter().map(|(file, _)| file.strip_suffix(".md").unwrap_or(file))
}
