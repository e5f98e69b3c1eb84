//! Nodes of one cluster in separate processes, with a real etcd and a real S3 store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use devanture_config::api::{BeginDeploy, DeployBegun, DeployReport, NodeList, NodeStatus};
use devanture_config::{Digest, VersionId};
use devanture_edge::server;
use devanture_serve::proxy::tls::trusting;
use devanture_store::s3::{Bucket, BucketSettings, Waits};
use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use tokio::task::JoinHandle;

use crate::etcd;
use crate::seaweed::{self, BUCKET, OWNER, Seaweed};
use crate::support::{Files, Got, RunningEdge, Setup, edge, got, try_got};

/// Lease in seconds: a silent node counts as lost afterwards.
pub(crate) const LEASE_S: u64 = 2;
/// Lease in seconds for tests without failing nodes, so that no node on a busy machine counts as lost.
const LONG_LEASE_S: u64 = 120;
/// Longest wait for an expected state.
pub(crate) const COMES_MAX: Duration = Duration::from_secs(60);
/// Pause between two polls.
const LOOK: Duration = Duration::from_millis(50);
/// Object prefix of the nodes.
const PREFIX: &str = "sites";
/// App of the tests, and the hostname.
pub(crate) const APP: &str = "shop";
pub(crate) const HOST: &str = "shop.localhost";

/// Cluster, ended on drop.
pub(crate) struct World {
    pub(crate) etcd: etcd::Cluster,
    pub(crate) store: Seaweed,
    pub(crate) nodes: Vec<RunningEdge>,
    ca: tempfile::TempDir,
    lease_s: u64,
}

/// Returns true if all programs for a cluster are installed.
pub(crate) fn is_installed() -> bool {
    etcd::is_installed() && seaweed::is_installed()
}

impl World {
    /// Starts nodes with an etcd of `members`.
    pub(crate) async fn start(nodes: usize, members: usize) -> Self {
        Self::start_with(nodes, members, |_, setup| setup).await
    }

    /// Like [`World::start`], with more settings for the node of each index.
    pub(crate) async fn start_with(nodes: usize, members: usize, more: impl Fn(usize, Setup) -> Setup) -> Self {
        Self::start_leased((nodes, members), LEASE_S, more).await
    }

    /// Like [`World::start_with`], with a lease long enough that no slow node counts as lost.
    pub(crate) async fn start_to_stay(nodes: usize, members: usize, more: impl Fn(usize, Setup) -> Setup) -> Self {
        Self::start_leased((nodes, members), LONG_LEASE_S, more).await
    }

    async fn start_leased(
        (nodes, members): (usize, usize),
        lease_s: u64,
        more: impl Fn(usize, Setup) -> Setup,
    ) -> Self {
        let (etcd, store) =
            tokio::task::spawn_blocking(move || (etcd::Cluster::start(members, &[]), Seaweed::start())).await.unwrap();
        let ca = tempfile::tempdir().unwrap();
        let mut world = Self { etcd, store, nodes: Vec::new(), ca, lease_s };
        server::cluster_init(&world.ca()).unwrap();
        for index in 0..nodes {
            let endpoints = world.etcd.endpoints();
            let setup = more(index, world.setup(index, &endpoints));
            world.nodes.push(setup.start().await);
        }
        world.is_complete(nodes).await;
        world
    }

    /// Setup of the node of an index, with the given etcd URLs.
    pub(crate) fn setup(&self, index: usize, endpoints: &[String]) -> Setup {
        let (store, lease_s) = (self.store.address, self.lease_s);
        edge()
            .with_top(&format!("node = \"edge-{}\"", index + 1))
            .with_toml(&format!(
                "[catalog]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n\
                 [blobs]\nkind = \"s3\"\nbucket = \"{BUCKET}\"\nprefix = {PREFIX:?}\nregion = \"us-east-1\"\n\
                 endpoint = \"http://{store}\"\n\
                 [cluster]\nadvertise = \"127.0.0.1:0\"\nlease_s = {lease_s}\n"
            ))
            .with_variable("AWS_ACCESS_KEY_ID", OWNER.0)
            .with_variable("AWS_SECRET_ACCESS_KEY", OWNER.1)
            .joining(&self.ca())
    }

    /// Folder of the cluster's CA.
    pub(crate) fn ca(&self) -> PathBuf {
        self.ca.path().join("ca")
    }

    /// Bucket of the nodes' files.
    pub(crate) fn bucket(&self) -> Bucket {
        let variables = seaweed::variables(self.store.address, OWNER);
        let settings =
            BucketSettings { bucket: BUCKET.to_owned(), prefix: PREFIX.to_owned(), ..BucketSettings::default() };
        settings.open(&variables, trusting([]).unwrap(), Waits::CLUSTER).unwrap()
    }

    /// Waits until every node knows `count` nodes.
    pub(crate) async fn is_complete(&self, count: usize) {
        for node in &self.nodes {
            comes("all nodes are known", async || nodes(node).await.len() == count).await;
        }
    }

    /// Waits until all nodes serve the live version.
    pub(crate) async fn agrees_on(&self, version: VersionId) {
        for node in &self.nodes {
            comes("a node serves what is live", async || served(node).await == Some(version.short())).await;
        }
    }
}

