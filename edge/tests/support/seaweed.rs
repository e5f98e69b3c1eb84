//! Real S3 store on loopback (SeaweedFS), and a gate before the store that counts, stalls and fails requests.
//!
//! The unit tests of the edge include this file, too; the only dependency is `ports`.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test"
)]
#![allow(dead_code, reason = "not every program of tests uses all of it")]

#[path = "ports.rs"]
#[allow(clippy::duplicate_mod, reason = "two programs of servers choose ports alike")]
pub(crate) mod ports;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use devanture_config::api::Secret;

/// Longest wait for the store to start.
const START_MAX: Duration = Duration::from_secs(60);
/// Bucket of the store.
pub(crate) const BUCKET: &str = "backups";
/// Certificate file in the store's folder.
const CERTIFICATE: &str = "certificate.pem";
/// Credentials with full access, and credentials with read access.
pub(crate) const OWNER: (&str, &str) = ("owner-key-id", "owner-secret-key");
pub(crate) const READER: (&str, &str) = ("reader-key-id", "reader-secret-key");

/// Store, ended on drop.
pub(crate) struct Seaweed {
    pub(crate) address: SocketAddr,
    /// TLS address, with a certificate trusted by [`Self::secure_variables`] alone.
    https: SocketAddr,
    child: Child,
    folder: tempfile::TempDir,
}

/// Returns true if the store is installed. Otherwise prints the skipped subject, or fails where every tool is required.
pub(crate) fn is_installed() -> bool {
    let found = Command::new("weed").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "weed (SeaweedFS) is not installed");
    eprintln!("left out: weed (SeaweedFS) is not installed");
    false
}

/// Environment variables for a store at `address` and a user.
pub(crate) fn variables(address: SocketAddr, (id, secret): (&str, &str)) -> BTreeMap<String, Secret> {
    let endpoint = format!("http://{address}");
    let pairs = [
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), Secret::new(value))).collect()
}

impl Seaweed {
    /// Starts the store with one bucket.
    pub(crate) fn start() -> Self {
        // The store cannot listen on a port chosen by the system. Free ports are chosen here, and again if another
        // process takes a port first.
        for _ in 0..5 {
            if let Some(store) = Self::try_start() {
                return store;
            }
        }
        panic!("SeaweedFS does not start");
    }

    fn try_start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let identity = |(id, secret): (&str, &str), actions: &[&str]| {
            serde_json::json!({
                "name": id, "credentials": [{ "accessKey": id, "secretKey": secret }], "actions": actions
            })
        };
        let everything = ["Admin", "Read", "Write", "List", "Tagging"];
        let users =
            serde_json::json!({ "identities": [identity(OWNER, &everything), identity(READER, &["Read", "List"])] });
        std::fs::write(folder.path().join("s3.json"), users.to_string()).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join(CERTIFICATE), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let ports: Vec<u16> = ports::chosen(9).iter().map(SocketAddr::port).collect();
        let names = ["master.port", "volume.port", "filer.port", "s3.port"];
        let mut command = Command::new("weed");
        command.args(["-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.iam=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.max=20"]);
        command.args(["-master.volumeSizeLimitMB=64", "-dir=.", "-s3.config=s3.json", "-s3.key.file=key.pem"]);
        command.args([format!("-s3.cert.file={CERTIFICATE}"), format!("-s3.port.https={}", ports[8])]);
        for (name, ports) in names.iter().zip(ports.chunks(2)) {
            command.args([format!("-{name}={}", ports[0]), format!("-{name}.grpc={}", ports[1])]);
        }
        let command = command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut store = Self { address: at(ports[6]), https: at(ports[8]), child, folder };
        let began = Instant::now();
        // The first write takes longest, since the write creates a volume.
        while !is_done(store.address, "GET", "/") || !is_done(at(ports[4]), "POST", &format!("/buckets/{BUCKET}/")) {
            assert!(began.elapsed() < START_MAX, "SeaweedFS does not answer");
            if store.child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // The answer may come from the store of another test that took a port first; the own store has exited then.
        store.child.try_wait().unwrap().is_none().then_some(store)
    }

    /// Stops the store: connections stay open, and requests get no answer.
    pub(crate) fn suspend(&self) {
        self.signal("-STOP");
    }

    /// Resumes the store.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Environment variables of the owner.
    pub(crate) fn variables(&self) -> BTreeMap<String, Secret> {
        variables(self.address, OWNER)
    }

