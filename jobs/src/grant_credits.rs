//! `grant_credits`: Moves a balance: a purchase, or an adjustment down.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, PayloadError};
use crate::{Note, UserId};

/// What is asked. Moves a balance: a purchase, or an adjustment down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct GrantCredits {
    /// Whose balance.
    pub user_id: UserId,
    /// Credits, signed.
    pub amount: Amount,
    /// Why; may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Note", default))]
    pub note: Option<Note>,
}

impl GrantCredits {
    pub(crate) fn read(payload: &Value) -> Result<Self, PayloadError> {
        let mut fields = Fields::of(payload)?;
        let read = Self {
            user_id: fields.required("user_id", UserId::read)?,
            amount: fields.required("amount", Amount::read)?,
            note: fields.optional("note", Note::read)?,
        };
        fields.finish()?;
        Ok(read)
    }
}

/// What is answered when it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Applied {
    /// Credits left.
    pub balance: i64,
}

/// The largest balance that a grant may bring about, in credits. What a refund gives back may lie above it.
pub const BALANCE_LIMIT: i64 = 1_000_000_000_000_000_000;

/// Credits, signed: a whole number within ±10¹², not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Amount(i64);

/// A number that is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no amount: a whole number other than 0, within ±{max}, is due", max = Amount::MAX)]
pub struct AmountError(
    /// The number.
    pub i64,
);

impl Amount {
    /// The largest amount of one grant, in credits; its negative is the smallest.
    pub const MAX: i64 = 1_000_000_000_000;

    /// The amount of this number.
    ///
    /// # Errors
    /// When it is 0 or out of range.
    pub const fn new(number: i64) -> Result<Self, AmountError> {
        if number != 0 && number >= -Self::MAX && number <= Self::MAX {
            Ok(Self(number))
        } else {
            Err(AmountError(number))
        }
    }

    /// The number of credits, never 0.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_i64().and_then(|number| Self::new(number).ok())
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "integer", "minimum": -Self::MAX, "maximum": Self::MAX, "not": { "const": 0 }
        })
    }
}
