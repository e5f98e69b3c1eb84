//! Sites that went live while an app's admin could permit private addresses: the sites stay served, reports name the
//! line to add to `edge.toml`, and no further version goes live by the old permission.

use devanture_config::api::{DeployBegun, KeptReach, Scope, Status};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::SiteFile;
use devanture_store::catalog::{self, Change, Commit};
use http::Method;
use serde_json::{Value, json};

use crate::support::{RunningEdge, edge, got, manifest};
use crate::upstreams::backend::Backend;
use crate::upstreams::{SITE, api, names, push, put, who};

/// Changes the records to the earlier format: by an admin of the app alone, without the reach.
async fn as_of_before(edge: RunningEdge) -> RunningEdge {
    let (folder, file) = edge.stopped().await;
    {
        let catalog = catalog::open(&folder.path().join("data/catalog.redb")).unwrap();
        let mut changes = Vec::new();
        let of = |text: &[u8]| -> Value { serde_json::from_slice(text).unwrap() };
        for (key, record) in catalog.list("versions/shop/", None, false, 10).await.unwrap() {
            let mut version = of(&record.value);
            version["edge_admin"] = false.into();
            version.as_object_mut().unwrap().remove("reach").unwrap();
            changes.push(Change::Put(key, version.to_string().into_bytes().into()));
        }
        for (key, record) in catalog.list("upstreams/shop/", None, false, 10).await.unwrap() {
            let mut members = of(&record.value);
            for member in members["members"].as_object_mut().unwrap().values_mut() {
                member.as_object_mut().unwrap().remove("vouched").unwrap();
            }
            changes.push(Change::Put(key, members.to_string().into_bytes().into()));
        }
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }
    RunningEdge::over(folder, file).await
}

async fn kept(edge: &RunningEdge) -> Option<KeptReach> {
    got(edge.api(Method::GET, "/v1/apps/shop/environments/prod")).await.json::<Status>().kept_reach
}

/// Response to the push of the upstream `api` with one member.
async fn begin(edge: &RunningEdge, token: &str, toml: &str) -> Result<DeployBegun, Box<Problem>> {
    let mut manifest = manifest(SITE);
    let site = SiteFile::parse("devanture.toml", toml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    manifest.base = site.base;
    let begun = edge.ask(Method::POST, "/v1/apps/shop/environments/prod/deploys", token);
    got(begun.json(&json!({ "manifest": manifest }))).await.into_result()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_live_stays_served_and_is_named_with_the_line_to_add() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let edge = edge().start().await;
    let other = push(&edge, "prod", &api(&[&two], ""), SITE).await.version;
    let toml = api(&[&one], "");
    push(&edge, "prod", &toml, SITE).await;
    push(&edge, "staging", &api(&[], ""), SITE).await;
    put(&edge, &two.url(), "in").await;
    assert_eq!((kept(&edge).await, who(&edge).await), (None, names(&["one", "two"])));

    let edge = as_of_before(edge).await;
    assert_eq!(who(&edge).await, names(&["one", "two"]));
    let found = kept(&edge).await.unwrap();
    assert_eq!((found.addresses, found.allow.as_str()), (vec!["127.0.0.1".to_owned()], r#"allow = ["127.0.0.1"]"#));
    let ready = got(edge.api(Method::GET, "/health/ready")).await.text();
    let lines: Vec<&str> = ready.lines().filter(|line| line.starts_with("reach: ")).collect();
    let [line] = lines[..] else { panic!("{ready}") };
    assert!(line.contains("of shop in prod reaches 127.0.0.1") && line.ends_with(r#"allow = ["127.0.0.1"]"#), "{line}");

    let owner = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let refused = begin(&edge, &owner, &toml).await.unwrap_err();
    assert_eq!(refused.code, Code::UpstreamForbidden);
    assert!(refused.hint.as_ref().unwrap().contains(r#"allow = ["127.0.0.1"]"#), "{refused:?}");
    // The version was never live in staging; in the other environment a rollback must not be delayed.
    let switch = async |environment: &str, token: &str, what: &str| {
        let path = format!("/v1/apps/shop/environments/{environment}/{what}");
        got(edge.ask(Method::POST, &path, token).json(&json!({ "version": other }))).await
    };
    assert_eq!(switch("staging", &owner, "switch").await.code(), Code::UpstreamForbidden);
    assert!(switch("prod", &owner, "rollback").await.status.is_success());
    assert!(switch("staging", edge.admin_token(), "switch").await.status.is_success());
    // An admin of every app vouches for a pushed version, and for a member set again.
    push(&edge, "prod", &toml, SITE).await;
    put(&edge, &two.url(), "in").await;
    assert_eq!((kept(&edge).await, who(&edge).await), (None, names(&["one", "two"])));
    edge.stop().await;
}
