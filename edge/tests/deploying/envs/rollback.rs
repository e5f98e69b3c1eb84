//! Rollback to a version, with the current settings or with the settings of the version.

use devanture_config::api::{Scope, SettingsDifference, SwitchReport};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{history, patch, post, publish, push, rollback, settings, shown};
use crate::support::{Got, edge, got};

/// Live version in a refusal.
fn live_now(refused: &Got) -> Option<Value> {
    refused.problem().live.map(|live| json!(live))
}

/// Difference as text: `changed A; added B; removed C`.
fn text(difference: &SettingsDifference) -> String {
    let lists = [("changed", &difference.changed), ("added", &difference.added), ("removed", &difference.removed)];
    let lists = lists.iter().filter(|(_, names)| !names.is_empty());
    let lists: Vec<String> = lists
        .map(|(what, names)| format!("{what} {}", names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(",")))
        .collect();
    lists.join("; ")
}

#[tokio::test]
async fn a_rollback_keeps_the_settings_says_how_they_differ_and_restores_them_where_that_is_wanted() {
    let edge = edge().start().await;
    push(&edge, "prod", "one").await;
    patch(
        &edge,
        "prod",
        json!({ "set": {
        "SAME": { "value": "0", "public": true },
        "CHANGED": { "value": "1", "public": true },
        "GONE": { "value": "1", "public": true },
        "KEY": { "value": "hush", "secret": true },
    } }),
    )
    .await;
    let one = json!({ "SAME": "0", "CHANGED": "1", "GONE": "1" });
    let two = push(&edge, "prod", "two").await;
    patch(
        &edge,
        "prod",
        json!({ "set": {
        "CHANGED": { "value": "2" },
        "NEW": { "value": "2", "public": true },
        "KEY": { "value": "other", "secret": true },
    }, "unset": ["GONE"] }),
    )
    .await;
    let later = json!({ "SAME": "0", "CHANGED": "2", "NEW": "2" });

    let report = rollback(&edge, json!({})).await;
    let difference = report.settings.unwrap();
    assert_eq!((difference.was, difference.now, difference.restored, difference.kept), (1, 2, false, true));
    assert_eq!(text(&difference), "changed CHANGED,KEY; added NEW; removed GONE");
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    assert_eq!(shown(&edge, "shop.localhost").await, later);

    // Forward again: the version was live with the current settings, so that no difference is reported.
    let report = rollback(&edge, json!({ "version": two.version })).await;
    assert_eq!((report.switched, report.settings), (true, None));

    // Restored: the version was last live, briefly, with the later settings; the settings at the switch count.
    let push_token = edge.token_for(Scope::Push, Some("shop"), None).await;
    let body = json!({ "with_settings": true });
    let path = "/v1/apps/shop/environments/prod/rollback";
    assert_eq!(got(edge.ask(Method::POST, path, &push_token).json(&body)).await.code(), Code::Forbidden);
    let report = rollback(&edge, json!({ "with_settings": true })).await;
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    // The first rollback returned to the first push; the restored settings are the settings at the end of its live
    // time.
    assert_eq!(shown(&edge, "shop.localhost").await, one);
    let difference = report.settings.unwrap();
    assert_eq!((difference.was, difference.now, difference.restored), (1, 2, true));
    assert_eq!(history(&edge, "prod").await.deploys[0].settings, 1);
    let held = settings(&edge, "prod").await;
    assert_eq!((held.revision, held.settings.len()), (1, 4));

    // A change builds on the current settings and gets a new revision.
    let changed = publish(&edge, "prod", "AFTER", "3").await;
    assert_eq!((changed.previous, changed.revision), (1, 3));
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "SAME": "0", "CHANGED": "1", "GONE": "1", "AFTER": "3" }));
    edge.restart().await.stop().await;
}

#[tokio::test]
async fn settings_that_are_no_longer_kept_are_reported_and_nothing_is_half_done() {
    let edge = edge().with_limit("settings_revisions_max", 2).start().await;
    let one = push(&edge, "prod", "one").await;
    publish(&edge, "prod", "A", "1").await;
    for text in ["two", "three", "four"] {
        push(&edge, "prod", text).await;
        publish(&edge, "prod", "A", text).await;
    }
    for number in 0..6 {
        publish(&edge, "prod", "A", &number.to_string()).await;
    }
    // The settings of the last two switches are retained, with the last two versions.
    let report = rollback(&edge, json!({ "with_settings": true })).await;
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "A": "three" }));
    assert!(report.settings.unwrap().restored);
    let refused = post(&edge, "prod", "rollback", json!({ "version": one.version, "with_settings": true })).await;
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "three");
    let report = rollback(&edge, json!({ "version": one.version })).await;
    let difference = report.settings.unwrap();
    assert_eq!((difference.was, difference.kept, text(&difference)), (1, false, String::new()));
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    edge.stop().await;
}

