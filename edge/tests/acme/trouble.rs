//! Names that cannot be validated, and an authority that lost its state.

use std::time::{Duration, Instant};

use crate::acme::world::{wait_for, world};
use crate::webhooks::receiver::Receiver;
use crate::webhooks::world::add_for;

#[tokio::test]
async fn a_name_that_cannot_be_proven_is_tried_less_and_less_often_and_by_both_ways() {
    let setup = world().with_limit("acme_retry_ms_min", 1_000);
    let Some(world) = setup.start().await else { return };
    world.shut();
    world.push("shop", &["www.customer.test"]).await;
    // One order for the hostname and one for the environment.
    wait_for("the first orders fail", async || world.pebble.orders() >= 2).await;
    let first = Instant::now();
    wait_for("they are tried again", async || world.pebble.orders() >= 4).await;
    let second = Instant::now();
    wait_for("and once more", async || world.pebble.orders() >= 6).await;
    let waits = [second - first, second.elapsed()];
    assert!(waits[0] >= Duration::from_millis(900) && waits[1] >= Duration::from_millis(1_900), "{waits:?}");
    assert_eq!(world.pebble.orders(), 6, "one order at a time for a name");
    assert!(
        world.http.refused() >= 2 && world.https.refused() >= 4,
        "{} {}",
        world.http.refused(),
        world.https.refused()
    );
    assert!(world.metric("devanture_acme_orders_total{outcome=\"failed\"}").await.is_some_and(|count| count >= 4.0));
    assert_eq!(world.edge.get("www.customer.test", "/").await.text(), "shop", "visitors are answered meanwhile");

    // Failures survive a restart: after the third failure the edge pauses.
    let world = world.restart().await;
    let began = Instant::now();
    world.issued("www.customer.test").await;
    world.issued("shop.apps.test").await;
    assert!(began.elapsed() < Duration::from_secs(20));
    world.edge.stop().await;
}

#[tokio::test]
async fn an_app_hears_of_each_name_without_a_certificate_once() {
    let Some(world) = world().with_limit("acme_retry_ms_min", 200).start().await else { return };
    world.push("shop", &[]).await;
    world.issued("shop.apps.test").await;
    let receiver = Receiver::start().await;
    add_for(&world.edge, "ci", &receiver, &["certificate.failed"]).await;
    world.shut();
    let orders = world.pebble.orders();
    world.push("shop", &["www.customer.test"]).await;
    wait_for("it is tried again", async || world.pebble.orders() >= orders + 3).await;
    let messages = receiver.has(1).await;
    assert_eq!(messages.len(), 1, "however often it is tried");
    let data = messages[0].json()["data"].clone();
    assert_eq!((&data["app"], &data["hostname"]), (&"shop".into(), &"www.customer.test".into()));
    assert_eq!(data.get("expires"), None);
    assert!(!data["reason"].as_str().unwrap().is_empty());
    world.edge.stop().await;
}

#[tokio::test]
async fn an_hour_has_only_so_many_orders() {
    let Some(world) = world().with_limit("acme_orders_per_hour_max", 2).start().await else { return };
    world.push("shop", &["a.customer.test", "b.customer.test", "c.customer.test"]).await;
    world.issued("a.customer.test").await;
    world.issued("b.customer.test").await;
    // Pending orders complete; a restart starts no new hour.
    let world = world.restart().await;
    wait_for("it has looked at what is missing", async || {
        world.metric("devanture_acme_names{state=\"missing\"}").await == Some(2.0)
    })
    .await;
    assert!(world.shown("c.customer.test").await.is_local());
    assert_eq!(world.pebble.orders(), 2);
    world.edge.stop().await;
}

#[tokio::test]
async fn an_authority_that_lost_the_account_is_given_another_one() {
    let Some(mut world) = world().start().await else { return };
    world.push("shop", &["one.customer.test"]).await;
    let first = world.issued("one.customer.test").await;
    world.issued("shop.apps.test").await;
    world.replace_authority().await;
    world.push("shop", &["one.customer.test", "two.customer.test"]).await;
    let second = world.issued("two.customer.test").await;
    assert_ne!(second.issuer, first.issuer, "it is another authority's");
    assert_eq!(world.shown("one.customer.test").await, first, "what is good is not ordered again");
    assert_eq!(world.pebble.accounts(), 1);
    world.edge.stop().await;
}
