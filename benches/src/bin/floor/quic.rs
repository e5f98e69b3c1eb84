//! HTTP/3 with constant responses: QUIC by `quinn-proto`, on one socket, with constant frames.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, IoSliceMut};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, EcnCodepoint, Endpoint, EndpointConfig, Event, IdleTimeout,
    Incoming, ServerConfig, StreamEvent, StreamId, Transmit, TransportConfig, VarInt, WriteError,
};
use quinn_udp::{RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::answers::{Answer, Answers};

/// Batches per read, each of packets coalesced by the system.
const BATCHES: usize = 8;
const BATCH_BYTES: usize = 64 * 1024;
/// Bytes per send, as in the edge.
const SEND_BYTES_MAX: usize = 60 * 1024;
/// Maximum unacknowledged bytes, as in the edge.
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// Idle timeout in milliseconds, longer than any measurement.
const IDLE_MS: u32 = 900_000;
/// Control stream with empty SETTINGS (RFC 9114 §6.2.1).
const CONTROL: [u8; 3] = [0x00, 0x04, 0x00];

/// Connection with pending output.
struct Peer {
    quic: Connection,
    /// Response to the first request, and to every later request.
    answer: Option<Answer>,
    /// Received bytes of the first request.
    first: Vec<u8>,
    unsent: HashMap<StreamId, [Bytes; 2]>,
    timer: Option<Instant>,
}

struct Server {
    io: UdpSocket,
    state: UdpSocketState,
    endpoint: Endpoint,
    peers: HashMap<ConnectionHandle, Peer>,
    timers: BTreeSet<(Instant, ConnectionHandle)>,
    answers: Arc<Answers>,
    input: Box<[u8]>,
    output: Vec<u8>,
}

/// Serves clients forever.
pub(crate) async fn serve(
    socket: std::net::UdpSocket,
    tls: &rustls::ServerConfig,
    answers: Arc<Answers>,
) -> Result<(), Box<dyn std::error::Error>> {
    socket.set_nonblocking(true)?;
    let state = UdpSocketState::new((&socket).into())?;
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut transport = TransportConfig::default();
    transport.send_window(WINDOW_BYTES).max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))));
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    let finds_mtu = !state.may_fragment();
    let mut server = Server {
        io: UdpSocket::from_std(socket)?,
        state,
        endpoint: Endpoint::new(Arc::new(EndpointConfig::default()), Some(Arc::new(config)), finds_mtu, None),
        peers: HashMap::new(),
        timers: BTreeSet::new(),
        answers,
        input: vec![0; BATCHES * BATCH_BYTES].into(),
        output: Vec::new(),
    };
    loop {
        server.turn().await?;
    }
}

impl Server {
    /// Waits for packets or a timer, and handles the event.
    async fn turn(&mut self) -> io::Result<()> {
        let timer = self.timers.first().map(|(time, _)| *time);
        let wait = async {
            match timer {
                Some(time) => tokio::time::sleep_until(time.into()).await,
                None => std::future::pending().await,
            }
        };
        let is_readable = tokio::select! {
            biased;
            readable = self.io.readable() => readable.map(|()| true)?,
            () = wait => false,
        };
        let mut touched = if is_readable { self.receive().await? } else { Vec::new() };
        let now = Instant::now();
        while let Some((_, handle)) = self.timers.first().copied().filter(|(time, _)| *time <= now) {
            self.timers.pop_first();
            if let Some(peer) = self.peers.get_mut(&handle) {
                peer.timer = None;
                peer.quic.handle_timeout(now);
                touched.push(handle);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for handle in touched {
            self.drive(handle, now).await?;
        }
        Ok(())
    }

    /// Reads available packets; returns the affected connections.
    async fn receive(&mut self) -> io::Result<Vec<ConnectionHandle>> {
        let mut metas = [RecvMeta::default(); BATCHES];
        let count = {
            let mut slices: Vec<IoSliceMut<'_>> = self.input.chunks_mut(BATCH_BYTES).map(IoSliceMut::new).collect();
            let receive = || self.state.recv((&self.io).into(), &mut slices, &mut metas);
            match self.io.try_io(Interest::READABLE, receive) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
                count => count?,
            }
        };
        let (mut touched, mut new, now) = (Vec::new(), Vec::new(), Instant::now());
        for (batch, meta) in self.input.chunks(BATCH_BYTES).zip(&metas).take(count) {
            let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
            for packet in batch.get(..meta.len).unwrap_or_default().chunks(meta.stride.max(1)) {
                self.output.clear();
                let packet = BytesMut::from(packet);
                match self.endpoint.handle(now, meta.addr, meta.dst_ip, ecn, packet, &mut self.output) {
                    Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                        if let Some(peer) = self.peers.get_mut(&handle) {
                            peer.quic.handle_event(event);
                            touched.push(handle);
                        }
                    }
                    Some(DatagramEvent::NewConnection(incoming)) => new.push(incoming),
                    // Packets for closed connections do not occur during a measurement.
                    Some(DatagramEvent::Response(_)) | None => {}
                }
            }
        }
        touched.extend(new.into_iter().filter_map(|incoming| self.accept(incoming, now)));
        Ok(touched)
    }

