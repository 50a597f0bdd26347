//! Bad input at every door and in the table itself: a clear refusal, or `failed`; never a dead worker.

#[path = "../../jobs/tests/support/mod.rs"]
mod payloads;

mod doors;
mod extremes;
mod names;
mod poison;
mod stored;
mod values;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use crate::support::TestDb;

/// Runs a test on values at random, on one database. The seed is printed; `SEATKEEPER_TEST_SEED` sets it.
fn property<S: Strategy>(cases: u32, strategy: &S, test: impl AsyncFn(&TestDb, S::Value)) {
    let seed = std::env::var("SEATKEEPER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("SEATKEEPER_TEST_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let db = runtime.block_on(TestDb::new());
    let outcome = runner.run(strategy, |value| {
        runtime.block_on(test(&db, value));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}\nSEATKEEPER_TEST_SEED={seed}");
    }
}

/// PostgreSQL stores no NUL in jsonb, and says so itself.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// How PostgreSQL writes this JSON: numbers without exponents, one space behind a colon and a comma.
async fn as_stored(db: &TestDb, json: &str) -> String {
    sqlx::query_scalar("select $1::text::jsonb::text").bind(json).fetch_one(&db.pool).await.unwrap()
}
