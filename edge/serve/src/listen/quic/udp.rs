//! The UDP socket of one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use quinn_proto::Transmit;
use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::forward::Batch;

/// Number of batches per read. Each batch may have many packets of one size from one peer, coalesced by the system.
const BATCHES: usize = 8;
/// Size of one batch, the system's maximum.
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// The sending half of the socket.
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    /// Wakers of senders blocked by the system, each once, keyed by the address of the waker's data.
    blocked: RefCell<HashMap<usize, Waker>>,
}

/// The receiving half of the socket.
pub(super) struct Receiver {
    socket: Rc<Socket>,
    input: Box<[u8]>,
}

impl Socket {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?;
        Ok(Self { io: UdpSocket::from_std(socket)?, state, local, blocked: RefCell::default() })
    }

    pub(super) fn receiver(self: &Rc<Self>) -> Receiver {
        Receiver { socket: Rc::clone(self), input: vec![0; BATCHES * BATCH_BYTES].into() }
    }

    pub(super) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Returns true if the path MTU can be discovered, because the system does not fragment packets.
    pub(super) fn can_find_mtu(&self) -> bool {
        !self.state.may_fragment()
    }

    /// Returns the maximum of packets of one size per send.
    pub(super) fn segments_max(&self) -> usize {
        self.state.max_gso_segments().max(1)
    }

    /// Sends packets. Returns false if the system does not accept the packets now; `waker` is then woken later, unless
    /// no-op. A packet that cannot be sent at all is dropped, as any packet may be lost in the network.
    pub(super) fn send(self: &Rc<Self>, transmit: &Transmit, contents: &[u8], waker: &Waker) -> bool {
        let ecn = transmit.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn,
            contents: contents.get(..transmit.size).unwrap_or(contents),
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        let send = || self.state.try_send((&self.io).into(), &transmit);
        match self.io.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.wait(waker);
                false
            }
            Err(error) => {
                tracing::debug!(%error, "a packet could not be sent");
                true
            }
            Ok(()) => true,
        }
    }

    fn wait(self: &Rc<Self>, waker: &Waker) {
        // No task waits, and the thread may be ending.
        if waker.will_wake(Waker::noop()) {
            return;
        }
        let mut blocked = self.blocked.borrow_mut();
        let is_first = blocked.is_empty();
        blocked.insert(waker.data().addr(), waker.clone());
        if is_first {
            let socket = Rc::clone(self);
            tokio::task::spawn_local(async move {
                drop(socket.io.writable().await);
                socket.blocked.take().into_values().for_each(Waker::wake);
            });
        }
    }
}

impl Receiver {
    /// Reads once, and passes each batch to `take`. Returns true if more packets may be available.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(Batch<'_>),
    ) -> Poll<io::Result<bool>> {
        let Self { socket, input } = self;
        let mut metas = [RecvMeta::default(); BATCHES];
        loop {
            ready!(socket.io.poll_recv_ready(cx))?;
            let mut slices = input.chunks_mut(BATCH_BYTES).map(IoSliceMut::new);
            let mut slices: [IoSliceMut<'_>; BATCHES] =
                std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let receive = || socket.state.recv((&socket.io).into(), &mut slices, &mut metas);
            let count = match socket.io.try_io(Interest::READABLE, receive) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                received => received?,
            };
            for (batch, meta) in input.chunks(BATCH_BYTES).zip(&metas).take(count) {
                take(Batch {
                    remote: meta.addr,
                    local: meta.dst_ip,
                    ecn: meta.ecn.and_then(|ecn| quinn_proto::EcnCodepoint::from_bits(ecn as u8)),
                    stride: meta.stride,
                    packets: batch.get(..meta.len).unwrap_or_default(),
                });
            }
            return Poll::Ready(Ok(count == BATCHES));
        }
    }
}
