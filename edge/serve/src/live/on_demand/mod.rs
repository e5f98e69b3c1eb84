//! Previews: versions and aliases that are loaded at their first request, and evicted when idle or when the app is over
//! its memory budget.
//!
//! Loads run on the control runtime, one at a time for each app; all requests for a preview share one load. An app
//! pauses between two loads, so that requests for many of its previews in turn do not take the processor from other
//! apps.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use devanture_config::limits::Limits;
use devanture_config::{AppName, PlaceName};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::load::{Load, LoadError};
use super::loader::{Loader, PREVIEW};
use super::{Current, CurrentSettings, Live, PreviewKey};
use crate::version::Setting;

/// Maximum concurrent loads of previews, of all apps together.
const LOADS_AT_ONCE: usize = 2;
/// The pause of an app after a load, as a multiple of the load's time, and its upper bound.
const REST_TIMES: u32 = 3;
const REST_MAX: Duration = Duration::from_secs(10);
/// Attempts to load an alias that is moved during the load.
const TRIES: usize = 4;

/// A preview, loaded at its first request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Preview {
    /// A version at its own hostname.
    Version(PreviewKey),
    /// An alias.
    Alias(AppName, PlaceName),
}

impl Preview {
    /// The app.
    #[must_use]
    pub const fn app(&self) -> &AppName {
        match self {
            Self::Version(PreviewKey { app, .. }) | Self::Alias(app, _) => app,
        }
    }
}

impl std::fmt::Display for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(PreviewKey { id, .. }) => f.write_str(&id.short()),
            Self::Alias(_, name) => name.fmt(f),
        }
    }
}

/// Tracks recent requests. Only the first request since the last sweep writes.
#[derive(Default)]
pub(super) struct Usage {
    is_used: AtomicBool,
    /// Consecutive sweeps without a request.
    idle: AtomicU32,
}

impl Usage {
    #[inline]
    pub(super) fn note(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Counts a sweep, and returns the number of consecutive sweeps without a request.
    fn sweep(&self) -> u32 {
        match self.is_used.swap(false, Ordering::Relaxed) {
            true => {
                self.idle.store(0, Ordering::Relaxed);
                0
            }
            false => self.idle.fetch_add(1, Ordering::Relaxed).saturating_add(1),
        }
    }

    /// Sort key: greatest for the best candidate for eviction.
    fn rank(&self) -> (u32, bool) {
        (self.idle.load(Ordering::Relaxed), !self.is_used.load(Ordering::Relaxed))
    }
}

/// The result of a load.
type Outcome = Result<Arc<Current>, Arc<LoadError>>;

/// The queues of previews to load, by app.
pub(super) struct Queues {
    queues: Mutex<HashMap<AppName, Queue>>,
    turns: Semaphore,
    requests_max: usize,
    pub(super) previews_max: usize,
    pub(super) idle_ms_max: u64,
}

/// The previews of one app to load; the first is being loaded.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Preview, watch::Sender<Option<Outcome>>)>,
    requests: Arc<AtomicUsize>,
}

/// A request that waits for a load.
struct Waiting {
    requests: Arc<AtomicUsize>,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queues {
    pub(super) fn new(limits: &Limits) -> Self {
        let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            queues: Mutex::default(),
            turns: Semaphore::new(LOADS_AT_ONCE),
            requests_max: count(limits.preview_requests_waiting_max),
            previews_max: count(limits.previews_loaded_max),
            idle_ms_max: limits.preview_loaded_idle_ms_max,
        }
    }

    /// Enqueues a preview. Also returns true if the app's queue is new and needs a worker.
    fn join(&self, preview: &Preview) -> Result<(Waiting, bool), LoadError> {
        let mut queues = self.queues.lock();
        let is_new = !queues.contains_key(preview.app());
        let queue = queues.entry(preview.app().clone()).or_default();
        let busy = || LoadError::Busy { app: preview.app().clone() };
        if queue.requests.load(Ordering::Relaxed) >= self.requests_max {
            return Err(busy());
        }
        let known = queue.waiting.iter().find(|(other, _)| other == preview).map(|(_, outcome)| outcome.subscribe());
        let outcome = match known {
            Some(outcome) => outcome,
            None if queue.waiting.len() >= self.previews_max => return Err(busy()),
            None => {
                let (sender, outcome) = watch::channel(None);
                queue.waiting.push_back((preview.clone(), sender));
                outcome
            }
        };
        queue.requests.fetch_add(1, Ordering::Relaxed);
        Ok((Waiting { requests: Arc::clone(&queue.requests), outcome }, is_new))
    }

    /// The next preview of an app. Removes an empty queue, and the worker then ends.
    fn next(&self, app: &AppName) -> Option<Preview> {
        let mut queues = self.queues.lock();
        let next = queues.get(app)?.waiting.front().map(|(preview, _)| preview.clone());
        if next.is_none() {
            queues.remove(app);
        }
        next
    }

    /// Number of previews in the queues of all apps, including running loads.
    fn len(&self) -> usize {
        self.queues.lock().values().map(|queue| queue.waiting.len()).sum()
    }

    /// Completes the first preview of an app for all waiting requests.
    fn complete(&self, app: &AppName, outcome: Outcome) {
        let first = self.queues.lock().get_mut(app).and_then(|queue| queue.waiting.pop_front());
        if let Some((_, sender)) = first {
            sender.send_replace(Some(outcome));
        }
    }
}

