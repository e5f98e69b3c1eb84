//! Tables of `devanture.toml`.

use crate::rules::site::{holds, site};

#[tokio::test]
async fn tables_mean_what_files_mean() {
    let edge = site(&["index.html", "app/index.html", "app.js", "downloads/a.zip", "feed.xml"])
        .with_toml(
            r#"
[[redirects]]
from = "/old/*"
to = "/new/:splat"
[[redirects]]
from = "/docs/preset-*"
to = "/docs/babel-:splat"
[[redirects]]
from = "/seek"
query = { id = ":id" }
to = "/found/:id"
status = 302
[[redirects]]
from = "/hallo"
to = "/de"
languages = ["de"]
[[rewrites]]
from = "/app/*"
to = "/app/index.html"
[[headers]]
for = "/*.js"
set = { "X-One" = "1", "Link" = ["</a>; rel=preload", "</b>; rel=preload"] }
remove = ["X-Content-Type-Options"]
[cache]
"/downloads/*" = "1h"
"/feed.xml" = "public, max-age=60, stale-while-revalidate=30"
"#,
        )
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/old/a/b?x=1", "301 | /new/a/b?x=1"),
            ("/old/a/?x=1", "301 | /new/a/?x=1"),
            ("/docs/preset-env/", "301 | /docs/babel-env/"),
            ("/seek?id=7", "302 | /found/7"),
            ("/seek", "404"),
            ("/hallo | accept-language: de", "301 | /de"),
            ("/hallo | accept-language: en", "404 | vary: accept-language, cookie"),
            ("/app/deep/link", "200 | app/index.html"),
            ("/app/missing.js", "404"),
            ("/app.js", "200 | x-one: 1 | link: </a>; rel=preload, </b>; rel=preload | x-content-type-options:"),
            ("/downloads/a.zip", "200 | cache-control: public, max-age=3600"),
            ("/feed.xml", "200 | cache-control: public, max-age=60, stale-while-revalidate=30"),
        ],
    )
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn an_environments_table_replaces_the_list_of_the_base() {
    let toml =
        "[[redirects]]\nfrom = \"/x\"\nto = \"/base\"\n[[env.staging.redirects]]\nfrom = \"/x\"\nto = \"/staging\"";
    let shop = site(&["index.html"]).with_toml(toml);
    let edge = crate::support::edge().start().await;
    shop.try_push_to(&edge, "staging").await.unwrap();
    shop.try_push(&edge).await.unwrap();
    assert_eq!(edge.get("shop.localhost", "/x").await.header("location"), "/base");
    assert_eq!(edge.get("staging--shop.localhost", "/x").await.header("location"), "/staging");
    edge.stop().await;
}
