//! The closing state of a connection, until the peer knows about the close (RFC 9000 §10.2).

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use quinn_proto::{ConnectionHandle, EndpointEvent, Transmit};

use super::endpoint::{Endpoint, Inbox};
use crate::listen::watch::Alarm;

/// Duration of the closing state: three probe timeouts of nearly every path (RFC 9000 §10.2), and fixed, because a peer
/// could extend its probe timeout.
const TIME: Duration = Duration::from_secs(3);
/// Maximum per thread; further peers learn of the end by a reset.
pub(super) const FAREWELLS_MAX: usize = 4_096;

/// The last packet, and the endpoint's entry of the connection. The buffers of QUIC are dropped.
pub(super) struct Farewell {
    endpoint: Rc<Endpoint>,
    handle: ConnectionHandle,
    inbox: Rc<Inbox>,
    /// The packet that closes the connection, if sent by this end.
    last: Option<(Transmit, Box<[u8]>)>,
    /// Number of packets received after the close.
    came: u32,
    until: Instant,
    alarm: Alarm,
}

impl Farewell {
    /// Replaces a connection. The caller drops the connection, and does not release its handle.
    pub(super) fn new(
        endpoint: Rc<Endpoint>,
        handle: ConnectionHandle,
        inbox: Rc<Inbox>,
        last: Option<(Transmit, Box<[u8]>)>,
        now: Instant,
    ) -> Self {
        let farewells = &endpoint.farewells;
        farewells.set(farewells.get() + 1);
        Self { endpoint, handle, inbox, last, came: 0, until: now + TIME, alarm: Alarm::default() }
    }

    /// Responds to further packets with the last packet: to the first, the second, the fourth and so on, so that two
    /// closed ends do not respond to each other forever (RFC 9000 §10.2.1). Ready after the closing time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inbox.register(cx.waker());
        while self.inbox.take().is_some() {
            self.came = self.came.saturating_add(1);
            if let Some((transmit, packet)) = self.last.as_ref().filter(|_last| self.came.is_power_of_two()) {
                self.endpoint.socket.send(transmit, packet, Waker::noop());
            }
        }
        self.alarm.poll(self.until.into(), cx)
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let farewells = &self.endpoint.farewells;
        farewells.set(farewells.get().saturating_sub(1));
        self.endpoint.tell(self.handle, EndpointEvent::drained());
    }
}
