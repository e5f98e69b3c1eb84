//! Protected previews by the command line and in a real browser: the form without a script, and a share link.

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::edge::{Edge, Ran, edge};

const PASSWORD: &str = "correct horse battery";
/// Fills and sends the form as a person does.
const ENTER: &str = "document.querySelector('#password').value = 'correct horse battery'; \
                     document.querySelector('button').click()";

/// Starts an edge with one page, with a fast password hash, and returns the hostname of its preview.
fn pushed(folder: &std::path::Path) -> (Edge, String) {
    let edge = edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1).start();
    std::fs::create_dir(folder.join("www")).unwrap();
    std::fs::write(folder.join("www/index.html"), "<title>the shop</title><p>the shop</p>").unwrap();
    let pushed = edge.push("shop", &folder.join("www"));
    let host = preview_of(&pushed);
    (edge, host)
}

/// The hostname of the preview of a push.
fn preview_of(pushed: &Value) -> String {
    let preview = pushed["urls"]["preview"].as_str().unwrap();
    preview.strip_prefix("https://").unwrap().split(':').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_enters_a_password_or_opens_a_link() {
    let project = tempfile::tempdir().unwrap();
    let (edge, host) = pushed(project.path());
    let mut protect = edge.command(project.path(), "shop", &["protect", "previews", "password"]);
    let protected = Ran::fed(&mut protect, &format!("{PASSWORD}\n"));
    assert_eq!(protected.code, Some(0), "{protected:#?}");
    let shared = edge.json("shop", &["share", "--expires", "1h"]);
    let Some(browser) = Browser::start().await else { return };
    let page = browser.open(&edge.url(&host, "/?from=a%20chat")).await;
    assert_eq!(page.evaluate("document.title").await, Value::from("Protected"));
    page.evaluate(ENTER).await;
    page.wait_for("document.title === 'the shop'").await;
    // The visitor arrives at the requested page, and the site sees nothing of the credentials.
    assert_eq!(page.evaluate("location.pathname + location.search").await, Value::from("/?from=a%20chat"));
    assert_eq!(page.evaluate("document.cookie").await, Value::from(""));
    page.close().await;
    let page = browser.open(shared["url"].as_str().unwrap()).await;
    page.wait_for("document.title === 'the shop'").await;
    assert_eq!(page.evaluate("location.pathname + location.search").await, Value::from("/"));
    assert_eq!(page.evaluate("document.referrer").await, Value::from(""));
    page.close().await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_with_an_account_at_the_hostname_that_is_for_it() {
    let www = tempfile::tempdir().unwrap();
    let edge = edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1);
    let edge = edge.with_table("[names]\nlogin = \"login.localhost\"\n").start();
    std::fs::write(www.path().join("index.html"), "<title>the shop</title><p>the shop</p>").unwrap();
    let preview = preview_of(&edge.push("shop", www.path()));
    let mut account = edge.command(www.path(), "shop", &["account", "create", "ada", "--scope", "read"]);
    let made = Ran::fed(&mut account, &format!("{PASSWORD}\n"));
    assert_eq!(made.code, Some(0), "{made:#?}");
    let protected = edge.run("shop", &["protect", "prod", "accounts"]);
    assert!(protected.stdout.contains("prod: accounts"), "{protected:#?}");
    assert!(protected.stderr.contains("previews stay open to everybody"), "{protected:#?}");
    let status = edge.run("shop", &["status"]);
    assert!(status.stdout.contains("protected  accounts (devanture protect)"), "{status:#?}");
    let Some(browser) = Browser::start().await else { return };
    let page = browser.open(&edge.url("shop.localhost", "/?from=a%20chat")).await;
    page.evaluate("document.querySelector('#login').click()").await;
    page.wait_for("document.querySelector('#account') !== null").await;
    assert_eq!(page.evaluate("location.hostname").await, "login.localhost");
    page.evaluate("document.querySelector('#account').value = 'ada'").await;
    page.evaluate(ENTER).await;
    page.wait_for("document.title === 'the shop'").await;
    assert_eq!(page.evaluate("location.hostname + location.search").await, "shop.localhost?from=a%20chat");
    assert_eq!(page.evaluate("document.cookie").await, "");
    // The next hostname takes a click, and no password.
    assert!(edge.run("shop", &["protect", "previews", "accounts"]).stdout.contains("previews: accounts"));
    page.go(&edge.url(&preview, "/")).await;
    page.evaluate("document.querySelector('#login').click()").await;
    page.wait_for("document.querySelector('#go-on') !== null").await;
    assert_eq!(page.evaluate("location.hostname").await, "login.localhost");
    assert_eq!(page.evaluate("document.querySelector('#password') === null").await, true);
    page.evaluate("document.querySelector('#go-on').click()").await;
    page.wait_for("document.title === 'the shop'").await;
    assert_eq!(page.evaluate("location.hostname").await, preview.as_str());
    page.go(&edge.url("login.localhost", "/.well-known/devanture/logout")).await;
    page.evaluate("document.querySelector('#logout').click()").await;
    page.wait_for("document.querySelector('#notice') !== null").await;
    let text = page.evaluate("document.body.textContent").await;
    assert!(text.as_str().unwrap().contains("Nobody is logged in here"), "{text}");
    page.close().await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_and_shared_is_listed_and_ended() {
    let project = tempfile::tempdir().unwrap();
    let (edge, host) = pushed(project.path());
    let run = |arguments: &[&str]| edge.run("shop", arguments);
    let listed = run(&["protect"]);
    assert!(listed.stdout.contains("previews: public  the edge's default"), "{listed:#?}");
    let foreseen = run(&["protect", "previews", "token", "--dry-run"]);
    assert!(format!("{}{}", foreseen.stdout, foreseen.stderr).contains("previews: token"), "{foreseen:#?}");
    let set = run(&["protect", "previews", "token"]);
    assert_eq!(set.code, Some(0), "{set:#?}");
    for (arguments, code) in [
        (&["protect", "previews", "open"][..], 2),
        (&["protect", "previews"], 2),
        (&["protect", "prod", "off"], 1),
        (&["protect", "prod", "accounts"], 1),
    ] {
        assert_eq!(run(arguments).code, Some(code), "{arguments:?}");
    }
    let made = run(&["share"]);
    let url = made.stdout.trim();
    assert!(
        url.starts_with(&format!("https://{host}")) && url.contains("/.well-known/devanture/share?link="),
        "{made:#?}"
    );
    let visit = async |url: &str| edge.client(true).get(url).send().await.unwrap().status().as_u16();
    assert_eq!(visit(&edge.url(&host, "/")).await, 401);
    let list = edge.json("shop", &["share", "list"]);
    let id = list["shares"][0]["id"].as_str().unwrap();
    assert!(!list.to_string().contains(url.split_once('_').unwrap().1));
    assert!(run(&["share", "list"]).stdout.contains(id));
    assert_eq!(run(&["share", "revoke", id, "--dry-run"]).code, Some(0));
    assert_eq!(run(&["share", "revoke", id]).code, Some(0));
    assert_eq!(edge.run("shop", &["share", "revoke", id, "--json"]).problem(), "not_found");
    assert_eq!(visit(url).await, 401);
    assert_eq!(run(&["protect", "previews", "default"]).code, Some(0));
    assert_eq!(visit(&edge.url(&host, "/")).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_preview_says_that_previews_are_off() {
    let project = tempfile::tempdir().unwrap();
    let (edge, _) = pushed(project.path());
    let off = "previews are off";
    assert!(!edge.run("shop", &["share"]).stderr.contains(off));
    assert_eq!(edge.run("shop", &["protect", "previews", "off"]).code, Some(0));
    for (arguments, is_noted) in [(&["share"][..], true), (&["share", "prod"], false)] {
        let shared = edge.run("shop", arguments);
        assert_eq!((shared.code, shared.stderr.contains(off)), (Some(0), is_noted), "{arguments:?} {shared:#?}");
    }
    let long = edge.run("shop", &["share", "--expires", "91d"]);
    assert!(long.stderr.contains("A share link is good for 90 days at most."), "{long:#?}");
}
