//! Versions that visitors are pinned to: earlier versions kept for their assets (law 10).

use std::sync::Arc;

use devanture_config::{AppName, PlaceName, VersionId};
use devanture_site::pin::kept_s;

use super::{Current, Live, Place};
use devanture_base::clock;
use devanture_store::records::PinsRecord;

/// Pins visitors to the version of their first page.
pub struct Pins {
    /// Seconds without a request after which a pin ends.
    pub idle_s: u32,
    /// The pins' part of the pointer.
    pub(super) record: PinsRecord,
}

impl Pins {
    /// Time of the last change of the served versions, in milliseconds since 1970 UTC.
    #[must_use]
    pub const fn since_ms(&self) -> u64 {
        self.record.since_ms
    }
}

impl Current {
    /// The version with pins, if the version pins visitors.
    #[must_use]
    pub fn pinning(self, record: Option<PinsRecord>) -> Self {
        let pins = record.zip(self.version.pin_idle_s).map(|(record, idle_s)| Arc::new(Pins { idle_s, record }));
        Self { pins, ..self }
    }

    /// The pins' part of the pointer.
    pub(super) fn pins_record(&self) -> Option<PinsRecord> {
        self.pins.as_ref().map(|pins| pins.record.clone())
    }

    /// Returns true if cookies of a visitor choose the version.
    #[inline]
    #[must_use]
    pub const fn is_chosen_by_cookies(&self) -> bool {
        self.canary.is_some() || self.pins.is_some()
    }
}

impl Place {
    /// The earlier version, among the versions that may have pinned visitors, whose id begins with `short`.
    #[must_use]
    pub fn pinned(&self, (live, pins): (&Current, &Pins), short: &[u8]) -> Option<Arc<Current>> {
        let (id, now_ms) = (pins.record.earlier.iter().find(|id| id.is_short(short))?, clock::now_ms());
        self.replaced.with(|list| {
            let kept = list.iter().find(|kept| kept.current.version.id == *id && kept.until_ms > now_ms)?;
            if !guards_as(live, &kept.current) {
                return None;
            }
            kept.note_visitor(now_ms);
            Some(Arc::clone(&kept.current))
        })
    }

    /// Returns true if visitors are pinned to the version, and the version is not loaded yet.
    #[must_use]
    pub fn is_loading_pinned(&self, pins: &Pins, short: &[u8]) -> bool {
        self.is_loading_earlier() && pins.record.earlier.iter().any(|id| id.is_short(short))
    }

    /// The earlier versions that visitors are pinned to.
    #[must_use]
    pub fn all_pinned(&self) -> Vec<Arc<Current>> {
        let pointed = self.pointed();
        let Some((live, pins)) = pointed.as_ref().and_then(|live| Some((live, live.pins.as_ref()?))) else {
            return Vec::new();
        };
        let earlier = pins.record.earlier.iter().filter_map(|id| self.earlier(id));
        earlier.filter(|earlier| guards_as(live, earlier)).collect()
    }

    /// An earlier version of the grace period.
    fn earlier(&self, id: &VersionId) -> Option<Arc<Current>> {
        self.replaced.with(|list| {
            let kept = list.iter().find(|kept| kept.current.version.id == *id)?;
            (kept.until_ms > clock::now_ms()).then(|| Arc::clone(&kept.current))
        })
    }
}

/// Returns true if an earlier version protects the same paths as the live one. Any client can name a version in a
/// cookie, so a version with fewer protected paths would reveal them to all.
fn guards_as(live: &Current, earlier: &Current) -> bool {
    earlier.version.rules.guards_as(&live.version.rules)
}

impl Live {
    /// The versions of a pointer's `pins` that may have pinned visitors now: versions kept here, with a visit within
    /// the idle time. With other nodes, whose visitors are unknown here, every kept version counts.
    #[must_use]
    pub fn held_on(&self, app: &AppName, name: &PlaceName, pins: &PinsRecord, is_alone: bool) -> Vec<VersionId> {
        let Some(place) = self.place(app, name) else { return Vec::new() };
        let live = place.pointed();
        let idle_s = live.as_ref().and_then(|live| live.pins.as_ref().map(|pins| pins.idle_s));
        let is_guarded = |kept: &Current| live.as_ref().is_some_and(|live| !guards_as(live, kept));
        let away_ms = idle_s.filter(|_| is_alone).map(|idle_s| kept_s(idle_s).saturating_add(1).saturating_mul(1_000));
        // A version that is not loaded is loaded at the next request of a pinned visitor.
        let is_loading = place.is_loading() || place.is_loading_earlier();
        let now_ms = clock::now_ms();
        let holds = |id: &&VersionId| {
            is_loading && self.is_stored(app, id)
                || place.replaced.with(|list| {
                    let kept = list.iter().find(|kept| kept.current.version.id == **id && kept.until_ms > now_ms);
                    let kept = kept.filter(|kept| !is_guarded(&kept.current));
                    kept.is_some_and(|kept| away_ms.is_none_or(|away_ms| kept.visited_within(away_ms, now_ms)))
                })
        };
        pins.earlier.iter().filter(holds).copied().collect()
    }
}
