//! The UDP sockets of HTTP/3: bound beside those of HTTPS, inherited with what belongs to them, or bound later, where
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
use devanture_control::environments::VisitorPorts;
use devanture_serve::listen::Drain;
use devanture_serve::listen::quic::{self, Place, Predecessor};

/// Sockets of one address: threads have one byte of a connection id.
const SOCKETS_MAX: usize = 255;
/// Time between two tries to bind a port that another program has.
const BIND_AGAIN: Duration = Duration::from_secs(2);

/// The socket of one thread.
pub(super) struct QuicSocket {
    pub(super) socket: UdpSocket,
    pub(super) place: Place,
    /// The edge that this one takes over from, as this thread has it.
    pub(super) predecessor: Option<Predecessor>,
    /// What the edge passes on that takes over from this one.
    pub(super) successors: UnboundedReceiver<UnixDatagram>,
    after: UnboundedSender<UnixDatagram>,
}

/// The same for the edge that takes over.
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

    /// Binds one for each of `count` threads.
    pub(super) fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        let sockets = quic::bind_all(address, count.min(SOCKETS_MAX))?;
        let (threads, generation) = (u8::try_from(sockets.len()).unwrap_or(u8::MAX), rand::random());
        let place = |thread| Place { thread, threads, generation };
        Ok(sockets.into_iter().zip(0..).map(|(socket, thread)| Self::new(socket, place(thread), None)).collect())
    }

    /// Takes those of the running edge for `address` and so many threads, if it has them.
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

    /// What the edge gets that takes over.
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
    /// What it is, and where.
    pub(crate) const fn listening(&self) -> Listening {
        Listening { listener: Listener::Http3, address: self.address }
    }

    /// The descriptors for an edge that takes over: the socket, and the end of a pair by which it passes on what is for
    /// this one. The thread gets the other end.
    pub(crate) fn give(&self) -> io::Result<[(Listening, OwnedFd); 2]> {
        let (here, there) = UnixDatagram::pair()?;
        // A thread that has ended reads nothing.
        drop(self.after.send(here));
        let listening = |listener| Listening { listener, ..self.listening() };
        let socket = self.socket.try_clone()?;
        Ok([(listening(Listener::Http3), socket.into()), (listening(Listener::Http3Forward), there.into())])
    }
}

/// The socket of a thread as the thread gets it.
pub(super) struct ThreadQuic {
    pub(super) quic: QuicSocket,
    /// `Alt-Svc` of its answers from then on; `None` where they have it from the start on.
    pub(super) alt_svc: Option<HeaderValue>,
}

/// The parts that learn of sockets which are bound later.
pub(super) struct LaterBinding {
    /// The threads that have none.
    pub(super) threads: Vec<oneshot::Sender<ThreadQuic>>,
    pub(super) health: Arc<Health>,
    /// What the edge gets that takes over.
    pub(super) copies: SharedCopies,
}

impl LaterBinding {
    /// Binds the port once it is free, where it was not at the start. Until then it is tried, but for the time of a
    /// drain.
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
        // The next edge tries it by itself, and the system would give packets to both.
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
            // A thread that has ended serves nothing.
            drop(thread.send(ThreadQuic { quic, alt_svc: alt_svc.clone() }));
        }
        self.health.serves_http3(visitor_ports(listen, address, address));
        tracing::info!(%address, "HTTP/3 is served, as its UDP port is free now");
    }
}

/// The ports by which visitors reach an edge that listens there.
pub(super) fn visitor_ports(listen: &Listen, https: SocketAddr, http3: SocketAddr) -> VisitorPorts {
    let https = listen.public_port.unwrap_or_else(|| https.port());
    VisitorPorts { https, http3: listen.http3_port(http3.port()) }
}
