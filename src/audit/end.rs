//! The state that came of it all.

use std::collections::{BTreeMap, HashMap};

use futures::{Stream, TryStreamExt};
use seatkeeper_jobs::{SemesterId, SessionId, UserId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::findings::{About, Audit};
use super::history;
use super::rows::{
    Attendance, Booking, Enrollment, LedgerKey, LedgerRow, Row, Semester, Session, User, ledger_key,
};
use super::{Progress, STRIDE};
use crate::decide::World;

/// What everything came to.
pub(super) struct End {
    pub(super) world: World,
    /// Everybody, ascending.
    pub(super) users: Vec<UserId>,
    /// As their owners wrote them last.
    pub(super) semesters: BTreeMap<SemesterId, Semester>,
    pub(super) cancelled_by: HashMap<SemesterId, Uuid>,
    pub(super) sessions: Vec<SessionId>,
}

/// Compares the rows that are stored with it.
pub(super) async fn compare(
    connection: &mut PgConnection,
    end: End,
    audit: &mut Audit,
    watch: &mut impl FnMut(Progress),
) -> sqlx::Result<()> {
    let End { world, users, semesters, cancelled_by, sessions } = end;
    let mut comparing = Comparing { audit, watch, done: 0, total: 0 };

    let known = users.iter().filter_map(|&id| {
        let user = world.user(id).ok()??;
        Some((id.get(), User { is_active: user.is_active, credit_balance: user.balance }))
    });
    let about = |user_id| About::User { user_id };
    comparing.audit.users = comparing.rows(history::users(connection), known, about).await?;

    let known = semesters.into_iter().filter_map(|(id, written)| {
        let semester = world.semester(id).ok()??;
        Some((id.get(), written.after(semester, cancelled_by.get(&id).copied())))
    });
    let about = |semester_id| About::Semester { semester_id };
    comparing.rows(history::semesters(connection), known, about).await?;

    let known = sessions.iter().filter_map(|&id| Some((id.get(), Session::from(world.session(id).ok()??))));
    let about = |session_id| About::Session { session_id };
    comparing.rows(history::sessions(connection), known, about).await?;

    let mut changes = world.into_changes();
    let sum = changes.enrolled.len() + changes.ledger.len() + changes.booked.len() + changes.attendance.len();
    comparing.total = comparing.done + u64::try_from(sum).unwrap_or(u64::MAX);

    changes.enrolled.sort_unstable_by_key(|each| each.enrollment_id);
    let right = changes.enrolled.into_iter().map(|each| (each.enrollment_id.get(), Enrollment::from(each)));
    let about = |enrollment_id| About::Enrollment { enrollment_id };
    comparing.audit.enrollments = comparing.rows(history::enrollments(connection), right, about).await?;

    changes.ledger.sort_unstable_by_key(ledger_key);
    let right = changes.ledger.into_iter().map(|entry| (ledger_key(&entry), LedgerRow::from(entry)));
    let about = |(request, enrollment, transaction_id): LedgerKey| match request {
        Some(request_id) => {
            About::Ledger { request_id, enrollment_id: (enrollment != 0).then_some(enrollment) }
        }
        None => About::Unasked { transaction_id },
    };
    comparing.audit.ledger = comparing.rows(history::ledger(connection), right, about).await?;

    changes.booked.sort_unstable_by_key(|each| each.booking_id);
    let right = changes.booked.into_iter().map(|each| (each.booking_id.get(), Booking::from(each)));
    let about = |booking_id| About::Booking { booking_id };
    comparing.audit.bookings = comparing.rows(history::bookings(connection), right, about).await?;

    let right = changes.attendance.into_iter().map(|each| (each.booking_id.get(), Attendance::from(each)));
    let about = |booking_id| About::Attendance { booking_id };
    comparing.audit.attendance = comparing.rows(history::attendance(connection), right, about).await?;
    Ok(())
}

struct Comparing<'a, W> {
    audit: &'a mut Audit,
    watch: &'a mut W,
    done: u64,
    total: u64,
}