    /// Environment variables of the owner over TLS, with the trusted authority.
    pub(crate) fn secure_variables(&self) -> BTreeMap<String, Secret> {
        let mut variables = self.variables();
        let bundle = self.folder.path().join(CERTIFICATE);
        for (name, value) in [
            ("AWS_CA_BUNDLE", bundle.to_str().unwrap().to_owned()),
            ("AWS_ENDPOINT_URL", format!("https://localhost:{}", self.https.port())),
        ] {
            variables.insert(name.to_owned(), Secret::new(value));
        }
        variables
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns true if a server answers a request with success.
fn is_done(address: SocketAddr, method: &str, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(head.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && if method == "POST" { answer.starts_with("HTTP/1.1 2") } else { answer.starts_with("HTTP/1.1 ") }
}

/// Gate between an edge and the store.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    /// Number of started object writes.
    puts: AtomicUsize,
    /// Maximum number of object writes; later writes wait forever.
    puts_max: AtomicUsize,
    /// Number of requests to answer with 503, …
    errors: AtomicUsize,
    /// … after a number of requests to forward.
    passes: AtomicUsize,
    /// Number of `GET` requests.
    gets: AtomicUsize,
    /// Maximum number of forwarded `GET` requests; later requests wait until the maximum is raised.
    gets_max: AtomicUsize,
    /// Number of other modifying requests.
    others: AtomicUsize,
    is_stalled: AtomicBool,
}

impl Gate {
    /// Opens a gate before the server at `to`, until the tests end.
    pub(crate) fn open(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            puts: AtomicUsize::new(0),
            puts_max: AtomicUsize::new(usize::MAX),
            errors: AtomicUsize::new(0),
            passes: AtomicUsize::new(0),
            gets: AtomicUsize::new(0),
            gets_max: AtomicUsize::new(usize::MAX),
            others: AtomicUsize::new(0),
            is_stalled: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&of_thread);
                std::thread::spawn(move || state.pass(stream, to));
            }
        });
        Self { address, state }
    }

    /// Object writes since the last call.
    pub(crate) fn puts(&self) -> usize {
        self.state.puts.swap(0, Ordering::SeqCst)
    }

    /// `GET` requests since the last call.
    pub(crate) fn gets(&self) -> usize {
        self.state.gets.swap(0, Ordering::SeqCst)
    }

    /// Holds the `GET` requests that follow the next `gets`.
    pub(crate) fn hold_gets_after(&self, gets: usize) {
        self.state.gets.store(0, Ordering::SeqCst);
        self.state.gets_max.store(gets, Ordering::SeqCst);
    }

    /// Forwards the held and all later `GET` requests.
    pub(crate) fn release_gets(&self) {
        self.state.gets_max.store(usize::MAX, Ordering::SeqCst);
    }

    /// `HEAD`, `POST` and `DELETE` requests since the last call.
    pub(crate) fn others(&self) -> usize {
        self.state.others.swap(0, Ordering::SeqCst)
    }

    /// Stalls after `puts` more object writes.
    pub(crate) fn stall_after(&self, puts: usize) {
        self.state.puts.store(0, Ordering::SeqCst);
        self.state.is_stalled.store(false, Ordering::SeqCst);
        self.state.puts_max.store(puts, Ordering::SeqCst);
    }

    /// Returns true if a request waits forever.
    pub(crate) fn is_stalled(&self) -> bool {
        self.state.is_stalled.load(Ordering::SeqCst)
    }

    /// Answers the next `requests` requests with an error.
    pub(crate) fn fail(&self, requests: usize) {
        self.fail_after(0, requests);
    }

    /// Answers `requests` requests with an error, after `passes` forwarded requests.
    pub(crate) fn fail_after(&self, passes: usize, requests: usize) {
        self.state.passes.store(passes, Ordering::SeqCst);
        self.state.errors.store(requests, Ordering::SeqCst);
    }
}

impl State {
    /// Forwards bytes in both directions and inspects the start of each request. Each request begins with a separate
    /// read, since a client waits for the previous response.
    fn pass(&self, mut client: TcpStream, to: SocketAddr) {
        let Ok(mut server) = TcpStream::connect(to) else { return };
        let (Ok(mut back), Ok(mut answers)) = (client.try_clone(), server.try_clone()) else { return };
        std::thread::spawn(move || {
            std::io::copy(&mut answers, &mut back).ok();
            back.shutdown(std::net::Shutdown::Both).ok();
        });
        let mut piece = vec![0; 64 * 1_024];
        while let Ok(read @ 1..) = client.read(&mut piece) {
            let bytes = &piece[..read];
            let begins = [&b"PUT /"[..], b"GET /", b"POST /", b"DELETE /", b"HEAD /"];
            if begins.iter().any(|begin| bytes.starts_with(begin)) && !self.lets_pass(bytes) {
                let refusal = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                client.write_all(refusal.as_bytes()).ok();
                break;
            }
            if server.write_all(bytes).is_err() {
                break;
            }
        }
        server.shutdown(std::net::Shutdown::Both).ok();
    }

    fn lets_pass(&self, request: &[u8]) -> bool {
        if request.starts_with(b"PUT /")
            && self.puts.fetch_add(1, Ordering::SeqCst) >= self.puts_max.load(Ordering::SeqCst)
        {
            self.is_stalled.store(true, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        if request.starts_with(b"GET /") {
            let before = self.gets.fetch_add(1, Ordering::SeqCst);
            while before >= self.gets_max.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        } else if !request.starts_with(b"PUT /") {
            self.others.fetch_add(1, Ordering::SeqCst);
        }
        if self.passes.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return true;
        }
        self.errors.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
    }
}
