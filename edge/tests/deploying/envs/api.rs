//! Settings over the API: permissions, refusals and reports.

use devanture_config::api::{DeployKind, Outcome, Scope};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{SITE, history, patch, patch_with, publish, settings, settings_path, shown, started};
use crate::support::{RunningEdge, edge, got};

async fn refused(edge: &RunningEdge, body: Value) -> devanture_config::problem::Problem {
    let token = edge.admin_token().to_owned();
    patch_with(edge, &token, "prod", &body).await.problem()
}

#[tokio::test]
async fn values_are_seen_and_changed_by_whom_they_are_for_and_no_secret_by_anybody() {
    let edge = started().await;
    patch(
        &edge,
        "prod",
        json!({ "set": {
        "PLAIN": { "value": "plain words" },
        "SHOWN": { "value": "shown words", "public": true },
        "KEY": { "value": "hush hush", "secret": true },
    } }),
    )
    .await;
    let list = settings(&edge, "prod").await;
    let found: Vec<(&str, bool, bool, Option<&str>)> =
        list.settings.iter().map(|s| (s.name.as_str(), s.public, s.secret, s.value.as_deref())).collect();
    assert_eq!(
        found,
        [
            ("KEY", false, true, None),
            ("PLAIN", false, false, Some("plain words")),
            ("SHOWN", true, false, Some("shown words")),
        ]
    );
    assert_eq!((list.revision, list.who.as_deref()), (1, Some("test")));
    use Scope::{Admin, Promote, Push, Read};
    for (scope, app, environment, sees, changes) in [
        (Read, None, None, None, Some(Code::Forbidden)),
        (Push, Some("shop"), None, None, Some(Code::Forbidden)),
        (Push, Some("shop"), Some("prod"), None, Some(Code::Forbidden)),
        (Promote, Some("shop"), Some("prod"), None, None),
        (Promote, Some("shop"), Some("staging"), Some(Code::Forbidden), Some(Code::Forbidden)),
        (Admin, Some("shop"), None, None, None),
        (Admin, Some("other"), None, Some(Code::NotFound), Some(Code::NotFound)),
    ] {
        let token = edge.token_for(scope, app, environment).await;
        let seen = got(edge.ask(Method::GET, &settings_path("prod"), &token)).await;
        let body = json!({ "set": { "PLAIN": { "value": format!("{scope} {app:?}") } } });
        let changed = patch_with(&edge, &token, "prod", &body).await;
        for (answer, expected) in [(&seen, sees), (&changed, changes)] {
            assert!(!answer.text().contains("hush"), "{}", answer.text());
            let code = (answer.status != StatusCode::OK).then(|| answer.code());
            assert_eq!(code, expected, "{scope} {app:?} {environment:?}: {}", answer.text());
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn all_that_is_wrong_is_reported_at_once_and_nothing_is_written() {
    let edge = edge()
        .with_limit("setting_name_bytes_max", 20)
        .with_limit("setting_value_bytes_max", 30)
        .with_limit("settings_max", 3)
        .with_limit("settings_bytes_max", 60)
        .with_app("shop", SITE)
        .start()
        .await;
    publish(&edge, "prod", "A", "1").await;
    let problem = refused(
        &edge,
        json!({ "set": {
        "1ower": { "value": "1" },
        "PORT": { "value": "1" },
        "DEVANTURE_TOKEN": { "value": "1" },
        "A_NAME_OF_MANY_BYTES_": { "value": "1" },
        "LONG": { "value": "x".repeat(31) },
        "NUL": { "value": "a\u{0}b" },
        "BOTH": { "value": "1", "public": true, "secret": true },
        "TWICE": { "value": "1" },
        "FINE": { "value": "1" },
    }, "unset": ["TWICE", "also lower"] }),
    )
    .await;
    assert_eq!((problem.code, problem.status), (Code::BadSetting, 422));
    let mut names: Vec<&str> = problem.mistakes.iter().map(|mistake| mistake.file.as_str()).collect();
    names.sort_unstable();
    let expected =
        ["1ower", "A_NAME_OF_MANY_BYTES_", "BOTH", "DEVANTURE_TOKEN", "LONG", "NUL", "PORT", "TWICE", "also lower"];
    assert_eq!(names, expected, "{problem:#?}");
    let three = json!({ "set": { "B": { "value": "1" }, "C": { "value": "1" }, "D": { "value": "1" } } });
    assert_eq!(refused(&edge, three).await.code, Code::TooMany);
    let large =
        json!({ "set": { "B": { "value": "x".repeat(30) }, "C": { "value": "x".repeat(30), "secret": true } } });
    assert_eq!(refused(&edge, large).await.code, Code::TooMany);
    assert_eq!(settings(&edge, "prod").await.revision, 1);
    // A removal makes room in the same change; a secret counts by the plain text length.
    let swapped = json!({ "set": { "B": { "value": "x".repeat(30), "secret": true }, "C": { "value": "x".repeat(27) } },
        "unset": ["A"] });
    assert_eq!(patch(&edge, "prod", swapped).await.revision, 2);
    assert_eq!(refused(&edge, json!({ "set": { "D": { "value": "1" } } })).await.code, Code::TooMany);
    assert!(patch(&edge, "prod", json!({ "unset": ["C"] })).await.changed);
    edge.stop().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_not_repeated() {
    let edge = started().await;
    let token = edge.admin_token().to_owned();
    for body in [
        r#"{"set":{"KEY":"hush hush"}}"#,
        r#"{"set":{"KEY":{"value":"hush hush","kind":"hush hush"}}}"#,
        r#"{"hush hush":1}"#,
        r#"{"set":{"KEY":{"value":"hush hush""#,
        r#"{"set":{"KEY=hush hush":{"value":"1"}}}"#,
        r#"{"set":{"KEY":{"value":1}}}"#,
        r#"{"set":{"KEY":["hush hush"]}}"#,
        "[]",
        "",
        "hush hush",
        "\u{0}",
    ] {
        let request = edge.ask(Method::PATCH, &settings_path("prod"), &token);
        let answer = got(request.header("content-type", "application/json").body(body)).await;
        assert!(answer.status.is_client_error(), "{body}");
        assert!(!answer.text().contains("hush"), "{}", answer.text());
        assert!(matches!(answer.code(), Code::BadJson | Code::BadRequest | Code::BadSetting), "{body}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let request = edge.ask(Method::PATCH, &settings_path("prod"), &token);
    let answer = got(request.header("content-type", "application/json").body(deep)).await;
    assert_eq!(answer.code(), Code::BadJson);
    assert_eq!(settings(&edge, "prod").await.revision, 0);
    edge.stop().await;
}

#[tokio::test]
async fn a_change_that_was_made_for_another_revision_is_refused() {
    let edge = started().await;
    let ask = async |tag: &str, value: &str| {
        let body = json!({ "set": { "A": { "value": value } } });
        got(edge.api(Method::PATCH, &settings_path("prod")).header("if-match", tag).json(&body)).await
    };
    let none = got(edge.api(Method::GET, &settings_path("prod"))).await;
    assert_eq!((none.header("etag"), none.status), ("\"0\"", StatusCode::OK));
    assert_eq!(ask("\"1\"", "1").await.code(), Code::PreconditionFailed);
    let first = ask("\"0\"", "1").await;
    assert_eq!((first.status, first.header("etag")), (StatusCode::OK, "\"1\""));
    for stale in ["\"0\"", "W/\"1\"", "1", "\"\"", ""] {
        assert_eq!(ask(stale, "2").await.status, StatusCode::PRECONDITION_FAILED, "{stale}");
    }
    assert_eq!(ask("\"0\", \"1\"", "2").await.header("etag"), "\"2\"");
    assert_eq!(ask("*", "3").await.header("etag"), "\"3\"");
    // Of many concurrent changes based on the same revision, exactly one succeeds.
    let mut at_once = tokio::task::JoinSet::new();
    for number in 0..8 {
        let body = json!({ "set": { "A": { "value": format!("by {number}") } } });
        let request = edge.api(Method::PATCH, &settings_path("prod")).header("if-match", "\"3\"").json(&body);
        at_once.spawn(got(request));
    }
    let done = at_once.join_all().await.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!((done, settings(&edge, "prod").await.revision), (1, 4));
    // Without a condition, no change is lost.
    let mut at_once = tokio::task::JoinSet::new();
    for number in 0..8 {
        let body = json!({ "set": { format!("N{number}"): { "value": "1" } } });
        at_once.spawn(got(edge.api(Method::PATCH, &settings_path("prod")).json(&body)));
    }
    assert!(at_once.join_all().await.iter().all(|answer| answer.status == StatusCode::OK));
    let list = settings(&edge, "prod").await;
    assert_eq!((list.revision, list.settings.len()), (12, 9));
    edge.stop().await;
}

#[tokio::test]
async fn dry_runs_and_what_changes_nothing_write_nothing_and_what_does_is_in_the_history() {
    let edge = started().await;
    let body = json!({ "set": { "A": { "value": "1", "public": true }, "KEY": { "value": "hush", "secret": true } } });
    for query in ["?dry_run", "?dry_run=true"] {
        let predicted = got(edge.api(Method::PATCH, &format!("{}{query}", settings_path("prod"))).json(&body)).await;
        assert_eq!(predicted.header("etag"), "\"0\"");
        let predicted: devanture_config::api::SettingsReport = predicted.json();
        assert_eq!((predicted.dry_run, predicted.changed, predicted.revision), (true, true, 1));
    }
    assert!(!edge.data_dir().with_file_name("data.key").exists(), "no key is made for a question");
    assert_eq!((settings(&edge, "prod").await.revision, shown(&edge, "shop.localhost").await), (0, json!({})));
    assert_eq!(history(&edge, "prod").await.deploys.len(), 1);
    patch(&edge, "prod", body).await;
    let again = patch(&edge, "prod", json!({ "set": { "A": { "value": "1" } } })).await;
    assert_eq!((again.changed, again.revision, again.set.len()), (false, 1, 0));
    let mixed = json!({ "set": { "A": { "value": "1" }, "B": { "value": "2" } }, "unset": ["KEY", "NONE"] });
    let mixed = patch(&edge, "prod", mixed).await;
    assert_eq!((mixed.set.len(), mixed.set[0].as_str(), mixed.unset.len()), (1, "B", 1));
    let deploys = history(&edge, "prod").await.deploys;
    let found: Vec<(DeployKind, Outcome, u64, Option<&str>)> =
        deploys.iter().map(|d| (d.kind, d.outcome, d.settings, d.source.message.as_deref())).collect();
    assert_eq!(
        found,
        [
            (DeployKind::Settings, Outcome::Done, 2, Some("set B; unset KEY")),
            (DeployKind::Settings, Outcome::Done, 1, Some("set A, KEY")),
            (DeployKind::Push, Outcome::Live, 0, None),
        ]
    );
    // A change of settings is a deploy with a working URL.
    let path = format!("/v1/apps/shop/deploys/{}", deploys[0].id);
    assert_eq!(got(edge.api(Method::GET, &path)).await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn an_environment_and_an_alias_do_not_share_a_name() {
    let edge = started().await;
    let live = edge.live("shop").await.unwrap();
    let alias = async |name: &str| {
        got(edge.api(Method::PUT, &format!("/v1/apps/shop/aliases/{name}")).json(&json!({ "version": live }))).await
    };
    assert_eq!(alias("feature").await.status, StatusCode::OK);
    let token = edge.admin_token().to_owned();
    let body = json!({ "set": { "A": { "value": "1" } } });
    assert_eq!(patch_with(&edge, &token, "feature", &body).await.code(), Code::AliasTaken);
    publish(&edge, "next", "A", "1").await;
    assert_eq!(alias("next").await.code(), Code::AliasTaken);
    patch(&edge, "next", json!({ "unset": ["A"] })).await;
    assert_eq!(alias("next").await.status, StatusCode::OK);
    // A missing app has neither settings nor a history.
    assert_eq!(got(edge.api(Method::GET, "/v1/apps/none/environments/prod/settings")).await.code(), Code::NotFound);
    edge.stop().await;
}
