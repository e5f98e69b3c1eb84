//! What is live and not loaded yet: a start knows every live pointer, and loads the versions afterwards. All requests
//! for a place wait for one load.

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

/// Places that are loaded at once by the pass after the start; requests load others beside it.
const LOADS_AT_ONCE: usize = 4;
const SECOND_MS: u64 = 1_000;
/// Longest wait of a request for the load of what it is for; beyond, it is answered 503.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What a request waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadTarget {
    /// The live version of an environment.
    Environment(AppName, PlaceName),
    /// The versions that were live in an environment within the grace period, for their assets (law 10).
    Earlier(AppName, PlaceName),
    /// A preview.
    Preview(Preview),
}

/// A live pointer, as far as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointed {
    pub(super) version: VersionId,
    /// The revision of the settings.
    pub(super) settings: u64,
    /// The time of the switch, in milliseconds since 1970 UTC.
    pub(super) since_ms: u64,
    /// The versions beside it.
    pub(super) beside: Beside,
}

/// A load that requests wait for. It begins once, and ends also where it fails.
pub(super) struct FirstLoad<T> {
    pub(super) of: T,
    has_begun: AtomicBool,
    ended: watch::Sender<bool>,
}

impl<T> FirstLoad<T> {
    pub(super) fn new(of: T) -> Arc<Self> {
        Arc::new(Self { of, has_begun: AtomicBool::new(false), ended: watch::Sender::new(false) })
    }

    /// Whether the caller is the one that loads.
    fn begin(&self) -> bool {
        !self.has_begun.swap(true, Ordering::AcqRel)
    }

    /// Whether it was begun.
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

/// A load that is rarely there: every request for a missing file looks, without a lock or a swap.
#[derive(Default)]
pub(super) struct RareLoad {
    load: Mutex<Option<Arc<FirstLoad<()>>>>,
    is_there: AtomicBool,
    /// Whether another one follows the one that has begun. Written while `load` is locked.
    again: AtomicBool,
}

impl RareLoad {
    /// Whether there is one that has not ended.
    fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Acquire)
    }

    /// Puts a new one in the place of the last.
    pub(super) fn begin(&self) {
        let mut load = self.load.lock();
        self.put(&mut load);
    }

    /// Puts a new one there, unless one waits to begin: one that has begun may have passed over what is there by now,
    /// and is followed by another one, however often that is wanted meanwhile.
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

    /// Takes `ended` away, unless there is another one by now. Returns the one that follows it, which is begun.
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

/// Ends a load when its task is gone, however it ended.
struct EndsLoad<T>(Arc<FirstLoad<T>>);

impl<T> Drop for EndsLoad<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a start has loaded of all that it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loaded {
    /// Not all that is live.
    Nothing,
    /// What is live, or as much of it as there is room for.
    Live,
    /// Also what was replaced within the grace period.
    All,
}

/// The versions that are still to be loaded, of all that a start found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Environments.
    pub environments: usize,
    /// Of these, those whose live version a start has not loaded yet.
    pub waiting: usize,
    /// Those whose live version is not in memory for want of room.
    pub unloaded: usize,
}

impl Place {
    /// Whether the live version is still to be loaded.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.first_load.load().is_some()
    }

    /// Whether versions that were replaced within the grace period are still to be loaded.
    #[must_use]
    pub fn is_loading_earlier(&self) -> bool {
        self.earlier_load.is_there()
    }

    /// Whether the version of this pointer is to be loaded, and no other was since.
    pub(super) fn awaits(&self, pointed: &Pointed) -> bool {
        let is_same = |load: &Arc<FirstLoad<Pointed>>| {
            // Of what was unloaded, the time is known in seconds.
            let seconds = |pointed: &Pointed| pointed.since_ms / 1_000;
            let of = &load.of;
            (of.version, of.settings, seconds(of)) == (pointed.version, pointed.settings, seconds(pointed))
                && of.beside == pointed.beside
        };
        self.unloaded.load().is_none() && self.first_load.load().as_ref().is_some_and(is_same)
    }

    /// Sets the live pointer, whose version is loaded later; false if a version is loaded already.
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

    /// Serves what was loaded; false if the pointer was moved since.
    fn show_first(&self, load: &Arc<FirstLoad<Pointed>>, current: Current) -> bool {
        let _moving = self.moving.lock();
        if !self.first_load.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, load)) {
            return false;
        }
        // In this order: a request that finds no version finds that one is being loaded.
        self.current.store(Some(Arc::new(current)));
        self.first_load.store(None);
        if self.unloaded.load().as_ref().is_some_and(|unloaded| unloaded.version == Some(load.of.version)) {
            self.unloaded.store(None);
        }
        true
    }

    /// Notes that the version of the pointer cannot be loaded, unless it was moved since.
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
    /// What is still to be loaded.
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

    /// Waits until all that a start found is loaded, or cannot be.
    pub async fn loaded(&self) {
        let mut loaded = self.0.loaded.subscribe();
        // The sender lives as long as `self`.
        loaded.wait_for(|loaded| *loaded == Loaded::All).await.ok();
    }

    /// Waits until all that is live is loaded, or cannot be; what was replaced within the grace period comes later.
    pub async fn loaded_live(&self) {
        let mut loaded = self.0.loaded.subscribe();
        // The sender lives as long as `self`.
        loaded.wait_for(|loaded| *loaded != Loaded::Nothing).await.ok();
    }

    /// As a start that has loaded nothing yet, or what is live alone.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_loading(&self, is_loading: bool) {
        self.0.loaded.send_replace(if is_loading { Loaded::Nothing } else { Loaded::Live });
    }

    /// Waits until all that an app serves is at hand, or cannot be loaded, or that takes too long.
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

