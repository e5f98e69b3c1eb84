//! The UDP sockets of HTTP/3: bound together with the HTTPS sockets, inherited with their state, or bound later if
//! another program had the port at the start.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::edge_toml::Listen;
use http::HeaderValue;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::handler_parts::alt_svc;
use super::sockets::{Addresses, SharedCopies};
use super::takeover::{Inherited, Listener, Listening};
use devanture_control::admin::Health;
use devanture_control::hostnames::VisitorPorts;
use devanture_serve::listen::Drain;
use devanture_serve::listen::quic::{self, Place, Predecessor};

/// Maximum number of sockets for one address: a connection id has one byte for the thread.
const SOCKETS_MAX: usize = 255;
/// Interval of attempts to bind a port in use.
const BIND_AGAIN: Duration = Duration::from_secs(2);

/// The socket of one thread.
pub(super) struct QuicSocket {
    pub(super) socket: UdpSocket,
    pub(super) place: Place,
    /// The predecessor edge, as seen by the thread.
    pub(super) predecessor: Option<Predecessor>,
    /// Receives sockets by which a successor forwards packets.
    pub(super) successors: UnboundedReceiver<UnixDatagram>,
    after: UnboundedSender<UnixDatagram>,
}

/// A copy of the socket for the successor.
pub(crate) struct QuicCopy {
    socket: UdpSocket,
    address: SocketAddr,
    pub(crate) generation: u8,
    after: UnboundedSender<UnixDatagram>,
}

impl QuicSocket {
    fn new(socket: UdpSocket, place: Place, predecessor: Option<Predecessor>) -> Self {
        let (after, successors) = unbounded_channel();
        Self { socket, place, predecessor, successors, after }
    }

    /// Binds one socket for each of `count` threads.
    pub(super) fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        let sockets = quic::bind_all(address, count.min(SOCKETS_MAX))?;
        let (threads, generation) = (u8::try_from(sockets.len()).unwrap_or(u8::MAX), rand::random());
        let place = |thread| Place { thread, threads, generation };
        Ok(sockets.into_iter().zip(0..).map(|(socket, thread)| Self::new(socket, place(thread), None)).collect())
    }

    /// Takes the running edge's sockets for `address`, if their number is `count`.
    pub(super) fn inherit(inherited: &mut Inherited, address: SocketAddr, count: usize) -> Vec<Self> {
        let sockets: Vec<UdpSocket> = inherited.take(Listener::Http3, address);
        let forwards: Vec<UnixDatagram> = inherited.take(Listener::Http3Forward, address);
        let Some(before) = inherited.generation() else { return Vec::new() };
        let ended = inherited.ended().clone();
        if sockets.len() != count.min(SOCKETS_MAX) || forwards.len() != sockets.len() {
            return Vec::new();
        }
        let (threads, generation) = (u8::try_from(sockets.len()).unwrap_or(u8::MAX), before.wrapping_add(1));
        let each = sockets.into_iter().zip(forwards).zip(0..).map(|((socket, forward), thread)| {
            let predecessor = Predecessor { ended: ended.clone(), ..Predecessor::new(forward, before) };
            Self::new(socket, Place { thread, threads, generation }, Some(predecessor))
        });
        each.collect()
    }

    /// Returns a copy for the successor.
    pub(super) fn copy(&self) -> io::Result<QuicCopy> {
        Ok(QuicCopy {
            socket: self.socket.try_clone()?,
            address: self.socket.local_addr()?,
            generation: self.place.generation,
            after: self.after.clone(),
        })
    }
}

impl QuicCopy {
    /// Returns kind and address of the socket.
    pub(crate) const fn listening(&self) -> Listening {
        Listening { listener: Listener::Http3, address: self.address }
    }

    /// Returns the descriptors for a successor: the socket, and one end of a pair by which the successor forwards the
    /// predecessor's packets. The thread gets the opposite end.
    pub(crate) fn give(&self) -> io::Result<[(Listening, OwnedFd); 2]> {
        let (here, there) = UnixDatagram::pair()?;
        // A thread that has ended reads no packets.
        drop(self.after.send(here));
        let listening = |listener| Listening { listener, ..self.listening() };
        let socket = self.socket.try_clone()?;
        Ok([(listening(Listener::Http3), socket.into()), (listening(Listener::Http3Forward), there.into())])
    }
}

/// The socket of a thread, as sent to the thread.
pub(super) struct ThreadQuic {
    pub(super) quic: QuicSocket,
    /// `Alt-Svc` of later responses; `None` if sent from the start on.
    pub(super) alt_svc: Option<HeaderValue>,
}

/// Receivers of sockets that are bound later.
pub(super) struct LaterBinding {
    /// The threads without a socket.
    pub(super) threads: Vec<oneshot::Sender<ThreadQuic>>,
    pub(super) health: Arc<Health>,
    /// The copies for the successor.
    pub(super) copies: SharedCopies,
}

impl LaterBinding {
    /// Binds the port once free, if the port was in use at the start. Attempts continue until a drain begins.
    pub(super) fn begin(self, control: &Runtime, listen: &Listen, addresses: Addresses, mut drain: Drain) {
        if !listen.tries_http3() || addresses.http3.is_some() {
            return;
        }
        let listen = listen.clone();
        control.spawn(async move {
            loop {
                tokio::select! {
                    () = async { drop(drain.wait_for(Option::is_some).await) } => return,
                    () = sleep(BIND_AGAIN) => {}
                }
                if let Some(sockets) = self.try_bind(addresses.https) {
                    self.serve(&listen, addresses.https, sockets);
                    return;
                }
            }
        });
    }

    fn try_bind(&self, address: SocketAddr) -> Option<Vec<QuicSocket>> {
        let mut copies = self.copies.lock();
        // The successor binds the port itself, and the system would deliver packets to both.
        if copies.are_given {
            return None;
        }
        let sockets = QuicSocket::bind_all(address, self.threads.len()).ok()?;
        copies.quic = sockets.iter().map(QuicSocket::copy).collect::<io::Result<_>>().ok()?;
        Some(sockets)
    }

    fn serve(self, listen: &Listen, address: SocketAddr, sockets: Vec<QuicSocket>) {
        let alt_svc = alt_svc(listen, Some(address));
        for (thread, quic) in self.threads.into_iter().zip(sockets) {
            // A thread that has ended serves no requests.
            drop(thread.send(ThreadQuic { quic, alt_svc: alt_svc.clone() }));
        }
        self.health.serves_http3(visitor_ports(listen, address, address));
        tracing::info!(%address, "HTTP/3 is served, as its UDP port is free now");
    }
}

/// Returns the visitor ports of an edge with the given addresses.
pub(super) fn visitor_ports(listen: &Listen, https: SocketAddr, http3: SocketAddr) -> VisitorPorts {
    let https = listen.public_port.unwrap_or_else(|| https.port());
    VisitorPorts { https, http3: listen.http3_port(http3.port()) }
}
