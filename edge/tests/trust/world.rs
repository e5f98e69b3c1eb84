//! Requests for tests of trust.

use std::sync::atomic::{AtomicU64, Ordering};

use devanture_config::api::Exchanged;
use devanture_config::problem::Code;
use http::StatusCode;
use serde_json::{Value, json};

use super::issuer::{Issuer, SigningKey, now_s, token};
use crate::support::{Got, RunningEdge, Setup, edge, got};

pub(crate) const AUDIENCE: &str = "https://edge.example.org:8444";

/// Issuer with one key, and an edge with a trust for `shop` in `prod` and `staging`.
pub(crate) struct World {
    pub(crate) edge: RunningEdge,
    pub(crate) issuer: Issuer,
    pub(crate) key: SigningKey,
}

/// Table of a trust in an issuer.
pub(crate) fn trust(issuer: &Issuer, name: &str, more: &str) -> String {
    format!(
        "\n[[trust]]\nname = \"{name}\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\napp = \"shop\"\n{more}\n",
        issuer.name()
    )
}

/// Keys of [`World`]'s trust, without the issuer.
pub(crate) const MAIN: &str = "environments = [\"prod\", \"staging\"]\n\
    claims = { repository = \"acme/shop\", ref = [\"refs/heads/main\", \"refs/tags/v*\"] }";

/// Edge with the limits for every test of this module.
pub(crate) fn setup(issuer: &Issuer) -> Setup {
    edge()
        .with_limit("identity_fetch_pause_ms_min", 100)
        .with_limit("identity_fetch_ms_max", 2_000)
        // Some tests poll with exchanges.
        .with_limit("login_attempts_per_address_max", 10_000)
        .with_toml(&trust(issuer, "ci-main", MAIN))
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with("EdDSA", |setup| setup).await
    }

    pub(crate) async fn start_with(algorithm: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let key = SigningKey::new(algorithm);
        let issuer = Issuer::start(&[("k1", &key)]).await;
        let edge = more(setup(&issuer)).start().await;
        Self { edge, issuer, key }
    }

    pub(crate) async fn start_with_issuer(more: impl FnOnce(Setup, &Issuer) -> Setup) -> Self {
        let key = SigningKey::new("EdDSA");
        let issuer = Issuer::start(&[("k1", &key)]).await;
        let edge = more(setup(&issuer), &issuer).start().await;
        Self { edge, issuer, key }
    }

    /// Claims accepted by the trust, each time of a new identity token.
    pub(crate) fn claims(&self) -> Value {
        claims(&self.issuer)
    }

    /// Identity token with the claims, signed by the issuer's key.
    pub(crate) fn signed(&self, claims: &Value) -> String {
        token(&json!({ "alg": "EdDSA", "kid": "k1", "typ": "JWT" }), claims, |bytes| self.key.sign("EdDSA", bytes))
    }

    /// Claims of a valid identity token with one claim set.
    pub(crate) fn with(&self, claim: &str, value: impl Into<Value>) -> Value {
        let mut claims = self.claims();
        claims[claim] = value.into();
        claims
    }

    pub(crate) async fn exchange(&self, identity_token: &str) -> Got {
        exchange(&self.edge, &json!({ "identity_token": identity_token, "app": "shop", "environment": "prod" })).await
    }

    /// Presents an identity token; checks that the token is refused without a reason.
    pub(crate) async fn is_refused(&self, identity_token: &str, what: &str) {
        let answer = self.exchange(identity_token).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNAUTHORIZED, Code::BadIdentityToken),
            "{what}: {answer:?}"
        );
        assert_eq!(answer.problem().detail, "The identity token gives no access to prod of the app shop.", "{what}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }

    /// Exchanges a valid identity token.
    pub(crate) async fn is_exchanged(&self) -> Exchanged {
        exchanged(&self.exchange(&self.signed(&self.claims())).await)
    }
}

/// Claims accepted by the trust of [`World`].
pub(crate) fn claims(issuer: &Issuer) -> Value {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    json!({
        "iss": issuer.name(),
        "aud": AUDIENCE,
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "jti": format!("id-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
        "iat": now_s(),
        "nbf": now_s(),
        "exp": now_s() + 300,
        "repository": "acme/shop",
        "ref": "refs/heads/main",
    })
}

/// Requests an exchange, as any client can.
pub(crate) async fn exchange(edge: &RunningEdge, body: &Value) -> Got {
    got(edge.client().post(format!("https://{}/v1/exchange", edge.admin())).json(body)).await
}

#[track_caller]
pub(crate) fn exchanged(answer: &Got) -> Exchanged {
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}
