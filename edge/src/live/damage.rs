//! Live versions that are damaged: which files of them are not served, and which could not be loaded at all. Both are tried
//! again until they are whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, PlaceName, VersionId};
use tokio::time::{Instant, sleep_until};

use super::follow::Follower;
use super::reloads::Reloads;
use super::{Live, Place};
use crate::catalog::records;
use crate::version::{Setting, Version};

/// How often damaged files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Damaged files of one version that are looked at each time.
const FILES_LOOKED_AT_MAX: usize = 64;
/// Longest interval between two loads of a version that could not be loaded; it doubles from one to the next.
const LOAD_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// A version that should be live and could not be loaded.
#[derive(Debug)]
pub(super) struct Unloaded {
    /// `None` where the pointer cannot be read.
    pub(super) version: Option<VersionId>,
    pub(super) error: String,
}

/// An environment whose live version is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPlace {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The version that should be live; `None` where its record cannot be read.
    pub version: Option<VersionId>,
    /// Paths of its files that are not served.
    pub files: Vec<Box<str>>,
    /// Why it could not be loaded, if it could not.
    pub error: Option<String>,
}

/// When what is damaged is tried again.
pub(super) struct Retries {
    turn: usize,
    next_look: Instant,
    next_load: Instant,
    load_interval: Duration,
    /// How many damages of opened files are dealt with.
    damages: u64,
}

impl Retries {
    pub(super) fn new() -> Self {
        let next_look = Instant::now() + LOOK_EVERY;
        Self { turn: 0, next_look, next_load: next_look, load_interval: LOOK_EVERY, damages: 0 }
    }

    /// Waits until the next try.
    pub(super) fn due(&self) -> impl Future<Output = ()> + use<> {
        sleep_until(self.next_look)
    }

    /// Whether versions may be loaded again. The next time is later if nothing could be loaded until then.
    fn take_load(&mut self, now: Instant) -> bool {
        if now < self.next_load {
            return false;
        }
        self.load_interval = (self.load_interval * 2).min(LOAD_INTERVAL_MAX);
        self.next_load = now + self.load_interval;
        true
    }

    fn reset_loads(&mut self) {
        (self.next_load, self.load_interval) = (Instant::now() + LOOK_EVERY, LOOK_EVERY);
    }
}

impl Place {
    /// Whether a version should be live here and could not be loaded.
    fn is_unloaded(&self) -> bool {
        self.setting == Setting::Environment && (self.unloaded.load().is_some() || self.current.load().is_none())
    }

    fn damage(&self) -> Option<DamagedPlace> {
        let of = |version, files, error| {
            let (app, environment) = (self.app.clone(), self.name.clone());
            Some(DamagedPlace { app, environment, version, files, error })
        };
        if let Some(unloaded) = &*self.unloaded.load() {
            return of(unloaded.version, Vec::new(), Some(unloaded.error.clone()));
        }
        let current = self.current.load();
        let version = &current.as_ref()?.version;
        let files: Vec<_> = version.damaged.iter().map(|file| file.path.clone()).collect();
        if files.is_empty() { None } else { of(Some(version.id), files, None) }
    }
}

impl Live {
    /// The environments whose live version is damaged, by app and name.
    #[must_use]
    pub fn damaged(&self) -> Vec<DamagedPlace> {
        let hosts = self.0.hosts.load();
        let environments = hosts.places.values().filter(|place| place.setting == Setting::Environment);
        let mut damaged: Vec<_> = environments.filter_map(|place| place.damage()).collect();
        damaged.sort_by(|a, b| (&a.app, &a.environment).cmp(&(&b.app, &b.environment)));
        damaged
    }

    /// The damage of one environment's live version.
    #[must_use]
    pub fn damage_of(&self, app: &AppName, environment: &PlaceName) -> Option<DamagedPlace> {
        self.place(app, environment)?.damage()
    }

    /// Loaded versions of which that is true, each once.
    fn versions_with(&self, is_wanted: impl Fn(&Version) -> bool) -> Vec<Arc<Version>> {
        let hosts = self.0.hosts.load();
        let placed = hosts.places.values().filter_map(|place| place.current());
        let previews = self.0.previews.load();
        let all = placed.chain(previews.values().cloned()).map(|current| Arc::clone(&current.version));
        let mut seen = BTreeSet::new();
        all.filter(|version| is_wanted(version) && seen.insert(version.id)).collect()
    }
}

impl Follower {
    /// Has versions loaded again whose damaged files are whole, those of whose opened files one was found damaged, and those that could not be loaded: these `at_once` if they
    /// may be whole by now.
    pub(super) async fn retry(&self, retries: &mut Retries, reloads: &mut Reloads, at_once: bool) {
        let blobs = self.loader.blobs();
        let damages = blobs.damages();
        if std::mem::replace(&mut retries.damages, damages) != damages {
            for version in self.live.versions_with(|version| version.rotted() > 0) {
                reloads.want_at_once(version.id);
            }
        }
        for version in self.live.versions_with(|version| !version.damaged.is_empty()) {
            if version.is_mended(&**blobs, FILES_LOOKED_AT_MAX, retries.turn).await {
                reloads.want_at_once(version.id);
            }
        }
        self.load_missing(retries, at_once).await;
        retries.turn = retries.turn.wrapping_add(1);
        retries.next_look = Instant::now() + LOOK_EVERY;
    }

    /// Loads what could not be loaded when its pointer was moved.
    async fn load_missing(&self, retries: &mut Retries, at_once: bool) {
        let hosts = self.live.0.hosts.load_full();
        let unloaded: Vec<_> = hosts.places.values().filter(|place| place.is_unloaded()).cloned().collect();
        if unloaded.is_empty() {
            return retries.reset_loads();
        }
        if !at_once && !retries.take_load(Instant::now()) {
            return;
        }
        for place in unloaded {
            let key = records::live_key(&place.app, &place.name);
            match self.loader.catalog().get(&key).await {
                Ok(Some(record)) => self.point(&key, Some(&record.value), record.revision).await,
                // The watch reports its end.
                Ok(None) => {}
                Err(error) => tracing::warn!(key, %error, "a pointer cannot be read"),
            }
        }
    }
}
