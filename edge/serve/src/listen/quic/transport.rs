//! One QUIC connection: input, timers and output.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use metrics::counter;
use quinn_proto::{Connection, ConnectionError, ConnectionHandle, EndpointEvent, Event, StreamEvent, Transmit, VarInt};

use super::endpoint::{Endpoint, First, Inbox};
use super::farewell::{FAREWELLS_MAX, Farewell};
use crate::listen::watch::Alarm;
use devanture_http::http3::Code;

/// Maximum number of packets handled at once before other connections have their turn.
const PACKETS_MAX: usize = 64;
/// Maximum number of bytes that the system accepts at once.
const SEND_BYTES_MAX: usize = 60 * 1024;
/// Packets that close a connection: one for each encryption level that the peer may have (RFC 9000 §10.2.3).
const LAST_PACKETS_MAX: usize = 3;

/// The connection.
pub(super) struct Transport {
    pub(super) quic: Connection,
    handle: ConnectionHandle,
    endpoint: Rc<Endpoint>,
    inbox: Rc<Inbox>,
    /// A packet that the system did not accept.
    unsent: Option<(Transmit, Vec<u8>)>,
    alarm: Alarm,
    /// Reason of the loss, if lost.
    lost: Option<ConnectionError>,
    /// True if the endpoint has no entry for the connection, or only the entry of its [`Farewell`].
    is_drained: bool,
    shown: ShownAddress,
}

/// Result of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// All due packets are sent.
    All,
    /// The maximum of a turn is sent, and more may be due.
    Full,
    /// The system accepts no more packets.
    Blocked,
}

impl Transport {
    /// Begins a connection with its first packet.
    pub(super) fn accept(first: &mut First, now: Instant) -> Option<Self> {
        let endpoint = Rc::clone(first.endpoint());
        let (handle, quic, inbox) = endpoint.accept(first.take()?, now)?;
        let shown = ShownAddress::of(&quic);
        let (unsent, alarm, lost, is_drained) = (None, Alarm::default(), None, false);
        Some(Self { quic, handle, endpoint, inbox, unsent, alarm, lost, is_drained, shown })
    }

    /// Returns the reason of the loss, if lost.
    pub(super) const fn lost(&self) -> Option<&ConnectionError> {
        self.lost.as_ref()
    }

    /// Handles received packets and due timers. Returns true if a packet arrived.
    pub(super) fn take(&mut self, now: Instant, cx: &Context<'_>) -> bool {
        self.inbox.register(cx.waker());
        let mut came = false;
        for _ in 0..PACKETS_MAX {
            let Some(event) = self.inbox.take() else { break };
            self.quic.handle_event(event);
            came = true;
        }
        if self.quic.poll_timeout().is_some_and(|due| due <= now) {
            self.quic.handle_timeout(now);
        }
        came
    }

