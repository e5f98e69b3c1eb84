//! podman's service with a store of its own, a registry on loopback, and an edge that uses both.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use devanture_config::Manifest;
use devanture_config::api::{BeginDeploy, DeployBegun, DeployReport};
use devanture_config::problem::Problem;
use http::{Method, StatusCode};
use serde_json::Value;

use super::image::{Archive, Image};
use crate::support::backends::is_root;
use crate::support::{RunningEdge, Setup, edge, got};

/// Longest wait for a program to listen.
const START_MAX: Duration = Duration::from_secs(30);

/// Whether all programs are installed and can be used; fails where nothing may be missing.
#[allow(clippy::print_stderr, reason = "a person who runs the tests has to see what was left out")]
pub(crate) fn is_installed() -> bool {
    if !is_root() {
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

/// The engine and a registry, which end when this is dropped.
pub(crate) struct Engine {
    podman: Child,
    registry: Child,
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Engine {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir_in("/srv").unwrap();
        let at = |name: &str| folder.path().join(name);
        let podman = Command::new("podman")
            .args(options(folder.path()))
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", at("podman.sock").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It says nowhere which port the system gave it: a free one is chosen here.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
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
        let engine = Self { podman, registry, address, folder };
        let until = Instant::now() + START_MAX;
        while UnixStream::connect(engine.socket()).is_err() || TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "podman or the registry does not start");
            std::thread::yield_now();
        }
        engine
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("podman.sock")
    }

    /// An edge that runs images of the registry below `team`.
    pub(crate) fn edge(&self, more: &str) -> Setup {
        let (socket, registry) = (self.socket(), self.address);
        edge().with_runner().with_toml(&format!(
            "[runner.images]\nsocket = \"{}\"\nregistries = [\"{registry}/team\"]\ninsecure_registries = [\"{registry}\"]\n{more}",
            socket.display()
        ))
    }

    /// The name of an image below `team`.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/team/{name}", self.address)
    }

    /// Puts an image into the registry, with a tag below `team`.
    pub(crate) async fn put(&self, name: &str, tag: &str, image: &Image) {
        image.put(&format!("http://{}/v2/team/{name}", self.address), tag).await;
    }

    /// What podman prints, a line each.
    pub(crate) fn podman(&self, arguments: &[&str]) -> Vec<String> {
        let ran = Command::new("podman").args(options(self.folder.path())).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// The containers that there are, whether they run or not.
    pub(crate) fn containers(&self) -> Vec<String> {
        self.podman(&["ps", "--all", "--format", "{{.Names}}"])
    }

    /// The images that have a name of the edge's.
    pub(crate) fn images(&self) -> Vec<String> {
        let all = self.podman(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        all.into_iter().filter(|name| name.starts_with("localhost/devanture-")).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let options = options(self.folder.path());
        Command::new("podman").args(options).args(["rm", "--all", "--force", "--time", "0"]).output().ok();
        for child in [&mut self.podman, &mut self.registry] {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// What podman needs on any machine: no driver that wants a kernel's help, and a runtime that takes any control groups.
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

/// A bundle with a page and a backend, whose table is `server`.
pub(crate) fn bundle(server: &Value, archive: Option<&Archive>) -> Manifest {
    let mut manifest = crate::support::manifest(&[("index.html", b"page")]);
    manifest.base.server = Some(serde_json::from_value(server.clone()).unwrap());
    manifest.server = archive.map(Archive::folder);
    manifest
}

/// Pushes a bundle as the command line does it.
pub(crate) async fn push(
    edge: &RunningEdge,
    environment: &str,
    manifest: Manifest,
    archive: Option<&Archive>,
) -> Result<(DeployReport, DeployBegun), Box<Problem>> {
    let token = edge.admin_token();
    let path = format!("/v1/apps/shop/environments/{environment}/deploys");
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    let begun: DeployBegun = got(edge.ask(Method::POST, &path, token).json(&begin)).await.into_result()?;
    for digest in &begun.missing {
        let path = format!("/v1/apps/shop/blobs/{digest}?deploy={}", begun.deploy);
        let bytes = archive
            .filter(|archive| archive.digest() == *digest)
            .map_or_else(|| b"page".to_vec(), |one| one.bytes.clone());
        let got = got(edge.ask(Method::PUT, &path, token).body(bytes)).await;
        assert_eq!(got.status, StatusCode::NO_CONTENT, "{}", got.text());
    }
    let path = format!("/v1/apps/shop/deploys/{}/finish", begun.deploy);
    let report = got(edge.ask(Method::POST, &path, token)).await.into_result()?;
    Ok((report, begun))
}
