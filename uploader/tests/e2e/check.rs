//! `check` reports for every link the later answer of the edge.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::edge::{Edge, Ran, edge};

/// Paths, some existing under some mode of HTML handling, and some under none.
const PATHS: [&str; 40] = [
    "/",
    "/index",
    "/index.html",
    "/about",
    "/about/",
    "/about.html",
    "/about.html?x=1",
    "/About",
    "/docs",
    "/docs/",
    "/docs/index",
    "/docs/index.html",
    "/docs/guide",
    "/docs/guide/",
    "/docs/guide.html",
    "/docs/missing",
    "/docs//guide.html",
    "/docs/../about.html",
    "/./about.html",
    "/both",
    "/both/",
    "/a%20b.html",
    "/a b.html",
    "/%61bout.html",
    "/u%CC%88.txt",
    "/\u{fc}.txt",
    "/.hidden",
    "/_redirects",
    "/.well-known/x",
    "/.well-known/devanture/release.json",
    "/old/thing",
    "/moved",
    "/lost",
    "/round",
    "/gone",
    "/shadowed",
    "/api/x",
    "/api",
    "/apix",
    "/query?id=about",
];

const RULES: &str = "/old/* /about.html 301\n/moved /docs/ 302\n/lost /nowhere 301\n/round /circle 302\n/circle /round 302\n\
                     /gone /404.html 410\n/shadowed /about.html 200!\n/query id=:id /:id.html 301\n/app/* /index.html 200\n";

/// Assets: asked for as a browser asks for an image.
const ASSETS: [&str; 8] = [
    "/img/leaf.png",
    "/img/none.png",
    "/docs/leaf.png",
    "/app/none.png",
    "/about",
    "/IMG/leaf.png",
    "/old/leaf.png",
    "/img/leaf.png?v=2",
];

