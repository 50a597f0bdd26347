//! What has to be true at the end of every schedule, and what came of it.

use std::sync::LazyLock;

use seatkeeper::audit::audit;
use seatkeeper::invariants::catalogue;
use sqlx::AssertSqlSafe;

use super::matrix::{Part, Scenario};
use super::schedule::Run;
use crate::support::TestDb;

/// The invariants of the monitor in one statement: the IDs of those that are violated. (That the guards are in force, which no
/// schedule changes, is looked at once a scenario.)
static VIOLATED: LazyLock<String> = LazyLock::new(|| {
    let of_rows = catalogue().iter().filter(|invariant| !invariant.takes_manifest);
    let each = of_rows.map(|each| {
        format!("select '{}' as id where exists (select from ({}\n) offending)", each.id, each.select)
    });
    each.collect::<Vec<_>>().join(" union all ")
});

/// The state and the answers, without the instants and the numbers that tell schedules apart although they come to the same.
const OUTCOME: &str = "
    select coalesce(string_agg(line, E'\n' order by line), '') from (
        select format('user %s: %s credits, active %s', user_id, credit_balance, is_active) as line from seatkeeper.users
        union all
        select format('semester %s: %s, %s of %s enrolled, cost %s', semester_id, status, enrolled_count, max_players, enrollment_cost)
        from seatkeeper.semesters
        union all
        select format('session %s: %s, %s of %s confirmed, moved %s', s.session_id, s.status, s.confirmed_count, s.capacity,
                      s.starts_at <> p.starts_at)
        from seatkeeper.sessions s join photo.sessions p using (session_id)
        union all
        select format('enrollment of %s in %s, %s.: %s, paid %s', user_id, semester_id,
                      row_number() over (partition by user_id, semester_id order by enrollment_id), status, price_paid)
        from seatkeeper.enrollments
        union all
        select format('booking of %s in %s, %s.: %s %s%s', user_id, session_id,
                      row_number() over (partition by user_id, session_id order by booking_id), status, cancelled_because,
                      case when status = 'WAITLISTED' then ' at place ' || rank() over (partition by session_id, status order by waitlist_ticket) end)
        from seatkeeper.bookings
        union all
        select format('ledger of %s: %s', user_id,
                      string_agg(format('%s %s -> %s', transaction_type, amount, balance_after), ', ' order by transaction_id))
        from seatkeeper.credit_transactions group by user_id
        union all
        select format('attendance of %s in %s: %s', b.user_id, b.session_id, a.status)
        from seatkeeper.attendance a join seatkeeper.bookings b using (booking_id)
        union all
        select format('answer %s (%s): %s %s %s', row_number() over (order by r.seq), r.kind, r.outcome, r.reason,
                      r.result - array['enrollment_id', 'booking_id', 'waitlist_position', 'superseded_bookings', 'promoted_bookings'])
        from seatkeeper.requests r join photo.requests p using (request_id) where p.status = 'queued'
    ) lines";

/// Lets a worker answer what is left, and looks at everything; the outcome, or what is wrong.
pub async fn check(db: &TestDb, scenario: &Scenario, run: &Run) -> Result<String, Vec<String>> {
    db.drain().await;
    let mut wrong = Vec::new();
    let unanswered: i64 = db.value("select count(*) from seatkeeper.requests where status <> 'done'").await;
    let marked: i64 = db.value("select count(*) from seatkeeper.fill_marks").await;
    if unanswered + marked > 0 {
        wrong.push(format!("{unanswered} requests have no answer, {marked} sessions are not filled"));
    }
    let errors: i64 = db.value("select count(*) from seatkeeper.requests where last_error is not null").await;
    if errors > 0 {
        wrong.push(format!("{errors} requests were charged with an attempt"));
    }
    if run.deadlocks > 0 {
        wrong.push(format!("{} deadlocks", run.deadlocks));
    }
    let violated: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(VIOLATED.as_str())).fetch_all(&db.pool).await.unwrap();
    if !violated.is_empty() {
        wrong.push(format!("violated: {}", violated.join(", ")));
    }
    let audit = audit(&db.pool).await.unwrap();
    wrong.extend(audit.findings.iter().map(|finding| format!("audit: {finding}")));
    if let Some(stop) = audit.not_covered {
        wrong.push(format!("audit: not covered: {}", stop.why));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut outcome: String = db.value(OUTCOME).await;
    for (part, ended) in scenario.parts.iter().zip(&run.ended) {
        if matches!(part, Part::Changes(_)) {
            outcome += &format!("\n{part}: {ended}");
        }
    }
    Ok(outcome)
}
