//! Follows the catalog: pools of live versions exist before the first request, and members set by the API take effect
//! immediately.

use std::sync::Arc;

use devanture_config::{AppName, PlaceName};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::registry::Registry;
use crate::live::{Current, Live};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Catalog, Record};
use devanture_store::records;
use devanture_store::records::follow::{Follow, FollowStep, FollowedCommit};
use devanture_store::records::table::{FollowedBy, RecordKind};
use devanture_store::records::upstreams::{MembersRecord, UPSTREAMS_PREFIX};

/// Follower of the catalog that keeps a registry current.
pub struct Following {
    registry: Registry,
    live: Live,
    catalog: Arc<dyn Catalog>,
    follow: Follow,
    /// Environments whose version was loaded after its pointer was known.
    shown: Receiver<(AppName, PlaceName)>,
}

impl Following {
    /// Brings `registry` in line with the catalog; `live` has the live versions, or reports each version once loaded.
    ///
    /// # Errors
    /// Fails if the catalog cannot be read.
    pub async fn start(registry: Registry, live: Live, catalog: Arc<dyn Catalog>) -> Result<Self, catalog::Error> {
        let (follow, shown) = (Follow::new(&*catalog, FollowedBy::Proxy).begun(), live.shown());
        let following = Self { registry, live, catalog, follow, shown };
        following.read_all().await?;
        Ok(following)
    }

    /// Follows the catalog until the catalog is closed.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                step = self.follow.next() => match step {
                    Some(FollowStep::Changes(commit)) => self.apply(&commit).await,
                    Some(FollowStep::ReadAll) => if let Err(error) = self.read_all().await {
                        tracing::error!(%error, "the catalog cannot be read: upstreams stay as they are");
                        self.follow.read_failed();
                    },
                    None => return,
                },
                shown = self.shown.recv() => match shown {
                    Ok((app, name)) => self.hold(&app, &name),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "the watch of what is live lagged: upstreams are read again");
                        self.follow.read_again();
                    }
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    async fn read_all(&self) -> Result<(), catalog::Error> {
        let mut known: Vec<(AppName, String, String)> = Vec::new();
        let mut revision = 0;
        let mut upstreams = Scan::new(&*self.catalog, UPSTREAMS_PREFIX);
        while let Some((key, record)) = upstreams.next().await? {
            self.set_members(&key, Some(&record));
            known.extend(names_of(&key));
            revision = record.revision.max(revision);
        }
        self.registry.forget_members_but(&known);
        let environments = self.live.environments();
        // The commits with the removals may have been missed.
        self.registry.release_but(&environments);
        for (app, name) in &environments {
            self.hold(app, name);
        }
        self.registry.applied(revision);
        Ok(())
    }

    async fn apply(&self, commit: &FollowedCommit) {
        let (mut switched, mut deleted) = (Vec::new(), Vec::new());
        for change in &commit.changes {
            match change.kind {
                RecordKind::LivePointer => switched.extend(change.place()),
                RecordKind::DeletedApp => deleted.extend(change.app()),
                RecordKind::Upstream => {
                    let value = change.value.clone();
                    let record = value.map(|value| Record { value, revision: commit.revision });
                    self.set_members(&change.key, record.as_ref());
                }
                _ => {}
            }
        }
        self.registry.applied(commit.revision);
        if !switched.is_empty() || !deleted.is_empty() {
            self.live.wait_for(commit.revision).await;
        }
        if !deleted.is_empty() {
            // Deleted or restored app: the live pointers themselves are unchanged.
            switched.extend(self.live.environments().into_iter().filter(|(app, _)| deleted.contains(app)));
        }
        for (app, name) in switched {
            self.hold(&app, &name);
        }
    }

    fn set_members(&self, key: &str, record: Option<&Record>) {
        let Some((app, place, name)) = names_of(key) else { return };
        match record.map(|record| records::read::<MembersRecord>(key, record)).transpose() {
            Ok(record) => self.registry.set_members(&app, &place, &name, record),
            Err(error) => tracing::error!(key, %error, "the members of an upstream cannot be read: they stay"),
        }
    }

    /// Retains the pools of an environment's live version; a deleted app retains none.
    fn hold(&self, app: &AppName, name: &PlaceName) {
        let place = self.live.place(app, name).filter(|_| !self.live.is_deleted(app));
        let pools_of = |side: &Arc<Current>| {
            let settings = side.settings.load().revision;
            let numbers = 0..side.version.upstreams.len();
            numbers.filter_map(|number| self.registry.pool_of(&side.version, number, settings)).collect::<Vec<_>>()
        };
        let sides = place.iter().flat_map(|place| {
            let pointed = place.pointed().map_or_else(Vec::new, |current| current.sides());
            pointed.into_iter().chain(place.all_pinned())
        });
        self.registry.hold(app, name.as_str(), sides.flat_map(|side| pools_of(&side)).collect());
    }
}

