//! Responses of small sites to addresses, and equality of traced and untraced decisions.

use devanture_config::Digest;
use devanture_config::manifest::FileEntry;
use devanture_config::site_toml::SiteFile;

use proptest::prelude::*;

use super::*;
use crate::rules::of_manifest;

const FILES: [&str; 8] =
    ["404.html", "a b.html", "about.html", "app.js", "docs/index.html", "index.html", "old.html", "\u{fc}.png"];

fn manifest(site: &str) -> Manifest {
    let file = || FileEntry { hash: Digest::of(b""), size: 0, media_type: None };
    let mut manifest = Manifest::of_files(FILES.iter().map(|path| (path.parse().unwrap(), file())).collect());
    let site = SiteFile::parse("devanture.toml", site).unwrap();
    (manifest.base, manifest.env) = (site.base, site.env);
    manifest
}

fn predicted(site: &str, redirects: &str, address: &str, asking: Asking) -> String {
    let manifest = manifest(site);
    let (rules, _) =
        of_manifest(&manifest, "prod", Some(redirects.as_bytes()), None, 100, "devanture.toml", &|_, _| {
            At::whole("devanture.toml")
        });
    let site = ManifestSite::new(&manifest, "prod", rules, RestrictedPaths::of(&manifest, None, None, 100).as_ref());
    let url = Url::parse(&format!("https://{HOST}/")).unwrap().join(address).unwrap();
    match site.ask(&url, asking) {
        Answer::File(number) => site.path(number).unwrap().to_string(),
        Answer::Nothing(at) => at.map_or_else(|| "-".to_owned(), |at| format!("- by {}:{}", at.file, at.line)),
        other => format!("{other:?}"),
    }
}

#[test]
fn an_address_ends_where_the_edge_would_send_its_visitor() {
    let site = "html_handling = \"auto-trailing-slash\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n\
                [env.prod]\nhostnames = [\"example.org\"]\n";
    let rules = "/old /new 301!\n/moved /about\n/far https://other.example/\n/lost /nowhere\n\
                 /round /circle\n/circle /round\n/de/* /about 302 Language=de\n/gone /404.html 410\n/q id=:id /:id\n";
    for (address, expected) in [
        ("/", "index.html"),
        ("/about", "about.html"),
        ("/about.html?x=1", "about.html"),
        ("/docs", "docs/index.html"),
        ("/docs/../app.js", "app.js"),
        ("/a%20b", "a b.html"),
        ("/u%CC%88.png", "\u{fc}.png"),
        ("/nothing", "-"),
        ("/api/x", "Elsewhere"),
        ("/api", "Elsewhere"),
        ("/old", "-"),
        ("/moved", "about.html"),
        ("/far", "Elsewhere"),
        ("/lost", "- by _redirects:4"),
        ("/de/x", "Elsewhere"),
        ("/gone", "- by _redirects:8"),
        ("/q?id=about", "about.html"),
        ("/q", "-"),
        ("/%00", "BadPath"),
        ("https://example.org/about", "about.html"),
        ("/.well-known/devanture/release.json", "Elsewhere"),
    ] {
        let expected = if address == "/old" { "- by _redirects:1" } else { expected };
        assert_eq!(predicted(site, rules, address, Asking::Navigation), expected, "{address}");
    }
    assert!(predicted(site, rules, "/round", Asking::Navigation).starts_with("Circle"));
}

#[test]
fn the_page_of_an_application_answers_who_navigates() {
    let spa = "not_found = \"single-page-application\"\n";
    assert_eq!(predicted(spa, "", "/cart", Asking::Navigation), "index.html");
    assert_eq!(predicted(spa, "", "/cart.png", Asking::Subresource), "-");
    let by_rule = "/* /index.html 200\n";
    assert_eq!(predicted("", by_rule, "/cart", Asking::Navigation), "index.html");
    assert_eq!(predicted("", by_rule, "/cart.png", Asking::Subresource), "- by _redirects:1");
    assert_eq!(predicted("", by_rule, "/app.js", Asking::Subresource), "app.js");
}

