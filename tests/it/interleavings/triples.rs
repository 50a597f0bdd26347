//! Three at once: a chosen set, since all of them would be thousands. Where one could lose what two do not: the last place, the
//! last credits, the same user, a waitlist that moves.

use seatkeeper_jobs::Kind::{self, Book, CancelBooking, CancelSemester, Enroll, GrantCredits, Unenroll};

use super::matrix::Change::{
    self, FallsDue, OtherSessionMoved, Repriced, SemesterCapacity, SemesterClosed, SessionCapacity,
    SessionMoved, UserDeactivated, WaiterDeactivated,
};
use super::matrix::Scarce::{Credits, Place};
use super::matrix::{Part, Scarce, Scenario};

/// Whose requests they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    One,
    Each,
}
use Whose::{Each, One};

/// In which lanes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lanes {
    Shared,
    Own,
}
use Lanes::{Own, Shared};

/// Two requests and a change by an owner.
const WITH_A_CHANGE: [([Kind; 2], Change, Whose, Scarce, Lanes); 25] = [
    ([Enroll, Enroll], FallsDue, Each, Place, Shared),
    ([Enroll, Unenroll], FallsDue, Each, Place, Shared),
    ([Book, Book], FallsDue, Each, Place, Shared),
    ([CancelBooking, Book], FallsDue, Each, Place, Shared),
    ([Enroll, Enroll], SemesterCapacity, Each, Place, Shared),
    ([Enroll, Enroll], SemesterClosed, Each, Place, Shared),
    ([Enroll, Enroll], Repriced, One, Credits, Shared),
    ([Enroll, Enroll], UserDeactivated, One, Credits, Shared),
    ([Unenroll, Enroll], SemesterCapacity, Each, Place, Shared),
    ([Unenroll, Enroll], Repriced, One, Place, Shared),
    ([GrantCredits, Enroll], Repriced, Each, Credits, Shared),
    ([Book, Book], SessionCapacity, Each, Place, Shared),
    ([Book, Unenroll], SessionCapacity, One, Place, Shared),
    ([CancelBooking, Book], SessionCapacity, Each, Place, Shared),
    ([CancelBooking, Book], SessionMoved, Each, Place, Shared),
    ([Book, CancelBooking], OtherSessionMoved, Each, Place, Shared),
    ([CancelBooking, Book], WaiterDeactivated, Each, Place, Shared),
    ([CancelBooking, CancelBooking], SessionCapacity, Each, Place, Shared),
    ([CancelBooking, CancelBooking], SessionMoved, Each, Place, Shared),
    ([CancelBooking, CancelBooking], WaiterDeactivated, Each, Place, Shared),
    ([Unenroll, CancelBooking], WaiterDeactivated, Each, Place, Shared),
    ([CancelSemester, Unenroll], UserDeactivated, One, Place, Shared),
    ([Enroll, Enroll], Repriced, One, Credits, Own),
    ([CancelBooking, CancelBooking], WaiterDeactivated, Each, Place, Own),
    ([Book, CancelBooking], SessionMoved, One, Place, Own),
];

/// Three requests.
const OF_REQUESTS: [([Kind; 3], Whose, Scarce, Lanes); 13] = [
    ([Enroll, Enroll, Enroll], Each, Place, Shared),
    ([Enroll, Enroll, Enroll], One, Credits, Shared),
    ([Enroll, Unenroll, Enroll], One, Place, Shared),
    ([GrantCredits, Enroll, Unenroll], One, Credits, Shared),
    ([Enroll, GrantCredits, Enroll], Each, Credits, Shared),
    ([Book, Book, Book], Each, Place, Shared),
    ([CancelBooking, Book, Book], Each, Place, Shared),
    ([CancelBooking, CancelBooking, Book], Each, Place, Shared),
    ([CancelBooking, Unenroll, CancelBooking], Each, Place, Shared),
    ([Unenroll, CancelBooking, CancelSemester], Each, Place, Shared),
    ([Enroll, Enroll, Enroll], One, Credits, Own),
    ([Book, Book, Book], One, Place, Own),
    ([CancelBooking, CancelBooking, CancelBooking], Each, Place, Own),
];

/// All of them.
pub fn triples() -> Vec<Scenario> {
    let scenario = |parts: Vec<Part>, whose, scarce, lanes| Scenario {
        parts,
        same_user: whose == One,
        scarce,
        own_lanes: lanes == Own,
    };
    let asks = |kinds: &[Kind]| kinds.iter().map(|kind| Part::Asks(*kind)).collect::<Vec<_>>();
    let changed = WITH_A_CHANGE.iter().map(|(kinds, change, whose, scarce, lanes)| {
        let parts = [asks(kinds), vec![Part::Changes(*change)]].concat();
        scenario(parts, *whose, *scarce, *lanes)
    });
    let asked = OF_REQUESTS
        .iter()
        .map(|(kinds, whose, scarce, lanes)| scenario(asks(kinds), *whose, *scarce, *lanes));
    changed.chain(asked).collect()
}
