//! Backends killed under an open front: the front continues, and so does the traffic of a restarted backend.

use serde_json::json;

use crate::frameworks::servers::{django, plants};
use crate::frameworks::{HOST, push};
use crate::support::browser::Browser;
use crate::support::edge::edge;

#[tokio::test(flavor = "multi_thread")]
async fn the_front_outlives_its_backends_and_finds_them_again() {
    let (Some(mut site), Some(mut api)) = (django(), plants()) else { return };
    let Some(browser) = Browser::start().await else { return };
    let edge = edge().start();
    let mut routes = ["/admin/*", "/api/*", "/static/*"].map(|path| (path, site.server.address())).to_vec();
    routes.push(("/data/*", api.server.address()));
    push(&edge, &routes);
    let page = browser.open(&edge.url(HOST, "/")).await;
    page.wait_for("document.documentElement.dataset.shown").await;
    page.evaluate(
        "globalThis.socket = new WebSocket(`wss://${location.host}/data/socket`, 'echo.v1'); \
         socket.onclose = event => globalThis.endedBy = event.code",
    )
    .await;
    page.wait_for("socket.readyState === WebSocket.OPEN").await;
    let ask = |path: &str| {
        format!(
            "fetch('{path}').then(async answer => [answer.status, answer.headers.get('content-type'), \
               answer.ok ? '' : await answer.json()])"
        )
    };
    assert_eq!(page.evaluate(&ask("/api/session")).await[0], 200);
    assert_eq!(page.evaluate(&ask("/data/echo")).await[0], 200);

    site.server.kill();
    api.server.kill();
    page.wait_for("globalThis.endedBy === 1006").await;
    for path in ["/api/session", "/data/echo"] {
        let answered_as = page.evaluate(&ask(path)).await;
        assert_eq!(
            (&answered_as[0], &answered_as[1]),
            (&json!(502), &json!("application/problem+json")),
            "{answered_as}"
        );
        assert_eq!(answered_as[2]["status"], 502, "{answered_as}");
    }
    page.go(&edge.url(HOST, "/admin/")).await;
    let report = page.report().await;
    assert_eq!((report.title.as_str(), report.text.as_str()), ("Back soon", "The shop is back soon"), "{report:?}");
    assert_eq!(report.responses, [(edge.url(HOST, "/admin/"), 502)]);
    page.go(&edge.url(HOST, "/plants.html")).await;
    let report = page.report().await;
    assert_eq!((report.title.as_str(), report.console_errors.len()), ("Plants", 0), "{report:?}");

    site.server.start_again();
    api.server.start_again();
    for path in ["/api/session", "/data/echo"] {
        // Repeated until answered; the browser's own limit ends the loop.
        let again = format!(
            "(async () => {{ while ((await fetch('{path}')).status !== 200) \
               await new Promise(rested => setTimeout(rested, 50)); return true }})()"
        );
        assert_eq!(page.evaluate(&again).await, true);
    }
    page.go(&edge.url(HOST, "/admin/")).await;
    page.wait_for("document.querySelector('#login-form')").await;
    let report = page.report().await;
    assert_eq!((report.console_errors.len(), report.failed_requests.len()), (0, 0), "{report:?}");
}
