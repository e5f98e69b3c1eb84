//! `_headers` of both providers.

use crate::rules::site::{holds, site};

/// Netlify's documentation, "Custom headers".
#[tokio::test]
async fn netlifys_headers_add_up_and_a_later_block_replaces() {
    let edge = site(&["index.html", "templates/a.html", "templates/deep/b.html", "app.css", "404.html"])
        .with_toml("rules = \"netlify\"")
        .with_headers(&[
            "# for everything",
            "/*",
            "  X-Frame-Options: DENY",
            "  X-All: 1",
            "/templates/*",
            "  X-Frame-Options: SAMEORIGIN",
            "  X-Joined: a",
            "  X-Joined: b",
            "/*.css",
            "  ! X-All",
            "  Content-Length: 3",
            "  Connection: close",
            "/old",
            "  X-Redirected: yes",
        ])
        .with_redirects(&["/old /new"])
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/", "200 | x-frame-options: DENY | x-all: 1 | x-joined:"),
            ("/templates/a", "200 | x-frame-options: SAMEORIGIN | x-joined: a, b | x-all: 1"),
            ("/templates/deep/b.html", "200 | x-frame-options: SAMEORIGIN"),
            ("/TEMPLATES/a", "404 | x-frame-options: SAMEORIGIN"),
            ("/app.css", "200 | x-all: | content-length: 7 | connection:"),
            ("/missing", "404 | 404.html | x-frame-options: DENY"),
            ("/old", "301 | /new | x-redirected:"),
        ],
    )
    .await;
    edge.stop().await;
}

/// Cloudflare's documentation, "Headers".
#[tokio::test]
async fn cloudflares_headers_join_detach_and_fill_in() {
    let edge = site(&["index.html", "secure/page.html", "movies/heat.html"])
        .with_toml("rules = \"cloudflare\"")
        .with_headers(&[
            "/secure/*",
            "  X-Frame-Options: DENY",
            "  ! Cache-Control",
            "/*",
            "  X-Frame-Options: SAMEORIGIN",
            "/movies/:title",
            "  x-movie-name: You are watching \":title\"",
            "/old",
            "  X-Redirected: yes",
            "https://other.example/*",
            "  X-Other: 1",
            "https://shop.localhost/*",
            "  X-Here: 1",
        ])
        .with_redirects(&["/old /new"])
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/secure/page", "200 | x-frame-options: DENY, SAMEORIGIN | x-other: | x-here: 1"),
            ("/movies/heat", "200 | x-movie-name: You are watching \"heat\" | x-frame-options: SAMEORIGIN"),
            ("/old", "302 | /new | x-redirected: yes"),
            ("/missing", "404 | x-frame-options: SAMEORIGIN"),
        ],
    )
    .await;
    edge.stop().await;
}

/// Hosting, section 0: only the named file may be cached for long; a rule cannot change the caching of other responses.
#[tokio::test]
async fn a_rule_keeps_no_page_and_no_miss_for_long() {
    let long = "public, max-age=31536000, immutable";
    let edge = site(&["index.html", "sw.js", "app.js", "404.html", "about.html", "forced.html"])
        .with_headers(&["/*", &format!("  Cache-Control: {long}")])
        .with_toml("[[headers]]\nfor = \"/forced*\"\nset = { \"Cache-Control\" = \"max-age=86400\" }\nforce = true")
        .start()
        .await;
    let short = "cache-control: public, max-age=0, must-revalidate";
    holds(
        &edge,
        &[
            ("/", &format!("200 | {short}")),
            ("/about", &format!("200 | {short}")),
            ("/sw.js", &format!("200 | {short}")),
            ("/app.js", &format!("200 | cache-control: {long}")),
            ("/missing.js", &format!("404 | {short}")),
            ("/forced", "200 | cache-control: max-age=86400"),
        ],
    )
    .await;
    edge.stop().await;
}

/// Service Workers, algorithm Update: the request states the purpose, whatever the file name.
#[tokio::test]
async fn a_rule_keeps_no_service_worker_for_long_whatever_its_name() {
    let long = "public, max-age=31536000, immutable";
    let scripts = ["push-sw.js", "app/main.mjs", "brief.js", "cdn.js", "forced.js", "assets/app-B3xY9_aZ.js"];
    let edge = site(&[["index.html", "app/a.txt"].as_slice(), &scripts].concat())
        .with_headers(&[
            "/push-sw.js",
            &format!("  Cache-Control: {long}"),
            "  CDN-Cache-Control: max-age=31536000",
            "/app/*",
            &format!("  Cache-Control: {long}"),
            "/brief.js",
            "  Cache-Control: max-age=600",
            "/cdn.js",
            "  CDN-Cache-Control: max-age=31536000",
        ])
        .with_toml("[[headers]]\nfor = \"/forced.js\"\nset = { \"Cache-Control\" = \"max-age=86400\" }\nforce = true")
        .start()
        .await;
    let tag = crate::rules::site::ask(&edge, "/push-sw.js").await.header("etag").to_owned();
    let short = "cache-control: public, max-age=0, must-revalidate | vary: service-worker";
    let kept = format!("200 | cache-control: {long} | vary:");
    // A shared cache must not use this response for a service worker update.
    let long = format!("cache-control: {long} | vary: service-worker");
    holds(
        &edge,
        &[
            ("/push-sw.js", &format!("200 | {long}")),
            ("/push-sw.js | service-worker: no", &format!("200 | {long}")),
            (&format!("/push-sw.js | if-none-match: {tag}"), &format!("304 | {long}")),
            ("/push-sw.js | service-worker: script", &format!("200 | {short} | cdn-cache-control:")),
            (&format!("/push-sw.js | service-worker: script | if-none-match: {tag}"), &format!("304 | {short}")),
            ("/app/main.mjs", &format!("200 | {long}")),
            ("/app/a.txt", &kept),
            ("/cdn.js", "200 | vary: service-worker | cdn-cache-control: max-age=31536000"),
            ("/brief.js", "200 | cache-control: max-age=600 | vary:"),
            ("/forced.js", "200 | cache-control: max-age=86400 | vary:"),
            ("/app/main.mjs | service-worker: script", &format!("200 | {short}")),
            ("/brief.js | service-worker: script", "200 | cache-control: max-age=600"),
            ("/forced.js | service-worker: script", "200 | cache-control: max-age=86400"),
            // Without a rule, too.
            ("/assets/app-B3xY9_aZ.js", &kept),
            ("/assets/app-B3xY9_aZ.js | service-worker: script", &format!("200 | {short}")),
        ],
    )
    .await;
    edge.stop().await;
}

