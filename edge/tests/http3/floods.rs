//! Cheap attacks: each ends, uses no memory of the edge, and delays no response to other visitors.

use std::net::Ipv4Addr;
use std::slice::from_ref;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use quinn::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig as ProtoClientConfig, Endpoint as ProtoEndpoint, EndpointConfig};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::http3::wire::{RawConnection, StreamOutcome, control, frame, kind, number, request, stream_type};
use crate::http3_client::Client;
use crate::support::{RunningEdge, edge};
use crate::wire::{HOST, PATIENCE};

/// Maximum memory growth in bytes of a flood, including the buffers of one connection.
const GROWTH_MAX: u64 = 24 * 1024 * 1024;
/// H3_EXCESSIVE_LOAD.
const EXCESSIVE_LOAD: u64 = 0x107;
/// Maximum streams of a client before the first request head.
const FIRST_STREAMS: usize = 16;
/// More than a limit of these tests.
const ROUNDS: usize = 20_000;
/// Source addresses, or source ports of one address.
const ADDRESSES: u8 = 200;
/// First packets of a handshake flood: more than the limit of one address.
const FIRST_PACKETS: usize = 1_000;

async fn shop() -> RunningEdge {
    let large = crate::http::site::noise(300_000);
    let edge =
        edge().in_a_process().with_limit("resets_per_second_max", 20).with_limit("control_frames_per_second_max", 100);
    edge.with_app("shop", &[("index.html", b"home"), ("large.bin", &large)]).start().await
}

/// Memory growth in bytes during a flood; checks that a visitor is answered throughout.
async fn beside_a_visitor(edge: &RunningEdge, flood: impl Future<Output = ()>) -> u64 {
    let mut visitor = Client::connect(edge, HOST).await;
    assert_eq!(visitor.get(HOST, "/").await.body, "home");
    let mark = edge.process().mark();
    let mut flood = std::pin::pin!(flood);
    let mut answers = 0;
    loop {
        tokio::select! {
            () = &mut flood => break,
            answer = visitor.get(HOST, "/") => {
                assert_eq!(answer.body, "home");
                answers += 1;
            }
        }
    }
    assert_eq!(visitor.get(HOST, "/").await.body, "home");
    let grown = edge.process().grown_since(mark);
    eprintln!("{} KiB beside {answers} answers", grown / 1_024);
    visitor.close().await;
    grown
}

