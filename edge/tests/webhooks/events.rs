//! Sent events, their receivers, and the content of messages.

use devanture_config::api::{BeginDeploy, DeliveryState, DeployOptions, Source, WebhookData, WebhookPayload};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::world::{APP, add, add_for, list, lock, newest_is, set, show, signatures_by};
use crate::support::{RunningEdge, edge, eventually, got, manifest};

async fn change(edge: &RunningEdge, method: Method, operation: &str, body: Value) -> Value {
    let path = format!("/v1/apps/{APP}/environments/prod/{operation}");
    let answer = got(edge.api(method, &path).json(&body)).await;
    assert!(answer.status.is_success(), "{operation}: {}", answer.text());
    answer.json()
}

/// Data of the only message about an event.
fn only(receiver: &Receiver, event: &str) -> WebhookData {
    let found: Vec<_> = receiver.received().into_iter().filter(|message| message.event() == event).collect();
    assert_eq!(found.len(), 1, "{event}: {:?}", receiver.events());
    serde_json::from_value::<WebhookPayload>(found[0].json()).unwrap().data
}

#[tokio::test]
async fn every_change_of_what_is_live_is_told_with_a_signature() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let receiver = Receiver::start().await;
    let secret = add(&edge, "ci", &receiver).await;
    let first = edge.live(APP).await.unwrap();
    let source = Source {
        message: Some("Second.".to_owned()),
        commit: Some("abc123".to_owned()),
        branch: Some("main".to_owned()),
        ..Source::default()
    };
    let files: crate::support::Files<'_> = &[("index.html", b"two")];
    let begin = BeginDeploy { manifest: manifest(files), source, options: DeployOptions::default() };
    let pushed = edge.try_push(APP, "prod", begin, files).await.unwrap();
    change(&edge, Method::POST, "rollback", json!({ "reason": "It was wrong." })).await;
    change(&edge, Method::PUT, "lock", json!({ "reason": "A sale." })).await;
    change(&edge, Method::DELETE, "lock", json!({})).await;
    receiver.has(6).await;
    let mut events = receiver.events();
    events.sort();
    let expected = [
        "deploy.live",
        "deploy.rollback",
        "deploy.started",
        "deploy.started",
        "environment.locked",
        "environment.unlocked",
    ];
    assert_eq!(events, expected);

    let live = only(&receiver, "deploy.live");
    assert_eq!((live.version, live.previous), (Some(pushed.version), Some(first)));
    assert_eq!((live.app.as_str(), live.environment.unwrap().as_str()), (APP, "prod"));
    assert_eq!(live.deploy, pushed.deploy);
    assert_eq!((live.actor.as_deref(), live.message.as_deref()), (Some("test"), Some("Second.")));
    assert_eq!((live.commit.as_deref(), live.branch.as_deref()), (Some("abc123"), Some("main")));
    assert_eq!((live.url, live.preview), (Some(pushed.urls.live), Some(pushed.urls.preview)));
    let back = only(&receiver, "deploy.rollback");
    assert_eq!((back.version, back.previous), (Some(first), Some(pushed.version)));
    assert_eq!(back.reason.as_deref(), Some("It was wrong."));
    assert_eq!(only(&receiver, "environment.locked").reason.as_deref(), Some("A sale."));
    assert_eq!(only(&receiver, "environment.unlocked").reason, None);

    for message in receiver.received() {
        assert_eq!((message.path.as_str(), message.field("content-type")), ("/hook", "application/json"));
        assert!(message.field("user-agent").starts_with("Devanture-Webhooks/"));
        assert_eq!(signatures_by(&secret, &message), 1, "{message:?}");
        assert!(!String::from_utf8_lossy(&message.body).contains("whsec_"));
    }
    let ids: std::collections::BTreeSet<String> =
        receiver.received().iter().map(|message| message.field("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 6);
    edge.stop().await;
}

#[tokio::test]
async fn a_push_that_fails_or_does_not_go_live_is_told_as_such() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let receiver = Receiver::start().await;
    add_for(&edge, "ci", &receiver, &["deploy.ready", "deploy.failed"]).await;
    let files: crate::support::Files<'_> = &[("index.html", b"two")];
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options };
    let stored = edge.try_push(APP, "prod", begin, files).await.unwrap();
    let ready = receiver.has(1).await[0].json();
    assert_eq!(ready["type"], "deploy.ready");
    assert_eq!(ready["data"]["preview"], stored.urls.preview);
    assert_eq!(ready["data"].get("url"), None);

    let files: crate::support::Files<'_> = &[("index.html", b"three"), ("_redirects", b"/a /b 999\n")];
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options: DeployOptions::default() };
    let refused = edge.try_push(APP, "prod", begin, files).await.unwrap_err();
    let failed = receiver.has(2).await[1].json();
    assert_eq!(failed["type"], "deploy.failed");
    assert_eq!(failed["data"]["problem"]["code"], refused.code.as_str());
    assert_eq!(failed["data"].get("preview"), None);
    edge.stop().await;
}

