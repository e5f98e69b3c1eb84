//! `_redirects` with Netlify's semantics.

use crate::rules::site::{ask, holds, site};

/// Netlify's documentation, "Redirects and rewrites": redirect options, splats, placeholders.
#[tokio::test]
async fn netlifys_redirects_lead_where_they_say() {
    let edge = site(&["index.html", "blog/index.html", "about.html"])
        .with_toml("rules = \"netlify\"")
        .with_redirects(&[
            "# old addresses",
            "/home              /",
            "/blog/my-post.php  /blog/my-post",
            "/temporary         /blog 302",
            "/other             /blog 303",
            "/keep              /blog 307",
            "/keep-it           /blog 308",
            "/news/*            /blog/:splat",
            "/shows/:id/:part   /blog/:part/of/:id",
            "/out/*             https://example.org/:splat",
            "/with-query        /blog?fixed=1",
            "/part              /blog#top",
            "/a%20b             /spaced",
            "/caf\u{e9}         /coffee",
            "/docs/preset-*     /docs/babel-:splat",
            "/.well-known/webfinger* https://fed.example/.well-known/webfinger:splat 301",
            "/x/*/y             /z/:splat",
            "/tag/:post-slug    /tags/:post-slug.html",
        ])
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/home", "301 | /"),
            ("/home/", "301 | /"),
            ("/home?x=1", "301 | /?x=1"),
            ("/Home", "404"),
            ("/blog/my-post.php", "301 | /blog/my-post"),
            ("/temporary", "302 | /blog"),
            ("/other", "303 | /blog"),
            ("/keep", "307 | /blog"),
            ("/keep-it", "308 | /blog"),
            ("/news", "301 | /blog/"),
            ("/news/", "301 | /blog/"),
            ("/news/x/", "301 | /blog/x/"),
            ("/news/x/?y=1", "301 | /blog/x/?y=1"),
            ("/shows/7/two/", "301 | /blog/two/of/7"),
            ("/out/a/", "301 | https://example.org/a/"),
            ("/docs/preset-env", "301 | /docs/babel-env"),
            ("/docs/preset-env/x/", "301 | /docs/babel-env/x/"),
            ("/docs/preset", "404"),
            (
                "/.well-known/webfinger?resource=acct:a@b",
                "301 | https://fed.example/.well-known/webfinger?resource=acct:a@b",
            ),
            ("/x/a/b/y", "301 | /z/a/b"),
            ("/x/y/", "301 | /z/"),
            ("/x/a/z", "404"),
            ("/tag/a-b/", "301 | /tags/a-b.html"),
            ("/news/2004/01/10/my-story", "301 | /blog/2004/01/10/my-story"),
            ("/newspaper", "404"),
            ("/shows/7/two", "301 | /blog/two/of/7"),
            ("/shows/7", "404"),
            ("/out/a/b?c=d", "301 | https://example.org/a/b?c=d"),
            ("/with-query?x=1", "301 | /blog?fixed=1"),
            ("/part?x=1", "301 | /blog?x=1#top"),
            ("/a%20b", "301 | /spaced"),
            ("/caf%C3%A9", "301 | /coffee"),
            ("/news/a%20b/%C3%BC", "301 | /blog/a%20b/%C3%BC"),
            ("POST /home", "301 | /"),
            ("HEAD /home", "301 | /"),
        ],
    )
    .await;
    edge.stop().await;
}

/// Netlify's documentation, "Rewrites and proxies": shadowing, HTTP status codes.
#[tokio::test]
async fn a_file_goes_before_a_rule_that_is_not_forced() {
    let edge = site(&["index.html", "about.html", "team/index.html", "data.json", "gone.html"])
        .with_toml("rules = \"netlify\"")
        .with_redirects(&[
            "/about       /elsewhere",
            "/about       /never-reached",
            "/team        /elsewhere",
            "/data.json   /elsewhere 301!",
            "/old         /gone.html 404",
            "/ended       /gone.html 410",
            "/page        /about.html 200",
            "/pages/:name /:name.html 200",
            "/nowhere     /missing.html 200",
        ])
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/about", "200 | about.html"),
            ("/about.html", "200 | about.html"),
            ("/team", "200 | team/index.html"),
            ("/team/", "200 | team/index.html"),
            ("/data.json", "301 | /elsewhere"),
            ("/old", "404 | gone.html | etag:"),
            ("/ended", "410 | gone.html"),
            ("/page", "200 | about.html | cache-control: public, max-age=0, must-revalidate"),
            ("/pages/about", "200 | about.html"),
            ("/pages/missing", "404"),
            ("/nowhere", "404"),
            ("POST /page", "405"),
        ],
    )
    .await;
    edge.stop().await;
}

/// Netlify's documentation, "Redirect options": query parameters, language, cookies, country and role.
#[tokio::test]
async fn conditions_choose_among_rules() {
    let edge = site(&["index.html", "en.html", "de.html"])
        .with_toml("rules = \"netlify\"")
        .with_redirects(&[
            "/articles id=:id tag=:tag /posts/:tag/:id 301",
            "/articles id=:id /posts/:id 301",
            "/articles kind=news /news 301",
            "/articles /posts 301",
            "/hello /en.html 302 Language=en",
            "/hello /de.html 302 Language=de,at",
            "/trial /beta 302 Cookie=is_beta,other",
            "/trial /stable 302",
            "/land /here 302 Country=fr",
            "/land /there 302",
        ])
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/articles?id=1&tag=a", "301 | /posts/a/1"),
            ("/articles?tag=a&id=1", "301 | /posts/a/1"),
            ("/articles?id=1", "301 | /posts/1"),
            ("/articles?kind=news", "301 | /news"),
            ("/articles?kind=other", "301 | /posts?kind=other"),
            ("/articles", "301 | /posts"),
            ("/hello | accept-language: de-DE, en;q=0.5", "302 | /de.html | vary: accept-language, cookie"),
            ("/hello | accept-language: en-GB", "302 | /en.html | vary: accept-language, cookie"),
            ("/hello | accept-language: fr | cookie: nf_lang=de", "302 | /de.html"),
            ("/hello | accept-language: fr", "404 | vary: accept-language, cookie"),
            ("/trial | cookie: a=b; is_beta=1", "302 | /beta | vary: cookie"),
            ("/trial", "302 | /stable | vary: cookie"),
            ("/land", "302 | /there | vary:"),
        ],
    )
    .await;
    edge.stop().await;
}

