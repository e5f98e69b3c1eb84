//! Pins of many visitors to ten versions, with concurrent requests.

use devanture_config::VersionId;
use devanture_config::api::Unpinned;
use futures_util::future::join_all;
use http::Method;

use super::{Visitor, live, pinned};
use crate::support::{RunningEdge, edge, got};

/// Versions with pinned visitors at the same time.
const VERSIONS: usize = 10;
const VISITORS_OF_EACH: usize = 200;
/// Number of concurrent requests.
const TOGETHER: usize = 50;

/// Makes the version of a number live.
async fn switched(edge: &RunningEdge, number: usize) -> VersionId {
    let (page, data) = (text(number), number.to_string());
    live(edge, &[("index.html", page.as_bytes()), ("data.json", data.as_bytes())]).await
}

fn text(number: usize) -> String {
    format!("version {number}")
}

/// Checks the version that each visitor sees, by the version of the visitor's first page.
async fn all_see(edge: &RunningEdge, visitors: &mut [(usize, Visitor)], expected: impl Fn(usize) -> usize) {
    for some in visitors.chunks_mut(TOGETHER) {
        let asked = some.iter_mut().map(async |(came, visitor)| (*came, visitor.sees(edge).await));
        for (came, seen) in join_all(asked).await {
            assert_eq!(seen, text(expected(came)), "of a visitor who came to version {came}");
        }
    }
}

#[tokio::test]
async fn two_thousand_visitors_stay_on_ten_versions_through_switches_and_a_restart_until_they_are_let_go() {
    let edge = edge().with_limit("pinned_versions_max", 10).start().await;
    let mut visitors = Vec::new();
    let mut versions = Vec::new();
    for number in 0..VERSIONS {
        versions.insert(0, switched(&edge, number).await);
        for _ in 0..VISITORS_OF_EACH / TOGETHER {
            let come = (0..TOGETHER).map(|_| Visitor::new(&edge));
            visitors.extend(join_all(come).await.into_iter().map(|visitor| (number, visitor)));
        }
    }
    // From here on, visitors of different versions send concurrent requests.
    let mut turns: Vec<_> = visitors.into_iter().enumerate().collect();
    turns.sort_by_key(|(turn, _)| (turn % VISITORS_OF_EACH, *turn));
    let mut visitors: Vec<_> = turns.into_iter().map(|(_, visitor)| visitor).collect();
    switched(&edge, VERSIONS).await;
    assert_eq!(pinned(&edge).await, versions);
    all_see(&edge, &mut visitors, |came| came).await;
    let edge = edge.restart().await;
    assert_eq!(pinned(&edge).await, versions);
    all_see(&edge, &mut visitors, |came| came).await;
    // One version above the limit: the oldest version is released, and its visitors get the live version.
    for (_, visitor) in visitors.iter_mut().filter(|(came, _)| *came == 0) {
        visitor.was_here_before(20);
    }
    let last = VERSIONS + 1;
    switched(&edge, last).await;
    all_see(&edge, &mut visitors, |came| if came == 0 { last } else { came }).await;
    let unpinned = got(edge.api(Method::DELETE, "/v1/apps/shop/environments/prod/pins")).await.json::<Unpinned>();
    assert_eq!((unpinned.versions.len(), &unpinned.versions[1..]), (VERSIONS, &versions[..VERSIONS - 1]));
    all_see(&edge, &mut visitors, |_| last).await;
    assert!(pinned(&edge).await.is_empty());
    edge.stop().await;
}
