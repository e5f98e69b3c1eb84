//! Live versions that are not loaded yet: a start knows every live pointer, and loads the versions afterwards. All
//! requests for a place share one load.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devanture_config::{AppName, PlaceName, VersionId};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::canary::Beside;
use super::damage::Unloaded;
use super::load::{Load, LoadError, LoadTurn};
use super::loader::Loader;
use super::on_demand::Preview;
use super::{Current, CurrentSettings, Live, Place};
use crate::version::{Fill, Setting, Version};
use devanture_base::clock;
use devanture_store::catalog;
use devanture_store::records::{self, history};

/// Simultaneous loads of the pass after the start; loads by requests run in addition.
const LOADS_AT_ONCE: usize = 4;
const SECOND_MS: u64 = 1_000;
/// Longest wait of a request for a load; a longer wait is answered 503.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Target of a request's wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadTarget {
    /// The live version of an environment.
    Environment(AppName, PlaceName),
    /// The earlier versions of an environment in the grace period, for their assets (law 10).
    Earlier(AppName, PlaceName),
    /// A preview.
    Preview(Preview),
}

/// The served part of a live pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointed {
    pub(super) version: VersionId,
    /// The revision of the settings.
    pub(super) settings: u64,
    /// The time of the switch, in milliseconds since 1970 UTC.
    pub(super) since_ms: u64,
    /// Canary and pins.
    pub(super) beside: Beside,
}

/// A load that requests wait for. Begins once, and ends even on failure.
pub(super) struct FirstLoad<T> {
    pub(super) of: T,
    has_begun: AtomicBool,
    ended: watch::Sender<bool>,
}

impl<T> FirstLoad<T> {
    pub(super) fn new(of: T) -> Arc<Self> {
        Arc::new(Self { of, has_begun: AtomicBool::new(false), ended: watch::Sender::new(false) })
    }

    /// Returns true to the caller that must load.
    fn begin(&self) -> bool {
        !self.has_begun.swap(true, Ordering::AcqRel)
    }

    /// Returns true once begun.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    async fn wait(&self) {
        // The sender lives as long as `self`.
        self.ended.subscribe().wait_for(|ended| *ended).await.ok();
    }
}

/// A load that is rarely present: every request for a missing file checks, without a lock or a swap.
#[derive(Default)]
pub(super) struct RareLoad {
    load: Mutex<Option<Arc<FirstLoad<()>>>>,
    is_there: AtomicBool,
    /// True if a further load follows the begun one. Written while `load` is locked.
    again: AtomicBool,
}

impl RareLoad {
    /// Returns true if a load has not ended.
    fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Acquire)
    }

    /// Replaces the last load by a new one.
    pub(super) fn begin(&self) {
        let mut load = self.load.lock();
        self.put(&mut load);
    }

    /// Adds a new load, unless one is waiting to begin: a begun load may have missed the newest versions, and is
    /// followed by exactly one further load, however often requested.
    pub(super) fn begin_again(&self) {
        let mut load = self.load.lock();
        let has_begun = load.as_ref().map(|load| load.has_begun());
        match has_begun {
            None => self.put(&mut load),
            Some(true) => self.again.store(true, Ordering::Relaxed),
            Some(false) => {}
        }
    }

    fn put(&self, load: &mut Option<Arc<FirstLoad<()>>>) {
        self.is_there.store(true, Ordering::Release);
        self.again.store(false, Ordering::Relaxed);
        *load = Some(FirstLoad::new(()));
    }

    fn load(&self) -> Option<Arc<FirstLoad<()>>> {
        self.load.lock().clone()
    }

    /// Removes `ended`, unless replaced by now. Returns the next load, begun, if any.
    fn end(&self, ended: &Arc<FirstLoad<()>>) -> Option<Arc<FirstLoad<()>>> {
        let mut load = self.load.lock();
        if !load.as_ref().is_some_and(|now| Arc::ptr_eq(now, ended)) {
            return None;
        }
        if self.again.load(Ordering::Relaxed) {
            self.put(&mut load);
            return load.clone().filter(|next| next.begin());
        }
        *load = None;
        self.is_there.store(false, Ordering::Release);
        None
    }
}

/// Ends a load when its task is gone, for any reason.
struct EndsLoad<T>(Arc<FirstLoad<T>>);

impl<T> Drop for EndsLoad<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Progress of the loads after a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loaded {
    /// Some live versions are not loaded.
    Nothing,
    /// The live versions are loaded, as far as memory permits.
    Live,
    /// The earlier versions of the grace period are loaded too.
    All,
}

