//! Large files: compressed up to a limit, and reported by the push above the limit.

use http::Method;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};

use crate::support::{edge, got};

#[tokio::test]
async fn files_above_the_limit_are_sent_as_they_are_and_the_push_says_so() {
    let edge = edge().with_limit("compress_file_bytes_max", 10_000).start().await;
    let (small, large) = ("const a = 1;\n".repeat(500), "const a = 1;\n".repeat(1_000));
    let files: [(&str, &[u8]); 2] = [("small.js", small.as_bytes()), ("large.js", large.as_bytes())];
    let report = edge.push("shop", &files).await;
    let step = report.steps.iter().find(|step| step.name == "compress").unwrap();
    assert!(step.detail.ends_with("1 above 10000 bytes (compress_file_bytes_max) left as they are"), "{step:?}");
    for (path, coding) in [("/small.js", Some("br")), ("/large.js", None)] {
        let got = got(edge.visit(Method::GET, "shop.localhost", path).header(ACCEPT_ENCODING, "br")).await;
        assert_eq!(got.headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap()), coding, "{path}");
    }
    edge.stop().await;
}
