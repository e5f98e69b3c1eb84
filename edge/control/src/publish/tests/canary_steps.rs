//! Tests of canaries with a plan, compared with the live version during failing steps and during the completion.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::HostnameRequest;
use devanture_config::edge_toml::Watch;
use devanture_config::{AppName, HostPattern, PlaceName, VersionId};
use http::StatusCode;
use serde_json::json;
use tokio::sync::oneshot;

use super::collections::world::{World, manifest, name, world};
use crate::ledger::Actor;
use crate::switch::{Switcher, Windows};
use devanture_store::blobs::Key;
use devanture_store::catalog::{Change, Commit};
use devanture_store::records::sessions::confirmations_key;
use devanture_store::records::{self, LivePointer};

/// A canary for half of the visitors, with a due step.
struct Due {
    _folder: tempfile::TempDir,
    world: World,
    app: AppName,
    prod: PlaceName,
    live: VersionId,
}

async fn due(next_share: u8) -> Due {
    due_of(&Actor::local(), next_share, None).await
}

/// As `due`, for a version with a hostname stored by an admin of every app.
async fn due_of(beginner: &Actor, next_share: u8, listed: Option<&HostPattern>) -> Due {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, prod) = (name(0), PlaceName::prod());
    let mut version = world.push(&app, &[1].into()).await.unwrap().version;
    let live = world.push(&app, &[2].into()).await.unwrap().version;
    let due = Due { _folder: folder, world, app, prod, live };
    if let Some(host) = listed {
        let record = due.world.catalog.get(&records::version_key(&due.app, &version)).await.unwrap().unwrap().value;
        let mut listing = manifest(&[1].into());
        listing.base.hostnames = Some(vec![host.clone()]);
        version = listing.id();
        due.world.blobs.put(Key::Manifest(version), listing.canonical().into()).await.unwrap();
        let changes = vec![Change::Put(records::version_key(&due.app, &version), record)];
        due.world.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    }
    let plan = json!({ "shares": [50, next_share], "every_s": 600 });
    let begins = serde_json::from_value(json!({ "version": version, "plan": plan })).unwrap();
    due.switcher().set_canary(beginner, (&due.app, &due.prod), begins).await.unwrap();
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

    /// Makes the canary fail for every other visitor, and the live version for none.
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

/// Errors were once ignored for half a minute after each failed step.
#[tokio::test]
async fn a_canary_that_breaks_is_aborted_also_where_its_step_has_failed_a_moment_ago() {
    let due = due(75).await;
    let lock = records::LockRecord { since_ms: 1, who: "anna".to_owned(), reason: None };
    due.put(records::lock_key(&due.app, &due.prod), &lock).await;
    let before = due.pointer().await;
    let mut windows = Windows::default();
    due.switcher().look_at_canaries(&mut windows).await;
    assert_eq!(due.pointer().await, before, "a lock stops the step");
    due.breaks();
    due.switcher().look_at_canaries(&mut windows).await;
    due.assert_aborted().await;
}

/// The completion was once restarted every half minute, and errors were ignored meanwhile.
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
    // The completion takes an hour.
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
    // The lock blocks steps, so that only the comparison can change the canary.
    let lock = records::LockRecord { since_ms: 1, who: "anna".to_owned(), reason: None };
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

/// Completes a canary whose version lists a name below a wildcard gained by another app's `prod` meanwhile. Returns
/// true if completed, and true if the name is owned; `unconfirmed` is `None` for an earlier release.
async fn finished_below_a_wildcard(unconfirmed: Option<bool>) -> (bool, bool) {
    let [host, wildcard]: [HostPattern; 2] = ["www.example.org", "*.example.org"].map(|name| name.parse().unwrap());
    let beginner = Actor { unconfirmed: unconfirmed == Some(true), ..Actor::local() };
    let due = due_of(&beginner, 100, Some(&host)).await;
    if unconfirmed.is_none() {
        let mut pointer = due.pointer().await;
        pointer.canary.as_mut().unwrap().begun_with = None;
        let revision = due.put(records::live_key(&due.app, &due.prod), &pointer).await;
        due.switcher().ledger.live.wait_for(revision).await;
    }
    let other = name(1);
    due.world.push(&other, &[3].into()).await.unwrap();
    let (environments, request) = (&due.world.publisher.environments, HostnameRequest::default());
    environments.hostnames.set_hostname(&Actor::local(), &other, &due.prod, &wildcard, &request, false).await.unwrap();
    due.put(confirmations_key(&other), &json!({ "confirm": ["promote"] })).await;
    due.switcher().look_at_canaries(&mut Windows::default()).await;
    due.switcher().tasks.close();
    due.switcher().tasks.wait().await;
    let given = due.world.catalog.get(&records::hostname_key(&host)).await.unwrap();
    (due.pointer().await.canary.is_none(), given.is_some())
}

/// The last step once acted with the rights of local clients.
#[tokio::test]
async fn the_last_step_of_a_canary_takes_no_hostname_that_its_beginner_might_not_take() {
    let (session, token, earlier_release) = tokio::join!(
        finished_below_a_wildcard(Some(true)),
        finished_below_a_wildcard(Some(false)),
        finished_below_a_wildcard(None),
    );
    assert_eq!((session, token, earlier_release), ((false, false), (true, true), (false, false)));
}
