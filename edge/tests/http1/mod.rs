//! HTTP/1.1 as bytes (RFC 9112): well-formed requests are answered, malformed requests are refused, and a connection
//! without a recognizable start of the next request is closed.
//!
//! The cases run over TLS against files, and partly over the plain listener too. `routes` tests the backend's view, and
//! `deviations` lists known deviations from the standard with their reasons.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod connections;
mod deviations;
mod framing;
mod heads;
mod interim;
mod routes;
mod smuggling;
mod smuggling_h2;

use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::{RunningEdge, edge};
use crate::wire::{Answer, HOST, connect, read_until_rest, write};

/// Quiet period after which a connection counts as open.
const REST: Duration = Duration::from_millis(250);

/// Site of two files, with a listener for plain HTTP.
async fn shop() -> RunningEdge {
    let files: &[(&str, &[u8])] = &[("index.html", b"<!doctype html>home"), ("ten.txt", b"0123456789")];
    // Plain HTTP is bound only if configured; port 0 lets the system choose.
    edge().with_plain_http().with_app("shop", files).start().await
}

/// Result of sent bytes: the statuses in order, and the connection state.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    statuses: Vec<u16>,
    closed: bool,
}

fn outcome(read: &[u8], closed: bool) -> Outcome {
    let mut rest = read;
    let mut statuses = Vec::new();
    while !rest.is_empty() {
        let (answer, after) = Answer::parse(rest, false)
            .unwrap_or_else(|| panic!("no whole answer: {:?}", String::from_utf8_lossy(rest)));
        statuses.push(answer.status);
        if closed && after.is_empty() && rest.starts_with(b"HTTP/1.1") {
            // RFC 9112 §9.6: a response before a close carries `Connection: close`; in HTTP/1.0 the close is the
            // default.
            assert_eq!(answer.header("connection"), "close", "{}", answer.status);
        }
        rest = after;
    }
    Outcome { statuses, closed }
}

/// Sends bytes over TLS on a new connection.
async fn over_tls(edge: &RunningEdge, bytes: &[u8]) -> Outcome {
    let mut stream = connect(edge, HOST, "http/1.1").await;
    write(&mut stream, bytes).await;
    let (read, closed) = read_until_rest(&mut stream, REST).await;
    outcome(&read, closed)
}

/// Sends bytes to the plain listener on a new connection.
async fn over_plain(edge: &RunningEdge, bytes: &[u8]) -> Outcome {
    let mut stream = TcpStream::connect(edge.http().expect("plain HTTP is on")).await.unwrap();
    write(&mut stream, bytes).await;
    let (read, closed) = read_until_rest(&mut stream, REST).await;
    outcome(&read, closed)
}

/// Case: request bytes, expected statuses, true if the connection is closed afterwards.
type Case<'a> = (&'a str, &'a [u16], bool);

/// Runs every case over TLS, each on a new connection.
async fn hold(edge: &RunningEdge, cases: &[Case<'_>]) {
    for (bytes, statuses, closed) in cases {
        let expected = Outcome { statuses: statuses.to_vec(), closed: *closed };
        assert_eq!(over_tls(edge, bytes.as_bytes()).await, expected, "{bytes:?}");
    }
}
