//! Refused pushes: each with its own code and sentence, while the live version stays.

use std::path::Path;

use devanture_config::api::{BeginDeploy, DeployOptions, Source};
use devanture_config::manifest::FileEntry;
use devanture_config::{Digest, Manifest};
use serde_json::{Value, json};

use crate::support::edge::{Edge, edge};

const STILL_RUNNING: &str = "The previous version is still running.";

fn site(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), text).unwrap();
    folder
}

fn with_site() -> (Edge, Value) {
    let edge = edge().with_limit("file_bytes_max", 100_000).with_limit("bundle_files_max", 50).start();
    let live = edge.push("shop", site("live").path());
    (edge, live)
}

async fn still_live(edge: &Edge) {
    let answer = edge.client(true).get(edge.url("shop.localhost", "/")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "live"));
}

fn manifest(files: &[(&str, &[u8], u64)]) -> Manifest {
    Manifest::of_files(
        files
            .iter()
            .map(|(path, bytes, size)| {
                (path.parse().unwrap(), FileEntry { hash: Digest::of(bytes), size: *size, media_type: None })
            })
            .collect(),
    )
}

async fn begin(edge: &Edge, manifest: Manifest) -> (u16, Value) {
    let begin = BeginDeploy { manifest, source: Source::default(), options: DeployOptions::default() };
    edge.api("POST", "/v1/apps/shop/environments/prod/deploys", Some(serde_json::to_value(begin).unwrap())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_line_is_given_wrongly() {
    let (mut edge, live) = with_site();
    let empty = tempfile::tempdir().unwrap();
    let good = site("other");
    let path = |folder: &Path| folder.to_str().unwrap().to_owned();
    let cases = [
        (vec!["push".to_owned(), "no-such-folder".to_owned()], "missing_folder", 2),
        (vec!["push".to_owned(), path(empty.path())], "empty_bundle", 2),
        (vec!["status".to_owned(), "--app".to_owned(), "unknown".to_owned()], "not_found", 1),
        (vec!["switch".to_owned(), "abcdef".to_owned()], "not_found", 1),
    ];
    for (mut arguments, code, exit) in cases {
        arguments.push("--json".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = edge.run("shop", &arguments);
        assert_eq!((ran.problem().as_str(), ran.code), (code, Some(exit)), "{arguments:?} {ran:#?}");
    }
    let token = std::mem::replace(&mut edge.token, "dvt_000000000000_00".to_owned());
    let ran = edge.run("shop", &["push", &path(good.path()), "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code, ran.last_line()), ("bad_token", Some(4), STILL_RUNNING));
    edge.token = token;
    still_live(&edge).await;
    edge.kill();
    let ran = edge.run("shop", &["push", &path(good.path()), "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code, ran.last_line()), ("unreachable", Some(3), STILL_RUNNING));
    edge.restart();
    assert_eq!(edge.json("shop", &["status"])["version"], live["version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_are_not_what_they_say() {
    let (edge, _) = with_site();
    let (status, begun) = begin(&edge, manifest(&[("index.html", b"new", 3), ("a.js", b"let a", 5)])).await;
    assert_eq!(status, 201);
    let deploy = begun["deploy"].as_str().unwrap().to_owned();
    let put = async |digest: Digest, bytes: &'static [u8]| {
        let url = format!("https://{}/v1/apps/shop/blobs/{digest}?deploy={deploy}", edge.admin());
        let answer = edge.client(true).put(url).bearer_auth(&edge.token).body(bytes).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap_or_default()["code"].clone())
    };
    let finish = format!("/v1/apps/shop/deploys/{deploy}/finish");
    assert_eq!(put(Digest::of(b"new"), b"old").await, (422, "blob_mismatch".into()));
    assert_eq!(put(Digest::of(b"new"), b"ne").await, (422, "blob_mismatch".into()));
    assert_eq!(put(Digest::of(b"new"), b"news").await, (422, "blob_mismatch".into()));
    assert_eq!(put(Digest::of(b"never named"), b"never named").await.0, 400);
    assert_eq!(edge.api("POST", &finish, None).await.1["code"], "blob_missing");
    assert_eq!(put(Digest::of(b"new"), b"new").await.0, 204);
    assert_eq!(edge.api("POST", &finish, None).await.1["code"], "blob_missing");
    still_live(&edge).await;
    assert_eq!(put(Digest::of(b"let a"), b"let a").await.0, 204);
    let (status, report) = edge.api("POST", &finish, None).await;
    assert_eq!((status, &report["switched"]), (200, &true.into()));
    assert_eq!(edge.api("POST", &finish, None).await.0, 404, "a push is finished once");
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_cannot_be_taken() {
    let (edge, _) = with_site();
    let deep = format!("{}a", "a/".repeat(2_500));
    let cases = [
        (manifest(&[("a", b"x", 1), ("a/b", b"y", 1)]), 422, "bad_manifest"),
        (manifest(&[("big.bin", b"x", 100_001)]), 413, "bundle_too_large"),
        (manifest(&[(deep.as_str(), b"x", 1)]), 413, "path_too_long"),
    ];
    for (manifest, status, code) in cases {
        let answer = begin(&edge, manifest).await;
        assert_eq!((answer.0, &answer.1["code"]), (status, &code.into()), "{}", answer.1);
    }
    let raw = async |manifest: Value| {
        edge.api("POST", "/v1/apps/shop/environments/prod/deploys", Some(json!({"manifest": manifest}))).await.1["code"]
            .clone()
    };
    let hash = Digest::of(b"x").to_string();
    assert_eq!(raw(json!({"files": {}, "format": 1})).await, "empty_bundle");
    assert_eq!(raw(json!({"files": {"../a": {"hash": hash, "size": 1}}, "format": 1})).await, "bad_request");
    assert_eq!(raw(json!({"files": {"a": {"hash": hash, "size": 1}}, "format": 9})).await, "bad_manifest");
    assert_eq!(raw(json!({"files": {"a": {"hash": "x", "size": 1}}, "format": 1})).await, "bad_request");
    let files: serde_json::Map<String, Value> =
        (0..51).map(|n| (format!("{n}.txt"), json!({"hash": hash, "size": 1}))).collect();
    assert_eq!(raw(json!({"files": files, "format": 1})).await, "bundle_too_large");
    still_live(&edge).await;
}

/// A wrong size in a manifest is detected once the blob has arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_a_lie() {
    let (edge, _) = with_site();
    let (_, begun) = begin(&edge, manifest(&[("index.html", b"live", 3)])).await;
    let finish = format!("/v1/apps/shop/deploys/{}/finish", begun["deploy"].as_str().unwrap());
    let code = edge.api("POST", &finish, None).await.1["code"].clone();
    assert!(code == "bad_manifest" || code == "blob_missing", "{code}");
    still_live(&edge).await;
}

/// Two pages whose versions begin with the same six characters.
fn pages_with_equal_prefixes() -> [String; 2] {
    let mut seen = std::collections::HashMap::new();
    for number in 0.. {
        let page = number.to_string();
        let bytes = page.as_bytes();
        let id = manifest(&[("index.html", bytes, u64::try_from(bytes.len()).unwrap())]).id().to_string();
        if let Some(other) = seen.insert(id[..6].to_owned(), page.clone()) {
            return [other, page];
        }
    }
    unreachable!("numbers do not end")
}

#[test]
fn an_ambiguous_id_and_ids_of_other_apps() {
    let edge = edge().start();
    let pages = pages_with_equal_prefixes();
    let ids = pages.map(|page| edge.push("shop", site(&page).path())["version"].as_str().unwrap().to_owned());
    let ran = edge.run("shop", &["switch", &ids[0][..6], "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code), ("ambiguous_id", Some(1)));
    assert_eq!(edge.json("shop", &["switch", &ids[0][..20]])["version"], ids[0].as_str());
    let other = edge.push("other", site("other").path());
    let ran = edge.run("shop", &["switch", other["version"].as_str().unwrap(), "--json"]);
    assert_eq!(ran.problem(), "not_found", "another app's id is as unknown as none");
    let ran = edge.run("shop", &["switch", &ids[0][..5], "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code), ("usage", Some(2)));
}

#[test]
fn every_mistake_of_the_configuration_in_one_report() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("edge.toml"), "data_dir = 3\ndomian = \"localhost\"\n[listen]\nhttps = \"x\"\n")
        .unwrap();
    let run = |arguments: &[&str]| {
        let program = crate::support::edge::program("devanture-edge");
        let ran = std::process::Command::new(program).args(arguments).current_dir(folder.path()).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    for arguments in [&["check", "--config", "edge.toml"][..], &["--config", "edge.toml"]] {
        let (code, printed) = run(arguments);
        assert_eq!(code, Some(2), "{printed}");
        for line in [
            "edge.toml:1:",
            "edge.toml:2:",
            "did you mean `domain`?",
            "edge.toml:4:",
            "`listen.admin` is missing",
            "`tls` is missing",
        ] {
            assert!(printed.contains(line), "{line}\n{printed}");
        }
    }
    assert_eq!(run(&["check", "--config", "none.toml"]).0, Some(2));
}
