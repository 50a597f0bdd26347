//! One row edited by hand, past all guards: exactly that is found.

use seatkeeper::audit::{About, Finding};
use serde_json::json;

use super::{SEED, assert_holds, audited, mixed};
use crate::support::TestDb;

/// A sound history in which one thing after the other is edited.
struct Edited {
    db: TestDb,
    found: Vec<Finding>,
}

impl Edited {
    /// Edits and gives what is found because of it, and nothing else.
    async fn finding(&mut self, edit: &str) -> Finding {
        // No trigger fires: neither a counter follows, nor is anything refused or recorded.
        self.db.run(&format!("begin; set local session_replication_role = replica; {edit}; commit")).await;
        let audit = audited(&self.db).await;
        assert_eq!(audit.not_covered, None);
        let mut new = Vec::new();
        for finding in &audit.findings {
            if !self.found.contains(finding) {
                new.push(finding.clone());
            }
        }
        assert_eq!(audit.findings.len(), self.found.len() + new.len(), "what was found is still found");
        self.found = audit.findings;
        assert_eq!(new.len(), 1, "after {edit}: {new:#?}");
        new.remove(0)
    }

    async fn number(&self, sql: &str) -> i64 {
        self.db.value(sql).await
    }
}

#[tokio::test]
async fn an_edited_row_is_found_and_nothing_else() {
    let db = mixed(SEED).await;
    assert_holds(&audited(&db).await);
    let mut edited = Edited { db, found: Vec::new() };

    let balance = edited.number("select credit_balance from seatkeeper.users where user_id = 2").await;
    let finding = edited
        .finding("update seatkeeper.users set credit_balance = credit_balance + 1 where user_id = 2")
        .await;
    assert_eq!(finding.about, About::User { user_id: 2 });
    assert_eq!(
        (finding.stored, finding.right),
        (json!({ "credit_balance": balance + 1 }), json!({ "credit_balance": balance }))
    );

    let id = edited
        .number(
            "select min(booking_id) from seatkeeper.bookings where status = 'CONFIRMED' and session_id < 7",
        )
        .await;
    let finding = edited
        .finding(&format!(
            "update seatkeeper.bookings set status = 'CANCELLED', cancelled_at = now(), cancelled_because = 'requested'
             where booking_id = {id}"
        ))
        .await;
    assert_eq!(finding.about, About::Booking { booking_id: id });
    assert_eq!(
        (&finding.stored["status"], &finding.right["status"]),
        (&json!("CANCELLED"), &json!("CONFIRMED"))
    );
    assert_eq!(finding.right["cancelled_at"], json!(null));
    assert!(finding.stored.get("user_id").is_none(), "what is the same is not told: {finding}");

    let id = edited.number("select min(enrollment_id) from seatkeeper.enrollments where is_active").await;
    let finding = edited
        .finding(&format!(
            "update seatkeeper.enrollments set price_paid = price_paid + 1 where enrollment_id = {id}"
        ))
        .await;
    assert_eq!(finding.about, About::Enrollment { enrollment_id: id });

    let finding = edited
        .finding("update seatkeeper.semesters set enrolled_count = enrolled_count - 1 where semester_id = 1")
        .await;
    assert_eq!(finding.about, About::Semester { semester_id: 1 });
    let finding = edited
        .finding("update seatkeeper.sessions set confirmed_count = confirmed_count - 1 where session_id = 7");
    assert_eq!(finding.await.about, About::Session { session_id: 7 });

    let finding = edited
        .finding(
            "update seatkeeper.attendance set status = 'excused'
             where booking_id = (select min(booking_id) from seatkeeper.attendance)",
        )
        .await;
    assert_eq!(finding.stored, json!({ "status": "excused" }));
    assert!(matches!(finding.about, About::Attendance { .. }));

    let finding = edited
        .finding(
            "update seatkeeper.credit_transactions set amount = amount + 1
             where transaction_id = (select min(transaction_id) from seatkeeper.credit_transactions)",
        )
        .await;
    assert!(matches!(finding.about, About::Ledger { enrollment_id: None, .. }), "{finding}");
    let finding = edited
        .finding(
            "insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after)
             values (3, 'OPENING_BALANCE', 5, 5)",
        )
        .await;
    assert!(matches!(finding.about, About::Unasked { .. }), "{finding}");
    assert_eq!(finding.right, json!(null));
    let finding = edited.finding(
        "insert into seatkeeper.enrollments (user_id, semester_id, status, is_active, withdrawn_at)
         values (3, 1, 'WITHDRAWN', false, now())",
    );
    assert_eq!(finding.await.right, json!(null));
}

