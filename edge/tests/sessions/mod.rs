//! Browser sessions: start and end, the rights of the session cookie, and refused uses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod confirmations;
mod hosts;
mod lists;
mod logins;
mod page;
mod passkeys;
mod sites;
mod taken_away;

use http::header::{COOKIE, SET_COOKIE};
use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{Got, RunningEdge, Setup, edge, got};

const PASSWORD: &str = "correct horse battery";
const COOKIE_NAME: &str = "__Host-Http-devanture-session";

/// Edge with a cheap password hash.
fn quick() -> Setup {
    edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1)
}

/// Creates an account for every app with [`PASSWORD`].
async fn account(edge: &RunningEdge, name: &str, scope: &str) {
    let wanted = json!({ "name": name, "scope": scope, "password": PASSWORD });
    let made = got(edge.api(Method::POST, "/v1/accounts").json(&wanted)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
}

/// Browser on a page of the edge, with the session cookie.
#[derive(Clone)]
struct Browser {
    client: reqwest::Client,
    port: u16,
    cookie: String,
}

impl Browser {
    fn of(edge: &RunningEdge) -> Self {
        Self { client: edge.client(), port: edge.admin().port(), cookie: String::new() }
    }

    /// Request with the cookie, without the browser's `Sec-Fetch` fields.
    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("https://localhost:{}{path}", self.port));
        if self.cookie.is_empty() { request } else { request.header(COOKIE, &self.cookie) }
    }

    /// Request of a script on a page of the edge.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("sec-fetch-site", "same-origin").header("sec-fetch-mode", "cors")
    }

    async fn get(&self, path: &str) -> Got {
        got(self.request(Method::GET, path)).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Got {
        got(self.request(method, path).json(body)).await
    }

    async fn try_to_enter(&mut self, body: &Value) -> Got {
        let got = self.send(Method::POST, "/v1/session", body).await;
        if let Some(field) = got.headers.get(SET_COOKIE) {
            let field = field.to_str().unwrap();
            field.split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        got
    }

    /// Logs in as an account.
    async fn entered(mut self, account: &str) -> Self {
        let got = self.try_to_enter(&json!({ "account": account, "password": PASSWORD })).await;
        assert_eq!(got.status, StatusCode::CREATED, "{}", got.text());
        self
    }

    /// Returns true if the session is valid.
    async fn is_in(&self) -> bool {
        match self.get("/v1/session").await.status {
            StatusCode::OK => true,
            StatusCode::UNAUTHORIZED => false,
            other => panic!("{other}"),
        }
    }
}
