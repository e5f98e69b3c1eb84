//! Requests and settings for tests of protection.

use devanture_config::api::{DeployOptions, DeployReport, ShareMade};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Files, Got, RunningEdge, Setup, edge, got, manifest};
use devanture_config::api::BeginDeploy;

pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const LOGIN: &str = "/.well-known/devanture/login";
pub(crate) const SHARE: &str = "/.well-known/devanture/share";
/// Header lines of a browser's navigation request.
pub(crate) const PAGE: &[&str] =
    &["Accept: text/html,*/*;q=0.8", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];

/// Edge with a cheap password hash and the app `shop`.
pub(crate) fn quick() -> Setup {
    let files: Files<'_> = &[("index.html", b"<p>the shop</p>"), ("app.js", b"let secret = 1;")];
    edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1).with_app("shop", files)
}

/// Hostname of the live version's preview.
pub(crate) async fn preview_of(edge: &RunningEdge, app: &str) -> String {
    format!("{}--{app}.localhost", edge.live(app).await.unwrap().short())
}

/// Pushes a page to an alias.
pub(crate) async fn push_alias(edge: &RunningEdge, alias: &str, text: &str) -> DeployReport {
    let files: Files<'_> = &[("index.html", text.as_bytes())];
    let options = DeployOptions { alias: Some(alias.parse().unwrap()), ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options };
    edge.try_push("shop", "preview", begin, files).await.unwrap()
}

/// Sets the protection of an environment of `shop`, or of its previews.
pub(crate) async fn protect(edge: &RunningEdge, place: &str, wanted: Value) -> Got {
    let path = format!("/v1/apps/shop/environments/{place}/protection");
    got(edge.api(Method::PUT, &path).json(&wanted)).await
}

pub(crate) async fn protect_by_password(edge: &RunningEdge, place: &str) {
    let set = protect(edge, place, json!({ "mode": "password", "password": PASSWORD })).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.text());
}

pub(crate) async fn share(edge: &RunningEdge, wanted: Value) -> ShareMade {
    let made = got(edge.api(Method::POST, "/v1/apps/shop/shares").json(&wanted)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    made.json()
}

/// Path and query of a link.
pub(crate) fn path_of(made: &ShareMade) -> String {
    let url = made.url.expose();
    let at = url.find(SHARE).unwrap();
    url[at..].to_owned()
}

/// Sends the form of the password page.
pub(crate) async fn enter(edge: &RunningEdge, host: &str, body: &str) -> Got {
    let form = edge.visit(Method::POST, host, LOGIN).header("content-type", "application/x-www-form-urlencoded");
    got(form.header("sec-fetch-site", "same-origin").body(body.to_owned())).await
}

/// Form with a password.
pub(crate) fn form(password: &str) -> String {
    format!("to=%2F&password={}", password.replace(' ', "+"))
}

/// Cookie of a response, in the form a browser sends.
pub(crate) fn cookie_of(answer: &Got) -> String {
    let set = answer.header("set-cookie");
    assert!(set.starts_with("__Host-Http-devanture-visitor="), "{set:?}: {}", answer.text());
    for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age="] {
        assert!(set.contains(attribute), "{set}");
    }
    assert!(!set.to_ascii_lowercase().contains("domain"), "{set}");
    set.split(';').next().unwrap().to_owned()
}

/// Response for a visitor with a cookie.
pub(crate) async fn get_with(edge: &RunningEdge, host: &str, path: &str, cookie: &str) -> Got {
    got(edge.visit(Method::GET, host, path).header("cookie", cookie)).await
}
