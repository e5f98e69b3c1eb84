//! Many concurrent handshakes: their cost for a connected visitor, and for each other.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ClientConnection;
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::listen::handshakes::{ACCEPTS_PER_TURN, STEPS_PER_TURN};

/// Maximum number of event loop turns for one request of a client on the same thread: the response is read in a later
/// turn than the request.
const TURNS_PER_REQUEST: usize = 3;

/// Returns limits without a time limit for handshakes.
fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits { handshake_ms_max: 600_000, ..Limits::default() };
    set(&mut limits);
    limits
}

/// Returns the first message of a client.
fn client_hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("shop.localhost").unwrap();
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::clone(config), name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

/// Opens a connection from `from`, of which the edge learns when the thread yields.
fn open(address: SocketAddr, from: IpAddr) -> std::net::TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// Waits until the server sends or closes; returns true if bytes were sent.
async fn is_answered(stream: std::net::TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream).unwrap();
    timeout(PATIENCE, stream.read(&mut [0; 16])).await.unwrap().unwrap_or_default() > 0
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

#[test]
fn a_connected_visitor_is_served_between_the_steps_of_many_handshakes() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        // Called equally often in every handshake, once the first message is read.
        let lookups = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&lookups);
        let knows = Arc::new(move |_: &str| count.fetch_add(1, Ordering::Relaxed) < usize::MAX);
        let certificates =
            Certificates::open(&Tls::SelfSigned, folder.path(), folder.path(), knows, Arc::new(|_| None), None)
                .unwrap();
        let running = Running::start(Some(certificates.server_config()), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let mut visitor = http1_over(connect(running.address, &config, "shop.localhost").await.unwrap()).await;
        let per_handshake = lookups.swap(0, Ordering::Relaxed);

        let hello = client_hello(&config);
        let flood: Vec<_> = (0..400).map(|_| open(running.address, HERE)).collect();
        for mut stream in &flood {
            stream.write_all(&hello).unwrap();
        }
        let (mut before, mut most) = (0, 0);
        while before < flood.len() {
            assert_eq!(text(visitor.send_request(get("/")).await.unwrap()).await, "hello");
            let begun = lookups.load(Ordering::Relaxed) / per_handshake;
            most = most.max(begun - before);
            before = begun;
        }
        assert!((1..=TURNS_PER_REQUEST * STEPS_PER_TURN).contains(&most), "{most} handshakes between two answers");
        for stream in flood {
            assert!(is_answered(stream).await);
        }
    });
}

#[test]
fn a_connected_visitor_is_served_while_connections_are_accepted() {
    local(async || {
        let running = Running::start(None, &Limits::default());
        let mut visitor = http1_over(TcpStream::connect(running.address).await.unwrap()).await;
        text(visitor.send_request(get("/")).await.unwrap()).await;
        let flood: Vec<_> = (0..400).map(|_| open(running.address, HERE)).collect();
        let (mut before, mut most) = (running.limits.open(), 0);
        while before <= flood.len() {
            text(visitor.send_request(get("/")).await.unwrap()).await;
            let open = running.limits.open();
            most = most.max(open - before);
            before = open;
        }
        assert!((1..=TURNS_PER_REQUEST * ACCEPTS_PER_TURN).contains(&most), "{most} connections between two answers");
    });
}

#[test]
fn further_handshakes_wait_in_the_queue_of_the_system() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let limits = limits(|limits| (limits.handshakes_max, limits.handshake_stall_ms_max) = (3, 60_000));
        let running = Running::start(Some(tls), &limits);
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let mut visitor = http1_over(connect(running.address, &config, "shop.localhost").await.unwrap()).await;
        let mut silent: Vec<_> = (0..3).map(|_| open(running.address, HERE)).collect();
        eventually(|| running.limits.open() == 4).await;
        let mut waiting = open(running.address, ELSEWHERE);
        waiting.write_all(&client_hello(&config)).unwrap();
        for _ in 0..20 {
            assert_eq!(text(visitor.send_request(get("/")).await.unwrap()).await, "hello");
        }
        waiting.set_nonblocking(true).unwrap();
        assert_eq!(waiting.read(&mut [0; 16]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        drop(silent.pop());
        assert!(is_answered(waiting).await);
    });
}

#[test]
fn clients_that_say_nothing_do_not_keep_others_out() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let limits = limits(|limits| (limits.handshakes_max, limits.handshake_stall_ms_max) = (3, 100));
        let running = Running::start(Some(tls), &limits);
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let silent: Vec<_> = (0..12).map(|_| open(running.address, HERE)).collect();
        let mut visitor = http1_over(connect(running.address, &config, "shop.localhost").await.unwrap()).await;
        assert_eq!(text(visitor.send_request(get("/")).await.unwrap()).await, "hello");
        // The first connections were displaced, although their time was not over.
        for stream in silent.into_iter().take(9) {
            assert!(!is_answered(stream).await);
        }
    });
}

#[test]
fn one_address_does_not_take_the_handshakes_of_others() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let limits = limits(|limits| (limits.handshakes_per_address_max, limits.handshake_stall_ms_max) = (2, 60_000));
        let running = Running::start(Some(tls), &limits);
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let silent = [open(running.address, ELSEWHERE), open(running.address, ELSEWHERE)];
        assert!(!is_answered(open(running.address, ELSEWHERE)).await, "it is closed");
        for _ in 0..4 {
            let mut visitor = http1_over(connect(running.address, &config, "shop.localhost").await.unwrap()).await;
            assert_eq!(text(visitor.send_request(get("/")).await.unwrap()).await, "hello");
        }
        drop(silent);
    });
}
