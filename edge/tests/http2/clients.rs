//! Independent clients: curl, h2load and the crate h2.

use std::process::{Output, Stdio};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Request;
use tokio::process::Command;

use crate::http2::world::{BIG_BYTES, FRONT_PAGE, World, big};

/// Prints the skipped subject; fails where every tool is required.
pub(crate) fn leave_out(what_is_missing: &str) {
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "{what_is_missing}");
    eprintln!("left out: {what_is_missing}");
}

/// Runs a tool, if installed.
pub(crate) async fn run(tool: &str, arguments: &[&str]) -> Option<Output> {
    run_with(tool, arguments, Stdio::null()).await
}

/// Runs a tool with standard input, if installed.
pub(crate) async fn run_with(tool: &str, arguments: &[&str], stdin: Stdio) -> Option<Output> {
    let command = Command::new(tool).args(arguments).stdin(stdin).kill_on_drop(true).output();
    match tokio::time::timeout(crate::http2::wire::PATIENCE * 6, command).await.expect("the tool ends") {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            leave_out(&format!("{tool} is not installed"));
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_files_uploads_and_both_on_one_connection() {
    let world = World::start().await;
    let port = world.edge.https().port();
    let (ca, resolve) = (world.edge.ca(), format!("shop.localhost:{port}:127.0.0.1"));
    let common = ["--silent", "--show-error", "--http2", "--cacert", ca.to_str().unwrap(), "--resolve", &resolve];
    let url = |path: &str| format!("https://shop.localhost:{port}{path}");
    let format = "\n%{http_version} %{http_code} %{num_connects} %{size_download}";

    let (page, big) = (url("/"), url("/big.bin"));
    let mut arguments = common.to_vec();
    arguments.extend(["--write-out", format, &page]);
    let Some(output) = run("curl", &arguments).await else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = format!("{}\n2 200 1 {}", str::from_utf8(FRONT_PAGE).unwrap(), FRONT_PAGE.len());
    assert_eq!(text, expected, "{}", String::from_utf8_lossy(&output.stderr));

    // The second transfer reuses the connection of the first.
    let mut arguments = common.to_vec();
    arguments.extend(["--write-out", format, "--output", "/dev/null", &big, "--output", "/dev/null", &page]);
    let text = String::from_utf8(run("curl", &arguments).await.unwrap().stdout).unwrap();
    assert_eq!(text, format!("\n2 200 1 {BIG_BYTES}\n2 200 0 {}", FRONT_PAGE.len()));

    let echo = url("/api/echo");
    let body = "b".repeat(100_000);
    let mut arguments = common.to_vec();
    arguments.extend(["--data-binary", &body, &echo]);
    let output = run("curl", &arguments).await.unwrap();
    assert!(output.stdout == body.as_bytes(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut arguments = common.to_vec();
    arguments.extend(["--head", &big]);
    let text = String::from_utf8(run("curl", &arguments).await.unwrap().stdout).unwrap();
    assert!(text.starts_with("HTTP/2 200") && text.contains(&format!("content-length: {BIG_BYTES}")), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_heads_and_ranges_and_uploads_some_megabytes_over_both_protocols() {
    let world = World::start().await;
    let port = world.edge.https().port();
    let (ca, resolve) = (world.edge.ca(), format!("shop.localhost:{port}:127.0.0.1"));
    let url = |path: &str| format!("https://shop.localhost:{port}{path}");
    let (file, echo) = (url("/big.bin"), url("/api/echo"));
    // Binary data larger than every window.
    let sent: Vec<u8> = big().repeat(20);
    let folder = tempfile::tempdir().unwrap();
    let upload = folder.path().join("upload.bin");
    std::fs::write(&upload, &sent).unwrap();
    let body = format!("@{}", upload.to_str().unwrap());
    for protocol in ["--http2", "--http1.1"] {
        let common = ["--silent", "--show-error", protocol, "--cacert", ca.to_str().unwrap(), "--resolve", &resolve];
        let curl = async |arguments: &[&str]| run("curl", &[&common, arguments].concat()).await;
        let Some(output) = curl(&["--data-binary", &body, &echo]).await else { return };
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.stdout == sent, "{protocol}: {} bytes, {stderr}", output.stdout.len());
        // A body of unknown length, and a body sent after 100 Continue.
        for more in ["Transfer-Encoding: chunked", "Expect: 100-continue"] {
            let output = curl(&["--header", more, "--upload-file", upload.to_str().unwrap(), &echo]).await.unwrap();
            assert!(output.stdout == sent, "{protocol}, {more}: {} bytes", output.stdout.len());
        }
        for (range, part) in [("0-9", 0..=9), ("100000-200000", 100_000..=200_000), ("-5", 299_995..=299_999)] {
            let output = curl(&["--range", range, &file]).await.unwrap();
            assert!(output.stdout == big()[part], "{protocol}, {range}: {} bytes", output.stdout.len());
        }
        let output = curl(&["--head", "--range", "0-9", &file]).await.unwrap();
        let head = String::from_utf8(output.stdout).unwrap().to_ascii_lowercase();
        assert!(head.contains(&format!("content-length: {BIG_BYTES}")), "{protocol}: {head}");
        // A file, an upload and another file on one connection.
        let (page, format) = (url("/"), "%{http_code} %{num_connects}\n");
        let files = ["--output", "/dev/null", "--write-out", format, &page];
        let posting = ["--next", "--output", "/dev/null", "--write-out", format, "--data-binary", &body, &echo];
        let again = [&["--next"], &common[..], &files].concat();
        let posting = [&posting[..1], &common, &posting[1..]].concat();
        let output = curl(&[&files[..], &posting, &again].concat()).await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "200 1\n200 0\n200 0\n", "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2load_has_every_request_answered() {
    let world = World::start().await;
    let address = format!("--connect-to={}", world.edge.https());
    let port = world.edge.https().port();
    // Many small files, some large files, large files with windows of 16 KiB, requests for a backend; the last runs use
    // HTTP/1.1 with sequential requests.
    let runs: [(&str, &str, &[&str]); 6] = [
        ("2000", "", &["-c8", "-m16"]),
        ("3000", "", &["-c4", "-m50"]),
        ("60", "big.bin", &["-c4", "-m10"]),
        ("20", "big.bin", &["-c4", "-w14"]),
        ("500", "api/fields", &["-c4", "-m16"]),
        ("2000", "", &["-c8", "--h1"]),
    ];
    for (requests, path, more) in runs {
        let url = format!("https://shop.localhost:{port}/{path}");
        let common = ["-n", requests, "-t1", &address];
        let Some(output) = run("h2load", &[&common, more, &[&url]].concat()).await else { return };
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.starts_with("requests:")).unwrap_or_default();
        assert!(line.contains(&format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout")), "{text}");
        assert!(text.contains(&format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{text}");
        let protocol = if more.contains(&"--h1") { "http/1.1" } else { "h2" };
        let text = format!("Application protocol: {protocol}");
        assert!(text.lines().any(|line| line.starts_with(&text)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_h2_crate_has_every_request_answered_through_small_windows() {
    let world = World::start().await;
    for (window, requests) in [(1_000, 16), (65_535, 80), (10_000_000, 80)] {
        let io = world.tls_for("h2").await;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
        let (client, connection) = builder.handshake::<_, Bytes>(io).await.unwrap();
        let driver = tokio::spawn(connection);
        let ask = async |number: usize| {
            let mut client = client.clone().ready().await.unwrap();
            // Files of both sizes, a missing file, and a backend that echoes bodies.
            let (path, is_upload) =
                [("/", false), ("/big.bin", false), ("/none", false), ("/api/echo", true)][number % 4];
            let request = Request::builder().method(if is_upload { "POST" } else { "GET" });
            let request = request.uri(format!("https://shop.localhost{path}")).body(()).unwrap();
            let (response, mut body) = client.send_request(request, !is_upload).unwrap();
            let sent = vec![b'u'; 5_000];
            if is_upload {
                body.send_data(sent.clone().into(), true).unwrap();
            }
            let (head, mut body) = response.await.unwrap().into_parts();
            let mut got = Vec::new();
            while let Some(part) = body.data().await {
                let part = part.unwrap();
                got.extend_from_slice(&part);
                body.flow_control().release_capacity(part.len()).unwrap();
            }
            match path {
                "/" => assert_eq!((head.status.as_u16(), &got[..]), (200, FRONT_PAGE)),
                "/big.bin" => assert!(got == big(), "{} bytes", got.len()),
                "/none" => assert_eq!(head.status.as_u16(), 404),
                _ => assert!(got == sent, "{} bytes", got.len()),
            }
        };
        let answers = futures_util::stream::iter(0..requests).map(ask).buffer_unordered(32).collect::<Vec<()>>();
        assert_eq!(
            tokio::time::timeout(crate::http2::wire::PATIENCE * 6, answers).await.expect("all answers").len(),
            requests
        );
        driver.abort();
    }
}
