//! The invariants, as they are written in `monitoring/invariants/`: a file each, embedded when the program is built.

use std::sync::LazyLock;

use super::parse::{Invariant, Severity, parse};

/// Every file, by its name.
static FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/invariants.rs"));

static CATALOGUE: LazyLock<Vec<Invariant>> = LazyLock::new(|| {
    let read = FILES.iter().map(|(file, text)| match parse(file, text) {
        Ok(invariant) => invariant,
        // The build has read them by the same function.
        Err(error) => unreachable!("{error}"),
    });
    let mut all: Vec<Invariant> = read.collect();
    let own: Vec<(String, String)> = all.iter().map(|each| (each.id.clone(), each.select.clone())).collect();
    for each in &mut all {
        let shared = own.iter().find(|(id, _)| Some(id) == each.select_of.as_ref());
        if let Some((_, select)) = shared {
            each.select.clone_from(select);
        }
    }
    all
});

/// Every invariant, by ID.
#[must_use]
pub fn catalogue() -> &'static [Invariant] {
    &CATALOGUE
}

/// The invariant with this ID.
#[must_use]
pub fn invariant(id: &str) -> Option<&'static Invariant> {
    catalogue().iter().find(|invariant| invariant.id == id)
}

/// An ID that no invariant has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no invariant {id}; known are {}", known())]
pub struct UnknownInvariant {
    /// What was asked for.
    pub id: String,
}

fn known() -> String {
    let ids: Vec<&str> = catalogue().iter().map(|invariant| invariant.id.as_str()).collect();
    ids.join(", ")
}

/// Which invariants a run evaluates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection(Vec<&'static Invariant>);

impl Selection {
    /// Every one: the full roll call.
    #[must_use]
    pub fn all() -> Self {
        Self(catalogue().iter().collect())
    }

    /// Those whose violation wakes somebody.
    #[must_use]
    pub fn critical() -> Self {
        Self(catalogue().iter().filter(|invariant| invariant.severity == Severity::Critical).collect())
    }

    /// These, in the order of the catalogue.
    ///
    /// # Errors
    /// When one is not known.
    pub fn only<S: AsRef<str>>(ids: &[S]) -> Result<Self, UnknownInvariant> {
        let unknown = ids.iter().map(AsRef::as_ref).find(|id| invariant(id).is_none());
        if let Some(id) = unknown {
            return Err(UnknownInvariant { id: id.to_owned() });
        }
        let is_asked = |each: &&Invariant| ids.iter().any(|id| id.as_ref() == each.id);
        Ok(Self(catalogue().iter().filter(is_asked).collect()))
    }

    /// The invariants.
    pub fn invariants(&self) -> impl Iterator<Item = &'static Invariant> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{Selection, catalogue};

    #[test]
    fn every_file_is_in_the_catalogue_once() {
        let mut ids: Vec<&str> = catalogue().iter().map(|each| each.id.as_str()).collect();
        assert!(ids.is_sorted());
        ids.dedup();
        assert_eq!(ids.len(), catalogue().len());
    }

    #[test]
    fn every_invariant_has_a_select_whosever_it_is() {
        assert!(catalogue().iter().all(|each| !each.select.is_empty()));
    }

    #[test]
    fn a_selection_is_in_the_order_of_the_catalogue_and_knows_its_names() {
        let last = &catalogue().last().unwrap().id;
        let first = &catalogue()[0].id;
        let both: Vec<_> = Selection::only(&[last, first, last]).unwrap().invariants().collect();
        assert_eq!(both[0].id, *first);
        let error = Selection::only(&["INV-99"]).unwrap_err();
        assert!(error.to_string().contains("INV-99; known are INV-01"), "{error}");
        assert!(Selection::critical().invariants().count() <= Selection::all().invariants().count());
    }
}
