//! What is done behind the guards' back, and how it is repaired.

use uuid::Uuid;

use super::stack::Stack;

/// Users, and a semester for each trouble.
pub const GIVEN: &str = "
    insert into seatkeeper.users (user_id) select generate_series(1, 200);
    insert into seatkeeper.semesters (semester_id, code, status)
    select n, 'S' || n, 'ENROLLMENT_OPEN' from generate_series(1, 6) n";

/// INV-01, and INV-05 with it: the guard goes first, and then somebody is enrolled twice.
pub const TWICE: &str = "
    drop index seatkeeper.uq_active_enrollment;
    insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, price_paid)
    values (901, 1, 1, 'APPROVED', true, 0), (902, 1, 1, 'APPROVED', true, 0);
    insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, enrollment_id)
    values (1, 'TOURNAMENT_ENROLLMENT', 0, 0, 901), (1, 'TOURNAMENT_ENROLLMENT', 0, 0, 902);
    update seatkeeper.semesters set enrolled_count = 2 where semester_id = 1";

/// The one enrollment too many is withdrawn, and the guard is back.
pub const ONCE: &str = "
    update seatkeeper.enrollments set status = 'WITHDRAWN', is_active = false, withdrawn_at = now()
    where enrollment_id = 902;
    update seatkeeper.semesters set enrolled_count = 1 where semester_id = 1;
    create unique index uq_active_enrollment on seatkeeper.enrollments (user_id, semester_id) where is_active";

/// INV-04: active enrollments of these users in semester 4, without a row in the ledger.
pub fn gaps(users: std::ops::RangeInclusive<i64>) -> String {
    let (first, last) = users.into_inner();
    format!(
        "insert into seatkeeper.enrollments (user_id, semester_id, status, is_active, price_paid)
         select n, 4, 'APPROVED', true, 0 from generate_series({first}, {last}) n;
         update seatkeeper.semesters set enrolled_count = enrolled_count + {last} - {first} + 1 where semester_id = 4"
    )
}

/// The rows that were missing.
pub const FILLED: &str = "
    insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, enrollment_id)
    select e.user_id, 'TOURNAMENT_ENROLLMENT', 0, 0, e.enrollment_id
    from seatkeeper.enrollments e where e.semester_id = 4";

/// Every enrollment in this semester meets with an error of this class.
pub fn sabotage(semester: i64, sqlstate: &str) -> String {
    format!(
        "create function public.sabotage_{semester}() returns trigger language plpgsql as
         $$ begin raise exception 'sabotage' using errcode = '{sqlstate}'; end $$;
         create trigger aaa_sabotage_{semester} before insert on seatkeeper.enrollments
             for each row when (new.semester_id = {semester}) execute function public.sabotage_{semester}()"
    )
}

/// The end of that.
pub fn peace(semester: i64) -> String {
    format!(
        "drop trigger aaa_sabotage_{semester} on seatkeeper.enrollments; drop function public.sabotage_{semester}()"
    )
}

/// Ages every check by more than eight days.
pub const LONG_AGO: &str = "
    update seatkeeper.invariant_runs
    set started_at = started_at - interval '8 days 1 hour', finished_at = finished_at - interval '8 days 1 hour'";

impl Stack {
    /// Users 2 to 11 ask for places in a semester, ten minutes ago if that is wanted.
    pub async fn ask_for_places(&self, semester: i64, ten_minutes_ago: bool) {
        let mut sql = String::new();
        for user in 2..=11 {
            let payload = format!("{{\"user_id\": {user}, \"semester_id\": {semester}}}");
            sql.push_str(&format!("select seatkeeper.enqueue('{}', 'enroll', '{payload}');", Uuid::now_v7()));
        }
        if ten_minutes_ago {
            sql.push_str(&format!(
                "update seatkeeper.requests set enqueued_at = enqueued_at - interval '10 minutes'
                 where semester_id = {semester}"
            ));
        }
        // One transaction: nobody sees them before they are as old as they shall be.
        self.run(&format!("begin; {sql}; commit")).await;
    }
}