    fn accept(&mut self, incoming: Incoming, now: Instant) -> Option<ConnectionHandle> {
        self.output.clear();
        let (handle, quic) = self.endpoint.accept(incoming, now, &mut self.output, None).ok()?;
        let peer = Peer { quic, answer: None, first: Vec::new(), unsent: HashMap::new(), timer: None };
        self.peers.insert(handle, peer);
        Some(handle)
    }

    /// Answers the requests of a connection, and sends pending packets.
    async fn drive(&mut self, handle: ConnectionHandle, now: Instant) -> io::Result<()> {
        let Some(peer) = self.peers.get_mut(&handle) else { return Ok(()) };
        let mut is_drained = false;
        loop {
            while let Some(event) = peer.quic.poll() {
                peer.happened(event, &self.answers);
            }
            while let Some(event) = peer.quic.poll_endpoint_events() {
                is_drained |= event.is_drained();
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    peer.quic.handle_event(event);
                }
            }
            self.output.clear();
            let segments = self.state.max_gso_segments().min(SEND_BYTES_MAX / usize::from(peer.quic.current_mtu()));
            let Some(transmit) = peer.quic.poll_transmit(now, segments.max(1), &mut self.output) else { break };
            send(&self.io, &self.state, &transmit, &self.output).await?;
        }
        let timer = if is_drained { None } else { peer.quic.poll_timeout() };
        if timer != peer.timer {
            if let Some(before) = peer.timer {
                self.timers.remove(&(before, handle));
            }
            self.timers.extend(timer.map(|time| (time, handle)));
            peer.timer = timer;
        }
        if is_drained {
            self.peers.remove(&handle);
        }
        Ok(())
    }
}

impl Peer {
    fn happened(&mut self, event: Event, answers: &Answers) {
        match event {
            Event::Connected => {
                if let Some(control) = self.quic.streams().open(Dir::Uni) {
                    // Three bytes fit in any window.
                    drop(self.quic.send_stream(control).write(&CONTROL));
                }
            }
            Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                while let Some(id) = self.quic.streams().accept(Dir::Bi) {
                    self.read(id, answers);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) if id.dir() == Dir::Bi => self.read(id, answers),
            Event::Stream(StreamEvent::Writable { id }) => self.write(id),
            _ => {}
        }
    }

    /// Reads a request to the end, and answers.
    fn read(&mut self, id: StreamId, answers: &Answers) {
        let mut stream = self.quic.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return };
        let is_whole = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) if self.answer.is_none() => self.first.extend_from_slice(&chunk.bytes),
                Ok(Some(_)) => {}
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        // Window updates are sent with the response.
        drop(chunks);
        if is_whole {
            let Answer { frames, body, .. } =
                self.answer.get_or_insert_with(|| answers.to_request(&std::mem::take(&mut self.first)).clone());
            let parts = [frames.clone(), body.clone()];
            self.unsent.insert(id, parts);
            self.write(id);
        }
    }

    fn write(&mut self, id: StreamId) {
        let Some(parts) = self.unsent.get_mut(&id) else { return };
        let mut stream = self.quic.send_stream(id);
        loop {
            match stream.write_chunks(parts) {
                // Written parts are empty now.
                Ok(_) if parts.iter().all(Bytes::is_empty) => {
                    drop(stream.finish());
                    break;
                }
                Ok(_) => {}
                Err(WriteError::Blocked) => return,
                Err(_) => break,
            }
        }
        self.unsent.remove(&id);
    }
}

/// Sends packets, and waits while the socket is not writable.
async fn send(io: &UdpSocket, state: &UdpSocketState, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
    let transmit = quinn_udp::Transmit {
        destination: transmit.destination,
        ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
        contents: contents.get(..transmit.size).unwrap_or(contents),
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    };
    loop {
        match io.try_io(Interest::WRITABLE, || state.try_send(io.into(), &transmit)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => io.writable().await?,
            // Lost, as any packet may be.
            _ => return Ok(()),
        }
    }
}
