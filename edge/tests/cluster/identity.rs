//! Authentication of peers at a node's cluster listener, by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use devanture_edge::server::{self, Server, StartError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::world::{World, comes, is_installed, nodes, try_push};

/// Silent connections: more than a node's limit of handshakes.
const SILENT: usize = 2_100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_without_a_certificate_of_the_cluster_gets_an_answer() {
    if !is_installed() {
        return;
    }
    let world = World::start(1, 1).await;
    let address = nodes(&world.nodes[0]).await[0].advertise.clone().unwrap();
    // Authority of another cluster, with a node of the same name.
    let folder = tempfile::tempdir().unwrap();
    devanture_control::cluster::init(&folder.path().join("ca")).unwrap();
    devanture_control::cluster::join(&folder.path().join("ca"), folder.path(), "edge-2", [127, 0, 0, 1].into())
        .unwrap();
    let stranger = devanture_control::cluster::Identity::read(folder.path(), "edge-2").unwrap();
    let tcp = TcpStream::connect(&address).await.unwrap();
    let name = "edge-1".try_into().unwrap();
    let connected = tokio_rustls::TlsConnector::from(stranger.client_config()).connect(name, tcp).await;
    assert!(connected.is_err(), "it does not know the node's authority");
    // The node sends no data to a client that skips verification.
    let mut plain = TcpStream::connect(&address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"POST /v1/prepare HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_open_thousands_of_silent_connections_to_a_node_stop_no_push() {
    if !is_installed() {
        return;
    }
    // The default file limit is too low for so many connections.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let world = World::start(2, 1).await;
    let address = nodes(&world.nodes[0]).await[1].advertise.clone().unwrap();
    let (opened, mut strangers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..SILENT {
        let (opened, address) = (Arc::clone(&opened), address.clone());
        strangers.spawn(async move {
            loop {
                match TcpStream::connect(&address).await {
                    Ok(mut tcp) => {
                        opened.fetch_add(1, Ordering::Relaxed);
                        // Blocks until the node closes the connection.
                        tcp.read_exact(&mut [0]).await.ok();
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
    }
    comes("those who are closed come again", async || opened.load(Ordering::Relaxed) > 2 * SILENT).await;
    for number in 1..=3 {
        // From the address of the silent clients.
        comes("a push goes live amid strangers", async || try_push(&world.nodes[0], number).await.is_ok()).await;
    }
    strangers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_of_a_name_does_not_start() {
    if !is_installed() {
        return;
    }
    let world = World::start(1, 1).await;
    let endpoints = world.etcd.endpoints();
    let (folder, file) = world.setup(0, &endpoints).written();
    let folder = Arc::new(folder);
    let path = folder.path().to_owned();
    let started = tokio::task::spawn_blocking(move || Server::start(&file, &path).map(drop)).await.unwrap();
    let Err(StartError::Cluster(error)) = started else { panic!("it starts, or fails otherwise: {started:?}") };
    assert!(error.to_string().contains("another node at 127.0.0.1:"), "{error}");
    assert_eq!(StartError::Cluster(error).exit_code(), 2);
}

/// All files below a folder, with content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[test]
fn a_node_without_its_certificate_says_how_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let text = "data_dir = \"data\"\ndomain = \"localhost\"\npreview_domain = \"localhost\"\nnode = \"edge-1\"\n\
                [listen]\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[tls]\nmode = \"self-signed\"\n\
                [catalog]\nkind = \"etcd\"\nendpoints = [\"http://127.0.0.1:1\"]\n\
                [blobs]\nkind = \"s3\"\nbucket = \"www\"\nregion = \"r\"\nendpoint = \"http://127.0.0.1:1\"\n\
                [cluster]\nadvertise = \"127.0.0.1:0\"\n";
    let file = devanture_config::edge_toml::EdgeFile::parse("edge.toml", text).unwrap();
    let faults = server::check(&file, folder.path());
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.iter().any(|fault| fault.contains("devanture-edge cluster join --ca DIR")), "{faults:?}");
    server::cluster_init(&folder.path().join("ca")).unwrap();
    // Containers mount the CA folder read-only: joining must not write there.
    let made = files(&folder.path().join("ca"));
    assert!(made.contains_key(&folder.path().join("ca/tls/ca.pem")), "{:?}", made.keys());
    server::cluster_join(&file, folder.path(), &folder.path().join("ca")).unwrap();
    assert!(made == files(&folder.path().join("ca")), "a node that joined has changed the folder of the CA");
    let faults = server::check(&file, folder.path());
    assert!(faults.is_empty(), "{faults:?}");
}
