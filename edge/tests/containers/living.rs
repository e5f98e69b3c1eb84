//! Lifecycle of a pushed image and of its containers, until the removal of the version.

use devanture_config::problem::Code;
use http::Method;
use serde_json::{Value, json};

use super::engine::{Engine, bundle, is_installed, push};
use super::image::Image;
use crate::support::{RunningEdge, eventually, got};

const PROD: &str = "shop.localhost";

async fn text(edge: &RunningEdge, path: &str) -> String {
    edge.get(PROD, path).await.text()
}

fn server(image: &str) -> Value {
    json!({
        "image": image, "routes": ["/api/*"], "instances": 1, "persist": "data", "memory_mb": 64, "stop_ms": 2_000,
        "warm_ms": 600_000, "start_ms": 120_000
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_by_its_tag_runs_by_its_digest_and_is_rolled_back_to() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let edge = engine.edge("").start().await;
    let (one, two) = (Image::new("one", &json!({ "User": "0" })), Image::new("two", &json!({})));
    engine.put("api", "1", &one).await;
    let tag = format!("{}:1", engine.name("api"));
    let (report, begun) = push(&edge, "prod", bundle(&server(&tag), None), None).await.unwrap();
    // The version records the image behind the tag, and the version id depends on the image.
    let fixed = format!("{}@{}", engine.name("api"), one.digest());
    assert_eq!(begun.image.unwrap().to_string(), fixed);
    assert_eq!(begun.version, bundle(&server(&fixed), None).id());
    let said = text(&edge, "/api/").await;
    let words: Vec<&str> = said.split(' ').collect();
    assert_eq!((words[0], words[2]), ("one", "web.1"));
    assert!(words[1].parse::<u32>().unwrap() >= 1_000, "never root, whatever the image says: {said}");
    // No host files are visible, and only the data and the temporary folder are writable.
    let status = text(&edge, "/api/read?/proc/self/status").await;
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(text(&edge, "/api/write?/own").await, "Read-only file system");
    assert_eq!(text(&edge, "/api/write?/tmp/own").await, "written");
    assert_eq!(text(&edge, "/api/write?/data/own").await, "written");
    let mounts = text(&edge, "/api/read?/proc/self/mountinfo").await;
    assert!(!mounts.contains("podman.sock") && mounts.contains(" /data "), "{mounts}");
    assert_eq!(text(&edge, "/api/terminals").await, "32", "all machines have few");
    let variables = text(&edge, "/api/env").await;
    for line in ["PATH=/of-the-image", "DEVANTURE_DATA=/data", "HOME=/tmp", "DEVANTURE_APP=shop"] {
        assert!(variables.lines().any(|one| one == line), "{line}: {variables}");
    }
    assert!(!variables.contains("DEVANTURE_CONTAINER") && !variables.contains("DEVANTURE_PODMAN"), "{variables}");
    eventually("its lines are in the log", async || {
        let log = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?source=instances")).await.text();
        log.contains("begins one as") && log.contains("an error of web.1")
    })
    .await;
    // The same tag names another image: the push creates another version, with the same data.
    engine.put("api", "1", &two).await;
    let (second, _) = push(&edge, "prod", bundle(&server(&tag), None), None).await.unwrap();
    assert_ne!(second.version, report.version);
    assert!(text(&edge, "/api/").await.starts_with("two "));
    assert_eq!(text(&edge, "/api/read?/data/own").await, "kept");
    // The previous version stays warm and answers at once after a rollback; the preview of the other version answers,
    // too.
    assert_eq!(engine.containers().len(), 2);
    let path = "/v1/apps/shop/environments/prod/rollback";
    assert!(got(edge.api(Method::POST, path).json(&json!({}))).await.status.is_success());
    assert!(text(&edge, "/api/").await.starts_with("one "));
    let preview = format!("{}--shop.localhost", second.version.short());
    // The start of a container may take longer than the request timeout.
    eventually("the preview answers", async || edge.get(&preview, "/api/").await.text().starts_with("two ")).await;
    // A dead container is restarted.
    edge.get(PROD, "/api/die").await;
    eventually("another one answers", async || text(&edge, "/api/").await.starts_with("one ")).await;
    edge.stop().await;
    assert_eq!(engine.containers(), Vec::<String>::new(), "none outlives its edge");
}

/// As in an upgrade of podman, where containers keep running.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_outlives_a_restart_of_podman_and_is_watched_again() {
    if !is_installed() {
        return;
    }
    let mut engine = Engine::start();
    let edge = engine.edge("").start().await;
    engine.put("api", "1", &Image::new("one", &json!({}))).await;
    push(&edge, "prod", bundle(&server(&format!("{}:1", engine.name("api"))), None), None).await.unwrap();
    let before = engine.containers();
    let log = "/v1/apps/shop/environments/prod/logs?source=instances";
    let says = async |line: &str| got(edge.api(Method::GET, log)).await.text().contains(line);
    // The watcher reads the output once podman has answered the start request.
    eventually("it is watched", async || says("begins one as").await).await;
    engine.end_podman();
    eventually("it is noticed", async || says("podman does not answer; the container goes on").await).await;
    assert!(text(&edge, "/api/").await.starts_with("one "));
    engine.start_podman();
    assert_eq!(engine.containers(), before);
    // The end is noticed, and another container takes over.
    edge.get(PROD, "/api/die").await;
    eventually("another one answers", async || text(&edge, "/api/").await.starts_with("one ")).await;
    eventually("the one before is gone", async || {
        let after = engine.containers();
        after.len() == 1 && after != before
    })
    .await;
    edge.stop().await;
    assert_eq!(engine.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_go_on_in_a_takeover_and_none_is_left_by_a_kill() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let edge = engine.edge("network = \"none\"\n").start().await;
    let image = Image::new("one", &json!({}));
    let archive = image.archive(&format!("{}:1", engine.name("other")));
    let mut server = server("oci-archive:dist/api.tar");
    server["listen"] = json!("socket");
    server["release"] = json!(["/program", "ends"]);
    let (report, _) = push(&edge, "prod", bundle(&server, Some(&archive)), Some(&archive)).await.unwrap();
    assert!(text(&edge, "/api/").await.starts_with("one "), "{report:?}");
    let log = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?source=release")).await.text();
    assert!(log.contains("begins ends as"), "the release command: {log}");
    // The name that an archive claims is not used.
    assert_eq!(
        engine.podman(&["images", "--format", "{{.Repository}}"]).iter().filter(|name| name.contains("other")).count(),
        0
    );
    let path = "/v1/apps/shop/environments/prod/instances";
    let scaled = got(edge.api(Method::PATCH, path).json(&json!({ "processes": { "web": 2 } }))).await;
    assert!(scaled.status.is_success(), "{}", scaled.text());
    let before = engine.containers();
    assert_eq!(before.len(), 2);
    let edge = edge.taken_over().await;
    assert!(text(&edge, "/api/").await.starts_with("one "));
    assert_eq!(engine.containers(), before);
    let edge = edge.killed_and_started().await;
    eventually("it runs again", async || edge.get(PROD, "/api/").await.text().starts_with("one ")).await;
    eventually("those before are gone", async || {
        let now = engine.containers();
        now.len() == 2 && now.iter().all(|name| !before.contains(name))
    })
    .await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_removed_with_the_last_version_that_names_it() {
    if !is_installed() {
        return;
    }
    let engine = Engine::start();
    let edge = engine.edge("").start().await;
    let mut versions = Vec::new();
    for word in ["one", "two", "three"] {
        let image = Image::new(word, &json!({}));
        engine.put("api", word, &image).await;
        let mut server = server(&format!("{}@{}", engine.name("api"), image.digest()));
        server["warm_ms"] = json!(0);
        versions.push(push(&edge, "prod", bundle(&server, None), None).await.unwrap().0.version.to_string());
    }
    assert_eq!(engine.images().len(), 3);
    let image_of = |version: &str| engine.images().into_iter().find(|name| name.contains(version));
    // A container created by hand from the first image keeps the image.
    engine.podman(&["create", "--network", "none", "--name", "theirs", &image_of(&versions[0]).unwrap()]);
    for version in &versions[..2] {
        let deleted = got(edge.api(Method::DELETE, &format!("/v1/apps/shop/versions/{version}"))).await;
        assert!(deleted.status.is_success(), "{}", deleted.text());
    }
    // The collection of the second image includes the first.
    eventually("its image is gone", async || image_of(&versions[1]).is_none()).await;
    assert!(image_of(&versions[0]).is_some());
    engine.podman(&["rm", "theirs"]);
    eventually("the other one is gone soon after", async || image_of(&versions[0]).is_none()).await;
    // An image loses the names before the removal.
    let images = || engine.podman_at_last(&["images", "--quiet"]);
    eventually("the bytes of both are gone", async || images().len() == 1).await;
    assert!(text(&edge, "/api/").await.starts_with("three "));
    edge.stop().await;
}

/// Removes all images with their containers, like an operator by hand. A container started meanwhile keeps its image:
/// podman then fails and is called again.
fn remove_images(engine: &Engine) {
    engine.podman_at_last(&["rmi", "--all", "--force"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_somebody_removed_from_the_store_is_got_again_or_the_reason_says_what_to_do() {
    if !is_installed() {
        return;
    }
    let mut engine = Engine::start();
    let edge = engine.edge("").with_limit("instance_restart_ms_max", 500).start().await;
    let (one, two) = (Image::new("one", &json!({})), Image::new("two", &json!({})));
    engine.put("api", "1", &one).await;
    push(&edge, "prod", bundle(&server(&format!("{}:1", engine.name("api"))), None), None).await.unwrap();
    let archive = two.archive("two");
    let from_archive = bundle(&server("oci-archive:dist/api.tar"), Some(&archive));
    push(&edge, "staging", from_archive, Some(&archive)).await.unwrap();
    let names = async |host: &str| edge.get(host, "/api/").await.text();
    let staging = "staging--shop.localhost";
    assert!(names(PROD).await.starts_with("one ") && names(staging).await.starts_with("two "));
    let before = engine.containers();
    // With the containers of both images.
    remove_images(&engine);
    eventually("both run again", async || {
        names(PROD).await.starts_with("one ") && names(staging).await.starts_with("two ")
    })
    .await;
    eventually("those before are gone", async || {
        let now = engine.containers();
        now.len() == 2 && now.iter().all(|name| !before.contains(name))
    })
    .await;
    assert_eq!(engine.images().len(), 2, "each has the name of its version again");
    // Without the registry the first backend is lost; the second needs only local data.
    engine.end_registry();
    remove_images(&engine);
    let detail = async || {
        let path = "/v1/apps/shop/environments/prod/instances";
        let list: Value = got(edge.api(Method::GET, path)).await.json();
        list["instances"][0]["detail"].as_str().unwrap_or_default().to_owned()
    };
    eventually("the reason is reported", async || detail().await.contains("put it into its registry again")).await;
    eventually("the other one runs", async || names(staging).await.starts_with("two ")).await;
    let path = "/v1/apps/shop/environments/prod/instances/restart";
    let refused = got(edge.api(Method::POST, path).json(&json!({}))).await;
    assert_eq!(refused.code(), Code::ImageRefused, "{}", refused.text());
    edge.stop().await;
}