/// The versions still to be loaded, of all that a start found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Environments.
    pub environments: usize,
    /// Environments whose live version a start has not loaded yet.
    pub waiting: usize,
    /// Environments whose live version is not in memory for want of room.
    pub unloaded: usize,
}

impl Place {
    /// Returns true if the live version must still be loaded.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.first_load.load().is_some()
    }

    /// Returns true if earlier versions of the grace period must still be loaded.
    #[must_use]
    pub fn is_loading_earlier(&self) -> bool {
        self.earlier_load.is_there()
    }

    /// Returns true if the pointer's version is to be loaded, and the pointer has not moved since.
    pub(super) fn awaits(&self, pointed: &Pointed) -> bool {
        let is_same = |load: &Arc<FirstLoad<Pointed>>| {
            // The time of an unloaded version is known in seconds.
            let seconds = |pointed: &Pointed| pointed.since_ms / 1_000;
            let of = &load.of;
            (of.version, of.settings, seconds(of)) == (pointed.version, pointed.settings, seconds(pointed))
                && of.beside == pointed.beside
        };
        self.unloaded.load().is_none() && self.first_load.load().as_ref().is_some_and(is_same)
    }

    /// Sets the live pointer, whose version is loaded later; false if a version is already loaded.
    pub(super) fn point_later(&self, pointed: Pointed) -> bool {
        let _moving = self.moving.lock();
        if self.current.load().is_some() {
            return false;
        }
        self.earlier_load.begin();
        if let Some(before) = self.first_load.swap(Some(FirstLoad::new(pointed))) {
            before.end();
        }
        true
    }

    /// Serves a loaded version; false if the pointer was moved since.
    fn show_first(&self, load: &Arc<FirstLoad<Pointed>>, current: Current) -> bool {
        let _moving = self.moving.lock();
        if !self.first_load.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, load)) {
            return false;
        }
        // The order matters: a request that finds no version must find the running load.
        self.current.store(Some(Arc::new(current)));
        self.first_load.store(None);
        if self.unloaded.load().as_ref().is_some_and(|unloaded| unloaded.version == Some(load.of.version)) {
            self.unloaded.store(None);
        }
        true
    }

    /// Records that the pointer's version cannot be loaded, unless the pointer was moved since.
    fn fail_first(&self, load: &Arc<FirstLoad<Pointed>>, error: &LoadError) {
        let _moving = self.moving.lock();
        if self.first_load.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, load)) {
            if self.unloaded.load().is_none() {
                self.unloaded.store(Some(Unloaded::new(Some(load.of.version), error)));
            }
            self.first_load.store(None);
        }
    }
}

impl Live {
    /// The versions still to be loaded.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let hosts = self.0.hosts.load();
        let mut progress = Progress::default();
        for place in hosts.places.values().filter(|place| place.setting == Setting::Environment) {
            progress.environments += 1;
            progress.unloaded += usize::from(place.is_loading());
        }
        if *self.0.loaded.borrow() == Loaded::Nothing {
            std::mem::swap(&mut progress.waiting, &mut progress.unloaded);
        }
        progress
    }

    /// Waits until all versions that a start found are loaded, or have failed.
    pub async fn loaded(&self) {
        let mut loaded = self.0.loaded.subscribe();
        // The sender lives as long as `self`.
        loaded.wait_for(|loaded| *loaded == Loaded::All).await.ok();
    }

    /// Waits until all live versions are loaded, or have failed; earlier versions of the grace period come later.
    pub async fn loaded_live(&self) {
        let mut loaded = self.0.loaded.subscribe();
        // The sender lives as long as `self`.
        loaded.wait_for(|loaded| *loaded != Loaded::Nothing).await.ok();
    }

    /// Simulates a start that has loaded no version yet, or the live versions alone.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_loading(&self, is_loading: bool) {
        self.0.loaded.send_replace(if is_loading { Loaded::Nothing } else { Loaded::Live });
    }

    /// Waits until all versions that an app serves are loaded or have failed, up to a time limit.
    pub async fn loaded_of(&self, app: &AppName) {
        let Some(loader) = self.0.loader.get() else { return };
        let places: Vec<_> = self.0.hosts.load().places.values().filter(|place| place.app == *app).cloned().collect();
        let load = async {
            for place in places {
                loader.load_place(self, &place, Fill::Requested).await;
                loader.load_earlier(self, &place).await;
            }
        };
        timeout(WAIT_MAX, load).await.ok();
    }
}

