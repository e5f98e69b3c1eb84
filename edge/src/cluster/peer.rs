//! A connection to another node: one for each exchange, over HTTP/2 and mutual TLS.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::Error;
use super::identity::Identity;
use super::lines::{LineReader, LineSender, LinesBody, channel};
use crate::ledger::Member;

/// Longest time until a connection to a node is open.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Interval of pings on a connection …
const PING_EVERY: Duration = Duration::from_secs(2);
/// … and how long each may be without an answer.
const PING_MAX: Duration = Duration::from_secs(3);

/// An exchange with a node: lines both ways.
pub(super) struct Exchange {
    pub(super) sender: LineSender,
    pub(super) reader: LineReader<Incoming>,
}

/// Opens an exchange with `member`.
///
/// # Errors
/// [`Error::Unreachable`].
pub(super) async fn open(identity: &Identity, member: &Member, path: &str) -> Result<Exchange, Error> {
    match timeout(CONNECT_MAX, connect(identity, member, path)).await {
        Ok(result) => result.map_err(|reason| unreachable(member, reason)),
        Err(_elapsed) => Err(unreachable(member, format!("it does not answer within {} s", CONNECT_MAX.as_secs()))),
    }
}

pub(super) fn unreachable(member: &Member, reason: String) -> Error {
    Error::Unreachable { node: member.node.clone(), advertise: member.advertise, reason }
}

async fn connect(identity: &Identity, member: &Member, path: &str) -> Result<Exchange, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let tcp = TcpStream::connect(member.advertise).await.map_err(|error| said(&error))?;
    tcp.set_nodelay(true).map_err(|error| said(&error))?;
    let name = ServerName::try_from(member.node.clone()).map_err(|error| said(&error))?;
    let tls = TlsConnector::from(std::sync::Arc::clone(&identity.client)).connect(name, tcp).await;
    let tls = tls.map_err(|error| said(&error))?;
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX)
        .handshake::<_, LinesBody>(TokioIo::new(tls))
        .await
        .map_err(|error| said(&error))?;
    // It ends with the exchange.
    tokio::spawn(async move { connection.await.ok() });
    let (sender, body) = channel();
    let uri = format!("https://{}{path}", member.node);
    let request = Request::builder().method(Method::POST).uri(uri).body(body).map_err(|error| said(&error))?;
    let response = client.send_request(request).await.map_err(|error| said(&error))?;
    if response.status() != StatusCode::OK {
        return Err(format!("it answers {}", response.status()));
    }
    Ok(Exchange { sender, reader: LineReader::new(response.into_body()) })
}
