//! Real etcd members on loopback, with or without TLS and users. Each member can be stopped, killed and restarted.
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

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devanture_config::api::Secret;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Longest wait for a cluster to start.
const START_MAX: Duration = Duration::from_secs(60);
/// User of the tests, with all permissions below [`PREFIX`].
const USER: &str = "edge";
const PASSWORD: &str = "pass-word";
/// User and password that etcd requires for administration.
const ROOT: &str = "root:root-word";
/// Prefix of the tests' keys.
pub(crate) const PREFIX: &str = "devanture/";

/// Members of one cluster, killed on drop.
pub(crate) struct Cluster {
    members: Vec<Mutex<Member>>,
    is_secure: bool,
    folder: tempfile::TempDir,
}

struct Member {
    name: String,
    client: SocketAddr,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// Returns true if etcd is installed. Otherwise prints the skipped subject, or fails where every tool is required.
pub(crate) fn is_installed() -> bool {
    let found = |program: &str, argument: &str| {
        Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    if found("etcd", "--version") && found("etcdctl", "version") {
        return true;
    }
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "etcd and etcdctl are not installed");
    eprintln!("left out: etcd and etcdctl are not installed");
    false
}

impl Cluster {
    /// Starts members without TLS and users, with additional options.
    pub(crate) fn start(members: usize, options: &[&str]) -> Self {
        Self::start_any(members, options, false)
    }

    /// Starts members that require TLS, a client certificate, a user and a password.
    pub(crate) fn start_secure(members: usize) -> Self {
        let cluster = Self::start_any(members, &[], true);
        let role = ["role", "grant-permission", "edge", "--prefix=true", "readwrite", PREFIX];
        for arguments in [
            &["user", "add", ROOT][..],
            &["user", "grant-role", "root", "root"],
            &["role", "add", "edge"],
            &role,
            &["user", "add", &format!("{USER}:{PASSWORD}")],
            &["user", "grant-role", USER, "edge"],
            &["auth", "enable"],
        ] {
            cluster.admin_as(None, arguments);
        }
        cluster
    }

    fn start_any(members: usize, options: &[&str], is_secure: bool) -> Self {
        // etcd cannot listen on a port chosen by the system. Free ports are chosen here, and again if another process
        // takes a port first.
        for _ in 0..5 {
            let cluster = Self::prepare(members, options, is_secure);
            for index in 0..members {
                cluster.restart(index);
            }
            if cluster.is_started() {
                return cluster;
            }
        }
        panic!("etcd finds no free ports");
    }

    fn prepare(members: usize, options: &[&str], is_secure: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if is_secure {
            make_certificates(folder.path());
        }
        let ports = ports::chosen(2 * members);
        let peer_url = |index: usize| format!("http://{}", ports[2 * index]);
        let all: Vec<_> = (0..members).map(|index| format!("m{index}={}", peer_url(index))).collect();
        let made = (0..members).map(|index| {
            let client = ports[2 * index + 1];
            let url = format!("{}://{client}", if is_secure { "https" } else { "http" });
            let name = format!("m{index}");
            let data = folder.path().join(&name);
            let mut arguments: Vec<String> = [
                ("name", name.as_str()),
                ("data-dir", data.to_str().unwrap()),
                ("listen-client-urls", &url),
                ("advertise-client-urls", &url),
                ("listen-peer-urls", &peer_url(index)),
                ("initial-advertise-peer-urls", &peer_url(index)),
                ("initial-cluster", &all.join(",")),
                // Each cluster has a unique id, even on the ports of an earlier cluster.
                ("initial-cluster-token", folder.path().to_str().unwrap()),
                ("heartbeat-interval", "50"),
                ("election-timeout", "500"),
                ("bcrypt-cost", "4"),
                ("logger", "zap"),
                ("log-level", "error"),
            ]
            .iter()
            .map(|(name, value)| format!("--{name}={value}"))
            .collect();
            if is_secure {
                let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
                arguments.push(format!("--cert-file={}", file("server.pem")));
                arguments.push(format!("--key-file={}", file("server.key")));
                arguments.push(format!("--trusted-ca-file={}", file("ca.pem")));
                arguments.push("--client-cert-auth=true".to_owned());
                arguments.push("--enable-grpc-gateway=false".to_owned());
            }
            arguments.extend(options.iter().map(|option| (*option).to_owned()));
            Mutex::new(Member { name, client, arguments, child: None })
        });
        let members = made.collect();
        Self { members, is_secure, folder }
    }

