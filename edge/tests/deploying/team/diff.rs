//! Differences between two versions, and bytes that a returning visitor loads again.

use devanture_config::api::{
    Amount, BeginDeploy, ChangeKind, DeployOptions, DeployReport, Diff, Scope, ServingChange, Source,
};
use devanture_config::problem::Code;
use devanture_config::site_toml::{HtmlHandling, Route, Serving};
use http::Method;

use super::{call, call_as, push_alias};
use crate::support::{Files, RunningEdge, edge, manifest};

async fn push(edge: &RunningEdge, serving: Serving, options: DeployOptions, files: Files<'_>) -> DeployReport {
    let mut manifest = manifest(files);
    manifest.base = serving;
    let begin = BeginDeploy { manifest, source: Source::default(), options };
    edge.try_push("shop", "prod", begin, files).await.unwrap()
}

async fn diff(edge: &RunningEdge, query: &str) -> Diff {
    call(edge, Method::GET, &format!("diff?{query}"), None).await.json()
}

fn amount(files: u64, bytes: u64) -> Amount {
    Amount { files, bytes }
}

#[tokio::test]
async fn files_bytes_and_what_visitors_load_again_are_reported() {
    let edge = edge().start().await;
    let script = b"const shop = \"the same words again and again\";\n".repeat(400);
    let before: Files<'_> = &[
        ("index.html", b"home"),
        ("about.html", b"about us"),
        ("assets/index-B3xY9_aZ.js", &script),
        ("assets/old-4f2a91bc.css", b"body{}"),
        ("_redirects", b"/a /about\n"),
    ];
    let now: Files<'_> = &[
        ("index.html", b"home, sweet home"),
        ("about.html", b"about us"),
        ("assets/index-B3xY9_aZ.js", &script),
        ("assets/new-0c1d2e3f.js", &script),
        ("_redirects", b"/a /about\n/b /about\n"),
    ];
    let one = push(&edge, Serving::default(), DeployOptions::default(), before).await;
    let serving = Serving {
        html_handling: Some(HtmlHandling::AsIs),
        routes: Some(vec![Route::new("/api/*".parse().unwrap(), "http://127.0.0.1:9".parse().unwrap())]),
        ..Serving::default()
    };
    let two = push(&edge, serving, DeployOptions { no_switch: true, ..DeployOptions::default() }, now).await;
    let reported = diff(&edge, &format!("from=live&to={}", two.version.short())).await;
    assert_eq!((reported.from.version, reported.to.version), (Some(one.version), Some(two.version)));
    let size = script.len() as u64;
    assert_eq!(reported.files.added, amount(1, size));
    assert_eq!(reported.files.changed, amount(2, 16 + 20));
    assert_eq!(reported.files.removed, amount(1, 6));
    assert_eq!(reported.files.same, amount(2, 8 + size));
    let changes: Vec<_> = reported.changes.iter().map(|change| (change.path.as_str(), change.change)).collect();
    assert_eq!(
        changes,
        [
            ("_redirects", ChangeKind::Changed),
            ("assets/new-0c1d2e3f.js", ChangeKind::Added),
            ("assets/old-4f2a91bc.css", ChangeKind::Removed),
            ("index.html", ChangeKind::Changed),
        ]
    );
    // The transferred bytes are Brotli where stored, and rule files are never transferred.
    let visit = edge.visit(Method::GET, "shop.localhost", "/assets/index-B3xY9_aZ.js").header("accept-encoding", "br");
    let travelling = crate::support::got(visit).await;
    assert_eq!(travelling.header("content-encoding"), "br");
    let travelled = travelling.body.len() as u64;
    assert!(travelled < size);
    let visitors = reported.visitors;
    assert_eq!(visitors.load, amount(2, travelled + 16), "the new script and the page");
    assert_eq!(visitors.revalidate, amount(1, 8), "about.html is asked about");
    assert_eq!(visitors.keep, amount(1, travelled), "a fingerprinted script is not");
    assert_eq!(visitors.first_visit, amount(4, 2 * travelled + 16 + 8));
    let change = |place: &str, key: &str, before: Option<&str>, now: &str| ServingChange {
        place: place.to_owned(),
        key: key.to_owned(),
        before: before.map(str::to_owned),
        now: Some(now.to_owned()),
    };
    assert_eq!(
        reported.serving,
        [
            change("devanture.toml", "html_handling", None, "as-is"),
            change("devanture.toml", "routes", None, "1 entry"),
            change("in force in prod", "redirects and rewrites", Some("1"), "2"),
        ]
    );
    edge.stop().await;
}

