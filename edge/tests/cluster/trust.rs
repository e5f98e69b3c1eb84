//! Identity tokens in a cluster: a token is exchanged once across all nodes, and the result is valid on each node.

use http::{Method, StatusCode};
use serde_json::json;

use super::world::{World, is_installed};
use crate::support::got;
use crate::trust::issuer::{Issuer, SigningKey, token};
use crate::trust::world::{MAIN, claims, exchange, exchanged, trust};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_token_is_exchanged_once_on_all_nodes() {
    if !is_installed() {
        return;
    }
    let key = SigningKey::new("EdDSA");
    let issuer = Issuer::start(&[("k1", &key)]).await;
    let table = trust(&issuer, "ci-main", MAIN);
    let world = World::start_with(2, 1, |_, setup| setup.with_toml(&table)).await;
    for _ in 0..4 {
        let header = json!({ "alg": "EdDSA", "kid": "k1" });
        let identity_token = token(&header, &claims(&issuer), |bytes| key.sign("EdDSA", bytes));
        let body = json!({ "identity_token": identity_token, "app": "shop", "environment": "prod" });
        let (one, other) = tokio::join!(exchange(&world.nodes[0], &body), exchange(&world.nodes[1], &body));
        let (made, refused) = if one.status == StatusCode::CREATED { (one, other) } else { (other, one) };
        let made = exchanged(&made);
        assert!(refused.problem().detail.contains("exchanged before"), "{refused:?}");
        for node in &world.nodes {
            let answer = got(node.ask(Method::GET, "/v1/session", made.token.expose())).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        }
    }
}
