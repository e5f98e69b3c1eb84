//! Restarts invisible to backends: running instances pass from one edge to the next, under load.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;

use super::takeover::connect;
use super::takeover_times::drain_within;
use crate::support::edge::{Edge, Ran, edge, forget_claims, program};
use crate::support::managed::{Project, SOON, eventually, healthy, instances, is_alive};
use crate::support::{leave_out, rounds, websocket};

/// Takeovers under load; overridden by `TAKEOVERS` in the environment.
const TAKEOVERS: usize = 20;
/// Processes killed during a takeover; overridden by `KILLS` in the environment.
const KILLS: usize = 40;
const HOST: &str = "game.localhost";

/// Returns the number of rounds from the environment, or a part of `full`.
fn count(name: &str, full: usize) -> usize {
    std::env::var(name).map_or_else(|_| rounds(full), |count| count.parse().unwrap())
}

/// Returns the id of the answering process.
fn pid_in(text: &str) -> u64 {
    text.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Repeated requests of one kind until stopped, each successful; the answering processes are recorded.
struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<BTreeSet<u64>>>,
}

impl Load {
    fn start(edge: &Edge) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = Vec::new();
        for number in 0..6 {
            let client = match number {
                0 | 1 => edge.client(true),
                2 | 3 => edge.client(false),
                // A connection for each request.
                _ => edge.client_with(|builder| builder.http1_only().pool_max_idle_per_host(0)),
            };
            let (url, stop, seen) = (edge.url(HOST, "/api/slow?ms=5"), Arc::clone(&stop), Arc::clone(&seen));
            clients.push(tokio::spawn(async move {
                let mut pids = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    // The last is a WebSocket each time.
                    let text = match number {
                        5 => first_text(&client, &url).await,
                        _ => {
                            let answer = client.get(&url).send().await.unwrap_or_else(|error| panic!("{error:?}"));
                            let (status, text) = (answer.status(), answer.text().await.unwrap());
                            assert_eq!(status, 200, "{text}");
                            text
                        }
                    };
                    pids.insert(pid_in(&text));
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                pids
            }));
        }
        Self { stop, seen, clients }
    }

    /// Waits for some more answers.
    async fn some_more(&self) {
        let before = self.seen.load(Ordering::Relaxed);
        while self.seen.load(Ordering::Relaxed) < before + 12 && !self.clients.iter().any(|client| client.is_finished())
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops, and returns all answering processes.
    async fn end(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut pids = BTreeSet::new();
        for client in self.clients {
            pids.extend(client.await.unwrap());
        }
        pids
    }
}

