//! All that a run measured.

use std::collections::BTreeMap;

use serde::Serialize;

use super::asks::{Load, Scale};
use super::doors::Door;
use super::figures::{Figures, Ratio, Summary};
use super::latency::Latency;
use super::measure::Way;
use super::targets::Target;

/// What one way reached on one load.
#[derive(Debug, Serialize)]
pub struct Cell {
    pub load: Load,
    pub way: String,
    #[serde(skip)]
    pub measured: Way,
    #[serde(flatten)]
    pub summary: Summary,
    /// Times as fast as one call each, round by round.
    pub beside_one_call: Option<Ratio>,
}

/// What producers got through one door.
#[derive(Debug, Serialize)]
pub struct DoorResult {
    pub door: Door,
    #[serde(flatten)]
    pub summary: Summary,
}

/// The result of `bench`.
#[derive(Debug, Serialize)]
pub struct Results {
    pub seed: u64,
    pub server: String,
    pub rounds: usize,
    pub quick: bool,
    pub scale: Scale,
    /// The time of one fdatasync, in milliseconds; null where the disk is not ours to look at.
    pub fdatasync_ms: Option<f64>,
    pub cells: Vec<Cell>,
    pub doors: Vec<DoorResult>,
    /// Batches of 500 at the head of a long queue.
    pub long_queue: Option<Summary>,
    pub latency: Option<Latency>,
    pub targets: Vec<Target>,
}

impl Results {
    /// What a way reached on a load.
    pub fn summary(&self, load: Load, way: Way) -> Option<&Summary> {
        self.cells.iter().find(|cell| cell.load == load && cell.measured == way).map(|cell| &cell.summary)
    }

    /// The best middle ratio that Seatkeeper reached on a load.
    pub fn best_ratio(&self, load: Load) -> Option<f64> {
        let ours = self
            .cells
            .iter()
            .filter(|cell| cell.load == load && matches!(cell.measured, Way::Batches { .. }));
        ours.filter_map(|cell| cell.beside_one_call).map(|ratio| ratio.middle).max_by(f64::total_cmp)
    }

    /// What producers got through a door.
    pub fn door(&self, door: Door) -> Option<&Summary> {
        self.doors.iter().find(|result| result.door == door).map(|result| &result.summary)
    }

    /// Whether no target that can be judged was missed.
    pub fn met(&self) -> bool {
        self.targets.iter().all(|target| target.met != Some(false))
    }
}

/// Puts the rounds together.
pub fn cells(rounds: &BTreeMap<(Load, Way), Vec<Figures>>) -> Vec<Cell> {
    let rates = |figures: &[Figures]| figures.iter().map(|round| round.rate).collect::<Vec<f64>>();
    let put_together = |(&(load, way), figures): (&(Load, Way), &Vec<Figures>)| {
        let base = rounds.get(&(load, Way::OneCall)).map(|base| rates(base)).unwrap_or_default();
        Some(Cell {
            load,
            way: way.name(),
            measured: way,
            summary: Summary::of(figures)?,
            beside_one_call: Ratio::between(&rates(figures), &base),
        })
    };
    rounds.iter().filter_map(put_together).collect()
}
