//! Floors: from which number on the queue of a busy lane has to be read.
//!
//! An answered request leaves a dead entry in the index of what is ready, until vacuum clears it away. Nothing may be cleared
//! away that somebody with an older snapshot could still see (a roll call, a dump), and then each claim of a hot lane would read
//! through all that was answered since. So a worker remembers a number for such a lane, below which no request can be ready.
//!
//! A request becomes ready in one of two ways. Either it *returns* (its time has come, a pause ended, it was retried, or its
//! lane was found out): a trigger marks those, and they have an index of their own, which is always read whole. Or it is
//! *inserted*. Numbers are drawn in order, by transactions that have their ID already; so when a snapshot shows a request `n`,
//! smaller numbers can only come from transactions that were under way in that snapshot. Once all of them are over, the lane is
//! read from where it was read before, a last time: what is ready now below `n` is in that reading, and no more can come. The
//! smallest of it is the new floor, or else `n`.
//!
//! Some transaction may be open for hours, though. When a floor has waited for a while, it is asked who of them can have drawn a number
//! at all: who holds a lock on the table. The others are as good as over. For those who can, the floor rises nevertheless, against a
//! [debt](super::debts): nothing of theirs is visible as long as they are open.
//!
//! Only a lane that is held is learned about, and only from a snapshot that no pause kept anything out of. All the same each
//! floor is distrusted now and then: a request that somebody put below it by hand is found within [`TRUSTED`], or, where reading a
//! lane from the beginning takes long, after so long that it takes no more than its [`SHARE`] of the time.
//!
//! The metrics read the queue of each kind the same way, with a kind in place of a lane.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::Waiting;
use super::debts::Debts;

/// How many lanes are known at most: each costs a probe when the ring of lanes is passed.
const LANES: usize = 64;
/// Requests that a lane has to have had before its dead entries are worth a floor.
pub(crate) const BUSY: usize = 16;
/// How long a floor is used before its lane is read from the beginning once more.
const TRUSTED: Duration = Duration::from_secs(10);
/// Reading lanes from the beginning takes one part in so many of the time.
const SHARE: u32 = 50;
/// So many readings a floor waits for all transactions that were under way, before it is asked which of them matter.
const PATIENT: usize = 4;
/// How long a lane that had nothing is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What a claim read of the lanes that it holds.
#[derive(Debug)]
pub(in crate::batch) struct Reading {
    /// In order of arrival.
    pub(in crate::batch) waiting: Vec<Waiting>,
    /// What it was read from; `None` when nothing was found.
    pub(in crate::batch) snapshot: Option<Snapshot>,
    /// Whether there may be more.
    pub(in crate::batch) is_cut: bool,
    /// How long it took.
    pub(in crate::batch) took: Duration,
}

impl Reading {
    /// What was ready in each lane from its floor on.
    fn found(&self, known: &Known) -> HashMap<i64, Found> {
        let mut found: HashMap<i64, Found> = HashMap::new();
        for waiting in &self.waiting {
            if let Some(lane) = waiting.semester_id
                && waiting.seq >= known.floor(lane)
            {
                // They are in order: the first one is the lowest, the last one the highest.
                let found = found.entry(lane).or_insert(Found { lowest: waiting.seq, highest: 0, count: 0 });
                found.highest = waiting.seq;
                found.count += 1;
            }
        }
        found
    }
}

/// What a snapshot says about transactions, and about what is kept out of sight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    /// Transactions before this one are over.
    pub(crate) running_from: i64,
    /// This one and later ones had not begun.
    pub(crate) running_below: i64,
    /// No pause keeps out anything.
    pub(crate) is_whole: bool,
}

/// What lanes were read from, and what was found.
#[derive(Debug)]
pub(crate) struct Lesson<'a> {
    /// Those that were read.
    pub(crate) lanes: &'a [i64],
    /// The floors that they were read from.
    pub(crate) known: &'a Known,
    /// As it was then.
    pub(crate) snapshot: Snapshot,
    /// From the floors on; lanes that had nothing are not in it.
    pub(crate) found: HashMap<i64, Found>,
    /// Whether there may be more, in lanes that are not in `found`, too.
    pub(crate) is_cut: bool,
    /// The transactions that can have drawn a number and were open shortly before, if that was asked.
    pub(crate) drawing: Option<&'a [i64]>,
    /// How long the reading took.
    pub(crate) took: Duration,
}

