//! Sites built by real generators, pushed unchanged: every link has an answer, every page is rendered, and navigation
//! in the page, a deep link and a switch under an open page work.

use std::path::Path;

use crate::support::browser::{Browser, Page};
use crate::support::crawl::{self, Crawled};
use crate::support::edge::{Edge, Ran, edge, files};
use crate::support::{inputs, project};

/// A site of `tools/sites.d`, and its expected features.
struct Site {
    name: &'static str,
    /// The settings of its `devanture.toml` beside `app` and `www`.
    settings: &'static str,
    /// True if a click on a link changes the current page, without loading a new page.
    navigates_in_page: bool,
    /// The path of the page about ferns.
    fern: &'static str,
    /// Pages without a link.
    unlinked: &'static [&'static str],
}

/// Each site has a home page, a page about each of two plants, and a page about its owners.
const PAGES_MIN: usize = 4;
const SPA: &str = "not_found = \"single-page-application\"\n";
const USUAL: Site =
    Site { name: "", settings: "", navigates_in_page: true, fern: "/plants/fern", unlinked: &["404.html"] };

#[track_caller]
fn push(edge: &Edge, site: &Site, www: &Path) {
    let project = project::with_site("plants", www, site.settings);
    let ran = Ran::of(edge.command(project.path(), "plants", &["push", "--json"]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{}: {ran:#?}", site.name);
}

/// Checks for errors in the page since opening or the last navigation.
async fn is_sound(page: &Page, what: &str) {
    page.settle().await;
    let seen = page.report().await;
    assert_eq!(seen.console_errors, [""; 0], "{what}: {seen:?}");
    assert_eq!(seen.failed_requests, [""; 0], "{what}: {seen:?}");
    assert!(
        seen.protocols.iter().all(|protocol| matches!(protocol.as_str(), "h2" | "data" | "blob")),
        "{what}: {seen:?}"
    );
    assert!(!seen.text.trim().is_empty(), "{what}: {seen:?}");
}

/// Clicks the first link with this text.
async fn click(page: &Page, text: &str) {
    let link = format!(
        "[...document.querySelectorAll('a')].find(link => link.textContent.trim() === {text:?} && link.offsetParent)"
    );
    page.wait_for(&format!("{link} !== undefined")).await;
    page.evaluate(&format!("{link}.click()")).await;
}

async fn has_heading(page: &Page, words: &str) {
    page.wait_for(&format!("document.querySelector('h1')?.textContent.includes({words:?})")).await;
}

/// Pushes both releases of a site, and visits the pages.
async fn holds(site: Site) {
    let (Some(first), Some(second)) = (inputs::site(site.name, "a"), inputs::site(site.name, "b")) else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().start();
    push(&edge, &site, &first);
    let crawled = crawl::crawl(&edge, "plants.localhost").await;
    every_page_is_linked(&site, &first, &crawled);

    let page = browser.open(&edge.url("plants.localhost", "/")).await;
    let opened = open_every_page(&edge, &page, &site, &crawled).await;
    eprintln!("{}: {} links to {} pages, {opened} opened", site.name, crawled.links, crawled.pages.len());

    page.go(&edge.url("plants.localhost", "/")).await;
    has_heading(&page, "Plants").await;
    page.settle().await;
    page.evaluate("window.kept = true").await;
    click(&page, "About").await;
    has_heading(&page, "About us").await;
    assert_eq!(page.evaluate("window.kept === true").await, site.navigates_in_page, "{}", site.name);
    is_sound(&page, site.name).await;

    page.go(&edge.url("plants.localhost", site.fern)).await;
    has_heading(&page, "Plant: fern").await;
    page.reload().await;
    has_heading(&page, "Plant: fern").await;
    is_sound(&page, site.fern).await;
    missing_is_missing(&edge, &site).await;

    // A page opened before a switch works after the switch.
    page.go(&edge.url("plants.localhost", "/")).await;
    has_heading(&page, "Plants").await;
    page.settle().await;
    push(&edge, &site, &second);
    click(&page, "About").await;
    has_heading(&page, "About us").await;
    is_sound(&page, &format!("{} after the switch", site.name)).await;
    page.close().await;
}

/// Opens each crawled page, and pages linked only by a script. Returns the number of pages.
async fn open_every_page(edge: &Edge, page: &Page, site: &Site, crawled: &Crawled) -> usize {
    let mut paths = crawled.pages.clone();
    let mut opened = 0;
    while let Some(path) = paths.get(opened).cloned() {
        opened += 1;
        page.go(&edge.url("plants.localhost", &path)).await;
        page.wait_for("document.querySelector('h1') !== null").await;
        is_sound(page, &format!("{} {path}", site.name)).await;
        let links = "[...document.links].filter(link => link.origin === location.origin).map(link => link.pathname)";
        for link in page.evaluate(links).await.as_array().unwrap().iter().map(|link| link.as_str().unwrap()) {
            if !paths.iter().any(|path| path.trim_end_matches('/') == link.trim_end_matches('/')) {
                paths.push(link.to_owned());
            }
        }
    }
    assert!(opened >= PAGES_MIN, "{}: {paths:?}", site.name);
    opened
}

fn every_page_is_linked(site: &Site, www: &Path, crawled: &Crawled) {
    assert_eq!(crawled.problems, [""; 0], "{}", site.name);
    let pages: Vec<String> = files(www).into_keys().filter(|path| path.ends_with(".html")).collect();
    for page in pages.iter().filter(|page| !site.unlinked.contains(&page.as_str())) {
        let path = page.strip_suffix("index.html").or_else(|| page.strip_suffix(".html")).unwrap();
        let is_seen = crawled.pages.iter().any(|seen| seen.trim_matches('/') == path.trim_end_matches('/'));
        assert!(is_seen, "{}: {page} is not among {:?}", site.name, crawled.pages);
    }
}

/// Checks that a missing script is an uncached 404, and never HTML in a single-page site.
async fn missing_is_missing(edge: &Edge, site: &Site) {
    let client = edge.client(true);
    for path in ["/assets/missing.js", "/assets/index-B3xY9_aZ.js", "/assets/missing.css", "/missing.png"] {
        let url = edge.url("plants.localhost", path);
        let answer = client.get(&url).header("Sec-Fetch-Mode", "no-cors").header("Accept", "*/*").send().await.unwrap();
        assert_eq!(answer.status(), 404, "{} {path}", site.name);
        let cache_control = answer.headers()["cache-control"].to_str().unwrap();
        assert!(["no-store", "public, max-age=0, must-revalidate"].contains(&cache_control), "{cache_control}");
        if site.settings == SPA {
            let media_type = answer.headers()["content-type"].to_str().unwrap();
            assert!(!media_type.starts_with("text/html"), "{path} is {media_type}");
        }
    }
    let url = edge.url("plants.localhost", "/nowhere/at/all");
    let navigation = client.get(&url).header("Sec-Fetch-Mode", "navigate").header("Accept", "text/html");
    let answer = navigation.send().await.unwrap();
    assert_eq!(answer.status(), if site.settings == SPA { 200 } else { 404 }, "{}", site.name);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(!answer.headers()["cache-control"].to_str().unwrap().contains("immutable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_angular_works_as_it_was_built() {
    holds(Site { name: "angular", settings: SPA, unlinked: &[], ..USUAL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_astro_works_as_it_was_built() {
    holds(Site { name: "astro", ..USUAL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_docusaurus_works_as_it_was_built() {
    holds(Site { name: "docusaurus", fern: "/fern/", ..USUAL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_eleventy_works_as_it_was_built() {
    holds(Site { name: "eleventy", navigates_in_page: false, ..USUAL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_next_works_as_it_was_built() {
    holds(Site { name: "next", unlinked: &["404.html", "_not-found.html"], ..USUAL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_next_by_webpack_works_as_it_was_built() {
    holds(Site { name: "next-webpack", ..USUAL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_nuxt_works_as_it_was_built() {
    holds(Site { name: "nuxt", unlinked: &["200.html", "404.html"], ..USUAL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_sveltekit_works_as_it_was_built() {
    holds(Site { name: "sveltekit", ..USUAL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_vite_and_react_works_as_it_was_built() {
    holds(Site { name: "vite-react", settings: SPA, unlinked: &[], ..USUAL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_vitepress_works_as_it_was_built() {
    holds(Site { name: "vitepress", ..USUAL }).await;
}

/// Tests the link checker itself: a broken link is reported with its page.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_site_does_not_pass() {
    let folder = tempfile::tempdir().unwrap();
    let page = "<!doctype html><base href='/sub/'><a href='../gone#top'>1</a><a href=page.html>2</a>\
        <img src=/leaf.svg srcset='/leaf.svg 1x, /gone.svg 2x'><script src=page.html></script>\
        <script>const text = '<a href=/in-a-script>';</script><a href='https://elsewhere.invalid/'>3</a>\
        <link rel=stylesheet href=/site.css><style>p { background: url(\"/gone.png\") }</style>";
    for (path, text) in [
        ("index.html", page),
        ("sub/page.html", "<!doctype html><a href=\"#here\">here</a>"),
        ("leaf.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
        ("site.css", "@import 'gone.css'; p { background: url(leaf.svg) }"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let edge = edge().start();
    edge.push("plants", folder.path());
    let crawled = crawl::crawl(&edge, "plants.localhost").await;
    assert_eq!(crawled.pages, ["/", "/sub/page"]);
    assert_eq!(crawled.foreign.iter().collect::<Vec<_>>(), ["https://elsewhere.invalid/"]);
    let problems = crawled.problems.join("\n");
    for broken in [
        "/gone (Page, in /",
        "/gone.svg (Image",
        "/sub/page.html (Script",
        "/gone.png (",
        "/gone.css (Style, in /site.css",
    ] {
        assert!(problems.contains(broken), "{broken} is not in\n{problems}");
    }
    assert_eq!(crawled.problems.len(), 5, "{problems}");
}
