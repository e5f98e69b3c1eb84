//! Contradictory manifests, and too many manifests at once.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::Digest;
use devanture_config::api::BeginDeploy;
use devanture_config::problem::Code;
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{RunningEdge, edge, got, manifest, try_got};

const MEBIBYTE: u64 = 1024 * 1024;
/// Number of concurrent manifests, and the length of each.
const MANIFESTS: usize = 16;
const MANIFEST_BYTES: usize = 8 * 1024 * 1024;

/// Files of compared versions, and the number of concurrent comparisons.
const COMPARED_FILES: usize = 1_000;
const COMPARISONS: usize = 32;

/// First `bytes` bytes of a manifest of files, without the end.
fn files(bytes: usize) -> String {
    let hash = Digest::of(b"");
    let mut text = "{\"manifest\":{\"format\":1,\"files\":{".to_owned();
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        write!(text, "\"{number}\":{{\"hash\":\"{hash}\",\"size\":0}},").unwrap();
    }
    text
}

fn begin(edge: &RunningEdge, app: &str) -> RequestBuilder {
    let path = format!("/v1/apps/{app}/environments/prod/deploys");
    edge.api(Method::POST, &path).header("content-type", "application/json")
}

/// Body of the given bytes that ends once `end` has a permit.
fn held_open(text: &str, end: Arc<Semaphore>) -> reqwest::Body {
    let chunks: Vec<Bytes> = text.as_bytes().chunks(64 * 1024).map(Bytes::copy_from_slice).collect();
    let last = stream::once(async move {
        end.acquire().await.unwrap().forget();
        Bytes::new()
    });
    reqwest::Body::wrap_stream(stream::iter(chunks).chain(last).map(Ok::<_, std::io::Error>))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_that_come_in_share_a_budget_of_memory_and_other_apps_go_on() {
    let budget = 32 * MEBIBYTE;
    let edge = edge()
        .in_a_process()
        .with_limit("manifest_memory_bytes_max", budget)
        .with_app("shop", &[("index.html", b"hi")])
        .start()
        .await;
    edge.push("blog", &[("index.html", b"hi")]).await;
    edge.process().rests().await;
    let mark = edge.process().mark();
    let (text, end) = (files(MANIFEST_BYTES), Arc::new(Semaphore::new(0)));
    let mut sent = JoinSet::new();
    for _ in 0..MANIFESTS {
        sent.spawn(try_got(begin(&edge, "shop").body(held_open(&text, Arc::clone(&end)))));
    }
    // A manifest of this length uses the budget of all manifests: no second manifest is read at the same time.
    for _ in 1..MANIFESTS {
        let Ok(refused) = sent.join_next().await.unwrap().unwrap() else { continue };
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
        assert!(!refused.header("retry-after").is_empty() && refused.code() == Code::Busy, "{}", refused.text());
    }
    edge.push("blog", &[("index.html", b"hi again")]).await;
    end.add_permits(MANIFESTS);
    while let Some(last) = sent.join_next().await {
        assert!(last.unwrap().is_ok_and(|last| !last.status.is_success()));
    }
    let grown = edge.process().grown_since(mark);
    assert!(grown < 2 * budget, "{MANIFESTS} manifests took {} MiB", grown / MEBIBYTE);
    // The memory is free again.
    edge.push("shop", &[("index.html", b"hi again")]).await;
    edge.stop().await;
}

/// Whatever the number of requests for long manifests, few manifests are in memory, and the API keeps answering.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_look_at_long_manifests_at_once_take_little_more_memory_than_a_few() {
    let edge = edge().in_a_process().with_app("blog", &[("index.html", b"hi")]).start().await;
    let files = |version: usize| {
        // Long names rather than many files; a comparison looks up each name.
        let long = format!("{}/", "a".repeat(200)).repeat(15);
        (0..COMPARED_FILES).map(|number| format!("{long}-{version}/{number}.txt")).collect::<Vec<String>>()
    };
    let mut versions = Vec::new();
    for version in 0..2 {
        let names = files(version);
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"hi"[..])).collect();
        versions.push(edge.push("shop", &files).await.version);
    }
    edge.process().rests().await;
    let mark = edge.process().mark();
    let path = format!("/v1/apps/shop/diff?from={}&to={}&limit=1", versions[0], versions[1]);
    let mut sent = JoinSet::new();
    for _ in 0..COMPARISONS {
        sent.spawn(got(edge.api(Method::GET, &path)));
    }
    let other = got(edge.api(Method::GET, "/v1/apps/blog/environments/prod")).await;
    assert_eq!(other.status, StatusCode::OK, "{}", other.text());
    while let Some(compared) = sent.join_next().await {
        let compared = compared.unwrap();
        assert_eq!(compared.status, StatusCode::OK, "{}", compared.text());
    }
    let grown = edge.process().grown_since(mark);
    assert!(grown < 192 * MEBIBYTE, "{COMPARISONS} comparisons took {} MiB", grown / MEBIBYTE);
    edge.stop().await;
}

