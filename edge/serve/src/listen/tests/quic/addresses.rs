//! Packets from another address: with a forged source, and from a migrated peer.

use std::time::Instant;

use bytes::BytesMut;
use metrics_exporter_prometheus::PrometheusBuilder;
use quinn_proto::{ConnectionHandle, DatagramEvent, Dir, Event, StreamEvent, StreamId};

use super::*;

/// A request for `/` of `shop.localhost`: one frame with static table names (RFC 9204, appendix A).
const REQUEST: &[u8] = b"\x01\x15\0\0\xd1\xd7\xc1\x50\x0eshop.localhost";

/// A client whose test chooses the source of each packet.
pub(super) struct ByHand {
    endpoint: quinn_proto::Endpoint,
    handle: ConnectionHandle,
    connection: quinn_proto::Connection,
    server: SocketAddr,
    answered: Vec<StreamId>,
}

/// A socket that sends immediately, before any other task runs.
struct Socket {
    sending: UdpSocket,
    receiving: tokio::net::UdpSocket,
}

impl Socket {
    fn bind() -> Self {
        let sending = UdpSocket::bind("127.0.0.1:0").unwrap();
        sending.set_nonblocking(true).unwrap();
        let receiving = tokio::net::UdpSocket::from_std(sending.try_clone().unwrap()).unwrap();
        Self { sending, receiving }
    }

    async fn receive(&self) -> BytesMut {
        let mut packet = [0; 2_000];
        let count = timeout(PATIENCE, self.receiving.recv(&mut packet)).await.expect("a packet comes").unwrap();
        BytesMut::from(&packet[..count])
    }
}

impl ByHand {
    pub(super) fn new(served: &Served) -> Self {
        let config = trusting(served.folder.path(), &["h3"]);
        let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
        let config = quinn_proto::ClientConfig::new(Arc::new(config));
        let of_endpoint = quinn_proto::EndpointConfig::default();
        let mut endpoint = quinn_proto::Endpoint::new(Arc::new(of_endpoint), None, false, None);
        let server = served.address;
        let (handle, connection) = endpoint.connect(Instant::now(), config, server, "shop.localhost").unwrap();
        Self { endpoint, handle, connection, server, answered: Vec::new() }
    }

    /// Returns the packets to send now.
    pub(super) fn packets(&mut self) -> Vec<Vec<u8>> {
        let Self { endpoint, handle, connection, .. } = self;
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        let next = || {
            let mut packet = Vec::new();
            connection.poll_transmit(Instant::now(), 1, &mut packet).map(|_| packet)
        };
        std::iter::from_fn(next).collect()
    }

    /// Sends all packets from the socket.
    fn send(&mut self, from: &Socket) {
        for packet in self.packets() {
            from.sending.send_to(&packet, self.server).unwrap();
        }
    }

    fn take(&mut self, packet: BytesMut) {
        let event = self.endpoint.handle(Instant::now(), self.server, None, None, packet, &mut Vec::new());
        if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
            self.connection.handle_event(event);
        }
        while let Some(event) = self.connection.poll() {
            if let Event::Stream(StreamEvent::Readable { id }) = event {
                self.answered.push(id);
            }
        }
    }

    /// Handles packets until `is_done` returns true.
    async fn stay(&mut self, at: &Socket, mut is_done: impl FnMut(&Self) -> bool) {
        while !is_done(self) {
            self.send(at);
            let packet = at.receive().await;
            self.take(packet);
        }
    }

    /// Performs the handshake, except for the last flight.
    async fn shake(&mut self, at: &Socket) {
        self.stay(at, |client| !client.connection.is_handshaking()).await;
    }

    /// Begins a request.
    fn ask(&mut self) -> StreamId {
        let id = self.connection.streams().open(Dir::Bi).expect("a stream is free");
        let mut stream = self.connection.send_stream(id);
        assert_eq!(stream.write(REQUEST).unwrap(), REQUEST.len());
        stream.finish().unwrap();
        id
    }

    /// Sends a request and receives the response.
    async fn fetch(&mut self, at: &Socket) {
        let id = self.ask();
        self.stay(at, |client| client.answered.contains(&id)).await;
    }
}

/// QUIC continues with the claimed source of the packet before any validation: limits, logs and backends used the claim
/// as the address of the whole connection.
#[test]
fn a_packet_with_a_forged_source_right_behind_the_handshake_does_not_say_who_the_peer_is() {
    local(async || {
        let served = Served::start(&Limits::default(), 1);
        let (own, forged, mut client) = (Socket::bind(), Socket::bind(), ByHand::new(&served));
        client.shake(&own).await;
        // Both packets arrive before the connection's next turn.
        client.send(&own);
        client.ask();
        client.send(&forged);
        eventually(|| !served.peers.borrow().is_empty()).await;
        assert_eq!(served.peers.borrow()[0].address, own.sending.local_addr().unwrap());
    });
}

#[test]
fn a_migration_counts_when_its_peer_has_answered_from_there() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let counted = || {
        let rendered = handle.render();
        let count = rendered.lines().find_map(|line| line.strip_prefix("devanture_quic_migrations_total "));
        count.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    local(async || {
        let served = Served::start(&Limits::default(), 1);
        let (own, forged, next) = (Socket::bind(), Socket::bind(), Socket::bind());
        let mut client = ByHand::new(&served);
        client.shake(&own).await;
        client.fetch(&own).await;
        client.ask();
        client.send(&forged);
        // The server has believed the claim enough to send to the address.
        forged.receive().await;
        for _ in 0..2 {
            client.fetch(&own).await;
        }
        assert_eq!(counted(), 0, "nobody was ever there");
        // The response to the server's challenge comes with the second request, or later if the server has given the
        // challenge up.
        let moving = async {
            while counted() == 0 {
                client.fetch(&next).await;
            }
        };
        timeout(PATIENCE, moving).await.expect("it has moved");
        assert_eq!(counted(), 1);
        let peers: std::collections::HashSet<_> = served.peers.borrow().iter().map(|peer| peer.address).collect();
        assert_eq!(peers, [own.sending.local_addr().unwrap()].into());
    });
}
