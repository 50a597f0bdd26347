//! Under which names this machine's own listener answers: a page in somebody's browser can have its own name point to
//! 127.0.0.1, and read what is served there (DNS rebinding).

use super::{listening, said, until_closed};
use crate::support::TestDb;

/// Asks in these words, after `GET `; gives the status and the text.
async fn asked(address: &str, request: &str) -> (u16, String) {
    let text = until_closed(&mut said(address, &format!("{request}Connection: close\r\n\r\n")).await).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn under(address: &str, host: &str) -> (u16, String) {
    asked(address, &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n")).await
}

#[tokio::test]
async fn on_this_machine_only_its_own_names_are_answered() {
    let db = TestDb::new().await;
    let (_process, address) = listening(&db, "127.0.0.1:0", &[]);
    let port = address.rsplit(':').next().unwrap();
    for host in
        ["localhost", "LocalHost:9600", "localhost.", "127.0.0.1", "127.8.9.10:80", "[::1]", "[::1]:9600"]
            .into_iter()
            .map(str::to_owned)
            .chain([format!("localhost:{port}"), format!("[::ffff:127.0.0.1]:{port}"), String::new()])
    {
        assert_eq!(under(&address, &host).await.0, 200, "{host}");
    }
    let foreign = [
        "seatkeeper.example",
        "seatkeeper.example:9600",
        "localhost.example",
        "127.0.0.1.example",
        "10.0.0.1:9600",
        "[2001:db8::1]",
        "0.0.0.0",
        "localhost@seatkeeper.example",
        "seatkeeper.example@localhost",
        "no host",
    ];
    for host in foreign {
        let (status, text) = under(&address, host).await;
        assert_eq!(status, 421, "{host}: {text}");
        assert!(text.contains(host) && text.contains("--allow-host"), "{text}");
        assert!(!text.contains("seatkeeper_"), "{text}");
    }
    // Every page, of any method, in any form of a request.
    for request in [
        "GET /livez HTTP/1.1\r\nHost: other.example\r\n",
        "GET /readyz HTTP/1.0\r\nHost: other.example\r\n",
        "GET /runbooks HTTP/1.1\r\nHost: other.example\r\n",
        "GET /nothing HTTP/1.1\r\nHost: other.example\r\n",
        "HEAD /metrics HTTP/1.1\r\nHost: other.example\r\n",
        "POST /metrics HTTP/1.1\r\nHost: other.example\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: other.example\r\n",
        "GET http://other.example/metrics HTTP/1.1\r\nHost: localhost\r\n",
    ] {
        assert_eq!(asked(&address, request).await.0, 421, "{request}");
    }
    for request in [
        "GET /livez HTTP/1.0\r\n",
        "GET http://localhost:9600/livez HTTP/1.1\r\nHost: localhost:9600\r\n",
        "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n",
    ] {
        assert_eq!(asked(&address, request).await.0, 200, "{request}");
    }
}

#[tokio::test]
async fn what_a_proxy_passes_on_is_answered_where_its_name_is_allowed() {
    let db = TestDb::new().await;
    let allowed = [("SEATKEEPER_ALLOW_HOST", "metrics.example,Other.example")];
    let (_process, address) = listening(&db, "127.0.0.1:0", &allowed);
    for (host, status) in [
        ("metrics.example", 200),
        ("METRICS.example:443", 200),
        ("other.example", 200),
        ("localhost", 200),
        ("third.example", 421),
    ] {
        assert_eq!(under(&address, host).await.0, status, "{host}");
    }
}

#[tokio::test]
async fn a_listener_for_other_machines_says_so_and_answers_under_any_name() {
    let db = TestDb::new().await;
    let (process, address) = listening(&db, "0.0.0.0:0", &[]);
    let warning = process.await_log("other machines");
    assert!(warning.contains("WARN") && warning.contains("--listen"), "{warning}");
    let here = format!("127.0.0.1:{}", address.rsplit(':').next().unwrap());
    assert_eq!(under(&here, "seatkeeper.example").await.0, 200);
}
