//! Log of live versions: one entry for each move of the pointer, each with the hash of the previous entry.

use devanture_config::api::{BrokenLog, DeployKind, check_live_log};
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{APP, ONE, THREE, TWO, key, live_log, post, push, want};
use crate::support::{edge, got};

#[tokio::test]
async fn every_move_of_the_pointer_is_an_entry_that_follows_the_one_before() {
    let edge = edge().start().await;
    let ada = key("ada");
    let one = push(&edge, ONE, &[]).await.unwrap().version;
    let two = push(&edge, TWO, &[&ada]).await.unwrap().version;
    // A push without a switch adds no entry.
    push(&edge, TWO, &[]).await.unwrap();
    want(&edge, &[&ada], 1).await;
    push(&edge, THREE, &[]).await.unwrap_err();
    let path = format!("/v1/apps/{APP}/environments/prod/settings");
    let set = json!({ "set": { "A": { "value": "b" } } });
    assert_eq!(got(edge.api(Method::PATCH, &path).json(&set)).await.status, StatusCode::OK);
    let three = push(&edge, THREE, &[&ada]).await.unwrap().version;
    post(&edge, "rollback", json!({})).await;
    let edge = edge.restart().await;
    let log = live_log(&edge, "").await;
    let kinds: Vec<_> = log.entries.iter().map(|entry| (entry.number, entry.kind, entry.version)).collect();
    use DeployKind::{Push, Rollback, Settings};
    assert_eq!(kinds, [(1, Push, one), (2, Push, two), (3, Settings, two), (4, Push, three), (5, Rollback, two)]);
    let fingerprint = vec![ada.public().fingerprint()];
    assert_eq!(log.entries[0].signed_by, Vec::<String>::new());
    assert_eq!((&log.entries[1].signed_by, &log.entries[4].signed_by), (&fingerprint, &fingerprint));
    assert_eq!((log.entries[1].settings, log.entries[2].settings), (0, 1));
    let place = (&log.app, &log.environment);
    assert_eq!(check_live_log(place, None, &log.entries), Ok(()));
    let mut changed = log.entries.clone();
    changed[1].who = "somebody else".to_owned();
    assert_eq!(check_live_log(place, None, &changed), Err(BrokenLog::Changed(2)));
    // Paged reading returns the same entries.
    let first = live_log(&edge, "?limit=2").await;
    assert_eq!((first.entries.as_slice(), first.next.as_deref()), (&log.entries[..2], Some("2")));
    let second = live_log(&edge, "?limit=3&after=2").await;
    assert_eq!((second.entries.as_slice(), second.next), (&log.entries[2..], None));
    let bad = got(edge.api(Method::GET, &format!("/v1/apps/{APP}/environments/prod/live-log?after=x"))).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    edge.stop().await;
}

#[tokio::test]
async fn the_oldest_entries_go_and_the_chain_goes_on() {
    let edge = edge().with_limit("live_log_entries_max", 3).start().await;
    for round in 0..6 {
        push(&edge, if round % 2 == 0 { ONE } else { TWO }, &[]).await.unwrap();
    }
    let log = live_log(&edge, "").await;
    assert_eq!(log.entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [4, 5, 6]);
    assert_eq!(check_live_log((&log.app, &log.environment), None, &log.entries), Ok(()));
    assert!(log.entries[0].previous.is_some());
    edge.stop().await;
}
