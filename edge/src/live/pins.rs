//! Versions that visitors are held on: those that were live before, for as long as they are kept for their assets (law 10).

use std::sync::Arc;

use devanture_config::VersionId;

use super::{Current, Place};
use crate::catalog::records::PinsRecord;
use crate::telemetry;

/// What holds visitors on the version of their first page.
pub struct Pins {
    /// Seconds without a request after which a visitor is no longer held.
    pub idle_s: u32,
    /// The part of the pointer.
    pub(super) record: PinsRecord,
}

impl Pins {
    /// When what visitors get last changed, in milliseconds since 1970 UTC.
    #[must_use]
    pub const fn since_ms(&self) -> u64 {
        self.record.since_ms
    }
}

impl Current {
    /// The same, with what holds its visitors, where its version holds any.
    #[must_use]
    pub fn pinning(self, record: Option<PinsRecord>) -> Self {
        let pins = record.zip(self.version.pin_idle_s).map(|(record, idle_s)| Arc::new(Pins { idle_s, record }));
        Self { pins, ..self }
    }

    /// The part of the pointer.
    pub(super) fn pins_record(&self) -> Option<PinsRecord> {
        self.pins.as_ref().map(|pins| pins.record.clone())
    }

    /// Whether the cookies of a visitor decide which version answers.
    #[inline]
    #[must_use]
    pub const fn is_chosen_by_cookies(&self) -> bool {
        self.canary.is_some() || self.pins.is_some()
    }
}

impl Place {
    /// The earlier version, of those that visitors are held on, whose id begins with `short`.
    #[must_use]
    pub fn pinned(&self, pins: &Pins, short: &[u8]) -> Option<Arc<Current>> {
        self.earlier(pins.record.earlier.iter().find(|id| id.is_short(short))?)
    }

    /// Whether visitors are held on that version, and it is not loaded yet.
    #[must_use]
    pub fn is_loading_pinned(&self, pins: &Pins, short: &[u8]) -> bool {
        self.is_loading_earlier() && pins.record.earlier.iter().any(|id| id.is_short(short))
    }

    /// The earlier versions that visitors are held on.
    #[must_use]
    pub fn all_pinned(&self) -> Vec<Arc<Current>> {
        let pointed = self.pointed();
        let pins = pointed.as_ref().and_then(|current| current.pins.as_ref());
        pins.map_or_else(Vec::new, |pins| pins.record.earlier.iter().filter_map(|id| self.earlier(id)).collect())
    }

    /// A version that was live within the grace period.
    fn earlier(&self, id: &VersionId) -> Option<Arc<Current>> {
        self.replaced.with(|list| {
            let kept = list.iter().find(|kept| kept.current.version.id == *id)?;
            (kept.until_ms > telemetry::now_ms()).then(|| Arc::clone(&kept.current))
        })
    }
}
