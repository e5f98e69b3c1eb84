//! Tests of the end-to-end tests' browser: pages as a visitor sees them, and errors.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use crate::support::browser::{Browser, Stub};
use crate::support::{inputs, jupyter};

/// Serves pages by path on a free port until the test ends; 404 for further paths.
fn serve(pages: &'static [(&'static str, &'static str)]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                // A browser opens connections in advance: an unused connection ends without a request.
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let Some(path) = head.split(' ').nth(1) else { return };
                let (status, body) = match pages.iter().find(|(served, _)| *served == path) {
                    Some((_, body)) => ("200 OK", *body),
                    None => ("404 Not Found", "not here"),
                };
                let kind = if path.ends_with(".js") { "text/javascript" } else { "text/html; charset=utf-8" };
                // A page closed while loading reads no further.
                let _result = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            });
        }
    });
    address
}

const PAGES: &[(&str, &str)] = &[
    ("/", "<!doctype html><title>Fine</title><link rel=icon href=data:,><p>Hello</p><script src=/late.js></script>"),
    ("/late.js", "setTimeout(() => document.querySelector('p').append(' visitor'), 50)"),
    (
        "/broken",
        "<!doctype html><title>Broken</title><link rel=icon href=data:,>\
         <script>console.error('first', 1); setTimeout(() => { throw new Error('second') })</script>\
         <script src=/missing.js></script>",
    ),
    (
        "/foreign",
        "<!doctype html><title>…</title><link rel=icon href=data:,>\
         <script>fetch('https://elsewhere.invalid/title?x=1').then(r => r.text()).then(t => document.title = t)</script>",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_order_has_nothing_to_report() {
    let Some(browser) = Browser::start().await else { return };
    let address = serve(PAGES);
    let page = browser.open(&format!("http://{address}/")).await;
    let report = page.report().await;
    assert_eq!(report.console_errors, [""; 0]);
    assert_eq!(report.failed_requests, [""; 0]);
    let answers = [(format!("http://{address}/"), 200), (format!("http://{address}/late.js"), 200)];
    assert_eq!(report.responses, answers);
    assert_eq!(report.protocols, ["http/1.1", "http/1.1"]);
    assert_eq!(report.title, "Fine");
    assert_eq!(report.text, "Hello visitor");
    assert_eq!(page.evaluate("Promise.resolve(6 * 7)").await, 42);
    assert!(page.try_evaluate("missing.name").await.is_err_and(|message| message.contains("ReferenceError")));

    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("page.png");
    page.screenshot(&picture).await;
    assert!(std::fs::read(picture).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_in_a_page_is_reported() {
    let Some(browser) = Browser::start().await else { return };
    let address = serve(PAGES);
    let page = browser.open(&format!("http://{address}/broken")).await;
    let report = page.report().await;
    let has_error = |words: &str| report.console_errors.iter().any(|error| error.contains(words));
    assert!(has_error("first 1") && has_error("Error: second") && has_error("404"), "{report:?}");
    assert_eq!(report.failed_requests, [format!("404 http://{address}/missing.js")]);

    page.go(&format!("http://{address}/")).await;
    assert_eq!(page.report().await.console_errors, [""; 0]);

    // A port just closed refuses connections.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let page = browser.open(&format!("http://{closed}/")).await;
    let mut failed = page.report().await.failed_requests;
    // A browser may retry on its own.
    failed.dedup();
    assert_eq!(failed, [format!("net::ERR_CONNECTION_REFUSED http://{closed}/")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_host_is_answered_by_the_test() {
    let Some(browser) = Browser::start().await else { return };
    let address = serve(PAGES);
    let stub = Stub { url: "https://elsewhere.invalid/*", content_type: "text/plain", body: "Stubbed ✓".to_owned() };
    let page = browser.open_with(&format!("http://{address}/foreign"), &[stub]).await;
    page.wait_for("document.title === 'Stubbed ✓'").await;
    assert_eq!(page.report().await.console_errors, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_jupyterlab_is_filled_in_by_its_backend() {
    let Some(backend) = jupyter::start("4.4.8") else { return };
    let Some(browser) = Browser::start().await else { return };
    let page = browser.open(&format!("http://{backend}/jupyter/lab")).await;
    // The edge would serve the scripts, and this test has no edge.
    let failed = page.report().await.failed_requests;
    assert!(failed.len() == 1 && failed[0].starts_with(&format!("404 http://{backend}/jupyterlab/static/main.")));
    let settings = page.evaluate("fetch('/jupyter/lab/api/settings').then(answer => answer.json())").await;
    assert_eq!(settings["settings"].as_array().unwrap().len(), 70);
    let opened = "new Promise(opened => { \
                  new WebSocket(`ws://${location.host}/jupyter/api/events/subscribe`).onopen = () => opened('open') })";
    assert_eq!(page.evaluate(opened).await, "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_browser_has_ended() {
    let Some(browser) = Browser::start().await else { return };
    let process = format!("/proc/{}", browser.process_id());
    let was_there = std::fs::exists(&process).unwrap();
    drop(browser);
    // Only Linux shows processes as folders.
    assert_eq!(was_there, cfg!(target_os = "linux"));
    assert!(!std::fs::exists(&process).unwrap());
}

#[test]
fn the_real_inputs_are_whole() {
    let inputs = [
        (inputs::swagger("5.29.0"), 32),
        (inputs::swagger("5.29.1"), 32),
        (inputs::jupyterlab("4.4.8"), 581),
        (inputs::jupyterlab("4.4.9"), 581),
        (inputs::vite("a"), 11),
        (inputs::vite("b"), 11),
    ];
    for (folder, file_count) in inputs.into_iter().filter_map(|(folder, count)| Some((folder?, count))) {
        assert_eq!(count_files(&folder), file_count, "{}", folder.display());
    }
}

fn count_files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}