#[tokio::test]
async fn a_wrong_answer_is_found_with_what_is_right() {
    let db = mixed(SEED).await;
    assert_holds(&audited(&db).await);
    let mut edited = Edited { db, found: Vec::new() };
    let last =
        |what: &str| format!("answer_seq = (select max(answer_seq) from seatkeeper.requests where {what})");

    // A figure of it; what was refused for another reason; and one that was done, as if it had been refused.
    let applied = last("kind = 'enroll' and outcome = 'applied'");
    let seq = edited.number(&format!("select answer_seq from seatkeeper.requests where {applied}")).await;
    let finding = edited
        .finding(&format!(
            "update seatkeeper.requests set result = jsonb_set(result, '{{balance}}', '1000') where {applied}"
        ))
        .await;
    assert!(
        matches!(&finding.about, About::Answer { kind, answer_seq, .. } if kind == "enroll" && *answer_seq == Some(seq))
    );
    assert_eq!(finding.stored["result"]["balance"], 1000);
    assert_ne!(finding.right["result"]["balance"], 1000);
    assert!(finding.to_string().contains(&format!("answer {seq} (enroll ")), "{finding}");

    let refused = last("reason = 'insufficient_credits'");
    let finding = edited
        .finding(&format!("update seatkeeper.requests set result = '{{\"balance\": 1}}' where {refused}"))
        .await;
    assert_eq!(finding.right["reason"], "insufficient_credits");
    let full = last("reason = 'not_enrolled' and kind = 'book'");
    let finding = edited
        .finding(&format!("update seatkeeper.requests set reason = 'user_inactive' where {full}"))
        .await;
    assert_eq!(
        (&finding.stored["reason"], &finding.right["reason"]),
        (&json!("user_inactive"), &json!("not_enrolled"))
    );
    for kind in ["book", "unenroll", "cancel_booking", "grant_credits"] {
        let done = last(&format!("kind = '{kind}' and outcome = 'applied'"));
        let finding = edited
            .finding(&format!(
                "update seatkeeper.requests set outcome = 'refused', reason = 'request_expired', result = null where {done}"
            ))
            .await;
        assert_eq!(finding.right["outcome"], "applied", "{finding}");
    }

    // A place that was given to somebody else than whose turn it was.
    let finding = edited
        .finding(
            r#"update seatkeeper.catalog_changes set after = jsonb_set(after, '{booking_id}', '999999')
               where change_seq = (select max(change_seq) from seatkeeper.catalog_changes where "table" = 'bookings')"#,
        )
        .await;
    assert!(matches!(finding.about, About::Fill { .. }), "{finding}");
    assert_eq!(finding.stored["booking_id"], 999_999);
    assert_ne!(finding.right["booking_id"], 999_999);
}

#[tokio::test]
async fn what_nobody_asked_for_and_what_is_gone_is_found() {
    let db = mixed(SEED).await;
    let mut edited = Edited { db, found: Vec::new() };
    let id =
        edited.number("select max(booking_id) from seatkeeper.bookings where status = 'CANCELLED'").await;
    let finding = edited.finding(&format!("delete from seatkeeper.bookings where booking_id = {id}")).await;
    assert_eq!((finding.about, finding.stored), (About::Booking { booking_id: id }, json!(null)));
    let id = edited.number("select max(enrollment_id) from seatkeeper.enrollments where not is_active").await;
    let finding =
        edited.finding(&format!("delete from seatkeeper.enrollments where enrollment_id = {id}")).await;
    assert_eq!((finding.about, finding.stored), (About::Enrollment { enrollment_id: id }, json!(null)));
}
