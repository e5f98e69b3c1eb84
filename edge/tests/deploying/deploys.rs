//! Deploys as observed by others: running deploys with steps, failed deploys, and a deploy followed to the end.

use devanture_config::api::{
    BeginDeploy, DeployBegun, DeployEntry, DeployList, DeployOptions, DeployState, Scope, Source,
};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::gate::push;
use crate::support::archives::archive;
use crate::support::{RunningEdge, edge, eventually, got, manifest};

const SITE: &[(&str, &[u8])] = &[("index.html", b"a site")];
const DEPLOYS: &str = "/v1/apps/shop/environments/prod/deploys";

async fn deploys(edge: &RunningEdge, query: &str) -> DeployList {
    let answer = got(edge.api(Method::GET, &format!("{DEPLOYS}{query}"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

/// Follows a deploy.
async fn follow(edge: &RunningEdge, deploy: &str, token: &str) -> reqwest::Response {
    let request = edge.ask(Method::GET, &format!("/v1/apps/shop/deploys/{deploy}"), token);
    let response = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &"text/event-stream".parse().unwrap())
    );
    response
}

/// Name and data of each event until `is_enough` returns true or the stream ends.
async fn events(response: &mut reqwest::Response, is_enough: impl Fn(&str, &Value) -> bool) -> Vec<(String, Value)> {
    let (mut text, mut events) = (String::new(), Vec::new());
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            if let Some((name, data)) = event.strip_prefix("event: ").and_then(|event| event.split_once("\ndata: ")) {
                events.push((name.to_owned(), serde_json::from_str(data).unwrap()));
            }
            text = rest.to_owned();
        }
        if events.last().is_some_and(|(name, data)| is_enough(name, data)) {
            break;
        }
    }
    events
}

/// Next connection to a backend that answers at the test's command.
async fn asked(backend: &TcpListener) -> TcpStream {
    let (mut stream, _) = backend.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream
}

