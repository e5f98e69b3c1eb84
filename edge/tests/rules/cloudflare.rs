//! `_redirects` with Cloudflare's semantics.

use crate::rules::site::{holds, site};

/// Cloudflare's documentation, "Redirects"; the order of rules, splats and placeholders as in its sources.
#[tokio::test]
async fn cloudflares_redirects_go_before_files() {
    let edge = site(&["index.html", "about.html", "blog/index.html", "team.html"])
        .with_toml("rules = \"cloudflare\"")
        .with_redirects(&[
            "/about /company",
            "/movies/:title /media/:title 301",
            "/blog/* https://blog.example.org/:splat",
            "/page /team 200",
            "/page-html /team.html 200",
            "/moved /new?x=1 301",
            "/twice /first",
            "/twice /second",
        ])
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/about", "302 | /company"),
            ("/about?x=1", "302 | /company?x=1"),
            ("POST /about", "302 | /company"),
            ("/about/", "307 | /about"),
            ("/movies/heat", "301 | /media/heat"),
            ("/movies/heat/", "404"),
            ("/blog/a/b", "302 | https://blog.example.org/a/b"),
            ("/blog/", "302 | https://blog.example.org/"),
            ("/blog", "307 | /blog/"),
            ("/page", "200 | team.html"),
            ("/page-html", "307 | /team"),
            ("/moved?y=2", "301 | /new?x=1"),
            ("/twice", "302 | /first"),
        ],
    )
    .await;
    edge.stop().await;
}

/// Cloudflare's sources: a static rule precedes an earlier dynamic rule, until the first dynamic rule.
#[tokio::test]
async fn static_rules_go_first() {
    let edge = site(&["index.html"])
        .with_toml("rules = \"cloudflare\"")
        .with_redirects(&["/a/one /first", "/a/* /dynamic/:splat", "/a/two /never"])
        .start()
        .await;
    holds(&edge, &[("/a/one", "302 | /first"), ("/a/two", "302 | /dynamic/two"), ("/a/", "302 | /dynamic/")]).await;
    edge.stop().await;
}