#[tokio::test]
async fn settings_that_take_far_more_than_their_text_are_refused_before_they_are_read() {
    let edge = edge().in_a_process().with_app("shop", &[("index.html", b"hi")]).start().await;
    edge.process().rests().await;
    let mark = edge.process().mark();
    let many = |item: &dyn Fn(usize) -> String, count| (0..count).map(item).collect::<Vec<_>>().join(",");
    let tables = many(&|number| format!("\"place-{number}\":{{}}"), 1_000_000);
    let fewer = many(&|number| format!("\"place-{number}\":{{}}"), 100_000);
    let redirects = many(&|_| "{\"from\":\"/\",\"to\":\"/\"}".to_owned(), 500_000);
    for (settings, expected) in [
        (format!("\"env\":{{{tables}}}"), "manifest_settings_bytes_max"),
        (format!("\"env\":{{{fewer}}}"), "100000 tables"),
        (format!("\"base\":{{\"redirects\":[{redirects}]}}"), "manifest_settings_bytes_max"),
    ] {
        let text = format!("{{\"manifest\":{{\"format\":1,\"files\":{{}},{settings}}}}}");
        let refused = got(begin(&edge, "shop").body(text)).await;
        assert_eq!(refused.code(), Code::BadManifest);
        assert!(refused.text().contains(expected), "{}", refused.text());
    }
    let grown = edge.process().grown_since(mark);
    assert!(grown < 96 * MEBIBYTE, "the settings took {} MiB", grown / MEBIBYTE);
    edge.stop().await;
}

#[tokio::test]
async fn a_manifest_that_never_ends_is_given_up() {
    let edge = edge().with_limit("manifest_ms_max", 1_000).start().await;
    let (text, end) = (files(MANIFEST_BYTES / 8), Arc::new(Semaphore::new(0)));
    let refused = got(begin(&edge, "shop").body(held_open(&text, end))).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (408, Code::BodyStalled));
    assert!(refused.text().contains("manifest_ms_max"), "{}", refused.text());
    edge.stop().await;
}

#[tokio::test]
async fn a_mistake_in_a_long_manifest_is_reported_while_it_comes() {
    let edge = edge().start().await;
    let end = Arc::new(Semaphore::new(0));
    let wrong = files(MANIFEST_BYTES / 8).replacen("\"size\":0", "\"size\":-1", 20);
    let refused = got(begin(&edge, "shop").body(held_open(&wrong, end))).await;
    assert_eq!(refused.code(), Code::BadRequest);
    assert!(refused.text().contains("invalid value"), "{}", refused.text());
    let short = got(begin(&edge, "shop").body(files(MANIFEST_BYTES / 8))).await;
    assert_eq!(short.code(), Code::BadJson);
    edge.stop().await;
}

