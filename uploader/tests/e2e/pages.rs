//! Real pages in a real browser, before and after a switch.

use std::fmt::Write as _;

use crate::support::browser::Browser;
use crate::support::edge::{Ran, edge};
use crate::support::{inputs, jupyter, project};

#[tokio::test(flavor = "multi_thread")]
async fn swagger_is_rendered_in_both_releases() {
    let (Some(first), Some(second)) = (inputs::swagger("5.29.0"), inputs::swagger("5.29.1")) else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().start();
    for folder in [first, second] {
        let report = edge.push("docs", &folder);
        for url in [&report["urls"]["live"], &report["urls"]["preview"]] {
            let page = browser.open_with(url.as_str().unwrap(), &inputs::swagger_stubs()).await;
            page.wait_for("document.querySelector('.info .title')?.textContent.includes('Jungle API')").await;
            let seen = page.report().await;
            assert_eq!(seen.console_errors, [""; 0], "{url}");
            assert_eq!(seen.failed_requests, [""; 0], "{url}");
            assert!(seen.text.contains("/plants"), "{}", seen.text);
            assert!(seen.protocols.iter().any(|protocol| protocol == "h2"), "{:?}", seen.protocols);
            page.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jupyterlab_is_rendered_with_its_backend_on_the_same_origin() {
    let Some(browser) = Browser::start().await else { return };
    for release in ["4.4.8", "4.4.9"] {
        let (Some(folder), Some(backend)) = (inputs::jupyterlab(release), jupyter::start(release)) else { return };
        let edge = edge().start();
        let route = format!("[[routes]]\npath = \"/jupyter/*\"\nto = \"http://{backend}\"\n");
        let project = project::with_site("lab", &folder, &route);
        let ran = Ran::of(edge.command(project.path(), "lab", &["push", "--json"]).output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let page = browser.open(&edge.url("lab.localhost", "/jupyter/lab")).await;
        page.wait_for("document.querySelector('#jp-MainLogo, .jp-LabShell') !== null").await;
        page.settle().await;
        let seen = page.report().await;
        assert_eq!(seen.console_errors, [""; 0], "{release}");
        assert_eq!(seen.failed_requests, [""; 0], "{release}");
        page.close().await;
    }
}

/// Law 10, in a browser: a page opened before a switch loads the rest of its code after the switch.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_open_in_a_switch_goes_on() {
    let (Some(first), Some(second)) = (inputs::vite("a"), inputs::vite("b")) else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().start();
    edge.push("shop", &first);
    let page = browser.open(&edge.url("shop.localhost", "/")).await;
    page.wait_for("document.documentElement.dataset.ready === 'a'").await;
    edge.push("shop", &second);
    assert_eq!(page.evaluate("visit('list')").await, "a");
    assert_eq!(page.evaluate("visit('about')").await, "a");
    page.reload().await;
    page.wait_for("document.documentElement.dataset.ready === 'b'").await;
    let seen = page.report().await;
    assert_eq!(seen.failed_requests, [""; 0]);
    assert_eq!(seen.console_errors, [""; 0]);
    edge.json("shop", &["rollback"]);
    assert_eq!(page.evaluate("visit('list')").await, "b");
    page.reload().await;
    page.wait_for("document.documentElement.dataset.ready === 'a'").await;
}

/// Small files of one page, and below its large files.
const SMALL_FILES: usize = 100;
const LARGE_FILES: usize = 4;
/// The first is in memory, the rest are read from the disk.
const LARGE_BYTES: [usize; LARGE_FILES] = [1_000_000, 5_000_000, 6_000_000, 7_000_000];

/// A browser requests all files of a page at once, on one connection, with its own windows and priorities.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_many_files_is_whole() {
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().start();
    let site = tempfile::tempdir().unwrap();
    let mut page = "<!doctype html><title>Many</title><link rel=icon href=data:,><script>\n\
        let sum = 0; const sizes = [];\n\
        const all = [...Array(4).keys()].map(async n => {\n\
          const bytes = new Uint8Array(await (await fetch(`large-${n}.bin`)).arrayBuffer());\n\
          sizes[n] = bytes.every((byte, at) => byte === at * 31 % 251) ? bytes.length : -1;\n\
        });\n\
        addEventListener('load', async () => { await Promise.all(all); document.title = 'Whole'; });\n\
        </script>\n"
        .to_owned();
    for number in 0..SMALL_FILES {
        writeln!(page, "<script src=small-{number}.js></script>").unwrap();
        std::fs::write(site.path().join(format!("small-{number}.js")), format!("sum += {number};\n")).unwrap();
    }
    for (number, size) in LARGE_BYTES.into_iter().enumerate() {
        let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
        std::fs::write(site.path().join(format!("large-{number}.bin")), bytes).unwrap();
    }
    std::fs::write(site.path().join("index.html"), page).unwrap();
    edge.push("many", site.path());
    let page = browser.open(&edge.url("many.localhost", "/")).await;
    page.wait_for("document.title === 'Whole'").await;
    assert_eq!(page.evaluate("sum").await, SMALL_FILES * (SMALL_FILES - 1) / 2);
    assert_eq!(page.evaluate("sizes").await, serde_json::json!(LARGE_BYTES));
    let seen = page.report().await;
    assert_eq!(seen.console_errors, [""; 0]);
    assert_eq!(seen.failed_requests, [""; 0]);
    assert_eq!(seen.responses.len(), 1 + SMALL_FILES + LARGE_FILES);
    assert!(seen.responses.iter().all(|(_, status)| *status == 200), "{:?}", seen.responses);
    assert!(seen.protocols.iter().all(|protocol| protocol == "h2"), "{:?}", seen.protocols);
    page.close().await;
}
