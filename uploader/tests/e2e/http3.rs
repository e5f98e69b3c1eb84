//! HTTP/3 with a browser, and real bundles with third-party clients.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::bytes::encoded;
use super::dictionaries::{hex, spki_of};
use crate::relay::{Relay, Weather};
use crate::support::browser::{Browser, HTTP3, Trusted};
use crate::support::edge::{Edge, edge, files};
use crate::support::{inputs, leave_out};

const HOST: &str = "shop.localhost";
/// A file large enough to be unfinished when the first bytes arrive.
const LARGE_BYTES: u32 = 24 * 1024 * 1024;

/// Script for the SHA-256 of the content at a path, as received by the page.
fn fetched(path: &str) -> String {
    format!(
        "(async () => {{
            const answer = await fetch({path:?}, {{ cache: 'no-store' }});
            const digest = await crypto.subtle.digest('SHA-256', await answer.arrayBuffer());
            return [...new Uint8Array(digest)].map(byte => byte.toString(16).padStart(2, '0')).join('');
        }})()"
    )
}

/// Script for the protocols of all resources of the page, and of the page itself.
const PROTOCOLS: &str = "[...new Set(['navigation', 'resource'].flatMap(type => performance.getEntriesByType(type))
    .map(entry => entry.nextHopProtocol))]";

/// Starts a browser that speaks HTTP/3 with the edge at the port of the app.
async fn browser(edge: &Edge, port: u16, profile: &Path) -> Option<Browser> {
    let origin = format!("--origin-to-force-quic-on={HOST}:{port}");
    // For a name below `localhost`, the browser would try only the IPv6 address.
    let address = format!("--host-resolver-rules=MAP {HOST} 127.0.0.1");
    Browser::start_with(Trusted::Key(&spki_of(edge).await), &[HTTP3, &origin, &address], profile).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_is_loaded_over_http3_and_each_of_its_files_is_what_was_pushed() {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/shop/www");
    let (edge, profile) = (edge().start(), tempfile::tempdir().unwrap());
    edge.push("shop", &site);
    let Some(browser) = browser(&edge, edge.https().port(), profile.path()).await else { return };
    let page = browser.open(&edge.url(HOST, "/")).await;
    let report = page.report().await;
    assert_eq!((report.console_errors.clone(), report.failed_requests.clone()), (vec![], vec![]), "{report:?}");
    assert_eq!(page.evaluate(PROTOCOLS).await, json!(["h3"]), "{report:?}");
    for (path, bytes) in files(&site) {
        // Pages redirect to clean addresses; underscore files are not for visitors.
        if path.starts_with('_') {
            continue;
        }
        assert_eq!(page.evaluate(&fetched(&format!("/{path}"))).await, hex(digest(&SHA256, &bytes).as_ref()), "{path}");
    }
    assert_eq!(page.evaluate(PROTOCOLS).await, json!(["h3"]));
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_of_a_browser_goes_on_when_its_network_changes() {
    let (edge, profile, site) = (edge().start(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let large: Vec<u8> = (0..LARGE_BYTES).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let page = "<!doctype html><html lang=en><title>Shop</title><link rel=icon href=data:,><p>Open</p>";
    std::fs::write(site.path().join("index.html"), page).unwrap();
    std::fs::write(site.path().join("large.bin"), &large).unwrap();
    edge.push("shop", site.path());
    let relay = Relay::start(edge.https(), Weather::default()).await;
    let Some(browser) = browser(&edge, relay.address.port(), profile.path()).await else { return };
    let page = browser.open(&format!("https://{HOST}:{}/", relay.address.port())).await;
    assert_eq!(page.report().await.text, "Open");
    page.evaluate(
        "window.parts = []; window.taken = 0; window.moved = false; window.done = (async () => {
            const reader = (await fetch('/large.bin')).body.getReader();
            for (let part; !(part = await reader.read()).done;) {
                parts.push(part.value); taken += part.value.length;
                // The test moves the network here.
                while (taken > 1_000_000 && !moved) await new Promise(resolve => setTimeout(resolve, 10));
            }
        })(); 0",
    )
    .await;
    page.wait_for("window.taken > 1_000_000").await;
    relay.move_clients().await;
    page.evaluate("window.moved = true").await;
    page.evaluate("window.done.then(() => 0)").await;
    let found = "(async () => {
        const digest = await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer());
        return [...new Uint8Array(digest)].map(byte => byte.toString(16).padStart(2, '0')).join('');
    })()";
    assert_eq!(page.evaluate(found).await, hex(digest(&SHA256, &large).as_ref()));
    assert_eq!(page.evaluate(PROTOCOLS).await, json!(["h3"]));
    page.close().await;
}

/// Returns the answers for a client of HTTP/3: status, and SHA-256 of the received body. `None` if not installed.
fn ask_by(client: &str, edge: &Edge, host: &str, requests: &[Value]) -> Option<Vec<(u64, String)>> {
    const IS_MISSING: i32 = 3;
    let job = json!({
        "client": client, "address": edge.https().port(), "host": host, "ca": edge.ca(), "at_once": 32,
        "requests": requests,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.json");
    std::fs::write(&path, job.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/http3-client.py");
    let output = Command::new("python3").arg(script).stdin(File::open(&path).unwrap()).output();
    let output = match output {
        Ok(output) if output.status.code() != Some(IS_MISSING) => output,
        missing => {
            leave_out(&format!("{client} is not installed: {missing:?}"));
            return None;
        }
    };
    assert!(output.status.success(), "{client}: {}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answers.iter().all(|answer| answer["version"] == "3"));
    let answer = |answer: &Value| (answer["status"].as_u64().unwrap(), answer["sha256"].as_str().unwrap().to_owned());
    Some(answers.iter().map(answer).collect())
}

/// Compares the answers for each of these clients with HTTP/2, whose bytes `bytes` compares with the files.
async fn compare(edge: &Edge, host: &str, folder: &Path, clients: &[&str]) {
    let http2 = edge.client(true);
    let paths: Vec<String> = files(folder).into_keys().map(|path| format!("/{}", encoded(&path))).collect();
    let each = paths.iter().flat_map(|path| ["identity", "gzip", "br", "zstd"].map(|coding| (path, coding)));
    let expected = each.clone().map(|(path, coding)| {
        let request = http2.get(edge.url(host, path)).header("accept-encoding", coding);
        async move {
            let answer = request.send().await.unwrap();
            let status = u64::from(answer.status().as_u16());
            (status, hex(digest(&SHA256, &answer.bytes().await.unwrap()).as_ref()))
        }
    });
    let expected: Vec<(u64, String)> = stream::iter(expected).buffered(16).collect().await;
    let request = |(path, coding): (&String, &str)| json!({ "path": path, "headers": [["accept-encoding", coding]] });
    let requests: Vec<Value> = each.map(request).collect();
    for client in clients {
        let Some(answers) = ask_by(client, edge, host, &requests) else { continue };
        for ((answer, expected), request) in answers.iter().zip(&expected).zip(&requests) {
            assert_eq!(answer, expected, "{client}: {request}");
        }
        assert_eq!(answers.len(), expected.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_swagger_and_jupyterlab_is_over_http3_what_it_is_over_http2() {
    let (Some(swagger), Some(lab)) = (inputs::swagger("5.29.0"), inputs::jupyterlab("4.4.8")) else { return };
    let edge = edge().start();
    edge.push("docs", &swagger);
    compare(&edge, "docs.localhost", &swagger, &["curl", "aioquic"]).await;
    edge.push("lab", &lab);
    // For so many files, with the faster client only.
    compare(&edge, "lab.localhost", &lab, &["curl"]).await;
}
