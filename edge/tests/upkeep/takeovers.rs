//! Takeovers over a data folder damaged while the edge served: a healthy edge is not replaced by a worse one. Also
//! findings of the check before an upgrade.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use devanture_config::api::BeginDeploy;
use devanture_config::{Digest, VersionId};
use http::Method;
use serde_json::{Value, json};

use super::safekeeping::verify;
use crate::support::{RunningEdge, edge, eventually, got, manifest};

const HOST: &str = "shop.localhost";
const PAGE: &[u8] = b"<p>home";
const FILES: [(&str, &[u8]); 2] = [("index.html", PAGE), ("photo.png", PHOTO)];
/// Incompressible photo, and so without encoded variants.
const PHOTO: &[u8] = b"\x89PNG\r\n\x1a\n a photo";

fn blob(edge: &RunningEdge, bytes: &[u8]) -> PathBuf {
    let name = Digest::of(bytes).to_string();
    edge.data_dir().join("blobs").join(&name[..2]).join(&name)
}

fn manifest_of(edge: &RunningEdge, version: &VersionId) -> PathBuf {
    let name = version.to_string();
    edge.data_dir().join("manifests").join(&name[..2]).join(format!("{name}.json"))
}

/// Replaces the bytes by as many others.
fn damage(path: &Path) {
    let length = std::fs::metadata(path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![b'x'; usize::try_from(length).unwrap()], 0).unwrap();
}

