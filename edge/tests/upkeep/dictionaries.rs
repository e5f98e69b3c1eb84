//! Deltas on the disk: of pushed files, for visitors of earlier live versions.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use devanture_config::Digest;
use http::Method;
use serde_json::{Value, json};

use crate::support::{RunningEdge, edge, eventually, got};
use crate::upkeep::api;
use crate::wire::{ask, protocols};

/// First bytes of a Zstandard delta (RFC 9842 §5), before the SHA-256 of the dictionary.
const DCZ_MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0];

/// Script of which each release changes one line.
fn script(release: usize) -> Vec<u8> {
    let hash = |line: usize| Digest::of(&line.to_le_bytes());
    let line =
        |line: usize| format!("export const f{line} = \"{}{}\";\n", hash(line), if line == release { "!" } else { "" });
    (0..500).map(line).collect::<String>().into_bytes()
}

/// Stored Zstandard delta from one file to another, if any.
fn stored(edge: &RunningEdge, dictionary: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    let name = Digest::of(bytes).to_string();
    let file = format!("deltas/{}/{name}.{}.dcz", &name[..2], Digest::of(dictionary));
    std::fs::read(Path::new(&edge.data_dir()).join(file)).ok()
}

#[track_caller]
fn decodes(delta: &[u8], dictionary: &[u8], bytes: &[u8]) {
    let (magic, rest) = delta.split_at(DCZ_MAGIC.len());
    let (named, stream) = rest.split_at(32);
    assert_eq!((magic, named), (&DCZ_MAGIC[..], digest(&SHA256, dictionary).as_ref()));
    let mut decompressor = zstd::bulk::Decompressor::with_dictionary(dictionary).unwrap();
    assert!(decompressor.decompress(stream, bytes.len()).unwrap() == bytes, "it decodes to something else");
}

#[tokio::test]
async fn a_push_leaves_deltas_for_visitors_of_the_version_before_and_a_rollback_for_those_of_the_one_after() {
    let edge = edge().with_limit("delta_ms_max", 600_000).start().await;
    let (one, two) = (script(1), script(2));
    let first = edge.push("shop", &[("index.html", b"home"), ("a/app-3f2a91bc.js", &one)]).await;
    let second = edge.push("shop", &[("index.html", b"home"), ("a/app-77c01d2e.js", &two)]).await;
    let delta = stored(&edge, &one, &two).unwrap();
    decodes(&delta, &one, &two);
    assert!(delta.len() * 20 < two.len(), "{}", delta.len());
    let returning = second.returning.unwrap();
    assert!(returning.plain_bytes > 10 * returning.bytes, "{returning:?}");
    // Whatever is recompressed after the switch, a visitor without a dictionary gets the file.
    assert_eq!(edge.get("shop.localhost", "/a/app-77c01d2e.js").await.text().into_bytes(), two);

    let diff: Value =
        api(&edge, Method::GET, &format!("diff?from={}&to=live", first.version), Value::Null).await.json();
    assert!(diff["visitors"]["with_dictionaries"].as_u64().unwrap() <= returning.bytes, "{diff}");

    assert_eq!(api(&edge, Method::POST, "environments/prod/rollback", json!({})).await.status, 200);
    eventually("the delta back is made", async || stored(&edge, &two, &one).is_some()).await;
    decodes(&stored(&edge, &two, &one).unwrap(), &two, &one);
    edge.stop().await;
}

#[tokio::test]
async fn where_dictionaries_are_off_no_delta_is_made_and_nothing_is_reported_of_any() {
    let edge = edge().with_toml("[compress]\ndictionaries = false").start().await;
    edge.push("shop", &[("app-3f2a91bc.js", &script(1))]).await;
    let second = edge.push("shop", &[("app-77c01d2e.js", &script(2))]).await;
    assert_eq!(second.returning, None);
    assert_eq!(stored(&edge, &script(1), &script(2)), None);
    edge.stop().await;
}

