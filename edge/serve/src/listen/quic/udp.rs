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

/// Batches that are read at once. Each may be many packets of one size from one peer, which the system has put
/// together.
const BATCHES: usize = 8;
/// Bytes of one: the system makes none larger.
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// The socket, as packets are sent on it.
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    /// Those who have a packet that the system does not take, each once: by the address of what its waker wakes.
    blocked: RefCell<HashMap<usize, Waker>>,
}

/// The same socket, as packets are read from it.
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

    /// Whether the size of packets that pass can be found out: the system does not divide them.
    pub(super) fn can_find_mtu(&self) -> bool {
        !self.state.may_fragment()
    }

    /// Packets of one size that the system takes at once.
    pub(super) fn segments_max(&self) -> usize {
        self.state.max_gso_segments().max(1)
    }

    /// Sends packets. Whether the system took them; if not, `waker` is woken when it does again, unless it wakes
    /// nobody. One that cannot be sent at all is lost, as any may be.
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
        // Nobody waits, and the thread may be at its end.
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
    /// Reads once, and gives each batch to `take`. Whether there may be more at once.
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
