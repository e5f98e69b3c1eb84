//! Loads a server over HTTP/2 or HTTP/3 in the same way, checks every response, and reports the totals as a line of
//! JSON.
//!
//! `load h2|h3 load|handshakes|idle NAME=VALUE…`, with `port`, `cert` (PEM: the exact certificate of the server),
//! `path`, `body` (the file with the expected bytes), `connections`, `streams` (concurrent requests of a connection)
//! and `requests` (total). `load` sends the requests over the connections; `handshakes` opens a connection for each
//! request, with `connections` at a time; `idle` opens the connections, sends one request on each, reports, and keeps
//! the connections until standard input ends. Every error ends the program with 1. `benches/http3` reads the server's
//! resource usage.

mod http2;
mod http3;
mod pinned;

use std::cell::Cell;
use std::collections::HashMap;
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::{JoinSet, LocalSet};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Host of the requests, also in SNI.
const HOST: &str = "bench.localhost";

/// Error that ends the run.
type Failure = Box<dyn Error>;

/// Server, request, and expected response.
struct Target {
    address: SocketAddr,
    authority: String,
    path: String,
    body: Bytes,
    tls: rustls::ClientConfig,
}

/// Amount of load.
#[derive(Clone, Copy)]
struct Amount {
    connections: usize,
    streams: usize,
    requests: usize,
}

/// Opens connections of one protocol.
enum Client {
    Http2(http2::Client),
    Http3(http3::Client),
}

/// Connection of one protocol.
#[derive(Clone)]
enum Connection {
    Http2(http2::Connection),
    Http3(http3::Connection),
}

impl Client {
    fn new(protocol: &str, target: &Target) -> Result<Self, Failure> {
        match protocol {
            "h2" => Ok(Self::Http2(http2::Client::new(target))),
            "h3" => Ok(Self::Http3(http3::Client::new(target)?)),
            other => Err(format!("{other} is neither h2 nor h3").into()),
        }
    }

    async fn open(&self) -> Result<Connection, Failure> {
        match self {
            Self::Http2(client) => client.open().await.map(Connection::Http2),
            Self::Http3(client) => client.open().await.map(Connection::Http3),
        }
    }

    /// Waits until the last packets are sent.
    async fn close(&self) {
        if let Self::Http3(client) = self {
            client.close().await;
        }
    }
}

impl Connection {
    /// Sends a request and checks the response: status 200 and the number of bytes; every byte if `is_first`.
    async fn ask(&mut self, target: &Target, is_first: bool) -> Result<usize, Failure> {
        let mut body = Check { wanted: &target.body, came: 0, compares: is_first };
        match self {
            Self::Http2(connection) => connection.ask(&mut body).await?,
            Self::Http3(connection) => connection.ask(&mut body).await?,
        }
        body.end()
    }

    fn close(&self) {
        match self {
            // The connection closes with the last sender.
            Self::Http2(_) => {}
            Self::Http3(connection) => connection.close(),
        }
    }
}

/// Incremental check of a response body.
struct Check<'t> {
    wanted: &'t [u8],
    came: usize,
    /// Compares every byte if true.
    compares: bool,
}

impl Check<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let end = self.came + bytes.len();
        let is_right = !self.compares || self.wanted.get(self.came..end) == Some(bytes);
        self.came = end;
        if is_right { Ok(()) } else { Err("the body is another one".into()) }
    }

    fn end(self) -> Result<usize, Failure> {
        let (came, wanted) = (self.came, self.wanted.len());
        if came == wanted { Ok(came) } else { Err(format!("{came} bytes came in place of {wanted}").into()) }
    }
}

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let (protocol, mode) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let given: HashMap<String, String> = words
        .filter_map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    let text = |name: &str| given.get(name).cloned().ok_or_else(|| format!("{name}= is missing"));
    let number = |name: &str| text(name)?.parse::<usize>().map_err(|error| format!("{name}: {error}"));
    let port: u16 = text("port")?.parse()?;
    let target = Target {
        address: (Ipv4Addr::LOCALHOST, port).into(),
        authority: format!("{HOST}:{port}"),
        path: text("path")?,
        body: std::fs::read(text("body")?)?.into(),
        tls: pinned::client(text("cert")?.as_ref())?,
    };
    let amount = Amount {
        connections: number("connections")?.max(1),
        streams: number("streams").unwrap_or(1).max(1),
        requests: number("requests").unwrap_or(0),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = async {
        let client = Rc::new(Client::new(&protocol, &target)?);
        match &*mode {
            "load" => load(&client, Rc::new(target), amount).await,
            "handshakes" => handshakes(&client, Rc::new(target), amount).await,
            "idle" => idle(&client, Rc::new(target), amount).await,
            other => Err(format!("{other} is none of load, handshakes and idle").into()),
        }
    };
    LocalSet::new().block_on(&runtime, work)
}

/// Prints the report.
fn report(requests: usize, bytes: usize, began: Instant) -> Result<(), Failure> {
    let line = serde_json::json!({"requests": requests, "bytes": bytes, "seconds": began.elapsed().as_secs_f64()});
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Takes one of the remaining requests.
fn take(left: &Cell<usize>) -> bool {
    let found = left.get();
    left.set(found.saturating_sub(1));
    found > 0
}

/// Waits for all tasks, and adds up the bytes.
async fn sum(mut tasks: JoinSet<Result<usize, String>>) -> Result<usize, Failure> {
    let mut bytes = 0;
    while let Some(done) = tasks.join_next().await {
        bytes += done??;
    }
    Ok(bytes)
}

async fn load(client: &Client, target: Rc<Target>, amount: Amount) -> Result<(), Failure> {
    let began = Instant::now();
    let (left, mut tasks) = (Rc::new(Cell::new(amount.requests)), JoinSet::new());
    for _ in 0..amount.connections {
        let connection = client.open().await?;
        for stream in 0..amount.streams {
            let (mut connection, target, left) = (connection.clone(), Rc::clone(&target), Rc::clone(&left));
            tasks.spawn_local(async move {
                let (mut bytes, mut is_first) = (0, stream == 0);
                while take(&left) {
                    bytes += connection.ask(&target, is_first).await.map_err(|error| error.to_string())?;
                    is_first = false;
                }
                Ok(bytes)
            });
        }
    }
    let bytes = sum(tasks).await?;
    report(amount.requests, bytes, began)
}

async fn handshakes(client: &Rc<Client>, target: Rc<Target>, amount: Amount) -> Result<(), Failure> {
    let began = Instant::now();
    let (left, mut tasks) = (Rc::new(Cell::new(amount.requests)), JoinSet::new());
    for _ in 0..amount.connections {
        let (client, target, left) = (Rc::clone(client), Rc::clone(&target), Rc::clone(&left));
        tasks.spawn_local(async move {
            let mut bytes = 0;
            while take(&left) {
                let mut connection = client.open().await.map_err(|error| error.to_string())?;
                bytes += connection.ask(&target, true).await.map_err(|error| error.to_string())?;
                connection.close();
            }
            Ok(bytes)
        });
    }
    let bytes = sum(tasks).await?;
    client.close().await;
    report(amount.requests, bytes, began)
}

async fn idle(client: &Client, target: Rc<Target>, amount: Amount) -> Result<(), Failure> {
    let (began, mut bytes) = (Instant::now(), 0);
    let mut kept = Vec::with_capacity(amount.connections);
    for _ in 0..amount.connections {
        let mut connection = client.open().await?;
        bytes += connection.ask(&target, true).await?;
        kept.push(connection);
    }
    report(amount.connections, bytes, began)?;
    // The connections' tasks continue meanwhile.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
