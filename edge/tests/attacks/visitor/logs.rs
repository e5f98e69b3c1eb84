//! Strangers' text in logs that operators read in terminals.

use devanture_config::api::{Scope, TokenRequest};
use devanture_config::text::plain_text::is_plain;
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;

use crate::support::{edge, eventually, got};

/// C1 control that starts an escape sequence like ESC, a bidi override, and an invisible character.
const STRANGE: &str = "a\u{9b}31m\u{202e}txt.exe\u{200b}";

#[tokio::test]
async fn nothing_that_strangers_write_into_a_log_speaks_to_a_terminal() {
    let site: &[(&str, &[u8])] = &[("index.html", b"hi")];
    // Both logs go to standard error.
    let edge = edge().in_a_process().with_log("").with_app("shop", site).start().await;
    let agent = HeaderValue::from_bytes(STRANGE.as_bytes()).unwrap();
    for name in ["user-agent", "referer"] {
        let request = edge.visit(Method::GET, "shop.localhost", "/").header(name, agent.clone());
        assert_eq!(got(request).await.status, StatusCode::OK);
    }
    // The audit log contains the name of a token, and the edge's log repeats the entry.
    let name = STRANGE.replace('\u{9b}', "");
    let token = TokenRequest { name, app: None, environment: None, scope: Scope::Read, expires_in_s: None };
    assert_eq!(got(edge.api(Method::POST, "/v1/tokens").json(&token)).await.status, StatusCode::CREATED);
    let log = edge.data_dir().parent().unwrap().join("edge.log");
    let read = || std::fs::read_to_string(&log).unwrap();
    eventually("three lines are written", async || read().matches("txt.exe").count() >= 3).await;
    let text = read();
    for line in text.lines().filter(|line| line.contains("txt.exe")) {
        assert!(line.chars().all(is_plain), "{line:?}");
        // The escaped text is complete.
        let values: Value = serde_json::from_str(line).unwrap();
        assert!(values.to_string().contains("\u{202e}txt.exe"), "{line}");
    }
    let lines = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?lines=9")).await.text();
    assert!(lines.contains("txt.exe") && lines.lines().all(|line| line.chars().all(is_plain)), "{lines:?}");
    edge.stop().await;
}
