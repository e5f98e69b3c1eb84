//! Webhooks are added, listed, changed and removed by authorized tokens, and secrets are shown once.

use devanture_config::api::{AuditLog, DeliveryState, Scope, WebhookDelivery, WebhookState, WebhookStatus};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::world::{APP, WEBHOOKS, list, lock, post, set, show, signatures_by, state_is};
use crate::support::{edge, got};

#[tokio::test]
async fn a_secret_is_shown_once_and_an_address_never() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let receiver = Receiver::start().await;
    let path = format!("{WEBHOOKS}/ci");
    let wanted = json!({ "url": receiver.url("/services/T0/very-secret"), "events": ["deploy.live"] });
    let foreseen = got(edge.api(Method::PUT, &format!("{path}?dry_run=true")).json(&wanted)).await;
    assert_eq!(foreseen.json::<Value>()["secret"], Value::Null);
    assert!(list(&edge).await.is_empty());
    let made = set(&edge, "ci", wanted.clone()).await;
    assert!(made.is_new && made.secret.unwrap().expose().starts_with("whsec_"));
    let again = set(&edge, "ci", wanted).await;
    assert!(!again.is_new && again.secret.is_none());
    let status = &list(&edge).await[0];
    assert_eq!(
        (status.state, status.address.as_str()),
        (WebhookState::Active, format!("http://{}", receiver.address).as_str())
    );
    assert_eq!(status.who, "test");
    for path in [WEBHOOKS.to_owned(), path, "/v1/audit".to_owned()] {
        let text = got(edge.api(Method::GET, &path)).await.text();
        assert!(!text.contains("very-secret") && !text.contains("whsec_"), "{path}: {text}");
    }
    // Neither value is in the data folder as plain text.
    let catalog = std::fs::read(edge.data_dir().join("catalog.redb")).unwrap();
    for secret in ["very-secret", "whsec_"] {
        assert!(!catalog.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
    post(&edge, "ci/test").await;
    post(&edge, "ci/rotate").await;
    let removed = got(edge.api(Method::DELETE, &format!("{WEBHOOKS}/ci"))).await;
    assert_eq!(removed.status, StatusCode::OK);
    let log: AuditLog = got(edge.api(Method::GET, "/v1/audit?app=shop")).await.json();
    let actions: Vec<&str> = log.entries.iter().take(5).map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["remove_webhook", "rotate_webhook", "test_webhook", "add_webhook", "add_webhook"]);
    edge.stop().await;
}

#[tokio::test]
async fn what_a_request_does_not_name_stays_as_it_is() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let receiver = Receiver::start().await;
    let (events, environments) = (json!(["environment.locked"]), json!(["prod"]));
    let wanted = json!({
        "url": receiver.url("/"), "format": "discord", "events": events.clone(), "environments": environments.clone(),
    });
    set(&edge, "chat", wanted).await;
    let seen = |status: &WebhookStatus| {
        let status = serde_json::to_value(status).unwrap();
        json!([status["format"], status["events"], status["environments"]])
    };
    let as_set = json!(["discord", events, environments]);
    assert_eq!(seen(&set(&edge, "chat", json!({})).await.webhook), as_set);
    assert_eq!(seen(&set(&edge, "chat", json!({ "url": receiver.url("/other") })).await.webhook), as_set);
    lock(&edge, "one").await;
    let message = receiver.has(1).await[0].clone();
    assert_eq!(message.path, "/other");
    assert!(message.json()["content"].as_str().unwrap().ends_with("one"), "{message:?}");
    // An empty list means all.
    let widened = set(&edge, "chat", json!({ "events": [], "environments": [], "format": "standard" })).await;
    assert_eq!(seen(&widened.webhook), json!(["standard", [], []]));
    edge.stop().await;
}

#[tokio::test]
async fn a_webhook_takes_the_right_that_settings_take_in_every_environment() {
    let edge =
        edge().with_app(APP, &[("index.html", b"one")]).with_app("blog", &[("index.html", b"blog")]).start().await;
    let receiver = Receiver::start().await;
    set(&edge, "ci", json!({ "url": receiver.url("/") })).await;
    let path = format!("{WEBHOOKS}/ci");
    let change = async |token: &str| got(edge.ask(Method::PUT, &path, token).json(&json!({}))).await;
    let read = async |token: &str| got(edge.ask(Method::GET, &path, token)).await;
    for (scope, environment, may_read, may_change) in [
        (Scope::Read, None, true, false),
        (Scope::Push, None, true, false),
        (Scope::Promote, None, true, true),
        (Scope::Admin, None, true, true),
        (Scope::Admin, Some("prod"), false, false),
    ] {
        let token = edge.token_for(scope, Some(APP), environment).await;
        assert_eq!(read(&token).await.status.is_success(), may_read, "{scope} {environment:?}");
        assert_eq!(change(&token).await.status.is_success(), may_change, "{scope} {environment:?}");
    }
    let other = edge.token_for(Scope::Admin, Some("blog"), None).await;
    assert_eq!(read(&other).await.code(), Code::NotFound);
    assert_eq!(change(&other).await.code(), Code::NotFound);
    edge.stop().await;
}

