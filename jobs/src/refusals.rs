//! Which kind is refused for which reasons.

use crate::{Kind, Reason};

impl Kind {
    /// The reasons for which a request of this kind can be refused, in the order in which they are checked.
    #[must_use]
    pub const fn refusals(self) -> &'static [Reason] {
        use Reason::{
            AlreadyBooked, AlreadyCancelled, AlreadyEnrolled, BalanceLimit, BookingClosed, BookingNotFound,
            CancellationClosed, EnrollmentClosed, InsufficientCredits, NotEnrolled, RequestExpired,
            ScheduleConflict, SemesterFull, SemesterNotFound, SemesterNotOpen, SessionCancelled,
            SessionNotFound, SessionNotStarted, UnenrollClosed, UserInactive, UserNotFound,
        };
        match self {
            Self::Enroll => &[
                RequestExpired,
                SemesterNotFound,
                UserNotFound,
                UserInactive,
                SemesterNotOpen,
                EnrollmentClosed,
                AlreadyEnrolled,
                SemesterFull,
                InsufficientCredits,
            ],
            Self::Unenroll => &[
                RequestExpired,
                SemesterNotFound,
                UserNotFound,
                SemesterNotOpen,
                UnenrollClosed,
                NotEnrolled,
            ],
            Self::Book => &[
                RequestExpired,
                SessionNotFound,
                UserNotFound,
                UserInactive,
                SessionCancelled,
                BookingClosed,
                NotEnrolled,
                AlreadyBooked,
                ScheduleConflict,
            ],
            Self::CancelBooking => &[RequestExpired, BookingNotFound, AlreadyCancelled, CancellationClosed],
            Self::RecordAttendance => &[RequestExpired, SessionNotFound, BookingNotFound, SessionNotStarted],
            Self::CancelSemester => &[RequestExpired, SemesterNotFound, AlreadyCancelled],
            Self::GrantCredits => &[RequestExpired, UserNotFound, InsufficientCredits, BalanceLimit],
        }
    }
}
