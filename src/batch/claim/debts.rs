//! Debts: what a floor passed by, and who may still bring something there.
//!
//! A transaction that has drawn a number and is open may commit a request anywhere below the floor. Until it is over, none of that is
//! visible to anybody, so nothing is lost by not reading there; as soon as it is over, what was passed by is read, once.

use std::collections::BTreeSet;

/// How many debts a floor has at most. With more it waits.
const MOST: usize = 16;

/// The debts of a floor, ascending.
#[derive(Debug, Clone, Default)]
pub(super) struct Debts(Vec<Debt>);

#[derive(Debug, Clone)]
struct Debt {
    /// Numbers from here on.
    low: i64,
    /// And below this.
    high: i64,
    /// Transactions, by their IDs, that may have drawn one of them.
    owed: BTreeSet<i64>,
}

impl Debts {
    /// Takes on a debt for the numbers from `low` and below `high`; with nobody owed it is none. False: no more can be had.
    pub(super) fn take_on(&mut self, low: i64, high: i64, owed: BTreeSet<i64>) -> bool {
        // What these are owed already.
        let known = self.0.last().filter(|last| last.owed.is_superset(&owed)).map_or(low, |last| last.high);
        let low = low.max(known);
        if owed.is_empty() || low >= high {
            return true;
        }
        let is_full = self.0.len() >= MOST;
        match self.0.last_mut() {
            // One that is open for long is owed all the way.
            Some(last) if last.owed == owed && last.high == low => last.high = high,
            _ if is_full => return false,
            _ => self.0.push(Debt { low, high, owed }),
        }
        true
    }

    /// The smallest number that may still come.
    pub(super) fn low(&self) -> Option<i64> {
        self.0.first().map(|debt| debt.low)
    }

    /// Everybody who is owed.
    pub(super) fn owed(&self) -> impl Iterator<Item = i64> {
        self.0.iter().flat_map(|debt| debt.owed.iter().copied())
    }

    /// From where on and until where to read, now that these are over.
    pub(super) fn due(&self, over: &[i64]) -> Vec<(i64, i64)> {
        let is_due = |debt: &&Debt| over.iter().any(|id| debt.owed.contains(id));
        self.0.iter().filter(is_due).map(|debt| (debt.low, debt.high)).collect()
    }

    /// That was read.
    pub(super) fn settle(&mut self, over: &[i64]) {
        for debt in &mut self.0 {
            debt.owed.retain(|id| !over.contains(id));
        }
        self.0.retain(|debt| !debt.owed.is_empty());
        let debts = std::mem::take(&mut self.0);
        for debt in debts {
            match self.0.last_mut() {
                Some(last) if last.owed == debt.owed && last.high == debt.low => last.high = debt.high,
                _ => self.0.push(debt),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_grows_with_who_is_owed_and_is_read_once_they_are_over() {
        let mut debts = Debts::default();
        assert!(debts.take_on(10, 20, [7].into()));
        assert!(debts.take_on(20, 30, [7].into()));
        assert!(debts.take_on(30, 40, [7, 8].into()));
        assert!(debts.take_on(40, 50, [7].into()), "7 is owed all the way");
        assert!(debts.take_on(50, 60, BTreeSet::new()), "nobody is owed: no debt");
        assert_eq!((debts.low(), debts.due(&[8]), debts.due(&[9])), (Some(10), vec![(30, 40)], vec![]));
        debts.settle(&[8]);
        assert_eq!(debts.due(&[7]), [(10, 50)]);
        debts.settle(&[7]);
        assert_eq!((debts.low(), debts.owed().count()), (None, 0));
    }

    #[test]
    fn there_are_only_so_many() {
        let mut debts = Debts::default();
        let taken = (0..100).filter(|at| debts.take_on(*at, at + 1, [*at].into())).count();
        assert_eq!(taken, MOST);
    }
}
