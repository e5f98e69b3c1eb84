//! Browser requests sent by another site or another app.

use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::{Browser, PASSWORD, account, quick};
use crate::support::got;

#[tokio::test]
async fn a_cookie_counts_for_pages_of_this_origin_alone() {
    let edge = quick().with_app("shop", &[("index.html", b"hi")]).start().await;
    account(&edge, "ada", "admin").await;
    let ada = Browser::of(&edge).entered("ada").await;
    let lock = "/v1/apps/shop/environments/prod/lock";
    for (site, mode) in [
        (None, None),
        (Some("cross-site"), Some("cors")),
        (Some("cross-site"), Some("navigate")),
        // An app on another port of the same host is another origin of the same site.
        (Some("same-site"), Some("cors")),
        (Some("same-site"), Some("navigate")),
        (Some("none"), Some("navigate")),
        (Some("none"), None),
        (Some(""), Some("cors")),
        (Some("same-origin, cross-site"), Some("cors")),
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            if method == Method::GET && (site, mode) == (Some("none"), Some("navigate")) {
                continue;
            }
            let path = if method == Method::GET { "/v1/session" } else { lock };
            let mut request = ada.bare(method.clone(), path);
            for (name, value) in [("sec-fetch-site", site), ("sec-fetch-mode", mode)] {
                request = value.into_iter().fold(request, |request, value| request.header(name, value));
            }
            let refused = got(request.json(&json!({ "reason": "forged" }))).await;
            assert_eq!(refused.code(), Code::CrossSite, "{method} {site:?} {mode:?}: {}", refused.text());
        }
    }
    assert_eq!(ada.get(lock).await.code(), Code::NotFound, "nothing was locked");
    // Cross-site logins are refused as well.
    let body = json!({ "account": "ada", "password": PASSWORD });
    for site in ["cross-site", "same-site", "none"] {
        let request = ada.bare(Method::POST, "/v1/session").header("sec-fetch-site", site).json(&body);
        let refused = got(request).await;
        assert_eq!((refused.code(), refused.header("set-cookie")), (Code::CrossSite, ""), "{site}");
    }
    assert_eq!(got(ada.bare(Method::POST, "/v1/session").json(&body)).await.code(), Code::CrossSite);
    // Opened by the user, as from a bookmark.
    let opened =
        ada.bare(Method::GET, "/v1/session").header("sec-fetch-site", "none").header("sec-fetch-mode", "navigate");
    assert_eq!(got(opened).await.status, StatusCode::OK);
    // A token authenticates on its own, whatever the cookie.
    let token = edge.admin_token();
    let both = ada.bare(Method::GET, "/v1/session").bearer_auth(token);
    assert!(got(both).await.text().contains("\"token\":\"test\""));
    let both = ada.request(Method::GET, "/v1/session").bearer_auth("dvt_000000000000_00");
    assert_eq!(got(both).await.code(), Code::BadToken);
    edge.stop().await;
}

#[tokio::test]
async fn there_are_no_sessions_on_a_hostname_of_an_app() {
    let edge = quick().with_app("shop", &[("index.html", b"hi")]).start().await;
    account(&edge, "ada", "read").await;
    let ada = Browser::of(&edge).entered("ada").await;
    let body = json!({ "account": "ada", "password": PASSWORD });
    // A proxy, or a certificate with both names, may route an app's hostname to the admin listener.
    let at = |method: Method, path: &str| {
        edge.api_by_name(method, "shop.localhost", path).header("sec-fetch-site", "same-origin")
    };
    let refused = got(at(Method::POST, "/v1/session").json(&body)).await;
    assert_eq!((refused.code(), refused.header("set-cookie")), (Code::CrossSite, ""), "{}", refused.text());
    let refused = got(at(Method::GET, "/v1/session").header("cookie", &ada.cookie)).await;
    assert_eq!(refused.code(), Code::CrossSite);
    // The login page is not served there, either.
    let page = got(at(Method::GET, "/console/").header("accept", "text/html")).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::UNAUTHORIZED, "text/html; charset=utf-8"));
    assert!(page.text().contains("This hostname is that of an app") && !page.text().contains("<form"));
    edge.stop().await;
}
