//! Versions that are to be loaded again, as what was made of their files got better: each in its turn, and not too
//! often.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, VersionId};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Live, Loader, Place};
use crate::version::{Fill, Version};

/// Time in which a version is not loaded another time: a visitor could have it loaded at every request, by
/// the dictionaries that their browser names.
const REST: Duration = Duration::from_secs(10);

/// A version that was loaded again, for the places where it was live.
pub(super) type Loaded = (VersionId, Vec<(Arc<Place>, Arc<Version>)>);

/// The queue.
#[derive(Default)]
pub(super) struct Reloads {
    /// The versions, and from when on each may be loaded.
    wanted: HashMap<VersionId, Instant>,
    /// When the last ones were.
    begun: HashMap<VersionId, Instant>,
    /// The one that is being loaded.
    pub(super) running: JoinSet<Loaded>,
}

impl Reloads {
    /// Has a version loaded again: at once, or after its rest.
    pub(super) fn want(&mut self, id: VersionId) {
        let now = Instant::now();
        self.begun.retain(|_, begun| now.duration_since(*begun) < REST);
        let from = self.begun.get(&id).map_or(now, |begun| *begun + REST);
        self.wanted.entry(id).or_insert(from);
    }

    /// Has a version loaded again without a rest: a repair happens once.
    pub(super) fn want_at_once(&mut self, id: VersionId) {
        self.wanted.insert(id, Instant::now());
    }

    /// Whether one waits, and none is being loaded.
    pub(super) fn has_turn(&self) -> bool {
        self.running.is_empty() && !self.wanted.is_empty()
    }

    /// Whether one is being loaded, or may be at once.
    pub(super) fn are_due(&self) -> bool {
        let now = Instant::now();
        !self.running.is_empty() || self.wanted.values().any(|from| *from <= now)
    }

    /// Waits until the first of those that wait may be loaded.
    pub(super) fn due(&self) -> impl Future<Output = ()> + use<> {
        let first = self.wanted.values().min().copied();
        async move {
            match first {
                Some(first) => tokio::time::sleep_until(first).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Begins with the one that has waited longest; `None` if none may be loaded yet.
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
    /// Loads a version again in each environment where it is live or being loaded.
    pub(super) async fn load_everywhere(&self, live: &Live, id: VersionId) -> Loaded {
        // All places then share the first content that is loaded from here on.
        self.outdate(&id);
        let places: Vec<_> = live.environment_places().into_iter().filter(|place| place.has_live(&id)).collect();
        // Whichever of an app is first loads the files for all of them: what one wants held is held for all. Else the
        // one that wants them would be left without, and want them again in each interval.
        let wanting: HashSet<AppName> =
            places.iter().filter(|place| place.is_wanted()).map(|place| place.app.clone()).collect();
        let mut loaded = Vec::new();
        for place in places {
            if place.first_load.load().as_ref().is_some_and(|load| load.of.version == id && load.has_begun()) {
                // It may have read what was there before.
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
    /// Whether a version is live, or is to be, in an environment.
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

    /// The opened files of all encodings of the page of a version, and where in them these begin.
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
