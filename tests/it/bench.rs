//! `bench`: it measures what it says, verifies it, and leaves nothing behind.

use serde_json::Value;

use crate::support::{Process, cluster_url, seatkeeper, until, verb};
use sqlx::PgPool;

async fn databases(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from pg_database where starts_with(datname, 'seatkeeper_bench_')")
        .fetch_one(pool)
        .await
        .unwrap()
}

/// One after the other, since both look for databases that are left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_measured_and_verified_and_nothing_is_left_behind() {
    // Touches the cluster first: a URL alone does not start it.
    let db = crate::support::TestDb::empty().await;
    let url = cluster_url("postgres");

    let mut command = seatkeeper();
    command.args(["bench", "--quick", "--database-url", &url]);
    let process = Process::of(command);
    until("the measurement has begun", async || databases(&db.pool).await > 2).await;
    assert_eq!(process.terminate(), Some(3), "interrupted");
    assert_eq!(databases(&db.pool).await, 0, "left by one that was interrupted");

    let (code, out, err) =
        verb(&["bench", "--quick", "--json", "--seed", "7", "--database-url", &url], b"").await;
    assert_eq!(code, 0, "{err}");
    let results: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&results["seed"], &results["rounds"]), (&7.into(), &1.into()));
    let cells = results["cells"].as_array().unwrap();
    for (load, ways) in
        [("enroll_hot", 10), ("enroll_spread", 10), ("bookings_hot", 5), ("bookings_spread", 5)]
    {
        let of_load: Vec<&Value> = cells.iter().filter(|cell| cell["load"] == load).collect();
        assert_eq!(of_load.len(), ways, "{load}");
        for cell in of_load {
            assert!(cell["per_second"].as_f64().unwrap() > 1.0, "{cell}");
            assert!(cell["requests_per_sync"].as_f64().unwrap() > 0.0, "{cell}");
            assert!(cell["beside_one_call"]["middle"].as_f64().unwrap() > 0.0, "{cell}");
            // This server is not its own.
            assert!(cell["cpu_ms"].is_null(), "{cell}");
        }
    }
    assert_eq!(results["doors"].as_array().unwrap().len(), 4);
    assert!(results["long_queue"]["per_second"].as_f64().unwrap() > 1.0);
    assert_eq!(results["latency"]["requests"], 20);
    let targets = results["targets"].as_array().unwrap();
    assert!(targets.len() >= 10 && targets.iter().all(|target| target["met"].is_null()), "{targets:?}");
    assert_eq!(databases(&db.pool).await, 0, "left by one that ended");

    let growth = ["bench", "--growth", "--quick", "--json", "--database-url", &url];
    let (code, out, err) = verb(&growth, b"").await;
    assert_eq!(code, 0, "{err}");
    let growth: Value = serde_json::from_str(&out).unwrap();
    let curves = growth["curves"].as_array().unwrap();
    assert_eq!(curves.len(), 9);
    for curve in curves {
        let points = curve["points"].as_array().unwrap();
        assert!(
            points.len() >= 2 && points.iter().all(|point| point["per_second"].as_f64().unwrap() > 0.0),
            "{curve}"
        );
    }
    assert!(growth["removal"]["requests"].as_i64().unwrap() > 0, "{growth}");
    assert_eq!(databases(&db.pool).await, 0, "left by one about growth");
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused_by_name() {
    for (flags, code, words) in [
        (&["--rounds", "0"][..], 2, "--rounds"),
        (&["--requests", "5"], 2, "--requests"),
        (&["--seed", "x"], 2, "--seed"),
        (&["--database-url", "nonsense"], 2, "--database-url"),
        (&["--database-url", "postgres://nobody@127.0.0.1:1/x"], 3, "the database is not there"),
    ] {
        let (ended, out, err) = verb(&[&["bench"], flags].concat(), b"").await;
        assert_eq!((ended, out.as_str()), (code, ""), "{flags:?}: {err}");
        assert!(err.contains(words), "{flags:?}: {err}");
    }
}
