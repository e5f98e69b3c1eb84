//! Secrets at rest: in no file of the data folder, and neither is their key.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::{patch, patch_with, publish, settings, settings_path, shown, started};
use crate::support::{edge, got};

/// Returns true if a file below a folder contains the bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, bytes),
            // A socket cannot be read.
            false => std::fs::read(&path).is_ok_and(|found| found.windows(bytes.len()).any(|window| window == bytes)),
        }
    })
}

#[tokio::test]
async fn a_secret_and_its_key_are_in_no_file_of_the_data_folder() {
    let edge = started().await;
    let value = "a-secret-that-nothing-else-would-hold";
    patch(
        &edge,
        "prod",
        json!({ "set": { "KEY": { "value": value, "secret": true },
        "PLAIN": { "value": "plain-words-that-are-found" } } }),
    )
    .await;
    let key_file = edge.data_dir().with_file_name("data.key");
    assert_eq!(std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&key_file).unwrap();
    let key = hex::decode(text.lines().last().unwrap()).unwrap();
    let edge = edge.restart().await;
    let data = edge.data_dir();
    assert!(holds(&data, b"plain-words-that-are-found"), "what is plain is found");
    for hidden in [value.as_bytes(), &key, hex::encode(&key).as_bytes()] {
        assert!(!holds(&data, hidden));
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_key_file_that_others_may_read_is_refused_and_what_is_live_goes_on() {
    let edge = started().await;
    patch(&edge, "prod", json!({ "set": { "KEY": { "value": "hush", "secret": true } } })).await;
    let key_file = edge.data_dir().with_file_name("data.key");
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let token = edge.admin_token().to_owned();
    let body = json!({ "set": { "OTHER": { "value": "hush", "secret": true } } });
    let problem = patch_with(&edge, &token, "prod", &body).await.problem();
    assert_eq!((problem.code, problem.status), (Code::SecretsLocked, 503));
    assert!(problem.hint.unwrap().contains("chmod 600"));
    // A public setting needs no key.
    publish(&edge, "prod", "A", "1").await;
    let edge = edge.restart().await;
    assert_eq!(
        (edge.get("shop.localhost", "/").await.text(), shown(&edge, "shop.localhost").await),
        ("home".to_owned(), json!({ "A": "1" }))
    );
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let token = edge.admin_token().to_owned();
    assert_eq!(patch_with(&edge, &token, "prod", &body).await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_whose_key_was_lost_starts_serves_and_takes_the_secrets_again() {
    let edge = edge().with_toml("[secrets]\nkey_file = \"keys\"").with_app("shop", super::SITE).start().await;
    patch(
        &edge,
        "prod",
        json!({ "set": { "KEY": { "value": "hush", "secret": true }, "A": { "value": "1", "public": true } } }),
    )
    .await;
    let key_file = edge.data_dir().with_file_name("keys");
    std::fs::rename(&key_file, key_file.with_file_name("lost")).unwrap();
    let edge = edge.restart().await;
    assert_eq!(shown(&edge, "shop.localhost").await, json!({ "A": "1" }));
    let lost = |list: &devanture_config::api::SettingsList| list.settings.iter().filter(|one| one.lost).count();
    assert_eq!(lost(&settings(&edge, "prod").await), 1);
    let answer = got(edge.api(Method::GET, &settings_path("prod"))).await;
    assert!(answer.text().contains("\"lost\":true"));
    // A change to the same value counts as a change: the edge cannot compare secrets.
    let set = patch(&edge, "prod", json!({ "set": { "KEY": { "value": "hush" } } })).await;
    assert!(set.changed);
    assert_eq!(lost(&settings(&edge, "prod").await), 0);
    assert!(key_file.is_file());
    edge.stop().await;
}
