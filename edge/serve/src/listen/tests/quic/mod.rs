//! HTTP/3 on real sockets, with clients of another library.

mod addresses;
mod takeover;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use bytes::Buf;
use h3::client::{RequestStream, SendRequest};

use self::addresses::ByHand;
use super::*;
use crate::listen::quic::{self, Place, Predecessor, QuicSettings, bind_all};

type Requests = SendRequest<h3_quinn::OpenStreams, Bytes>;
type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// A served address.
struct Served {
    address: SocketAddr,
    drain: watch::Sender<Option<DrainOrder>>,
    ended: Vec<JoinHandle<std::io::Result<Drained>>>,
    limits: ConnectionLimits,
    gate: Rc<Semaphore>,
    peers: Rc<RefCell<Vec<Arc<Peer>>>>,
    folder: Arc<tempfile::TempDir>,
    /// Senders of each thread's sockets to the successor.
    after: Vec<tokio::sync::mpsc::UnboundedSender<UnixDatagram>>,
}

impl Served {
    /// Starts with one socket for each of `threads`, all on the current thread.
    fn start(limits: &Limits, threads: u8) -> Self {
        let sockets = bind_all("127.0.0.1:0".parse().unwrap(), threads.into()).unwrap();
        Self::on(sockets, limits, Arc::new(tempfile::tempdir().unwrap()), ("edge-1", 7), None)
    }

    /// Starts on the given sockets, as a node with a generation byte, beside a predecessor.
    fn on(
        sockets: Vec<UdpSocket>,
        limits: &Limits,
        folder: Arc<tempfile::TempDir>,
        (node, generation): (&str, u8),
        before: Option<Vec<UnixDatagram>>,
    ) -> Self {
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let address = sockets[0].local_addr().unwrap();
        let (drain, drain_requested) = watch::channel(None);
        let limits = ConnectionLimits::new(limits);
        let (gate, peers) = (Rc::new(Semaphore::new(0)), Rc::new(RefCell::new(Vec::new())));
        let threads = u8::try_from(sockets.len()).unwrap();
        let mut before = before.into_iter().flatten();
        let mut after = Vec::new();
        let serve = |(socket, thread)| {
            let (to_successor, successors) = tokio::sync::mpsc::unbounded_channel();
            after.push(to_successor);
            let settings = QuicSettings {
                name: "test",
                tls: tls.clone(),
                limits: limits.clone(),
                drain: drain_requested.clone(),
                place: Place { thread, threads, generation },
                node: node.into(),
                predecessor: before.next().map(|socket| Predecessor::new(socket, generation.wrapping_sub(1))),
                successors,
            };
            let (gate, peers) = (Rc::clone(&gate), Rc::clone(&peers));
            let services = move |peer: &Arc<Peer>| (EngineService::new(peer, &gate, &peers), Lane::EDGE);
            spawn_local(quic::serve(socket, settings, services))
        };
        let ended = sockets.into_iter().zip(0..).map(serve).collect();
        Self { address, drain, ended, limits, gate, peers, folder, after }
    }

    fn client(&self) -> quinn::Endpoint {
        let config = trusting(self.folder.path(), &["h3"]);
        let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
        let mut client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        client.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
        client
    }

    async fn connect(&self, client: &quinn::Endpoint) -> Result<quinn::Connection, quinn::ConnectionError> {
        let connecting = client.connect(self.address, "shop.localhost").unwrap();
        timeout(PATIENCE, connecting).await.unwrap()
    }

    /// Opens an HTTP/3 connection; returns the QUIC connection too.
    async fn speak(&self, client: &quinn::Endpoint) -> (Requests, quinn::Connection) {
        let connection = self.connect(client).await.unwrap();
        (http3_over(&connection).await, connection)
    }

    async fn until_empty(&self) {
        eventually(|| self.limits.open() == 0).await;
    }
}