/// Waits until a condition holds.
pub(crate) async fn comes(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < COMES_MAX, "it never comes: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Nodes as listed by one node.
pub(crate) async fn nodes(node: &RunningEdge) -> Vec<NodeStatus> {
    got(node.api(Method::GET, "/v1/nodes")).await.json::<NodeList>().nodes
}

/// Shortened version that visitors of a node get; `None` without an answer.
pub(crate) async fn served(node: &RunningEdge) -> Option<String> {
    let got = try_got(node.visit(Method::GET, HOST, "/")).await.ok()?;
    got.headers.get("devanture-version").map(|version| version.to_str().unwrap().to_owned())
}

/// Site of two files that both contain the number of the site.
pub(crate) fn site(number: usize) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("index.html", format!("<!doctype html><title>{number}</title>the page of {number}").into_bytes()),
        ("about.html", format!("<!doctype html><title>{number}</title>about {number}").into_bytes()),
    ]
}

/// Pushes a site by a node.
pub(crate) async fn push(node: &RunningEdge, number: usize) -> DeployReport {
    let files = site(number);
    node.push(APP, &borrowed(&files)).await
}

/// Files in the form for [`push`].
pub(crate) fn borrowed<'f>(files: &'f [(&'static str, Vec<u8>)]) -> Vec<(&'static str, &'f [u8])> {
    files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect()
}

/// Pushes a site; returns the code of the problem on failure.
pub(crate) async fn try_push(node: &RunningEdge, number: usize) -> Result<DeployReport, String> {
    let files = site(number);
    let files: Files<'_> = &borrowed(&files);
    let begin = BeginDeploy {
        manifest: crate::support::manifest(files),
        source: Default::default(),
        options: Default::default(),
    };
    node.try_push(APP, "prod", begin, files).await.map_err(|problem| problem.code.as_str().to_owned())
}

/// Starts a push of a site to `prod` on a node.
pub(crate) async fn begun(node: &RunningEdge, token: &str, number: usize) -> DeployBegun {
    let begin = BeginDeploy {
        manifest: crate::support::manifest(&borrowed(&site(number))),
        source: Default::default(),
        options: Default::default(),
    };
    let path = format!("/v1/apps/{APP}/environments/prod/deploys");
    got(node.ask(Method::POST, &path, token).json(&begin)).await.json()
}

/// Uploads a blob of a push.
pub(crate) async fn put(node: &RunningEdge, token: &str, deploy: &str, digest: Digest, bytes: Vec<u8>) -> Got {
    got(node.ask(Method::PUT, &format!("/v1/apps/{APP}/blobs/{digest}?deploy={deploy}"), token).body(bytes)).await
}

/// Bytes of a blob of a site.
pub(crate) fn bytes_of(number: usize, digest: Digest) -> Vec<u8> {
    site(number).into_iter().map(|(_, bytes)| bytes).find(|bytes| Digest::of(bytes) == digest).unwrap()
}

/// Starts a push and uploads all files, without finishing.
pub(crate) async fn uploaded(node: &RunningEdge, number: usize) -> DeployBegun {
    let begun = begun(node, node.admin_token(), number).await;
    for digest in &begun.missing {
        let put = put(node, node.admin_token(), &begun.deploy, *digest, bytes_of(number, *digest)).await;
        assert_eq!(put.status, StatusCode::NO_CONTENT, "{}", put.text());
    }
    begun
}

/// Request that finishes a push.
pub(crate) fn finish(node: &RunningEdge, deploy: &str, token: &str) -> RequestBuilder {
    node.ask(Method::POST, &format!("/v1/apps/{APP}/deploys/{deploy}/finish"), token)
}

/// Number of the site in a page.
fn number_of(body: &str) -> Option<usize> {
    body.split_once("<title>")?.1.split_once("</title>")?.0.parse().ok()
}

/// Pause of a visitor between two requests or loads. A short pause would take the processors that the nodes need, and
/// make a test slower without testing more changes.
pub(crate) fn visitor_pause() -> Duration {
    Duration::from_millis(if std::env::var("FULL").is_ok_and(|full| full == "1") { 5 } else { 50 })
}

/// Concurrent visitors of nodes, until stopped.
pub(crate) struct Visitors {
    stop: Arc<AtomicBool>,
    visits: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Visitors {
    /// Visits each node continuously; `known` maps versions to sites.
    pub(crate) fn of(nodes: &[&RunningEdge]) -> Self {
        let (stop, visits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = nodes.iter().map(|node| {
            let (stop, visits, client, port) =
                (Arc::clone(&stop), Arc::clone(&visits), node.client(), node.https().port());
            tokio::spawn(async move {
                let (mut faults, mut by_version) = (Vec::new(), BTreeMap::<String, BTreeSet<usize>>::new());
                while !stop.load(Ordering::Relaxed) {
                    for path in ["/", "/about"] {
                        let request = client.get(format!("https://{HOST}:{port}{path}"));
                        match try_got(request).await {
                            Ok(got) if got.status == StatusCode::OK => {
                                let version = got.headers.get("devanture-version").unwrap().to_str().unwrap();
                                let Some(number) = number_of(&got.text()) else {
                                    faults.push(format!("{path}: {}", got.text()));
                                    continue;
                                };
                                by_version.entry(version.to_owned()).or_default().insert(number);
                            }
                            Ok(got) => faults.push(format!("{path}: {} {}", got.status, got.text())),
                            Err(error) => faults.push(format!("{path}: {error}")),
                        }
                        visits.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(visitor_pause()).await;
                }
                faults.extend(
                    by_version.iter().filter(|(_, numbers)| numbers.len() > 1).map(|mixed| format!("{mixed:?}")),
                );
                faults
            })
        });
        Self { tasks: tasks.collect(), stop, visits }
    }

    /// Stops the visitors; fails if a request failed or mixed two versions.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            assert_eq!(task.await.unwrap(), Vec::<String>::new());
        }
        assert!(self.visits.load(Ordering::Relaxed) > 0);
    }
}
