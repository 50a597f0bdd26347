//! The oldest transaction that is open and can have enqueued something: nobody sees that until it is over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::shared::{family, label_value, sample};
use crate::postgres::{OpenTransaction, open_transactions};

const NAME: &str = "seatkeeper_oldest_transaction_age_seconds";

/// Since when each has been seen: of other accounts' transactions not every account may know when they began.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<(Option<i32>, String), Instant>);

/// A transaction, and how long it has been open at least.
pub(super) type Oldest = Option<(OpenTransaction, Duration)>;

pub(super) async fn read(connection: &mut PgConnection, seen: &mut Seen) -> sqlx::Result<Oldest> {
    let now = Instant::now();
    let open = open_transactions(connection).await?;
    let mut seen_before = std::mem::take(&mut seen.0);
    let mut oldest: Oldest = None;
    for transaction in open.into_iter().filter(|open| open.holds_a_number) {
        let key = (transaction.pid, transaction.identity.clone());
        let since = seen_before.remove(&key).unwrap_or(now);
        seen.0.insert(key, since);
        let age = transaction.age.unwrap_or_else(|| now.duration_since(since));
        // Where nobody knows since when: the one that began first.
        let order = |(one, age): &(OpenTransaction, Duration)| (*age, one.behind);
        let this = (transaction, age);
        if oldest.as_ref().is_none_or(|before| order(&this) > order(before)) {
            oldest = Some(this);
        }
    }
    Ok(oldest)
}

pub(super) fn render(text: &mut String, oldest: &Oldest) {
    family(
        text,
        NAME,
        "gauge",
        "Age of the oldest open transaction that can have enqueued; 0 without labels when there is none",
    );
    let Some((transaction, age)) = oldest else { return sample(text, NAME, "", 0) };
    let labels = format!(
        "pid=\"{}\",user=\"{}\",application=\"{}\"",
        transaction.pid.map_or_else(String::new, |pid| pid.to_string()),
        label_value(&transaction.user),
        label_value(&transaction.application),
    );
    sample(text, NAME, &labels, format_args!("{:.3}", age.as_secs_f64()));
}
