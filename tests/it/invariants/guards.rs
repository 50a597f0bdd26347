//! INV-05 and INV-B05: a guard that is not what it has to be is found, whatever is wrong with it.

use seatkeeper::invariants::guards;
use sqlx::AssertSqlSafe;

use crate::support::TestDb;

#[tokio::test]
async fn the_manifest_is_what_the_migrations_make() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let live = guards::live(&mut connection).await.unwrap();
    assert!(live.iter().all(|guard| !guard.definition.is_empty()), "{live:?}");
    let text = guards::as_manifest(&live);
    assert!(
        text.contains(
            r#""name":"chk_credit_balance_non_negative","definition":"CHECK ((credit_balance >= 0))"#
        )
    );
    assert!(
        text == guards::MANIFEST,
        "src/invariants/guards.json does not fit the migrations; it has to be:\n{text}"
    );
    assert_eq!(guards::troubles(&mut connection).await.unwrap(), []);
}

/// As it comes about: `concurrently` leaves the index behind that it could not finish.
#[tokio::test]
async fn an_index_that_was_never_finished_is_no_guard() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    db.run("drop index seatkeeper.uq_active_enrollment").await;
    db.run(
        "insert into seatkeeper.enrollments (user_id, semester_id, status, is_active)
         values (1, 1, 'APPROVED', true), (1, 1, 'APPROVED', true)",
    )
    .await;
    let again = "create unique index concurrently uq_active_enrollment
                 on seatkeeper.enrollments (user_id, semester_id) where is_active";
    let refused = sqlx::query(AssertSqlSafe(again)).execute(&db.pool).await.unwrap_err();
    assert!(refused.to_string().contains("uq_active_enrollment"), "{refused}");
    let outcome = db.found("INV-05").await;
    assert_eq!(outcome.violations, Some(1));
    let row = &outcome.sample[0]["row"];
    assert_eq!(
        (row["name"].as_str(), row["found"].as_str()),
        (Some("uq_active_enrollment"), row["expected"].as_str())
    );
    assert!(row["problem"].as_str().unwrap().contains("invalid"), "{row}");
}
