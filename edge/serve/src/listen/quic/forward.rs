//! Forwards packets between the current process and its predecessor. Both processes have the same sockets, and the
//! current process reads the sockets: packets of the predecessor's connections are forwarded over a pair of Unix
//! sockets per thread, whose other end the predecessor reads. A packet without room in the buffer is dropped, as any
//! packet may be lost in the network.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use quinn_proto::EcnCodepoint;
use tokio_util::sync::CancellationToken;

use super::ids::generation_of;
use super::udp::BATCH_BYTES;

/// Time for which packets for an ended predecessor are dropped: the predecessor has closed its connections, and a reset
/// would be mistaken for the close. Afterwards resets report an abnormal end.
const LATE_MAX: Duration = Duration::from_secs(1);
/// Length of a message's header.
const HEADER_BYTES: usize = 44;
/// Maximum length of a message.
pub(super) const MESSAGE_BYTES_MAX: usize = HEADER_BYTES + BATCH_BYTES;
/// Codes of the address family.
const IS_V4: u8 = 1;
const HAS_LOCAL: u8 = 2;

/// Packets from one peer, received together, of one size except for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch<'b> {
    pub(super) remote: SocketAddr,
    /// The destination address of the packets.
    pub(super) local: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
    /// Size of each packet.
    pub(super) stride: usize,
    pub(super) packets: &'b [u8],
}

impl<'b> Batch<'b> {
    /// Splits the batch into runs of consecutive packets with equal results of `of`.
    pub(super) fn runs<T: PartialEq>(self, of: impl Fn(&[u8]) -> T) -> impl Iterator<Item = (T, Self)> {
        let stride = self.stride.max(1);
        let mut rest = self.packets;
        std::iter::from_fn(move || {
            let first = of(rest.chunks(stride).next()?);
            let same = rest.chunks(stride).take_while(|packet| of(packet) == first).map(<[u8]>::len).sum();
            let (packets, after) = rest.split_at_checked(same)?;
            rest = after;
            Some((first, Self { packets, ..self }))
        })
    }

    fn write(&self, message: &mut Vec<u8>) {
        let (ip, mut flags) = match self.remote {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), IS_V4),
            SocketAddr::V6(v6) => (*v6.ip(), 0),
        };
        let scope = if let SocketAddr::V6(v6) = self.remote { v6.scope_id() } else { 0 };
        let local = self.local.map_or(Ipv6Addr::UNSPECIFIED, |local| {
            flags |= HAS_LOCAL;
            match local {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            }
        });
        let ecn = self.ecn.map_or(0, |ecn| ecn as u8);
        message.clear();
        message.extend_from_slice(&[flags, ecn]);
        message.extend_from_slice(&ip.octets());
        message.extend_from_slice(&self.remote.port().to_be_bytes());
        message.extend_from_slice(&scope.to_be_bytes());
        message.extend_from_slice(&local.octets());
        message.extend_from_slice(&u32::try_from(self.stride).unwrap_or(u32::MAX).to_be_bytes());
        debug_assert_eq!(message.len(), HEADER_BYTES);
        message.extend_from_slice(self.packets);
    }

    /// Parses a message; `None` if invalid.
    pub(super) fn read(message: &'b [u8]) -> Option<Self> {
        let (&[flags, ecn], rest) = message.split_first_chunk()?;
        let (ip, rest) = rest.split_first_chunk::<16>()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (scope, rest) = rest.split_first_chunk()?;
        let (local, rest) = rest.split_first_chunk::<16>()?;
        let (stride, packets) = rest.split_first_chunk()?;
        let of = |octets: [u8; 16]| {
            let v6 = Ipv6Addr::from(octets);
            if flags & IS_V4 == 0 { IpAddr::V6(v6) } else { v6.to_canonical() }
        };
        let port = u16::from_be_bytes(*port);
        let remote = match of(*ip) {
            IpAddr::V4(v4) => SocketAddr::from((v4, port)),
            IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, u32::from_be_bytes(*scope))),
        };
        let local = (flags & HAS_LOCAL != 0).then(|| of(*local));
        let stride = usize::try_from(u32::from_be_bytes(*stride)).ok()?;
        let ecn = EcnCodepoint::from_bits(ecn);
        (!packets.is_empty() && stride > 0).then_some(Self { remote, local, ecn, stride, packets })
    }
}

