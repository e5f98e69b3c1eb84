//! Settings marked for development, and the permission to read their values.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

use devanture_config::api::{DevelopmentSettings, Scope, SettingsList};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{edge, got};

const SETTINGS: &str = "/v1/apps/shop/environments/staging/settings";

#[tokio::test]
async fn a_setting_is_read_back_only_where_it_was_marked_when_it_was_set() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let set = async |set| {
        let answer = got(edge.api(Method::PATCH, SETTINGS).json(&json!({ "set": set }))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    };
    set(json!({
        "KEY": { "value": "hush", "secret": true, "development": true },
        "OTHER": { "value": "quiet", "secret": true },
        "URL": { "value": "https://a", "development": true },
    }))
    .await;
    let development = format!("{SETTINGS}/development");
    let read = async || -> Vec<(String, String)> {
        let push = edge.token(Scope::Push).await;
        let found: DevelopmentSettings = got(edge.ask(Method::GET, &development, &push)).await.json();
        found.settings.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(read().await, [pair("KEY", "hush"), pair("URL", "https://a")]);
    // A new value keeps the mark, and so does the end of the mark's value.
    set(json!({ "KEY": { "value": "louder" }, "URL": { "value": "https://a", "development": false } })).await;
    assert_eq!(read().await, [pair("KEY", "louder")]);
    let list: SettingsList = got(edge.api(Method::GET, SETTINGS)).await.json();
    let marks: Vec<bool> = list.settings.iter().map(|setting| setting.development).collect();
    assert_eq!(marks, [true, false, false]);
    assert!(list.settings[0].value.is_none(), "a list shows no secret");
    // A secret is marked only together with a value.
    let marked = edge.api(Method::PATCH, SETTINGS).json(&json!({ "set": { "OTHER": { "development": true } } }));
    assert_eq!(got(marked).await.code(), Code::BadRequest);
    let reader = edge.token(Scope::Read).await;
    assert_eq!(got(edge.ask(Method::GET, &development, &reader)).await.code(), Code::Forbidden);
    let audit = got(edge.api(Method::GET, "/v1/audit?app=shop")).await.text();
    assert!(audit.contains("read_settings") && audit.contains("KEY URL") && !audit.contains("hush"), "{audit}");
    edge.stop().await;
}
