//! Webhooks to private addresses, by any name: always refused.

use devanture_config::api::{DeliveryState, Scope, WebhookState};
use devanture_config::problem::Code;
use http::Method;
use serde_json::json;

use super::receiver::Receiver;
use super::world::{APP, WEBHOOKS, lock, newest_is, set, show};
use crate::proxy::dns_server::{Dns, DnsBehavior};
use crate::support::{Got, RunningEdge, edge, eventually, got};

/// Sets a webhook with a token of minimal scope.
async fn try_set(edge: &RunningEdge, token: &str, url: &str) -> Got {
    got(edge.ask(Method::PUT, &format!("{WEBHOOKS}/ci"), token).json(&json!({ "url": url }))).await
}

#[tokio::test]
async fn law_11_no_webhook_of_a_stranger_leads_into_the_edges_network() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let (promote, admin) = (edge.token(Scope::Promote).await, edge.token(Scope::Admin).await);
    let never = [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "http://0.0.0.0:8080/",
        "http://[::]/",
        "http://224.0.0.1/",
        "http://[fe80::1]/",
        &format!("https://127.0.0.1:{}/v1/apps", edge.admin().port()),
        &format!("https://[::ffff:127.0.0.1]:{}/", edge.https().port()),
    ];
    let owner = edge.token_for(Scope::Admin, Some(APP), None).await;
    let admins_alone = [
        "http://127.0.0.1:9/",
        "http://[::1]:9/",
        "http://[::ffff:127.0.0.1]:9/",
        "http://[64:ff9b::127.0.0.1]:9/",
        "http://10.1.2.3/",
        "http://[::ffff:10.1.2.3]/",
        "http://100.64.0.1/",
        "http://[fd12::1]/",
        "http://localhost:9/",
    ];
    for url in never {
        for token in [&promote, &admin] {
            assert_eq!(try_set(&edge, token, url).await.code(), Code::WebhookForbidden, "{url}");
        }
    }
    for url in admins_alone {
        for token in [&promote, &owner] {
            assert_eq!(try_set(&edge, token, url).await.code(), Code::WebhookForbidden, "{url}");
        }
        let set = try_set(&edge, &admin, url).await;
        assert!(set.status.is_success(), "{url}: {}", set.text());
    }
    // Public addresses require https.
    assert_eq!(try_set(&edge, &admin, "http://1.1.1.1/").await.code(), Code::WebhookForbidden);
    for url in ["ftp://example.org/", "https://user:word@1.1.1.1/", "https:///", "1.1.1.1", "https://1.1.1.1/#x"] {
        let refused = try_set(&edge, &admin, url).await;
        assert_eq!(refused.code(), Code::BadRequest, "{url}");
        assert!(!refused.text().contains("user:word"), "{}", refused.text());
    }
    edge.stop().await;
}

#[tokio::test]
async fn law_11_a_name_that_leads_elsewhere_later_gains_nothing() {
    let dns = Dns::start(DnsBehavior::at(&["1.1.1.1"])).await;
    let setup = edge().with_app(APP, &[("index.html", b"one")]);
    let edge = setup.with_toml(&format!("[dns]\nservers = [\"{}\"]", dns.address)).start().await;
    let receiver = Receiver::start().await;
    let promote = edge.token(Scope::Promote).await;
    let url = format!("https://rebound.example.org:{}/", receiver.address.port());
    let set = try_set(&edge, &promote, &url).await;
    assert!(set.status.is_success(), "{}", set.text());
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1"] {
        dns.set(DnsBehavior::at(&[address]));
        let path = format!("{WEBHOOKS}/ci/test");
        let tested = got(edge.ask(Method::POST, &path, &promote)).await;
        let tested: devanture_config::api::WebhookDelivery = tested.json();
        let error = tested.last.unwrap().error.unwrap();
        assert!(error.contains("no webhook may reach") || error.contains("needs its block"), "{address}: {error}");
    }
    // One forbidden address is enough for a refusal.
    dns.set(DnsBehavior::at(&["1.1.1.1", "127.0.0.1"]));
    lock(&edge, "one").await;
    eventually("the attempt fails", async || show(&edge, "ci").await.webhook.state == WebhookState::Failing).await;
    assert_eq!(receiver.connections(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn a_stranger_may_reach_what_edge_toml_names() {
    let setup = edge().with_app(APP, &[("index.html", b"one")]);
    let edge = setup.with_toml("[upstreams]\nallow = [\"127.0.0.1\"]").start().await;
    let receiver = Receiver::start().await;
    let promote = edge.token(Scope::Promote).await;
    let set = try_set(&edge, &promote, &receiver.url("/hook")).await;
    assert!(set.status.is_success(), "{}", set.text());
    lock(&edge, "one").await;
    receiver.has(1).await;
    newest_is(&edge, "ci", DeliveryState::Delivered).await;
    edge.stop().await;
}

#[tokio::test]
async fn an_address_of_an_admin_is_not_lent_to_a_stranger() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let receiver = Receiver::start().await;
    set(&edge, "ci", json!({ "url": receiver.url("/a") })).await;
    let promote = edge.token(Scope::Promote).await;
    // The token may change the events, but not the address.
    let path = format!("{WEBHOOKS}/ci");
    let kept = got(edge.ask(Method::PUT, &path, &promote).json(&json!({ "events": ["environment.locked"] }))).await;
    assert!(kept.status.is_success(), "{}", kept.text());
    assert_eq!(try_set(&edge, &promote, &receiver.url("/b")).await.code(), Code::WebhookForbidden);
    lock(&edge, "one").await;
    assert_eq!(receiver.has(1).await[0].path, "/a");
    edge.stop().await;
}