/// The predecessor process, as seen by one thread.
#[derive(Debug)]
pub struct Predecessor {
    /// Socket for forwarded packets.
    pub socket: UnixDatagram,
    /// The generation byte of the predecessor's connection ids.
    pub generation: u8,
    /// Cancelled when the predecessor has ended.
    pub ended: CancellationToken,
}

impl Predecessor {
    /// Creates a predecessor that is still running.
    #[must_use]
    pub fn new(socket: UnixDatagram, generation: u8) -> Self {
        Self { socket, generation, ended: CancellationToken::new() }
    }
}

/// The process of a packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PacketOwner {
    Ours,
    /// The predecessor's.
    Before,
    /// The successor's.
    After,
}

/// The predecessor and the successor of the current process.
pub(super) struct Neighbours {
    generation: u8,
    before: RefCell<Option<Predecessor>>,
    /// Time since which the predecessor accepts no packets.
    gone: Cell<Option<Instant>>,
    message: RefCell<Vec<u8>>,
    /// Socket by which the successor forwards packets.
    after: RefCell<Option<UnixDatagram>>,
}

impl Neighbours {
    pub(super) fn new(generation: u8, before: Option<Predecessor>) -> Self {
        if let Some(before) = &before {
            // A blocking socket would block the whole thread.
            before.socket.set_nonblocking(true).ok();
        }
        let (gone, message, after) = (Cell::default(), RefCell::default(), RefCell::default());
        Self { generation, before: RefCell::new(before), gone, message, after }
    }

    /// Sets the socket to the successor.
    pub(super) fn set_after(&self, after: UnixDatagram) {
        *self.after.borrow_mut() = Some(after);
    }

    /// Returns true if a successor exists and reads the sockets: a successor without HTTP/3, or a failed successor,
    /// closes its end.
    pub(super) fn has_after(&self) -> bool {
        let after = self.after.borrow();
        let Some(after) = &*after else { return false };
        // The successor ignores the empty message, and the buffer soon has no more room.
        !after.send(&[]).is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
    }

    /// Returns the process of a packet.
    pub(super) fn whose(&self, packet: &[u8]) -> PacketOwner {
        let Some((generation, is_long)) = generation_of(packet) else { return PacketOwner::Ours };
        if generation == self.generation {
            return PacketOwner::Ours;
        }
        match &*self.before.borrow() {
            // The client chooses the id in a first packet.
            Some(before) if is_long && before.generation != generation => PacketOwner::Ours,
            Some(_) => PacketOwner::Before,
            // Both processes read for a moment. A reset would end a connection that has just begun.
            None if !is_long && self.has_after() => PacketOwner::After,
            None => PacketOwner::Ours,
        }
    }

