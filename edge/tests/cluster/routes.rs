//! Routes to another node: to the API, the visitors' listener or the cluster listener.

use std::net::SocketAddr;

use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use super::world::{APP, HOST, World, comes, is_installed, nodes, push};
use crate::proxy::dns_server::{Dns, DnsBehavior};
use crate::support::{Files, Got, RunningEdge, got, manifest};

const FILES: Files<'static> = &[("index.html", b"home")];

/// First response to an admin's push of a route to `to`.
async fn begun(node: &RunningEdge, to: &str) -> Got {
    let mut manifest = serde_json::to_value(manifest(FILES)).unwrap();
    manifest["base"] = json!({ "routes": [{ "path": "/x/*", "to": to }] });
    let path = format!("/v1/apps/{APP}/environments/prod/deploys?dry_run=true");
    got(node.api(Method::POST, &path).json(&json!({ "manifest": manifest }))).await
}

/// Listeners of a node: API, visitors and other nodes.
async fn listeners(node: &RunningEdge, name: &str) -> [SocketAddr; 3] {
    let list = nodes(node).await;
    let advertise = list.iter().find(|one| one.name == name).and_then(|one| one.advertise.clone()).unwrap();
    [node.admin(), node.https(), advertise.parse().unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_to_a_listener_of_any_node_is_refused_by_every_node_as_one_to_its_own() {
    if !is_installed() {
        return;
    }
    let mut world = World::start_with(2, 1, |_, setup| setup.with_toml("[upstreams]\nallow = [\"0.0.0.0/0\"]")).await;
    push(&world.nodes[0], 1).await;
    // Running nodes learn of a node that joins later.
    let late = world.setup(2, &world.etcd.endpoints()).start().await;
    world.nodes.push(late);
    world.is_complete(3).await;
    for by in &world.nodes {
        for (index, of) in world.nodes.iter().enumerate() {
            for address in listeners(of, &format!("edge-{}", index + 1)).await {
                for to in [format!("http://{address}"), format!("https://[::ffff:127.0.0.1]:{}", address.port())] {
                    // A node learns of another node after a short delay.
                    comes("it is refused", async || begun(by, &to).await.status == StatusCode::UNPROCESSABLE_ENTITY)
                        .await;
                    let refused = begun(by, &to).await;
                    assert_eq!(refused.code(), Code::UpstreamForbidden, "{to}: {}", refused.text());
                }
            }
        }
        // Other ports on the machine of a node are reachable, but not the bucket.
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = begun(by, &format!("http://{}", other.local_addr().unwrap())).await;
        assert!(other.status.is_success(), "{}", other.text());
        let store = begun(by, &format!("http://{}", world.store.address)).await;
        assert_eq!(store.code(), Code::UpstreamForbidden, "{}", store.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_to_another_node_after_the_push_is_refused_at_the_connection() {
    if !is_installed() {
        return;
    }
    let dns = Dns::start(DnsBehavior::KnowsNoName).await;
    let world = World::start_with(2, 1, |_, setup| {
        setup.with_toml(&format!("[dns]\nservers = [\"{}\"]", dns.address)).with_limit("upstream_dns_ms_min", 10)
    })
    .await;
    let [first, second] = &world.nodes[..] else { panic!("two nodes") };
    let route = |of: &RunningEdge, name: &str| json!({ "path": format!("/{name}/*"), "to": format!("https://{name}.test:{}", of.admin().port()) });
    let mut manifest = manifest(FILES);
    manifest.base = serde_json::from_value(json!({ "routes": [route(first, "one"), route(second, "two")] })).unwrap();
    let begin =
        devanture_config::api::BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    let report = first.try_push(APP, "prod", begin, FILES).await.unwrap_or_else(|problem| panic!("{problem:#?}"));
    world.agrees_on(report.version).await;
    dns.set(DnsBehavior::at(&["127.0.0.1"]));
    for by in &world.nodes {
        for path in ["/one/v1/apps", "/two/v1/apps"] {
            comes("a connection to a node is refused", async || {
                let answer = got(by.visit(Method::GET, HOST, path).header("accept", "application/json")).await;
                // Until the names resolve, the error is `connect`; every other result is a failure.
                let (is_refused, text) = (answer.text().contains("refused-address"), answer.text());
                assert!(is_refused || text.contains("\"connect\""), "{path}: {} {text}", answer.status);
                is_refused
            })
            .await;
        }
    }
}
