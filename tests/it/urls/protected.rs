//! Another machine is reached encrypted or not at all, and who it is is looked at where that was asked for.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::certificates::{Authority, Holds, TlsServer};
use super::{asked, elsewhere, without_mode};
use crate::support::TestDb;

/// Everything that a certificate for all ways to this machine has to name.
const NAMES: [&str; 4] = ["0.0.0.0", "127.0.0.1", "::1", "localhost"];

#[tokio::test]
async fn another_machine_without_tls_is_refused_unless_plain_text_is_asked_for() {
    let db = TestDb::new().await;
    let silent = without_mode(&elsewhere(&db.direct));
    for (url, environment) in [
        (silent.clone(), vec![]),
        (format!("{silent}?sslmode=prefer"), vec![]),
        (format!("{silent}?sslmode=allow"), vec![]),
        (silent.clone(), vec![("PGSSLMODE", "prefer")]),
        (format!("{silent}?sslmode=prefer"), vec![("PGSSLMODE", "disable")]),
    ] {
        let ended = asked(&url, &environment).await;
        assert_eq!(ended.code, 3, "{url}: {ended:?}");
        assert!(
            ended.complaint.contains("offers no TLS") && ended.complaint.contains("sslmode=disable"),
            "{ended:?}"
        );
        assert!(!ended.complaint.contains("is not there"), "{ended:?}");
    }
    assert_eq!(asked(&elsewhere(&db.direct), &[]).await.code, 0, "sslmode=disable is said");
    assert_eq!(asked(&silent, &[("PGSSLMODE", "disable")]).await.code, 0);
    assert_eq!(asked(&without_mode(&db.direct), &[]).await.code, 0, "this machine");
}

#[tokio::test]
async fn to_another_machine_nothing_is_said_in_plain_text_but_the_question_for_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listening = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut question = [0; 8];
        client.read_exact(&mut question).await.unwrap();
        // As somebody on the way says who wants to read along.
        client.write_all(b"N").await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        (question, rest)
    });
    let ended = asked(&format!("postgres://me:hunter2@0.0.0.0:{port}/name"), &[]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    let (question, rest) = listening.await.unwrap();
    assert_eq!(question, [0, 0, 0, 8, 4, 210, 22, 47]);
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn a_certificate_is_looked_at_wherever_an_authority_is_named() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let server = TlsServer::start(&ours.issue(&NAMES, Holds::Now)).await;
    let (ours_file, other_file) = (ours.file(server.dir()), other.file(server.dir()));
    let root = |file: &str, more: &str| format!("sslrootcert={file}{more}");

    // Whom it says it is.
    for (query, environment, code) in [
        (String::new(), vec![], 0),
        (root(&ours_file, ""), vec![], 0),
        (root(&ours_file, "&sslmode=require"), vec![], 0),
        (root(&ours_file, "&sslmode=verify-full"), vec![], 0),
        (root(&other_file, ""), vec![], 3),
        (root(&other_file, "&sslmode=prefer"), vec![], 3),
        (root(&other_file, "&sslmode=require"), vec![], 3),
        (root(&other_file, "&sslmode=verify-ca"), vec![], 3),
        (root(&other_file, "&sslmode=verify-full"), vec![], 3),
        ("sslmode=require".to_owned(), vec![("PGSSLROOTCERT", other_file.as_str())], 3),
        ("sslmode=require".to_owned(), vec![("PGSSLROOTCERT", ours_file.as_str())], 0),
        ("sslmode=verify-full".to_owned(), vec![], 3),
        ("sslmode=verify-ca".to_owned(), vec![], 2),
    ] {
        let ended = asked(&server.url("0.0.0.0", &query), &environment).await;
        assert_eq!(ended.code, code, "{query} {environment:?}: {ended:?}");
        if code == 3 {
            let complaint = &ended.complaint;
            assert!(
                complaint.contains("nobody who is trusted here has issued its certificate"),
                "{complaint}"
            );
            assert!(
                complaint.contains("sslrootcert=FILE") && !complaint.contains("is not there"),
                "{complaint}"
            );
        }
    }
    let by_address = server.url("127.0.0.1", &root(&ours_file, "&sslmode=verify-full"));
    assert_eq!(asked(&by_address, &[]).await.code, 0);
    let here = server.url("127.0.0.1", &root(&other_file, "&sslmode=require"));
    assert_eq!(asked(&here, &[]).await.code, 3, "on this machine too");

    // What else may be wrong with it.
    for (presented, mode, why) in [
        (ours.issue(&["db.example"], Holds::Now), "verify-ca", None),
        (ours.issue(&["db.example"], Holds::Now), "verify-full", Some("subjectAltName")),
        (ours.issue(&NAMES, Holds::Formerly), "require", Some("has expired")),
        (ours.issue(&NAMES, Holds::Later), "verify-full", Some("is not valid yet")),
        (ours.itself(), "require", Some("CA:TRUE")),
    ] {
        server.present(&presented).await;
        let url = server.url("0.0.0.0", &root(&ours_file, &format!("&sslmode={mode}")));
        let ended = asked(&url, &[]).await;
        assert_eq!(ended.code, if why.is_some() { 3 } else { 0 }, "{why:?}: {ended:?}");
        assert!(ended.complaint.contains(why.unwrap_or_default()), "{ended:?}");
        assert!(!ended.complaint.contains("is not there"), "{ended:?}");
        assert_eq!(
            asked(&server.url("0.0.0.0", ""), &[]).await.code,
            0,
            "without a wish to see it, all the same"
        );
    }
    server.remove().await;
}

#[tokio::test]
async fn a_connection_that_is_refused_is_told_in_the_words_of_the_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let ended = asked(&format!("postgres://me:hunter2@127.0.0.1:{port}/name"), &[]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.complaint.contains("is not there") && ended.complaint.contains("refused"), "{ended:?}");
}
