//! What is left of a connection that is over, until its peer knows (RFC 9000 §10.2).

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use quinn_proto::{ConnectionHandle, EndpointEvent, Transmit};

use super::endpoint::{Endpoint, Inbox};
use crate::listen::watch::Alarm;

/// How long it is there: three probe timeouts of nearly every path (RFC 9000 §10.2), and a time that no peer can
/// extend, as it could those.
const TIME: Duration = Duration::from_secs(3);
/// How many of them a thread has; the peers of others learn of the end by a reset.
pub(super) const FAREWELLS_MAX: usize = 4_096;

/// The last packet, and the entry of the connection at its endpoint. The buffers of QUIC are gone.
pub(super) struct Farewell {
    endpoint: Rc<Endpoint>,
    handle: ConnectionHandle,
    inbox: Rc<Inbox>,
    /// The packet that closes the connection, where this end has sent one.
    last: Option<(Transmit, Box<[u8]>)>,
    /// Packets that came after it.
    came: u32,
    until: Instant,
    alarm: Alarm,
}

impl Farewell {
    /// Takes the place of a connection. The caller drops that, and does not give up its handle.
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

    /// Answers what still comes with the last packet: the first, the second, the fourth and so on, so that two ends
    /// that have closed do not answer each other for ever (RFC 9000 §10.2.1). Ready when the time is over.
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
