//! Pins in a real browser: a visitor stays on the version of the first page, and a second visitor gets the live
//! version.

use std::path::Path;

use crate::support::browser::{Browser, Page, Trusted};
use crate::support::edge::{Edge, Ran, edge};
use crate::support::project;

fn run(edge: &Edge, project: &Path, arguments: &[&str]) {
    let ran = Ran::of(edge.command(project, "shop", arguments).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
}

/// Returns the version of the page, and of its script's request.
async fn seen(page: &Page) -> [String; 2] {
    page.evaluate("fetch('/data.json').then((answer) => answer.text()).then((text) => { window.got = text })").await;
    page.wait_for("window.got").await;
    let [title, got] = ["document.title", "window.got"].map(|expression| page.evaluate(expression));
    [title.await, got.await].map(|value| value.as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_stays_on_the_version_of_its_first_page_until_somebody_goes_back_or_unpins() {
    let profile = tempfile::tempdir().unwrap();
    let Some(browser) = Browser::start_with(Trusted::Everybody, &[], profile.path()).await else { return };
    let (edge, empty) = (edge().start(), tempfile::tempdir().unwrap());
    let project = project::with_site("shop", empty.path(), "pin = \"session\"\n");
    let www = project.path().join("www");
    let push = |name: &str| {
        let page = format!("<!doctype html><title>{name}</title><link rel=icon href=data:,>");
        std::fs::write(www.join("index.html"), page).unwrap();
        std::fs::write(www.join("data.json"), format!("data of {name}")).unwrap();
        run(&edge, project.path(), &["push"]);
    };
    let reload = async |page: &Page| {
        page.evaluate("window.before = true; location.reload()").await;
        page.wait_for("!window.before && document.readyState === 'complete'").await;
    };
    let of = |name: &str| [name.to_owned(), format!("data of {name}")];
    push("one");
    let url = edge.url("shop.localhost", "/");
    let first = browser.open(&url).await;
    push("two");
    let second = browser.open(&url).await;
    assert_eq!((seen(&first).await, seen(&second).await), (of("one"), of("two")));
    reload(&first).await;
    assert_eq!(seen(&first).await, of("one"));
    run(&edge, project.path(), &["unpin"]);
    reload(&first).await;
    assert_eq!(seen(&first).await, of("two"));
    push("three");
    let third = browser.open(&url).await;
    assert_eq!(seen(&third).await, of("three"));
    run(&edge, project.path(), &["rollback"]);
    for page in [&first, &second, &third] {
        reload(page).await;
        assert_eq!(seen(page).await, of("two"));
    }
}

#[test]
fn a_deletion_says_that_visitors_are_held_on_what_goes() {
    let (edge, empty) = (edge().start(), tempfile::tempdir().unwrap());
    let project = project::with_site("shop", empty.path(), "pin = \"session\"\n");
    let ran = |arguments: &[&str]| {
        let ran = Ran::of(edge.command(project.path(), "shop", arguments).output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran
    };
    let push = |name: &str| {
        std::fs::write(project.path().join("www/index.html"), format!("<title>{name}</title>")).unwrap();
        ran(&["push", "--json"]).json()["version"].as_str().unwrap().to_owned()
    };
    let one = push("one");
    push("two");
    let foreseen = ran(&["delete", &one, "--dry-run"]);
    let sentence = "Visitors of prod are held on it, and get what is live.";
    assert!(foreseen.stdout.contains(sentence), "{foreseen:#?}");
    assert_eq!(ran(&["delete", &one, "--dry-run", "--json"]).json()["held_in"][0], "prod");
    let environment = ran(&["delete", "environment", "prod", "--dry-run"]);
    let sentence_of_place = format!("Visitors are held on {} there", &one[..12]);
    assert!(environment.stdout.contains(&sentence_of_place), "{environment:#?}");
    let deleted = ran(&["delete", &one, "--yes"]);
    assert!(deleted.stdout.contains(sentence), "{deleted:#?}");
    let gone = ran(&["delete", "environment", "prod", "--yes", "--json"]).json();
    assert!(gone.get("pinned").is_none(), "nobody is held any longer: {gone}");
}
