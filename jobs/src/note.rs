//! Free text that a producer may leave with a request.

use serde::Serialize;
use serde_json::Value;

/// Text of up to 500 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Note(String);

/// A text that is no note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`Note::MAX_CHARACTERS`].
    #[error("a note has at most {max} characters, not {0}", max = Note::MAX_CHARACTERS)]
    TooLong(usize),
    /// PostgreSQL stores no NUL.
    #[error("a note has no NUL character")]
    Nul,
}

impl Note {
    /// The longest note, in characters (not bytes).
    pub const MAX_CHARACTERS: usize = 500;

    /// A note of this text.
    ///
    /// # Errors
    /// When it is too long or holds a NUL.
    pub fn new(text: impl Into<String>) -> Result<Self, NoteError> {
        let text = text.into();
        let characters = text.chars().count();
        if characters > Self::MAX_CHARACTERS {
            return Err(NoteError::TooLong(characters));
        }
        if text.contains('\0') {
            return Err(NoteError::Nul);
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn read(value: &Value) -> Option<Self> {
        value.as_str().and_then(|text| Self::new(text).ok())
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Note {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Note".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "maxLength": Self::MAX_CHARACTERS, "pattern": "^[^\\u0000]*$"
        })
    }
}
