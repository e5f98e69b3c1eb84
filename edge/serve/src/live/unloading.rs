//! Keeps the loaded versions of all apps within one budget: the least requested environments are unloaded, and loaded
//! again at their next request.
//!
//! The measure is the number of intervals with a request, decayed to half within a day. So an environment requested for
//! days outlives the visit of a crawler, which requests each environment once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use devanture_config::VersionId;

use super::canary::Beside;
use super::first_load::{FirstLoad, Pointed};
use super::{Current, CurrentSettings, Live, Loader, Place};
use crate::version::Setting;

/// Count of one interval with requests.
const INTERVAL: u32 = 1 << 16;
/// Decay per interval in bits: counts halve within a day of 30 s intervals without requests.
const DECAY_BITS: u32 = 12;
/// Percentage of the budget to which environments are unloaded, once exceeded: every unload requires a look at all
/// environments.
const UNLOADED_TO: u64 = 98;
/// Count above which requests are not a crawler's alone: requests in two intervals.
const WANTED_ABOVE: u32 = INTERVAL + INTERVAL / 2;
/// Percentage of the budget that loads ahead of requests may fill; the rest is for requested versions.
const FILLED_AHEAD: u64 = 90;

/// Request frequency of an environment. Only the first request of an interval writes.
#[derive(Default)]
pub(super) struct RequestFrequency {
    is_requested: AtomicBool,
    count: AtomicU32,
}

impl RequestFrequency {
    #[inline]
    pub(super) fn note(&self) {
        if !self.is_requested.load(Ordering::Relaxed) {
            self.is_requested.store(true, Ordering::Relaxed);
        }
    }

    fn end_interval(&self) {
        let count = self.count.load(Ordering::Relaxed);
        let more = if self.is_requested.swap(false, Ordering::Relaxed) { INTERVAL } else { 0 };
        self.count.store((count - (count >> DECAY_BITS)).saturating_add(more), Ordering::Relaxed);
    }

    fn count(&self) -> u32 {
        let now = if self.is_requested.load(Ordering::Relaxed) { INTERVAL } else { 0 };
        self.count.load(Ordering::Relaxed).saturating_add(now)
    }
}

impl Place {
    /// Returns true if the files should be held in memory: requests came in more than one interval.
    pub(super) fn is_wanted(&self) -> bool {
        self.demand.count() > WANTED_ABOVE
    }

    /// Unloads the live version, if still `current`.
    fn unload_live(&self, current: &Arc<Current>) -> bool {
        let _moving = self.moving.lock();
        let CurrentSettings::Own(settings) = &current.settings else { return false };
        if !self.current.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, current)) {
            return false;
        }
        let since_ms = current.live_since_ms();
        let canary = current.canary.as_ref().map(|canary| canary.record.clone());
        let beside = Beside { canary, pins: current.pins_record() };
        let pointed = Pointed { version: current.version.id, settings: settings.revision, since_ms, beside };
        // The order matters: a request that finds no version must find the pending load.
        if !self.replaced.with(<[_]>::is_empty) {
            self.earlier_load.begin();
            self.replaced.change(|_| Vec::new());
        }
        self.first_load.store(Some(FirstLoad::new(pointed)));
        self.current.store(None);
        current.unload();
        true
    }
}

impl Loader {
    /// Returns true if versions without recent requests must not be loaded any more.
    pub(super) fn is_filled(&self) -> bool {
        self.is_beyond(FILLED_AHEAD)
    }
}

impl Live {
    /// Ends an interval of requests, and returns versions whose files should be held in memory from now on: loaded
    /// before any request, and requested repeatedly since.
    pub(super) fn count_demand(&self) -> Vec<VersionId> {
        let hosts = self.0.hosts.load();
        let environments = hosts.places.values().filter(|place| place.setting == Setting::Environment);
        let counted = environments.inspect(|place| place.demand.end_interval());
        let wanted = counted.filter(|place| place.is_wanted());
        let lean = wanted.filter_map(|place| place.current().filter(|current| current.version.is_lean()));
        lean.map(|current| current.version.id).collect()
    }

