//! Routes to names with silent name servers, and the resolver of routes.

use std::time::Duration;

use devanture_config::api::Scope;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::attacks::world::push;
use crate::proxy::dns_server::{Dns, DnsBehavior};
use crate::support::{Got, RunningEdge, edge, got, manifest};

/// Generous: only a hanging test takes so long.
const HANGS: Duration = Duration::from_secs(120);

async fn asking(dns: &Dns) -> RunningEdge {
    edge().with_toml(&format!("[dns]\nservers = [\"{}\"]", dns.address)).start().await
}

/// Manifest of a file and of routes to `names` unique names.
fn routed(number: usize, names: usize) -> Value {
    let mut manifest = serde_json::to_value(manifest(&[("index.html", b"home")])).unwrap();
    let route = |name| json!({ "path": format!("/r{name}"), "to": format!("http://n{name}.m{number}.example.org") });
    manifest["base"] = json!({ "routes": (0..names).map(route).collect::<Vec<_>>() });
    json!({ "manifest": manifest })
}

async fn dry_run(edge: &RunningEdge, token: &str, app: &str, body: &Value) -> Got {
    let path = format!("/v1/apps/{app}/environments/prod/deploys?dry_run=true");
    got(edge.ask(Method::POST, &path, token).json(body)).await
}

#[tokio::test]
async fn routes_are_checked_by_the_name_servers_that_connections_ask() {
    let dns = Dns::start(DnsBehavior::at(&["127.0.0.1"])).await;
    let edge = asking(&dns).await;
    push(&edge, "shop", &[("index.html", b"home")], "").await;
    let token = edge.token_for(Scope::Push, Some("shop"), None).await;
    let refused = dry_run(&edge, &token, "shop", &routed(0, 1)).await;
    assert_eq!(refused.problem().code.as_str(), "upstream_forbidden");
    dns.set(DnsBehavior::at(&["8.8.8.8"]));
    let taken = dry_run(&edge, &token, "shop", &routed(0, 1)).await;
    assert!(taken.status.is_success(), "{}", taken.text());
    edge.stop().await;
}

#[tokio::test]
async fn law_11_names_whose_name_server_says_nothing_hold_up_no_push() {
    let dns = Dns::start(DnsBehavior::Silent).await;
    let edge = asking(&dns).await;
    push(&edge, "greedy", &[("index.html", b"home")], "").await;
    let token = edge.token_for(Scope::Push, Some("greedy"), None).await;
    let (bodies, toml) =
        ((0..24).map(|number| routed(number, 100)), "[[routes]]\npath = \"/api/*\"\nto = \"http://api.example.org\"\n");
    let bodies: Vec<Value> = bodies.collect();
    let greedy = join_all(bodies.iter().map(|body| dry_run(&edge, &token, "greedy", body)));
    let (answers, ()) =
        timeout(HANGS, async { tokio::join!(greedy, push(&edge, "other", &[("index.html", b"other")], toml)) })
            .await
            .expect("pushes end, whatever DNS does");
    assert!(dns.questions() > 0, "the edge's own name server is asked");
    for answer in answers {
        assert!(answer.status.is_success(), "a name that does not resolve in time passes: {}", answer.text());
    }
    assert_eq!(edge.get("other.localhost", "/").await.text(), "other");
    edge.stop().await;
}