async fn http3_over(connection: &quinn::Connection) -> Requests {
    let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await.unwrap();
    spawn_local(async move { poll_fn(|cx| driver.poll_close(cx)).await });
    requests
}

fn ask_for(path: &str) -> Request<()> {
    Request::get(format!("https://shop.localhost{path}")).body(()).unwrap()
}

async fn begin(requests: &mut Requests, request: Request<()>) -> Stream {
    timeout(PATIENCE, requests.send_request(request)).await.unwrap().unwrap()
}

async fn body(stream: &mut Stream) -> Vec<u8> {
    let response = timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = Vec::new();
    while let Some(mut piece) = timeout(PATIENCE, stream.recv_data()).await.unwrap().unwrap() {
        body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
    }
    body
}

async fn fetch(requests: &mut Requests, path: &str) -> Vec<u8> {
    let mut stream = begin(requests, ask_for(path)).await;
    stream.finish().await.unwrap();
    body(&mut stream).await
}

#[test]
fn pages_and_large_bodies_arrive_byte_for_byte() {
    local(async || {
        let served = Served::start(&Limits::default(), 1);
        let client = served.client();
        let (mut requests, connection) = served.speak(&client).await;
        assert_eq!(fetch(&mut requests, "/").await, b"hello");
        for count in [0, 1, 1_000, 70_000, 5_000_000] {
            let body = fetch(&mut requests, &format!("/bytes/{count}")).await;
            assert!(body.len() == count && body.iter().all(|byte| *byte == b'x'), "{count}: {}", body.len());
        }
        {
            let peers = served.peers.borrow();
            let (peer, local) = (&peers[0], client.local_addr().unwrap());
            assert_eq!((peer.protocol, peer.sni.as_deref()), (super::super::Protocol::Http3, Some("shop.localhost")));
            assert_eq!((peer.address.port(), peer.local), (local.port(), served.address));
        }
        connection.close(0_u32.into(), b"");
        served.until_empty().await;
    });
}

#[test]
fn many_requests_at_once_are_answered_each_with_its_own() {
    local(async || {
        let served = Served::start(&Limits::default(), 1);
        let (requests, _connection) = served.speak(&served.client()).await;
        let each = (0..60_usize).map(|index| {
            let mut requests = requests.clone();
            spawn_local(async move { (index, fetch(&mut requests, &format!("/bytes/{}", index * 7_001)).await.len()) })
        });
        for fetched in futures_util::future::join_all(each.collect::<Vec<_>>()).await {
            let (index, count) = fetched.unwrap();
            assert_eq!(count, index * 7_001);
        }
    });
}

