//! Runner with private stores, pools and a front, in one folder and one process; the backends are real.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::api::{InstanceState, InstanceStatus};
use devanture_config::limits::Limits;
use devanture_config::manifest::{FileEntry, ServerFile, ServerFolder};
use devanture_config::site_toml::{Instances, SERVER_UPSTREAM};
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId, edge_toml};
use devanture_control::runner::{BackendSpec, Error, InstanceLease, Parts, Runner, Variables};
use devanture_serve::live::{Current, Domains, Follower, Grace, Live, Loader, Preview, PreviewKey};
use devanture_serve::proxy::address::Policy;
use devanture_serve::proxy::{
    Arrival, Client, ClientSettings, CompiledRoute, Following, Ids, Registry, RegistrySettings, tls,
};
use devanture_store::blobs::{self, Blobs, Key};
use devanture_store::catalog::{self, Catalog, Change, Commit};
use devanture_store::records::instances::{ScaleRecord, UidRecord, scale_key, uid_key};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::wire::promise_upgrade;

/// What the backends of these tests are: they say who they are, and do what the path says.
const SERVER: &str = r#"
const http = require('http'), fs = require('fs');
let well = true;
const server = http.createServer((question, answer) => {
  const path = question.url.split('?')[0];
  if (path === '/healthz') { answer.statusCode = well ? 200 : 500; return answer.end(); }
  if (path === '/env') return answer.end(JSON.stringify(process.env));
  if (path === '/sick') well = false;
  if (path === '/close') { server.close(); server.closeAllConnections(); return; }
  if (path === '/die') process.exit(3);
  if (path === '/swap') {
    fs.unlinkSync(process.env.SOCKET);
    fs.symlinkSync(question.url.split('?')[1], process.env.SOCKET);
  }
  if (path === '/keep') fs.writeFileSync('data/kept', 'kept');
  if (path === '/settings') {
    const names = ['.npmrc', 'bunfig.toml', 'node_modules', 'sitecustomize.py', '.bundle'];
    const makes = (name) => { try { fs.mkdirSync(name); return true; } catch { return false; } };
    const made = names.flatMap((name) => [name, '../' + name]).filter(makes);
    const found = fs.readdirSync(process.env.HOME);
    fs.writeFileSync(process.env.HOME + '/.npmrc', '');
    return answer.end(JSON.stringify({ made, found }));
  }
  if (path === '/spoil') { try { fs.writeFileSync('server.js', ''); } catch (error) { return answer.end(error.code); } }
  const say = () => answer.end(JSON.stringify({ build: BUILD, pid: process.pid, uid: process.getuid(),
    instance: process.env.DEVANTURE_INSTANCE, version: process.env.DEVANTURE_VERSION,
    kept: fs.existsSync(process.env.DEVANTURE_DATA + '/kept') }));
  if (path === '/slow') { answer.flushHeaders(); return setTimeout(say, 1000); }
  say();
});
setInterval(() => {}, 1000);
console.log('begins ' + process.env.DEVANTURE_INSTANCE);
if (process.env.SOCKET) server.listen(process.env.SOCKET, () => fs.chmodSync(process.env.SOCKET, 0o770));
else server.listen(+process.env.PORT, '127.0.0.1');
server.on('upgrade', (question, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
  socket.on('data', (bytes) => socket.write(bytes));
  socket.on('end', () => socket.end());
  socket.on('error', () => {});
});
process.on('SIGTERM', () => process.exit(0));
"#;

/// Longest duration of a test and of each wait: limits for hanging tests, not for busy machines.
const TEST_MAX: Duration = Duration::from_secs(280);
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Runs a test on a runtime like the edge's, with the front on this thread; fails a hanging test.
pub(crate) fn run<F: Future<Output = ()>>(work: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async { tokio::time::timeout(TEST_MAX, work).await.expect("it hangs") });
}