/// Value of a sample, such as `name{label="value"}`.
async fn sample(edge: &RunningEdge, name: &str) -> u64 {
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delta_that_is_stored_is_what_comes_over_a_socket_and_is_counted() {
    // Without the best level, which would replace the delta by a smaller delta at some time.
    let toml = "[compress]\nbackground = false";
    let edge = edge().in_a_process().with_limit("delta_ms_max", 600_000).with_toml(toml).start().await;
    let (one, two) = (script(1), script(2));
    edge.push("shop", &[("a/app-3f2a91bc.js", &one)]).await;
    edge.push("shop", &[("a/app-77c01d2e.js", &two)]).await;
    let delta = stored(&edge, &one, &two).unwrap();
    let named = base64::engine::general_purpose::STANDARD.encode(digest(&SHA256, &one));
    for (count, protocol) in (1..).zip(protocols(&edge)) {
        let visit = ask("/a/app-77c01d2e.js").with("Accept-Encoding", "br, zstd, dcz");
        let plain = visit.clone().send(&edge, protocol).await;
        let answer = visit.with("Available-Dictionary", format!(":{named}:")).send(&edge, protocol).await;
        assert_eq!((answer.status, answer.header("content-encoding").as_str()), (200, "dcz"), "{protocol:?}");
        assert_eq!(answer.header("vary"), "accept-encoding, available-dictionary");
        assert_eq!(answer.header("content-length"), delta.len().to_string());
        assert!(answer.body == delta, "{protocol:?}: other bytes than those that are stored");
        assert_ne!(answer.header("etag"), plain.header("etag"));

        let answers = sample(&edge, "devanture_delta_answers_total{app=\"shop\",form=\"dcz\"}").await;
        let saved = sample(&edge, "devanture_delta_saved_bytes_total{app=\"shop\"}").await;
        assert_eq!((answers, saved), (count, count * (plain.body.len() - delta.len()) as u64));
    }
    edge.stop().await;
}

/// Response for a visitor with `dictionary` for the file at `path`.
async fn with_dictionary(edge: &RunningEdge, path: &str, dictionary: &[u8]) -> crate::upkeep::Got {
    let hash = base64::engine::general_purpose::STANDARD.encode(digest(&SHA256, dictionary));
    let visit = edge.visit(Method::GET, "shop.localhost", path);
    got(visit.header("accept-encoding", "br, dcz").header("available-dictionary", format!(":{hash}:"))).await
}

#[tokio::test]
async fn a_delta_without_room_in_memory_is_sent_from_the_disk_and_what_is_not_sent_is_counted() {
    let toml = "[compress]\nbackground = false";
    let edge = edge().with_limit("delta_ms_max", 600_000).with_limit("memory_bytes_max", 0).with_toml(toml);
    let edge = edge.in_a_process().start().await;
    let (one, two) = (script(1), script(2));
    edge.push("shop", &[("index.html", b"home"), ("a/app-3f2a91bc.js", &one)]).await;
    let second = edge.push("shop", &[("index.html", b"home"), ("a/app-77c01d2e.js", &two)]).await;
    let delta = stored(&edge, &one, &two).unwrap();
    let sent = with_dictionary(&edge, "/a/app-77c01d2e.js", &one).await;
    assert_eq!(sent.headers["content-encoding"], "dcz");
    assert!(sent.body == delta);
    let returning = second.returning.unwrap();
    assert!(returning.plain_bytes > 10 * returning.bytes, "{returning:?}");
    let misses = |reason: &str| format!("devanture_delta_misses_total{{reason=\"{reason}\"}} ");
    let before = sample(&edge, &misses("not_made")).await;
    assert_eq!(with_dictionary(&edge, "/a/app-77c01d2e.js", b"unknown").await.headers["content-encoding"], "br");
    assert_eq!(sample(&edge, &misses("not_made")).await, before + 1);

    // A damaged delta is neither sent nor reported.
    let name = Digest::of(&two).to_string();
    let folder = edge.data_dir().join("deltas").join(&name[..2]);
    let left_out = "devanture_deltas_left_out_total{reason=\"damaged\"} ";
    let before = sample(&edge, left_out).await;
    for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|ending| ending != "index") {
            let length = std::fs::metadata(&file).unwrap().len();
            devanture_base::durable::write_file(&file, &vec![0; usize::try_from(length).unwrap()], 0o600).unwrap();
        }
    }
    let edge = edge.restart().await;
    let sent = with_dictionary(&edge, "/a/app-77c01d2e.js", &one).await;
    // An intact delta may have been created by now.
    assert!(sent.headers["content-encoding"] == "br" || sent.body == delta, "{:?}", sent.headers);
    assert!(sample(&edge, left_out).await > before);
    edge.stop().await;
}