/// The places that are not loaded, in the order in which they are to be.
fn in_turn(live: &Live, requests: &HashMap<(AppName, PlaceName), u64>) -> Vec<Arc<Place>> {
    let mut places: Vec<Arc<Place>> = live.0.hosts.load().places.values().cloned().collect();
    places.retain(|place| place.is_loading() || place.is_loading_earlier());
    places.sort_by_cached_key(|place| {
        let count = requests.get(&(place.app.clone(), place.name.clone())).copied().unwrap_or_default();
        // Places of one version share its content: one after the other, they read it once.
        let version = place.first_load.load().as_ref().map(|load| load.of.version);
        (std::cmp::Reverse(count), !place.name.is_prod(), place.app.clone(), version)
    });
    places
}

impl Loader {
    /// Loads everything that is live and not loaded: what `requests` says was requested most first, then `prod`, then
    /// the rest; and after that what was replaced within the grace period. Files of what was not requested fill a part
    /// of the memory for files alone. Ends when there is no room for more (`loaded_memory_bytes_max`); requests load
    /// the others.
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

    /// Loads what a request for an environment waits for; false if that takes too long.
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

    /// Loads the live version of a place, unless it is loaded.
    pub(super) async fn load_place(&self, live: &Live, place: &Arc<Place>, fill: Fill) {
        let Some(load) = place.first_load.load_full() else { return };
        if load.begin() {
            // Apart, so that it goes on where the request that began it is gone.
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
                        // Those who run backends and keep pools of them.
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

    /// A version for an environment where it is to be live: one that is loaded for it already, or loaded now.
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

    /// Loads the versions that were live in a place within the grace period, unless they are loaded.
    pub(super) async fn load_earlier(&self, live: &Live, place: &Arc<Place>) {
        let Some(load) = place.earlier_load.load() else { return };
        if load.begin() {
            self.begin_earlier(live, place, &load, LoadTurn::InTurn);
        }
        load.wait().await;
    }

    /// The same for the follower, which no app may hold up: it waits for no load that requests began, and that waits
    /// for its turn.
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
                    // Visitors who are held on it need its pools, and those of the live version alone are kept so far.
                    live.0.shown.send((place.app.clone(), place.name.clone())).ok();
                }
                next = place.earlier_load.end(&ends.0);
            }
        }));
    }

    /// Loads the versions that were live in a place within the grace period, for their assets (law 10).
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
                    // Those with which it was live last, as its visitors and its backend had them.
                    let with = switches.iter().skip(index + 1).find(|before| before.version == previous);
                    let settings = match (with, place.pointed()) {
                        (Some(before), _) => self.own_settings(place, before.settings).await,
                        (None, Some(current)) => current.settings.clone(),
                        (None, None) => CurrentSettings::default(),
                    };
                    // Browsers have an older date of it than of what replaced it.
                    let since_ms = switch.at_ms.saturating_sub(SECOND_MS);
                    let current = Current::new(version, since_ms, live.withdrawn(app), settings);
                    place.keep(Arc::new(current), until_ms, &grace);
                    // One that was deleted while it was loaded was not among those that were dropped then.
                    if !live.is_stored(app, &previous) {
                        live.forget_version(app, &previous);
                    }
                    // Nor was one that lacks the signatures of signers who were set meanwhile.
                    self.forget_unsigned(live, place).await;
                }
                // It was deleted, and its assets with it.
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