    /// Returns true if more packets are queued.
    pub(super) fn has_more(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Returns the next event for the upper layer.
    pub(super) fn next_event(&mut self) -> Option<Occurrence> {
        loop {
            match self.quic.poll()? {
                Event::Connected => return Some(Occurrence::Connected),
                Event::Stream(event) => return Some(Occurrence::Stream(event)),
                Event::ConnectionLost { reason } => self.lost = Some(reason),
                Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
            }
        }
    }

    /// Sends due packets, up to about `bytes_max`.
    pub(super) fn send(&mut self, now: Instant, bytes_max: usize, waker: &Waker) -> Sent {
        let sent = self.send_due(now, bytes_max, waker);
        self.settle();
        sent
    }

    fn send_due(&mut self, now: Instant, bytes_max: usize, waker: &Waker) -> Sent {
        let Self { quic, endpoint, unsent, shown, .. } = self;
        if let Some((transmit, contents)) = unsent {
            if !endpoint.socket.send(transmit, contents, waker) {
                return Sent::Blocked;
            }
            *unsent = None;
        }
        let segments = endpoint.socket.segments_max().min(SEND_BYTES_MAX / usize::from(quic.current_mtu()).max(1));
        let mut bytes = 0;
        endpoint.lend(|output| {
            while bytes < bytes_max {
                output.clear();
                let challenges = shown.challenges_elsewhere(quic);
                let Some(transmit) = quic.poll_transmit(now, segments.max(1), output) else { return Sent::All };
                if challenges.is_some_and(|before| shown.moves(quic, &transmit, before)) {
                    counter!("devanture_quic_migrations_total").increment(1);
                }
                bytes += transmit.size;
                if !endpoint.socket.send(&transmit, output, waker) {
                    *unsent = Some((transmit, output.clone()));
                    return Sent::Blocked;
                }
            }
            Sent::Full
        })
    }

    /// Passes the connection's events to the endpoint.
    fn settle(&mut self) {
        while let Some(event) = self.quic.poll_endpoint_events() {
            self.is_drained |= event.is_drained();
            if let Some(event) = self.endpoint.tell(self.handle, event) {
                self.quic.handle_event(event);
            }
        }
    }

    /// Wakes the task at the next timer or at `other`, or at once if packets are queued.
    pub(super) fn poll_alarm(&mut self, other: Option<Instant>, cx: &mut Context<'_>) {
        let due = [self.quic.poll_timeout(), other].into_iter().flatten().min();
        let is_due = due.is_some_and(|due| self.alarm.poll(due.into(), cx).is_ready());
        if is_due || self.has_more() {
            cx.waker().wake_by_ref();
        }
    }

    /// Ends a closed or lost connection: sends the last packet, and returns the closing state for late packets, unless
    /// the peer knows about the end or too many closing states exist.
    pub(super) fn leave(mut self, now: Instant) -> Option<Farewell> {
        let Self { quic, endpoint, .. } = &mut self;
        let mut last = None;
        for _ in 0..LAST_PACKETS_MAX {
            let mut output = Vec::new();
            let Some(transmit) = quic.poll_transmit(now, 1, &mut output) else { break };
            endpoint.socket.send(&transmit, &output, Waker::noop());
            last = Some((transmit, output.into_boxed_slice()));
        }
        self.settle();
        if self.is_drained || self.endpoint.farewells.get() >= FAREWELLS_MAX {
            return None;
        }
        self.is_drained = true;
        Some(Farewell::new(Rc::clone(&self.endpoint), self.handle, Rc::clone(&self.inbox), last, now))
    }

    /// Closes the connection with an HTTP/3 error code.
    pub(super) fn close(&mut self, now: Instant, code: Code) {
        self.quic.close(now, VarInt::from_u64(code as u64).unwrap_or_default(), Bytes::new());
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        let lost = self.quic.stats().path.lost_packets;
        if lost > 0 {
            counter!("devanture_quic_lost_packets_total").increment(lost);
        }
        if self.is_drained {
            return;
        }
        // The peer learns of the close by the packet, or by a reset in response to a later packet.
        if !self.quic.is_closed() {
            let now = crate::listen::engine::clock();
            self.close(now, Code::None);
            self.send(now, 1, Waker::noop());
        }
        if !self.is_drained {
            self.endpoint.tell(self.handle, EndpointEvent::drained());
        }
    }
}

/// Event of a connection.
#[derive(Debug)]
pub(super) enum Occurrence {
    /// The handshake is complete.
    Connected,
    /// Event of a stream.
    Stream(StreamEvent),
}

/// The last validated address of a peer.
///
/// QUIC sends to the source of the last packet, which may be forged (RFC 9000 §9.3.2), and returns to the earlier
/// address unless the peer responds to a challenge at the new address (§8.2). quinn-proto does not report the response,
/// but each packet contains a challenge until then: the first packet without a challenge shows that the address is
/// validated.
struct ShownAddress(SocketAddr);

impl ShownAddress {
    /// Returns the address of a new connection, validated by the handshake.
    fn of(quic: &Connection) -> Self {
        Self(quic.remote_address())
    }

    /// Returns the number of sent challenges if packets now go to an address that is not validated yet.
    fn challenges_elsewhere(&self, quic: &Connection) -> Option<u64> {
        (quic.remote_address() != self.0).then(|| challenges(quic))
    }

    /// Returns true if the packet `made` shows a validated new address: no challenge was added to the number `before`.
    fn moves(&mut self, quic: &Connection, made: &Transmit, before: u64) -> bool {
        // A packet that closes a connection has no challenge either.
        let moves = made.destination == quic.remote_address() && challenges(quic) == before && !quic.is_closed();
        if moves {
            self.0 = made.destination;
        }
        moves
    }
}

/// Returns the number of packets with a challenge, and of MTU probes, which never contain a challenge.
fn challenges(quic: &Connection) -> u64 {
    let stats = quic.stats();
    stats.frame_tx.path_challenge + stats.path.sent_plpmtud_probes
}
