//! Hostile pages in a browser against `devanture dev`: a hostile name resolves to this machine (DNS rebinding), or a
//! hostile site sends requests to the name of the local site.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::cli_support::Project;
use crate::support::browser::{Browser, Trusted};

/// Text readable by pages of the site only.
const SECRET: &str = "unreleased-draft";

/// A running `dev`, killed on drop.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        // The process may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Returns every loopback port of the process and its children, read from `/proc`.
fn ports_of(pid: u32) -> Vec<u16> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    let children: String = children.collect::<Vec<_>>().join(" ");
    let children: Vec<u32> = children.split_whitespace().map(|id| id.parse().unwrap()).collect();
    assert!(!children.is_empty(), "the edge is a child");
    std::iter::once(pid).chain(children).flat_map(ports_of_one).collect()
}

fn ports_of_one(pid: u32) -> Vec<u16> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let listening = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(words[1].rsplit(':').next()?, 16).ok()?;
        (words[3] == "0A" && sockets.contains(&format!("socket:[{}]", words[9]))).then_some(port)
    });
    listening.collect()
}

/// Starts a backend that answers every request with the secret. Returns the port, and the requested targets.
fn backend() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), Arc::clone(&seen));
            std::thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                seen.lock().unwrap().extend(head.lines().next().map(str::to_owned));
                let length = SECRET.len();
                // A closed page reads no further.
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{SECRET}").ok();
            });
        }
    });
    (port, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_name_leads_to_this_machine_reads_nothing_of_dev() {
    let profile = tempfile::tempdir().unwrap();
    let flags = ["--host-resolver-rules=MAP evil.test 127.0.0.1,MAP *.evil.test 127.0.0.1"];
    let Some(browser) = Browser::start_with(Trusted::Everybody, &flags, profile.path()).await else { return };
    let (port, requests) = backend();
    let project = Project::new(&[("www/index.html", SECRET), ("www/style.css", SECRET)]);
    let toml = format!("app = \"shop\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:{port}\"\n");
    project.file("devanture.toml", &toml);
    let mut command = project.command(&["dev", "--json", "--port", "0"]);
    command.env("XDG_STATE_HOME", project.path("state")).stderr(Stdio::null());
    let mut dev = Dev(command.spawn().unwrap());
    let events = BufReader::new(dev.0.stdout.take().unwrap()).lines();
    let mut events = events.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let ready = events.find(|event| event["event"] == "ready").unwrap();
    events.find(|event| event["event"] == "live").unwrap();
    // The output is read to its end.
    std::thread::spawn(move || events.count());
    let site = ready["url"].as_str().unwrap().trim_end_matches('/').to_owned();
    let site_port = site.rsplit(':').next().unwrap();

    // The site and its API are available.
    let page = browser.open(&site).await;
    assert_eq!(page.evaluate("fetch('/api/x').then(answer => answer.text())").await, SECRET);
    page.close().await;
    requests.lock().unwrap().clear();

    let ports = ports_of(dev.0.id());
    assert!(ports.len() >= 3 && ports.contains(&site_port.parse().unwrap()), "{ports:?}");
    let read = "Promise.all(['/', '/style.css', '/api/x', '/.devanture-dev/events', '/.devanture-dev/reload.js', \
                '/v1/apps', '/metrics', '/.well-known/devanture/release.json'].map(path => \
                fetch(path, { signal: AbortSignal.timeout(5000) }).then(a => a.ok ? a.text() : '', () => '')))";
    for port in &ports {
        for scheme in ["http", "https"] {
            // Any answer has the origin of the hostile page, with this port.
            let page = browser.open(&format!("{scheme}://evil.test:{port}/.devanture-dev/reload.js")).await;
            let text = page.report().await.text;
            assert!(!text.contains("EventSource"), "{scheme} {port}: {text}");
            page.go(&format!("{scheme}://evil.test:{port}/")).await;
            if let Ok(texts) = page.try_evaluate(read).await {
                let texts = texts.as_array().unwrap();
                assert!(texts.iter().all(|text| text == ""), "{scheme} {port}: {texts:?}");
            }
            let text = page.report().await.text;
            assert!(!text.contains(SECRET), "{scheme} {port}: {text}");
            page.close().await;
        }
    }
    assert_eq!(*requests.lock().unwrap(), [""; 0], "the API was reached");
}
