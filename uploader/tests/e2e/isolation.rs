//! Isolation of concurrent pushes, tokens and apps.

use devanture_config::api::{BeginDeploy, DeployOptions, Source};
use devanture_config::manifest::FileEntry;
use devanture_config::{Digest, Manifest};
use serde_json::{Value, json};

use crate::support::edge::{Edge, edge};

/// Calls the API with a token of the test's choice.
async fn call(edge: &Edge, token: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("https://{}{path}", edge.admin());
    let request = edge.client(true).request(method.parse().unwrap(), url).bearer_auth(token);
    let request = body.iter().fold(request, |request, body| request.json(body));
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

fn manifest(page: &str) -> Manifest {
    let file = FileEntry { hash: Digest::of(page.as_bytes()), size: page.len() as u64, media_type: None };
    Manifest::of_files([("index.html".parse().unwrap(), file)].into())
}

/// Begins a push of a page; returns the deploy.
async fn begin(edge: &Edge, app: &str, page: &str, options: DeployOptions) -> String {
    let begin = BeginDeploy { manifest: manifest(page), source: Source::default(), options };
    let path = format!("/v1/apps/{app}/environments/prod/deploys");
    let (status, begun) = edge.api("POST", &path, Some(serde_json::to_value(begin).unwrap())).await;
    assert_eq!(status, 201, "{begun}");
    begun["deploy"].as_str().unwrap().to_owned()
}

async fn send(edge: &Edge, token: &str, app: &str, deploy: &str, page: &str) -> u16 {
    let url = format!("https://{}/v1/apps/{app}/blobs/{}?deploy={deploy}", edge.admin(), Digest::of(page.as_bytes()));
    let answer = edge.client(true).put(url).bearer_auth(token).body(page.to_owned()).send().await.unwrap();
    answer.status().as_u16()
}

async fn finish(edge: &Edge, token: &str, app: &str, deploy: &str) -> (u16, Value) {
    call(edge, token, "POST", &format!("/v1/apps/{app}/deploys/{deploy}/finish"), None).await
}

/// Pushes a page from begin to finish.
async fn push(edge: &Edge, app: &str, page: &str, options: DeployOptions) -> Value {
    let deploy = begin(edge, app, page, options).await;
    assert_eq!(send(edge, &edge.token, app, &deploy, page).await, 204);
    let (status, report) = finish(edge, &edge.token, app, &deploy).await;
    assert_eq!(status, 200, "{report}");
    report
}

async fn history(edge: &Edge) -> usize {
    let (_, history) = edge.api("GET", "/v1/apps/shop/environments/prod/history", None).await;
    history["deploys"].as_array().unwrap().len()
}

/// Law 11.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_environment_has_no_part_in_a_push_to_another() {
    let edge = edge().start();
    let staging = edge.new_token(&["--name", "s", "--app", "shop", "--env", "staging", "--scope", "push"]);
    let deploy = begin(&edge, "shop", "one", DeployOptions::default()).await;
    assert_eq!(send(&edge, &staging, "shop", &deploy, "one").await, 403);
    assert_eq!(send(&edge, &edge.token, "shop", &deploy, "one").await, 204);
    let (status, problem) = finish(&edge, &staging, "shop", &deploy).await;
    assert_eq!((status, &problem["code"]), (403, &"forbidden".into()));
    // A token of a second app does not even learn of the push.
    let other = edge.new_token(&["--name", "o", "--app", "other", "--scope", "push"]);
    assert_eq!(finish(&edge, &other, "other", &deploy).await.0, 404);
    assert_eq!(finish(&edge, &other, "shop", &deploy).await.0, 404);
    assert_eq!(finish(&edge, &edge.token, "shop", &deploy).await.0, 200);
}

/// Law 11: a name below the edge's domains is, or may become, some app's own.
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_of_one_app_does_not_take_the_name_of_another() {
    let edge = edge().start();
    let own_admin = edge.new_token(&["--name", "a", "--app", "shop", "--scope", "admin"]);
    let begin = |host: &str| {
        let mut manifest = manifest("mine");
        manifest.base.hostnames = Some(vec![host.parse().unwrap()]);
        json!({"manifest": manifest})
    };
    let path = "/v1/apps/shop/environments/prod/deploys";
    let (status, problem) = call(&edge, &own_admin, "POST", path, Some(begin("victim.localhost"))).await;
    assert_eq!((status, &problem["code"]), (403, &"forbidden".into()));
    assert_eq!(call(&edge, &own_admin, "POST", path, Some(begin("shop.example"))).await.0, 201);
    assert_eq!(edge.api("POST", path, Some(begin("victim.localhost"))).await.0, 201);
}

