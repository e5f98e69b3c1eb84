//! Recent traffic of an environment: by version and time step, with the switches in between.

use std::collections::BTreeMap;

use devanture_config::api::{DeployOptions, Scope, Traffic};
use devanture_config::problem::Code;
use http::{Method, StatusCode};

use super::backend::dead;
use super::gate::push;
use crate::support::{RunningEdge, edge, got};

const FIRST: &[(&str, &[u8])] = &[("index.html", b"first")];
const SECOND: &[(&str, &[u8])] = &[("index.html", b"the second")];
const PATH: &str = "/v1/apps/shop/environments/prod/traffic";

async fn traffic(edge: &RunningEdge, query: &str) -> Traffic {
    let answer = got(edge.api(Method::GET, &format!("{PATH}{query}"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

async fn visit(edge: &RunningEdge, path: &str, times: usize) {
    for _ in 0..times {
        edge.get("shop.localhost", path).await;
    }
}

/// Sums over all steps of a version.
#[derive(Debug, PartialEq, Eq, Default)]
struct Sums {
    requests: u64,
    errors: u64,
    client_errors: u64,
    bytes: u64,
}

fn sums(traffic: &Traffic) -> BTreeMap<String, Sums> {
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    for version in traffic.points.iter().flat_map(|point| &point.versions) {
        let sum = sums.entry(version.version.clone()).or_default();
        sum.requests += version.requests;
        sum.errors += version.errors;
        sum.client_errors += version.client_errors;
        sum.bytes += version.bytes;
    }
    sums
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chart_has_what_each_version_answered_and_when_another_one_went_live() {
    let edge = edge().in_a_process().start().await;
    let routed = format!("[[routes]]\npath = \"/api/*\"\nto = \"http://{}\"\n", dead());
    let first = push(&edge, "prod", &routed, DeployOptions::default(), FIRST).await.unwrap();
    visit(&edge, "/", 3).await;
    visit(&edge, "/missing.js", 1).await;
    visit(&edge, "/api/x", 2).await;
    let without_routes = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    let second = push(&edge, "prod", "", without_routes, SECOND).await.unwrap();
    visit(&edge, "/", 5).await;
    let found = traffic(&edge, "").await;
    assert_eq!((found.step_s, found.missing.len()), (60, 0));
    let sums = sums(&found);
    let (one, two) = (&sums[&first.version.to_string()], &sums[&second.version.to_string()]);
    assert_eq!((one.requests, one.errors, one.client_errors), (6, 2, 1), "{sums:?}");
    let bytes = 5 * SECOND[0].1.len() as u64;
    assert_eq!(*two, Sums { requests: 5, bytes, ..Sums::default() });
    let latencies = found.points.iter().flat_map(|point| &point.versions).map(|version| version.latency_ms);
    assert!(latencies.clone().count() >= 2 && latencies.clone().all(|all| all.p50 > 0.0 && all.p50 <= all.p99));
    let switches: Vec<_> = found.switches.iter().map(|switch| (switch.version, Some(switch.deploy.clone()))).collect();
    assert_eq!(switches, [(first.version, first.deploy), (second.version, second.deploy)]);
    assert!(found.points.iter().all(|point| point.at_ms >= found.from_ms && point.at_ms < found.to_ms));
    // Longer steps contain the same requests, and none from before the app's creation.
    let longer = traffic(&edge, "?step=3600").await;
    assert_eq!((longer.step_s, self::sums(&longer)), (3_600, sums));
    let earlier = traffic(&edge, "?from=0&to=86400000").await;
    assert_eq!((earlier.points.len(), earlier.switches.len()), (0, 0));
    // The traffic of another environment, or of an earlier app of the same name, is absent.
    assert_eq!(traffic(&edge, "").await.points.len(), found.points.len());
    let staging = got(edge.api(Method::GET, "/v1/apps/shop/environments/staging/traffic")).await;
    assert_eq!(staging.json::<Traffic>().points, []);
    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/shop?purge=true")).await.status, StatusCode::OK);
    push(&edge, "prod", "", DeployOptions::default(), SECOND).await.unwrap();
    assert_eq!(traffic(&edge, "").await.points, []);
    edge.stop().await;
}

#[tokio::test]
async fn a_chart_is_for_those_who_may_read_the_environment_and_takes_numbers() {
    let edge = edge().with_app("shop", FIRST).start().await;
    for query in ["?from=x", "?to=-1", "?step=0", "?step=1.5", "?from=1&from=2", "?unknown=1"] {
        let answer = got(edge.api(Method::GET, &format!("{PATH}{query}"))).await;
        assert_eq!(answer.code(), Code::BadRequest, "{query}");
    }
    let most = u64::MAX;
    traffic(&edge, &format!("?from={most}&to={most}&step={most}")).await;
    traffic(&edge, &format!("?from=0&to={most}&step=1")).await;
    let staging = edge.token_for(Scope::Admin, Some("shop"), Some("staging")).await;
    assert_eq!(got(edge.ask(Method::GET, PATH, &staging)).await.code(), Code::Forbidden);
    assert_eq!(got(edge.api(Method::GET, "/v1/apps/no/environments/prod/traffic")).await.code(), Code::NotFound);
    edge.stop().await;
}
