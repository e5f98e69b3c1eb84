//! The front in a real browser, on one origin with both backends: the admin by its forms, the API by `fetch`, events
//! and a WebSocket. No page may report an error.

use serde_json::json;

use crate::frameworks::servers::{django, plants};
use crate::frameworks::{HOST, push};
use crate::support::browser::{Browser, Page};
use crate::support::edge::{Edge, edge};

/// Checks for errors since the last navigation, and that all requests stayed on one origin.
async fn is_sound(edge: &Edge, page: &Page) {
    page.settle().await;
    let seen = page.report().await;
    assert_eq!(seen.console_errors, [""; 0], "{seen:?}");
    assert_eq!(seen.failed_requests, [""; 0], "{seen:?}");
    let origin = edge.url(HOST, "/");
    assert!(
        seen.responses.iter().all(|(url, _)| url.starts_with(&origin) || url.starts_with("data:")),
        "{:?}",
        seen.responses
    );
}

/// Fills in text fields by name, and sends their form.
async fn fill_in(page: &Page, fields: &[(&str, &str)], button: &str) {
    for (name, value) in fields {
        page.evaluate(&format!("document.querySelector('form [name={name}]').value = {}", json!(value))).await;
    }
    page.evaluate(&format!("document.querySelector({}).click()", json!(button))).await;
}

/// Chooses a file of `bytes` bytes, each equal to its position.
async fn choose_file(page: &Page, bytes: usize) {
    let choose = format!(
        "{{ const files = new DataTransfer(); \
           files.items.add(new File([Uint8Array.from({{ length: {bytes} }}, (_, at) => at % 251)], 'blatt ✓.bin')); \
           document.querySelector('form [type=file]').files = files.files; }}"
    );
    page.evaluate(&choose).await;
}

/// Checks that the file behind the first link whose text starts with the name is the chosen file.
async fn comes_back(page: &Page, name: &str, bytes: usize) {
    let read = format!(
        "fetch([...document.querySelectorAll('#products a')].find(link => link.textContent.startsWith({})).href)\
           .then(answer => answer.arrayBuffer()).then(file => {{ const read = new Uint8Array(file); \
             return read.length === {bytes} && read.every((byte, at) => byte === at % 251) }})",
        json!(name)
    );
    assert_eq!(page.evaluate(&read).await, true, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_logs_in_adds_products_and_logs_out() {
    let Some(site) = django() else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().start();
    push(&edge, &["/admin/*", "/api/*", "/static/*"].map(|path| (path, site.server.address())));
    let page = browser.open(&edge.url(HOST, "/")).await;
    page.wait_for("document.documentElement.dataset.shown && document.querySelector('#who').innerText === 'nobody'")
        .await;
    is_sound(&edge, &page).await;

    page.evaluate("document.querySelector('a[href=\"/admin/\"]').click()").await;
    page.wait_for("document.querySelector('#login-form')").await;
    fill_in(&page, &[("username", "keeper"), ("password", &site.password)], "#login-form [type=submit]").await;
    page.wait_for("document.querySelector('#logout-form')").await;
    is_sound(&edge, &page).await;

    page.go(&edge.url(HOST, "/admin/products/product/add/")).await;
    choose_file(&page, 3_000_001).await;
    fill_in(&page, &[("name", "Fern <b>✓</b>"), ("price", "12.50")], "[name=_save]").await;
    page.wait_for("document.querySelector('.messagelist .success')").await;
    let text = page.report().await.text;
    assert!(text.contains("The product “Fern <b>✓</b>” was added successfully."), "{text}");
    is_sound(&edge, &page).await;

    page.go(&edge.url(HOST, "/")).await;
    page.wait_for("document.querySelector('#products').innerText === 'Fern <b>✓</b>, 12.50, 3000001 bytes'").await;
    assert_eq!(page.evaluate("document.querySelector('#who').innerText").await, "keeper");
    comes_back(&page, "Fern", 3_000_001).await;
    choose_file(&page, 70_000).await;
    fill_in(&page, &[("name", "Oak"), ("price", "7")], "#add button").await;
    page.wait_for("document.querySelector('#products').innerText.endsWith('Oak, 7.00, 70000 bytes')").await;
    comes_back(&page, "Oak", 70_000).await;
    assert_eq!(page.evaluate("document.cookie.includes('sessionid')").await, false, "it is the servers' alone");
    is_sound(&edge, &page).await;

    page.go(&edge.url(HOST, "/admin/")).await;
    page.evaluate("document.querySelector('#logout-form button').click()").await;
    page.wait_for("document.querySelector('h1')?.innerText.includes('Logged out')").await;
    is_sound(&edge, &page).await;
    page.go(&edge.url(HOST, "/")).await;
    page.wait_for("document.documentElement.dataset.shown && document.querySelector('#who').innerText === 'nobody'")
        .await;
    assert_eq!(page.evaluate("document.querySelector('#products').innerText").await, "");
    is_sound(&edge, &page).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_turns_pages_hears_events_and_talks() {
    let Some(api) = plants() else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().start();
    push(&edge, &[("/data/*", api.server.address())]);
    let page = browser.open(&edge.url(HOST, "/plants.html")).await;
    let lines =
        |list: &str| format!("[...document.querySelectorAll('#{list} li')].map(line => line.innerText).join('|')");

    fill_in(&page, &[("token", &api.reader)], "#ask button").await;
    let starts = |name: &str| format!("{}.startsWith('{name}:')", lines("plants"));
    page.wait_for(&starts("plant 1")).await;
    for (button, first) in [("#next", "plant 11"), ("#next", "plant 21"), ("#previous", "plant 11")] {
        page.evaluate(&format!("document.querySelector('{button}').click()")).await;
        page.wait_for(&starts(first)).await;
    }
    page.evaluate("[1, 2].forEach(at => document.querySelector('[name=family]').options[at].selected = true)").await;
    page.evaluate("document.querySelector('#ask button').click()").await;
    page.wait_for(&format!("document.querySelector('#count').innerText === '13' && {}", starts("plant 1"))).await;
    page.evaluate("document.querySelector('#next').click()").await;
    page.wait_for(&format!(
        "{} === 'plant 21: Fagaceae & kin|plant 22: Rosaceae+|plant 25: Fagaceae & kin'",
        lines("plants")
    ))
    .await;
    is_sound(&edge, &page).await;

    page.evaluate("document.querySelector('#listen').click()").await;
    let heard = "visit: first one|1: event 1|2: event 2|3: event 3|visit: first one|4: event 4";
    page.wait_for(&format!("{} === {}", lines("events"), json!(heard))).await;

    page.evaluate("document.querySelector('#talk').click()").await;
    page.wait_for(&format!("{}.includes('closed')", lines("talked"))).await;
    let talked = page.evaluate(&lines("talked")).await;
    let talked: Vec<_> = talked.as_str().unwrap().split('|').collect();
    let origin = edge.url(HOST, "");
    let (_, authority) = origin.split_once("//").unwrap();
    let answered_as: serde_json::Value = serde_json::from_str(talked[1]).unwrap();
    let url = format!("wss://{authority}/data/socket");
    assert_eq!(answered_as, json!({"visit": "first one", "url": url, "host": authority, "origin": origin}));
    let rest = ["hello ✓", "300000 characters", "bytes: 0,255,1", "closed: 4001 as you wish"];
    assert_eq!((talked[0], &talked[2..]), ("protocol: echo.v1", &rest[..]));
    is_sound(&edge, &page).await;
}
