//! The device grant by way of the edge, for a client with a secret: what anybody may begin is limited.

use std::os::unix::fs::OpenOptionsExt as _;

use devanture_config::problem::Code;
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::{World, exchange};
use crate::support::{Got, RunningEdge, got};

fn write_secret(folder: &TempDir) -> String {
    let path = folder.path().join("oidc.secret");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"a-secret-of-the-client\n").unwrap();
    path.to_str().unwrap().to_owned()
}

async fn post(edge: &RunningEdge, path: &str, body: &Value) -> Got {
    got(edge.client().post(format!("https://{}{path}", edge.admin())).json(body)).await
}

#[tokio::test]
async fn an_address_begins_no_more_logins_than_it_may_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let secret = write_secret(&folder);
    let world = World::start_with_issuer(|setup, issuer| {
        setup.with_limit("login_attempts_per_address_max", 3).with_toml(&format!(
            "\n[oidc]\nissuer = \"{}\"\nclient_id = \"devanture-cli\"\nclient_secret_file = \"{secret}\"\n\
             [[oidc.groups]]\ngroup = \"web\"\nrole = \"developer\"\napps = [\"shop\"]\n",
            issuer.name()
        ))
    })
    .await;
    // Each counts, whatever becomes of it: this provider begins none.
    for _ in 0..3 {
        let answer = post(&world.edge, "/v1/device", &json!({})).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    }
    let identity_token = world.signed(&world.claims());
    let exchanged = json!({ "identity_token": identity_token, "app": "shop", "environment": "prod" });
    for answer in [
        post(&world.edge, "/v1/device", &json!({})).await,
        post(&world.edge, "/v1/device/token", &json!({ "device_code": "d-1" })).await,
        exchange(&world.edge, &exchanged).await,
    ] {
        assert_eq!((answer.status, answer.code()), (StatusCode::TOO_MANY_REQUESTS, Code::TooManyAttempts));
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    }
    world.edge.stop().await;
}
