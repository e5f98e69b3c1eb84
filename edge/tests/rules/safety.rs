//! Limits of rules: no redirect to a foreign host, no access to other apps, no shadowing of an API.

use crate::rules::site::{ask, holds, site};

/// Hosting, section 0: at a provider, a splat with a leading slash caused an open redirect.
#[tokio::test]
async fn no_path_makes_a_redirect_lead_to_another_host() {
    let edge = site(&["index.html"])
        .with_redirects(&["/out/* /:splat", "/as/:name/* /:name/:splat 302", "/raw/* /:splat 308!"])
        .start()
        .await;
    for path in [
        "/out//evil.example",
        "/out/%2fevil.example",
        "/out/%2f%2fevil.example",
        "/out/%5cevil.example",
        "/out/\\evil.example",
        "/raw///evil.example",
        "/as/%2f/evil.example",
        "/out/%09/evil.example",
        "/out/@evil.example",
    ] {
        let got = ask(&edge, path).await;
        let location = got.header("location");
        assert!(
            !location.starts_with("//") && !location.starts_with("/\\") && !location.starts_with("http"),
            "{path}: {} {location}",
            got.status
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn law_9_no_rule_shadows_a_route() {
    let edge = site(&["index.html"])
        .with_toml("[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"")
        .with_redirects(&["/api/* /index.html 200!", "/* /index.html 200"])
        .start()
        .await;
    // The upstream has no listener: the 502 shows that the route answers, not the rule.
    holds(&edge, &[("/api/x", "502"), ("/other", "200 | index.html")]).await;
    edge.stop().await;
}

#[tokio::test]
async fn law_11_what_a_rule_sets_stays_with_its_app() {
    let edge = site(&["index.html"])
        .with_headers(&[
            "/*",
            "  Set-Cookie: a=1; Domain=localhost; Path=/",
            "  Strict-Transport-Security: max-age=31536000; includeSubDomains",
            "  Alt-Svc: h3=\":443\"",
            "  Server: mine",
        ])
        .start()
        .await;
    holds(&edge, &[("/", "200 | set-cookie: a=1; Path=/ | strict-transport-security: | alt-svc: | server:")]).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_rewrite_reaches_declared_upstreams_alone() {
    let edge = site(&["index.html"])
        .with_toml("[upstreams]\napi = \"http://127.0.0.1:1\"")
        .with_redirects(&["/proxied/* http://127.0.0.1:1/v2/:splat 200"])
        .start()
        .await;
    holds(&edge, &[("/proxied/x", "502")]).await;
    let refused = site(&["index.html"]).with_redirects(&["/other/* http://127.0.0.1:2/:splat 200"]);
    let problem = refused.try_push(&edge).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "bad_rules", "{problem:?}");
    assert!(problem.mistakes[0].message.contains("http://127.0.0.1:2"), "{problem:?}");
    edge.stop().await;
}

/// RFC 9110 §10.2.2: a redirect to the same address would loop forever.
#[tokio::test]
async fn a_rule_never_leads_to_the_very_same_address() {
    let edge = site(&["index.html"])
        .with_redirects(&[
            "/loop /loop",
            "/self/* /self/:splat",
            "https://shop.localhost/host/* https://shop.localhost/host/:splat 301!",
        ])
        .start()
        .await;
    holds(&edge, &[("/loop", "404"), ("/self/x", "404"), ("/host/x", "404")]).await;
    edge.stop().await;
}

/// Guards against a single request that creates megabytes of response, and a push with an endless rule.
#[tokio::test]
async fn law_11_no_rule_grows_without_end() {
    let many = "/:splat".repeat(60);
    let edge = site(&["index.html"])
        .with_redirects(&[&format!("/grow/* {many} 302"), "/a/* /a/:splat/:splat/:splat/:splat/:splat"])
        .with_toml("rules = \"cloudflare\"")
        .with_headers(&["/*", &format!("  X-Grown: {}", ":splat".repeat(60))])
        .start()
        .await;
    let long = "x".repeat(3_000);
    holds(&edge, &[(&format!("/grow/{long}"), "404 | x-grown:"), ("/grow/", "302 | /")]).await;
    edge.stop().await;
}

#[tokio::test]
async fn law_11_rules_have_a_bound_in_fields_and_expressions() {
    let edge = crate::support::edge().start().await;
    let fields: Vec<String> = (0..300).map(|n| format!("  X-Field-{n}: 1")).collect();
    let lines: Vec<&str> = std::iter::once("/*").chain(fields.iter().map(String::as_str)).collect();
    let problem = site(&["index.html"]).with_headers(&lines).try_push(&edge).await.unwrap_err();
    assert!(problem.mistakes[0].message.contains("200 are the most"), "{problem:?}");
    let paths: Vec<String> = (0..150).flat_map(|n| [format!("/*a{n}*"), "  X: 1".to_owned()]).collect();
    let lines: Vec<&str> = paths.iter().map(String::as_str).collect();
    let problem = site(&["index.html"]).with_headers(&lines).try_push(&edge).await.unwrap_err();
    assert!(problem.mistakes[0].message.contains("100 paths"), "{problem:?}");
    let guards: Vec<String> = (0..100).flat_map(|n| [format!("/*x{n}*"), "  Basic-Auth: ann:one".to_owned()]).collect();
    let lines: Vec<&str> = guards.iter().map(String::as_str).collect();
    let problem = site(&["index.html"]).with_headers(&lines).try_push(&edge).await.unwrap_err();
    let first = &problem.mistakes[0];
    assert!(first.message.contains("`/*x60*`") && first.message.contains("1200 together"), "{problem:?}");
    assert_eq!((first.file.as_str(), first.line), ("_headers", 121), "{problem:?}");
    let places = format!("/a/* {}", "/:splat".repeat(65));
    let problem = site(&["index.html"]).with_redirects(&[&places]).try_push(&edge).await.unwrap_err();
    assert!(problem.mistakes[0].message.contains("64 are the most"), "{problem:?}");
    edge.stop().await;
}

/// A path too long to match a rule must not bypass the rule's password or fields.
#[tokio::test]
async fn law_11_a_path_too_long_for_rules_that_take_parts_of_segments_is_refused() {
    let fields = ["/*/secret*", "  Basic-Auth: ann:one", "/*", "  X-Frame-Options: DENY"];
    let edge = site(&["index.html"])
        .with_toml("[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"")
        .with_redirects(&["/to/* /a/secret/folder/:splat 200"])
        .with_headers(&fields)
        .start()
        .await;
    let path = |before: &str, length: usize| format!("{before}{}", "x".repeat(length - before.len()));
    let framed = "404 | x-frame-options: DENY";
    holds(
        &edge,
        &[
            ("/a/secret-1", "401"),
            (&path("/", 2_048), framed),
            (&path("/", 2_049), "414"),
            (&path("/a/secret-1", 2_049), "414"),
            (&format!("{}/secret-1", path("/", 2_040)), "414"),
            // A target that is too long is skipped, like an invalid path.
            ("/to/x", "401"),
            (&path("/to/", 2_048), framed),
            // A route precedes rules.
            (&path("/api/", 5_000), "502"),
            // Each byte may be percent-encoded.
            (&format!("/{}", "%C3%A4".repeat(1_000)), framed),
        ],
    )
    .await;
    edge.stop().await;
    let edge = site(&["index.html"]).with_headers(fields.get(2..).unwrap()).start().await;
    holds(&edge, &[(&path("/", 2_049), framed)]).await;
    edge.stop().await;
}

/// A query parameter cannot leave the backend folder that a rule names.
#[tokio::test]
async fn a_capture_does_not_climb_in_a_backend() {
    let edge = site(&["index.html"])
        .with_toml("[upstreams]\nfiles = \"http://127.0.0.1:1\"\n[[rewrites]]\nfrom = \"/dl\"\nquery = { f = \":f\" }\nto = \"http://127.0.0.1:1/files/:f\"")
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/dl?f=a.txt", "502"),
            ("/dl?f=../../admin", "400"),
            ("/dl?f=%2e%2e%2fadmin", "400"),
            ("/dl?f=a/..;/x", "400"),
            ("/dl?f=..", "400"),
        ],
    )
    .await;
    edge.stop().await;
}