/// A manifest's size of a file becomes `content-length`. A second size for the same bytes would put the next response
/// of the connection in place of the rest of the body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hash_with_two_sizes_is_refused_with_both_paths_and_sizes() {
    let edge = edge().start().await;
    let text = "2,200 bytes".repeat(200).into_bytes();
    let files: [(&str, &[u8]); 3] = [("index.html", b"hi"), ("a.txt", &text), ("b.txt", &text)];
    for wrong in ["a.txt", "b.txt"] {
        let mut manifest = manifest(&files);
        manifest.files.get_mut(wrong).unwrap().size = 6_600;
        let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
        let problem = edge.try_push("shop", "prod", begin, &files).await.unwrap_err();
        assert_eq!(problem.code, Code::BadManifest, "{problem:?}");
        for part in ["`a.txt`", "`b.txt`", "2200", "6600"] {
            assert!(problem.detail.contains(part), "{part}: {}", problem.detail);
        }
    }
    // The same mistake with bytes already stored, of which only one size is given.
    edge.push("shop", &files).await;
    let mut manifest = manifest(&files[..2]);
    manifest.files.get_mut("a.txt").unwrap().size = 6_600;
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    let problem = edge.try_push("shop", "prod", begin, &files).await.unwrap_err();
    assert!(matches!(problem.code, Code::BadManifest | Code::BlobMismatch), "{problem:?}");
    assert_eq!(edge.get("shop.localhost", "/b.txt").await.body, text);
    edge.stop().await;
}

/// JSON parsers differ in the choice between two equal names, so that a reviewed bundle could differ from the served
/// bundle.
#[tokio::test]
async fn what_is_named_twice_is_refused_with_its_name() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let file = |bytes: &[u8]| format!("{{\"hash\":\"{}\",\"size\":{}}}", Digest::of(bytes), bytes.len());
    let (hi, other) = (file(b"hi"), file(b"other"));
    // A long manifest is parsed as a stream, a short manifest in one piece.
    let many = |count: usize| (0..count).fold(String::new(), |text, number| text + &format!("\"{number}\":{hi},"));
    for count in [0, 2_000] {
        let files = format!("{}\"index.html\":{hi},\"b/index.html\":{hi},\"index.html\":{other}", many(count));
        let body = format!("{{\"manifest\":{{\"format\":1,\"files\":{{{files}}}}}}}");
        let refused = got(begin(&edge, "shop").body(body)).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::UNPROCESSABLE_ENTITY, Code::DuplicatePath));
        assert_eq!(refused.problem().detail, "`index.html` is named twice.");
    }
    let settings = "\"env\":{\"prod\":{\"not_found\":\"none\"},\"prod\":{}}";
    let body = format!("{{\"manifest\":{{\"format\":1,\"files\":{{\"a\":{hi}}},{settings}}}}}");
    let refused = got(begin(&edge, "shop").body(body)).await;
    assert_eq!(refused.code(), Code::BadRequest);
    assert!(refused.text().contains("`prod` is named twice"), "{}", refused.text());
    // All other bodies of the API: the maps inside, and the members of the body.
    let set = "{\"set\":{\"A\":{\"value\":\"1\"},\"A\":{\"value\":\"2\"}}}";
    let scale = "{\"processes\":{\"web\":1,\"web\":2}}";
    let token = "{\"name\":\"a\",\"scope\":\"read\",\"scope\":\"admin\"}";
    for (method, path, body, expected) in [
        (Method::PATCH, "apps/shop/environments/prod/settings", set, "stands twice"),
        (Method::PATCH, "apps/shop/environments/prod/instances", scale, "`web` is named twice"),
        (Method::POST, "tokens", token, "`scope`"),
    ] {
        let request = edge.api(method, &format!("/v1/{path}")).header("content-type", "application/json");
        let refused = got(request.body(body)).await;
        assert_eq!(refused.code(), Code::BadRequest, "{path}: {}", refused.text());
        assert!(refused.text().contains(expected), "{path}: {}", refused.text());
    }
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "hi");
    edge.stop().await;
}

#[tokio::test]
async fn a_form_that_names_a_field_twice_is_refused() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let field =
        |name: &str, text: &str| format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    let form = field("message", "one") + &field("message", "two") + "--x--\r\n";
    let path = "/v1/apps/shop/environments/prod/deploys";
    let request = edge.api(Method::POST, path).header("content-type", "multipart/form-data; boundary=x");
    let refused = got(request.body(form)).await;
    assert_eq!(refused.code(), Code::BadRequest);
    assert_eq!(refused.problem().detail, "The form has two fields `message`.");
    edge.stop().await;
}
