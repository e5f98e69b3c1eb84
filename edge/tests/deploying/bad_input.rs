//! Invalid requests: each gets a specific error code, leaves no data behind, and the old version keeps serving.

use bytes::Bytes;
use devanture_config::api::{DeployBegun, Scope};
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use futures_util::stream;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Files, Got, RunningEdge, edge, eventually, got, manifest, try_got};

const DEPLOYS: &str = "/v1/apps/shop/environments/prod/deploys";
const FIRST: Files<'_> = &[("index.html", b"first")];

/// Sends a body to the path where pushes begin.
async fn begin(edge: &RunningEdge, media_type: &str, body: impl Into<reqwest::Body>) -> Got {
    got(edge.api(Method::POST, DEPLOYS).header("content-type", media_type).body(body)).await
}

/// Checks that the live version is unchanged, no files are left, and no further version exists.
async fn nothing_has_changed(edge: &RunningEdge) {
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "first");
    assert_eq!(edge.live("shop").await, Some(manifest(FIRST).id()));
    eventually("no temporary file is left", async || edge.leftovers().is_empty()).await;
}

fn with_files(files: impl Iterator<Item = (String, Value)>) -> String {
    json!({"manifest": {"format": 1, "files": files.collect::<serde_json::Map<_, _>>()}}).to_string()
}

