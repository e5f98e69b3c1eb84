//! Login page.

use devanture_config::problem::Code;
use http::{Method, StatusCode};

use super::{Browser, account, quick};
use crate::support::got;

#[tokio::test]
async fn a_browser_without_a_session_gets_a_page_to_log_in_at_the_addresses_of_the_console() {
    let edge = quick().start().await;
    account(&edge, "ada", "read").await;
    let (stranger, ada) = (Browser::of(&edge), Browser::of(&edge).entered("ada").await);
    let html = "text/html,application/xhtml+xml";
    for path in ["/", "/console", "/console/", "/console/apps/shop?next=https://evil.example"] {
        let page = got(stranger.bare(Method::GET, path).header("accept", html)).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("www-authenticate"), "Bearer");
        let policy = page.header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"] {
            assert!(policy.contains(part), "{policy}");
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(page.header(name), value, "{name}");
        }
        assert!(!page.text().contains("evil"), "it repeats nothing of its address");
        // A link from another site, where the cookie is ignored, and an ended session.
        let from_elsewhere = ada.bare(Method::GET, path).header("sec-fetch-site", "same-site");
        let page = got(from_elsewhere.header("sec-fetch-mode", "navigate").header("accept", html)).await;
        assert_eq!((page.status, page.header("content-type")), (StatusCode::UNAUTHORIZED, "text/html; charset=utf-8"));
        // Programs get the problem document.
        let problem = got(stranger.bare(Method::GET, path)).await;
        assert_eq!(problem.code(), Code::Unauthenticated, "{path}");
    }
    let problem = got(stranger.bare(Method::GET, "/v1/apps").header("accept", html)).await;
    assert_eq!(problem.code(), Code::Unauthenticated);
    edge.stop().await;
}
