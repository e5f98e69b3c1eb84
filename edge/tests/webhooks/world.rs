//! Requests for tests of webhooks.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use devanture_config::api::{
    DeliveryState, WebhookDelivery, WebhookDetails, WebhookList, WebhookSet, WebhookState, WebhookStatus,
};
use http::Method;
use serde_json::{Value, json};

use super::receiver::{Received, Receiver};
use crate::support::{Got, RunningEdge, eventually, got};

pub(crate) const APP: &str = "shop";
pub(crate) const WEBHOOKS: &str = "/v1/apps/shop/webhooks";

/// Sets a webhook as an admin with permission for loopback.
pub(crate) async fn set(edge: &RunningEdge, name: &str, wanted: Value) -> WebhookSet {
    got(edge.api(Method::PUT, &format!("{WEBHOOKS}/{name}")).json(&wanted)).await.json()
}

/// Adds a webhook for all events to a receiver. Returns the secret.
pub(crate) async fn add(edge: &RunningEdge, name: &str, receiver: &Receiver) -> String {
    let set = set(edge, name, json!({ "url": receiver.url("/hook") })).await;
    set.secret.unwrap().expose().to_owned()
}

/// Adds a webhook for some events.
pub(crate) async fn add_for(edge: &RunningEdge, name: &str, receiver: &Receiver, events: &[&str]) -> String {
    let set = set(edge, name, json!({ "url": receiver.url("/hook"), "events": events })).await;
    set.secret.unwrap().expose().to_owned()
}

pub(crate) async fn post(edge: &RunningEdge, path: &str) -> Got {
    got(edge.api(Method::POST, &format!("{WEBHOOKS}/{path}"))).await
}

pub(crate) async fn list(edge: &RunningEdge) -> Vec<WebhookStatus> {
    got(edge.api(Method::GET, WEBHOOKS)).await.json::<WebhookList>().webhooks
}

pub(crate) async fn show(edge: &RunningEdge, name: &str) -> WebhookDetails {
    got(edge.api(Method::GET, &format!("{WEBHOOKS}/{name}?limit=1000"))).await.json()
}

/// Waits until the newest message of a webhook is in a state.
pub(crate) async fn newest_is(edge: &RunningEdge, name: &str, state: DeliveryState) -> WebhookDelivery {
    let newest = async || show(edge, name).await.deliveries.first().cloned();
    let is_so = async || newest().await.is_some_and(|delivery| delivery.state == state);
    eventually(&format!("a message of {name} is {state}"), is_so).await;
    newest().await.unwrap()
}

pub(crate) async fn state_is(edge: &RunningEdge, name: &str, state: WebhookState) -> WebhookStatus {
    eventually(&format!("{name} is {state:?}"), async || show(edge, name).await.webhook.state == state).await;
    show(edge, name).await.webhook
}

/// Triggers the event `environment.locked` alone.
pub(crate) async fn lock(edge: &RunningEdge, reason: &str) {
    let path = format!("/v1/apps/{APP}/environments/prod/lock");
    let answer = got(edge.api(Method::PUT, &path).json(&json!({ "reason": reason }))).await;
    assert!(answer.status.is_success(), "{}", answer.text());
}

/// Number of the message's signatures made with the secret.
pub(crate) fn signatures_by(secret: &str, message: &Received) -> usize {
    let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let (id, timestamp) = (message.field("webhook-id"), message.field("webhook-timestamp"));
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &message.body].concat();
    let is_by = |signature: &&str| {
        let tag = BASE64.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, &signed, &tag).is_ok()
    };
    message.field("webhook-signature").split(' ').filter(is_by).count()
}
