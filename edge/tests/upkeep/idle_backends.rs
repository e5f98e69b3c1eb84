//! A live version with a backend on an edge without a runner, as after a restore onto another machine: reported at
//! every place that an operator consults.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::process::Command;

use devanture_config::api::Status;
use devanture_config::problem::Code;
use http::Method;
use serde_json::Value;

use crate::support::backends::Backend;
use crate::support::{RunningEdge, edge, eventually, got};

const WORDS: &str = "has a backend, and this edge has no [runner]";

async fn status(edge: &RunningEdge, app: &str) -> Status {
    got(edge.api(Method::GET, &format!("/v1/apps/{app}/environments/prod"))).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_on_an_edge_without_a_runner_is_named_with_what_to_do() {
    let mut edge = edge().with_runner().start().await;
    let backend = Backend::new("one");
    let version = edge.push_backend(edge.admin_token(), ("shop", "prod"), &backend).await.unwrap().version;
    edge.push("blog", &[("index.html", b"blog")]).await;
    assert!(!status(&edge, "shop").await.runner_off);
    let ready = async |edge: &RunningEdge| got(edge.api(Method::GET, "/health/ready")).await.text();
    assert!(!ready(&edge).await.contains(WORDS));
    // The same data on an edge whose `edge.toml` lacks the table.
    let launch = edge.kill();
    let folder = edge.data_dir().parent().unwrap().to_owned();
    let config = std::fs::read_to_string(folder.join("edge.toml")).unwrap();
    std::fs::write(folder.join("edge.toml"), config.replace("[runner]\nenabled = true", "")).unwrap();
    let edge = edge.started_again(launch).await;

    let short = version.short();
    let logged = || {
        let log = std::fs::read_to_string(folder.join("edge.log")).unwrap();
        log.lines().filter(|line| line.contains(WORDS)).map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("it is logged", async || !logged().is_empty()).await;
    let lines = logged();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    for part in ["WARN", "shop", "prod", &short, "write enabled = true below [runner] in edge.toml"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let text = ready(&edge).await;
    assert!(text.starts_with("ready\n"), "{text}");
    assert!(text.contains(&format!("backend: version {short} of shop in prod {WORDS}\n")), "{text}");
    assert!(status(&edge, "shop").await.runner_off);
    assert!(!status(&edge, "blog").await.runner_off && !text.contains("blog"));
    let examine = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devanture-edge"));
        command.args(["doctor", "--json", "--config", "edge.toml"]).current_dir(&folder).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(examine).await.unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = found["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "backends").unwrap();
    assert_eq!((&found["level"], output.status.code()), (&"fail".into(), Some(1)), "{found}");
    assert!(found["found"].as_str().unwrap().contains(WORDS), "{found}");
    let advice = found["advice"].as_str().unwrap().to_owned();
    // A push is refused with the same advice.
    let refused = edge.push_backend(edge.admin_token(), ("shop", "prod"), &backend).await.unwrap_err();
    assert_eq!((refused.code, refused.hint), (Code::RunnerOff, Some(advice)));
    edge.stop().await;
}