/// Waits until `fact` holds.
pub(crate) async fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    let until = Instant::now() + WAIT_MAX;
    while !fact() {
        assert!(Instant::now() < until, "this never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns true if a process exists.
pub(crate) fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Settings by place and revision.
#[derive(Default)]
struct Settings(Mutex<HashMap<(String, u64), BTreeMap<String, String>>>);

#[async_trait]
impl Variables for Settings {
    async fn of(&self, _app: &AppName, place: &str, revision: u64) -> Result<BTreeMap<String, String>, String> {
        Ok(self.0.lock().unwrap().get(&(place.to_owned(), revision)).cloned().unwrap_or_default())
    }
}

pub(crate) struct World {
    folder: TempDir,
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    live: Live,
    registry: Registry,
    settings: Arc<Settings>,
    limits: Limits,
    pub(crate) app: AppName,
    pub(crate) runner: Runner,
    pub(crate) front: SocketAddr,
}

/// Limits with short times.
pub(crate) fn limits() -> Limits {
    Limits {
        instance_restart_ms_min: 50,
        instance_restart_ms_max: 400,
        instance_health_ms: 100,
        instance_unhealthy_after: 2,
        ..Limits::default()
    }
}

/// `[server]` of a healthy backend.
pub(crate) fn plain() -> serde_json::Value {
    json!({
        "command": ["node", "server.js"], "health": "/healthz", "instances": 2, "persist": "data",
        "start_ms": 30_000, "drain_ms": 10_000, "stop_ms": 5_000
    })
}

/// `[server]` of a healthy backend, with more keys.
pub(crate) fn plain_but(declared: serde_json::Value) -> serde_json::Value {
    let mut all = plain();
    all.as_object_mut().unwrap().extend(declared.as_object().unwrap().clone());
    all
}

impl World {
    pub(crate) async fn start(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Apps cross the folder on the path to their folders.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let blobs = blobs::open(folder.path().join("blobs")).unwrap();
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 60_000, versions_max: 4 });
        let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), &limits);
        let remade = tokio::sync::broadcast::Sender::new(1);
        let follower = Follower::start(live.clone(), loader.clone(), remade.subscribe()).await.unwrap();
        tokio::spawn(follower.run());
        let settings = RegistrySettings {
            // Not even loopback is permitted: instances are members nevertheless.
            policy: Policy::default(),
            tls: tls::trusting([]).unwrap(),
            requests_max: 1_000,
            sockets_max: 1_000,
        };
        let registry = Registry::new(settings);
        let following = Following::start(registry.clone(), live.clone(), Arc::clone(&catalog)).await.unwrap();
        tokio::spawn(following.run());
        let app: AppName = "shop".parse().unwrap();
        let variables = Arc::new(Settings::default());
        let parts = parts(folder.path(), &limits, &blobs, &catalog, &live, &registry, &variables);
        let runner = Runner::start(parts).await.unwrap();
        let front = front(live.clone(), loader, registry.clone(), app.clone()).await;
        let world = Self { folder, blobs, catalog, live, registry, settings: variables, limits, app, runner, front };
        let number = rand::random::<u32>() % 60_000;
        for (place, number) in [("prod", number), ("preview", number + 1)] {
            world.put(uid_key(&world.app, place), &UidRecord { number, pair: None }).await;
        }
        world
    }

    /// Starts another runner in place of the ended runner.
    pub(crate) async fn start_again(&mut self) {
        let Self { folder, limits, blobs, catalog, live, registry, settings, .. } = self;
        self.runner =
            Runner::start(parts(folder.path(), limits, blobs, catalog, live, registry, settings)).await.unwrap();
    }

    /// Hands over the instances to another runner with the given limits.
    pub(crate) async fn take_over(&mut self, limits: Limits) {
        let handover = self.runner.stand_still().await.unwrap();
        assert!(self.runner.leave(false));
        let Self { folder, blobs, catalog, live, registry, settings, .. } = self;
        let parts = parts(folder.path(), &limits, blobs, catalog, live, registry, settings);
        let next = Runner::start(Parts { handover: Some(handover), ..parts }).await.unwrap();
        next.resume();
        (self.runner, self.limits) = (next, limits);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn put(&self, key: String, value: &impl serde::Serialize) -> u64 {
        let value: Arc<[u8]> = serde_json::to_vec(value).unwrap().into();
        self.catalog.commit(Commit { checks: Vec::new(), changes: vec![Change::Put(key, value)] }).await.unwrap()
    }

    pub(crate) fn set(&self, place: &str, revision: u64, name: &str, value: &str) {
        let mut all = self.settings.0.lock().unwrap();
        all.entry((place.to_owned(), revision)).or_default().insert(name.to_owned(), value.to_owned());
    }

    async fn blob(&self, bytes: &[u8]) -> (Digest, u64) {
        let hash = Digest::of(bytes);
        self.blobs.put(Key::Blob(hash), Bytes::copy_from_slice(bytes)).await.unwrap();
        (hash, bytes.len() as u64)
    }

    /// Stores a version whose front is `page` and whose backend reports `build`.
    pub(crate) async fn version(&self, page: &str, build: &str, server: &serde_json::Value) -> Version {
        let code = format!("const BUILD = '{build}';{SERVER}");
        self.version_of(page, &[("server.js", &code, false)], server).await
    }

    /// Stores a version with the given files in the backend's folder.
    pub(crate) async fn version_of(
        &self,
        page: &str,
        files: &[(&str, &str, bool)],
        server: &serde_json::Value,
    ) -> Version {
        let (hash, size) = self.blob(page.as_bytes()).await;
        let entry = FileEntry { hash, size, media_type: None };
        let mut manifest = Manifest::of_files([("index.html".parse().unwrap(), entry)].into());
        let mut folder = ServerFolder::default();
        for (path, text, run) in files {
            let (hash, size) = self.blob(text.as_bytes()).await;
            folder.files.insert(path.parse().unwrap(), ServerFile { hash, run: *run, size });
        }
        manifest.server = Some(folder);
        manifest.base.server = Some(serde_json::from_value(server.clone()).unwrap());
        manifest.check().unwrap();
        let id = manifest.id();
        self.blobs.put(Key::Manifest(id), Bytes::from(manifest.canonical())).await.unwrap();
        let record = json!({
            "stored_ms": 1, "who": "me", "trusted": true, "source": {}, "files": 1, "bytes": 1
        });
        let stored = self.put(format!("versions/{}/{id}", self.app), &record).await;
        self.live.wait_for(stored).await;
        let serving = manifest.serving_for("prod");
        Version { id, managed: Arc::new(manifest.managed_in(&serving).unwrap()) }
    }

    pub(crate) fn wanted(&self, version: &Version, settings: u64) -> BackendSpec {
        BackendSpec {
            app: self.app.clone(),
            place: "prod".to_owned(),
            version: version.id,
            managed: Arc::clone(&version.managed),
            settings,
            trusted: true,
        }
    }

    /// Prepares a version; returns the reported steps.
    pub(crate) async fn prepare(&self, version: &Version) -> Result<(InstanceLease, Vec<String>), Error> {
        let reported: Mutex<Vec<String>> = Mutex::default();
        let report = |line: &str| reported.lock().unwrap().push(line.to_owned());
        let held = self.runner.prepare(&self.wanted(version, 0), &report).await?;
        Ok((held, reported.into_inner().unwrap()))
    }

    /// Makes a version live without preparation.
    pub(crate) async fn point(&self, version: &Version, settings: u64) {
        if settings > 0 {
            let record = json!({ "who": "me", "at_ms": 1, "settings": {} });
            self.put(format!("settings/{}/prod/{settings:016}", self.app), &record).await;
        }
        let pointer = json!({
            "version": version.id, "settings": settings, "switched_ms": 1, "deploy": "", "begun": 0, "position": ""
        });
        let revision = self.put(format!("live/{}/prod", self.app), &pointer).await;
        self.live.wait_for(revision).await;
    }

    /// Prepares a version and makes the version live.
    pub(crate) async fn switch(&self, version: &Version) {
        let (held, _) = self.prepare(version).await.unwrap();
        self.point(version, 0).await;
        drop(held);
    }

    pub(crate) async fn scale(&self, process: &str, count: u64) {
        let record = ScaleRecord { processes: [(process.parse().unwrap(), Instances::Count(count))].into() };
        self.put(scale_key(&self.app, "prod"), &record).await;
    }

    pub(crate) fn instances(&self) -> Vec<InstanceStatus> {
        self.runner.instances(&self.app, "prod")
    }

    /// Process ids of the healthy live instances.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let all = self.instances().into_iter();
        all.filter(|one| one.state == InstanceState::Healthy).filter_map(|one| one.pid).collect()
    }

    /// State of the instance with a unique name.
    pub(crate) fn state(&self, name: &str) -> Option<InstanceState> {
        self.instances().into_iter().find(|one| one.name == name).map(|one| one.state)
    }

    /// Sends a request to the live version.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.ask(path, None).await
    }

    /// Sends a request to the live version, or to a version's own hostname.
    pub(crate) async fn ask(&self, path: &str, version: Option<&VersionId>) -> (u16, String) {
        ask(self.front, path, version).await
    }

    pub(crate) async fn json(&self, path: &str) -> serde_json::Value {
        let (status, text) = self.get(path).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Output lines of an instance.
    pub(crate) async fn lines(&self, instance: &str) -> Vec<String> {
        let lines = self.runner.logs().last(&self.app, "prod", Some(instance), 1_000).await.lines;
        lines.iter().map(|line| line.text.clone()).collect()
    }

    /// Ends the runner and checks that no process is left.
    pub(crate) async fn end(&self) {
        let pids: Vec<u32> = self.instances().into_iter().filter_map(|one| one.pid).collect();
        self.runner.end(Duration::from_secs(30)).await;
        for pid in pids {
            assert!(!is_there(pid), "{pid} is left");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Frees the user ids for other tests.
        for entry in std::fs::read_dir("/var/lib/devanture-uids").into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            if text.contains(self.folder.path().to_str().unwrap()) {
                std::fs::remove_file(entry.path().with_extension("lock")).ok();
                std::fs::remove_file(entry.path()).ok();
            }
        }
    }
}