#[tokio::test]
async fn the_sides_are_versions_environments_aliases_or_what_is_live() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let live = edge.live("shop").await.unwrap();
    let aliased = push_alias(&edge, "feature-x", "aliased").await.version;
    for (query, from, to) in [
        ("from=live&to=feature-x".to_owned(), live, aliased),
        ("from=feature-x&to=prod".to_owned(), aliased, live),
        (format!("from={live}&to={}", aliased.short()), live, aliased),
        ("from=prod&to=live".to_owned(), live, live),
    ] {
        let reported = diff(&edge, &query).await;
        assert_eq!((reported.from.version, reported.to.version), (Some(from), Some(to)), "{query}");
        assert_eq!(reported.changes.is_empty(), from == to, "{query}");
    }
    for (query, code) in [
        ("from=live", Code::BadRequest),
        ("to=live", Code::BadRequest),
        ("from=&to=live", Code::BadRequest),
        ("from=a/b&to=live", Code::BadRequest),
        ("from=elsewhere&to=nowhere", Code::NotFound),
        ("from=live&to=nowhere", Code::NotFound),
        ("from=live&to=000000", Code::NotFound),
        ("from=elsewhere&to=nowhere&env=staging", Code::NotFound),
        ("from=never-pushed&to=live", Code::NotFound),
        ("from=live&to=prod&env=staging", Code::NotFound),
        ("from=live&to=prod&env=no--name", Code::BadRequest),
        ("from=live&to=prod&after=..%2Fx", Code::BadRequest),
        ("from=live&to=prod&limit=x", Code::BadRequest),
    ] {
        assert_eq!(call(&edge, Method::GET, &format!("diff?{query}"), None).await.code(), code, "{query}");
    }
    // A token with read access to the app sees the app's versions; a preview token shows a pull request's changes.
    let previews = edge.token_for(Scope::Push, Some("shop"), Some("preview")).await;
    let answer = call_as(&edge, &previews, Method::GET, "diff?from=live&to=feature-x", None).await;
    assert_eq!(answer.json::<Diff>().to.version, Some(aliased));
    let stranger = edge.token_for(Scope::Admin, Some("other"), None).await;
    let answer = call_as(&edge, &stranger, Method::GET, "diff?from=live&to=feature-x", None).await;
    assert_eq!(answer.code(), Code::NotFound);
    edge.stop().await;
}

#[tokio::test]
async fn an_environment_where_nothing_is_live_is_compared_as_an_empty_one() {
    let edge = edge().with_app("shop", &[("index.html", b"live"), ("_redirects", b"/a /\n")]).start().await;
    let live = edge.live("shop").await.unwrap();
    // An environment also named by `env` may be missing; without `env`, an environment exists from the first setting
    // on.
    let reported = diff(&edge, "from=staging&to=prod&env=staging").await;
    assert_eq!((reported.from.version, reported.to.version), (None, Some(live)));
    for (query, hint) in [
        ("from=pord&to=live", "did you mean prod?"),
        ("from=staging&to=live", "--env names one"),
        ("from=live&to=prod&env=staging", "--env names one"),
    ] {
        let refused = call(&edge, Method::GET, &format!("diff?{query}"), None).await;
        assert_eq!(refused.code(), Code::NotFound, "{query}");
        assert!(refused.text().contains(hint), "{query}: {}", refused.text());
    }
    let body = serde_json::json!({ "set": { "A": { "value": "1" } } });
    call(&edge, Method::PATCH, "environments/staging/settings", Some(body)).await.json::<serde_json::Value>();
    let refused = call(&edge, Method::GET, "diff?from=stagign&to=live", None).await;
    assert!(refused.text().contains("did you mean staging?"), "{}", refused.text());
    for query in ["from=live&to=prod&env=staging", "from=staging&to=prod"] {
        let reported = diff(&edge, query).await;
        assert_eq!((reported.from.version, reported.to.version), (None, Some(live)), "{query}");
        assert_eq!(reported.files.added, amount(2, 9), "{query}");
        assert!(reported.changes.iter().all(|change| change.change == ChangeKind::Added), "{query}");
        let visitors = reported.visitors;
        assert_eq!((visitors.load, visitors.first_visit, visitors.keep), (amount(1, 4), amount(1, 4), amount(0, 0)));
        assert!(reported.serving.iter().any(|change| change.key == "redirects and rewrites"), "{query}: {reported:?}");
    }
    for query in ["from=prod&to=staging&env=staging", "from=prod&to=live&env=staging", "from=prod&to=staging"] {
        let reported = diff(&edge, query).await;
        assert_eq!((reported.from.version, reported.to.version), (Some(live), None), "{query}");
        assert_eq!(reported.files.removed, amount(2, 9), "{query}");
    }
    let reported = diff(&edge, "from=staging&to=live&env=staging").await;
    assert_eq!((reported.from.version, reported.to.version, reported.changes.len()), (None, None, 0));
    // An environment hidden from the token is refused, not compared as empty.
    let staging = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    let answer = call_as(&edge, &staging, Method::GET, "diff?from=other&to=staging", None).await;
    assert_eq!(answer.code(), Code::Forbidden);
    edge.stop().await;
}

#[tokio::test]
async fn a_long_difference_comes_in_pages_and_a_reused_name_is_reported() {
    let edge = edge().with_app("shop", &[("app-4f2a91bc.js", b"one")]).start().await;
    let names: Vec<String> = (0..25).map(|number| format!("page-{number:02}.html")).collect();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    files.push(("app-4f2a91bc.js", b"two"));
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let other = push(&edge, Serving::default(), options, &files).await.version;
    let (mut paths, mut after) = (Vec::new(), String::new());
    loop {
        let page = diff(&edge, &format!("from=live&to={other}&limit=10{after}")).await;
        assert_eq!(page.files.added.files, 25, "the sums are those of the whole");
        paths.extend(page.changes.iter().map(|change| (change.path.to_string(), change.refingerprinted)));
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let mut expected = vec![("app-4f2a91bc.js".to_owned(), true)];
    expected.extend(names.into_iter().map(|name| (name, false)));
    assert_eq!(paths, expected);
    edge.stop().await;
}
