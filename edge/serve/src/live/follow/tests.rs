//! State deleted while the watch lagged is forgotten.

use super::*;
use crate::live::{Domains, Grace};
use devanture_base::telemetry;
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::gone;

/// Empty stores, an empty table, and a loader.
fn stores() -> (tempfile::TempDir, Arc<dyn catalog::Catalog>, Live, Loader) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
    let blobs = devanture_store::blobs::open(folder.path().to_owned()).unwrap();
    let domain = || "localhost".parse().unwrap();
    let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
    let loader = Loader::new(blobs, Arc::clone(&catalog), &devanture_config::limits::Limits::default());
    (folder, catalog, live, loader)
}

/// A follower behind a lagging watch reads the whole catalog again, and misses the deletions in between.
#[tokio::test]
async fn what_was_deleted_while_the_watch_lagged_is_forgotten() {
    let (_folder, catalog, live, loader) = stores();
    let key = records::alias_key(&"shop".parse().unwrap(), &"feature".parse().unwrap());
    let alias = AliasRecord {
        version: VersionId::of(b""),
        switched_ms: 0,
        begun: 0,
        who: String::new(),
        environment: None,
        expires_ms: None,
        halves_begun: None,
    };
    let alias = records::write(&alias).unwrap();
    let commit = async |change| {
        catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap();
    };
    commit(Change::Put(key.clone(), alias)).await;
    let remade = tokio::sync::broadcast::Sender::new(1);
    let follower = Follower::start(live.clone(), loader, remade.subscribe()).await.unwrap();
    assert!(live.serves("feature--shop.localhost"));
    commit(Change::Delete(key)).await;
    follower.read_all().await.unwrap();
    assert!(!live.serves("feature--shop.localhost"));
}

/// Deleted versions and ended pauses are forgotten too; withdrawn paths stay withdrawn.
#[tokio::test]
async fn versions_and_pauses_that_ended_while_the_watch_lagged_are_forgotten() {
    let (_folder, catalog, live, loader) = stores();
    let (app, prod, id): (AppName, _, _) = ("shop".parse().unwrap(), PlaceName::prod(), VersionId::of(b""));
    let version = records::version_key(&app, &id);
    let paused = records::paused_key(&app, &prod);
    let put = |key: &str, value: serde_json::Value| Change::Put(key.to_owned(), records::write(&value).unwrap());
    let commit = async |changes| catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let pointer = serde_json::json!({
        "version": id, "settings": 0, "switched_ms": 0, "deploy": "", "begun": 0, "position": ""
    });
    let pause = serde_json::json!({"since_ms": 0, "who": "", "allow": [], "retry_after_s": 60});
    commit(vec![
        put(&version, serde_json::json!({})),
        put(&records::live_key(&app, &prod), pointer),
        put(&paused, pause.clone()),
    ])
    .await;
    let remade = tokio::sync::broadcast::Sender::new(1);
    let follower = Follower::start(live.clone(), loader, remade.subscribe()).await.unwrap();
    let host = format!("{}--shop.localhost", id.short());
    let place = live.place(&app, &prod).unwrap();
    assert!(live.serves(&host) && place.paused().is_some());
    let gone = commit(vec![Change::Delete(version), Change::Delete(paused.clone())]).await;
    follower.read_all().await.unwrap();
    assert!(!live.serves(&host) && place.paused().is_none());
    let apply = async |change, revision| follower.apply(&FollowedChange::of(&change).unwrap(), revision).await;
    // A commit that arrives again, after a later one was read, changes nothing.
    apply(put(&paused, pause.clone()), gone + 2).await;
    apply(Change::Delete(paused.clone()), gone + 3).await;
    apply(put(&paused, pause), gone + 2).await;
    assert!(place.paused().is_none());
}

/// The next environment of that name showed what browsers had reported of the one before.
#[tokio::test]
async fn the_visitors_of_an_environment_that_is_purged_are_forgotten_and_those_of_one_that_is_restored_are_not() {
    let (_folder, catalog, live, loader) = stores();
    let (app, prod): (AppName, _) = ("purged".parse().unwrap(), PlaceName::prod());
    let put = |key: &str, value: serde_json::Value| Change::Put(key.to_owned(), records::write(&value).unwrap());
    let commit = async |changes| catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let report = serde_json::json!({
        "blocked": "/a.js", "destination": "script", "page": "/", "enforced": true,
        "count": 1, "first_ms": 1, "last_ms": 1
    });
    telemetry::keep_integrity_reports(1, 1_000);
    telemetry::note_integrity_reports("purged", "prod", vec![serde_json::from_value(report).unwrap()]);
    let remade = tokio::sync::broadcast::Sender::new(1);
    let follower = Follower::start(live.clone(), loader, remade.subscribe()).await.unwrap();
    tokio::spawn(follower.run());
    let deleted = gone::deleted_environment_key(&app, &prod);
    let pointer = serde_json::json!({
        "version": VersionId::of(b""), "settings": 0, "switched_ms": 0, "deploy": "", "begun": 0, "position": ""
    });
    let live_key = records::live_key(&app, &prod);
    let restored = vec![Change::Delete(deleted.clone()), put(&live_key, pointer)];
    for (ending, is_kept) in [(restored, true), (vec![Change::Delete(deleted.clone())], false)] {
        commit(vec![put(&deleted, serde_json::json!({})), Change::Delete(live_key.clone())]).await;
        live.wait_for(commit(ending).await).await;
        assert_eq!(telemetry::integrity_reports("purged", "prod").len(), usize::from(is_kept));
    }
}