    /// Forwards packets to the predecessor.
    pub(super) fn forward(&self, batch: &Batch<'_>, now: Instant) {
        let mut before = self.before.borrow_mut();
        let Some(predecessor) = &*before else { return };
        let mut message = self.message.borrow_mut();
        batch.write(&mut message);
        match predecessor.socket.send(&message) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                let gone = self.gone.get().unwrap_or(now);
                self.gone.set(Some(gone));
                if now.saturating_duration_since(gone) >= LATE_MAX {
                    tracing::debug!(%error, "the process before is gone, and its connections with it");
                    *before = None;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ids::{ID_BYTES, Ids, Place};
    use super::*;

    proptest! {
        #[test]
        fn a_batch_arrives_as_it_came(
            remote: SocketAddr, local: Option<IpAddr>, ecn in 0..4_u8, stride in 1..70_000_usize,
            packets in prop::collection::vec(any::<u8>(), 1..3_000),
        ) {
            // A socket has one address family; a local IPv4 address does not fit an IPv6 peer and is dropped.
            let local = local.filter(|local| local.is_ipv4() == remote.is_ipv4());
            let remote = match remote {
                SocketAddr::V6(mut v6) => { v6.set_flowinfo(0); SocketAddr::V6(v6) }
                v4 @ SocketAddr::V4(_) => v4,
            };
            let batch = Batch { remote, local, ecn: EcnCodepoint::from_bits(ecn), stride, packets: &packets };
            let mut message = Vec::new();
            batch.write(&mut message);
            prop_assert_eq!(Batch::read(&message), Some(batch));
            prop_assert_eq!(Batch::read(&message[..HEADER_BYTES]), None);
        }

        #[test]
        fn parts_of_a_batch_are_all_of_it(packets in prop::collection::vec(0..3_u8, 0..200), stride in 1..20_usize) {
            let remote = SocketAddr::from(([192, 0, 2, 1], 1));
            let batch = Batch { remote, local: None, ecn: None, stride, packets: &packets };
            let runs: Vec<(u8, Batch<'_>)> = batch.runs(|packet| packet[0]).collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].0 != pair[1].0));
            prop_assert!(runs.iter().all(|(first, run)| run.packets.chunks(stride).all(|packet| packet[0] == *first)));
            let joined: Vec<u8> = runs.iter().flat_map(|(_, run)| run.packets).copied().collect();
            prop_assert_eq!(joined, packets);
        }
    }

    fn packet(generation: u8, is_long: bool) -> Vec<u8> {
        use quinn_proto::ConnectionIdGenerator as _;
        let id = Ids(Place { thread: 0, threads: 1, generation }).generate_cid();
        let mut packet = if is_long { vec![0xe3, 0, 0, 0, 1, u8::try_from(ID_BYTES).unwrap()] } else { vec![0x40] };
        packet.extend_from_slice(&id);
        packet.extend_from_slice(&[0; 30]);
        packet
    }

    #[test]
    fn packets_go_to_the_process_whose_connection_they_name() {
        let (near, far) = UnixDatagram::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let alone = Neighbours::new(7, None);
        let beside = Neighbours::new(8, Some(Predecessor::new(near, 7)));
        for is_long in [false, true] {
            assert_eq!(alone.whose(&packet(7, is_long)), PacketOwner::Ours);
            assert_eq!(beside.whose(&packet(8, is_long)), PacketOwner::Ours);
            assert_eq!(beside.whose(&packet(7, is_long)), PacketOwner::Before);
        }
        // An unknown id may belong to the running predecessor; a first packet belongs to a new client.
        assert_eq!(
            (beside.whose(&packet(3, false)), beside.whose(&packet(3, true))),
            (PacketOwner::Before, PacketOwner::Ours)
        );
        let (after, its_end) = UnixDatagram::pair().unwrap();
        after.set_nonblocking(true).unwrap();
        alone.set_after(after);
        for _ in 0..1_000 {
            assert_eq!(
                (alone.whose(&packet(8, false)), alone.whose(&packet(8, true))),
                (PacketOwner::After, PacketOwner::Ours)
            );
        }
        drop(its_end);
        assert_eq!(alone.whose(&packet(8, false)), PacketOwner::Ours, "the process that was to take over has failed");

        let batch = Batch {
            remote: SocketAddr::from(([192, 0, 2, 1], 1)),
            local: None,
            ecn: None,
            stride: 100,
            packets: &packet(7, false),
        };
        let now = Instant::now();
        beside.forward(&batch, now);
        let mut message = [0; 500];
        let count = far.recv(&mut message).unwrap();
        assert_eq!(Batch::read(&message[..count]), Some(batch));
        drop(far);
        beside.forward(&batch, now);
        assert_eq!(
            beside.whose(&packet(7, false)),
            PacketOwner::Before,
            "late packets of what was closed get no reset"
        );
        beside.forward(&batch, now + LATE_MAX);
        assert_eq!(
            beside.whose(&packet(7, false)),
            PacketOwner::Ours,
            "a reset tells of the end of the process before"
        );
    }
}
