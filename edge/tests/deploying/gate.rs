//! Checks before a switch: the version must answer the configured requests, or the previous version stays live.

use std::net::SocketAddr;

use devanture_config::api::{
    BeginDeploy, Deploy, DeployKind, DeployOptions, DeployReport, History, Outcome, StepState,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::SiteFile;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::deploying::backend::{Backend, dead};
use crate::support::{Files, Got, RunningEdge, edge, got, manifest};

/// Pushes with the tables of a `devanture.toml`.
pub(crate) async fn push(
    edge: &RunningEdge,
    environment: &str,
    toml: &str,
    options: DeployOptions,
    files: Files<'_>,
) -> Result<DeployReport, Box<Problem>> {
    let site = SiteFile::parse("devanture.toml", toml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mut manifest = manifest(files);
    (manifest.base, manifest.env) = (site.base, site.env);
    let begin = BeginDeploy { manifest, source: Default::default(), options };
    edge.try_push("shop", environment, begin, files).await
}

async fn push_prod(edge: &RunningEdge, toml: &str, files: Files<'_>) -> Result<DeployReport, Box<Problem>> {
    push(edge, "prod", toml, DeployOptions::default(), files).await
}

pub(crate) async fn history(edge: &RunningEdge, environment: &str) -> History {
    got(edge.api(Method::GET, &format!("/v1/apps/shop/environments/{environment}/history"))).await.json()
}

pub(crate) async fn post(edge: &RunningEdge, path: &str, body: Value) -> Got {
    got(edge.api(Method::POST, &format!("/v1/apps/shop/environments/{path}")).json(&body)).await
}

fn routed(to: SocketAddr) -> String {
    format!("[[routes]]\npath = \"/api/*\"\nto = \"http://{to}\"\ntimeout_ms = 300\n")
}

const HEALTH: &str = "[[smoke]]\npath = \"/\"\ncontains = \"Shop\"\n[[smoke]]\npath = \"/api/health?deep\"\n\
    contains = \"deep\"\nheaders = { content-type = \"application/json\" }\n";

#[tokio::test]
async fn a_version_that_answers_as_its_checks_say_goes_live_after_they_were_listed() {
    let (edge, backend) = (edge().start().await, Backend::start());
    let toml = format!("{HEALTH}[[smoke]]\npath = \"/gone\"\nstatus = 404\n{}", routed(backend.address));
    let report = push_prod(&edge, &toml, &[("index.html", b"<h1>Shop</h1>")]).await.unwrap();
    assert!(report.switched);
    let names: Vec<&str> = report.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["verify", "compress", "prepare", "smoke", "switch"]);
    let smoke = report.steps.iter().find(|step| step.name == "smoke").unwrap();
    assert_eq!((smoke.state, smoke.detail.as_str()), (StepState::Done, "3 checks passed"));
    // The backend received a request like a visitor's.
    let heads = backend.heads();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with("get /api/health?deep http/1.1"), "{heads:?}");
    let host = format!("host: shop.localhost:{}", edge.https().port());
    assert!(heads[0].contains(&host) && heads[0].contains("x-forwarded-proto: https"), "{heads:?}");
    // A push of the same content changes nothing, and runs no check.
    push_prod(&edge, &toml, &[("index.html", b"<h1>Shop</h1>")]).await.unwrap();
    assert_eq!(backend.requests(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn the_first_version_is_asked_with_the_settings_that_it_will_have() {
    let edge = edge().start().await;
    edge.push("shop", &[("index.html", b"Shop")]).await;
    let set = json!({"set": {"API_URL": {"value": "https://api.example.org", "public": true}}});
    let path = "/v1/apps/shop/environments/staging/settings";
    assert_eq!(got(edge.api(Method::PATCH, path).json(&set)).await.status, StatusCode::OK);
    let check = |text: &str| format!("[[smoke]]\npath = \"/.well-known/devanture/env.json\"\ncontains = \"{text}\"\n");
    let staging = async |toml: &str, text: &str| {
        push(&edge, "staging", toml, DeployOptions::default(), &[("index.html", text.as_bytes())]).await
    };
    assert_eq!(staging(&check("example.com"), "a").await.unwrap_err().code, Code::SmokeFailed);
    staging(&check("https://api.example.org"), "b").await.unwrap();
    // As with a live version.
    let set = json!({"set": {"API_URL": {"value": "https://two.example.org", "public": true}}});
    assert_eq!(got(edge.api(Method::PATCH, path).json(&set)).await.status, StatusCode::OK);
    staging(&check("https://two.example.org"), "c").await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn a_backend_learns_who_deploys_and_never_that_the_edges_machine_asks() {
    let (edge, backend) = (edge().start().await, Backend::start());
    let toml = format!("{HEALTH}{}", routed(backend.address));
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let stored = push(&edge, "prod", &toml, options, &[("index.html", b"Shop")]).await.unwrap();
    let ca = reqwest::Certificate::from_pem(&std::fs::read(edge.ca()).unwrap()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([ca])
        .local_address(std::net::IpAddr::from([127, 0, 0, 9]))
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("https://{}/v1/apps/shop/environments/prod/switch", edge.admin());
    let request = client.post(url).bearer_auth(edge.admin_token()).json(&json!({"version": stored.version}));
    assert_eq!(got(request).await.status, StatusCode::OK);
    let heads = backend.heads();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].contains("x-forwarded-for: 127.0.0.9\r\n"), "{}", heads[0]);
    assert!(heads[0].contains("forwarded: for=127.0.0.9;") && !heads[0].contains("127.0.0.1\r"), "{}", heads[0]);
    edge.stop().await;
}

#[tokio::test]
async fn the_result_of_each_path_is_an_event() {
    let (edge, backend) = (edge().start().await, Backend::start());
    let toml = format!("{HEALTH}{}", routed(backend.address));
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let stored = push(&edge, "prod", &toml, options, &[("index.html", b"Shop")]).await.unwrap();
    let request = edge.api(Method::POST, "/v1/apps/shop/environments/prod/switch");
    let body = json!({"version": stored.version});
    let events = got(request.header("accept", "text/event-stream").json(&body)).await.text();
    let place = |text: &str| events.find(text).unwrap_or_else(|| panic!("{text} is not in {events}"));
    let order = [r#""detail":"/  200 ("#, r#""detail":"/api/health?deep  200 ("#, "2 checks passed", "event: done"];
    assert!(order.map(place).is_sorted(), "{events}");
    assert_eq!(edge.live("shop").await, Some(stored.version));
    edge.stop().await;
}

#[tokio::test]
async fn content_that_is_not_what_a_check_says_keeps_the_old_version() {
    let edge = edge().with_app("shop", &[("index.html", b"<h1>Shop</h1>")]).start().await;
    let before = edge.live("shop").await;
    let toml = "[[smoke]]\npath = \"/\"\ncontains = \"Shop\"\n[[smoke]]\npath = \"/cart\"\n";
    let page = b"<h1>It works!</h1>\x1b[2J";
    let problem = push_prod(&edge, toml, &[("index.html", page)]).await.unwrap_err();
    assert_eq!((problem.code, problem.status), (Code::SmokeFailed, 422));
    for text in
        ["2 of 2", "`/`: status 200, but `Shop`", "<h1>It works!</h1>\\u{1b}[2J", "`/cart`: status 404 where 200"]
    {
        assert!(problem.detail.contains(text), "{}", problem.detail);
    }
    assert_eq!(edge.live("shop").await, before);
    let entry = history(&edge, "prod").await.deploys.remove(0);
    assert_eq!(entry.outcome, Outcome::Failed);
    let last = entry.steps.last().unwrap();
    assert_eq!((last.name.as_str(), last.state), ("smoke", StepState::Failed));
    // The version is stored, and the preview works.
    let preview = format!("{}--shop.localhost", entry.version.short());
    assert_eq!(edge.get(&preview, "/").await.body, &page[..]);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "<h1>Shop</h1>");
    edge.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_dead_or_slow_keeps_the_old_version_unless_somebody_insists() {
    let edge = edge().with_app("shop", &[("index.html", b"Shop")]).start().await;
    let before = edge.live("shop").await;
    let toml = format!("{HEALTH}{}", routed(dead()));
    let files: Files<'_> = &[("index.html", b"Shop two")];
    let problem = push_prod(&edge, &toml, files).await.unwrap_err();
    assert_eq!(problem.code, Code::SmokeFailed);
    assert!(problem.detail.contains("1 of 2") && problem.detail.contains("status 502 where 200"), "{}", problem.detail);
    let slow = Backend::start();
    slow.is_silent();
    let toml = format!("{HEALTH}timeout_ms = 100\n{}", routed(slow.address));
    let problem = push_prod(&edge, &toml, files).await.unwrap_err();
    assert!(problem.detail.contains("no whole answer within 100 ms"), "{}", problem.detail);
    assert_eq!(edge.live("shop").await, before);
    let options = DeployOptions { no_smoke: true, ..DeployOptions::default() };
    let report = push(&edge, "prod", &toml, options, files).await.unwrap();
    assert_eq!(edge.live("shop").await, Some(report.version));
    let entry = history(&edge, "prod").await.deploys.remove(0);
    let note = entry.steps.iter().find(|step| step.name == "smoke").unwrap();
    assert_eq!((note.state, note.detail.as_str()), (StepState::Skipped, "left out, as `no_smoke` says"));
    edge.stop().await;
}

#[tokio::test]
async fn a_promotion_is_asked_as_the_environment_that_it_goes_to_will_answer() {
    let (edge, staging) = (edge().start().await, Backend::start());
    let toml = format!(
        "{HEALTH}[[env.staging.routes]]\npath = \"/api/*\"\nto = \"http://{}\"\n\
         [[env.prod.routes]]\npath = \"/api/*\"\nto = \"http://{}\"\n",
        staging.address,
        dead()
    );
    let report = push(&edge, "staging", &toml, DeployOptions::default(), &[("index.html", b"Shop")]).await.unwrap();
    let refused = post(&edge, "prod/promote", json!({"from": "staging"})).await;
    assert_eq!(refused.code(), Code::SmokeFailed);
    assert_eq!(edge.live("shop").await, None);
    assert_eq!(post(&edge, "prod/promote", json!({"from": "staging", "no_smoke": true})).await.status, StatusCode::OK);
    assert_eq!(edge.live("shop").await, Some(report.version));
    edge.stop().await;
}

#[tokio::test]
async fn going_back_to_what_was_live_is_not_held_up_and_going_elsewhere_is() {
    let (edge, backend) = (edge().start().await, Backend::start());
    let toml = format!("{HEALTH}{}", routed(backend.address));
    let first = push_prod(&edge, &toml, &[("index.html", b"Shop one")]).await.unwrap();
    push_prod(&edge, &toml, &[("index.html", b"Shop two")]).await.unwrap();
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let never = push(&edge, "prod", &toml, options, &[("index.html", b"Shop three")]).await.unwrap();
    backend.answers(500);
    let refused = post(&edge, "prod/rollback", json!({"version": never.version})).await;
    assert_eq!(refused.code(), Code::SmokeFailed);
    let body = json!({"version": first.version, "reason": "It was better"});
    assert_eq!(post(&edge, "prod/switch", body.clone()).await.code(), Code::SmokeFailed);
    // The attempt and the reason for the failure are visible; a dry run leaves no entry.
    assert_eq!(post(&edge, "prod/switch?dry_run=true", body).await.status, StatusCode::OK);
    let unlike = json!({"version": first.version, "if_live": first.version});
    assert_eq!(post(&edge, "prod/switch", unlike).await.code(), Code::LiveMoved);
    let entries = history(&edge, "prod").await.deploys;
    let refused = |entry: &Deploy| (entry.outcome, entry.problem.as_ref().map(|problem| problem.code));
    let kinds: Vec<_> = entries.iter().take(3).map(|entry| (entry.kind, refused(entry))).collect();
    let failed = (Outcome::Failed, Some(Code::SmokeFailed));
    assert_eq!(kinds[..2], [(DeployKind::Switch, failed), (DeployKind::Rollback, failed)]);
    assert_eq!((entries[0].version, entries[0].reason.as_deref()), (first.version, Some("It was better")));
    assert_eq!((entries[0].previous, kinds[2].0), (edge.live("shop").await, DeployKind::Push));
    let last = entries[0].steps.last().unwrap();
    assert_eq!((last.name.as_str(), last.state), ("smoke", StepState::Failed));
    // No rollback goes to the refused version.
    let request = backend.requests();
    assert_eq!(post(&edge, "prod/rollback", json!({})).await.status, StatusCode::OK);
    assert_eq!((edge.live("shop").await, backend.requests()), (Some(first.version), request));
    assert_eq!(post(&edge, "prod/rollback", json!({})).await.code(), Code::NoPrevious);
    edge.stop().await;
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let edge = edge().start().await;
    let files: Files<'_> = &[("index.html", b"Shop"), ("a/index.html", b"A")];
    let problem = push_prod(&edge, "[[smoke]]\npath = \"/a\"\n", files).await.unwrap_err();
    assert!(problem.detail.contains("status 307 where 200 is expected, to /a/"), "{}", problem.detail);
    let toml = "[[smoke]]\npath = \"/a\"\nstatus = 307\nheaders = { Location = \"/a/\" }\nmethod = \"HEAD\"\n";
    push_prod(&edge, toml, files).await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn an_applications_page_does_not_stand_in_for_a_script_that_is_missing() {
    let edge = edge().start().await;
    let spa = "not_found = \"single-page-application\"\n[[smoke]]\npath = \"/deep/link\"\ncontains = \"Shop\"\n";
    let files: Files<'_> = &[("index.html", b"Shop")];
    push_prod(&edge, spa, files).await.unwrap();
    let problem = push_prod(&edge, &format!("{spa}[[smoke]]\npath = \"/app.js\"\n"), files).await.unwrap_err();
    assert!(problem.detail.contains("`/app.js`: status 404"), "{}", problem.detail);
    edge.stop().await;
}

#[tokio::test]
async fn checks_beyond_a_limit_and_those_that_cannot_be_sent_are_refused_at_once() {
    let edge = edge().with_limit("smoke_checks_max", 1).with_limit("watch_s_max", 60).start().await;
    let files: Files<'_> = &[("index.html", b"Shop")];
    let problem = push_prod(&edge, HEALTH, files).await.unwrap_err();
    assert_eq!(problem.code, Code::BadManifest);
    assert!(problem.hint.unwrap().contains("smoke_checks_max"));
    let entry = serde_json::to_value(manifest(files)).unwrap();
    for check in [json!({"path": "x"}), json!({"path": "/", "status": 99}), json!({"path": "/", "follow": true})] {
        let mut manifest = entry.clone();
        manifest["base"] = json!({"smoke": [check]});
        let refused = post(&edge, "prod/deploys", json!({"manifest": manifest})).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
    }
    for seconds in [0, 61] {
        let options = DeployOptions { watch_s: Some(seconds), ..DeployOptions::default() };
        assert_eq!(push(&edge, "prod", "", options, files).await.unwrap_err().code, Code::BadRequest);
    }
    edge.stop().await;
}