/// Stored version.
pub(crate) struct Version {
    pub(crate) id: VersionId,
    pub(crate) managed: Arc<devanture_config::manifest::Managed>,
}

fn parts(
    folder: &Path,
    limits: &Limits,
    blobs: &Arc<dyn Blobs>,
    catalog: &Arc<dyn Catalog>,
    live: &Live,
    registry: &Registry,
    variables: &Arc<Settings>,
) -> Parts {
    Parts {
        settings: edge_toml::Runner { enabled: true, ..edge_toml::Runner::default() },
        node: "node-1".to_owned(),
        is_in_cluster: false,
        limits: limits.clone(),
        data_dir: folder.to_owned(),
        folder: folder.join("run"),
        base: folder.to_owned(),
        program: env!("CARGO_BIN_EXE_devanture-edge").into(),
        blobs: Arc::clone(blobs),
        catalog: Arc::clone(catalog),
        live: live.clone(),
        registry: registry.clone(),
        variables: Arc::clone(variables) as Arc<dyn Variables>,
        handover: None,
    }
}

/// Forwards each request to the backend of the live version, or of the version that the request names.
async fn front(live: Live, loader: Loader, registry: Registry, app: AppName) -> SocketAddr {
    let client = Client::new(ClientSettings {
        body_bytes_max: u64::MAX,
        idle_per_member_max: 8,
        connection_age_max: Duration::from_secs(300),
        stop: CancellationToken::new(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let (live, loader, registry, app, client) =
                (live.clone(), loader.clone(), registry.clone(), app.clone(), client.clone());
            let service = service_fn(move |mut request: Request<Incoming>| {
                let (live, loader, registry, app, client) =
                    (live.clone(), loader.clone(), registry.clone(), app.clone(), client.clone());
                promise_upgrade(&mut request);
                async move {
                    let named = request.headers().get("x-version").map(|value| value.to_str().unwrap().to_owned());
                    let current: Arc<Current> = match named {
                        Some(id) => {
                            let preview = Preview::Version(PreviewKey { app, id: id.parse().unwrap() });
                            loader.preview(&live, &preview).await.unwrap()
                        }
                        None => live.place(&app, &PlaceName::prod()).unwrap().current().unwrap(),
                    };
                    Ok::<_, Infallible>(forward(&client, &registry, &current, request, peer).await)
                }
            });
            tokio::task::spawn_local(async move {
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                drop(served.with_upgrades().await);
            });
        }
    });
    address
}