#[tokio::test]
async fn webhooks_that_are_added_at_once_are_counted_with_each_other() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).with_limit("webhooks_per_app_max", 3).start().await;
    let started = &edge;
    let add = move |number: usize| async move {
        let path = format!("{WEBHOOKS}/at-once-{number}");
        got(started.api(Method::PUT, &path).json(&json!({ "url": "https://1.1.1.1/" }))).await
    };
    let answers = futures_util::future::join_all((0..20).map(add)).await;
    let added = answers.iter().filter(|answer| answer.status.is_success()).count();
    for refused in answers.iter().filter(|answer| !answer.status.is_success()) {
        assert_eq!(refused.code(), Code::TooMany, "{}", refused.text());
    }
    assert_eq!((added, list(&edge).await.len()), (3, 3));
    // A removal makes room for one webhook.
    let name = list(&edge).await[0].name.clone();
    let removed = got(edge.api(Method::DELETE, &format!("{WEBHOOKS}/{name}"))).await;
    assert!(removed.status.is_success(), "{}", removed.text());
    assert!(add(20).await.status.is_success());
    assert_eq!(add(21).await.code(), Code::TooMany);
    edge.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_webhook_is_refused_with_its_reason() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).with_limit("webhooks_per_app_max", 2).start().await;
    let put =
        async |name: &str, wanted: Value| got(edge.api(Method::PUT, &format!("{WEBHOOKS}/{name}")).json(&wanted)).await;
    let url = "https://1.1.1.1/";
    for (name, wanted, code) in [
        ("ci", json!({}), Code::BadRequest),
        ("Ci", json!({ "url": url }), Code::BadRequest),
        ("ci", json!({ "url": url, "events": ["webhook.test"] }), Code::BadRequest),
        ("ci", json!({ "url": url, "events": ["deploy"] }), Code::BadRequest),
        ("ci", json!({ "url": url, "environments": ["Prod"] }), Code::BadRequest),
        ("ci", json!({ "url": url, "secret": "whsec_" }), Code::BadRequest),
    ] {
        let refused = put(name, wanted.clone()).await;
        let is_code = refused.code() == code || refused.code() == Code::BadJson;
        assert!(is_code, "{name} {wanted}: {}", refused.text());
    }
    for name in ["one", "two"] {
        let set = put(name, json!({ "url": url, "events": ["deploy.live"] })).await;
        assert!(set.status.is_success(), "{}", set.text());
    }
    assert_eq!(put("three", json!({ "url": url })).await.code(), Code::TooMany);
    let nothing = got(edge.api(Method::GET, &format!("{WEBHOOKS}/three"))).await;
    assert_eq!(nothing.code(), Code::NotFound);
    let missing = got(edge.api(Method::GET, "/v1/apps/none/webhooks")).await;
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(show(&edge, "one").await.deliveries, []);
    edge.stop().await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
async fn a_webhook_whose_keys_are_lost_is_seen_to_fail_and_takes_its_address_again() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let receiver = Receiver::start().await;
    let url = receiver.url("/hook");
    let before = set(&edge, "ci", json!({ "url": url.clone() })).await.secret.unwrap();
    let key_file = edge.data_dir().with_file_name("data.key");
    std::fs::rename(&key_file, key_file.with_extension("lost")).unwrap();
    for operation in ["ci/test", "ci/rotate"] {
        assert_eq!(post(&edge, operation).await.code(), Code::SecretsLocked, "{operation}");
    }
    assert!(!key_file.exists(), "a key that is made is in the way of a restore");
    lock(&edge, "one").await;
    let status = state_is(&edge, "ci", WebhookState::Failing).await;
    assert_eq!(status.waiting, 1);
    let waiting = show(&edge, "ci").await.deliveries[0].clone();
    let error = waiting.last.unwrap().error.unwrap();
    assert!(waiting.attempts >= 1 && error.contains("does not open"), "{error}");
    assert_eq!(receiver.connections(), 0);

    let again = set(&edge, "ci", json!({ "url": url })).await;
    let secret = again.secret.unwrap();
    assert!(!again.is_new && secret.expose() != before.expose());
    let tested: WebhookDelivery = post(&edge, "ci/test").await.json();
    assert_eq!(tested.state, DeliveryState::Delivered);
    let received = receiver.received();
    let test = received.iter().find(|message| message.event() == "webhook.test").unwrap();
    assert_eq!(signatures_by(secret.expose(), test), 1);
    edge.stop().await;
}
