//! What the tests run on is what the environment says: which PostgreSQL, and whether through a pooler.

use std::collections::BTreeSet;

use crate::support::TestDb;

#[tokio::test]
async fn the_tests_run_on_what_the_environment_names() {
    let db = TestDb::new().await;
    let version: String = db.value("select current_setting('server_version')").await;
    println!("PostgreSQL {version}");
    if let Ok(named) = std::env::var("SEATKEEPER_TEST_POSTGRES") {
        assert!(version.starts_with(&format!("{named}.")), "on {version} instead of {named}");
    }
    let clients = 30;
    let held = futures::future::join_all((0..clients).map(|_| db.pool.acquire())).await;
    let mut servers = BTreeSet::new();
    for connection in held {
        let pid: i32 =
            sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection.unwrap()).await.unwrap();
        servers.insert(pid);
    }
    println!("{clients} clients met {} connections of the server", servers.len());
    match std::env::var("SEATKEEPER_TEST_POOLER") {
        Ok(connections) => assert!(servers.len() <= connections.parse().unwrap(), "not through the pooler"),
        Err(_) => assert_eq!(servers.len(), clients, "each client has a connection of its own"),
    }
}