/// Netlify's documentation, "History pushState and single-page apps"; hosting, the common failures.
#[tokio::test]
async fn the_page_of_an_application_answers_for_pages_alone() {
    let edge = site(&["index.html", "assets/app-B3xY9_aZ.js"])
        .with_toml("rules = \"netlify\"")
        .with_redirects(&["/* /index.html 200"])
        .with_headers(&["/*", "  Cache-Control: public, max-age=31536000, immutable"])
        .start()
        .await;
    let short = "cache-control: public, max-age=0, must-revalidate";
    let page = format!("200 | index.html | {short}");
    let missing = "404 | cache-control: no-store";
    holds(
        &edge,
        &[
            ("/deep/link", &page),
            ("/deep/link | accept: text/html", &page),
            ("/deep/link.js | sec-fetch-mode: navigate | sec-fetch-dest: document", &page),
            ("/", &page),
            ("/assets/app-B3xY9_aZ.js", "200 | cache-control: public, max-age=31536000, immutable"),
            ("/assets/missing.js", missing),
            ("/assets/app-C4xY9_aZ.js | sec-fetch-mode: no-cors | sec-fetch-dest: script", missing),
            ("/api/x | sec-fetch-mode: cors | sec-fetch-dest: empty", missing),
            ("/api/x | accept: application/json", missing),
            ("/photo.png | accept: image/avif,*/*;q=0.8", missing),
        ],
    )
    .await;
    edge.stop().await;
}

/// RFC 9110 §12.5.5 and RFC 9111 §4.1: a cache must not serve a stored page for a script, or a stored 404 for a
/// navigation.
#[tokio::test]
async fn what_is_kept_names_the_fields_that_tell_a_navigation() {
    let fields = ["/*", "  Cache-Control: public, max-age=60"];
    let varies = "vary: accept, sec-fetch-dest, sec-fetch-mode";
    let (page, script) = ("sec-fetch-mode: navigate | sec-fetch-dest: document", "sec-fetch-dest: script");
    let shell = site(&["index.html", "app.js"]).with_toml("not_found = \"single-page-application\"");
    let edge = shell.with_headers(&fields).start().await;
    let tag = ask(&edge, "/").await.header("etag").to_owned();
    holds(
        &edge,
        &[
            (
                &format!("/chunk.js | {page}"),
                &format!("200 | index.html | cache-control: public, max-age=60 | {varies}"),
            ),
            (&format!("/chunk.js | {page} | if-none-match: {tag}"), &format!("304 | {varies}")),
            (&format!("/chunk.js | {script}"), &format!("404 | cache-control: no-store | {varies}")),
            ("/deep | accept: */*", &format!("200 | index.html | {varies}")),
            ("/deep | accept: image/png", &format!("404 | {varies}")),
            // A file at the path is the same for every request.
            ("/", "200 | index.html | cache-control: public, max-age=60 | vary:"),
            (&format!("/app.js | {script}"), "200 | app.js | vary:"),
        ],
    )
    .await;
    edge.stop().await;
    let rewrite = site(&["index.html", "404.html", "forced/index.html"]).with_toml("rules = \"netlify\"");
    let rewrite = rewrite.with_redirects(&["/forced/* /forced/ 200!", "/* /index.html 200"]);
    let edge = rewrite.with_headers(&fields).start().await;
    holds(
        &edge,
        &[
            (&format!("/chunk.js | {page}"), &format!("200 | index.html | {varies}")),
            (&format!("/chunk.js | {script}"), &format!("404 | 404.html | {varies}")),
            // A forced rule answers every kind of request.
            (&format!("/forced/chunk.js | {script}"), "200 | forced/index.html | vary:"),
        ],
    )
    .await;
    edge.stop().await;
    // Without a site's rule, a cache revalidates the page before each use.
    let edge = site(&["index.html"]).with_toml("not_found = \"single-page-application\"").start().await;
    let asked = "cache-control: public, max-age=0, must-revalidate";
    holds(&edge, &[(&format!("/chunk.js | {page}"), &format!("200 | index.html | {asked} | vary:"))]).await;
    edge.stop().await;
}

/// Hosting, section 0: the page of an application is never a script, whatever the name.
#[tokio::test]
async fn a_catch_all_by_any_name_answers_for_pages_alone() {
    let edge = site(&["index.html", "200.html", "app.html"])
        .with_toml("rules = \"netlify\"")
        .with_redirects(&["/app/* /app 200", "/* /200.html 200"])
        .start()
        .await;
    holds(
        &edge,
        &[
            ("/deep", "200 | 200.html"),
            ("/app/deep", "200 | app.html"),
            ("/assets/gone.js", "404"),
            ("/app/gone.css", "404"),
            ("/part | sec-fetch-mode: cors | sec-fetch-dest: empty | accept: text/html, */*", "200 | 200.html"),
            ("/part | sec-fetch-mode: cors | sec-fetch-dest: empty | accept: */*", "404"),
        ],
    )
    .await;
    edge.stop().await;
}
