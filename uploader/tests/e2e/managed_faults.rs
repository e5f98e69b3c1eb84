//! Managed backends in trouble: each kind of failure is reported, and the edge, the front and all other backends
//! continue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::edge::{Edge, edge};
use crate::support::managed::{Project, eventually, healthy, instances, is_alive};

/// The front of an app is served, and quickly.
async fn front_is_served(edge: &Edge) {
    let answer = edge.client(true).get(edge.url("game.localhost", "/")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Returns the answer of an instance, or the status.
async fn answer(edge: &Edge, path: &str) -> Result<String, u16> {
    let answer = edge.client(true).get(edge.url("game.localhost", path)).send().await.unwrap();
    match answer.status().as_u16() {
        200 => Ok(answer.text().await.unwrap()),
        status => Err(status),
    }
}

/// Returns the first word of `/api/who`.
async fn named(edge: &Edge) -> String {
    answer(edge, "/api/who").await.unwrap().split(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_cannot_go_live_leaves_everything_as_it_was_and_says_why() {
    let edge = edge().with_runner().with_limit("instance_restart_ms_min", 10).start();
    let project = Project::new("game", "one", "instances = 2\nstart_ms = 60_000");
    project.push(&edge);
    let before = healthy(&edge, "game", 2).await;
    let server = |command: &str, start_ms: u32| {
        project.toml(&format!(
            "[server]\ndir = \"out\"\ncommand = {command}\nhealth = \"/healthz\"\nroutes = [\"/api/*\"]\nstart_ms = {start_ms}\n"
        ));
    };
    project.front("two");

    // A backend that never listens.
    project.backend_that("never", "console.log('still thinking'); setInterval(() => {}, 1000);");
    server("[\"node\", \"server.js\"]", 3_000);
    let ran = project.fails(&edge, "instance_failed");
    assert!(ran.stderr.contains("still thinking") && ran.stderr.contains("web.1"), "{ran:#?}");
    assert_eq!(ran.last_line(), "The previous version is still running.");

    // A backend that ends again and again.
    server("[\"node\", \"server.js\"]", 60_000);
    project.backend_that("ends", "console.error('no database at 10.0.0.9'); process.exit(7);");
    let ran = project.fails(&edge, "crash_loop");
    assert!(ran.stderr.contains("no database at 10.0.0.9") && ran.stderr.contains("exited with code 7"), "{ran:#?}");

    // A missing program, and a file without a run bit.
    project.backend("fine");
    server("[\"no-such-program\"]", 60_000);
    let ran = project.fails(&edge, "instance_failed");
    assert!(ran.stderr.contains("no-such-program"), "{ran:#?}");
    server("[\"./server.js\"]", 60_000);
    let ran = project.fails(&edge, "instance_failed");
    assert!(ran.stderr.contains("run bit") || ran.stderr.contains("may not be run"), "{ran:#?}");

    // A backend with a failing health check.
    project.toml(
        "[server]\ndir = \"out\"\ncommand = [\"node\", \"server.js\"]\nhealth = \"/api/exit\"\nroutes = [\"/api/*\"]\nstart_ms = 60_000\n",
    );
    project.fails(&edge, "crash_loop");

    assert_eq!(named(&edge).await, "one");
    let page = edge.client(true).get(edge.url("game.localhost", "/")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("one"), "{page}");
    assert_eq!(healthy(&edge, "game", 2).await, before);
    eventually("the end of those that failed", async || {
        (instances(&edge, "game", "prod").await.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_closes_its_port_but_lives_is_restarted() {
    let edge = edge()
        .with_runner()
        .with_limit("instance_health_ms", 100)
        .with_limit("instance_unhealthy_after", 2)
        .with_limit("instance_restart_ms_min", 50)
        .start();
    let project = Project::new("game", "one", "instances = 2\nstop_ms = 1_000");
    project.backend_that("one", "server.listen(Number(process.env.PORT), '127.0.0.1'); setInterval(() => {}, 1000);");
    project.push(&edge);
    let before = healthy(&edge, "game", 2).await;
    answer(&edge, "/api/close").await.unwrap();
    let after = eventually("two that answer", async || {
        let now = healthy(&edge, "game", 2).await;
        (now != before).then_some(now)
    })
    .await;
    assert_eq!(after.intersection(&before).count(), 1);
    for _ in 0..20 {
        assert_eq!(named(&edge).await, "one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ignores_sigterm_is_killed_when_its_time_is_over() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "warm_ms = 0\ndrain_ms = 0\nstop_ms = 300");
    project.backend_that(
        "one",
        "server.listen(Number(process.env.PORT), '127.0.0.1'); process.on('SIGTERM', () => console.log('never'));",
    );
    project.push(&edge);
    let old = *healthy(&edge, "game", 1).await.first().unwrap();
    project.backend("two");
    project.push(&edge);
    eventually("its end", async || (!is_alive(old)).then_some(())).await;
    assert_eq!(named(&edge).await, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hog_of_memory_and_a_bomb_of_processes_end_alone() {
    let edge = edge()
        .with_runner()
        .with_limit("instance_memory_bytes_max", 268_435_456)
        .with_limit("instance_processes_max", 64)
        .with_limit("instance_restart_ms_min", 50)
        .start();
    let other = Project::new("other", "other", "");
    other.push(&edge);
    let project = Project::new("game", "one", "");
    // Both end on their own, as a fallback.
    project.backend_that(
        "one",
        "
        server.listen(Number(process.env.PORT), '127.0.0.1');
        const { spawn } = require('child_process');
        server.on('request', (request) => {
          if (request.url === '/api/hog') {
            const held = [];
            const grow = setInterval(() => {
              held.push(Buffer.alloc(16 << 20, 1));
              if (held.length === 60) clearInterval(grow);
            }, 20);
          }
          if (request.url === '/api/bomb') {
            let count = 0;
            const more = setInterval(() => {
              for (let i = 0; i < 10; i++) spawn('sleep', ['20'], { detached: true }).on('error', () => {});
              count += 10;
              if (count >= 200) clearInterval(more);
            }, 50);
          }
        });
        ",
    );
    project.push(&edge);
    for (path, reason) in [("/api/hog", "memory"), ("/api/bomb", "processes")] {
        let pid = *healthy(&edge, "game", 1).await.first().unwrap();
        answer(&edge, path).await.unwrap();
        eventually(&format!("the end after {path}"), async || (!is_alive(pid)).then_some(())).await;
        eventually("its reason", async || {
            let ran = project.run(&edge, &["logs", "--source", "instances"]);
            ran.stdout.contains(reason).then_some(())
        })
        .await;
        healthy(&edge, "game", 1).await;
        assert_eq!(named(&edge).await, "one");
    }
    let answer = edge.client(true).get(edge.url("other.localhost", "/api/who")).send().await.unwrap();
    assert!(answer.text().await.unwrap().starts_with("other "));
    assert_eq!(instances(&edge, "other", "prod").await[0]["restarts"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_writes_without_end_fills_neither_memory_nor_the_disk() {
    let edge = edge()
        .with_runner()
        .with_limit("instance_log_bytes_max", 1_048_576)
        .with_limit("instance_log_files_max", 3)
        .start();
    let project = Project::new("game", "one", "");
    project.backend_that(
        "one",
        "
        server.listen(Number(process.env.PORT), '127.0.0.1');
        const line = 'x'.repeat(1023) + '\\n';
        globalThis.left = 1 << 30;
        const write = () => {
          while (left > 0) {
            left -= 64 * 1024;
            if (!process.stdout.write(line.repeat(64))) return process.stdout.once('drain', write);
          }
          console.log('that was all');
        };
        server.on('request', (request) => { if (request.url === '/api/flood') setImmediate(write); });
        ",
    );
    project.push(&edge);
    let before = edge.resident_bytes();
    answer(&edge, "/api/flood").await.unwrap();
    eventually("the end of what it writes", async || {
        front_is_served(&edge).await;
        let left: i64 = answer(&edge, "/api/left").await.unwrap().parse().unwrap();
        (left <= (1 << 30) - (256 << 20)).then_some(())
    })
    .await;
    let ran = project.run(&edge, &["logs", "--source", "web.1", "--lines", "3"]);
    assert!(ran.stdout.contains("xxxx"), "{ran:#?}");
    assert!(edge.resident_bytes() < before + (96 << 20), "{before} → {}", edge.resident_bytes());
    let logs = edge.folder.path().join("data-run/logs");
    let bytes: usize = crate::support::edge::files(&logs).values().map(Vec::len).sum();
    assert!(bytes <= 4 << 20, "{bytes} bytes of logs");
    assert_eq!(named(&edge).await, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_an_edge_that_is_killed_and_the_next_one_runs_what_should() {
    let mut edge = edge().with_runner().start();
    let project = Project::new("game", "one", "instances = 2");
    // By a shell that stays, with a child in a separate session: as npm does, and worse.
    project.write("out/start.sh", "setsid sleep 600 &\nnode server.js\n");
    project.toml(
        "[server]\ndir = \"out\"\ncommand = [\"sh\", \"start.sh\"]\nhealth = \"/healthz\"\nroutes = [\"/api/*\"]\ninstances = 2\n",
    );
    project.push(&edge);
    let marked = |edge: &Edge| -> Vec<u64> {
        let folder = edge.folder.path().join("data-run");
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
        let is_ours = |pid: &u64| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let text = String::from_utf8_lossy(&environment).into_owned();
            text.contains("DEVANTURE_INSTANCE=") && text.contains(folder.to_str().unwrap())
        };
        pids.filter(is_ours).filter(|pid| is_alive(*pid)).collect()
    };
    healthy(&edge, "game", 2).await;
    assert_eq!(marked(&edge).len(), 6, "a shell, a server and a sleeper, twice");
    edge.kill();
    eventually("their end", async || marked(&edge).is_empty().then_some(())).await;

    edge.restart();
    healthy(&edge, "game", 2).await;
    assert_eq!(named(&edge).await, "one");
    assert_eq!(marked(&edge).len(), 6);
    assert!(edge.terminate().success());
    eventually("their end", async || marked(&edge).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_run_a_backend_is_checked_before_anything_is_sent() {
    let edge = edge().start();
    let project = Project::new("game", "one", "");
    let ran = project.fails(&edge, "runner_off");
    assert!(ran.stderr.contains("[runner]"), "{ran:#?}");
    assert_eq!(ran.last_line(), "Nothing is live yet; nothing has changed.");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_can_read_nothing_of_another_ones_or_of_the_edge() {
    if !rustix_is_root() {
        return;
    }
    let edge = edge().with_runner().start();
    let first = Project::new("first", "first", "persist = \"data\"");
    first.backend_that("first", "server.listen(Number(process.env.PORT), '127.0.0.1'); console.log('up');");
    first.push(&edge);
    eventually("its log", async || {
        let ran = first.run(&edge, &["logs", "--source", "web"]);
        ran.stdout.contains(" up").then_some(())
    })
    .await;
    let kept = edge.client(true).post(edge.url("first.localhost", "/api/keep")).body("mine").send().await.unwrap();
    assert_eq!(kept.text().await.unwrap(), "mine");
    let second = Project::new("second", "second", "persist = \"data\"");
    second.backend_that(
        "second",
        "
        const tried = (path) => { try { fs.readdirSync(path); return 'read'; } catch (error) { return error.code; } };
        const run = process.env.DEVANTURE_DATA.replace(/\\/data\\/second\\/.*/, '');
        console.log('tried', JSON.stringify({
          uid: process.getuid(),
          kept: tried(run + '/data/first/prod'),
          code: tried(run + '/code/first'),
          logs: tried(run + '/logs/first'),
          edge: tried(run.replace(/-run$/, '')),
          write: (() => { try { fs.writeFileSync('server.js', ''); return 'written'; } catch (error) { return error.code; } })(),
        }));
        server.listen(Number(process.env.PORT), '127.0.0.1');
        ",
    );
    second.push(&edge);
    let line = eventually("what it tried", async || {
        let ran = second.run(&edge, &["logs", "--source", "web"]);
        let line = ran.stdout.lines().find_map(|line| line.split_once("tried "))?.1.to_owned();
        Some(line)
    })
    .await;
    let tried: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(tried["uid"].as_u64().unwrap() >= 200_000, "{tried}");
    for what in ["kept", "code", "logs", "edge", "write"] {
        // With the folders below the system's temporary folder, an instance with a private one does not even see the
        // folders.
        let refusals: &[&str] =
            if what == "write" { &["EACCES", "EPERM", "EROFS"] } else { &["EACCES", "EPERM", "ENOENT"] };
        assert!(tried[what].as_str().is_some_and(|code| refusals.contains(&code)), "{what}: {tried}");
    }
}

/// Without root, every backend runs as the edge's user.
fn rustix_is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// Listens at the first start, and never again.
const LISTENS_ONCE: &str = "
const mark = process.env.DEVANTURE_DATA + '/started';
if (fs.existsSync(mark)) setInterval(() => {}, 1000);
else { fs.writeFileSync(mark, ''); server.listen(Number(process.env.PORT), '127.0.0.1'); }
";

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_an_instance_are_answered_by_the_version_that_goes_live_meanwhile() {
    let edge = edge().with_runner().with_limit("instance_restart_ms_min", 10).start();
    let project = Project::new("game", "one", "");
    // A request waits for an instance as long as for the beginning of an answer: here for longer than any push takes.
    project.toml(
        "[[routes]]\npath = \"/api/*\"\nto = \"server\"\nfirst_byte_timeout_ms = 600_000\n\
         [server]\ndir = \"out\"\ncommand = [\"node\", \"server.js\"]\nhealth = \"/healthz\"\npersist = \"data\"\n\
         start_ms = 600_000\n",
    );
    project.backend_that("one", LISTENS_ONCE);
    project.push(&edge);
    assert_eq!(answer(&edge, "/api/exit").await, Err(502), "its only instance ends");
    let client = edge.client(true);
    // Until all requests wait, one may arrive before the edge has noticed the lost instance: answered 502, and sent
    // again.
    let all_wait = Arc::new(AtomicBool::new(false));
    let ask = |number: usize| {
        let (client, url, all_wait) = (client.clone(), edge.url("game.localhost", "/api/who"), Arc::clone(&all_wait));
        tokio::spawn(async move {
            loop {
                let request =
                    if number.is_multiple_of(2) { client.get(&url) } else { client.post(&url).body("an order") };
                let answer = request.send().await.unwrap();
                if answer.status() == 502 && !all_wait.load(Ordering::SeqCst) {
                    continue;
                }
                let version = answer.headers()["devanture-version"].to_str().unwrap().to_owned();
                return (answer.status().as_u16(), version, answer.text().await.unwrap());
            }
        })
    };
    let waiting: Vec<_> = (0..4).map(ask).collect();
    eventually("the requests wait", async || {
        let metrics = edge.api("GET", "/metrics", None).await.1;
        let waits = |line: &str| line.starts_with("devanture_upstream_waiting{") && line.ends_with(" 4");
        metrics.as_str().unwrap().lines().any(waits).then_some(())
    })
    .await;
    all_wait.store(true, Ordering::SeqCst);

    project.backend("two");
    let version = project.push(&edge);
    for request in waiting {
        let (status, served, text) = request.await.unwrap();
        assert_eq!(status, 200, "{text}\n{}", edge.log());
        assert!(version.starts_with(&served) && text.starts_with("two "), "{served} answered {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_instances_of_an_edge_that_starts_again() {
    let mut edge = edge().with_runner().start();
    let project = Project::new("game", "one", "");
    project.backend_that("one", "setTimeout(() => server.listen(Number(process.env.PORT), '127.0.0.1'), 1000);");
    project.push(&edge);
    assert!(edge.terminate().success());
    edge.restart();
    front_is_served(&edge).await;
    let answer = tokio::time::timeout(Duration::from_secs(60), named(&edge)).await.unwrap();
    assert_eq!(answer, "one");
}
