//! An unwritable disk with free space: live versions are served, records are read, changes are refused by name, and
//! readiness and a metric report the state.

#![allow(clippy::disallowed_methods, reason = "what a test moves aside is not durable")]

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use devanture_config::api::{BeginDeploy, DeployList, History, Outcome};
use devanture_config::problem::Code;
use devanture_edge::server;
use http::{Method, StatusCode};
use serde_json::json;

use crate::small_disk::{FailingDisk, SmallDisk};
use crate::support::{RunningEdge, edge, eventually, got, manifest};

const HOST: &str = "shop.localhost";
const OLD: &[(&str, &[u8])] = &[("index.html", b"old")];
const NEW: &[(&str, &[u8])] = &[("index.html", b"new")];
const PLACE: &str = "/v1/apps/shop/environments/prod";
/// Root may write everywhere, so that the tests use an edge of another user.
const USER: u32 = 2_100_000_106;

async fn readiness(edge: &RunningEdge) -> String {
    let ready = got(edge.api(Method::GET, "/health/ready")).await;
    assert_eq!(ready.status, StatusCode::OK, "another edge could not serve more");
    ready.text()
}

async fn push(edge: &RunningEdge, files: &[(&str, &[u8])]) -> Result<(), Code> {
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    edge.try_push("shop", "prod", begin, files).await.map(drop).map_err(|problem| problem.code)
}

