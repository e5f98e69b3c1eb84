//! Independent clients: libcurl with ngtcp2, aioquic, and curl with UDP blocked.

use std::fs::File;
use std::net::UdpSocket;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::lint::files_below;
use crate::http::site::{noise, text};
use crate::http2::clients::{leave_out, run_with};
use crate::http2::proxied::Proxied;
use crate::support::{RunningEdge, edge};
use crate::wire::{HOST, Protocol, ask};

const CLIENTS: [&str; 2] = ["curl", "aioquic"];
/// Exit code of the script if the client is not installed.
const IS_MISSING: i32 = 3;

/// Response as reported by the script.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct ScriptReport {
    status: u16,
    version: String,
    bytes: usize,
    sha256: String,
}

/// Script report for a response with the given body.
fn reported(status: u16, version: &str, body: &[u8]) -> ScriptReport {
    let sha256 = hex::encode(digest(&SHA256, body));
    ScriptReport { status, version: version.to_owned(), bytes: body.len(), sha256 }
}

/// Runs a script of `tools` with a job; `what` names the required program. `None` if the program is not installed.
async fn run_script(script: &str, what: &str, job: &Value) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.json");
    std::fs::write(&path, job.to_string()).unwrap();
    let script = format!("{}/../tools/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = run_with("python3", &[script.as_str()], File::open(&path).unwrap().into()).await?;
    if output.status.code() == Some(IS_MISSING) {
        leave_out(&format!("{what}: {}", String::from_utf8_lossy(&output.stdout).trim()));
        return None;
    }
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// Sends requests by a client; `more` is added to the input of `tools/http3-client.py`.
async fn ask_by(
    client: &str,
    edge: &RunningEdge,
    host: &str,
    requests: Vec<Value>,
    more: Value,
) -> Option<Vec<ScriptReport>> {
    let mut job = json!({
        "client": client, "address": edge.https().port(), "host": host, "ca": edge.ca(), "at_once": 8,
        "requests": requests,
    });
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let output = run_script("http3-client.py", client, &job).await?;
    Some(serde_json::from_slice(&output).unwrap())
}

/// Opens the front page in Firefox, which knows of HTTP/3, and fetches files.
async fn open_in_firefox(edge: &RunningEdge, fetches: &[&str]) -> Option<Value> {
    let job = json!({
        "host": HOST, "port": edge.https().port(), "ca": edge.ca(), "page": "/", "fetches": fetches,
    });
    let output = run_script("http3-firefox.py", "firefox", &job).await?;
    Some(serde_json::from_slice(&output).unwrap())
}

fn get(path: &str, encoding: &str) -> Value {
    json!({ "path": path, "headers": [["Accept-Encoding", encoding]] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_file_of_the_shop_comes_byte_for_byte_in_every_encoding() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/shop/www");
    let mut files = files_below(&root);
    files.push(("large.bin".to_owned(), noise(3_000_000)));
    files.push(("lines.txt".to_owned(), text(20_000)));
    files.push(("empty.txt".to_owned(), Vec::new()));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    // Variants recompressed during a test would change their bytes.
    let edge = edge().with_toml("[compress]\nbackground = false").with_app("shop", &files).start().await;
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for (path, bytes) in &files {
        // Pages have URLs without an extension.
        let target = format!("/{path}");
        for encoding in ["identity", "gzip", "br", "zstd"] {
            let answer = ask(&target).with("accept-encoding", encoding).send(&edge, Protocol::Http2).await;
            if encoding == "identity" && answer.status == 200 {
                assert!(answer.body == *bytes, "{path}");
            }
            requests.push(get(&target, encoding));
            expected.push(reported(answer.status, "3", &answer.body));
        }
    }
    assert!(expected.iter().filter(|answer| answer.status == 200).count() > 20, "{expected:?}");
    for client in CLIENTS {
        let Some(answers) = ask_by(client, &edge, HOST, requests.clone(), json!({})).await else { continue };
        for ((answer, expected), request) in answers.iter().zip(&expected).zip(&requests) {
            assert_eq!(answer, expected, "{client} {request}");
        }
        assert_eq!(answers.len(), expected.len());
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_heads_conditions_and_uploads_are_answered() {
    let proxied = Proxied::start(edge()).await;
    let edge = &proxied.world.edge;
    let front = crate::http2::world::FRONT_PAGE;
    let big = crate::http2::world::big();
    let requests = vec![
        json!({ "path": "/big.bin", "headers": [["Range", "bytes=100-199"]] }),
        json!({ "path": "/big.bin", "headers": [["Range", "bytes=-5"]] }),
        json!({ "path": "/big.bin", "method": "HEAD" }),
        json!({ "path": "/", "headers": [["If-None-Match", "*"]] }),
        json!({ "path": "/none" }),
        json!({ "path": "/", "method": "POST", "upload": 5_000 }),
        json!({ "path": "/api/echo", "method": "POST", "upload": 3_000_000 }),
        json!({ "path": "/api/echo", "method": "PUT", "upload": 1 }),
        json!({ "path": "/" }),
    ];
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let missing = b"<!doctype html>not here";
    for client in CLIENTS {
        let mut requests = requests.clone();
        if client == "aioquic" {
            // The client waits for a body of the length in a response to HEAD.
            requests[2] = json!({ "path": "/big.bin", "headers": [["If-Match", "\"other\""]] });
        }
        let Some(answers) = ask_by(client, edge, HOST, requests, json!({})).await else { continue };
        let refused = answers[5].bytes;
        assert_eq!((answers[5].status, refused > 0), (405, true), "{client}");
        let bodies: [(u16, &[u8]); 5] =
            [(206, &big[100..200]), (206, &big[big.len() - 5..]), (200, b""), (304, b""), (404, missing)];
        for (number, (answer, (status, body))) in answers.iter().zip(bodies).enumerate() {
            if client == "aioquic" && number == 2 {
                assert_eq!(answer.status, 412);
                continue;
            }
            assert_eq!(*answer, reported(status, "3", body), "{client}");
        }
        assert_eq!(answers[6], reported(200, "3", &sent), "{client}");
        assert_eq!(answers[7], reported(200, "3", &sent[..1]), "{client}");
        assert_eq!(answers[8], reported(200, "3", front), "{client}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_on_one_connection_are_each_answered_with_their_own() {
    let bytes = noise(120_000);
    let names: Vec<String> = (0..200).map(|number| format!("{number}.bin")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().enumerate().map(|(number, name)| (name.as_str(), &bytes[..number * 600])).collect();
    let edge = edge().with_app("shop", &files).start().await;
    let requests: Vec<Value> = names.iter().map(|name| json!({ "path": format!("/{name}") })).collect();
    for client in CLIENTS {
        let Some(answers) = ask_by(client, &edge, HOST, requests.clone(), json!({ "at_once": 64 })).await else {
            continue;
        };
        for (answer, (name, bytes)) in answers.iter().zip(&files) {
            assert_eq!(*answer, reported(200, "3", bytes), "{client} {name}");
        }
    }
    edge.stop().await;
}

/// Edge whose UDP port is taken by a socket that never answers, as behind a firewall that drops UDP.
async fn shop_behind_a_firewall() -> (RunningEdge, UdpSocket) {
    loop {
        let edge = edge().with_listen("http3 = false").with_app("shop", &[("index.html", PAGE)]).start().await;
        // Another test may have the port.
        if let Ok(socket) = UdpSocket::bind(edge.https()) {
            assert_eq!(edge.http3(), None);
            return (edge, socket);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_udp_is_dropped_curl_that_prefers_http3_gets_the_page_over_tcp() {
    let (edge, _firewall) = shop_behind_a_firewall().await;
    let more = json!({ "version": "3" });
    let Some(answers) = ask_by("curl", &edge, HOST, vec![json!({ "path": "/" })], more).await else { return };
    assert_eq!(answers, [reported(200, "2", PAGE)]);
    edge.stop().await;
}

/// Page, and files fetched by the page's script.
const PAGE: &[u8] = b"<!doctype html><html lang=en><title>Shop</title><link rel=icon href=data:,>Open";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firefox_loads_a_page_and_its_files_over_http3() {
    let (large, lines) = (noise(5_000_000), text(5_000));
    let files: &[(&str, &[u8])] = &[("index.html", PAGE), ("large.bin", &large), ("lines.txt", &lines)];
    let edge = edge().with_app("shop", files).start().await;
    let Some(seen) = open_in_firefox(&edge, &["/large.bin", "/lines.txt"]).await else { return };
    let hashes = [&large, &lines].map(|bytes| hex::encode(digest(&SHA256, bytes)));
    assert_eq!(seen, json!({ "title": "Shop", "protocols": ["h3"], "sha256": hashes }));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_udp_is_dropped_firefox_that_knew_of_http3_loads_the_page_over_tcp() {
    let (edge, _firewall) = shop_behind_a_firewall().await;
    let Some(seen) = open_in_firefox(&edge, &["/"]).await else { return };
    let hash = hex::encode(digest(&SHA256, PAGE));
    assert_eq!(seen, json!({ "title": "Shop", "protocols": ["h2"], "sha256": [hash] }));
    edge.stop().await;
}
