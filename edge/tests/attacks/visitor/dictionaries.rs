//! Information that visitors gain by naming a dictionary: none about versions never live at the requested host.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use devanture_config::Digest;
use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport};
use http::Method;
use serde_json::json;

use crate::attacks::world::site;
use crate::support::{RunningEdge, edge, eventually, got};

/// Script of which each release changes one line.
fn script(release: usize) -> Vec<u8> {
    let hash = |line: usize| Digest::of(&line.to_le_bytes());
    let mark = |line: usize| if line == release { "!" } else { "" };
    (0..500)
        .map(|line| format!("export const f{line} = \"{}{}\";\n", hash(line), mark(line)))
        .collect::<String>()
        .into()
}

const PATH: &str = "/app.js";

async fn push(edge: &RunningEdge, environment: &str, release: usize, options: DeployOptions) -> DeployReport {
    let script = script(release);
    let files = &[("index.html", b"home".as_slice()), ("app.js", script.as_slice())];
    let begin = BeginDeploy { manifest: site(files, ""), source: Default::default(), options };
    edge.try_push("shop", environment, begin, files).await.unwrap()
}

/// Returns true if a visitor of `host` with a release of the script receives a delta.
async fn has_delta(edge: &RunningEdge, host: &str, release: usize) -> bool {
    let hash = base64::engine::general_purpose::STANDARD.encode(digest(&SHA256, &script(release)));
    let visit = edge.visit(Method::GET, host, PATH).header("available-dictionary", format!(":{hash}:"));
    let got = got(visit.header("accept-encoding", "br, dcz")).await;
    got.headers.get("content-encoding").is_some_and(|coding| coding == "dcz")
}

#[tokio::test]
async fn no_delta_confirms_the_guess_at_a_version_that_was_never_live() {
    let toml = "[compress]\ndictionary_versions = 1";
    let edge = edge().with_limit("delta_ms_max", 600_000).with_toml(toml).start().await;
    push(&edge, "prod", 1, DeployOptions::default()).await;
    push(&edge, "prod", 2, DeployOptions::default()).await;
    let live = push(&edge, "prod", 3, DeployOptions::default()).await;
    let stored = push(&edge, "prod", 4, DeployOptions { no_switch: true, ..DeployOptions::default() }).await;
    let alias = Some("embargo".parse().unwrap());
    let aliased = push(&edge, "preview", 5, DeployOptions { alias, ..DeployOptions::default() }).await;
    push(&edge, "staging", 6, DeployOptions::default()).await;
    let preview = format!("{}--shop.localhost", live.version.short());
    for host in ["shop.localhost", preview.as_str()] {
        for guess in [4, 5, 6] {
            assert!(!has_delta(&edge, host, guess).await, "{host} {guess}");
        }
    }
    // Deltas for visitors of older versions are created on demand, after the predicted deltas, which exist by now.
    eventually("a delta is made on demand", async || has_delta(&edge, "shop.localhost", 1).await).await;
    for host in ["shop.localhost", preview.as_str()] {
        for guess in [4, 5, 6] {
            assert!(!has_delta(&edge, host, guess).await, "{host} {guess}");
        }
    }
    // A preview reveals no live version of other hosts, past or present; only the preview's own version is public.
    let host = |report: &DeployReport| format!("{}--shop.localhost", report.version.short());
    let alias = "embargo--shop.localhost".to_owned();
    let previews = [(preview, 3), (host(&stored), 4), (host(&aliased), 5), (alias, 5)];
    let is_any = async || {
        for (host, own) in &previews {
            for guess in (1..=6).filter(|guess| guess != own) {
                if has_delta(&edge, host, guess).await {
                    return Some((host.clone(), guess));
                }
            }
        }
        None
    };
    assert_eq!(is_any().await, None);
    eventually("a delta is made on demand", async || has_delta(&edge, "staging--shop.localhost", 6).await).await;
    assert_eq!(is_any().await, None);
    edge.stop().await;
}

#[tokio::test]
async fn what_was_live_in_one_environment_is_a_dictionary_in_no_other() {
    let edge = edge().with_limit("delta_ms_max", 600_000).start().await;
    push(&edge, "prod", 1, DeployOptions::default()).await;
    push(&edge, "staging", 2, DeployOptions::default()).await;
    let promoted = push(&edge, "staging", 3, DeployOptions::default()).await;
    assert!(has_delta(&edge, "staging--shop.localhost", 2).await);
    let switch = edge.api(Method::POST, "/v1/apps/shop/environments/prod/promote").json(&json!({ "from": "staging" }));
    assert_eq!(got(switch).await.status, 200);
    eventually("visitors of the version before have a delta", async || has_delta(&edge, "shop.localhost", 1).await)
        .await;
    let preview = format!("{}--shop.localhost", promoted.version.short());
    for host in ["shop.localhost", preview.as_str()] {
        assert!(!has_delta(&edge, host, 2).await, "{host}");
    }
    assert!(!has_delta(&edge, "staging--shop.localhost", 1).await);
    assert!(has_delta(&edge, "staging--shop.localhost", 2).await);
    edge.stop().await;
}