/// Lanes with a floor, ascending, as a claim uses them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) lanes: Vec<i64>,
    pub(crate) floors: Vec<i64>,
    /// From where on each has to be read when one of the transactions that are owed is over.
    pub(crate) lows: Vec<i64>,
    /// Transactions that may still commit requests below a floor.
    pub(crate) owed: Vec<i64>,
}

impl Known {
    /// From where on to read this lane.
    pub(crate) fn floor(&self, lane: i64) -> i64 {
        self.lanes.binary_search(&lane).map_or(0, |at| self.floors[at])
    }

    /// From where on to read it when one of those is over.
    pub(crate) fn low(&self, lane: i64) -> i64 {
        self.lanes.binary_search(&lane).map_or(0, |at| self.lows[at])
    }
}

/// What is known about busy lanes.
#[derive(Debug, Default)]
pub(crate) struct Floors(BTreeMap<i64, Lane>);

#[derive(Debug)]
struct Lane {
    /// Below, nothing but returned requests can be ready.
    floor: i64,
    next: Option<Candidate>,
    debts: Debts,
    /// Requests seen in it.
    seen: usize,
    /// When it was last read from the beginning, and how long that took.
    read_whole: Instant,
    took: Duration,
    used: Instant,
}

/// What was ready in a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) lowest: i64,
    /// Of those that were read.
    pub(crate) highest: i64,
    pub(crate) count: usize,
}

/// A floor to be, as soon as every transaction below the horizon is over.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    floor: i64,
    horizon: i64,
    /// Readings that it has waited for.
    waited: usize,
}

impl Floors {
    /// The floors to be used now.
    pub(crate) fn known(&self) -> Known {
        self.known_at(Instant::now(), true)
    }

    /// Every floor, also those that it is time to distrust.
    pub(crate) fn all(&self) -> Known {
        self.known_at(Instant::now(), false)
    }

    fn known_at(&self, now: Instant, distrust: bool) -> Known {
        let is_trusted = |lane: &Lane| {
            let trusted = TRUSTED.max(lane.took.saturating_mul(SHARE));
            !distrust || now.duration_since(lane.read_whole) < trusted
        };
        let trusted = |lane: &Lane| lane.floor > 0 && lane.seen >= BUSY && is_trusted(lane);
        let mut known = Known { owed: self.owed(), ..Known::default() };
        for (id, lane) in self.0.iter().filter(|(_, lane)| trusted(lane)) {
            known.lanes.push(*id);
            known.floors.push(lane.floor);
            known.lows.push(lane.debts.low().map_or(lane.floor, |low| low.min(lane.floor)));
        }
        known
    }

    /// Transactions to which a floor owes something.
    pub(crate) fn owed(&self) -> Vec<i64> {
        let owed: BTreeSet<i64> = self.0.values().flat_map(|lane| lane.debts.owed()).collect();
        owed.into_iter().collect()
    }

    /// What has to be read once more when these transactions are over: lane, from, until.
    pub(crate) fn due(&self, over: &[i64]) -> Vec<(i64, i64, i64)> {
        let of_lane = |(id, lane): (&i64, &Lane)| {
            let id = *id;
            lane.debts.due(over).into_iter().map(move |(low, high)| (id, low, high)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_lane).collect()
    }

    /// These transactions are over, and this is the smallest of what is ready in what was [due](Self::due), by lane.
    pub(crate) fn settle(&mut self, over: &[i64], lowest: &BTreeMap<i64, i64>) {
        for (id, lane) in &mut self.0 {
            lane.debts.settle(over);
            if let Some(lowest) = lowest.get(id) {
                lane.floor = lane.floor.min(*lowest);
            }
        }
    }

    /// Whether the floor of one of these lanes has waited for so long that it should be asked who can have drawn a number at all.
    pub(crate) fn are_held_up(&self, held: &[i64]) -> bool {
        let waits = |lane: &Lane| lane.next.is_some_and(|next| next.waited >= PATIENT);
        held.iter().filter_map(|id| self.0.get(id)).any(waits)
    }

    /// Reading lanes from the beginning was given up after so long: their floors are trusted on.
    pub(crate) fn gave_up(&mut self, known: &Known, took: Duration) {
        let now = Instant::now();
        for (id, lane) in &mut self.0 {
            if known.floor(*id) == 0 {
                lane.read_whole = now;
                lane.took = took;
            }
        }
    }

    /// Learns from what was read of held lanes, with these floors in use. `drawing`: the transactions that can have drawn a number
    /// and were open shortly before, if that was asked.
    pub(in crate::batch) fn learn_held(
        &mut self,
        held: &[i64],
        known: &Known,
        reading: &Reading,
        drawing: Option<&[i64]>,
    ) {
        let Some(snapshot) = reading.snapshot else { return };
        let (found, is_cut, took) = (reading.found(known), reading.is_cut, reading.took);
        self.learn(&Lesson { lanes: held, known, snapshot, found, is_cut, drawing, took });
    }

    /// Learns from what was read.
    pub(crate) fn learn(&mut self, lesson: &Lesson) {
        let now = Instant::now();
        self.0.retain(|_, lane| now.duration_since(lane.used) < REMEMBERED);
        for id in lesson.lanes {
            let found = lesson.found.get(id);
            // Cut off before its first one: nothing is known about it. And nothing is worth knowing where nothing ever was.
            let is_new = !self.0.contains_key(id);
            if found.is_none() && (lesson.is_cut || is_new) || is_new && self.0.len() >= LANES {
                continue;
            }
            let lane = self.0.entry(*id).or_insert_with(|| Lane::new(now));
            lane.seen = lane.seen.saturating_add(found.map_or(0, |found| found.count));
            lane.used = now;
            if lesson.known.floor(*id) == 0 {
                lane.read_whole = now;
                lane.took = lesson.took;
                lane.floor = found.map_or(lane.floor, |found| lane.floor.min(found.lowest));
            }
            if lesson.snapshot.is_whole {
                lane.rise(lesson.snapshot, found, lesson.drawing);
            }
        }
    }
}

impl Lane {
    fn new(now: Instant) -> Self {
        Self {
            floor: 0,
            next: None,
            debts: Debts::default(),
            seen: 0,
            read_whole: now,
            took: Duration::ZERO,
            used: now,
        }
    }

