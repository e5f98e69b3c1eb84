//! `devanture init --from`: typical sites of providers, converted and then checked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on should stop where it is")]

use crate::cli_support::{Project, Ran};
use serde_json::Value;

const NETLIFY: &str = r#"# A documentation site with an API behind it.
[build]
  base = "/"
  command = "npm run build"
  publish = "dist/"

[build.environment]
  NODE_VERSION = "22"

[[plugins]]
  package = "@netlify/plugin-lighthouse"

[context.deploy-preview]
  command = "npm run build:preview"

[[redirects]]
  from = "/docs/v1/*"
  to = "/docs/:splat"
  status = 301

[[redirects]]
  from = "https://old.example.com/*"
  to = "https://www.example.com/:splat"
  force = true

[[redirects]]
  from = "/"
  to = "/de/"
  status = 302
  conditions = { Language = ["de"] }

[[redirects]]
  from = "/"
  to = "/at/"
  status = 302
  conditions = { Country = ["AT"] }

[[redirects]]
  from = "/api/*"
  to = "https://api.example.com/v2/:splat"
  status = 200
  force = true

[[redirects]]
  from = "/*"
  to = "/index.html"
  status = 200

[[headers]]
  for = "/*"
  [headers.values]
    X-Frame-Options = "DENY"
    Content-Security-Policy = "default-src 'self'; img-src 'self' data:"

[[headers]]
  for = "/assets/*"
  [headers.values]
    Cache-Control = "public, max-age=31536000, immutable"
"#;

const WRANGLER: &str = r#"{
  "$schema": "node_modules/wrangler/config-schema.json",
  "name": "docs-site",
  "compatibility_date": "2026-05-01",
  // Only the API needs the Worker.
  "main": "src/worker.ts",
  "assets": {
    "directory": "./dist",
    "binding": "ASSETS",
    "html_handling": "drop-trailing-slash",
    "not_found_handling": "404-page",
    "run_worker_first": ["/api/*"],
  },
  "observability": { "enabled": true },
  "kv_namespaces": [{ "binding": "KV", "id": "x" }],
}
"#;

const VERCEL: &str = r#"{
  "$schema": "https://openapi.vercel.sh/vercel.json",
  "framework": "vite",
  "buildCommand": "npm run build",
  "outputDirectory": "dist",
  "cleanUrls": true,
  "trailingSlash": false,
  "redirects": [
    { "source": "/home", "destination": "/", "permanent": true },
    { "source": "/blog/:slug*", "destination": "https://blog.example.com/:slug*", "permanent": false },
    { "source": "/:lang(en|fr)/about", "destination": "/about?lang=:lang", "statusCode": 301 },
    { "source": "/user/:id(\\d+)", "destination": "/profile/:id" }
  ],
  "rewrites": [
    { "source": "/api/:path*", "destination": "https://api.example.com/:path*" },
    { "source": "/((?!api/).*)", "destination": "/index.html" }
  ],
  "headers": [
    { "source": "/(.*)", "headers": [{ "key": "X-Content-Type-Options", "value": "nosniff" }] },
    { "source": "/assets/(.*)\\.(js|css)", "headers": [{ "key": "Cache-Control", "value": "max-age=31536000, immutable" }] }
  ],
  "crons": [{ "path": "/api/cron", "schedule": "0 5 * * *" }]
}
"#;

const FIREBASE: &str = r#"{
  "firestore": { "rules": "firestore.rules" },
  "hosting": {
    "site": "shop-front",
    "public": "dist",
    "ignore": ["firebase.json", "**/.*", "**/node_modules/**"],
    "cleanUrls": true,
    "trailingSlash": false,
    "redirects": [
      { "source": "/foo{,/**}", "destination": "/bar", "type": 301 },
      { "source": "/users/:id/profile", "destination": "/users/:id/newProfile", "type": 302 }
    ],
    "rewrites": [
      { "source": "/api/**", "run": { "serviceId": "api", "region": "europe-west1" } },
      { "source": "**", "destination": "/index.html" }
    ],
    "headers": [
      { "source": "**/*.@(jpg|png)", "headers": [{ "key": "Cache-Control", "value": "max-age=7200" }] },
      { "source": "404.html", "headers": [{ "key": "Cache-Control", "value": "max-age=300" }] }
    ]
  }
}
"#;

