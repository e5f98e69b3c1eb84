//! The gate with the real programs: required answers before a switch, the watch after the switch, and the visitors'
//! view.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::edge::{Edge, Ran, edge};
use crate::support::managed::eventually;

const STILL_RUNNING: &str = "The previous version is still running.";
const PATIENCE: Duration = Duration::from_secs(30);

/// A healthy backend; on drop, its address no longer has a listener.
struct Backend {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, ended) = (listener.local_addr().unwrap(), Arc::<AtomicBool>::default());
        let is_ended = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_ended.load(Ordering::Acquire) {
                    return;
                }
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                    line.clear();
                }
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 14\r\nconnection: close\r\n\r\n{\"fine\": true}";
                writer.write_all(answer.as_bytes()).ok();
            }
        });
        Self { address, ended, thread: Some(thread) }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // The thread waits for a connection; this connection wakes the thread to end.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn site(folder: &Path, page: &str, backend: SocketAddr) {
    std::fs::create_dir_all(folder.join("www")).unwrap();
    std::fs::write(folder.join("www/index.html"), page).unwrap();
    let toml = format!(
        "www = \"www\"\n[[smoke]]\npath = \"/\"\ncontains = \"<h1>Shop\"\n\n[[smoke]]\npath = \"/api/health\"\n\
         contains = \"fine\"\n\n[[routes]]\npath = \"/api/*\"\nto = \"http://{backend}\"\n"
    );
    std::fs::write(folder.join("devanture.toml"), toml).unwrap();
}

fn run(edge: &Edge, folder: &Path, arguments: &[&str]) -> Ran {
    Ran::of(edge.command(folder, "shop", arguments).output().unwrap())
}

