//! Hostnames for account logins: below the edge's domains, only names that no app has or may get.

use devanture_config::api::BeginDeploy;
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::json;

use super::{COOKIE_NAME, PASSWORD, account, quick};
use crate::support::{Got, RunningEdge, Setup, got, manifest};

const FILES: &[(&str, &[u8])] = &[("index.html", b"hi")];
const HTML: &str = "text/html; charset=utf-8";
/// Text of the refusal.
const WHY: &str = "This hostname is that of an app, or may become one&#39;s: the app would be sent the session, too.";

fn below_example(setup: Setup) -> Setup {
    setup.with_domain("example.test").with_preview_domain("preview.example.test")
}

/// Browser's navigation request.
fn opened(edge: &RunningEdge, host: &str, path: &str) -> RequestBuilder {
    edge.api_by_name(Method::GET, host, path).header("sec-fetch-site", "none").header("sec-fetch-mode", "navigate")
}

async fn log_in(edge: &RunningEdge, host: &str) -> Got {
    let body = json!({ "account": "ada", "password": PASSWORD });
    let request = edge.api_by_name(Method::POST, host, "/v1/session").header("sec-fetch-site", "same-origin");
    got(request.json(&body)).await
}

/// Cookie of a session started at a hostname.
async fn logged_in(edge: &RunningEdge, host: &str) -> String {
    let entered = log_in(edge, host).await;
    assert_eq!(entered.status, StatusCode::CREATED, "{host}: {}", entered.text());
    entered.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// Checks that logins at a hostname are refused, with the reason.
async fn is_refused(edge: &RunningEdge, host: &str) {
    let refused = log_in(edge, host).await;
    assert_eq!((refused.code(), refused.header("set-cookie")), (Code::CrossSite, ""), "{host}: {}", refused.text());
    assert!(refused.problem().hint.is_some_and(|hint| hint.contains("a reserved one directly below `domain`")));
    for path in ["/", "/console", "/console/apps/shop"] {
        let page = got(opened(edge, host, path).header("accept", "text/html")).await;
        assert_eq!((page.status, page.header("content-type")), (StatusCode::UNAUTHORIZED, HTML), "{host}{path}");
        assert_eq!(page.header("www-authenticate"), "Bearer");
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
        assert!(page.text().contains(WHY) && page.text().contains("such as `edge`"), "{host}: {}", page.text());
        assert!(!page.text().contains("<form"), "it asks for no password");
        let problem = got(opened(edge, host, path)).await.problem();
        assert_eq!((problem.code, problem.detail), (Code::Unauthenticated, WHY.replace("&#39;", "'")), "{host}{path}");
        // A token is accepted, but the console is not served there, either.
        let known = || opened(edge, host, path).bearer_auth(edge.admin_token());
        assert_eq!(got(known()).await.code(), Code::CrossSite, "{host}{path}");
        let page = got(known().header("accept", "text/html")).await;
        assert_eq!((page.status, page.header("content-type")), (StatusCode::FORBIDDEN, HTML), "{host}{path}");
    }
    // The API requires a token there as everywhere, and answers normally with a token.
    let problem = got(opened(edge, host, "/v1/apps").header("accept", "text/html")).await.problem();
    assert_eq!((problem.code, problem.detail.as_str()), (Code::Unauthenticated, "This needs a token."));
    assert_eq!(got(opened(edge, host, "/v1/apps").bearer_auth(edge.admin_token())).await.status, StatusCode::OK);
}

#[tokio::test]
async fn people_log_in_at_a_reserved_name_below_the_domain_that_no_app_has() {
    let names = "[names]\nreserved = [\"office\"]\nallow = [\"status\", \"support\"]";
    let edge = below_example(quick()).with_toml(names).with_app("shop", FILES).with_app("status", FILES).start().await;
    account(&edge, "ada", "admin").await;
    for host in ["edge.example.test", "Edge.Example.test:8444", "office.example.test", "edge.example.org"] {
        let page = got(opened(&edge, host, "/console/").header("accept", "text/html")).await;
        assert!(page.status == StatusCode::UNAUTHORIZED && page.text().contains("<form"), "{host}: {}", page.text());
        let cookie = logged_in(&edge, host).await;
        assert!(cookie.starts_with(COOKIE_NAME));
        let asked = |path: &str| opened(&edge, host, path).header("cookie", &cookie);
        assert_eq!(got(asked("/v1/session")).await.status, StatusCode::OK, "{host}");
        let console = got(asked("/console/")).await.problem();
        assert_eq!((console.code, console.detail.as_str()), (Code::NotFound, "This edge has no console."), "{host}");
    }
    for host in [
        "shop.example.test",
        // Names available to apps through the operator: one assigned, one unassigned.
        "status.example.test",
        "support.example.test",
        "free.example.test",
        "a.edge.example.test",
        // Previews, and the preview domain, with any label.
        "edge.preview.example.test",
        "preview.example.test",
        "staging--shop.preview.example.test",
    ] {
        is_refused(&edge, host).await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn nobody_logs_in_any_more_at_a_reserved_name_that_an_app_is_given() {
    let edge = below_example(quick()).with_app("shop", FILES).start().await;
    account(&edge, "ada", "admin").await;
    let hosts = ["console.example.test", "edge.example.test", "admin.example.test"];
    let cookie = logged_in(&edge, hosts[0]).await;
    // `staging` has no live version; a wildcard covers every unassigned name.
    for (environment, given, host) in
        [("prod", hosts[0], hosts[0]), ("staging", hosts[1], hosts[1]), ("staging", "*.example.test", hosts[2])]
    {
        logged_in(&edge, host).await;
        let path = format!("/v1/apps/shop/environments/{environment}/hostnames/{given}");
        let added = got(edge.api(Method::PUT, &path)).await;
        assert!(added.status.is_success(), "{}", added.text());
        is_refused(&edge, host).await;
        let ended = got(opened(&edge, host, "/v1/session").header("cookie", &cookie)).await;
        assert_eq!(ended.code(), Code::CrossSite, "{host}: the session counts elsewhere alone");
    }
    edge.stop().await;
}

#[tokio::test]
async fn nobody_logs_in_at_the_name_of_an_app_that_was_made_before_it_was_reserved() {
    let edge = below_example(quick()).start().await;
    account(&edge, "ada", "admin").await;
    // The app has no live version in `prod`, whose hostname is tested.
    let begin = BeginDeploy { manifest: manifest(FILES), source: Default::default(), options: Default::default() };
    edge.try_push("office", "staging", begin, FILES).await.unwrap();
    let (folder, mut file) = edge.stopped().await;
    file.names.reserved = vec!["office".parse().unwrap(), "depot".parse().unwrap()];
    let edge = RunningEdge::over(folder, file).await;
    logged_in(&edge, "depot.example.test").await;
    is_refused(&edge, "office.example.test").await;
    // The deleted app can be restored.
    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/office")).await.status, StatusCode::OK);
    is_refused(&edge, "office.example.test").await;
    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/office?purge=true")).await.status, StatusCode::OK);
    logged_in(&edge, "office.example.test").await;
    edge.stop().await;
}