/// Behavior of an edge on an unwritable disk.
async fn assert_reads_alone(edge: &RunningEdge) {
    // The first refusal may be the detection.
    for _ in 0..2 {
        let paused = got(edge.api(Method::POST, &format!("{PLACE}/pause")).json(&json!({}))).await;
        assert_eq!((paused.status, paused.code()), (StatusCode::INSUFFICIENT_STORAGE, Code::DiskUnwritable));
    }
    assert_eq!(push(edge, NEW).await, Err(Code::DiskUnwritable));
    // The history contains the push; if unwritable, the edge remembers the push until its end.
    let deploys: DeployList = got(edge.api(Method::GET, &format!("{PLACE}/deploys"))).await.json();
    let history: History = got(edge.api(Method::GET, &format!("{PLACE}/history"))).await.json();
    let listed = deploys.deploys.iter().filter_map(|entry| Some(entry.error.as_ref()?.code));
    let kept = history.deploys.iter().filter_map(|deploy| Some(deploy.problem.as_ref()?.code));
    let codes: Vec<Code> = listed.chain(kept).collect();
    assert!(codes.contains(&Code::DiskUnwritable), "{deploys:?} {history:?}");
    assert_eq!(edge.get(HOST, "/").await.text(), "old");
    let status = got(edge.api(Method::GET, PLACE)).await;
    assert_eq!(status.status, StatusCode::OK, "{}", status.text());
    let ready = readiness(edge).await;
    assert!(ready.starts_with("ready\nunwritable: "), "{ready}");
    let metrics = got(edge.api(Method::GET, "/metrics")).await;
    assert_eq!(metrics.status, StatusCode::OK);
    let metrics = metrics.text();
    assert!(metrics.lines().any(|line| line == "devanture_disk_unwritable 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_is_named_and_a_start_over_it_serves_what_is_live() {
    let Some(disk) = FailingDisk::mount() else { return };
    let below = disk.path().to_str().unwrap();
    let mut edge = edge().below(below).in_a_process().with_app("shop", OLD).start().await;
    assert_eq!(readiness(&edge).await, "ready\n");
    disk.fail();
    assert_reads_alone(&edge).await;
    let launch = edge.kill();
    disk.mount_again("rw");
    disk.remount("ro");
    let edge = edge.started_again(launch).await;
    assert_reads_alone(&edge).await;
    let base = edge.data_dir().parent().unwrap().to_owned();
    // No socket can be bound there.
    let sockets = ["control.sock", "takeover.sock"].map(|name| edge.data_dir().join(name));
    let health = async || server::health(edge.file(), &base, true).await.unwrap_or_default();
    eventually("it says how it is", async || health().await.starts_with("ready\nunwritable: ")).await;
    let faults = server::try_upgrade(edge.file(), &base).await.unwrap_err();
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.iter().any(|fault| fault.contains("takeover.sock cannot be reached")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("Read-only file system")), "{faults:?}");
    disk.remount("rw");
    eventually("both are there", async || sockets.iter().all(|socket| UnixStream::connect(socket).is_ok())).await;
    let trial = async || server::try_upgrade(edge.file(), &base).await;
    eventually("it could hand over", async || trial().await.is_ok_and(|trial| trial.running.is_some())).await;
    eventually("a push is taken", async || push(&edge, NEW).await.is_ok()).await;
    eventually("nothing is left to say", async || readiness(&edge).await == "ready\n").await;
    assert_eq!(edge.get(HOST, "/").await.text(), "new");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_drafts_is_made_again_when_somebody_removed_it() {
    let edge = edge().with_app("shop", OLD).start().await;
    std::fs::remove_dir_all(edge.data_dir().join("tmp")).unwrap();
    assert_eq!(push(&edge, NEW).await, Ok(()));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_over_folders_with_wrong_rights_serves_what_is_live_and_tells_it() {
    // Root can open every folder.
    let setup = match rustix::process::geteuid().is_root() {
        true => edge().run_by_user(1_000_000_000 + rand::random::<u32>() % 100_000_000),
        false => edge().in_a_process(),
    };
    let mut edge = setup.with_app("shop", OLD).start().await;
    let rights = |edge: &RunningEdge, name: &str, mode| {
        std::fs::set_permissions(edge.data_dir().join(name), Permissions::from_mode(mode)).unwrap();
    };
    // Only files stored in `blobs` alone become unreadable.
    for (name, status) in
        [("tmp", StatusCode::OK), ("variants", StatusCode::OK), ("blobs", StatusCode::SERVICE_UNAVAILABLE)]
    {
        rights(&edge, name, 0o000);
        let launch = edge.kill();
        edge = edge.started_again(launch).await;
        let told = format!("unwritable: the folder {name} of data_dir: Permission denied");
        eventually("it is told", async || readiness(&edge).await.contains(&told)).await;
        assert_eq!(edge.get(HOST, "/").await.status, status, "{name}");
        if name == "tmp" {
            assert_eq!(push(&edge, NEW).await, Err(Code::DiskUnwritable));
        }
        rights(&edge, name, 0o700);
    }
    assert_eq!(push(&edge, NEW).await, Ok(()));
    assert_eq!(edge.get(HOST, "/").await.text(), "new");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_blobs_that_is_gone_stays_told_whatever_is_pushed_until_it_is_put_back() {
    let edge = edge().with_app("shop", OLD).start().await;
    let (blobs, aside) = (edge.data_dir().join("blobs"), edge.data_dir().join("aside"));
    std::fs::rename(&blobs, &aside).unwrap();
    for _ in 0..2 {
        assert_eq!(push(&edge, NEW).await, Err(Code::DiskUnwritable));
        let ready = readiness(&edge).await;
        assert!(ready.contains("unwritable: the folder blobs of data_dir is gone"), "{ready}");
        assert!(!blobs.exists(), "an empty one would hide what is missing");
    }
    assert_eq!(edge.get(HOST, "/").await.text(), "old");
    let history: History = got(edge.api(Method::GET, &format!("{PLACE}/history"))).await.json();
    let refused = history.deploys.iter().filter(|deploy| deploy.outcome == Outcome::Failed);
    let codes: Vec<_> = refused.map(|deploy| deploy.problem.as_ref().unwrap().code).collect();
    assert_eq!(codes, [Code::DiskUnwritable; 2], "each has its entry, with its reason");
    std::fs::rename(&aside, &blobs).unwrap();
    assert_eq!(push(&edge, NEW).await, Ok(()));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_an_upgrade_finds_that_the_catalog_cannot_be_handed_over() {
    let Some(disk) = SmallDisk::mount() else { return };
    let edge = edge().below(disk.path().to_str().unwrap()).in_a_process().with_app("shop", OLD).start().await;
    let found = async || {
        let faults = server::try_upgrade(edge.file(), edge.data_dir().parent().unwrap()).await.err();
        faults.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found().await, Vec::<String>::new());
    disk.fill(0);
    let full = found().await;
    assert!(full.iter().any(|fault| fault.contains("cannot hand its catalog over")), "{full:?}");
    disk.empty();
    edge.stop().await;
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Calls the program as the user of the edge.
async fn call(edge: &RunningEdge, arguments: &[&str]) -> Output {
    let folder = edge.data_dir().parent().unwrap().to_owned();
    let mut command = Command::new(folder.join("devanture-edge"));
    command.args(arguments).args(["--config", "edge.toml"]).current_dir(folder).uid(USER).gid(USER);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[allow(clippy::print_stderr, reason = "a person who runs the tests has to see what was left out")]
async fn edge_of_user() -> Option<RunningEdge> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can act as another user");
        return None;
    }
    Some(edge().run_by_user(USER).with_app("shop", OLD).start().await)
}

/// Response to a request through the abstract socket of the edge.
fn asked_beside(edge: &RunningEdge, path: &str) -> String {
    let found = std::fs::metadata(edge.data_dir()).unwrap();
    let name = format!("devanture-edge/{:x}/{:x}/health", found.dev(), found.ino());
    let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A connection closed without a response may be reset.
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_is_closed_under_its_edge_is_told_as_rights_and_everything_is_read() {
    let Some(edge) = edge_of_user().await else { return };
    set_mode(&edge.data_dir(), 0o000);
    eventually("readiness says so", async || readiness(&edge).await.contains("Permission denied")).await;
    let ready = readiness(&edge).await;
    assert!(ready.starts_with("ready\nunwritable: ") && !ready.contains("replaced"), "{ready}");
    assert_reads_alone(&edge).await;
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.lines().any(|line| line == "devanture_catalog_replaced 0"), "{metrics}");
    // The local socket lies in an inaccessible folder.
    eventually("it says how it is", async || call(&edge, &["health", "--ready"]).await.status.success()).await;
    for (path, is_answered) in [("/health/live", true), ("/metrics", false), ("/v1/tokens", false)] {
        assert_eq!(asked_beside(&edge, path).starts_with("HTTP/1.1 200 "), is_answered, "{path}");
    }
    let doctor = String::from_utf8(call(&edge, &["doctor"]).await.stdout).unwrap();
    assert!(doctor.contains("an edge runs over ") && !doctor.contains("no edge runs"), "{doctor}");
    assert!(doctor.contains("Permission denied"), "{doctor}");
    set_mode(&edge.data_dir(), 0o700);
    eventually("nothing is left to say", async || readiness(&edge).await == "ready\n").await;
    assert_eq!(push(&edge, NEW).await, Ok(()));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_an_upgrade_and_the_doctor_say_what_of_the_data_folder_is_closed() {
    let Some(edge) = edge_of_user().await else { return };
    let check = async || {
        let output = call(&edge, &["upgrade", "--check"]).await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check().await.0, Some(0));
    for (part, mode) in [
        ("", 0o000),
        ("", 0o500),
        ("blobs", 0o000),
        ("blobs", 0o500),
        ("catalog.lock", 0o000),
        ("catalog.redb", 0o000),
        ("catalog.redb", 0o400),
        ("format", 0o000),
        ("manifests", 0o000),
        ("takeover.sock", 0o000),
        ("tls", 0o000),
        ("tmp", 0o500),
    ] {
        let path: PathBuf = edge.data_dir().components().chain(Path::new(part).components()).collect();
        let before = std::fs::metadata(&path).unwrap().permissions();
        set_mode(&path, mode);
        let (code, said) = check().await;
        std::fs::set_permissions(&path, before).unwrap();
        assert_eq!(code, Some(2), "{part} {mode:o}: {said}");
        assert_eq!(said.matches(" cannot be re").count(), 1, "{part} {mode:o}: {said}");
        assert!(said.contains("Permission denied") && said.contains(part), "{part} {mode:o}: {said}");
    }
    assert_eq!(check().await.0, Some(0));
    // An edge of which only the lock is visible.
    std::fs::remove_file(edge.data_dir().join("takeover.sock")).unwrap();
    std::fs::create_dir(edge.data_dir().join("takeover.sock")).unwrap();
    let (code, said) = check().await;
    assert!(code == Some(2) && said.contains("another edge runs over this data folder"), "{said}");
    edge.stop().await;
}
