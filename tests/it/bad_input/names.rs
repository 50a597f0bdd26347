//! Names and codes of the catalog have a length that people can read; what was longer before stays, and works.

use seatkeeper_jobs::{Outcome, enroll::Enroll};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::TestDb;

const GUARD: &str = "trg_semester_text_length";

/// The guard that refuses it and the column that it names, if it is refused.
async fn refusal(db: &TestDb, sql: &str) -> Option<(String, String)> {
    let error = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&db.pool).await.err()?;
    let error = error.into_database_error().unwrap().downcast::<sqlx::postgres::PgDatabaseError>();
    assert_eq!(error.code(), "23514", "{error}");
    assert!(!error.message().contains("éé"), "the text is not echoed: {error}");
    Some((error.constraint().unwrap().to_owned(), error.column().unwrap().to_owned()))
}

fn told(column: &str) -> Option<(String, String)> {
    Some((GUARD.to_owned(), column.to_owned()))
}

#[tokio::test]
async fn a_code_and_a_name_of_a_semester_have_a_length() {
    let db = TestDb::new().await;
    let add = |id: i64, code: usize, name: usize| {
        format!(
            "insert into seatkeeper.semesters (semester_id, code, name)
             values ({id}, repeat('é', {code}), repeat('é', {name}))"
        )
    };
    assert_eq!(refusal(&db, &add(1, 200, 500)).await, None);
    assert_eq!(refusal(&db, &add(2, 201, 0)).await, told("code"));
    assert_eq!(refusal(&db, &add(2, 1, 501)).await, told("name"));
    assert_eq!(refusal(&db, &add(2, 3_000_000, 3_000_000)).await, told("code"));
    for (column, longest) in [("code", 200), ("name", 500)] {
        let set = |length: usize| format!("update seatkeeper.semesters set {column} = repeat('a', {length})");
        assert_eq!(refusal(&db, &set(longest)).await, None);
        assert_eq!(refusal(&db, &set(longest + 1)).await, told(column));
    }
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.semesters").await, 1);
}

#[tokio::test]
async fn what_was_longer_before_is_enrolled_in_changed_and_written_again_as_it_is() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.run(&format!(
        "alter table seatkeeper.semesters disable trigger {GUARD};
         insert into seatkeeper.semesters (semester_id, code, name, status)
         values (1, repeat('c', 300), repeat('é', 2000), 'ENROLLMENT_OPEN');
         alter table seatkeeper.semesters enable trigger {GUARD}"
    ))
    .await;
    let id = Uuid::now_v7();
    db.ask(id, Enroll { user_id: 1.try_into().unwrap(), semester_id: 1.try_into().unwrap() }).await;
    db.drain().await;
    assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));
    for sql in [
        "update seatkeeper.semesters set enrollment_cost = 5",
        "update seatkeeper.semesters set name = name, code = code, status = 'IN_PROGRESS'",
        "update seatkeeper.semesters set name = 'short'",
    ] {
        assert_eq!(refusal(&db, sql).await, None, "{sql}");
    }
    assert_eq!(
        refusal(&db, "update seatkeeper.semesters set code = code || 'c'").await,
        told("code"),
        "another one is as short as any"
    );
    db.assert_sound().await;
}
