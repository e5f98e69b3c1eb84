//! Metrics of an edge with more apps than per-app series, and metrics of the node.

use http::{Method, StatusCode};

use crate::support::{RunningEdge, edge, eventually, got};

async fn metrics(edge: &RunningEdge) -> String {
    let answer = got(edge.api(Method::GET, "/metrics")).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.text()
}

/// Samples of a metric, without the name.
fn series<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))).collect()
}

fn sum(text: &str, name: &str) -> f64 {
    let value = |series: &str| series.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    series(text, name).into_iter().map(value).sum()
}

#[tokio::test]
async fn apps_beyond_the_limit_count_together_and_every_request_counts_once() {
    let edge = edge().in_a_process().with_limit("metrics_environments_max", 2).start().await;
    for app in ["a", "b", "c", "d"] {
        edge.push(app, &[("index.html", b"hi")]).await;
    }
    for (app, visits) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        for _ in 0..visits {
            assert_eq!(edge.get(&format!("{app}.localhost"), "/").await.status, StatusCode::OK);
        }
    }
    // A request counts once the last byte is written, possibly after the client has read the byte.
    for name in ["devanture_requests_total", "devanture_request_seconds_count"] {
        eventually("every request counts once", async || sum(&metrics(&edge).await, name) == 10.0).await;
    }
    let text = metrics(&edge).await;
    assert_eq!(sum(&text, "devanture_pushes_total"), 4.0);
    assert_eq!(sum(&text, "devanture_switches_total"), 4.0);
    for name in ["devanture_requests_total", "devanture_pushes_total", "devanture_app_memory_bytes"] {
        let apps: std::collections::BTreeSet<_> =
            series(&text, name).iter().map(|series| series.split('"').nth(1).unwrap().to_owned()).collect();
        assert!(apps.len() <= 3 && apps.contains("_other"), "{name}: {apps:?}");
    }
    assert!(series(&text, "devanture_requests_total").iter().all(|series| !series.ends_with(" 0")), "{text}");
    edge.stop().await;
}

#[tokio::test]
async fn only_listed_apps_have_series_and_none_where_the_list_is_empty() {
    for (list, expected) in [("[\"b\"]", &["_other", "b"][..]), ("[]", &["_other"])] {
        let edge = edge().in_a_process().with_toml(&format!("[metrics]\napps = {list}\n")).start().await;
        for app in ["a", "b"] {
            edge.push(app, &[("index.html", b"hi")]).await;
            edge.get(&format!("{app}.localhost"), "/").await;
        }
        eventually("both requests count", async || sum(&metrics(&edge).await, "devanture_requests_total") == 2.0).await;
        let text = metrics(&edge).await;
        let mut apps: Vec<_> = series(&text, "devanture_response_bytes_total");
        apps = apps.iter().map(|series| series.split('"').nth(1).unwrap()).collect();
        apps.sort_unstable();
        assert_eq!(apps, expected);
        edge.stop().await;
    }
}

#[tokio::test]
async fn the_node_is_described_by_its_process_its_disk_and_what_is_stored() {
    let edge = edge().in_a_process().start().await;
    edge.push("shop", &[("index.html", b"hi")]).await;
    let collected = got(edge.api(Method::POST, "/v1/gc")).await;
    assert_eq!(collected.status, StatusCode::OK, "{collected:?}");
    eventually("all kinds are counted", async || {
        metrics(&edge).await.contains("devanture_last_success_timestamp_seconds{task=\"stored\"}")
    })
    .await;
    let text = metrics(&edge).await;
    for name in [
        "devanture_apps",
        "devanture_build_info",
        "devanture_catalog_bytes",
        "devanture_disk_free_bytes",
        "devanture_disk_size_bytes",
        "devanture_environments",
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
    ] {
        assert!(sum(&text, name) > 0.0, "{name}: {text}");
    }
    for kind in ["blobs", "collected", "deltas", "manifests", "quarantine", "tmp", "variants"] {
        assert!(text.contains(&format!("devanture_stored_bytes{{kind=\"{kind}\"}} ")), "{kind}: {text}");
    }
    for queue in ["compression", "loads", "uploads"] {
        assert!(text.contains(&format!("devanture_queue_length{{queue=\"{queue}\"}} ")), "{queue}: {text}");
    }
    // The time of the last collection survives a restart.
    let edge = edge.restart().await;
    eventually("the last collection is remembered", async || {
        metrics(&edge).await.contains("devanture_last_success_timestamp_seconds{task=\"collection\"}")
    })
    .await;
    edge.stop().await;
}
