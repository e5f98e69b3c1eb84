//! Accepts connections on one UDP socket on one thread, until the drain.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Gauge, counter, gauge};
use quinn_proto::Incoming;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::connection::{Admitted, run};
use super::endpoint::{Endpoint, First};
use super::forward::{Batch, MESSAGE_BYTES_MAX, Neighbours, PacketOwner, Predecessor};
use super::ids::Place;
use super::settings;
use super::udp::{Receiver, Socket};
use crate::listen::activity::Activity;
use crate::listen::draining::{Drain, DrainOrder, Drained, drain_ordered, drain_time, order_of};
use crate::listen::engine::clock;
use crate::listen::handshakes::{Handshakes, TooMany};
use crate::listen::limits::{ConnectionLimits, Refused};
use crate::listen::open_connections::OpenConnections;
use crate::listen::service::Services;
use crate::tls::ServerTls;
use devanture_http as engine;

/// Settings of one served socket.
#[derive(Debug)]
pub struct QuicSettings {
    /// The listener's name in metrics, such as `https`.
    pub name: &'static str,
    /// The certificates.
    pub tls: ServerTls,
    /// The limits; listeners with common limits get clones.
    pub limits: ConnectionLimits,
    /// The order to drain.
    pub drain: Drain,
    /// The position of the socket.
    pub place: Place,
    /// The node's name, which is stable, and unique among the nodes with shared keys.
    pub node: Arc<str>,
    /// The predecessor process, if the predecessor has HTTP/3.
    pub predecessor: Option<Predecessor>,
    /// Sockets by which successor processes forward packets.
    pub successors: UnboundedReceiver<UnixDatagram>,
}

/// Shared by all connections of one listener.
pub(super) struct Shared<S> {
    pub(super) limits: ConnectionLimits,
    /// The engine's form of the limits.
    pub(super) engine: Rc<engine::Limits>,
    pub(super) services: Rc<S>,
    pub(super) connections: Counter,
}

/// Serves HTTP/3 on `socket` until `settings.drain` says to drain, and then until every connection has ended, or the
/// deadline. `services` makes the service of each connection.
///
/// Must run inside a [`tokio::task::LocalSet`] or local runtime: connections and their services stay on this thread.
///
/// # Errors
/// When `socket` cannot be used on this runtime at all.
pub async fn serve<S: Services>(socket: UdpSocket, settings: QuicSettings, services: S) -> io::Result<Drained> {
    let QuicSettings { name, tls, limits, mut drain, place, node, predecessor, mut successors } = settings;
    let predecessor_ended = predecessor.as_ref().map(|predecessor| predecessor.ended.clone());
    let socket = Rc::new(Socket::new(socket)?);
    let receiver = socket.receiver();
    let config = Arc::new(settings::of_connections(&tls, &limits).map_err(io::Error::other)?);
    let of_endpoint = Arc::new(settings::of_endpoint(&tls, place, &node));
    let quic = quinn_proto::Endpoint::new(of_endpoint, Some(config), socket.can_find_mtu(), None);
    let handshakes = Rc::new(Handshakes::new(
        limits.handshakes,
        gauge!("devanture_handshakes_open", "listener" => name),
        gauge!("devanture_handshakes_queued", "listener" => name),
    ));
    let turns = Rc::clone(&handshakes);
    let _turns = AbortOnDropHandle::new(tokio::task::spawn_local(async move { turns.keep_turns().await }));
    let server = Rc::new(Server {
        name,
        tls,
        endpoint: Rc::new(Endpoint::new(quic, socket)),
        shared: RefCell::new(Rc::new(Shared {
            engine: Rc::new(limits.of_engine()),
            limits,
            services: Rc::new(services),
            connections: counter!("devanture_connections_total", "listener" => name, "protocol" => "h3"),
        })),
        handshakes,
        connections: OpenConnections::default(),
        open: gauge!("devanture_connections_open", "listener" => name),
        retries: counter!("devanture_quic_retries_total"),
        is_draining: Cell::new(false),
        neighbours: Neighbours::new(place.generation, predecessor),
    });
    let here = Rc::clone(&server);
    let receiver = AbortOnDropHandle::new(tokio::task::spawn_local(async move { here.receive(receiver).await }));
    let mut hearing = None;
    let mut drain_ordered = pin!(drain_ordered(drain.clone()));
    loop {
        tokio::select! {
            biased;
            () = &mut drain_ordered => break,
            Some(after) = successors.recv() => hearing = Some(server.hear(after)?),
        }
    }
    server.is_draining.set(true);
    // The successor reads the sockets from now on, and forwards packets of the current process; a successor without
    // HTTP/3 has closed its end.
    let has_successor = order_of(&mut drain).is_some_and(|order| order.has_successor);
    let is_passed_on = has_successor && server.neighbours.has_after();
    let receiver = (!is_passed_on).then_some(receiver);
    let drained = server.connections.drain(drain.clone()).await;
    // The predecessor may still drain, and gets its packets from the current process.
    if let Some(ended) = predecessor_ended {
        ended.run_until_cancelled(drain_time(&mut drain, DrainOrder::last)).await;
    }
    drop((receiver, hearing));
    Ok(drained)
}

