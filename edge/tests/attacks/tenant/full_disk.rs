//! A disk without space for new data.

use devanture_config::api::BeginDeploy;
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use crate::small_disk::SmallDisk;
use crate::support::{edge, eventually, got, manifest};

const HOST: &str = "shop.localhost";
const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_live_is_served_and_switched_while_the_disk_takes_nothing_new() {
    let Some(disk) = SmallDisk::mount() else { return };
    let edge = edge().below(disk.path().to_str().unwrap()).start().await;
    let one = edge.push("shop", &[("index.html", b"one")]).await.version;
    edge.push("shop", &[("index.html", b"two")]).await;
    disk.fill(2 * MIB);
    let failed = async || {
        let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
        let of_failed = |line: &&str| line.starts_with("devanture_pushes_total{") && line.contains("\"failed\"");
        metrics.lines().find(of_failed).and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).unwrap_or(0)
    };
    let failed_before = failed().await;
    let files: &[(&str, &[u8])] = &[("index.html", b"three")];
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    let refused = edge.try_push("shop", "prod", begin, files).await.unwrap_err();
    assert_eq!((refused.code, refused.status), (Code::DiskFull, 507), "{refused:?}");
    assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("disk_free_bytes_min")), "{refused:?}");
    let archive = edge.api(Method::POST, "/v1/apps/shop/environments/prod/deploys");
    let archive = got(archive.header("content-type", "application/zip").body(vec![0; 1_024])).await;
    assert_eq!(archive.status, StatusCode::INSUFFICIENT_STORAGE, "{}", archive.text());
    assert_eq!(failed().await - failed_before, 2, "what storage refuses counts");
    assert_eq!(edge.get(HOST, "/").await.text(), "two");
    // A switch to stored data works, also by a push of the same files.
    let switch = edge.api(Method::POST, "/v1/apps/shop/environments/prod/switch").json(&json!({ "version": one }));
    assert!(got(switch).await.status.is_success());
    eventually("the other one is live", async || edge.get(HOST, "/").await.text() == "one").await;
    edge.push("shop", &[("index.html", b"two")]).await;
    eventually("it is live again", async || edge.get(HOST, "/").await.text() == "two").await;
    // A rollback works even without a single free byte.
    disk.fill(0);
    let switch = edge.api(Method::POST, "/v1/apps/shop/environments/prod/switch").json(&json!({ "version": one }));
    let switched = got(switch).await;
    assert!(switched.status.is_success(), "{}", switched.text());
    let ready = got(edge.api(Method::GET, "/health/ready")).await;
    assert_eq!(ready.status, StatusCode::OK);
    assert!(ready.text().contains("disk is almost full"), "{}", ready.text());
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.lines().any(|line| line == "devanture_disk_short 1"), "{metrics}");
    assert!(metrics.lines().any(|line| line.starts_with("devanture_disk_free_bytes ")), "{metrics}");
    disk.empty();
    edge.push("shop", files).await;
    assert_eq!(got(edge.api(Method::GET, "/health/ready")).await.text(), "ready\n");
    edge.stop().await;
}
