//! Reading a payload field by field, so that a refusal can name the field.
//!
//! The order of the checks is that of `seatkeeper.payload_defect` in the database, which guards the SQL doors:
//! the same payload is refused with the same field everywhere.

use serde_json::{Map, Value};

/// A payload that is not a well-formed one of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("payload field `{field}` is missing, malformed or not allowed here")]
pub struct PayloadError {
    /// The first field at fault; `payload` when it is no object at all. Never a value.
    pub field: String,
}

impl PayloadError {
    /// Names the field, cut to 100 characters: a surplus one is called what its sender likes.
    pub(crate) fn of(field: &str) -> Self {
        Self { field: field.chars().take(100).collect() }
    }
}

/// The fields of a payload that have not been read yet.
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    read: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(payload: &'a Value) -> Result<Self, PayloadError> {
        let object = payload.as_object().ok_or_else(|| PayloadError::of("payload"))?;
        Ok(Self { object, read: Vec::new() })
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.object.contains_key(field)
    }

    /// A field that must be there; an error of its type names it.
    pub(crate) fn required<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, PayloadError> {
        self.optional(field, read)?.ok_or_else(|| PayloadError::of(field))
    }

    /// A field that may be left out; `null` is not leaving it out.
    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, PayloadError> {
        self.read.push(field);
        match self.object.get(field) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| PayloadError::of(field)),
        }
    }

    /// Ends the reading: a field that nobody asked for is refused.
    pub(crate) fn finish(self) -> Result<(), PayloadError> {
        let surplus = self.object.keys().filter(|key| !self.read.contains(&key.as_str())).min();
        surplus.map_or(Ok(()), |field| Err(PayloadError::of(field)))
    }
}