fn write(folder: &Path, files: &[(&str, String)]) {
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn pages() -> Vec<(&'static str, String)> {
    let links: String = PATHS.iter().map(|path| format!("<a href=\"{path}\">x</a>\n")).collect();
    let assets: String = ASSETS.iter().map(|path| format!("<img src=\"{path}\">\n")).collect();
    let page = || "<!doctype html><title>x</title>".to_owned();
    vec![
        ("www/index.html", format!("<!doctype html>\n{links}{assets}")),
        ("www/about.html", page()),
        ("www/docs/index.html", page()),
        ("www/docs/guide.html", page()),
        ("www/both.html", page()),
        ("www/both/index.html", page()),
        ("www/a b.html", page()),
        ("www/shadowed.html", page()),
        ("www/404.html", page()),
        ("www/\u{fc}.txt", "x".to_owned()),
        ("www/.hidden", "x".to_owned()),
        ("www/.well-known/x", "x".to_owned()),
        ("www/img/leaf.png", "png".to_owned()),
    ]
}

/// Returns the links of the first page reported as broken by `check`, by line.
fn reported_broken(edge: &Edge, folder: &Path) -> BTreeMap<u64, String> {
    let arguments = ["check", "--json", "--allow-warnings"];
    let ran = Ran::of(edge.command(folder, "shop", &arguments).output().unwrap());
    let json = ran.json();
    let findings = json["findings"].as_array().unwrap_or_else(|| panic!("{ran:#?}"));
    let of_links = findings.iter().filter(|finding| {
        let code = finding["code"].as_str().unwrap();
        (code == "broken-link" || code == "missing-asset") && finding["severity"] == "mistake"
    });
    of_links.map(|finding| (finding["line"].as_u64().unwrap(), finding["message"].to_string())).collect()
}

/// Returns true if a visitor ends at an error, after redirects.
async fn is_broken(edge: &Edge, client: &reqwest::Client, path: &str, is_asset: bool) -> (bool, String) {
    let mut url: url::Url = edge.url("shop.localhost", "/").parse().unwrap();
    url = url.join(path).unwrap();
    let mut way = Vec::new();
    for _ in 0..20 {
        let (mode, dest, accept) = match is_asset {
            true => ("no-cors", "image", "image/avif,*/*;q=0.8"),
            false => ("navigate", "document", "text/html,*/*;q=0.8"),
        };
        let request = client.get(url.clone()).header("sec-fetch-mode", mode).header("sec-fetch-dest", dest);
        let answer = request.header("accept", accept).send().await.unwrap();
        let status = answer.status().as_u16();
        way.push(format!("{status} {}", url.path()));
        match answer.headers().get("location") {
            Some(to) if answer.status().is_redirection() => url = url.join(to.to_str().unwrap()).unwrap(),
            // A missing backend is no fault of the link.
            _ => return ((400..500).contains(&status), way.join(" → ")),
        }
    }
    (true, way.join(" → "))
}

#[tokio::test]
async fn a_check_says_of_every_link_what_the_edge_answers() {
    let edge = edge().with_table("[upstreams]\nallow = [\"127.0.0.0/8\"]\n").start();
    let client = edge.client(true);
    let route = "[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:9\"\n";
    let handlings = ["as-is", "auto-trailing-slash", "drop-trailing-slash", "force-trailing-slash", "none"];
    let configurations = handlings
        .iter()
        .flat_map(|handling| ["404-page", "single-page-application", "none"].map(|not_found| (*handling, not_found)));
    let (mut broken, mut fine) = (0, 0);
    for (number, (handling, not_found)) in configurations.enumerate() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &pages());
        let meaning = if number % 2 == 0 { "netlify" } else { "cloudflare" };
        // Cloudflare has no rules before files, no rules with a custom status, and none by query.
        let rules: String = match meaning {
            "netlify" => RULES.to_owned(),
            _ => RULES
                .lines()
                .filter(|l| !l.contains(['!', '=']) && !l.contains("410"))
                .map(|l| format!("{l}\n"))
                .collect(),
        };
        let toml = format!(
            "app = \"shop\"\nhtml_handling = \"{handling}\"\nnot_found = \"{not_found}\"\nrules = \"{meaning}\"\n{route}"
        );
        write(folder.path(), &[("www/_redirects", rules), ("devanture.toml", toml)]);
        let printed = reported_broken(&edge, folder.path());
        let arguments = ["push", "--json", "--allow-warnings"];
        let pushed = Ran::of(edge.command(folder.path(), "shop", &arguments).output().unwrap());
        assert_eq!(pushed.code, Some(0), "{pushed:#?}");
        let requests = PATHS.iter().map(|path| (path, false)).chain(ASSETS.iter().map(|path| (path, true)));
        for (line, (path, is_asset)) in (2_u64..).zip(requests) {
            let (is_broken, way) = is_broken(&edge, &client, path, is_asset).await;
            let message = printed.get(&line);
            let place = format!("{handling} {not_found} {meaning} {path}: {way}, and check says {message:?}");
            assert_eq!(is_broken, message.is_some(), "{place}");
            *(if is_broken { &mut broken } else { &mut fine }) += 1;
        }
    }
    // A test with all links broken, or none, would prove little.
    assert!(broken > 100 && fine > 100, "{broken} {fine}");
}

#[test]
fn a_push_warns_of_a_secret_and_goes_on() {
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    let token = format!("ghp_{}", "Ab3dE5gH7jK9".repeat(3));
    write(folder.path(), &[("index.html", "hi".to_owned()), ("app.js", format!("const t = '{token}'"))]);
    let ran = edge.run("shop", &["push", folder.path().to_str().unwrap(), "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.trim_start().starts_with("warning")).collect();
    assert_eq!(warnings.len(), 1, "{ran:#?}");
    assert!(
        warnings[0].contains("app.js holds a token of GitHub (ghp_…)") && !ran.stderr.contains(&token[5..]),
        "{ran:#?}"
    );
    // Existing files are not sent, and were warned about before.
    let again = edge.run("shop", &["push", folder.path().to_str().unwrap()]);
    assert!(!again.stderr.contains("warning"), "{again:#?}");
    let status: Value = edge.json("shop", &["status"]);
    assert!(status["version"].is_string());
}