#[tokio::test]
async fn each_step_of_a_canary_is_a_message_that_says_what_it_gets() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let first = edge.live(APP).await.unwrap();
    let files: crate::support::Files<'_> = &[("index.html", b"two")];
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options };
    let stored = edge.try_push(APP, "prod", begin, files).await.unwrap();
    let receiver = Receiver::start().await;
    add_for(&edge, "ci", &receiver, &["canary.step", "deploy.live"]).await;
    let steps = [
        (Method::PUT, "canary", json!({ "version": stored.version, "share": 10 }), "10"),
        (Method::PUT, "canary", json!({ "share": 50 }), "50"),
        (Method::DELETE, "canary", json!({}), "aborted"),
        (Method::PUT, "canary", json!({ "version": stored.version, "share": 5 }), "5"),
    ];
    for (number, (method, operation, body, said)) in steps.into_iter().enumerate() {
        change(&edge, method, operation, body).await;
        // One after the other, as messages may arrive in any order.
        let message = receiver.has(number + 1).await.pop().unwrap();
        assert_eq!(message.event(), "canary.step");
        let data = serde_json::from_value::<WebhookPayload>(message.json()).unwrap().data;
        assert_eq!((data.version, data.previous), (Some(stored.version), Some(first)));
        assert_eq!((data.preview, data.actor.as_deref()), (Some(stored.urls.preview.clone()), Some("test")));
        assert!(data.reason.as_deref().unwrap().contains(said), "{said}: {:?}", data.reason);
    }
    change(&edge, Method::POST, "canary/finish", json!({})).await;
    receiver.has(5).await;
    let live = only(&receiver, "deploy.live");
    assert_eq!((live.version, live.previous), (Some(stored.version), Some(first)));
    edge.stop().await;
}

#[tokio::test]
async fn a_webhook_gets_the_events_and_environments_that_it_wants() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let (all, locks, staging) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    add(&edge, "all", &all).await;
    add_for(&edge, "locks", &locks, &["environment.locked"]).await;
    set(&edge, "staging", json!({ "url": staging.url("/"), "environments": ["staging"] })).await;
    lock(&edge, "one").await;
    change(&edge, Method::DELETE, "lock", json!({})).await;
    let files: crate::support::Files<'_> = &[("index.html", b"of staging")];
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options: DeployOptions::default() };
    edge.try_push(APP, "staging", begin, files).await.unwrap();
    all.has(4).await;
    staging.has(2).await;
    locks.has(1).await;
    eventually("nothing waits", async || list(&edge).await.iter().all(|webhook| webhook.waiting == 0)).await;
    assert_eq!(locks.events(), ["environment.locked"]);
    let mut events = staging.events();
    events.sort();
    assert_eq!(events, ["deploy.live", "deploy.started"]);
    // Events of other apps are never sent.
    edge.push("blog", &[("index.html", b"blog")]).await;
    lock(&edge, "two").await;
    locks.has(2).await;
    assert_eq!(all.has(5).await.len(), 5);
    edge.stop().await;
}

#[tokio::test]
async fn chats_get_text_in_which_names_and_messages_are_only_text() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let (slack, discord) = (Receiver::start().await, Receiver::start().await);
    for (name, receiver) in [("slack", &slack), ("discord", &discord)] {
        let wanted = json!({ "url": receiver.url("/services/T0"), "format": name, "events": ["environment.locked"] });
        set(&edge, name, wanted).await;
    }
    discord.always(super::receiver::Answer::status(204));
    lock(&edge, "<!channel> @everyone https://evil.example **now** www.evil.com").await;
    let slack = slack.has(1).await[0].json();
    let text = slack["text"].as_str().unwrap();
    assert!(text.starts_with("shop prod: locked by test: &lt;!channel&gt;"), "{text}");
    assert!(!text.contains("https://") && !text.contains("evil.com"), "{text}");
    let message = discord.has(1).await[0].clone();
    let discord = message.json();
    let text = discord["content"].as_str().unwrap();
    assert!(text.contains("\\@everyone https\\://evil.\u{2060}example \\*\\*now\\*\\*"), "{text}");
    assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
    assert_eq!(message.field("webhook-signature"), "", "a chat reads none");
    newest_is(&edge, "discord", DeliveryState::Delivered).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_switch_that_is_refused_is_told_and_a_dry_run_is_not() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    edge.push(APP, &[("index.html", b"two")]).await;
    let receiver = Receiver::start().await;
    add(&edge, "ci", &receiver).await;
    let rollback = "/v1/apps/shop/environments/prod/rollback?dry_run=true";
    let foreseen = got(edge.api(Method::POST, rollback).json(&json!({}))).await;
    assert_eq!(foreseen.status, StatusCode::OK);
    change(&edge, Method::POST, "rollback", json!({})).await;
    receiver.has(2).await;
    let mut events = receiver.events();
    events.sort();
    assert_eq!(events, ["deploy.rollback", "deploy.started"]);
    edge.stop().await;
}

#[tokio::test]
async fn a_switch_that_is_refused_before_it_begins_sends_nothing() {
    let edge = edge().with_app(APP, &[("app-4f2a91bc.js", b"one")]).start().await;
    let files: crate::support::Files<'_> = &[("app-4f2a91bc.js", b"two")];
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options: DeployOptions::default() };
    let other = edge.try_push(APP, "staging", begin, files).await.unwrap().version;
    let receiver = Receiver::start().await;
    add(&edge, "ci", &receiver).await;
    let of_prod = |operation: &str| format!("/v1/apps/{APP}/environments/prod/{operation}");
    let wanted = [
        ("switch", json!({ "version": other }), Code::FingerprintReused),
        ("promote", json!({ "from": "staging" }), Code::FingerprintReused),
        ("switch", json!({ "version": other, "if_live": other }), Code::LiveMoved),
    ];
    for (operation, body, code) in wanted {
        let refused = got(edge.api(Method::POST, &of_prod(operation)).json(&body)).await;
        assert_eq!(refused.code(), code, "{operation}: {}", refused.text());
    }
    assert_eq!(show(&edge, "ci").await.deliveries, []);
    // A permitted switch sends a start and an end.
    change(&edge, Method::POST, "switch", json!({ "version": other, "allow_refingerprint": true })).await;
    receiver.has(2).await;
    let mut events = receiver.events();
    events.sort();
    assert_eq!(events, ["deploy.live", "deploy.started"]);
    edge.stop().await;
}
