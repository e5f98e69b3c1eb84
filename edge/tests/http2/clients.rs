//! Clients that others have made: curl and h2load.

use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::world::{BIG_BYTES, FRONT_PAGE, World};

/// Says what is not tested, for lack of something; fails where nothing may be missing.
fn leave_out(what_is_missing: &str) {
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "{what_is_missing}");
    eprintln!("left out: {what_is_missing}");
}

/// Runs a tool, if it is there.
async fn run(tool: &str, arguments: &[&str]) -> Option<Output> {
    let command = Command::new(tool).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(crate::wire::PATIENCE * 6, command).await.expect("the tool ends") {
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

    // The second transfer finds the connection of the first.
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
async fn h2load_has_every_request_answered() {
    let world = World::start().await;
    let address = format!("--connect-to={}", world.edge.https());
    let port = world.edge.https().port();
    // Many small ones, some large ones, and large ones through windows of 16 KiB.
    for (requests, path, more) in [("3000", "", "-m50"), ("60", "big.bin", "-m10"), ("20", "big.bin", "-w14")] {
        let url = format!("https://shop.localhost:{port}/{path}");
        let Some(output) = run("h2load", &["-n", requests, "-c4", "-t1", more, &address, &url]).await else { return };
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.starts_with("requests:")).unwrap_or_default();
        assert!(line.contains(&format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout")), "{text}");
        assert!(text.lines().any(|line| line.starts_with("Application protocol: h2")), "{text}");
    }
}