#[test]
fn an_upload_comes_whole_and_one_that_nobody_reads_waits() {
    local(async || {
        let served = Served::start(&Limits::default(), 1);
        let (mut requests, _connection) = served.speak(&served.client()).await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let upload = Request::post("https://shop.localhost/echo").body(()).unwrap();
        let (mut send, mut receive) = begin(&mut requests, upload).await.split();
        let body_sent = Bytes::from(sent.clone());
        spawn_local(async move {
            send.send_data(body_sent).await.unwrap();
            send.finish().await.unwrap();
        });
        assert_eq!(receive.recv_response().await.unwrap().status(), StatusCode::OK);
        let mut echoed = Vec::new();
        while let Some(mut piece) = timeout(PATIENCE, receive.recv_data()).await.unwrap().unwrap() {
            echoed.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
        assert!(echoed == sent);

        let unread = Request::post("https://shop.localhost/wait").body(()).unwrap();
        let (mut send, mut receive) = begin(&mut requests, unread).await.split();
        let uploaded = Rc::new(Cell::new(0));
        let count = Rc::clone(&uploaded);
        let sending = spawn_local(async move {
            for _ in 0..256 {
                send.send_data(Bytes::from(vec![b'u'; 16 * 1024])).await?;
                count.set(count.get() + 16 * 1024);
            }
            Ok::<_, h3::error::StreamError>(())
        });
        eventually(|| uploaded.get() > 0).await;
        // Other requests continue meanwhile.
        assert_eq!(fetch(&mut requests, "/bytes/100000").await.len(), 100_000);
        served.gate.add_permits(1);
        assert_eq!(timeout(PATIENCE, receive.recv_response()).await.unwrap().unwrap().status(), StatusCode::OK);
        drop(timeout(PATIENCE, sending).await.unwrap());
        assert!(uploaded.get() <= 4 * 1024 * 1024);
    });
}

#[test]
fn a_request_that_is_taken_back_ends_and_others_go_on() {
    local(async || {
        let served = Served::start(&Limits::default(), 1);
        let (mut requests, _connection) = served.speak(&served.client()).await;
        for _ in 0..5 {
            let mut stream = begin(&mut requests, ask_for("/endless")).await;
            stream.finish().await.unwrap();
            stream.recv_response().await.unwrap();
            stream.recv_data().await.unwrap();
            // Stops the read-ahead: the library's own call panics during a read-ahead.
            drop(stream);
        }
        let mut waiting = begin(&mut requests, ask_for("/wait")).await;
        waiting.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
        assert_eq!(fetch(&mut requests, "/bytes/300000").await.len(), 300_000);
    });
}

#[test]
fn streams_that_are_taken_back_at_once_give_their_places_back() {
    local(async || {
        let limits = Limits { streams_max: 16, ..Limits::default() };
        let served = Served::start(&limits, 1);
        let (mut requests, connection) = served.speak(&served.client()).await;
        for round in 0..limits.streams_max * 3 {
            let (mut send, mut receive) = timeout(PATIENCE, connection.open_bi()).await.unwrap().unwrap();
            match round % 3 {
                0 => send.reset(0x10c_u32.into()).unwrap(),
                1 => receive.stop(0x10c_u32.into()).unwrap(),
                _ => {
                    send.reset(0x10c_u32.into()).unwrap();
                    receive.stop(0x10c_u32.into()).unwrap();
                }
            }
        }
        assert_eq!(fetch(&mut requests, "/").await, b"hello");
    });
}

#[test]
fn what_is_under_way_is_answered_before_the_end_of_a_drain() {
    local(async || {
        let mut served = Served::start(&Limits::default(), 1);
        let client = served.client();
        let (mut requests, connection) = served.speak(&client).await;
        let mut waiting = begin(&mut requests, ask_for("/wait")).await;
        waiting.finish().await.unwrap();
        eventually(|| served.peers.borrow().len() == 1).await;
        served.drain.send_replace(Some(DrainOrder::until(Instant::now() + PATIENCE)));
        served.gate.add_permits(1);
        assert_eq!(body(&mut waiting).await, b"waited");
        let drained = timeout(PATIENCE, served.ended.remove(0)).await.unwrap().unwrap().unwrap();
        assert_eq!(drained, Drained { cut: 0 });
        let quinn::ConnectionError::ApplicationClosed(close) = connection.closed().await else { panic!("not closed") };
        assert_eq!(close.error_code, quinn::VarInt::from_u32(0x100));
    });
}

#[test]
fn what_is_still_under_way_at_the_deadline_is_cut() {
    local(async || {
        let mut served = Served::start(&Limits::default(), 1);
        let (mut requests, connection) = served.speak(&served.client()).await;
        let mut waiting = begin(&mut requests, ask_for("/wait")).await;
        waiting.finish().await.unwrap();
        eventually(|| served.peers.borrow().len() == 1).await;
        served.drain.send_replace(Some(DrainOrder::until(Instant::now() + Duration::from_millis(50))));
        let drained = timeout(PATIENCE, served.ended.remove(0)).await.unwrap().unwrap().unwrap();
        assert_eq!(drained, Drained { cut: 1 });
        timeout(PATIENCE, connection.closed()).await.unwrap();
    });
}

#[test]
fn connections_find_their_threads_also_from_another_address() {
    local(async || {
        let served = Served::start(&Limits::default(), 3);
        for _ in 0..8 {
            let client = served.client();
            let (mut requests, connection) = served.speak(&client).await;
            assert_eq!(fetch(&mut requests, "/bytes/100").await.len(), 100);
            client.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
            assert_eq!(fetch(&mut requests, "/bytes/200000").await.len(), 200_000);
            assert!(connection.close_reason().is_none());
        }
        let addresses: std::collections::HashSet<_> = served.peers.borrow().iter().map(|peer| peer.address).collect();
        assert_eq!(addresses.len(), 8, "a connection keeps the address that it began with");
    });
}

#[test]
fn where_places_are_scarce_an_address_is_to_be_shown_first() {
    local(async || {
        // From the first handshake on.
        let served = Served::start(&Limits { handshakes_max: 1, ..Limits::default() }, 1);
        let client = served.client();
        let (mut requests, _connection) = served.speak(&client).await;
        assert_eq!(fetch(&mut requests, "/").await, b"hello");

        let packet = first_packet(&served);
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&packet, served.address).await.unwrap();
        let mut answer = [0; 2_000];
        let (count, _) = timeout(PATIENCE, socket.recv_from(&mut answer)).await.unwrap().unwrap();
        // RFC 9000 §17.2.5.
        assert_eq!(answer[0] & 0xf0, 0xf0, "no Retry");
        assert!(count < packet.len());
    });
}

