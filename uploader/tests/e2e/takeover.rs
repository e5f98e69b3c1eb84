//! Seamless restarts: a new edge takes over from the running edge, under load and with pushes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tempfile::TempDir;

use crate::support::edge::{Edge, Ran, edge};
use crate::support::managed::eventually;
use crate::support::rounds;

/// Takeovers in a row.
const TAKEOVERS: usize = 40;
/// Processes killed during a takeover.
const KILLS: usize = 40;
/// The pause of a visitor between two requests: some hundred requests fall into each takeover.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of a file larger than all socket buffers.
const LARGE_BYTES: usize = 24 * 1024 * 1024;

/// A site whose page contains `text`.
fn site(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), text).unwrap();
    std::fs::write(folder.path().join("app.js"), format!("export const text = {text:?};")).unwrap();
    folder
}

/// Requests the page repeatedly until `stop`; each answer must be a pushed page.
async fn visit(client: reqwest::Client, url: String, stop: Arc<AtomicBool>, seen: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let answer = client.get(&url).send().await.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        assert!(text.starts_with("page "), "{text}");
        seen.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Pushes `page 1`, `page 2`, …, each of which must succeed.
fn push_until(edge: &Edge, stop: Arc<AtomicBool>, pushed: Arc<AtomicUsize>) -> impl FnOnce() + Send + use<> {
    let home = tempfile::tempdir().unwrap();
    let command = edge.command(home.path(), "shop", &[]);
    let environment: BTreeMap<_, _> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    move || {
        while !stop.load(Ordering::Relaxed) {
            let number = pushed.load(Ordering::Relaxed) + 1;
            let site = site(&format!("page {number}"));
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_devanture"))
                .args(["push", site.path().to_str().unwrap(), "--json", "-v"])
                .current_dir(home.path())
                .env_clear()
                .envs(&environment)
                .output()
                .unwrap();
            let ran = Ran::of(output);
            assert_eq!(ran.code, Some(0), "push {number}: {ran:#?}");
            pushed.store(number, Ordering::Relaxed);
        }
    }
}

async fn page(edge: &Edge) -> String {
    edge.client(false).get(edge.url("shop.localhost", "/")).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_and_no_push_fails_while_edges_take_over_from_each_other() {
    let mut edge = edge().start();
    edge.push("shop", site("page 0").path());
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut visitors = Vec::new();
    for number in 0..6 {
        let client = match number {
            0 | 1 => edge.client(true),
            2 | 3 => edge.client(false),
            // A connection for each request.
            _ => edge.client_with(|builder| builder.pool_max_idle_per_host(0)),
        };
        let url = edge.url("shop.localhost", "/");
        visitors.push(tokio::spawn(visit(client, url, Arc::clone(&stop), Arc::clone(&seen))));
    }
    let pushed = Arc::new(AtomicUsize::new(0));
    let pushes = std::thread::spawn(push_until(&edge, Arc::clone(&stop), Arc::clone(&pushed)));
    for _ in 0..rounds(TAKEOVERS) {
        // Each push meets one takeover or two, and each takeover some push.
        let before = pushed.load(Ordering::Relaxed);
        edge.take_over();
        while pushed.load(Ordering::Relaxed) == before && !pushes.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        visitor.await.unwrap();
    }
    pushes.join().unwrap();
    let pushed = pushed.load(Ordering::Relaxed);
    assert!(seen.load(Ordering::Relaxed) > 100);
    assert_eq!(page(&edge).await, format!("page {pushed}"));
    let history = edge.json("shop", &["history", "--limit", "1000"]);
    assert_eq!(history["deploys"].as_array().unwrap().len(), pushed + 1, "no push is lost, and none was made twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_began_before_a_takeover_ends_whole() {
    let edge = edge().start();
    let folder = site("page");
    let large: Vec<u8> = (0..LARGE_BYTES / 4)
        .flat_map(|index| (index.wrapping_mul(2_654_435_761)).to_le_bytes()[..4].to_vec())
        .collect();
    std::fs::write(folder.path().join("large.bin"), &large).unwrap();
    edge.push("shop", folder.path());
    let mut answer = edge.client(false).get(edge.url("shop.localhost", "/large.bin")).send().await.unwrap();
    let mut read = answer.chunk().await.unwrap().unwrap().to_vec();

    let mut second = edge.beside(&["--config", "edge.toml"]);
    // While the new edge serves, the old edge is draining.
    while !edge.log().contains("\"draining\"") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(page(&edge).await, "page");
    while let Some(chunk) = answer.chunk().await.unwrap() {
        read.extend_from_slice(&chunk);
    }
    assert!(read == large, "{} bytes", read.len());
    second.kill().unwrap();
    second.wait().unwrap();
}

/// Makes a TLS connection to `host`, without sending a request.
pub(super) fn connect(
    edge: &Edge,
    host: &str,
    protocol: &[u8],
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(edge.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let session = rustls::ClientConnection::new(Arc::new(config), host.to_owned().try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(edge.https()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_that_is_not_loaded_yet_is_served_on_a_connection_of_the_draining_edge() {
    let mut edge = edge().start();
    edge.push("shop", site("page 1").path());
    let stored = edge.json("shop", &["push", site("page 2").path().to_str().unwrap(), "--no-switch"]);
    let id = stored["version"].as_str().unwrap();
    let host = format!("{}--shop.localhost", &id[..12]);
    let mut stream = connect(&edge, &host, b"http/1.1");
    let old = edge.take_over_and_leave_draining();
    write!(stream, "GET / HTTP/1.1\r\nhost: {host}:{}\r\n\r\n", edge.https().port()).unwrap();
    let mut answer = String::new();
    // A close without `close_notify` would be an error.
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("page 2"), "{answer}\n{}", edge.log());
    assert!(old.ended().success());
}

/// Collects the lines of a program in real time.
fn lines_of(output: impl std::io::Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let written = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in std::io::BufReader::new(output).lines().map_while(Result::ok) {
            written.lock().unwrap().push(line);
        }
    });
    lines
}

/// `logs --tail` of the requests of an app, ended on drop.
struct FollowedLogs {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Notes about the connection.
    notes: Arc<Mutex<Vec<String>>>,
    _home: TempDir,
}

impl FollowedLogs {
    fn of(edge: &Edge, app: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut logs = edge.command(home.path(), app, &["logs", "--tail", "--source", "requests", "--json"]);
        let mut child = logs.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, notes) = (lines_of(child.stdout.take().unwrap()), lines_of(child.stderr.take().unwrap()));
        Self { child, lines, notes, _home: home }
    }
}

impl Drop for FollowedLogs {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_followed_go_on_over_takeovers_with_each_line_once() {
    let mut edge = edge().with_table("[access_log]\nformat = \"json\"\nto = \"access.log\"\n").start();
    edge.push("shop", site("page").path());
    let logs = FollowedLogs::of(&edge, "shop");
    let (lines, notes) = (Arc::clone(&logs.lines), Arc::clone(&logs.notes));
    let shown = || -> Vec<String> {
        let line = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["target"].to_string();
        lines.lock().unwrap().iter().map(line).collect()
    };
    // The follower is connected once a request is shown.
    eventually("a line", async || {
        edge.client(true).get(edge.url("shop.localhost", "/begin")).send().await.unwrap();
        (!shown().is_empty()).then_some(())
    })
    .await;
    let mut sent = Vec::new();
    for round in 0..3 {
        for number in 0..20 {
            let path = format!("/{round}/{number}");
            let answer = edge.client(true).get(edge.url("shop.localhost", &path)).send().await.unwrap();
            assert_eq!(answer.status(), 404);
            sent.push(format!("{path:?}"));
        }
        // An ended edge keeps no lines for a late reader.
        eventually("the lines so far", async || shown().contains(sent.last().unwrap()).then_some(())).await;
        edge.take_over();
    }
    edge.client(true).get(edge.url("shop.localhost", "/end")).send().await.unwrap();
    eventually("the last line", async || shown().contains(&"\"/end\"".to_owned()).then_some(())).await;
    drop(logs);
    let mut shown = shown();
    shown.retain(|path| path != "\"/begin\"" && path != "\"/end\"");
    assert_eq!(shown, sent, "each line once, in order");
    let notes = notes.lock().unwrap().join("\n");
    assert_eq!(notes.matches("connected again: no request is missing").count(), 3, "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_followed_show_what_the_old_edge_answers_while_it_drains() {
    let mut edge = edge().with_table("[access_log]\nformat = \"json\"\nto = \"access.log\"\n").start();
    edge.push("shop", site("page").path());
    let logs = FollowedLogs::of(&edge, "shop");
    let (lines, notes) = (Arc::clone(&logs.lines), Arc::clone(&logs.notes));
    let count = |text: &str, path: &str| text.matches(&format!("\"target\":\"{path}\"")).count();
    let shown = |path: &str| count(&lines.lock().unwrap().join("\n"), path);
    eventually("a line", async || {
        edge.client(true).get(edge.url("shop.localhost", "/begin")).send().await.unwrap();
        (shown("/begin") > 0).then_some(())
    })
    .await;
    let streams = ["/at-once", "/later"].map(|path| (path, connect(&edge, "shop.localhost", b"http/1.1")));
    let old = edge.take_over_and_leave_draining();
    for (path, mut stream) in streams {
        if path == "/later" {
            eventually("the reader at the new edge", async || {
                notes.lock().unwrap().join("").contains("connected again: no request is missing").then_some(())
            })
            .await;
        }
        write!(stream, "GET {path} HTTP/1.1\r\nhost: shop.localhost:{}\r\n\r\n", edge.https().port()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    edge.client(true).get(edge.url("shop.localhost", "/new")).send().await.unwrap();
    for path in ["/at-once", "/later", "/new"] {
        eventually(path, async || (shown(path) > 0).then_some(())).await;
    }
    assert!(old.ended().success());
    edge.client(true).get(edge.url("shop.localhost", "/end")).send().await.unwrap();
    eventually("the last line", async || (shown("/end") > 0).then_some(())).await;
    drop(logs);
    // The edge's log holds the lines as well, and the file has each line once.
    let remembered = edge.run("shop", &["logs", "--json"]).stdout;
    let file = std::fs::read_to_string(edge.folder.path().join("access.log")).unwrap();
    for path in ["/at-once", "/later", "/new", "/end"] {
        assert_eq!([shown(path), count(&remembered, path), count(&file, path)], [1, 1, 1], "{path}: {remembered}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_edge_that_does_not_come_up_leaves_the_old_one_serving() {
    let edge = edge().start();
    edge.push("shop", site("page 1").path());
    let config = std::fs::read_to_string(edge.folder.path().join("edge.toml")).unwrap();
    let config = format!("{config}[access_log]\nformat = \"json\"\nto = \"nowhere/access.log\"\n");
    std::fs::write(edge.folder.path().join("bad.toml"), config).unwrap();
    for _ in 0..3 {
        let ran = Ran::of(edge.beside(&["--config", "bad.toml"]).wait_with_output().unwrap());
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        assert!(ran.stderr.contains("nowhere/access.log cannot be opened"), "{ran:#?}");
        assert_eq!(page(&edge).await, "page 1");
    }
    edge.push("shop", site("page 2").path());
    assert_eq!(page(&edge).await, "page 2");
    assert!(edge.log().contains("a new edge did not come up; this one goes on"), "{}", edge.log());
    let (status, ready) = edge.api("GET", "/health/ready", None).await;
    assert_eq!((status, ready), (200, json!("ready\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_no_kill_of_a_process_that_takes_over_loses_what_was_pushed() {
    let mut edge = edge().start();
    for number in 0..rounds(KILLS) {
        edge.push("shop", site(&format!("page {number}")).path());
        edge.kill_successor(Duration::from_millis((number as u64 * 7) % 120));
        assert_eq!(page(&edge).await, format!("page {number}"));
    }
    edge.push("shop", site("the last").path());
    let history = edge.json("shop", &["history", "--limit", "1000"]);
    assert_eq!(history["deploys"].as_array().unwrap().len(), rounds(KILLS) + 1);
}

fn say(stream: &mut UnixStream, request: &serde_json::Value) {
    let request = request.to_string();
    stream.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
}

fn hear(stream: &mut UnixStream) -> serde_json::Value {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    serde_json::from_slice(&answer).unwrap()
}

/// Takes over from the edge by this process, and closes the received sockets.
fn begin_takeover(edge: &Edge) -> UnixStream {
    let mut stream = UnixStream::connect(edge.data_dir.join("takeover.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    say(&mut stream, &json!({ "begin": { "protocol": 2, "pid": std::process::id() } }));
    let answer = hear(&mut stream);
    let count = answer["sockets"]["sockets"].as_array().unwrap().len();
    // A byte accompanies every sixteen sockets.
    stream.read_exact(&mut vec![0; count.div_ceil(16)]).unwrap();
    stream
}

/// A successor binds the socket again, and no third process could reopen the socket.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_stopped_while_the_next_one_takes_over_leaves_that_one_its_socket() {
    for serves in [false, true] {
        let mut edge = edge().start();
        let folder = site("page");
        std::fs::write(folder.path().join("large.bin"), vec![b'x'; LARGE_BYTES]).unwrap();
        edge.push("shop", folder.path());
        let url = edge.url("shop.localhost", "/large.bin");
        let mut download = edge.client(false).get(url).send().await.unwrap();
        let mut read = download.chunk().await.unwrap().unwrap().len();

        let mut stream = begin_takeover(&edge);
        say(&mut stream, &json!("release"));
        assert_eq!(hear(&mut stream), json!("released"));
        assert!(std::process::Command::new("kill").arg(edge.pid().to_string()).status().unwrap().success());
        eventually("the drain", async || edge.log().contains("\"draining\"").then_some(())).await;
        let socket = edge.data_dir.join("control.sock");
        std::fs::remove_file(&socket).unwrap();
        let _next = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        if serves {
            say(&mut stream, &json!("serving"));
        }
        // Until here the download delays the drain.
        assert!(edge.is_running());
        while let Some(chunk) = download.chunk().await.unwrap() {
            read += chunk.len();
        }
        assert_eq!(read, LARGE_BYTES);
        drop(download);
        while edge.is_running() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        UnixStream::connect(&socket).unwrap_or_else(|error| panic!("serves: {serves}: {error}\n{}", edge.log()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_starts_while_another_one_takes_over_learns_that_and_ends() {
    let mut edge = edge().start();
    edge.push("shop", site("page 1").path());
    // This process begins a takeover, and stops.
    let stream = begin_takeover(&edge);
    for _ in 0..2 {
        let ran = Ran::of(edge.beside(&["--config", "edge.toml"]).wait_with_output().unwrap());
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        let expected = format!("another edge, process {}, is taking over from it", std::process::id());
        assert!(ran.stderr.contains(&expected) && ran.stderr.contains("then try again"), "{ran:#?}");
        assert_eq!(page(&edge).await, "page 1");
    }
    drop(stream);
    let pid = edge.upgrade();
    edge.push("shop", site("page 2").path());
    assert_eq!(page(&edge).await, "page 2");
    assert!(std::process::Command::new("kill").arg(pid.to_string()).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr2_starts_the_program_that_now_has_the_name_and_it_takes_over() {
    let mut edge = edge().start();
    edge.push("shop", site("page 1").path());
    let pid = edge.upgrade();
    assert!(Path::new(&format!("/proc/{pid}")).exists() || !Path::new("/proc").exists());
    assert_eq!(page(&edge).await, "page 1");
    edge.push("shop", site("page 2").path());
    assert_eq!(page(&edge).await, "page 2");
    assert!(std::process::Command::new("kill").arg(pid.to_string()).status().unwrap().success());
}

#[test]
fn the_service_manager_learns_which_process_serves() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = || {
        let mut bytes = [0; 200];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let edge = edge().start();
    let mut children =
        vec![edge.beside_with(&["--config", "edge.toml"], &[("NOTIFY_SOCKET", socket.to_str().unwrap())])];
    for _ in 0..2 {
        let pid = children.last().unwrap().id();
        let states = heard();
        assert!(states.contains(&format!("MAINPID={pid}\n")) && states.contains("READY=1"), "{states}");
        children.push(edge.beside_with(&["--config", "edge.toml"], &[("NOTIFY_SOCKET", socket.to_str().unwrap())]));
    }
    for mut child in children {
        // Replaced processes have ended, or are about to.
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
