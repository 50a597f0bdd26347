//! How far a verb is, for people who look on.

use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;

/// A bar without a length yet; hidden when standard error is no terminal.
pub fn progress_bar(what: &'static str) -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} {per_sec}")
        .map_err(|error| Failure::unable(error.to_string()))?;
    Ok(ProgressBar::new(0).with_style(style).with_message(what))
}
