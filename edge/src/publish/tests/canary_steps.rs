//! Tests of canaries with a plan: they are compared with the live version while a step fails, and while they are
//! finished.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::Lock;
use devanture_config::edge_toml::Watch;
use devanture_config::{AppName, PlaceName, VersionId};
use http::StatusCode;
use serde_json::json;
use tokio::sync::oneshot;

use super::collections::world::{World, name, world};
use crate::catalog::{Change, Commit};
use crate::ledger::Actor;
use crate::records::{self, LivePointer};
use crate::switch::{Switcher, Windows};

/// A canary that half of the visitors get, and whose next step is due.
struct Due {
    _folder: tempfile::TempDir,
    world: World,
    app: AppName,
    prod: PlaceName,
    live: VersionId,
}

async fn due(next_share: u8) -> Due {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, prod) = (name(0), PlaceName::prod());
    let version = world.push(&app, &[1].into()).await.unwrap().version;
    let live = world.push(&app, &[2].into()).await.unwrap().version;
    let plan = json!({ "shares": [50, next_share], "every_s": 600 });
    let begins = serde_json::from_value(json!({ "version": version, "plan": plan })).unwrap();
    world.publisher.switcher.set_canary(&Actor::local(), (&app, &prod), begins).await.unwrap();
    let due = Due { _folder: folder, world, app, prod, live };
    let mut pointer = due.pointer().await;
    pointer.canary.as_mut().unwrap().next_ms = Some(0);
    let revision = due.put(records::live_key(&due.app, &due.prod), &pointer).await;
    due.switcher().ledger.live.wait_for(revision).await;
    due
}

impl Due {
    fn switcher(&self) -> &Arc<Switcher> {
        &self.world.publisher.switcher
    }

    async fn put(&self, key: String, record: &impl serde::Serialize) -> u64 {
        let changes = vec![Change::Put(key, records::write(record).unwrap())];
        self.world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap()
    }

    async fn pointer(&self) -> LivePointer {
        let key = records::live_key(&self.app, &self.prod);
        records::read(&key, &self.world.catalog.get(&key).await.unwrap().unwrap()).unwrap()
    }

    /// The canary fails for every other visitor, and the live version for none.
    fn breaks(&self) {
        let (_, _, current) = self.switcher().ledger.live.canaries().remove(0);
        let (live, canary) = (current.side.as_ref().unwrap(), current.canary.as_ref().unwrap());
        for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR].repeat(100) {
            live.count(StatusCode::OK, Duration::ZERO);
            canary.next.side.as_ref().unwrap().count(status, Duration::ZERO);
        }
    }

    async fn assert_aborted(&self) {
        let pointer = self.pointer().await;
        assert_eq!((pointer.version, pointer.canary), (self.live, None));
    }
}

/// Nobody looked at its errors for half a minute after each step that failed.
#[tokio::test]
async fn a_canary_that_breaks_is_aborted_also_where_its_step_has_failed_a_moment_ago() {
    let due = due(75).await;
    let lock = Lock { since_ms: 1, who: "anna".to_owned(), reason: None };
    due.put(records::lock_key(&due.app, &due.prod), &lock).await;
    let before = due.pointer().await;
    let mut windows = Windows::default();
    due.switcher().look_at_canaries(&mut windows).await;
    assert_eq!(due.pointer().await, before, "a lock stops the step");
    due.breaks();
    due.switcher().look_at_canaries(&mut windows).await;
    due.assert_aborted().await;
}

/// It was begun again every half a minute, and nobody looked at the errors meanwhile.
#[tokio::test]
async fn a_canary_is_finished_once_and_aborted_where_it_breaks_before_its_end() {
    let due = due(100).await;
    let (reached, is_reached) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel::<()>();
    due.world.overtaken.before(&records::live_key(&due.app, &due.prod), move |_commit| {
        Box::pin(async move {
            reached.send(()).unwrap();
            goes_on.await.unwrap();
        })
    });
    let (switcher, mut windows) = (due.switcher(), Windows::default());
    switcher.look_at_canaries(&mut windows).await;
    is_reached.await.unwrap();
    let under_way = switcher.tasks.len();
    // It takes an hour.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_600)).await;
    tokio::time::resume();
    switcher.look_at_canaries(&mut windows).await;
    assert_eq!(switcher.tasks.len(), under_way);
    due.breaks();
    switcher.look_at_canaries(&mut windows).await;
    due.assert_aborted().await;
    go_on.send(()).unwrap();
    switcher.tasks.close();
    switcher.tasks.wait().await;
    due.assert_aborted().await;
}

#[tokio::test]
async fn canaries_are_watched_by_the_settings_that_were_set_last() {
    let due = due(75).await;
    // It takes no step, so that nothing but the comparison changes it.
    let lock = Lock { since_ms: 1, who: "anna".to_owned(), reason: None };
    due.put(records::lock_key(&due.app, &due.prod), &lock).await;
    let (publisher, mut windows) = (&due.world.publisher, Windows::default());
    due.switcher().look_at_canaries(&mut windows).await;
    due.breaks();
    let before = due.pointer().await;
    publisher.set_watch(Watch { requests_min: u64::MAX, ..Watch::default() });
    due.switcher().look_at_canaries(&mut windows).await;
    assert_eq!(due.pointer().await, before, "too few requests to say anything");
    publisher.set_watch(Watch::default());
    due.switcher().look_at_canaries(&mut windows).await;
    due.assert_aborted().await;
}
