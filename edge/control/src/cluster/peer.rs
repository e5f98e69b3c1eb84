//! Connections to other nodes over HTTP/2 and mutual TLS, one per exchange.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::Error;
use super::identity::Identity;
use super::lines::{LineReader, LineSender, channel};
use crate::ledger::Member;

/// Longest time to open a connection.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Handshakes tried before a node counts as unreachable, if the node aborts handshakes …
const HANDSHAKE_TRIES: usize = 3;
/// … and the pause in between.
const HANDSHAKE_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for the start of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Interval of pings on a connection …
const PING_EVERY: Duration = Duration::from_secs(2);
/// … and the longest wait for each answer.
const PING_MAX: Duration = Duration::from_secs(3);

/// Exchange with a node: lines in both directions.
pub(super) struct Exchange {
    pub(super) sender: LineSender,
    pub(super) reader: LineReader<Incoming>,
}

/// Opens an exchange with `member`.
///
/// # Errors
/// [`Error::Unreachable`].
pub(super) async fn open(identity: &Identity, member: &Member, path: &str) -> Result<Exchange, Error> {
    let (sender, body) = channel();
    let mut client = connect(identity, member).await?;
    let uri = format!("https://{}{path}", member.node);
    let request = Request::builder().method(Method::POST).uri(uri).body(body);
    let request = request.map_err(|error| unreachable(member, error.to_string()))?;
    let response = match timeout(ANSWER_MAX, client.send_request(request)).await {
        Ok(response) => response.map_err(|error| unreachable(member, error.to_string()))?,
        Err(_elapsed) => return Err(silent(member, ANSWER_MAX)),
    };
    if response.status() != StatusCode::OK {
        return Err(unreachable(member, format!("it answers {}", response.status())));
    }
    Ok(Exchange { sender, reader: LineReader::new(response.into_body()) })
}

pub(super) fn unreachable(member: &Member, reason: String) -> Error {
    Error::Unreachable { node: member.node.clone(), advertise: member.advertise, reason }
}

fn silent(member: &Member, after: Duration) -> Error {
    unreachable(member, format!("it does not answer within {} s", after.as_secs()))
}

/// Opens a connection to `member`, closed once unused.
///
/// # Errors
/// [`Error::Unreachable`].
pub(super) async fn connect<B>(identity: &Identity, member: &Member) -> Result<SendRequest<B>, Error>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>, Data: Send> + Send + Unpin + 'static,
{
    match timeout(CONNECT_MAX, shake_hands(identity, member)).await {
        Ok(result) => result.map_err(|reason| unreachable(member, reason)),
        Err(_elapsed) => Err(silent(member, CONNECT_MAX)),
    }
}

async fn shake_hands<B>(identity: &Identity, member: &Member) -> Result<SendRequest<B>, String>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>, Data: Send> + Send + Unpin + 'static,
{
    let said = |error: &dyn std::error::Error| error.to_string();
    let tls = dial(&identity.client_config(), &member.node, member.advertise, |tcp| tcp.set_nodelay(true)).await;
    let tls = tls.map_err(|error| said(&error))?;
    let (client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX)
        .handshake::<_, B>(TokioIo::new(tls))
        .await
        .map_err(|error| said(&error))?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}

/// Connects to the node `node` at `advertise`; `prepare` configures the socket before the handshake.
///
/// # Errors
/// Errors of the system, of `prepare` and of the handshake.
pub(super) async fn dial(
    config: &Arc<ClientConfig>,
    node: &str,
    advertise: SocketAddr,
    prepare: impl Fn(&TcpStream) -> io::Result<()> + Send,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(node.to_owned()).map_err(io::Error::other)?;
    let mut tries = 1;
    loop {
        let tcp = TcpStream::connect(advertise).await?;
        prepare(&tcp)?;
        match TlsConnector::from(Arc::clone(config)).connect(name.clone(), tcp).await {
            // The handshake may have been displaced, for example by a crowd of strangers.
            Err(error) if tries < HANDSHAKE_TRIES && is_broken_off(&error) => tries += 1,
            result => return result,
        }
        sleep(HANDSHAKE_PAUSE).await;
    }
}

/// Returns true if the node closed the connection without an answer.
fn is_broken_off(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