#[test]
fn a_page_has_the_address_that_its_links_lead_on_from() {
    for (handling, path, expected) in [
        ("auto-trailing-slash", "about.html", "/about"),
        ("auto-trailing-slash", "docs/index.html", "/docs/"),
        ("force-trailing-slash", "about.html", "/about/"),
        ("drop-trailing-slash", "docs/index.html", "/docs"),
        ("as-is", "docs/index.html", "/docs/"),
        ("as-is", "about.html", "/about.html"),
        ("none", "docs/index.html", "/docs/index.html"),
    ] {
        let manifest = manifest(&format!("html_handling = \"{handling}\"\n"));
        let site = ManifestSite::new(&manifest, "prod", RuleSet::default(), Some(&RestrictedPaths::default()));
        let address = site.address_of(&path.parse().unwrap()).unwrap();
        assert_eq!(address.path(), expected, "{handling} {path}");
    }
}

/// Rules in every form that is skipped or applied for another reason.
const REDIRECTS: [&str; 16] = [
    "/about /docs/ 302!",
    "/a/* /b/:splat 301",
    "/b/* /about 200",
    "/c /about 200 Language=de",
    "/c /docs/ 302 Cookie=beta",
    "/d id=:id /:id 301",
    "https://example.org/e/* /:splat 302!",
    "https://other.example/* https://example.org/:splat 301!",
    "/f /f 302",
    "/g https://api.example/x 200",
    "/g /about.html 410",
    "/api2/* /api/:splat 200",
    "/h/* https://elsewhere.example/:splat 200",
    "/* /index.html 200",
    "/private/* /about 200",
    "/i/:x/* /api/:splat/:x 200!",
];

/// A listening trace that records nothing.
struct Deaf;

impl decide::Trace for Deaf {
    const LISTENS: bool = true;

    fn step(&mut self, _: decide::Step<'_>) {}
}

proptest! {
    #[test]
    fn an_answer_is_the_same_for_every_listener(
        rules in proptest::sample::subsequence(REDIRECTS.to_vec(), 0..REDIRECTS.len()).prop_shuffle(),
        path in "(/(about|docs|a|b|c|d|e|f|g|h|i|api|api2|private|app\\.js|%61|x|\\.\\.|)){1,4}/?",
        method in proptest::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS", "TRACE", "BREW"]),
        query in proptest::option::of(proptest::sample::select(vec!["id=about", "x=1"])),
        host in proptest::sample::select(vec!["example.org", "other.example", "site.invalid"]),
        fields in proptest::sample::subsequence(
            vec![
                ("accept", "text/html"),
                ("accept-language", "de"),
                ("access-control-request-method", "PUT"),
                ("authorization", "Basic YW5uOnNlY3JldA=="),
                ("cookie", "beta=1"),
                ("origin", "http://localhost:5173"),
            ],
            0..6,
        ),
        not_found in proptest::sample::select(vec!["404-page", "single-page-application", "none"]),
    ) {
        let manifest = manifest(&format!(
            "not_found = \"{not_found}\"\nhtml_handling = \"auto-trailing-slash\"\ncors = [\"http://localhost:5173\"]\n\
             [[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n[upstreams]\napi = \"https://api.example\"\n\
             [env.prod]\nhostnames = [\"example.org\"]\n"
        ));
        let redirects = rules.join("\n");
        let guard = b"/private/*\n  Basic-Auth: ann:secret\n";
        let nowhere = |_, _| At::whole("devanture.toml");
        let files = (Some(redirects.as_bytes()), Some(&guard[..]));
        let (rules, _) = of_manifest(&manifest, "prod", files.0, files.1, 100, "devanture.toml", &nowhere);
        let site = ManifestSite::new(&manifest, "prod", rules, Some(&RestrictedPaths::default()));
        let headers: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = Request { method, path: &path, query, host, headers: &headers };
        let predicted = PredictedRequest::known(&request);
        let untraced = decide(&site, &predicted, &mut decide::Untraced);
        let traced = decide(&site, &predicted, &mut Deaf);
        prop_assert!(untraced.end == traced.end && untraced.path == traced.path, "{:?}\n{:?}", untraced, traced);
        prop_assert_eq!(untraced.rule, traced.rule);
        // Every explanation ends with the single deciding note.
        let explained = site.explain(&request);
        let answering = explained.notes.iter().filter(|note| note.answers).count();
        prop_assert!(answering == 1 && explained.notes.last().unwrap().answers, "{:?}", explained);
    }
}
