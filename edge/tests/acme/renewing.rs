//! A certificate is renewed in time, and stays in use while the renewal fails.

use std::time::SystemTime;

use crate::acme::pebble::PebbleOptions;
use crate::acme::world::{wait_for, world};

/// Authority whose certificates are due for renewal after two thirds of `validity_s`.
const fn short(validity_s: u64) -> PebbleOptions {
    PebbleOptions { validity_s, refused_nonces: 0, binding: false }
}

fn now_s() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_expires() {
    let Some(world) = world().with_authority(short(12)).start().await else { return };
    world.push("shop", &["www.customer.test"]).await;
    let first = world.issued("www.customer.test").await;
    wait_for("the certificate is renewed", async || {
        let shown = world.shown("www.customer.test").await;
        assert!(shown.is_issued() && shown.not_after_s >= now_s(), "{shown:?}");
        shown != first
    })
    .await;
    assert_eq!(world.pebble.accounts(), 1);
    world.edge.stop().await;
}

#[tokio::test]
async fn a_certificate_is_kept_while_the_authority_is_down_and_renewed_when_it_is_back() {
    let Some(world) = world().with_authority(short(6)).start().await else { return };
    world.push("shop", &["www.customer.test"]).await;
    let first = world.issued("www.customer.test").await;
    world.authority.shut();
    let mut shown = first.clone();
    wait_for("the certificate expires", async || {
        shown = world.shown("www.customer.test").await;
        assert!(shown.is_issued(), "{shown:?}");
        shown.not_after_s < now_s()
    })
    .await;
    // Renewal was retried repeatedly; the old certificate stays in use, also after a restart.
    wait_for("the authority is asked", async || world.authority.refused() > 0).await;
    wait_for("the metric tells", async || {
        world.metric("devanture_acme_expires_seconds").await.is_some_and(|left| left < 0.0)
    })
    .await;
    let world = world.restart().await;
    assert_eq!(world.shown("www.customer.test").await, shown);

    world.authority.open(world.pebble.address);
    let mut renewed = shown.clone();
    wait_for("the certificate is renewed", async || {
        renewed = world.shown("www.customer.test").await;
        renewed != shown
    })
    .await;
    assert!(renewed.is_issued() && renewed.not_after_s >= now_s(), "{renewed:?}");
    world.edge.stop().await;
}
