//! Requests to a newly started edge wait for the load of the requested site, and for no other load.

use devanture_base::clock;
use devanture_config::{AppName, PlaceName, VersionId};
use devanture_store::records;
use serde_json::{Value, json};

use crate::in_process::{InProcess, Stores};
use crate::lane::ask::{Got, TestRequest, ask_on, by_handle, lane};

async fn got(site: &InProcess, host: &str, path: &str) -> Got {
    let request = TestRequest::new(host, path);
    assert!(ask_on(&lane(&site.handler, &request), &request).is_none(), "{host}{path} was answered at once");
    by_handle(&site.handler, &request).await
}

fn is_loaded(site: &InProcess, app: &str) -> bool {
    site.handler.live.place(&app.parse().unwrap(), &PlaceName::prod()).unwrap().current().is_some()
}

/// History entry of a switch at the current time.
fn entry(version: VersionId, previous: VersionId) -> Value {
    json!({
        "deploy": {
            "id": "d", "kind": "push", "environment": "prod", "version": version, "previous": previous, "who": "me",
            "at_ms": clock::now_ms(), "source": {}, "steps": [], "outcome": "live", "settings": 0,
        },
        "position": "",
    })
}

#[tokio::test]
async fn the_first_request_for_a_site_waits_for_its_load_alone() {
    let stores = Stores::new();
    for app in ["shop", "blog"] {
        stores.push(app, &[("index.html", app.as_bytes())], json!({})).await;
    }
    let site = stores.unloaded_handler().await;
    let answer = got(&site, "shop.localhost", "/").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, &b"shop"[..]));
    assert!(is_loaded(&site, "shop") && !is_loaded(&site, "blog"));
    let request = TestRequest::new("shop.localhost", "/");
    assert!(ask_on(&lane(&site.handler, &request), &request).is_some(), "the second one does not wait");
    assert_eq!(got(&site, "blog.localhost", "/nothing").await.status, 404);
}

#[tokio::test]
async fn law_10_an_asset_of_a_version_that_is_not_loaded_yet_is_waited_for() {
    let stores = Stores::new().with_grace();
    let files: &[(&str, &[u8])] = &[("app-B7f3kQ2d.js", b"before"), ("index.html", b"before")];
    let before = stores.store("shop", files, json!({})).await;
    let after = stores.push("shop", &[("index.html", b"after")], json!({})).await;
    let app: AppName = "shop".parse().unwrap();
    stores.put(records::history_key(&app, &PlaceName::prod(), 1), entry(after, before)).await;
    let site = stores.unloaded_handler().await;
    let asset = got(&site, "shop.localhost", "/app-B7f3kQ2d.js").await;
    assert_eq!((asset.status.as_u16(), asset.body.as_slice()), (200, &b"before"[..]));
    let other = by_handle(&site.handler, &TestRequest::new("shop.localhost", "/app-C8v2Np5h.js")).await;
    assert_eq!(other.status, 404);
}

#[tokio::test]
async fn a_site_that_cannot_be_loaded_answers_503() {
    let stores = Stores::new();
    let pointer = json!({
        "version": VersionId::of(b"missing"), "settings": 0, "switched_ms": 0, "deploy": "", "begun": 0, "position": "",
    });
    stores.put(records::live_key(&"shop".parse().unwrap(), &PlaceName::prod()), pointer).await;
    let site = stores.unloaded_handler().await;
    assert_eq!(got(&site, "shop.localhost", "/").await.status, 503);
}
