//! The doctor tells as whom, over what, and to whom it is connected.

use seatkeeper::postgres::apply_roles;
use serde_json::Value;

use super::certificates::{Authority, Holds, TlsServer};
use super::{elsewhere, ended, without_mode};
use crate::support::{TestDb, pooler};

/// The doctor's finding about the connection: its level, and all its words.
async fn connection(url: &str) -> (String, String) {
    let ended = ended(&["doctor", "--json"], url, &[]).await;
    assert!([0, 1].contains(&ended.code), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["subject"] == "connection");
    let found = found.unwrap_or_else(|| panic!("{report:#}"));
    let words = format!("{} -> {}", found["what"], found["todo"]);
    (found["level"].as_str().unwrap().to_owned(), words)
}

#[tokio::test]
async fn the_doctor_says_whether_the_connection_is_encrypted_and_verified() {
    let authority = Authority::new("ours");
    let server = TlsServer::start(&authority.issue(&["0.0.0.0"], Holds::Now)).await;
    let root = format!("sslrootcert={}", authority.file(server.dir()));
    for (host, query, level, words) in [
        (
            "0.0.0.0",
            String::new(),
            "warning",
            vec!["to another machine, encrypted (TLSv1.3, TLS_", "not verified", "sslrootcert=FILE"],
        ),
        (
            "0.0.0.0",
            root.clone(),
            "warning",
            vec!["encrypted (TLSv1.3", "the authority alone", "verify-full"],
        ),
        (
            "0.0.0.0",
            format!("{root}&sslmode=verify-full"),
            "ok",
            vec!["encrypted (TLSv1.3", "verified: authority and name"],
        ),
        (
            "0.0.0.0",
            "sslmode=disable".to_owned(),
            "warning",
            vec!["not encrypted", "read and change", "ssl = on"],
        ),
        ("127.0.0.1", String::new(), "ok", vec!["on this machine, encrypted (TLSv1.3", "not verified"]),
        ("127.0.0.1", "sslmode=disable".to_owned(), "ok", vec!["on this machine, not encrypted"]),
    ] {
        let (found, text) = connection(&server.url(host, &query)).await;
        assert_eq!(found, level, "{host} {query}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{host} {query}: {text}");
    }
    server.remove().await;
}

#[tokio::test]
async fn the_doctor_says_as_whom_it_is_connected() {
    let db = TestDb::new().await;
    let user: String = db.value("select session_user::text").await;
    let (level, text) = connection(&db.direct).await;
    assert!(level == "ok" && text.contains(&format!("as {user} on this machine")), "{text}");
    apply_roles(&db.pool).await.unwrap();
    let (level, text) = connection(&db.url_as("seatkeeper_monitor")).await;
    assert!(level == "ok" && text.contains("with the rights of seatkeeper_monitor"), "{text}");
}

#[tokio::test]
async fn the_doctor_says_that_a_pooler_is_between() {
    let pooler = pooler(4).await;
    let db = TestDb::new().await;
    let url = pooler.url(db.name());
    let (level, text) = connection(&without_mode(&url)).await;
    assert!(level == "ok" && text.contains("through a pooler on this machine"), "{text}");
    let (level, text) = connection(&elsewhere(&url)).await;
    assert!(level == "warning" && text.contains("in plain text to a pooler on another machine"), "{text}");
}
