//! Eviction for apps over their memory budget: previews first, then earlier versions.

use std::sync::{Arc, Weak};

use devanture_config::AppName;

use super::{Live, LiveTables, Place};
use crate::version::{Claim, Relief};

/// Evicts versions of a [`Live`].
pub(super) struct LiveRelief(Weak<LiveTables>);

impl LiveRelief {
    pub(super) fn of(live: &Live) -> Self {
        Self(Arc::downgrade(&live.0))
    }
}

impl Relief for LiveRelief {
    fn relieve(&self, app: &AppName, claim: Claim) -> bool {
        let Some(live) = self.0.upgrade().map(Live) else { return false };
        // Only a version that goes live may evict earlier versions (law 10). Otherwise an app could not push any more.
        live.evict_one_preview(app) || (claim == Claim::Live && live.evict_one_replaced(app))
    }
}

impl Live {
    /// Evicts the earlier version of an app whose grace period ends first; false if the app has no earlier version.
    fn evict_one_replaced(&self, app: &AppName) -> bool {
        let hosts = self.0.hosts.load();
        let ends = |place: &Arc<Place>| place.replaced.with(|list| list.iter().map(|replaced| replaced.until_ms).min());
        let places = hosts.places.values().filter(|place| place.app == *app);
        let Some((until_ms, place)) = places.filter_map(|place| Some((ends(place)?, place))).min_by_key(|(ms, _)| *ms)
        else {
            return false;
        };
        let holds = place.pointed().is_some_and(|current| current.pins.is_some());
        let visitors = if holds { ", and visitors who are held on it get what is live" } else { "" };
        tracing::warn!(app = %app, environment = %place.name, "the app is over its memory budget: the assets of an earlier \
            version end before the grace period does{visitors}");
        place.replaced.change(|list| {
            let first = list.iter().position(|replaced| replaced.until_ms == until_ms);
            list.iter().enumerate().filter(|(index, _)| Some(*index) != first).map(|(_, kept)| kept.clone()).collect()
        });
        true
    }
}
