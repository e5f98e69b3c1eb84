//! Network that loses, duplicates and delays packets, changes client addresses, and blocks all traffic.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use quinn::{ConnectionError, TransportConfig};
use tokio::time::timeout;

use crate::http::site::{noise, text};
use crate::http2::proxied::Proxied;
use crate::http3_client::{Client, body, endpoint, get, head, piece, shake};
use crate::relay::{Relay, Weather};
use crate::support::{RunningEdge, edge};
use crate::wire::{HOST, PATIENCE};

const LARGE_BYTES: usize = 1_200_000;
/// Bytes in flight when the client moves: the rest is sent to the new address.
const WINDOW_BYTES: u32 = 64 * 1024;
/// Severe packet loss.
const STORM: Weather = Weather { lost: 5, twice: 5, late: 10 };

async fn shop() -> RunningEdge {
    let (large, text) = (noise(LARGE_BYTES), text(1_000));
    let files: &[(&str, &[u8])] = &[("index.html", b"home"), ("large.bin", &large), ("lines.txt", &text)];
    edge().with_limit("memory_file_bytes_max", 100_000).with_app("shop", files).start().await
}

async fn through(edge: &RunningEdge, relay: &Relay) -> Client {
    Client::try_connect(edge, HOST, relay.address).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Client with small windows.
async fn of_small_windows(edge: &RunningEdge, to: SocketAddr) -> Client {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(WINDOW_BYTES.into());
    let endpoint = endpoint(&edge.ca(), transport);
    let connection = shake(&endpoint, to, HOST).await.unwrap();
    Client::over(endpoint, connection).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_are_whole_where_packets_are_lost_come_twice_and_late() {
    let edge = shop().await;
    let relay = Relay::start(edge.http3().unwrap(), STORM).await;
    let mut client = through(&edge, &relay).await;
    assert!(client.get(HOST, "/large.bin").await.body == noise(LARGE_BYTES));
    // Several concurrent requests for cached and uncached files.
    let each = (0..6).map(|number| {
        let mut client = client.requests.clone();
        async move {
            let path = ["/lines.txt", "/large.bin"][number % 2];
            let mut stream = client.send_request(get(HOST, path)).await.unwrap();
            stream.finish().await.unwrap();
            assert_eq!(head(&mut stream).await.unwrap().status(), 200);
            let expected = if number % 2 == 0 { text(1_000) } else { noise(LARGE_BYTES) };
            assert!(body(&mut stream).await.unwrap() == expected, "{path}");
        }
    });
    futures_util::future::join_all(each).await;
    client.close().await;
    let (packets, lost) = relay.counts();
    assert!(lost > 50 && packets > 10 * lost, "{lost} of {packets} packets");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_whole_where_packets_are_lost_come_twice_and_late() {
    let proxied = Proxied::start(edge()).await;
    let relay = Relay::start(proxied.world.edge.http3().unwrap(), STORM).await;
    let mut client = through(&proxied.world.edge, &relay).await;
    let sent = Bytes::from(noise(1_000_000));
    let request = Request::post(format!("https://{HOST}/api/echo")).body(()).unwrap();
    let (mut sending, mut receiving) = client.begin(request).await.split();
    let upload = async {
        for piece in sent.chunks(50_000) {
            sending.send_data(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        sending.finish().await.unwrap();
    };
    let download = async {
        assert_eq!(head(&mut receiving).await.unwrap().status(), 200);
        body(&mut receiving).await.unwrap()
    };
    let ((), received) = timeout(PATIENCE * 2, async { tokio::join!(upload, download) }).await.unwrap();
    assert!(received == sent, "{} bytes", received.len());
    client.close().await;
}

/// Starts a download, moves the client during the transfer, and reads the rest.
async fn moved(edge: &RunningEdge, client: &mut Client, mut moving: impl AsyncFnMut(&Client)) {
    let mut stream = client.begin(get(HOST, "/large.bin")).await;
    stream.finish().await.unwrap();
    assert_eq!(head(&mut stream).await.unwrap().status(), 200);
    let (mut received, mut moves) = (Vec::new(), 0);
    while let Some(piece) = piece(&mut stream).await.unwrap() {
        received.extend_from_slice(&piece);
        if received.len() > (moves + 1) * LARGE_BYTES / 4 {
            moving(&*client).await;
            moves += 1;
        }
    }
    assert!(received == noise(LARGE_BYTES), "{} bytes", received.len());
    assert!(moves >= 3 && client.connection.close_reason().is_none());
    assert_eq!(client.get(HOST, "/").await.body, "home", "and the connection goes on at {:?}", edge.http3());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_when_its_client_moves_to_another_network() {
    let edge = edge_of_threads(3).await;
    // Repeated to hit every serving thread.
    for _ in 0..4 {
        let mut client = of_small_windows(&edge, edge.http3().unwrap()).await;
        moved(&edge, &mut client, async |client| {
            client.endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        })
        .await;
        client.close().await;
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_when_a_network_moves_its_client_unknown_to_it() {
    let edge = edge_of_threads(3).await;
    let relay = Relay::start(edge.http3().unwrap(), Weather { lost: 1, ..Weather::default() }).await;
    for _ in 0..4 {
        let mut client = of_small_windows(&edge, relay.address).await;
        moved(&edge, &mut client, async |_| relay.move_clients().await).await;
        client.close().await;
    }
    edge.stop().await;
}

/// Shop served by several threads.
async fn edge_of_threads(threads: usize) -> RunningEdge {
    let large = noise(LARGE_BYTES);
    let setup = edge().with_threads(threads);
    setup.with_app("shop", &[("index.html", b"home"), ("large.bin", &large)]).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_in_a_download_is_given_up_and_others_are_not() {
    let edge = edge().with_limit("idle_ms_max", 1_000).with_drain_timeout_ms(60_000);
    let large = noise(LARGE_BYTES);
    let edge = edge.with_app("shop", &[("index.html", b"home"), ("large.bin", &large)]).start().await;
    let relay = Relay::start(edge.http3().unwrap(), Weather::default()).await;
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(Duration::from_secs(2).try_into().unwrap()));
    transport.stream_receive_window(WINDOW_BYTES.into());
    let endpoint = endpoint(&edge.ca(), transport);
    let connection = shake(&endpoint, relay.address, HOST).await.unwrap();
    let mut client = Client::over(endpoint, connection).await;
    let mut stream = client.begin(get(HOST, "/large.bin")).await;
    stream.finish().await.unwrap();
    assert!(piece_of(&mut stream).await > 0);
    relay.turn_off();
    assert_eq!(Client::connect(&edge, HOST).await.get(HOST, "/").await.body, "home");
    let reason = timeout(PATIENCE, client.connection.closed()).await.expect("the client gives up");
    assert_eq!(reason, ConnectionError::TimedOut);
    // The lost client does not delay the shutdown.
    edge.stop().await;
}

async fn piece_of(stream: &mut crate::http3_client::Stream) -> usize {
    head(stream).await.unwrap();
    piece(stream).await.unwrap().unwrap().len()
}
