//! HTTP/1.1 as bytes (RFC 9112): what is well formed is answered, what is not is refused, and a connection whose next
//! request could not be distinguished from the rest of the last one is closed.
//!
//! The cases run over TLS, where files are, and some over the plain listener too. What a backend gets to see
//! of them is in `routes`; what is known to be otherwise than the standard has it is in `deviations`, with its reason.

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

/// How long a connection must stay quiet to count as one that was left open.
const REST: Duration = Duration::from_millis(250);

/// A site of two files, and a listener for plain HTTP.
async fn shop() -> RunningEdge {
    let files: &[(&str, &[u8])] = &[("index.html", b"<!doctype html>home"), ("ten.txt", b"0123456789")];
    // A port of its own for plain HTTP is bound only where it is set; port 0 has the system choose.
    edge().with_plain_http().with_app("shop", files).start().await
}

/// What bytes lead to: the statuses in order, and whether the edge closed the connection.
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
            // RFC 9112 §9.6: who closes says so; of HTTP/1.0 nothing else is expected.
            assert_eq!(answer.header("connection"), "close", "{}", answer.status);
        }
        rest = after;
    }
    Outcome { statuses, closed }
}

/// Sends bytes over TLS on a connection of their own.
async fn over_tls(edge: &RunningEdge, bytes: &[u8]) -> Outcome {
    let mut stream = connect(edge, HOST, "http/1.1").await;
    write(&mut stream, bytes).await;
    let (read, closed) = read_until_rest(&mut stream, REST).await;
    outcome(&read, closed)
}

/// Sends bytes to the plain listener on a connection of their own.
async fn over_plain(edge: &RunningEdge, bytes: &[u8]) -> Outcome {
    let mut stream = TcpStream::connect(edge.http().expect("plain HTTP is on")).await.unwrap();
    write(&mut stream, bytes).await;
    let (read, closed) = read_until_rest(&mut stream, REST).await;
    outcome(&read, closed)
}

/// A case: what is sent, what is answered, and whether the connection is closed then.
type Case<'a> = (&'a str, &'a [u16], bool);

/// Holds every case over TLS, each on a connection of its own.
async fn hold(edge: &RunningEdge, cases: &[Case<'_>]) {
    for (bytes, statuses, closed) in cases {
        let expected = Outcome { statuses: statuses.to_vec(), closed: *closed };
        assert_eq!(over_tls(edge, bytes.as_bytes()).await, expected, "{bytes:?}");
    }
}
