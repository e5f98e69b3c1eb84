//! Queue of versions to reload after their variants improved: one at a time, and not too often.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, VersionId};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Live, Loader, Place};
use crate::version::{Fill, Version};

/// Minimum interval of reloads of a version: a visitor could otherwise cause a reload with every request, by the
/// dictionaries that the browser names.
const REST: Duration = Duration::from_secs(10);

/// A reloaded version, with the places where the version was live.
pub(super) type Loaded = (VersionId, Vec<(Arc<Place>, Arc<Version>)>);

/// The queue.
#[derive(Default)]
pub(super) struct Reloads {
    /// Versions with the earliest time of each reload.
    wanted: HashMap<VersionId, Instant>,
    /// Start times of the last reloads.
    begun: HashMap<VersionId, Instant>,
    /// The running reload.
    pub(super) running: JoinSet<Loaded>,
}

impl Reloads {
    /// Enqueues a reload: at once, or after the minimum interval.
    pub(super) fn want(&mut self, id: VersionId) {
        let now = Instant::now();
        self.begun.retain(|_, begun| now.duration_since(*begun) < REST);
        let from = self.begun.get(&id).map_or(now, |begun| *begun + REST);
        self.wanted.entry(id).or_insert(from);
    }

    /// Enqueues a reload without the minimum interval: a repair happens once.
    pub(super) fn want_at_once(&mut self, id: VersionId) {
        self.wanted.insert(id, Instant::now());
    }

    /// Returns true if a reload waits, and no reload is running.
    pub(super) fn has_turn(&self) -> bool {
        self.running.is_empty() && !self.wanted.is_empty()
    }

    /// Returns true if a reload is running, or may begin at once.
    pub(super) fn are_due(&self) -> bool {
        let now = Instant::now();
        !self.running.is_empty() || self.wanted.values().any(|from| *from <= now)
    }

    /// Waits until the first waiting reload may begin.
    pub(super) fn due(&self) -> impl Future<Output = ()> + use<> {
        let first = self.wanted.values().min().copied();
        async move {
            match first {
                Some(first) => tokio::time::sleep_until(first).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Begins the reload that has waited longest; `None` if no reload may begin yet.
    pub(super) fn begin(&mut self) -> Option<VersionId> {
        let now = Instant::now();
        let (id, from) = self.wanted.iter().min_by_key(|(_, from)| **from).map(|(id, from)| (*id, *from))?;
        if from > now {
            return None;
        }
        self.wanted.remove(&id);
        self.begun.insert(id, now);
        Some(id)
    }
}

impl Loader {
    /// Reloads a version in each environment where the version is live or being loaded.
    pub(super) async fn load_everywhere(&self, live: &Live, id: VersionId) -> Loaded {
        // From here on, all places share the first reloaded content.
        self.outdate(&id);
        let places: Vec<_> = live.environment_places().into_iter().filter(|place| place.has_live(&id)).collect();
        // The first place of an app loads the files for all: files wanted in memory by one place are held for all.
        // Otherwise that place would lack the files, and want a reload in each interval.
        let wanting: HashSet<AppName> =
            places.iter().filter(|place| place.is_wanted()).map(|place| place.app.clone()).collect();
        let mut loaded = Vec::new();
        for place in places {
            if place.first_load.load().as_ref().is_some_and(|load| load.of.version == id && load.has_begun()) {
                // The running load may have read the old content.
                self.load_place(live, &place, Fill::Requested).await;
            }
            let Some(current) = place.current() else { continue };
            let Some(version) = current.with_id(&id) else { continue };
            match self.load_again(Arc::clone(version), wanting.contains(&place.app)).await {
                Ok(version) => loaded.push((place, version)),
                Err(error) => tracing::warn!(version = %id, %error, "remade variants could not be loaded"),
            }
        }
        (id, loaded)
    }
}

impl Place {
    /// Returns true if a version is live, or about to be, in an environment.
    fn has_live(&self, id: &VersionId) -> bool {
        let is_to_be = self.first_load.load().as_ref().is_some_and(|load| load.of.version == *id);
        is_to_be || self.current().is_some_and(|current| current.with_id(id).is_some())
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::limits::Limits;
    use serde_json::json;

    use super::*;
    use crate::live::test_world::World;
    use crate::version::Source;
    use devanture_store::blobs::ReadAt;

    /// The opened files of all encodings of a version's page, with the offset of each encoding.
    fn opened(version: &Version) -> Vec<(&Arc<dyn ReadAt>, u64)> {
        let page = version.files.iter().find(|file| *file.path == *"index.html").unwrap();
        let opened = page.representations.iter().map(|representation| match &representation.bytes {
            Source::Stored(file, begin) => (file, *begin),
            Source::Memory(_) => panic!("nothing is held"),
        });
        opened.collect()
    }

    #[tokio::test]
    async fn a_version_that_is_loaded_again_shares_its_paths_and_what_was_opened_of_its_files() {
        let world = World::new(&Limits { memory_bytes_max: 0, ..Limits::default() }).await;
        let id = world.store("shop", "a page", 0, json!({})).await;
        world.point("shop", "prod", id).await;
        let first = Arc::clone(&world.current("shop", "prod").unwrap().version);
        world.encode("a page").await;
        let again = async |known: &Arc<Version>| {
            world.loader.outdate(&id);
            world.loader.load_again(Arc::clone(known), true).await.unwrap()
        };
        let second = again(&first).await;
        let third = again(&second).await;
        assert!(first.serial != second.serial && second.serial != third.serial);
        for version in [&second, &third] {
            assert!(Arc::ptr_eq(&version.indexes, &first.indexes));
            assert!(Arc::ptr_eq(opened(version)[0].0, opened(&first)[0].0), "the page itself is what it was");
            // The encodings share one file.
            for ((file, begin), suffix) in opened(version).into_iter().skip(1).zip(["br", "gz", "zst"]) {
                assert!(Arc::ptr_eq(file, opened(&second)[1].0));
                assert_eq!(file.read_at(begin, suffix.len() * 50).unwrap(), suffix.repeat(50));
            }
        }
        assert_eq!((opened(&first).len(), opened(&second).len(), opened(&third).len()), (1, 4, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_is_loaded_at_once_and_then_after_a_rest_however_often_it_is_wanted() {
        let (one, other) = (VersionId::of(b"one"), VersionId::of(b"other"));
        let mut reloads = Reloads::default();
        assert!(!reloads.has_turn());
        reloads.want(one);
        reloads.due().await;
        assert_eq!(reloads.begin(), Some(one));
        for _ in 0..3 {
            reloads.want(one);
        }
        assert_eq!(reloads.begin(), None);
        reloads.want(other);
        assert_eq!((reloads.begin(), reloads.begin()), (Some(other), None));
        let began = Instant::now();
        reloads.due().await;
        assert_eq!((Instant::now() - began, reloads.begin()), (REST, Some(one)));
        assert!(!reloads.has_turn());
    }
}