/// Returns the first packet of a client that sends no further packet.
fn first_packet(served: &Served) -> Vec<u8> {
    ByHand::new(served).packets().swap_remove(0)
}

#[test]
fn nobody_is_kept_out_by_packets_in_the_name_of_others() {
    local(async || {
        let limits = Limits { handshakes_per_address_max: 16, connections_per_address_max: 8, ..Limits::default() };
        let served = Served::start(&limits, 1);
        for _ in 0..100 {
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.send_to(&first_packet(&served), served.address).await.unwrap();
            timeout(PATIENCE, socket.recv_from(&mut [0; 2_000])).await.unwrap().unwrap();
        }
        assert!(served.limits.open() <= 2, "{} connections of nobody", served.limits.open());
        let (mut requests, _connection) = served.speak(&served.client()).await;
        assert_eq!(fetch(&mut requests, "/").await, b"hello");
    });
}

#[test]
fn one_address_has_its_share_of_connections_and_no_more() {
    local(async || {
        let served = Served::start(&Limits { connections_per_address_max: 2, ..Limits::default() }, 1);
        let client = served.client();
        let (mut first, _first) = served.speak(&client).await;
        let (mut second, connection) = served.speak(&client).await;
        assert!(served.connect(&client).await.is_err());
        for requests in [&mut first, &mut second] {
            assert_eq!(fetch(requests, "/").await, b"hello");
        }
        connection.close(0_u32.into(), b"");
        eventually(|| served.limits.open() == 1).await;
        let (mut third, _third) = served.speak(&client).await;
        assert_eq!(fetch(&mut third, "/").await, b"hello");
    });
}

/// Law 11.
#[test]
fn connections_that_rest_make_room_for_those_that_come() {
    local(async || {
        let served = Served::start(&Limits { connections_max: 32, ..Limits::default() }, 1);
        let client = served.client();
        let mut resting = Vec::new();
        let come = async {
            while resting.len() < 64 {
                // While another connection ends, a connect may be refused.
                let Ok(connection) = served.connect(&client).await else { continue };
                let mut requests = http3_over(&connection).await;
                assert_eq!(fetch(&mut requests, "/").await, b"hello");
                resting.push((requests, connection));
            }
        };
        timeout(PATIENCE, come).await.expect("there is room");
        assert!(served.limits.open() <= 32);
    });
}

