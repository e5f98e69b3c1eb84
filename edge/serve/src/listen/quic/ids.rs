//! Connection ids, which tell the thread and the process of a packet.

use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use rand::Rng as _;

/// Length of the edge's connection ids.
pub(super) const ID_BYTES: usize = 10;
/// Positions of the thread's byte, as read by the sockets' filter, and of the process's byte.
pub(super) const THREAD_AT: usize = 0;
pub(super) const GENERATION_AT: usize = 1;

/// The position of a socket among the sockets with the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The index of the socket, in the order of the binds.
    pub thread: u8,
    /// The number of all sockets.
    pub threads: u8,
    /// The process, relative to its predecessor.
    pub generation: u8,
}

/// Generator of connection ids that route to the socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids(pub(super) Place);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let Place { thread, threads, generation } = self.0;
        let mut random = rand::rng();
        let mut bytes: [u8; ID_BYTES] = random.random();
        let threads = threads.max(1);
        // Any number with the remainder `thread`.
        let rounds = (u8::MAX - thread) / threads;
        let [first, second, ..] = &mut bytes;
        *first = thread + threads * random.random_range(0..=rounds);
        *second = generation;
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// Returns the generation byte of a packet's connection id, if the id has the edge's length, and true for a long header
/// (RFC 9000 §17).
pub(super) fn generation_of(packet: &[u8]) -> Option<(u8, bool)> {
    const LONG_FORM: u8 = 0x80;
    let (first, rest) = packet.split_first()?;
    let is_long = first & LONG_FORM != 0;
    let id = if is_long {
        // After the version and the length of the id.
        let (length, id) = rest.get(4..)?.split_first()?;
        if usize::from(*length) != ID_BYTES {
            return None;
        }
        id
    } else {
        rest
    };
    Some((*id.get(..ID_BYTES)?.get(GENERATION_AT)?, is_long))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_its_thread_and_says_its_process() {
        for threads in [1, 2, 3, 7, 200, 255] {
            for thread in (0..threads).step_by(3) {
                let mut ids = Ids(Place { thread, threads, generation: 9 });
                let made: Vec<ConnectionId> = (0..50).map(|_| ids.generate_cid()).collect();
                assert!(made.iter().all(|id| id[THREAD_AT] % threads == thread && id[GENERATION_AT] == 9));
                assert_eq!(made.first().map(|id| id.len()), Some(ID_BYTES));
            }
        }
    }
}
