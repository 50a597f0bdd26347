//! The fail points: what comes before each, and what the process holds there.

use std::path::Path;

/// What the process is at when it gets to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A batch that is answered.
    Batch,
    /// Requests that enter or leave the queue (`seatkeeper::batch::sort_out`).
    Hold,
    /// A request that failed alone, and is charged with an attempt.
    Retry,
}

/// Locks that others see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    Nothing,
    /// The semester's row.
    Lane,
    /// That, and the users.
    Users,
    /// The request's own row.
    Row,
    /// Nothing any more: it is committed.
    Committed,
}

/// A place between two steps.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub name: &'static str,
    pub work: Work,
    pub holds: Holds,
}

const fn batch(name: &'static str, holds: Holds) -> Point {
    Point { name, work: Work::Batch, holds }
}

const fn hold(name: &'static str, holds: Holds) -> Point {
    Point { name, work: Work::Hold, holds }
}

const fn retry(name: &'static str, holds: Holds) -> Point {
    Point { name, work: Work::Retry, holds }
}

/// All of them, in the order of the steps.
pub const POINTS: &[Point] = &[
    batch("batch.begun", Holds::Nothing),
    batch("claim.lanes", Holds::Lane),
    batch("claim.loose", Holds::Lane),
    batch("claim.read", Holds::Lane),
    batch("claim.grants", Holds::Lane),
    batch("needs.lanes", Holds::Lane),
    batch("commit.moved", Holds::Lane),
    batch("needs.leaving", Holds::Lane),
    batch("places.sessions", Holds::Lane),
    batch("places.heads", Holds::Lane),
    batch("prefetch.users", Holds::Users),
    batch("prefetch.lanes", Holds::Users),
    batch("prefetch.places", Holds::Users),
    batch("prefetch.drawn", Holds::Users),
    batch("decide.fills", Holds::Users),
    batch("decide.one", Holds::Users),
    batch("batch.decided", Holds::Users),
    batch("commit.withdrawn", Holds::Users),
    batch("commit.given_up", Holds::Users),
    batch("commit.lanes", Holds::Users),
    batch("commit.balances", Holds::Users),
    batch("commit.enrolled", Holds::Users),
    batch("commit.ledger", Holds::Users),
    batch("commit.promoted", Holds::Users),
    batch("commit.booked", Holds::Users),
    batch("commit.recorded", Holds::Users),
    batch("commit.counted", Holds::Users),
    batch("commit.fills", Holds::Users),
    batch("commit.marks", Holds::Users),
    batch("commit.endings", Holds::Users),
    batch("batch.committed", Holds::Committed),
    hold("hold.begun", Holds::Nothing),
    hold("hold.due", Holds::Row),
    hold("hold.parked", Holds::Row),
    hold("hold.unparked", Holds::Row),
    hold("hold.marks", Holds::Row),
    hold("hold.committed", Holds::Committed),
    retry("retry.begun", Holds::Nothing),
    retry("retry.locked", Holds::Lane),
    retry("retry.charged", Holds::Row),
    retry("retry.committed", Holds::Committed),
];

/// A point that the matrix does not know would never be hit, and one that is gone would be hit by nobody.
#[test]
fn the_matrix_has_every_fail_point_of_the_source() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut written = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let names = text.split("fail_point!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                written.extend(names.map(str::to_owned));
            }
        }
    }
    let mut known: Vec<&str> = POINTS.iter().map(|point| point.name).collect();
    known.sort_unstable();
    written.sort_unstable();
    assert_eq!(written, known, "each point once in the source, and once in the matrix");
}