#[tokio::test]
async fn a_body_that_is_no_json_or_says_what_nobody_requested_is_distinguished() {
    let edge = edge().with_app("shop", FIRST).start().await;
    let manifest = with_files([("a".to_owned(), json!({"hash": "0".repeat(64), "size": 1}))].into_iter());
    let deep = format!("{{\"manifest\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(&str, Vec<u8>, Code)> = vec![
        ("no JSON", b"manifest=1".to_vec(), Code::BadJson),
        ("cut off", manifest.as_bytes()[..manifest.len() - 1].to_vec(), Code::BadJson),
        ("two values", format!("{manifest}{manifest}").into_bytes(), Code::BadJson),
        ("endless depth", deep.into_bytes(), Code::BadRequest),
        (
            "not UTF-8",
            [&manifest.as_bytes()[..manifest.len() - 1], b",\"source\":{\"message\":\"\xff\"}}"].concat(),
            Code::BadJson,
        ),
        ("an unknown field", manifest.replacen('{', "{\"sauce\": 1, ", 1).into_bytes(), Code::BadRequest),
        ("a wrong type", manifest.replace("\"size\":1", "\"size\":\"1\"").into_bytes(), Code::BadRequest),
        ("a negative size", manifest.replace("\"size\":1", "\"size\":-1").into_bytes(), Code::BadRequest),
        ("a field twice", manifest.replace("\"size\":1", "\"size\":1,\"size\":2").into_bytes(), Code::BadRequest),
        ("a hash that is none", manifest.replace("000", "xyz").into_bytes(), Code::BadRequest),
    ];
    for (what, body, code) in cases {
        assert_eq!(begin(&edge, "application/json", body).await.code(), code, "{what}");
    }
    nothing_has_changed(&edge).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_manifest_of_a_million_files_or_of_a_gigabyte_is_not_taken() {
    // A quarter of the default: a debug build takes half a minute to parse the whole size byte by byte.
    let bytes_max = Limits::default().manifest_bytes_max / 4;
    let edge = edge().with_limit("manifest_bytes_max", bytes_max).with_app("shop", FIRST).start().await;
    let hash = "0".repeat(64);
    // Written as text: building a million JSON values would dominate the test's time.
    let entries = |count: u32| {
        let files: Vec<String> =
            (0..count).map(|number| format!(r#""{number}":{{"hash":"{hash}","size":1}}"#)).collect();
        format!(r#"{{"manifest":{{"format":1,"files":{{{}}}}}}}"#, files.join(","))
    };
    let million = entries(1_000_000);
    assert!(million.len() as u64 > Limits::default().manifest_bytes_max, "too much for the default, too");
    assert_eq!(begin(&edge, "application/json", million).await.code(), Code::TooLarge);
    let too_many = u32::try_from(Limits::default().bundle_files_max).unwrap() + 1;
    // The first request keeps most of the memory budget until the parsed data is freed.
    let (too_many, mut code) = (entries(too_many), Code::Busy);
    eventually("the memory is free again", async || {
        code = begin(&edge, "application/json", too_many.clone()).await.code();
        code != Code::Busy
    })
    .await;
    assert_eq!(code, Code::BundleTooLarge);

    // Without a content length, only reading reveals the size; the edge stops reading long before the end.
    let piece = Bytes::from(vec![b' '; 1024 * 1024]);
    let gigabyte = stream::iter((0..1024).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let request = edge.api(Method::POST, DEPLOYS).header("content-type", "application/json");
    // A client that keeps sending may see the end of the stream before the response.
    if let Ok(answer) = try_got(request.body(reqwest::Body::wrap_stream(gigabyte))).await {
        assert_eq!(answer.code(), Code::TooLarge);
    }
    nothing_has_changed(&edge).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_manifest_that_lies_about_a_hash_or_a_size_is_found_out() {
    let edge = edge().with_app("shop", FIRST).start().await;
    let honest = manifest(&[("index.html", b"second")]);
    let digest = honest.files.values().next().unwrap().hash;
    for (what, size, bytes) in
        [("hash", 6, &b"secund"[..]), ("longer", 6, b"second!"), ("shorter", 6, b"secon"), ("size", 7, b"second")]
    {
        let body = with_files([("index.html".to_owned(), json!({"hash": digest, "size": size}))].into_iter());
        let begun: DeployBegun = begin(&edge, "application/json", body).await.json();
        assert_eq!(begun.missing, [digest], "{what}");
        let put = edge.api(Method::PUT, &format!("/v1/apps/shop/blobs/{digest}?deploy={}", begun.deploy));
        assert_eq!(got(put.body(bytes)).await.code(), Code::BlobMismatch, "{what}");
        let finish = edge.api(Method::POST, &format!("/v1/apps/shop/deploys/{}/finish", begun.deploy));
        assert_eq!(got(finish).await.code(), Code::BlobMissing, "{what}");
    }
    nothing_has_changed(&edge).await;
    edge.stop().await;
}

#[tokio::test]
async fn what_a_token_may_not_do_differs_from_what_is_not_there() {
    let edge = edge().with_app("shop", FIRST).with_app("other", &[("index.html", b"other")]).start().await;
    let ask = async |token: &str, method: Method, path: &str, body: Value| {
        got(edge.ask(method, path, token).json(&body)).await
    };
    let begin = json!({"manifest": manifest(&[("index.html", b"second")])});
    let others = edge.token_for(Scope::Admin, Some("other"), None).await;
    assert_eq!(ask(&others, Method::POST, DEPLOYS, begin.clone()).await.code(), Code::NotFound, "another app's");
    let reader = edge.token_for(Scope::Read, Some("shop"), None).await;
    assert_eq!(ask(&reader, Method::POST, DEPLOYS, begin.clone()).await.code(), Code::Forbidden, "another scope");
    let staging = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    assert_eq!(
        ask(&staging, Method::POST, DEPLOYS, begin.clone()).await.code(),
        Code::Forbidden,
        "another environment"
    );
    assert_eq!(ask("dvt_0_0", Method::POST, DEPLOYS, begin).await.code(), Code::BadToken, "none");

    let promote = "/v1/apps/shop/environments/prod/promote";
    let empty = got(edge.api(Method::POST, promote).json(&json!({"from": "staging"}))).await;
    assert_eq!((empty.status, empty.code()), (StatusCode::NOT_FOUND, Code::NothingLive));
    let rollback = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/rollback")).await;
    assert_eq!(rollback.code(), Code::NoPrevious);
    let unknown = json!({"version": "0123456789"});
    let switch = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/switch").json(&unknown)).await;
    assert_eq!(switch.code(), Code::NotFound);

    let host = "hostnames/www.example.org";
    assert_eq!(
        got(edge.api(Method::PUT, &format!("/v1/apps/other/environments/prod/{host}"))).await.status,
        StatusCode::OK
    );
    let admin = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let taken = got(edge.ask(Method::PUT, &format!("/v1/apps/shop/environments/prod/{host}"), &admin)).await;
    assert_eq!(taken.code(), Code::HostnameTaken);
    nothing_has_changed(&edge).await;
    edge.stop().await;
}

#[tokio::test]
async fn what_would_speak_to_a_terminal_is_no_message() {
    let edge = edge().with_app("shop", FIRST).start().await;
    for source in [json!({"message": "\u{1b}[2Jhello"}), json!({"branch": "main\nFAKE"}), json!({"url": "a\u{7}"})] {
        let body = json!({"manifest": manifest(&[("index.html", b"second")]), "source": source});
        assert_eq!(begin(&edge, "application/json", body.to_string()).await.code(), Code::BadRequest, "{source}");
    }
    let query = format!("{DEPLOYS}?message=%1b%5b2J");
    let archive = edge.api(Method::POST, &query).header("content-type", "application/gzip").body("none");
    assert_eq!(got(archive).await.code(), Code::BadRequest);
    let body = json!({"manifest": manifest(&[("index.html", b"second")]), "source": {"message": "One\n\nTwo\tthree"}});
    assert_eq!(begin(&edge, "application/json", body.to_string()).await.status, StatusCode::CREATED);
    nothing_has_changed(&edge).await;
    edge.stop().await;
}

#[tokio::test]
async fn without_a_token_nothing_of_a_request_is_looked_at() {
    let edge = edge().with_app("shop", FIRST).start().await;
    let ask = async |path: &str| {
        let request = edge.client().get(format!("https://{}{path}", edge.admin()));
        got(request.header("content-digest", "x")).await.status
    };
    assert_eq!(ask("/v1/apps/shop/aliases").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("/health/live").await, StatusCode::OK);
    edge.stop().await;
}
