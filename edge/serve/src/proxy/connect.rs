//! New connections to members: endpoint check, TCP or Unix socket, TLS, HTTP/1.1 or HTTP/2.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use devanture_config::site_toml::Protocol;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{Endpoint, FoundSocket};
use super::connection::{Connection, Http2Connection, Origin, STREAM_WINDOW_BYTES, Sender};
use super::error::{BadAnswer, Error, Phase};
use super::fastcgi;
use super::http1::codec::HEAD_BYTES_MAX;
use super::http1::{self, Stream, Transport};
use super::peer_owner::check_peer;
use super::pool::{Member, Pool};
use super::sockets::Socket;

/// Flow-control window of a connection: the sum of the windows of 100 streams, so that responses to slow clients never
/// block other streams.
const CONNECTION_WINDOW_BYTES: u32 = 100 * STREAM_WINDOW_BYTES;
/// Idle time before the keepalive probe of a silent connection.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// Connects to `member` within `limit` for a request, within the budget of sockets.
pub(crate) async fn connect(pool: &Pool, member: &Member, upgrade: bool, limit: Duration) -> Result<Connection, Error> {
    let Some(socket) = pool.sockets.take(&pool.key.app) else {
        return Err(Error::Unavailable("too many sockets to backends are open"));
    };
    connect_with(Some(socket), (pool, member), upgrade, limit).await
}

/// Connects to `member` within `limit`; an upgrade uses HTTP/1.1 whatever protocol the pool has.
pub(super) async fn connect_with(
    socket: Option<Socket>,
    (pool, member): (&Pool, &Member),
    upgrade: bool,
    limit: Duration,
) -> Result<Connection, Error> {
    let protocol = if upgrade { Protocol::Http1 } else { pool.protocol() };
    // Taken before the check of the listener's owner: a concurrent check that drops connections must drop the new
    // connection too.
    let origin = Origin::now(member);
    let work = Box::pin(async {
        // The check covers the very endpoint of the connection: a name may have changed since the publish.
        if member.endpoint.socket().is_none() {
            pool.permits(member).map_err(Error::Forbidden)?;
        }
        if member.declared.is_fastcgi() != member.fastcgi.is_some() || member.fastcgi.is_none() && pool.is_fastcgi() {
            return Err(Error::Connect(io::Error::other("its pool has backends of another protocol")));
        }
        match &member.endpoint {
            Endpoint::Socket(path) => {
                let found = FoundSocket::at(path).map_err(Error::connect)?;
                pool.permits_found(&found).map_err(Error::Forbidden)?;
                let stream = found.connect().await.map_err(Error::connect)?;
                check_listener(&stream, member.uid).map_err(Error::connect)?;
                speak(Stream::new(Transport::Unix(stream), socket), protocol, (member, origin)).await
            }
            Endpoint::Node(instance) => {
                let stream = pool.tunnel(instance).await.map_err(Error::connect)?;
                speak(Stream::new(Transport::Tls(Box::new(stream)), socket), protocol, (member, origin)).await
            }
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(Error::connect)?;
                if pool.run.is_some() {
                    check_peer(&stream, member.uid).await.map_err(|error| Error::connect(error.into()))?;
                }
                set_up(&stream);
                let Some(name) = &member.tls else {
                    return speak(Stream::new(Transport::Tcp(stream), socket), protocol, (member, origin)).await;
                };
                let other = |why: String| Error::Tls(io::Error::other(why));
                let name = name.clone().ok_or_else(|| other("its name is no DNS name".to_owned()))?;
                let tls = pool.tls.as_ref().map_err(|why| other(why.clone()))?;
                let config: &Arc<ClientConfig> = if upgrade { &tls.http1 } else { &tls.usual };
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(Error::Tls)?;
                if protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(other("it does not speak HTTP/2 (ALPN)".to_owned()));
                }
                speak(Stream::new(Transport::Tls(Box::new(stream)), socket), protocol, (member, origin)).await
            }
        }
    });
    let connected = timeout(limit, work).await.unwrap_or(Err(Error::Timeout(Phase::Connect)));
    // If an instance no longer listens, or a foreign process listens, none of the idle connections is used again.
    if pool.run.is_some() && matches!(connected, Err(Error::Connect(_))) {
        member.drop_kept();
    }
    connected
}

/// Checks the owner of a socket's listener. A user with write access to the socket's folder can replace the socket by
/// another socket or a link. Only the connection itself is proof: the system reports the process that called `listen`.
pub(super) fn check_listener(stream: &UnixStream, uid: Option<u32>) -> io::Result<()> {
    let Some(uid) = uid else { return Ok(()) };
    if stream.peer_cred()?.uid() == uid {
        return Ok(());
    }
    let why = "a process of somebody else listens there";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

pub(super) fn set_up(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER / 4);
    let outcome = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = outcome {
        tracing::debug!(%error, "an option of a backend's socket could not be set");
    }
}

/// Executor for hyper's HTTP/2 tasks on the current thread.
#[derive(Debug, Clone, Copy)]
struct Here;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// Starts HTTP; a task on the current thread drives an HTTP/2 connection.
async fn speak(stream: Stream, protocol: Protocol, (member, origin): (&Member, Origin)) -> Result<Connection, Error> {
    if let Some(backend) = &member.fastcgi {
        return Ok(Connection::new(Sender::FastCgi(Box::new(fastcgi::Connection::new(stream, backend))), origin));
    }
    if protocol == Protocol::Http1 {
        return Ok(Connection::new(Sender::Http1(http1::Connection::new(stream)), origin));
    }
    let mut builder = http2::Builder::new(Here);
    builder
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        // Until the peer's SETTINGS arrive, the limit of earlier SETTINGS counts.
        .initial_max_send_streams(member.streams_max())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| Error::BadAnswer(BadAnswer::Http(error)))?;
    let connection = Rc::new(RefCell::new(Some(connection)));
    let driven = Rc::clone(&connection);
    let task = tokio::task::spawn_local(async move {
        let ended = poll_fn(|cx| match &mut *driven.borrow_mut() {
            Some(connection) => Pin::new(connection).poll(cx),
            None => Poll::Ready(Ok(())),
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "a connection to a backend ended");
        }
        // Requests handed over too late are returned by the drop.
        driven.take();
    });
    // Only the connection's driver knows the limit; the driver is idle at the time of the call.
    let allowed = Box::new(move || connection.try_borrow().ok()?.as_ref().map(|it| it.current_max_send_streams()));
    let shared = Http2Connection::new(sender, allowed, task.abort_handle(), origin);
    Ok(Connection::sharing(&Rc::new(shared)))
}