impl Loader {
    /// Number of previews in the queues, including running loads.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queues().len()
    }

    /// Returns a preview, and loads the preview first if necessary.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn preview(&self, live: &Live, preview: &Preview) -> Outcome {
        if let Some(current) = live.loaded_preview(preview) {
            return Ok(current);
        }
        let app = preview.app();
        let (mut waiting, is_first) = self.queues().join(preview)?;
        if is_first {
            drop(self.spawn(self.clone().work(live.clone(), app.clone())));
        }
        let outcome = waiting.outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        // The worker is gone only if the edge shuts down.
        outcome.unwrap_or_else(|| Err(Arc::new(LoadError::Busy { app: app.clone() })))
    }

    /// Loads the queued previews of an app until the queue is empty.
    async fn work(self, live: Live, app: AppName) {
        while let Some(preview) = self.queues().next(&app) {
            let outcome = {
                let _turn = self.queues().turns.acquire().await;
                let began = Instant::now();
                (self.load_preview(&live, &preview).await.map_err(Arc::new), began.elapsed())
            };
            let (outcome, took) = outcome;
            if let Err(error) = &outcome {
                tracing::warn!(app = %app, %preview, %error, "a preview cannot be loaded");
            }
            self.queues().complete(&app, outcome);
            tokio::time::sleep(took.saturating_mul(REST_TIMES).min(REST_MAX)).await;
        }
    }

    async fn load_preview(&self, live: &Live, preview: &Preview) -> Result<Arc<Current>, LoadError> {
        if let Some(current) = live.loaded_preview(preview) {
            return Ok(current);
        }
        let app = preview.app();
        live.evict_previews_beyond(app, self.queues().previews_max.saturating_sub(1));
        let settings = CurrentSettings::Preview(live.preview_settings(app));
        match preview {
            Preview::Version(key) => {
                let version = self.load(Load::preview(app, &key.id, PREVIEW)).await?;
                let stored_ms = version.stored_ms;
                let current = Arc::new(Current::new(version, stored_ms, live.withdrawn(app), settings));
                live.keep_preview(key, &current);
                Ok(current)
            }
            Preview::Alias(_, name) => {
                for _ in 0..TRIES {
                    let gone = || LoadError::NoAlias { app: app.clone(), name: name.clone() };
                    let place = live.place(app, name).ok_or_else(gone)?;
                    let pointed = place.aliased().ok_or_else(gone)?;
                    let version = self.load(Load::preview(app, &pointed.version, name.as_str())).await?;
                    let current = Current::new(version, pointed.since_ms, live.withdrawn(app), settings.clone());
                    let current = Arc::new(current);
                    if place.show_alias(&pointed, &current) {
                        return Ok(current);
                    }
                }
                Err(LoadError::Busy { app: app.clone() })
            }
        }
    }
}

impl Live {
    /// A preview, if loaded.
    pub(super) fn loaded_preview(&self, preview: &Preview) -> Option<Arc<Current>> {
        match preview {
            Preview::Version(key) => self.preview(key),
            Preview::Alias(app, name) => self.place(app, name)?.current(),
        }
    }

    /// Adds a loaded preview of a version.
    fn keep_preview(&self, key: &PreviewKey, current: &Arc<Current>) {
        self.0.previews.rcu(|previews| {
            let mut next = HashMap::clone(previews);
            next.insert(key.clone(), Arc::clone(current));
            next
        });
    }

    /// Every loaded preview of an app.
    fn loaded_previews(&self, app: &AppName) -> Vec<(Preview, Arc<Current>)> {
        self.all_previews(|other| other == app)
    }

    fn all_previews(&self, is_sought: impl Fn(&AppName) -> bool) -> Vec<(Preview, Arc<Current>)> {
        let previews = self.0.previews.load();
        let versions = previews.iter().filter(|(key, _)| is_sought(&key.app));
        let versions = versions.map(|(key, current)| (Preview::Version(key.clone()), Arc::clone(current)));
        let hosts = self.0.hosts.load();
        let places = hosts.places.values().filter(|place| place.setting == Setting::Preview && is_sought(&place.app));
        let aliases =
            places.filter_map(|place| Some((Preview::Alias(place.app.clone(), place.name.clone()), place.current()?)));
        versions.chain(aliases).collect()
    }

    /// Evicts the least recently requested preview of an app; false if the app has no loaded preview.
    pub(super) fn evict_one_preview(&self, app: &AppName) -> bool {
        let previews = self.loaded_previews(app);
        let rank = |current: &Current| (current.usage.rank(), std::cmp::Reverse(current.version.serial));
        let least = previews.into_iter().max_by_key(|(_, current)| rank(current));
        least.is_some_and(|(preview, current)| {
            self.evict_preview(&preview, &current);
            true
        })
    }

    /// Evicts previews of an app until at most `count` remain.
    fn evict_previews_beyond(&self, app: &AppName, count: usize) {
        for _ in count..self.loaded_previews(app).len() {
            self.evict_one_preview(app);
        }
    }

    /// Evicts a preview; the next request loads the preview again.
    fn evict_preview(&self, preview: &Preview, current: &Arc<Current>) {
        tracing::debug!(app = %preview.app(), %preview, "evicted a preview");
        match preview {
            Preview::Version(key) => {
                self.0.previews.rcu(|previews| {
                    let others = previews.iter().filter(|(other, known)| *other != key || !Arc::ptr_eq(known, current));
                    others.map(|(key, current)| (key.clone(), Arc::clone(current))).collect::<HashMap<_, _>>()
                });
                current.unload();
            }
            Preview::Alias(app, name) => {
                if let Some(place) = self.place(app, name) {
                    place.hide_alias(|shown| Arc::ptr_eq(shown, current));
                }
            }
        }
    }

    /// Evicts previews without a request in `sweeps` consecutive sweeps, including the present one.
    pub(super) fn evict_idle_previews(&self, sweeps: u32) {
        for (preview, current) in self.all_previews(|_| true) {
            if current.usage.sweep() >= sweeps {
                self.evict_preview(&preview, &current);
            }
        }
    }
}

#[cfg(test)]
mod tests;
