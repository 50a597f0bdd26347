//! What is measured, and how rounds are put together.

use std::time::Duration;

use serde::Serialize;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Requests a second.
    pub rate: f64,
    /// Requests for one sync of the WAL.
    pub per_sync: f64,
    /// Processor time of the server for one request, in milliseconds.
    pub cpu: Option<f64>,
    /// Pages that the claim of one batch touched.
    pub pages: Option<f64>,
}

/// The same over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Requests a second, the middle of the rounds.
    pub per_second: f64,
    /// In each round.
    pub rounds: Vec<f64>,
    /// Requests for one sync of the WAL, the middle of the rounds.
    pub requests_per_sync: f64,
    /// Processor time of the server for one request, in milliseconds; null where the server is not ours.
    pub cpu_ms: Option<f64>,
    /// Pages that the claim of one batch touched; null where they are not counted.
    pub pages_per_claim: Option<f64>,
}

impl Summary {
    /// The middle of the rounds; `None` where there was none.
    pub fn of(rounds: &[Figures]) -> Option<Self> {
        let middle = |of: fn(&Figures) -> Option<f64>| {
            let known: Vec<f64> = rounds.iter().filter_map(of).collect();
            median(&known)
        };
        Some(Self {
            per_second: middle(|round| Some(round.rate))?,
            rounds: rounds.iter().map(|round| round.rate).collect(),
            requests_per_sync: middle(|round| Some(round.per_sync))?,
            cpu_ms: middle(|round| round.cpu),
            pages_per_claim: middle(|round| round.pages),
        })
    }
}

/// How many times as fast as another way, round by round: the smallest, the middle and the largest.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ratio {
    pub smallest: f64,
    pub middle: f64,
    pub largest: f64,
}

impl Ratio {
    /// `None` where the two were not measured in the same rounds.
    pub fn between(rates: &[f64], base: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = rates.iter().zip(base).map(|(rate, base)| rate / base).collect();
        Some(Self {
            smallest: ratios.iter().copied().min_by(f64::total_cmp)?,
            middle: median(&ratios)?,
            largest: ratios.iter().copied().max_by(f64::total_cmp)?,
        })
    }
}

/// The middle one; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 50)
}

/// The smallest value that so many in a hundred do not exceed; `None` of nothing.
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied()
}

/// So many in a time, by the second.
pub fn per_second(count: usize, took: Duration) -> f64 {
    float(count) / took.as_secs_f64().max(f64::EPSILON)
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub const fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{Ratio, median, percentile};

    #[test]
    fn percentiles_are_values_that_were_measured() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.0));
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&hundred, 100), Some(100.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = Ratio::between(&[10.0, 40.0, 30.0], &[10.0, 10.0, 10.0]).unwrap();
        assert_eq!((ratio.smallest, ratio.middle, ratio.largest), (1.0, 3.0, 4.0));
        assert!(Ratio::between(&[], &[]).is_none());
    }
}