/// Makes a built site with the provider's file beside.
fn site(file: &str, text: &str) -> Project {
    let page = "<!doctype html><title>Hi</title>";
    Project::new(&[
        (file, text),
        ("dist/index.html", page),
        ("dist/404.html", page),
        ("dist/about.html", page),
        ("dist/bar.html", page),
        ("dist/docs/index.html", page),
        ("dist/de/index.html", page),
        ("dist/at/index.html", page),
    ])
}

fn text_of(project: &Project) -> String {
    std::fs::read_to_string(project.path("devanture.toml")).unwrap()
}

/// Converts the site, and checks the result; returns the notes and the text of the file.
#[track_caller]
fn moved(file: &str, text: &str, provider: &str) -> (Vec<Value>, String) {
    let project = site(file, text);
    let ran = project.run(&["init", "--from", provider, "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let json = ran.json();
    assert_eq!(json["written"], "devanture.toml");
    let written = text_of(&project);
    let checked: Ran = project.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(0), "{checked:#?}\n{written}");
    (json["notes"].as_array().unwrap().clone(), written)
}

/// Returns the positions of notes of one kind, as `line setting`.
fn places(notes: &[Value], kind: &str) -> Vec<String> {
    let of_kind = notes.iter().filter(|note| note["kind"] == kind);
    of_kind.map(|note| format!("{} {}", note["line"], note["setting"].as_str().unwrap())).collect()
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
}

#[test]
fn a_site_of_netlify_moves() {
    let (notes, text) = moved("netlify.toml", NETLIFY, "netlify");
    holds(
        &text,
        &[
            "www = \"dist\"",
            "rules = \"netlify\"",
            "not_found = \"single-page-application\"",
            "[upstreams]\napi-example-com = \"https://api.example.com\"",
            "# netlify.toml:16\n[[redirects]]\nfrom = \"/docs/v1/*\"\nto = \"/docs/:splat\"\nstatus = 301\n",
            "from = \"https://old.example.com/*\"\nto = \"https://www.example.com/:splat\"\nstatus = 301\nforce = true\n",
            "from = \"/\"\nto = \"/de/\"\nstatus = 302\nlanguages = [\"de\"]\n",
            "[[rewrites]]\nfrom = \"/api/*\"\nto = \"https://api.example.com/v2/:splat\"\nforce = true\n",
            "for = \"/assets/*\"\nset = { Cache-Control = \"public, max-age=31536000, immutable\" }\n",
        ],
    );
    assert!(!text.contains("/at/"), "{text}");
    let lost = ["4 build.command", "7 build.environment", "10 plugins", "13 context.deploy-preview", "32 redirects"];
    assert_eq!(places(&notes, "lost"), lost);
}

#[test]
fn a_site_of_cloudflare_moves() {
    let (notes, text) = moved("wrangler.jsonc", WRANGLER, "cloudflare");
    holds(
        &text,
        &[
            "app = \"docs-site\"",
            "www = \"dist\"",
            "rules = \"cloudflare\"",
            "html_handling = \"drop-trailing-slash\"",
            "not_found = \"404-page\"",
        ],
    );
    let lost = [
        "4 compatibility_date",
        "6 main",
        "9 assets.binding",
        "12 assets.run_worker_first",
        "14 observability",
        "15 kv_namespaces",
    ];
    assert_eq!(places(&notes, "lost"), lost);
}

#[test]
fn a_site_of_vercel_moves() {
    let (notes, text) = moved("vercel.json", VERCEL, "vercel");
    holds(
        &text,
        &[
            "www = \"dist\"",
            "html_handling = \"drop-trailing-slash\"",
            "not_found = \"single-page-application\"",
            "from = \"/home\"\nto = \"/\"\nstatus = 308\nforce = true\n",
            "from = \"/blog/*\"\nto = \"https://blog.example.com/:splat\"\nstatus = 307\nforce = true\n",
            "from = \"/en/about\"\nto = \"/about?lang=en\"\nstatus = 301\nforce = true\n",
            "from = \"/fr/about\"\nto = \"/about?lang=fr\"\nstatus = 301\nforce = true\n",
            "[[rewrites]]\nfrom = \"/api/*\"\nto = \"https://api.example.com/:splat\"\n",
            "for = \"/assets/*.js\"\n",
            "for = \"/assets/*.css\"\n",
        ],
    );
    assert_eq!(places(&notes, "lost"), ["3 framework", "4 buildCommand", "12 redirects", "22 crons"]);
    assert_eq!(places(&notes, "differs"), ["16 rewrites"]);
    let limited = notes.iter().find(|note| note["line"] == 12).unwrap();
    assert!(limited["message"].as_str().unwrap().starts_with("`/user/:id(\\d+)`: "), "{limited}");
    assert!(limited["instead"].as_str().unwrap().contains(":name for any segment"), "{limited}");
}

#[test]
fn a_site_of_firebase_moves() {
    let (notes, text) = moved("firebase.json", FIREBASE, "firebase");
    holds(
        &text,
        &[
            "app = \"shop-front\"",
            "www = \"dist\"",
            "html_handling = \"drop-trailing-slash\"",
            "not_found = \"single-page-application\"",
            "from = \"/foo\"\nto = \"/bar\"\nstatus = 301\nforce = true\n",
            "from = \"/foo/*\"\nto = \"/bar\"\nstatus = 301\nforce = true\n",
            "from = \"/users/:id/profile\"\nto = \"/users/:id/newProfile\"\nstatus = 302\nforce = true\n",
            "for = \"/*.jpg\"\n",
            "for = \"/*.png\"\n",
            "for = \"/404.html\"\n",
        ],
    );
    assert_eq!(places(&notes, "lost"), ["2 firestore", "14 rewrites"]);
}

#[test]
fn what_was_lost_is_reported_line_by_line_with_what_to_write_instead() {
    let project = site("netlify.toml", NETLIFY);
    let ran = project.run(&["init", "--from", "netlify", "--app", "shop"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "Wrote devanture.toml for the app shop: 3 redirects, 1 rewrite, 2 rules of headers.");
    assert_eq!(lines[1], "Not carried over:");
    assert_eq!(
        lines[2],
        "  netlify.toml:4: build.command: nothing is built here (build with your own tools, then `devanture push`)"
    );
    let country = "  netlify.toml:32: redirects: `/` is for visitors of a country, which the edge does not know \
                   (languages = [\"de\"] chooses by the visitor's language)";
    assert!(lines.contains(&country), "{ran:#?}");
    assert!(lines.last().unwrap().starts_with("Next: `devanture check`"), "{ran:#?}");
}

#[test]
fn a_move_never_overwrites_a_file_and_a_dry_run_writes_none() {
    let project = site("vercel.json", VERCEL);
    let ran = project.run(&["init", "--from", "vercel", "--dry-run", "--json"]);
    let json = ran.json();
    assert!(json["written"].is_null() && json["text"].as_str().unwrap().contains("[[redirects]]"), "{ran:#?}");
    assert!(!project.path("devanture.toml").exists());
    project.file("devanture.toml", "app = \"mine\"\n");
    project.run(&["init", "--from", "vercel", "--json"]).failed("usage", 2);
    assert_eq!(text_of(&project), "app = \"mine\"\n");
}

#[test]
fn a_folder_of_ones_own_counts_before_the_providers() {
    let project = site("vercel.json", VERCEL);
    project.run(&["init", "out", "--from", "vercel", "--app", "shop"]);
    holds(&text_of(&project), &["app = \"shop\"\nwww = \"out\"\n"]);
}

#[test]
fn mistakes_of_a_providers_file_are_reported_with_their_lines() {
    for (provider, file, text, line) in [
        ("netlify", "netlify.toml", "[build]\npublish = \n", 2),
        ("cloudflare", "wrangler.jsonc", "{\n  // a word\n  \"name\" \"x\"\n}\n", 3),
        ("vercel", "vercel.json", "{\n\"redirects\": [}\n", 2),
        ("firebase", "firebase.json", "{\n\"hosting\": {{}\n}\n", 2),
    ] {
        let project = Project::new(&[(file, text)]);
        let error = project.run(&["init", "--from", provider, "--json"]).failed("bad_config", 2);
        assert_eq!(error["mistakes"][0]["line"], line, "{error}");
        assert!(!project.path("devanture.toml").exists());
    }
    let error = Project::new(&[]).run(&["init", "--from", "firebase", "--json"]).failed("usage", 2);
    assert!(error["message"].as_str().unwrap().contains("firebase.json"), "{error}");
    Project::new(&[]).run(&["init", "--from", "geocities", "--json"]).failed("usage", 2);
}

#[test]
fn a_site_with_rule_files_alone_moves_too() {
    for provider in ["netlify", "cloudflare"] {
        let project = Project::new(&[("dist/index.html", "hi"), ("dist/_redirects", "/a /b 301\n")]);
        let ran = project.run(&["init", "--from", provider, "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let notes = ran.json()["notes"].as_array().unwrap().clone();
        assert!(places(&notes, "stays").contains(&"0 _redirects".to_owned()), "{notes:#?}");
        let text = text_of(&project);
        let rules = format!("rules = \"{provider}\"");
        assert!(text.contains("www = \"dist\"") && text.contains(&rules), "{text}");
    }
}

#[test]
fn without_a_file_of_the_provider_nothing_is_written() {
    for (provider, named) in [
        ("netlify", &["netlify.toml", "dist/_redirects", "dist/_headers"][..]),
        ("cloudflare", &["wrangler.json", "wrangler.jsonc", "wrangler.toml", "dist/_redirects"]),
        ("vercel", &["vercel.json"]),
        ("firebase", &["firebase.json"]),
    ] {
        for flags in [&["--json"][..], &["--dry-run", "--json"]] {
            let project = Project::new(&[("dist/index.html", "hi")]);
            let ran = project.run(&[&["init", "--from", provider], flags].concat());
            let error = ran.failed("usage", 2);
            let message = error["message"].as_str().unwrap();
            assert!(named.iter().all(|name| message.contains(name)), "{error}");
            assert!(!project.path("devanture.toml").exists(), "{provider}");
        }
    }
    // Vercel ignores rule files of other providers, and the program is not run.
    let project = Project::new(&[("dist/index.html", "hi"), ("dist/_redirects", "/a /b\n"), ("vercel.ts", "")]);
    let error = project.run(&["init", "--from", "vercel", "--json"]).failed("usage", 2);
    assert!(error["message"].as_str().unwrap().contains("vercel.ts"), "{error}");
    assert!(!project.path("devanture.toml").exists());
}

#[test]
fn a_folder_that_is_named_is_where_rule_files_are_looked_for() {
    let files = [
        ("netlify.toml", "[build]\npublish = \"dist\"\n"),
        ("dist/index.html", "hi"),
        ("other/index.html", "hi"),
        ("other/_redirects", "/a /b\n"),
    ];
    let notes = |arguments: &[&str]| {
        let json = Project::new(&files).run(arguments).json();
        let settings: Vec<String> =
            json["notes"].as_array().unwrap().iter().map(|note| note["setting"].as_str().unwrap().to_owned()).collect();
        (settings, json["text"].as_str().unwrap().contains("www = \"other\""))
    };
    let (chosen, is_other) = notes(&["init", "other", "--from", "netlify", "--dry-run", "--json"]);
    assert!(chosen.contains(&"_redirects".to_owned()) && is_other, "{chosen:?}");
    let (default, is_other) = notes(&["init", "--from", "netlify", "--dry-run", "--json"]);
    assert!(!default.contains(&"_redirects".to_owned()) && !is_other, "{default:?}");
}
