//! Served bytes equal pushed bytes: every file, in every encoding, over both protocols.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use futures_util::{StreamExt as _, stream};

use crate::support::edge::{Edge, edge, files};
use crate::support::inputs;

/// Requests under way at once.
const AT_ONCE: usize = 16;

fn decoded(coding: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        None => plain.extend_from_slice(body),
        Some("br") => drop(brotli::Decompressor::new(body, 64 * 1024).read_to_end(&mut plain).unwrap()),
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap()),
        Some("zstd") => plain = zstd::decode_all(body).unwrap(),
        Some(other) => panic!("nobody asked for {other}"),
    }
    plain
}

/// Percent-encodes a path as a browser would.
pub(super) fn encoded(path: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~/@!$&'()*+,;=:".contains(&b);
    path.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Gets a file, through at most one redirect to a clean address.
async fn fetch(client: &reqwest::Client, url: &str, coding: &str) -> reqwest::Response {
    let get = async |url: &str| client.get(url).header("accept-encoding", coding).send().await.unwrap();
    let answer = get(url).await;
    if !answer.status().is_redirection() {
        return answer;
    }
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    get(reqwest::Url::parse(url).unwrap().join(&location).unwrap().as_ref()).await
}

/// Fetches every file of `folder` from `host` and compares the bytes. Returns the number of answers by encoding.
async fn compare(edge: &Edge, host: &str, folder: &Path, http2: bool) -> BTreeMap<String, usize> {
    let client = edge.client(http2);
    let mut codings = BTreeMap::new();
    for coding in ["identity", "br", "gzip", "zstd"] {
        let answers = files(folder).into_iter().map(|(path, bytes)| {
            let (client, url) = (client.clone(), edge.url(host, &format!("/{}", encoded(&path))));
            async move {
                let answer = fetch(&client, &url, coding).await;
                assert_eq!(answer.status(), 200, "{url}");
                let protocol = if http2 { reqwest::Version::HTTP_2 } else { reqwest::Version::HTTP_11 };
                assert_eq!(answer.version(), protocol);
                let used = answer.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
                assert!(used.is_none() || used.as_deref() == Some(coding), "{url}: {used:?}");
                assert!(answer.headers().contains_key("etag"));
                let body = answer.bytes().await.unwrap();
                assert!(decoded(used.as_deref(), &body) == bytes, "{url} in {coding} is not the file that was pushed");
                used.unwrap_or_else(|| "identity".to_owned())
            }
        });
        for used in stream::iter(answers).buffer_unordered(AT_ONCE).collect::<Vec<String>>().await {
            *codings.entry(used).or_default() += 1;
        }
    }
    codings
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_swagger_is_served_as_it_is() {
    let Some(folder) = inputs::swagger("5.29.0") else { return };
    let edge = edge().start();
    edge.push("docs", &folder);
    let first = compare(&edge, "docs.localhost", &folder, true).await;
    assert_eq!(compare(&edge, "docs.localhost", &folder, false).await, first);
    assert!(first["br"] > 20 && first["gzip"] > 20 && first["zstd"] > 20, "{first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_jupyterlab_is_served_as_it_is_and_the_second_push_sends_what_is_new() {
    let (Some(first), Some(second)) = (inputs::jupyterlab("4.4.8"), inputs::jupyterlab("4.4.9")) else { return };
    let edge = edge().start();
    let report = edge.push("lab", &first);
    assert_eq!(report["files"]["total"], 581);
    for http2 in [true, false] {
        let codings = compare(&edge, "lab.localhost", &first, http2).await;
        assert!(codings["br"] > 500, "{codings:?}");
    }

    let known: BTreeSet<Vec<u8>> = files(&first).into_values().collect();
    let new: Vec<Vec<u8>> = files(&second).into_values().filter(|bytes| !known.contains(bytes)).collect();
    let report = edge.push("lab", &second);
    assert_eq!(report["files"]["new"], new.len());
    let unique: BTreeSet<Vec<u8>> = new.into_iter().collect();
    assert_eq!(report["bytes"]["sent"], unique.iter().map(Vec::len).sum::<usize>());
    compare(&edge, "lab.localhost", &second, true).await;

    let again = edge.push("lab", &second);
    assert_eq!((&again["version"], &again["bytes"]["sent"]), (&report["version"], &0.into()));
    assert_eq!(again["switched"], false);
    let history = edge.json("lab", &["history"]);
    assert_eq!(history["deploys"].as_array().unwrap().len(), 2, "a push that changes nothing adds nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_that_are_remade_keep_the_version_and_change_the_tag() {
    let Some(folder) = inputs::vite("a") else { return };
    let edge = edge().with_background().start();
    let report = edge.push("shop", &folder);
    let client = edge.client(true);
    // Of a small file both qualities may make the same bytes.
    let largest = files(&folder).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    let path = format!("/{largest}");
    let url = edge.url("shop.localhost", &path);
    let tag_and_length = async || {
        let answer = client.get(&url).header("accept-encoding", "br").send().await.unwrap();
        assert_eq!(answer.headers()["devanture-version"], report["version"].as_str().unwrap()[..12]);
        (answer.headers()["etag"].to_str().unwrap().to_owned(), answer.bytes().await.unwrap().len())
    };
    // The log reveals the end of the pass, independent of the time of the first check.
    for _ in 0..600 {
        if edge.log().contains("variants were remade") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(edge.log().contains("variants were remade"), "{}", edge.log());
    let quick = crate::support::edge::edge().start();
    quick.push("shop", &folder);
    let quick_url = quick.url("shop.localhost", &path);
    let answer = quick.client(true).get(&quick_url).header("accept-encoding", "br").send().await.unwrap();
    let quick_tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    // The version is loaded again behind the line of the log.
    let mut made_at_best = tag_and_length().await;
    for _ in 0..600 {
        if made_at_best.0 != quick_tag {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        made_at_best = tag_and_length().await;
    }
    assert_ne!(quick_tag, made_at_best.0);
    assert!(answer.bytes().await.unwrap().len() >= made_at_best.1);
    compare(&edge, "shop.localhost", &folder, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_that_come_with_the_bundle_are_served_byte_for_byte() {
    let edge = edge().with_background().start();
    let folder = tempfile::tempdir().unwrap();
    let plain = "let answer = 42; // and so on\n".repeat(200);
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, plain.as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    write("index.html", b"<title>Hi</title>");
    write("app.js", plain.as_bytes());
    write("app.js.gz", &gz);
    // This file decodes to different content, so `app.js.zst` is a file and no encoding of `app.js`.
    write("app.js.zst", &zstd::encode_all(&b"let answer = 41;"[..], 3).unwrap());
    edge.push("shop", folder.path());
    let client = edge.client(true);
    let get = async |path: &str, coding: &str| {
        let request = client.get(edge.url("shop.localhost", path)).header("accept-encoding", coding);
        let answer = request.send().await.unwrap();
        let used = answer.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
        (used, answer.bytes().await.unwrap().to_vec())
    };
    assert_eq!(get("/app.js", "gzip").await, (Some("gzip".to_owned()), gz.clone()));
    assert_eq!(get("/app.js.gz", "identity").await, (None, gz));
    let (used, body) = get("/app.js", "zstd").await;
    assert_eq!((used.as_deref(), decoded(Some("zstd"), &body)), (Some("zstd"), plain.into_bytes()));
}