/// Opens and resets requests until the connection ends; returns the error code.
async fn reset_requests(raw: &RawConnection, bytes: &[u8]) -> u64 {
    for _ in 0..ROUNDS {
        // The edge permits no more streams than its limit, and none after the end.
        let Ok((mut sending, mut receiving)) = raw.connection.open_bi().await else { break };
        drop(sending.write_all(bytes).await);
        drop(receiving.stop(0x10c_u32.into()));
        drop(sending.reset(0x10c_u32.into()));
    }
    raw.closed().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_taken_back_without_an_end_end_their_connection() {
    let edge = shop().await;
    let get = request("GET", "/large.bin", &[]);
    let head = [request("POST", "/", &[]), frame(kind::DATA, "x")].concat();
    for bytes in [&get[..], &get[..5], &head[..]] {
        let flood = async {
            let mut raw = RawConnection::connect(&edge).await;
            raw.open(&control(&[frame(kind::SETTINGS, [])])).await;
            assert_eq!(reset_requests(&raw, bytes).await, EXCESSIVE_LOAD, "{bytes:x?}");
        };
        let grown = beside_a_visitor(&edge, flood).await;
        assert!(grown < GROWTH_MAX, "{grown} bytes");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_say_nothing_end_their_connection() {
    let edge = shop().await;
    let settings = frame(kind::SETTINGS, []);
    let reserved = frame(0x21, []);
    #[rustfmt::skip]
    let cases: [(&str, Vec<u8>, Vec<u8>); 5] = [
        ("reserved frames",   control(from_ref(&settings)),            reserved.clone()),
        ("MAX_PUSH_ID",       control(from_ref(&settings)),            frame(kind::MAX_PUSH_ID, [1])),
        ("PRIORITY_UPDATE",   control(from_ref(&settings)),            frame(0xf_0700, [0, b'u'])),
        ("no dynamic table",  number(stream_type::ENCODER),            vec![0x20]),
        ("cancelled streams", number(stream_type::DECODER),            vec![0x44]),
    ];
    for (name, first, more) in cases {
        let flood = async {
            let mut raw = RawConnection::connect(&edge).await;
            let stream = raw.open(&first).await;
            let pieces = more.repeat(100);
            for _ in 0..ROUNDS / 100 {
                raw.more(stream, &pieces).await;
            }
            assert_eq!(raw.closed().await, EXCESSIVE_LOAD, "{name}");
        };
        let grown = beside_a_visitor(&edge, flood).await;
        assert!(grown < GROWTH_MAX, "{name}: {grown} bytes");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_frames_of_a_body_cost_nothing() {
    let edge = shop().await;
    let flood = async {
        let raw = RawConnection::connect(&edge).await;
        let (mut sending, _receiving) = raw.connection.open_bi().await.unwrap();
        drop(sending.write_all(&request("POST", "/", &[])).await);
        let pieces = frame(kind::DATA, []).repeat(100);
        for _ in 0..ROUNDS / 100 {
            if sending.write_all(&pieces).await.is_err() {
                break;
            }
        }
        drop(raw);
    };
    let grown = beside_a_visitor(&edge, flood).await;
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_opened_and_brings_no_head_ends_its_connection() {
    let edge = edge().with_app("shop", &[("index.html", b"home")]).with_limit("header_ms_max", 500).start().await;
    let mut raw = RawConnection::connect(&edge).await;
    // A stream opens all streams with lower ids (RFC 9000 §2.1).
    let unwritten = raw.connection.open_bi().await.unwrap();
    let get = request("GET", "/", &[]);
    assert_eq!(raw.ask(&get, true).await, StreamOutcome::Status(200));
    assert_eq!(raw.closed().await, EXCESSIVE_LOAD);
    drop(unwritten);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_have_few_streams_until_the_head_of_a_request_has_come() {
    let edge = edge().with_app("shop", &[("index.html", b"home")]).start().await;
    let raw = RawConnection::connect(&edge).await;
    let mut streams = Vec::new();
    for _ in 0..FIRST_STREAMS {
        streams.push(raw.connection.open_bi().await.unwrap());
    }
    let mut more = std::pin::pin!(raw.connection.open_bi());
    assert!(more.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let (sending, _) = &mut streams[0];
    sending.write_all(&request("GET", "/", &[])).await.unwrap();
    drop(timeout(PATIENCE, more).await.expect("more streams are given").unwrap());
    drop(streams);
    edge.stop().await;
}

/// First packet of a client to `to`.
fn first_packet(ca: &std::path::Path, to: std::net::SocketAddr) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = ProtoClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut endpoint = ProtoEndpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
    let now = Instant::now();
    let (_, mut connection) = endpoint.connect(now, config, to, HOST).unwrap();
    let mut packet = Vec::new();
    assert!(connection.poll_transmit(now, 1, &mut packet).is_some());
    packet
}

/// Starts handshakes from sockets that never continue, while a visitor is served. The response bytes must be at most
/// three times the sent bytes (RFC 9000 §8).
async fn begin_handshakes(edge: &RunningEdge, sockets: &[UdpSocket]) {
    let to = edge.http3().unwrap();
    let packets: Vec<Vec<u8>> = (0..FIRST_PACKETS).map(|_| first_packet(&edge.ca(), to)).collect();
    let flood = async {
        for (packet, socket) in packets.iter().zip(sockets.iter().cycle()) {
            socket.send_to(packet, to).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let grown = beside_a_visitor(edge, flood).await;
    assert!(grown < 3 * GROWTH_MAX, "{grown} bytes");
    let (sent, mut received, mut answer) = (packets.iter().map(Vec::len).sum::<usize>(), 0, [0; 2_000]);
    for socket in sockets {
        while let Ok(count) = socket.try_recv(&mut answer) {
            received += count;
        }
    }
    assert!(received <= 3 * sent, "{received} of {sent}");
}

/// Socket at an address of the loopback network.
fn socket_at(address: Ipv4Addr) -> UdpSocket {
    let socket = std::net::UdpSocket::bind((address, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_are_begun_without_an_end_cost_little_and_a_visitor_is_still_let_in() {
    let edge = shop().await;
    let sockets: Vec<UdpSocket> = (0..ADDRESSES).map(|number| socket_at(Ipv4Addr::new(127, 0, 1, number))).collect();
    begin_handshakes(&edge, &sockets).await;
    let mut visitor = Client::connect(&edge, HOST).await;
    assert_eq!(visitor.get(HOST, "/").await.body, "home");
    visitor.close().await;
    drop(sockets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_others_pretend_to_be_is_let_in() {
    let edge = shop().await;
    // An attacker can forge source addresses: no handshake continues.
    let sockets: Vec<UdpSocket> = (0..ADDRESSES).map(|_| socket_at(Ipv4Addr::LOCALHOST)).collect();
    begin_handshakes(&edge, &sockets).await;
    let mut visitor = Client::connect(&edge, HOST).await;
    assert_eq!(visitor.get(HOST, "/").await.body, "home");
    visitor.close().await;
    drop(sockets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_that_are_noise_cost_nothing() {
    let edge = shop().await;
    let to = edge.http3().unwrap();
    let noise = crate::http::site::noise(200_000);
    let flood = async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for (number, start) in (0..10_000_usize).zip((0..190_000).cycle().step_by(37)) {
            let mut packet = noise[start..start + number % 1_400 + 1].to_vec();
            // Long headers of version 1 and of other versions, short headers, and garbage.
            match number % 4 {
                0 => packet[0] |= 0xc0,
                1 if packet.len() > 5 => {
                    packet[0] |= 0xc0;
                    packet[1..5].copy_from_slice(&[0, 0, 0, 1]);
                }
                2 => packet[0] = packet[0] & 0x3f | 0x40,
                _ => {}
            }
            drop(socket.send_to(&packet, to).await);
            if number % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let grown = beside_a_visitor(&edge, flood).await;
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    edge.stop().await;
}
