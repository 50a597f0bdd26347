//! Versions and their ranges as advisories write them.
//!
//! Plainly by order, pre-releases included: Cargo's own matching leaves pre-releases out of ranges that do not name one, which is
//! right for choosing a version and wrong for asking whether one is affected.

use std::cmp::Ordering;

/// A version without what follows `+`, which has no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    pre_release: Vec<Identifier>,
}

/// A part of a pre-release; numbers come before words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // What has no pre-release comes after all that have one.
        let released = self.pre_release.is_empty().cmp(&other.pre_release.is_empty());
        self.numbers.cmp(&other.numbers).then(released).then_with(|| self.pre_release.cmp(&other.pre_release))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Version {
    /// Reads a version, and how many of its three numbers were written.
    fn read(text: &str) -> Option<(Self, usize)> {
        let text = text.split('+').next()?;
        let (numbers, pre_release) = text.split_once('-').unwrap_or((text, ""));
        let written: Vec<u64> = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let mut numbers = [0; 3];
        numbers.get_mut(..written.len())?.copy_from_slice(&written);
        let identifier =
            |part: &str| part.parse().map_or_else(|_| Identifier::Word(part.to_owned()), Identifier::Number);
        let pre_release = pre_release.split('.').filter(|part| !part.is_empty()).map(identifier).collect();
        Some((Self { numbers, pre_release }, written.len()))
    }

    pub fn of(text: &str) -> Self {
        match Self::read(text) {
            Some((version, 3)) => version,
            _ => panic!("no version: {text:?}"),
        }
    }

    /// The first one that differs in this number.
    fn after(&self, place: usize) -> Self {
        let mut numbers = [0; 3];
        numbers[..=place].copy_from_slice(&self.numbers[..=place]);
        numbers[place] += 1;
        Self { numbers, pre_release: Vec::new() }
    }

    /// Whether a range such as `>= 1.2.0, < 2` holds this version.
    pub fn is_in(&self, range: &str) -> bool {
        range.split(',').all(|comparator| {
            let comparator = comparator.trim();
            let at = comparator.find(|letter: char| letter.is_ascii_digit()).unwrap_or(comparator.len());
            let (operator, bound) = comparator.split_at(at);
            let (bound, written) = Self::read(bound).unwrap_or_else(|| panic!("no range: {range:?}"));
            match operator.trim() {
                ">=" => *self >= bound,
                "<" => *self < bound,
                ">" if written == 3 => *self > bound,
                ">" => *self >= bound.after(written - 1),
                "<=" if written == 3 => *self <= bound,
                "<=" => *self < bound.after(written - 1),
                "=" if written == 3 => *self == bound,
                "=" => *self >= bound && *self < bound.after(written - 1),
                "~" => *self >= bound && *self < bound.after((written - 1).min(1)),
                // As Cargo reads them: up to the next version that is not compatible.
                "^" | "" => {
                    let first = bound.numbers[..written].iter().position(|number| *number > 0);
                    *self >= bound && *self < bound.after(first.unwrap_or(written - 1))
                }
                _ => panic!("no range: {range:?}"),
            }
        })
    }
}

#[test]
fn versions_have_their_order_and_ranges_their_bounds() {
    let ascending = [
        "0.9.9",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-rc.2",
        "1.0.0-rc.10",
        "1.0.0",
        "1.0.1+built",
        "1.10.0",
    ];
    for pair in ascending.windows(2) {
        assert!(Version::of(pair[0]) < Version::of(pair[1]), "{pair:?}");
    }
    let inside = [
        ("1.2.3", ">= 1.2.3"),
        ("1.2.3", ">=1.2, < 1.3"),
        ("1.2.3", "< 1.3.0, >= 1.2.0"),
        ("1.2.9", "^1.2.3"),
        ("1.9.0", "1.2.3"),
        ("0.2.9", "^ 0.2.3"),
        ("0.0.3", "^0.0.3"),
        ("1.2.9", "~1.2.3"),
        ("1.9.0", "<= 1"),
        ("1.2.3", "= 1.2"),
        ("1.2.3", "=1.2.3"),
        ("2.0.0", "> 1"),
        ("1.2.3+built", "=1.2.3"),
        ("1.3.0-rc.1", ">= 1.2.0"),
    ];
    let outside = [
        ("1.2.2", ">= 1.2.3"),
        ("1.3.0", ">=1.2, < 1.3"),
        ("2.0.0", "^1.2.3"),
        ("0.3.0", "0.2.3"),
        ("0.0.4", "^0.0.3"),
        ("1.3.0", "~1.2.3"),
        ("1.2.3", "> 1.2.3"),
        ("1.9.0", "> 1"),
        ("1.3.0", "= 1.2"),
        ("1.2.0-rc.1", ">= 1.2.0"),
    ];
    for (version, range) in inside {
        assert!(Version::of(version).is_in(range), "{version} is in {range}");
    }
    for (version, range) in outside {
        assert!(!Version::of(version).is_in(range), "{version} is not in {range}");
    }
}
