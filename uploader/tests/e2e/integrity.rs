//! Pages with hashes in a real browser: what runs, and what is not loaded.

use crate::support::browser::Browser;
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