/// Opens a WebSocket, and returns the first message.
async fn first_text(client: &reqwest::Client, url: &str) -> String {
    let mut socket = websocket::open(client, url).await;
    socket.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

/// Returns the id of the process that answers now.
async fn pid(edge: &Edge) -> u64 {
    let answer = edge.client(true).get(edge.url(HOST, "/api/who")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", edge.log());
    pid_in(&answer.text().await.unwrap())
}

/// A project whose backend regularly writes a line.
fn project(lines: &str) -> Project {
    let project = Project::new("game", "one", lines);
    talks(&project, "one");
    project
}

fn talks(project: &Project, name: &str) {
    project.backend_that(
        name,
        "server.listen(process.env.SOCKET || Number(process.env.PORT), '127.0.0.1');
         process.on('SIGTERM', () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
         let line = 0; setInterval(() => console.log(`line ${line++}`), 20);",
    );
}

/// Returns the numbers of the lines written by an instance, from `devanture logs`.
fn lines(edge: &Edge) -> Vec<u64> {
    let ran = edge.run("game", &["logs", "--source", "web.1", "--lines", "2000"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let numbers = ran.stdout.lines().filter_map(|line| line.rsplit_once("  line ")?.1.trim().parse().ok());
    numbers.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_and_no_instance_ends_while_edges_take_over_from_each_other() {
    let mut edge = edge().with_runner().start();
    let project = project("instances = 2\nlisten = \"port\"");
    project.push(&edge);
    let before = healthy(&edge, "game", 2).await;
    let load = Load::start(&edge);
    for _ in 0..count("TAKEOVERS", TAKEOVERS) {
        edge.take_over();
        load.some_more().await;
    }
    assert_eq!(load.end().await, before, "the same processes answered all the time\n{}", edge.log());
    assert_eq!(healthy(&edge, "game", 2).await, before);

    // Each line is there once, in order.
    let written = lines(&edge);
    assert!(written.len() > 20, "{written:?}");
    assert!(written.windows(2).all(|two| two[1] == two[0] + 1), "{written:?}");
    eventually("further lines", async || (lines(&edge).last() > written.last()).then_some(())).await;

    // Commands about instances work as before.
    edge.json("game", &["scale", "web=3"]);
    let three = healthy(&edge, "game", 3).await;
    assert!(three.is_superset(&before));
    edge.json("game", &["scale", "web=1"]);
    assert!(before.is_superset(&healthy(&edge, "game", 1).await));
    edge.json("game", &["restart"]);
    let restarted = healthy(&edge, "game", 1).await;
    assert!(restarted.is_disjoint(&three));
    talks(&project, "two");
    project.push(&edge);
    assert!(healthy(&edge, "game", 1).await.is_disjoint(&restarted));
    edge.take_over();
    let warm = instances(&edge, "game", "prod").await.into_iter().find(|one| one["state"] == "warm").unwrap();
    assert_eq!(BTreeSet::from([warm["pid"].as_u64().unwrap()]), restarted, "those before stay for a rollback");
    let ran = project.run(&edge, &["rollback", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(healthy(&edge, "game", 1).await, restarted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_on_a_socket_with_a_folder_that_stays_changes_hands() {
    let mut edge = edge().with_runner().start();
    let project = project("listen = \"socket\"\npersist = \"data\"");
    project.backend("one");
    project.push(&edge);
    let before = pid(&edge).await;
    for _ in 0..2 {
        edge.take_over();
        assert_eq!(pid(&edge).await, before);
        let answer = edge.client(true).post(edge.url(HOST, "/api/keep")).body("x").send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let kept = edge.client(true).post(edge.url(HOST, "/api/keep")).send().await.unwrap().text().await.unwrap();
    assert_eq!(kept, "xx");
    // An ended instance is restarted by the current edge.
    edge.client(true).get(edge.url(HOST, "/api/exit")).send().await.unwrap();
    eventually("another process", async || {
        let answer = edge.client(true).get(edge.url(HOST, "/api/who")).send().await.unwrap();
        (answer.status() == 200 && pid_in(&answer.text().await.unwrap()) != before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_began_before_a_takeover_is_answered_though_its_instance_is_replaced() {
    let mut edge = edge().with_runner().start();
    let project = project("");
    project.push(&edge);
    let before = pid(&edge).await;
    let (client, url) = (edge.client(false), edge.url(HOST, "/api/slow?ms=3000"));
    let slow = tokio::spawn(async move { client.get(url).send().await.unwrap().text().await.unwrap() });
    // The instance has the request.
    eventually("a request under way", async || {
        let metrics = edge.api("GET", "/metrics", None).await.1;
        let in_flight = |line: &&str| line.starts_with("devanture_upstream_requests{") && !line.ends_with(" 0");
        metrics.as_str().unwrap().lines().find(in_flight).map(|_line| ())
    })
    .await;
    let old = edge.take_over_and_leave_draining();
    edge.json("game", &["restart"]);
    assert_ne!(pid(&edge).await, before);
    assert_eq!(pid_in(&slow.await.unwrap()), before);
    assert!(old.ended().success());
    eventually("the end of the instance", async || (!is_alive(before)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_of_a_preview_starts_for_a_connection_of_the_draining_edge() {
    let mut edge = edge().with_runner().start();
    let project = project("");
    project.push(&edge);
    talks(&project, "two");
    let stored = project.run(&edge, &["push", "--no-switch", "--json"]);
    assert_eq!(stored.code, Some(0), "{stored:#?}");
    let id = stored.json()["version"].as_str().unwrap().to_owned();
    let host = format!("{}--game.localhost", &id[..12]);
    let mut stream = connect(&edge, &host, b"http/1.1");
    let old = edge.take_over_and_leave_draining();
    write!(stream, "GET /api/who HTTP/1.1\r\nhost: {host}:{}\r\n\r\n", edge.https().port()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("two "), "{answer}\n{}", edge.log());
    assert!(old.ended().success());
    // The instance belongs to the new edge.
    let again = edge.client(true).get(edge.url(&host, "/api/who")).send().await.unwrap().text().await.unwrap();
    assert_eq!(pid_in(&again), pid_in(answer.trim_end_matches("\r\n0\r\n\r\n").trim()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_on_for_its_own_time_after_a_takeover() {
    let mut edge = edge().with_runner().with_table("[drain]\ntunnels_ms = 60_000\n").start();
    drain_within(&edge, 200).await;
    let project = Project::new("game", "one", "");
    let listen = "server.listen(Number(process.env.PORT), '127.0.0.1');";
    let ticks = "server.on('upgrade', (_, s) => setInterval(() => s.write(Buffer.from([0x81, 1, 0x61])), 100));";
    project.backend_that("one", &format!("{listen}{ticks}"));
    project.push(&edge);
    let mut socket = websocket::open(&edge.client(false), &edge.url(HOST, "/api/ticks")).await;
    socket.next().await.unwrap().unwrap();
    let old = edge.take_over_and_leave_draining();
    for _ in 0..20 {
        let message = socket.next().await.unwrap().unwrap();
        assert!(message.is_text(), "{message:?}");
    }
    drop(socket);
    assert!(old.ended().success());
}

/// Bytes of a file larger than all socket buffers.
const LARGE_BYTES: usize = 24 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn uploads_downloads_and_event_streams_have_their_own_times_after_a_takeover() {
    let times = "[drain]\nuploads_ms = 60_000\ndownloads_ms = 60_000\nevent_streams_ms = 60_000\n";
    let mut edge = edge().with_runner().with_table(times).start();
    drain_within(&edge, 200).await;
    let project = Project::new("game", "one", "");
    project.backend_that(
        "one",
        "server.listen(Number(process.env.PORT), '127.0.0.1');
         const [others] = server.listeners('request');
         server.removeAllListeners('request');
         server.on('request', (request, answer) => {
           if (request.url !== '/api/events') return others(request, answer);
           answer.writeHead(200, { 'content-type': 'text/event-stream' });
           const ticks = setInterval(() => answer.write('data: 1\\n\\n'), 50);
           answer.on('close', () => clearInterval(ticks));
         });",
    );
    project.write("www/large.txt", &"0123456789abcdef".repeat(LARGE_BYTES / 16));
    project.push(&edge);

    for http2 in [false, true] {
        let client = || edge.client(http2);
        let send = async |path: &str| client().get(edge.url(HOST, path)).send().await.unwrap();
        let slow = client().get(edge.url(HOST, "/api/slow?ms=60000"));
        let slow = tokio::spawn(slow.send());
        let mut download = send("/large.txt").await;
        let mut read = download.chunk().await.unwrap().unwrap().len();
        let mut events = send("/api/events").await;
        events.chunk().await.unwrap().unwrap();
        let (go_on, goes_on) = tokio::sync::oneshot::channel::<()>();
        let (sent, has_sent) = tokio::sync::oneshot::channel::<()>();
        let body = futures_util::stream::unfold(
            (0, Some(goes_on), Some(sent)),
            |(number, mut goes_on, mut sent)| async move {
                if number == 1 {
                    sent.take()?.send(()).ok();
                    goes_on.take()?.await.ok();
                }
                (number < 2).then(|| (Ok::<_, std::io::Error>("12345"), (number + 1, goes_on, sent)))
            },
        );
        let upload = client().post(edge.url(HOST, "/api/who")).header("content-length", "10");
        let upload = tokio::spawn(upload.body(reqwest::Body::wrap_stream(body)).send());
        has_sent.await.unwrap();
        eventually("three requests at the backend", async || {
            let metrics = edge.api("GET", "/metrics", None).await.1;
            let in_flight = |line: &&str| line.starts_with("devanture_upstream_requests{") && line.ends_with(" 3");
            metrics.as_str().unwrap().lines().find(in_flight).map(|_line| ())
        })
        .await;

        let old = edge.take_over_and_leave_draining();
        assert!(slow.await.unwrap().is_err(), "the time of requests is over");
        for _ in 0..3 {
            assert!(events.chunk().await.unwrap().unwrap().starts_with(b"data: 1"));
        }
        go_on.send(()).unwrap();
        assert_eq!(upload.await.unwrap().unwrap().status(), 200);
        while let Some(chunk) = download.chunk().await.unwrap() {
            read += chunk.len();
        }
        assert_eq!(read, LARGE_BYTES);
        drop((events, download));
        assert!(old.ended().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_edge_that_does_not_come_up_leaves_the_old_one_with_its_instances() {
    let edge = edge().with_runner().start();
    let project = project("");
    project.push(&edge);
    let before = healthy(&edge, "game", 1).await;
    let config = std::fs::read_to_string(edge.folder.path().join("edge.toml")).unwrap();
    // The failing process has received the catalog and the description of the instances by then.
    std::fs::write(
        edge.folder.path().join("bad.toml"),
        config.replace("enabled = true", "enabled = true\ncgroup = \"off\""),
    )
    .unwrap();
    for _ in 0..3 {
        let ran = Ran::of(edge.beside(&["--config", "bad.toml"]).wait_with_output().unwrap());
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        assert!(ran.stderr.contains("[runner] cgroup changed in edge.toml"), "{ran:#?}");
        assert_eq!(BTreeSet::from([pid(&edge).await]), before);
    }
    let written = lines(&edge);
    eventually("further lines", async || (lines(&edge).last() > written.last()).then_some(())).await;
    edge.json("game", &["scale", "web=2"]);
    assert!(healthy(&edge, "game", 2).await.is_superset(&before));
    talks(&project, "two");
    project.push(&edge);
    assert!(healthy(&edge, "game", 2).await.is_disjoint(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_whichever_process_of_a_takeover_is_killed_what_is_live_is_served() {
    let mut edge = edge().with_runner().start();
    let project = project("");
    let rounds = count("KILLS", KILLS);
    for number in 0..rounds {
        let name = format!("name-{number}");
        talks(&project, &name);
        project.push(&edge);
        let pause = Duration::from_millis((number as u64 * 37) % 400);
        match number % 2 {
            0 => edge.kill_successor(pause),
            _ => edge.kill_predecessor(pause),
        }
        let text = eventually(&format!("an answer after kill {number}\n{}", edge.log()), async || {
            let answer = edge.client(true).get(edge.url(HOST, "/api/who")).send().await.unwrap();
            if answer.status() == 200 { Some(answer.text().await.unwrap()) } else { None }
        })
        .await;
        assert!(text.starts_with(&format!("{name} ")), "{text}");
    }
    project.front("the last");
    project.push(&edge);
    let history = edge.json("game", &["history", "--limit", "1000"]);
    assert_eq!(history["deploys"].as_array().unwrap().len(), rounds + 1);
    // Replaced instances end, the last after the last switch.
    eventually("the end of what was replaced", async || {
        let all = instances(&edge, "game", "prod").await;
        (all.iter().filter(|one| one["state"] != "warm").count() == 1).then_some(())
    })
    .await;
}

/// A spawner as a separate service, for an edge whose user cannot start processes of other users.
struct SpawnerService {
    process: std::process::Child,
    folder: tempfile::TempDir,
}

impl SpawnerService {
    fn start(user: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        std::os::unix::fs::chown(folder.path().join("run"), Some(user), Some(user)).unwrap();
        std::fs::set_permissions(folder.path().join("run"), std::fs::Permissions::from_mode(0o711)).unwrap();
        let process = std::process::Command::new(program("devanture-edge"))
            .args(["spawner", "--listen", folder.path().join("spawner.sock").to_str().unwrap()])
            .args(["--user", &user.to_string(), "--uids", "auto", "--cgroup", "off"])
            .stdin(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let service = Self { process, folder };
        let until = std::time::Instant::now() + SOON;
        while !service.socket().exists() {
            assert!(std::time::Instant::now() < until, "the spawner listens");
            std::thread::sleep(Duration::from_millis(10));
        }
        service
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("spawner.sock")
    }
}

impl Drop for SpawnerService {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        forget_claims(self.folder.path());
    }
}

/// An unassigned user other than root.
const PLAIN_USER: u32 = 64_321;

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_a_spawner_of_its_own_change_hands_between_edges_that_are_not_root() {
    if !rustix::process::geteuid().is_root() {
        return leave_out("root is needed for a spawner of its own");
    }
    let spawner = SpawnerService::start(PLAIN_USER);
    let (socket, folder) = (spawner.socket(), spawner.folder.path().join("run"));
    let mut edge = edge().with_spawner(PLAIN_USER, &socket, &folder).start();
    let project = project("instances = 2\nlisten = \"port\"");
    project.push(&edge);
    let before = healthy(&edge, "game", 2).await;
    let load = Load::start(&edge);
    for _ in 0..3 {
        edge.take_over();
        load.some_more().await;
    }
    assert_eq!(load.end().await, before, "the same processes answered all the time\n{}", edge.log());
    assert_eq!(healthy(&edge, "game", 2).await, before);
    // After a kill of either edge, the remaining edge owns the spawner's instances.
    edge.kill_successor(Duration::from_millis(30));
    assert_eq!(healthy(&edge, "game", 2).await, before);
    edge.json("game", &["scale", "web=3"]);
    assert!(healthy(&edge, "game", 3).await.is_superset(&before));
    talks(&project, "two");
    project.push(&edge);
    assert!(healthy(&edge, "game", 3).await.is_disjoint(&before));
    assert!(edge.terminate().success());
    for pid in before {
        eventually("the end of the instances", async || (!is_alive(pid)).then_some(())).await;
    }
}
