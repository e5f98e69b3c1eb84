//! A site in a provider's form: converted by `init --from`, pushed by the command line, and requested as by visitors.

use std::path::Path;

use crate::support::edge::{Edge, Ran, edge};

/// A project folder: the provider's files, and a site in `dist` whose pages contain their own names.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pages = ["index.html", "about.html", "blog/index.html", "404.html", "app.js"];
    let pages = pages.map(|page| (format!("dist/{page}"), page.to_owned()));
    let given = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    for (path, text) in pages.into_iter().chain(given) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

#[track_caller]
fn run(edge: &Edge, folder: &Path, arguments: &[&str]) -> Ran {
    let ran = Ran::of(edge.command(folder, "shop", arguments).output().unwrap());
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
    ran
}

/// Converts the project, and makes the version live without allowing warnings.
fn moved(from: &str, files: &[(&str, &str)]) -> (Edge, Ran) {
    let edge = edge().start();
    let folder = project(files);
    let output = run(&edge, folder.path(), &["init", "--from", from, "--json"]);
    run(&edge, folder.path(), &["check"]);
    run(&edge, folder.path(), &["push", "--json"]);
    (edge, output)
}

/// Checks rows of a path, the status, then the `Location` of a redirect or the body of a different answer.
async fn holds(edge: &Edge, rows: &[(&str, u16, &str)]) {
    for (path, status, expected) in rows {
        let request = edge.client(true).get(edge.url("shop.localhost", path)).header("accept", "text/html");
        let answer = request.send().await.unwrap();
        let found = answer.status();
        let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        let body = answer.text().await.unwrap();
        let is = if found.is_redirection() { location.unwrap_or_default() } else { body };
        assert_eq!((found.as_u16(), is.as_str()), (*status, *expected), "{path}");
    }
}

async fn field(edge: &Edge, path: &str, name: &str) -> String {
    let answer = edge.client(true).get(edge.url("shop.localhost", path)).send().await.unwrap();
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_netlify_answers_as_it_did() {
    let toml = "[build]\npublish = \"dist\"\n\
        [[redirects]]\nfrom = \"/old/*\"\nto = \"/blog/:splat\"\n\
        [[redirects]]\nfrom = \"/seek\"\nquery = {id = \":id\"}\nto = \"/found/:id\"\nstatus = 302\n\
        [[headers]]\nfor = \"/*\"\n[headers.values]\nX-Frame-Options = \"DENY\"\n\
        [functions]\ndirectory = \"fn\"\n";
    let rules = "/first/* /from-the-file/:splat 302\n/page /about.html 200\n";
    let headers = "/app.js\n  Cache-Control: public, max-age=60\n";
    let files = [("netlify.toml", toml), ("dist/_redirects", rules), ("dist/_headers", headers)];
    let (edge, output) = moved("netlify", &files);
    let notes = output.json()["notes"].clone();
    let is_lost = |note: &serde_json::Value| note["kind"] == "lost" && note["setting"] == "functions";
    assert!(notes.as_array().unwrap().iter().any(is_lost), "{notes}");
    holds(
        &edge,
        &[
            ("/", 200, "index.html"),
            ("/about", 200, "about.html"),
            ("/about.html", 200, "about.html"),
            ("/first/x?y=1", 302, "/from-the-file/x?y=1"),
            ("/page", 200, "about.html"),
            ("/old/a/b", 301, "/blog/a/b"),
            ("/seek?id=7", 302, "/found/7"),
            ("/_redirects", 404, "404.html"),
            ("/missing", 404, "404.html"),
        ],
    )
    .await;
    assert_eq!(field(&edge, "/about", "x-frame-options").await, "DENY");
    assert_eq!(field(&edge, "/app.js", "cache-control").await, "public, max-age=60");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_cloudflare_answers_as_it_did() {
    let wrangler = "{\n  // With a comment.\n  \"name\": \"shop\",\n  \"assets\": { \"directory\": \"dist\",\n    \
        \"html_handling\": \"drop-trailing-slash\", \"not_found_handling\": \"404-page\" },\n}\n";
    let rules = "/about /company 301\n/movies/:title /media/:title\n";
    let headers = "/*\n  X-One: a\n/blog\n  X-One: b\n  ! X-Content-Type-Options\n";
    let files = [("wrangler.jsonc", wrangler), ("dist/_redirects", rules), ("dist/_headers", headers)];
    let (edge, _) = moved("cloudflare", &files);
    holds(
        &edge,
        &[
            // Rules go before files there.
            ("/about", 301, "/company"),
            ("/movies/heat", 302, "/media/heat"),
            ("/blog/", 307, "/blog"),
            ("/blog", 200, "blog/index.html"),
            ("/missing", 404, "404.html"),
        ],
    )
    .await;
    assert_eq!(field(&edge, "/blog", "x-one").await, "a, b");
    assert_eq!(field(&edge, "/blog", "x-content-type-options").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_vercel_answers_as_it_did() {
    let vercel = r#"{
  "outputDirectory": "dist",
  "cleanUrls": true,
  "trailingSlash": false,
  "redirects": [
    { "source": "/home", "destination": "/", "permanent": true },
    { "source": "/news/:path*", "destination": "/blog/:path*", "permanent": false }
  ],
  "headers": [{ "source": "/(.*)", "headers": [{ "key": "X-Frame-Options", "value": "DENY" }] }]
}"#;
    let (edge, _) = moved("vercel", &[("vercel.json", vercel)]);
    holds(
        &edge,
        &[
            ("/about", 200, "about.html"),
            ("/about.html?x=1", 307, "/about?x=1"),
            ("/blog/", 307, "/blog"),
            ("/home", 308, "/"),
            ("/news/a/b", 307, "/blog/a/b"),
            ("/missing", 404, "404.html"),
        ],
    )
    .await;
    assert_eq!(field(&edge, "/about", "x-frame-options").await, "DENY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_firebase_answers_as_it_did() {
    let firebase = r#"{ "hosting": {
  "public": "dist",
  "cleanUrls": true,
  "trailingSlash": false,
  "redirects": [{ "source": "/old/:rest*", "destination": "/blog/:rest", "type": 301 }],
  "rewrites": [{ "source": "**", "destination": "/index.html" }],
  "headers": [{ "source": "**/*.js", "headers": [{ "key": "X-Script", "value": "1" }] }]
} }"#;
    let (edge, _) = moved("firebase", &[("firebase.json", firebase)]);
    holds(&edge, &[("/about", 200, "about.html"), ("/old/a", 301, "/blog/a"), ("/deep/link", 200, "index.html")]).await;
    assert_eq!(field(&edge, "/app.js", "x-script").await, "1");
    // A missing script does not get the page, a deliberate difference from the provider.
    let script = edge.client(true).get(edge.url("shop.localhost", "/gone.js")).send().await.unwrap();
    assert_eq!(script.status().as_u16(), 404);
}