async fn text(edge: &Edge, path: &str) -> (u16, String) {
    let answer = edge.client(true).get(edge.url("shop.localhost", path)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_keeps_the_old_version_and_says_what_it_found() {
    let (edge, backend, folder) = (edge().start(), Backend::start(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    site(folder, "<h1>Shop one", backend.address);
    let first = run(&edge, folder, &["push"]);
    assert_eq!(first.code, Some(0), "{first:#?}");
    let line =
        |text: &str| first.stderr.lines().any(|line| line.trim_start().starts_with("smoke") && line.contains(text));
    assert!(line("/  200 (") && line("/api/health  200 (") && line("2 checks passed"), "{first:#?}");

    site(folder, "<h1>404</h1>", backend.address);
    let failed = run(&edge, folder, &["push", "--json"]);
    assert_eq!((failed.problem().as_str(), failed.code), ("smoke_failed", Some(1)));
    assert!(failed.stderr.contains("begins with `<h1>404</h1>`"), "{failed:#?}");
    assert_eq!(failed.last_line(), STILL_RUNNING);
    assert_eq!(text(&edge, "/").await, (200, "<h1>Shop one".to_owned()));

    site(folder, "<h1>Shop two", backend.address);
    drop(backend);
    let failed = run(&edge, folder, &["push", "--json"]);
    assert_eq!(failed.problem(), "smoke_failed");
    assert!(failed.stderr.contains("`/api/health`: status 502 where 200 is expected"), "{failed:#?}");
    assert_eq!(failed.last_line(), STILL_RUNNING);
    assert_eq!(text(&edge, "/").await.1, "<h1>Shop one");
    let stored = edge.json("shop", &["history"])["deploys"][0]["version"].as_str().unwrap().to_owned();
    let switched = edge.run("shop", &["switch", &stored, "--json"]);
    assert_eq!((switched.problem().as_str(), switched.last_line()), ("smoke_failed", STILL_RUNNING));

    edge.json("shop", &["switch", &stored, "--no-smoke"]);
    assert_eq!(text(&edge, "/").await.1, "<h1>Shop two");
    let steps = edge.json("shop", &["history"])["deploys"][0]["steps"].to_string();
    assert!(steps.contains("left out, as `no_smoke` says"), "{steps}");
    // In an incident, a rollback does not wait for the failed backend.
    edge.json("shop", &["rollback"]);
    assert_eq!(text(&edge, "/").await.1, "<h1>Shop one");
}

#[test]
fn mistakes_of_checks_are_reported_with_their_lines_before_anything_is_sent() {
    let (edge, folder) = (edge().start(), tempfile::tempdir().unwrap());
    site(folder.path(), "x", "127.0.0.1:1".parse().unwrap());
    let toml = folder.path().join("devanture.toml");
    let text = std::fs::read_to_string(&toml).unwrap().replace("path = \"/\"", "path = \"index.html\"\nstatus = 20");
    std::fs::write(toml, text).unwrap();
    for command in ["check", "push"] {
        let ran = run(&edge, folder.path(), &[command, "--json"]);
        assert_eq!((ran.problem().as_str(), ran.code), ("bad_config", Some(2)));
        assert!(ran.stderr.contains("devanture.toml:3: `smoke.path` is not a path"), "{ran:#?}");
        assert!(ran.stderr.contains("devanture.toml:4: `smoke.status` must lie between 200 and 599"), "{ran:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_push_that_loses_a_page_is_undone_while_visitors_come() {
    let (edge, folder) = (edge().start(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("index.html", "old");
    write("shoes.html", "shoes");
    edge.push("shop", folder.path());
    let (stop, visits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut visitors = Vec::new();
    for _ in 0..3 {
        let (client, url) = (edge.client(true), edge.url("shop.localhost", "/shoes"));
        let (stop, visits) = (Arc::clone(&stop), Arc::clone(&visits));
        visitors.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                client.get(&url).send().await.unwrap().bytes().await.unwrap();
                visits.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }));
    }
    let since = Instant::now();
    while visits.load(Ordering::Relaxed) < 100 {
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    write("index.html", "new");
    std::fs::remove_file(folder.path().join("shoes.html")).unwrap();
    let path = folder.path().to_str().unwrap();
    let ran = edge.run("shop", &["push", path, "--watch", "60s", "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code), ("watch_failed", Some(1)));
    let message = ran.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("404 rose from 0.0 % (0 of ") && message.contains("/shoes 404 ("), "{message}");
    assert_eq!(ran.last_line(), STILL_RUNNING);
    stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        visitor.await.unwrap();
    }
    assert_eq!(text(&edge, "/shoes").await, (200, "shoes".to_owned()));
    let deploys = edge.json("shop", &["history"])["deploys"].clone();
    assert_eq!(deploys[0]["kind"], "rollback");
    assert!(deploys[0]["source"]["message"].as_str().unwrap().contains("404 rose"), "{deploys}");

    // Without visitors, the watch has no verdict, and the same version passes.
    let passed = edge.json("shop", &["push", path, "--watch", "1"]);
    assert_eq!(passed["steps"].as_array().unwrap().last().unwrap()["name"], "watch", "{passed}");
    assert_eq!(text(&edge, "/").await.1, "new");
}

/// `logs --tail`, with lines in real time.
struct Tail {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Tail {
    fn start(edge: &Edge, folder: &Path, arguments: &[&str]) -> Self {
        let mut command = edge.command(folder, "shop", &[&["logs", "--tail"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (lines, stdout) = (Arc::<Mutex<Vec<String>>>::default(), BufReader::new(child.stdout.take().unwrap()));
        let received = Arc::clone(&lines);
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| received.lock().unwrap().push(line));
        });
        Self { child, lines }
    }

    async fn lines(&self, count: usize) -> Vec<String> {
        let since = Instant::now();
        loop {
            let lines = self.lines.lock().unwrap().clone();
            if lines.len() >= count {
                return lines;
            }
            assert!(since.elapsed() < PATIENCE, "{lines:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_show_requests_as_they_happen_and_speak_to_no_terminal() {
    let (edge, folder) = (edge().start(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("index.html"), "hi").unwrap();
    edge.push("shop", folder.path());
    text(&edge, "/").await;
    let remembered = edge.run("shop", &["logs"]);
    assert_eq!(remembered.code, Some(0), "{remembered:#?}");
    assert_eq!(remembered.stdout.lines().count(), 1, "{remembered:#?}");
    let some = Tail::start(&edge, folder.path(), &["--status", "404,5xx", "--path", "/api/*", "--json", "-n", "0"]);
    let all = Tail::start(&edge, folder.path(), &["--method", "get"]);
    // The line of the earlier request shows that the follower is connected.
    assert!(all.lines(1).await[0].contains("  200  GET     /  2 B  "), "{:?}", all.lines.lock().unwrap());
    let since = Instant::now();
    while some.lines.lock().unwrap().is_empty() {
        assert!(since.elapsed() < PATIENCE, "nothing is told");
        text(&edge, "/api/x?%1b[2J").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    text(&edge, "/").await;
    let line: Value = serde_json::from_str(&some.lines(1).await[0]).unwrap();
    assert_eq!((line["status"].as_u64(), line["target"].as_str()), (Some(404), Some("/api/x?%1b[2J")));
    let lines = all.lines(3).await;
    assert!(lines[1..].iter().any(|line| line.contains("  404  GET     /api/x?%1b[2J  ")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:?}");
    assert_eq!(edge.run("shop", &["logs", "--status", "900"]).code, Some(2));
}

async fn has_lines(log: &Path) {
    let line = || std::fs::metadata(log).is_ok_and(|found| found.len() > 0).then_some(());
    eventually("a line in the log", || std::future::ready(line())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_log_that_is_rotated_loses_no_line() {
    let mut edge = edge().with_table("[access_log]\nto = \"access.log\"\nformat = \"combined\"\n").start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "hi").unwrap();
    edge.push("shop", folder.path());
    let log = edge.folder.path().join("access.log");
    let (client, url) = (edge.client(true), edge.url("shop.localhost", "/?number="));
    let mut count = 0;
    let mut ask = async || {
        assert_eq!(client.get(format!("{url}{count}")).send().await.unwrap().status(), 200);
        count += 1;
    };
    for name in ["first", "second", "third"] {
        for _ in 0..200 {
            ask().await;
        }
        has_lines(&log).await;
        std::fs::rename(&log, log.with_extension(name)).unwrap();
        edge.hang_up();
        // Requests go on until the file is created again.
        let since = Instant::now();
        while !log.exists() {
            assert!(since.elapsed() < PATIENCE, "the file is not created again");
            ask().await;
        }
    }
    ask().await;
    // The edge writes all lines before its end.
    drop(client);
    assert!(edge.terminate().success());
    let mut all = String::new();
    for ending in ["first", "second", "third", "log"] {
        let mut part = String::new();
        std::fs::File::open(log.with_extension(ending)).unwrap().read_to_string(&mut part).unwrap();
        assert!(!part.is_empty(), "{ending} is empty");
        all.push_str(&part);
    }
    let mut numbers: Vec<usize> = all
        .lines()
        .map(|line| line.split("number=").nth(1).unwrap_or_else(|| panic!("{line}")).split(' ').next().unwrap())
        .map(|number| number.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
    assert!(!edge.log().contains("\"protocol\":\"h2\""), "it goes to the file alone");
}