/// The newest push stays, even without any change.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_changed_nothing_is_not_undone_by_an_older_one() {
    let edge = edge().start();
    let first = push(&edge, "shop", "live", DeployOptions::default()).await;
    let older = begin(&edge, "shop", "older", DeployOptions::default()).await;
    send(&edge, &edge.token, "shop", &older, "older").await;
    let again = push(&edge, "shop", "live", DeployOptions::default()).await;
    assert_eq!((&again["switched"], &again["version"]), (&false.into(), &first["version"]));
    assert_eq!(history(&edge).await, 1, "a push that changes nothing adds nothing");
    let (status, problem) = finish(&edge, &edge.token, "shop", &older).await;
    assert_eq!((status, &problem["code"]), (409, &"superseded".into()));
    assert_eq!(edge.json("shop", &["status"])["version"], first["version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pushes_of_equal_content_at_once_both_succeed() {
    let edge = edge().start();
    let older = begin(&edge, "shop", "same", DeployOptions::default()).await;
    let newer = begin(&edge, "shop", "same", DeployOptions::default()).await;
    for deploy in [&older, &newer] {
        assert_eq!(send(&edge, &edge.token, "shop", deploy, "same").await, 204);
    }
    assert_eq!(finish(&edge, &edge.token, "shop", &newer).await.1["switched"], true);
    let (status, report) = finish(&edge, &edge.token, "shop", &older).await;
    assert_eq!((status, &report["switched"]), (200, &false.into()), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn storing_what_is_stored_adds_nothing_to_history() {
    let edge = edge().start();
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    push(&edge, "shop", "stored", options.clone()).await;
    push(&edge, "shop", "stored", options).await;
    assert_eq!(history(&edge).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_no_environment_however_one_comes_to_it() {
    let edge = edge().start();
    let id = push(&edge, "shop", "one", DeployOptions::default()).await["version"].clone();
    let body = Some(json!({"version": id}));
    assert_eq!(edge.api("PUT", "/v1/apps/shop/aliases/feature", body.clone()).await.0, 200);
    let environment = "/v1/apps/shop/environments/feature";
    for (operation, body) in [("switch", body), ("promote", Some(json!({"from": "prod"})))] {
        let (status, problem) = edge.api("POST", &format!("{environment}/{operation}"), body).await;
        assert_eq!((status, &problem["code"]), (409, &"alias_taken".into()), "{operation}");
    }
    assert_eq!(edge.api("PUT", "/v1/apps/shop/aliases/prod", Some(json!({"version": id}))).await.0, 409);
}

/// Law 11: an app does not learn of blobs stored by a second app.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_app_has_stored_does_not_show_in_a_report() {
    let edge = edge().start();
    let page = "<p>the same words in two apps</p>".repeat(100);
    let answer_of = async |app: &str| {
        let report = push(&edge, app, &page, DeployOptions::default()).await;
        let steps = report["steps"].as_array().unwrap().clone();
        let details: Vec<Value> = steps.iter().map(|step| step["detail"].clone()).collect();
        (report["files"].clone(), report["bytes"].clone(), details[..2].to_vec())
    };
    assert_eq!(answer_of("first").await, answer_of("second").await);
}

/// Every answer of a version names the version, and is counted for the version.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_the_version_that_it_is_of() {
    let edge = edge().start();
    let report = push(&edge, "shop", "page", DeployOptions::default()).await;
    let id = report["version"].as_str().unwrap()[..12].to_owned();
    let client = edge.client(true);
    let preview = format!("{id}--shop.localhost");
    for (method, host, path, range, status) in [
        ("GET", "shop.localhost", "/missing", "", 404),
        ("POST", "shop.localhost", "/", "", 405),
        ("POST", "shop.localhost", "/.well-known/devanture/release.json", "", 405),
        ("GET", "shop.localhost", "/", "bytes=99-", 416),
        ("GET", "shop.localhost", "/a%5Cb", "", 400),
        ("GET", preview.as_str(), "/missing", "", 404),
    ] {
        let mut request = client.request(method.parse().unwrap(), edge.url(host, path));
        if !range.is_empty() {
            request = request.header("range", range);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.headers()["devanture-version"], id.as_str(), "{method} {path}");
        assert_eq!(answer.headers().contains_key("x-robots-tag"), host == preview, "{method} {host}");
    }
    let (_, metrics) = edge.api("GET", "/metrics", None).await;
    let counted =
        format!("devanture_requests_total{{app=\"shop\",environment=\"prod\",version=\"{id}\",status=\"4xx\"}} 5");
    assert!(metrics.as_str().unwrap().contains(&counted), "{metrics}");
}

/// Law 11.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_begins_push_after_push_does_not_keep_another_out() {
    let edge = edge().with_limit("pushes_max", 4).start();
    for number in 0..4 {
        begin(&edge, "greedy", &format!("page {number}"), DeployOptions::default()).await;
    }
    let begin = json!({"manifest": manifest("one more")});
    let (status, problem) = edge.api("POST", "/v1/apps/greedy/environments/prod/deploys", Some(begin)).await;
    assert_eq!((status, &problem["code"]), (503, &"busy".into()));
    push(&edge, "shop", "mine", DeployOptions::default()).await;
}
