//! URLs that are not understood are refused by name, in every verb, and nothing of them is shown.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::{asked, elsewhere, ended, without_mode};
use crate::support::{TestDb, pooler};

/// Stands where nothing may be shown.
const SECRET: &str = "hunter2";

#[tokio::test]
async fn no_verb_takes_a_url_that_it_does_not_understand_nor_shows_what_is_in_it() {
    let db = TestDb::new().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.csv");
    std::fs::write(&file, "user_id\n1\n").unwrap();
    let file = file.to_str().unwrap();
    let id = "0198c2a6-7e1f-7c3a-9d4e-2b1f6a5c8d90";
    let url = format!("{}&pasword={SECRET}", db.direct);
    let verbs: [&[&str]; 20] = [
        &["run", "--no-http"],
        &["migrate", "up"],
        &["migrate", "status"],
        &["requests", "list"],
        &["requests", "show", id],
        &["requests", "wait", id],
        &["requests", "retry", id, "--reason", "x"],
        &["requests", "cancel", id, "--reason", "x"],
        &["pause", "--kind", "enroll", "--reason", "x"],
        &["resume", "--kind", "enroll", "--reason", "x"],
        &["doctor"],
        &["check"],
        &["check", "baseline"],
        &["check", "accept", "--invariant", "INV-04", "--key", "{\"enrollment_id\": 7}", "--reason", "x"],
        &["check", "unaccept", "--invariant", "INV-04", "--key", "{\"enrollment_id\": 7}", "--reason", "x"],
        &["audit"],
        &["roles", "--apply"],
        &["enqueue", "enroll", "--user", "7", "--semester", "3"],
        &["import", "users", "--file", file],
        &["bench", "--quick"],
    ];
    for verb in verbs {
        let ended = ended(verb, &url, &[("SEATKEEPER_LOG", "trace")]).await;
        assert_eq!(ended.code, 2, "{verb:?}: {ended:?}");
        assert!(ended.complaint.contains("--database-url"), "{verb:?}: {ended:?}");
        assert!(ended.complaint.contains("pasword is no parameter that is known"), "{verb:?}: {ended:?}");
        assert!(!format!("{ended:?}").contains(SECRET), "{verb:?}: {ended:?}");
    }
}

#[tokio::test]
async fn what_would_be_dropped_without_an_effect_is_refused_by_its_name() {
    let db = TestDb::new().await;
    for (parameter, name) in [
        ("target_session_attrs=read-write", "target_session_attrs"),
        ("channel_binding=require", "channel_binding"),
        ("connect_timeout=10", "connect_timeout"),
        ("keepalives_idle=30", "keepalives_idle"),
        ("service=hunter2", "service"),
        ("sslMode=verify-full", "sslMode"),
        ("options[role=hunter2", "what follows its ?"),
        ("application_name=a&application_name=hunter2", "application_name"),
        ("pgbouncer=hunter2", "pgbouncer"),
    ] {
        let ended = asked(&format!("{}&{parameter}", db.direct), &[]).await;
        assert_eq!(ended.code, 2, "{parameter}: {ended:?}");
        assert!(
            ended.complaint.contains(name) && !format!("{ended:?}").contains(SECRET),
            "{parameter}: {ended:?}"
        );
    }
    for parameter in ["target_session_attrs=any", "channel_binding=prefer", "application_name=a"] {
        let ended = asked(&format!("{}&{parameter}", db.direct), &[]).await;
        assert_eq!((ended.code, ended.complaint.as_str()), (0, ""), "{parameter}");
    }
}

#[tokio::test]
async fn what_is_no_url_of_postgresql_is_refused() {
    let db = TestDb::new().await;
    let several = db.direct.replace("@127.0.0.1:", "@127.0.0.1,localhost:");
    for (url, why) in [
        (db.direct.replace("postgres://", "mysql://"), "postgres://"),
        (db.direct.replace("postgres://", "http://"), "postgres://"),
        (format!("host=127.0.0.1 password={SECRET}"), "postgres://"),
        (several, "several hosts"),
        (format!("postgres://me:{SECRET}/x@127.0.0.1/d"), "%2F"),
        (format!("postgres://me:{SECRET}@/d"), "no host"),
        (format!("postgres://me:1?a={SECRET}@127.0.0.1/d"), "%3F"),
        (format!("postgres://me:1#{SECRET}@127.0.0.1/d"), "%23"),
    ] {
        let ended = asked(&url, &[]).await;
        assert_eq!(ended.code, 2, "{url}: {ended:?}");
        assert!(ended.complaint.contains(why) && !format!("{ended:?}").contains(SECRET), "{url}: {ended:?}");
    }
}

