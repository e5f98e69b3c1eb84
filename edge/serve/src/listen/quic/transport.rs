//! One connection of QUIC: what came, its timers, and what it sends.

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

/// Packets that a connection takes before others have their turn.
const PACKETS_MAX: usize = 64;
/// Bytes that the system takes at once.
const SEND_BYTES_MAX: usize = 60 * 1024;
/// Packets that close a connection: one for each kind of key that the peer may have (RFC 9000 §10.2.3).
const LAST_PACKETS_MAX: usize = 3;

/// The connection.
pub(super) struct Transport {
    pub(super) quic: Connection,
    handle: ConnectionHandle,
    endpoint: Rc<Endpoint>,
    inbox: Rc<Inbox>,
    /// What the system did not take.
    unsent: Option<(Transmit, Vec<u8>)>,
    alarm: Alarm,
    /// Why it is over, once it is.
    lost: Option<ConnectionError>,
    /// The endpoint does not know it, or knows its [`Farewell`] in its place.
    is_drained: bool,
    shown: ShownAddress,
}

/// What became of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// All that is to be sent now.
    All,
    /// As much as one turn has, and there may be more.
    Full,
    /// The system takes no more.
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

    /// Why it is over, once it is.
    pub(super) const fn lost(&self) -> Option<&ConnectionError> {
        self.lost.as_ref()
    }

    /// Takes what came, and what is due. Whether anything came.
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

    /// Whether more came than was taken.
    pub(super) fn has_more(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The next event that is none of its own.
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

    /// Sends what is due, up to about `bytes_max`.
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

    /// Tells the endpoint what it is to know.
    fn settle(&mut self) {
        while let Some(event) = self.quic.poll_endpoint_events() {
            self.is_drained |= event.is_drained();
            if let Some(event) = self.endpoint.tell(self.handle, event) {
                self.quic.handle_event(event);
            }
        }
    }

    /// Has the task woken when something is due, here or at `other`, or is there already.
    pub(super) fn poll_alarm(&mut self, other: Option<Instant>, cx: &mut Context<'_>) {
        let due = [self.quic.poll_timeout(), other].into_iter().flatten().min();
        let is_due = due.is_some_and(|due| self.alarm.poll(due.into(), cx).is_ready());
        if is_due || self.has_more() {
            cx.waker().wake_by_ref();
        }
    }

    /// Ends the connection, which is closed or lost: sends its last packet, and leaves what answers late ones, unless
    /// its peer knows or too many others wait for that.
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

    /// Closes the connection with a code of HTTP/3.
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
        // The peer learns of it if this packet comes to it, or by a reset if it sends another.
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

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Occurrence {
    /// The handshake is done.
    Connected,
    /// Something on a stream.
    Stream(StreamEvent),
}

/// The last address at which a peer has shown that it receives.
///
/// QUIC sends to where the last packet came from, though any may have a forged source (RFC 9000 §9.3.2), and goes back
/// unless the peer answers a challenge there (§8.2). It does not report the answer, but until then each of its packets
/// has a challenge in it: the first one without shows that the peer is there.
struct ShownAddress(SocketAddr);

impl ShownAddress {
    /// That of a connection which begins: its handshake shows it.
    fn of(quic: &Connection) -> Self {
        Self(quic.remote_address())
    }

    /// How many challenges went out, if packets go to another address now.
    fn challenges_elsewhere(&self, quic: &Connection) -> Option<u64> {
        (quic.remote_address() != self.0).then(|| challenges(quic))
    }

    /// Whether the peer has shown that it is elsewhere, by packets that were made when there were `before` challenges.
    fn moves(&mut self, quic: &Connection, made: &Transmit, before: u64) -> bool {
        // What closes a connection has no challenge either.
        let moves = made.destination == quic.remote_address() && challenges(quic) == before && !quic.is_closed();
        if moves {
            self.0 = made.destination;
        }
        moves
    }
}

/// Packets with a challenge, and those that try out a size, which have none in any case.
fn challenges(quic: &Connection) -> u64 {
    let stats = quic.stats();
    stats.frame_tx.path_challenge + stats.path.sent_plpmtud_probes
}
