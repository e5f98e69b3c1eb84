//! Tests of webhook messages about the start and end of a push.

use devanture_config::PlaceName;
use devanture_config::api::{BeginDeploy, Source, WebhookEvent, WebhookName};
use devanture_config::problem::Code;
use serde_json::{Value, json};

use super::collections::world::{World, content, digest, manifest, name, world};
use crate::ledger::{Actor, Error};
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::webhooks::{
    DeliveryRecord, WAITING_PREFIX, WebhookRecord, deliveries_prefix, webhook_key,
};
use devanture_store::records::{self, StoredKind};

fn ci() -> WebhookName {
    "ci".parse().unwrap()
}

/// Adds a webhook for all events.
async fn add_webhook(world: &World) {
    let sealed = json!({ "key": "1", "sealed": "" });
    let webhook: WebhookRecord = serde_json::from_value(json!({
        "url": sealed, "address": "https://ci.example", "secret": sealed, "trusted": true, "who": "anna",
        "created_ms": 1
    }))
    .unwrap();
    let change = Change::Put(webhook_key(&name(0), &ci()), records::write(&webhook).unwrap());
    world.catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap();
}

/// Returns the queued messages about a push, by event.
async fn messages(world: &World, deploy: &str) -> Vec<DeliveryRecord> {
    let prefix = deliveries_prefix(WAITING_PREFIX, &name(0), &ci());
    let found = world.catalog.list(&prefix, None, false, 99).await.unwrap();
    let found = found.iter().map(|(key, record)| records::read::<DeliveryRecord>(key, record).unwrap());
    let mut found: Vec<_> = found.filter(|message| message.data.deploy.as_deref() == Some(deploy)).collect();
    found.sort_by_key(|message| WebhookEvent::from(message.event).as_str());
    found
}

/// Pushes one content. Returns the push id, and the error code of a failure.
async fn push(world: &World, number: u8, options: Value) -> (String, Option<Code>) {
    let (publisher, app, actor) = (&world.publisher, name(0), Actor::local());
    let source = Source { branch: Some("main".to_owned()), ..Source::default() };
    let options = serde_json::from_value(options).unwrap();
    let begin = BeginDeploy { manifest: manifest(&[number].into()), source, options };
    let begun = publisher.begin(&actor, &app, &PlaceName::prod(), publisher.checked_whole(&app, begin)).await.unwrap();
    if begun.missing.contains(&digest(number)) {
        let mut receiving = publisher.receive(&actor, &app, &begun.deploy, digest(number)).await.unwrap();
        receiving.write(content(number).into()).await.unwrap();
        publisher.received(receiving).await.unwrap();
    }
    assert!(messages(world, &begun.deploy).await.is_empty(), "its steps have not begun");
    let finished = world.finish(&app, &begun.deploy).await;
    (begun.deploy, finished.err().map(|Error(problem)| problem.code))
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_sent_the_beginning_and_the_end_of_a_push() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let live = world.push(&name(0), &[9].into()).await.unwrap().version;
    add_webhook(&world).await;
    let other = manifest(&[8].into()).id();
    for (number, options, end, failed) in [
        (1, json!({ "no_switch": true, "reason": "to look at" }), WebhookEvent::DeployReady, None),
        (2, json!({ "if_live": other }), WebhookEvent::DeployFailed, Some(Code::LiveMoved)),
        (3, json!({ "if_live": live, "reason": "a sale" }), WebhookEvent::DeployLive, None),
    ] {
        let reason = options["reason"].as_str().map(str::to_owned);
        let (deploy, code) = push(&world, number, options).await;
        assert_eq!(code, failed);
        let messages = messages(&world, &deploy).await;
        let mut expected = [end, WebhookEvent::DeployStarted];
        expected.sort_by_key(|event| event.as_str());
        assert_eq!(messages.iter().map(|message| message.event).collect::<Vec<_>>(), expected);
        for message in messages {
            let (event, data) = (message.event, message.data);
            assert_eq!(data.version, Some(manifest(&[number].into()).id()), "{event:?}");
            assert_eq!((data.environment, data.kind), (Some(PlaceName::prod()), Some(StoredKind::Push)), "{event:?}");
            assert_eq!((data.actor, data.reason), (Some(Actor::local().name), reason.clone()), "{event:?}");
            assert_eq!(data.branch.as_deref(), Some("main"), "{event:?}");
            let problem = data.problem.map(|problem| problem.code);
            assert_eq!(problem, failed.filter(|_| event == WebhookEvent::DeployFailed), "{event:?}");
        }
    }
}