#[tokio::test]
async fn what_is_written_in_percents_is_read() {
    let db = TestDb::new().await;
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    db.run(&format!("create role {role} superuser login password 'a/b?c#d@e:f%g+ ü'")).await;
    let (_, rest) = db.direct.split_once('@').unwrap();
    let url = format!("postgres://{role}:a%2Fb%3Fc%23d%40e%3Af%25g+%20%C3%BC@{rest}");
    let ended = asked(&url, &[]).await;
    assert_eq!((ended.code, ended.complaint.as_str()), (0, ""));
    let (host, name) = rest.split_once('/').unwrap();
    let (host, port) = host.split_once(':').unwrap();
    let url = format!(
        "postgres:///?dbname={}&user={role}&password=a/b?c%23d%40e:f%25g%2B%20%C3%BC&host={host}&port={port}&sslmode=disable",
        name.split('?').next().unwrap()
    );
    let ended = asked(&url, &[]).await;
    assert_eq!((ended.code, ended.complaint.as_str()), (0, ""), "{url}");
    db.run(&format!("drop role {role}")).await;
}

/// Carries every connection to [::1] on to this port of 127.0.0.1.
async fn on_ipv6(port: u16) -> u16 {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    own
}

#[tokio::test]
async fn an_address_of_ipv6_in_brackets_is_reached() {
    let db = TestDb::new().await;
    let (before, rest) = db.direct.split_once("@127.0.0.1:").unwrap();
    let (port, name) = rest.split_once('/').unwrap();
    let own = on_ipv6(port.parse().unwrap()).await;
    let ended = asked(&format!("{before}@[::1]:{own}/{name}"), &[]).await;
    assert_eq!((ended.code, ended.complaint.as_str()), (0, ""));
}

#[tokio::test]
async fn the_relay_to_a_pooler_on_another_machine_takes_a_word_that_nothing_is_encrypted() {
    let pooler = pooler(4).await;
    let db = TestDb::new().await;
    let url = elsewhere(&pooler.url(db.name()));
    assert_eq!(asked(&url, &[]).await.code, 0, "sslmode=disable is said");
    let silent = without_mode(&url);
    for (url, environment) in [
        (silent.clone(), vec![]),
        (format!("{silent}&sslmode=prefer"), vec![]),
        (format!("{silent}&sslmode=require"), vec![]),
        (silent.clone(), vec![("PGSSLMODE", "prefer")]),
    ] {
        let ended = asked(&url, &environment).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(
            ended.complaint.contains("pgbouncer=true") && ended.complaint.contains("sslmode=disable"),
            "{ended:?}"
        );
    }
    assert_eq!(asked(&silent, &[("PGSSLMODE", "disable")]).await.code, 0);
    assert_eq!(asked(&without_mode(&pooler.url(db.name())), &[]).await.code, 0, "a pooler on this machine");
}

#[tokio::test]
async fn what_the_environment_adds_is_understood_or_refused_by_name_too() {
    let db = TestDb::new().await;
    let silent = without_mode(&db.direct);
    for (name, value) in [
        ("PGSSLMODE", "verify_hunter2"),
        ("PGCHANNELBINDING", "require"),
        ("PGSERVICE", "hunter2"),
        ("PGTARGETSESSIONATTRS", "primary"),
        ("PGREQUIREAUTH", "scram-sha-256"),
    ] {
        let ended = asked(&silent, &[(name, value)]).await;
        assert_eq!(ended.code, 2, "{name}: {ended:?}");
        assert!(ended.complaint.contains(name) && !format!("{ended:?}").contains(SECRET), "{ended:?}");
    }
    let (_, rest) = silent.split_once("@127.0.0.1:").unwrap();
    let (port, _) = rest.split_once('/').unwrap();
    let hostless = format!(
        "postgres:///{}?user=postgres&password={}",
        db.name(),
        db.direct.split([':', '@']).nth(2).unwrap()
    );
    let there = [("PGHOST", "127.0.0.1"), ("PGPORT", port)];
    let user = db.direct.split([':', '@', '/']).nth(3).unwrap();
    let hostless = hostless.replace("user=postgres", &format!("user={user}"));
    assert_eq!(asked(&hostless, &there).await.code, 0);
    let ended = asked(&hostless, &[("PGHOST", "127.0.0.1"), ("PGPORT", "54x")]).await;
    assert!(ended.code == 2 && ended.complaint.contains("PGPORT"), "{ended:?}");
}

#[tokio::test]
async fn a_line_of_a_password_file_is_not_logged() {
    let db = TestDb::new().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    std::fs::write(&file, format!("*:*:{SECRET}\n")).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (_, rest) = db.direct.split_once('@').unwrap();
    let ended = asked(
        &format!("postgres://nobody@{rest}"),
        &[("PGPASSFILE", file.to_str().unwrap()), ("SEATKEEPER_LOG", "trace")],
    )
    .await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(!format!("{ended:?}").contains(SECRET), "{ended:?}");
}
