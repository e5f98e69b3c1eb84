//! Pins and versions with protected paths.

use http::StatusCode;

use super::{ONE, PIN, THREE, TWO, Visitor, live, pinned};
use crate::support::{Files, edge};

#[tokio::test]
async fn what_is_kept_from_strangers_now_is_seen_on_no_earlier_version() {
    let edge = edge().start().await;
    let open: Files<'_> = &[ONE[0], ONE[1], ONE[2]];
    let one = live(&edge, open).await;
    let mut visitor = Visitor::new(&edge).await;
    let guarded: Files<'_> = &[TWO[0], TWO[1], ONE[2], ("_headers", b"/data.json\n  Basic-Auth: ada:secret\n")];
    live(&edge, guarded).await;
    // A visitor can forge the cookie.
    assert_eq!(visitor.cookies[PIN].split('.').next().unwrap(), one.short());
    assert_eq!(visitor.get(&edge, "/data.json").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(visitor.sees(&edge).await, "two");
    assert_eq!(pinned(&edge).await, []);
    // Pins work as usual between versions that protect the same paths for the same accounts.
    live(&edge, &[THREE[0], THREE[1], guarded[3]]).await;
    assert_eq!(visitor.sees(&edge).await, "two");
    assert_eq!(visitor.get(&edge, "/data.json").await.status, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}
