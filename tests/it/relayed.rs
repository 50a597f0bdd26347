//! The relay of `?pgbouncer=true` among strangers: every user of this machine reaches it, before anybody has asked who that is.
//! Nothing that they send is held here, and what the program itself sends passes whatever its size.
//!
//! The test is both ends of a connection, since what matters is what passes when.

use seatkeeper::postgres::connect_options;
use sqlx::{ConnectOptions, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, TestDb, pooler};

const MEGABYTE: usize = 1 << 20;

/// A message; it has a tag unless it is the first.
fn message(tag: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = tag.into_iter().collect();
    bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Only the beginning of one that says to be this long.
fn beginning(tag: Option<u8>, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = tag.into_iter().collect();
    bytes.extend(u32::try_from(length + 4).unwrap().to_be_bytes());
    bytes
}

fn startup() -> Vec<u8> {
    message(None, b"\0\x03\0\0user\0somebody\0\0")
}

/// A relay to a listener of this test.
async fn relay() -> (TcpListener, u16) {
    let pooler = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = pooler.local_addr().unwrap().port();
    let url = format!("postgres://somebody@127.0.0.1:{port}/any?pgbouncer=true&sslmode=disable");
    let relay = connect_options(&url).unwrap().get_port();
    assert_ne!(relay, port);
    (pooler, relay)
}

/// Both ends of a connection that the pooler has let in.
async fn let_in() -> (TcpStream, TcpStream) {
    let (pooler, relay) = relay().await;
    let mut client = TcpStream::connect(("127.0.0.1", relay)).await.unwrap();
    client.write_all(&startup()).await.unwrap();
    let (mut server, _) = pooler.accept().await.unwrap();
    expect(&mut server, &startup()).await;
    let welcome = [message(Some(b'R'), &[0; 4]), message(Some(b'Z'), b"I")].concat();
    server.write_all(&welcome).await.unwrap();
    expect(&mut client, &welcome).await;
    (client, server)
}

async fn patiently<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

async fn expect(end: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    patiently("these bytes", end.read_exact(&mut read)).await.unwrap();
    assert!(read == bytes, "other bytes came");
}

/// Why the client was refused: its connection is closed, and that is the last that it is told.
async fn refusal(client: &mut TcpStream) -> String {
    let mut told = Vec::new();
    let reading = patiently("the end of the connection", client.read_to_end(&mut told)).await;
    reading.expect("it is told why before the connection breaks");
    assert_eq!(told.first(), Some(&b'E'), "{told:?}");
    let length = u32::from_be_bytes(told[1..5].try_into().unwrap()) as usize;
    assert_eq!(told.len(), length + 1, "one message");
    assert!(told.ends_with(b"\0\0"));
    String::from_utf8_lossy(&told[5..]).replace('\0', "|")
}

#[tokio::test]
async fn a_start_up_packet_is_no_longer_than_postgresql_lets_it_be() {
    let (pooler, relay) = relay().await;
    for length in [10_001, 512 * MEGABYTE, 3 * 1024 * MEGABYTE] {
        let mut client = TcpStream::connect(("127.0.0.1", relay)).await.unwrap();
        client.write_all(&beginning(None, length)).await.unwrap();
        let told = refusal(&mut client).await;
        assert!(told.starts_with("SFATAL|VFATAL|C08P01|M"), "{told}");
        assert!(told.contains("start-up packet") || length > 1 << 30, "{told}");
    }
    let mut client = TcpStream::connect(("127.0.0.1", relay)).await.unwrap();
    let longest = message(None, &[b'x'; 10_000]);
    client.write_all(&longest).await.unwrap();
    let (mut server, _) = pooler.accept().await.unwrap();
    expect(&mut server, &longest).await;
}

#[tokio::test]
async fn for_somebody_who_was_not_let_in_nothing_is_held() {
    let (pooler, relay) = relay().await;
    for tag in [b'P', b'B', b'D', b'C', b'Q', b'd', b'S'] {
        let mut client = TcpStream::connect(("127.0.0.1", relay)).await.unwrap();
        client.write_all(&startup()).await.unwrap();
        let (mut server, _) = pooler.accept().await.unwrap();
        expect(&mut server, &startup()).await;
        client.write_all(&beginning(Some(tag), 512 * MEGABYTE)).await.unwrap();
        let told = refusal(&mut client).await;
        assert!(told.contains("C08P01") && told.contains("before anybody was let in"), "{told}");
    }
    // A password passes, in pieces.
    let mut client = TcpStream::connect(("127.0.0.1", relay)).await.unwrap();
    client
        .write_all(&[startup(), beginning(Some(b'p'), 512 * MEGABYTE), b"half".to_vec()].concat())
        .await
        .unwrap();
    let (mut server, _) = pooler.accept().await.unwrap();
    expect(&mut server, &[startup(), beginning(Some(b'p'), 512 * MEGABYTE), b"half".to_vec()].concat()).await;
}

#[tokio::test]
async fn bodies_pass_in_pieces_both_ways() {
    let (mut client, mut server) = let_in().await;
    let prepared = message(Some(b'P'), b"s1\0select $1\0\0\0");
    client.write_all(&[prepared, message(Some(b'S'), b"")].concat()).await.unwrap();
    expect(&mut server, &[message(Some(b'P'), b"\0select $1\0\0\0"), message(Some(b'S'), b"")].concat())
        .await;
    let done = [message(Some(b'1'), b""), message(Some(b'Z'), b"I")].concat();
    server.write_all(&done).await.unwrap();
    expect(&mut client, &done).await;

    // An execution: the statement comes along, and the values come before the client has sent all of them.
    let values = vec![b'v'; 700 * MEGABYTE / 100];
    let [bound, came] = ["portal\0s1\0", "portal\0\0"].map(str::as_bytes);
    client.write_all(&beginning(Some(b'B'), bound.len() + values.len() * 2)).await.unwrap();
    client.write_all(bound).await.unwrap();
    let first_half = async {
        expect(&mut server, &message(Some(b'P'), b"\0select $1\0\0\0")).await;
        expect(&mut server, &beginning(Some(b'B'), came.len() + values.len() * 2)).await;
        expect(&mut server, came).await;
        expect(&mut server, &values).await;
    };
    let ((), written) = tokio::join!(first_half, client.write_all(&values));
    written.unwrap();
    let ((), written) = tokio::join!(expect(&mut server, &values), client.write_all(&values));
    written.unwrap();

    for (tag, length) in [(b'Q', 4 * values.len()), (b'd', 8 * values.len())] {
        client.write_all(&beginning(Some(tag), length)).await.unwrap();
        expect(&mut server, &beginning(Some(tag), length)).await;
        for _ in 0..length / values.len() {
            let ((), written) = tokio::join!(expect(&mut server, &values), client.write_all(&values));
            written.unwrap();
        }
    }
    server.write_all(&beginning(Some(b'D'), 2 * values.len())).await.unwrap();
    expect(&mut client, &beginning(Some(b'D'), 2 * values.len())).await;
    for _ in 0..2 {
        let ((), written) = tokio::join!(expect(&mut client, &values), server.write_all(&values));
        written.unwrap();
    }
    // And then all goes on as before.
    client.write_all(&message(Some(b'S'), b"")).await.unwrap();
    expect(&mut server, &message(Some(b'S'), b"")).await;
    server.write_all(&[message(Some(b'1'), b""), message(Some(b'2'), b"")].concat()).await.unwrap();
    expect(&mut client, &message(Some(b'2'), b"")).await;
}

#[tokio::test]
async fn what_has_to_be_held_has_a_limit_and_the_client_is_told() {
    for (tag, what) in [(b'P', "statement"), (b'D', "statement"), (b'C', "statement")] {
        let (mut client, _server) = let_in().await;
        client.write_all(&beginning(Some(tag), MEGABYTE + 1)).await.unwrap();
        // It may still be sending.
        client.write_all(&vec![b'x'; MEGABYTE / 2]).await.unwrap();
        let told = refusal(&mut client).await;
        assert!(told.starts_with("SFATAL|VFATAL|C54000|M") && told.contains(what), "{told}");
        assert!(told.contains("1048577") && told.contains("pgbouncer=true"), "{told}");
    }
    // Names without end.
    let (mut client, _server) = let_in().await;
    client.write_all(&beginning(Some(b'B'), 512 * MEGABYTE)).await.unwrap();
    client.write_all(&vec![b'x'; MEGABYTE + 1]).await.unwrap();
    let told = refusal(&mut client).await;
    assert!(told.contains("C54000") && told.contains("names"), "{told}");
    // Statement after statement.
    let (mut client, mut server) = let_in().await;
    let taking = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut server, &mut tokio::io::sink()).await;
    });
    for number in 0..17_u8 {
        let mut body = vec![b'a' + number, 0];
        body.resize(MEGABYTE, b'x');
        client.write_all(&message(Some(b'P'), &body)).await.unwrap();
    }
    let told = refusal(&mut client).await;
    assert!(told.contains("C54000") && told.contains("prepared statements"), "{told}");
    taking.abort();
}

#[tokio::test]
async fn large_values_pass_and_a_statement_that_is_too_long_says_so() {
    let pooler = pooler(1).await;
    let db = TestDb::new().await;
    let mut connection = connect_options(&pooler.url(db.name())).unwrap().connect().await.unwrap();
    let text = "x".repeat(20 * MEGABYTE);
    let asked = sqlx::query_as::<_, (i32, String)>("select length($1), $1");
    let (length, back) = asked.bind(&text).fetch_one(&mut connection).await.unwrap();
    assert!(length == 20 << 20 && back == text);
    let long = format!("select {}$1", " ".repeat(MEGABYTE));
    let refused = sqlx::query(sqlx::AssertSqlSafe(long)).bind(1).execute(&mut connection).await.unwrap_err();
    let told = refused.as_database_error().unwrap();
    assert_eq!(told.code().unwrap(), "54000", "{refused}");
    assert!(told.message().contains("1048576 is the most"), "{refused}");
    let _ = connection.close().await;
}
