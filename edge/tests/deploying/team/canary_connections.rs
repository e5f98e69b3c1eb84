//! Canaries and per-connection caches: over one connection each visitor gets the same version as over any other
//! connection, whatever the earlier requests.

use devanture_config::api::DeployOptions;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{call, push};
use crate::support::{Files, Got, RunningEdge, edge, got};

const CANARY: &str = "environments/prod/canary";
const OLD: Files<'_> = &[("index.html", b"old"), ("assets/app-1a2b3c4d.js", b"1")];
const NEW: Files<'_> = &[("index.html", b"new"), ("assets/app-5e6f7a8b.js", b"2")];
const THIRD: Files<'_> = &[("index.html", b"third")];
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const VISITORS: usize = 40;

async fn begin(edge: &RunningEdge, files: Files<'_>, more: Value) {
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let version = push(edge, "prod", options, files).await.unwrap().version;
    let mut body = json!({ "version": version, "share": 50 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(call(edge, Method::PUT, CANARY, Some(body)).await.status, StatusCode::OK);
}

/// Front page as navigated to by a browser with the given `Cookie` lines.
async fn navigate(edge: &RunningEdge, lines: &[&str]) -> Got {
    let request = edge.visit(Method::GET, "shop.localhost", "/").header("accept", "text/html");
    let request = request.header("sec-fetch-mode", "navigate").header("user-agent", BROWSER);
    got(lines.iter().fold(request, |request, line| request.header("cookie", *line))).await
}

/// Visitors, with true for visitors of the canary.
async fn visitors(edge: &RunningEdge) -> Vec<(String, bool)> {
    let mut visitors = Vec::new();
    for _ in 0..VISITORS {
        let answer = navigate(edge, &[]).await;
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        visitors.push((cookie, answer.text() != "old"));
    }
    visitors
}

/// Assignment of each visitor to the canary: every visitor returns several times, with other cookies around the visitor
/// cookie, and must get the same version.
async fn taken(edge: &RunningEdge, visitors: &[(String, bool)], new: &str) -> Vec<bool> {
    let long = format!("filler={}", "x".repeat(2_000));
    let mut taken = Vec::new();
    for (number, (cookie, _)) in visitors.iter().enumerate() {
        let (other, _) = &visitors[(number + 1) % visitors.len()];
        let among = format!("session=1; a=\"x,{other}\"; {cookie}; {other}");
        let in_a_long_one = format!("{long}; {cookie}");
        let mut texts = Vec::new();
        for lines in [
            &[cookie.as_str()][..],
            &[cookie.as_str()],
            &[&among],
            &[&among],
            &["session=1", cookie],
            &["session=1", cookie, other],
            &[cookie, "theme=dark"],
            &[&in_a_long_one],
            &[&in_a_long_one],
        ] {
            let answer = navigate(edge, lines).await;
            assert_eq!(answer.header("set-cookie"), "", "{lines:?}");
            texts.push(answer.text());
        }
        assert!(texts.iter().all(|text| *text == texts[0]), "{cookie}: {texts:?}");
        taken.push(texts[0] == new);
    }
    taken
}

#[tokio::test]
async fn who_comes_over_a_connection_after_others_gets_what_its_own_cookie_says() {
    let edge = edge().with_app("shop", OLD).start().await;
    begin(&edge, NEW, json!({})).await;
    let visitors = visitors(&edge).await;
    let first: Vec<bool> = visitors.iter().map(|(_, is_taken)| *is_taken).collect();
    assert_eq!(taken(&edge, &visitors, "new").await, first);
    // Each step applies to the next request of a connection: only the difference in share changes sides.
    for (share, is_larger) in [(20, false), (80, true), (50, false)] {
        call(&edge, Method::PUT, CANARY, Some(json!({ "share": share }))).await;
        for ((_, before), now) in visitors.iter().zip(taken(&edge, &visitors, "new").await) {
            assert!(if is_larger { now || !before } else { *before || !now }, "at {share} %");
        }
    }
    assert_eq!(taken(&edge, &visitors, "new").await, first);
    // An unknown cookie counts as no cookie, even behind a valid cookie.
    let (cookie, _) = &visitors[0];
    navigate(&edge, &[cookie]).await;
    for strange in [format!("{cookie}0"), "__Host-devanture-visitor=00112233AABBCCDD".to_owned()] {
        assert_ne!(navigate(&edge, &[&strange]).await.header("set-cookie"), "", "{strange}");
        assert_ne!(navigate(&edge, &[&strange, cookie]).await.header("set-cookie"), "", "{strange}");
    }
    call(&edge, Method::DELETE, CANARY, Some(json!({}))).await;
    assert!(!taken(&edge, &visitors, "new").await.contains(&true));
    // Another canary assigns visitors anew.
    begin(&edge, THIRD, json!({})).await;
    let again = taken(&edge, &visitors, "third").await;
    assert!(again.contains(&true) && again != first, "{again:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_cookie_of_the_site_is_looked_for_whenever_it_is_another_one() {
    let edge = edge().with_app("shop", OLD).start().await;
    begin(&edge, NEW, json!({ "cookie": "session" })).await;
    let mut first = Vec::new();
    for number in 0..VISITORS {
        first.push(navigate(&edge, &[&format!("session={number}")]).await.text());
    }
    assert!(first.iter().any(|text| text == "new") && first.iter().any(|text| text == "old"));
    for (number, text) in first.iter().enumerate() {
        let cookie = format!("session={number}");
        for lines in [&[cookie.as_str()][..], &["theme=dark", &cookie], &[&cookie, "session=0"], &["session=", &cookie]]
        {
            assert_eq!(navigate(&edge, lines).await.text(), *text, "{lines:?}");
        }
        // Without the cookie, every request gets the live version, whatever the earlier requests.
        for lines in [&["sessions=1"][..], &["session="], &[]] {
            assert_eq!(navigate(&edge, lines).await.text(), "old", "{lines:?}");
        }
    }
    edge.stop().await;
}