/// Fetch Standard, section 3.2: permissions for pages of other origins are independent of the response's outcome.
#[tokio::test]
async fn rules_hold_for_preflights_and_refusals_too() {
    let edge = site(&["index.html", "data.txt", "guarded/a.txt"])
        .with_toml("rules = \"netlify\"")
        .with_headers(&[
            "/*",
            "  Access-Control-Allow-Origin: *",
            "  Access-Control-Allow-Headers: x-own",
            "  Content-Type: text/x-own",
            "  Cache-Control: public, max-age=86400",
            "  CDN-Cache-Control: max-age=86400",
            "/guarded/*",
            "  Basic-Auth: me:pass",
        ])
        .start()
        .await;
    let cors = "access-control-allow-origin: * | access-control-allow-headers: x-own";
    let own = format!("{cors} | cache-control: no-store | cdn-cache-control:");
    let refused = |status: u16| format!("{status} | {own} | content-type: text/plain; charset=utf-8");
    let methods = format!("204 | {own} | content-type: | allow: GET, HEAD, OPTIONS");
    let preflight = "origin: https://other.example | access-control-request-method: GET | \
        access-control-request-headers: x-own";
    holds(
        &edge,
        &[
            ("/data.txt", &format!("200 | {cors} | content-type: text/x-own")),
            (&format!("OPTIONS /data.txt | {preflight}"), &methods),
            (&format!("OPTIONS /missing | {preflight}"), &methods),
            ("OPTIONS /data.txt", &methods),
            ("/missing", &refused(404)),
            ("POST /data.txt", &format!("{} | allow: GET, HEAD, OPTIONS", refused(405))),
            ("POST /missing", &refused(405)),
            ("BREW /data.txt", &refused(501)),
            ("/data.txt | if-match: \"no\"", &refused(412)),
            ("/data.txt | range: bytes=100-", &format!("{} | content-range: bytes */8", refused(416))),
            // Rule fields of a protected path are for authorized visitors alone.
            (&format!("OPTIONS /guarded/a.txt | {preflight}"), "401 | access-control-allow-origin:"),
            ("/guarded/a.txt", "401 | access-control-allow-origin:"),
        ],
    )
    .await;
    edge.stop().await;
}

/// RFC 9110 §15.4.5, §14.6: rule fields apply to 304 and 206 responses too, and break neither.
#[tokio::test]
async fn rules_hold_for_304_and_206_too() {
    let edge = site(&["index.html", "data.txt"])
        .with_headers(&["/*", "  X-Rule: 1", "  Content-Type: text/x-own", "  Vary: origin"])
        .start()
        .await;
    let tag = crate::rules::site::ask(&edge, "/data.txt").await.header("etag").to_owned();
    holds(
        &edge,
        &[
            ("/data.txt", "200 | data.txt | x-rule: 1 | content-type: text/x-own | vary: origin"),
            (&format!("/data.txt | if-none-match: {tag}"), "304 | x-rule: 1 | content-type: | vary: origin"),
            ("/data.txt | range: bytes=0-3", "206 | data | x-rule: 1 | content-range: bytes 0-3/8"),
        ],
    )
    .await;
    edge.stop().await;
}

/// RFC 9213: cache fields with precedence at some providers must not permit more than `Cache-Control`.
#[tokio::test]
async fn no_field_of_a_cdn_keeps_what_must_not_be_kept() {
    let edge = site(&["index.html", "app.js", "404.html", "about"])
        .with_headers(&[
            "/*",
            "  CDN-Cache-Control: max-age=31536000",
            "  Cache-Control: public, max-age=31536000, immutable",
            "/about",
            "  Content-Type: text/html",
        ])
        .start()
        .await;
    let short = "cdn-cache-control: | cache-control: public, max-age=0, must-revalidate";
    holds(
        &edge,
        &[
            ("/app.js", "200 | cdn-cache-control: max-age=31536000"),
            ("/", &format!("200 | {short}")),
            ("/about", &format!("200 | {short}")),
            ("/missing", &format!("404 | {short}")),
        ],
    )
    .await;
    edge.stop().await;
}

/// Cloudflare's semantics of repeated fields applies to its file alone; tables have separate semantics.
#[tokio::test]
async fn tables_do_not_join_what_a_file_would() {
    let edge = site(&["index.html", "img/a.png"])
        .with_toml("rules = \"cloudflare\"\n[cache]\n\"/*\" = \"5m\"\n\"/img/*\" = \"1d\"")
        .with_headers(&["/*", "  X-One: 1", "/img/*", "  X-One: 2"])
        .start()
        .await;
    holds(&edge, &[("/img/a.png", "200 | cache-control: public, max-age=86400 | x-one: 1, 2")]).await;
    edge.stop().await;
}
