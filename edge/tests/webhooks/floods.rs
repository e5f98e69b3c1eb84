//! An app cannot make the edge flood an address: tests and messages have a limit per minute.

use devanture_config::api::{AuditLog, DeliveryState, WebhookDelivery};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::receiver::Receiver;
use super::world::{APP, WEBHOOKS, add_for, list, lock, post, show};
use crate::support::{edge, eventually, got};

#[tokio::test]
async fn law_11_tests_of_an_apps_webhooks_within_a_minute_have_an_end() {
    let setup = edge().with_app(APP, &[("index.html", b"one")]).with_app("blog", &[("index.html", b"blog")]);
    let edge = setup.with_limit("webhook_tests_per_minute_per_app_max", 2).start().await;
    let receiver = Receiver::start().await;
    add_for(&edge, "one", &receiver, &["deploy.live"]).await;
    add_for(&edge, "two", &receiver, &["deploy.live"]).await;
    // A test of a missing webhook does not count.
    assert_eq!(post(&edge, "none/test").await.code(), Code::NotFound);
    for name in ["one", "two"] {
        let tested: WebhookDelivery = post(&edge, &format!("{name}/test")).await.json();
        assert_eq!(tested.state, DeliveryState::Delivered);
    }
    // A webhook set again or added meanwhile does not start with a fresh count.
    add_for(&edge, "three", &receiver, &["deploy.live"]).await;
    for name in ["one", "three"] {
        let refused = post(&edge, &format!("{name}/test")).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, Code::TooManyTests));
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        let limit = refused.problem().limit.unwrap();
        assert_eq!((limit.name.as_str(), limit.max, limit.used), ("webhook_tests_per_minute_per_app_max", 2, 2));
    }
    assert_eq!(receiver.received().len(), 2, "a test that is refused sends nothing");
    let log: AuditLog = got(edge.api(Method::GET, "/v1/audit?app=shop")).await.json();
    assert_eq!(log.entries.iter().filter(|entry| entry.action == "test_webhook").count(), 2);

    // Another app has a separate limit.
    let of_blog = "/v1/apps/blog/webhooks/one";
    let wanted = json!({ "url": receiver.url("/blog"), "events": ["deploy.live"] });
    assert!(got(edge.api(Method::PUT, of_blog).json(&wanted)).await.status.is_success());
    let tested = got(edge.api(Method::POST, &format!("{of_blog}/test"))).await;
    assert_eq!(tested.json::<WebhookDelivery>().state, DeliveryState::Delivered);
    edge.stop().await;
}

#[tokio::test]
async fn law_11_messages_of_an_app_beyond_its_share_of_a_minute_wait_and_are_not_lost() {
    let setup = edge().with_app(APP, &[("index.html", b"one")]).with_app("blog", &[("index.html", b"blog")]);
    let edge = setup.with_limit("webhook_messages_per_minute_per_app_max", 2).start().await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    for number in 0..5 {
        lock(&edge, &format!("{number}")).await;
    }
    receiver.has(2).await;
    // Another app continues, though its message was due after all of the flood.
    let of_blog = json!({ "url": other.url("/"), "events": ["environment.locked"] });
    assert!(got(edge.api(Method::PUT, "/v1/apps/blog/webhooks/ci").json(&of_blog)).await.status.is_success());
    let locked = edge.api(Method::PUT, "/v1/apps/blog/environments/prod/lock").json(&json!({ "reason": "blog" }));
    assert!(got(locked).await.status.is_success());
    other.has(1).await;
    eventually("what was sent is written down", async || list(&edge).await[0].waiting == 3).await;
    let waiting = show(&edge, "ci").await.deliveries.into_iter().filter(|one| one.state == DeliveryState::Waiting);
    assert!(waiting.map(|one| (one.attempts, one.last)).all(|never| never == (0, None)));
    assert_eq!(receiver.received().len(), 2);
    // A test is no waiting message and is answered at once; a redelivery cannot bypass the limit.
    assert_eq!(post(&edge, "ci/test").await.json::<WebhookDelivery>().state, DeliveryState::Delivered);
    let oldest = show(&edge, "ci").await.deliveries.pop().unwrap();
    assert_eq!(oldest.state, DeliveryState::Delivered);
    let again = post(&edge, &format!("ci/deliveries/{}/redeliver", oldest.id)).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.text());
    assert_eq!(list(&edge).await[0].waiting, 4);
    assert_eq!(receiver.received().len(), 3);

    // Counts are in memory: the next edge sends two more at once, and the rest a minute later.
    let edge = edge.restart().await;
    receiver.has(5).await;
    eventually("two wait", async || list(&edge).await[0].waiting == 2).await;
    // A dropped message needs no attempt, and no wait.
    let deleted = got(edge.api(Method::DELETE, &format!("/v1/apps/{APP}/environments/prod"))).await;
    assert!(deleted.status.is_success(), "{}", deleted.text());
    eventually("none waits", async || list(&edge).await[0].waiting == 0).await;
    assert_eq!(receiver.received().len(), 5);
    let removed = got(edge.api(Method::DELETE, &format!("{WEBHOOKS}/ci"))).await;
    assert!(removed.status.is_success(), "{}", removed.text());
    edge.stop().await;
}

#[tokio::test]
async fn what_waits_for_its_minute_beyond_the_bound_is_seen_as_dropped() {
    let setup = edge().with_app(APP, &[("index.html", b"one")]).with_limit("webhook_waiting_max", 3);
    let edge = setup.with_limit("webhook_messages_per_minute_per_app_max", 1).start().await;
    let receiver = Receiver::start().await;
    add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    lock(&edge, "first").await;
    receiver.has(1).await;
    for number in 0..5 {
        lock(&edge, &format!("{number}")).await;
    }
    // A message above the limit of waiting messages is reported as dropped.
    eventually("three wait", async || list(&edge).await[0].waiting == 3).await;
    let details = show(&edge, "ci").await;
    let of = |state| details.deliveries.iter().filter(|delivery| delivery.state == state).count();
    assert_eq!((of(DeliveryState::Dropped), of(DeliveryState::Delivered)), (2, 1));
    assert_eq!(receiver.received().len(), 1);
    edge.stop().await;
}
