//! Accepts connections from one listening socket on one thread, until the drain.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use metrics::{Gauge, counter, gauge};
use rustls::ProtocolVersion;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::activity::Activity;
use super::connection::{Accepted, Shared, run};
use super::draining::{Drain, Drained, drain_ordered};
use super::handshakes::{Handshakes, TooMany};
use super::limits::{ConnectionLimits, Refused};
use super::open_connections::OpenConnections;
use super::service::Services;
use super::socket::SocketIo;
use crate::tls::ServerTls;

/// Pause after the system refused an accept, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Settings of one served socket.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listener's name in metrics, such as `https`.
    pub name: &'static str,
    /// TLS for HTTPS; without TLS, the socket serves plain HTTP/1.1.
    pub tls: Option<ServerTls>,
    /// The limits; listeners with common limits get clones.
    pub limits: ConnectionLimits,
    /// The order to drain.
    pub drain: Drain,
}

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

/// The peer of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The remote address; an IPv4 address is never mapped to IPv6.
    pub address: SocketAddr,
    /// The local address.
    pub local: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The host that it named in the handshake, in lower case.
    pub sni: Option<Box<str>>,
    /// The version of TLS, on a TLS listener.
    pub tls_version: Option<ProtocolVersion>,
}

/// Serves `listener` until `settings.drain` has an order, and then until every connection has ended, or the deadline.
///
/// Must run inside a [`tokio::task::LocalSet`] or local runtime: connections and the futures of `service` stay on the
/// thread. No event on a connection ends the function, and neither does a lack of file descriptors or of memory for
/// sockets.
///
/// During a drain, connections in the backlog are still accepted, and each peer is told to send no further request
/// (`GOAWAY`, `Connection: close`); requests in flight, or about to arrive on a new connection, are answered.
///
/// `services` makes the service of each connection. A request whose peer goes away has its future dropped.
///
/// # Errors
/// When `listener` cannot be used on this runtime at all.
pub async fn serve<S: Services>(
    listener: std::net::TcpListener,
    settings: Settings,
    services: S,
) -> io::Result<Drained> {
    let Settings { name, tls, limits, drain } = settings;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let http1 = counter!("devanture_connections_total", "listener" => name, "protocol" => "http/1.1");
    let http2 = counter!("devanture_connections_total", "listener" => name, "protocol" => "h2");
    let handshakes = Rc::new(Handshakes::new(
        limits.handshakes,
        gauge!("devanture_handshakes_open", "listener" => name),
        gauge!("devanture_handshakes_queued", "listener" => name),
    ));
    let turns = Rc::clone(&handshakes);
    let _turns = AbortOnDropHandle::new(tokio::task::spawn_local(async move { turns.keep_turns().await }));
    let mut server = Server {
        name,
        shared: Rc::new(Shared {
            tls,
            engine: Rc::new(limits.of_engine()),
            limits,
            services: Rc::new(services),
            http1,
            http2,
        }),
        handshakes,
        connections: OpenConnections::default(),
        open: gauge!("devanture_connections_open", "listener" => name),
    };
    let mut drain_ordered = pin!(drain_ordered(drain.clone()));
    let mut refusals = 0_u64;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut drain_ordered => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                refusals = 0;
                let is_over = tokio::select! {
                    biased;
                    () = &mut drain_ordered => true,
                    () = server.handshakes.room() => false,
                };
                server.take(stream, address);
                if is_over {
                    break;
                }
            }
            Err(error) if is_of_peer(&error) => {}
            Err(error) => {
                // Once per outage, not twenty times a second.
                if refusals == 0 {
                    warn!(%error, listener = name, "connections cannot be accepted at the moment");
                }
                refusals += 1;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    server.take_waiting(listener);
    Ok(server.connections.drain(drain).await)
}

struct Server<S> {
    name: &'static str,
    shared: Rc<Shared<S>>,
    handshakes: Rc<Handshakes>,
    connections: OpenConnections,
    open: Gauge,
}

impl<S: Services> Server<S> {
    fn take(&mut self, stream: TcpStream, address: SocketAddr) {
        if let Some(limits) = self.shared.limits.changed() {
            self.shared = Rc::new(self.shared.with(limits));
        }
        self.handshakes.accepted();
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.shared.limits.are_nearly_used_up() {
            self.connections.end_oldest();
        }
        let permit = match self.shared.limits.admit(address.ip(), &self.open, self.connections.tally()) {
            Ok(permit) => permit,
            Err(refused) => return self.refuse(refused, address),
        };
        // Fails if the peer has disconnected already.
        let Ok(local) = stream.local_addr() else { return };
        let handshake = match &self.shared.tls {
            Some(_) => match self.handshakes.enter(self.shared.limits.client(address)) {
                Ok(handshake) => Some(handshake),
                Err(TooMany) => return self.refuse(Refused::Handshakes, address),
            },
            None => None,
        };
        let activity = Rc::<Activity>::default();
        let accepted = Accepted { io: SocketIo::new(stream, permit), address, local, handshake };
        let connection = run(Rc::clone(&self.shared), accepted, Rc::clone(&activity));
        self.connections.spawn(activity, connection);
    }

    fn refuse(&self, refused: Refused, address: SocketAddr) {
        refused.record(self.name, address);
    }

    /// Accepts the connections in the backlog, which the system would reset, and closes the socket.
    fn take_waiting(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, address)) = listener.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.take(stream, address);
            }
        }
    }
}

/// Returns true if an error of `accept` concerns only the connection to accept.
fn is_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
