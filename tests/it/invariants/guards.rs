//! INV-05 and INV-B05: a guard that is not what it has to be is found, whatever is wrong with it.

use seatkeeper::invariants::guards;

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
