//! curl as an independent client, over both protocols.

use std::process::Command;

use crate::http::site::{shop, text};
use crate::support::RunningEdge;

/// Runs curl and returns stdout; `None` if curl is not installed.
async fn curl(edge: &RunningEdge, arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(edge.ca());
    let port = edge.https().port();
    command.args(["--resolve", &format!("shop.localhost:{port}:127.0.0.1")]).args(arguments);
    let url = |argument: &str| argument.replace("https://shop.localhost", &format!("https://shop.localhost:{port}"));
    let mut again = Command::new("curl");
    again.args(command.get_args().map(|argument| url(argument.to_str().unwrap())));
    let output = match tokio::task::spawn_blocking(move || again.output()).await.unwrap() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "curl is missing");
            eprintln!("left out: curl is missing");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_what_was_pushed() {
    let edge = shop().await;
    for protocol in ["--http1.1", "--http2", "--http1.0"] {
        let Some(plain) = curl(&edge, &[protocol, "https://shop.localhost/lines.txt"]).await else { return };
        assert!(plain == text(250), "{protocol}");
        // curl decodes the requested encodings, at least gzip.
        let unpacked = curl(&edge, &[protocol, "--compressed", "https://shop.localhost/lines.txt"]).await.unwrap();
        assert!(unpacked == text(250), "{protocol}");
        let part = curl(&edge, &[protocol, "--range", "5-9", "https://shop.localhost/lines.txt"]).await.unwrap();
        assert_eq!(part, text(250)[5..=9], "{protocol}");
        let followed = curl(
            &edge,
            &[
                protocol,
                "--location",
                "--write-out",
                "%{http_code} %{num_redirects}",
                "--output",
                "/dev/null",
                "https://shop.localhost//x/%2e%2e/about.html",
            ],
        )
        .await
        .unwrap();
        // However curl normalized the URL, one redirect is enough.
        assert_eq!(String::from_utf8(followed).unwrap(), "200 1", "{protocol}");
        let head = curl(&edge, &[protocol, "--head", "https://shop.localhost/ten.txt"]).await.unwrap();
        assert!(String::from_utf8(head).unwrap().to_ascii_lowercase().contains("content-length: 10"), "{protocol}");
        let code = ["--write-out", "%{http_code}", "--output", "/dev/null"];
        let posted =
            curl(&edge, &[&[protocol, "--data", "a=b", "https://shop.localhost/"][..], &code].concat()).await.unwrap();
        assert_eq!(posted, b"405", "{protocol}");
        let large = "@".to_owned() + concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
        // A large body, announced by `Expect`, to a path that accepts no body.
        let sent =
            curl(&edge, &[&[protocol, "--data-binary", &large, "https://shop.localhost/"][..], &code].concat()).await;
        assert_eq!(sent.unwrap(), b"405", "{protocol}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_revalidates_by_tag_and_by_date() {
    let edge = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (tag, file) = (path("tag"), path("file"));
    let url = "https://shop.localhost/ten.txt";
    let code = ["--write-out", "%{http_code}"];
    for protocol in ["--http1.1", "--http2"] {
        let save = [&[protocol, "--etag-save", &tag, "--remote-time", "--output", &file, url][..], &code].concat();
        let Some(first) = curl(&edge, &save).await else { return };
        assert_eq!(first, b"200");
        let compare = [&[protocol, "--etag-compare", &tag, "--output", "/dev/null", url][..], &code].concat();
        assert_eq!(curl(&edge, &compare).await.unwrap(), b"304", "{protocol}");
        let since = [&[protocol, "--time-cond", &file, "--output", "/dev/null", url][..], &code].concat();
        assert_eq!(curl(&edge, &since).await.unwrap(), b"304", "{protocol}");
        // An interrupted download resumes.
        let rest = curl(&edge, &[protocol, "--continue-at", "4", url]).await.unwrap();
        assert_eq!(rest, b"456789", "{protocol}");
    }
    edge.stop().await;
}
