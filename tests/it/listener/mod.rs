//! The HTTP listener among clients that mean no good: those that say half of what they want, that take no answer, that come in
//! crowds, and those that were sent here under another name.

mod hosts;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::http::get;
use crate::support::{PATIENCE, Process, TestDb, seatkeeper, until};

const HALF: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";

/// A process that listens on this address, with settings from its surroundings.
fn listening(db: &TestDb, listen: &str, settings: &[(&str, &str)]) -> (Process, String) {
    let mut command = seatkeeper();
    command.args(["--log-format", "json", "run", "--database-url", &db.url, "--listen", listen]);
    command.envs(settings.iter().copied());
    let process = Process::of(command);
    let address = process.address();
    (process, address)
}

async fn said(address: &str, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Awaits the end of a connection, and gives what came before it.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await;
    // Closed or broken, it is over.
    let _ = reading.expect("the connection is never closed");
    String::from_utf8(text).unwrap()
}

/// Asks and asks, and takes no answer; gives the connection when the process takes no more questions either.
async fn never_listens(address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let mut in_vain = 0;
    until("it does not read any more", async || {
        in_vain = if asks_more(&stream).is_ok_and(|more| more) { 0 } else { in_vain + 1 };
        in_vain > 150
    })
    .await;
    stream
}

/// Whether there was room for more questions; an error when the connection is over. They are long, so that the process does not
/// take in many at once: when it reads no more, it is the answers that are stuck.
fn asks_more(stream: &TcpStream) -> std::io::Result<bool> {
    let padding = "x".repeat(7000);
    let question =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Padding: {padding}\r\n\r\n").repeat(10);
    match stream.try_write(question.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        written => written.map(|_| true),
    }
}

#[tokio::test]
async fn a_half_sent_request_keeps_no_process_from_ending() {
    let db = TestDb::new().await;
    let (process, address) = listening(&db, "127.0.0.1:0", &[("SEATKEEPER_HTTP_TIMEOUT", "1h")]);
    let mut half = said(&address, HALF).await;
    // One that is between two requests.
    let mut idle = said(&address, &format!("{HALF}\r\n")).await;
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(until_closed(&mut half).await, "");
    until_closed(&mut idle).await;
}

#[tokio::test]
async fn a_client_that_takes_no_answer_keeps_no_process_beyond_its_drain_time() {
    let db = TestDb::new().await;
    let settings = [("SEATKEEPER_HTTP_TIMEOUT", "1h"), ("SEATKEEPER_DRAIN", "1s")];
    let (process, address) = listening(&db, "127.0.0.1:0", &settings);
    let deaf = never_listens(&address).await;
    assert_eq!(process.terminate(), Some(0));
    drop(deaf);
}

#[tokio::test]
async fn half_sent_requests_and_connections_without_any_are_closed_after_a_while() {
    let db = TestDb::new().await;
    let (_process, address) = listening(&db, "127.0.0.1:0", &[("SEATKEEPER_HTTP_TIMEOUT", "2s")]);
    let mut silent = said(&address, "").await;
    let mut half = said(&address, HALF).await;
    let mut idle = said(&address, &format!("{HALF}\r\n")).await;
    assert_eq!(until_closed(&mut silent).await, "");
    until_closed(&mut half).await;
    assert!(until_closed(&mut idle).await.starts_with("HTTP/1.1 200"));
    assert_eq!(get(&address, "/livez").await.0, 200);
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_cut_off_after_a_while() {
    let db = TestDb::new().await;
    let (_process, address) = listening(&db, "127.0.0.1:0", &[("SEATKEEPER_HTTP_TIMEOUT", "2s")]);
    let deaf = never_listens(&address).await;
    until("it is cut off", async || asks_more(&deaf).is_err()).await;
    assert_eq!(get(&address, "/livez").await.0, 200);
}

#[tokio::test]
async fn in_a_crowd_those_that_ask_for_nothing_give_way() {
    let db = TestDb::new().await;
    let settings = [("SEATKEEPER_HTTP_TIMEOUT", "1h"), ("SEATKEEPER_HTTP_CONNECTIONS", "4")];
    let (process, address) = listening(&db, "127.0.0.1:0", &settings);
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(said(&address, HALF).await);
    }
    assert_eq!(get(&address, "/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(get(&address, "/metrics").await.0, 200);
    for early in &mut crowd[..16] {
        assert_eq!(until_closed(early).await, "");
    }
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let db = TestDb::new().await;
    let (_process, address) = listening(&db, "127.0.0.1:0", &[]);
    let mut long = said(&address, HALF).await;
    let refused = async {
        let header = format!("X-Padding: {}\r\n", "x".repeat(1000));
        while long.write_all(header.as_bytes()).await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("the head is read on and on");
    assert_eq!(get(&address, "/livez").await.0, 200);
}

#[test]
fn bounds_that_would_close_everything_or_nothing_are_refused() {
    for (setting, value) in [
        ("HTTP_TIMEOUT", "1s"),
        ("HTTP_TIMEOUT", "2h"),
        ("HTTP_CONNECTIONS", "0"),
        ("ALLOW_HOST", "two words"),
    ] {
        let mut command = seatkeeper();
        command.args(["run", "--database-url", "postgres://127.0.0.1:1/none"]);
        command.env(format!("SEATKEEPER_{setting}"), value);
        let mut process = Process::of(command);
        let flag = format!("--{}", setting.to_lowercase().replace('_', "-"));
        let complaint = process.await_log(&flag);
        assert!(complaint.contains(value), "{complaint}");
        assert_eq!(process.exit_code(), Some(2), "{setting}");
    }
}