async fn forward(
    client: &Client,
    registry: &Registry,
    current: &Current,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Either<devanture_serve::proxy::ProxyBody, Full<Bytes>>> {
    let version = &current.version;
    let number = version.upstreams.iter().position(|upstream| upstream.name == SERVER_UPSTREAM).unwrap();
    let pool = registry.pool_of(version, number, current.settings.load().revision).unwrap();
    let way = CompiledRoute::plain(pool, None);
    let ids = Ids::of(request.headers(), false);
    let arrival = Arrival {
        host: "shop",
        client: Some(peer.ip()),
        ids: &ids,
        passing: None,
        port: None,
        proxies: &[],
        scheme: "https",
    };
    let expected = version.id.to_string();
    match client.forward(&way, request, &arrival).await {
        Ok(mut response) => {
            response.headers_mut().insert("x-expected", expected.parse().unwrap());
            response.map(Either::Left)
        }
        Err(error) => {
            let mut response = Response::new(Either::Right(Full::from(error.to_string())));
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

/// Sends a request on a new connection: status and body.
pub(crate) async fn ask(front: SocketAddr, path: &str, version: Option<&VersionId>) -> (u16, String) {
    let (status, text, _) = ask_expecting(front, path, version).await;
    (status, text)
}

/// Sends a request on a new connection: status, body, and the version whose backend should answer.
pub(crate) async fn ask_expecting(front: SocketAddr, path: &str, version: Option<&VersionId>) -> (u16, String, String) {
    let stream = TcpStream::connect(front).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // A request that must run once is not sent to another instance.
    let method = if ["/close", "/die", "/sick"].contains(&path) { "POST" } else { "GET" };
    let mut request = Request::builder().method(method).uri(path).header("host", "shop");
    if let Some(version) = version {
        request = request.header("x-version", version.to_string());
    }
    let response = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let expected = response.headers().get("x-expected").map(|id| id.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = response.into_body().collect().await;
    let text = body
        .map_or_else(|error| format!("broken: {error}"), |body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    (status, text, expected)
}
