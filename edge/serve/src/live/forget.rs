//! Drops deleted versions: no hostname and no grace period answers with their files any longer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use devanture_config::{AppName, PlaceName, VersionId};

use super::stored_ids::StoredIds;
use super::{Follower, Live, Place};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Record, Revision};
use devanture_store::records::{self, gone};

impl Place {
    /// Ends the version's remaining assets here (law 10); a live version stays.
    pub(super) fn forget(&self, id: &VersionId) {
        self.replaced.change(|list| list.iter().filter(|kept| kept.current.version.id != *id).cloned().collect());
        self.preparing.change(|list| list.iter().filter(|version| version.id != *id).cloned().collect());
    }
}

/// Stored versions of each app.
pub(super) type StoredVersions = HashMap<AppName, StoredIds>;

impl Live {
    /// Returns true if a version that is not live in an environment still answers visitors on the node: for assets of
    /// open pages, or for pinned visitors.
    pub fn answers_yet(&self, app: &AppName, environment: &PlaceName, id: &VersionId) -> bool {
        let places = self.environment_places();
        let mut of_it = places.iter().filter(|place| place.app == *app && place.name == *environment);
        of_it.any(|place| place.replaced.with(|list| list.iter().any(|kept| kept.current.version.id == *id)))
    }

    /// Returns true if the app has the version.
    pub(super) fn is_stored(&self, app: &AppName, id: &VersionId) -> bool {
        self.0.ids.read().get(app).is_some_and(|ids| ids.contains(id))
    }

    /// Drops a version of `app` from every place where the version is loaded but not live.
    pub(super) fn forget_version(&self, app: &AppName, id: &VersionId) {
        self.0.preparing.lock().retain(|version| version.app != *app || version.id != *id);
        for place in self.0.hosts.load().places.values().filter(|place| place.app == *app) {
            place.forget(id);
        }
        self.forget_preview(app, id);
    }

    /// Drops a loaded preview; the next request loads a stored version again.
    pub(super) fn forget_preview(&self, app: &AppName, id: &VersionId) {
        self.0.previews.rcu(|previews| {
            let others = previews.iter().filter(|(key, _)| key.app != *app || key.id != *id);
            others.map(|(key, current)| (key.clone(), Arc::clone(current))).collect::<HashMap<_, _>>()
        });
    }
}

impl Follower {
    /// Follows `versions/{app}/{id}`: maintains the ids that versions' own hostnames may name.
    pub(super) fn version_stored(&self, key: &str, stored: bool) {
        let Some((app, id)) = version_of(key) else { return };
        {
            let mut ids = self.live.0.ids.write();
            let ids = ids.entry(app.clone()).or_default();
            if stored {
                ids.insert(id);
            } else {
                ids.remove(&id);
            }
        }
        if stored {
            // A deleted id may be stored again, as a different version with a later time.
            self.live.forget_preview(&app, &id);
        } else {
            self.live.forget_version(&app, &id);
            tracing::info!(app = %app, version = %id.short(), "deleted");
        }
    }

    /// Reads the stored versions, and the commit that stored the newest.
    pub(super) async fn stored_versions(&self) -> Result<(StoredVersions, Revision), catalog::Error> {
        let (mut stored, mut revision) = (StoredVersions::new(), 0);
        // Page by page: all records of all versions at once would take much memory, which the process would not return.
        let mut records = Scan::new(&**self.loader.catalog(), records::VERSIONS_PREFIX);
        while let Some((key, record)) = records.next().await? {
            revision = record.revision.max(revision);
            if let Some((app, id)) = version_of(&key) {
                stored.entry(app).or_default().insert(id);
            }
        }
        Ok((stored, revision))
    }

    /// Replaces the known versions by `stored`, and drops versions deleted unnoticed.
    pub(super) fn versions_are(&self, stored: StoredVersions) {
        let mut known = self.live.0.ids.write();
        let before = std::mem::replace(&mut *known, stored);
        drop(known);
        for (app, ids) in before {
            for id in ids.into_iter().filter(|id| !self.live.is_stored(&app, id)) {
                self.live.forget_version(&app, &id);
            }
        }
    }
}

impl Follower {
    /// Follows `deleted/{app}`: a deleted app answers no request until restored.
    pub(super) fn app_deleted(&self, key: &str, deleted: bool) {
        let Some(app) = deleted_app_of(key) else { return };
        tracing::info!(app = %app, deleted, "an app was deleted or restored");
        self.change_hosts(|hosts| {
            if deleted {
                hosts.deleted.insert(app.clone());
            } else {
                hosts.deleted.remove(&app);
            }
        });
    }