/// Parses app, environment and pool from a record's key.
fn names_of(key: &str) -> Option<(AppName, String, String)> {
    let (app, rest) = key.strip_prefix(UPSTREAMS_PREFIX)?.split_once('/')?;
    let (place, name) = rest.split_once('/')?;
    Some((app.parse().ok()?, place.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use devanture_config::limits::Limits;
    use devanture_config::manifest::FileEntry;
    use devanture_config::{Digest, Manifest};
    use serde_json::{Value, json};

    use super::super::address::Policy;
    use super::super::registry::RegistrySettings;
    use super::super::tls;
    use super::*;
    use crate::live::{Domains, Follower, Grace, Loader};
    use devanture_store::blobs::{self, Key};
    use devanture_store::catalog::{Change, Commit};
    use devanture_store::records::gone;

    fn put(key: String, value: &Value) -> Change {
        Change::Put(key, records::write(value).unwrap())
    }

    async fn commit(catalog: &dyn Catalog, changes: Vec<Change>) -> u64 {
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap()
    }

    /// Returns a catalog with a live version of `shop` with one backend, its follower, and the pools.
    async fn followed(folder: &std::path::Path) -> (Arc<dyn Catalog>, Live, Registry, Following) {
        let catalog = catalog::open(&folder.join("catalog.redb")).unwrap();
        let blobs = blobs::open(folder.to_owned()).unwrap();
        let (app, hash): (AppName, _) = ("shop".parse().unwrap(), Digest::of(b"one"));
        let page = FileEntry { hash, size: 3, media_type: None };
        let mut manifest = Manifest::of_files(BTreeMap::from([("index.html".parse().unwrap(), page)]));
        let routes = json!({ "prod": { "routes": [{ "path": "/api/*", "to": "http://127.0.0.1:1" }] } });
        manifest.env = serde_json::from_value(routes).unwrap();
        let id = manifest.id();
        blobs.put(Key::Blob(hash), "one".into()).await.unwrap();
        blobs.put(Key::Manifest(id), manifest.canonical().into()).await.unwrap();
        let stored = json!({ "stored_ms": 0, "who": "", "trusted": false, "source": {}, "files": 1, "bytes": 3 });
        let pointer = json!({
            "version": id, "settings": 0, "switched_ms": 0, "deploy": "", "begun": 0, "position": "",
        });
        let live_key = records::live_key(&app, &PlaceName::prod());
        let changes = vec![put(records::version_key(&app, &id), &stored), put(live_key, &pointer)];
        commit(&*catalog, changes).await;
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
        let loader = Loader::new(blobs, Arc::clone(&catalog), &Limits::default());
        let remade = tokio::sync::broadcast::Sender::new(1);
        let follower = Follower::start(live.clone(), loader, remade.subscribe()).await.unwrap();
        tokio::spawn(follower.run());
        let registry = Registry::new(RegistrySettings {
            policy: Policy::default(),
            tls: tls::trusting([]).unwrap(),
            requests_max: 1,
            sockets_max: 1,
        });
        let following = Following::start(registry.clone(), live.clone(), Arc::clone(&catalog)).await.unwrap();
        (catalog, live, registry, following)
    }

    #[tokio::test]
    async fn the_pools_of_an_app_that_is_deleted_are_released_and_held_again_when_it_is_restored() {
        let folder = tempfile::tempdir().unwrap();
        let (catalog, _live, registry, mut following) = followed(folder.path()).await;
        assert_eq!(registry.all().len(), 1);
        let deleted = gone::deleted_app_key(&"shop".parse().unwrap());
        for (change, pools) in [(put(deleted.clone(), &json!({})), 0), (Change::Delete(deleted), 1)] {
            commit(&*catalog, vec![change]).await;
            let Some(FollowStep::Changes(commit)) = following.follow.next().await else { panic!("no commit") };
            following.apply(&commit).await;
            assert_eq!(registry.all().len(), pools);
        }
    }

    #[tokio::test]
    async fn the_pools_of_an_environment_that_was_removed_while_the_watch_lagged_are_released() {
        let folder = tempfile::tempdir().unwrap();
        let (catalog, live, registry, following) = followed(folder.path()).await;
        let live_key = records::live_key(&"shop".parse().unwrap(), &PlaceName::prod());
        let revision = commit(&*catalog, vec![Change::Delete(live_key)]).await;
        live.wait_for(revision).await;
        assert_eq!(registry.all().len(), 1);
        following.read_all().await.unwrap();
        assert_eq!(registry.all().len(), 0);
    }
}