    fn rise(&mut self, snapshot: Snapshot, found: Option<&Found>, drawing: Option<&[i64]>) {
        if let Some(next) = &mut self.next {
            let mut owed = None;
            if snapshot.running_from >= next.horizon {
                owed = Some(BTreeSet::new());
            } else if next.waited >= PATIENT
                && let Some(drawing) = drawing
            {
                owed = Some(drawing.iter().copied().filter(|id| *id < next.horizon).collect());
            }
            next.waited += 1;
            // What is still to be answered stays above the floor.
            let floor = found.map_or(next.floor, |found| next.floor.min(found.lowest)).max(self.floor);
            if let Some(owed) = owed
                && self.debts.take_on(self.floor, floor, owed)
            {
                self.floor = floor;
                self.next = None;
            }
        }
        if self.next.is_none()
            && let Some(found) = found
        {
            self.next = Some(Candidate { floor: found.highest, horizon: snapshot.running_below, waited: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a lane that has had this many, in a time in which nothing else was under way.
    fn read(floors: &mut Floors, known: &Known, seqs: std::ops::Range<i64>, took: Duration) {
        let count = usize::try_from(seqs.end - seqs.start).unwrap();
        let found = Found { lowest: seqs.start, highest: seqs.end, count };
        floors.learn(&Lesson {
            lanes: &[1],
            known,
            snapshot: Snapshot { running_from: seqs.end, running_below: seqs.end, is_whole: true },
            found: [(1, found)].into(),
            is_cut: false,
            drawing: None,
            took,
        });
    }

    #[test]
    fn a_floor_is_distrusted_the_less_often_the_longer_it_takes() {
        for (took, trusted) in
            [(Duration::ZERO, TRUSTED), (Duration::from_secs(3), Duration::from_secs(3 * 50))]
        {
            let mut floors = Floors::default();
            read(&mut floors, &Known::default(), 1..100, took);
            read(&mut floors, &Known::default(), 90..200, took);
            let now = Instant::now();
            assert_eq!(floors.known_at(now, true).floor(1), 90);
            let margin = Duration::from_secs(1);
            assert_eq!(floors.known_at(now + trusted - margin, true).floor(1), 90);
            assert_eq!(floors.known_at(now + trusted + margin, true).floor(1), 0, "{took:?}");
            assert_eq!(floors.known_at(now + trusted + margin, false).floor(1), 90);
        }
    }

    #[test]
    fn a_reading_that_was_given_up_counts_for_its_time() {
        let mut floors = Floors::default();
        read(&mut floors, &Known::default(), 1..100, Duration::ZERO);
        read(&mut floors, &Known::default(), 90..200, Duration::ZERO);
        let late = Instant::now() + TRUSTED * 2;
        assert_eq!(floors.known_at(late, true).floor(1), 0);
        floors.gave_up(&Known::default(), TRUSTED);
        assert_eq!(floors.known_at(late, true).floor(1), 90);
    }
}