    /// Unloads environments until the loaded versions are within their budget, except `but`, just loaded for a request.
    /// Environments with backends stay: their instances and pools belong to the loaded version.
    pub(super) fn unload_beyond(&self, loader: &Loader, but: Option<&Arc<Place>>) {
        if !loader.is_beyond(100) {
            return;
        }
        let candidate = |place: Arc<Place>| {
            let current = place.current()?;
            let has_backends = current.versions().any(|version| version.has_backends());
            (!has_backends).then(|| (place.demand.count(), current.version.serial, place, current))
        };
        let is_other = |place: &Arc<Place>| but.is_none_or(|but| !Arc::ptr_eq(but, place));
        let places = self.environment_places().into_iter().filter(is_other);
        let mut candidates: Vec<_> = places.filter_map(candidate).collect();
        candidates.sort_by_key(|(count, serial, ..)| (*count, *serial));
        for (_, _, place, current) in candidates {
            if !loader.is_beyond(UNLOADED_TO) {
                return;
            }
            if place.unload_live(&current) {
                tracing::debug!(app = %place.app, environment = %place.name, "unloaded, as others are requested more");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use devanture_config::limits::Limits;
    use serde_json::json;

    use super::*;
    use crate::live::LoadTarget;
    use crate::live::test_world::World;
    use crate::version::Source;

    const APPS: [&str; 6] = ["docs", "shop", "blog", "forum", "wiki", "news"];

    /// A request to an app's `prod`.
    async fn request(world: &World, app: &str) {
        let target = LoadTarget::Environment(app.parse().unwrap(), "prod".parse().unwrap());
        assert!(world.loader.load_target(&world.live, &target).await);
    }

    fn loaded(world: &World) -> Vec<&'static str> {
        APPS.into_iter().filter(|app| world.current(app, "prod").is_some()).collect()
    }

    /// Six apps of equal size, with memory for slightly more than three.
    async fn world() -> (World, u64) {
        let world = World::new(&Limits::default()).await;
        for app in APPS {
            let id = world.store(app, app, 0, json!({})).await;
            world.point(app, "prod", id).await;
        }
        let max = world.loader.loaded_bytes() / 6 * 7 / 2;
        let limits = Limits { loaded_memory_bytes_max: max, ..Limits::default() };
        (world.started_again_with(&limits).await, max)
    }

    #[tokio::test]
    async fn what_is_requested_stays_loaded_and_a_crawler_does_not_flush_it() {
        let (world, max) = world().await;
        for _ in 0..5 {
            request(&world, "docs").await;
            request(&world, "wiki").await;
            world.live.count_demand();
        }
        let current = world.current("docs", "prod").unwrap();
        for _ in 0..3 {
            for app in APPS {
                request(&world, app).await;
                assert!(world.current(app, "prod").is_some(), "{app} answers");
                assert!(world.loader.loaded_bytes() <= max);
            }
            world.live.count_demand();
        }
        assert_eq!(loaded(&world), ["docs", "wiki", "news"]);
        assert!(Arc::ptr_eq(&current, &world.current("docs", "prod").unwrap()), "it was never unloaded");
    }

    #[tokio::test]
    async fn a_start_loads_as_much_as_there_is_room_for() {
        let (world, max) = world().await;
        world.loader.clone().load_all(world.live.clone(), HashMap::new()).await;
        world.live.loaded().await;
        assert_eq!((loaded(&world).len(), world.live.progress().waiting), (3, 0));
        assert!(world.loader.loaded_bytes() <= max);
        assert!(world.live.damaged().is_empty());
    }

    #[tokio::test]
    async fn files_of_what_nobody_requested_fill_a_part_of_the_memory_until_somebody_comes_back() {
        let world = World::new(&Limits::default()).await;
        for app in APPS {
            let id = world.store(app, &format!("{app:>5}{}", "page ".repeat(999)), 0, json!({})).await;
            world.point(app, "prod", id).await;
        }
        // A sixteenth of the budget has room for three pages of 5,000 bytes, with an equal amount left free per page.
        let limits = Limits { memory_bytes_max: 352_000, ..Limits::default() };
        let is_lean = |world: &World, app: &str| world.current(app, "prod").unwrap().version.is_lean();
        let world = world.started_again_with(&limits).await;
        world.loader.clone().load_all(world.live.clone(), HashMap::new()).await;
        let lean: Vec<&str> = APPS.into_iter().filter(|app| is_lean(&world, app)).collect();
        assert_eq!(lean.len(), 3);
        let (place, current) = (world.place(lean[0], "prod"), world.current(lean[0], "prod").unwrap());
        place.note_use();
        assert_eq!(world.live.count_demand(), [], "a crawler came by");
        place.note_use();
        assert_eq!(world.live.count_demand(), [current.version.id]);
        world.loader.outdate(&current.version.id);
        let again = world.loader.load_again(Arc::clone(&current.version), false).await.unwrap();
        assert!(again.is_lean(), "better variants do not make it wanted");
        world.loader.outdate(&current.version.id);
        let again = world.loader.load_again(Arc::clone(&current.version), place.is_wanted()).await.unwrap();
        assert!(!again.is_lean() && matches!(again.files[0].representations[0].bytes, Source::Memory(_)));
        // The next start knows the request counts.
        let world = world.started_again_with(&limits).await;
        let requested = APPS.map(|app| ((app.parse().unwrap(), "prod".parse().unwrap()), 1));
        world.loader.clone().load_all(world.live.clone(), HashMap::from(requested)).await;
        assert!(APPS.into_iter().all(|app| !is_lean(&world, app)));
    }

    #[tokio::test]
    async fn files_that_one_environment_wants_held_are_held_for_all_that_share_them() {
        let world = World::new(&Limits::default()).await;
        let id = world.store("shop", &"page ".repeat(999), 0, json!({})).await;
        // Most of these names sort before `prod`, in any order of reloading.
        let others: Vec<String> = (0..8).map(|number| format!("stage-{number}")).collect();
        let environments = || others.iter().map(String::as_str).chain(["prod"]);
        for environment in environments() {
            world.point("shop", environment, id).await;
        }
        // A sixteenth of the budget has no room for a page with an equal amount left free.
        let limits = Limits { memory_bytes_max: 100_000, ..Limits::default() };
        let world = world.started_again_with(&limits).await;
        world.loader.clone().load_all(world.live.clone(), HashMap::new()).await;
        for _ in 0..2 {
            world.place("shop", "prod").note_use();
            world.live.count_demand();
        }
        let is_lean = |environment: &str| world.current("shop", environment).unwrap().version.is_lean();
        assert!(environments().all(is_lean));
        let loaded = world.loader.load_everywhere(&world.live, id).await;
        world.follower.take_again(loaded);
        assert!(!environments().any(is_lean), "they are held for all");
        world.place("shop", "prod").note_use();
        assert_eq!(world.live.count_demand(), [], "nothing is to be loaded another time");
    }

    #[tokio::test]
    async fn what_is_unloaded_is_served_as_before_and_keeps_its_pointer_and_time() {
        let (world, _) = world().await;
        request(&world, "shop").await;
        let place = world.place("shop", "prod");
        let before = place.current().unwrap();
        assert!(place.unload_live(&before) && !place.unload_live(&before));
        assert!(before.is_replaced() && place.is_loading());
        request(&world, "shop").await;
        let after = place.current().unwrap();
        assert_eq!((after.version.id, after.last_modified_s), (before.version.id, before.last_modified_s));
    }
}
