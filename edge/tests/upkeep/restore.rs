//! Documented restore: a backup may omit variants and deltas.

#![allow(clippy::disallowed_methods, reason = "what a test removes is not durable")]

use http::Method;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};

use crate::support::{RunningEdge, edge, eventually, got};

const HOST: &str = "shop.localhost";

async fn coding(edge: &RunningEdge, path: &str, accepted: &str) -> Option<String> {
    let got = got(edge.visit(Method::GET, HOST, path).header(ACCEPT_ENCODING, accepted)).await;
    got.headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap().to_owned())
}

async fn is_compressed_again_after_a_restore(toml: &str) {
    let edge = edge().with_toml(toml).start().await;
    let (page, script) = ("<p>home\n".repeat(100), "const greeting = 'hello';\n".repeat(200));
    // An incompressible file, and a file with a bundled encoding.
    let digits: String = (0..=200_u8).map(|n| char::from(33 + (n.wrapping_mul(97) % 90))).collect();
    let files: [(&str, &[u8]); 3] =
        [("index.html", page.as_bytes()), ("app.js", script.as_bytes()), ("digits.txt", digits.as_bytes())];
    edge.push("shop", &files).await;
    assert_eq!(coding(&edge, "/app.js", "br").await.as_deref(), Some("br"));
    // The edge may be writing better variants at this moment.
    let variants = edge.data_dir().join("variants");
    eventually("the variants are removed", async || std::fs::remove_dir_all(&variants).is_ok()).await;
    let edge = edge.restart().await;
    for accepted in ["br", "gzip", "zstd"] {
        for path in ["/", "/app.js"] {
            let is_compressed = async || coding(&edge, path, accepted).await.as_deref() == Some(accepted);
            eventually("it is compressed again", is_compressed).await;
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_that_a_backup_lacks_are_made_again_by_themselves() {
    is_compressed_again_after_a_restore("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_made_again_without_the_background_pass_and_without_dictionaries() {
    is_compressed_again_after_a_restore("[compress]\nbackground = false\ndictionaries = false\n").await;
}
