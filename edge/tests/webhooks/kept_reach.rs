//! Webhooks set while an app's admin could permit private addresses: the webhooks continue, and reports name the line
//! to add to `edge.toml`.

use devanture_config::api::{DeliveryState, KeptReach, Status, WebhookDelivery, WebhookName};
use devanture_store::catalog::{self, Change, Commit};
use http::Method;
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::world::{APP, add, lock, newest_is, set, show};
use crate::support::{RunningEdge, edge, eventually, got};

/// Changes the record to the earlier format.
async fn as_of_before(edge: RunningEdge) -> RunningEdge {
    let (folder, file) = edge.stopped().await;
    {
        let catalog = catalog::open(&folder.path().join("data/catalog.redb")).unwrap();
        let key = "webhooks/shop/chat";
        let record = catalog.get(key).await.unwrap().unwrap();
        let mut webhook: Value = serde_json::from_slice(&record.value).unwrap();
        assert_eq!(webhook.as_object_mut().unwrap().remove("vouched"), Some(json!(true)));
        let changes = vec![Change::Put(key.to_owned(), webhook.to_string().into_bytes().into())];
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }
    RunningEdge::over(folder, file).await
}

async fn kept(edge: &RunningEdge) -> Option<KeptReach> {
    got(edge.api(Method::GET, "/v1/apps/shop/environments/prod")).await.json::<Status>().kept_reach
}

async fn reach_lines(edge: &RunningEdge) -> Vec<String> {
    let ready = got(edge.api(Method::GET, "/health/ready")).await.text();
    ready.lines().filter(|line| line.starts_with("reach: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_webhook_of_before_goes_on_and_is_named_with_the_line_to_add() {
    let receiver = Receiver::start().await;
    let edge = edge().with_app(APP, &[("index.html", b"hi")]).start().await;
    add(&edge, "chat", &receiver).await;
    lock(&edge, "a").await;
    newest_is(&edge, "chat", DeliveryState::Delivered).await;
    assert_eq!((kept(&edge).await, reach_lines(&edge).await), (None, Vec::new()));

    let edge = as_of_before(edge).await;
    eventually("the webhook is named", async || kept(&edge).await.is_some()).await;
    let found = kept(&edge).await.unwrap();
    assert_eq!((found.addresses, found.allow.as_str()), (vec!["127.0.0.1".to_owned()], r#"allow = ["127.0.0.1"]"#));
    assert_eq!(found.webhooks, ["chat".parse::<WebhookName>().unwrap()]);
    let lines = reach_lines(&edge).await;
    assert!(lines[0].starts_with("reach: the webhook chat of shop reaches 127.0.0.1"), "{lines:?}");
    assert!(lines[0].ends_with(r#"allow = ["127.0.0.1"]"#), "{lines:?}");
    // The receiver still gets messages.
    lock(&edge, "b").await;
    let delivered = |delivery: &WebhookDelivery| delivery.state == DeliveryState::Delivered;
    let count = async || show(&edge, "chat").await.deliveries.iter().filter(|one| delivered(one)).count();
    eventually("a second message comes", async || count().await >= 2).await;

    // A change of events grants no permission for the address; an admin of every app who sets the address does.
    set(&edge, "chat", json!({ "events": [] })).await;
    assert!(kept(&edge).await.is_some());
    set(&edge, "chat", json!({ "url": receiver.url("/hook") })).await;
    eventually("nothing is to be named", async || kept(&edge).await.is_none()).await;
    edge.stop().await;
}
