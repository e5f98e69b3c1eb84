//! A real S3 store on loopback, SeaweedFS, and a gate in front of it that counts, stalls and fails requests.
//!
//! The unit tests of the edge use this file, too, so that it needs nothing beside it but `ports`.

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
/// The bucket that it has.
pub(crate) const BUCKET: &str = "backups";
/// The file of its certificate, in its folder.
const CERTIFICATE: &str = "certificate.pem";
/// Who may do everything, and who may only read.
pub(crate) const OWNER: (&str, &str) = ("owner-key-id", "owner-secret-key");
pub(crate) const READER: (&str, &str) = ("reader-key-id", "reader-secret-key");

/// The store. It ends when this is dropped.
pub(crate) struct Seaweed {
    pub(crate) address: SocketAddr,
    /// Where it speaks TLS, with a certificate that only [`Self::secure_variables`] trust.
    https: SocketAddr,
    child: Child,
    folder: tempfile::TempDir,
}

/// Whether it is installed; says what is not tested where it is not, and fails where nothing may be missing.
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

/// How to reach a store at `address` as that user.
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
    /// Starts it with one bucket.
    pub(crate) fn start() -> Self {
        // It takes no port of the system's choice, so that free ones are chosen here; should another process have been
        // quicker, others are.
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
        // The first write is what takes the longest: it wants a volume.
        while !is_done(store.address, "GET", "/") || !is_done(at(ports[4]), "POST", &format!("/buckets/{BUCKET}/")) {
            assert!(began.elapsed() < START_MAX, "SeaweedFS does not answer");
            if store.child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // What answers may be the store of another test, which was quicker to take a port: this one has ended then.
        store.child.try_wait().unwrap().is_none().then_some(store)
    }

    /// Stops it: its connections stay and nothing answers.
    pub(crate) fn suspend(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// How its owner reaches it.
    pub(crate) fn variables(&self) -> BTreeMap<String, Secret> {
        variables(self.address, OWNER)
    }

    /// The same over TLS, with the authority to trust.
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

/// Whether a server answers at all, and does what a `POST` asks for.
fn is_done(address: SocketAddr, method: &str, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(head.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && if method == "POST" { answer.starts_with("HTTP/1.1 2") } else { answer.starts_with("HTTP/1.1 ") }
}

/// A gate between an edge and its store.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    /// Objects that were written, or begun.
    puts: AtomicUsize,
    /// So many objects are written; those after them wait for ever.
    puts_max: AtomicUsize,
    /// So many requests are answered 503, …
    errors: AtomicUsize,
    /// … after so many that pass.
    passes: AtomicUsize,
    /// Requests with `GET`.
    gets: AtomicUsize,
    /// So many of them are passed on; those after them wait until there may be more.
    gets_max: AtomicUsize,
    /// Other requests that change something.
    others: AtomicUsize,
    is_stalled: AtomicBool,
}

impl Gate {
    /// Opens it in front of the server at `to`, until the tests end.
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

    /// Objects that were written since this was asked last.
    pub(crate) fn puts(&self) -> usize {
        self.state.puts.swap(0, Ordering::SeqCst)
    }

    /// Requests with `GET` since this was asked last.
    pub(crate) fn gets(&self) -> usize {
        self.state.gets.swap(0, Ordering::SeqCst)
    }

    /// Holds the requests with `GET` that come after so many more.
    pub(crate) fn hold_gets_after(&self, gets: usize) {
        self.state.gets.store(0, Ordering::SeqCst);
        self.state.gets_max.store(gets, Ordering::SeqCst);
    }

    /// Passes on those that are held, and all that come.
    pub(crate) fn release_gets(&self) {
        self.state.gets_max.store(usize::MAX, Ordering::SeqCst);
    }

    /// Requests with `HEAD`, `POST` and `DELETE` since this was asked last.
    pub(crate) fn others(&self) -> usize {
        self.state.others.swap(0, Ordering::SeqCst)
    }

    /// Stalls after so many more objects.
    pub(crate) fn stall_after(&self, puts: usize) {
        self.state.puts.store(0, Ordering::SeqCst);
        self.state.is_stalled.store(false, Ordering::SeqCst);
        self.state.puts_max.store(puts, Ordering::SeqCst);
    }

    /// Whether a request waits for ever.
    pub(crate) fn is_stalled(&self) -> bool {
        self.state.is_stalled.load(Ordering::SeqCst)
    }

    /// Answers so many requests with an error.
    pub(crate) fn fail(&self, requests: usize) {
        self.fail_after(0, requests);
    }

    /// Answers so many requests with an error, after so many others.
    pub(crate) fn fail_after(&self, passes: usize, requests: usize) {
        self.state.passes.store(passes, Ordering::SeqCst);
        self.state.errors.store(requests, Ordering::SeqCst);
    }
}

impl State {
    /// Passes bytes on, in both directions, and looks at what begins a request: it comes with a read of its own, as a
    /// client waits for the answer to the one before it.
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
