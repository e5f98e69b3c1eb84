//! Delivery attempts: a failed message is sent again with the same id, through restarts and crashes of the edge, and
//! with a limit.

use std::net::SocketAddr;

use devanture_config::api::{DeliveryState, WebhookDelivery, WebhookRotated, WebhookState};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::receiver::{Answer, Receiver};
use super::world::{APP, WEBHOOKS, add, add_for, list, lock, newest_is, post, set, show, signatures_by, state_is};
use crate::proxy::dns_server::{Dns, DnsBehavior};
use crate::support::clock::Clock;
use crate::support::{edge, eventually, got};

const DAY_S: u64 = 86_400;

#[tokio::test]
async fn what_is_not_taken_is_sent_again_with_the_same_id() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).with_limit("webhook_ms_max", 1_000).start().await;
    let receiver = Receiver::start().await;
    let secret = add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    receiver.answers([Answer::with(500, "", "oops\u{1b}[31m")]);
    lock(&edge, "one").await;
    eventually("the first attempt is written down", async || {
        show(&edge, "ci").await.deliveries.first().is_some_and(|delivery| delivery.last.is_some())
    })
    .await;
    let waiting = show(&edge, "ci").await.deliveries[0].clone();
    let last = waiting.last.unwrap();
    assert_eq!((waiting.state, waiting.attempts, last.status), (DeliveryState::Waiting, 1, Some(500)));
    assert_eq!((last.error.as_deref(), last.answer.as_str()), (Some("it answers 500"), "oops [31m"));
    let status = show(&edge, "ci").await.webhook;
    assert_eq!((status.state, status.waiting), (WebhookState::Failing, 1));
    let delivered = newest_is(&edge, "ci", DeliveryState::Delivered).await;
    assert_eq!((delivered.attempts, delivered.next_ms), (2, None));
    assert_eq!(state_is(&edge, "ci", WebhookState::Active).await.failing_since_ms, None);
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].field("webhook-id"), received[1].field("webhook-id"));
    assert_eq!((received[0].field("webhook-id"), &received[0].body), (delivered.id.as_str(), &received[1].body));
    assert_eq!(signatures_by(&secret, &received[1]), 1);

    // A redelivery on request sends the same message.
    let again = post(&edge, &format!("ci/deliveries/{}/redeliver", delivered.id)).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.text());
    let received = receiver.has(3).await;
    assert_eq!(received[2].field("webhook-id"), delivered.id);
    newest_is(&edge, "ci", DeliveryState::Delivered).await;
    for id in ["msg_000000000000000000000000", "x", "..%2Fci%2Fmsg_1"] {
        assert_eq!(post(&edge, &format!("ci/deliveries/{id}/redeliver")).await.code(), Code::NotFound, "{id}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_mended_gets_what_waits_at_once() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let receiver = Receiver::start().await;
    add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    // The next attempt is an hour away.
    let fails = async |reason: &str| {
        receiver.answers([Answer::with(503, "retry-after: 3600\r\n", "")]);
        lock(&edge, reason).await;
        state_is(&edge, "ci", WebhookState::Failing).await;
        let waiting = show(&edge, "ci").await.deliveries[0].clone();
        assert_eq!((waiting.state, waiting.attempts), (DeliveryState::Waiting, 1), "{reason}");
        waiting.id
    };
    let all_come = async || {
        eventually("nothing waits", async || list(&edge).await[0].waiting == 0).await;
        let newest = show(&edge, "ci").await.deliveries[0].clone();
        assert_eq!(newest.state, DeliveryState::Delivered, "{newest:?}");
        state_is(&edge, "ci", WebhookState::Active).await;
    };
    let id = fails("on request").await;
    let again = post(&edge, &format!("ci/deliveries/{id}/redeliver")).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.text());
    all_come().await;
    fails("set again").await;
    set(&edge, "ci", json!({})).await;
    all_come().await;
    fails("after a test").await;
    assert_eq!(post(&edge, "ci/test").await.json::<WebhookDelivery>().state, DeliveryState::Delivered);
    all_come().await;
    fails("after another one").await;
    lock(&edge, "another one").await;
    all_come().await;
    edge.stop().await;
}