    /// Returns false if a member exited, for example because the port is taken.
    fn is_started(&self) -> bool {
        let began = Instant::now();
        loop {
            if self.is_healthy() {
                return true;
            }
            assert!(began.elapsed() < START_MAX, "etcd does not start");
            for member in &self.members {
                let child = &mut member.lock().unwrap().child;
                if child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                    return false;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns true if every member answers and the cluster has a leader.
    pub(crate) fn is_healthy(&self) -> bool {
        (0..self.members.len()).all(|index| {
            let mut command = self.etcdctl(&[index], None);
            command.args(["--dial-timeout=1s", "--command-timeout=1s", "endpoint", "health"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        })
    }

    /// Waits until every member answers.
    pub(crate) fn wait_until_healthy(&self) {
        let began = Instant::now();
        while !self.is_healthy() {
            assert!(began.elapsed() < START_MAX, "the cluster does not become healthy");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Client URLs of all members.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        (0..self.members.len()).map(|index| self.endpoint(index)).collect()
    }

    /// Client URL of one member.
    pub(crate) fn endpoint(&self, index: usize) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address(index))
    }

    /// Client address of a member.
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        self.members[index].lock().unwrap().client
    }

    /// Credentials of the tests.
    pub(crate) fn credentials(&self) -> Option<(String, Secret)> {
        self.is_secure.then(|| (USER.to_owned(), Secret::new(PASSWORD)))
    }

    /// TLS configuration of the tests.
    pub(crate) fn tls(&self) -> Option<Arc<rustls::ClientConfig>> {
        if !self.is_secure {
            return None;
        }
        // Another test of this process may have installed the provider first.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let file = |name: &str| self.folder.path().join(name);
        let certificate = |name: &str| CertificateDer::from_pem_file(file(name)).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("client.key")).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate("client.pem")], key);
        Some(Arc::new(config.unwrap()))
    }

    /// Kills a member immediately, like a power failure.
    pub(crate) fn kill(&self, index: usize) {
        let child = self.members[index].lock().unwrap().child.take();
        if let Some(mut child) = child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops a member: open connections stay, and requests get no answer.
    pub(crate) fn stop(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

    /// Resumes a stopped member.
    pub(crate) fn resume(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    fn signal(&self, index: usize, signal: Signal) {
        let member = self.members[index].lock().unwrap();
        let id = member.child.as_ref().unwrap().id();
        kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
    }

    /// Restarts a killed member with the same data.
    pub(crate) fn restart(&self, index: usize) {
        let mut member = self.members[index].lock().unwrap();
        assert!(member.child.is_none());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("{}.log", member.name)))
            .unwrap();
        let child = Command::new("etcd").args(&member.arguments).stdout(Stdio::null()).stderr(log).spawn();
        member.child = Some(child.unwrap());
    }

    /// Backs up the data of the only member, which is killed for the copy and restarted.
    pub(crate) fn back_up(&self, index: usize) {
        self.kill(index);
        copy_all(&self.folder.path().join(format!("m{index}")), &self.folder.path().join("backup"));
        self.restart(index);
        self.wait_until_healthy();
    }

    /// Restores the backup in place of a killed member's data.
    pub(crate) fn put_back(&self, index: usize) {
        let data = self.folder.path().join(format!("m{index}"));
        std::fs::remove_dir_all(&data).unwrap();
        copy_all(&self.folder.path().join("backup"), &data);
    }

    /// Command line options of a member.
    pub(crate) fn options(&self, index: usize) -> Vec<String> {
        self.members[index].lock().unwrap().arguments.clone()
    }

    /// Leader of the cluster; waits until an election ends.
    pub(crate) fn leader(&self) -> usize {
        let began = Instant::now();
        loop {
            for index in 0..self.members.len() {
                let mut command = self.etcdctl(&[index], self.root());
                command.args(["--dial-timeout=1s", "--command-timeout=1s", "endpoint", "status", "--write-out=json"]);
                let output = command.stderr(Stdio::null()).output().unwrap();
                let Ok(found) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else { continue };
                let status = &found[0]["Status"];
                let leader = status["leader"].as_u64();
                if leader.is_some_and(|leader| leader != 0) && leader == status["header"]["member_id"].as_u64() {
                    return index;
                }
            }
            assert!(began.elapsed() < START_MAX, "no member leads");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Compacts the history of etcd up to `revision`.
    pub(crate) fn compact(&self, revision: u64) {
        self.admin(&["compact", "--physical=true", &revision.to_string()]);
    }

    /// Stored keys and values below a prefix, with the revision of the last change.
    pub(crate) fn stored(&self, prefix: &str) -> Vec<(String, Vec<u8>, u64)> {
        use base64::Engine as _;
        let text = self.admin(&["get", "--prefix", prefix, "--write-out=json"]);
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        let bytes = |text: &serde_json::Value| {
            base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap_or_default()).unwrap()
        };
        let kvs = found["kvs"].as_array().cloned().unwrap_or_default();
        kvs.iter()
            .map(|kv| {
                let key = String::from_utf8(bytes(&kv["key"])).unwrap();
                (key, bytes(&kv["value"]), kv["mod_revision"].as_u64().unwrap())
            })
            .collect()
    }

    /// Runs `etcdctl` as an administrator and returns the output.
    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        self.admin_as(self.root(), arguments)
    }

    /// Deletes the user of the tests, which invalidates the user's tokens, and adds the user again.
    pub(crate) fn end_tokens(&self) {
        self.admin(&["user", "delete", USER]);
        self.admin(&["user", "add", &format!("{USER}:{PASSWORD}")]);
        self.admin(&["user", "grant-role", USER, "edge"]);
    }

    fn root(&self) -> Option<&'static str> {
        self.is_secure.then_some(ROOT)
    }