    /// Replaces the set of deleted apps.
    pub(super) fn deleted_apps_are(&self, deleted: &[(String, Record)]) {
        let apps: HashSet<AppName> = deleted.iter().filter_map(|(key, _)| deleted_app_of(key)).collect();
        if self.live.0.hosts.load().deleted != apps {
            self.change_hosts(|hosts| hosts.deleted.clone_from(&apps));
        }
    }
}

impl Follower {
    /// Drops earlier versions that are no longer stored.
    pub(super) fn forget_replaced(&self) {
        for place in self.live.0.hosts.load().places.values() {
            let is_stored = |id: &VersionId| self.live.is_stored(&place.app, id);
            place
                .replaced
                .change(|list| list.iter().filter(|kept| is_stored(&kept.current.version.id)).cloned().collect());
        }
    }
}

/// The app whose deletion a key names.
fn deleted_app_of(key: &str) -> Option<AppName> {
    key.strip_prefix(gone::DELETED_APPS_PREFIX)?.parse().ok()
}

/// The version that a key names.
fn version_of(key: &str) -> Option<(AppName, VersionId)> {
    let mut parts = key.split('/').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::live::{Domains, Grace, Loader};
    use devanture_config::limits::Limits;
    use devanture_config::manifest::FileEntry;
    use devanture_config::{Digest, Manifest};
    use devanture_store::blobs::{self, Key};
    use devanture_store::catalog::{Change, Commit};
    use devanture_store::records::{LivePointer, StoredSource, VersionRecord};

    /// A follower that reads the whole catalog again sees the switch away from a version together with the deletion.
    #[tokio::test]
    async fn law_10_a_version_that_was_replaced_and_deleted_while_the_watch_lagged_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let blobs = blobs::open(folder.path().to_owned()).unwrap();
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 3_600_000, versions_max: 4 });
        let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), &Limits::default());
        let (app, prod): (AppName, _) = ("shop".parse().unwrap(), PlaceName::prod());
        let stored = async |text: &'static str| {
            let hash = Digest::of(text.as_bytes());
            let file = FileEntry { hash, size: text.len() as u64, media_type: None };
            let manifest = Manifest::of_files(BTreeMap::from([("index.html".parse().unwrap(), file)]));
            blobs.put(Key::Blob(hash), text.into()).await.unwrap();
            blobs.put(Key::Manifest(manifest.id()), manifest.canonical().into()).await.unwrap();
            let record = VersionRecord {
                stored_ms: 0,
                again_ms: None,
                who: String::new(),
                trusted: false,
                edge_admin: None,
                trusted_in: BTreeSet::new(),
                reach: None,
                source: StoredSource::default(),
                files: 0,
                bytes: 0,
                given: BTreeMap::new(),
                decoded: BTreeMap::new(),
                integrity: Vec::new(),
                quick: false,
            };
            let put = Change::Put(records::version_key(&app, &manifest.id()), records::write(&record).unwrap());
            (manifest.id(), put)
        };
        let pointed = |version| {
            let (deploy, position) = (String::new(), String::new());
            let pointer = LivePointer {
                version,
                settings: 0,
                switched_ms: 0,
                deploy,
                begun: 0,
                position,
                halves_begun: None,
                canary: None,
                pins: None,
            };
            Change::Put(records::live_key(&app, &prod), records::write(&pointer).unwrap())
        };
        let commit = async |changes| catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let mut ids = Vec::new();
        for text in ["one", "two", "three"] {
            let (id, put) = stored(text).await;
            commit(vec![put]).await;
            ids.push(id);
        }
        let [one, two, three] = ids[..] else { panic!("{ids:?}") };
        commit(vec![pointed(one)]).await;
        let remade = tokio::sync::broadcast::Sender::new(1);
        let follower = Follower::start(live.clone(), loader, remade.subscribe()).await.unwrap();
        let place = live.place(&app, &prod).unwrap();
        commit(vec![pointed(two), Change::Delete(records::version_key(&app, &one))]).await;
        follower.read_all().await.unwrap();
        assert_eq!(place.current().unwrap().version.id, two);
        assert!(place.loaded(&one).is_none() && !live.answers_yet(&app, &prod, &one));
        // A stored version is kept.
        commit(vec![pointed(three)]).await;
        follower.read_all().await.unwrap();
        assert!(place.loaded(&two).is_some() && live.answers_yet(&app, &prod, &two));
        assert!(!live.answers_yet(&app, &"staging".parse().unwrap(), &two), "another environment");
    }
}