#[tokio::test]
async fn a_version_that_was_never_live_here_has_no_settings_to_restore() {
    let edge = edge().start().await;
    push(&edge, "prod", "one").await;
    let elsewhere = push(&edge, "staging", "two").await;
    let body = json!({ "version": elsewhere.version, "with_settings": true });
    let refused = post(&edge, "prod", "rollback", body).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, Code::NoPrevious));
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    edge.stop().await;
}

#[tokio::test]
async fn a_rollback_is_held_to_what_was_shown() {
    let edge = edge().start().await;
    let one = push(&edge, "prod", "one").await.version;
    let two = push(&edge, "prod", "two").await.version;
    for (body, code) in [
        (json!({ "if_live": one }), Code::LiveMoved),
        (json!({ "version": one, "if_live": one }), Code::LiveMoved),
        (json!({ "version": one, "if_live": "xyz" }), Code::BadRequest),
    ] {
        let refused = post(&edge, "prod", "rollback", body.clone()).await;
        assert_eq!(refused.code(), code, "{body}");
        let live = (code == Code::LiveMoved).then(|| json!({ "environment": "prod", "version": two }));
        assert_eq!(live_now(&refused), live, "{body}");
    }
    assert_eq!(edge.live("shop").await, Some(two));
    let report = rollback(&edge, json!({ "if_live": &two.to_string()[..8] })).await;
    assert_eq!((report.previous, report.version), (Some(two), one));
    // No version was live before, but a rollback to a named version works.
    assert_eq!(post(&edge, "prod", "rollback", json!({ "if_live": one })).await.code(), Code::NoPrevious);
    let report = rollback(&edge, json!({ "version": two, "if_live": one })).await;
    assert_eq!((report.previous, report.version), (Some(one), two));
    edge.stop().await;
}

#[tokio::test]
async fn rollbacks_go_further_back_each_time_also_as_they_were_shown() {
    for as_shown in [false, true] {
        let edge = edge().start().await;
        let one = push(&edge, "prod", "one").await.version;
        let two = push(&edge, "prod", "two").await.version;
        publish(&edge, "prod", "A", "1").await;
        let one_again = push(&edge, "prod", "one").await.version;
        assert_eq!(one, one_again);
        let three = push(&edge, "prod", "three").await.version;
        let mut live = three;
        for expected in [one, two, one] {
            let path = "rollback?dry_run=true";
            let shown: SwitchReport = post(&edge, "prod", path, json!({})).await.json();
            assert_eq!((shown.previous, shown.version), (Some(live), expected), "{as_shown}");
            let body = match as_shown {
                true => json!({ "version": shown.version, "if_live": shown.previous }),
                false => json!({}),
            };
            let done = rollback(&edge, body).await;
            assert_eq!((done.previous, done.version), (Some(live), expected), "{as_shown}");
            assert_eq!(done.settings, shown.settings, "{as_shown}");
            live = expected;
        }
        assert_eq!(post(&edge, "prod", "rollback", json!({})).await.code(), Code::NoPrevious);
        // The history of a named version counts from its last live time: the next rollback goes to the version before.
        assert!(!rollback(&edge, json!({ "version": one })).await.switched);
        assert_eq!(rollback(&edge, json!({ "version": three })).await.version, three);
        assert_eq!(rollback(&edge, json!({})).await.version, one);
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_promotion_is_held_to_what_was_shown() {
    let edge = edge().start().await;
    let old = push(&edge, "prod", "old").await.version;
    let first = push(&edge, "staging", "first").await.version;
    let second = push(&edge, "staging", "second").await.version;
    let staging = json!({ "environment": "staging", "version": second });
    let prod = json!({ "environment": "prod", "version": old });
    for (body, code, live) in [
        (json!({ "from": "staging", "version": first }), Code::LiveMoved, Some(&staging)),
        (json!({ "from": "staging", "version": first, "if_live": old }), Code::LiveMoved, Some(&staging)),
        (json!({ "from": "staging", "version": second, "if_live": first }), Code::LiveMoved, Some(&prod)),
        (json!({ "from": "staging", "if_live": first }), Code::LiveMoved, Some(&prod)),
        (json!({ "from": "staging", "version": "xyz" }), Code::BadRequest, None),
        (json!({ "from": "staging", "if_live": "" }), Code::BadRequest, None),
    ] {
        for operation in ["promote", "promote?dry_run=true"] {
            let refused = post(&edge, "prod", operation, body.clone()).await;
            assert_eq!(refused.code(), code, "{operation} {body}");
            assert_eq!(live_now(&refused).as_ref(), live, "{operation} {body}");
        }
    }
    assert_eq!(edge.live("shop").await, Some(old));
    let body = json!({ "from": "staging", "version": &second.to_string()[..6], "if_live": old });
    let report: SwitchReport = post(&edge, "prod", "promote", body).await.json();
    assert_eq!((report.previous, report.version), (Some(old), second));
    let refused = post(&edge, "fresh", "promote", json!({ "from": "staging", "if_live": old })).await;
    let nothing = json!({ "environment": "fresh", "version": null });
    assert_eq!(live_now(&refused), Some(nothing));
    edge.stop().await;
}
