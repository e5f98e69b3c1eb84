//! The list of apps: pages, search, totals, and visibility by token.

use devanture_config::api::{AppInfo, AppList, BeginDeploy, Scope};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::backends::Backend;
use crate::support::{RunningEdge, edge, got, manifest};

const SITE: &[(&str, &[u8])] = &[("index.html", b"hi")];

async fn apps_of(edge: &RunningEdge, token: &str, query: &str) -> AppList {
    let answer = got(edge.ask(Method::GET, &format!("/v1/apps{query}"), token)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

async fn apps(edge: &RunningEdge, query: &str) -> AppList {
    apps_of(edge, edge.admin_token(), query).await
}

fn names(list: &AppList) -> Vec<&str> {
    list.apps.iter().map(|app| app.app.as_str()).collect()
}

async fn push_to(edge: &RunningEdge, app: &str, environment: &str, text: &[u8]) {
    let files: &[(&str, &[u8])] = &[("index.html", text)];
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    edge.try_push(app, environment, begin, files).await.unwrap();
}

async fn started() -> RunningEdge {
    let edge = edge().start().await;
    for app in ["shop", "blog", "shop-next", "a1"] {
        edge.push(app, SITE).await;
    }
    for environment in ["staging", "alpha"] {
        push_to(&edge, "shop", environment, b"other").await;
    }
    edge
}

#[tokio::test]
async fn a_row_reports_what_is_live_since_when_and_by_whom() {
    let edge = started().await;
    let at = "/v1/apps/shop/environments/prod";
    let added = got(edge.api(Method::PUT, &format!("{at}/hostnames/www.example.org"))).await;
    assert_eq!(added.status, StatusCode::OK, "{added:?}");
    for (method, address) in [(Method::POST, "/pause"), (Method::PUT, "/lock")] {
        let answer = got(edge.api(method, &format!("{at}{address}")).json(&json!({}))).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    let list = apps(&edge, "").await;
    assert_eq!(names(&list), ["a1", "blog", "shop", "shop-next"]);
    assert_eq!((list.totals.apps, list.totals.environments, list.totals.hostnames, list.next), (4, 6, 1, None));
    let shop = &list.apps[2];
    assert_eq!((shop.created_by.as_deref(), shop.versions, shop.environments_total), (Some("test"), Some(2), 3));
    assert!(shop.created_ms.is_some());
    let found: Vec<_> = shop.environments.iter().map(|e| (e.name.as_str(), e.hostnames, e.paused, e.locked)).collect();
    assert_eq!(found, [("prod", 1, true, true), ("alpha", 0, false, false), ("staging", 0, false, false)]);
    let prod = &shop.environments[0];
    assert_eq!(prod.version, edge.live("shop").await);
    assert_eq!((prod.who.as_deref(), prod.damaged, prod.backend), (Some("test"), false, Some(false)));
    assert!(prod.since_ms >= shop.created_ms && prod.url.starts_with("https://shop.localhost"), "{prod:?}");
    // A rollback is listed, too, although the pointer continues from an earlier entry.
    let staging = "/v1/apps/shop/environments/staging";
    push_to(&edge, "shop", "staging", b"third").await;
    let token = edge.token_for(Scope::Push, Some("shop"), None).await;
    let back = got(edge.ask(Method::POST, &format!("{staging}/rollback"), &token).json(&json!({}))).await;
    assert_eq!(back.status, StatusCode::OK, "{back:?}");
    assert_eq!(apps(&edge, "").await.apps[2].environments[2].who.as_deref(), Some("push"));
    edge.stop().await;
}

#[tokio::test]
async fn an_app_says_where_the_edge_runs_a_backend_of_it() {
    let edge = edge().with_runner().start().await;
    let token = edge.admin_token().to_owned();
    edge.push_backend(&token, ("shop", "prod"), &Backend::new("one")).await.unwrap();
    push_to(&edge, "shop", "staging", b"two").await;
    let of = |app: &AppInfo| app.environments.iter().map(|one| one.backend).collect::<Vec<_>>();
    let shop: AppInfo = got(edge.api(Method::GET, "/v1/apps/shop")).await.json();
    assert_eq!(of(&shop), [Some(true), Some(false)]);
    assert_eq!(of(&apps(&edge, "").await.apps[0]), [Some(true), Some(false)]);
    edge.stop().await;
}

#[tokio::test]
async fn pages_and_a_search_find_each_app_once() {
    let edge = started().await;
    let (mut seen, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = apps(&edge, &query).await;
        assert_eq!((page.apps.len(), page.totals.apps), (1, 4));
        seen.push(page.apps[0].app.to_string());
        let Some(next) = page.next else { break };
        query = format!("?limit=1&after={next}");
    }
    assert_eq!(seen, ["a1", "blog", "shop", "shop-next"]);
    let found = apps(&edge, "?search=SHOP").await;
    assert_eq!((names(&found), found.totals.apps, found.totals.environments), (vec!["shop", "shop-next"], 2, 4));
    let page = apps(&edge, "?search=shop&limit=1").await;
    assert_eq!((names(&page), page.next.as_deref()), (vec!["shop"], Some("shop")));
    assert_eq!(names(&apps(&edge, "?search=shop&limit=1&after=shop").await), ["shop-next"]);
    assert_eq!(names(&apps(&edge, "?search=nothing-of-this").await), [""; 0]);
    for query in ["?after=-", "?after=", "?limit=x", "?limit=0", "?search=*", "?page=2"] {
        let answer = got(edge.api(Method::GET, &format!("/v1/apps{query}"))).await;
        assert_eq!(answer.code(), Code::BadRequest, "{query}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_token_sees_its_own_app_and_environment_and_nobody_a_deleted_app() {
    let edge = started().await;
    let of_app = edge.token_for(Scope::Read, Some("shop"), None).await;
    let list = apps_of(&edge, &of_app, "").await;
    assert_eq!((names(&list), list.totals.apps, list.totals.environments), (vec!["shop"], 1, 3));
    assert_eq!(names(&apps_of(&edge, &of_app, "?search=blog").await), [""; 0]);
    let of_staging = edge.token_for(Scope::Read, Some("shop"), Some("staging")).await;
    let list = apps_of(&edge, &of_staging, "").await;
    let shop = &list.apps[0];
    assert_eq!((shop.versions, shop.environments_total, list.totals.environments), (None, 1, 1));
    assert_eq!(shop.environments[0].name.as_str(), "staging");
    let stranger = edge.token_for(Scope::Admin, Some("unknown"), None).await;
    let list = apps_of(&edge, &stranger, "").await;
    assert_eq!((names(&list), list.totals.apps), (vec![], 0));
    let deleted = got(edge.api(Method::DELETE, "/v1/apps/shop")).await;
    assert_eq!(deleted.status, StatusCode::OK, "{deleted:?}");
    let list = apps(&edge, "").await;
    assert_eq!((names(&list), list.totals.environments), (vec!["a1", "blog", "shop-next"], 3));
    let back = got(edge.api(Method::POST, "/v1/apps/shop/undelete").json(&json!({}))).await;
    assert_eq!(back.status, StatusCode::OK, "{back:?}");
    // The list is the same after a restart.
    let edge = edge.restart().await;
    assert_eq!(names(&apps(&edge, "").await), ["a1", "blog", "shop", "shop-next"]);
    edge.stop().await;
}

#[tokio::test]
async fn one_app_is_shown_as_the_list_has_it_for_each_token() {
    let edge = started().await;
    let path = "/v1/apps/shop";
    let of_app = edge.token_for(Scope::Read, Some("shop"), None).await;
    let of_staging = edge.token_for(Scope::Read, Some("shop"), Some("staging")).await;
    for token in [edge.admin_token(), &of_app, &of_staging] {
        let list = apps_of(&edge, token, "?search=shop").await;
        let one: AppInfo = got(edge.ask(Method::GET, path, token)).await.json();
        assert_eq!(Some(&one), list.apps.first());
    }
    let stranger = edge.token_for(Scope::Read, Some("blog"), None).await;
    assert_eq!(got(edge.ask(Method::GET, path, &stranger)).await.code(), Code::NotFound);
    assert_eq!(got(edge.api(Method::GET, "/v1/apps/unknown")).await.code(), Code::NotFound);
    assert_eq!(got(edge.api(Method::DELETE, path)).await.status, StatusCode::OK);
    assert_eq!(got(edge.api(Method::GET, path)).await.code(), Code::Deleted);
    edge.stop().await;
}
