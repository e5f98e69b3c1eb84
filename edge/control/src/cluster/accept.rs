//! Accepts connections of other nodes; only peers with a certificate of the cluster's CA are answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::handshakes::{Handshake, Handshakes, Places};
use super::identity::Identity;

/// Pause after a failed accept, for example without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits on the connections of a listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Running handshakes with any peer.
    pub(super) handshakes: Places,
    /// Longest handshake.
    pub(super) handshake: Duration,
    /// Connections of other nodes.
    pub(super) connections: usize,
}

impl Bounds {
    pub(super) const DEFAULT: Self = Self {
        handshakes: Places { count: 1_024, stall: Duration::from_millis(50) },
        handshake: Duration::from_secs(5),
        connections: 1_024,
    };
}

/// Passes each connection of another node to `answer`, until `stop` is cancelled; running exchanges then continue.
pub(super) async fn accept<A, F>(
    socket: TcpListener,
    identity: Identity,
    bounds: Bounds,
    stop: CancellationToken,
    answer: A,
) where
    A: Fn(TlsStream<TcpStream>, OwnedSemaphorePermit) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let handshakes = Handshakes::new(bounds.handshakes);
    let connections = Arc::new(Semaphore::new(bounds.connections));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((tcp, from)) => {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = handshakes.room() => {}
                }
                let handshake = handshakes.begin(from.ip());
                // Read for each connection: the certificate may have been renewed.
                let acceptor = TlsAcceptor::from(identity.server_config());
                let (connections, answer) = (Arc::clone(&connections), answer.clone());
                tokio::spawn(async move {
                    let ended = match establish(tcp, acceptor, connections, (handshake, bounds.handshake)).await {
                        Ok((tls, permit)) => answer(tls, permit).await,
                        Err(reason) => Err(reason),
                    };
                    if let Err(reason) = ended {
                        tracing::debug!(%from, reason, "a connection of another node ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of another node could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Completes the handshake, and thereby verifies that the peer is a node.
async fn establish(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    connections: Arc<Semaphore>,
    (mut handshake, longest): (Handshake, Duration),
) -> Result<(TlsStream<TcpStream>, OwnedSemaphorePermit), String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    tcp.set_nodelay(true).map_err(|error| said(&error))?;
    let established = async {
        let tls = acceptor.accept(tcp).await.map_err(|error| said(&error))?;
        // Taken after the handshake: the permits are for nodes with a verified certificate. A waiting connection keeps
        // its handshake slot, so that waiting connections are bounded.
        let permit = connections.acquire_owned().await.map_err(|error| said(&error))?;
        Ok((tls, permit))
    };
    match handshake.run(timeout(longest, established)).await {
        Some(Ok(established)) => established,
        Some(Err(_elapsed)) => Err("no handshake".to_owned()),
        None => Err("another handshake needed its place".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinSet;

    use super::super::{authority, peer};
    use super::*;

    /// Concurrent strangers …
    const STRANGERS: usize = 300;
    /// … and their connections before nodes are examined.
    const OPENED: usize = 2_000;
    /// Longest wait for an expected event.
    const PATIENCE: Duration = Duration::from_secs(120);
    /// Longer than any test, so that handshakes end only by displacement.
    const ENDLESS: Duration = Duration::from_secs(3_600);

    /// Identity of a node, in its own folder.
    fn identity(folder: &tempfile::TempDir) -> Identity {
        let (ca, node) = (folder.path().join("ca"), folder.path().join("node"));
        authority::init(&ca).unwrap();
        authority::join(&ca, &node, "edge-1", Ipv4Addr::LOCALHOST.into()).unwrap();
        Identity::read(&node, "edge-1").unwrap()
    }

    /// Answers a node with one byte, and holds the connection until the node closes.
    async fn answer(mut tls: TlsStream<TcpStream>, permit: OwnedSemaphorePermit) -> Result<(), String> {
        tls.write_all(b"!").await.map_err(|error| error.to_string())?;
        tls.flush().await.map_err(|error| error.to_string())?;
        tls.read_exact(&mut [0]).await.ok();
        drop(permit);
        Ok(())
    }

    async fn start(identity: &Identity, bounds: Bounds) -> SocketAddr {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(accept(socket, identity.clone(), bounds, CancellationToken::new(), answer));
        address
    }

    /// Connects as a node; `None` without an answer.
    async fn ask(identity: &Identity, address: SocketAddr) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
        let dialled = peer::dial(&identity.client_config(), "edge-1", address, |tcp| tcp.set_nodelay(true)).await;
        let mut tls = dialled.ok()?;
        (tls.read(&mut [0]).await.ok()? == 1).then_some(tls)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn strangers_who_connect_to_a_node_again_and_again_and_say_nothing_keep_no_other_node_out() {
        let folder = tempfile::tempdir().unwrap();
        let identity = identity(&folder);
        let places = Places { count: 64, stall: Duration::from_millis(50) };
        let address = start(&identity, Bounds { handshakes: places, handshake: ENDLESS, connections: 2 }).await;
        let (opened, mut strangers) = (Arc::new(Semaphore::new(0)), JoinSet::new());
        for _ in 0..STRANGERS {
            let opened = Arc::clone(&opened);
            strangers.spawn(async move {
                loop {
                    if let Ok(mut tcp) = TcpStream::connect(address).await {
                        opened.add_permits(1);
                        // Until closed by the listener.
                        tcp.read_exact(&mut [0]).await.ok();
                    }
                }
            });
        }
        let flood = opened.acquire_many(u32::try_from(OPENED).unwrap());
        drop(timeout(PATIENCE, flood).await.expect("those who are closed come again").unwrap());
        for _ in 0..5 {
            // Retries, as nodes do.
            let answered = async { while ask(&identity, address).await.is_none() {} };
            timeout(PATIENCE, answered).await.expect("a node is answered amid strangers");
        }
        strangers.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn strangers_take_no_places_of_nodes_and_a_node_waits_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let identity = identity(&folder);
        let places = Places { count: 8, stall: ENDLESS };
        let address = start(&identity, Bounds { handshakes: places, handshake: ENDLESS, connections: 1 }).await;
        let mut strangers = Vec::new();
        for _ in 0..5 {
            strangers.push(TcpStream::connect(address).await.unwrap());
        }
        let first = timeout(PATIENCE, ask(&identity, address)).await.unwrap().expect("it is answered");
        let second = ask(&identity, address);
        tokio::pin!(second);
        assert!(timeout(Duration::from_millis(50), &mut second).await.is_err(), "there is one place");
        drop(first);
        assert!(timeout(PATIENCE, second).await.unwrap().is_some());
        drop(strangers);
    }
}