/// Calls the program in the edge's folder with an `edge.toml`, and waits for the end.
async fn call(edge: &RunningEdge, config: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
    command.args(arguments).args(["--config", config]).current_dir(edge.data_dir().parent().unwrap());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Starts an edge whose takeover must be refused; returns the output.
async fn refused(edge: &RunningEdge) -> String {
    let output = call(edge, "edge.toml", &[]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "it never said that it is ready");
    String::from_utf8(output.stderr).unwrap()
}

async fn check(edge: &RunningEdge, config: &str) -> (Option<i32>, String) {
    let output = call(edge, config, &["upgrade", "--check"]).await;
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

async fn codes<const N: usize>(edge: &RunningEdge, paths: [&str; N]) -> [u16; N] {
    let mut codes = [0; N];
    for (code, path) in codes.iter_mut().zip(paths) {
        *code = edge.get(HOST, path).await.status.as_u16();
    }
    codes
}

async fn readiness(edge: &RunningEdge) -> String {
    got(edge.api(Method::GET, "/health/ready")).await.text()
}

/// Pushes until success: changes are refused until a failed takeover is over.
async fn pushed_at_last(edge: &RunningEdge) {
    let begin = || BeginDeploy { manifest: manifest(&FILES), source: Default::default(), options: Default::default() };
    eventually("a push is taken", async || edge.try_push("shop", "prod", begin(), &FILES).await.is_ok()).await;
}

/// Response to a new edge, which then ends.
async fn answer_to_begin(edge: &RunningEdge, more: Value) -> Value {
    let socket = edge.data_dir().join("takeover.sock");
    let mut begin = json!({ "protocol": 2, "pid": 1 });
    begin.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let talk = move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        let body = serde_json::to_vec(&json!({ "begin": begin })).unwrap();
        stream.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        stream.read_exact(&mut answer).unwrap();
        serde_json::from_slice(&answer).unwrap()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_does_not_read_what_is_live_does_not_take_over() {
    let edge = edge().in_a_process().start().await;
    let version = edge.push("shop", &FILES).await.version.short();
    let shop =
        format!("the manifest of version {version} of shop in prod has format 1, and the new edge reads format 0");
    for (reads, why) in [
        (json!({ "manifests": 0, "records": 1 }), shop.as_str()),
        (json!({ "manifests": 1, "records": 0 }), "its records have format 1, and the new edge reads 0"),
    ] {
        let answer = answer_to_begin(&edge, json!({ "reads": reads })).await;
        let reason = answer["refused"]["reason"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(reason.starts_with(why) && reason.ends_with("start the release that runs, or a later one"), "{reason}");
        assert_eq!(codes(&edge, ["/"]).await, [200]);
    }
    // Formats of a later release, and of a release without the field, which reads the first formats.
    for reads in [json!({ "reads": { "manifests": 2, "records": 2 } }), json!({})] {
        // The end of the previous edge may not have been noticed yet.
        eventually("its sockets are given", async || {
            answer_to_begin(&edge, reads.clone()).await["sockets"].is_object()
        })
        .await;
    }
    pushed_at_last(&edge).await;
    assert_eq!(codes(&edge, ["/"]).await, [200]);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_asked_and_taken_over_however_deep_its_data_folder_is() {
    let above = tempfile::tempdir().unwrap();
    // With the socket names, longer than the maximum length of a socket address (unix(7)).
    let deep = above.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let app: (&str, &[u8]) = ("index.html", PAGE);
    // The edge's token is created through its socket.
    let edge = edge().below(deep.to_str().unwrap()).in_a_process().with_app("shop", &[app]).start().await;
    let config = edge.data_dir().parent().unwrap().join("edge.toml");
    let health = async |edge: &RunningEdge| {
        let output = call(edge, config.to_str().unwrap(), &["health", "--ready"]).await;
        assert!(output.status.success(), "{output:?}");
    };
    health(&edge).await;
    let edge = edge.taken_over().await;
    health(&edge).await;
    assert_eq!(edge.get(HOST, "/").await.body, PAGE);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_would_serve_less_than_the_running_one_does_not_take_over() {
    let edge = edge().in_a_process().with_app("blog", &[("index.html", b"<p>blog")]).start().await;
    let version = edge.push("shop", &FILES).await.version;
    let of_version = (manifest_of(&edge, &version), "cannot be loaded (");
    for (path, what) in [of_version, (blob(&edge, PHOTO), "lacks 1 of its files (photo.png)")] {
        damage(&path);
        let said = refused(&edge).await;
        assert!(said.contains(&format!("version {} of shop in prod {what}", version.short())), "{said}");
        assert!(said.contains("take_over_damaged = true") && said.contains("devanture-edge repair"), "{said}");
        assert!(!said.contains("of blog in"), "{said}");
        // Healthy, and open for changes: a push of the same files restores the damaged files.
        assert_eq!(codes(&edge, ["/", "/photo.png"]).await, [200, 200]);
        // The running edge learns of the damage from the refused takeover.
        eventually("readiness has it", async || readiness(&edge).await.contains("damaged: version")).await;
        pushed_at_last(&edge).await;
        assert!(path.exists());
        eventually("it is whole", async || readiness(&edge).await == "ready\n").await;
    }
    let edge = edge.taken_over().await;
    assert_eq!(codes(&edge, ["/", "/photo.png"]).await, [200, 200]);
    assert_eq!(readiness(&edge).await, "ready\n");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_running_edge_cannot_serve_either_stops_no_takeover() {
    let edge = edge().in_a_process().with_app("blog", &[("index.html", b"<p>blog")]).start().await;
    let version = edge.push("shop", &FILES).await.version;
    damage(&manifest_of(&edge, &version));
    damage(&blob(&edge, b"<p>blog"));
    // A restart serves the undamaged files.
    let edge = edge.restart().await;
    assert_eq!(codes(&edge, ["/"]).await, [503]);
    let (code, said) = check(&edge, "edge.toml").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("note: version {} of shop in prod cannot be loaded", version.short())), "{said}");
    let edge = edge.taken_over().await;
    assert_eq!(codes(&edge, ["/"]).await, [503]);
    edge.push("shop", &FILES).await;
    eventually("it is served", async || codes(&edge, ["/"]).await == [200]).await;
    edge.stop().await;
}

/// Reading all files would take long: the running edge's knowledge is used.
#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_an_upgrade_says_what_the_running_edge_knows_to_be_damaged() {
    let edge = edge().in_a_process().start().await;
    let version = edge.push("shop", &FILES).await.version;
    assert_eq!(check(&edge, "edge.toml").await.0, Some(0));
    damage(&blob(&edge, PHOTO));
    assert!(!verify(&edge, None).await.is_whole());
    eventually("the running edge knows", async || readiness(&edge).await.contains("damaged: version")).await;
    let (code, said) = check(&edge, "edge.toml").await;
    assert_eq!(code, Some(2), "{said}");
    let expected = format!("version {} of shop in prod lacks 1 of its files (photo.png)", version.short());
    assert!(said.contains(&expected), "{said}");
    assert!(refused(&edge).await.contains(&expected), "the takeover says the same");
    pushed_at_last(&edge).await;
    eventually("it is whole", async || readiness(&edge).await == "ready\n").await;
    assert_eq!(check(&edge, "edge.toml").await.0, Some(0));
    edge.stop().await;
}

/// The file is read from the disk, and the takeover's check detects the damage.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_in_memory_is_served_by_neither_and_stops_no_takeover() {
    let edge = edge().in_a_process().with_limit("memory_bytes_max", 0);
    let edge = edge.with_toml("[compress]\nbackground = false\ndictionaries = false").start().await;
    edge.push("shop", &FILES).await;
    assert_eq!(codes(&edge, ["/photo.png"]).await, [200]);
    damage(&blob(&edge, PHOTO));
    let edge = edge.taken_over().await;
    assert_eq!(codes(&edge, ["/", "/photo.png"]).await, [200, 503]);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_is_forced_by_a_key_of_the_configuration() {
    let edge = edge().in_a_process().with_top("take_over_damaged = true").start().await;
    let version = edge.push("shop", &FILES).await.version;
    let toml = std::fs::read_to_string(edge.data_dir().parent().unwrap().join("edge.toml")).unwrap();
    let careful = toml.replace("take_over_damaged = true\n", "");
    std::fs::write(edge.data_dir().parent().unwrap().join("careful.toml"), careful).unwrap();
    assert_eq!(check(&edge, "careful.toml").await.0, Some(0));
    damage(&manifest_of(&edge, &version));
    let (code, said) = check(&edge, "careful.toml").await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("version {} of shop in prod cannot be loaded", version.short())), "{said}");
    let (code, said) = check(&edge, "edge.toml").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("note: version"), "{said}");
    assert_eq!(codes(&edge, ["/"]).await, [200]);
    let edge = edge.taken_over().await;
    assert_eq!(codes(&edge, ["/"]).await, [503]);
    assert!(readiness(&edge).await.contains("damaged: version"), "{}", readiness(&edge).await);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_an_upgrade_tries_the_addresses_that_the_running_edge_has_not() {
    let edge = edge().in_a_process().with_plain_http().with_listen("http3 = false");
    let edge = edge.with_app("shop", &FILES).start().await;
    let folder = edge.data_dir().parent().unwrap().to_owned();
    let toml = std::fs::read_to_string(folder.join("edge.toml")).unwrap();
    let (https, admin, http) = (edge.https().to_string(), edge.admin().to_string(), edge.http().unwrap().to_string());
    let (others, of_udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind(&https).unwrap());
    let taken = others.local_addr().unwrap().to_string();
    let checked = async |addresses: [&str; 3], http3: &str| {
        let [https, admin, http] = addresses.map(|address| format!("= \"{address}\"\n"));
        let lines = toml
            .lines()
            .filter(|line| !["https =", "admin =", "http =", "http3 ="].iter().any(|key| line.starts_with(key)));
        let mut text = lines.fold(String::new(), |text, line| text + line + "\n");
        text = text.replace("[listen]\n", &format!("[listen]\nhttps {https}admin {admin}http {http}http3 = {http3}\n"));
        std::fs::write(folder.join("next.toml"), text).unwrap();
        check(&edge, "next.toml").await
    };
    for unchanged in [[&*https, &admin, &http], ["127.0.0.1:0"; 3]] {
        let (code, said) = checked(unchanged, "false").await;
        assert_eq!(code, Some(0), "{unchanged:?}: {said}");
    }
    for (changed, fault) in [
        ([&*taken, &admin, &http], &taken),
        ([&*https, &taken, &http], &taken),
        ([&*https, &admin, &taken], &taken),
        // A socket of the running edge for another purpose: not handed over for this purpose.
        ([&*https, &http, &admin], &admin),
    ] {
        let (code, said) = checked(changed, "false").await;
        assert_eq!(code, Some(2), "{changed:?}");
        assert!(said.contains(&format!("{fault} cannot be listened on: ")), "{changed:?}: {said}");
    }
    let (code, said) = checked([&https, &admin, &http], "true").await;
    assert_eq!(code, Some(2));
    assert!(said.contains(&format!("{https} cannot be listened on with UDP")), "{said}");
    drop(of_udp);
    assert_eq!(checked([&https, &admin, &http], "true").await.0, Some(0));
    // The refused sockets are closed, and the running edge keeps all sockets.
    assert_eq!(codes(&edge, ["/"]).await, [200]);
    assert_eq!(readiness(&edge).await, "ready\n");
    edge.stop().await;
}
