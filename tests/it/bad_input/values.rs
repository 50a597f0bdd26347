//! What stands in a request's columns: refused by the guard that is known by its name, whichever statement writes it.

use std::collections::BTreeSet;

use sqlx::AssertSqlSafe;

use crate::support::TestDb;

const ID: &str = "8d7e0f3a-0000-4000-8000-000000000001";

/// Column, value, and the guard that refuses it.
const REFUSED: [(&str, &str, &str); 15] = [
    ("kind", "'of_tomorrow'", "chk_request_kind"),
    ("kind", "''", "chk_request_kind"),
    ("status", "'waiting'", "chk_request_status"),
    ("outcome", "'approved'", "chk_request_outcome"),
    ("hold", "'forgotten'", "chk_request_hold"),
    ("semester_id", "0", "chk_request_lane"),
    ("semester_id", "-9223372036854775808", "chk_request_lane"),
    ("user_id", "-1", "chk_request_lane"),
    ("attempts", "-1", "chk_request_attempts"),
    ("run_at", "'infinity'", "chk_request_times"),
    ("run_at", "'0001-12-31 23:59:59Z BC'", "chk_request_times"),
    ("expires_at", "'9999-12-31 00:00:01Z'", "chk_request_times"),
    ("expires_at", "'-infinity'", "chk_request_times"),
    ("status", "'done'", "chk_request_answer"),
    ("reason", "'semester_full'", "chk_request_answer"),
];

#[tokio::test]
async fn a_value_that_no_request_may_have_is_refused_by_name() {
    let db = TestDb::new().await;
    let refusal = async |sql: String| {
        let error = sqlx::query(AssertSqlSafe(sql.clone())).execute(&db.pool).await.expect_err(&sql);
        error.as_database_error().unwrap().constraint().unwrap_or_default().to_owned()
    };
    for (column, value, guard) in REFUSED {
        let mut row =
            [("request_id", "gen_random_uuid()"), ("kind", "'enroll'"), ("payload", "'{}'")].to_vec();
        row.retain(|(name, _)| *name != column);
        row.push((column, value));
        let (columns, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
        let insert = format!(
            "insert into seatkeeper.requests ({}) values ({})",
            columns.join(", "),
            values.join(", ")
        );
        assert_eq!(refusal(insert).await, guard, "{column} = {value}, added");
    }

    db.run(&format!(
        "insert into seatkeeper.requests (request_id, kind, payload) values ('{ID}', 'enroll', '{{}}')"
    ))
    .await;
    let row = "select to_jsonb(r)::text from seatkeeper.requests r";
    let before: String = db.value(row).await;
    for (column, value, guard) in REFUSED {
        let update = format!("update seatkeeper.requests set {column} = {value} where request_id = '{ID}'");
        assert_eq!(refusal(update).await, guard, "{column} = {value}, changed");
    }
    assert_eq!(db.value::<String>(row).await, before);
}

/// Which columns have something, by status: what an answer is, and what has none.
fn may_be(status: &str, hold: bool, outcome: Option<&str>, has: [bool; 4]) -> bool {
    let [reason, result, number, finished] = has;
    match status {
        "queued" => outcome.is_none() && !reason && !result && !number && !finished,
        "done" => {
            number && finished && !hold && outcome.is_some_and(|outcome| reason == (outcome == "refused"))
        }
        "failed" => outcome.is_none() && reason && !number && finished && !hold,
        "cancelled" => outcome.is_none() && !number && finished && !hold,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_request_has_what_its_status_demands_and_nothing_else() {
    let db = TestDb::new().await;
    // All there are, each tried as a row of its own.
    db.run(
        "create table public.tried (status text, hold text, outcome text, reason text, result jsonb, answer_seq bigint,
                                    finished_at timestamptz, stored boolean);
         do $$
         declare each public.tried;
         begin
             for each in
                 select s, h, o, r, j, n, f, true
                 from unnest(array['queued', 'done', 'failed', 'cancelled']) s, unnest(array[null, 'scheduled', 'paused']) h,
                      unnest(array[null, 'applied', 'refused']) o, unnest(array[null, 'semester_full']) r,
                      unnest(array[null, '{}'::jsonb]) j, unnest(array[null, 1]) n, unnest(array[null, now()]) f
             loop
                 begin
                     insert into seatkeeper.requests (request_id, kind, payload, status, hold, outcome, reason, result,
                                                      answer_seq, finished_at)
                     values (gen_random_uuid(), 'enroll', '{}', each.status, each.hold, each.outcome, each.reason,
                             each.result, each.answer_seq, each.finished_at);
                 exception when check_violation then
                     each.stored := false;
                 end;
                 insert into public.tried select each.*;
             end loop;
         end $$",
    )
    .await;
    type Tried = (String, bool, Option<String>, bool, bool, bool, bool, bool);
    let tried: Vec<Tried> = sqlx::query_as(
        "select status, hold is not null, outcome, reason is not null, result is not null, answer_seq is not null,
                finished_at is not null, stored from public.tried",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert_eq!(tried.len(), 4 * 3 * 3 * 16);
    let mut seen = BTreeSet::new();
    for (status, hold, outcome, reason, result, number, finished, stored) in tried {
        let expected = may_be(&status, hold, outcome.as_deref(), [reason, result, number, finished]);
        assert_eq!(
            stored, expected,
            "{status}, hold {hold}, outcome {outcome:?}, reason {reason}, result {result}, answer_seq {number}, \
             finished_at {finished}"
        );
        seen.insert((status, stored));
    }
    assert_eq!(seen.len(), 8, "each status was stored, and refused: {seen:?}");
}

/// A table's checks are prepared in every statement that writes to it; those of a type once in a connection. What is asked
/// for one at a time spends half of its time in them.
#[tokio::test]
async fn next_to_nothing_is_left_to_the_checks_that_every_statement_prepares() {
    let db = TestDb::new().await;
    let of_the_table: Vec<String> = db
        .value(
            "select array_agg(conname::text order by conname) from pg_constraint
             where conrelid = 'seatkeeper.requests'::regclass and contype = 'c'",
        )
        .await;
    assert_eq!(of_the_table, ["chk_request_answer", "chk_request_attempts"]);
}
