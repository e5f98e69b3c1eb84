//! The endpoint of one thread, which dispatches packets to connections.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{
    AcceptError, Connection, ConnectionEvent, ConnectionHandle, DatagramEvent, EndpointEvent, Incoming, ServerConfig,
    Transmit,
};

use super::forward::Batch;
use super::udp::Socket;

/// Maximum number of queued packets of one connection. Further packets are dropped, as any packet may be lost in the
/// network.
const WAITING_MAX: usize = 1_024;

/// The endpoint.
pub(super) struct Endpoint {
    quic: RefCell<quinn_proto::Endpoint>,
    pub(super) socket: Rc<Socket>,
    /// Inboxes by the numbers of their handles.
    inboxes: RefCell<Vec<Option<Rc<Inbox>>>>,
    /// Output buffer shared by all connections.
    output: RefCell<Vec<u8>>,
    /// Number of closed connections whose peers may not know about the close yet.
    pub(super) farewells: Cell<usize>,
}

/// The queued events of one connection.
#[derive(Default)]
pub(super) struct Inbox {
    events: RefCell<VecDeque<ConnectionEvent>>,
    waker: RefCell<Option<Waker>>,
}

impl Inbox {
    fn put(&self, event: ConnectionEvent) {
        let mut events = self.events.borrow_mut();
        if events.len() >= WAITING_MAX {
            return;
        }
        events.push_back(event);
        if events.len() == 1
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    pub(super) fn take(&self) -> Option<ConnectionEvent> {
        self.events.borrow_mut().pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.borrow().is_empty()
    }

    /// Sets the task to wake.
    pub(super) fn register(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

impl Endpoint {
    pub(super) fn new(quic: quinn_proto::Endpoint, socket: Rc<Socket>) -> Self {
        let (inboxes, output) = (RefCell::default(), RefCell::default());
        Self { quic: RefCell::new(quic), socket, inboxes, output, farewells: Cell::default() }
    }

    /// Changes the settings of new connections.
    pub(super) fn set(&self, config: Arc<ServerConfig>) {
        self.quic.borrow_mut().set_server_config(Some(config));
    }

    /// Passes the packets of a batch to their connections, and new connections to `begin`.
    pub(super) fn take(&self, batch: &Batch<'_>, now: Instant, mut begin: impl FnMut(Incoming)) {
        let Batch { remote, local, ecn, stride, packets } = *batch;
        for packet in packets.chunks(stride.max(1)) {
            // An allocation per packet: a stream piece that waits for earlier pieces retains its packet, and must not
            // retain the batch.
            let packet = BytesMut::from(packet);
            let mut output = self.output.borrow_mut();
            output.clear();
            let event = self.quic.borrow_mut().handle(now, remote, local, ecn, packet, &mut output);
            match event {
                Some(DatagramEvent::ConnectionEvent(handle, event)) => self.pass(handle, event),
                Some(DatagramEvent::NewConnection(incoming)) => {
                    drop(output);
                    begin(incoming);
                }
                Some(DatagramEvent::Response(transmit)) => self.respond(&transmit, &output),
                None => {}
            }
        }
    }

    fn pass(&self, handle: ConnectionHandle, event: ConnectionEvent) {
        if let Some(Some(inbox)) = self.inboxes.borrow().get(handle.0) {
            inbox.put(event);
        }
    }

    /// Sends a packet without a connection; the packet is lost if the system does not accept it.
    fn respond(&self, transmit: &Transmit, output: &[u8]) {
        self.socket.send(transmit, output, Waker::noop());
    }

    /// Accepts a connection.
    pub(super) fn accept(&self, incoming: Incoming, now: Instant) -> Option<(ConnectionHandle, Connection, Rc<Inbox>)> {
        let mut output = self.output.borrow_mut();
        output.clear();
        let accepted = self.quic.borrow_mut().accept(incoming, now, &mut output, None);
        match accepted {
            Ok((handle, connection)) => {
                let inbox = Rc::<Inbox>::default();
                let mut inboxes = self.inboxes.borrow_mut();
                if inboxes.len() <= handle.0 {
                    inboxes.resize(handle.0 + 1, None);
                }
                if let Some(place) = inboxes.get_mut(handle.0) {
                    *place = Some(Rc::clone(&inbox));
                }
                Some((handle, connection, inbox))
            }
            Err(AcceptError { cause, response }) => {
                tracing::debug!(error = %cause, "a connection was not begun");
                if let Some(response) = response {
                    self.respond(&response, &output);
                }
                None
            }
        }
    }

    /// Requests address validation from the peer of a first packet; returns false if impossible.
    pub(super) fn retry(&self, incoming: Incoming) -> bool {
        let mut output = self.output.borrow_mut();
        output.clear();
        let retry = self.quic.borrow_mut().retry(incoming, &mut output);
        match retry {
            Ok(retry) => {
                self.respond(&retry, &output);
                true
            }
            Err(error) => {
                self.quic.borrow_mut().ignore(error.into_incoming());
                false
            }
        }
    }

    /// Refuses a connection.
    pub(super) fn refuse(&self, incoming: Incoming) {
        let mut output = self.output.borrow_mut();
        output.clear();
        let refusal = self.quic.borrow_mut().refuse(incoming, &mut output);
        self.respond(&refusal, &output);
    }

    /// Ignores a first packet.
    pub(super) fn ignore(&self, incoming: Incoming) {
        self.quic.borrow_mut().ignore(incoming);
    }

    /// Handles a connection's event for the endpoint.
    pub(super) fn tell(&self, handle: ConnectionHandle, event: EndpointEvent) -> Option<ConnectionEvent> {
        if event.is_drained()
            && let Some(place) = self.inboxes.borrow_mut().get_mut(handle.0)
        {
            *place = None;
        }
        self.quic.borrow_mut().handle_event(handle, event)
    }

    /// Lends the output buffer to `send`.
    pub(super) fn lend<R>(&self, send: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut output = self.output.borrow_mut();
        output.clear();
        send(&mut output)
    }
}

/// A first packet without a connection yet.
pub(super) struct First {
    endpoint: Rc<Endpoint>,
    remote: SocketAddr,
    incoming: Option<Incoming>,
}

impl First {
    pub(super) fn new(endpoint: Rc<Endpoint>, incoming: Incoming) -> Self {
        Self { endpoint, remote: incoming.remote_address(), incoming: Some(incoming) }
    }

    pub(super) const fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }

    /// Returns the source address. The whole handshake goes to the address, and handshake packets from other addresses
    /// are dropped: the peer that completed the handshake receives at the address, while any later packet may have a
    /// forged source.
    pub(super) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote.ip().to_canonical(), self.remote.port())
    }

    /// Returns the local address that received the packet.
    pub(super) fn local(&self) -> SocketAddr {
        let local = self.endpoint.socket.local();
        let ip = self.incoming.as_ref().and_then(Incoming::local_ip);
        SocketAddr::new(ip.unwrap_or_else(|| local.ip()).to_canonical(), local.port())
    }

    pub(super) fn take(&mut self) -> Option<Incoming> {
        self.incoming.take()
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.endpoint.ignore(incoming);
        }
    }
}
