//! podman's service with a private store, and a registry on loopback. The tests of the command line use the module,
//! too.
#![allow(dead_code, reason = "each program of tests uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a program to listen, and for podman to succeed on a store in use.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Pause between two polls.
const LOOK: Duration = Duration::from_millis(20);
/// Maximum number of ports tried for a registry: another program may take a free port first.
const PORTS_MAX: usize = 5;

/// User and password of a registry.
pub(crate) const USER: &str = "team";
pub(crate) const PASSWORD: &str = "open:sesame";
/// User and password in the format of htpasswd(1), hashed by bcrypt.
const HTPASSWD: &str = "team:$2y$05$abcdefghijklmnopqrstuubMHTpw5uKdtLGvKw5uzYhbpqtktcY3.\n";

/// Returns true if all programs are installed and usable; fails where every tool is required.
#[allow(clippy::print_stderr, reason = "a person who runs the tests has to see what was left out")]
pub(crate) fn is_installed() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can start containers as other users");
        return false;
    }
    let is_there = |program: &str| {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
    };
    let missing: Vec<_> =
        ["podman", "runc", "docker-registry", "cc"].into_iter().filter(|one| !is_there(one)).collect();
    if missing.is_empty() {
        return true;
    }
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "{missing:?} are not installed");
    eprintln!("left out: {missing:?} are not installed");
    false
}

/// Container engine and registry, ended on drop.
pub(crate) struct Engine {
    /// `None` once ended.
    podman: Option<Child>,
    /// `None` if the registry belongs to another engine.
    registry: Option<Child>,
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Engine {
    /// Engine with an open registry.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// Engine with a registry for [`USER`] alone.
    pub(crate) fn private() -> Self {
        Self::start_with(Some(HTPASSWD))
    }

    fn start_with(passwords: Option<&str>) -> Self {
        let folder = tempfile::tempdir_in("/srv").unwrap();
        let auth = passwords.map_or_else(String::new, |passwords| {
            let file = folder.path().join("htpasswd");
            std::fs::write(&file, passwords).unwrap();
            format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display())
        });
        let mut engine = Self { podman: None, registry: None, address: (Ipv4Addr::LOCALHOST, 0).into(), folder };
        engine.start_podman();
        let is_started = (0..PORTS_MAX).any(|_| engine.start_registry(&auth));
        assert!(is_started, "the registry ends by itself");
        engine
    }

    /// Starts the registry on a free port; returns false if the registry exits because another program took the port.
    fn start_registry(&mut self, auth: &str) -> bool {
        let at = |name: &str| self.folder.path().join(name);
        // The registry never reports a port chosen by the system, so a free port is chosen here.
        self.address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let address = self.address;
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{auth}",
            at("registry").display()
        );
        std::fs::write(at("registry.yml"), config).unwrap();
        let registry = Command::new("docker-registry")
            .arg("serve")
            .arg(at("registry.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = self.registry.insert(registry);
        let mut has_ended = false;
        comes("the registry", || {
            has_ended = registry.try_wait().unwrap().is_some();
            has_ended || TcpStream::connect(address).is_ok()
        });
        !has_ended
    }

    /// Another engine, such as for another node, with the same registry.
    pub(crate) fn beside(&self) -> Self {
        let folder = tempfile::tempdir_in("/srv").unwrap();
        let mut engine = Self { podman: None, registry: None, address: self.address, folder };
        engine.start_podman();
        engine
    }

    /// Starts podman's service, initially or again.
    pub(crate) fn start_podman(&mut self) {
        let service = Command::new("podman")
            .args(self.options())
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", self.socket().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.podman = Some(service.unwrap());
        comes("podman", || UnixStream::connect(self.socket()).is_ok());
    }

    /// Ends podman's service; containers and images stay.
    pub(crate) fn end_podman(&mut self) {
        end(self.podman.take());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("podman.sock")
    }

    /// Configuration table for an edge that runs images of the registry below `team`.
    pub(crate) fn table(&self, more: &str) -> String {
        let (socket, registry) = (self.socket(), self.address);
        format!(
            "[runner.images]\nsocket = \"{}\"\nregistries = [\"{registry}/team\"]\ninsecure_registries = [\"{registry}\"]\n{more}",
            socket.display()
        )
    }

    /// Name of an image below `team`.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/team/{name}", self.address)
    }

    /// Options for a podman command on this store.
    pub(crate) fn options(&self) -> Vec<String> {
        options(self.folder.path())
    }

    /// Output lines of a podman command.
    pub(crate) fn podman(&self, arguments: &[&str]) -> Vec<String> {
        lines(arguments, self.ran(arguments))
    }

    /// Like [`Self::podman`], but repeats the command until success: concurrent changes of the store may fail a
    /// command. A list, for example, fails if a listed entry was removed meanwhile.
    pub(crate) fn podman_at_last(&self, arguments: &[&str]) -> Vec<String> {
        let until = Instant::now() + WAIT_MAX;
        loop {
            let ran = self.ran(arguments);
            if ran.status.success() || Instant::now() >= until {
                return lines(arguments, ran);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn ran(&self, arguments: &[&str]) -> Output {
        Command::new("podman").args(self.options()).args(arguments).output().unwrap()
    }

    /// Ends the registry.
    pub(crate) fn end_registry(&mut self) {
        end(self.registry.take());
    }

    /// All containers, running or not.
    pub(crate) fn containers(&self) -> Vec<String> {
        self.podman_at_last(&["ps", "--all", "--format", "{{.Names}}"])
    }

    /// Images with a name of the edge.
    pub(crate) fn images(&self) -> Vec<String> {
        let all = self.podman_at_last(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        all.into_iter().filter(|name| name.starts_with("localhost/devanture-")).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        Command::new("podman").args(self.options()).args(["rm", "--all", "--force", "--time", "0"]).output().ok();
        end(self.podman.take());
        end(self.registry.take());
    }
}

/// Waits until a program answers.
fn comes(what: &str, mut is_there: impl FnMut() -> bool) {
    let until = Instant::now() + WAIT_MAX;
    while !is_there() {
        assert!(Instant::now() < until, "{what} does not start");
        std::thread::sleep(LOOK);
    }
}

/// Output lines of a successful podman command.
fn lines(arguments: &[&str], ran: Output) -> Vec<String> {
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        child.kill().ok();
        child.wait().ok();
    }
}

/// Options that podman needs on any machine: a storage driver without kernel support, and a runtime for any version of
/// control groups.
fn options(folder: &Path) -> Vec<String> {
    let at = |name: &str| folder.join(name).display().to_string();
    let pairs = [
        ("--root", at("store")),
        ("--runroot", at("run")),
        ("--tmpdir", at("tmp")),
        ("--storage-driver", "vfs".to_owned()),
        ("--runtime", "runc".to_owned()),
        ("--cgroup-manager", "cgroupfs".to_owned()),
        ("--events-backend", "none".to_owned()),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}