    fn admin_as(&self, user: Option<&str>, arguments: &[&str]) -> String {
        let all: Vec<_> = (0..self.members.len()).collect();
        let output = self.etcdctl(&all, user).args(arguments).output().unwrap();
        assert!(output.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn etcdctl(&self, members: &[usize], user: Option<&str>) -> Command {
        let mut command = Command::new("etcdctl");
        let endpoints: Vec<_> = members.iter().map(|index| self.endpoint(*index)).collect();
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", endpoints.join(",")));
        if self.is_secure {
            let file = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
            command.arg(format!("--cacert={}", file("ca.pem")));
            command.arg(format!("--cert={}", file("client.pem"))).arg(format!("--key={}", file("client.key")));
        }
        if let Some(user) = user {
            command.arg(format!("--user={user}"));
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in 0..self.members.len() {
            let child = self.members[index].lock().map(|mut member| member.child.take());
            if let Ok(Some(mut child)) = child {
                child.kill().ok();
                child.wait().ok();
            }
        }
        if std::thread::panicking() {
            for (index, log) in self.logs().iter().enumerate() {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let from = text.len().saturating_sub(2_000);
                eprintln!("etcd m{index}: {}", text.get(from..).unwrap_or_default());
            }
        }
    }
}

impl Cluster {
    fn logs(&self) -> Vec<PathBuf> {
        (0..self.members.len()).map(|index| self.folder.path().join(format!("m{index}.log"))).collect()
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Creates a certificate authority, a certificate for members and a certificate for clients.
fn make_certificates(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    for (name, usage) in
        [("server", rcgen::ExtendedKeyUsagePurpose::ServerAuth), ("client", rcgen::ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut leaf = rcgen::CertificateParams::new(names).unwrap();
        leaf.extended_key_usages = vec![usage];
        leaf.distinguished_name.push(rcgen::DnType::CommonName, name);
        std::fs::write(folder.join(format!("{name}.pem")), leaf.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Network between a node and a member, which a test can cut.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    state: Arc<CableState>,
}

struct CableState {
    is_cut: AtomicBool,
    /// Connections through the cable.
    open: Mutex<Vec<TcpStream>>,
}

impl Cable {
    /// Connects to `to` until the tests end.
    pub(crate) fn lay(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(CableState { is_cut: AtomicBool::new(false), open: Mutex::default() });
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(to) else { continue };
                of_thread.connect(near, far);
            }
        });
        Self { address, state }
    }

    /// Breaks all connections and refuses new connections.
    pub(crate) fn cut(&self) {
        let mut open = self.state.open.lock().unwrap();
        self.state.is_cut.store(true, Ordering::SeqCst);
        for stream in open.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// Accepts connections again.
    pub(crate) fn repair(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }
}

impl CableState {
    fn connect(&self, near: TcpStream, far: TcpStream) {
        let mut open = self.open.lock().unwrap();
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let pass = |mut from: TcpStream, mut to: TcpStream| {
            std::thread::spawn(move || {
                let mut piece = vec![0; 64 * 1_024];
                while let Ok(read @ 1..) = from.read(&mut piece) {
                    if to.write_all(&piece[..read]).is_err() {
                        break;
                    }
                }
                from.shutdown(Shutdown::Both).ok();
                to.shutdown(Shutdown::Both).ok();
            });
        };
        pass(near.try_clone().unwrap(), far.try_clone().unwrap());
        pass(far.try_clone().unwrap(), near.try_clone().unwrap());
        open.extend([near, far]);
    }
}