/// The places that are not loaded, in the order of loading.
fn in_turn(live: &Live, requests: &HashMap<(AppName, PlaceName), u64>) -> Vec<Arc<Place>> {
    let mut places: Vec<Arc<Place>> = live.0.hosts.load().places.values().cloned().collect();
    places.retain(|place| place.is_loading() || place.is_loading_earlier());
    places.sort_by_cached_key(|place| {
        let count = requests.get(&(place.app.clone(), place.name.clone())).copied().unwrap_or_default();
        // Places of one version share its content: loaded consecutively, the places read the content once.
        let version = place.first_load.load().as_ref().map(|load| load.of.version);
        (std::cmp::Reverse(count), !place.name.is_prod(), place.app.clone(), version)
    });
    places
}

impl Loader {
    /// Loads every live version that is not loaded: by the counts of `requests`, then `prod`, then the rest; afterwards
    /// the earlier versions of the grace period. Files of unrequested versions fill only a part of the memory for
    /// files. Ends when memory is full (`loaded_memory_bytes_max`); requests load the remaining versions.
    pub async fn load_all(self, live: Live, requests: HashMap<(AppName, PlaceName), u64>) {
        let places = in_turn(&live, &requests);
        let (loader, live_ref) = (&self, &live);
        let fill_of = |place: &Place| match requests.contains_key(&(place.app.clone(), place.name.clone())) {
            true => Fill::Requested,
            false => Fill::Ahead,
        };
        let turns: Vec<(&Arc<Place>, Fill)> = places.iter().map(|place| (place, fill_of(place))).collect();
        stream::iter(turns)
            .for_each_concurrent(LOADS_AT_ONCE, |(place, fill)| async move {
                if !loader.is_filled() {
                    loader.load_place(live_ref, place, fill).await;
                }
            })
            .await;
        live.0.loaded.send_replace(Loaded::Live);
        stream::iter(&places)
            .for_each_concurrent(LOADS_AT_ONCE, |place| async move {
                if !loader.is_filled() && !place.is_loading() {
                    loader.load_earlier(live_ref, place).await;
                }
            })
            .await;
        live.0.loaded.send_replace(Loaded::All);
    }

    /// Loads the target of a request's wait; false after the time limit.
    pub async fn load_target(&self, live: &Live, target: &LoadTarget) -> bool {
        let (LoadTarget::Environment(app, name) | LoadTarget::Earlier(app, name)) = target else { return true };
        let Some(place) = live.place(app, name) else { return true };
        place.note_use();
        let load = async {
            match target {
                LoadTarget::Earlier(..) => self.load_earlier(live, &place).await,
                LoadTarget::Environment(..) | LoadTarget::Preview(_) => {
                    self.load_place(live, &place, Fill::Requested).await;
                }
            }
        };
        timeout(WAIT_MAX, load).await.is_ok()
    }

    /// Loads the live version of a place, unless loaded.
    pub(super) async fn load_place(&self, live: &Live, place: &Arc<Place>, fill: Fill) {
        let Some(load) = place.first_load.load_full() else { return };
        if load.begin() {
            // In a task, so that the load continues after the request that began the load is gone.
            drop(self.spawn(self.clone().first_load(live.clone(), Arc::clone(place), Arc::clone(&load), fill)));
        }
        load.wait().await;
    }

    async fn first_load(self, live: Live, place: Arc<Place>, load: Arc<FirstLoad<Pointed>>, fill: Fill) {
        let ends = EndsLoad(load);
        let load = &ends.0;
        let (app, name, id) = (&place.app, &place.name, &load.of.version);
        match self.at_hand(&live, &place, id, (fill, LoadTurn::InTurn)).await {
            Ok(version) => {
                let settings = self.own_settings(&place, load.of.settings).await;
                let (since_ms, beside) = (load.of.since_ms, (&load.of.beside, fill, LoadTurn::InTurn));
                let current = self.served(&live, &place, (version, since_ms, settings), beside).await;
                let has_backends = current.versions().any(|version| version.has_backends());
                if place.show_first(load, current) {
                    live.note_canary(&place);
                    self.tallies().switched(app.as_str(), name.as_str(), *id);
                    tracing::debug!(app = %app, environment = %name, version = %id.short(), "loaded");
                    live.unload_beyond(&self, Some(&place));
                    if has_backends {
                        // The receivers run backends and keep pools of backends.
                        live.0.shown.send((app.clone(), name.clone())).ok();
                    }
                }
            }
            Err(error) => {
                tracing::error!(app = %app, environment = %name, version = %id, %error, "a version that should be live cannot be loaded");
                place.fail_first(load, &error);
            }
        }
    }

