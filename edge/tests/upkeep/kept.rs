//! Responses of an earlier version after a switch, and the paths that no longer answer (law 10).

use http::Method;
use serde_json::Value;

use crate::support::{RunningEdge, edge, got};
use crate::upkeep::{navigate, push_served, single_page, switch};
use crate::wire::{ask, protocols};

/// Number of the app's responses served from a retained asset, by the metrics.
async fn saved(edge: &RunningEdge) -> u64 {
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    let line = metrics.lines().find(|line| line.starts_with("devanture_kept_assets_total{app=\"kept-metric\"}"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn law_10_only_fingerprinted_assets_outlive_a_switch() {
    let edge = edge().start().await;
    edge.push(
        "shop",
        &[
            ("index.html", b"one"),
            ("a/app-4f2a91bc.js", b"one()"),
            ("salaries.pdf", b"secret"),
            ("old.js", b"old"),
            ("page.html", b"page"),
            ("page-4f2a91bc.html", b"a page"),
            ("report-4f2a91bc.txt", b"a text"),
            ("a/app-4f2a91bc.js.map", b"{}"),
        ],
    )
    .await;
    edge.push("shop", &[("index.html", b"two"), ("404.html", b"gone")]).await;
    for protocol in protocols(&edge) {
        let kept = ask("/a/app-4f2a91bc.js").send(&edge, protocol).await;
        assert_eq!((kept.status, kept.text().as_str()), (200, "one()"));
        // A removed file is gone at once, and HTML is never retained, whatever the name.
        for path in [
            "/salaries.pdf",
            "/old.js",
            "/page",
            "/page.html",
            "/page-4f2a91bc",
            "/page-4f2a91bc.html",
            "/report-4f2a91bc.txt",
            "/a/app-4f2a91bc.js.map",
        ] {
            let answer = navigate(path).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.text().as_str()), (404, "gone"), "{path}");
        }
        assert_eq!(ask("/").send(&edge, protocol).await.text(), "two");
    }
    edge.stop().await;
}

/// Pauses and their ends are history entries, too.
#[tokio::test]
async fn law_10_an_asset_is_still_kept_after_a_restart_behind_many_pauses() {
    let edge = edge().with_limit("grace_versions_max", 1).start().await;
    edge.push("shop", &[("index.html", b"one"), ("app-4f2a91bc.js", b"one()")]).await;
    edge.push("shop", &[("index.html", b"two")]).await;
    for operation in ["pause", "resume"].repeat(4) {
        let changed =
            crate::upkeep::api(&edge, Method::POST, &format!("environments/prod/{operation}"), Value::Null).await;
        assert_eq!(changed.json::<Value>()["changed"], true);
    }
    let edge = edge.restart().await;
    assert_eq!(edge.get("shop.localhost", "/app-4f2a91bc.js").await.text(), "one()");
    edge.stop().await;
}

#[tokio::test]
async fn law_10_a_file_of_the_live_version_is_never_another_versions() {
    let edge = edge().start().await;
    let one = edge.push("shop", &[("index.html", b"one"), ("app-4f2a91bc.js", b"one()")]).await;
    let two = crate::upkeep::push(
        &edge,
        "prod",
        Default::default(),
        devanture_config::api::DeployOptions { allow_refingerprint: true, ..Default::default() },
        &[("index.html", b"two"), ("app-4f2a91bc.js", b"two()")],
    )
    .await
    .unwrap();
    for (version, text) in [(&one, "one()"), (&two, "two()"), (&one, "one()")] {
        assert_eq!(switch(&edge, "prod", &version.version.to_string()).await.status, 200);
        let answer = edge.get("shop.localhost", "/app-4f2a91bc.js").await;
        assert_eq!((answer.text().as_str(), answer.header("devanture-version")), (text, &*version.version.short()));
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_asset_is_kept_before_the_page_of_an_application_and_on_no_preview() {
    let edge = edge().start().await;
    let one = push_served(&edge, single_page(), &[("index.html", b"one"), ("app-4f2a91bc.js", b"one()")]).await;
    let two = push_served(&edge, single_page(), &[("index.html", b"two")]).await;
    for protocol in protocols(&edge) {
        assert_eq!(navigate("/app-4f2a91bc.js").send(&edge, protocol).await.text(), "one()");
        assert_eq!(ask("/app-00000000.js").send(&edge, protocol).await.status, 404);
        // A preview serves one version alone.
        let of_preview = ask("/app-4f2a91bc.js").host(&crate::upkeep::preview(&two)).send(&edge, protocol).await;
        assert_eq!(of_preview.status, 404);
    }
    assert_ne!(one.version, two.version);
    edge.stop().await;
}

#[tokio::test]
async fn how_often_a_kept_asset_saved_a_visitor_is_counted() {
    let edge = edge().start().await;
    let app = "kept-metric";
    let one = edge.push(app, &[("index.html", b"one"), ("app-4f2a91bc.js", b"one()")]).await;
    edge.push(app, &[("index.html", b"two")]).await;
    let get = async |path: &'static str| edge.get("kept-metric.localhost", path).await.status.as_u16();
    assert_eq!((get("/").await, get("/app-91c2aa03.js").await, saved(&edge).await), (200, 404, 0));
    assert_eq!((get("/app-4f2a91bc.js").await, get("/app-4f2a91bc.js").await, saved(&edge).await), (200, 200, 2));
    let deleted = got(edge.api(Method::DELETE, &format!("/v1/apps/{app}/versions/{}", one.version))).await;
    assert_eq!(deleted.status, 200);
    assert_eq!((get("/app-4f2a91bc.js").await, saved(&edge).await), (404, 2));
    edge.stop().await;
}