#[test]
fn a_name_that_is_not_served_gets_no_certificate() {
    local(async || {
        let served = Served::start(&Limits::default(), 1);
        let client = served.client();
        let connecting = client.connect(served.address, "other.localhost").unwrap();
        let error = timeout(PATIENCE, connecting).await.unwrap().unwrap_err();
        assert!(matches!(error, quinn::ConnectionError::ConnectionClosed(_)), "{error}");
        served.until_empty().await;
    });
}

#[test]
fn a_connection_without_requests_is_closed_in_time() {
    local(async || {
        let served = Served::start(&Limits { idle_ms_max: 100, ..Limits::default() }, 1);
        let (mut requests, connection) = served.speak(&served.client()).await;
        assert_eq!(fetch(&mut requests, "/").await, b"hello");
        let reason = timeout(PATIENCE, connection.closed()).await.unwrap();
        let quinn::ConnectionError::ApplicationClosed(close) = reason else { panic!("{reason}") };
        assert_eq!(close.error_code, quinn::VarInt::from_u32(0x100));
    });
}

#[test]
fn the_next_process_of_a_node_ends_what_a_crash_left_and_other_nodes_with_its_keys_do_not() {
    local(async || {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut tokens = Vec::new();
        for place in [("edge-1", 1), ("edge-1", 2), ("edge-2", 1)] {
            let sockets = bind_all("127.0.0.1:0".parse().unwrap(), 1).unwrap();
            let served = Served::on(sockets, &Limits::default(), Arc::clone(&folder), place, None);
            let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.send_to(&[0x41; 100], served.address).await.unwrap();
            let mut answer = [0; 200];
            let (count, _) = timeout(PATIENCE, client.recv_from(&mut answer)).await.unwrap().unwrap();
            // RFC 9000 §10.3.
            assert!(count < 100);
            tokens.push(answer[count - 16..count].to_vec());
        }
        assert_eq!(tokens[0], tokens[1]);
        // RFC 9000 §21.11.
        assert_ne!(tokens[0], tokens[2]);
    });
}

/// Relays packets to a server, and back while the returned flag is true.
async fn relay(server: SocketAddr) -> (SocketAddr, Rc<Cell<bool>>) {
    let outer = Rc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let inner = Rc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    inner.connect(server).await.unwrap();
    let (address, is_open, client) = (outer.local_addr().unwrap(), Rc::new(Cell::new(true)), Rc::new(Cell::new(None)));
    let (from, to, known) = (Rc::clone(&outer), Rc::clone(&inner), Rc::clone(&client));
    spawn_local(async move {
        let mut packet = [0; 2_000];
        while let Ok((count, peer)) = from.recv_from(&mut packet).await {
            known.set(Some(peer));
            drop(to.send(&packet[..count]).await);
        }
    });
    let passes = Rc::clone(&is_open);
    spawn_local(async move {
        let mut packet = [0; 2_000];
        while let Ok(count) = inner.recv(&mut packet).await {
            if let Some(client) = client.get().filter(|_| passes.get()) {
                drop(outer.send_to(&packet[..count], client).await);
            }
        }
    });
    (address, is_open)
}

#[test]
fn a_peer_that_missed_the_end_of_its_connection_learns_of_it_with_its_next_packet() {
    local(async || {
        let mut served = Served::start(&Limits { idle_ms_max: 100, ..Limits::default() }, 1);
        let (address, is_open) = relay(served.address).await;
        served.address = address;
        let (mut requests, connection) = served.speak(&served.client()).await;
        assert_eq!(fetch(&mut requests, "/").await, b"hello");
        is_open.set(false);
        served.until_empty().await;
        is_open.set(true);
        let mut late = connection.open_uni().await.unwrap();
        late.write_all(b"late").await.unwrap();
        let reason = timeout(PATIENCE, connection.closed()).await.unwrap();
        // The last packet again, or a reset on a machine that takes seconds.
        assert!(!matches!(reason, quinn::ConnectionError::TimedOut), "{reason}");
    });
}
