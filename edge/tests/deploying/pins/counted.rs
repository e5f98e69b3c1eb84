//! Pinned visitors in metrics and in reports of deletions.

use devanture_config::api::{DeleteReport, PlaceDeleteReport};
use http::Method;

use super::{HOST, ONE, TWO, Visitor, live, pinned};
use crate::support::{RunningEdge, edge, eventually, got};

/// Value of the metric's only series; `None` without a series.
async fn held_requests(edge: &RunningEdge) -> Option<String> {
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    let series = "devanture_held_requests_total{app=\"shop\",environment=\"prod\"} ";
    let lines: Vec<&str> = metrics.lines().filter(|line| line.starts_with("devanture_held_requests_total")).collect();
    assert!(lines.len() <= 1, "{lines:?}");
    lines.first().map(|line| line.strip_prefix(series).unwrap().to_owned())
}

#[tokio::test]
async fn requests_of_visitors_who_are_held_on_an_earlier_version_are_counted_and_no_others() {
    let edge = edge().in_a_process().start().await;
    live(&edge, ONE).await;
    let mut visitor = Visitor::new(&edge).await;
    assert_eq!(visitor.sees(&edge).await, "one");
    assert_eq!(held_requests(&edge).await, None, "the version is live");
    live(&edge, TWO).await;
    assert_eq!(edge.get(HOST, "/").await.text(), "two");
    Visitor::new(&edge).await.sees(&edge).await;
    visitor.sees(&edge).await;
    visitor.fetch(&edge, "/data.json").await;
    visitor.fetch(&edge, "/missing").await;
    eventually("each counts once", async || held_requests(&edge).await.as_deref() == Some("3")).await;
    edge.stop().await;
}

async fn delete<T: serde::de::DeserializeOwned>(edge: &RunningEdge, path: &str) -> T {
    got(edge.api(Method::DELETE, &format!("/v1/apps/shop{path}"))).await.json()
}

#[tokio::test]
async fn a_deletion_names_where_visitors_are_held_on_what_goes() {
    let edge = edge().start().await;
    let one = live(&edge, ONE).await;
    let mut visitor = Visitor::new(&edge).await;
    let two = live(&edge, TWO).await;
    for path in ["?dry_run=true", "/environments/prod?dry_run=true"] {
        assert_eq!(delete::<PlaceDeleteReport>(&edge, path).await.pinned, [one], "{path}");
    }
    for query in ["?dry_run=true", ""] {
        let report: DeleteReport = delete(&edge, &format!("/versions/{one}{query}")).await;
        let held: Vec<&str> = report.held_in.iter().map(|name| name.as_str()).collect();
        assert_eq!((report.version, held), (one, vec!["prod"]), "{query}");
    }
    assert_eq!((visitor.sees(&edge).await.as_str(), pinned(&edge).await), ("two", vec![]));
    let three = live(&edge, &[("index.html", b"three")]).await;
    assert_eq!(pinned(&edge).await, [two]);
    live(&edge, &[("index.html", b"four")]).await;
    got(edge.api(Method::DELETE, "/v1/apps/shop/environments/prod/pins")).await;
    for version in [two, three] {
        let report: DeleteReport = delete(&edge, &format!("/versions/{version}?dry_run=true")).await;
        assert!(report.held_in.is_empty(), "nobody is held on it any longer");
    }
    let gone: PlaceDeleteReport = delete(&edge, "/environments/prod").await;
    assert!(gone.pinned.is_empty(), "{gone:?}");
    edge.stop().await;
}