struct Server<S> {
    name: &'static str,
    tls: ServerTls,
    endpoint: Rc<Endpoint>,
    shared: RefCell<Rc<Shared<S>>>,
    handshakes: Rc<Handshakes>,
    connections: OpenConnections,
    open: Gauge,
    retries: Counter,
    is_draining: Cell<bool>,
    neighbours: Neighbours,
}

impl<S: Services> Server<S> {
    /// Gives what comes to whom it is for, until it is dropped.
    async fn receive(&self, mut receiver: Receiver) {
        loop {
            let received = poll_fn(|cx| {
                let now = clock();
                receiver.poll_receive(cx, |batch| self.take(batch, now))
            });
            match received.await {
                Ok(false) => {}
                // Connections with new packets run before the next read.
                Ok(true) => tokio::task::yield_now().await,
                Err(error) => {
                    warn!(%error, listener = self.name, "packets cannot be read at the moment");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Dispatches packets, and forwards packets of other processes.
    fn take(&self, batch: Batch<'_>, now: Instant) {
        for (whose, packets) in batch.runs(|packet| self.neighbours.whose(packet)) {
            match whose {
                PacketOwner::Ours => self.endpoint.take(&packets, now, |incoming| self.begin(incoming)),
                PacketOwner::Before => self.neighbours.forward(&packets, now),
                PacketOwner::After => {}
            }
        }
    }

    /// Accepts packets forwarded by the successor.
    fn hear(self: &Rc<Self>, after: UnixDatagram) -> io::Result<AbortOnDropHandle<()>> {
        after.set_nonblocking(true)?;
        self.neighbours.set_after(after.try_clone()?);
        let after = tokio::net::UnixDatagram::from_std(after)?;
        let here = Rc::clone(self);
        let hearing = async move {
            let mut message = vec![0; MESSAGE_BYTES_MAX];
            while let Ok(count) = after.recv(&mut message).await {
                if let Some(batch) = Batch::read(message.get(..count).unwrap_or_default()) {
                    here.take(batch, clock());
                }
            }
        };
        Ok(AbortOnDropHandle::new(tokio::task::spawn_local(hearing)))
    }

    /// Begins a connection, if room is left.
    fn begin(&self, incoming: Incoming) {
        self.follow_limits();
        let shared = Rc::clone(&self.shared.borrow());
        let address = incoming.remote_address();
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        // Scarce places are reserved for peers with a validated address; a forged address takes no share of another
        // client.
        let is_unknown = !incoming.remote_address_validated();
        if self.is_draining.get() {
            return self.endpoint.refuse(incoming);
        }
        let client = shared.limits.client(address);
        let are_nearly_used_up = shared.limits.are_nearly_used_up();
        let is_busy = are_nearly_used_up || self.handshakes.is_busy(client) || shared.limits.is_busy(address.ip());
        if is_unknown && is_busy {
            return self.retry(incoming);
        }
        if are_nearly_used_up {
            self.connections.end_oldest();
        }
        if self.handshakes.find_place().is_err() {
            return self.refuse(Refused::Handshakes, address, incoming);
        }
        let admitted = shared.limits.admit(address.ip(), &self.open, self.connections.tally());
        let admitted = admitted.and_then(|permit| match self.handshakes.enter(client) {
            Ok(handshake) => Ok((permit, handshake)),
            Err(TooMany) => Err(Refused::Handshakes),
        });
        match admitted {
            Err(Refused::Address | Refused::Handshakes) if is_unknown => self.retry(incoming),
            Err(refused) => self.refuse(refused, address, incoming),
            Ok((permit, handshake)) => {
                let first = First::new(Rc::clone(&self.endpoint), incoming);
                let activity = Rc::<Activity>::default();
                let connection = run(shared, Admitted { first, permit, handshake }, Rc::clone(&activity));
                self.connections.spawn(activity, connection);
            }
        }
    }

    fn retry(&self, incoming: Incoming) {
        if self.endpoint.retry(incoming) {
            self.retries.increment(1);
        }
    }

    fn refuse(&self, refused: Refused, address: SocketAddr, incoming: Incoming) {
        refused.record(self.name, address);
        self.endpoint.refuse(incoming);
    }

    /// Applies changed limits to new connections.
    fn follow_limits(&self) {
        let mut shared = self.shared.borrow_mut();
        let Some(limits) = shared.limits.changed() else { return };
        match settings::of_connections(&self.tls, &limits) {
            Ok(config) => self.endpoint.set(Arc::new(config)),
            Err(error) => debug!(%error, "the limits of QUIC stay as they were"),
        }
        *shared = Rc::new(Shared {
            engine: Rc::new(limits.of_engine()),
            limits,
            services: Rc::clone(&shared.services),
            connections: shared.connections.clone(),
        });
    }
}
