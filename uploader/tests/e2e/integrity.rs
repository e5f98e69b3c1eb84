//! Pages with hashes in a real browser: executed and blocked scripts.

use devanture_site::integrity::integrity_reports;

use crate::support::browser::{Browser, Stub};
use crate::support::edge::{Ran, edge};
use crate::support::project;

const FILES: &[(&str, &str)] = &[
    (
        "index.html",
        "<!doctype html><title>Ours</title><link rel=icon href=data:,><link rel=preload as=script href=/a.js>\
         <link rel=stylesheet href=a.css><script src=a.js></script><script type=module src='m.js?v=1'></script><p>Hello",
    ),
    ("a.css", "p { color: rgb(1, 2, 3) }"),
    (
        "a.js",
        "const ran = document.documentElement.dataset; ran.classic = 'ran';\
         const late = document.createElement('script'); late.src = '/late.js';\
         late.onerror = () => ran.late = 'blocked'; document.head.append(late);",
    ),
    ("late.js", "document.documentElement.dataset.late = 'ran'"),
    ("m.js", "document.documentElement.dataset.module = 'ran'"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_page_runs_its_own_scripts_and_under_enforce_nothing_without_a_hash() {
    let Some(browser) = Browser::start().await else { return };
    let site = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        std::fs::write(site.path().join(path), text).unwrap();
    }
    let edge = edge().start();
    for (integrity, late) in [("off", "ran"), ("report", "ran"), ("enforce", "blocked")] {
        let project = project::with_site("shop", site.path(), &format!("integrity = \"{integrity}\"\n"));
        let ran = Ran::of(edge.command(project.path(), "shop", &["push", "--json"]).output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let page = browser.open(&edge.url("shop.localhost", "/")).await;
        page.wait_for("document.documentElement.dataset.late && document.documentElement.dataset.module").await;
        assert_eq!(page.evaluate("document.documentElement.dataset.late").await, late, "{integrity}");
        assert_eq!(page.evaluate("document.documentElement.dataset.classic").await, "ran", "{integrity}");
        assert_eq!(page.evaluate("getComputedStyle(document.querySelector('p')).color").await, "rgb(1, 2, 3)");
        page.close().await;
    }
}

const SPLIT: &[(&str, &str)] = &[
    (
        "index.html",
        "<!doctype html><title>Split</title><link rel=icon href=data:,>\
         <script type=importmap>{ \"imports\": { \"lib\": \"/lib/index.js\" } }</script>\
         <link rel=modulepreload href=/assets/shared.js><link rel=stylesheet href=/assets/a.css>\
         <script type=module src=/assets/main.js></script><p>Hello",
    ),
    (
        "plain.html",
        "<!doctype html><link rel=icon href=data:,><script type=module>import '/assets/main.js'</script><p>Hello",
    ),
    ("assets/a.css", "p { color: rgb(1, 2, 3) }"),
    (
        "assets/main.js",
        "import { ran } from './shared.js'; ran('main');\
         const page = { late: () => import('./late.js'), lib: () => import('lib').catch(() => ran('lib', 'none')) };\
         page.late().catch(() => ran('late', 'blocked'));\
         page.lib();\
         import('./hid' + 'den.js').catch(() => ran('hidden', 'blocked'));",
    ),
    ("assets/shared.js", "export const ran = (what, how = 'ran') => document.documentElement.dataset[what] = how;"),
    ("assets/late.js", "import { ran } from './shared.js'; import './deep.js'; ran('late');"),
    ("assets/deep.js", "import { ran } from './shared.js'; ran('deep');"),
    ("assets/hidden.js", "import { ran } from './shared.js'; ran('hidden');"),
    ("lib/index.js", "import { ran } from '/assets/shared.js'; ran('lib');"),
];

/// Opens a page of the split site, and returns the executed parts: `main`, `late`, `deep`, `lib`, `hidden`.
async fn what_ran(browser: &Browser, url: &str, stubs: &[Stub]) -> Vec<String> {
    let page = browser.open_with(url, stubs).await;
    page.wait_for("['main', 'late', 'lib', 'hidden'].every(name => document.documentElement.dataset[name])").await;
    let mut ran = Vec::new();
    for name in ["main", "late", "deep", "lib", "hidden"] {
        let how = page.evaluate(&format!("document.documentElement.dataset.{name} ?? 'missing'")).await;
        ran.push(how.as_str().unwrap().to_owned());
    }
    page.close().await;
    ran
}

/// Returns the browser's reports about a page, in the edge's form: a browser sends reports within a minute, and shows
/// reports at once.
async fn reported(browser: &Browser, url: &str) -> Vec<String> {
    let page = browser.open(url).await;
    page.wait_for("document.documentElement.dataset.hidden").await;
    let seen = page
        .evaluate(
            "new Promise(found => new ReportingObserver(all => found(JSON.stringify(all.map(one => one.toJSON()))), \
               { buffered: true, types: ['integrity-violation'] }).observe())",
        )
        .await;
    page.close().await;
    let reports = integrity_reports(seen.as_str().unwrap().as_bytes(), "shop.localhost", 1);
    let enforced = |is: bool| if is { "enforced" } else { "reported" };
    reports.iter().map(|one| format!("{} {} {}", one.blocked, one.destination, enforced(one.enforced))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_modules_import_runs_under_enforce_and_other_bytes_do_not() {
    let Some(browser) = Browser::start().await else { return };
    let site = tempfile::tempdir().unwrap();
    for (path, text) in SPLIT {
        std::fs::create_dir_all(site.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(site.path().join(path), text).unwrap();
    }
    let edge = edge().start();
    let policy = "[[headers]]\nfor = \"/*\"\nset = { content-security-policy = \"script-src 'self'\" }\n";
    for (integrity, policy, hidden) in
        [("report", "", "ran"), ("enforce", "", "blocked"), ("enforce", policy, "blocked")]
    {
        let project = project::with_site("shop", site.path(), &format!("integrity = \"{integrity}\"\n{policy}"));
        let ran = Ran::of(edge.command(project.path(), "shop", &["push", "--json"]).output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let url = edge.url("shop.localhost", "/");
        assert_eq!(what_ran(&browser, &url, &[]).await, ["ran", "ran", "ran", "ran", hidden], "{integrity}");
        if policy.is_empty() {
            let plain = edge.url("shop.localhost", "/plain");
            assert_eq!(what_ran(&browser, &plain, &[]).await, ["ran", "ran", "ran", "none", hidden], "{integrity}");
        }
        if integrity == "enforce" {
            assert_eq!(reported(&browser, &url).await, ["/assets/hidden.js script enforced"]);
        }
        let body = "import { ran } from './shared.js'; ran('late', 'tampered');".to_owned();
        let other = Stub { url: "*/assets/late.js", content_type: "text/javascript", body };
        assert_eq!(
            what_ran(&browser, &url, &[other]).await,
            ["ran", "blocked", "missing", "ran", hidden],
            "{integrity}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_hashes_is_compressed_again_behind_the_switch() {
    let site = tempfile::tempdir().unwrap();
    let text: String = (0..2_000).map(|number| format!("<p>{} of {}\n", number * 7_919 % 1_000, number / 3)).collect();
    std::fs::write(site.path().join("index.html"), format!("<script src=a.js></script>{text}")).unwrap();
    std::fs::write(site.path().join("a.js"), "1").unwrap();
    let project = project::with_site("shop", site.path(), "integrity = \"report\"\n");
    let mut tags = Vec::new();
    for edge in [edge().start(), edge().with_background().start()] {
        let ran = Ran::of(edge.command(project.path(), "shop", &["push", "--json"]).output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        for _ in 0..600 {
            let page = edge.client(true).get(edge.url("shop.localhost", "/")).header("accept-encoding", "br");
            let tag = page.send().await.unwrap().headers()["etag"].to_str().unwrap().to_owned();
            // Without the background pass, the first form stays.
            let is_first = tags.is_empty();
            if is_first || tags[0] != tag {
                tags.push(tag);
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    assert_eq!(tags.len(), 2, "{tags:?}");
}