fn first(list: &DeployList) -> &DeployEntry {
    list.deploys.first().expect("a deploy is listed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_is_listed_and_followed_while_it_is_under_way() {
    let edge = edge().start().await;
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let toml = format!(
        "[[routes]]\npath = \"/api/*\"\nto = \"http://{}\"\n[[smoke]]\npath = \"/api/health\"\n",
        backend.local_addr().unwrap()
    );
    let pushing = tokio::spawn({
        let edge = edge.handle();
        let options = DeployOptions { reason: Some("to see it".to_owned()), ..DeployOptions::default() };
        async move { push(&edge, "prod", &toml, options, SITE).await.unwrap() }
    });
    // The deploy waits for the check alone; the app does not exist yet.
    let mut check = asked(&backend).await;
    let list = deploys(&edge, "").await;
    let running = first(&list);
    assert_eq!((running.state, running.step.as_deref(), running.ended_ms), (DeployState::Running, Some("smoke"), None));
    assert_eq!((running.who.as_str(), running.reason.as_deref()), ("test", Some("to see it")));
    assert!(running.started_ms > 1_700_000_000_000 && running.version.is_some(), "{running:?}");
    let names: Vec<&str> = running.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["verify", "compress", "prepare", "smoke"]);
    let mut followed = follow(&edge, &running.deploy, edge.admin_token()).await;
    let before = events(&mut followed, |name, data| name == "step" && data["name"] == "smoke").await;
    assert_eq!(before.iter().map(|(_, data)| data["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
    check.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let after = events(&mut followed, |_, _| false).await;
    let (last, report) = after.last().unwrap();
    let pushed = pushing.await.unwrap();
    assert_eq!((last.as_str(), report["version"].as_str()), ("done", Some(&*pushed.version.to_string())));
    assert!(after.iter().any(|(_, data)| data["name"] == "switch" && data["state"] == "done"), "{after:?}");
    let list = deploys(&edge, "").await;
    let ended = first(&list);
    assert_eq!((list.deploys.len(), ended.state, ended.step.as_deref()), (1, DeployState::Live, None));
    assert!(ended.ended_ms >= Some(ended.started_ms) && ended.deploy == running.deploy, "{ended:?}");
    // The events of a completed deploy arrive at once.
    let again = events(&mut follow(&edge, &running.deploy, edge.admin_token()).await, |_, _| false).await;
    assert_eq!(again.last().map(|(name, data)| (name.as_str(), data)), Some(("done", report)));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_deploys_are_listed_with_why_and_pages_go_on_through_the_history() {
    let edge = edge().with_app("shop", SITE).start().await;
    let failing = "[[smoke]]\npath = \"/no\"\n";
    push(&edge, "prod", failing, DeployOptions::default(), SITE).await.unwrap_err();
    for body in [json_of("lock"), json_of("other")] {
        assert_eq!(
            got(edge.api(Method::PUT, "/v1/apps/shop/environments/prod/lock").json(&body)).await.status,
            StatusCode::OK
        );
    }
    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/shop/environments/prod/lock")).await.status, StatusCode::OK);
    // An invalid archive fails before a version exists, and is in no history.
    let bad = archive("zip", &[("index.html", b"x"), ("devanture.toml", b"no_such_key = 1")]);
    let refused = edge.api(Method::POST, &format!("{DEPLOYS}?message=Bad")).header("content-type", "application/zip");
    assert_eq!(got(refused.body(bad)).await.code(), Code::BadConfig);
    let files: &[(&str, &[u8])] = &[("index.html", b"never sent")];
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options: DeployOptions::default() };
    let begun: DeployBegun = got(edge.api(Method::POST, DEPLOYS).json(&begin)).await.json();
    let list = deploys(&edge, "?limit=50").await;
    let states: Vec<_> =
        list.deploys.iter().map(|entry| (entry.state, entry.error.as_ref().map(|why| why.code))).collect();
    assert_eq!(
        states,
        [
            (DeployState::Begun, None),
            (DeployState::Failed, Some(Code::BadConfig)),
            (DeployState::Failed, Some(Code::SmokeFailed)),
            (DeployState::Live, None),
        ]
    );
    assert_eq!((list.deploys[1].message.as_deref(), list.deploys[1].version), (Some("Bad"), None));
    assert_eq!((&list.deploys[0].deploy, list.next), (&begun.deploy, None));
    // The history is the same page by page, and deploys outside every history are on the first page.
    let (mut query, mut found) = ("?limit=1".to_owned(), Vec::new());
    loop {
        let page = deploys(&edge, &query).await;
        found.extend(page.deploys.into_iter().map(|entry| entry.deploy));
        let Some(next) = page.next else { break };
        query = format!("?limit=1&before={next}");
    }
    assert_eq!(found, list.deploys.iter().map(|entry| entry.deploy.clone()).collect::<Vec<_>>());
    let followed = events(&mut follow(&edge, &list.deploys[2].deploy, edge.admin_token()).await, |_, _| false).await;
    assert_eq!(
        followed.last().map(|(name, data)| (name.as_str(), &data["code"])),
        Some(("problem", &"smoke_failed".into()))
    );
    assert_eq!(got(edge.api(Method::GET, &format!("{DEPLOYS}?before=x"))).await.code(), Code::BadRequest);
    assert_eq!(got(edge.api(Method::GET, "/v1/apps/no/environments/prod/deploys")).await.code(), Code::NotFound);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_push_that_fails_is_listed_although_there_is_no_app() {
    let edge = edge().start().await;
    // The rules are parsed once the upload is complete, and before the version is stored.
    let bad: &[(&str, &[u8])] = &[("index.html", b"a site"), ("_redirects", b"/only-one-word\n")];
    let refused = push(&edge, "prod", "", DeployOptions::default(), bad).await.unwrap_err();
    assert_eq!(got(edge.api(Method::GET, "/v1/apps/shop")).await.code(), Code::NotFound);
    let list = deploys(&edge, "").await;
    let failed = first(&list);
    let code = failed.error.as_ref().map(|error| error.code);
    assert_eq!((list.deploys.len(), failed.state, code), (1, DeployState::Failed, Some(refused.code)));
    assert!(failed.version.is_some() && failed.ended_ms.is_some());
    push(&edge, "prod", "", DeployOptions::default(), SITE).await.unwrap();
    assert_eq!(first(&deploys(&edge, "").await).state, DeployState::Live);
    edge.stop().await;
}

/// Law 11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_owner_of_a_name_sees_no_deploy_of_the_one_before() {
    let edge = edge().with_app("shop", SITE).start().await;
    let bad = || archive("zip", &[("index.html", b"x"), ("devanture.toml", b"no_such_key = 1")]);
    let fail = async || {
        let archive = edge.api(Method::POST, &format!("{DEPLOYS}?message=Secret")).body(bad());
        assert_eq!(got(archive.header("content-type", "application/zip")).await.code(), Code::BadConfig);
    };
    fail().await;
    let files: &[(&str, &[u8])] = &[("index.html", b"never sent")];
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options: DeployOptions::default() };
    let begun: DeployBegun = got(edge.api(Method::POST, DEPLOYS).json(&begin)).await.json();
    let failed = deploys(&edge, "").await.deploys.swap_remove(1);
    assert_eq!((failed.state, failed.message.as_deref()), (DeployState::Failed, Some("Secret")));
    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/shop?purge=true")).await.status, StatusCode::OK);
    // Before the next owner's first push the app does not exist; afterwards only the next owner's deploys are visible.
    assert_eq!(got(edge.api(Method::GET, DEPLOYS)).await.code(), Code::NotFound);
    for deploy in [&failed.deploy, &begun.deploy] {
        let found = got(edge.api(Method::GET, &format!("/v1/apps/shop/deploys/{deploy}"))).await;
        assert_eq!(found.code(), Code::NotFound, "{}", found.text());
    }
    let own = push(&edge, "prod", "", DeployOptions::default(), SITE).await.unwrap();
    fail().await;
    let list = deploys(&edge, "").await;
    let states: Vec<_> = list.deploys.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [DeployState::Failed, DeployState::Live], "{list:?}");
    assert!(list.deploys[0].deploy != failed.deploy && Some(&list.deploys[1].deploy) == own.deploy.as_ref());
    edge.stop().await;
}

fn json_of(reason: &str) -> Value {
    serde_json::json!({ "reason": reason })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_deploy_hears_no_more_once_the_token_is_revoked() {
    let edge = edge().with_app("shop", SITE).start().await;
    let files: &[(&str, &[u8])] = &[("index.html", b"never sent")];
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options: DeployOptions::default() };
    let begun: DeployBegun = got(edge.api(Method::POST, DEPLOYS).json(&begin)).await.json();
    let token = edge.token_for(Scope::Read, Some("shop"), Some("prod")).await;
    let other = edge.token_for(Scope::Admin, Some("shop"), Some("staging")).await;
    let path = format!("/v1/apps/shop/deploys/{}", begun.deploy);
    let refused = edge.ask(Method::GET, &path, &other).header("accept", "text/event-stream");
    assert_eq!(got(refused).await.code(), Code::Forbidden);
    let mut followed = follow(&edge, &begun.deploy, &token).await;
    let id = token.split('_').nth(1).unwrap().to_owned();
    let revoked = got(edge.api(Method::DELETE, &format!("/v1/tokens/{id}"))).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{}", revoked.text());
    // The stream ends cleanly.
    assert_eq!(events(&mut followed, |_, _| false).await, []);
    eventually("the token opens nothing", async || {
        got(edge.ask(Method::GET, &path, &token)).await.code() == Code::BadToken
    })
    .await;
    edge.stop().await;
}
