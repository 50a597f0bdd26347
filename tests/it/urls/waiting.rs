//! A worker that meets a server that it cannot trust says so, and works once it can.

use super::certificates::{Authority, Holds, TlsServer};
use crate::support::Process;

#[tokio::test]
async fn a_worker_waits_for_a_server_that_is_not_trusted_says_why_and_works_once_it_is() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let server = TlsServer::start(&other.issue(&["0.0.0.0"], Holds::Now)).await;
    let url = server.url("0.0.0.0", &format!("sslmode=verify-full&sslrootcert={}", ours.file(server.dir())));
    let process = Process::run(&url, &["--no-http", "--no-scheduler"]);
    let said = process.await_log("is not used");
    assert!(said.contains("nobody who is trusted here has issued its certificate"), "{said}");
    assert!(said.contains("sslrootcert=FILE") && !said.contains("not there"), "{said}");
    server.present(&ours.issue(&["0.0.0.0"], Holds::Formerly)).await;
    // The next thing that it says: the same thing is not said twice.
    let said = process.await_log("seatkeeper");
    assert!(said.contains("its certificate has expired"), "{said}");
    server.present(&ours.issue(&["0.0.0.0"], Holds::Now)).await;
    process.await_log("working");
    assert_eq!(process.terminate(), Some(0));
    server.remove().await;
}
