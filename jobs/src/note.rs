//! Free text that a producer may leave with a request.

use serde::Serialize;
use serde_json::Value;

/// Text of up to 500 characters, none of which acts on a terminal or turns the direction of writing.
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
    /// A control character, or one that turns the direction of writing: no door takes it.
    #[error(
        "a note has no control characters, line breaks among them, and none that turn the direction of writing"
    )]
    Acting,
}

impl Note {
    /// The longest note, in characters (not bytes).
    pub const MAX_CHARACTERS: usize = 500;

    /// A note of this text.
    ///
    /// # Errors
    /// When it is too long, or holds a character that no door takes.
    pub fn new(text: impl Into<String>) -> Result<Self, NoteError> {
        let note = Self::stored(text.into())?;
        if is_acting(&note.0) { Err(NoteError::Acting) } else { Ok(note) }
    }

    /// As it may have been taken before doors looked at its characters.
    fn stored(text: String) -> Result<Self, NoteError> {
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
        value.as_str().and_then(|text| Self::stored(text.to_owned()).ok())
    }
}

/// Whether a text has a character that acts on a terminal (C0, DEL, C1), or has it read otherwise than it is written (marks,
/// embeddings, overrides and isolates of the direction of writing).
pub(crate) fn is_acting(text: &str) -> bool {
    text.chars().any(|sign| {
        sign.is_control()
            || matches!(sign, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// The same as a pattern of JSON Schema: of texts that have none.
#[cfg(feature = "schema")]
pub(crate) const NOT_ACTING: &str =
    "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]*$";

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Note {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Note".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "maxLength": Self::MAX_CHARACTERS, "pattern": NOT_ACTING
        })
    }
}
