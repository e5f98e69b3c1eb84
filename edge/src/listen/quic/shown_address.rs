//! Where the peer of a connection is for certain: it may go on from another address.
//!
//! QUIC sends to where the last packet came from, though any may have a forged source (RFC 9000 §9.3.2), and goes back
//! unless the peer answers a challenge there (§8.2). It does not report the answer, but until then each of its packets
//! has a challenge in it: the first one without shows that the peer is there.

use std::net::SocketAddr;

use quinn_proto::{Connection, Transmit};

/// The last address at which a peer has shown that it receives.
pub(super) struct ShownAddress(SocketAddr);

impl ShownAddress {
    /// That of a connection which begins: its handshake shows it.
    pub(super) fn of(quic: &Connection) -> Self {
        Self(quic.remote_address())
    }

    /// How many challenges went out, if packets go to another address now.
    pub(super) fn challenges_elsewhere(&self, quic: &Connection) -> Option<u64> {
        (quic.remote_address() != self.0).then(|| challenges(quic))
    }

    /// Whether the peer has shown that it is elsewhere, by packets that were made when there were `before` challenges.
    pub(super) fn moves(&mut self, quic: &Connection, made: &Transmit, before: u64) -> bool {
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