impl<W: FnMut(Progress)> Comparing<'_, W> {
    /// Compares rows key by key, both ascending; gives the number of those that are stored.
    async fn rows<K: Ord + Copy, T: Row>(
        &mut self,
        stored: impl Stream<Item = sqlx::Result<(K, T)>>,
        right: impl Iterator<Item = (K, T)>,
        about: impl Fn(K) -> About,
    ) -> sqlx::Result<usize> {
        let mut stored = std::pin::pin!(stored);
        let mut right = right.peekable();
        let mut count = 0;
        while let Some((key, row)) = stored.try_next().await? {
            count += 1;
            self.done += 1;
            if self.done.is_multiple_of(STRIDE) {
                (self.watch)(Progress::Comparing { done: self.done, total: self.total.max(self.done) });
            }
            while let Some((key, missing)) = right.next_if(|(next, _)| *next < key) {
                self.differs(about(key), None, Some(&missing));
            }
            let due = right.next_if(|(next, _)| *next == key).map(|(_, due)| due);
            if due.as_ref() != Some(&row) {
                self.differs(about(key), Some(&row), due.as_ref());
            }
        }
        for (key, missing) in right {
            self.differs(about(key), None, Some(&missing));
        }
        Ok(count)
    }

    fn differs<T: Row>(&mut self, about: About, stored: Option<&T>, right: Option<&T>) {
        let came_of = right.or(stored).and_then(T::request_id);
        let (stored, right) = differing(columns(stored), columns(right));
        self.audit.found_row(about, came_of, stored, right);
    }
}

fn columns<T: Row>(row: Option<&T>) -> Value {
    // A row has plain columns: it is always JSON.
    row.and_then(|row| serde_json::to_value(row).ok()).unwrap_or(Value::Null)
}

/// Only what differs, where both are there.
fn differing(mut stored: Value, mut right: Value) -> (Value, Value) {
    if let (Value::Object(stored), Value::Object(right)) = (&mut stored, &mut right) {
        stored.retain(|column, value| {
            let differs = right.get(column) != Some(value);
            if !differs {
                right.remove(column);
            }
            differs
        });
    }
    (stored, right)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{About, Audit, Comparing, Progress, Row};

    impl Row for Value {}

    #[tokio::test]
    async fn rows_are_told_by_the_columns_that_differ() {
        // Twice the same number, where nothing keeps it from being there twice: one of them is one too many.
        let stored = [
            (1, json!({ "a": 1, "b": 2 })),
            (2, json!({ "a": 1 })),
            (3, json!({})),
            (5, json!({ "a": 5 })),
            (5, json!({ "a": 5 })),
        ];
        let right = [
            (1, json!({ "a": 1, "b": 3 })),
            (3, json!({})),
            (4, json!({ "a": 4 })),
            (5, json!({ "a": 5 })),
            (6, json!({ "a": 6 })),
        ];
        let mut audit = Audit::default();
        let about = |user_id| About::User { user_id };
        let stored = futures::stream::iter(stored.map(Ok));
        let mut comparing = Comparing { audit: &mut audit, watch: &mut |_: Progress| (), done: 0, total: 0 };
        assert_eq!(comparing.rows(stored, right.into_iter(), about).await.unwrap(), 5);
        let told: Vec<_> =
            audit.findings.into_iter().map(|found| (found.about, found.stored, found.right)).collect();
        let expected = [
            (about(1), json!({ "b": 2 }), json!({ "b": 3 })),
            (about(2), json!({ "a": 1 }), Value::Null),
            (about(4), Value::Null, json!({ "a": 4 })),
            (about(5), json!({ "a": 5 }), Value::Null),
            (about(6), Value::Null, json!({ "a": 6 })),
        ];
        assert_eq!(told, expected);
    }
}
