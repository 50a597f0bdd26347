//! The cells of the matrix, which of them a run hits, and what it prints.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use seatkeeper_jobs::Kind;

use super::points::POINTS;

/// Where in the batch the request of the kind is.
pub const PLACES: [&str; 3] = ["first", "middle", "last"];
/// Who else is there.
pub const COMPANY: [&str; 2] = ["alone", "contended"];

/// A cell, by the numbers of its point, kind, place and company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub point: usize,
    pub kind: usize,
    pub place: usize,
    pub company: usize,
}

impl Cell {
    pub fn kind(self) -> Kind {
        Kind::ALL[self.kind]
    }

    pub const fn is_contended(self) -> bool {
        self.company == 1
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, company) = (PLACES[self.place], COMPANY[self.company]);
        write!(out, "{} × {} × {place} × {company}", POINTS[self.point].name, self.kind())
    }
}

/// Every cell.
pub fn whole() -> Vec<Cell> {
    let mut cells = Vec::new();
    for point in 0..POINTS.len() {
        for kind in 0..Kind::ALL.len() {
            for place in 0..PLACES.len() {
                cells.extend((0..COMPANY.len()).map(|company| Cell { point, kind, place, company }));
            }
        }
    }
    cells
}

/// One cell for each point and kind. Places and company take turns such that each pair of any two of the four occurs
/// ([`Hits::pairs_missing`] says so).
pub fn pairwise() -> Vec<Cell> {
    let all = (0..POINTS.len()).flat_map(|point| (0..Kind::ALL.len()).map(move |kind| (point, kind)));
    all.map(|(point, kind)| {
        let turn = (point + kind) % 6;
        Cell { point, kind, place: turn % 3, company: turn / 3 }
    })
    .collect()
}

/// What was hit.
#[derive(Debug, Default)]
pub struct Hits {
    cells: BTreeMap<Cell, u32>,
}

impl Hits {
    pub fn add(&mut self, cell: Cell) {
        *self.cells.entry(cell).or_default() += 1;
    }

    pub fn missing(&self, of: &[Cell]) -> Vec<String> {
        of.iter().filter(|cell| !self.cells.contains_key(cell)).map(ToString::to_string).collect()
    }

    /// Pairs of a value of one dimension and a value of another that no cell has which was hit.
    pub fn pairs_missing(&self) -> Vec<String> {
        let sizes = [POINTS.len(), Kind::ALL.len(), PLACES.len(), COMPANY.len()];
        let values = |cell: &Cell| [cell.point, cell.kind, cell.place, cell.company];
        let mut missing = Vec::new();
        for one in 0..sizes.len() {
            for other in one + 1..sizes.len() {
                for (a, b) in (0..sizes[one]).flat_map(|a| (0..sizes[other]).map(move |b| (a, b))) {
                    if !self.cells.keys().any(|cell| values(cell)[one] == a && values(cell)[other] == b) {
                        missing.push(format!("dimension {one} = {a} with dimension {other} = {b}"));
                    }
                }
            }
        }
        missing
    }
}

/// One line for each point; under each kind the cells that were hit: first, middle, last, in lower case alone, in upper case
/// contended.
impl fmt::Display for Hits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:18}", "SIGKILL behind")?;
        for kind in Kind::ALL {
            write!(out, " {:17}", kind.as_str())?;
        }
        for (number, point) in POINTS.iter().enumerate() {
            write!(out, "\n{:18}", point.name)?;
            for kind in 0..Kind::ALL.len() {
                let mut text = String::new();
                for (company, letters) in ["fml", "FML"].into_iter().enumerate() {
                    for (place, letter) in letters.chars().enumerate() {
                        let cell = Cell { point: number, kind, place, company };
                        text.write_char(if self.cells.contains_key(&cell) { letter } else { '.' })?;
                    }
                    text.push(' ');
                }
                write!(out, " {text:17}")?;
            }
        }
        let hits: u32 = self.cells.values().sum();
        write!(out, "\n{hits} processes killed in {} of {} cells", self.cells.len(), whole().len())
    }
}
