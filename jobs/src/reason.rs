//! Why a request was refused, or failed.

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident = $name:literal;)*) => {
        /// Why a request was refused (an answer for good) or failed (an operator can retry it).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$meta])* $variant,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The wire form.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// `expires_at` had passed.
    RequestExpired = "request_expired";
    /// There is no such semester.
    SemesterNotFound = "semester_not_found";
    /// There is no such session.
    SessionNotFound = "session_not_found";
    /// There is no such user.
    UserNotFound = "user_not_found";
    /// The user is not active.
    UserInactive = "user_inactive";
    /// The semester's status is neither `ENROLLMENT_OPEN` nor `IN_PROGRESS`.
    SemesterNotOpen = "semester_not_open";
    /// `enrollment_closes_at` had come.
    EnrollmentClosed = "enrollment_closed";
    /// The user has an active enrollment in the semester.
    AlreadyEnrolled = "already_enrolled";
    /// Every place of the semester is taken.
    SemesterFull = "semester_full";
    /// The balance does not cover it.
    InsufficientCredits = "insufficient_credits";
    /// The grant would bring the balance above 10¹⁸.
    BalanceLimit = "balance_limit";
    /// `unenroll_closes_at` had come.
    UnenrollClosed = "unenroll_closed";
    /// The user has no active enrollment in the semester, or not the one named.
    NotEnrolled = "not_enrolled";
    /// The session is cancelled.
    SessionCancelled = "session_cancelled";
    /// The session's time for booking had passed.
    BookingClosed = "booking_closed";
    /// The user has a live booking of the session.
    AlreadyBooked = "already_booked";
    /// It overlaps another `CONFIRMED` booking of the user.
    ScheduleConflict = "schedule_conflict";
    /// There is no such booking of this user.
    BookingNotFound = "booking_not_found";
    /// It was cancelled before.
    AlreadyCancelled = "already_cancelled";
    /// The session's time for cancelling had passed.
    CancellationClosed = "cancellation_closed";
    /// The session has not started.
    SessionNotStarted = "session_not_started";
    /// Failed: the stored payload is not a well-formed one of its kind.
    InvalidPayload = "invalid_payload";
    /// Failed: every attempt ended in an error.
    AttemptsExhausted = "attempts_exhausted";
}

impl Reason {
    /// Whether it is a refusal: an answer, given for good. The others are failures, which operators can retry.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        !matches!(self, Self::InvalidPayload | Self::AttemptsExhausted)
    }
}

/// A name that is no reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such reason")]
pub struct UnknownReason;

impl std::str::FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(name: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name).ok_or(UnknownReason)
    }
}

crate::words::spelt_as_words!(Reason);