#[tokio::test]
async fn a_receiver_asks_for_a_pause_in_seconds_or_by_any_form_of_a_date() {
    const DAY_MS: u64 = DAY_S * 1_000;
    // RFC 9110 §5.6.7, and a number of seconds beyond every integer type.
    let pauses = [
        "Fri, 06 Nov 2093 08:49:37 GMT",
        "Wednesday, 06-Nov-69 08:49:37 GMT",
        "Fri Nov  6 08:49:37 2093",
        "86400",
        "18446744073709551616",
    ];
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let mut receivers = Vec::new();
    for (number, pause) in pauses.iter().enumerate() {
        let receiver = Receiver::start().await;
        receiver.always(Answer::with(503, &format!("retry-after: {pause}\r\n"), ""));
        add_for(&edge, &format!("ci-{number}"), &receiver, &["environment.locked"]).await;
        receivers.push(receiver);
    }
    lock(&edge, "one").await;
    for (number, pause) in pauses.iter().enumerate() {
        let name = format!("ci-{number}");
        state_is(&edge, &name, WebhookState::Failing).await;
        let waiting = show(&edge, &name).await.deliveries[0].clone();
        assert_eq!((waiting.state, waiting.attempts), (DeliveryState::Waiting, 1), "{pause}");
        // A day is the maximum.
        assert!(waiting.next_ms.unwrap() >= waiting.last.unwrap().at_ms + DAY_MS, "{pause}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_message_that_is_requested_while_it_is_sent_comes_again_at_once() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).with_limit("webhook_ms_max", 3_000).start().await;
    let receiver = Receiver::start().await;
    add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    // After the second attempt, a message waits for five minutes.
    receiver.answers([Answer::with(503, "retry-after: 3600\r\n", ""), Answer::Silence]);
    lock(&edge, "one").await;
    state_is(&edge, "ci", WebhookState::Failing).await;
    let redeliver = format!("ci/deliveries/{}/redeliver", show(&edge, "ci").await.deliveries[0].id);
    assert_eq!(post(&edge, &redeliver).await.status, StatusCode::ACCEPTED);
    receiver.has(2).await;
    assert_eq!(post(&edge, &redeliver).await.status, StatusCode::ACCEPTED);
    receiver.has(3).await;
    newest_is(&edge, "ci", DeliveryState::Delivered).await;
    edge.stop().await;
}

#[tokio::test]
async fn receivers_that_are_slow_or_send_without_end_hold_up_nobody() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).with_limit("webhook_ms_max", 500).start().await;
    let (silent, endless, quick) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    silent.always(Answer::Silence);
    endless.always(Answer::Endless);
    for (name, receiver) in [("silent", &silent), ("endless", &endless), ("quick", &quick)] {
        add_for(&edge, name, receiver, &["environment.locked"]).await;
    }
    lock(&edge, "one").await;
    quick.has(1).await;
    let taken = newest_is(&edge, "endless", DeliveryState::Delivered).await;
    let answer = taken.last.unwrap().answer;
    assert!(answer.starts_with("moremore") && answer.len() <= 500, "{answer}");
    state_is(&edge, "silent", WebhookState::Failing).await;
    let last = show(&edge, "silent").await.deliveries[0].last.clone().unwrap();
    assert_eq!((last.status, last.error.as_deref()), (None, Some("it did not answer within 500 ms")));

    // A test delivery reports the result immediately.
    let tested: WebhookDelivery = post(&edge, "silent/test").await.json();
    assert_eq!((tested.state, tested.attempts), (DeliveryState::Failed, 1));
    let tested: WebhookDelivery = post(&edge, "quick/test").await.json();
    assert_eq!((tested.state, tested.payload.event.as_str()), (DeliveryState::Delivered, "webhook.test"));
    assert_eq!(quick.has(2).await[1].json()["data"]["webhook"], "quick");
    edge.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_silent_holds_up_no_other_of_its_app() {
    let setup = edge().with_app(APP, &[("index.html", b"one")]).with_limit("webhook_ms_max", 60_000);
    // Two sends per app, and one of the two per webhook.
    let edge = setup.with_limit("webhook_sends_max", 8).start().await;
    let (silent, quick) = (Receiver::start().await, Receiver::start().await);
    silent.always(Answer::Silence);
    add_for(&edge, "silent", &silent, &["environment.locked"]).await;
    add_for(&edge, "well", &quick, &["environment.locked"]).await;
    for number in 0..4 {
        lock(&edge, &format!("{number}")).await;
    }
    quick.has(4).await;
    assert_eq!(silent.has(1).await.len(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_receiver_that_is_gone_ends_its_webhook() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let (elsewhere, other) = (Receiver::start().await, Receiver::start().await);
    let (moved, gone) = (Receiver::start().await, Receiver::start().await);
    moved.always(Answer::with(307, &format!("location: {}\r\n", elsewhere.url("/")), ""));
    gone.always(Answer::status(410));
    add_for(&edge, "moved", &moved, &["environment.locked"]).await;
    add_for(&edge, "gone", &gone, &["environment.locked"]).await;
    add_for(&edge, "other", &other, &["webhook.disabled"]).await;
    lock(&edge, "one").await;
    state_is(&edge, "moved", WebhookState::Failing).await;
    let last = show(&edge, "moved").await.deliveries[0].last.clone().unwrap();
    assert_eq!(last.error.as_deref(), Some("it answers 307: redirects are not followed"));
    assert_eq!(elsewhere.connections(), 0);

    let status = state_is(&edge, "gone", WebhookState::Disabled).await;
    assert_eq!(status.disabled.unwrap().reason, "Its receiver says that it is gone (410).");
    let notice = other.has(1).await[0].json();
    assert_eq!((&notice["type"], &notice["data"]["webhook"]), (&json!("webhook.disabled"), &json!("gone")));
    let ended = newest_is(&edge, "gone", DeliveryState::Failed).await;
    let again = post(&edge, &format!("gone/deliveries/{}/redeliver", ended.id)).await;
    assert_eq!(again.code(), Code::Conflict, "{}", again.text());
    lock(&edge, "two").await;
    eventually("the other one is tried", async || moved.received().len() >= 2).await;
    assert_eq!(gone.received().len(), 1, "nothing is sent to it any more");

    // Once set again, the webhook receives later events.
    gone.always(Answer::status(200));
    let again = set(&edge, "gone", json!({ "events": ["environment.locked"] })).await;
    assert_eq!((again.is_new, again.secret, again.webhook.state), (false, None, WebhookState::Active));
    lock(&edge, "three").await;
    assert_eq!(gone.has(2).await[1].json()["data"]["reason"], "three");
    edge.stop().await;
}

#[tokio::test]
async fn a_receiver_that_fails_for_days_ends_its_webhook_and_a_message_is_given_up() {
    let Some(clock) = Clock::new() else { return };
    let edge = clock.on(edge().with_app(APP, &[("index.html", b"one")])).start().await;
    let receiver = Receiver::start().await;
    receiver.always(Answer::status(503));
    add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    lock(&edge, "one").await;
    state_is(&edge, "ci", WebhookState::Failing).await;
    let attempts = async || show(&edge, "ci").await.deliveries[0].attempts;
    // Each clock reading is a day later than the previous reading, and later than the next attempt.
    for day in 1..=5_u64 {
        let before = attempts().await;
        clock.set_to(day, day);
        eventually("it is sent again", async || attempts().await > before).await;
        // The state on the fifth day depends on the time of the first attempt.
        let state = show(&edge, "ci").await.webhook.state;
        assert!(state == WebhookState::Failing || day == 5, "day {day}: {state:?}");
    }
    clock.set_to(6, 6);
    let status = state_is(&edge, "ci", WebhookState::Disabled).await;
    let reason = status.disabled.unwrap().reason;
    assert!(reason.contains("has taken no message for") && reason.contains("it answers 503"), "{reason}");
    eventually("nothing waits", async || list(&edge).await[0].waiting == 0).await;
    assert_eq!(show(&edge, "ci").await.deliveries[0].state, DeliveryState::Failed);
    edge.stop().await;
}

#[tokio::test]
async fn two_failures_a_week_apart_disable_no_webhook_and_a_test_that_is_taken_ends_them() {
    let Some(clock) = Clock::new() else { return };
    let edge = clock.on(edge().with_app(APP, &[("index.html", b"one")])).start().await;
    let receiver = Receiver::start().await;
    receiver.always(Answer::status(503));
    add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    lock(&edge, "one").await;
    let first = state_is(&edge, "ci", WebhookState::Failing).await.failing_since_ms.unwrap();
    clock.set_to(7, 0);
    let since = async || show(&edge, "ci").await.webhook.failing_since_ms.unwrap();
    eventually("it fails since today", async || since().await > first + 5 * DAY_S * 1_000).await;
    assert_eq!(show(&edge, "ci").await.webhook.state, WebhookState::Failing);
    receiver.always(Answer::status(200));
    let tested: WebhookDelivery = post(&edge, "ci/test").await.json();
    assert_eq!(tested.state, DeliveryState::Delivered);
    let status = show(&edge, "ci").await.webhook;
    assert_eq!((status.state, status.failing_since_ms), (WebhookState::Active, None));
    edge.stop().await;
}

#[tokio::test]
async fn a_kill_loses_no_message_and_a_restart_neither() {
    let setup = edge().with_app(APP, &[("index.html", b"one")]).in_a_process();
    // One send at a time: the second message waits while the first is in flight.
    let edge = setup.with_limit("webhook_sends_max", 1).with_limit("webhook_ms_max", 2_000).start().await;
    let receiver = Receiver::start().await;
    add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    receiver.answers([Answer::Silence]);
    lock(&edge, "first").await;
    receiver.has(1).await;
    lock(&edge, "second").await;
    let edge = edge.killed_and_started().await;
    let reasons = || {
        let received = receiver.received();
        received.iter().map(|message| message.json()["data"]["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("the second one comes", async || reasons().contains(&"second".to_owned())).await;
    eventually("the first one comes again", async || reasons().iter().filter(|reason| *reason == "first").count() == 2)
        .await;
    let received = receiver.received();
    let first: Vec<_> = received.iter().filter(|message| message.json()["data"]["reason"] == "first").collect();
    assert_eq!(first[0].field("webhook-id"), first[1].field("webhook-id"));
    eventually("nothing waits", async || list(&edge).await[0].waiting == 0).await;

    receiver.answers([Answer::status(500)]);
    lock(&edge, "third").await;
    receiver.has(4).await;
    let edge = edge.restart().await;
    eventually("the third one comes again", async || reasons().iter().filter(|reason| *reason == "third").count() == 2)
        .await;
    let edge = edge.taken_over().await;
    lock(&edge, "fourth").await;
    receiver.has(6).await;
    assert_eq!(reasons().last().unwrap(), "fourth");
    edge.stop().await;
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_for_a_day() {
    let Some(clock) = Clock::new() else { return };
    let edge = clock.on(edge().with_app(APP, &[("index.html", b"one")])).start().await;
    let receiver = Receiver::start().await;
    let old = add(&edge, "ci", &receiver).await;
    let rotated: WebhookRotated = post(&edge, "ci/rotate").await.json();
    let new = rotated.secret.expose().to_owned();
    assert_ne!(old, new);
    assert_eq!(show(&edge, "ci").await.webhook.old_secret_until_ms, Some(rotated.old_secret_until_ms));
    post(&edge, "ci/test").await.json::<WebhookDelivery>();
    let message = receiver.has(1).await[0].clone();
    assert_eq!(message.field("webhook-signature").split(' ').count(), 2);
    assert_eq!((signatures_by(&old, &message), signatures_by(&new, &message)), (1, 1));
    clock.set_to(3, 0);
    post(&edge, "ci/test").await.json::<WebhookDelivery>();
    let message = receiver.has(2).await[1].clone();
    assert_eq!((signatures_by(&old, &message), signatures_by(&new, &message)), (0, 1));
    assert_eq!(show(&edge, "ci").await.webhook.old_secret_until_ms, None);
    edge.stop().await;
}

#[tokio::test]
async fn after_several_rotations_the_secret_before_them_still_signs() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let receiver = Receiver::start().await;
    let mut secrets = vec![add(&edge, "ci", &receiver).await];
    for _ in 0..4 {
        let rotated: WebhookRotated = post(&edge, "ci/rotate").await.json();
        secrets.push(rotated.secret.expose().to_owned());
        if secrets.len() == 4 {
            post(&edge, "ci/test").await.json::<WebhookDelivery>();
        }
    }
    post(&edge, "ci/test").await.json::<WebhookDelivery>();
    let messages = receiver.has(2).await;
    let signing = |message| secrets.iter().map(|secret| signatures_by(secret, message)).collect::<Vec<_>>();
    // If the responses to both rotations were lost, the receiver has the first secret.
    assert_eq!(signing(&messages[0]), [1, 1, 1, 1, 0]);
    assert_eq!(signing(&messages[1]), [0, 1, 1, 1, 1]);
    // If an attacker has one of the secrets, an immediate rotation retires all old secrets.
    let last: WebhookRotated = post(&edge, "ci/rotate?now=true").await.json();
    assert_eq!(show(&edge, "ci").await.webhook.old_secret_until_ms, None);
    post(&edge, "ci/test").await.json::<WebhookDelivery>();
    let message = receiver.has(3).await[2].clone();
    assert_eq!((signing(&message), signatures_by(last.secret.expose(), &message)), (vec![0; 5], 1));
    edge.stop().await;
}

#[tokio::test]
async fn more_messages_than_may_wait_take_the_place_of_the_oldest() {
    let setup = edge().with_app(APP, &[("index.html", b"one")]).with_limit("webhook_waiting_max", 3);
    let edge = setup.with_limit("webhook_deliveries_kept", 4).start().await;
    let receiver = Receiver::start().await;
    receiver.always(Answer::status(500));
    add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    for number in 0..6 {
        lock(&edge, &format!("{number}")).await;
    }
    let details = show(&edge, "ci").await;
    let of = |state| details.deliveries.iter().filter(|delivery| delivery.state == state).count();
    assert_eq!((of(DeliveryState::Waiting), of(DeliveryState::Dropped)), (3, 3));
    assert_eq!(details.deliveries[0].payload.data.reason.as_deref(), Some("5"), "the newest is kept");
    assert_eq!(details.deliveries.last().unwrap().state, DeliveryState::Dropped);
    edge.stop().await;
}

#[tokio::test]
async fn what_was_deleted_sends_no_more_messages() {
    let edge = edge().with_app(APP, &[("index.html", b"one")]).start().await;
    let receiver = Receiver::start().await;
    receiver.always(Answer::status(500));
    add_for(&edge, "ci", &receiver, &["deploy.live", "environment.locked"]).await;
    let files: crate::support::Files<'_> = &[("index.html", b"of staging")];
    let begin = devanture_config::api::BeginDeploy {
        manifest: crate::support::manifest(files),
        source: Default::default(),
        options: Default::default(),
    };
    edge.try_push(APP, "staging", begin, files).await.unwrap();
    receiver.has(1).await;
    let deleted = got(edge.api(Method::DELETE, "/v1/apps/shop/environments/staging")).await;
    assert!(deleted.status.is_success(), "{}", deleted.text());
    eventually("its message is dropped", async || list(&edge).await[0].waiting == 0).await;

    lock(&edge, "one").await;
    eventually("a message waits", async || list(&edge).await[0].waiting == 1).await;
    let removed = got(edge.api(Method::DELETE, &format!("{WEBHOOKS}/ci"))).await;
    assert!(removed.status.is_success(), "{}", removed.text());
    assert!(list(&edge).await.is_empty());
    // A later webhook of the same name has none of the old messages.
    add_for(&edge, "ci", &receiver, &["environment.locked"]).await;
    assert!(show(&edge, "ci").await.deliveries.is_empty());

    let counts = async |waiting: u64| {
        let metrics = got(edge.api(Method::GET, "/metrics")).await;
        metrics.text().contains(&format!("devanture_webhook_messages_waiting {waiting}\n"))
    };
    lock(&edge, "two").await;
    eventually("a message waits", async || list(&edge).await[0].waiting == 1).await;
    // The count is updated shortly after the message.
    eventually("the message is counted", async || counts(1).await).await;
    let deleted = got(edge.api(Method::DELETE, "/v1/apps/shop")).await;
    assert!(deleted.status.is_success(), "{}", deleted.text());
    edge.push("blog", &[("index.html", b"blog")]).await;
    // Otherwise the app could be restored before the check of the message, as in a deletion undone at once.
    eventually("its message is dropped", async || counts(0).await).await;
    let undeleted = got(edge.api(Method::POST, "/v1/apps/shop/undelete").json(&json!({}))).await;
    assert!(undeleted.status.is_success(), "{}", undeleted.text());
    eventually("its messages are gone", async || list(&edge).await.first().is_some_and(|one| one.waiting == 0)).await;
    edge.stop().await;
}

/// Listener on 127.0.0.1 that accepts no further connections, and a receiver on 127.0.0.2 at the same port.
async fn deaf_and_well() -> (TcpListener, [TcpStream; 2], Receiver) {
    let (deaf, well) = loop {
        let well = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], well.local_addr().unwrap().port()));
        // Another program may have the port at the other address.
        if socket.bind(at).is_ok() {
            break (socket.listen(1).unwrap(), well);
        }
    };
    let address = deaf.local_addr().unwrap();
    // The connections fill the listener's backlog and are never accepted: the kernel drops later connections.
    let filling = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    (deaf, filling, Receiver::at(well))
}

#[tokio::test]
async fn an_address_that_drops_packets_keeps_no_message_from_the_others_of_its_name() {
    let dns = Dns::start(DnsBehavior::at(&["127.0.0.1", "127.0.0.2"])).await;
    let setup = edge().with_app(APP, &[("index.html", b"one")]);
    let edge = setup.with_toml(&format!("[dns]\nservers = [\"{}\"]", dns.address)).start().await;
    let (_deaf, _filling, receiver) = deaf_and_well().await;
    let url = format!("http://hooks.example.org:{}/", receiver.address.port());
    set(&edge, "ci", json!({ "url": url })).await;
    let tested: WebhookDelivery = post(&edge, "ci/test").await.json();
    assert_eq!(tested.state, DeliveryState::Delivered, "{tested:?}");
    assert_eq!(receiver.received().len(), 1);
    edge.stop().await;
}