    /// A version that is to go live in an environment: already loaded for the environment, or loaded now.
    pub(super) async fn at_hand(
        &self,
        live: &Live,
        place: &Place,
        id: &VersionId,
        (fill, turn): (Fill, LoadTurn),
    ) -> Result<Arc<Version>, LoadError> {
        match live.prepared(place, id).or_else(|| place.loaded(id)) {
            Some(version) => Ok(version),
            None => self.load(Load { fill, turn, ..Load::already_live(&place.app, id, &place.name) }).await,
        }
    }

    /// Loads the earlier versions of a place in the grace period, unless loaded.
    pub(super) async fn load_earlier(&self, live: &Live, place: &Arc<Place>) {
        let Some(load) = place.earlier_load.load() else { return };
        if load.begin() {
            self.begin_earlier(live, place, &load, LoadTurn::InTurn);
        }
        load.wait().await;
    }

    /// Loads the earlier versions for the follower, which no app may delay: waits for no load that requests began and
    /// that waits for its turn.
    pub(super) async fn load_earlier_at_once(&self, live: &Live, place: &Arc<Place>) {
        let Some(load) = place.earlier_load.load() else { return };
        if load.begin() {
            self.begin_earlier(live, place, &load, LoadTurn::AtOnce);
            load.wait().await;
        }
    }

    fn begin_earlier(&self, live: &Live, place: &Arc<Place>, load: &Arc<FirstLoad<()>>, turn: LoadTurn) {
        let (loader, live, place, mut next) = (self.clone(), live.clone(), Arc::clone(place), Some(Arc::clone(load)));
        drop(self.spawn(async move {
            while let Some(load) = next {
                let ends = EndsLoad(load);
                if let Err(error) = loader.remember_replaced(&live, &place, turn).await {
                    let (app, environment) = (&place.app, &place.name);
                    tracing::warn!(app = %app, environment = %environment, %error, "earlier versions are not at hand for their assets");
                }
                if place.all_pinned().iter().any(|earlier| earlier.version.has_backends()) {
                    // Pinned visitors need the version's pools, and so far only the pools of the live version are kept.
                    live.0.shown.send((place.app.clone(), place.name.clone())).ok();
                }
                next = place.earlier_load.end(&ends.0);
            }
        }));
    }

    /// Loads the earlier versions of a place in the grace period, for their assets (law 10).
    async fn remember_replaced(&self, live: &Live, place: &Place, turn: LoadTurn) -> Result<(), catalog::Error> {
        let (app, name) = (&place.app, &place.name);
        let grace = live.0.grace;
        let now_ms = clock::now_ms();
        let prefix = records::history_prefix(app, name);
        let since_ms = now_ms.saturating_sub(grace.ms);
        let switches = history::switches(&**self.catalog(), &prefix, since_ms, usize::MAX).await?;
        for (index, switch) in switches.iter().enumerate() {
            let until_ms = switch.at_ms.saturating_add(grace.ms);
            let Some(previous) = switch.previous.filter(|_| until_ms > now_ms) else { continue };
            let is_live = place.first_load.load().as_ref().is_some_and(|load| load.of.version == previous);
            if is_live || place.loaded(&previous).is_some() || place.replaced.with(<[_]>::len) >= grace.versions_max {
                continue;
            }
            if !self.may_answer(place, &previous).await {
                continue;
            }
            match self.load(Load { turn, ..Load::replaced(app, &previous, name) }).await {
                Ok(version) => {
                    // The settings with which the version was last live, as its visitors and its backend had them.
                    let with = switches.iter().skip(index + 1).find(|before| before.version == previous);
                    let settings = match (with, place.pointed()) {
                        (Some(before), _) => self.own_settings(place, before.settings).await,
                        (None, Some(current)) => current.settings.clone(),
                        (None, None) => CurrentSettings::default(),
                    };
                    // Browsers have an older date of the version than of its successor.
                    let since_ms = switch.at_ms.saturating_sub(SECOND_MS);
                    let current = Current::new(version, since_ms, live.withdrawn(app), settings);
                    place.keep(Arc::new(current), until_ms, &grace);
                    // A version deleted during its load was not among the versions dropped at the deletion.
                    if !live.is_stored(app, &previous) {
                        live.forget_version(app, &previous);
                    }
                    // Likewise for a version without the signatures of signers set in the meantime.
                    self.forget_unsigned(live, place).await;
                }
                // The version was deleted, together with its assets.
                Err(LoadError::Unknown { .. }) => {}
                Err(error) => {
                    tracing::warn!(app = %app, version = %previous, %error, "an earlier version is not at hand for its assets");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
