//! `devanture dev`: serves the folder as an edge would, and an open page shows each change without a reload by hand.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;

use super::backends::echo;
use crate::support::browser::{Browser, Page};
use crate::support::dev::{Dev, PAGE, Project, TIME_MAX};
use crate::support::edge::{client_of, edge, files};
use crate::support::websocket;

async fn loads(page: &Page) -> u64 {
    page.evaluate("Number(sessionStorage.loads)").await.as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_open_shows_each_change_by_itself() {
    let Some(browser) = Browser::start_in_every_run().await else { return };
    let project = Project::new();
    let dev = project.dev(&[]);
    assert_eq!(dev.wait_for("live")["files"], 2);
    let page = browser.open(&dev.url).await;
    assert_eq!(page.report().await.console_errors, [""; 0]);
    assert_eq!(page.evaluate("document.querySelector('p').textContent").await, "one");
    assert_eq!(loads(&page).await, 1);

    project.put("www/index.html", &PAGE.replace("one", "two"));
    let live = dev.wait_for("live");
    assert_eq!(live["changed"], 1);
    assert!(live["ms"].is_u64() && live["version"].as_str().unwrap().len() == 64, "{live}");
    page.wait_for("document.querySelector('p')?.textContent === 'two'").await;
    assert_eq!(loads(&page).await, 2);

    // A stylesheet is replaced in place; the page stays.
    page.evaluate("window.isSame = true").await;
    project.put("www/style.css", "p { color: rgb(4, 5, 6) }");
    page.wait_for("getComputedStyle(document.querySelector('p')).color === 'rgb(4, 5, 6)'").await;
    page.wait_for("document.querySelectorAll('link[rel=stylesheet]').length === 1").await;
    assert_eq!(page.evaluate("window.isSame").await, true);
    // A second time, followed by a page.
    project.put("www/style.css", "p { color: rgb(7, 8, 9) }");
    page.wait_for("getComputedStyle(document.querySelector('p')).color === 'rgb(7, 8, 9)'").await;
    assert_eq!((page.evaluate("window.isSame").await, loads(&page).await), (Value::Bool(true), 2));
    project.put("www/index.html", &PAGE.replace("one", "three"));
    page.wait_for("document.querySelector('p')?.textContent === 'three'").await;
    assert_eq!(loads(&page).await, 3);

    // A build that empties and refills the folder: the page never loses its content, and reloads once.
    std::fs::remove_dir_all(project.path().join("www")).unwrap();
    project.put("www/style.css", "p { color: rgb(1, 1, 1) }");
    dev.wait_for("waiting");
    assert!(dev.text("/").await.contains("three"));
    project.put("www/index.html", &PAGE.replace("one", "four"));
    page.wait_for("document.querySelector('p')?.textContent === 'four'").await;
    assert_eq!(loads(&page).await, 4);
    assert_eq!(dev.end("-INT"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_finds_a_run_that_was_restarted() {
    let Some(browser) = Browser::start().await else { return };
    let project = Project::new();
    let dev = project.dev(&[]);
    dev.wait_for("live");
    let page = browser.open(&dev.url).await;
    let (ca, port) = (std::fs::read(&dev.ca).unwrap(), dev.url.rsplit(':').next().unwrap().to_owned());
    assert_eq!(dev.end("-TERM"), Some(0));
    project.put("www/index.html", &PAGE.replace("one", "two"));
    let dev = project.dev(&["--port", &port]);
    dev.wait_for("live");
    page.wait_for("document.querySelector('p')?.textContent === 'two'").await;
    assert_eq!(std::fs::read(&dev.ca).unwrap(), ca, "the authority that a browser trusts stays");

    // A second run on the same port fails with a message.
    let ran = project.command(&["--port", &port]).output().unwrap();
    let output: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.status.code(), output["error"]["code"].as_str()), (Some(2), Some("usage")), "{output}");
    assert!(output["error"]["hint"].as_str().unwrap().contains("--port"), "{output}");
    assert_eq!(dev.end("-INT"), Some(0));
    let left = std::fs::read_dir(project.0.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_str().unwrap().starts_with("devanture-dev-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_reported_with_its_line_and_what_was_live_stays() {
    let project = Project::new();
    let dev = project.dev(&[]);
    dev.wait_for("live");
    project.put("devanture.toml", "app = \"shop\"\nwww = \"www\"\nnot_found = \"nothing\"\n");
    assert_eq!(dev.mistake_in("devanture.toml")["line"], 3);
    assert_eq!(dev.get("/").await.status(), 200);
    project.put("www/_redirects", "/old\n");
    project.put("devanture.toml", "app = \"shop\"\nwww = \"www\"\n");
    assert_eq!(dev.mistake_in("www/_redirects")["line"], 1);
    assert!(dev.text("/").await.contains("one"));
    // After the correction, all changes made meanwhile are live.
    project.put("www/_redirects", "/old /new 301\n");
    dev.wait_for("live");
    assert_eq!(dev.get("/old").await.status(), 301);
    project.put("www/_headers", "/*\n  X-Own: yes\n");
    dev.wait_for("live");
    assert_eq!(dev.get("/").await.headers()["x-own"], "yes");
    // Mistakes that a push would refuse are reported here, too.
    project.put("www/app.3f2a91bc.js", "one");
    dev.wait_for("live");
    project.put("www/app.3f2a91bc.js", "two");
    let is_reused = |event: &Value| event["error"]["code"] == "fingerprint_reused";
    assert!(dev.wait_until("failed", is_reused)["error"]["hint"].as_str().unwrap().contains("devanture dev"));
    assert_eq!(dev.text("/app.3f2a91bc.js").await, "one");
    assert_eq!(dev.end("-TERM"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_forbids_the_script_breaks_no_page() {
    let Some(browser) = Browser::start().await else { return };
    let project = Project::new();
    project.put("www/_headers", "/*\n  Content-Security-Policy: default-src 'none'; style-src 'self'; img-src data:\n");
    let dev = project.dev(&[]);
    let is_of_policy = |event: &Value| event["text"].as_str().unwrap().contains("Content-Security-Policy");
    let note = dev.wait_until("note", is_of_policy);
    assert!(note["text"].as_str().unwrap().starts_with("_headers:"), "{note}");
    dev.wait_for("live");
    let page = browser.open(&dev.url).await;
    let colour = page.evaluate("getComputedStyle(document.querySelector('p')).color").await;
    assert_eq!(colour, "rgb(1, 2, 3)");
    // With a policy that allows its own origin, the page shows changes.
    project.put("www/_headers", "/*\n  Content-Security-Policy: default-src 'self'; img-src data:\n");
    dev.wait_for("live");
    page.reload().await;
    project.put("www/index.html", &PAGE.replace("one", "two"));
    page.wait_for("document.querySelector('p')?.textContent === 'two'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_hashes_runs_its_scripts_and_shows_each_change() {
    let Some(browser) = Browser::start().await else { return };
    let project = Project::new();
    let settings = std::fs::read_to_string(project.path().join("devanture.toml")).unwrap();
    // A loading page lacks the element for a moment.
    let has_colour =
        "(found => found && getComputedStyle(found).color === 'rgb(4, 5, 6)')(document.querySelector('p'))";
    for mode in ["report", "enforce"] {
        let page = |text: &str| {
            PAGE.replace("one", text).replace("</head>", "<script type=module src=/main.js></script></head>")
        };
        project.put("devanture.toml", &format!("integrity = \"{mode}\"\n{settings}"));
        project.put("www/index.html", &page("one"));
        project.put("www/main.js", "import('./late.js')");
        project.put("www/late.js", "document.documentElement.dataset.late = 'first'");
        project.put("www/style.css", "p { color: rgb(1, 2, 3) }");
        let dev = project.dev(&[]);
        dev.wait_for("live");
        let policy = if mode == "enforce" { "integrity-policy" } else { "integrity-policy-report-only" };
        assert!(dev.get("/").await.headers().contains_key(policy), "{mode}");
        let open = browser.open(&dev.url).await;
        open.wait_for("document.documentElement?.dataset.late === 'first'").await;
        // Every resource of the page has a hash, including the script of `dev`; only the added script has none.
        let reported = "new Promise(found => { const seen = []; new ReportingObserver(all => { \
                        seen.push(...all.map(one => new URL(one.body.blockedURL).pathname)); \
                        if (seen.includes('/none.js')) found(seen); }, { buffered: true }).observe(); \
                        document.head.append(Object.assign(document.createElement('script'), { src: '/none.js' })); })";
        assert_eq!(open.evaluate(reported).await, serde_json::json!(["/none.js"]), "{mode}");

        project.put("www/late.js", "document.documentElement.dataset.late = 'second'");
        open.wait_for("document.documentElement?.dataset.late === 'second'").await;
        project.put("www/style.css", "p { color: rgb(4, 5, 6) }");
        open.wait_for(has_colour).await;
        project.put("www/index.html", &page("two"));
        open.wait_for("document.querySelector('p')?.textContent === 'two'").await;
        open.wait_for("document.documentElement?.dataset.late === 'second'").await;
        open.close().await;
        assert_eq!(dev.end("-INT"), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_is_a_backends_alone_and_its_end_is_not_the_fronts() {
    let project = Project::new();
    let settings = "app = \"shop\"\nwww = \"www\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://203.0.113.1\"\n";
    project.put("devanture.toml", settings);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = listener.local_addr().unwrap();
    let echoing = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let message = socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
        // Until the peer has closed.
        while let Some(Ok(_)) = socket.next().await {}
    });
    let (api, socket) = (format!("http://{}", echo()), format!("/socket=http://{socket}"));
    let dev = project.dev(&["--api", &api, "--api", &socket]);
    dev.wait_for("live");
    let answer = dev.get("/api/x/201").await;
    assert_eq!(answer.status(), 201);
    let printed: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert!(printed["head"][0].as_str().unwrap().starts_with("GET /api/x/201"), "{printed}");

    let mut open = websocket::open(&client_of(&dev.ca, false), &format!("{}/socket", dev.url)).await;
    open.send("hello".into()).await.unwrap();
    assert_eq!(open.next().await.unwrap().unwrap().into_text().unwrap().as_str(), "hello");
    drop(open);
    echoing.await.unwrap();
    // The listener has closed, too.
    assert_eq!(dev.get("/socket").await.status(), 502);
    assert_eq!(dev.get("/").await.status(), 200, "the front is served whatever the backends do");
    assert_eq!(dev.end("-INT"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dev_adds_is_in_nothing_that_is_pushed() {
    let project = Project::new();
    let www = project.path().join("www");
    let before = files(&www);
    let dev = project.dev(&[]);
    dev.wait_for("live");
    assert!(dev.text("/").await.contains("<script src=\"/.devanture-dev/reload.js\""));
    assert_eq!(dev.get("/.devanture-dev/reload.js").await.headers()["cache-control"], "no-store");
    assert_eq!(dev.end("-INT"), Some(0));
    assert_eq!(files(&www), before, "the folder is only read");
    let edge = edge().start();
    edge.push("shop", &www);
    let get = async |path: &str| edge.client(true).get(edge.url("shop.localhost", path)).send().await.unwrap();
    assert_eq!(get("/").await.text().await.unwrap(), PAGE);
    assert_eq!(get("/.devanture-dev/reload.js").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_waited_for_and_files_are_polled_where_nothing_notifies() {
    let project = Project::new();
    let www = project.path().join("www");
    let aside = project.path().join("aside");
    std::fs::rename(&www, &aside).unwrap();
    let dev = project.dev(&["--poll"]);
    assert!(dev.wait_for("waiting")["text"].as_str().unwrap().contains("www"));
    std::fs::create_dir(&www).unwrap();
    assert!(dev.wait_for("waiting")["text"].as_str().unwrap().contains("no file"));
    move_files(&aside, &www);
    dev.wait_for("live");
    project.put("www/index.html", &PAGE.replace("one", "two"));
    dev.wait_for("live");
    assert!(dev.text("/").await.contains("two"));
    let gone = project.path().join("gone");
    std::fs::rename(&www, &gone).unwrap();
    dev.wait_for("waiting");
    std::fs::rename(&gone, &www).unwrap();
    dev.wait_for("unchanged");
    assert_eq!(dev.end("-TERM"), Some(0));
}

fn move_files(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        std::fs::write(to.join(name), bytes).unwrap();
    }
}

/// A backend that answers every request with its process id and a word, and starts a child process that outlives the
/// backend unless killed.
pub(super) const BACKEND: &str = r#"
import http.server, os, subprocess, sys
child = subprocess.Popen(["sleep", "600"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = [str(os.getpid()), str(child.pid), "WORD", os.environ.get("GREETING", ""), os.environ.get("DEVANTURE_TOKEN", "")]
        body = " ".join(said).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Returns true for a running process; false for a zombie.
fn runs(id: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_of_the_bundle_runs_beside_and_ends_with_it() {
    let is_there = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_there("python3") || !Path::new("/proc/self/stat").exists() {
        eprintln!("left out: there is no python3, or no /proc");
        return;
    }
    let project = Project::new();
    project.put(
        "devanture.toml",
        "app = \"shop\"\nwww = \"www\"\n[server]\ndir = \"server\"\ncommand = [\"python3\", \"main.py\"]\nroutes = [\"/api/*\"]\n",
    );
    project.put("server/main.py", &BACKEND.replace("WORD", "one"));
    project.put(".env.server", "GREETING=hello\n");
    let dev = project.dev(&[]);
    dev.wait_for("live");
    let answer = async |dev: &Dev, word: &str| -> Vec<String> {
        let until = tokio::time::Instant::now() + TIME_MAX;
        loop {
            let response = dev.get("/api/x").await;
            let (is_fine, text) = (response.status() == 200, response.text().await.unwrap_or_default());
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            if is_fine && words.get(2).is_some_and(|found| found == word) {
                return words;
            }
            assert!(tokio::time::Instant::now() < until, "{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let first = answer(&dev, "one").await;
    assert_eq!((first[3].as_str(), first[4].as_str()), ("hello", ""), "the client's own settings are not its own");
    project.put("server/main.py", &BACKEND.replace("WORD", "two"));
    let second = answer(&dev, "two").await;
    assert_ne!(first[0], second[0]);
    assert!(!runs(&first[0]) && !runs(&first[1]), "the one before has ended with what it started");
    assert!(runs(&second[0]) && runs(&second[1]));
    assert_eq!(dev.end("-INT"), Some(0));
    assert!(!runs(&second[0]) && !runs(&second[1]), "it ends with dev");
    let dev = project.dev(&[]);
    dev.wait_for("live");
    let third = answer(&dev, "two").await;
    assert_eq!(dev.end("-KILL"), None);
    eventually("it ends where dev is killed, too", || !runs(&third[0]) && !runs(&third[1]));
}

/// The children of a process.
fn children_of(id: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten();
    let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    children.collect::<Vec<_>>().join(" ").split_whitespace().map(str::to_owned).collect()
}

/// Waits until a condition is true.
fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let until = std::time::Instant::now() + TIME_MAX;
    while !is_true() {
        assert!(std::time::Instant::now() < until, "{what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn the_edge_ends_with_dev_however_that_ends() {
    if !Path::new("/proc/self/stat").exists() {
        eprintln!("left out: there is no /proc");
        return;
    }
    for signal in ["-INT", "-TERM", "-KILL"] {
        let project = Project::new();
        let dev = project.dev(&[]);
        dev.wait_for("live");
        let children = children_of(dev.child.id());
        assert_eq!(children.len(), 1, "{signal}: {children:?}");
        assert!(std::fs::read_link(format!("/proc/{}/exe", children[0])).unwrap().ends_with("devanture-edge"));
        let address = dev.url.trim_start_matches("https://").replace("shop.localhost", "127.0.0.1");
        assert_eq!(dev.end(signal), (signal != "-KILL").then_some(0));
        // A killed `dev` cannot clean up; the edge notices, drains and ends.
        eventually("the edge ends", || !runs(&children[0]));
        assert!(std::net::TcpStream::connect(address).is_err(), "{signal}: nobody listens");
    }
}

#[test]
fn the_next_run_removes_the_folder_of_one_that_was_killed() {
    let project = Project::new();
    let runs = || {
        let entries = std::fs::read_dir(project.0.path()).unwrap().map(|entry| entry.unwrap().path());
        entries
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("devanture-dev-"))
            .collect::<Vec<_>>()
    };
    let (killed, beside) = (project.dev(&[]), project.dev(&[]));
    killed.wait_for("live");
    beside.wait_for("live");
    killed.end("-KILL");
    assert_eq!(runs().len(), 2);
    let next = project.dev(&[]);
    next.wait_for("live");
    // The folders of this run, and of the running run.
    eventually("the folder goes", || runs().len() == 2);
    assert_eq!((beside.end("-INT"), next.end("-INT")), (Some(0), Some(0)), "both have all that is theirs");
    assert!(runs().is_empty());
}

#[test]
fn dev_ends_with_a_failure_where_its_edge_does_not_live() {
    if !Path::new("/proc/self/stat").exists() {
        eprintln!("left out: there is no /proc");
        return;
    }
    let project = Project::new();
    let mut dev = project.dev(&[]);
    dev.wait_for("live");
    let edge = &children_of(dev.child.id())[0];
    assert!(Command::new("kill").args(["-KILL", edge]).status().unwrap().success());
    assert_eq!(dev.child.wait().unwrap().code(), Some(1));
    let output = dev.events.iter().find(|event| event["error"].is_object()).unwrap();
    assert!(output["error"]["message"].as_str().unwrap().contains("ended by itself"), "{output}");
}

#[test]
fn dev_needs_the_program_of_the_edge_and_takes_it_from_path() {
    let project = Project::new();
    // The command line without the edge, in a separate folder.
    let folder = project.path().join("bin");
    std::fs::create_dir(&folder).unwrap();
    let alone = folder.join("devanture");
    let own = env!("CARGO_BIN_EXE_devanture");
    std::fs::hard_link(own, &alone).or_else(|_| std::fs::copy(own, &alone).map(drop)).unwrap();
    let edges = project.path().join("edges");
    std::fs::create_dir(&edges).unwrap();
    // In place of the edge of a different release, which does not know the arguments.
    std::os::unix::fs::symlink("/bin/false", edges.join("devanture-edge")).unwrap();
    let run = |path: &str| {
        let mut command = Command::new(&alone);
        command.args(["dev", "--json", "--port", "0"]).current_dir(project.path()).env_clear();
        command.env("PATH", path).env("XDG_STATE_HOME", project.0.path().join("state")).env("TMPDIR", project.0.path());
        let ran = command.stdin(Stdio::null()).output().unwrap();
        let output: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let error = output["error"].clone();
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (ran.status.code(), text("code"), text("message"), text("hint"))
    };
    let (exit, code, message, hint) = run("");
    assert_eq!((exit, code.as_str()), (Some(2), "usage"), "{message}");
    assert!(message.contains("needs the program `devanture-edge`") && hint.contains("install"), "{message} {hint}");
    // A relative folder of PATH would be the project's.
    let (exit, code, ..) = run("edges");
    assert_eq!((exit, code.as_str()), (Some(2), "usage"));
    let (exit, code, message, hint) = run(edges.to_str().unwrap());
    assert_eq!((exit, code.as_str()), (Some(1), "internal"));
    assert!(message.contains("ended before it was ready") && hint.contains("same release"), "{message} {hint}");
}
